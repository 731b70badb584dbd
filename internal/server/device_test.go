package server_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/cache"
	"parako/internal/config"
	"parako/internal/oidc"
	"parako/internal/problem"
	"parako/internal/ratelimit"
	"parako/internal/secret"
	"parako/internal/server"
	"parako/internal/settings"
	"parako/internal/store"
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
				t.Parallel()
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
			t.Parallel()
			expect(t, tt.got, tt.status, tt.code)
		})
	}
	t.Run("a client that was switched off", func(t *testing.T) {
		t.Parallel()
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
		t.Parallel()
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
		t.Parallel()
		begun := p.begin(t)
		says(t, begun, pending)
		says(t, begun, slow) // 10 seconds from now on
		p.polledAgo(t, begun, 6*time.Second)
		says(t, begun, slow) // 15
		p.polledAgo(t, begun, 11*time.Second)
		says(t, begun, slow) // 20
		p.polledAgo(t, begun, 19500*time.Millisecond)
		says(t, begun, pending)
		p.polledAgo(t, begun, 20*time.Second)
		says(t, begun, pending)
		// The answer is there at once, however often it is asked for.
		p.approve(t, begun.text("user_code"))
		expect(t, p.poll(t, begun), http.StatusOK, "")
	})
	t.Run("a client that waits is not slowed down", func(t *testing.T) {
		t.Parallel()
		begun := p.begin(t)
		for range 3 {
			says(t, begun, pending)
			p.polledAgo(t, begun, 5*time.Second)
		}
	})
	t.Run("two instances count together", func(t *testing.T) {
		t.Parallel()
		second, err := server.New(t.Context(), server.Options{Config: a.Config, Log: slog.New(slog.DiscardHandler), RedisCompat: true})
		if err != nil {
			t.Fatal(err)
		}
		listener := httptest.NewServer(second.Handler())
		t.Cleanup(func() { listener.Close(); second.Close() })
		begun := p.begin(t)
		says(t, begun, pending)
		r := p.formRequest(t.Context(), "/token", p.pollForm(begun))
		r.Host, r.URL.Host = r.URL.Host, strings.TrimPrefix(listener.URL, "http://")
		other := p
		other.direct = listener.Client()
		expect(t, other.do(t, r), http.StatusBadRequest, slow)
	})
	t.Run("many at once", func(t *testing.T) {
		t.Parallel()
		begun := p.begin(t)
		count := map[string]int{}
		for _, r := range p.together(t, func() *http.Request { return p.formRequest(t.Context(), "/token", p.pollForm(begun)) }) {
			count[r.text("error")]++
		}
		if diff := cmp.Diff(map[string]int{pending: 1, slow: racers - 1}, count); diff != "" {
			t.Errorf("answers mismatch (-want +got)\n%s", diff)
		}
	})
	t.Run("expired", func(t *testing.T) {
		t.Parallel()
		begun, late := p.begin(t), p.begin(t)
		p.approve(t, late.text("user_code"))
		for _, code := range []reply{begun, late} {
			a.Superuser(t, "UPDATE parako.device_codes SET expires_at = now() WHERE id = $1", rowID(code.text("device_code")))
			says(t, code, "expired_token")
			says(t, code, "expired_token")
		}
	})
	t.Run("another client's", func(t *testing.T) {
		t.Parallel()
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
		t.Parallel()
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
		t.Parallel()
		begun := p.begin(t)
		code := begun.text("device_code")
		for _, wrong := range []string{code + "x", code[:len(code)-1], strings.Replace(code, "parako_dc_", "parako_ac_", 1), "\x00", strings.ToUpper(code)} {
			expect(t, p.poll(t, begun, "device_code", wrong), http.StatusBadRequest, "invalid_grant")
		}
		expect(t, p.redeem(t, code), http.StatusBadRequest, "unauthorized_client")
	})
	t.Run("of a person who was disabled since", func(t *testing.T) {
		t.Parallel()
		own := newDevice(t, a, a.AddTenant(t, "initech"))
		begun := own.begin(t)
		own.approve(t, begun.text("user_code"))
		a.Superuser(t, "UPDATE parako.users SET account_enabled = false WHERE id = $1", own.tenant.User.ID)
		expect(t, own.poll(t, begun), http.StatusBadRequest, "invalid_grant")
		a.Superuser(t, "UPDATE parako.users SET account_enabled = true WHERE id = $1", own.tenant.User.ID)
		expect(t, own.poll(t, begun), http.StatusOK, "")
	})
	t.Run("of a person who signed out since", func(t *testing.T) {
		t.Parallel()
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

// TestUserCodes types codes in many ways.
func TestUserCodes(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Globex, "features", `{"oidc":{"device_flow":{"charset":"digits","mask":"***-***-***"}}}`)
	digits := newDevice(t, a, a.Globex).begin(t).text("user_code")
	if !regexp.MustCompile(`^\d{3}-\d{3}-\d{3}$`).MatchString(digits) {
		t.Errorf("user_code = %q", digits)
	}
	if page := app.Get(t, a.Client(t), a.Globex.Issuer+"/device?user_code="+strings.ReplaceAll(digits, "-", "")); !strings.Contains(page.Text, `value="`+digits+`"`) ||
		!strings.Contains(page.Text, `inputmode="numeric"`) {
		t.Errorf("the page for digits: %s", page.Text)
	}
	p := newDevice(t, a, a.Acme)
	p.as(a.Acme.Web).code(t)
	for name, type_ := range map[string]func(string) string{
		"as shown":      func(code string) string { return code },
		"small letters": strings.ToLower,
		"no hyphen":     func(code string) string { return strings.ReplaceAll(code, "-", "") },
		"spaces":        func(code string) string { return " " + strings.Join(strings.Split(code, ""), " ") + "\t" },
		"other dashes":  func(code string) string { return strings.ReplaceAll(code, "-", "\u2013") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun := p.begin(t)
			typed := type_(begun.text("user_code"))
			page := app.Get(t, p.browser, a.Acme.Issuer+"/device?user_code="+url.QueryEscape(typed))
			if !strings.Contains(page.Text, `value="`+begun.text("user_code")+`"`) {
				t.Errorf("%q on the page: %s", typed, page.Text)
			}
			p.approve(t, typed)
			expect(t, p.poll(t, begun), http.StatusOK, "")
		})
	}
}

