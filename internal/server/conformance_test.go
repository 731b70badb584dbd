package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"parako/internal/oidc"
	"parako/internal/testkit/app"
)

// The tests in this file and in conformance_config_test.go are named after the modules of the OpenID Foundation's conformance suite and
// assert what those assert, against the real server over HTTP: for the Basic, Form Post, Implicit, Hybrid and Config plans, at two
// tenants with different settings at the same time.

const rpCallback = "https://rp.example/callback"

// conformance is one run of a plan.
type conformance struct {
	party

	second       party // another client of the tenant
	responseType string
	mode         string // empty: the response type's own
}

// result is what an authorization gave: parameters of the answer, and tokens from either endpoint.
type result struct {
	front   url.Values
	tokens  reply
	idToken string
	access  string
	claims  map[string]any
}

// conformanceSettings differ in everything that a plan does not fix.
var conformanceSettings = map[string]map[string]string{
	"acme": {
		"features": `{"oidc":{"pkce":{"required":false},"implicit_flow":{"enabled":true},"hybrid_flow":{"enabled":true},"claims_parameter":{"enabled":true}}}`,
	},
	"globex": {
		"features": `{"oidc":{"pkce":{"required":false,"enabled":false},"implicit_flow":{"enabled":true},"hybrid_flow":{"enabled":true},
			"request_objects":{"enabled":false},"rotate_refresh_token":{"enabled":false},"dpop":{"enabled":false},
			"pushed_authorization_requests":{"enabled":false},"encryption":{"enabled":true},"jwt_response_modes":{"enabled":true}}}`,
		"oidc":        `{"token_ttl":{"access_token":600,"id_token":300,"authorization_code":30},"scopes":["roles","account"]}`,
		"application": `{"locales":{"default":"fr","available":["fr","en"]}}`,
	},
}

func configureForConformance(t *testing.T, a *app.App) {
	t.Helper()
	for _, tenant := range []app.Tenant{a.Acme, a.Globex} {
		for section, document := range conformanceSettings[tenant.Slug] {
			a.Configure(t, tenant, section, document)
		}
	}
}

// conformanceClient is a client as the suite registers it.
func conformanceClient(t *testing.T, a *app.App, tenant app.Tenant, responseType, method string) oidc.Client {
	t.Helper()
	return webClient(t, a, tenant, func(n *oidc.NewClient) {
		n.TokenEndpointAuthMethod, n.WithoutPKCE = method, true
		n.RedirectURIs = []string{rpCallback, rpCallback + "?dummy1=lorem&dummy2=ipsum"}
		n.Scope = "openid profile email address phone offline_access"
		n.GrantTypes, n.ResponseTypes = []string{"authorization_code", "refresh_token", "implicit"}, []string{"code"}
		if responseType != "code" {
			n.ResponseTypes = []string{responseType}
			if !strings.Contains(responseType, "code") {
				n.GrantTypes = []string{"implicit"}
			}
		}
	})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	configureForConformance(t, a)
	for _, plan := range []struct{ name, responseType, mode string }{
		{"oidcc-basic-certification-test-plan", "code", ""},
		{"oidcc-formpost-basic-certification-test-plan", "code", "form_post"},
		{"oidcc-implicit-certification-test-plan id_token", "id_token", ""},
		{"oidcc-implicit-certification-test-plan id_token token", "id_token token", ""},
		{"oidcc-formpost-implicit-certification-test-plan id_token token", "id_token token", "form_post"},
		{"oidcc-hybrid-certification-test-plan code id_token", "code id_token", ""},
		{"oidcc-hybrid-certification-test-plan code token", "code token", ""},
		{"oidcc-hybrid-certification-test-plan code id_token token", "code id_token token", ""},
		{"oidcc-formpost-hybrid-certification-test-plan code id_token token", "code id_token token", "form_post"},
	} {
		for _, tenant := range []app.Tenant{a.Acme, a.Globex} {
			t.Run(plan.name+"/"+tenant.Slug, func(t *testing.T) {
				run := conformance{
					party:        newParty(t, a, tenant, conformanceClient(t, a, tenant, plan.responseType, "client_secret_basic")),
					responseType: plan.responseType, mode: plan.mode,
				}
				run.second = newParty(t, a, tenant, conformanceClient(t, a, tenant, plan.responseType, "client_secret_basic"))
				run.authorized(t) // Somebody is signed in and has consented, as after the first module of the suite.
				for _, module := range modules {
					if module.needs == nil || module.needs(run) {
						t.Run(module.name, func(t *testing.T) { module.run(t, run) })
					}
				}
			})
		}
	}
}

