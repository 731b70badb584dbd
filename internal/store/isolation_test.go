package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"parako/internal/testkit"
)

// The SQLSTATEs by which PostgreSQL refuses.
const (
	insufficientPrivilege = "42501" // a policy or a missing grant
	undefinedObject       = "42704" // no tenant on a fresh connection
	invalidText           = "22P02" // no tenant on a used connection
	foreignKeyViolation   = "23503"
)

// global are the tables with a tenant_id that belong to no tenant. Each has a test of its own below.
var global = map[string]bool{"tenant_locators": true, "audit_drops": true}

// samples are values for columns whose CHECK is more than a list of values, as SQL. Columns that are not here get a value
// by their type; see [column.sample].
var samples = map[string]string{
	"audit_events.type": "'isolation.test'",
}

// table is a tenant's table as the catalog describes it.
type table struct {
	name    string
	tenant  string // the column that holds the tenant
	columns []column
}

type column struct {
	table, name, format string
	required            bool   // NOT NULL without a default
	choices             string // the CHECK that lists its values, if there is one
	parent, parentKey   string // where its foreign key leads, besides the tenant
	updatable           bool   // by parako_app
}

// TestNoTenantReachesAnother takes every table it finds, puts a row of two tenants into it, and tries as one tenant, and as
// none, to reach the row of the other. A new table needs nothing here but, if its columns are picky, a sample.
func TestNoTenantReachesAnother(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	victim, attacker := testkit.Tenant(t, s, "victim").ID, testkit.Tenant(t, s, "attacker").ID
	super := connect(t, db.SuperDSN())
	tables := catalog(t, super)
	for _, tenant := range []uuid.UUID{victim, attacker} {
		fill(t, super, tables, tenant)
	}
	hashes := func() map[string]string {
		all := map[string]string{}
		for name, tb := range tables {
			all[name] = text(t, super, "SELECT md5(string_agg(r::text, '' ORDER BY r::text)) FROM parako."+name+" AS r WHERE "+tb.tenant+" = $1", victim)
		}
		return all
	}
	before := hashes()

	app := connect(t, db.AppDSN())
	own := db.Direct().AppDSN() // a pooler would choose whether the session is fresh or used
	for _, name := range slices.Sorted(maps.Keys(tables)) {
		tb := tables[name]
		t.Run(name, func(t *testing.T) {
			row := text(t, super, "SELECT row_to_json(r) FROM parako."+name+" AS r WHERE "+tb.tenant+" = $1 LIMIT 1", victim)
			t.Run("as another tenant", func(t *testing.T) { tb.attack(t, app, attacker, victim, row) })
			t.Run("as nobody, on a fresh connection", func(t *testing.T) {
				tb.refuse(t, connect(t, own), row, undefinedObject)
			})
			t.Run("as nobody, on a used connection", func(t *testing.T) {
				used := connect(t, own)
				as := begin(t, used, victim)
				if got := text(t, used, "SELECT count(*) FROM parako."+name); got == "0" {
					t.Error("the tenant does not see its own row")
				}
				if err := as.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
				tb.refuse(t, used, row, invalidText)
			})
		})
	}
	if diff := cmp.Diff(before, hashes()); diff != "" {
		t.Errorf("rows of the victim changed (-before +after)\n%s", diff)
	}
}