// withoutRedis has one instance count by itself: a busy machine then cannot lose a count with its Redis.
func withoutRedis(c *config.Config) { c.RedisURL = secret.String{} }

// typeFrom posts a code from an address, as a trusted proxy reports it.
func (p party) typeFrom(t *testing.T, ip, code string) app.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.tenant.Issuer+"/device", strings.NewReader(url.Values{"user_code": {code}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Forwarded-For", ip)
	return app.Do(t, p.step, r)
}

// TestWrongUserCodesLookTheSame compares the answers to codes that never were, have expired, were used or were refused.
func TestWrongUserCodesLookTheSame(t *testing.T) {
	t.Parallel()
	a := app.New(t, withoutRedis)
	p := newDevice(t, a, a.Acme)
	used, denied, expired := p.begin(t), p.begin(t), p.begin(t)
	p.approve(t, used.text("user_code"))
	app.Post(t, p.browser, p.toConsent(t, denied.text("user_code")).Request.URL.String()+"/abort", nil)
	a.Superuser(t, "UPDATE parako.device_codes SET expires_at = now() WHERE id = $1", rowID(expired.text("device_code")))
	strip := func(page app.Response, code string) string {
		return strings.ReplaceAll(strings.ReplaceAll(page.Text, page.Header.Get("X-Request-Id"), ""), code, "")
	}
	const never = "BCDF-GHJK"
	page := p.typeFrom(t, "198.51.100.1", never)
	want := strip(page, never)
	if page.StatusCode != http.StatusBadRequest || !strings.Contains(want, `id="device-error"`) || len(page.Cookies()) > 0 {
		t.Fatalf("a code that never was: %d %v\n%s", page.StatusCode, page.Cookies(), want)
	}
	for name, begun := range map[string]reply{"used": used, "denied": denied, "expired": expired} {
		code := begun.text("user_code")
		page := p.typeFrom(t, "198.51.100.2", code)
		if diff := cmp.Diff(want, strip(page, code)); diff != "" || page.StatusCode != http.StatusBadRequest || len(page.Cookies()) > 0 {
			t.Errorf("%s: %d, mismatch (-never +this)\n%s", name, page.StatusCode, diff)
		}
	}
	// And each counts as a wrong one: of five there are two left.
	for range 2 {
		if page := p.typeFrom(t, "198.51.100.2", never); page.StatusCode != http.StatusBadRequest {
			t.Errorf("the fourth or fifth: %d", page.StatusCode)
		}
	}
	if page := p.typeFrom(t, "198.51.100.2", never); page.StatusCode != http.StatusTooManyRequests {
		t.Errorf("the sixth: %d", page.StatusCode)
	}
}

// TestWrongUserCodesAreLimited guesses from one address until it is stopped.
func TestWrongUserCodesAreLimited(t *testing.T) {
	t.Parallel()
	a := app.New(t, withoutRedis)
	p := newDevice(t, a, a.Acme)
	right := func() string { return p.begin(t).text("user_code") }
	const here, there = "198.51.100.7", "203.0.113.9"
	for range 20 { // What is right does not count, nor does what cannot be a code.
		for _, code := range []string{right(), "", "---", strings.Repeat("B", 40)} {
			if page := p.typeFrom(t, here, code); page.StatusCode == http.StatusTooManyRequests {
				t.Fatalf("%q was refused", code)
			}
		}
	}
	var guesses sync.WaitGroup
	var mu sync.Mutex
	count := map[int]int{}
	for i := range racers {
		guesses.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.Acme.Issuer+"/device", strings.NewReader(fmt.Sprintf("user_code=BBBB%04d", i)))
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("X-Forwarded-For", here)
			status, _, _, err := send(p.direct, r)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			count[status]++
			mu.Unlock()
		})
	}
	guesses.Wait()
	if diff := cmp.Diff(map[int]int{http.StatusBadRequest: 5, http.StatusTooManyRequests: racers - 5}, count); diff != "" {
		t.Errorf("guesses in parallel mismatch (-want +got)\n%s", diff)
	}
	code := right()
	refused := p.typeFrom(t, here, code)
	if refused.StatusCode != http.StatusTooManyRequests || refused.Header.Get("Retry-After") == "" || !strings.Contains(refused.Text, `id="device-error"`) {
		t.Errorf("the right code from there: %d, Retry-After %q", refused.StatusCode, refused.Header.Get("Retry-After"))
	}
	if page := p.typeFrom(t, there, code); page.StatusCode != http.StatusSeeOther {
		t.Errorf("the right code from elsewhere: %d", page.StatusCode)
	}
}

