package server

import (
	"context"
	"net/http"
)

// askAtOnce bounds the look-ups that names in TLS handshakes, which anyone can invent, cause at the same time.
const askAtOnce = 4

// ask answers a proxy that wants to know whether to get a certificate for a host (?domain=), in the way of Caddy's on-demand TLS:
// 200 when somebody is served there, 404 when nobody is. Names that lead nowhere are remembered for a while; others wait for one of
// the places.
func (s *Server) ask(places chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), s.answerIn)
		defer cancel()
		w.Header().Set("Cache-Control", "no-store")
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		case <-ctx.Done(): // Saying nothing would be a yes.
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		served, err := s.resolver.Serves(ctx, r.URL.Query().Get("domain"))
		switch {
		case err != nil:
			s.o.Log.ErrorContext(ctx, "tls_ask_failed", "error", err.Error())
			w.WriteHeader(http.StatusServiceUnavailable)
		case !served:
			w.WriteHeader(http.StatusNotFound)
		default:
			w.WriteHeader(http.StatusOK)
		}
	}
}
