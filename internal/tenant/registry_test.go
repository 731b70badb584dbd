package tenant_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

// watched is a registry whose polls happen when the test says so.
type watched struct {
	*tenant.Registry
	db    *testkit.DB
	store *store.Store
	clock *testkit.Clock
	// poll returns when a poll that began after its call has ended.
	poll func()
	// stop ends the watching; what was fresh stays fresh until the clock moves.
	stop func()
}

func watch(t *testing.T) watched {
	t.Helper()
	w := unwatched(t)
	w.start(t)
	return w
}

// unwatched is a registry whose watching has yet to start.
func unwatched(t *testing.T) watched {
	t.Helper()
	w := watched{db: testkit.NewDB(t), clock: &testkit.Clock{}}
	w.store = w.db.StoreAt(t, w.clock.Now)
	w.Registry = tenant.NewRegistry(w.store, slog.New(slog.DiscardHandler), w.clock.Now)
	return w
}

func (w *watched) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	wake := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { w.Watch(ctx, wake) })
	w.poll = func() {
		wake <- struct{}{} // accepted between two polls
		wake <- struct{}{} // accepted after the one that the first asked for
	}
	w.stop = func() {
		cancel()
		watching.Wait()
	}
	t.Cleanup(w.stop)
}

// want fails the test unless the slug leads to a tenant of the status; an empty status means that it leads nowhere.
func want(t *testing.T, g *tenant.Registry, slug string, status tenant.Status) tenant.Tenant {
	t.Helper()
	got, err := g.ByName(t.Context(), "slug", slug)
	if got.Status != status || (err != nil) != (status == "") || err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Errorf("ByName(%s) = %q, %v; want %q", slug, got.Status, err, status)
	}
	return got
}

func TestRegistryWithoutWatchAsksEveryTime(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	g := tenant.NewRegistry(s, slog.New(slog.DiscardHandler), time.Now)
	want(t, g, "acme", "")
	acme := testkit.Tenant(t, s, "acme")
	want(t, g, "acme", tenant.Active)
	if _, err := tenant.SetStatus(t.Context(), s, "acme", tenant.Suspended, "test"); err != nil {
		t.Fatal(err)
	}
	want(t, g, "acme", tenant.Suspended)
	if got, err := g.ByID(t.Context(), acme.ID); err != nil || got.Status != tenant.Suspended {
		t.Errorf("ByID = %q, %v", got.Status, err)
	}
	if _, err := g.ByID(t.Context(), uuid.New()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("ByID of nobody: %v, want ErrNotFound", err)
	}
}

func TestRegistryAnswersFromMemoryWhileFresh(t *testing.T) {
	t.Parallel()
	w := watch(t)
	acme := testkit.Tenant(t, w.store, "acme")
	w.poll()
	want(t, w.Registry, "acme", tenant.Active)
	want(t, w.Registry, "nobody", "")
	w.stop()
	w.store.Close() // from here on a question to the database is an error

	want(t, w.Registry, "acme", tenant.Active)
	want(t, w.Registry, "nobody", "")
	if got, err := w.ByID(t.Context(), acme.ID); err != nil || got.Slug != "acme" {
		t.Errorf("ByID = %q, %v", got.Slug, err)
	}
	if _, err := w.ByName(t.Context(), "host", "acme"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("a slug asked for as a host: %v, want the database's error", err)
	}

	// An instance that cannot poll must not go on serving what it remembers.
	w.clock.Advance(5 * time.Second)
	for _, slug := range []string{"acme", "nobody"} {
		if got, err := w.ByName(t.Context(), "slug", slug); err == nil || errors.Is(err, store.ErrNotFound) {
			t.Errorf("ByName(%s) without a poll = %q, %v; want the database's error", slug, got.Slug, err)
		}
	}
	if got, err := w.ByID(t.Context(), acme.ID); err == nil {
		t.Errorf("ByID without a poll = %q", got.Slug)
	}
}

