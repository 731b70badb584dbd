package server_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"parako/internal/oidc"
	"parako/internal/testkit/app"
)

func TestFormPost(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	p.code(t)
	resp := p.authorize(t, "response_mode", "form_post", "state", `"><script>`)
	target, fields := app.AnswerForm(t, resp.Text)
	if resp.StatusCode != http.StatusOK || target.String() != app.Callback || fields.Get("state") != `"><script>` || fields.Get("iss") != a.Acme.Issuer {
		t.Fatalf("%d: %s with %v", resp.StatusCode, target, fields)
	}
	for name, part := range map[string]string{
		"Content-Security-Policy": "form-action 'self' http://localhost:9008; frame-ancestors 'none'; base-uri 'none'; script-src 'self'",
		"Cache-Control":           "no-store", "Content-Type": "text/html", "Referrer-Policy": "no-referrer",
	} {
		if !strings.Contains(resp.Header.Get(name), part) {
			t.Errorf("%s = %q, want %q in it", name, resp.Header.Get(name), part)
		}
	}
	expect(t, p.redeem(t, fields.Get("code")), http.StatusOK, "")

	_, fields = app.AnswerForm(t, p.authorize(t, "response_mode", "form_post", "scope", "openid everything").Text)
	if fields.Get("error") != "invalid_scope" || fields.Get("state") != "the-state" {
		t.Errorf("error = %v", fields)
	}
	native := p.with(t, func(n *oidc.NewClient) {
		n.Preset, n.ApplicationType, n.RedirectURIs = oidc.PresetNative, "native", []string{"com.example.app:/callback"}
	})
	got := app.Get(t, native.step, native.authorizeURL("redirect_uri", "com.example.app:/callback", "response_mode", "form_post"))
	if !strings.HasPrefix(got.Header.Get("Location"), "com.example.app:/callback?error=invalid_request&") {
		t.Errorf("a form to an application: %d %s", got.StatusCode, got.Header.Get("Location"))
	}
}

// everyFlow turns every response type on.
const everyFlow = `{"oidc":{"implicit_flow":{"enabled":true},"hybrid_flow":{"enabled":true},"jwt_response_modes":{"enabled":true}}}`

// flowClient may use every response type.
func flowClient(n *oidc.NewClient) {
	n.GrantTypes = []string{"authorization_code", "implicit", "refresh_token"}
	n.ResponseTypes = []string{"code", "id_token", "token id_token", "code id_token", "code token", "code token id_token"}
	n.RedirectURIs, n.Internal = []string{"https://app.example/callback"}, true
}

func halfHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

