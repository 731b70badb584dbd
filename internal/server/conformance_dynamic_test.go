package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"parako/internal/audit"
	"parako/internal/keyring"
	"parako/internal/oidc"
	"parako/internal/store"
	"parako/internal/testkit/app"
)

// certification is one way in which the OpenID Foundation's plan oidcc-dynamic-certification-test-plan is run: against a tenant,
// with a response type and a client authentication. Each module registers clients of its own.
type certification struct {
	party

	token        string // an initial access token
	responseType string
	callback     string
	key          keyPair // the client's, for private_key_jwt
	registration reply
}

// TestConformanceDynamic runs what the modules of the plan check, named after them, for two tenants at once: one as the suite
// sets up its clients, which know nothing of PKCE; the other with the hybrid flow, keys and pairwise subjects.
func TestConformanceDynamic(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	const common = registrationOn + `,"request_uri":{"enabled":true},"jwt_userinfo":{"enabled":true}`
	a.Configure(t, a.Acme, "features", `{"oidc":{`+common+`,"pkce":{"enabled":false,"required":false}}}`)
	a.Configure(t, a.Globex, "features", `{"oidc":{`+common+`,"hybrid_flow":{"enabled":true}}}`)
	acme, globex := newParty(t, a, a.Acme, a.Acme.Web), newParty(t, a, a.Globex, a.Globex.Web)
	for _, c := range []certification{
		{party: acme, token: acme.initialToken(t).Token, responseType: "code", callback: app.Callback},
		{
			party: globex, token: globex.initialToken(t).Token, responseType: "code id_token", callback: "https://rp.example/callback",
			key: newKey(t, jose.ES256),
		},
	} {
		t.Run(c.responseType, func(t *testing.T) {
			for name, module := range map[string]func(*testing.T, certification){
				"oidcc-discovery-endpoint-verification":               discoveryVerification,
				"oidcc-discovery-jwks-uri-keys":                       discoveryKeys,
				"oidcc-server":                                        func(t *testing.T, c certification) { c.client1(t).flow(t) },
				"oidcc-idtoken-rs256":                                 idTokenRS256,
				"oidcc-userinfo-rs256":                                userinfoRS256,
				"oidcc-redirect-uri-query-OK":                         redirectQueryOK,
				"oidcc-redirect-uri-query-mismatch":                   redirectQueryMismatch,
				"oidcc-redirect-uri-query-added":                      redirectQueryAdded,
				"oidcc-redirect-uri-regfrag":                          redirectFragment,
				"oidcc-ensure-redirect-uri-in-authorization-request":  redirectMissing,
				"oidcc-registration-logo-uri":                         shownAtConsent("logo_uri", `id="consent-logo" src="`),
				"oidcc-registration-policy-uri":                       shownAtConsent("policy_uri", `id="consent-policy" href="`),
				"oidcc-registration-tos-uri":                          shownAtConsent("tos_uri", `id="consent-terms" href="`),
				"oidcc-registration-jwks":                             registrationKeys,
				"oidcc-registration-jwks-uri":                         registrationKeysURI,
				"oidcc-registration-sector-uri":                       sectorGood,
				"oidcc-registration-sector-bad":                       sectorBad,
				"oidcc-ensure-client-assertion-with-iss-aud-succeeds": assertionForIssuer,
				"oidcc-request-uri-unsigned":                          requestURIUnsigned,
				"oidcc-request-uri-signed-rs256":                      requestURISigned,
				"oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported": requestUnsigned,
				"oidcc-ensure-request-object-with-redirect-uri":                                requestRedirect,
				"oidcc-refresh-token":                 refreshToken,
				"oidcc-refresh-token-rp-key-rotation": refreshAfterKeyRotation,
			} {
				t.Run(name, func(t *testing.T) { module(t, c) })
			}
			t.Run("oidcc-server-rotate-keys", func(t *testing.T) { serverRotatesKeys(t, c) }) // The others would notice.
		})
	}
}

