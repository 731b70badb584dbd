package store_test

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/testkit"
)

// as is the URL of the database for another role.
func as(t *testing.T, db *testkit.DB, role string) string {
	t.Helper()
	u, err := url.Parse(db.SuperDSN())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	return u.String()
}

func TestCheck(t *testing.T) {
	t.Parallel()
	const (
		roles  = "tenant isolation is not enforced: connect as parako_app and parako_platform, as the migrations create them:"
		schema = "tenant isolation is not enforced: the database is not as the migrations make it, see `parako doctor isolation`:"
		pair   = "FOR ALL USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant())"
		login  = "FOR SELECT USING (tenant_id = login_tenant()) WITH CHECK"
	)
	tests := map[string]struct {
		sql  string // run as the superuser beforehand; $role is a role for this test alone
		app  func(*testkit.DB, string) string
		plat func(*testkit.DB, string) string
		want []string // lines of the error; ROLE is that role
	}{
		"the database as the migrations make it": {},
		"a superuser": {
			app: func(db *testkit.DB, _ string) string { return db.SuperDSN() },
			want: []string{
				roles, "the connection is of role postgres where parako_app is needed", "role postgres is a superuser",
				"role postgres has BYPASSRLS", "role postgres may create roles",
				"role postgres may copy the whole cluster (REPLICATION)",
			},
		},
		"the owner": {
			app: func(db *testkit.DB, _ string) string { return db.OwnerDSN() },
			want: []string{
				roles, "the connection is of role parako_owner where parako_app is needed", "role parako_owner may create roles",
				"role parako_owner owns parako.*",
			},
		},
		"a role with BYPASSRLS": {
			sql:  "CREATE ROLE $role LOGIN BYPASSRLS",
			app:  func(_ *testkit.DB, other string) string { return other },
			want: []string{roles, "the connection is of role ROLE where parako_app is needed", "role ROLE has BYPASSRLS"},
		},
		"a role with REPLICATION": {
			sql: "CREATE ROLE $role LOGIN REPLICATION",
			app: func(_ *testkit.DB, other string) string { return other },
			want: []string{
				roles, "the connection is of role ROLE where parako_app is needed",
				"role ROLE may copy the whole cluster (REPLICATION)",
			},
		},
		"a role that owns one table": {
			sql: "CREATE ROLE $role LOGIN; CREATE TABLE parako.mine (); ALTER TABLE parako.mine OWNER TO $role; GRANT USAGE ON SCHEMA parako TO $role",
			app: func(_ *testkit.DB, other string) string { return other },
			want: []string{
				roles, "the connection is of role ROLE where parako_app is needed", "role ROLE owns parako.mine",
			},
		},
		"a member of another role": {
			sql: "CREATE ROLE $role LOGIN NOINHERIT IN ROLE pg_read_all_data",
			app: func(_ *testkit.DB, other string) string { return other },
			want: []string{
				roles, "the connection is of role ROLE where parako_app is needed", "role ROLE is a member of pg_read_all_data",
			},
		},
		"somebody else in the disguise of parako_app": {
			app: func(db *testkit.DB, _ string) string { return db.SuperDSN() + "&role=parako_app" },
			want: []string{
				roles, "session user postgres is not role parako_app",
			},
		},
		"the two URLs swapped": {
			app:  func(db *testkit.DB, _ string) string { return db.PlatformDSN() },
			plat: func(db *testkit.DB, _ string) string { return db.AppDSN() },
			want: []string{
				roles, "the connection is of role parako_platform where parako_app is needed",
				"the connection is of role parako_app where parako_platform is needed",
			},
		},
		"a platform role that is a superuser": {
			plat: func(db *testkit.DB, _ string) string { return db.SuperDSN() },
			want: []string{
				roles, "the connection is of role postgres where parako_platform is needed", "role postgres is a superuser",
				"role postgres has BYPASSRLS", "role postgres may create roles",
				"role postgres may copy the whole cluster (REPLICATION)",
			},
		},
		"a table whose owner is free of its policies": {
			sql:  "ALTER TABLE parako.users NO FORCE ROW LEVEL SECURITY",
			want: []string{schema, "parako.users: row-level security is not forced upon the owner"},
		},
		"a table without row-level security": {
			sql:  "ALTER TABLE parako.users DISABLE ROW LEVEL SECURITY",
			want: []string{schema, "parako.users: row-level security is disabled"},
		},
		"a table without its boundary": {
			sql:  "DROP POLICY tenant_boundary ON parako.users",
			want: []string{schema, "parako.users: parako_app has no restrictive policy " + pair},
		},
		"a new table that was forgotten": {
			sql: "CREATE TABLE parako.forgotten (tenant_id uuid); ALTER TABLE parako.forgotten OWNER TO parako_owner",
			want: []string{
				schema, "parako.forgotten: row-level security is disabled",
				"parako.forgotten: tenant_id does not default to parako.current_tenant()", "parako.forgotten: tenant_id may be NULL",
				"parako.forgotten: parako_app has no permissive policy " + pair,
				"parako.forgotten: parako_auditor has no permissive policy FOR SELECT USING true WITH CHECK",
				"parako.forgotten: parako_tenant_auditor has no permissive policy " + login,
				"parako.forgotten: parako_app has no restrictive policy " + pair,
				"parako.forgotten: parako_tenant_auditor has no restrictive policy " + login, "parako.forgotten: it has no primary key",
			},
		},
		"what only an administrator needs to know": {
			sql: "CREATE PUBLICATION moving FOR ALL TABLES; CREATE INDEX ON parako.users (tenant_id, lower(email))",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := testkit.NewDB(t)
			own := strings.ReplaceAll(db.Name, "test", "role") // roles belong to the whole server
			if tt.sql != "" {
				exec(t, db, strings.ReplaceAll(tt.sql, "$role", own))
			}
			o := db.Options()
			if tt.app != nil {
				o.AppURL = secret.NewString(tt.app(db, as(t, db, own)))
			}
			if tt.plat != nil {
				o.PlatformURL = secret.NewString(tt.plat(db, as(t, db, own)))
			}
			var got []string
			if err := open(t, o).Check(t.Context()); err != nil {
				for line := range strings.SplitSeq(err.Error(), "\n") {
					line = strings.ReplaceAll(strings.TrimSpace(line), own, "ROLE")
					if owned := "role parako_owner owns parako."; strings.HasPrefix(line, owned) {
						line = owned + "*"
					}
					if len(got) == 0 || got[len(got)-1] != line {
						got = append(got, line)
					}
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Check mismatch (-want +got)\n%s", diff)
			}
		})
	}
}