func TestRegistryNoticesWithinAPoll(t *testing.T) {
	t.Parallel()
	w := watch(t)
	testkit.Tenant(t, w.store, "acme")
	w.poll()
	want(t, w.Registry, "acme", tenant.Active)
	want(t, w.Registry, "umbra", "")

	if _, err := tenant.SetStatus(t.Context(), w.store, "acme", tenant.Suspended, "test"); err != nil {
		t.Fatal(err)
	}
	testkit.Tenant(t, w.store, "umbra")
	w.poll()
	want(t, w.Registry, "acme", tenant.Suspended)
	want(t, w.Registry, "umbra", tenant.Active)
}

// TestFirstPollTrustsNothing reads a tenant while the database does not let itself be polled yet, for longer than a poll looks back.
func TestFirstPollTrustsNothing(t *testing.T) {
	t.Parallel()
	w := unwatched(t)
	testkit.Tenant(t, w.store, "acme")
	want(t, w.Registry, "acme", tenant.Active)
	want(t, w.Registry, "umbra", "")
	testkit.Tenant(t, w.store, "umbra")
	w.db.Superuser(t, "UPDATE parako.tenants SET revision = revision + 1, updated_at = now() - interval '1 minute', status = CASE slug WHEN 'acme' THEN 'suspended' ELSE status END")
	w.start(t)
	w.poll()
	want(t, w.Registry, "acme", tenant.Suspended)
	want(t, w.Registry, "umbra", tenant.Active)
}

// TestArchivedIsRemembered refuses an archived tenant without the database, until it is heard of.
func TestArchivedIsRemembered(t *testing.T) {
	t.Parallel()
	w := watch(t)
	testkit.Tenant(t, w.store, "acme")
	if _, err := tenant.SetStatus(t.Context(), w.store, "acme", tenant.Archived, "test"); err != nil {
		t.Fatal(err)
	}
	w.poll()
	w.stop()
	want(t, w.Registry, "acme", tenant.Archived)
	back, err := tenant.SetStatus(t.Context(), w.store, "acme", tenant.Active, "test")
	if err != nil {
		t.Fatal(err)
	}
	want(t, w.Registry, "acme", tenant.Archived)
	w.Changed(back.ID, back.Revision)
	want(t, w.Registry, "acme", tenant.Active)
}

func TestChanged(t *testing.T) {
	t.Parallel()
	w := watch(t)
	acme := testkit.Tenant(t, w.store, "acme")
	testkit.Tenant(t, w.store, "umbra")
	w.poll()
	w.stop()
	want(t, w.Registry, "acme", tenant.Active)
	want(t, w.Registry, "umbra", tenant.Active)

	t.Run("what led nowhere is remembered until somebody new is heard of", func(t *testing.T) {
		want(t, w.Registry, "late", "")
		late := testkit.Tenant(t, w.store, "late")
		want(t, w.Registry, "late", "")
		w.Changed(late.ID, late.Revision)
		want(t, w.Registry, "late", tenant.Active)
	})
	t.Run("or of somebody known, who may have got the name", func(t *testing.T) {
		host := func() error {
			_, err := w.ByName(t.Context(), "host", "login.acme.example")
			return err
		}
		if err := host(); !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("a host of nobody's = %v", err)
		}
		got := want(t, w.Registry, "acme", tenant.Active)
		w.db.Superuser(t, "INSERT INTO parako.tenant_locators (kind, name, tenant_id, verified_at) VALUES ('host', 'login.acme.example', $1, now())", acme.ID)
		w.Changed(acme.ID, got.Revision+1)
		if err := host(); err != nil {
			t.Errorf("the tenant's new host = %v", err)
		}
		want(t, w.Registry, "acme", tenant.Active)
	})
	t.Run("a newer revision is looked up", func(t *testing.T) {
		suspended, err := tenant.SetStatus(t.Context(), w.store, "acme", tenant.Suspended, "test")
		if err != nil {
			t.Fatal(err)
		}
		want(t, w.Registry, "acme", tenant.Active)
		w.Changed(acme.ID, suspended.Revision)
		got := want(t, w.Registry, "acme", tenant.Suspended)
		if got.Revision != suspended.Revision {
			t.Errorf("revision = %d, want %d", got.Revision, suspended.Revision)
		}
	})
	t.Run("a revision that is held already is not", func(t *testing.T) {
		w.store.Close()
		w.Changed(acme.ID, 1)
		w.Changed(acme.ID, 2)
		want(t, w.Registry, "acme", tenant.Suspended)
	})
	t.Run("nor is anybody else", func(t *testing.T) {
		w.Changed(acme.ID, 3)
		want(t, w.Registry, "umbra", tenant.Active)
		if _, err := w.ByName(t.Context(), "slug", "acme"); err == nil {
			t.Error("a newer revision is answered from memory")
		}
	})
}

