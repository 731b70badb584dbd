package store_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"parako/internal/testkit"
)

// The SQLSTATEs by which PostgreSQL refuses.
const (
	insufficientPrivilege = "42501" // a policy or a missing grant
	undefinedObject       = "42704" // no tenant on a fresh connection
	invalidText           = "22P02" // no tenant on a used connection
)

// TestNoTenantReachesAnother puts a row of two tenants into every table that the catalog shows, and tries as the one, and as
// none, to reach the row of the other. A new table needs nothing here.
func TestNoTenantReachesAnother(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	victim, attacker := testkit.Tenant(t, s, "victim").ID, testkit.Tenant(t, s, "attacker").ID
	var tables map[string]string
	for nth, tenant := range []uuid.UUID{victim, attacker} {
		var err error
		if tables, err = s.Plant(t.Context(), tenant, nth); err != nil {
			t.Fatal(err)
		}
	}
	super := connect(t, db.SuperDSN())
	hashes := func() map[string]string {
		all := map[string]string{}
		for name, column := range tables {
			all[name] = text(t, super, "SELECT count(*) || md5(string_agg(r::text, '' ORDER BY r::text)) FROM "+name+" AS r WHERE "+column+" = $1", victim)
		}
		return all
	}
	before := hashes()
	own := db.Direct().AppDSN() // A pooler would choose whether the session is fresh or used.

	t.Run("as another tenant", func(t *testing.T) {
		proof, err := s.ProveBetween(t.Context(), attacker, victim)
		if err != nil {
			t.Fatal(err)
		}
		for _, leak := range proof.Leaks {
			t.Errorf("%+v", leak)
		}
	})
	for name := range tables {
		t.Run("as nobody, on a fresh connection: "+name, func(t *testing.T) {
			refuse(t, connect(t, own), name, undefinedObject)
		})
		t.Run("as nobody, on a used connection: "+name, func(t *testing.T) {
			used := connect(t, own)
			as := begin(t, used, victim)
			if got := text(t, used, "SELECT count(*) FROM "+name); got == "0" {
				t.Error("the tenant does not see its own row")
			}
			if err := as.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			refuse(t, used, name, invalidText)
		})
	}
	if diff := cmp.Diff(before, hashes()); diff != "" {
		t.Errorf("rows of the victim changed (-before +after)\n%s", diff)
	}
}

