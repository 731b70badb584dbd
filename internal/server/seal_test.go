package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/server"
	"parako/internal/tenant"
	"parako/internal/testkit"
	"parako/internal/testkit/app"
)

// unsealed is what happened in a tenant and is under no seal.
const unsealed = `
	SELECT e.type
	  FROM parako.audit_events AS e
	 WHERE NOT EXISTS (SELECT FROM parako.audit_leaves AS l WHERE e.id = ANY (l.event_ids))`

// TestTrailsAreSealed signs somebody in and lets the background seal it, which tells the log.
func TestTrailsAreSealed(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	newParty(t, a, a.Acme, a.Acme.Web).tokens(t)
	a.Server.SealUsed(t.Context())
	if got := a.DB.Ask(t, a.Acme.ID, unsealed); len(got) > 0 {
		t.Errorf("not sealed: %q", got)
	}
	if got := a.DB.Ask(t, a.Acme.ID, "SELECT finding FROM audit.verify($1)", a.Acme.ID); len(got) > 0 {
		t.Errorf("findings: %q", got)
	}
	hash := a.DB.Ask(t, a.Acme.ID, "SELECT hash FROM audit.seals ORDER BY seal_no DESC LIMIT 1")
	if log := a.Logs.String(); len(hash) != 1 || !strings.Contains(log, "audit_sealed") || !strings.Contains(log, hash[0]) {
		t.Errorf("the log does not tell of the seal %q:\n%s", hash, log)
	}
}

// TestEveryTrailGetsItsTurn leaves events behind in tenants that nobody asks for, as a command line does, more of them than
// fit one page.
func TestEveryTrailGetsItsTurn(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for i := range 110 {
		testkit.Tenant(t, a.Store, fmt.Sprintf("quiet-%03d", i))
	}
	all, err := tenant.List(t.Context(), a.Store, "", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	logs := &app.Logs{}
	second, err := server.New(t.Context(), server.Options{Config: a.Config, Log: slog.New(slog.NewTextHandler(logs, nil)), RedisCompat: true})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	for round, want := range []bool{false, true} {
		second.SealNext(t.Context())
		open := slices.DeleteFunc(slices.Clone(all), func(one tenant.Tenant) bool { return len(a.DB.Ask(t, one.ID, unsealed)) == 0 })
		if (len(open) == 0) != want {
			t.Errorf("after page %d, %d of %d tenants have events under no seal", round, len(open), len(all))
		}
	}
	before := logs.String()
	second.SealNext(t.Context()) // begins anew and finds nothing
	if diff := cmp.Diff(before, logs.String()); diff != "" {
		t.Errorf("a round without news logs (-before +after)\n%s", diff)
	}
}

// TestShutdownSealsWhatHappenedLast ends a server that has just answered.
func TestShutdownSealsWhatHappenedLast(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	second, err := server.New(t.Context(), server.Options{Config: a.Config, Log: slog.New(slog.DiscardHandler), RedisCompat: true})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- second.Run(ctx, listener, nil, func() { close(ready) }) }()
	<-ready
	a.Addr = listener.Addr().String()
	newParty(t, a, a.Acme, a.Acme.Web).tokens(t)
	a.Client(t).CloseIdleConnections()
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := a.DB.Ask(t, a.Acme.ID, unsealed); len(got) > 0 {
		t.Errorf("not sealed: %q", got)
	}
}
