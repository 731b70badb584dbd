package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"parako/internal/dbsqlc"
	"parako/internal/store"
	"parako/internal/testkit"
)

func TestWhatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	tests := map[string]func(ctx context.Context, cancel func(), tx *store.Tx) error{
		"an error of fn": func(ctx context.Context, _ func(), tx *store.Tx) error {
			return errors.Join(write(ctx, tx.Queries, "word"), errOurs)
		},
		"an error of fn before anything was sent": func(ctx context.Context, _ func(), tx *store.Tx) error {
			return errors.Join(write(ctx, tx.Later(), "word"), errOurs)
		},
		"a panic of fn": func(ctx context.Context, _ func(), tx *store.Tx) error {
			if err := write(ctx, tx.Queries, "word"); err != nil {
				return err
			}
			panic(errOurs)
		},
		"a statement that is refused": func(ctx context.Context, _ func(), tx *store.Tx) error {
			return errors.Join(write(ctx, tx.Queries, "word"), refused(ctx, tx.Queries))
		},
		"a context that ends before the next statement": func(ctx context.Context, cancel func(), tx *store.Tx) error {
			err := write(ctx, tx.Queries, "word")
			cancel()
			return errors.Join(err, write(ctx, tx.Queries, "more"))
		},
		"a context that ends before the commit": func(ctx context.Context, cancel func(), tx *store.Tx) error {
			err := write(ctx, tx.Queries, "word")
			cancel()
			return err
		},
		"a context that ends before anything was sent": func(ctx context.Context, cancel func(), tx *store.Tx) error {
			cancel()
			return write(ctx, tx.Later(), "word")
		},
	}
	f := setup(t)
	for name, fn := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := recovered(func() error {
				return f.InTenant(ctx, f.acme, func(ctx context.Context, tx *store.Tx) error { return fn(ctx, cancel, tx) })
			})
			if err == nil {
				t.Error("InTenant succeeds")
			}
			f.clean(t)
			if f.kept(t, f.acme, "word") {
				t.Error("the row stayed")
			}
		})
	}
}

// refused is a statement that breaks a CHECK.
func refused(ctx context.Context, q *dbsqlc.Queries) error {
	return q.AuditAppend(ctx, dbsqlc.AuditAppendParams{
		ID: uuid.New(), Type: "test", Status: "no such status", ActorType: "system", Detail: json.RawMessage("{}"),
	})
}

const checkViolation = "23514"

func recovered(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return fn()
}

func TestContextThatEndsInsideAStatement(t *testing.T) {
	t.Parallel()
	f := setup(t)
	// The role's own limits would end the statement on a slow machine; a pooler takes no others from a client.
	f.Store = open(t, f.db.Direct().Options("pool_max_conns=1", "lock_timeout=0", "statement_timeout=0"))
	// Another connection holds a row that the statement needs.
	holder := connect(t, f.db.SuperDSN())
	if _, err := holder.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Exec(t.Context(), "SELECT FROM parako.tenants WHERE id = $1 FOR UPDATE", f.acme); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- f.InTenant(ctx, f.acme, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.TenantTouch(ctx, tx.Tenant())
			return err
		})
	}()
	watcher := connect(t, f.db.SuperDSN())
	for waiting := false; !waiting; {
		if len(ended) > 0 {
			t.Fatalf("the statement did not wait: %v", <-ended)
		}
		err := watcher.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND usename = 'parako_app' AND wait_event_type = 'Lock')`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("InTenant: %v, want context.Canceled", err)
	}
	if _, err := holder.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	f.clean(t)
	err := f.AskTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
		row, err := tx.TenantByID(ctx, tx.Tenant())
		if row.Revision != 1 {
			t.Errorf("revision = %d, want 1", row.Revision)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// An error that fn swallows must not turn into a commit that did nothing, or half of it.
func TestFailedTransactionCannotBeCommitted(t *testing.T) {
	t.Parallel()
	f := setup(t)
	unpreparable := testkit.NewDB(t)
	exec(t, unpreparable, "DROP TABLE parako.tenant_settings CASCADE")
	broken := fixture{Store: open(t, unpreparable.Options("pool_max_conns=1"))}
	broken.acme = testkit.Tenant(t, broken.Store, "acme").ID
	missing := func(ctx context.Context, tx *store.Tx) {
		if _, err := tx.SettingsList(ctx, tx.Tenant()); err == nil {
			t.Error("a table that is not there was read")
		}
	}
	tests := map[string]struct {
		on fixture
		fn func(context.Context, *store.Tx)
	}{
		"a statement that was refused": {f, func(ctx context.Context, tx *store.Tx) {
			_ = write(ctx, tx.Queries, "word")
			if got := code(refused(ctx, tx.Queries)); got != checkViolation {
				t.Errorf("refused statement: %s, want %s", got, checkViolation)
			}
		}},
		"a queued statement that was refused": {f, func(ctx context.Context, tx *store.Tx) {
			_ = refused(ctx, tx.Later())
			if _, err := wrote(ctx, tx, "word"); code(err) != checkViolation {
				t.Errorf("the statement behind a refused one: %v, want %s", err, checkViolation)
			}
			if err := write(ctx, tx.Queries, "word"); err == nil {
				t.Error("a statement runs in a failed transaction")
			}
		}},
		"a first statement that never reached the server": {broken, func(ctx context.Context, tx *store.Tx) {
			missing(ctx, tx)
			if err := write(ctx, tx.Queries, "word"); err == nil {
				t.Error("a statement runs outside the transaction that could not begin")
			}
		}},
		"a later statement that never reached the server": {broken, func(ctx context.Context, tx *store.Tx) {
			if err := write(ctx, tx.Queries, "word"); err != nil {
				t.Error(err)
			}
			missing(ctx, tx)
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := tt.on.InTenant(t.Context(), tt.on.acme, func(ctx context.Context, tx *store.Tx) error {
				tt.fn(ctx, tx)
				return nil
			})
			if err == nil {
				t.Error("commit succeeds")
			}
			tt.on.clean(t)
			if tt.on.kept(t, tt.on.acme, "word") {
				t.Error("the row stayed")
			}
		})
	}
}
