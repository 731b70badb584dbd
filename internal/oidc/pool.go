package oidc

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"parako/internal/telemetry"
	"parako/internal/tenant"
)

// PoolOptions bound a pool.
type PoolOptions struct {
	// MaxSize is the most providers held, those being built included. Default 50.
	MaxSize int
	// IdleTTL is how long an unused provider is kept. Default 30 minutes.
	IdleTTL time.Duration
	// Sweep is how often unused providers are looked for. Default 60 s.
	Sweep time.Duration
}

// Pool holds the providers of the tenants that are in use. It never holds more than its bound, builds a tenant's provider
// once however many ask for it, and replaces it when the tenant's revision has risen. An evicted provider goes on serving
// the requests that hold it. A Pool is safe for concurrent use.
type Pool struct {
	build   func(context.Context, tenant.Tenant) (*Provider, error)
	o       PoolOptions
	metrics *telemetry.Metrics
	now     func() time.Time

	mu      sync.Mutex
	entries map[uuid.UUID]*list.Element // of *entry
	order   *list.List                  // most recently used first
	changed chan struct{}               // closed and replaced when a build ends
}

// entry is a provider or the promise of one. Its fields other than used are set before ready is closed.
type entry struct {
	tenant   tenant.Tenant // as the provider was built from it
	ready    chan struct{}
	provider *Provider
	err      error
	used     time.Time
}

func (e *entry) built() bool {
	select {
	case <-e.ready:
		return true
	default:
		return false
	}
}

// NewPool makes an empty pool that builds providers with build.
func NewPool(build func(context.Context, tenant.Tenant) (*Provider, error), o PoolOptions, metrics *telemetry.Metrics, now func() time.Time) *Pool {
	if o.MaxSize <= 0 {
		o.MaxSize = 50
	}
	if o.IdleTTL <= 0 {
		o.IdleTTL = 30 * time.Minute
	}
	if o.Sweep <= 0 {
		o.Sweep = time.Minute
	}
	metrics.PoolCapacity(o.MaxSize)
	return &Pool{
		build: build, o: o, metrics: metrics, now: now,
		entries: map[uuid.UUID]*list.Element{}, order: list.New(), changed: make(chan struct{}),
	}
}

// buildTimeout bounds a build, which runs on after the request that caused it has gone: others may wait for it.
const buildTimeout = 15 * time.Second

// Get returns the provider of t, at t's revision or a later one. It waits while another caller builds it, and while the
// pool is full of providers being built.
func (p *Pool) Get(ctx context.Context, t tenant.Tenant) (*Provider, error) {
	for first := true; ; first = false {
		e, wait := p.reserve(ctx, t, first)
		if e == nil {
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		select {
		case <-e.ready:
			return e.provider, e.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// reserve finds the tenant's entry or makes one and starts its build. Without room it returns a channel to wait on.
func (p *Pool) reserve(ctx context.Context, t tenant.Tenant, first bool) (*entry, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if el, ok := p.entries[t.ID]; ok {
		e := el.Value.(*entry) //nolint:forcetypeassert // The list holds nothing else.
		if !t.NewerThan(e.tenant) || !e.built() {
			e.used = p.now()
			p.order.MoveToFront(el)
			if first {
				p.metrics.PoolHit()
			}
			if t.NewerThan(e.tenant) {
				// An older revision is still being built: wait for it to end, then replace it.
				return nil, e.ready
			}
			return e, nil
		}
		p.remove(el, "stale")
	}
	if first {
		p.metrics.PoolMiss()
	}
	if len(p.entries) >= p.o.MaxSize && !p.evictOldest() {
		return nil, p.changed
	}
	e := &entry{tenant: t, ready: make(chan struct{}), used: p.now()}
	p.entries[t.ID] = p.order.PushFront(e)
	p.metrics.PoolSize(len(p.entries))
	go p.fill(context.WithoutCancel(ctx), e, t)
	return e, nil
}

func (p *Pool) fill(ctx context.Context, e *entry, t tenant.Tenant) {
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	started := p.now()
	e.provider, e.err = p.build(ctx, t)
	p.metrics.PoolBuilt(p.now().Sub(started), e.err)

	p.mu.Lock()
	defer p.mu.Unlock()
	close(e.ready)
	if e.err != nil {
		// A failure is told to those who waited and not remembered.
		if el, ok := p.entries[t.ID]; ok && el.Value == e {
			p.drop(el)
		}
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// evictOldest makes room by dropping the least recently used provider that is built.
func (p *Pool) evictOldest() bool {
	for el := p.order.Back(); el != nil; el = el.Prev() {
		if el.Value.(*entry).built() { //nolint:forcetypeassert // The list holds nothing else.
			p.remove(el, "lru")
			return true
		}
	}
	return false
}

func (p *Pool) remove(el *list.Element, reason string) {
	p.drop(el)
	p.metrics.PoolEvicted(reason)
}

func (p *Pool) drop(el *list.Element) {
	delete(p.entries, el.Value.(*entry).tenant.ID) //nolint:forcetypeassert // The list holds nothing else.
	p.order.Remove(el)
	p.metrics.PoolSize(len(p.entries))
}

// Len is how many providers are held or being built.
func (p *Pool) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.entries)
}

// UsedSince lists the tenants whose provider was asked for after the moment given.
func (p *Pool) UsedSince(moment time.Time) []tenant.Tenant {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []tenant.Tenant
	for el := p.order.Front(); el != nil; el = el.Next() {
		e := el.Value.(*entry) //nolint:forcetypeassert // The list holds nothing else.
		if e.used.Before(moment) {
			break // The rest were used earlier.
		}
		list = append(list, e.tenant)
	}
	return list
}

// Run drops unused providers until ctx is done.
func (p *Pool) Run(ctx context.Context) {
	ticker := time.NewTicker(p.o.Sweep)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			p.sweep()
		}
	}
}

func (p *Pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	deadline := p.now().Add(-p.o.IdleTTL)
	for el := p.order.Back(); el != nil; {
		e := el.Value.(*entry) //nolint:forcetypeassert // The list holds nothing else.
		if e.used.After(deadline) {
			return // The rest were used later.
		}
		newer := el.Prev()
		if e.built() {
			p.remove(el, "idle")
		}
		el = newer
	}
}
