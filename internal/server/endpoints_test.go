package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/oidc"
	"parako/internal/testkit/app"
)

func TestUserinfo(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	p.code(t)
	for scope, want := range map[string]map[string]any{
		"openid": {},
		"openid profile": {
			"name": "Pat Person", "given_name": "Pat", "family_name": "Person", "middle_name": "Quinn", "nickname": "Patty",
			"preferred_username": "person", "profile": "https://acme.example/people/pat", "picture": "https://acme.example/people/pat.png",
			"website": "https://pat.example/", "gender": "female", "birthdate": "1990-04-23", "locale": "en", "zoneinfo": "Europe/London",
		},
		"openid email": {"email": a.Acme.Email, "email_verified": true},
		"openid phone": {"phone_number": "+442071838750", "phone_number_verified": true},
		"openid address": {"address": map[string]any{
			"formatted": "1 Example Street\nLondon\nGreater London\nEC1A 1BB\nGB", "street_address": "1 Example Street", "locality": "London",
			"region": "Greater London", "postal_code": "EC1A 1BB", "country": "GB",
		}},
		"openid email offline_access": {"email": a.Acme.Email, "email_verified": true},
	} {
		t.Run(scope, func(t *testing.T) {
			tokens := p.tokens(t, "scope", scope)
			got := p.userinfo(t, tokens.text("access_token"))
			expect(t, got, http.StatusOK, "")
			if got.body["sub"] != claimsOf(t, tokens.text("id_token"))["sub"] {
				t.Errorf("sub = %v, in the ID token %v", got.body["sub"], claimsOf(t, tokens.text("id_token"))["sub"])
			}
			if _, has := got.body["updated_at"].(float64); has != strings.Contains(scope, "profile") {
				t.Errorf("updated_at = %v", got.body["updated_at"])
			}
			delete(got.body, "sub")
			delete(got.body, "updated_at")
			if diff := cmp.Diff(want, got.body); diff != "" {
				t.Errorf("claims mismatch (-want +got)\n%s", diff)
			}
		})
	}

	token := p.tokens(t).text("access_token")
	ask := func(t *testing.T, method, query, body string, header ...string) reply {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, a.Acme.Issuer+"/userinfo"+query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body != "" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		for _, value := range header {
			r.Header.Add("Authorization", value)
		}
		return p.do(t, r)
	}
	form := url.Values{"access_token": {token}}.Encode()
	for name, tt := range map[string]struct {
		method, query, body string
		header              []string
		status              int
		code                string
	}{
		"GET":                       {http.MethodGet, "", "", []string{"Bearer " + token}, 200, ""},
		"scheme in lower case":      {http.MethodGet, "", "", []string{"bearer " + token}, 200, ""},
		"POST with a header":        {http.MethodPost, "", "", []string{"Bearer " + token}, 200, ""},
		"POST with a body":          {http.MethodPost, "", form, nil, 200, ""},
		"token in the query":        {http.MethodGet, "?" + form, "", nil, 400, "invalid_request"},
		"token in query and header": {http.MethodGet, "?" + form, "", []string{"Bearer " + token}, 400, "invalid_request"},
		"token in header and body":  {http.MethodPost, "", form, []string{"Bearer " + token}, 400, "invalid_request"},
		"token twice in the body":   {http.MethodPost, "", form + "&" + form, nil, 400, "invalid_request"},
		"two headers":               {http.MethodGet, "", "", []string{"Bearer " + token, "Bearer " + token}, 400, "invalid_request"},
		"Basic":                     {http.MethodGet, "", "", []string{"Basic " + token}, 400, "invalid_request"},
		"no token":                  {http.MethodGet, "", "", nil, 401, "invalid_token"},
		"empty token":               {http.MethodGet, "", "", []string{"Bearer "}, 401, "invalid_token"},
		"garbage":                   {http.MethodGet, "", "", []string{"Bearer garbage"}, 401, "invalid_token"},
		"tampered":                  {http.MethodGet, "", "", []string{"Bearer " + token + "x"}, 401, "invalid_token"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ask(t, tt.method, tt.query, tt.body, tt.header...)
			expect(t, got, tt.status, tt.code)
			if challenge := got.Header.Get("WWW-Authenticate"); (tt.status >= 400) != strings.HasPrefix(challenge, "Bearer ") {
				t.Errorf("WWW-Authenticate = %q", challenge)
			}
		})
	}
	t.Run("without openid", func(t *testing.T) {
		tokens := p.tokens(t, "scope", "profile")
		got := p.userinfo(t, tokens.text("access_token"))
		expect(t, got, http.StatusForbidden, "insufficient_scope")
		if challenge := got.Header.Get("WWW-Authenticate"); !strings.Contains(challenge, `error="insufficient_scope"`) || tokens.text("id_token") != "" {
			t.Errorf("WWW-Authenticate = %q, tokens %s", challenge, tokens.Text)
		}
	})
	t.Run("a token for a resource", func(t *testing.T) {
		own := p.as(webClient(t, a, a.Acme, func(n *oidc.NewClient) { n.AllowedResources = []string{"urn:test:api"} }))
		bound := own.redeem(t, own.code(t, "resource", "urn:test:api")).text("access_token")
		claims := claimsOf(t, bound)
		if claims["aud"] != "urn:test:api" || claims["sub"] != a.Acme.User.ID.String() || claims["client_id"] != own.client.ID {
			t.Errorf("claims: %v", claims)
		}
		expect(t, own.userinfo(t, bound), http.StatusUnauthorized, "invalid_token")
	})
	t.Run("an ID token is no access token", func(t *testing.T) {
		expect(t, p.userinfo(t, p.tokens(t).text("id_token")), http.StatusUnauthorized, "invalid_token")
	})
}

