package server

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"parako/internal/api"
	"parako/internal/federation"
	"parako/internal/oidc"
	"parako/internal/problem"
	"parako/internal/telemetry"
	"parako/internal/tenant"
)

// caller is who waits for an answer; it decides the form of an error.
type caller int

const (
	browser  caller = iota // a page
	program                // OAuth JSON (RFC 6749 section 5.2)
	operator               // application/problem+json (RFC 9457)
)

// callerOf reads from the path who is asking: the API, a client at one of the protocol's endpoints, or a person.
func callerOf(r *http.Request) caller {
	path := r.URL.Path
	if path == "/api" || strings.HasPrefix(path, "/api/") {
		return operator
	}
	rest, ok := strings.CutPrefix(path, oidc.Mount)
	if !ok {
		if strings.HasPrefix(path, "/.well-known/") {
			return program
		}
		return browser
	}
	if rest == "/authorize" || rest == "/device" || rest == "/device/done" || rest == "/device/denied" || strings.HasPrefix(rest, "/interaction/") || strings.HasPrefix(rest, "/session/") {
		return browser
	}
	return program
}

// renderError is the one place where an error becomes an answer. Each is logged once, here, unless it is the caller's own.
func (s *Server) renderError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	r := c.Request()
	err = fromEcho(err)
	trouble := problem.From(err)
	if trouble.Kind == problem.Internal {
		if errors.Is(r.Context().Err(), context.Canceled) {
			return // Nobody is waiting.
		}
		s.o.Log.ErrorContext(r.Context(), "request_failed", "error", err.Error())
	}
	if late := problem.Late(r.Context(), err); errors.Is(late, problem.ErrLate) {
		trouble = problem.From(late)
		err = &refusal{trouble: trouble, retryAfter: problem.LateRetry * time.Second}
	}
	c.Response().Header().Set("Cache-Control", "no-store") // It is for whoever asked, at the host they asked.
	retryAfter := 0
	if refused, ok := errors.AsType[*refusal](err); ok {
		retryAfter = refused.announce(c)
	}
	var failed error
	switch t, _ := tenant.Lookup(r.Context()); {
	case t.Slug == tenant.OpsSlug:
		if wait, ok := errors.AsType[*federation.Throttled](err); ok {
			c.Response().Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.RetryAfter.Seconds()))))
		}
		failed = c.JSON(trouble.Kind.Status(), map[string]string{"error": trouble.Message})
	case callerOf(r) == operator:
		failed = api.WriteProblem(c, trouble, retryAfter)
	case callerOf(r) == program:
		failed = oidc.WriteError(c, err)
	default:
		failed = s.pages.Error(c, err)
	}
	if failed != nil {
		s.o.Log.ErrorContext(r.Context(), "render_error_failed", "error", failed.Error())
		_ = c.String(http.StatusInternalServerError, "Internal error. Request "+telemetry.RequestID(r.Context()))
	}
}

// fromEcho translates the router's own errors.
func fromEcho(err error) error {
	he, ok := errors.AsType[*echo.HTTPError](err)
	if !ok {
		return err
	}
	switch he.Code {
	case http.StatusNotFound:
		return problem.New(problem.NotFound, "not_found", "There is nothing here.")
	case http.StatusMethodNotAllowed:
		return problem.New(problem.NotAllowed, "method_not_allowed", "This method is not allowed here.")
	}
	return err
}
