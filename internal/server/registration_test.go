package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/oidc"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/testkit/app"
)

// registrationOn turns on what the tests of registration need.
const registrationOn = `"dynamic_client_registration":{"enabled":true},"client_registration_management":{"enabled":true}`

// registrar is a server where applications register themselves with both tenants.
func registrar(t *testing.T) *app.App {
	t.Helper()
	a := app.New(t)
	for _, tenant := range []app.Tenant{a.Acme, a.Globex} {
		a.Configure(t, tenant, "features", `{"oidc":{`+registrationOn+`}}`)
	}
	return a
}

// initialToken makes an initial access token for the party's tenant, good for 100 clients unless change says otherwise.
func (p party) initialToken(t *testing.T, change ...func(*oidc.NewRegistrationToken)) oidc.RegistrationToken {
	t.Helper()
	n := oidc.NewRegistrationToken{Uses: 100, TTL: time.Hour, Actor: audit.Operator("test")}
	for _, f := range change {
		f(&n)
	}
	var token oidc.RegistrationToken
	p.inTenant(t, func(ctx context.Context, tx *store.Tx) (err error) {
		token, err = oidc.CreateRegistrationToken(ctx, tx, p.Vault, n)
		return err
	})
	return token
}

// metadata is what a client registers with; pairs are laid over it, and nil leaves a member out.
func metadata(pairs ...any) map[string]any {
	m := map[string]any{"client_name": "Dynamic", "redirect_uris": []string{app.Callback}}
	for i := 0; i < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		if m[name] = pairs[i+1]; pairs[i+1] == nil {
			delete(m, name)
		}
	}
	return m
}

