package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"parako/internal/dbsqlc"
	"parako/internal/dbsqlc/control"
	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }

// fixture is a database with two tenants, and a store with a single connection, so that what one transaction leaves
// behind the next one meets.
type fixture struct {
	*store.Store
	db          *testkit.DB
	acme, umbra uuid.UUID
}

func setup(t *testing.T) fixture {
	t.Helper()
	db := testkit.NewDB(t)
	s := open(t, db.Options("pool_max_conns=1"))
	return fixture{Store: s, db: db, acme: testkit.Tenant(t, s, "acme").ID, umbra: testkit.Tenant(t, s, "umbra").ID}
}

func open(t *testing.T, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// exec runs a statement as the superuser.
func exec(t *testing.T, db *testkit.DB, sql string, args ...any) {
	t.Helper()
	if _, err := connect(t, db.SuperDSN()).Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// write and wrote are a statement without a result and a question: write puts a word into the tenant, wrote looks for it.
func write(ctx context.Context, q *dbsqlc.Queries, word string) error {
	return q.RevokedTokenCreate(ctx, dbsqlc.RevokedTokenCreateParams{ID: word, ExpiresAt: time.Unix(0, 0)})
}

func wrote(ctx context.Context, tx *store.Tx, word string) (bool, error) {
	found, err := tx.Ask(ctx, "SELECT id FROM parako.revoked_tokens WHERE tenant_id = $1 AND id = $2", tx.Tenant(), word)
	return len(found) > 0, err
}

// kept reports whether a committed word is in the tenant.
func (f fixture) kept(t *testing.T, tenant uuid.UUID, word string) bool {
	t.Helper()
	var found bool
	err := f.AskTenant(t.Context(), tenant, func(ctx context.Context, tx *store.Tx) (err error) {
		found, err = wrote(ctx, tx, word)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// clean fails the test when a connection of the pool is not as it was lent: given back, outside a transaction and of no
// tenant.
func (f fixture) clean(t *testing.T) {
	t.Helper()
	// Not at once: the pool takes a moment to close a connection that is of no use any more.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range f.Pool().Config().MaxConns {
		conn, err := f.Pool().Acquire(ctx)
		if err != nil {
			t.Fatalf("a connection was not given back: %v", err)
		}
		defer conn.Release()
		if status := conn.Conn().PgConn().TxStatus(); status != 'I' {
			t.Errorf("a connection in the pool is in transaction status %c", status)
		}
		var tenant *string
		if err := conn.QueryRow(ctx, "SELECT current_setting('app.tenant_id', true)").Scan(&tenant); err != nil {
			t.Fatal(err)
		}
		if tenant != nil && *tenant != "" {
			t.Errorf("a connection in the pool is tenant %s", *tenant)
		}
	}
}

// code is the SQLSTATE of an error, or what else it says.
func code(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return fmt.Sprint(err)
}

var errOurs = errors.New("ours")

func TestTransactionBelongsToItsTenant(t *testing.T) {
	t.Parallel()
	f := setup(t)
	err := f.InTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
		if tx.Tenant() != f.acme {
			t.Errorf("Tenant = %s, want %s", tx.Tenant(), f.acme)
		}
		return write(ctx, tx.Queries, "word")
	})
	if err != nil {
		t.Fatal(err)
	}
	if !f.kept(t, f.acme, "word") {
		t.Error("its own tenant does not see the row")
	}
	if f.kept(t, f.umbra, "word") {
		t.Error("another tenant sees the row")
	}
	// The statement names the other tenant; the transaction does not.
	err = f.AskTenant(t.Context(), f.umbra, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.TenantByID(ctx, f.acme)
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another tenant's row by its id: %v, want ErrNotFound", err)
	}
	f.clean(t)
}

func TestTransactionNeedsATenant(t *testing.T) {
	t.Parallel()
	f := setup(t)
	never := func(context.Context, *store.Tx) error {
		t.Error("fn runs without a tenant")
		return nil
	}
	_, begun := f.Begin(t.Context(), uuid.Nil)
	for name, err := range map[string]error{
		"InTenant":   f.InTenant(t.Context(), uuid.Nil, never),
		"ViewTenant": f.ViewTenant(t.Context(), uuid.Nil, never),
		"AskTenant":  f.AskTenant(t.Context(), uuid.Nil, never),
		"Begin":      begun,
	} {
		if !errors.Is(err, store.ErrNoTenant) {
			t.Errorf("%s without a tenant: %v, want ErrNoTenant", name, err)
		}
	}
}

func TestTransactionHasOneMoment(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	var clock testkit.Clock
	s := db.StoreAt(t, clock.Now)
	began := clock.Now()
	err := s.InTenant(t.Context(), testkit.Tenant(t, s, "acme").ID, func(ctx context.Context, tx *store.Tx) error {
		clock.Advance(time.Hour)
		if !tx.Now().Equal(began) {
			t.Errorf("Now = %v, want the begin, %v", tx.Now(), began)
		}
		return write(ctx, tx.Queries, "word")
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.InPlatform(t.Context(), func(_ context.Context, tx *store.PlatformTx) error {
		if !tx.Now().Equal(clock.Now()) {
			t.Errorf("Now of the platform = %v, want %v", tx.Now(), clock.Now())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNestedTransactions(t *testing.T) {
	t.Parallel()
	type run = func(*store.Store, context.Context, uuid.UUID, func(context.Context, *store.Tx) error) error
	in, view, ask := (*store.Store).InTenant, (*store.Store).ViewTenant, (*store.Store).AskTenant
	tests := map[string]struct {
		outer, inner run
		other        bool // the inner one is of another tenant
		want         error
	}{
		"a write joins a write":              {outer: in, inner: in},
		"a view joins a write":               {outer: in, inner: view},
		"a question joins a write":           {outer: in, inner: ask},
		"a view joins a view":                {outer: view, inner: view},
		"a question joins a view":            {outer: view, inner: ask},
		"a view joins a question":            {outer: ask, inner: view},
		"a write in a view":                  {outer: view, inner: in, want: store.ErrReadOnly},
		"a write in a question":              {outer: ask, inner: in, want: store.ErrReadOnly},
		"a write in another tenant's write":  {outer: in, inner: in, other: true, want: store.ErrOtherTenant},
		"a view in another tenant's write":   {outer: in, inner: view, other: true, want: store.ErrOtherTenant},
		"a question in another tenant's":     {outer: in, inner: ask, other: true, want: store.ErrOtherTenant},
		"a view in another tenant's view":    {outer: view, inner: view, other: true, want: store.ErrOtherTenant},
		"a question in another's question":   {outer: ask, inner: ask, other: true, want: store.ErrOtherTenant},
		"a write in another tenant's a view": {outer: view, inner: in, other: true, want: store.ErrOtherTenant},
	}
	f := setup(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tenant := f.acme
			if tt.other {
				tenant = f.umbra
			}
			err := tt.outer(f.Store, t.Context(), f.acme, func(ctx context.Context, outer *store.Tx) error {
				return tt.inner(f.Store, ctx, tenant, func(_ context.Context, inner *store.Tx) error {
					if tt.want != nil {
						t.Error("fn runs")
					}
					if inner != outer {
						t.Error("the inner transaction is another one")
					}
					return nil
				})
			})
			if !errors.Is(err, tt.want) {
				t.Errorf("nested: %v, want %v", err, tt.want)
			}
			f.clean(t)
		})
	}
}

func TestInnerTransactionSharesTheFateOfTheOuter(t *testing.T) {
	t.Parallel()
	f := setup(t)
	err := f.InTenant(t.Context(), f.acme, func(ctx context.Context, _ *store.Tx) error {
		err := f.InTenant(ctx, f.acme, func(ctx context.Context, tx *store.Tx) error { return write(ctx, tx.Queries, "word") })
		if err != nil {
			return err
		}
		err = f.ViewTenant(ctx, f.acme, func(ctx context.Context, tx *store.Tx) error {
			if !tx.Writable() {
				t.Error("the joined transaction says that it cannot be written in")
			}
			if found, err := wrote(ctx, tx, "word"); err != nil || !found {
				t.Errorf("the next inner transaction sees the row: %t, %v", found, err)
			}
			return nil
		})
		return errors.Join(err, errOurs)
	})
	if !errors.Is(err, errOurs) {
		t.Fatalf("InTenant: %v, want our own error", err)
	}
	if f.kept(t, f.acme, "word") {
		t.Error("the row stayed although the outer transaction failed")
	}
}

func TestViewRefusesWrites(t *testing.T) {
	t.Parallel()
	f := setup(t)
	attempt := func(ctx context.Context, tx *store.Tx) error {
		if tx.Writable() {
			t.Error("a view says that it can be written in")
		}
		return write(ctx, tx.Queries, "word")
	}
	const readOnlyTransaction = "25006"
	if got := code(f.ViewTenant(t.Context(), f.acme, attempt)); got != readOnlyTransaction {
		t.Errorf("write in a view: %s, want %s", got, readOnlyTransaction)
	}
	if got := code(f.AskTenant(t.Context(), f.acme, attempt)); got != readOnlyTransaction {
		t.Errorf("write in a question: %s, want %s", got, readOnlyTransaction)
	}
	f.clean(t)
}

func TestQuestionIsOneStatement(t *testing.T) {
	t.Parallel()
	f := setup(t)
	err := f.AskTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
		if _, err := wrote(ctx, tx, "word"); err != nil {
			t.Errorf("first statement: %v", err)
		}
		_, err := wrote(ctx, tx, "word")
		return err
	})
	if !errors.Is(err, store.ErrTxEnded) {
		t.Errorf("second statement: %v, want ErrTxEnded", err)
	}
	f.clean(t)
}

func TestQuestionsOfEveryShape(t *testing.T) {
	t.Parallel()
	f := setup(t)
	err := f.InTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
		for _, section := range []string{"oidc", "branding"} {
			if _, err := tx.SettingsPut(ctx, dbsqlc.SettingsPutParams{ID: uuid.New(), Section: section, Value: json.RawMessage("{}")}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var sections []string
	err = f.AskTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
		rows, err := tx.SettingsList(ctx, tx.Tenant())
		for _, r := range rows {
			sections = append(sections, r.Section)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"branding", "oidc"}, sections); diff != "" {
		t.Errorf("sections mismatch (-want +got)\n%s", diff)
	}
	err = f.AskTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.DataKeyGet(ctx, tx.Tenant())
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no row: %v, want ErrNotFound", err)
	}
	f.clean(t)
}

func TestEndedTransactionAnswersNothing(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var after *store.Tx
	var inside context.Context
	err := f.InTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
		after, inside = tx, ctx
		return write(ctx, tx.Queries, "word")
	})
	if err != nil {
		t.Fatal(err)
	}
	_, asked := wrote(t.Context(), after, "word")
	for name, err := range map[string]error{
		"a statement":        write(t.Context(), after.Queries, "late"),
		"a question":         asked,
		"a queued statement": write(t.Context(), after.Later(), "late"),
		"a joined one": f.InTenant(inside, f.acme, func(ctx context.Context, tx *store.Tx) error {
			return write(ctx, tx.Queries, "late")
		}),
	} {
		if !errors.Is(err, store.ErrTxEnded) {
			t.Errorf("%s after the end: %v, want ErrTxEnded", name, err)
		}
	}
	if f.kept(t, f.acme, "late") {
		t.Error("a row was written after the end")
	}
}

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

func TestLater(t *testing.T) {
	t.Parallel()
	f := setup(t)
	t.Run("keeps the order of the program", func(t *testing.T) {
		err := f.InTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
			before, err := wrote(ctx, tx, "ordered")
			if err != nil {
				return err
			}
			if err := write(ctx, tx.Later(), "ordered"); err != nil {
				return err
			}
			after, err := wrote(ctx, tx, "ordered")
			if before || !after {
				t.Errorf("the row is there before its insert: %t, after: %t", before, after)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Run("arrives with the commit", func(t *testing.T) {
		err := f.InTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(write(ctx, tx.Later(), "one"), write(ctx, tx.Later(), "two"))
		})
		if err != nil {
			t.Fatal(err)
		}
		if !f.kept(t, f.acme, "one") || !f.kept(t, f.acme, "two") {
			t.Error("a queued statement is lost")
		}
	})
	t.Run("fails at the commit, with all of it", func(t *testing.T) {
		err := f.InTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(write(ctx, tx.Later(), "three"), refused(ctx, tx.Later()), write(ctx, tx.Later(), "four"))
		})
		if code(err) != checkViolation {
			t.Errorf("InTenant: %v, want %s", err, checkViolation)
		}
		if f.kept(t, f.acme, "three") || f.kept(t, f.acme, "four") {
			t.Error("part of the transaction stayed")
		}
	})
	t.Run("has no results", func(t *testing.T) {
		err := f.InTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
			_, row := tx.Later().TenantTouch(ctx, tx.Tenant())
			_, rows := tx.Later().SettingsList(ctx, tx.Tenant())
			if row == nil || rows == nil {
				t.Errorf("queued questions: %v, %v, want errors", row, rows)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	f.clean(t)
}

func TestBeginCommitRollback(t *testing.T) {
	t.Parallel()
	f := setup(t)
	begin := func(t *testing.T) context.Context {
		t.Helper()
		ctx, err := f.Begin(t.Context(), f.acme)
		if err != nil {
			t.Fatal(err)
		}
		return ctx
	}
	inside := func(t *testing.T, ctx context.Context, word string) {
		t.Helper()
		err := f.InTenant(ctx, f.acme, func(ctx context.Context, tx *store.Tx) error { return write(ctx, tx.Queries, word) })
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Run("commit keeps what joined, and ends it", func(t *testing.T) {
		ctx := begin(t)
		inside(t, ctx, "committed")
		if err := store.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		store.Rollback(ctx) // does nothing any more
		if err := store.Commit(ctx); err != nil {
			t.Errorf("second Commit: %v", err)
		}
		if !f.kept(t, f.acme, "committed") {
			t.Error("the row is lost")
		}
	})
	t.Run("rollback undoes it", func(t *testing.T) {
		ctx := begin(t)
		inside(t, ctx, "rolled back")
		store.Rollback(ctx)
		store.Rollback(ctx)
		if f.kept(t, f.acme, "rolled back") {
			t.Error("the row stayed")
		}
	})
	t.Run("a commit that fails gives the connection back", func(t *testing.T) {
		ctx := begin(t)
		inside(t, ctx, "half")
		err := f.InTenant(ctx, f.acme, func(ctx context.Context, tx *store.Tx) error { return refused(ctx, tx.Later()) })
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Commit(ctx); code(err) != checkViolation {
			t.Errorf("Commit: %v, want %s", err, checkViolation)
		}
		f.clean(t)
		if f.kept(t, f.acme, "half") {
			t.Error("the row stayed")
		}
	})
	t.Run("nothing to commit", func(t *testing.T) {
		if err := store.Commit(begin(t)); err != nil {
			t.Error(err)
		}
	})
	t.Run("it does not nest", func(t *testing.T) {
		ctx := begin(t)
		defer store.Rollback(ctx)
		if _, err := f.Begin(ctx, f.acme); err == nil {
			t.Error("Begin inside a transaction succeeds")
		}
		err := f.InTenant(ctx, f.umbra, func(context.Context, *store.Tx) error { return nil })
		if !errors.Is(err, store.ErrOtherTenant) {
			t.Errorf("another tenant inside: %v, want ErrOtherTenant", err)
		}
	})
	f.clean(t)
}

func TestConflictNamesTheRule(t *testing.T) {
	t.Parallel()
	f := setup(t)
	create := func(tenant uuid.UUID, alg string) error {
		return f.InTenant(t.Context(), tenant, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.SigningKeyCreate(ctx, dbsqlc.SigningKeyCreateParams{
				ID: uuid.New(), Kid: "one", Alg: alg, PublicJWK: json.RawMessage("{}"), PrivateKey: []byte("sealed"),
			})
			return err
		})
	}
	if err := errors.Join(create(f.acme, "ES256"), create(f.umbra, "ES256")); err != nil {
		t.Fatal(err)
	}
	conflict, ok := errors.AsType[*store.Conflict](create(f.acme, "RS256"))
	if !ok || conflict.Constraint != "signing_keys_kid_key" {
		t.Errorf("the same kid again: %v, want a conflict with signing_keys_kid_key", conflict)
	}
	f.clean(t)
}

func TestLocate(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for name, tt := range map[string]struct {
		kind, name string
		want       uuid.UUID
	}{
		"a slug":                      {"slug", "acme", f.acme},
		"a slug is not a host":        {"host", "acme", uuid.Nil},
		"an unknown slug":             {"slug", "acme2", uuid.Nil},
		"nothing":                     {"", "", uuid.Nil},
		"a name with a separator":     {"slug:acme", "", uuid.Nil},
		"a quote is only a character": {"slug", "' OR true --", uuid.Nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := f.Locate(t.Context(), tt.kind, tt.name)
			if got != tt.want || (err != nil) != (tt.want == uuid.Nil) || err != nil && !errors.Is(err, store.ErrNotFound) {
				t.Errorf("Locate(%q, %q) = %s, %v; want %s", tt.kind, tt.name, got, err, tt.want)
			}
		})
	}
	t.Run("a name that is not verified leads nowhere", func(t *testing.T) {
		exec(t, f.db, "UPDATE parako.tenant_locators SET verified_at = NULL WHERE name = 'acme'")
		if _, err := f.Locate(t.Context(), "slug", "acme"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Locate: %v, want ErrNotFound", err)
		}
	})
	f.clean(t)
}

func TestPlatform(t *testing.T) {
	t.Parallel()
	f := setup(t)
	t.Run("needs its own login", func(t *testing.T) {
		t.Parallel()
		o := f.db.Options()
		o.PlatformURL = secret.String{}
		err := open(t, o).InPlatform(t.Context(), func(context.Context, *store.PlatformTx) error { return nil })
		if !errors.Is(err, store.ErrNoPlatform) {
			t.Errorf("InPlatform: %v, want ErrNoPlatform", err)
		}
	})
	t.Run("translates errors, and undoes what failed", func(t *testing.T) {
		t.Parallel()
		err := f.InPlatform(t.Context(), func(ctx context.Context, tx *store.PlatformTx) error {
			if err := tx.TenantCreate(ctx, newTenant("ghost")); err != nil {
				return err
			}
			_, err := tx.TenantBySlug(ctx, "ghost") // it has no locator
			return err
		})
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("InPlatform: %v, want ErrNotFound", err)
		}
		var ghosts int
		conn := connect(t, f.db.SuperDSN())
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM parako.tenants WHERE slug = 'ghost'").Scan(&ghosts); err != nil || ghosts != 0 {
			t.Errorf("%d rows stayed, %v", ghosts, err)
		}
	})
}

func TestOpenDoesNotRepeatTheURL(t *testing.T) {
	t.Parallel()
	const password = "hunter2"
	good := secret.NewString("postgres://parako_app@localhost/parako")
	bad := secret.NewString("postgres://parako_app:" + password + "@local host:port/parako")
	_, app := store.Open(t.Context(), store.Options{AppURL: bad})
	_, platform := store.Open(t.Context(), store.Options{AppURL: good, PlatformURL: bad})
	_, owner := store.NewMigrator(bad)
	for name, err := range map[string]error{"application": app, "platform": platform, "owner": owner} {
		if err == nil || strings.Contains(err.Error(), password) || !strings.Contains(err.Error(), "want postgres://") {
			t.Errorf("URL of the %s: %v, want what a URL looks like, and no password", name, err)
		}
	}
}

// Many tenants, few connections, every way a transaction can end: no row and no setting may cross.
func TestManyTenantsShareAFewConnections(t *testing.T) {
	t.Parallel()
	const tenants, workers, rounds = 12, 24, 12
	db := testkit.NewDB(t)
	s := open(t, db.Options("pool_max_conns=3"))
	ids := make([]uuid.UUID, tenants)
	for i := range ids {
		ids[i] = testkit.Tenant(t, s, fmt.Sprintf("tenant%d", i)).ID
	}
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for r := range rounds {
				own, other := ids[(w+r)%tenants], ids[(w+r+1)%tenants]
				word := fmt.Sprintf("%d-%d", w, r)
				fate := r % 4
				err := recovered(func() error {
					return s.InTenant(t.Context(), own, func(ctx context.Context, tx *store.Tx) error {
						if err := write(ctx, tx.Queries, "of "+own.String()); err != nil {
							return err
						}
						if err := write(ctx, tx.Later(), word); err != nil {
							return err
						}
						if foreign, err := wrote(ctx, tx, "of "+other.String()); err != nil || foreign {
							return fmt.Errorf("sees the row of another tenant: %t, %w", foreign, err)
						}
						switch fate {
						case 1:
							return errOurs
						case 2:
							panic(errOurs)
						case 3:
							_ = refused(ctx, tx.Queries)
						}
						return nil
					})
				})
				if (err == nil) != (fate == 0) {
					t.Errorf("round %s: %v", word, err)
				}
				err = s.AskTenant(t.Context(), own, func(ctx context.Context, tx *store.Tx) error {
					found, err := wrote(ctx, tx, word)
					if found != (fate == 0) {
						t.Errorf("round %s: row is there: %t", word, found)
					}
					return err
				})
				if err != nil {
					t.Errorf("round %s: %v", word, err)
				}
			}
		})
	}
	all.Wait()
	fixture{Store: s}.clean(t)
	for _, id := range ids {
		got := db.Ask(t, id, "SELECT DISTINCT id FROM parako.revoked_tokens WHERE id LIKE 'of %'")
		if diff := cmp.Diff([]string{"of " + id.String()}, got); diff != "" {
			t.Errorf("rows of tenant %s mismatch (-want +got)\n%s", id, diff)
		}
	}
}

func newTenant(slug string) control.TenantCreateParams {
	return control.TenantCreateParams{ID: uuid.New(), Slug: slug, DisplayName: slug}
}
