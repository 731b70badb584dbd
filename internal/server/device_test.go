package server_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/oidc"
	"parako/internal/server"
	"parako/internal/testkit/app"
)

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// newDevice is a device of the tenant, with the preset's client, and a person's browser beside it.
func newDevice(t *testing.T, a *app.App, tenant app.Tenant, change ...func(*oidc.NewClient)) party {
	t.Helper()
	return newParty(t, a, tenant, deviceClient(t, a, tenant, change...))
}

func deviceClient(t *testing.T, a *app.App, tenant app.Tenant, change ...func(*oidc.NewClient)) oidc.Client {
	t.Helper()
	n := oidc.NewClient{
		ID: "device-" + uuid.NewString()[:8], Preset: oidc.PresetDevice, ClientMetadata: oidc.ClientMetadata{Name: "Television"},
	}
	for _, f := range change {
		f(&n)
	}
	return register(t, a, tenant, n)
}

// public is a device that does not authenticate.
func public(n *oidc.NewClient) { n.TokenEndpointAuthMethod = "none" }

// begin asks for codes.
func (p party) begin(t *testing.T, pairs ...string) reply {
	t.Helper()
	got := p.post(t, "/device/auth", append([]string{"scope", "openid offline_access"}, pairs...)...)
	expect(t, got, http.StatusOK, "")
	return got
}

// poll asks for tokens.
func (p party) poll(t *testing.T, begun reply, pairs ...string) reply {
	t.Helper()
	return p.do(t, p.formRequest(t.Context(), "/token", p.pollForm(begun, pairs...)))
}

func (party) pollForm(begun reply, pairs ...string) url.Values {
	return edit(url.Values{"grant_type": {deviceGrant}, "device_code": {begun.text("device_code")}}, pairs...)
}

// enter types a code in the browser and follows to the page after.
func (p party) enter(t *testing.T, code string) app.Response {
	t.Helper()
	return app.Post(t, p.browser, p.tenant.Issuer+"/device", url.Values{"user_code": {code}})
}

// toConsent enters a code and signs in where that is asked for.
func (p party) toConsent(t *testing.T, code string) app.Response {
	t.Helper()
	page := p.enter(t, code)
	if strings.Contains(page.Text, `id="login-form"`) {
		page = app.Post(t, p.browser, page.Request.URL.String()+"/login", url.Values{"identifier": {p.tenant.Email}, "password": {app.Password}})
	}
	if !strings.Contains(page.Text, `id="consent-form"`) {
		t.Fatalf("no consent page: %d %s\n%s", page.StatusCode, page.Request.URL, page.Text)
	}
	return page
}

// approve enters a code, signs in and agrees.
func (p party) approve(t *testing.T, code string) {
	t.Helper()
	page := app.Post(t, p.browser, p.toConsent(t, code).Request.URL.String()+"/confirm", nil)
	if page.StatusCode != http.StatusOK || !strings.Contains(page.Text, `id="device-done"`) {
		t.Fatalf("not connected: %d %s\n%s", page.StatusCode, page.Request.URL, page.Text)
	}
}

// connect begins, approves and fetches the tokens.
func (p party) connect(t *testing.T, pairs ...string) reply {
	t.Helper()
	begun := p.begin(t, pairs...)
	p.approve(t, begun.text("user_code"))
	got := p.poll(t, begun)
	expect(t, got, http.StatusOK, "")
	return got
}