// jsonRequest is a request with a bearer token and, unless it is nil, a body of JSON.
func jsonRequest(ctx context.Context, method, target, token string, body any) *http.Request {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			panic(err) // Tests make their own bodies.
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(text))
	if err != nil {
		panic(err) // The targets of tests are URLs.
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// introduce sends metadata to the registration endpoint.
func (p party) introduce(t *testing.T, token string, pairs ...any) reply {
	t.Helper()
	return p.do(t, jsonRequest(t.Context(), http.MethodPost, p.tenant.Issuer+"/register-rp", token, metadata(pairs...)))
}

// joined registers a client, which must work, and is the party with that client.
func (p party) joined(t *testing.T, token string, pairs ...any) (party, reply) {
	t.Helper()
	got := p.introduce(t, token, pairs...)
	if got.StatusCode != http.StatusCreated {
		t.Fatalf("register: %d %s", got.StatusCode, got.Text)
	}
	var client oidc.Client
	if err := json.Unmarshal([]byte(got.Text), &client); err != nil {
		t.Fatal(err)
	}
	return p.as(client), got
}

// manage sends a request to the address of a registration.
func (p party) manage(t *testing.T, method string, registration reply, token string, body any) reply {
	t.Helper()
	return p.do(t, jsonRequest(t.Context(), method, registration.text("registration_client_uri"), token, body))
}

// dead expects that a token is refused, with the challenge of RFC 6750 section 3.
func dead(t *testing.T, what string, got reply) {
	t.Helper()
	challenge := got.Header.Get("WWW-Authenticate")
	if got.StatusCode != http.StatusUnauthorized || got.text("error") != "invalid_token" || !strings.HasPrefix(challenge, `Bearer realm="parako", error="invalid_token"`) {
		t.Errorf("%s: %d %s, WWW-Authenticate %q", what, got.StatusCode, got.Text, challenge)
	}
}

func TestRegistration(t *testing.T) {
	t.Parallel()
	a := registrar(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	token := p.initialToken(t)
	began := time.Now().Add(-time.Second).Unix()
	own, got := p.joined(t, token.Token)

	want := map[string]any{
		"client_name": "Dynamic", "redirect_uris": []any{app.Callback}, "application_type": "web", "token_endpoint_auth_method": "client_secret_basic",
		"grant_types": []any{"authorization_code"}, "response_types": []any{"code"}, "id_token_signed_response_alg": "RS256",
		"scope": "openid profile email address phone", "client_secret_expires_at": 0.0,
		"registration_client_uri": a.Acme.Issuer + "/register-rp/" + own.client.ID,
	}
	for name, pattern := range map[string]string{"client_id": "", "client_secret": "", "registration_access_token": "parako_rat_"} {
		if text := got.text(name); len(text) < 30 || !strings.HasPrefix(text, pattern) {
			t.Errorf("%s = %q", name, text)
		}
		delete(got.body, name)
	}
	if issued := seconds(got.body["client_id_issued_at"]); issued < float64(began) || issued > float64(time.Now().Unix()) {
		t.Errorf("client_id_issued_at = %v", got.body["client_id_issued_at"])
	}
	delete(got.body, "client_id_issued_at")
	if diff := cmp.Diff(want, got.body); diff != "" {
		t.Errorf("client information mismatch (-want +got)\n%s", diff)
	}

	// It works like any other client, and people are told that nobody vouches for it.
	page := app.Get(t, own.browser, own.authorizeURL("scope", "openid email"))
	consent := app.Post(t, own.browser, page.Request.URL.String()+"/login", url.Values{"identifier": {a.Acme.Email}, "password": {app.Password}})
	if !strings.Contains(consent.Text, `id="consent-unverified"`) || !strings.Contains(consent.Text, "Dynamic") {
		t.Errorf("consent to a client that registered itself:\n%s", consent.Text)
	}
	tokens := own.tokens(t, "scope", "openid email")
	if claimsOf(t, tokens.text("id_token"))["aud"] != own.client.ID || own.userinfo(t, tokens.text("access_token")).text("email") != a.Acme.Email {
		t.Errorf("tokens = %s", tokens.Text)
	}
	vouched := own.as(a.Acme.Web).shows(t, "consent-form")
	if strings.Contains(vouched.Text, "consent-unverified") {
		t.Error("people are warned of a client that their administrators registered")
	}
	if rows := a.DB.Ask(t, a.Acme.ID, "SELECT uses::text FROM parako.registration_tokens"); !slices.Equal(rows, []string{"1"}) {
		t.Errorf("uses = %v", rows)
	}
}

// TestRegistrationKeepsEverything registers with every kind of metadata and reads the same back.
func TestRegistrationKeepsEverything(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{`+registrationOn+`,"encryption":{"enabled":true},"jwt_userinfo":{"enabled":true},"mtls":{"enabled":true},"implicit_flow":{"enabled":true},
		"hybrid_flow":{"enabled":true},"request_uri":{"enabled":true},"frontchannel_logout":{"enabled":true},"jwt_response_modes":{"enabled":true}}}`)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	key := newKey(t, jose.ES256)
	var jwks map[string]any
	if err := json.Unmarshal(key.set(t), &jwks); err != nil {
		t.Fatal(err)
	}
	sent := metadata(
		"application_type", "web", "token_endpoint_auth_method", "private_key_jwt", "token_endpoint_auth_signing_alg", "ES256", "jwks", jwks,
		"grant_types", []any{"authorization_code", "implicit", "refresh_token"}, "response_types", []any{"code", "code id_token"},
		"redirect_uris", []any{"https://app.example/cb", "https://app.example/other?x=1"}, "post_logout_redirect_uris", []any{"https://app.example/"},
		"scope", "openid email", "contacts", []any{"ann@app.example"}, "client_uri", "https://app.example", "logo_uri", "https://app.example/logo.png",
		"policy_uri", "https://app.example/policy", "tos_uri", "https://app.example/tos", "subject_type", "pairwise", "id_token_signed_response_alg", "PS256",
		"id_token_encrypted_response_alg", "ECDH-ES", "id_token_encrypted_response_enc", "A256GCM", "userinfo_signed_response_alg", "ES256",
		"request_object_signing_alg", "ES256", "request_uris", []any{"https://app.example/request#hash"}, "default_max_age", 3600.0, "require_auth_time", true,
		"default_acr_values", []any{"urn:pwd"}, "initiate_login_uri", "https://app.example/login", "software_id", "an-id", "software_version", "2",
		"backchannel_logout_uri", "https://app.example/bye", "backchannel_logout_session_required", true, "dpop_bound_access_tokens", true,
		"require_pushed_authorization_requests", true, "authorization_signed_response_alg", "EdDSA",
	)
	// What means nothing here is passed over, and null is nothing (RFC 7591 section 2).
	body := metadata("client_name#ja", "アプリ", "favourite_colour", "blue", "CLIENT_URI", "https://evil.example", "accesstokenformat", "opaque",
		"request_object_encryption_alg", nil, "description", "x", "active", false)
	maps.Copy(body, sent)
	body["tls_client_auth_san_dns"], body["fapi_profile"] = nil, nil
	got := p.do(t, jsonRequest(t.Context(), http.MethodPost, a.Acme.Issuer+"/register-rp", p.initialToken(t).Token, body))
	expect(t, got, http.StatusCreated, "")
	kept := func(got reply) map[string]any {
		information := map[string]any{}
		for name, value := range got.body {
			if !slices.Contains([]string{"client_id", "client_id_issued_at", "registration_client_uri", "registration_access_token"}, name) {
				information[name] = value
			}
		}
		return information
	}
	if diff := cmp.Diff(sent, kept(got)); diff != "" {
		t.Errorf("registered metadata mismatch (-sent +got)\n%s", diff)
	}
	again := p.manage(t, http.MethodGet, got, got.text("registration_access_token"), nil)
	if diff := cmp.Diff(got.body, again.body); diff != "" {
		t.Errorf("read again mismatch (-registered +read)\n%s", diff)
	}
	update := kept(again)
	update["client_id"] = got.text("client_id")
	changed := p.manage(t, http.MethodPut, got, got.text("registration_access_token"), update)
	if diff := cmp.Diff(sent, kept(changed)); diff != "" {
		t.Errorf("written back mismatch (-sent +got)\n%s", diff)
	}
}

func TestRegistrationDefaults(t *testing.T) {
	t.Parallel()
	a := registrar(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	token := p.initialToken(t).Token
	for name, tt := range map[string]struct {
		send, want map[string]any
	}{
		"a public client has no secret": {
			map[string]any{"token_endpoint_auth_method": "none"},
			map[string]any{"client_secret": nil, "client_secret_expires_at": nil},
		},
		"a machine has no response type, and no scope of people": {
			map[string]any{"grant_types": []string{"client_credentials"}, "redirect_uris": nil},
			map[string]any{"response_types": nil, "scope": nil, "redirect_uris": nil, "token_endpoint_auth_method": "client_secret_basic"},
		},
		"an encryption has the usual method": {
			map[string]any{"scope": "  email   openid "},
			map[string]any{"scope": "email openid"},
		},
		"a native application": {
			map[string]any{"application_type": "native", "redirect_uris": []string{"com.example.app:/cb", "http://127.0.0.1/cb"}},
			map[string]any{"application_type": "native", "redirect_uris": []any{"com.example.app:/cb", "http://127.0.0.1/cb"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var pairs []any
			for name, value := range tt.send {
				pairs = append(pairs, name, value)
			}
			got := p.introduce(t, token, pairs...)
			expect(t, got, http.StatusCreated, "")
			for name, want := range tt.want {
				if diff := cmp.Diff(want, got.body[name]); diff != "" {
					t.Errorf("%s mismatch (-want +got)\n%s", name, diff)
				}
			}
		})
	}
}

// TestRegistrationRefusals sends what must not be registered. No attempt uses the token.
func TestRegistrationRefusals(t *testing.T) {
	t.Parallel()
	a := registrar(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	token := p.initialToken(t)
	const invalid, redirect = "invalid_client_metadata", "invalid_redirect_uri"
	private, err := newKey(t, jose.ES256).private.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		code  string
		pairs []any
	}{
		"no client_name":             {invalid, []any{"client_name", nil}},
		"an empty client_name":       {invalid, []any{"client_name", ""}},
		"a client_name of two lines": {invalid, []any{"client_name", "a\nb"}},
		"an internal client":         {invalid, []any{"isInternalClient", true}},
		"not an internal client":     {invalid, []any{"isInternalClient", false}},
		"resources":                  {invalid, []any{"allowedResources", []string{"urn:parako:api:v1"}}},
		"scopes of resources":        {invalid, []any{"resourcesScopes", "read"}},
		"an audience":                {invalid, []any{"audience", "https://api.example"}},
		"a token format":             {invalid, []any{"accessTokenFormat", "opaque"}},
		"lifetimes":                  {invalid, []any{"ttl", map[string]int{"AccessToken": 31_000_000}}},
		"no lifetimes":               {invalid, []any{"ttl", map[string]int{}}},
		"a profile":                  {invalid, []any{"fapi_profile", "2.0"}},
		"a client_id":                {invalid, []any{"client_id", "chosen"}},
		"a client_secret":            {invalid, []any{"client_secret", "chosen"}},
		"a grant that is off":        {invalid, []any{"grant_types", []string{"implicit"}}},
		"an unknown grant":           {invalid, []any{"grant_types", []string{"password"}}},
		"a powerful grant":           {invalid, []any{"grant_types", []string{"urn:ietf:params:oauth:grant-type:token-exchange"}}},
		"a scope nobody has":         {invalid, []any{"scope", "openid payroll"}},
		"a scope the tenant has off": {invalid, []any{"scope", "roles"}},
		"an unknown method":          {invalid, []any{"token_endpoint_auth_method", "tls"}},
		"a private key":              {invalid, []any{"jwks", json.RawMessage(`{"keys":[` + string(private) + `]}`)}},
		"a key with a NUL":           {invalid, []any{"jwks", json.RawMessage(`{"keys":[{"kty":"EC","kid":"\u0000"}]}`)}},
		"two places for keys":        {invalid, []any{"jwks", newKey(t, jose.ES256).set(t), "jwks_uri", "https://app.example/jwks"}},
		"a name with a NUL":          {invalid, []any{"tls_client_auth_san_dns", "a\x00b"}},
		"an unsigned ID token":       {invalid, []any{"id_token_signed_response_alg", "none"}},
		"a name that is a number":    {invalid, []any{"client_name", 7}},
		"a logo that is a script":    {invalid, []any{"logo_uri", "javascript:alert(1)"}},
		"redirect_uris as a text":    {redirect, []any{"redirect_uris", app.Callback}},
		"no redirect URI":            {redirect, []any{"redirect_uris", nil}},
		"an empty list of them":      {redirect, []any{"redirect_uris", []string{}}},
		"a fragment":                 {redirect, []any{"redirect_uris", []string{"https://app.example/cb#x"}}},
		"a script":                   {redirect, []any{"redirect_uris", []string{"javascript:alert(1)"}}},
		"http elsewhere":             {redirect, []any{"redirect_uris", []string{"http://app.example/cb"}}},
		"a wildcard":                 {redirect, []any{"redirect_uris", []string{"https://*.example/cb"}}},
		"a software statement":       {"unapproved_software_statement", []any{"software_statement", "a.b.c"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := p.introduce(t, token.Token, tt.pairs...)
			expect(t, got, http.StatusBadRequest, tt.code)
			if got.text("error_description") == "" {
				t.Error("no reason is given")
			}
		})
	}
	t.Run("bodies", func(t *testing.T) {
		for _, body := range []string{"", "{", "null", "[]", `"x"`, "7", `{"client_name":"A"} {}`, "client_name=A"} {
			r := jsonRequest(t.Context(), http.MethodPost, a.Acme.Issuer+"/register-rp", token.Token, nil)
			r.Body, r.ContentLength = http.NoBody, 0
			if body != "" {
				raw, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL.String(), strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				raw.Header, r = r.Header, raw
			}
			r.Header.Set("Content-Type", "application/json; charset=utf-8")
			expect(t, p.do(t, r), http.StatusBadRequest, "invalid_request")
		}
		form := p.formRequest(t.Context(), "/register-rp", url.Values{"client_name": {"A"}})
		form.Header.Set("Authorization", "Bearer "+token.Token)
		expect(t, p.do(t, form), http.StatusBadRequest, "invalid_request")
		huge := jsonRequest(t.Context(), http.MethodPost, a.Acme.Issuer+"/register-rp", token.Token, metadata("client_name", strings.Repeat("x", 70_000)))
		if got := p.do(t, huge); got.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("a body of 70 kB: %d %s", got.StatusCode, got.Text)
		}
	})
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		err := a.Store.InTenant(ctx, a.Acme.ID, func(ctx context.Context, tx *store.Tx) error {
			list, err := oidc.ListRegistrationTokens(ctx, tx, uuid.Nil, 10)
			if err == nil && (len(list) != 1 || list[0].Uses != 0) {
				t.Errorf("the attempts used the token: %+v", list)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestInitialAccessTokens brings tokens that let nobody in.
func TestInitialAccessTokens(t *testing.T) {
	t.Parallel()
	a := registrar(t)
	p, foreign := newParty(t, a, a.Acme, a.Acme.Web), newParty(t, a, a.Globex, a.Globex.Web)
	_, registered := p.joined(t, p.initialToken(t).Token)
	foreign.joined(t, foreign.initialToken(t).Token)
	before := rowsOf(t, a, a.Globex)

	none := p.introduce(t, "")
	if none.StatusCode != http.StatusUnauthorized || none.Header.Get("WWW-Authenticate") != `Bearer realm="parako"` {
		t.Errorf("without a token: %d %s, WWW-Authenticate %q", none.StatusCode, none.Text, none.Header.Get("WWW-Authenticate"))
	}
	used := p.initialToken(t, func(n *oidc.NewRegistrationToken) { n.Uses = 1 })
	p.joined(t, used.Token)
	expired := p.initialToken(t)
	a.Superuser(t, "UPDATE parako.registration_tokens SET expires_at = now() - interval '1 second' WHERE id = $1", expired.ID)
	revoked := p.initialToken(t)
	p.inTenant(t, func(ctx context.Context, tx *store.Tx) error {
		return oidc.RevokeRegistrationToken(ctx, tx, revoked.ID, audit.Operator("test"))
	})
	lost := p.initialToken(t)
	a.Superuser(t, "DELETE FROM parako.registration_tokens WHERE id = $1", lost.ID)
	access := p.tokens(t)
	for what, token := range map[string]string{
		"garbage": "garbage", "an empty one": "parako_iat_", "a forged one": "parako_iat_" + strings.Repeat("x", 43) + "." + strings.Repeat("y", 43),
		"one that is used up": used.Token, "one that has expired": expired.Token, "one that was revoked": revoked.Token, "one that is gone": lost.Token,
		"an access token": access.text("access_token"), "a registration access token": registered.text("registration_access_token"),
		"another's prefix": strings.Replace(registered.text("registration_access_token"), "_rat_", "_iat_", 1),
	} {
		dead(t, what, p.introduce(t, token))
	}
	live := p.initialToken(t)
	dead(t, "another tenant's", foreign.introduce(t, live.Token))
	if rowsOf(t, a, a.Globex) != before {
		t.Error("globex's rows have changed")
	}
	for what, change := range map[string]func(*http.Request){
		"in the query":    func(r *http.Request) { r.Header.Del("Authorization"); r.URL.RawQuery = "access_token=" + live.Token },
		"twice":           func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+live.Token) },
		"as a password":   func(r *http.Request) { r.SetBasicAuth("x", live.Token) },
		"as a DPoP token": func(r *http.Request) { r.Header.Set("Authorization", "DPoP "+live.Token) },
	} {
		r := jsonRequest(t.Context(), http.MethodPost, a.Acme.Issuer+"/register-rp", live.Token, metadata())
		change(r)
		if got := p.do(t, r); got.StatusCode != http.StatusBadRequest && got.StatusCode != http.StatusUnauthorized {
			t.Errorf("a token %s: %d %s", what, got.StatusCode, got.Text)
		}
	}
	endless := p.initialToken(t, func(n *oidc.NewRegistrationToken) { n.TTL = 0 })
	p.joined(t, endless.Token)
	p.joined(t, live.Token)
}

// meetingPoint is a sector_identifier_uri that answers when eight have asked for it, which is how many connections the server
// opens to a site. By then each of them has been let in with the token, and only the statement that uses it tells them apart.
func meetingPoint(t *testing.T) string {
	t.Helper()
	const together = 8
	var asked atomic.Int64
	var all sync.WaitGroup
	all.Add(together)
	return serve(t, map[string]func() string{"/uris": func() string {
		if asked.Add(1) <= together {
			all.Done()
		}
		all.Wait()
		return `["` + app.Callback + `"]`
	}}) + "/uris"
}

// TestOneInitialTokenManyRegistrations is used by many at once: it lets in as many as it is for.
func TestOneInitialTokenManyRegistrations(t *testing.T) {
	t.Parallel()
	a := registrar(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	const uses = 7
	token := p.initialToken(t, func(n *oidc.NewRegistrationToken) { n.Uses = uses })
	registered := func() int {
		return len(a.DB.Ask(t, a.Acme.ID, "SELECT id FROM parako.clients WHERE registration_policy IS NOT NULL"))
	}
	sector := meetingPoint(t)
	replies := p.together(t, func() *http.Request {
		return jsonRequest(t.Context(), http.MethodPost, a.Acme.Issuer+"/register-rp", token.Token, metadata("sector_identifier_uri", sector))
	})
	made := 0
	for _, got := range replies {
		if got.StatusCode == http.StatusCreated {
			made++
			continue
		}
		dead(t, "beyond the number of uses", got)
	}
	if made != uses || registered() != uses {
		t.Errorf("%d answers of success and %d clients, want %d", made, registered(), uses)
	}
	if got := a.DB.Ask(t, a.Acme.ID, "SELECT uses || ' of ' || max_uses FROM parako.registration_tokens"); !slices.Equal(got, []string{"7 of 7"}) {
		t.Errorf("uses = %v", got)
	}
}

// TestRegistrationPolicies registers within and beyond what a token allows, and tries to get there later.
func TestRegistrationPolicies(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{`+registrationOn+`,"token_exchange":{"enabled":true}}}`)
	a.Configure(t, a.Acme, "oidc", `{"scopes":["roles"]}`)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	token := p.initialToken(t, func(n *oidc.NewRegistrationToken) {
		n.Policy = oidc.RegistrationPolicy{
			GrantTypes: []string{"authorization_code", "refresh_token"}, Scopes: []string{"openid", "email", "jobs:run"}, RedirectHosts: []string{"App.example", "localhost:3000"},
		}
	}).Token
	within := []any{
		"redirect_uris",
		[]string{"https://app.example/cb", "http://localhost:3000/cb"},
		"post_logout_redirect_uris",
		[]string{"https://app.example/"},
		"grant_types",
		[]string{"authorization_code", "refresh_token"},
	}
	own, got := p.joined(t, token, within...)
	if got.text("scope") != "openid email jobs:run" {
		t.Errorf("scope = %q", got.text("scope"))
	}
	beyond := map[string]struct {
		code  string
		pairs []any
	}{
		"another grant":                  {"invalid_client_metadata", []any{"grant_types", []string{"authorization_code", "client_credentials"}}},
		"another scope":                  {"invalid_client_metadata", []any{"scope", "openid profile"}},
		"another host":                   {"invalid_redirect_uri", []any{"redirect_uris", []string{"https://app.example/cb", "https://evil.example/cb"}}},
		"another port":                   {"invalid_redirect_uri", []any{"redirect_uris", []string{"https://app.example:8443/cb"}}},
		"a host below":                   {"invalid_redirect_uri", []any{"redirect_uris", []string{"https://x.app.example/cb"}}},
		"a host that ends like it":       {"invalid_redirect_uri", []any{"redirect_uris", []string{"https://evilapp.example/cb"}}},
		"no host":                        {"invalid_redirect_uri", []any{"redirect_uris", []string{"com.example:/cb"}, "application_type", "native"}},
		"another host after the session": {"invalid_client_metadata", []any{"post_logout_redirect_uris", []string{"https://evil.example/"}}},
	}
	for name, tt := range beyond {
		expect(t, p.introduce(t, token, append(slices.Clone(within), tt.pairs...)...), http.StatusBadRequest, tt.code)
		body := metadata(append(append(slices.Clone(within), "client_id", own.client.ID), tt.pairs...)...)
		if refused := own.manage(t, http.MethodPut, got, got.text("registration_access_token"), body); refused.StatusCode != http.StatusBadRequest || refused.text("error") != tt.code {
			t.Errorf("later, %s: %d %s", name, refused.StatusCode, refused.Text)
		}
	}
	// The token may be gone; the client is held to it all the same.
	a.Superuser(t, "DELETE FROM parako.registration_tokens")
	changed := own.manage(t, http.MethodPut, got, got.text("registration_access_token"), metadata(append(slices.Clone(within), "client_id", own.client.ID, "scope", "email")...))
	expect(t, changed, http.StatusOK, "")
	got.body["registration_access_token"] = changed.body["registration_access_token"]

	// A token allows by name what others do not get.
	const exchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	powerful := p.initialToken(t, func(n *oidc.NewRegistrationToken) { n.Policy.GrantTypes = []string{exchange} }).Token
	machine := []any{"grant_types", []string{exchange}, "redirect_uris", nil}
	p.joined(t, powerful, machine...)
	plain := p.initialToken(t).Token
	expect(t, p.introduce(t, plain, machine...), http.StatusBadRequest, "invalid_client_metadata")
	if _, got := p.joined(t, plain, "scope", "openid roles"); got.text("scope") != "openid roles" {
		t.Errorf("a scope of the tenant's: %s", got.Text)
	}

	// Administrators are held to nothing, and what they set stays when the client changes itself.
	p.inTenant(t, func(ctx context.Context, tx *store.Tx) error {
		_, err := oidc.ChangeClient(ctx, tx, a.Vault, settings.Layer{}, own.client.ID, audit.Operator("test"), func(n *oidc.NewClient) error {
			n.TTL.AccessToken, n.Audience, n.Scope = 77, "https://api.app.example", "openid profile"
			return nil
		})
		return err
	})
	read := own.manage(t, http.MethodGet, got, got.text("registration_access_token"), nil)
	if read.text("scope") != "openid profile" || read.body["ttl"] != nil || read.body["audience"] != nil {
		t.Errorf("read: %s", read.Text)
	}
	expect(t, own.manage(t, http.MethodPut, got, got.text("registration_access_token"), metadata(append(slices.Clone(within), "client_id", own.client.ID)...)), http.StatusOK, "")
	p.inTenant(t, func(ctx context.Context, tx *store.Tx) error {
		client, err := oidc.GetClient(ctx, tx, own.client.ID)
		if client.TTL.AccessToken != 77 || client.Audience != "https://api.app.example" || client.Scope != "openid email jobs:run" || !client.SelfRegistered {
			t.Errorf("after its own change: %+v", client)
		}
		return err
	})
}

