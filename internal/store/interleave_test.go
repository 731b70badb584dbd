package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"parako/internal/store"
	"parako/internal/testkit"
)

// A thousand tenants take turns on a handful of sessions behind pgbouncer and end their transactions in every way there is,
// while sessions are killed and replaced under them. Every session is told at its birth that it is of yet another tenant, the
// victim: a statement that escaped from its transaction would see the victim's row, or add to its rows. Run it with -v for the
// numbers.
func TestThousandTenantsThroughAPooler(t *testing.T) {
	t.Parallel()
	const tenants, workers, rounds = 1000, 32, 4
	c := newCrowd(t, tenants)
	acts := c.acts()
	names := slices.Sorted(maps.Keys(acts))
	var turn atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := int(turn.Add(1)); i <= tenants*rounds; i = int(turn.Add(1)) {
				c.disturb(i)
				name := names[(i+i/tenants)%len(names)]
				c.play(name, acts[name], c.members[i%tenants], fmt.Sprint("word ", i))
			}
		})
	}
	all.Wait()
	c.settle()
}

// crowd is many tenants on one store, and what is known of them.
type crowd struct {
	*store.Store
	t       *testing.T
	behind  *testkit.DB // the pooler
	members []member
	victim  uuid.UUID

	mu      sync.Mutex // guards what follows
	super   *pgx.Conn
	console *pgx.Conn // of pgbouncer
	counts  map[string]int
	kept    []string // words that were committed
	undone  []string // words that were not
}

type member struct {
	id   uuid.UUID
	slug string
}

func newCrowd(t *testing.T, size int) *crowd {
	t.Helper()
	db, victim := testkit.NewDB(t), uuid.New()
	// pgbouncer doubles a quote inside a value, as SQL does.
	behind := pooled(t, db, "connect_query = '"+strings.ReplaceAll(presetTenant(victim), "'", "''")+"'")
	c := &crowd{
		Store: open(t, behind.Options("pool_max_conns=16")), t: t, behind: behind, victim: victim,
		super: connect(t, db.SuperDSN()), console: connect(t, behind.ConsoleDSN()), counts: map[string]int{},
	}
	// The id of every token ends with its tenant, so that a row tells where it belongs.
	rows, err := c.super.Query(t.Context(), `
		WITH n AS (SELECT 0 AS n, $1::uuid AS id UNION ALL SELECT n, gen_random_uuid() FROM generate_series(1, $2) AS n),
		     t AS (INSERT INTO parako.tenants (id, slug, display_name) SELECT id, 'tenant' || n, 'Tenant' FROM n RETURNING id, slug),
		     l AS (INSERT INTO parako.tenant_locators (kind, name, tenant_id, verified_at) SELECT 'slug', slug, id, now() FROM t),
		     r AS (INSERT INTO parako.revoked_tokens (tenant_id, id, expires_at) SELECT id, 'canary of ' || id, now() FROM t)
		SELECT id, slug FROM t WHERE id <> $1`, victim, size)
	if err != nil {
		t.Fatal(err)
	}
	c.members, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (m member, err error) { return m, row.Scan(&m.id, &m.slug) })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// act is how a transaction is begun and what happens in it.
type act struct {
	run    func(context.Context, member, func(context.Context, *store.Tx) error) error
	steps  []step
	writes bool
	// doomed acts must not end well. They go on after an error, like a caller who does not look.
	doomed bool
}

type step func(ctx context.Context, cancel func(), tx *store.Tx, word string) error

