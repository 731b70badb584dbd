package server_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"parako/internal/oidc"
	"parako/internal/testkit/app"
)

// byObject is an authorization request that holds nothing but what RFC 9101 section 5 wants beside the request object.
func (p party) byObject(name, value string, pairs ...string) string {
	return p.tenant.Issuer + "/authorize?" + edit(url.Values{
		"client_id": {p.client.ID}, "response_type": {"code"}, "scope": {"openid"}, "redirect_uri": {app.Callback}, name: {value},
	}, pairs...).Encode()
}

func TestRequestObjects(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	key, stranger := newKey(t, jose.ES256), newKey(t, jose.ES256)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	p.code(t)
	p = p.with(t, func(n *oidc.NewClient) { n.JWKS, n.Internal = key.set(t), true })
	ask := func(object string, pairs ...string) url.Values {
		return p.answer(t, app.Get(t, p.step, p.byObject("request", object, pairs...)))
	}

	t.Run("only what is inside counts", func(t *testing.T) {
		got := ask(p.requestObject(t, key, "state", "inside"), "state", "outside", "nonce", "outside", "scope", "openid email", "max_age", "0")
		if got.Get("state") != "inside" {
			t.Fatalf("answer = %v", got)
		}
		tokens := p.redeem(t, got.Get("code"))
		if claims := claimsOf(t, tokens.text("id_token")); claims["nonce"] != "the-nonce" || tokens.text("scope") != "openid" {
			t.Errorf("nonce = %v, scope = %s", claims["nonce"], tokens.text("scope"))
		}
	})
	t.Run("its redirect_uri is used", func(t *testing.T) {
		got := app.Get(t, p.step, p.byObject("request", p.requestObject(t, key), "redirect_uri", drop))
		if p.answer(t, got).Get("code") == "" {
			t.Errorf("no code: %s", got.Header.Get("Location"))
		}
		evil := app.Get(t, p.step, p.byObject("request", p.requestObject(t, key, "redirect_uri", "https://evil.example/"), "redirect_uri", app.Callback))
		if evil.StatusCode != http.StatusBadRequest || evil.Header.Get("Location") != "" {
			t.Errorf("an unregistered redirect_uri inside: %d %s", evil.StatusCode, evil.Header.Get("Location"))
		}
	})
	t.Run("accepted", func(t *testing.T) {
		for name, pairs := range map[string][]any{
			"without times":           {"exp", nil, "nbf", nil, "iat", nil},
			"without iss":             {"iss", nil},
			"several audiences":       {"aud", []string{p.tenant.Issuer, "https://x.example"}},
			"max_age as a number":     {"max_age", 10000},
			"members of no meaning":   {"purpose", map[string]any{"x": 1}, "jti", "1"},
			"client_id inside":        {"client_id", p.client.ID},
			"a clock that goes wrong": {"nbf", time.Now().Add(10 * time.Second).Unix()},
		} {
			if got := ask(p.requestObject(t, key, pairs...)); got.Get("code") == "" {
				t.Errorf("%s: %v", name, got)
			}
		}
	})
	unsigned, _, _ := strings.Cut(p.requestObject(t, key), ".")
	payload := strings.Split(p.requestObject(t, key), ".")[1]
	t.Run("refused", func(t *testing.T) {
		for name, object := range map[string]string{
			"garbage":             "garbage",
			"alg none":            jwtPart([]byte(`{"alg":"none"}`)) + "." + payload + ".",
			"no signature":        unsigned + "." + payload + ".",
			"another's key":       p.requestObject(t, stranger),
			"its secret as a key": signWith(t, jose.HS256, []byte(strings.Repeat(p.client.Secret, 2)), "JWT", map[string]any{"iss": p.client.ID, "aud": p.tenant.Issuer}),
			"another client's":    p.requestObject(t, key, "iss", "another"),
			"for another server":  p.requestObject(t, key, "aud", "https://x.example"),
			"for another tenant":  p.requestObject(t, key, "aud", a.Globex.Issuer),
			"for nobody":          p.requestObject(t, key, "aud", nil),
			"expired":             p.requestObject(t, key, "exp", time.Now().Add(-time.Minute).Unix()),
			"for ever":            p.requestObject(t, key, "exp", time.Now().Add(48*time.Hour).Unix()),
			"not valid yet":       p.requestObject(t, key, "nbf", time.Now().Add(time.Minute).Unix()),
			"of the future":       p.requestObject(t, key, "iat", time.Now().Add(time.Minute).Unix()),
			"old":                 p.requestObject(t, key, "iat", time.Now().Add(-2*time.Hour).Unix()),
			"within another":      p.requestObject(t, key, "request", "x"),
			"by reference inside": p.requestObject(t, key, "request_uri", "https://x.example"),
			"a client assertion":  p.requestObject(t, key, "sub", p.client.ID),
			"an ID token":         key.sign(t, "at+jwt", map[string]any{"iss": p.client.ID, "aud": p.tenant.Issuer}),
			"another's request":   p.requestObject(t, key, "client_id", "another"),
		} {
			if got := ask(object); got.Get("error") != "invalid_request_object" {
				t.Errorf("%s: %v", name, got)
			}
		}
		if got := ask(p.requestObject(t, key), "request_uri", "https://x.example/"); got.Get("error") != "request_uri_not_supported" && got.Get("error") != "invalid_request" {
			t.Errorf("by value and by reference: %v", got)
		}
		if got := ask(p.requestObject(t, key, "code_challenge", nil)); got.Get("error") != "invalid_request" {
			t.Errorf("no challenge inside: %v", got)
		}
	})
	t.Run("it can be pushed", func(t *testing.T) {
		form := url.Values{"request": {p.requestObject(t, key, "state", "signed")}}
		got := p.do(t, p.formRequest(t.Context(), "/request", form))
		if got.StatusCode != http.StatusCreated {
			t.Fatalf("pushed: %d %s", got.StatusCode, got.Text)
		}
		answer := p.answer(t, app.Get(t, p.step, p.byObject("request_uri", got.text("request_uri"))))
		if answer.Get("state") != "signed" || answer.Get("code") == "" {
			t.Errorf("answer = %v", answer)
		}
		expect(t, p.do(t, p.formRequest(t.Context(), "/request", url.Values{"request": {p.requestObject(t, stranger)}})), http.StatusBadRequest, "invalid_request_object")
	})
	t.Run("a client may be held to it", func(t *testing.T) {
		strict := p.with(t, func(n *oidc.NewClient) {
			n.JWKS, n.RequireSignedRequestObject, n.RequestObjectAlg = key.set(t), true, "ES256"
		})
		strict.refused(t, "invalid_request")
		other := newKey(t, jose.RS256)
		if got := strict.answer(t, app.Get(t, strict.step, strict.byObject("request", strict.requestObject(t, other)))); got.Get("error") != "invalid_request_object" {
			t.Errorf("with another algorithm: %v", got)
		}
	})
}

