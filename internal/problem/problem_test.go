package problem_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/problem"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	want := map[problem.Kind]int{
		problem.Internal:     http.StatusInternalServerError,
		problem.Invalid:      http.StatusBadRequest,
		problem.Unauthorized: http.StatusUnauthorized,
		problem.Forbidden:    http.StatusForbidden,
		problem.NotFound:     http.StatusNotFound,
		problem.NotAllowed:   http.StatusMethodNotAllowed,
		problem.Conflict:     http.StatusConflict,
		problem.Stale:        http.StatusPreconditionFailed,
		problem.TooLarge:     http.StatusRequestEntityTooLarge,
		problem.TooMany:      http.StatusTooManyRequests,
		problem.Unavailable:  http.StatusServiceUnavailable,
		"unheard of":         http.StatusInternalServerError,
	}
	for kind, status := range want {
		if got := kind.Status(); got != status {
			t.Errorf("Status of %q = %d, want %d", kind, got, status)
		}
	}
}

func TestSentinelMatchesItsCopies(t *testing.T) {
	t.Parallel()
	sentinel := problem.New(problem.Conflict, "slug_taken", "Choose another.")
	other := problem.New(problem.Conflict, "domain_taken", "Choose another.")
	cause := errors.New("23505")
	err := fmt.Errorf("create tenant: %w", sentinel.Because(cause))

	if !errors.Is(err, sentinel) {
		t.Error("a wrapped copy is not its sentinel")
	}
	if errors.Is(err, other) {
		t.Error("a problem is another with the same kind and message")
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is lost")
	}
	if errors.Is(sentinel, cause) {
		t.Error("Because changed the sentinel")
	}
	if diff := cmp.Diff("create tenant: slug_taken: 23505", err.Error()); diff != "" {
		t.Errorf("text for the log mismatch (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff("slug_taken", sentinel.Error()); diff != "" {
		t.Errorf("text without a cause mismatch (-want +got)\n%s", diff)
	}
}

func TestFrom(t *testing.T) {
	t.Parallel()
	t.Run("a problem is found however deep", func(t *testing.T) {
		t.Parallel()
		p := problem.New(problem.NotFound, "tenant_not_found", "Tenant not found.")
		if got := problem.From(fmt.Errorf("resolve: %w", errors.Join(errors.New("first"), p))); got != p {
			t.Errorf("From = %v, want the problem itself", got)
		}
	})
	t.Run("anything else is ours, and its text is not shown", func(t *testing.T) {
		t.Parallel()
		err := errors.New("password authentication failed for user parako_app")
		got := problem.From(err)
		if got.Kind != problem.Internal || got.Code != "internal" || !errors.Is(got, err) {
			t.Errorf("From = %+v, want an internal problem that wraps the error", got)
		}
		const message = "Something went wrong on our side. Try again; if it goes on, tell your administrator the request id."
		if diff := cmp.Diff(message, got.Message); diff != "" {
			t.Errorf("message mismatch (-want +got)\n%s", diff)
		}
	})
}