// TestRegistrationTurnedOff finds nothing at the endpoints, whatever is brought.
func TestRegistrationTurnedOff(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{"dynamic_client_registration":{"enabled":true}}}`)
	acme, globex := newParty(t, a, a.Acme, a.Acme.Web), newParty(t, a, a.Globex, a.Globex.Web)
	_, got := acme.joined(t, acme.initialToken(t).Token)
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		expect(t, acme.manage(t, method, got, got.text("registration_access_token"), metadata()), http.StatusNotFound, "invalid_request")
		expect(t, globex.do(t, jsonRequest(t.Context(), method, a.Globex.Issuer+"/register-rp/x", "x", metadata())), http.StatusNotFound, "invalid_request")
	}
	expect(t, globex.introduce(t, globex.initialToken(t).Token), http.StatusNotFound, "invalid_request")
	for tenant, want := range map[string]bool{a.Acme.Issuer: true, a.Globex.Issuer: false} {
		discovery := app.Get(t, acme.direct, tenant+"/.well-known/openid-configuration")
		if got := strings.Contains(discovery.Text, `"registration_endpoint":"`+tenant+`/register-rp"`); got != want {
			t.Errorf("%s advertises registration: %t, want %t", tenant, got, want)
		}
	}
}

// TestFailedRegistrationsAreThrottled fails until the limit of one address is reached. The right token is then refused from there,
// and not at another tenant.
func TestFailedRegistrationsAreThrottled(t *testing.T) {
	t.Parallel()
	a := registrar(t)
	p, other := newParty(t, a, a.Acme, a.Acme.Web), newParty(t, a, a.Globex, a.Globex.Web)
	token := p.initialToken(t, func(n *oidc.NewRegistrationToken) { n.Uses = 1000 }).Token
	const limit = 60
	for range limit + 1 { // Successes do not count.
		p.joined(t, token)
	}
	a.Redis.SetTime(time.Now()) // From here on no attempt returns.
	failures := 0
	for p.introduce(t, "garbage").StatusCode == http.StatusUnauthorized {
		if failures++; failures > 2*limit {
			t.Fatalf("%d failures and no end", failures)
		}
	}
	if failures < limit {
		t.Errorf("refused after %d failures, want %d", failures, limit)
	}
	got := p.introduce(t, token)
	expect(t, got, http.StatusTooManyRequests, "temporarily_unavailable")
	if got.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	other.joined(t, other.initialToken(t).Token)
}
