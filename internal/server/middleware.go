package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"parako/internal/audit"
	"parako/internal/oidc"
	"parako/internal/problem"
	"parako/internal/telemetry"
	"parako/internal/tenant"
)

// maxBody is the largest request body: forms of pages and of the protocol, with signed request objects and key sets in them.
const maxBody = 64 << 10

// routes builds the public handler. The order of the middleware is the order of the list: identify the request, know its
// tenant, and only then anything that could depend on it.
func (s *Server) routes(protocol *oidc.Handler) (*echo.Echo, error) {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = s.clientIP
	e.HTTPErrorHandler = s.renderError
	e.Pre(s.identify, s.hurry, s.observe, s.survive)
	e.Use(s.resolveTenant, s.restrain(protocol), limitBody, s.takeTurn)

	e.GET("/health", s.health)
	e.GET("/readyz", s.readiness)
	protocol.Mount(e)
	s.pages.Mount(e)
	return e, s.api.Mount(e)
}

// headAsGet serves HEAD wherever GET is served. net/http leaves the body out by itself: it keeps the original request.
func headAsGet(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			get := *r
			get.Method = http.MethodGet
			r = &get
		}
		next.ServeHTTP(w, r)
	})
}

// withoutTenant are the paths that are served before, and whether or not, a tenant is found. The gateway has its own.
func withoutTenant(path string) bool { return path == "/health" || path == "/readyz" }

var requestID = regexp.MustCompile(`^[A-Za-z0-9._:@/-]{1,128}$`)

// identify gives the request its id, the inbound one when a trusted proxy sent it, and its effective host: what a trusted
// proxy forwarded replaces Host here, once, so that nothing later can disagree about it.
func (s *Server) identify(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		trusted := tenant.Trusted(r.RemoteAddr, s.o.Config.TrustedProxies)
		id := r.Header.Get("X-Request-Id")
		if !trusted || !requestID.MatchString(id) {
			id = uuid.NewString()
		}
		if forwarded := r.Header.Values("X-Forwarded-Host"); trusted && len(forwarded) == 1 && !strings.Contains(forwarded[0], ",") {
			r.Host = strings.TrimSpace(forwarded[0])
		}
		if trusted {
			r.TLS = clientCertificate(r.Header, s.o.Config.ClientCertificateHeader)
		}
		c.SetRequest(r.WithContext(telemetry.WithRequestID(r.Context(), id)))
		header := c.Response().Header()
		header.Set("X-Request-Id", id)
		header.Set("X-Content-Type-Options", "nosniff")
		if s.secure {
			header.Set("Strict-Transport-Security", "max-age=31536000")
		}
		return next(c)
	}
}

// hurry ends what a request waits for, such as a database that does not answer or has no connection to spare, while there is time left
// to say so.
func (s *Server) hurry(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx, cancel := context.WithTimeout(c.Request().Context(), s.answerIn)
		defer cancel()
		c.SetRequest(c.Request().WithContext(ctx))
		return next(c)
	}
}

// clientIP is the address of whoever speaks through the trusted proxies: the rightmost in X-Forwarded-For that is not one.
func (s *Server) clientIP(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	addr := peer.Addr().Unmap()
	if !tenant.Trusted(addr.String(), s.o.Config.TrustedProxies) {
		return addr.String()
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(hops) {
		hop, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			break
		}
		addr = hop.Unmap()
		if !tenant.Trusted(addr.String(), s.o.Config.TrustedProxies) {
			break
		}
	}
	return addr.String()
}

