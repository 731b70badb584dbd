package server

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	// deepTimeout bounds the database check of /health?deep=true and /readyz.
	deepTimeout = 3 * time.Second
	// pulseFor is how long its outcome answers whoever else asks.
	pulseFor = time.Second
)

type health struct {
	Status    string            `json:"status"`
	Timestamp time.Time         `json:"timestamp"`
	Checks    map[string]string `json:"checks,omitempty"`
}

// health says that the process lives; with ?deep=true also whether its database and Redis answer. Redis being away degrades
// nothing that matters, so it does not change the status.
func (s *Server) health(c echo.Context) error {
	answer := health{Status: "ok", Timestamp: time.Now().UTC()}
	status := http.StatusOK
	if c.QueryParam("deep") == "true" {
		answer.Checks = map[string]string{"database": "ok", "redis": s.redisState()}
		if !s.pulse.beats(c.Request().Context()) {
			answer.Status, answer.Checks["database"], status = "degraded", "unreachable", http.StatusServiceUnavailable
		}
	}
	return noStore(c).JSON(status, answer)
}

func (s *Server) redisState() string {
	switch {
	case s.o.Config.Redis().Empty():
		return "disabled"
	case s.cache.Available():
		return "ok"
	}
	return "unreachable"
}

// readiness says whether requests should be sent here.
func (s *Server) readiness(c echo.Context) error {
	switch {
	case s.draining.Load():
		return noStore(c).JSON(http.StatusServiceUnavailable, map[string]string{"status": "shutting_down"})
	case !s.pulse.beats(c.Request().Context()):
		return noStore(c).JSON(http.StatusServiceUnavailable, map[string]string{"status": "db_disconnected"})
	}
	return noStore(c).JSON(http.StatusOK, map[string]string{"status": "ready"})
}

// pulse knows whether the database answers. Anybody may ask, without limit: so it borrows a connection once a second at most, and one
// at a time. It is safe for concurrent use.
type pulse struct {
	ping func(context.Context) error
	now  func() time.Time

	mu    sync.Mutex
	known time.Time
	ok    bool
}

func (p *pulse) beats(ctx context.Context) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known.IsZero() || p.now().Sub(p.known) >= pulseFor {
		// Whoever asks first may go away; the others want to know it still.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deepTimeout)
		defer cancel()
		p.ok = p.ping(ctx) == nil
		p.known = p.now()
	}
	return p.ok
}

func noStore(c echo.Context) echo.Context {
	c.Response().Header().Set("Cache-Control", "no-store")
	return c
}

// metricsHandler is the separate listener's: Prometheus metrics, and the question of proxies that make certificates on demand.
func (s *Server) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.Handler())
	mux.HandleFunc("GET /tls/ask", s.ask(make(chan struct{}, askAtOnce)))
	return mux
}
