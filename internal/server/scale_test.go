package server_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"parako/internal/oidc"
	"parako/internal/server"
	"parako/internal/tenant"
	"parako/internal/testkit"
	"parako/internal/testkit/app"
)

// BenchmarkTenants measures what could depend on the number of tenants, with 10, 1 000, 10 000 and 50 000 of them in turn in one
// database (docs/performance.md): run it with -benchtime 1x. Each figure is the median of several; cpu-ms are those of the server
// and its PostgreSQL together, and do not change when the machine is busy.
func BenchmarkTenants(b *testing.B) {
	a := app.New(b)
	asPost(b, a, a.Acme)
	base, err := a.Config.BaseURL()
	if err != nil {
		b.Fatal(err)
	}
	// Tenants that have their keys, so that a first request is what it costs to load one.
	var known []tenant.Tenant
	for i := range 20 {
		one, err := tenant.Create(b.Context(), a.Store, tenant.New{Slug: fmt.Sprintf("known%d", i), DisplayName: "Known"})
		if err != nil {
			b.Fatal(err)
		}
		app.Get(b, a.Client(b), one.Issuer(base, oidc.Mount)+"/jwks")
		known = append(known, one)
	}
	a.Stop(b)
	created := 0
	for _, n := range []int{10, 1_000, 10_000, 50_000} {
		a.Superuser(b, `
			WITH made AS (
			    INSERT INTO parako.tenants (id, slug, display_name, updated_at)
			    SELECT gen_random_uuid(), 'bulk-' || i, 'Bulk', now() - interval '1 hour' FROM generate_series($1::int, $2::int) AS i
			    RETURNING id, slug)
			INSERT INTO parako.tenant_locators (kind, name, tenant_id, verified_at)
			SELECT 'slug', slug, id, now() FROM made`, created+1, n)
		created = n
		a.Superuser(b, "UPDATE parako.tenants SET updated_at = now() - interval '1 hour'")
		a.Superuser(b, "VACUUM ANALYZE")
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				measureTenants(b, a, known, fmt.Sprintf("bulk-%d", n/2))
			}
		})
	}
}

// measured reports the median time and CPU time of something.
func measured(b *testing.B, what string, times int, do func(i int)) {
	b.Helper()
	var wall []float64
	before := testkit.CPUSeconds(b)
	for i := range times {
		began := time.Now()
		do(i)
		wall = append(wall, float64(time.Since(began).Microseconds())/1000)
	}
	cpu := (testkit.CPUSeconds(b) - before) * 1000 / float64(times)
	slices.Sort(wall)
	b.ReportMetric(wall[len(wall)/2], what+"-ms")
	b.ReportMetric(cpu, what+"-cpu-ms")
}

func heap() float64 {
	runtime.GC()
	runtime.GC() // What a finalizer held goes the second time.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func measureTenants(b *testing.B, a *app.App, known []tenant.Tenant, middle string) {
	b.Helper()
	base, err := a.Config.BaseURL()
	if err != nil {
		b.Fatal(err)
	}
	// start is an instance from nothing to ready.
	start := func() (s *server.Server, stop func()) {
		listener, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		s, err = server.New(b.Context(), server.Options{Config: a.Config, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), RedisCompat: true})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		ready, done := make(chan struct{}), make(chan error, 1)
		go func() { done <- s.Run(ctx, listener, nil, func() { close(ready) }) }()
		<-ready
		return s, func() {
			cancel()
			if err := <-done; err != nil {
				b.Error(err)
			}
			s.Close()
		}
	}
	ask := func(s *server.Server, issuer string, form url.Values) {
		target, method := issuer+"/jwks", http.MethodGet
		if form != nil {
			target, method = issuer+"/token", http.MethodPost
		}
		r := httptest.NewRequestWithContext(b.Context(), method, target, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = "127.0.0.1:1"
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatalf("%s: %d %s", target, w.Code, w.Body)
		}
	}

	measured(b, "start", 7, func(int) { _, stop := start(); stop() })
	empty := heap()
	s, stop := start()
	defer stop()
	at := heap()
	b.ReportMetric((at-empty)/1e6, "rest-MB")
	measured(b, "first", len(known), func(i int) { ask(s, known[i].Issuer(base, oidc.Mount), nil) })
	b.ReportMetric((heap()-at)/1e3/float64(len(known)), "pooled-kB")
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {a.Acme.M2M.ID}, "client_secret": {a.Acme.M2M.Secret}, "resource": {"urn:test:api"}, "scope": {"read"},
	}
	measured(b, "warm", 300, func(int) { ask(s, a.Acme.Issuer, form) })
	measured(b, "create", 20, func(i int) {
		slug := fmt.Sprintf("new-%s-%d", middle, i)
		if _, err := tenant.Create(b.Context(), a.Store, tenant.New{Slug: slug, DisplayName: "New"}); err != nil {
			b.Fatal(err)
		}
	})
	measured(b, "list", 20, func(int) {
		if _, err := tenant.List(b.Context(), a.Store, "", middle, 100); err != nil {
			b.Fatal(err)
		}
	})

	// A registry whose polls are those that are asked for.
	registry, wake := tenant.NewRegistry(a.Store, slog.New(slog.DiscardHandler), time.Now), make(chan struct{})
	ctx, cancel := context.WithCancel(b.Context())
	var watching sync.WaitGroup
	watching.Go(func() { registry.Watch(ctx, wake) })
	defer watching.Wait()
	defer cancel()
	wake <- struct{}{} // The first poll has ended when this is received.
	wake <- struct{}{}
	a.Superuser(b, "UPDATE parako.tenants SET updated_at = now() - interval '1 hour'")
	measured(b, "poll", 50, func(int) { wake <- struct{}{} }) // Each waits for the one before.
	a.Superuser(b, "UPDATE parako.tenants SET updated_at = now(), revision = revision + 1")
	measured(b, "bulk-poll", 5, func(int) { wake <- struct{}{} })
	a.Superuser(b, "UPDATE parako.tenants SET updated_at = now() - interval '1 hour'")
}
