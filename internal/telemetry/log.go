// Package telemetry is how the product tells its operators what it does: structured logs and Prometheus metrics.
//
// It refuses to carry secrets: every log record passes a scrubber that masks values by their key and credentials in
// URLs. The scrubber is the second fence; the first is that code logs a secret.String, which redacts itself, or nothing.
// It also refuses to grow with the number of tenants or with what clients send: a metric's labels take values from
// short lists, and anything else counts as "other". A tenant appears in logs, never in labels.
//
// Start reading at [NewLogger] and [Metrics].
package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"
)

type ctxKey int

const (
	requestIDKey ctxKey = iota
	tenantKey
)

// WithRequestID returns a context whose log records carry request_id. The caller has checked id: it may come from
// the X-Request-ID header.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey, id)
}

// RequestID returns what [WithRequestID] stored, or "".
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey).(string)
	return id
}

// WithTenant returns a context whose log records carry the tenant's slug. It is for logs alone and decides nothing:
// a slug found here is no proof of anything.
func WithTenant(ctx context.Context, slug string) context.Context {
	return context.WithValue(ctx, tenantKey, slug)
}

// NewLogger returns a logger that writes one record per line to w: JSON, or text when pretty. level is debug, info,
// warn or error in any case; anything else is info. Records carry request_id and tenant from the context they are
// logged with, and are scrubbed. Safe for concurrent use.
func NewLogger(w io.Writer, level string, pretty bool) *slog.Logger {
	var threshold slog.Level
	if err := threshold.UnmarshalText([]byte(level)); err != nil {
		threshold = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: threshold, ReplaceAttr: scrub}
	var handler slog.Handler = slog.NewJSONHandler(w, options)
	if pretty {
		handler = slog.NewTextHandler(w, options)
	}
	return slog.New(contextHandler{next: handler, root: handler})
}

// contextHandler adds what the context knows, at the top level of the record: inside an open group nobody would find
// it. So it replays the groups and attributes of With on top of a handler that already has it.
type contextHandler struct {
	next  slog.Handler                      // root with all of scope, for records without context
	root  slog.Handler                      // without scope
	scope []func(slog.Handler) slog.Handler // what With and WithGroup did, in order
}

// Enabled implements [slog.Handler].
func (h contextHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (h contextHandler) Handle(ctx context.Context, r slog.Record) error {
	var known []slog.Attr
	if id := RequestID(ctx); id != "" {
		known = append(known, slog.String("request_id", id))
	}
	if slug, _ := ctx.Value(tenantKey).(string); slug != "" {
		known = append(known, slog.String("tenant", slug))
	}
	if len(known) == 0 {
		return h.next.Handle(ctx, r)
	}
	handler := h.root.WithAttrs(known)
	for _, enter := range h.scope {
		handler = enter(handler)
	}
	return handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.enter(func(next slog.Handler) slog.Handler { return next.WithAttrs(attrs) })
}

// WithGroup implements [slog.Handler].
func (h contextHandler) WithGroup(name string) slog.Handler {
	return h.enter(func(next slog.Handler) slog.Handler { return next.WithGroup(name) })
}

func (h contextHandler) enter(scope func(slog.Handler) slog.Handler) slog.Handler {
	return contextHandler{
		next:  scope(h.next),
		root:  h.root,
		scope: append(slices.Clip(h.scope), scope), // siblings must not share the array
	}
}