// attack tries everything on the victim's rows, each in a transaction of its own. row is one of them, as JSON.
func (tb table) attack(t *testing.T, app *pgx.Conn, attacker, victim uuid.UUID, row string) {
	name := "parako." + tb.name
	update := tb.tenant + " = " + tb.tenant // a change that is none
	for _, c := range tb.columns {
		if c.updatable {
			update = c.name + " = " + c.name
			break
		}
	}
	type attempt struct {
		sql     string
		args    []any
		touches string // how many rows; empty: it must be refused
	}
	tests := map[string]attempt{
		"sees its own row":         {"SELECT FROM " + name + " WHERE " + tb.tenant + " = $1", []any{attacker}, "1"},
		"sees nothing else":        {"SELECT FROM " + name, nil, "1"},
		"cannot ask for another's": {"SELECT FROM " + name + " WHERE " + tb.tenant + " = $1", []any{victim}, "0"},
		"cannot change it":         {"UPDATE " + name + " SET " + update + " WHERE " + tb.tenant + " = $1", []any{victim}, "0"},
		"changes only its own":     {"UPDATE " + name + " SET " + update, nil, "1"},
		"deletes only its own":     {"DELETE FROM " + name, nil, "1"},
		"cannot delete it":         {"DELETE FROM " + name + " WHERE " + tb.tenant + " = $1", []any{victim}, "0"},
		"cannot add to it":         {"INSERT INTO " + name + " SELECT * FROM json_populate_record(NULL::" + name + ", $1)", []any{row}, ""},
		"cannot give its own away": {"UPDATE " + name + " SET " + tb.tenant + " = $1", []any{victim}, ""},
		"cannot empty it":          {"TRUNCATE " + name + " CASCADE", nil, ""},
		"cannot open it":           {"ALTER TABLE " + name + " DISABLE ROW LEVEL SECURITY", nil, ""},
		"cannot copy it":           {"COPY " + name + " TO PROGRAM 'cat'", nil, ""},
	}
	if strings.HasPrefix(tb.name, "audit_") { // nobody changes what happened, not even one's own
		tests["changes only its own"] = attempt{sql: "UPDATE " + name + " SET tenant_id = tenant_id"}
		tests["deletes only its own"] = attempt{sql: "DELETE FROM " + name}
	}
	for what, tt := range tests {
		t.Run(what, func(t *testing.T) {
			tx := begin(t, app, attacker)
			tag, err := tx.Exec(t.Context(), tt.sql, tt.args...)
			got := fmt.Sprint(tag.RowsAffected())
			if err != nil {
				got = code(err)
			}
			if strings.HasPrefix(what, "deletes") && got == foreignKeyViolation {
				return // its own rows hold it back
			}
			// A grant that is missing refuses as well as a policy that hides.
			if got != insufficientPrivilege && (tt.touches == "" || got != tt.touches) {
				t.Errorf("%s: %s, want %s rows or %s", tt.sql, got, tt.touches, insufficientPrivilege)
			}
			if strings.HasPrefix(what, "sees") && got != tt.touches {
				t.Errorf("%s: %s, want %s rows: the rest of this test proves nothing", tt.sql, got, tt.touches)
			}
		})
	}
}

