package db_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"parako/internal/testkit"
)

// The page on migrations shows how to change a schema in use. Here it is done, with the SQL of the page.

// documented returns the migrations of the page, and its query.
func documented(t *testing.T) (files map[string]string, query string) {
	t.Helper()
	page, err := os.ReadFile("../docs/migrations.md")
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for _, block := range documentedFile.FindAllStringSubmatch(string(page), -1) {
		files[block[1]] = block[2]
	}
	match := documentedQuery.FindStringSubmatch(string(page))
	if len(files) == 0 || match == nil {
		t.Fatalf("the page has %d migrations and the query %q", len(files), match)
	}
	return files, match[1]
}

var (
	documentedFile  = regexp.MustCompile("(?s)`(\\d{5}_\\w+\\.sql)`\n\n```sql\n(.*?)```")
	documentedQuery = regexp.MustCompile("(?s)```sql\n-- name: [^\n]+\n(.*?);\n```")
)

func TestDocumentedMigrations(t *testing.T) {
	t.Parallel()
	files, fill := documented(t)
	tr := newTrail(t)
	tr.populate(t)
	m := migrator(t, tr.DB, andProduct(t, files))
	below := tr.Dump(t)
	for _, source := range m.ListSources() {
		if files[source.Path] == "" {
			continue
		}
		if _, err := m.UpByOne(t.Context()); err != nil {
			t.Fatal(err)
		}
		if found := findings(t, tr.super); len(found) > 0 {
			t.Errorf("findings after %s: %v", source.Path, found)
		}
		above := tr.Dump(t)
		tr.downAndUp(t, m, below, above)
		below = above
		if source.Path == "90003_clients_status.sql" {
			tr.fillStatus(t, fill)
		}
	}
}

