package server

import (
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/labstack/echo/v4"

	"parako/internal/federation"
	"parako/internal/problem"
)

// What the gateway refuses before it has understood anything.
var (
	errGatewayPath   = problem.New(problem.NotFound, "not_found", "Not found")
	errGatewayMethod = problem.New(problem.NotAllowed, "method_not_allowed", "Method not allowed")
)

// socialCallback is the path of a provider's callback, in its one spelling.
var socialCallback = regexp.MustCompile(`^/social/([a-z][a-z0-9-]{0,31})/callback$`)

// gateway serves the tenant _ops: what providers, probes and proxies ask of the deployment as a whole. It has no session, no settings
// and no database, and answers in JSON only, but for the redirect that ends a callback.
func (s *Server) gateway(c echo.Context) error {
	r := c.Request()
	noStore(c).Response().Header().Set("Referrer-Policy", "no-referrer") // The address of a callback holds a code.
	serve, route := func(echo.Context) error { return errGatewayPath }, ""
	path := r.URL.EscapedPath()
	callback := socialCallback.FindStringSubmatch(path)
	switch {
	case path == "/health":
		serve, route = gatewayHealth, path
	case path == "/metrics":
		serve, route = gatewayMetrics, path
	case callback != nil:
		serve, route = func(c echo.Context) error { return s.receive(c, callback[1]) }, "/social/:provider/callback"
	}
	c.SetPath(route) // What the router found is a route of the tenants.
	switch {
	case route == "":
		s.o.Log.WarnContext(r.Context(), "ops_route_blocked", "method", r.Method, "path", r.URL.Path)
	case r.Method != http.MethodGet:
		s.o.Log.WarnContext(r.Context(), "ops_method_blocked", "method", r.Method, "path", r.URL.Path)
		c.Response().Header().Set("Allow", "GET, HEAD")
		return errGatewayMethod
	}
	return serve(c)
}

// gatewayHealth says that the process lives.
func gatewayHealth(c echo.Context) error {
	return c.JSON(http.StatusOK, health{Status: "ok", Timestamp: time.Now().UTC()})
}

// gatewayMetrics says that there is something to ask. The metrics themselves are on the listener that the public does not reach.
func gatewayMetrics(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "ok", "message": "Metrics endpoint"})
}

// receive takes a provider's answer to the tenant it belongs to (RFC 6749 section 4.1.2). Nobody is redirected before the state is
// known to be ours.
func (s *Server) receive(c echo.Context, provider string) error {
	ctx := c.Request().Context()
	query, err := url.ParseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return federation.ErrCallback
	}
	for _, name := range []string{"code", "state", "error", "iss"} {
		if len(query[name]) > 1 {
			return federation.ErrCallback
		}
	}
	location, err := s.relay.Receive(ctx, provider, federation.Callback{
		State: query.Get("state"), Code: query.Get("code"), Error: query.Get("error"), Issuer: query.Get("iss"),
	}, callerAddress(c))
	if err != nil {
		s.o.Log.WarnContext(ctx, "social_callback_refused", "provider", provider, "reason", err.Error())
		return err
	}
	return c.Redirect(http.StatusFound, location)
}
