package store_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"parako/internal/dbsqlc"
	"parako/internal/store"
	"parako/internal/testkit"
)

// sessions is how many sessions of PostgreSQL everybody shares behind the pooler of these tests.
const sessions = 4

func pooled(t *testing.T, db *testkit.DB, settings ...string) *testkit.DB {
	t.Helper()
	return db.Pooled(t, append(settings, fmt.Sprint("default_pool_size = ", sessions))...)
}

// plant runs a statement in every session behind the pooler and outside any tenant's transaction, as somebody does who takes
// the pooler for a server. It returns the SQLSTATE with which PostgreSQL refuses, if it does.
func plant(t *testing.T, behind *testkit.DB, sql string) (refused string) {
	t.Helper()
	conns := make([]*pgx.Conn, sessions)
	for i := range conns { // A transaction holds its session: as many at once as there are sessions reach them all.
		conns[i] = connect(t, behind.AppDSN())
		if _, err := conns[i].Exec(t.Context(), "BEGIN"); err != nil {
			t.Fatal(err)
		}
	}
	for _, conn := range conns {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			refused = code(err)
		}
		if _, err := conn.Exec(t.Context(), "COMMIT"); err != nil {
			t.Fatal(err)
		}
	}
	return refused
}

// preparedForUs prepares a statement under the name that pgx would give to the first one of a question.
func preparedForUs() string {
	digest := sha256.Sum256([]byte("begin read only"))
	return fmt.Sprintf("PREPARE stmtcache_%x AS SELECT 'not what you meant'", digest[:24])
}

func presetTenant(tenant uuid.UUID) string { return "SET app.tenant_id = '" + tenant.String() + "'" }

// What somebody leaves behind in the sessions never shows one tenant to another. What it breaks instead, docs/operators.md
// says too. A read and a write take 20 ms each.
func TestWhatOthersLeaveInASharedSession(t *testing.T) {
	t.Parallel()
	const (
		readOnly = "25006"
		canceled = "57014"
	)
	db := testkit.NewDB(t)
	s := db.Store(t)
	own, victim := testkit.Tenant(t, s, "own").ID, testkit.Tenant(t, s, "victim").ID
	for _, tenant := range []uuid.UUID{own, victim} {
		err := s.InTenant(t.Context(), tenant, func(ctx context.Context, tx *store.Tx) error {
			return write(ctx, tx.Queries, "of "+tenant.String())
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		sql         string
		refused     string // to whoever plants
		read, write string // with what SQLSTATE the tenant's own fail; empty: they do not
		takes       int    // seconds
	}{
		"nothing":                      {sql: "SELECT"},
		"a tenant":                     {sql: presetTenant(victim)},
		"a locator":                    {sql: "SET app.locator = 'slug:victim'"},
		"another search path":          {sql: "SET search_path = audit, public"},
		"no search path":               {sql: "SET search_path = ''"},
		"a prepared statement":         {sql: preparedForUs()},
		"an advisory lock":             {sql: "SELECT pg_advisory_lock(pg_backend_pid())"},
		"a cursor":                     {sql: "DECLARE mine CURSOR WITH HOLD FOR SELECT 1"},
		"a subscription":               {sql: "LISTEN anything"},
		"a table of its own":           {sql: "CREATE TEMP TABLE revoked_tokens (tenant_id uuid, id text)"},
		"another encoding":             {sql: "SET client_encoding = 'LATIN1'"},
		"other formats":                {sql: "SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SET bytea_output = 'escape'"},
		"other quotes":                 {sql: "SET standard_conforming_strings = off"},
		"another isolation level":      {sql: "SET default_transaction_isolation = serializable"},
		"commits that do not wait":     {sql: "SET synchronous_commit = off"},
		"another role":                 {sql: "SET ROLE parako_platform", refused: insufficientPrivilege},
		"another login":                {sql: "SET SESSION AUTHORIZATION parako_platform", refused: insufficientPrivilege},
		"no triggers":                  {sql: "SET session_replication_role = replica", refused: insufficientPrivilege},
		"no row-level security":        {sql: "SET row_security = off", read: insufficientPrivilege, write: insufficientPrivilege},
		"only reading":                 {sql: "SET default_transaction_read_only = on", write: readOnly},
		"only reading, in other words": {sql: "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", write: readOnly},
		"less time than they take":     {sql: "SET statement_timeout = 200", takes: 2, read: canceled, write: canceled},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			behind := pooled(t, db)
			if got := plant(t, behind, tt.sql); got != tt.refused {
				t.Errorf("%s: SQLSTATE %q, want %q", tt.sql, got, tt.refused)
			}
			s := open(t, behind.Options())
			read := inEverySession(t, s, own, func(ctx context.Context, tx *store.Tx, _ string) error {
				return expect(ctx, tx, "of "+own.String(), fmt.Sprintf("SELECT id FROM parako.revoked_tokens, pg_sleep(%v)", tt.takes))
			})
			if read != tt.read {
				t.Errorf("reading: SQLSTATE %q, want %q", read, tt.read)
			}
			written := inEverySession(t, s, own, func(ctx context.Context, tx *store.Tx, word string) error {
				if err := write(ctx, tx.Queries, word); err != nil {
					return err
				}
				return expect(ctx, tx, own.String(), fmt.Sprintf("SELECT tenant_id::text FROM parako.revoked_tokens, pg_sleep(%v) WHERE id = $1", tt.takes), word)
			})
			if written != tt.write {
				t.Errorf("writing: SQLSTATE %q, want %q", written, tt.write)
			}
		})
	}
}

