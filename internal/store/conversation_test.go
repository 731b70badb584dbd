package store_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"

	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/testkit"
)

// wire stands between a store and its server and counts the times the store begins to speak after it has listened.
type wire struct {
	mu    sync.Mutex
	trips int
}

// tap returns a URL that leads to the server of dsn through a wire.
func tap(t *testing.T, dsn string) (*wire, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	name := ".s.PGSQL." + query.Get("port")
	server := filepath.Join(query.Get("host"), name)
	dir, err := os.MkdirTemp("", "tap")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{}
	var pumps sync.WaitGroup
	pumps.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", server)
			if err != nil {
				t.Error(err)
				_ = near.Close()
				return
			}
			listening := true
			pumps.Go(func() { w.pump(far, near, &listening, false) })
			pumps.Go(func() { w.pump(near, far, &listening, true) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		pumps.Wait()
	})
	query.Set("host", dir)
	u.RawQuery = query.Encode()
	return w, u.String()
}

// pump copies what one side says to the other and closes both when it has nothing more to say.
func (w *wire) pump(to, from net.Conn, listening *bool, server bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			w.mu.Lock()
			// The pool asks a connection that idled for a second whether it is alive, which depends on the machine.
			if !server && *listening && !bytes.Contains(buffer[:n], []byte("-- ping")) {
				w.trips++
			}
			*listening = server
			w.mu.Unlock()
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// during returns how many round trips fn takes.
func (w *wire) during(fn func()) int {
	w.mu.Lock()
	before := w.trips
	w.mu.Unlock()
	fn()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.trips - before
}

func TestRoundTrips(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	acme := testkit.Tenant(t, db.Store(t), "acme").ID
	t.Run("to PostgreSQL", func(t *testing.T) { roundTrips(t, db.Direct().Options("pool_max_conns=1"), acme) })
	t.Run("to pgbouncer", func(t *testing.T) { roundTrips(t, db.Pooled(t).Options("pool_max_conns=1"), acme) })
}

func roundTrips(t *testing.T, o store.Options, acme uuid.UUID) {
	w, dsn := tap(t, o.AppURL.Reveal())
	o.AppURL = secret.NewString(dsn)
	s := open(t, o) // closes before the wire: cleanups run backwards

	type step = func(context.Context, *store.Tx) error
	one := func(ctx context.Context, tx *store.Tx) error { // a question for one row
		_, err := wrote(ctx, tx, "word")
		return err
	}
	many := func(ctx context.Context, tx *store.Tx) error { // a question for any number of rows
		_, err := tx.SettingsList(ctx, tx.Tenant())
		return err
	}
	none := func(ctx context.Context, tx *store.Tx) error { // a question without a row to answer it
		_, err := tx.DataKeyGet(ctx, tx.Tenant())
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	}
	now := func(ctx context.Context, tx *store.Tx) error { return write(ctx, tx.Queries, "word") }
	later := func(ctx context.Context, tx *store.Tx) error { return write(ctx, tx.Later(), "word") }
	inner := func(ctx context.Context, _ *store.Tx) error { return s.InTenant(ctx, acme, now) }
	fail := func(context.Context, *store.Tx) error { return errOurs }

	in, view, ask := (*store.Store).InTenant, (*store.Store).ViewTenant, (*store.Store).AskTenant
	tests := map[string]struct {
		run   func(*store.Store, context.Context, uuid.UUID, func(context.Context, *store.Tx) error) error
		steps []step
		want  int
	}{
		"nothing asked":                            {in, nil, 0},
		"nothing asked of a view":                  {view, nil, 0},
		"a question for one row":                   {ask, []step{one}, 1},
		"a question for many rows":                 {ask, []step{many}, 1},
		"a question without an answer":             {ask, []step{none}, 1},
		"a view of one statement":                  {view, []step{one}, 2},
		"one statement":                            {in, []step{now}, 2},
		"two statements":                           {in, []step{now, one}, 3},
		"three statements":                         {in, []step{one, now, many}, 4},
		"only queued statements":                   {in, []step{later, later, later}, 1},
		"a queued statement before another":        {in, []step{later, one}, 2},
		"a queued statement after another":         {in, []step{one, later}, 2},
		"queued statements before, between, after": {in, []step{later, one, later, now, later}, 3},
		"an inner transaction":                     {in, []step{one, inner}, 3},
		"a failure before the first statement":     {in, []step{later, fail}, 0},
		"a failure after a statement":              {in, []step{now, fail}, 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			run := func() {
				err := tt.run(s, t.Context(), acme, func(ctx context.Context, tx *store.Tx) error {
					for _, step := range tt.steps {
						if err := step(ctx, tx); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil && !errors.Is(err, errOurs) {
					t.Error(err)
				}
			}
			run() // prepares the statements
			if got := w.during(run); got != tt.want {
				t.Errorf("%d round trips, want %d", got, tt.want)
			}
		})
	}
	t.Run("finding a tenant", func(t *testing.T) {
		locate := func() {
			if got, err := s.Locate(t.Context(), "slug", "acme"); got != acme || err != nil {
				t.Errorf("Locate = %s, %v", got, err)
			}
		}
		locate()
		if got := w.during(locate); got != 1 {
			t.Errorf("%d round trips, want 1", got)
		}
	})
}
