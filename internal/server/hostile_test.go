package server_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"parako/internal/testkit/app"
)

// TestBadRedirectsNeverRedirect asks for codes at addresses that are not the client's. Each ends on a page.
func TestBadRedirectsNeverRedirect(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	for _, uri := range []string{
		"https://evil.example/", app.Callback + "/", app.Callback + "?x=1", app.Callback + "#x", "HTTP://localhost:9008/callback",
		"http://localhost:9009/callback", "http://localhost:9008/callback/../x", `http://localhost:9008\@evil.example/callback`,
		"http://x@localhost:9008/callback", "http://127.0.0.1@evil.example/callback", "http://127.0.0.1:1/other", "//localhost:9008/callback",
		"javascript:alert(1)", "data:text/html,x", "http://localhost:9008/callback\x00", "http://localhost:9008/callback\r\nX: y", "x", "%",
		"http://localhost:9008%2fcallback", strings.Repeat("a", 3000), drop,
	} {
		resp := p.authorize(t, "redirect_uri", uri)
		if resp.StatusCode != http.StatusBadRequest || resp.Header.Get("Location") != "" || !strings.Contains(resp.Text, `id="error-title"`) {
			t.Errorf("redirect_uri %q: %d to %q", uri, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
}

// TestForeignClient takes a client of one tenant to another: it is as unknown there as one that never was.
func TestForeignClient(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	foreign, invented := newParty(t, a, a.Globex, a.Acme.Web), newParty(t, a, a.Globex, a.Acme.Web)
	invented.client.ID = "never-was"
	strip := func(r app.Response) string { return strings.ReplaceAll(r.Text, r.Header.Get("X-Request-Id"), "") }
	one, other := foreign.authorize(t), invented.authorize(t)
	if one.StatusCode != http.StatusBadRequest || strip(one) != strip(other) {
		t.Errorf("a foreign client is told from an unknown one: %d %d", one.StatusCode, other.StatusCode)
	}
	if strings.Contains(strings.ToLower(one.Text), "acme") {
		t.Errorf("globex speaks of acme: %s", one.Text)
	}
	expect(t, foreign.post(t, "/token", "grant_type", "client_credentials"), http.StatusUnauthorized, "invalid_client")
	expect(t, invented.post(t, "/token", "grant_type", "client_credentials"), http.StatusUnauthorized, "invalid_client")
}

// TestNothingOfOneTenantWorksAtAnother replays codes, tokens and cookies of acme at globex and looks at acme's rows.
func TestNothingOfOneTenantWorksAtAnother(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	acme, globex := newParty(t, a, a.Acme, a.Acme.Web), newParty(t, a, a.Globex, a.Globex.Web)
	tokens := acme.tokens(t, "scope", "openid offline_access")
	code := acme.code(t)
	waiting := app.Get(t, acme.browser, acme.authorizeURL("prompt", "login"))
	before := rowsOf(t, a, a.Acme)

	expect(t, globex.redeem(t, code), http.StatusBadRequest, "invalid_grant")
	expect(t, globex.refresh(t, tokens.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	expect(t, globex.userinfo(t, tokens.text("access_token")), http.StatusUnauthorized, "invalid_token")
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		if got := globex.post(t, "/token/introspection", "token", tokens.text(name)); got.body["active"] != false || len(got.body) != 1 {
			t.Errorf("introspection of acme's %s at globex = %s", name, got.Text)
		}
		if got := globex.post(t, "/token/revocation", "token", tokens.text(name)); got.StatusCode != http.StatusOK {
			t.Errorf("revocation of acme's %s at globex = %d", name, got.StatusCode)
		}
	}

	// The browser's cookies of acme, sent to globex by force.
	home, err := url.Parse(a.Acme.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	replay := func(target string) app.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range acme.browser.Jar.Cookies(home) {
			r.AddCookie(c)
		}
		return app.Do(t, globex.direct, r)
	}
	if resp := replay(globex.authorizeURL("prompt", "none")); !strings.Contains(resp.Header.Get("Location"), "error=login_required") {
		t.Errorf("acme's session at globex: %d to %s", resp.StatusCode, resp.Header.Get("Location"))
	} else if !strings.Contains(strings.Join(resp.Header.Values("Set-Cookie"), ";"), "application_session=;") {
		t.Errorf("the foreign cookie is not cleared: %v", resp.Header.Values("Set-Cookie"))
	}
	id := waiting.Request.URL.Path[strings.LastIndex(waiting.Request.URL.Path, "/")+1:]
	for _, id := range []string{id, uuid.NewString(), "x"} {
		if resp := replay(a.Globex.Issuer + "/interaction/" + id); resp.StatusCode != http.StatusNotFound || strings.Contains(strings.ToLower(resp.Text), "acme") {
			t.Errorf("interaction %s at globex: %d %s", id, resp.StatusCode, resp.Text)
		}
	}
	if after := rowsOf(t, a, a.Acme); after != before {
		t.Error("acme's rows have changed")
	}
	// And they still work where they belong.
	if !acme.alive(t, tokens.text("access_token")) {
		t.Error("acme's access token died")
	}
	expect(t, acme.redeem(t, code), http.StatusOK, "")
}

// rowsOf is a digest of every row of a tenant, over all tables of the catalog. The seals of what happened before come in the background.
func rowsOf(t *testing.T, a *app.App, owner app.Tenant) string {
	t.Helper()
	sum := sha256.New()
	for _, table := range a.DB.Ask(t, owner.ID, `SELECT c.oid::regclass::text FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
		WHERE c.relnamespace = 'parako'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attname = 'tenant_id' AND c.relname NOT IN ('tenant_locators', 'audit_seals', 'audit_leaves') ORDER BY 1`) {
		sum.Write([]byte(table))
		for _, row := range a.DB.Ask(t, owner.ID, "SELECT x::text FROM "+table+" AS x ORDER BY 1") {
			sum.Write([]byte(row))
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// TestGarbageIsNeverOurFault puts what no form should hold into every field. Nothing answers 500.
func TestGarbageIsNeverOurFault(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	page := app.Get(t, p.browser, p.authorizeURL())
	device := newDevice(t, a, a.Acme)
	for _, garbage := range []string{"\x00", "a\x00b", "\xff\xfe", "\xc3\x28", strings.Repeat("x", 6000), "' OR 1=1 --", "%00", "\u202e", "{}", "-1", "9999999999999999999"} {
		for name := range p.request("prompt", "", "max_age", "", "id_token_hint", "", "login_hint", "", "ui_locales", "", "resource", "", "response_mode", "", "acr_values", "", "claims", "") {
			if resp := p.authorize(t, name, garbage); resp.StatusCode >= http.StatusInternalServerError {
				t.Errorf("authorize with %s=%.20q: %d", name, garbage, resp.StatusCode)
			}
		}
		for _, name := range []string{"grant_type", "code", "redirect_uri", "code_verifier", "refresh_token", "scope", "resource", "client_id", "client_assertion", "client_secret"} {
			for _, grant := range []string{"authorization_code", "refresh_token", "client_credentials"} {
				if got := p.post(t, "/token", "grant_type", grant, name, garbage); got.StatusCode >= http.StatusInternalServerError {
					t.Errorf("token with %s and %s=%.20q: %d %s", grant, name, garbage, got.StatusCode, got.Text)
				}
			}
		}
		for _, path := range []string{"/token/introspection", "/token/revocation"} {
			if got := p.post(t, path, "token", garbage); got.StatusCode >= http.StatusInternalServerError {
				t.Errorf("%s of %.20q: %d", path, garbage, got.StatusCode)
			}
		}
		for _, name := range []string{"scope", "resource", "client_id", "client_secret"} {
			if got := device.post(t, "/device/auth", name, garbage); got.StatusCode >= http.StatusInternalServerError {
				t.Errorf("device authorization with %s=%.20q: %d %s", name, garbage, got.StatusCode, got.Text)
			}
		}
		if got := device.post(t, "/token", "grant_type", deviceGrant, "device_code", garbage); got.StatusCode >= http.StatusInternalServerError {
			t.Errorf("token with device_code=%.20q: %d %s", garbage, got.StatusCode, got.Text)
		}
		for _, resp := range []app.Response{device.typeFrom(t, "127.0.0.1", garbage), app.Get(t, p.step, a.Acme.Issuer+"/device?user_code="+url.QueryEscape(garbage))} {
			if resp.StatusCode >= http.StatusInternalServerError || resp.StatusCode == http.StatusSeeOther {
				t.Errorf("user_code=%.20q: %d", garbage, resp.StatusCode)
			}
		}
		for _, name := range []string{"identifier", "password"} {
			form := edit(url.Values{"identifier": {"nobody"}, "password": {"wrong password"}}, name, garbage)
			if resp := app.Post(t, p.step, page.Request.URL.String()+"/login", form); resp.StatusCode >= http.StatusInternalServerError {
				t.Errorf("login with %s=%.20q: %d", name, garbage, resp.StatusCode)
			}
		}
		query := url.Values{"id_token_hint": {garbage}, "post_logout_redirect_uri": {garbage}, "client_id": {garbage}, "state": {garbage}}
		if resp := app.Get(t, p.step, a.Acme.Issuer+"/session/end?"+query.Encode()); resp.StatusCode >= http.StatusInternalServerError || resp.StatusCode == http.StatusSeeOther {
			t.Errorf("logout with %.20q: %d", garbage, resp.StatusCode)
		}
	}
}

// TestOversizedBodies sends more than a form can be, to each kind of endpoint.
func TestOversizedBodies(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	client := a.Client(t)
	huge := url.Values{"x": {strings.Repeat("x", 70_000)}}
	for path, want := range map[string]string{
		"/token": "application/json", "/authorize": "text/html", "/session/end": "text/html", "/device/auth": "application/json", "/device": "text/html",
	} {
		if resp := app.Post(t, client, a.Acme.Issuer+path, huge); resp.StatusCode != http.StatusRequestEntityTooLarge || !strings.HasPrefix(resp.Header.Get("Content-Type"), want) {
			t.Errorf("%s: %d %s", path, resp.StatusCode, resp.Header.Get("Content-Type"))
		}
	}
	root := strings.TrimSuffix(a.Acme.Issuer, "/oidc/v1")
	if resp := app.Post(t, client, root+"/api/v1/x", huge); resp.StatusCode != http.StatusRequestEntityTooLarge || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("API: %d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
}

// TestRepeatedParameters are refused (RFC 6749 section 3.1).
func TestRepeatedParameters(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	for _, name := range []string{"scope", "state", "nonce", "response_type", "code_challenge", "prompt"} {
		resp := app.Get(t, p.step, p.authorizeURL(name, "x")+"&"+name+"=y")
		if !strings.Contains(resp.Header.Get("Location"), "error=invalid_request") {
			t.Errorf("%s twice: %d to %s", name, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	for _, name := range []string{"client_id", "redirect_uri"} {
		if resp := app.Get(t, p.step, p.authorizeURL()+"&"+name+"="+url.QueryEscape("https://evil.example/")); resp.StatusCode != http.StatusBadRequest || resp.Header.Get("Location") != "" {
			t.Errorf("%s twice: %d to %s", name, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	r := p.formRequest(t.Context(), "/token", url.Values{"grant_type": {"client_credentials", "client_credentials"}})
	expect(t, p.do(t, r), http.StatusBadRequest, "invalid_request")
}

// TestForeignForms are refused: what another site makes the browser send changes nothing (login CSRF).
func TestForeignForms(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "security", openDoors)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	page := app.Get(t, p.browser, p.authorizeURL())
	device := newDevice(t, a, a.Acme).begin(t)
	before := rowsOf(t, a, a.Acme)
	for _, header := range []http.Header{
		{"Sec-Fetch-Site": {"cross-site"}}, {"Sec-Fetch-Site": {"same-site"}}, {"Origin": {"https://evil.example"}}, {"Origin": {"null"}},
	} {
		for _, target := range []string{
			page.Request.URL.String() + "/login", page.Request.URL.String() + "/register", page.Request.URL.String() + "/confirm",
			a.Acme.Issuer + "/session/end/confirm", a.Acme.Issuer + "/device",
		} {
			form := url.Values{"identifier": {a.Acme.Email}, "password": {app.Password}, "email": {"forged@acme.example"}, "user_code": {device.text("user_code")}}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(form.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			r.Header = header.Clone()
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if resp := app.Do(t, p.step, r); resp.StatusCode != http.StatusForbidden || len(resp.Cookies()) > 0 {
				t.Errorf("%s with %v: %d %v", target, header, resp.StatusCode, resp.Cookies())
			}
		}
	}
	if rowsOf(t, a, a.Acme) != before {
		t.Error("a foreign form has changed rows")
	}
}

// TestFailedLoginsAreThrottled fails until the limit of one account from one address is reached. The right password is then
// refused from there too, and other accounts are not.
func TestFailedLoginsAreThrottled(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	page := app.Get(t, p.browser, p.authorizeURL())
	login := func(password string) app.Response {
		return app.Post(t, p.step, page.Request.URL.String()+"/login", url.Values{"identifier": {a.Acme.Email}, "password": {password}})
	}
	const limit = 50            // five, times the slack of development
	a.Redis.SetTime(time.Now()) // No attempt returns.
	failures := 0
	for login("wrong password").StatusCode == http.StatusUnauthorized {
		if failures++; failures > 2*limit {
			t.Fatalf("%d failed logins and no end", failures)
		}
	}
	if failures < limit {
		t.Errorf("refused after %d failed logins, want %d", failures, limit)
	}
	if resp := login(app.Password); resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("the right password after the limit: %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	other := newParty(t, a, a.Globex, a.Globex.Web)
	if code := other.code(t); code == "" {
		t.Error("another tenant's person is locked out too")
	}
}