// metadata is what a client of the plan registers with; pairs are laid over it.
func (c certification) metadata(t *testing.T, pairs ...any) map[string]any {
	t.Helper()
	own := []any{
		"redirect_uris",
		[]string{c.callback},
		"response_types",
		[]string{c.responseType},
		"grant_types",
		[]string{"authorization_code", "refresh_token"},
		"contacts",
		[]string{"certification@rp.example"},
	}
	if c.responseType != "code" {
		own = append(own, "grant_types", []string{"authorization_code", "implicit", "refresh_token"}, "subject_type", "pairwise")
	}
	if c.key.private.Key != nil {
		own = append(own, "token_endpoint_auth_method", "private_key_jwt", "jwks", c.key.set(t))
	}
	return metadata(append(own, pairs...)...)
}

// registers sends the metadata.
func (c certification) registers(t *testing.T, pairs ...any) reply {
	t.Helper()
	return c.do(t, jsonRequest(t.Context(), http.MethodPost, c.tenant.Issuer+"/register-rp", c.token, c.metadata(t, pairs...)))
}

// client1 is the plan with a client that is registered now.
func (c certification) client1(t *testing.T, pairs ...any) certification {
	t.Helper()
	c.registration = c.registers(t, pairs...)
	expect(t, c.registration, http.StatusCreated, "")
	var client oidc.Client
	if err := json.Unmarshal([]byte(c.registration.Text), &client); err != nil {
		t.Fatal(err)
	}
	c.party = c.as(client)
	return c
}

// asks is the authorization request of the client.
func (c certification) asks(pairs ...string) url.Values {
	form := c.request("redirect_uri", c.callback, "response_type", c.responseType)
	if c.responseType == "code" {
		edit(form, "code_challenge", drop, "code_challenge_method", drop)
	}
	return edit(form, pairs...)
}

func (c certification) address(form url.Values) string {
	return c.tenant.Issuer + "/authorize?" + form.Encode()
}

// answered signs in at the address and reads what comes back to want, which may have a query.
func (c certification) answered(t *testing.T, address, want string) url.Values {
	t.Helper()
	u := c.SignIn(t, c.browser, address, c.tenant.Email, app.Password)
	if !strings.HasPrefix(u.String(), want) {
		t.Fatalf("the answer went to %s, want %s", u, want)
	}
	if inQuery := c.responseType == "code"; inQuery != u.Query().Has("code") || inQuery != (u.Fragment == "") {
		t.Fatalf("the answer is at the wrong place: %s", u)
	}
	got := c.read(t, u.String())
	if got.Get("state") != "the-state" || len(got.Get("code")) < 32 {
		t.Fatalf("answer = %v", got)
	}
	return got
}

// exchange sends a form to the token endpoint, authenticated as the client registered.
func (c certification) exchange(t *testing.T, pairs ...string) reply {
	t.Helper()
	if c.client.TokenEndpointAuthMethod == "private_key_jwt" {
		pairs = append([]string{"client_assertion", c.assertion(t, c.key), "client_assertion_type", assertionType}, pairs...)
	}
	return c.post(t, "/token", pairs...)
}

// flow is the whole flow from the authorization request to UserInfo, with the checks that the suite makes in every module.
func (c certification) flow(t *testing.T, pairs ...string) reply {
	t.Helper()
	return c.finish(t, c.answered(t, c.address(c.asks(pairs...)), c.callback))
}

// finish exchanges the code of an answer and checks what it gets.
func (c certification) finish(t *testing.T, got url.Values, pairs ...string) reply {
	t.Helper()
	form := []string{"grant_type", "authorization_code", "code", got.Get("code"), "redirect_uri", c.callback}
	if c.responseType != "code" {
		form = append(form, "code_verifier", verifier)
	}
	tokens := c.exchange(t, append(form, pairs...)...)
	expect(t, tokens, http.StatusOK, "")
	back := c.idToken(t, tokens)
	if front := got.Get("id_token"); front != "" {
		claims := c.verified(t, "JWT", front)
		if claims["sub"] != back["sub"] || claims["iss"] != back["iss"] || claims["c_hash"] != halfHash(got.Get("code")) {
			t.Errorf("ID tokens differ: %v and %v", claims, back)
		}
	}
	if back["nonce"] != "the-nonce" {
		t.Errorf("nonce = %v", back["nonce"])
	}
	info := app.Do(t, c.direct, bearer(t, c.tenant.Issuer+"/userinfo", tokens.text("access_token")))
	claims := map[string]any{}
	if info.Header.Get("Content-Type") == "application/jwt" {
		claims = c.verified(t, "JWT", info.Text)
	} else if err := json.Unmarshal([]byte(info.Text), &claims); err != nil {
		t.Errorf("UserInfo: %v", err)
	}
	if info.StatusCode != http.StatusOK || claims["sub"] != back["sub"] {
		t.Errorf("UserInfo: %d %s", info.StatusCode, info.Text)
	}
	return tokens
}

