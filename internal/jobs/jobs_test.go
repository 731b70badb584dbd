package jobs_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"go.uber.org/goleak"

	"parako/internal/dbsqlc"
	"parako/internal/directory"
	"parako/internal/i18n"
	"parako/internal/jobs"
	"parako/internal/message"
	"parako/internal/oidc"
	"parako/internal/outbound"
	"parako/internal/ratelimit"
	"parako/internal/secret"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/telemetry"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }

// TestSchemaIsRivers has River make its schema beside ours: what it reads and writes is the same. A release of River with another
// schema fails here until a migration follows it.
func TestSchemaIsRivers(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	pool, err := pgxpool.New(t.Context(), db.SuperDSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	migrator := func(schema string) *rivermigrate.Migrator[pgx.Tx] {
		m, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Schema: schema, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if got, err := migrator("jobs").Validate(t.Context(), nil); err != nil || !got.OK {
		t.Errorf("River finds its schema out of date: %+v, %v", got, err)
	}
	if _, err := pool.Exec(t.Context(), "CREATE SCHEMA river"); err != nil {
		t.Fatal(err)
	}
	if _, err := migrator("river").Migrate(t.Context(), rivermigrate.DirectionUp, nil); err != nil {
		t.Fatal(err)
	}
	for what, sql := range map[string]string{
		// A number comes from a sequence of River's, and from an identity of ours.
		"columns": `SELECT concat_ws(' ', table_name, column_name, replace(udt_name, '_' || table_schema, ''), is_nullable,
				CASE WHEN column_default LIKE 'nextval%' OR is_identity = 'YES' THEN 'numbered' ELSE replace(column_default, table_schema || '.', '') END, character_maximum_length)
			FROM information_schema.columns WHERE table_schema = $1 ORDER BY 1`,
		"indexes": "SELECT replace(indexdef, schemaname || '.', '') FROM pg_indexes WHERE schemaname = $1 ORDER BY 1",
		"constraints": `SELECT concat_ws(' ', conrelid::regclass::text, conname, pg_get_constraintdef(k.oid)) FROM pg_constraint AS k
			WHERE connamespace = $1::text::regnamespace ORDER BY 1`,
		"states": "SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = ($1 || '.river_job_state')::regtype",
	} {
		read := func(schema string) []string {
			rows, err := pool.Query(t.Context(), sql, schema)
			if err != nil {
				t.Fatal(err)
			}
			list, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatal(err)
			}
			for i := range list {
				// River renames the table and makes another, whose key gets another name.
				list[i] = strings.NewReplacer(schema+".", "", "river_migration_pkey1", "river_migration_pkey").Replace(list[i])
			}
			return list
		}
		want := read("river")
		if diff := cmp.Diff(want, read("jobs")); diff != "" || len(want) == 0 {
			t.Errorf("%s mismatch (-River +ours)\n%s", what, diff)
		}
	}
	var same int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM generate_series(0, 255) AS n, unnest(enum_range(NULL::jobs.river_job_state)) AS s (state)
		WHERE jobs.river_job_state_in_bitmask(n::bit(8), s.state) = river.river_job_state_in_bitmask(n::bit(8), s.state::text::river.river_job_state)`).Scan(&same); err != nil || same != 256*8 {
		t.Errorf("the bits of states agree %d times of %d, %v", same, 256*8, err)
	}
}

// world is a tenant with a client that wants to be told of ended sessions, and what it was told.
type world struct {
	db     *testkit.DB
	store  *store.Store
	vault  tenant.Vault
	org    tenant.Tenant
	user   uuid.UUID
	client oidc.Client
	dns    *testkit.DNS
	// roots prove who mail servers are.
	roots *x509.CertPool
	// changed receives the tenants whose new revision the instances are told of.
	changed chan uuid.UUID

	mu   sync.Mutex
	told map[string]int
	// one receives whenever the client is told.
	one chan struct{}
	log lockedBuffer
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String is everything so far.
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newWorld(t *testing.T, db *testkit.DB) *world {
	t.Helper()
	key, err := secret.ParseMasterKey(hex.EncodeToString(secret.NewDataKey()))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{db: db, store: db.Store(t), vault: tenant.Vault{Master: key}, told: map[string]int{}, one: make(chan struct{}, 100), dns: testkit.NewDNS(t), changed: make(chan uuid.UUID, 100)}
	w.org = testkit.Tenant(t, w.store, "acme")
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.told[r.FormValue("logout_token")]++
		w.mu.Unlock()
		w.one <- struct{}{}
	}))
	t.Cleanup(server.Close)
	w.write(t, func(ctx context.Context, tx *store.Tx) (err error) {
		ada, err := directory.Create(ctx, tx, directory.New{Username: "ada"})
		if err != nil {
			return err
		}
		w.user = ada.ID
		w.client, err = oidc.RegisterClient(ctx, tx, w.vault, settings.Layer{}, oidc.NewClient{ID: "web", Preset: oidc.PresetWeb, ClientMetadata: oidc.ClientMetadata{
			Name: "Web", RedirectURIs: []string{"https://web.example/"}, MoreMetadata: oidc.MoreMetadata{BackchannelLogoutURI: server.URL},
		}})
		return err
	})
	return w
}

func (w *world) write(t *testing.T, fn func(context.Context, *store.Tx) error) {
	t.Helper()
	if err := w.store.InTenant(t.Context(), w.org.ID, fn); err != nil {
		t.Fatal(err)
	}
}

// enqueue adds n deliveries in one transaction.
func (w *world) enqueue(t *testing.T, n int) {
	t.Helper()
	w.write(t, func(ctx context.Context, tx *store.Tx) error {
		for range n {
			id := uuid.New()
			if err := tx.LogoutDeliveryCreate(ctx, dbsqlc.LogoutDeliveryCreateParams{
				ID: id, ClientID: w.client.ID, UserID: w.user, SessionID: uuid.New(), ExpiresAt: time.Now().Add(time.Hour),
			}); err != nil {
				return err
			}
			if err := tx.Enqueue(ctx, store.JobLogout, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// deps are those of an instance of its own, until closed is called.
func (w *world) deps(t *testing.T) (d jobs.Deps, closed func()) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	o := w.db.Options()
	o.Changed = func(_ context.Context, org uuid.UUID, _ int64) { w.changed <- org }
	s, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	outside := outbound.New(outbound.Options{Loopback: true, Timeout: time.Minute})
	mail := outbound.New(outbound.Options{Loopback: true, Roots: w.roots, Timeout: time.Minute})
	catalog, err := i18n.New()
	if err != nil {
		t.Fatal(err)
	}
	composer, err := message.NewComposer(catalog)
	if err != nil {
		t.Fatal(err)
	}
	deps := oidc.Deps{
		Store: s, Vault: w.vault, Base: &url.URL{Scheme: "https", Host: "id.example"}, MultiTenant: true, Outbound: outside,
		Keys: oidc.NewKeyCache(outside, time.Now), Metrics: telemetry.NewMetrics(), Log: log, Now: time.Now,
	}
	pool := oidc.NewPool(func(ctx context.Context, t tenant.Tenant) (*oidc.Provider, error) {
		return oidc.NewProvider(ctx, deps, t)
	},
		oidc.PoolOptions{}, deps.Metrics, time.Now)
	domains := w.registrar()
	domains.Store = s
	d = jobs.Deps{
		Store: s, Registry: tenant.NewRegistry(s, log, time.Now), Vault: w.vault, Pool: pool, Domains: domains,
		Mail: message.NewSender(mail), Composer: composer, Limiter: ratelimit.New(nil, time.Now), Metrics: deps.Metrics, Log: log, Grace: time.Minute,
	}
	return d, func() {
		outside.Close()
		mail.Close()
		s.Close()
	}
}

// run works the queue, as an instance does, until stop is called, which waits for it.
func (w *world) run(t *testing.T) (stop func()) {
	t.Helper()
	deps, closed := w.deps(t)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- jobs.Run(ctx, deps) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		closed()
	}
}

// left counts jobs of a kind by their state.
func (w *world) left(t *testing.T, kind store.Job) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), w.db.SuperDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var states string
	if err := conn.QueryRow(t.Context(), "SELECT coalesce(string_agg(DISTINCT state::text, ',' ORDER BY state::text), '') FROM jobs.river_job WHERE kind = $1", kind).Scan(&states); err != nil {
		t.Fatal(err)
	}
	return states
}

// TestRun has two instances do the jobs of one queue: each is done once. The same through a pooler in transaction mode.
func TestRun(t *testing.T) {
	t.Parallel()
	for name, db := range map[string]func(*testing.T) *testkit.DB{
		"directly":           func(t *testing.T) *testkit.DB { t.Helper(); return testkit.NewDB(t) },
		"through the pooler": func(t *testing.T) *testkit.DB { t.Helper(); return testkit.NewDB(t).Pooled(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, db(t))
			stops := []func(){w.run(t), w.run(t)}
			const n = 40
			w.enqueue(t, n)
			for range n {
				<-w.one
			}
			for _, stop := range stops {
				stop()
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(w.told) != n || len(w.one) > 0 {
				t.Errorf("the client was told %d things, and %d more", len(w.told), len(w.one))
			}
			if got := w.left(t, store.JobLogout); got != "completed" {
				t.Errorf("the jobs are %s", got)
			}
			if said := w.log.String(); strings.Contains(said, "level=ERROR") || strings.Contains(said, "level=WARN") {
				t.Error(said)
			}
		})
	}
}

// TestJobOfATenantThatIsGone has nobody left who could be told.
func TestJobOfATenantThatIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.NewDB(t))
	w.enqueue(t, 1)
	w.db.Superuser(t, "DELETE FROM parako.tenants WHERE id = $1", w.org.ID)
	stop := w.run(t)
	for w.left(t, store.JobLogout) != "completed" {
		continue
	}
	stop()
	if len(w.one) > 0 {
		t.Error("somebody was told")
	}
}

// TestJobThatFailsSaysNothingOfTheTenant breaks what the worker reads. The queue, which everybody who works it can read, does
// not learn why.
func TestJobThatFailsSaysNothingOfTheTenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.NewDB(t))
	w.db.Superuser(t, "UPDATE parako.clients SET metadata = '[\"s3cr3t\"]'")
	w.enqueue(t, 1)
	stop := w.run(t)
	for w.left(t, store.JobLogout) != "retryable" {
		continue
	}
	stop()
	conn, err := pgx.Connect(t.Context(), w.db.SuperDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var row, failure string
	if err := conn.QueryRow(t.Context(), "SELECT to_jsonb(j)::text, errors[1] ->> 'error' FROM jobs.river_job AS j WHERE kind = 'logout_delivery'").Scan(&row, &failure); err != nil {
		t.Fatal(err)
	}
	if failure != "it failed; see the log" || strings.Contains(row, w.client.ID+`"`) || !strings.Contains(w.log.String(), "logout_delivery_failed") {
		t.Errorf("the queue says %s, the log %s", row, w.log.String())
	}
}

// TestRunLeavesNothingRunning is not parallel: it looks at every goroutine there is.
func TestRunLeavesNothingRunning(t *testing.T) { //nolint:paralleltest // See above.
	w := newWorld(t, testkit.NewDB(t))
	before := goleak.IgnoreCurrent()
	stop := w.run(t)
	w.enqueue(t, 1)
	<-w.one
	stop()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections() //nolint:forcetypeassert // It is one.
	goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("net/http.(*conn).serve"))
}

// TestRunNeedsThePlatform has no login for the role that the queue belongs to.
func TestRunNeedsThePlatform(t *testing.T) {
	t.Parallel()
	o := testkit.NewDB(t).Options()
	o.PlatformURL = secret.String{}
	s, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := jobs.Run(t.Context(), jobs.Deps{Store: s, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "queue") {
		t.Errorf("Run = %v", err)
	}
}
