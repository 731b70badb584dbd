package server

import (
	"context"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"parako/internal/store"
)

// SealUsed and SealNext do what the background does every few seconds and every minute.
func (s *Server) SealUsed(ctx context.Context) { s.sealer.sealUsed(ctx) }

// SealNext is described at SealUsed.
func (s *Server) SealNext(ctx context.Context) { s.sealer.sealNext(ctx) }

// ExpireNext is what follows Expire.
func (s *Server) ExpireNext(ctx context.Context, after string) (string, error) {
	return s.expireNext(ctx, after)
}

// NewPulse makes what /readyz asks, with a ping and a clock of the test's.
func NewPulse(ping func(context.Context) error, now func() time.Time) (beats func(context.Context) bool) {
	p := &pulse{ping: ping, now: now}
	return p.beats
}

// Routes are the routes of the public listener as the router has them.
func (s *Server) Routes() []*echo.Route { return s.echo.Routes() }

// Metrics is the handler of the other listener.
func (s *Server) Metrics() http.Handler { return s.metricsHandler() }

// Store is the instance's own store, whose changes it announces.
func (s *Server) Store() *store.Store { return s.store }

// Load is how many requests are served, and how many wait for their tenant's turn.
func (s *Server) Load() (served, waiting int) { return s.shares.Load() }

// Undivided serves whoever comes, however many requests of one tenant there are.
func (s *Server) Undivided() { s.shares = nil }

// AnswerIn has requests give up after d, and returns after how much they did before.
func (s *Server) AnswerIn(d time.Duration) time.Duration {
	before := s.answerIn
	s.answerIn = d
	return before
}