func bearer(t *testing.T, target, token string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// idToken checks the ID token of a token response and returns its claims.
func (c certification) idToken(t *testing.T, tokens reply) map[string]any {
	t.Helper()
	claims := c.verified(t, "JWT", tokens.text("id_token"))
	sub, _ := claims["sub"].(string)
	pairwise := sub != c.tenant.User.ID.String()
	if claims["iss"] != c.tenant.Issuer || claims["aud"] != c.client.ID || seconds(claims["exp"]) <= float64(time.Now().Unix()) || sub == "" ||
		pairwise != (c.registration.text("subject_type") == "pairwise") || !strings.EqualFold(tokens.text("token_type"), "Bearer") {
		t.Errorf("ID token = %v in %s", claims, tokens.Text)
	}
	return claims
}

// errorPage expects a page of our own instead of a redirect.
func (c certification) errorPage(t *testing.T, form url.Values) {
	t.Helper()
	got := app.Get(t, c.step, c.address(form))
	if got.StatusCode != http.StatusBadRequest || got.Header.Get("Location") != "" || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") {
		t.Errorf("%d to %q, want a page", got.StatusCode, got.Header.Get("Location"))
	}
}

func (c certification) discovery(t *testing.T) map[string]any {
	t.Helper()
	var d map[string]any
	if err := json.Unmarshal([]byte(app.Get(t, c.direct, c.tenant.Issuer+"/.well-known/openid-configuration").Text), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func lists(d map[string]any, name, value string) bool {
	list, _ := d[name].([]any)
	return slices.Contains(list, any(value))
}

func discoveryVerification(t *testing.T, c certification) {
	d := c.discovery(t)
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri", "registration_endpoint"} {
		if address, _ := d[name].(string); !strings.HasPrefix(address, c.tenant.Issuer+"/") {
			t.Errorf("%s = %v", name, d[name])
		}
	}
	if d["issuer"] != c.tenant.Issuer || d["request_uri_parameter_supported"] != true || d["require_request_uri_registration"] != true {
		t.Errorf("discovery = %v", d)
	}
	for name, value := range map[string]string{
		"response_types_supported": c.responseType, "grant_types_supported": "authorization_code", "scopes_supported": "openid", "claims_supported": "sub",
		"subject_types_supported": "pairwise", "id_token_signing_alg_values_supported": "RS256", "userinfo_signing_alg_values_supported": "RS256",
		"request_object_signing_alg_values_supported": "RS256", "token_endpoint_auth_methods_supported": "private_key_jwt",
	} {
		if !lists(d, name, value) {
			t.Errorf("%s = %v without %s", name, d[name], value)
		}
	}
}

func discoveryKeys(t *testing.T, c certification) {
	var set jose.JSONWebKeySet
	address, _ := c.discovery(t)["jwks_uri"].(string)
	if err := json.Unmarshal([]byte(app.Get(t, c.direct, address).Text), &set); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{"": true}
	algorithms := map[string]bool{}
	for _, key := range set.Keys {
		if seen[key.KeyID] || !key.IsPublic() || !key.Valid() || key.Use != "sig" {
			t.Errorf("key %q: public %t, valid %t, use %q", key.KeyID, key.IsPublic(), key.Valid(), key.Use)
		}
		seen[key.KeyID], algorithms[key.Algorithm] = true, true
	}
	if !algorithms["RS256"] || !algorithms["ES256"] {
		t.Errorf("keys for %v", algorithms)
	}
}

func idTokenRS256(t *testing.T, c certification) {
	tokens := c.client1(t, "id_token_signed_response_alg", "RS256").flow(t)
	if header := segment(t, tokens.text("id_token"), 0); header["alg"] != "RS256" || header["kid"] == nil {
		t.Errorf("header = %v", header)
	}
}

func userinfoRS256(t *testing.T, c certification) {
	c = c.client1(t, "userinfo_signed_response_alg", "RS256")
	tokens := c.flow(t)
	info := app.Do(t, c.direct, bearer(t, c.tenant.Issuer+"/userinfo", tokens.text("access_token")))
	if info.Header.Get("Content-Type") != "application/jwt" || segment(t, info.Text, 0)["alg"] != "RS256" {
		t.Fatalf("UserInfo: %s %s", info.Header.Get("Content-Type"), info.Text)
	}
	claims := c.verified(t, "JWT", info.Text)
	if claims["iss"] != c.tenant.Issuer || claims["aud"] != c.client.ID || claims["sub"] != claimsOf(t, tokens.text("id_token"))["sub"] {
		t.Errorf("claims = %v", claims)
	}
}

func redirectQueryOK(t *testing.T, c certification) {
	c.callback += "?foo=bar"
	c.client1(t).flow(t)
}

func redirectQueryMismatch(t *testing.T, c certification) {
	plain := c.callback
	c.callback += "?foo=bar"
	c = c.client1(t)
	for _, other := range []string{"?foo=baz", "?foo=bar&x=y", "?foo=bar&foo=bar", "?foo=ba", ""} {
		c.errorPage(t, c.asks("redirect_uri", plain+other))
	}
}

func redirectQueryAdded(t *testing.T, c certification) {
	c = c.client1(t)
	c.errorPage(t, c.asks("redirect_uri", c.callback+"?foo=bar"))
	c.errorPage(t, c.asks("redirect_uri", c.callback+"?"))
}

func redirectFragment(t *testing.T, c certification) {
	for _, fragment := range []string{"#foobar", "#"} {
		expect(t, c.registers(t, "redirect_uris", []string{c.callback + fragment}), http.StatusBadRequest, "invalid_redirect_uri")
	}
}

func redirectMissing(t *testing.T, c certification) {
	c = c.client1(t)
	c.errorPage(t, c.asks("redirect_uri", drop))
}

// shownAtConsent registers an address that people must be able to see, and sees it.
func shownAtConsent(member, before string) func(*testing.T, certification) {
	return func(t *testing.T, c certification) {
		address := "https://rp.example/" + member + "?x=1"
		c = c.client1(t, member, address)
		c.party = newParty(t, c.App, c.tenant, c.client)
		login := app.Get(t, c.browser, c.address(c.asks()))
		consent := app.Post(t, c.browser, login.Request.URL.String()+"/login", url.Values{"identifier": {c.tenant.Email}, "password": {app.Password}})
		if !strings.Contains(consent.Text, before+address+`"`) {
			t.Errorf("the page does not lead to %s:\n%s", address, consent.Text)
		}
		if logo := strings.Contains(login.Text, address); logo != (member == "logo_uri") {
			t.Errorf("the login page shows %s: %t", member, logo)
		}
	}
}

func registrationKeys(t *testing.T, c certification) {
	c.key = newKey(t, jose.RS256)
	c = c.client1(t, "token_endpoint_auth_method", "private_key_jwt", "jwks", c.key.set(t))
	c.flow(t)
	got := c.answered(t, c.address(c.asks()), c.callback)
	c.key = newKey(t, jose.RS256)
	expect(t, c.exchange(t, "grant_type", "authorization_code", "code", got.Get("code"), "redirect_uri", c.callback, "code_verifier", verifier), http.StatusUnauthorized, "invalid_client")
}

func registrationKeysURI(t *testing.T, c certification) {
	c.key = newKey(t, jose.ES256)
	site := serve(t, map[string]func() string{"/jwks": func() string { return string(c.key.set(t)) }})
	c = c.client1(t, "token_endpoint_auth_method", "private_key_jwt", "jwks", nil, "jwks_uri", site+"/jwks")
	c.flow(t)
}

func sectorGood(t *testing.T, c certification) {
	other := "https://second.example/cb"
	list := string(mustJSON(t, []string{"https://third.example/", other, c.callback}))
	site := serve(t, map[string]func() string{"/uris": func() string { return list }})
	sector := []any{"subject_type", "pairwise", "sector_identifier_uri", site + "/uris"}
	first := c.client1(t, append(sector, "redirect_uris", []string{c.callback, other})...)
	second := c.client1(t, append(sector, "redirect_uris", []string{other})...)
	second.callback = other
	one, two := claimsOf(t, first.flow(t).text("id_token"))["sub"], claimsOf(t, second.flow(t).text("id_token"))["sub"]
	if one != two {
		t.Errorf("one sector, two subjects: %v and %v", one, two)
	}
}

func sectorBad(t *testing.T, c certification) {
	site := serve(t, map[string]func() string{"/uris": func() string { return `["https://elsewhere.example/cb"]` }})
	got := c.registers(t, "subject_type", "pairwise", "sector_identifier_uri", site+"/uris")
	expect(t, got, http.StatusBadRequest, "invalid_client_metadata")
}

func assertionForIssuer(t *testing.T, c certification) {
	c.key = newKey(t, jose.PS256)
	c = c.client1(t, "token_endpoint_auth_method", "private_key_jwt", "jwks", c.key.set(t))
	for audience, want := range map[string]int{c.tenant.Issuer: http.StatusOK, c.tenant.Issuer + "/userinfo": http.StatusUnauthorized} {
		got := c.answered(t, c.address(c.asks()), c.callback)
		form := []string{"grant_type", "authorization_code", "code", got.Get("code"), "redirect_uri", c.callback}
		if c.responseType != "code" {
			form = append(form, "code_verifier", verifier)
		}
		if tokens := c.exchange(t, append(form, "client_assertion", c.assertion(t, c.key, "aud", audience))...); tokens.StatusCode != want {
			t.Errorf("for %s: %d %s", audience, tokens.StatusCode, tokens.Text)
		}
	}
}

// object is the authorization request as a request object, signed by key; pairs are laid over its claims.
func (c certification) object(t *testing.T, key keyPair, pairs ...any) string {
	t.Helper()
	claims := map[string]any{"iss": c.client.ID, "aud": c.tenant.Issuer, "exp": time.Now().Add(time.Minute).Unix()}
	for name, values := range c.asks() {
		claims[name] = values[0]
	}
	return key.sign(t, "oauth-authz-req+jwt", claims, pairs...)
}

// unsigned is the authorization request as a request object with the algorithm none.
func (c certification) unsigned(t *testing.T) string {
	t.Helper()
	payload := strings.Split(c.object(t, newKey(t, jose.ES256)), ".")[1]
	return jwtPart([]byte(`{"alg":"none"}`)) + "." + payload + "."
}

// refusesUnsigned expects that unsigned request objects are not advertised, not registered, and not taken.
func (c certification) refusesUnsigned(t *testing.T, form url.Values) {
	t.Helper()
	if lists(c.discovery(t), "request_object_signing_alg_values_supported", "none") {
		t.Error("unsigned request objects are advertised")
	}
	expect(t, c.registers(t, "request_object_signing_alg", "none"), http.StatusBadRequest, "invalid_client_metadata")
	got := c.read(t, app.Get(t, c.step, c.address(form)).Header.Get("Location"))
	if got.Get("error") != "invalid_request_object" || got.Has("code") || got.Get("state") != "the-state" {
		t.Errorf("answer = %v", got)
	}
}

func requestURIUnsigned(t *testing.T, c certification) {
	var object string
	site := serve(t, map[string]func() string{"/request.jwt": func() string { return object }})
	c = c.client1(t, "request_uris", []string{site + "/request.jwt"})
	object = c.unsigned(t)
	c.refusesUnsigned(t, c.asks("request_uri", site+"/request.jwt"))
}

func requestUnsigned(t *testing.T, c certification) {
	c = c.client1(t)
	c.refusesUnsigned(t, c.asks("request", c.unsigned(t)))
}

func requestURISigned(t *testing.T, c certification) {
	key := newKey(t, jose.RS256)
	if c.key.private.Key != nil {
		c.key = key
	}
	var object string
	site := serve(t, map[string]func() string{"/request.jwt": func() string { return object }})
	c = c.client1(t, "request_uris", []string{site + "/request.jwt"}, "request_object_signing_alg", "RS256", "jwks", key.set(t))
	object = c.object(t, key)
	outside := c.asks("request_uri", site+"/request.jwt", "state", "outside", "nonce", "outside")
	c.finish(t, c.answered(t, c.address(outside), c.callback))
	object = c.object(t, newKey(t, jose.RS256))
	if got := c.read(t, app.Get(t, c.step, c.address(c.asks("request_uri", site+"/request.jwt"))).Header.Get("Location")); got.Get("error") != "invalid_request_object" {
		t.Errorf("signed by another key: %v", got)
	}
}

func requestRedirect(t *testing.T, c certification) {
	key := newKey(t, jose.RS256)
	if c.key.private.Key != nil {
		c.key = key
	}
	c = c.client1(t, "jwks", key.set(t), "request_object_signing_alg", "RS256")
	for _, outside := range []string{"https://evil.example/cb", drop} {
		form := c.asks("request", c.object(t, key), "redirect_uri", outside)
		c.finish(t, c.answered(t, c.address(form), c.callback))
	}
}

func refreshToken(t *testing.T, c certification) {
	other := c.client1(t)
	c = c.client1(t)
	tokens := c.flow(t, "scope", "openid offline_access", "prompt", "consent")
	expect(t, other.exchange(t, "grant_type", "refresh_token", "refresh_token", tokens.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	c.refreshes(t, tokens)
}

// refreshes uses the refresh token and compares what it gets with what there was (OpenID Connect Core section 12.2).
func (c certification) refreshes(t *testing.T, tokens reply) {
	t.Helper()
	next := c.exchange(t, "grant_type", "refresh_token", "refresh_token", tokens.text("refresh_token"))
	expect(t, next, http.StatusOK, "")
	before, after := c.idToken(t, tokens), c.idToken(t, next)
	for _, name := range []string{"iss", "sub", "aud", "auth_time"} {
		if before[name] != after[name] {
			t.Errorf("%s = %v, was %v", name, after[name], before[name])
		}
	}
	if next.text("access_token") == tokens.text("access_token") {
		t.Error("the access token is the old one")
	}
	expect(t, c.userinfo(t, next.text("access_token")), http.StatusOK, "")
}

func refreshAfterKeyRotation(t *testing.T, c certification) {
	var keys atomic.Pointer[[]byte]
	site := serve(t, map[string]func() string{"/jwks": func() string { return string(*keys.Load()) }})
	rotate := func() {
		c.key = newKey(t, jose.RS256)
		set := []byte(c.key.set(t))
		keys.Store(&set)
	}
	rotate()
	c = c.client1(t, "token_endpoint_auth_method", "private_key_jwt", "jwks", nil, "jwks_uri", site+"/jwks")
	tokens := c.flow(t, "scope", "openid offline_access", "prompt", "consent")
	old := c.key
	rotate()
	c.refreshes(t, tokens)
	c.key = old
	expect(t, c.exchange(t, "grant_type", "refresh_token", "refresh_token", tokens.text("refresh_token")), http.StatusUnauthorized, "invalid_client")
}

// serverRotatesKeys rotates the tenant's keys as `parako keys rotate --now` does, and waits until the server has noticed: it
// reads what changed every two seconds.
func serverRotatesKeys(t *testing.T, c certification) {
	c = c.client1(t)
	before := c.flow(t)
	old := segment(t, before.text("id_token"), 0)["kid"]
	if err := c.Store.InTenant(t.Context(), c.tenant.ID, func(ctx context.Context, tx *store.Tx) error {
		for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
			if _, err := keyring.Rotate(ctx, tx, c.Vault, keyring.DefaultPolicy, audit.Operator("test"), alg); err != nil {
				return err
			}
			if _, err := keyring.Promote(ctx, tx, keyring.DefaultPolicy, audit.Operator("test"), alg, true); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	published := func() int {
		var set jose.JSONWebKeySet
		if err := json.Unmarshal([]byte(app.Get(t, c.direct, c.tenant.Issuer+"/jwks").Text), &set); err != nil {
			t.Fatal(err)
		}
		return len(set.Keys)
	}
	for end := time.Now().Add(time.Minute); published() < 6; {
		if time.Now().After(end) {
			t.Fatal("no new keys were published within a minute")
		}
	}
	after := c.flow(t)
	if kid := segment(t, after.text("id_token"), 0)["kid"]; kid == old {
		t.Errorf("the old key %v still signs", kid)
	}
	c.verified(t, "JWT", before.text("id_token")) // The old key is still published.
	hinted := c.asks("id_token_hint", before.text("id_token"), "prompt", "none")
	c.finish(t, c.answered(t, c.address(hinted), c.callback))
}
