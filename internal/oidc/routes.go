package oidc

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/labstack/echo/v4"

	"parako/internal/audit"
	"parako/internal/problem"
	"parako/internal/session"
	"parako/internal/telemetry"
	"parako/internal/tenant"
)

// Handler serves the protocol endpoints of whichever tenant the request belongs to.
type Handler struct {
	deps    Deps
	pool    *Pool
	cookies session.Cookies
}

// NewHandler makes a Handler that takes providers from the pool.
func NewHandler(deps Deps, pool *Pool, cookies session.Cookies) *Handler {
	return &Handler{deps: deps, pool: pool, cookies: cookies}
}

// Route is one endpoint. Browser says that a person may be looking at its errors; the others answer programs.
type Route struct {
	Method, Path string
	Browser      bool
	handle       echo.HandlerFunc
}

// Routes are all endpoints of the package, below [Mount] unless Path begins with "/.well-known/oauth-authorization-server".
func (h *Handler) Routes() []Route {
	return []Route{
		{http.MethodGet, "/.well-known/openid-configuration", false, h.discovery},
		{http.MethodGet, "/jwks", false, h.jwks},
		{http.MethodGet, "/authorize", true, h.authorize},
		{http.MethodPost, "/authorize", true, h.authorizeByPost},
		{http.MethodPost, "/token", false, h.token},
		{http.MethodPost, "/token/introspection", false, h.introspection},
		{http.MethodPost, "/token/revocation", false, h.revocation},
		{http.MethodGet, "/userinfo", false, h.userinfo},
		{http.MethodPost, "/userinfo", false, h.userinfo},
		{http.MethodOptions, "/token", false, preflight},
		{http.MethodOptions, "/token/revocation", false, preflight},
		{http.MethodOptions, "/userinfo", false, preflight},
	}
}

// Mount adds the routes to e. RFC 8414 puts the metadata in front of the issuer's path, OpenID Connect behind it.
func (h *Handler) Mount(e *echo.Echo) {
	for _, r := range h.Routes() {
		e.Add(r.Method, Mount+r.Path, r.handle)
	}
	e.GET("/.well-known/oauth-authorization-server"+Mount, h.discovery)
}

// errNoProvider answers protocol requests that reached the built-in tenant only because development is lenient.
var errNoProvider = problem.New(problem.Invalid, "tenant_required",
	"Tenant identification required. Use a subdomain such as acme.localhost, or set the tenant header.")

// Provider is the snapshot that serves the request.
func (h *Handler) Provider(c echo.Context) (*Provider, error) {
	t := tenant.From(c.Request().Context())
	if t.ID == tenant.DefaultID && h.deps.MultiTenant {
		return nil, errNoProvider
	}
	return h.pool.Get(c.Request().Context(), t)
}

func (h *Handler) discovery(c echo.Context) error {
	p, err := h.Provider(c)
	if err != nil {
		return err
	}
	return p.discovery.serve(c)
}

func (h *Handler) jwks(c echo.Context) error {
	p, err := h.Provider(c)
	if err != nil {
		return err
	}
	return p.jwks.serve(c)
}

// authorize is the authorization endpoint (OpenID Connect Core section 3.1.2).
func (h *Handler) authorize(c echo.Context) error {
	p, err := h.Provider(c)
	if err != nil {
		return err
	}
	form, err := url.ParseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return errUnknownClient.Because(err)
	}
	token, bound := h.cookies.Token(c.Request(), p.Tenant.Slug)
	if !bound {
		// The cookie was made for another tenant on this host: nobody is signed in here (design section 4).
		h.deps.Log.WarnContext(c.Request().Context(), "tenant_session_mismatch")
		h.cookies.ClearToken(c.Response())
	}
	answer, err := p.Authorize(c.Request().Context(), form, token, Origin(c))
	if err != nil {
		return err
	}
	if answer.Flow != "" {
		h.cookies.SetFlow(c.Response(), answer.Interaction, answer.Flow, answer.FlowLife)
	}
	noStore(c)
	return c.Redirect(http.StatusSeeOther, answer.Location)
}

// authorizeByPost takes the request from a form (OpenID Connect Core section 3.1.2.1). It comes from the client's site, so
// the browser withholds our cookies; the redirect to ourselves brings them.
func (h *Handler) authorizeByPost(c echo.Context) error {
	p, err := h.Provider(c)
	if err != nil {
		return err
	}
	r := c.Request()
	if err := r.ParseForm(); err != nil {
		return tooLarge(err, errUnknownClient.Because(err))
	}
	noStore(c)
	return c.Redirect(http.StatusSeeOther, p.URL("/authorize")+"?"+r.PostForm.Encode())
}

// tooLarge tells a body over the limit from one that is malformed.
func tooLarge(err, otherwise error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem.New(problem.TooLarge, "body_too_large", "The request body is too large.")
	}
	return otherwise
}

// preflight answers what browsers ask before a cross-origin request. It promises nothing: the answer to the request itself
// names an origin only when it is one of the client's.
func preflight(c echo.Context) error {
	header := c.Response().Header()
	header.Set("Access-Control-Allow-Origin", c.Request().Header.Get("Origin"))
	header.Set("Access-Control-Allow-Methods", "GET, POST")
	header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	header.Set("Access-Control-Max-Age", "3600")
	header.Add("Vary", "Origin")
	return c.NoContent(http.StatusNoContent)
}

// allowOrigin lets a browser application read the answer when its origin is that of one of the client's redirect URIs. A nil
// client lets any origin: the bearer token is the only credential there, and no cookie is. Nothing is ever allowed with
// credentials.
func allowOrigin(c echo.Context, caller *client) {
	origin := c.Request().Header.Get("Origin")
	if origin == "" {
		return
	}
	header := c.Response().Header()
	header.Add("Vary", "Origin")
	if caller == nil || slices.ContainsFunc(caller.RedirectUris, func(uri string) bool { return redirectOrigin(uri) == origin }) {
		header.Set("Access-Control-Allow-Origin", origin)
		header.Set("Access-Control-Expose-Headers", "WWW-Authenticate")
	}
}

// Origin is where a request came from, as the server's trusted proxies report it.
func Origin(c echo.Context) audit.Origin {
	return audit.Origin{
		RequestID: telemetry.RequestID(c.Request().Context()), IP: c.RealIP(), UserAgent: c.Request().UserAgent(),
	}
}
