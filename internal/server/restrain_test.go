package server_test

import (
	"encoding/json"
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

// TestRateOfAnAddress uses up what Acme lets one address ask, and looks at the refusals in every form, and at who is not refused.
func TestRateOfAnAddress(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "security", `{"protection": {"rate_limiting": {"enabled": true, "requests_per_minute": 3, "window_minutes": 60}}}`)
	const busy, other = "192.0.2.1", "192.0.2.2"
	acme, globex := strings.TrimSuffix(a.Acme.Issuer, oidc.Mount), strings.TrimSuffix(a.Globex.Issuer, oidc.Mount)
	client := a.Client(t)
	var page app.Response
	for _, path := range []string{"/oidc/v1/.well-known/openid-configuration", "/oidc/v1/jwks", "/"} {
		if page = from(t, client, busy, http.MethodGet, acme+path, nil); page.StatusCode != http.StatusOK {
			t.Fatalf("%s is answered with %d", path, page.StatusCode)
		}
	}
	sheet := page.Text[strings.Index(page.Text, "/static/"):]
	sheet, _, _ = strings.Cut(sheet, `"`)

	credentials := url.Values{"grant_type": {"client_credentials"}}
	refused := map[string]app.Response{
		"application/json":         from(t, client, busy, http.MethodPost, acme+"/oidc/v1/token", credentials),
		"text/html":                from(t, client, busy, http.MethodGet, acme+"/oidc/v1/authorize", nil),
		"application/problem+json": from(t, client, busy, http.MethodGet, acme+"/api/v1/tenants", nil),
	}
	for media, got := range refused {
		wait, err := strconv.Atoi(got.Header.Get("Retry-After"))
		if got.StatusCode != http.StatusTooManyRequests || !strings.HasPrefix(got.Header.Get("Content-Type"), media) || err != nil || wait < 1 || wait > 20*60 {
			t.Errorf("%s is answered with %d %s, Retry-After %q", got.Request.URL.Path, got.StatusCode, got.Header.Get("Content-Type"), got.Header.Get("Retry-After"))
		}
		if policy, state := got.Header.Get("RateLimit-Policy"), got.Header.Get("RateLimit"); policy != "3;w=3600" || !strings.HasPrefix(state, "limit=3, remaining=0, reset=") {
			t.Errorf("%s: RateLimit-Policy %q, RateLimit %q", got.Request.URL.Path, policy, state)
		}
		if got.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: the refusal may be cached", got.Request.URL.Path)
		}
	}
	var oauth struct {
		Code string `json:"error"`
	}
	if err := json.Unmarshal([]byte(refused["application/json"].Text), &oauth); err != nil || oauth.Code != "temporarily_unavailable" {
		t.Errorf("the token endpoint answers %s", refused["application/json"].Text)
	}
	if text := refused["text/html"].Text; !strings.Contains(text, "Slow down a little") {
		t.Errorf("the page says\n%s", text)
	}
	var problem struct {
		Type  string `json:"type"`
		After int    `json:"retry_after"`
	}
	if err := json.Unmarshal([]byte(refused["application/problem+json"].Text), &problem); err != nil || problem.Type != "urn:parako:error:rate-limit-exceeded" || problem.After < 1 {
		t.Errorf("the API answers %s", refused["application/problem+json"].Text)
	}

	for name, served := range map[string]app.Response{
		"health":             from(t, client, busy, http.MethodGet, acme+"/health", nil),
		"a static file":      from(t, client, busy, http.MethodGet, acme+sheet, nil),
		"another address":    from(t, client, other, http.MethodGet, acme+"/oidc/v1/jwks", nil),
		"at another tenant":  from(t, client, busy, http.MethodGet, globex+"/oidc/v1/jwks", nil),
		"its next /64, IPv6": from(t, client, "2001:db8:0:1::1", http.MethodGet, acme+"/oidc/v1/jwks", nil),
	} {
		if served.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", name, served.StatusCode)
		}
	}
	if metrics := scrape(t, a); !strings.Contains(metrics, `parako_rate_limited_total{limit="requests"} 3`) {
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
		return from(t, client, address, http.MethodGet, of.Issuer+"/jwks", nil).StatusCode
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
