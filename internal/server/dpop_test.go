package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"parako/internal/oidc"
	"parako/internal/testkit/app"
)

func dpop(proof string) http.Header { return http.Header{"Dpop": {proof}} }

// redeemWith exchanges a code with a DPoP proof.
func (p party) redeemWith(t *testing.T, proof, code string) reply {
	t.Helper()
	return p.send(t.Context(), t, "/token", dpop(proof), url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {app.Callback}, "code_verifier": {verifier},
	})
}

// userinfoWith asks with a DPoP-bound token.
func (p party) userinfoWith(t *testing.T, token, proof string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.tenant.Issuer+"/userinfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "DPoP "+token)
	if proof != "" {
		r.Header.Set("DPoP", proof)
	}
	return p.do(t, r)
}

func TestDPoP(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	key, stranger := newKey(t, jose.ES256), newKey(t, jose.ES256)
	p := newParty(t, a, a.Acme, a.Acme.SPA)
	at := func(path string) string { return a.Acme.Issuer + path }
	proof := func(pairs ...any) string { return key.proof(t, http.MethodPost, at("/token"), pairs...) }

	tokens := p.redeemWith(t, proof(), p.code(t))
	expect(t, tokens, http.StatusOK, "")
	if tokens.text("token_type") != "DPoP" || tokens.Header.Get("DPoP-Nonce") == "" {
		t.Errorf("token_type = %q, nonce = %q", tokens.text("token_type"), tokens.Header.Get("DPoP-Nonce"))
	}
	token := tokens.text("access_token")
	seen := key.proof(t, http.MethodGet, at("/userinfo"), "ath", ath(token))

	t.Run("at the resource", func(t *testing.T) {
		expect(t, p.userinfoWith(t, token, seen), http.StatusOK, "")
		for name, proof := range map[string]string{
			"none":               "",
			"used before":        seen,
			"of another key":     stranger.proof(t, http.MethodGet, at("/userinfo"), "ath", ath(token)),
			"for another token":  key.proof(t, http.MethodGet, at("/userinfo"), "ath", ath("x")),
			"for no token":       key.proof(t, http.MethodGet, at("/userinfo")),
			"for another method": key.proof(t, http.MethodPost, at("/userinfo"), "ath", ath(token)),
		} {
			got := p.userinfoWith(t, token, proof)
			if got.StatusCode != http.StatusUnauthorized || !strings.Contains(strings.Join(got.Header.Values("WWW-Authenticate"), "|"), `DPoP realm="parako", error="invalid_`) {
				t.Errorf("%s: %d %q", name, got.StatusCode, got.Header.Values("WWW-Authenticate"))
			}
		}
		expect(t, p.userinfo(t, token), http.StatusUnauthorized, "invalid_token") // as a bearer token
		bearer := p.tokens(t).text("access_token")
		expect(t, p.userinfoWith(t, bearer, key.proof(t, http.MethodGet, at("/userinfo"), "ath", ath(bearer))), http.StatusUnauthorized, "invalid_token")
		expect(t, p.userinfo(t, bearer), http.StatusOK, "")
	})
	t.Run("introspection says what it is bound to", func(t *testing.T) {
		got := p.as(a.Acme.Web).post(t, "/token/introspection", "token", token)
		if got.body["active"] != false {
			t.Errorf("another client's token: %s", got.Text)
		}
		web := p.as(a.Acme.Web)
		bound := web.redeemWith(t, proof(), web.code(t))
		info := web.post(t, "/token/introspection", "token", bound.text("access_token"))
		cnf, _ := info.body["cnf"].(map[string]any)
		if info.text("token_type") != "DPoP" || cnf["jkt"] != key.thumbprint(t) {
			t.Errorf("introspection = %s", info.Text)
		}
		if at := p.as(a.Acme.M2M).send(t.Context(), t, "/token", dpop(proof()), url.Values{"grant_type": {"client_credentials"}, "resource": {"urn:test:api"}}); at.text("token_type") != "DPoP" ||
			!strings.Contains(string(mustJSON(t, claimsOf(t, at.text("access_token"))["cnf"])), key.thumbprint(t)) {
			t.Errorf("a JSON Web Token: %s", at.Text)
		}
	})
	t.Run("the refresh token of a public client is bound", func(t *testing.T) {
		refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.text("refresh_token")}}
		expect(t, p.send(t.Context(), t, "/token", nil, refresh), http.StatusBadRequest, "invalid_grant")
		expect(t, p.send(t.Context(), t, "/token", dpop(stranger.proof(t, http.MethodPost, at("/token"))), refresh), http.StatusBadRequest, "invalid_grant")
		expect(t, p.send(t.Context(), t, "/token", dpop(proof()), refresh), http.StatusOK, "")
		web := p.as(webClient(t, a, a.Acme))
		first := web.redeemWith(t, proof(), web.code(t, "scope", "openid offline_access"))
		again := web.send(t.Context(), t, "/token", dpop(stranger.proof(t, http.MethodPost, at("/token"))), url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first.text("refresh_token")}})
		expect(t, again, http.StatusOK, "") // It authenticates instead.
	})
	t.Run("a code may be bound before", func(t *testing.T) {
		code := p.code(t, "dpop_jkt", key.thumbprint(t))
		expect(t, p.redeem(t, code), http.StatusBadRequest, "invalid_grant")
		code = p.code(t, "dpop_jkt", key.thumbprint(t))
		expect(t, p.redeemWith(t, stranger.proof(t, http.MethodPost, at("/token")), code), http.StatusBadRequest, "invalid_grant")
		code = p.code(t, "dpop_jkt", key.thumbprint(t))
		expect(t, p.redeemWith(t, proof(), code), http.StatusOK, "")
		p.refused(t, "invalid_request", "dpop_jkt", "short")

		pushed := p.send(t.Context(), t, "/request", dpop(key.proof(t, http.MethodPost, at("/request"))), p.request())
		target := p.tenant.Issuer + "/authorize?" + url.Values{"client_id": {p.client.ID}, "request_uri": {pushed.text("request_uri")}}.Encode()
		expect(t, p.redeem(t, p.codeAt(t, target)), http.StatusBadRequest, "invalid_grant")
		mismatch := p.send(t.Context(), t, "/request", dpop(key.proof(t, http.MethodPost, at("/request"))), p.request("dpop_jkt", stranger.thumbprint(t)))
		expect(t, mismatch, http.StatusBadRequest, "invalid_request")
	})
	t.Run("refused proofs", func(t *testing.T) {
		now := time.Now()
		once := proof()
		code := p.code(t)
		for name, header := range map[string]http.Header{
			"garbage":           dpop("garbage"),
			"empty":             dpop(""),
			"twice":             {"Dpop": {proof(), proof()}},
			"another method":    dpop(key.proof(t, http.MethodGet, at("/token"))),
			"another endpoint":  dpop(key.proof(t, http.MethodPost, at("/userinfo"))),
			"another tenant":    dpop(key.proof(t, http.MethodPost, a.Globex.Issuer+"/token")),
			"no method":         dpop(proof("htm", nil)),
			"no url":            dpop(proof("htu", nil)),
			"no jti":            dpop(proof("jti", nil)),
			"no iat":            dpop(proof("iat", nil)),
			"old":               dpop(proof("iat", now.Add(-5*time.Minute).Unix())),
			"of the future":     dpop(proof("iat", now.Add(time.Minute).Unix())),
			"another type":      dpop(key.sign(t, "JWT", map[string]any{"jti": "1", "htm": "POST", "htu": at("/token"), "iat": now.Unix()})),
			"with a secret key": dpop(privateProof(t, key, at("/token"))),
			"a symmetric one":   dpop(signWith(t, jose.HS256, []byte(strings.Repeat("k", 32)), "dpop+jwt", map[string]any{"jti": "1"})),
			"alg none":          dpop(jwtPart([]byte(`{"alg":"none","typ":"dpop+jwt"}`)) + "." + jwtPart([]byte(`{}`)) + "."),
		} {
			got := p.send(t.Context(), t, "/token", header, url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {app.Callback}, "code_verifier": {verifier}})
			if got.StatusCode != http.StatusBadRequest || got.text("error") != "invalid_dpop_proof" {
				t.Errorf("%s: %d %s", name, got.StatusCode, got.Text)
			}
		}
		bad := proof("nonce", "not-ours")
		expect(t, p.redeemWith(t, bad, code), http.StatusBadRequest, "use_dpop_nonce")
		expect(t, p.redeemWith(t, once, code), http.StatusOK, "") // None of it has spent the code.
		expect(t, p.redeemWith(t, once, p.code(t)), http.StatusBadRequest, "invalid_dpop_proof")
	})
	t.Run("the URL is compared as URLs are", func(t *testing.T) {
		upper := strings.Replace(at("/token"), "http://acme.localhost", "HTTP://ACME.localhost", 1)
		expect(t, p.redeemWith(t, key.proof(t, http.MethodPost, upper+"?x=1#y"), p.code(t)), http.StatusOK, "")
	})
	t.Run("without Redis replays are refused, too", func(t *testing.T) {
		a.Redis.Close()
		once := proof()
		expect(t, p.redeemWith(t, once, p.code(t)), http.StatusOK, "")
		expect(t, p.redeemWith(t, once, p.code(t)), http.StatusBadRequest, "invalid_dpop_proof")
	})
}

