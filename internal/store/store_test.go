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

// TestPatience asks for what a patient transaction may take. The next one on the connection has the role's patience again.
func TestPatience(t *testing.T) {
	t.Parallel()
	f := setup(t)
	const sql = "SELECT current_setting('statement_timeout') || ' ' || current_setting('idle_in_transaction_session_timeout')"
	for name, run := range map[string]func(context.Context, uuid.UUID, func(context.Context, *store.Tx) error) error{
		"a snapshot": f.SnapshotTenant, "a commit": f.InTenant,
	} {
		for _, tt := range []struct {
			patient bool
			want    string
		}{{true, "7min 7min"}, {false, "2min 2min"}} {
			err := run(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
				if tt.patient {
					tx.Patient(7 * time.Minute)
				}
				got, err := tx.Ask(ctx, sql)
				if diff := cmp.Diff([]string{tt.want}, got); diff != "" {
					t.Errorf("%s, patient: %t: mismatch (-want +got)\n%s", name, tt.patient, diff)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
	}
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
