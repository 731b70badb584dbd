package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

// bound sets the quota of a tenant.
func bound(t *testing.T, a *app.App, of app.Tenant, q tenant.Quota) {
	t.Helper()
	if _, err := tenant.SetQuota(t.Context(), a.Store, of.Slug, q, nil, "test"); err != nil {
		t.Fatal(err)
	}
}

// TestQuotaOfClients has more applications register themselves at once than there is room for, in one of two tenants.
func TestQuotaOfClients(t *testing.T) {
	t.Parallel()
	a := registrar(t)
	const room, more = 2, 6
	most := int32(3 + room) // Each tenant has three already.
	bound(t, a, a.Acme, tenant.Quota{Clients: &most})
	for of, refusals := range map[*app.Tenant]int{&a.Acme: more - room, &a.Globex: 0} {
		p := newParty(t, a, *of, of.Web)
		token := p.initialToken(t).Token
		answers := make([]reply, more)
		var wait sync.WaitGroup
		for i := range answers {
			wait.Go(func() {
				answers[i] = p.introduce(t, token)
			})
		}
		wait.Wait()
		refused := 0
		for _, got := range answers {
			switch {
			case got.StatusCode == http.StatusCreated:
			case got.StatusCode == http.StatusBadRequest && got.text("error") == "quota_clients" &&
				got.text("error_description") == "The tenant has reached its quota of 5 clients. Ask the platform's administrator to raise it.":
				refused++
			default:
				t.Errorf("%s answers %d %s", of.Slug, got.StatusCode, got.Text)
			}
		}
		if refused != refusals {
			t.Errorf("%s refused %d, want %d", of.Slug, refused, refusals)
		}
	}
	if metrics := scrape(t, a); !strings.Contains(metrics, `parako_quota_refused_total{quota="clients"} 4`) {
		t.Error("the refusals are not counted")
	}
}

// TestQuotaOfSessionsAtSignIn lets one person sign in at Acme and not a second browser, until the first has signed out.
func TestQuotaOfSessionsAtSignIn(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	one := int32(1)
	bound(t, a, a.Acme, tenant.Quota{Sessions: &one})
	first := newParty(t, a, a.Acme, webClient(t, a, a.Acme))
	first.code(t)
	late := newParty(t, a, a.Acme, first.client)
	login := late.shows(t, "login-form")
	credentials := url.Values{"identifier": {a.Acme.Email}, "password": {app.Password}}
	for range 7 { // More than may fail: it is no failed login.
		got := app.Post(t, late.browser, login.Request.URL.String()+"/login", credentials)
		if got.StatusCode != http.StatusConflict || !strings.Contains(got.Text, "No more room") || !strings.Contains(got.Text, "quota_sessions") {
			t.Fatalf("a sign-in beyond the quota is answered with %d\n%s", got.StatusCode, got.Text)
		}
	}
	trail := a.DB.Ask(t, a.Acme.ID, "SELECT DISTINCT detail->>'reason' FROM parako.audit_events WHERE type = 'login.failed'")
	if len(trail) != 1 || trail[0] != "quota_sessions" {
		t.Errorf("the trail says %v", trail)
	}
	other := newParty(t, a, a.Globex, webClient(t, a, a.Globex))
	other.code(t)
	newParty(t, a, a.Globex, other.client).code(t)
	if got := first.answer(t, first.authorize(t, "prompt", "none")).Get("error"); got != "" {
		t.Errorf("whoever was first: %q", got)
	}
	a.Superuser(t, "UPDATE parako.sessions SET ended_at = now() WHERE tenant_id = $1", a.Acme.ID)
	late.code(t)
}

// TestQuotaOfRequests bounds the requests of Acme while the server runs, and takes that back.
func TestQuotaOfRequests(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	client := a.Client(t)
	until := func(want int) app.Response {
		t.Helper()
		for {
			got := app.Get(t, client, a.Acme.Issuer+"/jwks")
			if got.StatusCode == want {
				return got
			}
			if t.Context().Err() != nil {
				t.Fatal("it is not noticed")
			}
		}
	}
	until(http.StatusOK)
	one, none := int32(1), int32(tenant.Unlimited)
	bound(t, a, a.Acme, tenant.Quota{RequestsPerSecond: &one})
	refused := until(http.StatusTooManyRequests)
	if refused.Header.Get("Retry-After") != "1" || refused.Header.Get("RateLimit-Policy") != "10;w=10" || !strings.Contains(refused.Text, "quota of requests") {
		t.Errorf("the refusal is %v %s", refused.Header, refused.Text)
	}
	for media, path := range map[string]string{
		"application/json": "/oidc/v1/token", "text/html": "/oidc/v1/authorize", "application/problem+json": "/api/v1/tenants",
	} {
		got := refused
		for got.Request.URL.Path != path || got.StatusCode != http.StatusTooManyRequests {
			got = app.Get(t, client, strings.TrimSuffix(a.Acme.Issuer, "/oidc/v1")+path)
		}
		for _, part := range map[string][]string{
			"application/json": {`"error":"temporarily_unavailable"`}, "text/html": {"<h1"},
			"application/problem+json": {`"type":"urn:parako:error:quota-requests"`, `"retry_after":1`},
		}[media] {
			if !strings.HasPrefix(got.Header.Get("Content-Type"), media) || !strings.Contains(got.Text, part) || got.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s is answered with %v %s", path, got.Header, got.Text)
			}
		}
	}
	for range 20 { // Twice the burst.
		if got := app.Get(t, client, a.Globex.Issuer+"/jwks").StatusCode; got != http.StatusOK {
			t.Fatalf("Globex, which has no quota, answers %d", got)
		}
	}
	if got := app.Get(t, client, strings.TrimSuffix(a.Acme.Issuer, "/oidc/v1")+"/health").StatusCode; got != http.StatusOK {
		t.Errorf("health is answered with %d", got)
	}
	bound(t, a, a.Acme, tenant.Quota{RequestsPerSecond: &none})
	for inARow := 0; inARow < 50; inARow++ { // Five times the burst.
		if app.Get(t, client, a.Acme.Issuer+"/jwks").StatusCode != http.StatusOK {
			inARow = 0
		}
		if t.Context().Err() != nil {
			t.Fatal("it is not noticed")
		}
	}
}