func TestRequestObjectsByReference(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{"request_uri":{"enabled":true}}}`)
	key := newKey(t, jose.PS256)
	var p party
	site := serve(t, map[string]func() string{
		"/r.jwt": func() string { return p.requestObject(t, key, "state", "fetched") },
		"/keys":  func() string { return string(key.set(t)) },
		"/huge":  func() string { return strings.Repeat("x", 2<<20) },
	})
	p = newParty(t, a, a.Acme, webClient(t, a, a.Acme, func(n *oidc.NewClient) {
		n.JWKSURI, n.RequestURIs, n.Internal = site+"/keys", []string{site + "/r.jwt", site + "/gone", site + "/huge"}, true
	}))
	if got := p.read(t, p.SignIn(t, p.browser, p.byObject("request_uri", site+"/r.jwt"), a.Acme.Email, app.Password).String()); got.Get("state") != "fetched" || got.Get("code") == "" {
		t.Errorf("answer = %v", got)
	}
	for _, uri := range []string{site + "/gone", site + "/huge", site + "/other.jwt", site + "/r.jwt?x=1", "https://10.0.0.1/r.jwt", "file:///etc/passwd"} {
		if got := p.answer(t, app.Get(t, p.step, p.byObject("request_uri", uri))); got.Get("error") != "invalid_request_uri" {
			t.Errorf("%s: %v", uri, got)
		}
	}
	newParty(t, a, a.Globex, a.Globex.Web).refused(t, "request_uri_not_supported", "request_uri", site+"/r.jwt")
}

func TestEncryptedRequestObjects(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{"encryption":{"enabled":true}}}`)
	key := newKey(t, jose.ES256)
	p := newParty(t, a, a.Acme, webClient(t, a, a.Acme, func(n *oidc.NewClient) {
		n.JWKS, n.RequestObjectEncryptionAlg, n.Internal = key.set(t), "dir", true
	}))
	p.codeAt(t, p.byObject("request", p.encrypted(t, jose.Recipient{Algorithm: jose.DIRECT, Key: secretKey(p.client.Secret, 32)}, p.requestObject(t, key))))

	var keys jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(app.Get(t, p.direct, p.tenant.Issuer+"/jwks").Text), &keys); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, k := range keys.Keys {
		if k.Use != "enc" {
			continue
		}
		found++
		object := p.encrypted(t, jose.Recipient{Algorithm: jose.KeyAlgorithm(k.Algorithm), Key: k.Key, KeyID: k.KeyID}, p.requestObject(t, key))
		if got := p.answer(t, app.Get(t, p.step, p.byObject("request", object))); got.Get("code") == "" {
			t.Errorf("%s: %v", k.Algorithm, got)
		}
	}
	if found != 2 {
		t.Errorf("%d keys to encrypt for, want RSA-OAEP-256 and ECDH-ES", found)
	}
	if got := p.answer(t, app.Get(t, p.step, p.byObject("request", p.requestObject(t, key)))); got.Get("error") != "invalid_request_object" {
		t.Errorf("in the clear although the client encrypts: %v", got)
	}
	wrong := p.encrypted(t, jose.Recipient{Algorithm: jose.DIRECT, Key: secretKey("wrong", 32)}, p.requestObject(t, key))
	if got := p.answer(t, app.Get(t, p.step, p.byObject("request", wrong))); got.Get("error") != "invalid_request_object" {
		t.Errorf("with the wrong secret: %v", got)
	}
	unsigned := p.encrypted(t, jose.Recipient{Algorithm: jose.DIRECT, Key: secretKey(p.client.Secret, 32)}, `{"client_id":"`+p.client.ID+`"}`)
	if got := p.answer(t, app.Get(t, p.step, p.byObject("request", unsigned))); got.Get("error") != "invalid_request_object" {
		t.Errorf("encrypted and not signed: %v", got)
	}
}