// refuse expects every statement to fail with the SQLSTATE of a missing tenant, or for want of a grant.
func refuse(t *testing.T, conn *pgx.Conn, table, want string) {
	t.Helper()
	for _, sql := range []string{"SELECT FROM " + table, "DELETE FROM " + table, "INSERT INTO " + table + " DEFAULT VALUES"} {
		_, err := conn.Exec(t.Context(), sql)
		got := code(err)
		if got != want && (got != insufficientPrivilege || strings.HasPrefix(sql, "SELECT")) {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
}

// begin opens a transaction of the tenant that is undone at the end of the test.
func begin(t *testing.T, conn *pgx.Conn, tenant uuid.UUID) pgx.Tx {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	if _, err := tx.Exec(t.Context(), "SELECT parako.set_tenant($1)", tenant); err != nil {
		t.Fatal(err)
	}
	return tx
}

// text returns the first column of the one row of a query.
func text(t *testing.T, conn *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	var answer string
	if err := conn.QueryRow(t.Context(), "SELECT coalesce(("+sql+")::text, 'NULL')", args...).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return answer
}

// TestGrants is the whole list of what the roles may do with tables. What is not here is refused before any policy is
// asked.
func TestGrants(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	super := connect(t, db.SuperDSN())
	const readAndAdd, all = "INSERT SELECT", "DELETE INSERT SELECT UPDATE"
	want := map[string]map[string]string{
		"parako_app": {
			"tenants": "SELECT UPDATE(revision) UPDATE(updated_at)", "tenant_locators": "SELECT", "audit_events": readAndAdd,
			"audit_seals": readAndAdd, "audit_leaves": readAndAdd, "audit_drops": "SELECT(dropped_at) SELECT(partition) SELECT(until)",
		},
		"parako_platform": {
			"tenants": all, "tenant_locators": all, "audit_events": "INSERT",
		},
		"public": {},
	}
	tables, err := s.Plant(t.Context(), testkit.Tenant(t, s, "acme").ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name := range tables {
		name = strings.TrimPrefix(name, "parako.")
		if want["parako_app"][name] == "" {
			want["parako_app"][name] = all
		}
	}
	got := map[string]map[string]string{"parako_app": {}, "parako_platform": {}, "public": {}}
	rows, err := super.Query(t.Context(), `
		WITH granted AS (
		    SELECT c.relname, x.grantee, x.privilege_type AS what
		      FROM pg_class AS c
		      CROSS JOIN aclexplode(c.relacl) AS x
		     WHERE c.relnamespace = 'parako'::regnamespace AND x.grantee <> c.relowner
		     UNION ALL
		    SELECT c.relname, x.grantee, x.privilege_type || '(' || a.attname || ')'
		      FROM pg_class AS c
		      JOIN pg_attribute AS a ON a.attrelid = c.oid
		      CROSS JOIN aclexplode(a.attacl) AS x
		     WHERE c.relnamespace = 'parako'::regnamespace AND x.grantee <> c.relowner
		)
		SELECT relname, CASE grantee WHEN 0 THEN 'public' ELSE grantee::regrole::text END, string_agg(what, ' ' ORDER BY what)
		  FROM granted
		 GROUP BY relname, grantee`)
	if err != nil {
		t.Fatal(err)
	}
	var relation, role, privileges string
	_, err = pgx.ForEachRow(rows, []any{&relation, &role, &privileges}, func() error {
		if role == "parako_auditor" || role == "parako_tenant_auditor" {
			return nil // see the tests of package db
		}
		if got[role] == nil {
			got[role] = map[string]string{}
		}
		got[role][relation] = privileges
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("grants mismatch (-want +got)\n%s", diff)
	}
}

// TestFunctionsAreGrantedToThoseWhoCallThem guards against PostgreSQL's default, which lets everybody call a new function.
func TestFunctionsAreGrantedToThoseWhoCallThem(t *testing.T) {
	t.Parallel()
	super := connect(t, testkit.NewDB(t).SuperDSN())
	want := map[string]string{
		"current_tenant":  "parako_app parako_platform",
		"set_tenant":      "parako_app parako_platform",
		"set_locator":     "parako_app",
		"shard_table":     "",
		"reference_table": "",
		"login_tenant":    "",
		"show_auditors":   "",
	}
	got := map[string]string{}
	rows, err := super.Query(t.Context(), `
		SELECT p.proname, coalesce((SELECT string_agg(r.rolname, ' ' ORDER BY r.rolname)
		                              FROM pg_roles AS r
		                             WHERE r.rolname IN ('parako_app', 'parako_platform', 'parako_auditor')
		                               AND has_function_privilege(r.oid, p.oid, 'EXECUTE')), '')
		       || CASE WHEN p.prosecdef THEN ' SECURITY DEFINER' ELSE '' END
		  FROM pg_proc AS p
		 WHERE p.pronamespace = 'parako'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	var function, roles string
	_, err = pgx.ForEachRow(rows, []any{&function, &roles}, func() error {
		got[function] = roles
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("functions mismatch (-want +got)\n%s", diff)
	}
}

// TestPlatformReachesNoTenantsRows asks the tables themselves what TestGrants reads from the catalog.
func TestPlatformReachesNoTenantsRows(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	acme := testkit.Tenant(t, s, "acme").ID
	tables, err := s.Plant(t.Context(), acme, 0)
	if err != nil {
		t.Fatal(err)
	}
	platform := connect(t, db.PlatformDSN())
	for name := range tables {
		if name != "parako.tenants" {
			_, err := begin(t, platform, acme).Exec(t.Context(), "SELECT FROM "+name)
			if got := code(err); got != insufficientPrivilege {
				t.Errorf("the platform reads %s: %s, want %s", name, got, insufficientPrivilege)
			}
			if _, err := platform.Exec(t.Context(), "ROLLBACK"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestLocatorsShowOnlyTheOneAskedFor(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	acme := testkit.Tenant(t, s, "acme").ID
	testkit.Tenant(t, s, "umbra")
	app := connect(t, db.AppDSN())
	names := func(t *testing.T, tx pgx.Tx) []string {
		t.Helper()
		rows, err := tx.Query(t.Context(), "SELECT kind || ':' || name FROM parako.tenant_locators")
		if err != nil {
			t.Fatal(err)
		}
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	t.Run("without a name", func(t *testing.T) {
		if got := names(t, begin(t, app, acme)); len(got) != 0 {
			t.Errorf("a tenant sees %q, want nothing, not even its own", got)
		}
	})
	for _, tt := range []struct {
		kind, name string
		want       []string
	}{
		{"slug", "umbra", []string{"slug:umbra"}},
		{"slug", "nobody", []string{}},
		{"host", "umbra", []string{}},
		{"slug", "", []string{}},
		{"slug", "%", []string{}},
	} {
		t.Run(tt.kind+":"+tt.name, func(t *testing.T) {
			tx := begin(t, app, acme)
			if _, err := tx.Exec(t.Context(), "SELECT parako.set_locator($1, $2)", tt.kind, tt.name); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, names(t, tx)); diff != "" {
				t.Errorf("locators mismatch (-want +got)\n%s", diff)
			}
		})
	}
	t.Run("the name is forgotten with the transaction", func(t *testing.T) {
		tx := begin(t, app, acme)
		if _, err := tx.Exec(t.Context(), "SELECT parako.set_locator('slug', 'umbra')"); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := names(t, begin(t, app, acme)); len(got) != 0 {
			t.Errorf("the next transaction sees %q", got)
		}
	})
	for _, sql := range []string{
		"INSERT INTO parako.tenant_locators (kind, name, tenant_id, verified_at) VALUES ('slug', 'mine', $1, now())",
		"UPDATE parako.tenant_locators SET tenant_id = $1",
		"DELETE FROM parako.tenant_locators WHERE tenant_id = $1",
	} {
		t.Run(sql[:6], func(t *testing.T) {
			tx := begin(t, app, acme)
			if _, err := tx.Exec(t.Context(), "SELECT parako.set_locator('slug', 'acme')"); err != nil {
				t.Fatal(err)
			}
			_, err := tx.Exec(t.Context(), sql, acme)
			if got := code(err); got != insufficientPrivilege {
				t.Errorf("%s: %s, want %s", sql, got, insufficientPrivilege)
			}
		})
	}
}