// sqlstate is code for what may also succeed: then it is empty.
func sqlstate(err error) string {
	if err == nil {
		return ""
	}
	return code(err)
}

// inEverySession does the same in every session behind the pooler and takes it back. It returns how that fails, "" when it does
// not; sessions that differ are all named.
func inEverySession(t *testing.T, s *store.Store, tenant uuid.UUID, do func(ctx context.Context, tx *store.Tx, word string) error) string {
	t.Helper()
	outcomes := map[string]bool{}
	for i := range sessions { // None gives its session back before all have one.
		ctx, err := s.Begin(t.Context(), tenant)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Rollback(ctx)
		err = s.InTenant(ctx, tenant, func(ctx context.Context, tx *store.Tx) error { return do(ctx, tx, fmt.Sprint("word ", i)) })
		outcomes[sqlstate(err)] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(outcomes)), " or ")
}

// expect is an error unless the statement gives this one row.
func expect(ctx context.Context, tx *store.Tx, want, sql string, args ...any) error {
	got, err := tx.Ask(ctx, sql, args...)
	if err == nil && !slices.Equal(got, []string{want}) {
		return fmt.Errorf("%s: %q, want %q", sql, got, want)
	}
	return err
}

// A tenant that is left in a session is no use to transactions, is noticed, and is dangerous to whoever forgets the tenant.
func TestTenantLeftInASharedSession(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	victim := testkit.Tenant(t, db.Store(t), "victim").ID
	forgetful := func(t *testing.T, behind *testkit.DB) string {
		t.Helper()
		var slug string
		err := connect(t, behind.AppDSN()).QueryRow(t.Context(), "SELECT slug FROM parako.tenants").Scan(&slug)
		if err != nil {
			return code(err)
		}
		return slug
	}
	behind := pooled(t, db)
	plant(t, behind, presetTenant(victim))
	t.Run("is a finding", func(t *testing.T) {
		findings, err := open(t, behind.Options()).Isolation(t.Context())
		if err != nil || len(findings) != 1 || findings[0].Check != 21 || findings[0].Object != "this session" {
			t.Errorf("Isolation = %v, %v; want this session to be found by check 21, and nothing else", findings, err)
		}
	})
	t.Run("stops a server from starting", func(t *testing.T) {
		err := open(t, behind.Options()).Check(t.Context())
		if err == nil || !strings.Contains(err.Error(), "\n  this session: app.tenant_id is set outside") {
			t.Errorf("Check: %v, want the finding", err)
		}
	})
	t.Run("shows itself to whoever names no tenant", func(t *testing.T) {
		if got := forgetful(t, behind); got != "victim" {
			t.Errorf("a statement outside the store gives %s, want victim", got)
		}
	})
	t.Run("ends with the session", func(t *testing.T) {
		if _, err := connect(t, behind.ConsoleDSN()).Exec(t.Context(), "RECONNECT"); err != nil {
			t.Fatal(err)
		}
		if got := forgetful(t, behind); got != undefinedObject {
			t.Errorf("after RECONNECT a statement outside the store gives %s, want %s", got, undefinedObject)
		}
	})
	t.Run("does not outlive the transaction where pgbouncer clears up", func(t *testing.T) {
		behind := pooled(t, db, "server_reset_query_always = 1")
		plant(t, behind, presetTenant(victim))
		if got := forgetful(t, behind); got != invalidText {
			t.Errorf("a statement outside the store gives %s, want %s", got, invalidText)
		}
		if err := open(t, behind.Options()).Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// What a statement takes and gives is remembered on this side, and a migration may change it under a running server. Then the
// statement fails once on each connection, as a prepared one does.
func TestStatementsSurviveAMigration(t *testing.T) {
	t.Parallel()
	const datatypeMismatch, changedResult = "42804", "0A000"
	db := testkit.NewDB(t)
	acme := testkit.Tenant(t, db.Store(t), "acme").ID
	direct, behind := open(t, db.Direct().Options("pool_max_conns=1")), open(t, pooled(t, db).Options("pool_max_conns=1"))
	var version int64
	put := func(s *store.Store) error {
		return s.InTenant(t.Context(), acme, func(ctx context.Context, tx *store.Tx) error {
			written, err := tx.SettingsPut(ctx, dbsqlc.SettingsPutParams{ID: uuid.New(), Section: "oidc", Value: json.RawMessage("{}"), Version: version})
			if err == nil {
				version = written
			}
			return err
		})
	}
	list := func(s *store.Store) error {
		return s.AskTenant(t.Context(), acme, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.SettingsList(ctx, tx.Tenant())
			return err
		})
	}
	if err := errors.Join(put(direct), list(direct), put(behind), list(behind)); err != nil {
		t.Fatal(err)
	}
	exec(t, db, "ALTER TABLE parako.tenant_settings ALTER COLUMN value TYPE bytea USING convert_to(value::text, 'utf8')")
	for name, tt := range map[string]struct {
		run   func(*store.Store) error
		s     *store.Store
		first string // the SQLSTATE of the first execution; empty: it succeeds
	}{
		"a write, prepared":           {put, direct, datatypeMismatch},
		"a write, behind pgbouncer":   {put, behind, datatypeMismatch},
		"a question, prepared":        {list, direct, changedResult},
		"a question behind pgbouncer": {list, behind, ""}, // every answer says what it consists of
	} {
		t.Run(name, func(t *testing.T) {
			if got := sqlstate(tt.run(tt.s)); got != tt.first {
				t.Errorf("the first execution: SQLSTATE %q, want %q", got, tt.first)
			}
			if err := tt.run(tt.s); err != nil {
				t.Errorf("the second execution: %v", err)
			}
		})
	}
}

// Through a pooler in transaction mode a store that was not told of it fails; it does not run what somebody else has prepared.
func TestPoolerHasToBeNamed(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	acme := testkit.Tenant(t, db.Store(t), "acme").ID
	behind := pooled(t, db)
	plant(t, behind, preparedForUs())
	o := behind.Options()
	for told, want := range map[bool]string{true: "", false: "42P05"} { // duplicate_prepared_statement
		o.Pooled = told
		err := open(t, o).AskTenant(t.Context(), acme, func(ctx context.Context, tx *store.Tx) error {
			_, err := wrote(ctx, tx, "word")
			return err
		})
		if got := sqlstate(err); got != want {
			t.Errorf("Pooled is %t: SQLSTATE %q, want %q", told, got, want)
		}
	}
}
