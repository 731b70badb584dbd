package oidc

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/ory/fosite"
)

// TestSharedErrorsStayAsTheyAre explains one error to many requests at once. The race detector tells when one of them writes.
func TestSharedErrorsStayAsTheyAre(t *testing.T) {
	t.Parallel()
	shared := fosite.ErrInvalidRequest.WithHintIDOrDefaultf("an-id", "The hint.")
	want, _ := explain(shared)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if got, _ := explain(shared); got != want {
				t.Errorf("explained as %v, want %v", got, want)
			}
		})
	}
	all.Wait()
}

// TestLateAuthorization has an application told in the words of RFC 6749 section 4.1.2.1 that there was no time, and that of other faults.
func TestLateAuthorization(t *testing.T) {
	t.Parallel()
	p := &Provider{Issuer: "https://acme.id.example/oidc/v1", deps: Deps{Log: slog.New(slog.DiscardHandler)}}
	r := &authRequest{redirectURI: "https://rp.example/cb", mode: modeQuery, form: url.Values{"state": {"s"}}}
	over, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for want, ctx := range map[string]context.Context{"temporarily_unavailable": over, "server_error": t.Context()} {
		answer, err := p.refuse(ctx, r, errors.New("connect to database"))
		if err != nil {
			t.Fatal(err)
		}
		back, err := url.Parse(answer.Location)
		if err != nil || back.Host != "rp.example" || back.Query().Get("error") != want || back.Query().Get("state") != "s" {
			t.Errorf("it leads to %s, %v; want the error %s", answer.Location, err, want)
		}
	}
}