// andProduct returns the files beside those of the product.
func andProduct(t *testing.T, files map[string]string) fs.FS {
	t.Helper()
	all := fstest.MapFS{}
	product := productMigrations(t)
	names, err := fs.Glob(product, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(product, name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = &fstest.MapFile{Data: text}
	}
	for name, text := range files {
		all[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return all
}

// fillStatus is the job between expand and contract: each tenant for itself, one row a batch, until nothing is left.
func (tr trail) fillStatus(t *testing.T, query string) {
	t.Helper()
	query = strings.NewReplacer("@tenant_id", "$1", "@batch", "$2").Replace(query) + " RETURNING tenant_id || ' ' || id || ' ' || status"
	want := map[uuid.UUID][]string{}
	for slug, id := range map[string]uuid.UUID{"acme": tr.acme, "globex": tr.globex} {
		tr.Ask(t, id, `INSERT INTO parako.clients (id, client_name, application_type, token_endpoint_auth_method, active)
			VALUES ('old', 'Old', 'web', 'none', false) RETURNING ''`)
		want[id] = []string{id.String() + " " + slug + "-shop active", id.String() + " old disabled"}
	}
	for id, rows := range want {
		var filled []string
		for batch := tr.Ask(t, id, query, id, 1); len(batch) > 0; batch = tr.Ask(t, id, query, id, 1) {
			if len(batch) != 1 {
				t.Fatalf("a batch of one changed %q", batch)
			}
			filled = append(filled, batch...)
		}
		if diff := cmp.Diff(rows, filled); diff != "" {
			t.Errorf("filled rows mismatch (-want +got)\n%s", diff)
		}
	}
}

// spaces is a database in which the names of two tenants' clients begin with spaces, and the documented migration that
// takes them away.
type spaces struct {
	*testkit.DB
	acme, globex uuid.UUID
	sql          string
}

const trimNames = "90007_trim_client_names.sql"

func newSpaces(t *testing.T) spaces {
	t.Helper()
	files, _ := documented(t)
	db := testkit.NewDB(t)
	s := db.Store(t)
	sp := spaces{db, testkit.Tenant(t, s, "acme").ID, testkit.Tenant(t, s, "globex").ID, files[trimNames]}
	for _, id := range []uuid.UUID{sp.acme, sp.globex} {
		sp.Ask(t, id, `INSERT INTO parako.clients (id, client_name, application_type, token_endpoint_auth_method)
			SELECT 'client-' || n, '  ' || $1::text, 'web', 'none' FROM generate_series(1, 2) AS n RETURNING ''`, id)
	}
	return sp
}

// names returns the tenant and the name of every client.
func (sp spaces) names(t *testing.T) []string {
	t.Helper()
	return column(t, sp.DB, "SELECT tenant_id || ':' || client_name FROM parako.clients ORDER BY tenant_id, id")
}

// want returns what names returns when each name begins with space.
func (sp spaces) want(space string) []string {
	acme, globex := sp.acme.String(), sp.globex.String() // made in this order, and so they sort
	return []string{acme + ":" + space + acme, acme + ":" + space + acme, globex + ":" + space + globex, globex + ":" + space + globex}
}

// up runs a migration and returns the SQLSTATE with which it failed, or "".
func (sp spaces) up(t *testing.T, sql string) string {
	t.Helper()
	_, err := migrator(t, sp.DB, andProduct(t, map[string]string{trimNames: sql})).Up(t.Context())
	return sqlState(t, err)
}

func (sp spaces) forced(t *testing.T) string {
	t.Helper()
	return column(t, sp.DB, "SELECT relforcerowsecurity::text FROM pg_class WHERE oid = 'parako.clients'::regclass")[0]
}

func TestDataMigrations(t *testing.T) {
	t.Parallel()
	const (
		off     = "SET LOCAL row_security = off;\n"
		noForce = "ALTER TABLE parako.clients NO FORCE ROW LEVEL SECURITY;\n"
		force   = "ALTER TABLE parako.clients FORCE ROW LEVEL SECURITY;\n"
	)
	tests := map[string]struct {
		edit    *strings.Replacer
		refused string // SQLSTATE
		space   string // before the names afterwards
	}{
		"as documented it changes the rows of every tenant": {strings.NewReplacer(), "", ""},
		"a naive one changes nothing and says nothing":      {strings.NewReplacer(off, "", noForce, "", force, ""), "", "  "},
		"row_security = off makes it an error":              {strings.NewReplacer(noForce, "", force, ""), "42501", "  "},
		"also where FORCE hides what is only read":          {strings.NewReplacer("WHERE ", "WHERE EXISTS (SELECT FROM parako.tenants AS t WHERE t.id = tenant_id) AND "), "42501", "  "},
		"a failure in the middle changes nothing":           {strings.NewReplacer(force, "SELECT 1 / 0;\n"+force), "22012", "  "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sp := newSpaces(t)
			if got := sp.up(t, tt.edit.Replace(sp.sql)); got != tt.refused {
				t.Errorf("SQLSTATE %q, want %q", got, tt.refused)
			}
			if diff := cmp.Diff(sp.want(tt.space), sp.names(t)); diff != "" {
				t.Errorf("names mismatch (-want +got)\n%s", diff)
			}
			if got := sp.forced(t); got != "true" {
				t.Errorf("FORCE is %s afterwards", got)
			}
		})
	}
}

// TestRequestsDuringADataMigration stops one before its end. Requests meanwhile wait or are refused, and see what is theirs.
func TestRequestsDuringADataMigration(t *testing.T) {
	t.Parallel()
	sp := newSpaces(t)
	up, _, _ := strings.Cut(sp.sql, "-- +goose Down")
	begun, rest, ok := strings.Cut(up, "ALTER TABLE parako.clients FORCE")
	if !ok {
		t.Fatal("the migration does not end with FORCE")
	}
	owner := connect(t, sp.OwnerDSN())
	migration, err := owner.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := migration.Exec(t.Context(), begun); err != nil {
		t.Fatal(err)
	}

	const names = "SELECT string_agg(client_name, ' ') FROM parako.clients"
	if got := sp.request(t.Context(), connect(t, sp.AppDSN()), "1ms", names); sqlState(t, got.err) != "55P03" {
		t.Errorf("a request that does not wait gets %v, want SQLSTATE 55P03", got)
	}
	app := connect(t, sp.AppDSN())
	answers := make(chan reply, 1)
	go func() { answers <- sp.request(t.Context(), app, "5min", names) }()
	super := connect(t, sp.SuperDSN())
	for waits := false; !waits; {
		select {
		case got := <-answers:
			t.Fatalf("a request did not wait and got %v", got)
		default:
			// Not by the client's pid: a pooler makes one up, and changes it.
			err := super.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'parako.clients'::regclass AND NOT granted)").Scan(&waits)
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := migration.Exec(t.Context(), "ALTER TABLE parako.clients FORCE"+rest); err != nil {
		t.Fatal(err)
	}
	if err := migration.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := <-answers, (reply{answer: sp.acme.String() + " " + sp.acme.String()}); got != want {
		t.Errorf("a request that waited got %v, want %v", got, want)
	}

	// Were FORCE forgotten, the owner would see the rows. It says nothing about anybody else.
	run(t, sp.OwnerDSN(), "ALTER TABLE parako.clients NO FORCE ROW LEVEL SECURITY")
	if got := sp.Ask(t, sp.globex, "SELECT count(*)::text FROM parako.clients"); got[0] != "2" {
		t.Errorf("a tenant sees %s clients while FORCE is off, want its own 2", got[0])
	}
}

// TestMigrationGivesUpItsWait keeps a request open. A migration that waited would stop all the requests behind it.
func TestMigrationGivesUpItsWait(t *testing.T) {
	t.Parallel()
	sp := newSpaces(t)
	request, err := connect(t, sp.AppDSN()).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := request.Exec(t.Context(), fmt.Sprintf("SELECT parako.set_tenant('%s'); SELECT FROM parako.clients", sp.acme)); err != nil {
		t.Fatal(err)
	}
	hasty := strings.Replace(sp.sql, "lock_timeout = '3s'", "lock_timeout = '1ms'", 1)
	if got := sp.up(t, hasty); got != "55P03" {
		t.Errorf("SQLSTATE %q, want 55P03", got)
	}
	if err := request.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := sp.up(t, sp.sql); got != "" {
		t.Errorf("the second attempt: SQLSTATE %q", got)
	}
	if diff := cmp.Diff(sp.want(""), sp.names(t)); diff != "" {
		t.Errorf("names mismatch (-want +got)\n%s", diff)
	}
}

// reply is what a request got.
type reply struct {
	answer string
	err    error
}

// request runs one statement inside acme, waiting so long for a lock.
func (sp spaces) request(ctx context.Context, app *pgx.Conn, patience, sql string) (got reply) {
	got.err = pgx.BeginFunc(ctx, app, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = '%s'; SELECT parako.set_tenant('%s')", patience, sp.acme)); err != nil {
			return err
		}
		return tx.QueryRow(ctx, sql).Scan(&got.answer)
	})
	return got
}

// sqlState returns the code of an error from PostgreSQL, and "" for none.
func sqlState(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		t.Fatal(err)
	}
	return pg.Code
}
