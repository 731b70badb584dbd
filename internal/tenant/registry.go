package tenant

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"parako/internal/dbsqlc"
	"parako/internal/dbsqlc/control"
	"parako/internal/store"
)

const (
	// pollInterval is how often the changes of all tenants are read; with staleAfter it bounds how long a change may go
	// unnoticed when no hint arrives (5 s, design D3).
	pollInterval = 2 * time.Second
	// staleAfter is how long what is held may be used after the last successful poll. Past it every look-up asks the
	// database, so that an instance that cannot poll does not serve a suspended tenant.
	staleAfter = 5 * time.Second
	// unknownFor is how long a name that leads nowhere is remembered.
	unknownFor = 5 * time.Second
	// pollOverlap re-reads the near past: a transaction may commit after a later one has been seen, and the database's clock
	// may differ from ours.
	pollOverlap = 30 * time.Second
	// maxHeld bounds the names and the tenants in memory. A flood of invented host names evicts; it does not grow.
	maxHeld = 20_000
)

type name struct{ kind, name string }

// located is where a name leads, as it was at a revision of the tenant and holds for no other: every change of a tenant's names
// raises it.
type located struct {
	id       uuid.UUID
	revision int64
}

type unknown struct{ until time.Time }

// Registry knows tenants by id and by name. What it holds is right up to the bound of its poll: [Registry.Watch] reads
// which tenants changed, and [Registry.Changed] hears of a change at once. It is safe for concurrent use.
type Registry struct {
	store *store.Store
	log   *slog.Logger
	now   func() time.Time

	mu      sync.RWMutex
	fresh   time.Time // end of what the last poll vouches for
	ids     map[name]located
	missing map[name]unknown
	tenants map[uuid.UUID]Tenant
}

// NewRegistry makes an empty registry. Without Watch running it asks the database every time.
func NewRegistry(s *store.Store, log *slog.Logger, now func() time.Time) *Registry {
	return &Registry{
		store: s, log: log, now: now,
		ids: map[name]located{}, missing: map[name]unknown{}, tenants: map[uuid.UUID]Tenant{},
	}
}

// ByName finds the tenant a slug (kind "slug") or a verified host (kind "host") leads to. store.ErrNotFound: none.
func (g *Registry) ByName(ctx context.Context, kind, value string) (Tenant, error) {
	key := name{kind, value}
	now := g.now()
	g.mu.RLock()
	usable := now.Before(g.fresh)
	at, known := g.ids[key]
	t, held := g.held(at.id)
	miss, missed := g.missing[key]
	g.mu.RUnlock()
	if usable && known && held && t.Revision == at.revision {
		return t, nil
	}
	if usable && missed && now.Before(miss.until) {
		return Tenant{}, store.ErrNotFound
	}
	id, err := g.store.Locate(ctx, kind, value)
	if err == nil {
		t, err = g.load(ctx, id)
	}
	if err == nil && kind == "host" {
		// A host may have been released before the tenant was read: that it leads there has to be as new as the revision.
		var again uuid.UUID
		if again, err = g.store.Locate(ctx, kind, value); err == nil && again != id {
			err = store.ErrNotFound
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		g.mu.Lock()
		if len(g.missing) >= maxHeld {
			clear(g.missing)
		}
		g.missing[key] = unknown{until: now.Add(unknownFor)}
		delete(g.ids, key)
		g.mu.Unlock()
		return Tenant{}, err
	}
	if err != nil {
		return Tenant{}, err
	}
	g.mu.Lock()
	if len(g.ids) >= maxHeld {
		clear(g.ids)
	}
	g.ids[key] = located{id, t.Revision}
	delete(g.missing, key)
	g.mu.Unlock()
	return t, nil
}

// ByID finds a tenant by its id. store.ErrNotFound: none.
func (g *Registry) ByID(ctx context.Context, id uuid.UUID) (Tenant, error) {
	g.mu.RLock()
	usable := g.now().Before(g.fresh)
	t, held := g.held(id)
	g.mu.RUnlock()
	if usable && held {
		return t, nil
	}
	return g.load(ctx, id)
}

// held finds a tenant in memory; g.mu is held. What the platform has set is a part of every tenant, and its revision that of the
// built-in one.
func (g *Registry) held(id uuid.UUID) (Tenant, bool) {
	t, ok := g.tenants[id]
	platform, known := g.tenants[DefaultID]
	t.PlatformRevision = platform.Revision
	return t, ok && known
}

// load reads a tenant, and the built-in one for the platform's revision.
func (g *Registry) load(ctx context.Context, id uuid.UUID) (Tenant, error) {
	g.mu.RLock()
	platform, held := g.tenants[DefaultID]
	held = held && g.now().Before(g.fresh)
	g.mu.RUnlock()
	var err error
	if !held {
		if platform, err = g.read(ctx, DefaultID); err != nil {
			return Tenant{}, err
		}
	}
	t := platform
	if id != DefaultID {
		if t, err = g.read(ctx, id); err != nil {
			return Tenant{}, err
		}
	}
	t.PlatformRevision = platform.Revision
	return t, nil
}

func (g *Registry) read(ctx context.Context, id uuid.UUID) (Tenant, error) {
	var row dbsqlc.Tenant
	err := g.store.AskTenant(ctx, id, func(ctx context.Context, tx *store.Tx) (err error) {
		row, err = tx.TenantByID(ctx, id)
		return err
	})
	if err != nil {
		return Tenant{}, err
	}
	t := FromRow(row)
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.tenants) >= maxHeld {
		clear(g.tenants)
	}
	// A slow read must not put an older state back over a newer one.
	if held, ok := g.tenants[id]; ok && held.Revision > t.Revision {
		return held, nil
	}
	g.tenants[id] = t
	return t, nil
}

// Changed forgets the tenant unless what is held is at least of the revision. It may also be new under a name that led nowhere,
// so those are forgotten too.
func (g *Registry) Changed(id uuid.UUID, revision int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	held, ok := g.tenants[id]
	if ok && held.Revision >= revision {
		return
	}
	clear(g.missing)
	if !ok {
		return
	}
	delete(g.tenants, id)
	for n, at := range g.ids {
		if at.id == id {
			delete(g.ids, n)
		}
	}
}

// Watch polls for changes until ctx is done. Its cost does not depend on the number of tenants. A poll also happens
// whenever wake receives, which is how a lost connection to Redis is made good.
func (g *Registry) Watch(ctx context.Context, wake <-chan struct{}) {
	since := g.now().Add(-pollOverlap)
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		started := g.now()
		if err := g.poll(ctx, since); err == nil {
			since = started.Add(-pollOverlap)
			g.mu.Lock()
			g.fresh = started.Add(staleAfter)
			g.mu.Unlock()
		} else if ctx.Err() == nil {
			g.log.ErrorContext(ctx, "tenant_poll_failed", "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-wake:
		}
	}
}

// pollPage bounds one read; a bulk change of more tenants is read page by page.
const pollPage = 1000

func (g *Registry) poll(ctx context.Context, since time.Time) error {
	after := uuid.Nil
	for {
		var rows []control.TenantsChangedRow
		err := g.store.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) (err error) {
			rows, err = tx.TenantsChanged(ctx, control.TenantsChangedParams{Since: since, After: after, PageSize: pollPage})
			return err
		})
		if err != nil {
			return err
		}
		for _, r := range rows {
			g.Changed(r.ID, r.Revision)
		}
		if len(rows) < pollPage {
			return nil
		}
		last := rows[len(rows)-1]
		since, after = last.UpdatedAt, last.ID
	}
}
