package pages

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"parako/internal/i18n"
	"parako/internal/oidc"
	"parako/internal/problem"
	"parako/internal/session"
	"parako/internal/signin"
	"parako/internal/telemetry"
	"parako/internal/tenant"
)

// Handler serves the pages of whichever tenant the request belongs to.
type Handler struct {
	renderer  *Renderer
	catalog   *i18n.Catalog
	protocol  *oidc.Handler
	logins    *signin.Logins
	cookies   session.Cookies
	log       *slog.Logger
	platform  Platform
	protected *http.CrossOriginProtection
	neutral   Stylesheet
}

// NewHandler parses the templates and makes a Handler. An error is a broken template.
func NewHandler(
	catalog *i18n.Catalog, protocol *oidc.Handler, logins *signin.Logins, cookies session.Cookies, log *slog.Logger, platform Platform,
) (*Handler, error) {
	renderer, err := NewRenderer(catalog)
	if err != nil {
		return nil, err
	}
	return &Handler{
		renderer: renderer, catalog: catalog, protocol: protocol, logins: logins, cookies: cookies, log: log, platform: platform,
		protected: http.NewCrossOriginProtection(), neutral: renderer.Stylesheet(Brand{}),
	}, nil
}

// Mount adds the pages to e. Posts that change something are refused when another site sends them; a logout request is an
// exception, because clients send it, and asks before it does anything.
func (h *Handler) Mount(e *echo.Echo) {
	e.GET("/", h.home)
	e.GET("/static/:hash/app.css", h.stylesheet)
	e.GET("/static/:digest/:name", h.script)

	own := h.ownForms
	e.GET(oidc.Mount+"/authorize", h.authorize)
	e.POST(oidc.Mount+"/authorize", h.authorizeByPost)
	e.GET(oidc.Mount+"/interaction/:id", h.interaction)
	e.GET(oidc.Mount+"/interaction/:id/login", h.loginPage)
	e.POST(oidc.Mount+"/interaction/:id/login", h.login, own)
	e.GET(oidc.Mount+"/interaction/:id/register", h.registerPage)
	e.POST(oidc.Mount+"/interaction/:id/register", h.register, own)
	e.POST(oidc.Mount+"/interaction/:id/confirm", h.consent, own)
	e.POST(oidc.Mount+"/interaction/:id/abort", h.abort, own)
	e.POST(oidc.Mount+"/interaction/:id/select", h.selectAccount, own)
	e.POST(oidc.Mount+"/interaction/:id/switch", h.switchAccount, own)
	e.GET(oidc.Mount+"/device", h.device)
	e.POST(oidc.Mount+"/device", h.enterDevice, own)
	e.GET(oidc.Mount+"/device/done", h.deviceDone)
	e.GET(oidc.Mount+"/device/denied", h.deviceDenied)
	e.GET(oidc.Mount+"/session/end", h.logout)
	e.POST(oidc.Mount+"/session/end", h.logoutByPost)
	e.POST(oidc.Mount+"/session/end/confirm", h.logoutConfirmed, own)
	e.GET(oidc.Mount+"/session/check", h.checkSession)
	h.mountPlatform(e)
}

var errForeignForm = problem.New(problem.Forbidden, "cross_origin_form", "This form was sent from another site. Go back and try again from the page itself.")

// ownForms refuses forms that another site made the browser send (login CSRF and its kin).
func (h *Handler) ownForms(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := h.protected.Check(c.Request()); err != nil {
			return errForeignForm.Because(err)
		}
		return next(c)
	}
}

// theme is what a tenant's brand makes of the pages, computed once per provider snapshot.
type theme struct {
	brand Brand
	sheet Stylesheet
}

func (h *Handler) theme(p *oidc.Provider) theme {
	derived := p.Derived(func() any {
		b := p.Settings.Branding
		brand := Brand{
			Company: p.CompanyName(), LogoURL: b.Logo, LogoDarkURL: b.LogoDark, FaviconURL: b.Favicon, Light: b.Colors.Light, Dark: b.Colors.Dark,
			FontSans: b.Fonts.Sans, FontHeading: b.Fonts.Heading, FontMono: b.Fonts.Mono,
		}
		return theme{brand: brand, sheet: h.renderer.Stylesheet(brand)}
	})
	t, _ := derived.(theme)
	return t
}

// shell is the frame of a tenant's page in the reader's language. uiLocales is the request's ui_locales, most wanted first.
func (h *Handler) shell(c echo.Context, p *oidc.Provider, uiLocales string) Shell {
	t := h.theme(p)
	s := t.brand.Shell(h.locale(c, p.Settings.Application.Locales.Available, p.Settings.Application.Locales.Default, uiLocales), t.sheet)
	own := p.Settings.Integrations.URLs
	s.PrivacyURL, s.TermsURL, s.WebsiteURL, s.ContactURL = own.PrivacyPolicy, own.TermsOfService, own.Website, own.Contact
	s.Description = p.Settings.Application.Description
	return s
}

func (h *Handler) locale(c echo.Context, available []string, fallback, uiLocales string) string {
	r := c.Request()
	return h.catalog.Negotiate(available, fallback, strings.Fields(uiLocales), h.cookies.Locale(r), r.Header.Get("Accept-Language"))
}

// redirect sends the browser on, with GET. What it depends on belongs to one person, or is good once: no cache may keep it.
func redirect(c echo.Context, location string) error {
	c.Response().Header().Set("Cache-Control", "no-store")
	return c.Redirect(http.StatusSeeOther, location)
}

