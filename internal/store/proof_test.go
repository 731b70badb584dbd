package store_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/store"
	"parako/internal/testkit"
)

// rows counts every row of the schema, whoever's it is.
const everyRow = `SELECT string_agg(n.row_count::text, ' ') FROM (
	SELECT (xpath('/row/n/text()', query_to_xml('SELECT count(*) AS n FROM parako.' || quote_ident(relname), false, true, '')))[1] AS row_count
	  FROM pg_class WHERE relnamespace = 'parako'::regnamespace AND relkind = 'r' ORDER BY relname) AS n`

// TestProofOfACleanDatabase proves the isolation of a database as the migrations make it, and leaves no trace there.
func TestProofOfACleanDatabase(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	testkit.Tenant(t, s, "acme")
	super := connect(t, db.SuperDSN())
	before := text(t, super, everyRow)
	for range 2 {
		proof, err := s.Prove(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, leak := range proof.Leaks {
			t.Errorf("%+v", leak)
		}
		counts := text(t, super, `SELECT concat_ws(' ', (SELECT count(*) FROM audit.tables WHERE NOT partition) + (SELECT count(*) FROM audit.promised_job_tables),
			(SELECT count(*) FROM pg_class WHERE relnamespace = 'audit'::regnamespace AND relkind = 'v'),
			(SELECT count(*) FROM audit.promised_functions) + 1)`) // and River's
		got := strings.Join([]string{strconv.Itoa(proof.Tables), strconv.Itoa(proof.Views), strconv.Itoa(proof.Functions)}, " ")
		if diff := cmp.Diff(counts, got); diff != "" {
			t.Errorf("tables, views and functions tried mismatch (-there +tried)\n%s", diff)
		}
		if len(proof.Excluded) != 1 || !strings.HasPrefix(proof.Excluded[0], "parako.set_tenant: ") {
			t.Errorf("excluded: %q", proof.Excluded)
		}
		t.Logf("%d attempts on %d tables, %d views, %d functions", proof.Attempts, proof.Tables, proof.Views, proof.Functions)
	}
	if after := text(t, super, everyRow); after != before {
		t.Errorf("rows of the tables before: %s\nafter: %s", before, after)
	}
	if leftovers := text(t, super, "SELECT count(*) FROM pg_proc WHERE proname = 'spy'"); leftovers != "0" {
		t.Errorf("%s functions are left behind", leftovers)
	}
}

// TestProofFindsWhatIsOpen opens a database in one way after the other and demands that the proof gets through there.
func TestProofFindsWhatIsOpen(t *testing.T) {
	t.Parallel()
	const other = "'00000000-0000-4000-8000-00000000000b'"
	tests := map[string]struct{ sql, object string }{
		"row-level security is disabled":     {"ALTER TABLE parako.users DISABLE ROW LEVEL SECURITY", "parako.users"},
		"a boundary that is none":            {"ALTER POLICY tenant_boundary ON parako.users USING (true) WITH CHECK (true); ALTER POLICY tenant_access ON parako.users USING (true) WITH CHECK (true)", "parako.users"},
		"everything may be read":             {"ALTER POLICY tenant_boundary ON parako.codes USING (true); ALTER POLICY tenant_access ON parako.codes USING (true)", "parako.codes"},
		"everything may be written":          {"ALTER POLICY tenant_boundary ON parako.users WITH CHECK (true); ALTER POLICY tenant_access ON parako.users WITH CHECK (true)", "parako.users"},
		"a tenant that is missing is some":   {"CREATE OR REPLACE FUNCTION parako.current_tenant() RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT coalesce(nullif(current_setting('app.tenant_id', true), '')::uuid, " + other + ") $$", "parako.users"},
		"a tenant that is missing is no row": {"CREATE OR REPLACE FUNCTION parako.current_tenant() RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT nullif(current_setting('app.tenant_id', true), '')::uuid $$", "parako.users"},
		"a key without the tenant":           {"ALTER TABLE parako.revoked_tokens ADD CONSTRAINT global UNIQUE (id)", "parako.revoked_tokens"},
		"a reference without the tenant":     {"ALTER TABLE parako.users ADD CONSTRAINT global UNIQUE (id); ALTER TABLE parako.user_passwords DROP CONSTRAINT user_passwords_user_fkey, ADD FOREIGN KEY (user_id) REFERENCES parako.users (id)", "parako.user_passwords"},
		"a view of a superuser":              {"CREATE VIEW parako.people AS SELECT * FROM parako.users; GRANT SELECT ON parako.people TO parako_app", "parako.people"},
		"a function of a superuser":          {"CREATE FUNCTION parako.find(uuid) RETURNS SETOF parako.users LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM parako.users WHERE tenant_id = $1'", "parako.find"},
		"a function that changes":            {"CREATE FUNCTION parako.wipe(uuid) RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DELETE FROM parako.users WHERE tenant_id = $1'", "parako.wipe"},
		"a materialized view":                {"CREATE MATERIALIZED VIEW audit.people AS SELECT id, slug FROM parako.tenants; GRANT SELECT ON audit.people TO parako_app", "audit.people"},
		"TRUNCATE":                           {"GRANT TRUNCATE ON ALL TABLES IN SCHEMA parako TO parako_app", "parako.users"},
		"TRIGGER":                            {"GRANT TRIGGER ON parako.users TO parako_app", "parako.users"},
		"locators that can be listed":        {"DROP POLICY locator_boundary ON parako.tenant_locators; ALTER POLICY locator_lookup ON parako.tenant_locators USING (true); INSERT INTO parako.tenant_locators VALUES ('slug', 'canary-b', " + other + ")", "parako.tenant_locators"},
		"jobs that can be read":              {"CREATE POLICY careless ON jobs.river_job FOR SELECT TO parako_app USING (true); GRANT SELECT ON jobs.river_job TO parako_app", "jobs.river_job"},
		"jobs for any tenant":                {"ALTER POLICY tenant_boundary ON jobs.river_job WITH CHECK (true); ALTER POLICY tenant_access ON jobs.river_job WITH CHECK (true)", "jobs.river_job"},
		"jobs without row-level security":    {"ALTER TABLE jobs.river_job DISABLE ROW LEVEL SECURITY", "jobs.river_job"},
		"jobs that can be removed":           {"CREATE POLICY careless ON jobs.river_job FOR DELETE TO parako_app USING (true); GRANT DELETE ON jobs.river_job TO parako_app", "jobs.river_job"},
		"a schema that takes objects":        {"GRANT CREATE ON SCHEMA parako TO parako_app", "schema"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := testkit.NewDB(t)
			db.Superuser(t, tt.sql)
			proof, err := db.Store(t).Prove(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			found := slices.ContainsFunc(proof.Leaks, func(l store.Leak) bool { return l.Object == tt.object })
			if !found {
				t.Errorf("nothing got through %s: %+v", tt.object, proof.Leaks)
			}
		})
	}
}