// asks reports whether the plan's response type has the word.
func (c conformance) asks(word string) bool {
	return slices.Contains(strings.Fields(c.responseType), word)
}

// fresh is the same plan in front of a browser nobody has used.
func (c conformance) fresh(t *testing.T) conformance {
	t.Helper()
	c.party = newParty(t, c.App, c.tenant, c.client)
	return c
}

func (c conformance) url(pairs ...string) string {
	defaults := []string{"code_challenge", drop, "code_challenge_method", drop, "redirect_uri", rpCallback, "response_type", c.responseType}
	if c.mode != "" {
		defaults = append(defaults, "response_mode", c.mode)
	}
	return c.authorizeURL(append(defaults, pairs...)...)
}

// respond reads an answer of the authorization endpoint and checks what every module checks of one.
func (c conformance) respond(t *testing.T, target *url.URL) url.Values {
	t.Helper()
	if !strings.HasPrefix(target.String(), rpCallback) {
		t.Fatalf("the answer went to %s", target)
	}
	fragment := c.mode == "" && c.responseType != "code"
	if fragment != (target.Fragment != "") {
		t.Errorf("the answer is in the wrong place: %s", target)
	}
	got := c.read(t, target.String())
	if got.Get("state") != "the-state" {
		t.Errorf("state = %q", got.Get("state"))
	}
	return got
}

