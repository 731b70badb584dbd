package tenant

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
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
	// unknownFor is how long a name that leads nowhere, or to an archived tenant, is remembered.
	unknownFor = 5 * time.Second
	// pollOverlap re-reads the near past: a transaction may commit after a later one has been seen.
	pollOverlap = 30 * time.Second
	// maxHeld bounds the names and the tenants in memory. A flood of invented host names evicts; it does not grow.
	maxHeld = 20_000
)

type name struct{ kind, name string }

// unknown is a name that leads to nobody who is served; archived is whom it leads to, if anybody.
type unknown struct {
	until    time.Time
	archived *Tenant
}

// held is a tenant in memory with the names that it was found by.
type held struct {
	Tenant

	names []name
}

// reading is a look-up of a tenant in progress. What it finds is not kept when a newer revision was heard of meanwhile.
type reading struct{ heard int64 }

// Registry knows tenants by id and by name. What it holds is right up to the bound of its poll: [Registry.Watch] reads
// which tenants changed, and [Registry.Changed] hears of a change at once. It is safe for concurrent use.
type Registry struct {
	store *store.Store
	log   *slog.Logger
	now   func() time.Time

	polled, unpolled atomic.Int64 // polls that ended well, and others

	mu       sync.RWMutex
	fresh    time.Time // end of what the last poll vouches for
	ids      map[name]uuid.UUID
	missing  map[name]unknown
	tenants  map[uuid.UUID]held
	readings map[uuid.UUID]map[*reading]bool
}

// NewRegistry makes an empty registry. Without Watch running it asks the database every time.
func NewRegistry(s *store.Store, log *slog.Logger, now func() time.Time) *Registry {
	return &Registry{
		store: s, log: log, now: now,
		ids: map[name]uuid.UUID{}, missing: map[name]unknown{}, tenants: map[uuid.UUID]held{}, readings: map[uuid.UUID]map[*reading]bool{},
	}
}

// ByName finds the tenant a slug (kind "slug") or a verified host (kind "host") leads to. store.ErrNotFound: none.
func (g *Registry) ByName(ctx context.Context, kind, value string) (Tenant, error) {
	key := name{kind, value}
	now := g.now()
	g.mu.RLock()
	usable := now.Before(g.fresh)
	id, known := g.ids[key]
	t, ok := g.find(id)
	miss, missed := g.missing[key]
	g.mu.RUnlock()
	if usable && known && ok {
		return t, nil
	}
	if usable && missed && now.Before(miss.until) {
		if miss.archived != nil {
			return *miss.archived, nil
		}
		return Tenant{}, store.ErrNotFound
	}
	id, err := g.store.Locate(ctx, kind, value)
	if errors.Is(err, store.ErrNotFound) {
		g.miss(key, unknown{until: now.Add(unknownFor)})
		return Tenant{}, err
	}
	if err != nil {
		return Tenant{}, err
	}
	if t, err = g.load(ctx, id); err != nil {
		return Tenant{}, err
	}
	switch {
	case !usable:
	case t.Status == Archived:
		// It is not held, so that whatever changes it is somebody new, who clears what is missing.
		g.miss(key, unknown{until: now.Add(unknownFor), archived: &t})
	default:
		g.remember(ctx, key, t)
	}
	return t, nil
}

// miss remembers for a while that a name leads to nobody who is served.
func (g *Registry) miss(key name, u unknown) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.missing) >= maxHeld {
		clear(g.missing)
	}
	g.missing[key] = u
}

// remember holds the name by which t was found, for as long as t is held. The name may have been taken from the tenant after it
// was looked up and before the tenant was read, whose revision then says nothing about it any more: so it is looked up again.
func (g *Registry) remember(ctx context.Context, key name, t Tenant) {
	id, err := g.store.Locate(ctx, key.kind, key.name)
	if err != nil || id != t.ID {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.missing, key)
	found, ok := g.tenants[id]
	if !ok || found.Revision != t.Revision {
		return
	}
	if len(g.ids) >= maxHeld {
		clear(g.ids)
	}
	g.ids[key] = id
	if !slices.Contains(found.names, key) {
		found.names = append(found.names, key)
		g.tenants[id] = found
	}
}

// ByID finds a tenant by its id. store.ErrNotFound: none.
func (g *Registry) ByID(ctx context.Context, id uuid.UUID) (Tenant, error) {
	g.mu.RLock()
	usable := g.now().Before(g.fresh)
	t, ok := g.find(id)
	g.mu.RUnlock()
	if usable && ok {
		return t, nil
	}
	return g.load(ctx, id)
}

// find is a tenant in memory; g.mu is held. What the platform has set is a part of every tenant, and its revision that of the
// built-in one.
func (g *Registry) find(id uuid.UUID) (Tenant, bool) {
	found, ok := g.tenants[id]
	platform, known := g.tenants[DefaultID]
	found.PlatformRevision = platform.Revision
	return found.Tenant, ok && known
}