func TestIntrospection(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	web, machine := newParty(t, a, a.Acme, a.Acme.Web), newParty(t, a, a.Acme, a.Acme.M2M)
	inspect := func(p party, token string) reply { return p.post(t, "/token/introspection", "token", token) }
	inactive := func(name string, got reply) {
		t.Helper()
		if diff := cmp.Diff(map[string]any{"active": false}, got.body); diff != "" || got.StatusCode != http.StatusOK {
			t.Errorf("%s: %d mismatch (-want +got)\n%s", name, got.StatusCode, diff)
		}
	}
	tokens := web.tokens(t, "scope", "openid email offline_access")
	got := inspect(web, tokens.text("access_token"))
	id := claimsOf(t, tokens.text("id_token"))
	for _, varies := range []string{"iat", "exp"} {
		if at, _ := got.body[varies].(float64); at == 0 {
			t.Errorf("no %s in %s", varies, got.Text)
		}
		delete(got.body, varies)
	}
	want := map[string]any{
		"active": true, "iss": a.Acme.Issuer, "sub": id["sub"], "client_id": a.Acme.Web.ID, "scope": "openid email offline_access", "token_type": "Bearer",
		"auth_time": id["auth_time"], "acr": id["acr"], "amr": id["amr"],
	}
	if diff := cmp.Diff(want, got.body); diff != "" {
		t.Errorf("access token mismatch (-want +got)\n%s", diff)
	}
	if got := inspect(web, tokens.text("refresh_token")); got.body["active"] != true || got.body["sub"] != id["sub"] || got.text("token_type") != "" {
		t.Errorf("refresh token: %s", got.Text)
	}
	bound := machine.post(t, "/token", "grant_type", "client_credentials", "resource", "urn:test:api", "scope", "read")
	if got := inspect(machine, bound.text("access_token")); got.body["active"] != true || got.text("aud") != "urn:test:api" || got.text("scope") != "read" {
		t.Errorf("JSON Web Token: %s", got.Text)
	}

	inactive("another client's access token", inspect(machine, tokens.text("access_token")))
	inactive("another client's refresh token", inspect(machine, tokens.text("refresh_token")))
	inactive("another client's JSON Web Token", inspect(web, bound.text("access_token")))
	inactive("an ID token", inspect(web, tokens.text("id_token")))
	for _, garbage := range []string{"garbage", "a.b.c", "\x00", "\xff", "parako_at_", "parako_rt_x.y", strings.Repeat("x", 5000)} {
		inactive(fmt.Sprintf("%.20q", garbage), inspect(web, garbage))
	}
	expect(t, web.post(t, "/token/introspection"), http.StatusBadRequest, "invalid_request")
	expect(t, web.as(a.Acme.SPA).post(t, "/token/introspection", "token", tokens.text("access_token")), http.StatusUnauthorized, "invalid_client")
	thief := a.Acme.Web
	thief.Secret = "wrong"
	expect(t, inspect(web.as(thief), tokens.text("access_token")), http.StatusUnauthorized, "invalid_client")

	resource := register(t, a, a.Acme, oidc.NewClient{ID: "urn.api", Preset: oidc.PresetM2M, ClientMetadata: oidc.ClientMetadata{Name: "API"}})
	forIt := register(t, a, a.Acme, oidc.NewClient{
		ID: "caller", ClientMetadata: oidc.ClientMetadata{Name: "Caller"}, Preset: oidc.PresetM2M, AllowedResources: []string{"urn:resource:" + resource.ID}, ResourcesScopes: "read",
	})
	call := newParty(t, a, a.Acme, forIt).post(t, "/token", "grant_type", "client_credentials", "resource", "urn:resource:"+resource.ID)
	if got := inspect(web.as(resource), call.text("access_token")); got.body["active"] != true || got.text("client_id") != "caller" {
		t.Errorf("the resource that the token is for: %s", got.Text)
	}

	web.refresh(t, tokens.text("refresh_token"))
	inactive("a refresh token that was rotated out", inspect(web, tokens.text("refresh_token")))
}

