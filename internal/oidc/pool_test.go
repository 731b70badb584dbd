package oidc

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"parako/internal/telemetry"
	"parako/internal/tenant"
)

func tenants(n int) []tenant.Tenant {
	list := make([]tenant.Tenant, n)
	for i := range list {
		list[i] = tenant.Tenant{ID: uuid.New(), Revision: 1}
	}
	return list
}

// fakeBuild builds empty providers and watches what the pool promises.
type fakeBuild struct {
	pool    *Pool
	bound   int
	running sync.Map // tenant id → *atomic.Int32
	builds  atomic.Int64
	broken  atomic.Int64 // promises broken
	fail    atomic.Bool
}

var errBuild = errors.New("the build failed")

func (f *fakeBuild) build(_ context.Context, t tenant.Tenant) (*Provider, error) {
	n, _ := f.running.LoadOrStore(t.ID, new(atomic.Int32))
	counter, _ := n.(*atomic.Int32)
	if counter.Add(1) > 1 || f.pool.Len() > f.bound {
		f.broken.Add(1)
	}
	defer counter.Add(-1)
	f.builds.Add(1)
	if f.fail.Load() {
		return nil, errBuild
	}
	return &Provider{Tenant: t}, nil
}

func newFakePool(o PoolOptions, now func() time.Time) (*Pool, *fakeBuild) {
	f := &fakeBuild{bound: o.MaxSize}
	f.pool = NewPool(f.build, o, telemetry.NewMetrics(), now)
	return f.pool, f
}

// TestPoolUnderLoad asks for forty tenants from hundreds of goroutines while the pool holds five, and their revisions rise.
func TestPoolUnderLoad(t *testing.T) {
	t.Parallel()
	const bound = 5
	pool, f := newFakePool(PoolOptions{MaxSize: bound}, time.Now)
	known := tenants(40)
	revisions := make([]atomic.Int64, len(known))
	var all sync.WaitGroup
	for range 400 {
		all.Go(func() {
			for range 25 {
				i := rand.IntN(len(known))
				want := known[i]
				want.Revision = 1 + revisions[i].Load()
				if rand.IntN(10) == 0 {
					want.Revision = 1 + revisions[i].Add(1)
				}
				p, err := pool.Get(t.Context(), want)
				if err != nil || p.Tenant.ID != want.ID || p.Tenant.Revision < want.Revision {
					t.Errorf("Get(%v) = %v, %v", want, p, err)
				}
				if n := pool.Len(); n > bound {
					t.Errorf("the pool holds %d", n)
				}
			}
		})
	}
	all.Wait()
	if f.broken.Load() > 0 {
		t.Errorf("%d builds ran beside another of the same tenant, or beyond the bound", f.broken.Load())
	}
}

// TestPoolBuildsOnce lets many ask for a tenant that is being built.
func TestPoolBuildsOnce(t *testing.T) {
	t.Parallel()
	pool, f := newFakePool(PoolOptions{MaxSize: 2}, time.Now)
	one := tenants(1)[0]
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if _, err := pool.Get(t.Context(), one); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := f.builds.Load(); got != 1 {
		t.Errorf("%d builds", got)
	}
}

func TestPoolForgetsFailures(t *testing.T) {
	t.Parallel()
	pool, f := newFakePool(PoolOptions{MaxSize: 2}, time.Now)
	one := tenants(1)[0]
	f.fail.Store(true)
	if _, err := pool.Get(t.Context(), one); !errors.Is(err, errBuild) {
		t.Errorf("Get = %v, want the build's error", err)
	}
	f.fail.Store(false)
	if p, err := pool.Get(t.Context(), one); err != nil || p.Tenant.ID != one.ID {
		t.Errorf("Get after a failure = %v, %v", p, err)
	}
}

