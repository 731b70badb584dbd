package telemetry

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// scrape returns what /metrics serves, comments left out.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("GET /metrics: %d\n%s", w.Code, w.Body)
	}
	var series strings.Builder
	for line := range strings.Lines(w.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			series.WriteString(line)
		}
	}
	return series.String()
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	m := NewMetrics()
	m.ObserveRequest("GET", "/oidc/token", 200, 20*time.Millisecond)
	m.ObserveRequest("BREW", "", 1000, time.Second)
	m.PoolHit()
	m.PoolHit()
	m.PoolMiss()
	m.PoolBuilt(30*time.Millisecond, nil)
	m.PoolBuilt(time.Millisecond, errors.New("no keys"))
	m.PoolEvicted("lru")
	m.PoolEvicted("boredom")
	m.PoolSize(7)
	m.LoginAttempt(true, "password")
	m.LoginAttempt(false, "'; DROP TABLE users")
	m.TokenIssued("refresh_token")
	m.TokenIssued("x-made-up")
	m.TokenError("invalid_grant", "authorization_code")
	m.TokenError("made_up", "made_up")
	m.RateLimited("login-ip")
	m.RegisterRedis(func() bool { return true })
	m.RegisterDBStats(func() (total, idle, acquired int32) { return 10, 6, 3 })
	got := scrape(t, m)
	for _, want := range []string{
		`parako_http_request_duration_seconds_bucket{method="GET",route="/oidc/token",status_code="200",le="0.025"} 1`,
		`parako_http_request_duration_seconds_count{method="other",route="other",status_code="other"} 1`,
		`parako_provider_pool_hits_total 2`,
		`parako_provider_pool_misses_total 1`,
		`parako_provider_pool_builds_total{result="success"} 1`,
		`parako_provider_pool_builds_total{result="failure"} 1`,
		`parako_provider_pool_build_duration_seconds_count 2`,
		`parako_provider_pool_evictions_total{reason="lru"} 1`,
		`parako_provider_pool_evictions_total{reason="other"} 1`,
		`parako_provider_pool_size 7`,
		`parako_login_attempt_total{method="password",result="success"} 1`,
		`parako_login_attempt_total{method="other",result="failure"} 1`,
		`parako_token_issued_total{grant_type="refresh_token"} 1`,
		`parako_token_issued_total{grant_type="other"} 1`,
		`parako_token_error_total{error_type="invalid_grant",grant_type="authorization_code"} 1`,
		`parako_token_error_total{error_type="other",grant_type="other"} 1`,
		`parako_rate_limited_total{limit="login-ip"} 1`,
		`parako_redis_available 1`,
		`parako_db_pool_connections{state="idle"} 6`,
		`parako_db_pool_connections{state="acquired"} 3`,
		`parako_db_pool_connections{state="opening"} 1`,
		`parako_info{version="`,
		"\nprocess_start_time_seconds ",
		"\ngo_goroutines ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

func TestNothingClientsSendMakesSeries(t *testing.T) {
	t.Parallel()
	m := NewMetrics()
	send := func(i int) {
		made := fmt.Sprintf("made-up-%d", i)
		m.ObserveRequest(made, "", 600+i, time.Millisecond)
		m.LoginAttempt(false, made)
		m.TokenIssued(made)
		m.TokenError(made, made)
		m.PoolEvicted(made)
	}
	send(0)
	before := strings.Count(scrape(t, m), "\n")
	for i := range 1000 {
		send(i)
	}
	if after := strings.Count(scrape(t, m), "\n"); after != before {
		t.Errorf("1000 clients made %d series of %d", after, before)
	}
}

func TestRegistriesDoNotShare(t *testing.T) {
	t.Parallel()
	a, b := NewMetrics(), NewMetrics()
	a.PoolHit()
	if got := scrape(t, b); !strings.Contains(got, "parako_provider_pool_hits_total 0\n") {
		t.Errorf("a second Metrics sees the first one's count:\n%s", got)
	}
}
