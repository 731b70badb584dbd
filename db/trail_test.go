package db_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"parako/internal/testkit"
)

// trail is a database in which things happened to two tenants: twelve events each, an hour ago and a second apart, under
// two seals.
type trail struct {
	*testkit.DB
	acme, globex uuid.UUID
	super        *pgx.Conn
}

const firstEvents, secondEvents = 5, 7

func newTrail(t *testing.T) trail {
	t.Helper()
	db := testkit.NewDB(t)
	s := db.Store(t)
	tr := trail{DB: db, acme: testkit.Tenant(t, s, "acme").ID, globex: testkit.Tenant(t, s, "globex").ID}
	var err error
	if tr.super, err = pgx.Connect(t.Context(), db.SuperDSN()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.super.Close(context.WithoutCancel(t.Context())) })
	// Creating a tenant is an event, too, and happened just now.
	tr.exec(t, "DELETE FROM parako.audit_events")
	for _, id := range []uuid.UUID{tr.acme, tr.globex} {
		tr.happen(t, id, 0, firstEvents)
		tr.seal(t, id)
		tr.happen(t, id, firstEvents, secondEvents)
		tr.seal(t, id)
	}
	return tr
}

func (tr trail) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := tr.super.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// happen records count events from the second from on, as the application does but in the past. The last 12 digits of an
// event's id are its second.
func (tr trail) happen(t *testing.T, tenant uuid.UUID, from, count int) {
	t.Helper()
	tr.Ask(t, tenant, `
		INSERT INTO parako.audit_events (id, occurred_at, type, status, actor_type, actor_id, client_id, ip, detail)
		SELECT format('00000000-0000-4000-8000-%s', lpad(n::text, 12, '0'))::uuid, now() - interval '1 hour' + n * interval '1 second',
		       'login.succeeded', 'success', 'user', 'ann', 'shop', '192.0.2.1', '{"method": "password", "n": 1}'
		  FROM generate_series($1::int, $2::int) AS n
		RETURNING ''`, from, from+count-1)
}

func (tr trail) seal(t *testing.T, tenant uuid.UUID) []string {
	t.Helper()
	return tr.Ask(t, tenant, "SELECT seal_no || ': ' || events FROM audit.seal($1)", tenant)
}

// verify returns the findings about a tenant: the seal, the second of the event, and what is wrong with it.
func (tr trail) verify(t *testing.T, tenant uuid.UUID, more ...string) []string {
	t.Helper()
	return tr.Ask(t, tenant, `
		SELECT concat_ws(' ', coalesce(seal_no::text, '-'), coalesce(right(event_id::text, 12)::int::text, '-'), finding)
		  FROM audit.verify(`+strings.Join(append([]string{"$1"}, more...), ", ")+`)`, tenant)
}

func TestSealsFixWhatHappened(t *testing.T) {
	t.Parallel()
	tr := newTrail(t)
	if got := tr.verify(t, tr.acme); len(got) > 0 {
		t.Errorf("findings in a trail that nobody touched: %q", got)
	}
	if got := tr.seal(t, tr.acme); len(got) > 0 {
		t.Errorf("sealed again although nothing happened: %q", got)
	}
	// An event whose transaction took long commits behind a seal that covers later ones.
	tr.Ask(t, tr.acme, `INSERT INTO parako.audit_events (id, occurred_at, type, status, actor_type)
		SELECT gen_random_uuid(), occurred_at - interval '1 second', 'logout', 'success', 'user' FROM parako.audit_events ORDER BY occurred_at DESC LIMIT 1 RETURNING ''`)
	if got := tr.verify(t, tr.acme); len(got) > 0 {
		t.Errorf("a late event is a finding before it is sealed: %q", got)
	}
	if diff := cmp.Diff([]string{"3: 1"}, tr.seal(t, tr.acme)); diff != "" {
		t.Errorf("seal of the late event mismatch (-want +got)\n%s", diff)
	}
	if got := tr.verify(t, tr.acme); len(got) > 0 {
		t.Errorf("findings after a late event: %q", got)
	}
	if got := tr.Ask(t, tr.globex, "SELECT seal_no::text FROM audit.seal($1)", tr.acme); len(got) > 0 {
		t.Errorf("one tenant seals the trail of another: %q", got)
	}
	if got := tr.Refused(t, tr.globex, "SELECT finding FROM audit.verify($1)", tr.acme); got != "P0002" {
		t.Errorf("a tenant that cannot be seen is verified: SQLSTATE %q, want P0002", got)
	}
}