func TestSlowReadDoesNotBringAnOlderStateBack(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	g := tenant.NewRegistry(s, slog.New(slog.DiscardHandler), time.Now)
	acme := testkit.Tenant(t, s, "acme")
	newer := acme
	newer.Revision, newer.Status = acme.Revision+1, tenant.Suspended
	g.Hold(newer) // as another goroutine has, while this one waits for its answer
	want(t, g, "acme", tenant.Suspended)
}

// TestInventedRevision is what somebody with access to Redis can do: announce a revision that there will never be. It costs one
// look-up each time, and what that finds is held like anything else.
func TestInventedRevision(t *testing.T) {
	t.Parallel()
	w := watch(t)
	acme := testkit.Tenant(t, w.store, "acme")
	w.poll()
	for range 3 {
		w.Changed(acme.ID, math.MaxInt64)
		want(t, w.Registry, "acme", tenant.Active)
	}
	for range 3 {
		w.Changed(uuid.New(), math.MaxInt64) // of nobody
	}
	w.stop()
	names, _, tenants := w.Held()
	w.store.Close() // from here on a question to the database is an error
	want(t, w.Registry, "acme", tenant.Active)
	if got, err := w.ByID(t.Context(), acme.ID); err != nil || got.Revision != acme.Revision {
		t.Errorf("ByID = revision %d, %v", got.Revision, err)
	}
	if names != 1 || tenants != 1 {
		t.Errorf("it holds %d names and %d tenants, want one each", names, tenants)
	}
}

// TestChangeDuringALookUp has a change announced while the tenant is being read, so that what was read may be older. It is
// given to whoever asked before, and to nobody after.
func TestChangeDuringALookUp(t *testing.T) {
	t.Parallel()
	w := watch(t)
	acme := testkit.Tenant(t, w.store, "acme")
	w.poll()
	w.stop()
	super, err := sql.Open("pgx", w.db.SuperDSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = super.Close() })
	for what, ask := range map[string]func() (tenant.Tenant, error){
		"by id":   func() (tenant.Tenant, error) { return w.ByID(t.Context(), acme.ID) },
		"by name": func() (tenant.Tenant, error) { return w.ByName(t.Context(), "slug", "acme") },
	} {
		if _, err := ask(); err != nil {
			t.Fatal(err)
		}
		w.Changed(acme.ID, math.MaxInt64) // nothing is held now
		hold, err := super.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := hold.Exec("LOCK TABLE parako.tenants IN ACCESS EXCLUSIVE MODE"); err != nil {
			t.Fatal(err)
		}
		asked := make(chan error)
		go func() { _, err := ask(); asked <- err }()
		for w.Reading() == 0 {
			runtime.Gosched()
		}
		w.Changed(acme.ID, math.MaxInt64)
		if err := hold.Rollback(); err != nil {
			t.Fatal(err)
		}
		if err := <-asked; err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if names, _, tenants := w.Held(); names+tenants+w.Reading() != 0 {
			t.Errorf("%s: what was read before the change is held: %d names, %d tenants", what, names, tenants)
		}
		if _, err := ask(); err != nil {
			t.Fatal(err)
		}
		if _, _, tenants := w.Held(); tenants != 1 {
			t.Errorf("%s: what is read after the change is not held", what)
		}
	}
}