func (c *crowd) acts() map[string]act {
	type body = func(context.Context, *store.Tx) error
	in := func(ctx context.Context, m member, fn body) error { return c.InTenant(ctx, m.id, fn) }
	view := func(ctx context.Context, m member, fn body) error { return c.ViewTenant(ctx, m.id, fn) }
	ask := func(ctx context.Context, m member, fn body) error { return c.AskTenant(ctx, m.id, fn) }
	begin := func(ctx context.Context, m member, fn body) error {
		ctx, err := c.Begin(ctx, m.id)
		if err != nil {
			return err
		}
		defer store.Rollback(ctx)
		if err := c.InTenant(ctx, m.id, fn); err != nil {
			return err
		}
		return store.Commit(ctx)
	}
	locate := func(ctx context.Context, m member, _ body) error {
		id, err := c.Locate(ctx, "slug", m.slug)
		return c.same(m, id, err)
	}
	platform := func(ctx context.Context, m member, _ body) error {
		return c.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
			row, err := tx.TenantBySlug(ctx, m.slug)
			return c.same(m, row.ID, err)
		})
	}

	look := c.look
	put := func(ctx context.Context, _ func(), tx *store.Tx, word string) error {
		return write(ctx, tx.Queries, word)
	}
	queue := func(ctx context.Context, _ func(), tx *store.Tx, word string) error {
		return write(ctx, tx.Later(), word)
	}
	fail := func(context.Context, func(), *store.Tx, string) error { return errOurs }
	despair := func(context.Context, func(), *store.Tx, string) error { panic(errOurs) }
	stumble := func(ctx context.Context, _ func(), tx *store.Tx, _ string) error { return refused(ctx, tx.Queries) }
	cancel := func(_ context.Context, cancel func(), _ *store.Tx, _ string) error { cancel(); return nil }
	statement := func(sql string) step {
		return func(ctx context.Context, _ func(), tx *store.Tx, _ string) error {
			_, err := tx.Ask(ctx, sql)
			return err
		}
	}
	const long = "SELECT pg_sleep(4)::text" // nobody waits for its end
	leave := func(ctx context.Context, _ func(), tx *store.Tx, _ string) error {
		for {
			leaving, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
			_, err := tx.Ask(leaving, long)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || !pgconn.SafeToRetry(err) {
				return err
			} // It was over before anything was sent, which does the transaction no harm.
		}
	}
	limit, oversleep := statement("SELECT set_config('statement_timeout', '5ms', true)"), statement(long)
	die := statement("SELECT pg_terminate_backend(pg_backend_pid())::text")

	return map[string]act{
		"finding the tenant":           {run: locate},
		"the platform":                 {run: platform},
		"a question":                   {run: ask, steps: []step{look}},
		"a view":                       {run: view, steps: []step{look, look}},
		"a commit":                     {run: in, steps: []step{look, put, look}, writes: true},
		"a commit of what was queued":  {run: in, steps: []step{look, queue}, writes: true},
		"a commit in parts":            {run: begin, steps: []step{look, put, look}, writes: true},
		"an error":                     {run: in, steps: []step{look, put, fail}, doomed: true},
		"a panic":                      {run: in, steps: []step{look, put, despair}, doomed: true},
		"a refused statement":          {run: in, steps: []step{look, put, stumble, look}, doomed: true},
		"cancelled between statements": {run: in, steps: []step{look, put, cancel, look}, doomed: true},
		"cancelled inside a statement": {run: in, steps: []step{look, put, leave, look}, doomed: true},
		"a statement that times out":   {run: in, steps: []step{look, put, limit, oversleep, look}, doomed: true},
		"a session that dies":          {run: in, steps: []step{look, put, die, look, put}, doomed: true},
	}
}

// look reads what the transaction may see, without naming a tenant.
func (c *crowd) look(ctx context.Context, _ func(), tx *store.Tx, _ string) error {
	seen, err := tx.Ask(ctx, "SELECT id FROM parako.revoked_tokens ORDER BY id")
	if err != nil {
		return err
	}
	of := " of " + tx.Tenant().String()
	if len(seen) == 0 || seen[0] != "canary"+of {
		c.t.Errorf("LEAK: tenant %s does not see its own row but %q", tx.Tenant(), seen)
	}
	foreign := slices.DeleteFunc(seen, func(id string) bool { return strings.HasSuffix(id, of) })
	if len(foreign) > 0 {
		c.t.Errorf("LEAK: tenant %s sees %d rows of others, such as %q", tx.Tenant(), len(foreign), foreign[0])
	}
	return nil
}