// privateProof is a proof that gives its private key away.
func privateProof(t *testing.T, k keyPair, target string) string {
	t.Helper()
	claims := map[string]any{"jti": "1", "htm": http.MethodPost, "htu": target, "iat": time.Now().Unix()}
	options := (&jose.SignerOptions{}).WithType("dpop+jwt").WithHeader("jwk", k.private)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.alg, Key: k.private.Key}, options)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(mustJSON(t, claims))
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestDPoPNonces(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{"dpop":{"require_nonce":true}}}`)
	a.Configure(t, a.Globex, "features", `{"oidc":{"dpop":{"enabled":false}}}`)
	key := newKey(t, jose.ES256)
	p := newParty(t, a, a.Acme, a.Acme.SPA)
	code := p.code(t)
	first := p.redeemWith(t, key.proof(t, http.MethodPost, a.Acme.Issuer+"/token"), code)
	expect(t, first, http.StatusBadRequest, "use_dpop_nonce")
	nonce := first.Header.Get("DPoP-Nonce")
	// With a nonce the client's clock may be off.
	late := time.Now().Add(-3 * time.Minute).Unix()
	tokens := p.redeemWith(t, key.proof(t, http.MethodPost, a.Acme.Issuer+"/token", "nonce", nonce, "iat", late), code)
	expect(t, tokens, http.StatusOK, "")
	got := p.userinfoWith(t, tokens.text("access_token"), key.proof(t, http.MethodGet, a.Acme.Issuer+"/userinfo", "ath", ath(tokens.text("access_token"))))
	if got.StatusCode != http.StatusUnauthorized || got.text("error") != "use_dpop_nonce" || got.Header.Get("DPoP-Nonce") == "" {
		t.Errorf("userinfo without a nonce: %d %s", got.StatusCode, got.Text)
	}

	off := newParty(t, a, a.Globex, a.Globex.SPA)
	plain := off.redeemWith(t, key.proof(t, http.MethodPost, a.Globex.Issuer+"/token"), off.code(t))
	if plain.text("token_type") != "Bearer" || plain.Header.Get("DPoP-Nonce") != "" {
		t.Errorf("where it is off: %s", plain.Text)
	}
	bound := p.with(t, func(n *oidc.NewClient) { n.DPoPBound = true })
	expect(t, bound.redeem(t, bound.code(t)), http.StatusBadRequest, "invalid_dpop_proof")
}