// TestNameTakenAwayDuringALookUp moves a host to another tenant after it was located and before its tenant was read.
func TestNameTakenAwayDuringALookUp(t *testing.T) {
	t.Parallel()
	w := watch(t)
	acme, umbra := testkit.Tenant(t, w.store, "acme"), testkit.Tenant(t, w.store, "umbra")
	w.db.Superuser(t, "INSERT INTO parako.tenant_locators (kind, name, tenant_id, verified_at) VALUES ('host', 'id.example', $1, now())", acme.ID)
	w.poll()
	w.stop()
	super, err := sql.Open("pgx", w.db.SuperDSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = super.Close() })
	hold, err := super.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hold.Exec("LOCK TABLE parako.tenants IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	asked := make(chan error)
	go func() { _, err := w.ByName(t.Context(), "host", "id.example"); asked <- err }()
	for w.Reading() == 0 {
		runtime.Gosched()
	}
	// What the domain's release does: the revision rises in the transaction that takes the name away.
	if _, err := hold.Exec("UPDATE parako.tenant_locators SET tenant_id = $1 WHERE kind = 'host'", umbra.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := hold.Exec("UPDATE parako.tenants SET revision = revision + 1, updated_at = now() WHERE id = $1", acme.ID); err != nil {
		t.Fatal(err)
	}
	if err := hold.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-asked; err != nil {
		t.Error(err)
	}
	w.Changed(acme.ID, 2) // which is what was read
	if got, err := w.ByName(t.Context(), "host", "id.example"); err != nil || got.ID != umbra.ID {
		t.Errorf("the host leads to %s, %v; want umbra", got.Slug, err)
	}
}

func TestRegistryIsBounded(t *testing.T) {
	t.Parallel()
	w := watch(t)
	testkit.Tenant(t, w.store, "acme")
	w.poll()
	w.stop()
	w.Fill()
	want(t, w.Registry, "acme", tenant.Active)
	want(t, w.Registry, "nobody", "")
	names, missing, tenants := w.Held()
	if names > tenant.MaxHeld || missing > tenant.MaxHeld || tenants > tenant.MaxHeld {
		t.Errorf("it holds %d names, %d misses, %d tenants; want no more than %d each", names, missing, tenants, tenant.MaxHeld)
	}
	want(t, w.Registry, "acme", tenant.Active)
	want(t, w.Registry, "nobody", "")
}

// TestNamesGoWithTheirTenants fills the registry, which lets go of a tenant that loses a host right after.
func TestNamesGoWithTheirTenants(t *testing.T) {
	t.Parallel()
	w := watch(t)
	acme, umbra := testkit.Tenant(t, w.store, "acme"), testkit.Tenant(t, w.store, "umbra")
	w.db.Superuser(t, "INSERT INTO parako.tenant_locators (kind, name, tenant_id, verified_at) VALUES ('host', 'id.example', $1, now())", acme.ID)
	w.poll()
	leads := func(to uuid.UUID) {
		t.Helper()
		if got, err := w.ByName(t.Context(), "host", "id.example"); err != nil || got.ID != to {
			t.Errorf("the host leads to %q, %v", got.Slug, err)
		}
	}
	leads(acme.ID)
	for range tenant.MaxHeld {
		w.Hold(tenant.Tenant{ID: uuid.New()})
	}
	want(t, w.Registry, "umbra", tenant.Active)
	if _, _, tenants := w.Held(); tenants > 1 {
		t.Fatalf("it still holds %d tenants", tenants)
	}
	w.db.Superuser(t, "UPDATE parako.tenant_locators SET tenant_id = $1 WHERE name = 'id.example'", umbra.ID)
	w.db.Superuser(t, "UPDATE parako.tenants SET revision = revision + 1, updated_at = now() WHERE slug IN ('acme', 'umbra')")
	w.poll()
	want(t, w.Registry, "acme", tenant.Active)
	leads(umbra.ID)
}

// TestPollUsesTheClockOfTheDatabase has a process whose clock is an hour ahead.
func TestPollUsesTheClockOfTheDatabase(t *testing.T) {
	t.Parallel()
	w := watch(t)
	w.clock.Advance(time.Hour)
	testkit.Tenant(t, w.store, "acme")
	w.poll()
	want(t, w.Registry, "acme", tenant.Active)
	if _, err := tenant.SetStatus(t.Context(), w.store, "acme", tenant.Suspended, "test"); err != nil {
		t.Fatal(err)
	}
	w.poll()
	want(t, w.Registry, "acme", tenant.Suspended)
}

// TestNamesOfAnOlderRevision reads a tenant anew, by its id, after a change that took a name from it and of which nobody has heard
// yet.
func TestNamesOfAnOlderRevision(t *testing.T) {
	t.Parallel()
	w := watch(t)
	acme := testkit.Tenant(t, w.store, "acme")
	w.db.Superuser(t, "INSERT INTO parako.tenant_locators (kind, name, tenant_id, verified_at) VALUES ('host', 'id.example', $1, now())", acme.ID)
	w.poll()
	w.stop()
	if _, err := w.ByName(t.Context(), "host", "id.example"); err != nil {
		t.Fatal(err)
	}
	w.db.Superuser(t, "DELETE FROM parako.tenant_locators WHERE kind = 'host'")
	w.db.Superuser(t, "UPDATE parako.tenants SET revision = revision + 1, updated_at = now() WHERE id = $1", acme.ID)
	want(t, w.Registry, "acme", tenant.Active) // read for a name that was not known yet
	if got, err := w.ByName(t.Context(), "host", "id.example"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the name that was taken away leads to %q, %v", got.Slug, err)
	}
}

// A change of more tenants than one read returns, all in the same instant.
func TestBulkChangeIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	w := watch(t)
	super, err := sql.Open("pgx", w.db.SuperDSN()) // the store has registered the driver
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = super.Close() })
	_, err = super.Exec(`
		INSERT INTO parako.tenants (id, slug, display_name)
		SELECT gen_random_uuid(), 'bulk' || n, 'Bulk' FROM generate_series(1, 2500) AS n`)
	if err != nil {
		t.Fatal(err)
	}
	w.poll()
	var ids []uuid.UUID
	for _, offset := range []int{0, 1, 999, 1000, 1001, 2000, 2499, 2500} {
		var id uuid.UUID
		if err := super.QueryRow("SELECT id FROM parako.tenants ORDER BY id OFFSET $1 LIMIT 1", offset).Scan(&id); err != nil {
			t.Fatal(err)
		}
		if got, err := w.ByID(t.Context(), id); err != nil || got.Revision != 1 {
			t.Fatalf("ByID = revision %d, %v", got.Revision, err)
		}
		ids = append(ids, id)
	}
	if _, err := super.Exec("UPDATE parako.tenants SET revision = 2, updated_at = now()"); err != nil {
		t.Fatal(err)
	}
	w.poll()
	for _, id := range ids {
		if got, err := w.ByID(t.Context(), id); err != nil || got.Revision != 2 {
			t.Errorf("ByID = revision %d, %v; want 2", got.Revision, err)
		}
	}
}

func TestPollThatFailsKeepsNothingFresh(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	testkit.Tenant(t, s, "acme")
	o := db.Options()
	o.PlatformURL = secret.String{} // it has no platform to poll with
	blind, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(blind.Close)
	var log strings.Builder
	g := tenant.NewRegistry(blind, slog.New(slog.NewTextHandler(&log, nil)), time.Now)
	ctx, cancel := context.WithCancel(t.Context())
	wake := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { g.Watch(ctx, wake) })
	wake <- struct{}{}
	wake <- struct{}{}
	want(t, g, "acme", tenant.Active)
	if _, err := tenant.SetStatus(t.Context(), s, "acme", tenant.Suspended, "test"); err != nil {
		t.Fatal(err)
	}
	want(t, g, "acme", tenant.Suspended)
	cancel()
	watching.Wait()
	if !strings.Contains(log.String(), "tenant_poll_failed") {
		t.Errorf("log = %q", log.String())
	}
}
