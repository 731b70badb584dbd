package server_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"parako/internal/oidc"
	"parako/internal/testkit/app"
)

// from sends a request in the name of an address, as a trusted proxy does.
func from(t *testing.T, client *http.Client, address, method, target string, form url.Values) app.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("X-Forwarded-For", address)
	return app.Do(t, client, r)
}

// TestRateOfAnAddress uses up what Acme lets one address ask, and looks at the refusal, and at what is not refused.
func TestRateOfAnAddress(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "security", `{"protection": {"rate_limiting": {"enabled": true, "requests_per_minute": 3, "window_minutes": 60}}}`)
	const busy, other = "192.0.2.1", "192.0.2.2"
	acme, globex := strings.TrimSuffix(a.Acme.Issuer, oidc.Mount), strings.TrimSuffix(a.Globex.Issuer, oidc.Mount)
	client := a.Client(t)
	var page app.Response
	for _, path := range []string{"/", "/", "/"} {
		if page = from(t, client, busy, http.MethodGet, acme+path, nil); page.StatusCode != http.StatusOK {
			t.Fatalf("%s is answered with %d", path, page.StatusCode)
		}
	}
	sheet := page.Text[strings.Index(page.Text, "/static/"):]
	sheet, _, _ = strings.Cut(sheet, `"`)

	refused := from(t, client, busy, http.MethodGet, acme+"/oidc/v1/authorize", nil)
	wait, err := strconv.Atoi(refused.Header.Get("Retry-After"))
	if refused.StatusCode != http.StatusTooManyRequests || !strings.Contains(refused.Text, "Slow down a little") || err != nil || wait < 1 || wait > 20*60 {
		t.Errorf("it is answered with %d, Retry-After %q\n%s", refused.StatusCode, refused.Header.Get("Retry-After"), refused.Text)
	}
	if policy, state := refused.Header.Get("RateLimit-Policy"), refused.Header.Get("RateLimit"); policy != "3;w=3600" || !strings.HasPrefix(state, "limit=3, remaining=0, reset=") {
		t.Errorf("RateLimit-Policy %q, RateLimit %q", policy, state)
	}
	if refused.Header.Get("Cache-Control") != "no-store" {
		t.Error("the refusal may be cached")
	}

	for name, served := range map[string]app.Response{
		"health":             from(t, client, busy, http.MethodGet, acme+"/health", nil),
		"a static file":      from(t, client, busy, http.MethodGet, acme+sheet, nil),
		"an application":     from(t, client, busy, http.MethodGet, acme+"/oidc/v1/jwks", nil),
		"another address":    from(t, client, other, http.MethodGet, acme+"/", nil),
		"at another tenant":  from(t, client, busy, http.MethodGet, globex+"/", nil),
		"its next /64, IPv6": from(t, client, "2001:db8:0:1::1", http.MethodGet, acme+"/", nil),
	} {
		if served.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", name, served.StatusCode)
		}
	}
	if metrics := scrape(t, a); !strings.Contains(metrics, `parako_rate_limited_total{limit="requests"} 1`) {
		t.Error("the refusals are not counted")
	}
}

// TestRateOfAnAddressTakesEffect changes the setting of a running tenant: at that tenant, and at no other.
func TestRateOfAnAddressTakesEffect(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	client := a.Client(t)
	const address = "192.0.2.1"
	status := func(of app.Tenant) int {
		t.Helper()
		return from(t, client, address, http.MethodGet, strings.TrimSuffix(of.Issuer, oidc.Mount)+"/", nil).StatusCode
	}
	until := func(of app.Tenant, want int) {
		t.Helper()
		for status(of) != want {
			if t.Context().Err() != nil {
				t.Fatal("it is not noticed")
			}
		}
	}
	until(a.Acme, http.StatusOK)
	until(a.Globex, http.StatusOK)
	a.Configure(t, a.Acme, "security", `{"protection": {"rate_limiting": {"enabled": true, "requests_per_minute": 1, "window_minutes": 60}}}`)
	until(a.Acme, http.StatusTooManyRequests)
	for range 5 {
		if got := status(a.Globex); got != http.StatusOK {
			t.Fatalf("at Globex, which has changed nothing: %d", got)
		}
	}
	a.Configure(t, a.Acme, "security", `{}`)
	until(a.Acme, http.StatusOK)
	a.ConfigurePlatform(t, "security", `{"protection": {"rate_limiting": {"enabled": true, "requests_per_minute": 1, "window_minutes": 60}}}`)
	until(a.Globex, http.StatusTooManyRequests)
	until(a.Acme, http.StatusTooManyRequests)
}