// refusal asks without following and expects an error of these codes at the redirect URI.
func (c conformance) refusal(t *testing.T, codes []string, pairs ...string) url.Values {
	t.Helper()
	resp := app.Get(t, c.step, c.url(pairs...))
	var got url.Values
	if c.mode == "form_post" && resp.StatusCode == http.StatusOK {
		target, fields := app.AnswerForm(t, resp.Text)
		target.RawQuery = fields.Encode()
		got = c.respond(t, target)
	} else {
		target, err := url.Parse(resp.Header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		got = c.read(t, target.String())
	}
	if !slices.Contains(codes, got.Get("error")) || got.Has("code") || got.Has("id_token") || got.Has("access_token") {
		t.Errorf("%q: %v, want one of %v", pairs, got, codes)
	}
	return got
}

// authorized runs the flow with pairs laid over the request, as the person, and checks what every module checks.
func (c conformance) authorized(t *testing.T, pairs ...string) result {
	t.Helper()
	started := time.Now().Add(-2 * time.Second)
	r := result{front: c.respond(t, c.SignIn(t, c.browser, c.url(pairs...), c.tenant.Email, app.Password))}
	if r.front.Has("error") {
		t.Fatalf("%q: %v", pairs, r.front)
	}
	nonce := c.request(pairs...).Get("nonce")
	code := r.front.Get("code")
	if c.asks("code") {
		if len(code) < 22 { // 128 bits in base64url
			t.Errorf("the code is too short: %q", code)
		}
		r.tokens = c.redeem(t, code, "redirect_uri", rpCallback, "code_verifier", c.verifier(pairs))
		c.checkTokens(t, r.tokens)
		r.access, r.idToken = r.tokens.text("access_token"), r.tokens.text("id_token")
		c.checkIDToken(t, r.idToken, nonce, r.access, "", started)
	}
	if token := r.front.Get("access_token"); token != "" {
		if r.front.Get("token_type") != "Bearer" || r.front.Get("expires_in") == "" {
			t.Errorf("front channel = %v", r.front)
		}
		if r.access == "" {
			r.access = token
		}
	}
	if token := r.front.Get("id_token"); token != "" {
		front := c.checkIDToken(t, token, nonce, r.front.Get("access_token"), code, started)
		if r.idToken != "" && claimsOf(t, r.idToken)["sub"] != front["sub"] {
			t.Error("the ID tokens of the two endpoints are about different people")
		}
		if r.idToken == "" {
			r.idToken = token
		}
	}
	r.claims = claimsOf(t, r.idToken)
	return r
}

func (conformance) verifier(pairs []string) string {
	if slices.Contains(pairs, "code_challenge") {
		return verifier
	}
	return drop
}

func (conformance) checkTokens(t *testing.T, got reply) {
	t.Helper()
	expect(t, got, http.StatusOK, "")
	if !strings.EqualFold(got.text("token_type"), "Bearer") || seconds(got.body["expires_in"]) <= 0 || got.text("id_token") == "" {
		t.Errorf("tokens = %s", got.Text)
	}
}

// checkIDToken verifies an ID token as OpenID Connect Core sections 3.1.3.7, 3.2.2.11 and 3.3.2.12 ask of a client.
func (c conformance) checkIDToken(t *testing.T, token, nonce, access, code string, started time.Time) map[string]any {
	t.Helper()
	claims := c.verified(t, "JWT", token)
	header := segment(t, token, 0)
	now := float64(time.Now().Unix())
	switch {
	case claims["iss"] != c.tenant.Issuer, claims["aud"] != c.client.ID, claims["sub"] != c.tenant.User.ID.String():
		t.Errorf("iss, aud or sub of %v", claims)
	case seconds(claims["exp"]) <= now, seconds(claims["iat"]) < float64(started.Unix())-1, seconds(claims["iat"]) > now+1, claims["auth_time"] == nil:
		t.Errorf("times of %v", claims)
	case nonce != "" && nonce != drop && claims["nonce"] != nonce, (nonce == "" || nonce == drop) && claims["nonce"] != nil:
		t.Errorf("nonce = %v, want %q", claims["nonce"], nonce)
	case header["alg"] != "RS256" || header["kid"] == nil:
		t.Errorf("header = %v", header)
	}
	if access != "" && claims["at_hash"] != halfHash(access) {
		t.Errorf("at_hash = %v", claims["at_hash"])
	}
	if code != "" && claims["c_hash"] != halfHash(code) {
		t.Errorf("c_hash = %v", claims["c_hash"])
	}
	return claims
}

// info asks the userinfo endpoint and checks the sub (section 5.3.2).
func (c conformance) info(t *testing.T, r result) map[string]any {
	t.Helper()
	got := c.userinfo(t, r.access)
	expect(t, got, http.StatusOK, "")
	if got.body["sub"] != r.claims["sub"] {
		t.Errorf("userinfo sub = %v", got.body["sub"])
	}
	return got.body
}

// profileOf is where the claims of scopes are: at userinfo, or in the ID token when there is no access token.
func (c conformance) profileOf(t *testing.T, r result) map[string]any {
	t.Helper()
	if r.access == "" {
		return r.claims
	}
	return c.info(t, r)
}

// page sends the person's browser and expects a page with the element, and no redirect to the client.
func (c conformance) page(t *testing.T, element string, pairs ...string) app.Response {
	t.Helper()
	resp := app.Get(t, c.browser, c.url(pairs...))
	if !strings.Contains(resp.Text, `id="`+element+`"`) {
		t.Errorf("%q: %d to %q without %s:\n%s", pairs, resp.StatusCode, resp.Header.Get("Location"), element, resp.Text)
	}
	return resp
}

// discovery is the tenant's document.
func (c conformance) discovery(t *testing.T) map[string]any {
	t.Helper()
	var document map[string]any
	if err := json.Unmarshal([]byte(app.Get(t, c.direct, c.tenant.Issuer+"/.well-known/openid-configuration").Text), &document); err != nil {
		t.Fatal(err)
	}
	return document
}

func (c conformance) lists(t *testing.T, name, value string) bool {
	t.Helper()
	list, _ := c.discovery(t)[name].([]any)
	return slices.Contains(list, any(value))
}

type module struct {
	name  string
	needs func(conformance) bool // nil: every plan has it
	run   func(*testing.T, conformance)
}

func withCode(c conformance) bool    { return c.asks("code") }
func withAccess(c conformance) bool  { return c.asks("code") || c.asks("token") }
func withIDToken(c conformance) bool { return c.asks("id_token") }

var personClaims = map[string][]string{
	"profile": {"name", "given_name", "family_name"}, "email": {"email", "email_verified"}, "address": {"address"},
	"phone": {"phone_number", "phone_number_verified"},
}

// scopeModule asks for scopes and expects their claims and no others.
func scopeModule(scopes ...string) func(*testing.T, conformance) {
	return func(t *testing.T, c conformance) {
		got := c.profileOf(t, c.authorized(t, "scope", "openid "+strings.Join(scopes, " ")))
		for scope, names := range personClaims {
			for _, name := range names {
				if _, there := got[name]; there != slices.Contains(scopes, scope) {
					t.Errorf("%s is there: %t, with the scopes %v", name, there, scopes)
				}
			}
		}
		if address, ok := got["address"].(map[string]any); slices.Contains(scopes, "address") && (!ok || len(address) == 0) {
			t.Errorf("address = %v", got["address"])
		}
		if _, ok := got["email_verified"].(bool); slices.Contains(scopes, "email") && !ok {
			t.Errorf("email_verified = %v", got["email_verified"])
		}
	}
}

// silently succeeds with these parameters and without a page.
func silently(pairs ...string) func(*testing.T, conformance) {
	return func(t *testing.T, c conformance) { c.authorized(t, pairs...) }
}

var modules = []module{
	{"oidcc-server", nil, func(t *testing.T, c conformance) {
		r := c.authorized(t)
		for _, name := range []string{"name", "email", "phone_number", "address"} {
			if r.claims[name] != nil {
				t.Errorf("the ID token has %s, for which nobody asked", name)
			}
		}
	}},
	{"oidcc-response-type-missing", nil, func(t *testing.T, c conformance) {
		got := c.read(t, app.Get(t, c.step, c.url("response_type", drop, "response_mode", drop)).Header.Get("Location"))
		if !slices.Contains([]string{"unsupported_response_type", "invalid_request"}, got.Get("error")) {
			t.Errorf("%v", got)
		}
	}},
	{"oidcc-idtoken-signature", nil, func(t *testing.T, c conformance) {
		if header := segment(t, c.authorized(t).idToken, 0); header["alg"] != "RS256" || header["kid"] == "" {
			t.Errorf("header = %v", header)
		}
	}},
	{"oidcc-idtoken-unsigned", nil, func(t *testing.T, c conformance) {
		if c.lists(t, "id_token_signing_alg_values_supported", "none") {
			t.Error("unsigned ID tokens are offered")
		}
	}},
	{"oidcc-userinfo-get", withAccess, func(t *testing.T, c conformance) { c.info(t, c.authorized(t)) }},
	{"oidcc-userinfo-post-header", withAccess, func(t *testing.T, c conformance) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.tenant.Issuer+"/userinfo", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+c.authorized(t).access)
		expect(t, c.do(t, r), http.StatusOK, "")
	}},
	{"oidcc-userinfo-post-body", withAccess, func(t *testing.T, c conformance) {
		r := c.formRequest(t.Context(), "/userinfo", url.Values{"access_token": {c.authorized(t).access}})
		r.Header.Del("Authorization")
		expect(t, c.do(t, r), http.StatusOK, "")
	}},
	{"oidcc-ensure-request-without-nonce-succeeds-for-code-flow", func(c conformance) bool { return !c.asks("id_token") }, silently("nonce", drop)},
	{"oidcc-ensure-request-without-nonce-fails", withIDToken, func(t *testing.T, c conformance) {
		c.refusal(t, []string{"invalid_request"}, "nonce", drop)
	}},
	{"oidcc-nonce-unless-code-flow", withIDToken, silently("nonce", "another nonce")},
	{"oidcc-scope-profile", nil, scopeModule("profile")},
	{"oidcc-scope-email", nil, scopeModule("email")},
	{"oidcc-scope-address", nil, scopeModule("address")},
	{"oidcc-scope-phone", nil, scopeModule("phone")},
	{"oidcc-scope-all", nil, scopeModule("profile", "email", "address", "phone")},
	{"oidcc-alternate-happy-flow", nil, func(t *testing.T, c conformance) {
		r := c.authorized(t, "scope", "email openid", "state", "the-state", "redirect_uri", rpCallback)
		if got := c.profileOf(t, r); got["email"] != c.tenant.Email {
			t.Errorf("email = %v", got["email"])
		}
		backwards := strings.Split(strings.SplitN(c.url(), "?", 2)[1], "&")
		slices.Reverse(backwards)
		c.respond(t, c.SignIn(t, c.browser, c.tenant.Issuer+"/authorize?"+strings.Join(backwards, "&"), c.tenant.Email, app.Password))
	}},
	{"oidcc-display-page", nil, silently("display", "page")},
	{"oidcc-display-popup", nil, silently("display", "popup")},
	{"oidcc-prompt-login", nil, func(t *testing.T, c conformance) {
		first := c.authorized(t)
		c.age(t, first.idToken, "2 seconds")
		c.page(t, "login-form", "prompt", "login")
		second := c.authorized(t, "prompt", "login")
		if seconds(second.claims["auth_time"]) <= seconds(first.claims["auth_time"])-2 {
			t.Errorf("auth_time went from %v to %v", first.claims["auth_time"], second.claims["auth_time"])
		}
	}},
	{"oidcc-prompt-none-not-logged-in", nil, func(t *testing.T, c conformance) {
		c.fresh(t).refusal(t, []string{"login_required", "interaction_required"}, "prompt", "none")
	}},
	{"oidcc-prompt-none-logged-in", nil, func(t *testing.T, c conformance) {
		first := c.authorized(t)
		second := c.authorized(t, "prompt", "none")
		if second.claims["sub"] != first.claims["sub"] || second.claims["auth_time"] != first.claims["auth_time"] {
			t.Errorf("%v, then %v", first.claims, second.claims)
		}
	}},
	{"oidcc-max-age-1", nil, func(t *testing.T, c conformance) {
		first := c.authorized(t)
		c.age(t, first.idToken, "2 seconds")
		c.page(t, "login-form", "max_age", "1")
		second := c.authorized(t, "max_age", "1")
		if at := seconds(second.claims["auth_time"]); at <= seconds(first.claims["auth_time"])-2 || at < float64(time.Now().Add(-time.Minute).Unix()) {
			t.Errorf("auth_time = %v, before %v", second.claims["auth_time"], first.claims["auth_time"])
		}
	}},
	{"oidcc-max-age-10000", nil, func(t *testing.T, c conformance) {
		first := c.authorized(t, "max_age", "15000")
		second := c.authorized(t, "max_age", "10000")
		if first.claims["auth_time"] == nil || second.claims["auth_time"] != first.claims["auth_time"] || second.claims["sub"] != first.claims["sub"] {
			t.Errorf("%v, then %v", first.claims, second.claims)
		}
	}},
	{"oidcc-ensure-request-with-unknown-parameter-succeeds", nil, silently("extra", "foobar")},
	{"oidcc-id-token-hint", nil, func(t *testing.T, c conformance) {
		first := c.authorized(t)
		second := c.authorized(t, "prompt", "none", "id_token_hint", first.idToken)
		if second.claims["sub"] != first.claims["sub"] {
			t.Errorf("sub = %v", second.claims["sub"])
		}
	}},
	{"oidcc-login-hint", nil, silently("login_hint", "buffy@rp.example")},
	{"oidcc-ui-locales", nil, silently("ui_locales", "se en")},
	{"oidcc-claims-locales", nil, silently("claims_locales", "se en")},
	{"oidcc-ensure-request-with-acr-values-succeeds", nil, func(t *testing.T, c conformance) {
		if r := c.authorized(t, "acr_values", "urn:pwd 1"); r.claims["acr"] != "urn:pwd" {
			t.Errorf("acr = %v", r.claims["acr"])
		}
	}},
	{"oidcc-codereuse", withCode, func(t *testing.T, c conformance) {
		r := c.authorized(t)
		expect(t, c.redeem(t, r.front.Get("code"), "redirect_uri", rpCallback, "code_verifier", drop), http.StatusBadRequest, "invalid_grant")
	}},
	{"oidcc-codereuse-30seconds", withCode, func(t *testing.T, c conformance) {
		r := c.authorized(t)
		c.Superuser(t, "UPDATE parako.codes SET spent_at = spent_at - interval '30 seconds', expires_at = expires_at - interval '30 seconds' WHERE id = $1", rowID(r.front.Get("code")))
		expect(t, c.redeem(t, r.front.Get("code"), "redirect_uri", rpCallback, "code_verifier", drop), http.StatusBadRequest, "invalid_grant")
		if c.alive(t, r.access) {
			t.Error("the access token of the first use still works")
		}
	}},
	{"oidcc-ensure-registered-redirect-uri", nil, func(t *testing.T, c conformance) {
		for _, uri := range []string{"https://rp.example/other", rpCallback + "/", rpCallback + "?foo=bar", "https://evil.example/callback"} {
			resp := c.page(t, "error-title", "redirect_uri", uri)
			if resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %d", uri, resp.StatusCode)
			}
		}
	}},
	{"oidcc-ensure-redirect-uri-in-authorization-request", nil, func(t *testing.T, c conformance) {
		c.page(t, "error-title", "redirect_uri", drop)
	}},
	{"oidcc-ensure-post-request-succeeds", nil, func(t *testing.T, c conformance) {
		_, query, _ := strings.Cut(c.url(), "?")
		form, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		r := c.formRequest(t.Context(), "/authorize", form)
		r.Header.Del("Authorization")
		r.Header.Set("Origin", "https://rp.example") // From the client's site.
		resp := app.Do(t, c.step, r)
		if resp.StatusCode != http.StatusSeeOther {
			t.Fatalf("%d: %s", resp.StatusCode, resp.Text)
		}
		c.respond(t, c.SignIn(t, c.browser, resp.Header.Get("Location"), c.tenant.Email, app.Password))
	}},
	{"oidcc-server-client-secret-post", withCode, func(t *testing.T, c conformance) {
		c.party = c.as(conformanceClient(t, c.App, c.tenant, c.responseType, "client_secret_post"))
		c.authorized(t)
	}},
	{"oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported", nil, func(t *testing.T, c conformance) {
		c.refusal(t, []string{"request_uri_not_supported"}, "request_uri", "https://rp.example/request.jwt")
		if c.discovery(t)["request_uri_parameter_supported"] != false {
			t.Error("request_uri is advertised")
		}
	}},
	{"oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported", nil, func(t *testing.T, c conformance) {
		object := jwtPart([]byte(`{"alg":"none"}`)) + "." + jwtPart([]byte(fmt.Sprintf(`{"client_id":%q,"aud":%q,"state":"inside"}`, c.client.ID, c.tenant.Issuer))) + "."
		want := "request_not_supported"
		if c.discovery(t)["request_parameter_supported"] == true {
			want = "invalid_request_object"
		}
		c.refusal(t, []string{want}, "request", object)
		if c.lists(t, "request_object_signing_alg_values_supported", "none") {
			t.Error("unsigned request objects are advertised")
		}
	}},
	{"oidcc-claims-essential", nil, func(t *testing.T, c conformance) {
		r := c.authorized(t, "claims", `{"userinfo":{"name":{"essential":true}},"id_token":{"name":{"essential":true}}}`)
		supported := c.discovery(t)["claims_parameter_supported"] == true
		if (r.claims["name"] != nil) != supported {
			t.Errorf("name in the ID token = %v, while the claims parameter is on: %t", r.claims["name"], supported)
		}
		if r.access != "" && (c.info(t, r)["name"] != nil) != supported {
			t.Errorf("name at userinfo, while the claims parameter is on: %t", supported)
		}
	}},
	{"oidcc-ensure-request-object-with-redirect-uri", nil, func(t *testing.T, c conformance) {
		if c.discovery(t)["request_parameter_supported"] != true {
			c.refusal(t, []string{"request_not_supported"}, "request", "x")
			return
		}
		key := newKey(t, jose.ES256)
		c.party = c.with(t, func(n *oidc.NewClient) {
			n.JWKS, n.RedirectURIs, n.Internal, n.WithoutPKCE = key.set(t), []string{rpCallback}, true, true
			n.GrantTypes, n.ResponseTypes = c.client.GrantTypes, c.client.ResponseTypes
		})
		pairs := []any{"redirect_uri", rpCallback, "response_type", c.responseType, "code_challenge", nil, "code_challenge_method", nil}
		if c.mode != "" {
			pairs = append(pairs, "response_mode", c.mode)
		}
		object := c.requestObject(t, key, pairs...)
		target := c.SignIn(t, c.browser, c.byObject("request", object, "response_type", c.responseType, "redirect_uri", "https://rp.example/other"), c.tenant.Email, app.Password)
		c.respond(t, target)
	}},
	{"oidcc-refresh-token", withCode, func(t *testing.T, c conformance) {
		first := c.authorized(t, "scope", "openid offline_access", "prompt", "consent")
		token := first.tokens.text("refresh_token")
		if token == "" {
			t.Fatal("there is no refresh token")
		}
		expect(t, c.as(c.second.client).refresh(t, token), http.StatusBadRequest, "invalid_grant")
		again := c.refresh(t, token)
		expect(t, again, http.StatusOK, "")
		if again.text("access_token") == first.access {
			t.Error("the access token is the old one")
		}
		expect(t, c.userinfo(t, again.text("access_token")), http.StatusOK, "")
		claims := c.verified(t, "JWT", again.text("id_token"))
		for _, name := range []string{"iss", "sub", "aud", "auth_time"} {
			if claims[name] != first.claims[name] {
				t.Errorf("%s went from %v to %v", name, first.claims[name], claims[name])
			}
		}
	}},
	{"oidcc-ensure-request-with-valid-pkce-succeeds", withCode, func(t *testing.T, c conformance) {
		request := c.request()
		pairs := []string{"code_challenge", request.Get("code_challenge"), "code_challenge_method", "S256"}
		c.authorized(t, pairs...)
		// RFC 9700 section 2.1.1: neither can be left out of a pair.
		code := c.respond(t, c.SignIn(t, c.browser, c.url(pairs...), c.tenant.Email, app.Password)).Get("code")
		expect(t, c.redeem(t, code, "redirect_uri", rpCallback, "code_verifier", drop), http.StatusBadRequest, "invalid_grant")
		code = c.respond(t, c.SignIn(t, c.browser, c.url(), c.tenant.Email, app.Password)).Get("code")
		expect(t, c.redeem(t, code, "redirect_uri", rpCallback), http.StatusBadRequest, "invalid_grant")
	}},
}
