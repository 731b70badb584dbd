package oidc

import (
	"errors"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"parako/internal/audit"
	"parako/internal/problem"
	"parako/internal/telemetry"
	"parako/internal/tenant"
)

// Handler serves the protocol endpoints that programs call, of whichever tenant the request belongs to. What browsers are sent
// to, such as the authorization endpoint, is in package pages.
type Handler struct {
	deps Deps
	pool *Pool
}

// NewHandler makes a Handler that takes providers from the pool.
func NewHandler(deps Deps, pool *Pool) *Handler {
	return &Handler{deps: deps, pool: pool}
}

// route is one endpoint, below [Mount].
type route struct {
	method, path string
	handle       echo.HandlerFunc
}

func (h *Handler) routes() []route {
	return []route{
		{http.MethodGet, "/.well-known/openid-configuration", h.discovery},
		{http.MethodGet, "/jwks", h.jwks},
		{http.MethodPost, "/request", h.push},
		{http.MethodPost, "/device/auth", h.device},
		{http.MethodPost, "/token", h.token},
		{http.MethodPost, "/token/introspection", h.introspection},
		{http.MethodPost, "/token/revocation", h.revocation},
		{http.MethodPost, "/register-rp", h.register},
		{http.MethodGet, "/register-rp/:client_id", h.registered},
		{http.MethodPut, "/register-rp/:client_id", h.reregister},
		{http.MethodDelete, "/register-rp/:client_id", h.unregister},
		{http.MethodGet, "/userinfo", h.userinfo},
		{http.MethodPost, "/userinfo", h.userinfo},
		{http.MethodOptions, "/request", preflight},
		{http.MethodOptions, "/token", preflight},
		{http.MethodOptions, "/token/revocation", preflight},
		{http.MethodOptions, "/userinfo", preflight},
	}
}

// Mount adds the routes to e. RFC 8414 puts the metadata in front of the issuer's path, OpenID Connect behind it.
func (h *Handler) Mount(e *echo.Echo) {
	for _, r := range h.routes() {
		e.Add(r.method, Mount+r.path, r.handle)
	}
	e.GET("/.well-known/oauth-authorization-server"+Mount, h.discovery)
}

// errNoProvider answers protocol requests that reached the built-in tenant only because development is lenient.
var errNoProvider = problem.New(problem.Invalid, "tenant_required",
	"Tenant identification required. Use a subdomain such as acme.localhost, or set the tenant header.")

// Provider is the snapshot that serves the request: the same one however often it is asked for.
func (h *Handler) Provider(c echo.Context) (*Provider, error) {
	if p, ok := c.Get(providerKey).(*Provider); ok {
		return p, nil
	}
	t := tenant.From(c.Request().Context())
	if t.ID == tenant.DefaultID && h.deps.MultiTenant {
		return nil, errNoProvider
	}
	p, err := h.pool.Get(c.Request().Context(), t)
	if err != nil {
		return nil, err
	}
	c.Set(providerKey, p)
	return p, nil
}

// providerKey is where a request keeps its provider.
const providerKey = "parako.provider"

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
	header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, DPoP")
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
		header.Set("Access-Control-Expose-Headers", "WWW-Authenticate, DPoP-Nonce")
	}
}

// Origin is where a request came from, as the server's trusted proxies report it.
func Origin(c echo.Context) audit.Origin {
	return audit.Origin{
		RequestID: telemetry.RequestID(c.Request().Context()), IP: c.RealIP(), UserAgent: c.Request().UserAgent(),
	}
}
