package server

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"parako/internal/oidc"
	"parako/internal/problem"
	"parako/internal/ratelimit"
	"parako/internal/tenant"
)

var errTooManyRequests = problem.New(problem.TooMany, "rate_limit_exceeded", "Too many requests have come from your address. Wait before the next one.")

var errBody = problem.New(problem.Invalid, "body_unreadable", "The request body did not arrive.")

// What a tenant may have waiting. A person does not wait longer for a page, and a request that waits is a few kilobytes.
const (
	shareQueue    = 128
	sharePatience = 20 * time.Second
)

// refusal is a problem that ends by itself, with the headers that say when.
type refusal struct {
	trouble       *problem.Error
	retryAfter    time.Duration
	policy, state string // RateLimit-Policy and RateLimit; empty: no rate is the reason
}

// over refuses what is beyond a limit.
func over(trouble *problem.Error, limit ratelimit.Limit, d ratelimit.Decision) *refusal {
	policy, state := limit.Headers(d)
	return &refusal{trouble: trouble, retryAfter: d.RetryAfter, policy: policy, state: state}
}

// Error implements error.
func (r *refusal) Error() string { return r.trouble.Code }

// Unwrap makes it the problem.
func (r *refusal) Unwrap() error { return r.trouble }

// announce writes the headers and returns in how many seconds to try again.
func (r *refusal) announce(c echo.Context) int {
	header, after := c.Response().Header(), max(ratelimit.Seconds(r.retryAfter), 1)
	header.Set("Retry-After", strconv.Itoa(after))
	if r.policy != "" {
		header.Set("RateLimit-Policy", r.policy)
		header.Set("RateLimit", r.state)
	}
	return after
}

// unrestrained are the paths that always answer: they cost next to nothing, and no page is complete without its style sheet.
func unrestrained(path string) bool {
	return withoutTenant(path) || strings.HasPrefix(path, "/static/")
}

// restrain refuses what is beyond the tenant's quota of requests, and the pages that one address opens beyond the rate that the
// tenant's settings allow. Applications do not count for the latter: a server that asks for all its people has one address, and what
// it is refused is limited where it authenticates. What counts is in the snapshot of the tenant and in this process, so that the hot
// path asks neither PostgreSQL nor Redis. The gateway has limits of its own.
func (s *Server) restrain(protocol *oidc.Handler) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			t, ok := tenant.Lookup(c.Request().Context())
			if !ok || unrestrained(c.Request().URL.Path) {
				return next(c)
			}
			if quota := t.Quota.RequestsPerSecond; quota != nil {
				limit := ratelimit.QuotaRequests(*quota)
				if d := s.limiter.AllowHere(t.ID, limit, ""); !d.Allowed {
					s.metrics.RateLimited(limit.Name)
					return over(tenant.ErrQuotaRequests, limit, d)
				}
			}
			if callerOf(c.Request()) != browser {
				return next(c)
			}
			p, err := protocol.Provider(c)
			if err != nil {
				return next(c) // Whoever needs the provider says why there is none; nothing is served without.
			}
			rate := p.Settings.Security.Protection.RateLimiting
			if !rate.Enabled {
				return next(c)
			}
			limit := ratelimit.Requests(rate.RequestsPerMinute, rate.Window())
			if d := s.limiter.AllowHere(t.ID, limit, callerAddress(c)); !d.Allowed {
				s.metrics.RateLimited(limit.Name)
				return over(errTooManyRequests, limit, d)
			}
			return next(c)
		}
	}
}

// callerAddress is the subject of limits by address. All callers without an address share one count.
func callerAddress(c echo.Context) string {
	addr, err := netip.ParseAddr(c.RealIP())
	if err != nil {
		addr = netip.IPv6Unspecified()
	}
	return ratelimit.IP(addr)
}

// takeTurn has a request wait for its tenant's turn, so that a tenant with many keeps those of others waiting as little as itself is
// kept by them. The body is read before: whoever sends it slowly takes nobody's place. The Management API, whose callers have
// authenticated by then, reads it by itself.
func (s *Server) takeTurn(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		t, ok := tenant.Lookup(r.Context())
		if !ok || s.shares == nil || unrestrained(r.URL.Path) {
			return next(c)
		}
		if r.Body != http.NoBody && callerOf(r) != operator {
			body, err := io.ReadAll(r.Body)
			if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
				return errTooLarge
			}
			if err != nil {
				return errBody.Because(err)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		ctx, err := s.shares.Enter(r.Context(), t.ID)
		if errors.Is(err, ratelimit.ErrBusy) {
			s.metrics.RateLimited("share")
			return &refusal{trouble: ratelimit.ErrBusy, retryAfter: time.Second}
		}
		if err != nil {
			return err
		}
		defer s.shares.Leave(t.ID)
		c.SetRequest(r.WithContext(ctx))
		return next(c)
	}
}