// TestWrongUserCodesOfATenantAreLimited lets a thousand wrong codes come from elsewhere. No address is let in then, and those of
// other tenants are.
func TestWrongUserCodesOfATenantAreLimited(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p, foreign := newDevice(t, a, a.Acme), newDevice(t, a, a.Globex)
	redis, err := cache.Open(t.Context(), cache.Options{URL: "redis://" + a.Redis.Addr(), Compat: true, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	others, limit := ratelimit.New(redis, time.Now), ratelimit.UserCodeTenant()
	for range limit.Burst {
		others.Consume(t.Context(), a.Acme.ID, limit, "")
	}
	// An attempt returns every few seconds, and a busy machine may lose sight of its Redis for a moment.
	for ip := 1; p.typeFrom(t, fmt.Sprintf("192.0.2.%d", ip), p.begin(t).text("user_code")).StatusCode != http.StatusTooManyRequests; ip++ {
		if ip == 200 {
			t.Fatal("the tenant's limit does not hold")
		}
		others.Consume(t.Context(), a.Acme.ID, limit, "")
	}
	if page := foreign.typeFrom(t, "192.0.2.1", foreign.begin(t).text("user_code")); page.StatusCode != http.StatusSeeOther {
		t.Errorf("another tenant's: %d", page.StatusCode)
	}
}

// TestDeviceConsent holds that nothing but the person's own yes lets a device in.
func TestDeviceConsent(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	t.Run("a link does nothing by itself", func(t *testing.T) {
		t.Parallel()
		p := newDevice(t, a, a.AddTenant(t, "hooli"))
		p.approve(t, p.begin(t).text("user_code"))
		begun := p.begin(t)
		before := rowsOf(t, a, p.tenant)
		page := app.Get(t, p.browser, begun.text("verification_uri_complete"))
		if page.StatusCode != http.StatusOK || !strings.Contains(page.Text, `value="`+begun.text("user_code")+`"`) || !strings.Contains(page.Text, `id="device-warning"`) ||
			!strings.Contains(page.Text, "Compare this code") {
			t.Errorf("the page: %d\n%s", page.StatusCode, page.Text)
		}
		wrong := app.Get(t, p.browser, p.tenant.Issuer+"/device?user_code=BCDF-GHJK")
		if strings.ReplaceAll(wrong.Text, "BCDF-GHJK", begun.text("user_code")) != page.Text {
			t.Error("the page tells a right code from a wrong one before anybody has pressed the button")
		}
		if rowsOf(t, a, p.tenant) != before {
			t.Error("a link has changed rows")
		}
		expect(t, p.poll(t, begun), http.StatusBadRequest, "authorization_pending")
	})
	for name, change := range map[string]func(*oidc.NewClient){
		"who agreed before is asked again":  func(*oidc.NewClient) {},
		"the tenant's own client asks, too": func(n *oidc.NewClient) { n.Internal = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newDevice(t, a, a.Acme, change, func(n *oidc.NewClient) { n.Name = "The <TV>" })
			for range 2 {
				begun := p.begin(t, "scope", "openid email")
				page := p.toConsent(t, begun.text("user_code"))
				for _, want := range []string{"The &lt;TV&gt;", `id="consent-device"`, "<bdi>127.0.0.1</bdi>", "See your email address", a.Acme.Email} {
					if !strings.Contains(page.Text, want) {
						t.Errorf("the page lacks %q:\n%s", want, page.Text)
					}
				}
				expect(t, p.poll(t, begun), http.StatusBadRequest, "authorization_pending")
				app.Post(t, p.browser, page.Request.URL.String()+"/confirm", nil)
				expect(t, p.poll(t, begun), http.StatusOK, "")
			}
		})
	}
	t.Run("other consents have no warning", func(t *testing.T) {
		t.Parallel()
		p := newParty(t, a, a.Acme, a.Acme.Web)
		p.code(t)
		if page := p.shows(t, "consent-form", "prompt", "consent"); strings.Contains(page.Text, "consent-device") {
			t.Error("an application in the browser is called a device")
		}
	})
	t.Run("no", func(t *testing.T) {
		t.Parallel()
		p := newDevice(t, a, a.Acme)
		for _, at := range []string{"login", "consent"} {
			begun := p.begin(t)
			page := p.enter(t, begun.text("user_code"))
			if at == "consent" {
				page = p.toConsent(t, begun.text("user_code"))
			}
			page = app.Post(t, p.browser, page.Request.URL.String()+"/abort", nil)
			if page.StatusCode != http.StatusOK || !strings.Contains(page.Text, `id="device-denied"`) {
				t.Errorf("%s: %d\n%s", at, page.StatusCode, page.Text)
			}
			expect(t, p.poll(t, begun), http.StatusBadRequest, "access_denied")
			expect(t, p.poll(t, begun), http.StatusBadRequest, "access_denied")
			a.Superuser(t, "UPDATE parako.device_codes SET expires_at = now() WHERE id = $1", rowID(begun.text("device_code")))
			expect(t, p.poll(t, begun), http.StatusBadRequest, "access_denied")
		}
	})
	t.Run("another account", func(t *testing.T) {
		t.Parallel()
		p := newDevice(t, a, a.Acme)
		page := p.toConsent(t, p.begin(t).text("user_code"))
		if page = app.Post(t, p.browser, page.Request.URL.String()+"/switch", nil); !strings.Contains(page.Text, `id="login-form"`) {
			t.Errorf("switching the account: %d\n%s", page.StatusCode, page.Text)
		}
	})
	t.Run("too late", func(t *testing.T) {
		t.Parallel()
		p := newDevice(t, a, a.Acme)
		begun := p.begin(t)
		page := p.toConsent(t, begun.text("user_code"))
		a.Superuser(t, "UPDATE parako.device_codes SET expires_at = now() WHERE id = $1", rowID(begun.text("device_code")))
		for _, path := range []string{"/confirm", "/abort"} {
			if got := app.Post(t, p.step, page.Request.URL.String()+path, nil); got.StatusCode != http.StatusBadRequest || got.Header.Get("Location") != "" {
				t.Errorf("%s: %d to %q", path, got.StatusCode, got.Header.Get("Location"))
			}
		}
		if granted := a.DB.Ask(t, a.Acme.ID, "SELECT id::text FROM parako.grants WHERE client_id = $1", p.client.ID); len(granted) != 0 {
			t.Errorf("%d grants", len(granted))
		}
	})
	t.Run("without a login", func(t *testing.T) {
		t.Parallel()
		p := newDevice(t, a, a.Acme)
		begun := p.begin(t)
		page := p.enter(t, begun.text("user_code"))
		if got := app.Post(t, p.browser, page.Request.URL.String()+"/confirm", nil); !strings.Contains(got.Text, `id="login-form"`) {
			t.Errorf("nobody agrees: %d\n%s", got.StatusCode, got.Text)
		}
		expect(t, p.poll(t, begun), http.StatusBadRequest, "authorization_pending")
	})
	t.Run("from another browser", func(t *testing.T) {
		t.Parallel()
		p := newDevice(t, a, a.Acme)
		begun := p.begin(t)
		page := p.toConsent(t, begun.text("user_code"))
		stranger := newParty(t, a, a.Acme, p.client)
		if got := app.Post(t, stranger.browser, page.Request.URL.String()+"/confirm", nil); got.StatusCode != http.StatusBadRequest {
			t.Errorf("a stranger agrees: %d", got.StatusCode)
		}
		expect(t, p.poll(t, begun), http.StatusBadRequest, "authorization_pending")
	})
	t.Run("an old login is not enough", func(t *testing.T) {
		t.Parallel()
		age := int32(60)
		p := newDevice(t, a, a.Acme, func(n *oidc.NewClient) { n.DefaultMaxAge = &age })
		first := p.verified(t, "JWT", p.connect(t).text("id_token"))
		a.Superuser(t, "UPDATE parako.sessions SET auth_time = auth_time - interval '2 minutes' WHERE id = $1", first["sid"])
		if page := p.enter(t, p.begin(t).text("user_code")); !strings.Contains(page.Text, `id="login-form"`) {
			t.Errorf("after two minutes of one: %d\n%s", page.StatusCode, page.Text)
		}
	})
}

// TestDeviceTokens asks for what the client, the tenant and the request decide about the tokens.
func TestDeviceTokens(t *testing.T) {
	t.Parallel()
	a := app.New(t, func(c *config.Config) { c.ClientCertificateHeader = "Client-Cert" })
	a.Configure(t, a.Acme, "features", `{"oidc":{"mtls":{"enabled":true}}}`)
	a.Configure(t, a.Acme, "oidc", `{"token_ttl":{"device_code":300},"resource_servers":[{"identifier":"https://one.example","access_token_ttl":30,"scopes":["one:read"]}]}`)
	t.Run("no offline_access, no refresh token", func(t *testing.T) {
		t.Parallel()
		p := newDevice(t, a, a.Acme)
		tokens := p.connect(t, "scope", "openid")
		if tokens.text("refresh_token") != "" || tokens.text("id_token") == "" {
			t.Errorf("%s", tokens.Text)
		}
	})
	t.Run("no refresh_token grant, no refresh token", func(t *testing.T) {
		t.Parallel()
		p := newDevice(t, a, a.Acme, func(n *oidc.NewClient) { n.GrantTypes = []string{deviceGrant} })
		if tokens := p.connect(t); tokens.text("refresh_token") != "" {
			t.Errorf("%s", tokens.Text)
		}
	})
	t.Run("no openid, no ID token", func(t *testing.T) {
		t.Parallel()
		p := newDevice(t, a, a.Acme)
		tokens := p.connect(t, "scope", "email offline_access")
		if tokens.text("refresh_token") == "" || tokens.text("id_token") != "" || tokens.text("scope") != "email offline_access" {
			t.Errorf("%s", tokens.Text)
		}
	})
	t.Run("lifetimes", func(t *testing.T) {
		t.Parallel()
		if got := newDevice(t, a, a.Acme).begin(t); got.body["expires_in"] != 300.0 {
			t.Errorf("the tenant's: %s", got.Text)
		}
		p := newDevice(t, a, a.Acme, func(n *oidc.NewClient) {
			n.TTL = oidc.ClientTTL{DeviceCode: 90, AccessToken: 60, IDToken: 70, RefreshToken: 120}
		})
		begun := p.begin(t)
		if begun.body["expires_in"] != 90.0 {
			t.Errorf("its own: %s", begun.Text)
		}
		left := a.DB.Ask(t, a.Acme.ID, "SELECT extract(epoch FROM expires_at - created_at)::integer::text FROM parako.device_codes WHERE id = $1", rowID(begun.text("device_code")))
		if !slices.Contains([]string{"89", "90", "91"}, left[0]) {
			t.Errorf("the row lives %s seconds", left[0])
		}
		p.approve(t, begun.text("user_code"))
		tokens := p.poll(t, begun)
		id := claimsOf(t, tokens.text("id_token"))
		info := p.post(t, "/token/introspection", "token", tokens.text("refresh_token"))
		if !lasts(tokens, 60) || !about(seconds(id["exp"])-seconds(id["iat"]), 70) || !about(seconds(info.body["exp"])-seconds(info.body["iat"]), 120) {
			t.Errorf("%s\n%v\n%s", tokens.Text, id, info.Text)
		}
	})
	t.Run("resources", func(t *testing.T) {
		t.Parallel()
		p := newDevice(t, a, a.Acme, func(n *oidc.NewClient) {
			n.AllowedResources, n.ResourcesScopes = []string{"https://one.example", "https://two.example"}, "one:read two:read"
		})
		both := func() reply {
			form := url.Values{"scope": {"openid offline_access one:read two:read"}, "resource": {"https://one.example", "https://two.example"}}
			begun := p.do(t, p.formRequest(t.Context(), "/device/auth", form))
			p.approve(t, begun.text("user_code"))
			return begun
		}
		begun := both()
		tokens := p.poll(t, begun)
		claims := p.verified(t, "at+jwt", tokens.text("access_token"))
		if fmt.Sprint(claims["aud"]) != "[https://one.example https://two.example]" || claims["scope"] != "one:read two:read" || !lasts(tokens, 30) ||
			claims["sub"] != a.Acme.User.ID.String() || p.alive(t, tokens.text("access_token")) {
			t.Errorf("%s\n%v", tokens.Text, claims)
		}
		begun = both()
		expect(t, p.poll(t, begun, "resource", "https://three.example"), http.StatusBadRequest, "invalid_target")
		tokens = p.poll(t, begun, "resource", "https://two.example") // What was refused did not spend the code.
		if claims := p.verified(t, "at+jwt", tokens.text("access_token")); claims["aud"] != "https://two.example" || !lasts(tokens, 3600) {
			t.Errorf("%s\n%v", tokens.Text, claims)
		}
		again := p.refresh(t, tokens.text("refresh_token"), "resource", "https://one.example")
		if claims := p.verified(t, "at+jwt", again.text("access_token")); claims["aud"] != "https://one.example" || claims["scope"] != "one:read" {
			t.Errorf("after a refresh: %v", claims)
		}
	})
	t.Run("DPoP", func(t *testing.T) {
		t.Parallel()
		key, stranger := newKey(t, jose.ES256), newKey(t, jose.ES256)
		p := newDevice(t, a, a.Acme, public, func(n *oidc.NewClient) { n.DPoPBound = true })
		begun := p.begin(t)
		p.approve(t, begun.text("user_code"))
		expect(t, p.poll(t, begun), http.StatusBadRequest, "invalid_dpop_proof")
		proof := func(k keyPair) http.Header { return dpop(k.proof(t, http.MethodPost, a.Acme.Issuer+"/token")) }
		tokens := p.send(t.Context(), t, "/token", proof(key), p.pollForm(begun))
		expect(t, tokens, http.StatusOK, "")
		token := tokens.text("access_token")
		if tokens.text("token_type") != "DPoP" {
			t.Errorf("%s", tokens.Text)
		}
		expect(t, p.userinfo(t, token), http.StatusUnauthorized, "invalid_token")
		expect(t, p.userinfoWith(t, token, key.proof(t, http.MethodGet, a.Acme.Issuer+"/userinfo", "ath", ath(token))), http.StatusOK, "")
		refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.text("refresh_token")}}
		expect(t, p.send(t.Context(), t, "/token", proof(stranger), refresh), http.StatusBadRequest, "invalid_grant")
		expect(t, p.send(t.Context(), t, "/token", proof(key), refresh), http.StatusOK, "")
	})
	t.Run("mutual TLS", func(t *testing.T) {
		t.Parallel()
		mine := certificate(t, nil, nil)
		header := http.Header{"Client-Cert": {mine.rfc9440()}}
		p := newDevice(t, a, a.Acme, func(n *oidc.NewClient) {
			n.TokenEndpointAuthMethod, n.TLSBound = "self_signed_tls_client_auth", true
			n.JWKS = mustJSON(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: mine.key.Public(), KeyID: "1"}}})
			n.AllowedResources = []string{"urn:test:api"}
		})
		expect(t, p.post(t, "/device/auth"), http.StatusUnauthorized, "invalid_client")
		begun := p.send(t.Context(), t, "/device/auth", header, url.Values{"scope": {"openid"}, "resource": {"urn:test:api"}})
		expect(t, begun, http.StatusOK, "")
		p.approve(t, begun.text("user_code"))
		expect(t, p.poll(t, begun), http.StatusUnauthorized, "invalid_client")
		tokens := p.send(t.Context(), t, "/token", header, p.pollForm(begun))
		expect(t, tokens, http.StatusOK, "")
		if cnf, _ := claimsOf(t, tokens.text("access_token"))["cnf"].(map[string]any); cnf["x5t#S256"] != mine.thumbprint() {
			t.Errorf("cnf = %v", cnf)
		}
	})
	t.Run("private_key_jwt", func(t *testing.T) {
		t.Parallel()
		key := newKey(t, jose.ES256)
		p := newDevice(t, a, a.Acme, func(n *oidc.NewClient) { n.TokenEndpointAuthMethod, n.JWKS = "private_key_jwt", key.set(t) })
		assertion := func() []string {
			return []string{"client_assertion_type", assertionType, "client_assertion", p.assertion(t, key)}
		}
		expect(t, p.post(t, "/device/auth"), http.StatusUnauthorized, "invalid_client")
		begun := p.begin(t, assertion()...)
		p.approve(t, begun.text("user_code"))
		expect(t, p.poll(t, begun, assertion()...), http.StatusOK, "")
	})
}

