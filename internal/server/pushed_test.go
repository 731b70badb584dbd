package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"parako/internal/oidc"
	"parako/internal/testkit/app"
)

// pushRequest pushes the authorization request of party.request (RFC 9126).
func (p party) pushRequest(t *testing.T, pairs ...string) reply {
	t.Helper()
	return p.do(t, p.formRequest(t.Context(), "/request", p.request(pairs...)))
}

// pushed are the parameters that the browser brings after a push.
func (p party) pushed(t *testing.T, pairs ...string) string {
	t.Helper()
	got := p.pushRequest(t, pairs...)
	if got.StatusCode != http.StatusCreated || !strings.HasPrefix(got.text("request_uri"), "urn:ietf:params:oauth:request_uri:") || got.body["expires_in"] != float64(90) {
		t.Fatalf("pushed: %d %s", got.StatusCode, got.Text)
	}
	return p.tenant.Issuer + "/authorize?" + url.Values{"client_id": {p.client.ID}, "request_uri": {got.text("request_uri")}}.Encode()
}

func TestPushedRequests(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	p.code(t)

	t.Run("the answer is that to the request that was pushed", func(t *testing.T) {
		target := p.pushed(t, "state", "pushed")
		got := p.answer(t, app.Get(t, p.step, target+"&state=browser&scope=openid+email&redirect_uri="+url.QueryEscape("http://127.0.0.1/callback")))
		if got.Get("state") != "pushed" {
			t.Errorf("state = %q", got.Get("state"))
		}
		if tokens := p.redeem(t, got.Get("code")); tokens.text("scope") != "openid" {
			t.Errorf("scope = %q", tokens.text("scope"))
		}
	})
	t.Run("it is good for one code, and for a page that is reloaded before", func(t *testing.T) {
		p := newParty(t, a, a.Acme, a.Acme.Web)
		target := p.pushed(t)
		app.Get(t, p.browser, target)
		if got := p.read(t, p.SignIn(t, p.browser, target, a.Acme.Email, app.Password).String()); got.Get("code") == "" {
			t.Fatalf("no code: %v", got)
		}
		again := app.Get(t, p.step, target)
		if again.StatusCode != http.StatusBadRequest || again.Header.Get("Location") != "" {
			t.Errorf("the second use: %d %s", again.StatusCode, again.Header.Get("Location"))
		}
		if got := p.answer(t, app.Get(t, p.step, target+"&redirect_uri="+url.QueryEscape(app.Callback))); got.Get("error") != "invalid_request_uri" {
			t.Errorf("the second use: %v", got)
		}
	})
	t.Run("it belongs to its client and its tenant", func(t *testing.T) {
		_, query, _ := strings.Cut(p.pushed(t), "?")
		other := p.as(webClient(t, a, a.Acme))
		for _, target := range []string{
			a.Acme.Issuer + "/authorize?" + strings.Replace(query, p.client.ID, other.client.ID, 1),
			a.Globex.Issuer + "/authorize?" + strings.Replace(query, p.client.ID, a.Globex.Web.ID, 1),
		} {
			if resp := app.Get(t, p.step, target); resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %d", target, resp.StatusCode)
			}
		}
	})
	t.Run("it expires", func(t *testing.T) {
		p := p.as(webClient(t, a, a.Acme))
		target := p.pushed(t)
		a.Superuser(t, "UPDATE parako.pushed_requests SET expires_at = now() - interval '1 second' WHERE client_id = $1", p.client.ID)
		if resp := app.Get(t, p.step, target); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("an expired request: %d", resp.StatusCode)
		}
	})
	t.Run("what is refused is refused at once", func(t *testing.T) {
		for code, pairs := range map[string][]string{
			"invalid_scope": {"scope", "openid everything"}, "unsupported_response_type": {"response_type", "token"},
			"invalid_target": {"resource", "urn:x"}, "invalid_request": {"code_challenge", drop},
		} {
			expect(t, p.pushRequest(t, pairs...), http.StatusBadRequest, code)
		}
		got := p.pushRequest(t, "redirect_uri", "https://evil.example/")
		expect(t, got, http.StatusBadRequest, "invalid_request")
		if !strings.Contains(got.text("error_description"), "redirect_uri") {
			t.Errorf("the developer reads %q", got.text("error_description"))
		}
		expect(t, p.pushRequest(t, "request_uri", "urn:ietf:params:oauth:request_uri:x"), http.StatusBadRequest, "invalid_request")
		wrong := p
		wrong.client.Secret = "wrong"
		expect(t, wrong.pushRequest(t), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("public clients push, too", func(t *testing.T) {
		p := newParty(t, a, a.Acme, a.Acme.SPA)
		if got := p.read(t, p.SignIn(t, p.browser, p.pushed(t), a.Acme.Email, app.Password).String()); got.Get("code") == "" {
			t.Errorf("no code: %v", got)
		}
	})
	t.Run("a client may be held to it", func(t *testing.T) {
		p := p.with(t, func(n *oidc.NewClient) { n.RequirePushedRequests = true })
		p.refused(t, "invalid_request")
		if resp := app.Get(t, p.browser, p.pushed(t)); !strings.Contains(resp.Text, `id="consent-form"`) {
			t.Errorf("pushed: %d %s", resp.StatusCode, resp.Text)
		}
	})
}

func TestPushedRequestsOfATenant(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{"pushed_authorization_requests":{"required":true}}}`)
	a.Configure(t, a.Globex, "features", `{"oidc":{"pushed_authorization_requests":{"enabled":false}}}`)
	required, off := newParty(t, a, a.Acme, a.Acme.Web), newParty(t, a, a.Globex, a.Globex.Web)
	required.refused(t, "invalid_request")
	if resp := app.Get(t, required.browser, required.pushed(t)); !strings.Contains(resp.Text, `id="login-form"`) {
		t.Errorf("pushed: %d %s", resp.StatusCode, resp.Text)
	}
	if got := off.pushRequest(t); got.StatusCode != http.StatusNotFound {
		t.Errorf("pushed where it is off: %d %s", got.StatusCode, got.Text)
	}
	off.refused(t, "request_uri_not_supported", "request_uri", "urn:ietf:params:oauth:request_uri:x")
}