func TestResponseTypes(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", everyFlow)
	p := newParty(t, a, a.Acme, webClient(t, a, a.Acme, flowClient))
	const callback = "https://app.example/callback"
	ask := func(t *testing.T, pairs ...string) (*url.URL, url.Values) {
		t.Helper()
		u := p.SignIn(t, p.browser, p.authorizeURL(append([]string{"redirect_uri", callback}, pairs...)...), a.Acme.Email, app.Password)
		return u, p.read(t, u.String())
	}
	ask(t)
	for responseType, wanted := range map[string][]string{
		"id_token":            {"id_token"},
		"id_token token":      {"access_token", "expires_in", "id_token", "scope", "token_type"},
		"token id_token":      {"access_token", "expires_in", "id_token", "scope", "token_type"},
		"code id_token":       {"code", "id_token"},
		"code token":          {"access_token", "code", "expires_in", "scope", "token_type"},
		"token code id_token": {"access_token", "code", "expires_in", "id_token", "scope", "token_type"},
		"none":                {},
	} {
		t.Run(responseType, func(t *testing.T) {
			u, got := ask(t, "response_type", responseType)
			if query := responseType == "none"; query != (u.Fragment == "") {
				t.Errorf("the answer is at the wrong place: %s", u)
			}
			var names []string
			for name := range got {
				names = append(names, name)
			}
			if want := sorted(append(wanted, "iss", "state")); !slices.Equal(sorted(names), want) {
				t.Fatalf("parameters = %v, want %v", names, want)
			}
			if token := got.Get("access_token"); token != "" {
				expect(t, p.userinfo(t, token), http.StatusOK, "")
			}
			var front map[string]any
			if token := got.Get("id_token"); token != "" {
				front = p.verified(t, "JWT", token)
				if front["nonce"] != "the-nonce" || front["aud"] != p.client.ID || front["sub"] != a.Acme.User.ID.String() {
					t.Errorf("ID token = %v", front)
				}
				for name, of := range map[string]string{"at_hash": got.Get("access_token"), "c_hash": got.Get("code")} {
					if want := any(halfHash(of)); of != "" && front[name] != want || of == "" && front[name] != nil {
						t.Errorf("%s = %v of %q", name, front[name], of)
					}
				}
			}
			if code := got.Get("code"); code != "" {
				tokens := p.redeem(t, code, "redirect_uri", callback)
				expect(t, tokens, http.StatusOK, "")
				back := p.verified(t, "JWT", tokens.text("id_token"))
				if front != nil && (back["sub"] != front["sub"] || back["iss"] != front["iss"]) {
					t.Errorf("the ID tokens differ: %v %v", front, back)
				}
				expect(t, p.redeem(t, code, "redirect_uri", callback), http.StatusBadRequest, "invalid_grant")
				if got.Has("access_token") && p.alive(t, got.Get("access_token")) {
					t.Error("the access token of the authorization endpoint outlives the reuse of the code")
				}
			}
		})
	}
	t.Run("an ID token alone says what userinfo cannot", func(t *testing.T) {
		_, got := ask(t, "response_type", "id_token", "scope", "openid profile email")
		if claims := p.verified(t, "JWT", got.Get("id_token")); claims["name"] != "Pat Person" || claims["email"] != a.Acme.Email {
			t.Errorf("claims = %v", claims)
		}
		_, got = ask(t, "response_type", "id_token token", "scope", "openid profile email")
		if claims := p.verified(t, "JWT", got.Get("id_token")); claims["name"] != nil {
			t.Errorf("claims beside an access token = %v", claims)
		}
	})
	t.Run("refused", func(t *testing.T) {
		for _, tt := range []struct {
			code  string
			pairs []string
		}{
			{"invalid_request", []string{"response_type", "id_token", "nonce", drop}},
			{"invalid_request", []string{"response_type", "code id_token", "nonce", drop}},
			{"invalid_scope", []string{"response_type", "id_token", "scope", "profile"}},
			{"invalid_request", []string{"response_type", "id_token", "response_mode", "query"}},
			{"invalid_request", []string{"response_type", "code token", "response_mode", "query.jwt"}},
			{"unsupported_response_type", []string{"response_type", "token"}},
			{"invalid_request", []string{"response_type", "code id_token", "code_challenge", drop}},
		} {
			resp := p.authorize(t, append([]string{"redirect_uri", callback}, tt.pairs...)...)
			got := p.read(t, resp.Header.Get("Location"))
			if got.Get("error") != tt.code || got.Get("state") != "the-state" {
				t.Errorf("%q: %v", tt.pairs, got)
			}
			if fragment := tt.pairs[1] != "token"; fragment != strings.Contains(resp.Header.Get("Location"), "#") {
				t.Errorf("%q leads to %s", tt.pairs, resp.Header.Get("Location"))
			}
		}
		p.as(a.Acme.Web).refused(t, "unsupported_response_type", "response_type", "id_token")
	})
	t.Run("form_post carries them, too", func(t *testing.T) {
		u, got := ask(t, "response_type", "code id_token token", "response_mode", "form_post")
		if u.Fragment != "" || !got.Has("code") || !got.Has("id_token") || !got.Has("access_token") {
			t.Errorf("%s", u)
		}
	})
}

func TestJWTResponseModes(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", everyFlow)
	p := newParty(t, a, a.Acme, webClient(t, a, a.Acme, flowClient, func(n *oidc.NewClient) { n.AuthorizationAlg = "ES256" }))
	const callback = "https://app.example/callback"
	p.SignIn(t, p.browser, p.authorizeURL("redirect_uri", callback), a.Acme.Email, app.Password)
	for _, tt := range []struct{ mode, responseType, glue string }{
		{"jwt", "code", "?response="},
		{"query.jwt", "code", "?response="},
		{"fragment.jwt", "code", "#response="},
		{"jwt", "code id_token", "#response="},
		{"fragment.jwt", "id_token", "#response="},
		{"form_post.jwt", "code", ""},
	} {
		resp := p.authorize(t, "redirect_uri", callback, "response_mode", tt.mode, "response_type", tt.responseType)
		var token string
		if tt.glue == "" {
			_, fields := app.AnswerForm(t, resp.Text)
			if len(fields) != 1 {
				t.Errorf("fields = %v", fields)
			}
			token = fields.Get("response")
		} else {
			var ok bool
			if token, ok = strings.CutPrefix(resp.Header.Get("Location"), callback+tt.glue); !ok {
				t.Fatalf("%v leads to %s", tt, resp.Header.Get("Location"))
			}
		}
		claims := p.verified(t, "JWT", token)
		if claims["iss"] != a.Acme.Issuer || claims["aud"] != p.client.ID || claims["state"] != "the-state" || claims["exp"] == nil ||
			segment(t, token, 0)["alg"] != "ES256" || (claims["code"] == nil) == strings.Contains(tt.responseType, "code") {
			t.Errorf("%v: %v", tt, claims)
		}
	}
	resp := p.authorize(t, "redirect_uri", callback, "response_mode", "jwt", "scope", "openid everything")
	if claims := p.verified(t, "JWT", strings.TrimPrefix(resp.Header.Get("Location"), callback+"?response=")); claims["error"] != "invalid_scope" || claims["state"] != "the-state" {
		t.Errorf("error = %v", claims)
	}
}