// load reads a tenant, and the built-in one for the platform's revision.
func (g *Registry) load(ctx context.Context, id uuid.UUID) (Tenant, error) {
	g.mu.RLock()
	platform, known := g.tenants[DefaultID]
	known = known && g.now().Before(g.fresh)
	g.mu.RUnlock()
	if !known {
		t, err := g.read(ctx, DefaultID)
		if err != nil {
			return Tenant{}, err
		}
		platform = held{Tenant: t}
	}
	t := platform.Tenant
	if id != DefaultID {
		var err error
		if t, err = g.read(ctx, id); err != nil {
			return Tenant{}, err
		}
	}
	t.PlatformRevision = platform.Revision
	return t, nil
}

// read reads a tenant and holds it, unless a newer revision was heard of meanwhile.
func (g *Registry) read(ctx context.Context, id uuid.UUID) (Tenant, error) {
	r := &reading{}
	g.mu.Lock()
	if g.readings[id] == nil {
		g.readings[id] = map[*reading]bool{}
	}
	g.readings[id][r] = true
	g.mu.Unlock()
	var row dbsqlc.Tenant
	err := g.store.AskTenant(ctx, id, func(ctx context.Context, tx *store.Tx) (err error) {
		row, err = tx.TenantByID(ctx, id)
		return err
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	if delete(g.readings[id], r); len(g.readings[id]) == 0 {
		delete(g.readings, id)
	}
	if err != nil {
		return Tenant{}, err
	}
	t := FromRow(row)
	if t.Status == Archived {
		// It may be removed, of which no poll tells: there is no row any more.
		g.forget(id)
		return t, nil
	}
	found := g.tenants[id]
	// A slow read must not put an older state back over a newer one.
	if found.Revision > t.Revision {
		return found.Tenant, nil
	}
	if r.heard > t.Revision {
		return t, nil
	}
	if found.Revision < t.Revision {
		g.forget(id) // Its names may have changed with it.
		if len(g.tenants) >= maxHeld {
			clear(g.tenants)
			clear(g.ids) // A name without its tenant would be forgotten by no change of it.
		}
		g.tenants[id] = held{Tenant: t}
	}
	return t, nil
}

// forget drops a tenant and the names it was found by. The caller holds the lock.
func (g *Registry) forget(id uuid.UUID) {
	for _, n := range g.tenants[id].names {
		if g.ids[n] == id {
			delete(g.ids, n)
		}
	}
	delete(g.tenants, id)
}

// Changed forgets the tenant unless what is held is at least of the revision. It may also have got a name that led nowhere, so those
// are forgotten too. The revision may be an invention: it costs one look-up of the tenant, whose answer is held like any other.
func (g *Registry) Changed(id uuid.UUID, revision int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	found, ok := g.tenants[id]
	if ok && found.Revision >= revision {
		return
	}
	for r := range g.readings[id] {
		r.heard = max(r.heard, revision)
	}
	clear(g.missing)
	if ok {
		g.forget(id)
	}
}

// Polls counts the polls that have ended: what they found has been acted on.
func (g *Registry) Polls() (succeeded, failed int64) { return g.polled.Load(), g.unpolled.Load() }

// Watch polls for changes until ctx is done. Its cost does not depend on the number of tenants. A poll also happens
// whenever wake receives, which is how a lost connection to Redis is made good.
func (g *Registry) Watch(ctx context.Context, wake <-chan struct{}) {
	var last time.Time
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		started := g.now()
		if asOf, err := g.poll(ctx, last); err == nil {
			g.mu.Lock()
			if last.IsZero() {
				// No poll has looked at the time in which it was read.
				clear(g.ids)
				clear(g.missing)
				clear(g.tenants)
			}
			last = asOf
			g.fresh = started.Add(staleAfter)
			g.mu.Unlock()
			g.polled.Add(1)
		} else if ctx.Err() == nil {
			g.unpolled.Add(1)
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

// poll reads what has changed since the poll before, which returned last; the zero time is before the first. It returns the
// moment it vouches for, by the clock of the database, which has dated the changes: ours may differ.
func (g *Registry) poll(ctx context.Context, last time.Time) (asOf time.Time, err error) {
	var page control.TenantsChangedParams
	for page.PageSize = pollPage; ; {
		var rows []control.TenantsChangedRow
		reading, cancel := context.WithTimeout(ctx, staleAfter) // A connection that is dead must not keep the next poll waiting.
		err := g.store.InPlatform(reading, func(ctx context.Context, tx *store.PlatformTx) (err error) {
			if asOf.IsZero() {
				if asOf, err = tx.Clock(ctx); err != nil {
					return err
				}
				if last.IsZero() {
					last = asOf
				}
				page.Since = last.Add(-pollOverlap)
			}
			rows, err = tx.TenantsChanged(ctx, page)
			return err
		})
		cancel()
		if err != nil {
			return time.Time{}, err
		}
		for _, r := range rows {
			g.Changed(r.ID, r.Revision)
		}
		if len(rows) < pollPage {
			return asOf, nil
		}
		end := rows[len(rows)-1]
		page.Since, page.After = end.UpdatedAt, end.ID
	}
}