// respond writes a page with its headers. destinations are where its form may lead, see [SecurityHeaders].
func respond[V any](c echo.Context, status int, write func(*bytes.Buffer, V) error, view V, destinations ...string) error {
	var page bytes.Buffer
	if err := write(&page, view); err != nil {
		return err
	}
	SecurityHeaders(c.Response().Header(), destinations...)
	return c.HTMLBlob(status, page.Bytes())
}

// stylesheet serves the tenant's style sheet, or the neutral one, at the address that names its content.
func (h *Handler) stylesheet(c echo.Context) error {
	sheet := h.neutral
	if hash := c.Param("hash"); hash != sheet.Hash {
		if _, ok := tenant.Lookup(c.Request().Context()); !ok {
			return errNotFound
		}
		p, err := h.protocol.Provider(c)
		if err != nil {
			return err
		}
		if sheet = h.theme(p).sheet; hash != sheet.Hash {
			return errNotFound
		}
	}
	header := c.Response().Header()
	header.Set("Cache-Control", "public, max-age=31536000, immutable")
	header.Set("X-Content-Type-Options", "nosniff")
	return c.Blob(http.StatusOK, "text/css; charset=utf-8", sheet.Body)
}

// script serves a script at the address that names its content. Scripts are the same for every tenant.
func (h *Handler) script(c echo.Context) error {
	body, ok := h.renderer.scripts[c.Param("digest")+"/"+c.Param("name")]
	if !ok {
		return errNotFound
	}
	header := c.Response().Header()
	header.Set("Cache-Control", "public, max-age=31536000, immutable")
	header.Set("X-Content-Type-Options", "nosniff")
	return c.Blob(http.StatusOK, "text/javascript; charset=utf-8", body)
}

// home is the page at a tenant's root.
func (h *Handler) home(c echo.Context) error {
	if t := tenant.From(c.Request().Context()); t.Slug == tenant.OpsSlug {
		return errNotFound
	}
	p, err := h.protocol.Provider(c)
	if err != nil {
		return err
	}
	token, _ := h.cookies.Token(c.Request(), p.Tenant.Slug)
	s, err := p.Session(c.Request().Context(), token)
	if err != nil {
		return err
	}
	view := HomeView{Shell: h.shell(c, p, "")}
	if s != nil {
		view.Account, view.LogoutAction = accountLabel(*s), p.URL("/session/end")
		applications, err := p.Applications(c.Request().Context())
		if err != nil {
			return err
		}
		for _, a := range applications {
			view.Applications = append(view.Applications, Application{Name: a.Name, LogoURL: webLink(&a.LogoURI), URL: a.LoginURL})
		}
	}
	return respond(c, http.StatusOK, func(b *bytes.Buffer, v HomeView) error { return h.renderer.Home(b, v) }, view)
}

var errNotFound = problem.New(problem.NotFound, "not_found", "There is nothing here.")

// Error shows an error to a person, on the tenant's page when the tenant is known and on a neutral one otherwise. It reveals
// nothing but the kind of the error and the request's id.
func (h *Handler) Error(c echo.Context, err error) error {
	trouble := problem.From(err)
	view := ErrorView{Status: trouble.Kind.Status(), Reason: reason(trouble)}
	if p, perr := h.known(c); perr == nil {
		view.Shell = h.shell(c, p, c.QueryParam("ui_locales"))
	} else {
		view.Locale = h.locale(c, h.catalog.Locales(), i18n.Fallback, "")
	}
	if view.Reason == ErrorQuota {
		view.Detail = trouble.Code // Whoever administers the tenant is asked about it.
	}
	view.RequestID = telemetry.RequestID(c.Request().Context())
	if wait, ok := errors.AsType[*signin.Throttled](err); ok {
		c.Response().Header().Set("Retry-After", seconds(wait.RetryAfter))
	}
	return respond(c, view.Status, func(b *bytes.Buffer, v ErrorView) error { return h.renderer.Error(b, v) }, view)
}

var errNoTenant = errors.New("no tenant is known")

// known is the provider of a request whose tenant was resolved.
func (h *Handler) known(c echo.Context) (*oidc.Provider, error) {
	if t, ok := tenant.Lookup(c.Request().Context()); !ok || t.Slug == tenant.OpsSlug {
		return nil, errNoTenant
	}
	return h.protocol.Provider(c)
}

// reason picks the words of the error page.
func reason(p *problem.Error) ErrorReason {
	switch p.Code {
	case "unknown_client", "invalid_redirect_uri":
		return ErrorClient
	case signin.ErrExpired.Code, signin.ErrUnknown.Code:
		return ErrorExpired
	case tenant.ErrInactive.Code:
		return ErrorInactive
	}
	if tenant.OverQuota(p) != "" {
		return ErrorQuota
	}
	switch p.Kind {
	case problem.Invalid, problem.Conflict, problem.Stale, problem.TooLarge, problem.NotAllowed:
		return ErrorRequest
	case problem.Unauthorized, problem.Forbidden:
		return ErrorForbidden
	case problem.NotFound:
		return ErrorNotFound
	case problem.TooMany:
		return ErrorTooMany
	case problem.Unavailable:
		return ErrorUnavailable
	case problem.Internal:
	}
	return ErrorInternal
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d/time.Second) + 1) }