// TestEncryptedAnswers has every answer that a client can have encrypted, with each way of encrypting.
func TestEncryptedAnswers(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{"encryption":{"enabled":true},"jwt_userinfo":{"enabled":true},"jwt_introspection":{"enabled":true},"jwt_response_modes":{"enabled":true}}}`)
	rsa, ec := newKey(t, jose.RS256), newKey(t, jose.ES256)
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{rsa.private.Public(), ec.private.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	browser := newParty(t, a, a.Acme, a.Acme.Web)
	browser.code(t)
	for _, tt := range []struct{ alg, enc string }{
		{"RSA-OAEP", "A128CBC-HS256"},
		{"RSA-OAEP-256", "A256GCM"},
		{"ECDH-ES", "A128GCM"},
		{"A128KW", "A256CBC-HS512"},
		{"A256KW", "A128GCM"},
		{"dir", "A256CBC-HS512"},
		{"dir", "A128GCM"},
	} {
		t.Run(tt.alg+" "+tt.enc, func(t *testing.T) {
			p := browser.with(t, func(n *oidc.NewClient) {
				n.JWKS, n.Internal = keys, true
				n.IDTokenEncryptionAlg, n.IDTokenEncryptionEnc = tt.alg, tt.enc
				n.UserinfoEncryptionAlg, n.UserinfoEncryptionEnc = tt.alg, tt.enc
				n.IntrospectionEncryptionAlg, n.IntrospectionEncryptionEnc = tt.alg, tt.enc
				n.AuthorizationEncryptionAlg, n.AuthorizationEncryptionEnc = tt.alg, tt.enc
				n.UserinfoAlg = "ES256"
			})
			open := func(text string) map[string]any {
				t.Helper()
				jwe, err := jose.ParseEncryptedCompact(text, []jose.KeyAlgorithm{jose.KeyAlgorithm(tt.alg)}, []jose.ContentEncryption{jose.ContentEncryption(tt.enc)})
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				var key any
				switch tt.alg {
				case "RSA-OAEP", "RSA-OAEP-256":
					key = rsa.private.Key
				case "ECDH-ES":
					key = ec.private.Key
				default:
					key = p.secretKeyFor(tt.alg, tt.enc)
				}
				plain, err := jwe.Decrypt(key)
				if err != nil {
					t.Fatal(err)
				}
				typ, _ := segment(t, string(plain), 0)["typ"].(string)
				return p.verified(t, typ, string(plain))
			}
			location := p.authorize(t, "response_mode", "query.jwt").Header.Get("Location")
			answer := open(strings.TrimPrefix(location, app.Callback+"?response="))
			code, _ := answer["code"].(string)
			tokens := p.redeem(t, code)
			expect(t, tokens, http.StatusOK, "")
			if claims := open(tokens.text("id_token")); claims["sub"] != a.Acme.User.ID.String() {
				t.Errorf("ID token = %v", claims)
			}
			r := p.formRequest(t.Context(), "/userinfo", url.Values{"access_token": {tokens.text("access_token")}})
			r.Header.Del("Authorization")
			info := app.Do(t, p.direct, r)
			if claims := open(info.Text); claims["sub"] != a.Acme.User.ID.String() || info.Header.Get("Content-Type") != "application/jwt" {
				t.Errorf("userinfo = %v", claims)
			}
			r = p.formRequest(t.Context(), "/token/introspection", url.Values{"token": {tokens.text("access_token")}})
			resp := app.Do(t, p.direct, r)
			said, _ := open(resp.Text)["token_introspection"].(map[string]any)
			if said["active"] != true || resp.Header.Get("Content-Type") != "application/token-introspection+jwt" {
				t.Errorf("introspection = %v", said)
			}
		})
	}
}