// TestSealsAreThoseOfTheRFC computes the root of a seal as RFC 9162 section 2.1.1 defines it, from the leaves PostgreSQL
// computed, for trees of every shape up to 20 leaves.
func TestSealsAreThoseOfTheRFC(t *testing.T) {
	t.Parallel()
	tr := newTrail(t)
	var root func([][]byte) []byte
	root = func(leaves [][]byte) []byte {
		if len(leaves) == 1 {
			return leaves[0]
		}
		k := 1
		for k*2 < len(leaves) {
			k *= 2
		}
		sum := sha256.Sum256(slices.Concat([]byte{1}, root(leaves[:k]), root(leaves[k:])))
		return sum[:]
	}
	var leaves [][]byte
	for i := range 20 {
		sum := sha256.Sum256([]byte{0, byte(i)})
		leaves = append(leaves, sum[:])
		var got []byte
		if err := tr.super.QueryRow(t.Context(), "SELECT audit.merkle_root($1)", leaves).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if want := root(leaves); !bytes.Equal(got, want) {
			t.Errorf("%d leaves: %x, want %x", len(leaves), got, want)
		}
	}
	// A leaf is the same in every session.
	const leaf = "SELECT encode(audit.leaf(e), 'hex') FROM parako.audit_events AS e ORDER BY e.tenant_id, e.occurred_at"
	want := column(t, tr.DB, leaf)
	for _, setting := range []string{"TimeZone = 'Asia/Kathmandu'", "DateStyle = 'SQL, DMY'", "extra_float_digits = -15", "bytea_output = 'escape'", "IntervalStyle = 'sql_standard'"} {
		tr.exec(t, "SET "+setting)
		rows, err := tr.super.Query(t.Context(), leaf)
		if err != nil {
			t.Fatal(err)
		}
		got, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("leaves with %s mismatch (-want +got)\n%s", setting, diff)
		}
	}
}

