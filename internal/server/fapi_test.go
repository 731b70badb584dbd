package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"parako/internal/config"
	"parako/internal/oidc"
	"parako/internal/testkit/app"
)

// fapi is a run of the plan fapi2-security-profile-final-test-plan: with private_key_jwt and DPoP, or with mutual TLS for both.
type fapi struct {
	party

	key   keyPair // of the client's assertions and request objects
	proof keyPair
	tls   *authority // nil: assertions and proofs
}

// with lays what authenticates the client over a form.
func (f fapi) form(t *testing.T, form url.Values, pairs ...string) url.Values {
	t.Helper()
	if f.tls == nil {
		form.Set("client_assertion", f.assertion(t, f.key))
		form.Set("client_assertion_type", assertionType)
	}
	return edit(form, pairs...)
}

// header is what a request to an endpoint carries besides: a proof for it, or the certificate.
func (f fapi) header(t *testing.T, path string) http.Header {
	t.Helper()
	if f.tls != nil {
		return http.Header{"Client-Cert": {f.tls.rfc9440()}}
	}
	return dpop(f.proof.proof(t, http.MethodPost, f.tenant.Issuer+path))
}

func (f fapi) push(t *testing.T, pairs ...string) reply {
	t.Helper()
	header := f.header(t, "/request")
	header.Del("DPoP") // The proof may come with the token request first.
	return f.send(t.Context(), t, "/request", header, f.form(t, f.request(), pairs...))
}

func (f fapi) at(requestURI string) string {
	return f.tenant.Issuer + "/authorize?" + url.Values{"client_id": {f.client.ID}, "request_uri": {requestURI}}.Encode()
}

// code pushes a request and has it answered.
func (f fapi) code(t *testing.T, pairs ...string) string {
	t.Helper()
	pushed := f.push(t, pairs...)
	if pushed.StatusCode != http.StatusCreated {
		t.Fatalf("push: %d %s", pushed.StatusCode, pushed.Text)
	}
	return f.read(t, app.Get(t, f.step, f.at(pushed.text("request_uri"))).Header.Get("Location")).Get("code")
}

func (f fapi) redeem(t *testing.T, code string, header http.Header, pairs ...string) reply {
	t.Helper()
	return f.send(t.Context(), t, "/token", header, f.form(t, url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {app.Callback}, "code_verifier": {verifier},
	}, pairs...))
}

func (f fapi) tokens(t *testing.T, pairs ...string) reply {
	t.Helper()
	got := f.redeem(t, f.code(t, pairs...), f.header(t, "/token"))
	expect(t, got, http.StatusOK, "")
	return got
}

// resource asks the userinfo endpoint with the token and the key or certificate.
func (f fapi) resource(t *testing.T, token string) reply {
	t.Helper()
	if f.tls == nil {
		return f.userinfoWith(t, token, f.proof.proof(t, http.MethodGet, f.tenant.Issuer+"/userinfo", "ath", ath(token)))
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.tenant.Issuer+"/userinfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Client-Cert", f.tls.rfc9440())
	return f.do(t, r)
}

func TestConformanceFAPI2(t *testing.T) {
	t.Parallel()
	a := app.New(t, func(c *config.Config) { c.ClientCertificateHeader = "Client-Cert" })
	a.Configure(t, a.Globex, "features", `{"oidc":{"mtls":{"enabled":true},"dpop":{"enabled":false},"implicit_flow":{"enabled":true},"hybrid_flow":{"enabled":true}}}`)
	for name, tenant := range map[string]app.Tenant{"private_key_jwt and DPoP": a.Acme, "mutual TLS": a.Globex} {
		t.Run(name, func(t *testing.T) {
			f := fapi{party: newParty(t, a, tenant, tenant.Web), key: newKey(t, jose.PS256), proof: newKey(t, jose.ES256)}
			f.party.code(t)
			keys := f.key.set(t)
			if tenant.Slug == "globex" {
				mine := certificate(t, nil, nil)
				f.tls = &mine
				keys = mustJSON(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: mine.key.Public(), KeyID: "1"}}})
			}
			f.party = f.with(t, func(n *oidc.NewClient) {
				n.FAPIProfile, n.Internal, n.Scope, n.JWKS = oidc.FAPI2, true, "openid email offline_access", keys
				n.TokenEndpointAuthMethod, n.DPoPBound = "private_key_jwt", true
				if f.tls != nil {
					n.TokenEndpointAuthMethod, n.DPoPBound, n.TLSBound = "self_signed_tls_client_auth", false, true
				}
			})
			for name, module := range fapiModules {
				t.Run("fapi2-security-profile-final-"+name, func(t *testing.T) { module(t, f) })
			}
		})
	}
}