func TestRevocation(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	web, machine := newParty(t, a, a.Acme, a.Acme.Web), newParty(t, a, a.Acme, a.Acme.M2M)
	revoke := func(t *testing.T, p party, token string) {
		t.Helper()
		if got := p.post(t, "/token/revocation", "token", token, "token_type_hint", "nonsense"); got.StatusCode != http.StatusOK || got.Text != "" {
			t.Errorf("%d %q, want 200 and nothing", got.StatusCode, got.Text)
		}
	}
	start := func(t *testing.T) reply { t.Helper(); return web.tokens(t, "scope", "openid offline_access") }
	start(t)
	t.Run("a refresh token takes its family along", func(t *testing.T) {
		first := start(t)
		second := web.refresh(t, first.text("refresh_token"))
		revoke(t, web, second.text("refresh_token"))
		expect(t, web.refresh(t, second.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
		expect(t, web.refresh(t, first.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
		if web.alive(t, first.text("access_token")) || web.alive(t, second.text("access_token")) {
			t.Error("an access token of the family is alive")
		}
	})
	t.Run("an access token ends alone", func(t *testing.T) {
		first := start(t)
		revoke(t, web, first.text("access_token"))
		if web.alive(t, first.text("access_token")) {
			t.Error("the access token is alive")
		}
		second := web.refresh(t, first.text("refresh_token"))
		if !web.alive(t, second.text("access_token")) {
			t.Error("the family ended with one access token")
		}
	})
	t.Run("a JSON Web Token", func(t *testing.T) {
		token := machine.post(t, "/token", "grant_type", "client_credentials", "resource", "urn:test:api").text("access_token")
		revoke(t, machine, token)
		if got := machine.post(t, "/token/introspection", "token", token); got.body["active"] != false {
			t.Errorf("after the revocation: %s", got.Text)
		}
		revoke(t, machine, token)
	})
	t.Run("a JSON Web Token of a person", func(t *testing.T) {
		own := web.as(webClient(t, a, a.Acme, func(n *oidc.NewClient) { n.AllowedResources = []string{"urn:test:api"} }))
		token := own.redeem(t, own.code(t, "resource", "urn:test:api")).text("access_token")
		if got := own.post(t, "/token/introspection", "token", token); got.body["active"] != true {
			t.Errorf("before the revocation: %s", got.Text)
		}
		revoke(t, own, token)
		if got := own.post(t, "/token/introspection", "token", token); got.body["active"] != false {
			t.Errorf("after the revocation: %s", got.Text)
		}
	})
	t.Run("another client's", func(t *testing.T) {
		first := start(t)
		revoke(t, machine, first.text("access_token"))
		revoke(t, web.as(a.Acme.SPA), first.text("refresh_token"))
		if !web.alive(t, first.text("access_token")) {
			t.Error("a client revoked another's access token")
		}
		expect(t, web.refresh(t, first.text("refresh_token")), http.StatusOK, "")
	})
	t.Run("a public client's own", func(t *testing.T) {
		spa := web.as(a.Acme.SPA)
		first := spa.tokens(t)
		revoke(t, spa, first.text("refresh_token"))
		expect(t, spa.refresh(t, first.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	})
	t.Run("unknown", func(t *testing.T) {
		for _, token := range []string{"garbage", "\x00", "\xff", "parako_rt_a.b", "a.b.c"} {
			revoke(t, web, token)
		}
		expect(t, web.post(t, "/token/revocation"), http.StatusBadRequest, "invalid_request")
	})
}

func TestCORS(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	spa := newParty(t, a, a.Acme, a.Acme.SPA)
	const own, foreign = "http://localhost:9008", "https://evil.example"
	tokens := spa.tokens(t)
	from := func(r *http.Request, origin string) reply {
		r.Header.Set("Origin", origin)
		return spa.do(t, r)
	}
	refresh := func(token string) *http.Request {
		return spa.formRequest(t.Context(), "/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
	}
	get := func(path string) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.Acme.Issuer+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+tokens.text("access_token"))
		return r
	}
	for name, tt := range map[string]struct {
		got  reply
		want string
	}{
		"the application's own":        {from(refresh(tokens.text("refresh_token")), own), own},
		"its own, refused":             {from(refresh("garbage"), own), own},
		"another":                      {from(refresh(tokens.text("refresh_token")), foreign), ""},
		"another port":                 {from(refresh("garbage"), "http://localhost:9009"), ""},
		"null":                         {from(refresh("garbage"), "null"), ""},
		"userinfo":                     {from(get("/userinfo"), foreign), foreign},
		"revocation":                   {from(spa.formRequest(t.Context(), "/token/revocation", url.Values{"token": {"x"}}), own), own},
		"revocation, another":          {from(spa.formRequest(t.Context(), "/token/revocation", url.Values{"token": {"x"}}), foreign), ""},
		"a client that does not exist": {from(spa.formRequest(t.Context(), "/token", url.Values{"client_id": {"x"}, "grant_type": {"refresh_token"}}), own), ""},
	} {
		if got := tt.got.Header.Get("Access-Control-Allow-Origin"); got != tt.want {
			t.Errorf("%s: Access-Control-Allow-Origin = %q, want %q", name, got, tt.want)
		}
		if tt.got.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: credentials are allowed", name)
		}
		if !strings.Contains(strings.Join(tt.got.Header.Values("Vary"), ", "), "Origin") {
			t.Errorf("%s: Vary = %q", name, strings.Join(tt.got.Header.Values("Vary"), ", "))
		}
	}
	for _, path := range []string{"/token", "/token/revocation", "/userinfo"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, a.Acme.Issuer+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", own)
		r.Header.Set("Access-Control-Request-Method", http.MethodPost)
		got := app.Do(t, spa.direct, r)
		if got.StatusCode != http.StatusNoContent || got.Header.Get("Access-Control-Allow-Origin") != own ||
			!strings.Contains(got.Header.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("preflight of %s: %d %v", path, got.StatusCode, got.Header)
		}
	}
	for _, path := range []string{"/.well-known/openid-configuration", "/jwks"} {
		if got := app.Get(t, spa.direct, a.Acme.Issuer+path); got.Header.Get("Access-Control-Allow-Origin") != "*" || got.Header.Get("Content-Type") == "" {
			t.Errorf("%s: %d %v", path, got.StatusCode, got.Header)
		}
	}
	// Pages are for their own origin.
	if got := spa.authorize(t); got.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("the authorization endpoint allows other origins")
	}
}

func TestPublicDocuments(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for _, tenant := range []app.Tenant{a.Acme, a.Globex} {
		p := newParty(t, a, tenant, tenant.Web)
		base := strings.TrimSuffix(tenant.Issuer, "/oidc/v1")
		first := app.Get(t, p.direct, tenant.Issuer+"/.well-known/openid-configuration")
		second := app.Get(t, p.direct, base+"/.well-known/oauth-authorization-server/oidc/v1")
		if first.StatusCode != http.StatusOK || first.Text != second.Text || !strings.Contains(first.Text, `"issuer":"`+tenant.Issuer+`"`) {
			t.Errorf("discovery: %d %s\n%s", first.StatusCode, first.Text, second.Text)
		}
		if vary := strings.Join(first.Header.Values("Vary"), ", "); !strings.Contains(vary, "Host") || !strings.Contains(first.Header.Get("Cache-Control"), "max-age=") {
			t.Errorf("discovery: %v", first.Header)
		}
		keys := app.Get(t, p.direct, tenant.Issuer+"/jwks")
		for _, private := range []string{`"d":`, `"p":`, `"q":`, `"dp":`, `"k":`} {
			if strings.Contains(keys.Text, private) {
				t.Errorf("the key set has %s", private)
			}
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tenant.Issuer+"/jwks", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("If-None-Match", `"x", W/`+keys.Header.Get("ETag"))
		if again := app.Do(t, p.direct, r); again.StatusCode != http.StatusNotModified || again.Text != "" {
			t.Errorf("If-None-Match: %d %q", again.StatusCode, again.Text)
		}
	}
	if app.Get(t, a.Client(t), a.Acme.Issuer+"/jwks").Text == app.Get(t, a.Client(t), a.Globex.Issuer+"/jwks").Text {
		t.Error("two tenants share their keys")
	}
}