// TestDeviceFlow connects a device of each tenant with the preset's client, from its first request to the tokens.
func TestDeviceFlow(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for _, tenant := range []app.Tenant{a.Acme, a.Globex} {
		for name, change := range map[string]func(*oidc.NewClient){"confidential": func(*oidc.NewClient) {}, "public": public} {
			t.Run(tenant.Slug+" "+name, func(t *testing.T) {
				p := newDevice(t, a, tenant, change)
				begun := p.begin(t, "scope", "openid profile email offline_access")
				code, typed := begun.text("device_code"), begun.text("user_code")
				if !regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$`).MatchString(typed) || !strings.HasPrefix(code, "parako_dc_") {
					t.Errorf("the codes are %q and %q", typed, code)
				}
				want := map[string]any{
					"device_code": code, "user_code": typed, "verification_uri": tenant.Issuer + "/device",
					"verification_uri_complete": tenant.Issuer + "/device?user_code=" + typed, "expires_in": 600.0, "interval": 5.0,
				}
				if diff := cmp.Diff(want, begun.body); diff != "" {
					t.Errorf("device authorization response mismatch (-want +got)\n%s", diff)
				}
				expect(t, p.poll(t, begun), http.StatusBadRequest, "authorization_pending")
				p.approve(t, typed)
				tokens := p.poll(t, begun)
				expect(t, tokens, http.StatusOK, "")
				if tokens.text("token_type") != "Bearer" || tokens.text("scope") != "openid profile email offline_access" || !lasts(tokens, 3600) {
					t.Errorf("token response: %s", tokens.Text)
				}
				id := p.verified(t, "JWT", tokens.text("id_token"))
				var names []string
				for name := range id {
					names = append(names, name)
				}
				if diff := cmp.Diff([]string{"acr", "amr", "at_hash", "aud", "auth_time", "exp", "iat", "iss", "sid", "sub"}, sorted(names)); diff != "" {
					t.Errorf("ID token claims mismatch (-want +got)\n%s", diff)
				}
				if id["sub"] != tenant.User.ID.String() || id["aud"] != p.client.ID || id["acr"] != "urn:pwd" {
					t.Errorf("ID token: %v", id)
				}
				if info := p.userinfo(t, tokens.text("access_token")); info.text("email") != tenant.Email || info.text("sub") != id["sub"] {
					t.Errorf("userinfo: %s", info.Text)
				}
				refreshed := p.refresh(t, tokens.text("refresh_token"))
				expect(t, refreshed, http.StatusOK, "")
				if again := p.verified(t, "JWT", refreshed.text("id_token")); again["sid"] != id["sid"] || again["auth_time"] != id["auth_time"] {
					t.Errorf("ID token after a refresh: %v, before %v", again, id)
				}

				// A second redemption fails, and ends what the first gave.
				expect(t, p.poll(t, begun), http.StatusBadRequest, "invalid_grant")
				if p.alive(t, tokens.text("access_token")) || p.alive(t, refreshed.text("access_token")) {
					t.Error("an access token survived the reuse of its device code")
				}
				expect(t, p.refresh(t, refreshed.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
				expect(t, p.poll(t, begun), http.StatusBadRequest, "invalid_grant")
			})
		}
	}
}

func TestDeviceAuthorizationRefusals(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newDevice(t, a, a.Acme, func(n *oidc.NewClient) {
		n.AllowedResources, n.ResourcesScopes = []string{"urn:test:api"}, "read"
	})
	wrong := p.client
	wrong.Secret = "wrong"
	for name, tt := range map[string]struct {
		got    reply
		status int
		code   string
	}{
		"a wrong secret":                 {p.as(wrong).post(t, "/device/auth"), 401, "invalid_client"},
		"no secret":                      {p.post(t, "/device/auth", "client_secret", ""), 401, "invalid_client"},
		"an unknown client":              {p.as(oidc.Client{ID: "nobody", ClientMetadata: oidc.ClientMetadata{TokenEndpointAuthMethod: "none"}}).post(t, "/device/auth"), 401, "invalid_client"},
		"another tenant's client":        {newDevice(t, a, a.Globex).as(p.client).post(t, "/device/auth"), 401, "invalid_client"},
		"a client without the grant":     {p.as(a.Acme.Web).post(t, "/device/auth"), 400, "unauthorized_client"},
		"a scope it is not allowed":      {p.post(t, "/device/auth", "scope", "openid phone"), 400, "invalid_scope"},
		"a scope of nobody":              {p.post(t, "/device/auth", "scope", "\xff"), 400, "invalid_scope"},
		"a scope of a resource, alone":   {p.post(t, "/device/auth", "scope", "read"), 400, "invalid_scope"},
		"a resource it is not allowed":   {p.post(t, "/device/auth", "resource", "urn:other:api"), 400, "invalid_target"},
		"the secret in the query":        {p.post(t, "/device/auth?client_secret=x"), 400, "invalid_request"},
		"a device code in the query":     {p.post(t, "/token?device_code=x", "grant_type", deviceGrant), 400, "invalid_request"},
		"a scope twice":                  {p.do(t, p.formRequest(t.Context(), "/device/auth", url.Values{"scope": {"openid", "email"}})), 400, "invalid_request"},
		"its scopes and its resource":    {p.post(t, "/device/auth", "scope", "openid read", "resource", "urn:test:api"), 200, ""},
		"nothing":                        {p.post(t, "/device/auth"), 200, ""},
		"the token endpoint, no grant":   {p.as(a.Acme.Web).post(t, "/token", "grant_type", deviceGrant, "device_code", "x"), 400, "unauthorized_client"},
		"the token endpoint, no code":    {p.post(t, "/token", "grant_type", deviceGrant), 400, "invalid_grant"},
		"the token endpoint, of garbage": {p.post(t, "/token", "grant_type", deviceGrant, "device_code", "parako_dc_a.b"), 400, "invalid_grant"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, tt.got, tt.status, tt.code)
		})
	}
	t.Run("a client that was switched off", func(t *testing.T) {
		off := newDevice(t, a, a.Acme)
		begun := off.begin(t)
		a.Superuser(t, "UPDATE parako.clients SET active = false WHERE id = $1", off.client.ID)
		expect(t, off.post(t, "/device/auth"), http.StatusUnauthorized, "invalid_client")
		expect(t, off.poll(t, begun), http.StatusUnauthorized, "invalid_client")
		if page := off.enter(t, begun.text("user_code")); page.StatusCode != http.StatusBadRequest || !strings.Contains(page.Text, `id="device-error"`) {
			t.Errorf("its user code: %d %s", page.StatusCode, page.Text)
		}
	})
	t.Run("a client that lost its scope", func(t *testing.T) {
		less := newDevice(t, a, a.Acme)
		begun, other := less.begin(t, "scope", "openid email"), less.begin(t)
		page := less.toConsent(t, begun.text("user_code"))
		a.Superuser(t, "UPDATE parako.clients SET scope = 'openid' WHERE id = $1", less.client.ID)
		if got := app.Post(t, less.browser, page.Request.URL.String()+"/confirm", nil); got.StatusCode != http.StatusBadRequest || strings.Contains(got.Text, "device-done") {
			t.Errorf("consent to what it may not have: %d", got.StatusCode)
		}
		if page := less.enter(t, begun.text("user_code")); page.StatusCode != http.StatusBadRequest {
			t.Errorf("its user code: %d", page.StatusCode)
		}
		less.approve(t, other.text("user_code"))
	})
}

// TestDeviceFlowSwitchedOff asks a tenant that has none.
func TestDeviceFlowSwitchedOff(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	client := deviceClient(t, a, a.Acme)
	a.Configure(t, a.Acme, "features", `{"oidc":{"device_flow":{"enabled":false}}}`)
	p := newParty(t, a, a.Acme, client)
	if got := app.Post(t, p.direct, a.Acme.Issuer+"/device/auth", url.Values{"client_id": {client.ID}, "client_secret": {client.Secret}}); got.StatusCode != http.StatusNotFound ||
		got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("device authorization endpoint: %d %s", got.StatusCode, got.Text)
	}
	expect(t, p.post(t, "/token", "grant_type", deviceGrant, "device_code", "x"), http.StatusBadRequest, "unsupported_grant_type")
	for _, path := range []string{"/device", "/device/done", "/device/denied"} {
		if got := app.Get(t, p.direct, a.Acme.Issuer+path); got.StatusCode != http.StatusNotFound || !strings.Contains(got.Text, `id="error-title"`) {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.Text)
		}
	}
	if got := p.enter(t, "BCDF-GHJK"); got.StatusCode != http.StatusNotFound {
		t.Errorf("a code: %d", got.StatusCode)
	}
	if document := app.Get(t, p.direct, a.Acme.Issuer+"/.well-known/openid-configuration").Text; strings.Contains(document, "device") {
		t.Errorf("discovery: %s", document)
	}
}

// polledAgo moves the last request for tokens into the past.
func (p party) polledAgo(t *testing.T, begun reply, d time.Duration) {
	t.Helper()
	p.Superuser(t, "UPDATE parako.device_codes SET polled_at = now() - make_interval(secs => $2) WHERE id = $1", rowID(begun.text("device_code")), d.Seconds())
}

// hasToWait makes the client wait so long between two requests that no busy machine does by itself.
func (p party) hasToWait(t *testing.T, begun reply) {
	t.Helper()
	p.Superuser(t, "UPDATE parako.device_codes SET interval_seconds = $2 WHERE id = $1", rowID(begun.text("device_code")), longWait)
}

const longWait = 3600

// interval is how many seconds the client has to wait between two requests.
func (p party) interval(t *testing.T, begun reply) string {
	t.Helper()
	return p.DB.Ask(t, p.tenant.ID, "SELECT interval_seconds::text FROM parako.device_codes WHERE id = $1", rowID(begun.text("device_code")))[0]
}

func TestDevicePolling(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newDevice(t, a, a.Acme)
	const pending, slow = "authorization_pending", "slow_down"
	says := func(t *testing.T, begun reply, code string) {
		t.Helper()
		expect(t, p.poll(t, begun), http.StatusBadRequest, code)
	}
	t.Run("too soon makes the interval longer", func(t *testing.T) {
		begun := p.begin(t)
		says(t, begun, pending)
		for _, want := range []string{"10", "15", "20"} {
			p.polledAgo(t, begun, -time.Minute) // However slow the machine is, this is too soon.
			says(t, begun, slow)
			if got := p.interval(t, begun); got != want {
				t.Errorf("the client has to wait %s seconds, want %s", got, want)
			}
		}
		p.polledAgo(t, begun, 19500*time.Millisecond)
		says(t, begun, pending)
		p.polledAgo(t, begun, 20*time.Second)
		says(t, begun, pending)
		p.hasToWait(t, begun)
		p.polledAgo(t, begun, longWait*time.Second/2)
		says(t, begun, slow)
		// The answer is there at once, however often it is asked for.
		p.approve(t, begun.text("user_code"))
		expect(t, p.poll(t, begun), http.StatusOK, "")
	})
	t.Run("a client that waits is not slowed down", func(t *testing.T) {
		begun := p.begin(t)
		for range 3 {
			says(t, begun, pending)
			p.polledAgo(t, begun, 5*time.Second)
		}
	})
	t.Run("two instances count together", func(t *testing.T) {
		second, err := server.New(t.Context(), server.Options{Config: a.Config, Log: slog.New(slog.DiscardHandler), RedisCompat: true})
		if err != nil {
			t.Fatal(err)
		}
		listener := httptest.NewServer(second.Handler())
		t.Cleanup(func() { listener.Close(); second.Close() })
		begun := p.begin(t)
		p.hasToWait(t, begun)
		says(t, begun, pending)
		r := p.formRequest(t.Context(), "/token", p.pollForm(begun))
		r.Host, r.URL.Host = r.URL.Host, strings.TrimPrefix(listener.URL, "http://")
		other := p
		other.direct = listener.Client()
		expect(t, other.do(t, r), http.StatusBadRequest, slow)
	})
	t.Run("many at once", func(t *testing.T) {
		begun := p.begin(t)
		p.hasToWait(t, begun)
		count := map[string]int{}
		for _, r := range p.together(t, func() *http.Request { return p.formRequest(t.Context(), "/token", p.pollForm(begun)) }) {
			count[r.text("error")]++
		}
		if diff := cmp.Diff(map[string]int{pending: 1, slow: racers - 1}, count); diff != "" {
			t.Errorf("answers mismatch (-want +got)\n%s", diff)
		}
		if got, want := p.interval(t, begun), fmt.Sprint(longWait+5*(racers-1)); got != want {
			t.Errorf("the client has to wait %s seconds, want %s", got, want)
		}
	})
	t.Run("expired", func(t *testing.T) {
		begun, late := p.begin(t), p.begin(t)
		p.approve(t, late.text("user_code"))
		for _, code := range []reply{begun, late} {
			a.Superuser(t, "UPDATE parako.device_codes SET expires_at = now() WHERE id = $1", rowID(code.text("device_code")))
			says(t, code, "expired_token")
			says(t, code, "expired_token")
		}
	})
	t.Run("another client's", func(t *testing.T) {
		begun := p.begin(t)
		other := newDevice(t, a, a.Acme)
		expect(t, other.poll(t, begun), http.StatusBadRequest, "invalid_grant")
		p.approve(t, begun.text("user_code"))
		expect(t, other.poll(t, begun), http.StatusBadRequest, "invalid_grant")
		tokens := p.poll(t, begun)
		expect(t, tokens, http.StatusOK, "")
		expect(t, other.poll(t, begun), http.StatusBadRequest, "invalid_grant")
		if !p.alive(t, tokens.text("access_token")) {
			t.Error("another client ended the grant")
		}
	})
	t.Run("another tenant's", func(t *testing.T) {
		own, foreign := newDevice(t, a, a.AddTenant(t, "hooli")), newDevice(t, a, a.Globex)
		waits, admitted := own.begin(t), own.begin(t)
		own.approve(t, admitted.text("user_code"))
		before := rowsOf(t, a, own.tenant)
		expect(t, foreign.poll(t, waits), http.StatusBadRequest, "invalid_grant")
		expect(t, foreign.poll(t, admitted), http.StatusBadRequest, "invalid_grant")
		if page := foreign.enter(t, waits.text("user_code")); page.StatusCode != http.StatusBadRequest || !strings.Contains(page.Text, `id="device-error"`) {
			t.Errorf("its user code: %d", page.StatusCode)
		}
		if rowsOf(t, a, own.tenant) != before {
			t.Error("another tenant has changed rows")
		}
		expect(t, own.poll(t, waits), http.StatusBadRequest, pending)
		expect(t, own.poll(t, admitted), http.StatusOK, "")
	})
	t.Run("changed", func(t *testing.T) {
		begun := p.begin(t)
		code := begun.text("device_code")
		for _, wrong := range []string{code + "x", code[:len(code)-1], strings.Replace(code, "parako_dc_", "parako_ac_", 1), "\x00", strings.ToUpper(code)} {
			expect(t, p.poll(t, begun, "device_code", wrong), http.StatusBadRequest, "invalid_grant")
		}
		expect(t, p.redeem(t, code), http.StatusBadRequest, "unauthorized_client")
	})
	t.Run("of a person who was disabled since", func(t *testing.T) {
		own := newDevice(t, a, a.AddTenant(t, "initech"))
		begun := own.begin(t)
		own.approve(t, begun.text("user_code"))
		a.Superuser(t, "UPDATE parako.users SET account_enabled = false WHERE id = $1", own.tenant.User.ID)
		expect(t, own.poll(t, begun), http.StatusBadRequest, "invalid_grant")
		a.Superuser(t, "UPDATE parako.users SET account_enabled = true WHERE id = $1", own.tenant.User.ID)
		expect(t, own.poll(t, begun), http.StatusOK, "")
	})
	t.Run("of a person who signed out since", func(t *testing.T) {
		own := newParty(t, a, a.Acme, p.client)
		bound, offline := own.begin(t, "scope", "openid"), own.begin(t)
		own.approve(t, bound.text("user_code"))
		own.approve(t, offline.text("user_code"))
		own.confirm(t, own.endSession(t))
		expect(t, own.poll(t, bound), http.StatusBadRequest, "invalid_grant")
		expect(t, own.poll(t, offline), http.StatusOK, "")
	})
}

// TestDevicePollingWithoutRedis takes Redis away: whoever asks too often is still told.
func TestDevicePollingWithoutRedis(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newDevice(t, a, a.Acme)
	begun := p.begin(t)
	p.hasToWait(t, begun)
	a.Redis.Close()
	expect(t, p.poll(t, begun), http.StatusBadRequest, "authorization_pending")
	expect(t, p.poll(t, begun), http.StatusBadRequest, "slow_down")
	for range 5 {
		if page := p.enter(t, "BCDF-GHJK"); page.StatusCode != http.StatusBadRequest {
			t.Fatalf("a wrong code: %d", page.StatusCode)
		}
	}
	if page := p.enter(t, "BCDF-GHJK"); page.StatusCode != http.StatusTooManyRequests {
		t.Errorf("one wrong code too many: %d", page.StatusCode)
	}
}