// answered has a request with these parameters answered with a code and the state.
func answered(state string, pairs ...string) func(*testing.T, fapi) {
	return func(t *testing.T, f fapi) {
		pushed := f.push(t, append([]string{"state", state}, pairs...)...)
		got := f.read(t, app.Get(t, f.step, f.at(pushed.text("request_uri"))).Header.Get("Location"))
		if want := strings.TrimPrefix(state, drop); got.Get("state") != want || got.Get("code") == "" {
			t.Errorf("answer = %v", got)
		}
		tokens := f.redeem(t, got.Get("code"), f.header(t, "/token"))
		expect(t, tokens, http.StatusOK, "")
		if nonce, _ := f.verified(t, "JWT", tokens.text("id_token"))["nonce"].(string); len(pairs) == 2 && pairs[0] == "nonce" && nonce != strings.TrimPrefix(pairs[1], drop) {
			t.Errorf("nonce = %q", nonce)
		}
	}
}

// pushRefused has a push with these parameters refused.
func pushRefused(code string, pairs ...string) func(*testing.T, fapi) {
	return func(t *testing.T, f fapi) { expect(t, f.push(t, pairs...), http.StatusBadRequest, code) }
}

// assertionRefused has a push whose assertion is changed so refused.
func assertionRefused(pairs ...any) func(*testing.T, fapi) {
	return func(t *testing.T, f fapi) {
		if f.tls != nil { // There is none: the certificate of somebody else, then.
			other := certificate(t, nil, nil)
			f.tls = &other
			expect(t, f.push(t), http.StatusUnauthorized, "invalid_client")
			return
		}
		expect(t, f.push(t, "client_assertion", f.assertion(t, f.key, pairs...)), http.StatusUnauthorized, "invalid_client")
	}
}

