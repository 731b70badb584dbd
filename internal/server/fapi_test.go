package server_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"parako/internal/oidc"
	"parako/internal/testkit/app"
)

// fapiClient is a client of the FAPI 2.0 Security Profile with private_key_jwt and DPoP.
func fapiClient(t *testing.T, keys keyPair) func(*oidc.NewClient) {
	t.Helper()
	return func(n *oidc.NewClient) {
		n.FAPIProfile, n.TokenEndpointAuthMethod, n.JWKS, n.DPoPBound = oidc.FAPI2, "private_key_jwt", keys.set(t), true
		n.Internal, n.Scope = true, "openid email offline_access"
	}
}

// pushFAPI pushes the request of a FAPI client and returns where the browser goes.
func (p party) pushFAPI(t *testing.T, k keyPair, pairs ...string) (string, reply) {
	t.Helper()
	form := p.request(append([]string{"client_assertion", p.assertion(t, k), "client_assertion_type", assertionType}, pairs...)...)
	got := p.do(t, p.formRequest(t.Context(), "/request", form))
	return p.tenant.Issuer + "/authorize?" + url.Values{"client_id": {p.client.ID}, "request_uri": {got.text("request_uri")}}.Encode(), got
}

func TestFAPI2(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	key, proofKey := newKey(t, jose.PS256), newKey(t, jose.ES256)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	p.code(t)
	p = p.with(t, fapiClient(t, key))
	at := func(path string) string { return p.tenant.Issuer + path }
	redeem := func(code string, header http.Header, pairs ...string) reply {
		t.Helper()
		return p.send(t.Context(), t, "/token", header, edit(url.Values{
			"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {app.Callback}, "code_verifier": {verifier},
			"client_assertion": {p.assertion(t, key)}, "client_assertion_type": {assertionType},
		}, pairs...))
	}
	proof := func() http.Header { return dpop(proofKey.proof(t, http.MethodPost, at("/token"))) }
	code := func() string {
		t.Helper()
		target, got := p.pushFAPI(t, key)
		if got.StatusCode != http.StatusCreated {
			t.Fatalf("push: %d %s", got.StatusCode, got.Text)
		}
		return p.answer(t, app.Get(t, p.step, target)).Get("code")
	}

	t.Run("the flow", func(t *testing.T) {
		_, got := p.pushFAPI(t, key, "scope", "openid offline_access")
		target := p.tenant.Issuer + "/authorize?" + url.Values{"client_id": {p.client.ID}, "request_uri": {got.text("request_uri")}}.Encode()
		tokens := redeem(p.answer(t, app.Get(t, p.step, target)).Get("code"), proof())
		expect(t, tokens, http.StatusOK, "")
		if alg := segment(t, tokens.text("id_token"), 0)["alg"]; alg != "ES256" || tokens.text("token_type") != "DPoP" {
			t.Errorf("alg = %v, token_type = %s", alg, tokens.text("token_type"))
		}
		again := p.send(t.Context(), t, "/token", proof(), url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {tokens.text("refresh_token")},
			"client_assertion": {p.assertion(t, key)}, "client_assertion_type": {assertionType},
		})
		expect(t, again, http.StatusOK, "")
		if again.text("refresh_token") != tokens.text("refresh_token") {
			t.Error("the refresh token was rotated, which FAPI 2.0 does not want")
		}
	})
	t.Run("the request must be pushed", func(t *testing.T) {
		p.refused(t, "invalid_request")
		p.refused(t, "invalid_request", "request", p.requestObject(t, key))
	})
	t.Run("tokens must be bound", func(t *testing.T) {
		expect(t, redeem(code(), nil), http.StatusBadRequest, "invalid_dpop_proof")
	})
	t.Run("a code is good once", func(t *testing.T) {
		code := code()
		expect(t, redeem(code, proof()), http.StatusOK, "")
		expect(t, redeem(code, proof()), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("refused pushes", func(t *testing.T) {
		for _, tt := range []struct {
			code  string
			pairs []string
		}{
			{"unsupported_response_type", []string{"response_type", "code id_token"}},
			{"invalid_request", []string{"code_challenge_method", "plain"}},
			{"invalid_request", []string{"code_challenge", drop}},
			{"invalid_request", []string{"redirect_uri", drop}},
		} {
			_, got := p.pushFAPI(t, key, tt.pairs...)
			if got.StatusCode != http.StatusBadRequest || got.text("error") != tt.code {
				t.Errorf("%q: %d %s", tt.pairs, got.StatusCode, got.Text)
			}
		}
	})
	t.Run("assertions", func(t *testing.T) {
		now := time.Now()
		for name, tt := range map[string]struct {
			assertion string
			good      bool
		}{
			"the issuer as a string":      {p.assertion(t, key), true},
			"a clock 8 s ahead":           {p.assertion(t, key, "nbf", now.Add(8*time.Second).Unix(), "iat", now.Add(8*time.Second).Unix()), true},
			"a clock a minute ahead":      {p.assertion(t, key, "nbf", now.Add(65*time.Second).Unix()), false},
			"the issuer in a list":        {p.assertion(t, key, "aud", []string{p.tenant.Issuer}), false},
			"the token endpoint":          {p.assertion(t, key, "aud", at("/token")), false},
			"the endpoint itself":         {p.assertion(t, key, "aud", at("/request")), false},
			"a key that is not the one":   {p.assertion(t, newKey(t, jose.PS256)), false},
			"RS256 with the same key":     {p.assertion(t, keyPair{jose.RS256, key.private}), false},
			"one that lives for too long": {p.assertion(t, key, "exp", now.Add(time.Hour).Unix()), false},
		} {
			got := p.do(t, p.formRequest(t.Context(), "/request", p.request("client_assertion", tt.assertion, "client_assertion_type", assertionType)))
			if (got.StatusCode == http.StatusCreated) != tt.good || !tt.good && got.text("error") != "invalid_client" {
				t.Errorf("%s: %d %s", name, got.StatusCode, got.Text)
			}
		}
	})
}