// TestTamperingIsFound does to a sealed trail what somebody above the grants could do, each in a transaction that is taken
// back, and demands that audit.verify names it, in that tenant and not in the other.
func TestTamperingIsFound(t *testing.T) {
	t.Parallel()
	tr := newTrail(t)
	const (
		event = "WHERE tenant_id = $1 AND right(id::text, 12)::int = "
		seal  = "WHERE tenant_id = $1 AND seal_no = "
	)
	type tampering struct {
		sql  string
		want []string
	}
	tests := map[string]tampering{
		"an event is deleted":            {"DELETE FROM parako.audit_events " + event + "3", []string{"1 3 the event was deleted"}},
		"all events of a seal":           {"DELETE FROM parako.audit_events " + event + "ANY (ARRAY[0, 1, 2, 3, 4])", []string{"1 0 the event was deleted", "1 1 the event was deleted", "1 2 the event was deleted", "1 3 the event was deleted", "1 4 the event was deleted"}},
		"an event is inserted":           {"INSERT INTO parako.audit_events (tenant_id, id, occurred_at, type, status, actor_type) SELECT tenant_id, '00000000-0000-4000-8000-000000000099', occurred_at - interval '10 minutes', type, status, actor_type FROM parako.audit_events " + event + "3", []string{"- 99 the event was inserted"}},
		"two events change places":       {"UPDATE parako.audit_events AS a SET occurred_at = b.occurred_at FROM parako.audit_events AS b WHERE a.tenant_id = $1 AND b.tenant_id = $1 AND right(a.id::text, 12)::int + right(b.id::text, 12)::int = 5 AND right(a.id::text, 12)::int IN (2, 3)", []string{"1 2 the event was edited and changed its place", "1 3 the event was edited and changed its place"}},
		"an event is given to another":   {"UPDATE parako.audit_events SET tenant_id = (SELECT id FROM parako.tenants WHERE slug = 'globex'), id = '00000000-0000-4000-8000-000000000099' " + event + "3", []string{"1 3 the event was deleted"}},
		"an event gets another id":       {"UPDATE parako.audit_events SET id = '00000000-0000-4000-8000-000000000099', occurred_at = occurred_at - interval '1 hour' " + event + "3", []string{"1 3 the event was deleted", "- 99 the event was inserted"}},
		"a seal is removed":              {"DELETE FROM parako.audit_seals " + seal + "1", []string{"2 - the seal before it is missing"}},
		"the leaves are removed":         {"DELETE FROM parako.audit_leaves " + seal + "2", []string{"2 - the list of its events is missing"}},
		"an event and its leaf":          {"WITH e AS (DELETE FROM parako.audit_events " + event + "6) UPDATE parako.audit_leaves SET event_ids = array_remove(event_ids, '00000000-0000-4000-8000-000000000006'), hashes = hashes[1:1] || hashes[3:] " + seal + "2", []string{"2 - the list of its events was changed"}},
		"an event with its hash":         {"WITH e AS (UPDATE parako.audit_events SET ip = '198.51.100.7' " + event + "6 RETURNING audit.leaf(audit_events) AS hash) UPDATE parako.audit_leaves SET hashes[2] = e.hash FROM e " + seal + "2", []string{"2 - the list of its events was changed"}},
		"the trail before a seal is new": {"UPDATE parako.audit_seals AS s SET root = '\\x00', hash = audit.seal_hash(ROW(s.tenant_id, s.seal_no, s.events, s.first_at, s.last_at, '\\x00', s.horizon, s.sealed_at, s.previous, NULL)) " + seal + "1", []string{"1 - the list of its events was changed", "2 - the seal does not continue the one before it"}},
		"a drop that never was":          {"WITH e AS (DELETE FROM parako.audit_events " + event + "3) INSERT INTO parako.audit_drops (partition, until, rows) SELECT 'audit_events_begin', now(), count(*) FROM parako.audit_events WHERE tenant_id <> $1 OR true", []string{"1 3 the event was deleted"}},
		"the list names an event twice":  {"UPDATE parako.audit_leaves SET event_ids[1] = event_ids[2] " + seal + "1", []string{"1 1 the event was edited"}},
	}
	edits := map[string]string{"uuid": "gen_random_uuid()", "text": "%s || 'x'", "timestamptz": "%s + interval '1 microsecond'", "jsonb": `%s || '{"x": 1}'`, "int8": "%s + 10", "int4": "%s + 1", "bytea": "%s || '\\x00'"}
	for _, table := range []struct{ name, where, want, except string }{
		{"audit_events", event + "3", "1 3 the event was edited", "tenant_id id type status actor_type"},
		{"audit_seals", seal + "2", "2 - the seal was changed", "tenant_id seal_no"},
	} {
		for _, c := range column(t, tr.DB, "SELECT a.attname || ' ' || y.typname FROM pg_attribute AS a JOIN pg_type AS y ON y.oid = a.atttypid WHERE a.attrelid = 'parako."+table.name+"'::regclass AND a.attnum > 0") {
			name, kind, _ := strings.Cut(c, " ")
			if slices.Contains(strings.Fields(table.except), name) {
				continue
			}
			edit := edits[kind]
			if strings.Contains(edit, "%s") {
				edit = fmt.Sprintf(edit, name)
			}
			tests["edited: "+table.name+"."+name] = tampering{"UPDATE parako." + table.name + " SET " + name + " = " + edit + " " + table.where, []string{table.want}}
		}
	}
	for name, value := range map[string]string{"type": "login.failed", "status": "failed", "actor_type": "operator"} {
		tests["edited: audit_events."+name] = tampering{"UPDATE parako.audit_events SET " + name + " = '" + value + "' " + event + "3", []string{"1 3 the event was edited"}}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tx, err := tr.super.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
			if tag, err := tx.Exec(t.Context(), tt.sql, tr.acme); err != nil || tag.RowsAffected() == 0 {
				t.Fatalf("%s: %s, %v", tt.sql, tag, err)
			}
			for tenant, want := range map[uuid.UUID][]string{tr.acme: tt.want, tr.globex: nil} {
				rows, err := tx.Query(t.Context(), "SELECT concat_ws(' ', coalesce(seal_no::text, '-'), coalesce(right(event_id::text, 12)::int::text, '-'), finding) FROM audit.verify($1)", tenant)
				if err != nil {
					t.Fatal(err)
				}
				got, err := pgx.CollectRows(rows, pgx.RowTo[string])
				if err != nil {
					t.Fatal(err)
				}
				missing := slices.DeleteFunc(slices.Clone(want), func(w string) bool { return slices.Contains(got, w) })
				if len(missing) > 0 || want == nil && len(got) > 0 && !strings.Contains(name, "given to another") {
					t.Errorf("%s: findings %q, want %q", tenant, got, want)
				}
			}
		})
	}
}

// TestVerifyKeepsToItsRange edits an event under each seal and asks about the time of one of them.
func TestVerifyKeepsToItsRange(t *testing.T) {
	t.Parallel()
	tr := newTrail(t)
	tr.exec(t, "UPDATE parako.audit_events SET ip = '' WHERE tenant_id = $1 AND right(id::text, 12)::int IN (3, 8)", tr.acme)
	const middle = "(SELECT e.occurred_at FROM parako.audit_events AS e WHERE right(e.id::text, 12)::int = 5)"
	for arguments, want := range map[string][]string{
		middle:               {"2 8 the event was edited"},
		"since => " + middle: {"2 8 the event was edited"},
		"'-infinity', " + middle + " - interval '1 millisecond'": {"1 3 the event was edited"},
		"now()": {},
	} {
		if diff := cmp.Diff(want, tr.verify(t, tr.acme, arguments)); diff != "" {
			t.Errorf("audit.verify(acme, %s) mismatch (-want +got)\n%s", arguments, diff)
		}
	}
}