// refuse expects every statement to fail with the SQLSTATE of a missing tenant, or for want of a grant.
func (tb table) refuse(t *testing.T, conn *pgx.Conn, row, want string) {
	name := "parako." + tb.name
	for _, sql := range []string{
		"SELECT FROM " + name,
		"UPDATE " + name + " SET " + tb.tenant + " = " + tb.tenant,
		"DELETE FROM " + name,
		"INSERT INTO " + name + " SELECT * FROM json_populate_record(NULL::" + name + ", '" + strings.ReplaceAll(row, "'", "''") + "')",
	} {
		_, err := conn.Exec(t.Context(), sql)
		got := code(err)
		if got != want && (got != insufficientPrivilege || strings.HasPrefix(sql, "SELECT")) {
			t.Errorf("%.60s: %s, want %s", sql, got, want)
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

// catalog returns the tenants' tables by name. A relation of schema parako that it does not understand ends the test.
func catalog(t *testing.T, super *pgx.Conn) map[string]table {
	t.Helper()
	rows, err := super.Query(t.Context(), `
		SELECT c.relname, c.relkind::text, a.attname, format_type(a.atttypid, a.atttypmod),
		       a.attnotnull AND NOT a.atthasdef AND a.attidentity = '',
		       coalesce((SELECT pg_get_constraintdef(k.oid) FROM pg_constraint AS k
		                  WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum]
		                    AND pg_get_constraintdef(k.oid) LIKE '%= ANY (ARRAY[%' LIMIT 1), ''),
		       coalesce(f.parent, ''), coalesce(f.key, ''),
		       has_column_privilege('parako_app', c.oid, a.attnum, 'UPDATE')
		  FROM pg_class AS c
		  JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = 'parako'
		  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
		  LEFT JOIN LATERAL (SELECT k.confrelid::regclass::text AS parent, p.attname::text AS key
		                       FROM pg_constraint AS k
		                       CROSS JOIN unnest(k.conkey, k.confkey) AS pair (here, there)
		                       JOIN pg_attribute AS p ON p.attrelid = k.confrelid AND p.attnum = pair.there
		                      WHERE k.conrelid = c.oid AND k.contype = 'f' AND pair.here = a.attnum
		                        AND k.confrelid <> 'parako.tenants'::regclass
		                      LIMIT 1) AS f ON a.attname <> 'tenant_id'
		 WHERE c.relkind NOT IN ('i', 'I', 'S', 't', 'c')
		   AND NOT c.relispartition -- nobody is granted anything on it
		 ORDER BY c.relname, a.attnum`)
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]table{}
	var kind string
	var c column
	_, err = pgx.ForEachRow(rows, []any{&c.table, &kind, &c.name, &c.format, &c.required, &c.choices, &c.parent, &c.parentKey, &c.updatable}, func() error {
		if kind != "r" && kind != "p" {
			return fmt.Errorf("%s is of kind %s: teach this test what a tenant may see of it", c.table, kind)
		}
		tb := tables[c.table]
		tb.name = c.table
		switch {
		case c.name == "tenant_id", c.table == "tenants" && c.name == "id":
			tb.tenant = c.name
		default:
			tb.columns = append(tb.columns, c)
		}
		tables[c.table] = tb
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(tables, func(name string, _ table) bool { return global[name] })
	for _, tb := range tables {
		if tb.tenant == "" {
			t.Fatalf("table %s has no tenant_id: say here whose rows it holds, and test it", tb.name)
		}
	}
	if len(tables) < 2 {
		t.Fatalf("the catalog shows %d tables", len(tables))
	}
	return tables
}

// fill puts one row of the tenant into every table that has none, parents first.
func fill(t *testing.T, super *pgx.Conn, tables map[string]table, tenant uuid.UUID) {
	t.Helper()
	filled := map[string]bool{}
	var insert func(table)
	insert = func(tb table) {
		if filled[tb.name] {
			return
		}
		filled[tb.name] = true
		for _, c := range tb.columns {
			if c.parent != "" && c.required {
				insert(tables[strings.TrimPrefix(c.parent, "parako.")])
			}
		}
		if text(t, super, "SELECT count(*) FROM parako."+tb.name+" WHERE "+tb.tenant+" = $1", tenant) != "0" {
			return
		}
		names, values := []string{tb.tenant}, []string{"'" + tenant.String() + "'"}
		for _, c := range tb.columns {
			if c.required {
				names, values = append(names, c.name), append(values, c.sample(t, tenant))
			}
		}
		sql := fmt.Sprintf("INSERT INTO parako.%s (%s) VALUES (%s)", tb.name, strings.Join(names, ", "), strings.Join(values, ", "))
		if _, err := super.Exec(t.Context(), sql); err != nil {
			hint := ""
			if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == checkViolation {
				hint = "\nadd a value for the column of constraint " + pg.ConstraintName + " to samples"
			}
			t.Fatalf("%s: %v%s", sql, err, hint)
		}
	}
	for _, tb := range tables {
		insert(tb)
	}
}

// choice finds the first value in the definition of a CHECK that lists them.
var choice = regexp.MustCompile(`ARRAY\[('(?:[^']|'')*')`)

// sample is a valid value for the column, as SQL.
func (c column) sample(t *testing.T, tenant uuid.UUID) string {
	t.Helper()
	if value, ok := samples[c.table+"."+c.name]; ok {
		return value
	}
	if c.parent != "" {
		return fmt.Sprintf("(SELECT %s FROM %s WHERE tenant_id = '%s' LIMIT 1)", c.parentKey, c.parent, tenant)
	}
	if match := choice.FindStringSubmatch(c.choices); match != nil {
		return match[1]
	}
	switch c.format {
	case "uuid":
		return "gen_random_uuid()"
	case "text":
		return "'sample-' || gen_random_uuid()"
	case "bytea":
		return "uuid_send(gen_random_uuid())"
	case "boolean":
		return "false"
	case "smallint", "integer", "bigint":
		return "1"
	case "timestamp with time zone":
		return "now()"
	case "json", "jsonb":
		return "'{}'"
	}
	if strings.HasSuffix(c.format, "[]") {
		return "'{}'"
	}
	t.Fatalf("column %s.%s is of type %s: add a value for it to samples", c.table, c.name, c.format)
	return ""
}

// TestGrants is the whole list of what the roles may do with tables. What is not here is refused before any policy is
// asked.
func TestGrants(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	super := connect(t, db.SuperDSN())
	const readAndAdd, all = "INSERT SELECT", "DELETE INSERT SELECT UPDATE"
	want := map[string]map[string]string{
		"parako_app": {
			"tenants": "SELECT UPDATE(revision) UPDATE(updated_at)", "tenant_locators": "SELECT", "audit_events": readAndAdd,
			"audit_seals": readAndAdd, "audit_leaves": readAndAdd, "audit_drops": "SELECT(dropped_at) SELECT(partition) SELECT(until)",
		},
		"parako_platform": {
			"tenants": "INSERT SELECT UPDATE", "tenant_locators": all, "audit_events": "INSERT",
		},
		"public": {},
	}
	for name := range catalog(t, super) {
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
	acme := testkit.Tenant(t, db.Store(t), "acme").ID
	super := connect(t, db.SuperDSN())
	tables := catalog(t, super)
	fill(t, super, tables, acme)
	platform := connect(t, db.PlatformDSN())
	for name := range tables {
		if name != "tenants" {
			_, err := begin(t, platform, acme).Exec(t.Context(), "SELECT FROM parako."+name)
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