// TestOneDeviceCodeManyRedemptions redeems one device code from many places at once. One of them gets tokens; and because the
// code was used more than once, nothing that came of it lives on.
func TestOneDeviceCodeManyRedemptions(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newDevice(t, a, a.Acme)
	begun := p.begin(t)
	p.approve(t, begun.text("user_code"))
	var won []reply
	for _, r := range p.together(t, func() *http.Request { return p.formRequest(t.Context(), "/token", p.pollForm(begun)) }) {
		switch {
		case r.StatusCode == http.StatusOK:
			won = append(won, r)
		case r.StatusCode != http.StatusBadRequest || r.text("error") != "invalid_grant":
			t.Errorf("a loser got %d %v", r.StatusCode, r.Text)
		}
	}
	if len(won) != 1 {
		t.Fatalf("%d redemptions succeeded", len(won))
	}
	if p.alive(t, won[0].text("access_token")) {
		t.Error("the access token of a code that was used twice lives on")
	}
	expect(t, p.refresh(t, won[0].text("refresh_token")), http.StatusBadRequest, "invalid_grant")
}

// TestOneUserCodeManyAnswers has one code open in many tabs, and says yes in half of them and no in the others, all at once. One
// answer counts.
func TestOneUserCodeManyAnswers(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newDevice(t, a, a.Acme)
	begun := p.begin(t)
	var tabs []string
	for range racers {
		tabs = append(tabs, p.toConsent(t, begun.text("user_code")).Request.URL.String())
	}
	var mu sync.Mutex
	var places []string
	var all sync.WaitGroup
	for i, tab := range tabs {
		all.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, tab+[]string{"/confirm", "/abort"}[i%2], nil)
			if err != nil {
				t.Error(err)
				return
			}
			status, header, _, err := send(p.step, r)
			switch {
			case err != nil:
				t.Error(err)
			case status == http.StatusSeeOther:
				mu.Lock()
				places = append(places, strings.TrimPrefix(header.Get("Location"), a.Acme.Issuer))
				mu.Unlock()
			case status != http.StatusBadRequest:
				t.Errorf("an answer got %d", status)
			}
		})
	}
	all.Wait()
	if len(places) != 1 {
		t.Fatalf("%d answers counted: %v", len(places), places)
	}
	grants := len(a.DB.Ask(t, a.Acme.ID, "SELECT id::text FROM parako.grants WHERE client_id = $1", p.client.ID))
	switch got := p.poll(t, begun); places[0] {
	case "/device/done":
		expect(t, got, http.StatusOK, "")
		if grants != 1 {
			t.Errorf("%d grants", grants)
		}
	case "/device/denied":
		expect(t, got, http.StatusBadRequest, "access_denied")
		if grants != 0 {
			t.Errorf("%d grants", grants)
		}
	default:
		t.Errorf("the answer leads to %s", places[0])
	}
}

