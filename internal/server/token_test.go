package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/oidc"
	"parako/internal/secret"
	"parako/internal/testkit/app"
)

// alive reports whether userinfo accepts the access token.
func (p party) alive(t *testing.T, accessToken string) bool {
	t.Helper()
	return p.userinfo(t, accessToken).StatusCode == http.StatusOK
}

func TestCodeExchange(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	p.code(t)

	t.Run("answer", func(t *testing.T) {
		got := p.redeem(t, p.code(t, "scope", "openid email"))
		expect(t, got, http.StatusOK, "")
		if got.text("token_type") != "Bearer" || got.text("scope") != "openid email" || got.text("refresh_token") != "" {
			t.Errorf("token response: %s", got.Text)
		}
		if seconds, _ := got.body["expires_in"].(float64); seconds <= 0 {
			t.Errorf("expires_in = %v", got.body["expires_in"])
		}
		if got.Header.Get("Pragma") != "no-cache" {
			t.Errorf("Pragma = %q", got.Header.Get("Pragma"))
		}
		header, id := segment(t, got.text("id_token"), 0), claimsOf(t, got.text("id_token"))
		if header["alg"] != "RS256" || header["typ"] != "JWT" || header["kid"] == "" {
			t.Errorf("ID token header: %v", header)
		}
		var names []string
		for name := range id {
			names = append(names, name)
		}
		want := []string{"acr", "amr", "at_hash", "aud", "auth_time", "exp", "iat", "iss", "nonce", "sid", "sub"}
		if diff := cmp.Diff(want, sorted(names)); diff != "" {
			t.Errorf("ID token claims mismatch (-want +got)\n%s", diff)
		}
	})
	t.Run("second use ends what the first gave", func(t *testing.T) {
		code := p.code(t, "scope", "openid offline_access")
		first := p.redeem(t, code)
		if first.text("refresh_token") == "" || !p.alive(t, first.text("access_token")) {
			t.Fatalf("first use: %s", first.Text)
		}
		expect(t, p.redeem(t, code), http.StatusBadRequest, "invalid_grant")
		if p.alive(t, first.text("access_token")) {
			t.Error("the access token survived the reuse of its code")
		}
		expect(t, p.refresh(t, first.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
		expect(t, p.redeem(t, code), http.StatusBadRequest, "invalid_grant")
	})
	for name, tt := range map[string]struct {
		code  string
		pairs []string
	}{
		"wrong redirect_uri":      {"invalid_grant", []string{"redirect_uri", "http://127.0.0.1/callback"}},
		"no redirect_uri":         {"invalid_grant", []string{"redirect_uri", drop}},
		"wrong verifier":          {"invalid_grant", []string{"code_verifier", strings.Repeat("x", 50)}},
		"short verifier":          {"invalid_grant", []string{"code_verifier", "short"}},
		"no verifier":             {"invalid_grant", []string{"code_verifier", drop}},
		"challenge for verifier":  {"invalid_grant", []string{"code_verifier", "KqzFVVoj1xIeRMaYoKBsIWuO4_VBBpZdnQDgP3WuG_k"}},
		"resource not granted":    {"invalid_target", []string{"resource", "urn:test:api"}},
		"no code":                 {"invalid_grant", []string{"code", drop}},
		"garbage":                 {"invalid_grant", []string{"code", "garbage"}},
		"a code of our form":      {"invalid_grant", []string{"code", "parako_ac_" + strings.Repeat("a", 43) + "." + strings.Repeat("b", 43)}},
		"grant_type missing":      {"invalid_request", []string{"grant_type", drop}},
		"grant_type unknown":      {"unsupported_grant_type", []string{"grant_type", "urn:x"}},
		"grant_type in capitals":  {"unsupported_grant_type", []string{"grant_type", "Authorization_Code"}},
		"grant_type twice in one": {"unsupported_grant_type", []string{"grant_type", "authorization_code refresh_token"}},
		"password grant":          {"unsupported_grant_type", []string{"grant_type", "password", "username", "a", "password", "b"}},
		"not the client's grant":  {"unauthorized_client", []string{"grant_type", "client_credentials"}},
	} {
		t.Run(name, func(t *testing.T) {
			code := p.code(t)
			expect(t, p.redeem(t, code, append([]string{"code", code}, tt.pairs...)...), http.StatusBadRequest, tt.code)
			// The mistake has not used the code up: otherwise anyone could burn it.
			expect(t, p.redeem(t, code), http.StatusOK, "")
		})
	}
	t.Run("another client", func(t *testing.T) {
		code := p.code(t)
		expect(t, p.as(a.Acme.SPA).redeem(t, code), http.StatusBadRequest, "invalid_grant")
		expect(t, p.redeem(t, code), http.StatusOK, "")
	})
	t.Run("expired", func(t *testing.T) {
		code := p.code(t)
		a.Superuser(t, "UPDATE parako.codes SET expires_at = now() WHERE id = $1", rowID(code))
		expect(t, p.redeem(t, code), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("of a person who was disabled since", func(t *testing.T) {
		own := newParty(t, a, a.AddTenant(t, "initech"), oidc.Client{})
		own.client = own.tenant.Web
		tokens := own.tokens(t, "scope", "openid offline_access")
		code := own.code(t)
		a.Superuser(t, "UPDATE parako.users SET account_enabled = false WHERE id = $1", own.tenant.User.ID)
		expect(t, own.redeem(t, code), http.StatusBadRequest, "invalid_grant")
		expect(t, own.refresh(t, tokens.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
		if own.alive(t, tokens.text("access_token")) {
			t.Error("userinfo of a disabled account")
		}
		own.refused(t, "login_required", "prompt", "none")
	})
	t.Run("form", func(t *testing.T) {
		code := p.code(t)
		r := p.formRequest(t.Context(), "/token", url.Values{"grant_type": {"authorization_code"}, "code": {code, code}, "code_verifier": {verifier}})
		expect(t, p.do(t, r), http.StatusBadRequest, "invalid_request")

		var body strings.Builder
		w := multipart.NewWriter(&body)
		for name, value := range map[string]string{
			"grant_type": "authorization_code", "code": code, "redirect_uri": app.Callback, "code_verifier": verifier,
		} {
			if err := w.WriteField(name, value); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for media, text := range map[string]string{
			w.FormDataContentType(): body.String(), "application/json": `{"grant_type":"authorization_code"}`, "": "grant_type=authorization_code", "text": "",
		} {
			r := p.formRequest(t.Context(), "/token", nil)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL.String(), strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", media)
			r.SetBasicAuth(p.client.ID, p.client.Secret)
			expect(t, p.do(t, r), http.StatusBadRequest, "invalid_request")
		}
		for _, name := range []string{"client_secret", "code", "client_assertion", "refresh_token"} {
			expect(t, p.post(t, "/token?"+name+"=x", "grant_type", "authorization_code", "code", code), http.StatusBadRequest, "invalid_request")
		}
		// Only the body counts.
		expect(t, p.post(t, "/token?grant_type=authorization_code&code_verifier="+verifier, "code", code), http.StatusBadRequest, "invalid_request")
		expect(t, p.redeem(t, code), http.StatusOK, "")
	})
}

func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	service := func(t *testing.T, method string) party {
		t.Helper()
		return newParty(t, a, a.Acme, register(t, a, a.Acme, oidc.NewClient{
			ID: "service-" + uuid.NewString()[:8], Preset: oidc.PresetM2M,
			ClientMetadata: oidc.ClientMetadata{Name: "Service", Scope: "jobs:run", TokenEndpointAuthMethod: method},
		}))
	}
	ask := func(t *testing.T, p party, basic []string, pairs ...string) reply {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.Acme.Issuer+"/token",
			strings.NewReader(edit(url.Values{"grant_type": {"client_credentials"}}, pairs...).Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if basic != nil {
			r.SetBasicAuth(basic[0], basic[1])
		}
		return p.do(t, r)
	}
	t.Run("Basic", func(t *testing.T) {
		p := service(t, "client_secret_basic")
		id, pass := p.client.ID, p.client.Secret
		expect(t, ask(t, p, []string{id, pass}), http.StatusOK, "")
		expect(t, ask(t, p, []string{id, pass}, "client_id", id), http.StatusOK, "")
		for name, got := range map[string]reply{
			"wrong secret": ask(t, p, []string{id, pass + "x"}), "empty secret": ask(t, p, []string{id, ""}),
			"unknown client": ask(t, p, []string{"nobody", pass}), "client of another tenant": ask(t, p, []string{a.Globex.M2M.ID, a.Globex.M2M.Secret}),
		} {
			expect(t, got, http.StatusUnauthorized, "invalid_client")
			if challenge := got.Header.Get("WWW-Authenticate"); !strings.HasPrefix(challenge, "Basic realm=") {
				t.Errorf("%s: WWW-Authenticate = %q", name, challenge)
			}
			if want := ask(t, p, []string{"nobody", "x"}); got.Text != want.Text {
				t.Errorf("%s is told apart from an unknown client: %s", name, got.Text)
			}
		}
		expect(t, ask(t, p, nil, "client_id", id, "client_secret", pass), http.StatusUnauthorized, "invalid_client")
		expect(t, ask(t, p, nil, "client_id", id), http.StatusUnauthorized, "invalid_client")
		expect(t, ask(t, p, nil), http.StatusUnauthorized, "invalid_client")
		expect(t, ask(t, p, []string{id, pass}, "client_id", id, "client_secret", pass), http.StatusBadRequest, "invalid_request")
		expect(t, ask(t, p, []string{id, pass}, "client_id", "another"), http.StatusBadRequest, "invalid_request")
		expect(t, ask(t, p, []string{id, "%zz"}), http.StatusBadRequest, "invalid_request")
	})
	t.Run("in the body", func(t *testing.T) {
		p := service(t, "client_secret_post")
		expect(t, ask(t, p, nil, "client_id", p.client.ID, "client_secret", p.client.Secret), http.StatusOK, "")
		got := ask(t, p, nil, "client_id", p.client.ID, "client_secret", "wrong")
		expect(t, got, http.StatusUnauthorized, "invalid_client")
		if got.Header.Get("WWW-Authenticate") != "" {
			t.Error("a challenge for a method that was not used")
		}
		expect(t, ask(t, p, []string{p.client.ID, p.client.Secret}), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("two secrets overlap", func(t *testing.T) {
		p := service(t, "client_secret_basic")
		fresh := secret.Token()
		a.Superuser(t, `UPDATE parako.clients SET previous_secret_digest = secret_digest, secret_digest = $1,
			previous_secret_expires_at = now() + interval '1 hour' WHERE id = $2`, secret.Digest(fresh), p.client.ID)
		expect(t, ask(t, p, []string{p.client.ID, p.client.Secret}), http.StatusOK, "")
		expect(t, ask(t, p, []string{p.client.ID, fresh}), http.StatusOK, "")
		a.Superuser(t, "UPDATE parako.clients SET previous_secret_expires_at = now() WHERE id = $1", p.client.ID)
		expect(t, ask(t, p, []string{p.client.ID, p.client.Secret}), http.StatusUnauthorized, "invalid_client")
		expect(t, ask(t, p, []string{p.client.ID, fresh}), http.StatusOK, "")
	})
	t.Run("a client that is switched off stops at once", func(t *testing.T) {
		p := service(t, "client_secret_basic")
		expect(t, ask(t, p, []string{p.client.ID, p.client.Secret}), http.StatusOK, "")
		a.Superuser(t, "UPDATE parako.clients SET active = false WHERE id = $1", p.client.ID)
		expect(t, ask(t, p, []string{p.client.ID, p.client.Secret}), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("a public client brings no secret", func(t *testing.T) {
		p := newParty(t, a, a.Acme, a.Acme.SPA)
		code := p.code(t)
		expect(t, p.redeem(t, code, "client_secret", "x"), http.StatusUnauthorized, "invalid_client")
		expect(t, p.redeem(t, code), http.StatusOK, "")
		// A parameter without a value is none.
		expect(t, p.redeem(t, p.code(t), "client_secret", "", "client_assertion", "", "client_assertion_type", "", "resource", ""), http.StatusOK, "")
		web := p.as(a.Acme.Web)
		web.client.TokenEndpointAuthMethod = "none"
		expect(t, web.redeem(t, web.code(t), "client_secret", ""), http.StatusUnauthorized, "invalid_client")
	})
}

func TestPrivateKeyJWT(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	publish := func(id string, key *ecdsa.PrivateKey) oidc.Client {
		set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1"}}})
		if err != nil {
			t.Fatal(err)
		}
		return register(t, a, a.Acme, oidc.NewClient{
			ID: id, Preset: oidc.PresetM2M,
			ClientMetadata: oidc.ClientMetadata{Name: id, Scope: "jobs:run", TokenEndpointAuthMethod: "private_key_jwt", JWKS: set},
		})
	}
	client := publish("keyed", key)
	publish("stranger", stranger)
	p := newParty(t, a, a.Acme, client)
	sign := func(alg jose.SignatureAlgorithm, key any, claims any) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		token, err := jwt.Signed(signer).Claims(claims).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	claims := func(change ...any) map[string]any {
		c := map[string]any{
			"iss": client.ID, "sub": client.ID, "aud": a.Acme.Issuer, "jti": uuid.NewString(), "iat": time.Now().Unix(),
			"exp": time.Now().Add(time.Minute).Unix(),
		}
		for i := 0; i < len(change); i += 2 {
			if name, _ := change[i].(string); change[i+1] == nil {
				delete(c, name)
			} else {
				c[name] = change[i+1]
			}
		}
		return c
	}
	ask := func(assertion string, pairs ...string) reply {
		return p.post(t, "/token", append([]string{
			"grant_type", "client_credentials", "client_assertion", assertion,
			"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
		}, pairs...)...)
	}
	once := sign(jose.ES256, key, claims())
	expect(t, ask(once), http.StatusOK, "")
	expect(t, ask(once), http.StatusUnauthorized, "invalid_client")
	expect(t, ask(sign(jose.ES256, key, claims()), "client_id", drop), http.StatusOK, "")
	expect(t, ask(sign(jose.ES256, key, claims("aud", a.Acme.Issuer+"/token"))), http.StatusOK, "")
	expect(t, ask(sign(jose.ES256, key, claims("aud", []string{a.Acme.Issuer}))), http.StatusOK, "")
	expect(t, ask(sign(jose.ES256, jose.JSONWebKey{Key: key, KeyID: "1"}, claims("iat", nil))), http.StatusOK, "")

	unsigned, err := json.Marshal(claims())
	if err != nil {
		t.Fatal(err)
	}
	soon := time.Now()
	for name, assertion := range map[string]string{
		"of another server":    sign(jose.ES256, key, claims("aud", "https://other.example")),
		"of another tenant":    sign(jose.ES256, key, claims("aud", a.Globex.Issuer)),
		"for two audiences":    sign(jose.ES256, key, claims("aud", []string{a.Acme.Issuer, "https://other.example"})),
		"for nobody":           sign(jose.ES256, key, claims("aud", nil)),
		"expired":              sign(jose.ES256, key, claims("exp", soon.Add(-time.Minute).Unix())),
		"for ever":             sign(jose.ES256, key, claims("exp", nil)),
		"for too long":         sign(jose.ES256, key, claims("exp", soon.Add(time.Hour).Unix())),
		"not yet valid":        sign(jose.ES256, key, claims("nbf", soon.Add(time.Minute).Unix())),
		"issued in the future": sign(jose.ES256, key, claims("iat", soon.Add(time.Minute).Unix())),
		"without jti":          sign(jose.ES256, key, claims("jti", nil)),
		"long jti":             sign(jose.ES256, key, claims("jti", strings.Repeat("j", 513))),
		"NUL in iss":           sign(jose.ES256, key, claims("iss", "keyed\x00", "sub", "keyed\x00")),
		"of another client":    sign(jose.ES256, stranger, claims()),
		"other iss":            sign(jose.ES256, key, claims("iss", "stranger", "sub", "stranger")),
		"iss and sub differ":   sign(jose.ES256, key, claims("sub", "stranger")),
		"unknown kid":          sign(jose.ES256, jose.JSONWebKey{Key: key, KeyID: "2"}, claims()),
		"HS256 with its id":    sign(jose.HS256, []byte(strings.Repeat(client.ID, 8)), claims()),
		"garbage":              "garbage", "empty": "",
		"alg none": "eyJhbGciOiJub25lIn0." + strings.TrimRight(jwtPart(unsigned), "=") + ".",
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, ask(assertion), http.StatusUnauthorized, "invalid_client")
		})
	}
	fresh := sign(jose.ES256, key, claims())
	expect(t, ask(fresh, "client_id", "stranger"), http.StatusUnauthorized, "invalid_client")
	expect(t, ask(fresh, "client_secret", "x"), http.StatusBadRequest, "invalid_request")
	expect(t, ask(fresh, "client_assertion_type", "x"), http.StatusBadRequest, "invalid_request")
	expect(t, ask(fresh, "client_assertion", drop, "client_assertion_type", drop), http.StatusUnauthorized, "invalid_client")
	expect(t, ask(fresh), http.StatusOK, "") // None of it has used the assertion up.
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.M2M)
	ask := func(pairs ...string) reply {
		return p.post(t, "/token", append([]string{"grant_type", "client_credentials"}, pairs...)...)
	}

	opaque := ask()
	expect(t, opaque, http.StatusOK, "")
	if token := opaque.text("access_token"); !strings.HasPrefix(token, "parako_at_") || opaque.text("refresh_token") != "" || opaque.text("id_token") != "" {
		t.Errorf("token response: %s", opaque.Text)
	}
	if got := ask("scope", "jobs:run").text("scope"); got != "jobs:run" {
		t.Errorf("scope = %q", got)
	}
	for _, scope := range []string{"jobs:stop", "openid", "offline_access", "jobs:run openid", "read", "jobs:run\x00", "\xff"} {
		expect(t, ask("scope", scope), http.StatusBadRequest, "invalid_scope")
	}

	bound := ask("resource", "urn:test:api", "scope", "read")
	expect(t, bound, http.StatusOK, "")
	header, claims := segment(t, bound.text("access_token"), 0), claimsOf(t, bound.text("access_token"))
	if header["typ"] != "at+jwt" || header["alg"] != "ES256" || header["kid"] == "" {
		t.Errorf("header: %v", header)
	}
	issued, _ := claims["iat"].(float64)
	expires, _ := claims["exp"].(float64)
	life, _ := bound.body["expires_in"].(float64)
	if expires-issued < life-1 || expires-issued > life+1 {
		t.Errorf("iat %v, exp %v, expires_in %v", issued, expires, life)
	}
	if jti, _ := claims["jti"].(string); jti == "" {
		t.Error("no jti")
	}
	for _, varies := range []string{"iat", "exp", "jti"} {
		delete(claims, varies)
	}
	want := map[string]any{"iss": a.Acme.Issuer, "sub": a.Acme.M2M.ID, "client_id": a.Acme.M2M.ID, "aud": "urn:test:api", "scope": "read"}
	if diff := cmp.Diff(want, claims); diff != "" {
		t.Errorf("claims mismatch (-want +got)\n%s", diff)
	}
	expect(t, ask("resource", "urn:other"), http.StatusBadRequest, "invalid_target")
	expect(t, ask("resource", "urn:test:api", "scope", "jobs:run"), http.StatusBadRequest, "invalid_scope")
	expect(t, p.as(a.Acme.SPA).post(t, "/token", "grant_type", "client_credentials"), http.StatusBadRequest, "unauthorized_client")
	expect(t, p.userinfo(t, opaque.text("access_token")), http.StatusUnauthorized, "invalid_token")
	expect(t, p.userinfo(t, bound.text("access_token")), http.StatusUnauthorized, "invalid_token")
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	start := func(t *testing.T) reply {
		t.Helper()
		return p.tokens(t, "scope", "openid email offline_access")
	}
	start(t)
	t.Run("rotation", func(t *testing.T) {
		first := start(t)
		second := p.refresh(t, first.text("refresh_token"))
		expect(t, second, http.StatusOK, "")
		for _, name := range []string{"access_token", "refresh_token", "id_token"} {
			if second.text(name) == "" || second.text(name) == first.text(name) {
				t.Errorf("%s did not change: %q", name, second.text(name))
			}
		}
		before, after := claimsOf(t, first.text("id_token")), claimsOf(t, second.text("id_token"))
		for _, name := range []string{"iss", "sub", "aud", "auth_time", "sid"} { // OpenID Connect Core section 12.2
			if diff := cmp.Diff(before[name], after[name]); diff != "" {
				t.Errorf("%s mismatch (-first +refreshed)\n%s", name, diff)
			}
		}
		if !p.alive(t, first.text("access_token")) || !p.alive(t, second.text("access_token")) {
			t.Error("an access token of the family is dead")
		}
	})
	t.Run("fewer scopes, never more", func(t *testing.T) {
		first := start(t)
		narrow := p.refresh(t, first.text("refresh_token"), "scope", "openid")
		expect(t, narrow, http.StatusOK, "")
		if narrow.text("scope") != "openid" {
			t.Errorf("scope = %q", narrow.text("scope"))
		}
		if _, has := p.userinfo(t, narrow.text("access_token")).body["email"]; has {
			t.Error("the narrowed token still gives the email address")
		}
		expect(t, p.refresh(t, narrow.text("refresh_token"), "scope", "openid phone"), http.StatusBadRequest, "invalid_scope")
		// The grant keeps what was agreed to.
		wide := p.refresh(t, narrow.text("refresh_token"))
		if wide.text("scope") != "openid email offline_access" {
			t.Errorf("scope = %q", wide.text("scope"))
		}
		expect(t, p.refresh(t, wide.text("refresh_token"), "resource", "urn:test:api"), http.StatusBadRequest, "invalid_target")
	})
	t.Run("another client", func(t *testing.T) {
		first := start(t)
		expect(t, p.as(a.Acme.SPA).refresh(t, first.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
		expect(t, p.refresh(t, first.text("refresh_token")), http.StatusOK, "")
	})
	t.Run("repeated within the grace period", func(t *testing.T) {
		first := start(t)
		one, two := p.refresh(t, first.text("refresh_token")), p.refresh(t, first.text("refresh_token"))
		expect(t, two, http.StatusOK, "")
		if one.text("refresh_token") != two.text("refresh_token") {
			t.Error("the family forks")
		}
		expect(t, p.refresh(t, two.text("refresh_token")), http.StatusOK, "")
	})
	t.Run("reuse ends the family", func(t *testing.T) {
		first := start(t)
		second := p.refresh(t, first.text("refresh_token"))
		a.Superuser(t, "UPDATE parako.refresh_tokens SET used_at = used_at - interval '11 seconds' WHERE id = $1", rowID(first.text("refresh_token")))
		expect(t, p.refresh(t, first.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
		expect(t, p.refresh(t, second.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
		for _, r := range []reply{first, second} {
			if p.alive(t, r.text("access_token")) {
				t.Error("an access token of the family is alive")
			}
		}
	})
	t.Run("expired", func(t *testing.T) {
		first := start(t)
		a.Superuser(t, "UPDATE parako.refresh_tokens SET expires_at = now() WHERE id = $1", rowID(first.text("refresh_token")))
		expect(t, p.refresh(t, first.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("the grant has an absolute end", func(t *testing.T) {
		first := start(t)
		const end = "UPDATE parako.grants SET expires_at = now() + $2::interval WHERE id = (SELECT grant_id FROM parako.refresh_tokens WHERE id = $1)"
		a.Superuser(t, end, rowID(first.text("refresh_token")), "60 seconds")
		second := p.refresh(t, first.text("refresh_token"))
		if life, _ := second.body["expires_in"].(float64); life > 60 {
			t.Errorf("an access token of %v s in a grant of 60", life)
		}
		a.Superuser(t, end, rowID(first.text("refresh_token")), "0 seconds")
		expect(t, p.refresh(t, second.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
		if p.alive(t, second.text("access_token")) {
			t.Error("an access token outlives its grant")
		}
	})
	t.Run("who gets one", func(t *testing.T) {
		if got := p.tokens(t, "scope", "openid"); got.text("refresh_token") != "" {
			t.Error("a confidential client without offline_access")
		}
		if got := p.as(a.Acme.SPA).tokens(t, "scope", "openid"); got.text("refresh_token") == "" {
			t.Error("a browser application got none")
		}
		native := p.as(webClient(t, a, a.Acme, func(n *oidc.NewClient) { n.Preset = oidc.PresetNative }))
		if got := native.tokens(t, "scope", "openid"); got.text("refresh_token") != "" {
			t.Error("a native application without offline_access")
		}
		if got := native.tokens(t, "scope", "openid offline_access"); got.text("refresh_token") == "" {
			t.Error("a native application with offline_access got none")
		}
	})
	t.Run("refused", func(t *testing.T) {
		first := start(t)
		for name, token := range map[string]string{
			"garbage": "garbage", "access token": first.text("access_token"), "tampered": first.text("refresh_token") + "x",
			"of our form": "parako_rt_" + strings.Repeat("a", 43) + "." + strings.Repeat("b", 43), "empty": "", "NUL": "parako_rt_\x00.\x00", "UTF-8": "\xff",
			"random half changed": "parako_rt_x" + strings.TrimPrefix(first.text("refresh_token"), "parako_rt_"),
		} {
			t.Run(name, func(t *testing.T) {
				expect(t, p.refresh(t, token), http.StatusBadRequest, "invalid_grant")
			})
		}
		expect(t, p.refresh(t, first.text("refresh_token")), http.StatusOK, "")
	})
}