func TestCheckOfTheSchemasVersion(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, db *testkit.DB) string {
		t.Helper()
		err := open(t, db.Options()).Check(t.Context())
		if err == nil {
			return ""
		}
		return err.Error()
	}
	t.Run("an empty database", func(t *testing.T) {
		t.Parallel()
		got := check(t, testkit.NewEmptyDB(t))
		if !strings.HasPrefix(got, "the schema is at version 0 and ") || !strings.HasSuffix(got, ": run `parako migrate up`") {
			t.Errorf("Check: %s", got)
		}
	})
	t.Run("a schema of the release before, and none", func(t *testing.T) {
		t.Parallel()
		db := testkit.NewDB(t)
		m := migrator(t, db)
		list, err := m.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Down(t.Context(), list[len(list)-2].Version); err != nil {
			t.Fatal(err)
		}
		if got := check(t, db); !strings.Contains(got, "run `parako migrate up`") || strings.Contains(got, "version 0") {
			t.Errorf("Check one version behind: %s", got)
		}
		if _, err := m.Down(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if got := check(t, db); !strings.HasPrefix(got, "the schema is at version 0 and ") {
			t.Errorf("Check after everything was taken back: %s", got)
		}
		if _, err := m.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := check(t, db); got != "" {
			t.Errorf("Check after everything was applied again: %s", got)
		}
	})
	t.Run("no database", func(t *testing.T) {
		t.Parallel()
		db := testkit.NewDB(t)
		s := open(t, store.Options{AppURL: secret.NewString(strings.Replace(db.AppDSN(), db.Name, "no_such_database", 1))})
		if err := s.Check(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "reach the database: ") {
			t.Errorf("Check: %v", err)
		}
		if err := s.Ping(t.Context()); err == nil {
			t.Error("Ping succeeds")
		}
	})
}

func TestTooOld(t *testing.T) {
	t.Parallel()
	tests := map[int]bool{
		140020: true, 150000: true, 150008: true, 150009: false, 150013: false,
		160000: true, 160004: true, 160005: false, 170000: true, 170001: false, 170010: false, 180000: false, 190000: false,
	}
	for version, want := range tests {
		if got := store.TooOld(version); got != want {
			t.Errorf("TooOld(%d) = %t, want %t", version, got, want)
		}
	}
}

// TestIsolationIsTheWholeView has Isolation ask the parts of audit.isolation_findings: they are all of them, and what it finds is what
// the view says, row for row.
func TestIsolationIsTheWholeView(t *testing.T) {
	t.Parallel()
	f := setup(t)
	super := connect(t, f.db.SuperDSN())
	var definition string
	if err := super.QueryRow(t.Context(), "SELECT pg_get_viewdef('audit.isolation_findings'::regclass)").Scan(&definition); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, m := range regexp.MustCompile(`FROM audit\.(\w+)_findings`).FindAllStringSubmatch(definition, -1) {
		want = append(want, m[1])
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(store.IsolationParts))); diff != "" || len(want) == 0 {
		t.Errorf("parts mismatch (-view +ours)\n%s", diff)
	}

	exec(t, f.db, "ALTER TABLE parako.users DISABLE ROW LEVEL SECURITY")
	exec(t, f.db, "CREATE TABLE parako.stray (id uuid PRIMARY KEY)")
	exec(t, f.db, "GRANT SELECT ON parako.stray TO PUBLIC")
	rows, err := super.Query(t.Context(), "SELECT check_no, check_name, object, finding FROM audit.isolation_findings")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := pgx.CollectRows(rows, pgx.RowToStructByPos[store.Finding])
	if err != nil {
		t.Fatal(err)
	}
	texts := func(findings []store.Finding) (list []string) {
		for _, one := range findings {
			list = append(list, fmt.Sprint(one))
		}
		slices.Sort(list)
		return list
	}
	got, err := open(t, f.db.Options()).Isolation(t.Context())
	if diff := cmp.Diff(texts(whole), texts(got)); diff != "" || err != nil || len(got) < 3 {
		t.Errorf("Isolation: %v, mismatch (-view +got)\n%s", err, diff)
	}
}
