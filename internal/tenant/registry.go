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

type unknown struct{ until time.Time }

// Registry knows tenants by id and by name. What it holds is right up to the bound of its poll: [Registry.Watch] reads
// which tenants changed, and [Registry.Changed] hears of a change at once. It is safe for concurrent use.
type Registry struct {
	store *store.Store
	log   *slog.Logger
	now   func() time.Time

	mu      sync.RWMutex
	fresh   time.Time // end of what the last poll vouches for
	ids     map[name]uuid.UUID
	missing map[name]unknown
	tenants map[uuid.UUID]Tenant
}

// NewRegistry makes an empty registry. Without Watch running it asks the database every time.
func NewRegistry(s *store.Store, log *slog.Logger, now func() time.Time) *Registry {
	return &Registry{
		store: s, log: log, now: now,
		ids: map[name]uuid.UUID{}, missing: map[name]unknown{}, tenants: map[uuid.UUID]Tenant{},
	}
}

// ByName finds the tenant a slug (kind "slug") or a verified host (kind "host") leads to. store.ErrNotFound: none.
func (g *Registry) ByName(ctx context.Context, kind, value string) (Tenant, error) {
	key := name{kind, value}
	now := g.now()
	g.mu.RLock()
	usable := now.Before(g.fresh)
	id, known := g.ids[key]
	t, held := g.tenants[id]
	miss, missed := g.missing[key]
	g.mu.RUnlock()
	if usable && known && held {
		return t, nil
	}
	if usable && missed && now.Before(miss.until) {
		return Tenant{}, store.ErrNotFound
	}
	id, err := g.store.Locate(ctx, kind, value)
	if errors.Is(err, store.ErrNotFound) {
		g.mu.Lock()
		if len(g.missing) >= maxHeld {
			clear(g.missing)
		}
		g.missing[key] = unknown{until: now.Add(unknownFor)}
		g.mu.Unlock()
		return Tenant{}, err
	}
	if err != nil {
		return Tenant{}, err
	}
	if t, err = g.load(ctx, id); err != nil {
		return Tenant{}, err
	}
	g.mu.Lock()
	if len(g.ids) >= maxHeld {
		clear(g.ids)
	}
	g.ids[key] = id
	delete(g.missing, key)
	g.mu.Unlock()
	return t, nil
}

// ByID finds a tenant by its id. store.ErrNotFound: none.
func (g *Registry) ByID(ctx context.Context, id uuid.UUID) (Tenant, error) {
	g.mu.RLock()
	usable := g.now().Before(g.fresh)
	t, held := g.tenants[id]
	g.mu.RUnlock()
	if usable && held {
		return t, nil
	}
	return g.load(ctx, id)
}

func (g *Registry) load(ctx context.Context, id uuid.UUID) (Tenant, error) {
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
	if t.Status == Archived {
		// It may be removed, of which no poll tells: there is no row any more.
		delete(g.tenants, id)
		return t, nil
	}
	// A slow read must not put an older state back over a newer one.
	if held, ok := g.tenants[id]; ok && held.Revision > t.Revision {
		return held, nil
	}
	g.tenants[id] = t
	return t, nil
}

// Changed forgets the tenant unless what is held is at least of the revision. A tenant never met may also be new under a
// name that led nowhere, so those are forgotten too.
func (g *Registry) Changed(id uuid.UUID, revision int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	held, ok := g.tenants[id]
	if !ok {
		clear(g.missing)
		return
	}
	if held.Revision >= revision {
		return
	}
	delete(g.tenants, id)
	for n, owner := range g.ids {
		if owner == id {
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
