package testkit

import (
	"context"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// rows returns the rows of a query with one text column.
func rows(t *testing.T, conn *pgx.Conn, sql string, args ...any) []string {
	t.Helper()
	result, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	got, err := pgx.CollectRows(result, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

func TestDatabasesDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	one, other := connect(t, NewDB(t).OwnerDSN()), connect(t, NewDB(t).OwnerDSN())
	if _, err := one.Exec(t.Context(), "CREATE TABLE parako.mine ()"); err != nil {
		t.Fatal(err)
	}
	const tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'parako' AND tablename IN ('mine', 'tenants') ORDER BY 1"
	if diff := cmp.Diff([]string{"mine", "tenants"}, rows(t, one, tables)); diff != "" {
		t.Errorf("tables of the first mismatch (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"tenants"}, rows(t, other, tables)); diff != "" {
		t.Errorf("tables of the other mismatch (-want +got)\n%s", diff)
	}
}

func TestEmptyDatabaseIsEmptyAndTheOwners(t *testing.T) {
	t.Parallel()
	conn := connect(t, NewEmptyDB(t).OwnerDSN())
	if got := rows(t, conn, "SELECT tablename::text FROM pg_tables WHERE schemaname IN ('public', 'parako')"); len(got) != 0 {
		t.Errorf("it has tables: %q", got)
	}
	if _, err := conn.Exec(t.Context(), "CREATE SCHEMA parako"); err != nil {
		t.Error(err)
	}
}

func TestRolesHaveNoPowerOverRowSecurity(t *testing.T) {
	t.Parallel()
	d := NewDB(t)
	tests := map[string]struct{ dsn, role string }{
		"app":      {d.AppDSN(), "parako_app"},
		"platform": {d.PlatformDSN(), "parako_platform"},
		"owner":    {d.OwnerDSN(), "parako_owner"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := rows(t, connect(t, tt.dsn), "SELECT rolname::text FROM pg_roles WHERE rolname = current_user AND NOT rolsuper AND NOT rolbypassrls")
			if diff := cmp.Diff([]string{tt.role}, got); diff != "" {
				t.Errorf("harmless role mismatch (-want +got)\n%s", diff)
			}
		})
	}
	owner := rows(t, connect(t, d.SuperDSN()), "SELECT datdba::regrole::text FROM pg_database WHERE datname = $1", d.Name)
	if diff := cmp.Diff([]string{"parako_owner"}, owner); diff != "" {
		t.Errorf("owner of the database mismatch (-want +got)\n%s", diff)
	}
}

func TestDatabaseIsDroppedWithItsConnections(t *testing.T) {
	t.Parallel()
	var name string
	var left *pgx.Conn
	t.Run("a test that forgets to disconnect", func(t *testing.T) {
		d := NewDB(t)
		name = d.Name
		var err error
		if left, err = pgx.Connect(t.Context(), d.AppDSN()); err != nil {
			t.Fatal(err)
		}
	})
	defer left.Close(context.WithoutCancel(t.Context()))
	conn := connect(t, NewDB(t).SuperDSN())
	if got := rows(t, conn, "SELECT datname::text FROM pg_database WHERE datname = $1", name); len(got) != 0 {
		t.Errorf("%s is still there", name)
	}
}

func TestPooledConnectionsShareASession(t *testing.T) {
	t.Parallel()
	d := NewDB(t).Pooled(t, "default_pool_size = 1")
	const session = "SELECT current_user || pg_backend_pid()"
	if one, other := rows(t, connect(t, d.AppDSN()), session), rows(t, connect(t, d.AppDSN()), session); !slices.Equal(one, other) {
		t.Errorf("behind the pooler are %s and %s, want one session for both", one, other)
	}
	direct := d.Direct().AppDSN()
	if one, other := rows(t, connect(t, direct), session), rows(t, connect(t, direct), session); slices.Equal(one, other) {
		t.Errorf("two direct connections are both %s", one)
	}
}

// BenchmarkNewDB is the cost of one more database, made and dropped.
func BenchmarkNewDB(b *testing.B) {
	NewDB(b) // starts the server
	for b.Loop() {
		d, err := shared.create(b.Context(), false)
		if err != nil {
			b.Fatal(err)
		}
		if err := shared.drop(b.Context(), d.Name); err != nil {
			b.Fatal(err)
		}
	}
}