var fapiModules = map[string]func(*testing.T, fapi){
	"happy-flow": func(t *testing.T, f fapi) {
		tokens := f.tokens(t)
		if want := map[bool]string{true: "Bearer", false: "DPoP"}[f.tls != nil]; tokens.text("token_type") != want {
			t.Errorf("token_type = %s", tokens.text("token_type"))
		}
		f.verified(t, "JWT", tokens.text("id_token"))
		if alg := segment(t, tokens.text("id_token"), 0)["alg"]; alg != "ES256" {
			t.Errorf("the ID token is signed with %v", alg)
		}
		expect(t, f.resource(t, tokens.text("access_token")), http.StatusOK, "")
	},
	"discovery-end-point-verification": func(t *testing.T, f fapi) {
		c := conformance{party: f.party}
		document := c.discovery(t)
		for name, value := range map[string]string{
			"token_endpoint_auth_methods_supported": f.client.TokenEndpointAuthMethod, "code_challenge_methods_supported": "S256", "response_types_supported": "code",
			"token_endpoint_auth_signing_alg_values_supported": "PS256",
		} {
			if !c.lists(t, name, value) {
				t.Errorf("%s does not list %s", name, value)
			}
		}
		if document["pushed_authorization_request_endpoint"] == nil || document["authorization_response_iss_parameter_supported"] != true {
			t.Errorf("document = %v", document)
		}
		if f.tls != nil && document["tls_client_certificate_bound_access_tokens"] != true || f.tls == nil && !c.lists(t, "dpop_signing_alg_values_supported", "ES256") {
			t.Error("what binds tokens is not advertised")
		}
	},
	"user-rejects-authentication": func(t *testing.T, f fapi) {
		pushed := f.push(t, "prompt", "login")
		page := app.Get(t, f.browser, f.at(pushed.text("request_uri")))
		resp := app.Post(t, f.step, page.Request.URL.String()+"/abort", nil)
		if got := f.read(t, resp.Header.Get("Location")); got.Get("error") != "access_denied" || got.Get("state") != "the-state" {
			t.Errorf("answer = %v", got)
		}
	},
	"ensure-request-without-state-succeeds":     answered(drop),
	"ensure-request-without-nonce-succeeds":     answered("s", "nonce", drop),
	"ensure-request-with-64-char-nonce-success": answered("s", "nonce", strings.Repeat("n", 64)),
	"ensure-request-with-long-nonce":            answered("s", "nonce", strings.Repeat("n", 384)),
	"ensure-request-with-long-state":            answered(strings.Repeat("s", 384)),
	"ensure-unknown-parameters-are-ignored":     answered("s", "extra", "1"),
	"ensure-plain-pkce-fails":                   pushRefused("invalid_request", "code_challenge_method", "plain"),
	"ensure-request-without-pkce-fails":         pushRefused("invalid_request", "code_challenge", drop, "code_challenge_method", drop),
	"ensure-response-type-code-idtoken-fails":   pushRefused("unsupported_response_type", "response_type", "code id_token"),
	"ensure-response-type-token-fails":          pushRefused("unsupported_response_type", "response_type", "token"),
	"ensure-registered-redirect-uri":            pushRefused("invalid_request", "redirect_uri", "https://evil.example/"),
	"ensure-redirect-uri-in-pushed-request":     pushRefused("invalid_request", "redirect_uri", drop),
	"par-attempt-to-use-request_uri-within-par": pushRefused("invalid_request", "request_uri", "urn:ietf:params:oauth:request_uri:x"),
	"ensure-client-assertion-expired-fails":     assertionRefused("exp", time.Now().Add(-time.Minute).Unix()),
	"ensure-client-assertion-nbf-60s-fails": func(t *testing.T, f fapi) {
		assertionRefused("nbf", time.Now().Add(time.Minute).Unix())(t, f)
	},
	"ensure-client-assertion-no-sub-fails":        assertionRefused("sub", nil),
	"ensure-client-assertion-other-client-fails":  assertionRefused("iss", "other", "sub", "other"),
	"par-ensure-aud-array-fails":                  assertionRefused("aud", []string{"x"}),
	"par-ensure-token-endpoint-as-audience-fails": func(t *testing.T, f fapi) { assertionRefused("aud", f.tenant.Issuer+"/token")(t, f) },
	"par-ensure-par-endpoint-as-audience-fails":   func(t *testing.T, f fapi) { assertionRefused("aud", f.tenant.Issuer+"/request")(t, f) },
	"par-ensure-issuer-in-an-array-fails":         func(t *testing.T, f fapi) { assertionRefused("aud", []string{f.tenant.Issuer})(t, f) },
	"ensure-client-assertion-nbf-8s-succeeds": func(t *testing.T, f fapi) {
		if f.tls != nil {
			f.tokens(t)
			return
		}
		soon := time.Now().Add(8 * time.Second).Unix()
		if got := f.push(t, "client_assertion", f.assertion(t, f.key, "nbf", soon, "iat", soon)); got.StatusCode != http.StatusCreated {
			t.Errorf("%d %s", got.StatusCode, got.Text)
		}
	},
	"ensure-signed-with-rs256-fails": func(t *testing.T, f fapi) {
		if f.tls != nil {
			assertionRefused()(t, f)
			return
		}
		rs := fapi{party: f.party, key: keyPair{jose.RS256, f.key.private}, proof: f.proof}
		expect(t, rs.push(t), http.StatusUnauthorized, "invalid_client")
	},
	"ensure-other-authentication-fails": func(t *testing.T, f fapi) {
		expect(t, f.send(t.Context(), t, "/request", nil, f.request("client_secret", "x")), http.StatusUnauthorized, "invalid_client")
		expect(t, f.send(t.Context(), t, "/request", nil, f.request()), http.StatusUnauthorized, "invalid_client")
	},
	"ensure-request-without-par-fails": func(t *testing.T, f fapi) {
		f.refused(t, "invalid_request")
		f.refused(t, "invalid_request", "request", f.requestObject(t, f.key))
	},
	"par-ensure-reused-request_uri-fails": func(t *testing.T, f fapi) {
		uri := f.push(t).text("request_uri")
		if f.read(t, app.Get(t, f.step, f.at(uri)).Header.Get("Location")).Get("code") == "" {
			t.Error("no code the first time")
		}
		if resp := app.Get(t, f.step, f.at(uri)); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("the second time: %d %s", resp.StatusCode, resp.Header.Get("Location"))
		}
	},
	"par-attempt-to-use-expired-request_uri": func(t *testing.T, f fapi) {
		uri := f.push(t).text("request_uri")
		f.Superuser(t, "UPDATE parako.pushed_requests SET expires_at = now() - interval '1 second' WHERE client_id = $1 AND spent_at IS NULL", f.client.ID)
		if resp := app.Get(t, f.step, f.at(uri)); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%d %s", resp.StatusCode, resp.Header.Get("Location"))
		}
	},
	"par-attempt-to-use-request_uri-for-different-client": func(t *testing.T, f fapi) {
		uri := f.push(t).text("request_uri")
		other := fapi{party: f.as(webClient(t, f.App, f.tenant)), key: f.key}
		if resp := app.Get(t, f.step, other.at(uri)); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%d %s", resp.StatusCode, resp.Header.Get("Location"))
		}
	},
	"ensure-authorization-code-is-bound-to-client": func(t *testing.T, f fapi) {
		code := f.code(t)
		other := f.as(webClient(t, f.App, f.tenant))
		expect(t, other.redeem(t, code), http.StatusBadRequest, "invalid_grant")
	},
	"attempt-reuse-authorization-code-after-one-second": func(t *testing.T, f fapi) {
		code := f.code(t)
		tokens := f.redeem(t, code, f.header(t, "/token"))
		expect(t, tokens, http.StatusOK, "")
		f.Superuser(t, "UPDATE parako.codes SET spent_at = spent_at - interval '1 second' WHERE id = $1", rowID(code))
		expect(t, f.redeem(t, code, f.header(t, "/token")), http.StatusBadRequest, "invalid_grant")
		expect(t, f.resource(t, tokens.text("access_token")), http.StatusUnauthorized, "invalid_token")
	},
	"attempt-to-use-expired-authorization-code": func(t *testing.T, f fapi) {
		code := f.code(t)
		f.Superuser(t, "UPDATE parako.codes SET expires_at = now() - interval '1 second' WHERE id = $1", rowID(code))
		expect(t, f.redeem(t, code, f.header(t, "/token")), http.StatusBadRequest, "invalid_grant")
	},
	"ensure-wrong-pkce-verifier-fails": func(t *testing.T, f fapi) {
		expect(t, f.redeem(t, f.code(t), f.header(t, "/token"), "code_verifier", strings.Repeat("v", 43)), http.StatusBadRequest, "invalid_grant")
		expect(t, f.redeem(t, f.code(t), f.header(t, "/token"), "code_verifier", drop), http.StatusBadRequest, "invalid_grant")
	},
	"ensure-holder-of-key-required": func(t *testing.T, f fapi) {
		token := f.tokens(t).text("access_token")
		expect(t, f.userinfo(t, token), http.StatusUnauthorized, "invalid_token")
		thief := f
		thief.proof = newKey(t, jose.ES256)
		if f.tls != nil {
			other := certificate(t, nil, nil)
			thief.tls = &other
		} else {
			expect(t, f.redeem(t, f.code(t), nil), http.StatusBadRequest, "invalid_dpop_proof")
		}
		expect(t, thief.resource(t, token), http.StatusUnauthorized, "invalid_token")
		expect(t, f.resource(t, token), http.StatusOK, "")
	},
	"dpop-negative-tests": func(t *testing.T, f fapi) {
		if f.tls != nil { // There are no proofs here; one is passed over.
			header := f.header(t, "/token")
			header.Set("DPoP", "x")
			expect(t, f.redeem(t, f.code(t), header), http.StatusOK, "")
			return
		}
		target, now := f.tenant.Issuer+"/token", time.Now()
		for name, proof := range map[string]string{
			"old": f.proof.proof(t, "POST", target, "iat", now.Add(-10*time.Minute).Unix()), "future": f.proof.proof(t, "POST", target, "iat", now.Add(time.Minute).Unix()),
			"method": f.proof.proof(t, "GET", target), "url": f.proof.proof(t, "POST", f.tenant.Issuer+"/userinfo"), "jti": f.proof.proof(t, "POST", target, "jti", nil),
		} {
			if got := f.redeem(t, "x", dpop(proof)); got.text("error") != "invalid_dpop_proof" {
				t.Errorf("%s: %s", name, got.Text)
			}
		}
	},
	"ensure-dpop_jkt-binds-the-code": func(t *testing.T, f fapi) {
		if f.tls != nil {
			f.tokens(t, "dpop_jkt", f.proof.thumbprint(t)) // It means nothing where DPoP is off.
			return
		}
		other := newKey(t, jose.ES256)
		expect(t, f.redeem(t, f.code(t, "dpop_jkt", other.thumbprint(t)), f.header(t, "/token")), http.StatusBadRequest, "invalid_grant")
		f.tokens(t, "dpop_jkt", f.proof.thumbprint(t))
	},
	"refresh-token": func(t *testing.T, f fapi) {
		first := f.tokens(t, "scope", "openid offline_access")
		again := f.send(t.Context(), t, "/token", f.header(t, "/token"), f.form(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first.text("refresh_token")}}))
		expect(t, again, http.StatusOK, "")
		if again.text("refresh_token") != first.text("refresh_token") {
			t.Error("the refresh token was rotated, which FAPI 2.0 does not want")
		}
		expect(t, f.resource(t, again.text("access_token")), http.StatusOK, "")
	},
	"client-assertion-is-used-once": func(t *testing.T, f fapi) {
		if f.tls != nil {
			f.tokens(t)
			return
		}
		once := f.assertion(t, f.key)
		if got := f.push(t, "client_assertion", once); got.StatusCode != http.StatusCreated {
			t.Errorf("%d %s", got.StatusCode, got.Text)
		}
		expect(t, f.push(t, "client_assertion", once), http.StatusUnauthorized, "invalid_client")
	},
}