// same compares the tenant that was found with the one that was looked for.
func (c *crowd) same(m member, found uuid.UUID, err error) error {
	if err == nil && found != m.id {
		c.t.Errorf("LEAK: %s leads to %s, want %s", m.slug, found, m.id)
	}
	return err
}

// play lets a tenant act and judges the end. word is what it writes, if it writes.
func (c *crowd) play(name string, a act, m member, word string) {
	word += " of " + m.id.String()
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	committing := false
	err := recovered(func() error {
		return a.run(ctx, m, func(ctx context.Context, tx *store.Tx) error {
			for _, step := range a.steps {
				if err := step(ctx, cancel, tx, word); err != nil && (!a.doomed || errors.Is(err, errOurs)) {
					return err
				}
			}
			committing = true
			return nil
		})
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && disturbances[pg.Code] == "" {
		c.t.Errorf("%s: %v: a statement was not where it belongs", name, err)
	}
	switch {
	case err == nil && a.doomed:
		c.t.Errorf("%s ends well", name)
	case err == nil:
		c.counts[name+": done"]++
		if a.writes {
			c.kept = append(c.kept, word)
		}
	case a.doomed:
		c.counts[name+": undone"]++
		c.undone = append(c.undone, word)
	case committing:
		c.counts[name+": lost on its way to the commit"]++ // or on the way back: nobody knows
	default:
		c.counts[name+": disturbed"]++
		c.undone = append(c.undone, word)
	}
}

// disturbances are the SQLSTATEs that say nothing about tenants, sessions or statements.
var disturbances = map[string]string{
	"57P01": "the session was killed",
	"57014": "the statement took longer than the role may, on a slow machine",
	"25P03": "so did the pause between two",
	"08P01": "whatever pgbouncer itself has to say",
}

// disturb does now and then what an administrator does, or an accident.
func (c *crowd) disturb(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx := c.t.Context()
	count := func(what string, err error) {
		if err != nil {
			c.t.Errorf("%s: %v", what, err)
		}
		c.counts["("+what+")"]++
	}
	const kill = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'parako_app'`
	if i%20 == 0 {
		_, err := c.super.Exec(ctx, kill+" AND state = 'idle in transaction' LIMIT 1")
		count("a session is killed between two statements", err)
	}
	if i%500 == 0 {
		_, err := c.super.Exec(ctx, kill)
		count("all sessions are killed", err)
	}
	if i%400 == 0 {
		_, err := c.console.Exec(ctx, "RECONNECT "+c.behind.Name)
		count("pgbouncer reconnects", err)
	}
}

// settle prints the numbers and compares the table with what must have become of every word.
func (c *crowd) settle() {
	t := c.t
	for _, line := range slices.Sorted(maps.Keys(c.counts)) {
		t.Logf("%5d %s", c.counts[line], line)
	}
	// Whoever forgets the tenant gets the victim. Were it not so, the test could not have noticed that.
	forgetful := connect(t, c.behind.AppDSN())
	if got := text(t, forgetful, "SELECT string_agg(id, ' ') FROM parako.revoked_tokens"); got != "canary of "+c.victim.String() {
		t.Errorf("a session outside a transaction sees %q, want what the victim had from the beginning", got)
	}
	for what, count := range map[string]string{
		"LEAK: rows in a tenant that did not write them": text(t, c.super, "SELECT count(*) FROM parako.revoked_tokens WHERE id NOT LIKE '% of ' || tenant_id"),
		"words that were undone and are there":           text(t, c.super, "SELECT count(*) FROM parako.revoked_tokens WHERE id = ANY ($1)", c.undone),
		"words that were committed and are not": text(t, c.super,
			"SELECT count(*) FROM unnest($1::text[]) AS kept (id) WHERE NOT EXISTS (SELECT FROM parako.revoked_tokens AS r WHERE r.id = kept.id)", c.kept),
	} {
		if count != "0" {
			t.Errorf("%s: %s", what, count)
		}
	}
	if len(c.kept) == 0 || len(c.undone) == 0 {
		t.Errorf("%d words were committed and %d undone: the rest of this test proves nothing", len(c.kept), len(c.undone))
	}
}