// TestUserCodesAreUnique lets every code that is drawn be one that is taken, a few times and then always.
func TestUserCodesAreUnique(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p, foreign := newDevice(t, a, a.Acme), newDevice(t, a, a.Globex)
	for _, sql := range []string{
		"CREATE SEQUENCE public.draws",
		`CREATE FUNCTION public.draw() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
			IF nextval('public.draws') NOT BETWEEN 6 AND 10 THEN NEW.user_code_digest := 'taken'; END IF; RETURN NEW; END $$`,
		"CREATE TRIGGER draw BEFORE INSERT ON parako.device_codes FOR EACH ROW EXECUTE FUNCTION public.draw()",
	} {
		a.Superuser(t, sql)
	}
	p.begin(t)          // draws the code
	foreign.begin(t)    // draws the same, for another tenant
	begun := p.begin(t) // draws it three times more, and then another
	p.approve(t, begun.text("user_code"))
	expect(t, p.poll(t, begun), http.StatusOK, "")
	a.Superuser(t, "ALTER SEQUENCE public.draws RESTART 11")
	expect(t, p.post(t, "/device/auth"), http.StatusInternalServerError, "server_error")
}

// TestDeviceAudit reads the trail of devices that were let in, refused and guessed, and looks for the codes where they must not be.
func TestDeviceAudit(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newDevice(t, a, a.Acme)
	yes, no := p.begin(t), p.begin(t)
	app.Get(t, p.browser, yes.text("verification_uri_complete"))
	const guess = "ZZZZ-XXXX"
	p.enter(t, guess)
	aborted := p.enter(t, no.text("user_code"))
	app.Post(t, p.browser, aborted.Request.URL.String()+"/abort", nil)
	for range 3 {
		p.poll(t, yes)
	}
	p.approve(t, yes.text("user_code"))
	tokens := p.poll(t, yes)
	expect(t, tokens, http.StatusOK, "")
	expect(t, p.poll(t, no), http.StatusBadRequest, "access_denied")
	expect(t, p.poll(t, yes), http.StatusBadRequest, "invalid_grant")

	person := a.Acme.User.ID.String()
	count := map[string]int{}
	for _, e := range events(t, a, a.Acme) {
		count[e.Type]++
		if strings.HasPrefix(e.Type, "device.") && (e.RequestID == "" || e.IP != "127.0.0.1") {
			t.Errorf("%s does not say where it came from: %s", e.Type, e.Text)
		}
		want := map[string]string{"device.authorized": "success user " + person, "device.denied": "failed anonymous ", "device.code_refused": "failed anonymous "}[e.Type]
		if got := e.Status + " " + e.ActorType + " " + e.ActorID; want != "" && got != want {
			t.Errorf("%s: %s, want %s", e.Type, got, want)
		}
		if e.Type == "token.issued" && (!strings.Contains(e.Text, deviceGrant) || e.ActorID != p.client.ID) {
			t.Errorf("token.issued: %s", e.Text)
		}
	}
	for name, want := range map[string]int{
		"device.authorized": 1, "device.denied": 1, "device.code_refused": 1, "consent.given": 1, "token.issued": 1, "token.refused": 2, "token.reuse_detected": 1,
	} {
		if count[name] != want {
			t.Errorf("%d × %s, want %d", count[name], name, want)
		}
	}
	stored := strings.Join(a.DB.Ask(t, a.Acme.ID, `SELECT d::text FROM parako.device_codes AS d UNION ALL SELECT i::text FROM parako.interactions AS i
		UNION ALL SELECT e::text FROM parako.audit_events AS e`), "\n")
	for name, secret := range map[string]string{
		"a device code": yes.text("device_code"), "a user code": yes.text("user_code"), "the other user code": no.text("user_code"), "a guess": guess,
		"a plain user code": strings.ReplaceAll(yes.text("user_code"), "-", ""),
	} {
		if strings.Contains(stored, secret) {
			t.Errorf("the database holds %s", name)
		}
		if strings.Contains(a.Logs.String(), secret) {
			t.Errorf("the log holds %s", name)
		}
	}
}

// TestDeviceCodeLifetimeIsBounded registers lifetimes in which a code could be guessed, and ones in which nobody could type it.
func TestDeviceCodeLifetimeIsBounded(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for _, ttl := range []int{settings.MinDeviceCodeTTL - 1, settings.MaxDeviceCodeTTL + 1} {
		err := a.Store.InTenant(t.Context(), a.Acme.ID, func(ctx context.Context, tx *store.Tx) error {
			_, err := oidc.RegisterClient(ctx, tx, a.Vault, oidc.NewClient{
				Preset: oidc.PresetDevice, ClientMetadata: oidc.ClientMetadata{Name: "TV", MoreMetadata: oidc.MoreMetadata{TTL: oidc.ClientTTL{DeviceCode: ttl}}},
			})
			return err
		})
		if problem.From(err).Code != "client_invalid" {
			t.Errorf("%d seconds: %v", ttl, err)
		}
	}
}