// observe logs and measures every request, after its error was rendered.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		started := time.Now()
		if err := next(c); err != nil {
			c.Error(err)
		}
		r, status, took := c.Request(), c.Response().Status, time.Since(started)
		route := c.Path()
		if route == "" {
			route = "unknown"
		}
		s.metrics.ObserveRequest(r.Method, route, status, took)
		level := slog.LevelInfo
		switch {
		case withoutTenant(r.URL.Path):
			level = slog.LevelDebug
		case status >= http.StatusInternalServerError:
			level = slog.LevelError
		case status >= http.StatusBadRequest:
			level = slog.LevelWarn
		}
		s.o.Log.Log(r.Context(), level, "request",
			"method", r.Method, "url", telemetry.RedactURL(r.URL.RequestURI()), "status_code", status, "duration_ms", took.Milliseconds(), "ip", c.RealIP())
		return nil
	}
}

// survive turns a panic into a 500 of this one request.
func (s *Server) survive(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint,err113 // net/http compares it the same way.
					panic(p)
				}
				s.o.Log.ErrorContext(c.Request().Context(), "panic", "panic", p, "stack", string(debug.Stack()))
				err = problem.From(errPanic)
			}
		}()
		return next(c)
	}
}

var errPanic = errors.New("handler panicked")

var errTooLarge = problem.New(problem.TooLarge, "body_too_large", "The request body is too large.")

func limitBody(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.ContentLength > maxBody {
			return errTooLarge
		}
		r.Body = http.MaxBytesReader(c.Response(), r.Body, maxBody)
		return next(c)
	}
}

// resolveTenant finds whose request this is. The stylesheet of the error page is served to everyone.
func (s *Server) resolveTenant(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if withoutTenant(r.URL.Path) && !s.resolver.Gateway(r) {
			return next(c)
		}
		if s.o.Config.MultiTenancy.Enabled && s.o.Config.MultiTenancy.From("header") {
			// Whoever caches an answer in front of us must tell tenants apart as we do.
			c.Response().Header().Add("Vary", s.o.Config.MultiTenancy.TenantHeader)
		}
		t, err := s.resolver.Resolve(r)
		if err != nil {
			if inactive, ok := errors.AsType[*tenant.Inactive](err); ok {
				// What its people send is its own, though it is not served.
				c.SetRequest(r.WithContext(telemetry.WithTenant(r.Context(), inactive.Slug)))
			}
			if strings.HasPrefix(r.URL.Path, "/static/") {
				return next(c)
			}
			if errors.Is(err, tenant.ErrInactive) && r.Method == http.MethodPost && r.URL.Path == oidc.IntrospectionPath {
				return oidc.IntrospectInactive(c)
			}
			return err
		}
		ctx := audit.WithOrigin(telemetry.WithTenant(tenant.With(r.Context(), t), t.Slug), oidc.Origin(c))
		c.SetRequest(r.WithContext(ctx))
		if t.Slug == tenant.OpsSlug {
			return s.gateway(c)
		}
		if origin, elsewhere := s.resolver.Elsewhere(r, t); elsewhere && moves(r) {
			return move(c, origin)
		}
		return next(c)
	}
}

// moves reports whether a request that arrived at another host of its tenant than the primary one is sent there: pages, because
// sessions are cookies of one host; authorization requests, however they are sent; and the documents about the issuer, which are
// valid at the issuer's own host alone (OpenID Connect Discovery 1.0 section 4.3, RFC 8414 section 3.3). What programs call with
// credentials goes on where they call it, and so do key sets: nothing in them depends on the host.
func moves(r *http.Request) bool {
	path := r.URL.Path
	if path == oidc.Mount+"/authorize" {
		return true
	}
	if r.Method != http.MethodGet || strings.HasPrefix(path, "/static/") {
		return false
	}
	return callerOf(r) == browser || strings.HasPrefix(strings.TrimPrefix(path, oidc.Mount), "/.well-known/")
}

// move sends the request to the same place at another origin. Nobody may keep that: when the primary domain moves back, two
// redirects that were kept would chase each other.
func move(c echo.Context, origin string) error {
	u := c.Request().URL
	target := origin + "/" + strings.TrimPrefix(u.EscapedPath(), "/")
	if u.RawQuery != "" {
		target += "?" + u.RawQuery
	}
	return noStore(c).Redirect(http.StatusPermanentRedirect, target)
}
