package server_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parako/internal/dbsqlc"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit"
	"parako/internal/testkit/app"
)

// serve hands a token request of a tenant's service to the handler, without a network.
func serveToken(tb testing.TB, a *app.App, of app.Tenant) *httptest.ResponseRecorder {
	tb.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {of.M2M.ID}, "client_secret": {of.M2M.Secret}}
	r := httptest.NewRequestWithContext(tb.Context(), http.MethodPost, of.Issuer+"/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	a.Server.Handler().ServeHTTP(w, r)
	return w
}

// errTakenBack rolls a transaction back.
var errTakenBack = errors.New("taken back")

// TestBusyTenantLeavesRoom locks a row that every token request of Acme needs. Its requests take their share and fill their queue, and
// those beyond are refused; Globex is served all the while. Afterwards what waited is served, too.
func TestBusyTenantLeavesRoom(t *testing.T) {
	t.Parallel()
	a := app.NewOn(t, testkit.NewDB(t).Direct()) // A place is a connection to PostgreSQL, of which the pooler of tests has fewer.
	a.Server.AnswerIn(time.Hour)
	for _, of := range []app.Tenant{a.Acme, a.Globex} {
		asPost(t, a, of)
		if w := serveToken(t, a, of); w.Code != http.StatusOK {
			t.Fatalf("%s answers %d %s", of.Slug, w.Code, w.Body)
		}
	}
	locked, unlock := make(chan struct{}), make(chan struct{})
	var holder, requests sync.WaitGroup
	holder.Go(func() {
		err := a.Store.InTenant(t.Context(), a.Acme.ID, func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.ClientDelete(ctx, dbsqlc.ClientDeleteParams{TenantID: tx.Tenant(), ID: a.Acme.M2M.ID})
			close(locked)
			<-unlock
			return errors.Join(err, errTakenBack)
		})
		if !errors.Is(err, errTakenBack) {
			t.Error(err)
		}
	})
	<-locked
	const many = 200
	var refused atomic.Int64
	var served atomic.Int64
	for range many {
		requests.Go(func() {
			w := serveToken(t, a, a.Acme)
			switch {
			case w.Code == http.StatusOK:
				served.Add(1)
			case w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), `"temporarily_unavailable"`):
				t.Errorf("Acme is answered with %d %v %s", w.Code, w.Header(), w.Body)
			default:
				refused.Add(1)
			}
		})
	}
	for inside, waiting := 0, 0; inside+waiting+int(refused.Load()) < many; inside, waiting = a.Server.Load() {
		if t.Context().Err() != nil {
			t.Fatal("they neither wait nor are refused")
		}
		if w := serveToken(t, a, a.Globex); w.Code != http.StatusOK {
			t.Fatalf("Globex is answered with %d %s", w.Code, w.Body)
		}
	}
	inside, waiting := a.Server.Load()
	if inside < 1 || waiting != 128 || refused.Load() != int64(many-inside-waiting) || served.Load() != 0 {
		t.Errorf("%d are being served, %d wait, %d were refused, %d are served", inside, waiting, refused.Load(), served.Load())
	}
	for range 20 {
		if w := serveToken(t, a, a.Globex); w.Code != http.StatusOK {
			t.Errorf("Globex is answered with %d %s", w.Code, w.Body)
		}
	}
	if metrics := scrape(t, a); !strings.Contains(metrics, `parako_requests{state="waiting"} 128`) ||
		!strings.Contains(metrics, `parako_rate_limited_total{limit="share"} `+strconv.FormatInt(refused.Load(), 10)) {
		t.Error("the metrics do not say so")
	}
	close(unlock)
	holder.Wait()
	requests.Wait()
	if int(served.Load()) != inside+waiting {
		t.Errorf("%d were served in the end, want %d", served.Load(), inside+waiting)
	}
}

// BenchmarkFairShare has Globex ask for a token twenty times a second, while Acme does nothing and while Acme asks fifty times as often,
// in turn. It reports the 95th percentile of the time that Globex waits in both cases, their ratio, and how many of Acme's requests
// were served. Both are handed to the handler, so that no network is measured along; the machine's other work is.
func BenchmarkFairShare(b *testing.B) {
	const quiet, busy = 20, 50 * 20 // in a second
	twenty := int32(quiet)
	for name, prepare := range map[string]func(b *testing.B, a *app.App){
		"undivided": func(_ *testing.B, a *app.App) { a.Server.Undivided() },
		"shares":    func(*testing.B, *app.App) {},
		"shares and a quota": func(b *testing.B, a *app.App) {
			b.Helper()
			if _, err := tenant.SetQuota(b.Context(), a.Store, a.Acme.Slug, tenant.Quota{RequestsPerSecond: &twenty}, nil, "test"); err != nil {
				b.Fatal(err)
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			a := app.New(b)
			prepare(b, a)
			for _, of := range []app.Tenant{a.Acme, a.Globex} {
				asPost(b, a, of)
				serveToken(b, a, of)
			}
			a.Superuser(b, "ANALYZE")
			var alone, beside []time.Duration
			var asked, served atomic.Int64
			for b.Loop() {
				alone = append(alone, paced(b, a, quiet)...)
				var noise sync.WaitGroup
				noise.Go(func() { storm(b, a, busy, &asked, &served) })
				beside = append(beside, paced(b, a, quiet)...)
				noise.Wait()
			}
			p95 := func(times []time.Duration) float64 {
				slices.Sort(times)
				return float64(times[len(times)*95/100].Microseconds()) / 1000
			}
			b.ReportMetric(p95(alone), "alone-p95-ms")
			b.ReportMetric(p95(beside), "beside-p95-ms")
			b.ReportMetric(p95(beside)/p95(alone), "ratio")
			b.ReportMetric(float64(served.Load())/float64(asked.Load()), "served-of-Acme")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// paced has Globex ask evenly for two seconds, and returns how long each request took, from when it was due.
func paced(b *testing.B, a *app.App, perSecond int) (took []time.Duration) {
	b.Helper()
	ticker := time.NewTicker(time.Second / time.Duration(perSecond))
	defer ticker.Stop()
	for range 2 * perSecond {
		due := <-ticker.C
		if w := serveToken(b, a, a.Globex); w.Code != http.StatusOK {
			b.Errorf("Globex is answered with %d %s", w.Code, w.Body)
		}
		took = append(took, time.Since(due))
	}
	return took
}

// storm has Acme ask evenly for two seconds, whether or not it is answered, and waits for the answers.
func storm(b *testing.B, a *app.App, perSecond int, asked, served *atomic.Int64) {
	b.Helper()
	var all sync.WaitGroup
	defer all.Wait()
	ticker := time.NewTicker(time.Second / time.Duration(perSecond))
	defer ticker.Stop()
	for begun := time.Now(); time.Since(begun) < 2*time.Second; <-ticker.C {
		asked.Add(1)
		all.Go(func() {
			if serveToken(b, a, a.Acme).Code == http.StatusOK {
				served.Add(1)
			}
		})
	}
}