func TestPoolReplacesStaleProviders(t *testing.T) {
	t.Parallel()
	pool, f := newFakePool(PoolOptions{MaxSize: 2}, time.Now)
	one := tenants(1)[0]
	old, err := pool.Get(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	newer := one
	newer.Revision = 2
	fresh, err := pool.Get(t.Context(), newer)
	if err != nil || fresh == old || fresh.Tenant.Revision != 2 {
		t.Errorf("Get at revision 2 = %v, %v", fresh, err)
	}
	// Somebody who still knows the older revision gets the newer provider, not a rebuilt old one.
	if again, err := pool.Get(t.Context(), one); err != nil || again != fresh || f.builds.Load() != 2 {
		t.Errorf("Get at revision 1 = %v, %v after %d builds", again, err, f.builds.Load())
	}
}

// TestPoolWaitsForRoom fills the pool with builds that do not end, and has another tenant wait until one does.
func TestPoolWaitsForRoom(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	pool := NewPool(func(_ context.Context, t tenant.Tenant) (*Provider, error) {
		<-release
		return &Provider{Tenant: t}, nil
	}, PoolOptions{MaxSize: 1}, telemetry.NewMetrics(), time.Now)
	known := tenants(2)
	first := make(chan error)
	go func() {
		_, err := pool.Get(context.WithoutCancel(t.Context()), known[0])
		first <- err
	}()
	for pool.Len() == 0 {
		runtime.Gosched() // The build has begun when the entry is there.
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := pool.Get(gone, known[1]); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that went away got %v", err)
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if p, err := pool.Get(t.Context(), known[1]); err != nil || p.Tenant.ID != known[1].ID || pool.Len() != 1 {
		t.Errorf("Get = %v, %v with %d held", p, err, pool.Len())
	}
}

// TestPoolSweepsTheIdle moves the time: what was not used for the idle time goes, what was used stays, sweep after sweep.
func TestPoolSweepsTheIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pool, _ := newFakePool(PoolOptions{MaxSize: 10, IdleTTL: 30 * time.Minute, Sweep: time.Minute}, time.Now)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go pool.Run(ctx)
		known := tenants(3)
		for _, one := range known {
			if _, err := pool.Get(ctx, one); err != nil {
				t.Fatal(err)
			}
		}
		for range 40 {
			<-time.After(time.Minute) // of the bubble
			if _, err := pool.Get(ctx, known[0]); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := pool.Len(); got != 1 {
			t.Errorf("%d providers are held after 40 minutes, want the one in use", got)
		}
		<-time.After(2 * time.Hour)
		synctest.Wait()
		if got := pool.Len(); got != 0 {
			t.Errorf("%d providers are held after two idle hours", got)
		}
	})
}

// TestPoolEvictsTheLeastRecentlyUsed fills the pool in an order and looks at what goes first.
func TestPoolEvictsTheLeastRecentlyUsed(t *testing.T) {
	t.Parallel()
	pool, f := newFakePool(PoolOptions{MaxSize: 2}, time.Now)
	known := tenants(3)
	for _, i := range []int{0, 1, 0, 2, 0} { // 1 goes when 2 comes
		if _, err := pool.Get(t.Context(), known[i]); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.builds.Load(); got != 3 {
		t.Errorf("%d builds, want 3: the one in use was evicted", got)
	}
}

// TestPoolMetrics has each thing happen once or twice that a metric counts.
func TestPoolMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		metrics := telemetry.NewMetrics()
		fail := false
		pool := NewPool(func(_ context.Context, t tenant.Tenant) (*Provider, error) {
			<-time.After(20 * time.Millisecond) // of the bubble
			if fail {
				return nil, errBuild
			}
			return &Provider{Tenant: t}, nil
		}, PoolOptions{MaxSize: 2, IdleTTL: 30 * time.Minute, Sweep: time.Minute}, metrics, time.Now)
		known := tenants(3)
		get := func(one tenant.Tenant) error {
			_, err := pool.Get(t.Context(), one)
			return err
		}
		newer := known[2]
		newer.Revision = 2
		for _, one := range []tenant.Tenant{known[0], known[0], known[1], known[0], known[2], newer} {
			if err := get(one); err != nil {
				t.Fatal(err)
			}
		}
		fail = true
		if err := get(known[1]); !errors.Is(err, errBuild) { // for which known[0] makes room
			t.Fatal(err)
		}
		<-time.After(time.Hour)
		pool.sweep()
		synctest.Wait()
		w := httptest.NewRecorder()
		metrics.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		for _, want := range []string{
			"parako_provider_pool_capacity 2",
			"parako_provider_pool_size 0",
			"parako_provider_pool_hits_total 2",
			"parako_provider_pool_misses_total 5",
			`parako_provider_pool_builds_total{result="success"} 4`,
			`parako_provider_pool_builds_total{result="failure"} 1`,
			`parako_provider_pool_evictions_total{reason="lru"} 2`,
			`parako_provider_pool_evictions_total{reason="stale"} 1`,
			`parako_provider_pool_evictions_total{reason="idle"} 1`,
			"parako_provider_pool_build_duration_seconds_count 5",
			`parako_provider_pool_build_duration_seconds_bucket{le="0.01"} 0`,
			`parako_provider_pool_build_duration_seconds_bucket{le="0.025"} 5`,
		} {
			if !strings.Contains(w.Body.String(), want+"\n") {
				t.Errorf("no %s", want)
			}
		}
		if t.Failed() {
			t.Log(w.Body)
		}
	})
}