// TestOldMonthsAreDropped lets a year pass: the owner makes the months that come and drops those that are over.
func TestOldMonthsAreDropped(t *testing.T) {
	t.Parallel()
	tr := newTrail(t)
	const parts = "SELECT count(*)::text FROM audit.partitions WHERE table_name = 'audit_events' AND until IS NOT NULL"
	before := column(t, tr.DB, parts)
	// What happens in a month that nobody made is kept all the same, and moves there when somebody does.
	tr.exec(t, "INSERT INTO parako.audit_events (tenant_id, id, occurred_at, type, status, actor_type) VALUES ($1, gen_random_uuid(), now() + interval '15 months', 'logout', 'success', 'user')", tr.acme)
	const rest = "SELECT count(*)::text FROM parako.audit_events_rest"
	if diff := cmp.Diff([]string{"1"}, column(t, tr.DB, rest)); diff != "" {
		t.Errorf("events outside every month mismatch (-want +got)\n%s", diff)
	}
	run(t, tr.OwnerDSN(), "SELECT audit.extend(16)")
	if after := column(t, tr.DB, parts); cmp.Equal(before, after) {
		t.Error("audit.extend made no month")
	}
	if diff := cmp.Diff([]string{"0"}, column(t, tr.DB, rest)); diff != "" {
		t.Errorf("events outside every month mismatch (-want +got)\n%s", diff)
	}
	if found := findings(t, tr.super); len(found) > 0 {
		t.Errorf("findings about the new months: %v", found)
	}
	tr.Ask(t, tr.acme, "SELECT seal_no::text FROM audit.seal($1)", tr.acme)

	run(t, tr.OwnerDSN(), "SELECT audit.expire(now() + interval '2 months')")
	if diff := cmp.Diff([]string{"1"}, column(t, tr.DB, "SELECT count(*)::text FROM parako.audit_events")); diff != "" {
		t.Errorf("events that are left mismatch (-want +got)\n%s", diff)
	}
	if got := tr.verify(t, tr.acme); len(got) > 0 {
		t.Errorf("findings about what was dropped: %q", got)
	}
	if diff := cmp.Diff([]string{"3"}, tr.Ask(t, tr.acme, "SELECT count(*)::text FROM audit.seals")); diff != "" {
		t.Errorf("seals that are left mismatch (-want +got)\n%s", diff)
	}
	drops := column(t, tr.DB, "SELECT partition || ' ' || rows || ' ' || dropped_by FROM parako.audit_drops ORDER BY until, partition")
	if len(drops) == 0 || drops[0] != "audit_events_begin 24 parako_owner" {
		t.Errorf("record of the drops: %q", drops)
	}
	if found := findings(t, tr.super); len(found) > 0 {
		t.Errorf("findings after the drop: %v", found)
	}
	for _, sql := range []string{"SELECT audit.expire(now())::text", "SELECT audit.extend(99)::text"} {
		if got := tr.Refused(t, tr.acme, sql); got != "42501" {
			t.Errorf("%s as the application: SQLSTATE %q, want 42501", sql, got)
		}
	}
}

// TestWhoeverKeptASealNoticesARewrite is what no question to the database alone can find: somebody above all grants writes
// the whole trail anew, seals and all.
func TestWhoeverKeptASealNoticesARewrite(t *testing.T) {
	t.Parallel()
	tr := newTrail(t)
	const head = "SELECT seal_no || ' ' || hash FROM audit.seals ORDER BY seal_no DESC LIMIT 1"
	kept := tr.Ask(t, tr.acme, head)
	if _, err := hex.DecodeString(strings.Fields(kept[0])[1]); err != nil {
		t.Fatal(err)
	}
	tr.exec(t, "DELETE FROM parako.audit_seals WHERE tenant_id = $1", tr.acme)
	tr.exec(t, "UPDATE parako.audit_events SET ip = '198.51.100.7' WHERE tenant_id = $1", tr.acme)
	tr.seal(t, tr.acme)
	tr.happen(t, tr.acme, 20, 1)
	tr.seal(t, tr.acme)
	if got := tr.verify(t, tr.acme); len(got) > 0 {
		t.Fatalf("the rewrite was found without the kept seal: %q", got)
	}
	if now := tr.Ask(t, tr.acme, head); cmp.Equal(kept, now) {
		t.Errorf("the rewritten trail has the seal that was kept: %s", now)
	}
}
