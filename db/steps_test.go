package db_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	library "github.com/pressly/goose/v3"

	"parako/db"
	"parako/internal/testkit"
)

// migrator is the library behind the goose command, as the owner, for tests of many small steps.
func migrator(t *testing.T, d *testkit.DB, files fs.FS) *library.Provider {
	t.Helper()
	config, err := pgx.ParseConfig(d.OwnerDSN())
	if err != nil {
		t.Fatal(err)
	}
	conn := stdlib.OpenDB(*config)
	t.Cleanup(func() { _ = conn.Close() })
	provider, err := library.NewProvider(library.DialectPostgres, conn, files)
	if err != nil {
		t.Fatal(err)
	}
	return provider
}

// productMigrations are the files of db/migrations.
func productMigrations(t *testing.T) fs.FS {
	t.Helper()
	files, err := fs.Sub(db.Migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestEachMigrationCanBeTakenBack goes down from the newest version one migration at a time, and each time up and down
// again, with rows in every table.
func TestEachMigrationCanBeTakenBack(t *testing.T) {
	t.Parallel()
	empty := testkit.NewEmptyDB(t)
	up := migrator(t, empty, productMigrations(t))
	if _, err := up.GetDBVersion(t.Context()); err != nil { // makes the table of goose
		t.Fatal(err)
	}
	// The first Down leaves these behind, on a table that is not ours and stays.
	run(t, empty.OwnerDSN(), "GRANT SELECT ON goose_db_version TO parako_app, parako_platform, parako_auditor")
	schemas := []string{empty.Dump(t)} // by the number of migrations
	for range up.ListSources() {
		if _, err := up.UpByOne(t.Context()); err != nil {
			t.Fatal(err)
		}
		schemas = append(schemas, empty.Dump(t))
	}

	tr := newTrail(t)
	tr.populate(t)
	tr.fillTheRest(t)
	m := migrator(t, tr.DB, productMigrations(t))
	for n := len(schemas) - 1; n > 0; n-- {
		tr.downAndUp(t, m, schemas[n-1], schemas[n])
		if _, err := m.Down(t.Context()); err != nil {
			t.Fatalf("down again: %v", err)
		}
	}
}

// TestTakingTheTrailBackKeepsEveryMonth has events in three partitions. Those of the future could not be taken forth again.
func TestTakingTheTrailBackKeepsEveryMonth(t *testing.T) {
	t.Parallel()
	const beforePartitions = 10
	tr := newTrail(t)
	for _, when := range []string{"2 months", "20 years"} {
		tr.Ask(t, tr.acme, `INSERT INTO parako.audit_events (id, occurred_at, type, status, actor_type)
			VALUES (gen_random_uuid(), now() + $1::text::interval, 'logout', 'success', 'user') RETURNING ''`, when)
	}
	if got := column(t, tr.DB, "SELECT count(DISTINCT tableoid)::text FROM parako.audit_events"); got[0] != "3" {
		t.Fatalf("the events are in %s partitions, want 3", got[0])
	}
	rows := tr.rows(t)
	if _, err := migrator(t, tr.DB, productMigrations(t)).DownTo(t.Context(), beforePartitions); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(keptRows(rows, tr.rows(t))); diff != "" {
		t.Errorf("rows mismatch (-before +after)\n%s", diff)
	}
}

// downAndUp takes the newest migration back and applies it again. Down has to leave the schema below, Up the schema above,
// and both the rows of every table that stays, in the columns that stay. A Down that shall lose a row gets an exception
// here, with a reason.
func (tr trail) downAndUp(t *testing.T, m *library.Provider, below, above string) {
	t.Helper()
	rows := tr.rows(t)
	for _, step := range []struct {
		move func(context.Context) (*library.MigrationResult, error)
		want string
	}{{m.Down, below}, {m.UpByOne, above}} {
		done, err := step.move(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(inAnyOrder(step.want), inAnyOrder(tr.Dump(t))); diff != "" {
			t.Fatalf("schema after %s mismatch (-want +got)\n%s", done, diff)
		}
		after := tr.rows(t)
		if diff := cmp.Diff(keptRows(rows, after)); diff != "" {
			t.Errorf("%s changes rows of tables that stay (-before +after)\n%s", done, diff)
		}
		rows = after
	}
}

// inAnyOrder returns the lines of a dump, sorted, without comments: a column that Down brings back stands behind the others.
func inAnyOrder(dump string) []string {
	lines := strings.Split(strings.ReplaceAll(dump, ",\n", "\n"), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return line == "" || strings.HasPrefix(line, "--") })
	slices.Sort(lines)
	return lines
}

// fillTheRest puts rows into the tables that populate leaves empty.
func (tr trail) fillTheRest(t *testing.T) {
	t.Helper()
	for _, id := range []uuid.UUID{tr.acme, tr.globex} {
		for _, sql := range []string{
			"INSERT INTO parako.user_passwords (id, user_id, hash) SELECT gen_random_uuid(), id, '$argon2id$' FROM parako.users RETURNING ''",
			"INSERT INTO parako.client_assertions (id, expires_at) VALUES ('a', now()) RETURNING ''",
			"INSERT INTO parako.sessions (id, token_digest, user_id, auth_time, acr, amr, expires_at) SELECT gen_random_uuid(), 'a', id, now(), '1', '{pwd}', now() FROM parako.users RETURNING ''",
			"INSERT INTO parako.interactions (id, browser_digest, client_id, request, expires_at) SELECT gen_random_uuid(), 'a', id, 'scope=openid', now() FROM parako.clients RETURNING ''",
			"INSERT INTO parako.pushed_requests (id, client_id, request, expires_at) SELECT 'a', id, 'scope=openid', now() FROM parako.clients RETURNING ''",
			"INSERT INTO parako.device_codes (id, user_code_digest, client_id, request, grant_id, answered_at, expires_at) SELECT 'a', 'b', client_id, 'scope=openid', id, now(), now() FROM parako.grants RETURNING ''",
			"INSERT INTO parako.consents (id, user_id, client_id, scopes) SELECT gen_random_uuid(), u.id, c.id, '{openid}' FROM parako.users AS u, parako.clients AS c RETURNING ''",
			"INSERT INTO parako.codes (id, grant_id, redirect_uri, redirect_uri_sent, code_challenge, code_challenge_method, expires_at) SELECT 'a', id, 'https://a.example', true, 'a', 'S256', now() FROM parako.grants RETURNING ''",
			"INSERT INTO parako.access_tokens (id, grant_id, client_id, scopes, expires_at) SELECT 'a', id, client_id, '{openid}', now() FROM parako.grants RETURNING ''",
			"INSERT INTO parako.refresh_tokens (id, grant_id, expires_at) SELECT 'a', id, now() FROM parako.grants RETURNING ''",
			"INSERT INTO parako.registration_tokens (id, token_digest, max_uses, created_by) VALUES (gen_random_uuid(), 'a', 1, 'cli') RETURNING ''",
			"INSERT INTO parako.tenant_settings_history (id, section, version, value, actor_type, actor_id) VALUES (gen_random_uuid(), 'oidc', 1, '{}', 'operator', 'cli') RETURNING ''",
			"INSERT INTO parako.revoked_tokens (id, expires_at) VALUES ('a', now()) RETURNING ''",
			"INSERT INTO parako.tenant_domains (id, name, token) VALUES (gen_random_uuid(), 'login.example', 'a') RETURNING ''",
			"INSERT INTO parako.logout_deliveries (id, client_id, user_id, session_id, expires_at) SELECT gen_random_uuid(), c.id, u.id, s.id, now() FROM parako.clients AS c, parako.users AS u, parako.sessions AS s RETURNING ''",
			"INSERT INTO parako.mails (id, user_id, kind, expires_at) SELECT gen_random_uuid(), id, 'new_session', now() FROM parako.users RETURNING ''",
		} {
			tr.Ask(t, id, sql)
		}
	}
	for table, rows := range tr.rows(t) {
		if len(rows) == 0 {
			t.Errorf("parako.%s is empty: give it a row here, so that its migrations meet one", table)
		}
	}
}

// rows returns the rows of every table of schema parako.
func (tr trail) rows(t *testing.T) map[string][]map[string]any {
	// The rows that migrations make themselves come and go with them.
	const ours = " WHERE coalesce(to_jsonb(t) ->> 'slug', '') NOT LIKE 'canary-_'"
	t.Helper()
	all := map[string][]map[string]any{}
	for _, table := range column(t, tr.DB, "SELECT relname::text FROM pg_class WHERE relnamespace = to_regnamespace('parako') AND relkind IN ('r', 'p') AND NOT relispartition") {
		found, err := tr.super.Query(t.Context(), "SELECT to_jsonb(t) FROM parako."+pgx.Identifier{table}.Sanitize()+" AS t"+ours)
		if err != nil {
			t.Fatal(err)
		}
		if all[table], err = pgx.CollectRows(found, pgx.RowTo[map[string]any]); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// keptRows returns the rows of the tables that are in both, in the columns that are in both, in order.
func keptRows(before, after map[string][]map[string]any) (map[string][]string, map[string][]string) {
	keptBefore, keptAfter := map[string][]string{}, map[string][]string{}
	for table := range before {
		if rows, stays := after[table]; stays {
			keptBefore[table], keptAfter[table] = inColumns(before[table], rows), inColumns(rows, before[table])
		}
	}
	return keptBefore, keptAfter
}

// inColumns returns the rows in the columns that the other rows have, too.
func inColumns(rows, others []map[string]any) []string {
	var texts []string
	for _, row := range rows {
		kept := maps.Clone(row)
		if len(others) > 0 {
			maps.DeleteFunc(kept, func(name string, _ any) bool { _, both := others[0][name]; return !both })
		}
		text, _ := json.Marshal(kept)
		texts = append(texts, string(text))
	}
	slices.Sort(texts)
	return texts
}

// TestCommandsTakeTurns applies some of the migrations with the stock goose command and the others with ours, in both orders.
func TestCommandsTakeTurns(t *testing.T) {
	t.Parallel()
	d := testkit.NewEmptyDB(t)
	want := testkit.NewDB(t).Dump(t)
	sources := migrator(t, d, productMigrations(t)).ListSources()
	half := fmt.Sprint(sources[len(sources)/2].Version)

	mustGoose(t, d.OwnerDSN(), "up-to", half)
	parako(t, "DATABASE_URL", d.OwnerDSN(), "migrate", "up")
	if diff := cmp.Diff(want, d.Dump(t)); diff != "" {
		t.Errorf("goose up-to %s and parako migrate up differ from one alone (-one +both)\n%s", half, diff)
	}
	parako(t, "DATABASE_URL", d.OwnerDSN(), "migrate", "down", "--to", half)
	mustGoose(t, d.OwnerDSN(), "up")
	if diff := cmp.Diff(want, d.Dump(t)); diff != "" {
		t.Errorf("parako migrate down --to %s and goose up differ from one alone (-one +both)\n%s", half, diff)
	}
	if status := parako(t, "DATABASE_URL", d.OwnerDSN(), "migrate", "status"); strings.Contains(status, "pending") {
		t.Errorf("parako does not see what goose applied:\n%s", status)
	}
}
