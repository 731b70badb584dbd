package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"parako/internal/audit"
	"parako/internal/keyring"
	"parako/internal/oidc"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

// becomes sets the status of a tenant and waits until the server, which nobody tells, has noticed.
func becomes(t *testing.T, a *app.App, which app.Tenant, status tenant.Status) {
	t.Helper()
	if _, err := tenant.SetStatus(t.Context(), a.Store, which.Slug, status, "test"); err != nil {
		t.Fatal(err)
	}
	noticed(t, a, which, status == tenant.Active)
}

// noticed waits until the server serves the tenant, or does not serve it any more.
func noticed(t *testing.T, a *app.App, which app.Tenant, served bool) {
	t.Helper()
	for deadline := time.After(time.Minute); (app.Get(t, a.Client(t), which.Issuer+"/jwks").StatusCode == http.StatusOK) != served; {
		select {
		case <-deadline:
			t.Fatalf("the server does not notice what became of %s", which.Slug)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestSuspensionEndsWhatWasIssued suspends a tenant, and archives another, with something of every kind issued that could be
// used later. Nothing works meanwhile; what was issued before does not work afterwards either; people and clients do.
func TestSuspensionEndsWhatWasIssued(t *testing.T) {
	t.Parallel()
	a := registrar(t)
	for _, tt := range []struct {
		tenant, neighbour app.Tenant
		status            tenant.Status
	}{{a.Acme, a.Globex, tenant.Suspended}, {a.Globex, a.Acme, tenant.Archived}} {
		neighbours := newParty(t, a, tt.neighbour, tt.neighbour.Web)
		token := neighbours.tokens(t).text("access_token")
		issued := issueEverything(t, a, tt.tenant)
		becomes(t, a, tt.tenant, tt.status)
		issued.unserved(t)
		becomes(t, a, tt.tenant, tenant.Active)
		issued.dead(t)
		issued.startsAnew(t)
		if got := neighbours.userinfo(t, token); got.StatusCode != http.StatusOK {
			t.Errorf("%s is %s, and a token of its neighbour: %d %s", tt.tenant.Slug, tt.status, got.StatusCode, got.Text)
		}
	}
}

// TestSuspensionNobodyNoticed is over before any instance has heard of it. It ends what was issued all the same.
func TestSuspensionNobodyNoticed(t *testing.T) {
	t.Parallel()
	a := registrar(t)
	issued := issueEverything(t, a, a.Acme)
	for _, status := range []tenant.Status{tenant.Suspended, tenant.Active} {
		if _, err := tenant.SetStatus(t.Context(), a.Store, a.Acme.Slug, status, "test"); err != nil {
			t.Fatal(err)
		}
	}
	issued.dead(t)
}

// TestSameStatusEndsNothing makes an active tenant active.
func TestSameStatusEndsNothing(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	token := p.tokens(t).text("access_token")
	got, err := tenant.SetStatus(t.Context(), a.Store, a.Acme.Slug, tenant.Active, "test")
	if err != nil || got.Revision != a.Acme.Revision {
		t.Fatalf("SetStatus = %+v, %v", got, err)
	}
	if got := p.userinfo(t, token); got.StatusCode != http.StatusOK {
		t.Errorf("%d %s", got.StatusCode, got.Text)
	}
}

// estate is one of each that a tenant gives out and takes back later.
type estate struct {
	web, service, device, joined party

	tokens, opaque, signed reply
	granted                string // a JWT of a person
	code, pushed, form     string
	waiting, approved      reply
	registration           reply
	initial                oidc.RegistrationToken
	// expired is what the device that waits is told once nothing of this works.
	expired string
}

func issueEverything(t *testing.T, a *app.App, which app.Tenant) estate {
	t.Helper()
	web := webClient(t, a, which, func(n *oidc.NewClient) { n.AllowedResources, n.ResourcesScopes = []string{"urn:test:api"}, "read" })
	e := estate{expired: "expired_token", web: newParty(t, a, which, web), service: newParty(t, a, which, which.M2M), device: newDevice(t, a, which)}
	e.tokens = e.web.tokens(t, "scope", "openid offline_access")
	e.granted = e.web.tokens(t, "scope", "openid read", "resource", "urn:test:api").text("access_token")
	e.code = e.web.code(t)
	e.pushed = e.web.pushed(t)
	page := app.Get(t, e.device.browser, e.device.as(web).authorizeURL())
	e.form = page.Request.URL.String() + "/login"
	e.opaque = e.service.post(t, "/token", "grant_type", "client_credentials", "scope", "jobs:run")
	e.signed = e.service.post(t, "/token", "grant_type", "client_credentials", "resource", "urn:test:api")
	e.waiting, e.approved = e.device.begin(t), e.device.begin(t)
	newParty(t, a, which, e.device.client).approve(t, e.approved.text("user_code"))
	e.initial = e.web.initialToken(t)
	e.joined, e.registration = e.web.joined(t, e.initial.Token)
	for name, active := range e.introspected(t) {
		if !active {
			t.Errorf("the %s is not active before", name)
		}
	}
	return e
}

// introspected asks about every token whose client may ask.
func (e estate) introspected(t *testing.T) map[string]bool {
	t.Helper()
	active := map[string]bool{}
	for name, token := range map[string]string{"access token": e.tokens.text("access_token"), "refresh token": e.tokens.text("refresh_token"), "JWT of a person": e.granted} {
		active[name] = e.web.post(t, "/token/introspection", "token", token).body["active"] == true
	}
	for name, token := range map[string]string{"opaque token of a client": e.opaque.text("access_token"), "JWT of a client": e.signed.text("access_token")} {
		active[name] = e.service.post(t, "/token/introspection", "token", token).body["active"] == true
	}
	return active
}

// unserved expects that nothing is to be had from the tenant.
func (e estate) unserved(t *testing.T) {
	t.Helper()
	for name, active := range e.introspected(t) {
		if active {
			t.Errorf("the %s is active", name)
		}
	}
	stranger := newParty(t, e.web.App, e.web.tenant, oidc.Client{})
	if got := stranger.post(t, "/token/introspection", "token", "x"); got.StatusCode != http.StatusOK || strings.TrimSpace(got.Text) != `{"active":false}` {
		t.Errorf("introspection by anybody: %d %s", got.StatusCode, got.Text)
	}
	for name, resp := range map[string]app.Response{
		"discovery":                    app.Get(t, e.web.direct, e.web.tenant.Issuer+"/.well-known/openid-configuration"),
		"keys":                         app.Get(t, e.web.direct, e.web.tenant.Issuer+"/jwks"),
		"a login":                      e.web.authorize(t),
		"a login begun":                app.Post(t, e.device.step, e.form, url.Values{"identifier": {e.web.tenant.Email}, "password": {app.Password}}),
		"a code":                       e.web.redeem(t, e.code).Response,
		"a refresh":                    e.web.refresh(t, e.tokens.text("refresh_token")).Response,
		"userinfo":                     e.web.userinfo(t, e.tokens.text("access_token")).Response,
		"a client":                     e.service.post(t, "/token", "grant_type", "client_credentials").Response,
		"a device":                     e.device.poll(t, e.approved).Response,
		"a registration":               e.joined.manage(t, http.MethodGet, e.registration, e.registration.text("registration_access_token"), nil).Response,
		"introspection, asked wrongly": app.Get(t, e.web.direct, e.web.tenant.Issuer+"/token/introspection"),
		"the API":                      app.Get(t, e.web.direct, strings.TrimSuffix(e.web.tenant.Issuer, "/oidc/v1")+"/api/v1/users"),
	} {
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, resp.StatusCode, resp.Text)
		}
	}
}

// dead expects that nothing of what was issued works any more.
func (e estate) dead(t *testing.T) {
	t.Helper()
	for name, active := range e.introspected(t) {
		if active {
			t.Errorf("the %s is active again", name)
		}
	}
	if got := e.web.userinfo(t, e.tokens.text("access_token")); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("userinfo: %d %s", got.StatusCode, got.Text)
	}
	e.web.refused(t, "login_required", "prompt", "none")
	expect(t, e.web.redeem(t, e.code), http.StatusBadRequest, "invalid_grant")
	expect(t, e.web.refresh(t, e.tokens.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	expect(t, e.device.poll(t, e.waiting), http.StatusBadRequest, e.expired)
	if got := e.device.poll(t, e.approved); got.StatusCode != http.StatusBadRequest || got.text("access_token") != "" {
		t.Errorf("the device that was let in: %d %s", got.StatusCode, got.Text)
	}
	if got := newParty(t, e.web.App, e.web.tenant, e.device.client).enter(t, e.waiting.text("user_code")); strings.Contains(got.Text, `id="login-form"`) || strings.Contains(got.Text, `id="consent-form"`) {
		t.Errorf("the user code of a device leads on: %d %s", got.StatusCode, got.Text)
	}
	if got := app.Get(t, e.web.step, e.pushed); got.StatusCode != http.StatusBadRequest {
		t.Errorf("the pushed request: %d to %q", got.StatusCode, got.Header.Get("Location"))
	}
	login := app.Post(t, e.device.step, e.form, url.Values{"identifier": {e.web.tenant.Email}, "password": {app.Password}})
	if login.StatusCode < http.StatusBadRequest || len(login.Cookies()) > 0 {
		t.Errorf("the login begun before: %d %s", login.StatusCode, login.Header)
	}
}

// startsAnew expects that people and clients work, and what clients manage themselves with.
func (e estate) startsAnew(t *testing.T) {
	t.Helper()
	tokens := e.web.tokens(t, "scope", "openid offline_access")
	if got := e.web.userinfo(t, tokens.text("access_token")); got.StatusCode != http.StatusOK {
		t.Errorf("userinfo: %d %s", got.StatusCode, got.Text)
	}
	expect(t, e.web.refresh(t, tokens.text("refresh_token")), http.StatusOK, "")
	got := e.joined.manage(t, http.MethodGet, e.registration, e.registration.text("registration_access_token"), nil)
	if got.StatusCode != http.StatusOK {
		t.Errorf("the registration: %d %s", got.StatusCode, got.Text)
	}
	e.web.joined(t, e.initial.Token)
	opaque := e.service.post(t, "/token", "grant_type", "client_credentials", "scope", "jobs:run").text("access_token")
	// A JWT says when it was issued in whole seconds: one of the second in which the tenant came back is refused.
	e.web.Superuser(t, "UPDATE parako.tenants SET revoked_before = revoked_before - interval '2 seconds' WHERE id = $1", e.web.tenant.ID)
	signed := e.service.post(t, "/token", "grant_type", "client_credentials", "resource", "urn:test:api").text("access_token")
	for name, token := range map[string]string{"an opaque token": opaque, "a JWT": signed} {
		if got := e.service.post(t, "/token/introspection", "token", token); got.body["active"] != true {
			t.Errorf("%s issued since: %s", name, got.Text)
		}
	}
}

// TestIssuerOfItsOwn gives a tenant an issuer under its own host. Discovery says so, and tokens of the former one are not ours.
func TestIssuerOfItsOwn(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.M2M)
	old := p.post(t, "/token", "grant_type", "client_credentials", "resource", "urn:test:api").text("access_token")
	base, err := a.Config.BaseURL()
	if err != nil {
		t.Fatal(err)
	}
	issuer := "https://id.acme.example/login"
	if _, err := tenant.Update(t.Context(), a.Store, a.Acme.Slug, tenant.Changes{IssuerURL: &issuer, Base: base, Operator: "test"}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.After(time.Minute); ; {
		if strings.Contains(app.Get(t, p.direct, a.Acme.Issuer+"/.well-known/openid-configuration").Text, `"issuer":"`+issuer+`"`) {
			break
		}
		select {
		case <-deadline:
			t.Fatal("discovery does not name the new issuer")
		case <-time.After(10 * time.Millisecond):
		}
	}
	if got := p.post(t, "/token/introspection", "token", old); got.body["active"] != false {
		t.Errorf("a token of the former issuer: %s", got.Text)
	}
	fresh := p.post(t, "/token", "grant_type", "client_credentials", "resource", "urn:test:api").text("access_token")
	if iss := claimsOf(t, fresh)["iss"]; iss != issuer {
		t.Errorf("iss = %v", iss)
	}
	trail := a.DB.Ask(t, a.Acme.ID, "SELECT actor_id || ' ' || detail FROM parako.audit_events WHERE type = 'tenant.updated'")
	if len(trail) != 1 || trail[0] != `test {"issuer_url": "`+issuer+`"}` {
		t.Errorf("the trail: %v", trail)
	}
}

// TestDeletedTenant deletes a tenant at once. The server does it, leaves a certificate that the platform's key set verifies, and knows
// the tenant no more; its name leads to another only after it was released.
func TestDeletedTenant(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	tokens := newParty(t, a, a.Acme, a.Acme.Web).tokens(t)
	requested, err := tenant.RequestDeletion(t.Context(), a.Store, a.Acme.Slug, tenant.Deletion{Archive: true, Operator: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	answers := func(want int) {
		t.Helper()
		for deadline := time.After(time.Minute); app.Get(t, a.Client(t), a.Acme.Issuer+"/jwks").StatusCode != want; {
			select {
			case <-deadline:
				t.Fatalf("the server does not answer %d", want)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	answers(http.StatusNotFound)
	signed, err := tenant.Certificates(t.Context(), a.Store, a.Acme.ID.String())
	if err != nil || len(signed) != 1 {
		t.Fatalf("certificates = %q, %v", signed, err)
	}
	platform := strings.Replace(a.Acme.Issuer, "acme", tenant.PlatformsSlug, 1)
	ring, err := keyring.Public([]byte(app.Get(t, a.Client(t), platform+"/jwks").Text))
	if err != nil {
		t.Fatal(err)
	}
	text, err := ring.Verify(signed[0], tenant.CertificateType)
	if err != nil {
		t.Fatal(err)
	}
	var c tenant.Certificate
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	if c.TenantID != a.Acme.ID || c.RequestedBy != "alice" || c.Rows["users"] != 1 || c.Rows["clients"] != 3 || c.Rows["access_tokens"] != 1 || requested.DeleteAfter == nil {
		t.Errorf("certificate %s", text)
	}
	if err := tenant.Release(t.Context(), a.Store, a.Acme.Slug, "test"); err != nil {
		t.Fatal(err)
	}
	// Another tenant under the name has nothing of the first.
	second := a.AddTenant(t, a.Acme.Slug)
	answers(http.StatusOK)
	if got := newParty(t, a, second, second.Web).userinfo(t, tokens.text("access_token")); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token of the tenant that was deleted: %d %s", got.StatusCode, got.Text)
	}
}

// TestTokenOfADisabledClient disables a client that has a token which is stored nowhere, and asks as the resource that it is for.
func TestTokenOfADisabledClient(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	const resource = "urn:test:own"
	service := webClient(t, a, a.Acme, func(n *oidc.NewClient) {
		n.Preset, n.AllowedResources, n.ResourcesScopes, n.RedirectURIs = oidc.PresetM2M, []string{resource}, "read", nil
		n.PostLogoutRedirectURIs, n.Scope = nil, ""
	})
	asks := newParty(t, a, a.Acme, webClient(t, a, a.Acme, func(n *oidc.NewClient) { n.Audience = resource }))
	p := newParty(t, a, a.Acme, service)
	token := p.post(t, "/token", "grant_type", "client_credentials", "resource", resource, "scope", "read").text("access_token")
	for _, active := range []bool{true, false, true} {
		err := a.Store.InTenant(t.Context(), a.Acme.ID, func(ctx context.Context, tx *store.Tx) error {
			return oidc.SetClientActive(ctx, tx, service.ID, active, audit.Operator("test"))
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := asks.post(t, "/token/introspection", "token", token); got.body["active"] != active {
			t.Errorf("the client is active=%t, and its token: %s", active, got.Text)
		}
	}
}
