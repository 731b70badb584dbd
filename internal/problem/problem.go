// Package problem is the one vocabulary of errors that callers branch on: a kind that decides the status, a stable code, a
// message that is safe to show to anyone, and the cause, which is not. Domain packages make problems; only the edges
// (pages, api, oidc, server) turn them into responses, each in the form its callers expect.
//
// It knows nothing of HTTP bodies and refuses to carry detail about another tenant. Start reading at [Error].
package problem

import (
	"context"
	"errors"
	"net/http"
)

// Kind decides how an edge answers. The zero value is Internal.
type Kind string

// The kinds, with the HTTP status each edge uses for them.
const (
	Internal     Kind = ""             // 500; the message is never shown
	Invalid      Kind = "invalid"      // 400
	Unauthorized Kind = "unauthorized" // 401
	Forbidden    Kind = "forbidden"    // 403
	NotFound     Kind = "not_found"    // 404
	NotAllowed   Kind = "not_allowed"  // 405
	Conflict     Kind = "conflict"     // 409
	Stale        Kind = "stale"        // 412; the caller expected another state than there is
	TooLarge     Kind = "too_large"    // 413
	TooMany      Kind = "too_many"     // 429
	Unavailable  Kind = "unavailable"  // 503
)

// Status is the HTTP status of the kind.
func (k Kind) Status() int {
	switch k {
	case Invalid:
		return http.StatusBadRequest
	case Unauthorized:
		return http.StatusUnauthorized
	case Forbidden:
		return http.StatusForbidden
	case NotFound:
		return http.StatusNotFound
	case NotAllowed:
		return http.StatusMethodNotAllowed
	case Conflict:
		return http.StatusConflict
	case Stale:
		return http.StatusPreconditionFailed
	case TooLarge:
		return http.StatusRequestEntityTooLarge
	case TooMany:
		return http.StatusTooManyRequests
	case Unavailable:
		return http.StatusServiceUnavailable
	case Internal:
	}
	return http.StatusInternalServerError
}

// Error is a problem on its way to an edge. Code is stable snake_case, for programs; Message is an English sentence that
// says what to do and never repeats input.
type Error struct {
	Kind    Kind
	Code    string
	Message string
	cause   error
}

// New makes a problem without a cause.
func New(kind Kind, code, message string) *Error {
	return &Error{Kind: kind, Code: code, Message: message}
}

// Because returns a copy that wraps cause, for the log.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// Error implements error. It is for logs, not for callers.
func (e *Error) Error() string {
	if e.cause == nil {
		return e.Code
	}
	return e.Code + ": " + e.cause.Error()
}

// Unwrap gives errors.Is and errors.As the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is makes two problems with the same code equal, so that a sentinel matches its copies made by Because.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error) // One link of the chain: errors.Is walks it.
	return ok && t.Code == e.Code
}

// ErrLate says that the request waited too long for something: a database, a connection to it, its turn.
var ErrLate = New(Unavailable, "answer_late", "The server has too much to do to answer in time. Try again in a moment.")

// LateRetry is in how many seconds to try again after ErrLate.
const LateRetry = 5

// Late is ErrLate because of err when ctx has run out of time and err is no other problem, and err otherwise.
func Late(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && From(err).Kind == Internal {
		return ErrLate.Because(err)
	}
	return err
}

// From finds the problem in err. An error without one becomes an Internal problem that wraps it.
func From(err error) *Error {
	if p, ok := errors.AsType[*Error](err); ok {
		return p
	}
	return New(Internal, "internal", "Something went wrong on our side. Try again; if it goes on, tell your administrator the request id.").Because(err)
}
