package oidc

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/ory/fosite"

	"parako/internal/problem"
	"parako/internal/tenant"
)

// oauthError is an error as clients see it (RFC 6749 sections 4.1.2.1 and 5.2).
type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
	status      int
}

// explain finds what a client may know of err. The second result is the cause when the fault is ours, for the log.
func explain(err error) (oauthError, error) {
	if errors.Is(err, errSpent) {
		return oauthError{"invalid_grant", "The code or token was used already.", http.StatusBadRequest}, nil
	}
	if m, ok := errors.AsType[*metadataError](err); ok {
		return oauthError{m.code(), m.message, http.StatusBadRequest}, nil
	}
	if quota := tenant.OverQuota(err); quota != "" {
		// A registration that cannot be is 400 with a code (RFC 7591 section 3.2.2), which may be one of our own.
		p := problem.From(err)
		return oauthError{p.Code, ascii(p.Message), http.StatusBadRequest}, nil
	}
	if p, ok := errors.AsType[*problem.Error](err); ok && p.Kind != problem.Internal {
		return oauthError{problemCode(p.Kind), ascii(p.Message), p.Kind.Status()}, nil
	}
	rfc, ok := errors.AsType[*fosite.RFC6749Error](err)
	if !ok || rfc.CodeField >= http.StatusInternalServerError {
		return oauthError{"server_error", "The request could not be completed. Try again.", http.StatusInternalServerError}, cause(err)
	}
	e := oauthError{rfc.ErrorField, describe(rfc), rfc.CodeField}
	switch {
	case e.Code == "invalid_request" && errors.Is(err, fosite.ErrInvalidTokenFormat):
		// fosite blames the request for a malformed code or refresh token; RFC 6749 section 5.2 names the grant.
		e.Code = "invalid_grant"
	case e.Code == "invalid_state" || e.Code == "invalid_token_format":
		e.Code = "invalid_request"
	}
	return e, nil
}

// describe is the description of an error. fosite completes an error when it is asked for it, and several requests may share one:
// so the question goes to a copy.
func describe(e *fosite.RFC6749Error) string {
	own := *e
	return ascii(own.GetDescription())
}

// errOff answers at an endpoint that the tenant has turned off: it is not there.
var errOff = problem.New(problem.NotFound, "not_found", "There is nothing here.")

func asRFC(err error) (*fosite.RFC6749Error, bool) {
	return errors.AsType[*fosite.RFC6749Error](err)
}

func problemCode(k problem.Kind) string {
	switch k {
	case problem.Unavailable, problem.TooMany:
		return "temporarily_unavailable"
	default:
		return "invalid_request"
	}
}

// cause unwraps fosite's error, which hides what happened behind "server_error".
func cause(err error) error {
	if rfc, ok := errors.AsType[*fosite.RFC6749Error](err); ok && rfc.Cause() != nil {
		return rfc.Cause()
	}
	return err
}

// ascii keeps a description to the characters RFC 6749 section 4.1.2.1 allows, and to a readable length.
func ascii(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return '\''
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case r < 0x20 || r > 0x7e:
			return -1
		}
		return r
	}, s)
	const limit = 400
	if len(s) > limit {
		s = s[:limit]
	}
	return s
}

// writeError answers a client in OAuth JSON. A failed Basic authentication is challenged (RFC 6749 section 5.2).
func (h *Handler) writeError(c echo.Context, err error) error {
	e, internal := explain(err)
	if late := problem.Late(c.Request().Context(), internal); internal != nil && errors.Is(late, problem.ErrLate) {
		return late // It is answered alike everywhere.
	}
	if internal != nil {
		h.deps.Log.ErrorContext(c.Request().Context(), "oauth_request_failed", "path", c.Path(), "error", internal.Error())
	}
	if e.Code == "invalid_client" && c.Request().Header.Get("Authorization") != "" {
		c.Response().Header().Set("WWW-Authenticate", `Basic realm="parako"`)
	}
	noStore(c)
	return c.JSON(e.status, e)
}

// WriteError answers an error that arose before or around a protocol endpoint, such as an unknown tenant, in OAuth JSON.
func WriteError(c echo.Context, err error) error {
	e, _ := explain(err)
	noStore(c)
	return c.JSON(e.status, e)
}

// noStore keeps tokens and errors out of caches (RFC 6749 section 5.1).
func noStore(c echo.Context) {
	h := c.Response().Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
}

// repeated finds a parameter that is sent more than once (RFC 6749 section 3.1), apart from those that may be.
func repeated(form map[string][]string) error {
	for name, values := range form {
		if len(values) > 1 && name != "resource" && name != "audience" {
			return fosite.ErrInvalidRequest.WithHint("A parameter is sent more than once.")
		}
	}
	return nil
}

// omitEmpty takes out the parameters without a value: they count as left out (RFC 6749 sections 3.1 and 3.2).
func omitEmpty(form url.Values) {
	maps.DeleteFunc(form, func(_ string, values []string) bool {
		return !slices.ContainsFunc(values, func(v string) bool { return v != "" })
	})
}

// refusal is the audit trail's reason for an error.
func refusal(err error) string {
	e, _ := explain(err)
	return e.Code
}

// cancelled reports whether the caller went away, which is nobody's fault.
func cancelled(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }
