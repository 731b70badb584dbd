package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/config"
	"parako/internal/keyring"
	"parako/internal/oidc"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

// TestAPITokenOfBeforeASuspension has a token outlive the suspension of its tenant, which nobody has noticed in between.
func TestAPITokenOfBeforeASuspension(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newProgram(t, a, a.Acme, "parako:users:read")
	before := p.token(t, "parako:users:read")
	if got := p.call(t, before, http.MethodGet, "/nothing", ""); got.StatusCode != http.StatusNotFound {
		t.Fatalf("before: %d %s", got.StatusCode, got.Text)
	}
	for _, status := range []tenant.Status{tenant.Suspended, tenant.Active} {
		if _, err := tenant.SetStatus(t.Context(), a.Store, a.Acme.Slug, status, "test"); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.call(t, before, http.MethodGet, "/nothing", ""); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token of before: %d %s", got.StatusCode, got.Text)
	}
}

// forged signs what claims say with a key of the tenant.
func forged(t *testing.T, a *app.App, at app.Tenant, alg jose.SignatureAlgorithm, typ string, claims map[string]any) string {
	t.Helper()
	ring, err := keyring.Open(t.Context(), a.Store, a.Vault, keyring.DefaultPolicy, at.ID)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	token, err := ring.Sign(alg, typ, payload)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestAPIToken presents every kind of credential to the API.
func TestAPIToken(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	home := onPlatform(t, a)
	p := newProgram(t, a, home, readTenants)
	good := p.token(t, readTenants)
	claims := func(pairs ...any) map[string]any {
		c := map[string]any{
			"iss": home.Issuer, "sub": p.client.ID, "aud": apiResource, "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
			"jti": uuid.NewString(), "client_id": p.client.ID, "scope": readTenants,
		}
		for i := 0; i < len(pairs); i += 2 {
			name, _ := pairs[i].(string)
			if c[name] = pairs[i+1]; pairs[i+1] == nil {
				delete(c, name)
			}
		}
		return c
	}
	sign := func(alg jose.SignatureAlgorithm, pairs ...any) string {
		return forged(t, a, home, alg, "at+jwt", claims(pairs...))
	}
	read := func(t *testing.T, authorization ...string) reply {
		t.Helper()
		r := p.request(t, http.MethodGet, "/tenants", "")
		r.Header["Authorization"] = authorization
		return p.send(t, r)
	}

	for name, token := range map[string]string{
		"as issued": good, "signed with ES256": sign(keyring.ES256), "signed with RS256": sign(keyring.RS256), "signed with EdDSA": sign(keyring.EdDSA),
	} {
		for _, scheme := range []string{"Bearer ", "bearer ", "BEARER "} {
			if got := read(t, scheme+token); got.StatusCode != http.StatusOK {
				t.Errorf("%s, as %s: %d %s", name, scheme, got.StatusCode, got.Text)
			}
		}
	}

	stranger := newProgram(t, a, a.Acme, "parako:config:read")
	opaque := p.post(t, "/token", "grant_type", "client_credentials").text("access_token")
	other := register(t, a, home, oidc.NewClient{
		Preset: oidc.PresetM2M, AllowedResources: []string{"urn:test:api"}, ResourcesScopes: readTenants, ClientMetadata: oidc.ClientMetadata{Name: "Other"},
	})
	elsewhere := p.as(other).post(t, "/token", "grant_type", "client_credentials", "resource", "urn:test:api", "scope", readTenants).text("access_token")
	parts := strings.Split(good, ".")
	for name, tt := range map[string]struct {
		authorization []string
		kind, code    string
		detail        string
	}{
		"nothing":                       {nil, "unauthorized", "invalid_request", "missing"},
		"another scheme":                {[]string{"Basic eDp5"}, "unauthorized", "invalid_request", ""},
		"a scheme alone":                {[]string{"Bearer"}, "unauthorized", "invalid_request", ""},
		"a scheme and a space":          {[]string{"Bearer "}, "unauthorized", "invalid_request", ""},
		"two headers":                   {[]string{"Bearer " + good, "Bearer " + good}, "unauthorized", "invalid_request", ""},
		"no scheme":                     {[]string{good}, "unauthorized", "invalid_request", ""},
		"rubbish":                       {[]string{"Bearer rubbish"}, "token-invalid", "invalid_token", ""},
		"an opaque token":               {[]string{"Bearer " + opaque}, "token-invalid", "invalid_token", ""},
		"a token for another resource":  {[]string{"Bearer " + elsewhere}, "token-invalid", "invalid_token", ""},
		"a token for two resources":     {[]string{"Bearer " + sign(keyring.ES256, "aud", []string{apiResource, "urn:test:api"})}, "token-invalid", "invalid_token", ""},
		"a token without audience":      {[]string{"Bearer " + sign(keyring.ES256, "aud", nil)}, "token-invalid", "invalid_token", ""},
		"another tenant's":              {[]string{"Bearer " + stranger.token(t, "parako:config:read")}, "token-invalid", "invalid_token", ""},
		"another issuer's":              {[]string{"Bearer " + sign(keyring.ES256, "iss", a.Acme.Issuer)}, "token-invalid", "invalid_token", ""},
		"another type":                  {[]string{"Bearer " + forged(t, a, home, keyring.ES256, "JWT", claims())}, "token-invalid", "invalid_token", ""},
		"a person's":                    {[]string{"Bearer " + sign(keyring.ES256, "sub", uuid.NewString())}, "token-invalid", "invalid_token", ""},
		"without a client":              {[]string{"Bearer " + sign(keyring.ES256, "client_id", nil, "sub", "")}, "token-invalid", "invalid_token", ""},
		"without an end":                {[]string{"Bearer " + sign(keyring.ES256, "exp", nil)}, "token-invalid", "invalid_token", ""},
		"without a beginning":           {[]string{"Bearer " + sign(keyring.ES256, "iat", nil)}, "token-invalid", "invalid_token", ""},
		"an end that is a text":         {[]string{"Bearer " + sign(keyring.ES256, "exp", "tomorrow")}, "token-invalid", "invalid_token", ""},
		"of a client that is not there": {[]string{"Bearer " + sign(keyring.ES256, "sub", "nobody", "client_id", "nobody")}, "token-invalid", "invalid_token", ""},
		"a changed token":               {[]string{"Bearer " + parts[0] + "." + jwtPart([]byte(`{"aud":"`+apiResource+`"}`)) + "." + parts[2]}, "token-invalid", "invalid_token", ""},
		"unsigned":                      {[]string{"Bearer " + jwtPart([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + parts[1] + "."}, "token-invalid", "invalid_token", ""},
		"expired":                       {[]string{"Bearer " + sign(keyring.ES256, "exp", time.Now().Add(-time.Second).Unix())}, "token-expired", "invalid_token", ""},
		"expired and for somebody else": {[]string{"Bearer " + sign(keyring.ES256, "exp", time.Now().Add(-time.Second).Unix(), "aud", "urn:x")}, "token-invalid", "invalid_token", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/tenants", "/nowhere", "", "/tenants/acme/nowhere"} {
				r := p.request(t, http.MethodGet, path, "")
				r.Header["Authorization"] = tt.authorization
				got := p.send(t, r)
				refuses(t, got, http.StatusUnauthorized, tt.kind)
				want := `Bearer realm="parako-management-api", error="` + tt.code + `"`
				if challenge := got.Header.Get("WWW-Authenticate"); challenge != want {
					t.Errorf("%s: WWW-Authenticate %q, want %q", path, challenge, want)
				}
				if !strings.Contains(got.text("detail"), tt.detail) {
					t.Errorf("%s: detail %q", path, got.text("detail"))
				}
			}
		})
	}

	t.Run("in the query", func(t *testing.T) {
		refuses(t, p.call(t, "", http.MethodGet, "/tenants?access_token="+good, ""), http.StatusUnauthorized, "unauthorized")
		refuses(t, p.call(t, good, http.MethodGet, "/tenants?access_token="+good, ""), http.StatusUnauthorized, "unauthorized")
	})
	t.Run("in the body", func(t *testing.T) {
		r := p.request(t, http.MethodPost, "/tenants", "access_token="+good, "Content-Type", "application/x-www-form-urlencoded")
		refuses(t, p.send(t, r), http.StatusUnauthorized, "unauthorized")
	})
	t.Run("an unknown path with a token", func(t *testing.T) {
		refuses(t, p.call(t, good, http.MethodGet, "/nowhere", ""), http.StatusNotFound, "not-found")
		refuses(t, p.call(t, good, http.MethodDelete, "/tenants", ""), http.StatusMethodNotAllowed, "method-not-allowed")
	})
}

// TestAPITokenEnds takes away what a token rests on while it is still live.
func TestAPITokenEnds(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	home := onPlatform(t, a)
	for name, end := range map[string]func(t *testing.T, p program, token string){
		"it is revoked": func(t *testing.T, p program, token string) {
			t.Helper()
			expect(t, p.post(t, "/token/revocation", "token", token), http.StatusOK, "")
		},
		"its client is switched off": func(t *testing.T, p program, _ string) {
			t.Helper()
			p.inTenant(t, func(ctx context.Context, tx *store.Tx) error {
				return oidc.SetClientActive(ctx, tx, p.client.ID, false, audit.Operator("test"))
			})
		},
		"its client is removed": func(t *testing.T, p program, _ string) {
			t.Helper()
			p.inTenant(t, func(ctx context.Context, tx *store.Tx) error {
				return oidc.DeleteClient(ctx, tx, p.client.ID, audit.Operator("test"))
			})
		},
		"its client may not ask for the resource any more": func(t *testing.T, p program, _ string) {
			t.Helper()
			p.change(t, func(n *oidc.NewClient) { n.AllowedResources = []string{"urn:test:api"} })
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProgram(t, a, home, readTenants)
			token := p.token(t, readTenants)
			if got := p.call(t, token, http.MethodGet, "/tenants", ""); got.StatusCode != http.StatusOK {
				t.Fatalf("before: %d %s", got.StatusCode, got.Text)
			}
			end(t, p, token)
			refuses(t, p.call(t, token, http.MethodGet, "/tenants", ""), http.StatusUnauthorized, "token-invalid")
		})
	}
	t.Run("its client loses the scope", func(t *testing.T) {
		p := newProgram(t, a, home, readTenants)
		token := p.token(t, readTenants)
		p.change(t, func(n *oidc.NewClient) { n.ResourcesScopes = "parako:stats:read" })
		refuses(t, p.call(t, token, http.MethodGet, "/tenants", ""), http.StatusForbidden, "scope-insufficient")
	})
	t.Run("its tenant is suspended", func(t *testing.T) {
		own := a.AddTenant(t, "initech")
		p := newProgram(t, a, own, "parako:stats:read")
		token := p.token(t, "parako:stats:read")
		refuses(t, p.call(t, token, http.MethodGet, "/nowhere", ""), http.StatusNotFound, "not-found")
		operator := newProgram(t, a, home, allTenants)
		got := operator.call(t, operator.token(t, allTenants), http.MethodPut, "/tenants/initech/status", `{"status":"suspended"}`)
		if got.StatusCode != http.StatusOK {
			t.Fatalf("suspend: %d %s", got.StatusCode, got.Text)
		}
		await(t, func() bool {
			return app.Do(t, p.direct, p.request(t, http.MethodGet, "/nowhere", "", "Authorization", "Bearer "+token)).StatusCode == http.StatusForbidden
		})
		refuses(t, p.call(t, token, http.MethodGet, "/nowhere", ""), http.StatusForbidden, "tenant-inactive")
	})
}

// await asks until it is so.
func await(t *testing.T, so func() bool) {
	t.Helper()
	for !so() {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAPIScopes grants scopes of the API and calls with too few of them.
func TestAPIScopes(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	home := onPlatform(t, a)
	t.Run("what is granted is what both sides allow", func(t *testing.T) {
		p := newProgram(t, a, home, readTenants, "parako:stats:read", "reports.read")
		for asked, want := range map[string]string{
			readTenants:                        readTenants,
			readTenants + " parako:users:read": readTenants,
			"reports.read parako:stats:read":   "parako:stats:read",
			"openid " + readTenants:            readTenants,
			"":                                 "",
		} {
			got := p.ask(t, asked)
			expect(t, got, http.StatusOK, "")
			claims := p.verified(t, "at+jwt", got.text("access_token"))
			said, _ := claims["scope"].(string)
			if said != want || got.text("scope") != want || claims["aud"] != apiResource || claims["sub"] != p.client.ID {
				t.Errorf("%q: granted %q, says %q, want %q: %v", asked, got.text("scope"), said, want, claims)
			}
		}
		expect(t, p.ask(t, "parako:users:read"), http.StatusBadRequest, "invalid_scope")
		expect(t, p.ask(t, "reports.read"), http.StatusBadRequest, "invalid_scope")
	})
	t.Run("no other tenant grants the platform's", func(t *testing.T) {
		p := newProgram(t, a, a.Acme, readTenants, "parako:stats:read")
		expect(t, p.ask(t, readTenants), http.StatusBadRequest, "invalid_scope")
		got := p.ask(t, readTenants+" parako:stats:read")
		if expect(t, got, http.StatusOK, ""); got.text("scope") != "parako:stats:read" {
			t.Errorf("granted %q", got.text("scope"))
		}
		// One that was signed all the same opens nothing, whatever else it says.
		for _, path := range []string{"/tenants", "/nowhere"} {
			token := forged(t, a, a.Acme, keyring.ES256, "at+jwt", map[string]any{
				"iss": a.Acme.Issuer, "sub": p.client.ID, "aud": apiResource, "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
				"jti": uuid.NewString(), "client_id": p.client.ID, "scope": "parako:stats:read " + readTenants,
			})
			refuses(t, p.call(t, token, http.MethodGet, path, ""), http.StatusForbidden, "forbidden")
		}
		refuses(t, p.call(t, p.token(t, "parako:stats:read"), http.MethodGet, "/tenants", ""), http.StatusForbidden, "scope-insufficient")
	})
	t.Run("a call needs its own", func(t *testing.T) {
		p := newProgram(t, a, home, allTenants, "parako:cross-tenant:write")
		for _, tt := range []struct{ scope, method, path, body, required string }{
			{"parako:cross-tenant:write", http.MethodGet, "/tenants", "", readTenants},
			{"parako:tenants:write", http.MethodGet, "/tenants/acme", "", readTenants},
			{readTenants, http.MethodPost, "/tenants", `{"slug":"never","display_name":"Never"}`, "parako:tenants:write"},
			{readTenants, http.MethodPatch, "/tenants/acme", `{"display_name":"Never"}`, "parako:tenants:write"},
			{readTenants, http.MethodPut, "/tenants/acme/status", `{"status":"suspended"}`, "parako:tenants:write"},
			{"", http.MethodGet, "/tenants", "", readTenants},
		} {
			got := p.call(t, p.token(t, tt.scope), tt.method, tt.path, tt.body)
			refuses(t, got, http.StatusForbidden, "scope-insufficient")
			if diff := cmp.Diff([]any{tt.required}, got.body["required_scopes"]); diff != "" {
				t.Errorf("%s %s: required_scopes (-want +got)\n%s", tt.method, tt.path, diff)
			}
			if got.Header.Get("RateLimit") != "" {
				t.Errorf("%s %s: a call without the scope counts", tt.method, tt.path)
			}
		}
	})
	t.Run("nobody else can have a token", func(t *testing.T) {
		web := webClient(t, a, a.Acme, func(n *oidc.NewClient) {
			n.AllowedResources, n.ResourcesScopes = []string{apiResource, "urn:test:api"}, "parako:stats:read"
			n.GrantTypes = []string{"authorization_code", "refresh_token", "client_credentials", deviceGrant}
		})
		p := newParty(t, a, a.Acme, web)
		p.refused(t, "invalid_target", "resource", apiResource)
		expect(t, p.redeem(t, p.code(t, "resource", "urn:test:api"), "resource", apiResource), http.StatusBadRequest, "invalid_target")
		expect(t, p.post(t, "/device/auth", "resource", apiResource), http.StatusBadRequest, "invalid_target")
		form := edit(url.Values{}, "grant_type", "client_credentials", "scope", "parako:stats:read")
		form["resource"] = []string{apiResource, "urn:test:api"}
		expect(t, p.do(t, p.formRequest(t.Context(), "/token", form)), http.StatusBadRequest, "invalid_target")
		form["resource"] = []string{apiResource}
		expect(t, p.do(t, p.formRequest(t.Context(), "/token", form)), http.StatusOK, "")
	})
	t.Run("a grant of before gives none", func(t *testing.T) {
		web := webClient(t, a, a.Globex, func(n *oidc.NewClient) {
			n.AllowedResources, n.ResourcesScopes = []string{apiResource, "urn:test:api"}, "parako:stats:read"
		})
		p := newParty(t, a, a.Globex, web)
		tokens := p.tokens(t, "resource", "urn:test:api", "scope", "openid offline_access")
		a.Superuser(t, "UPDATE parako.grants SET resources = ARRAY['"+apiResource+"'] WHERE tenant_id = $1 AND client_id = $2", a.Globex.ID, web.ID)
		expect(t, p.refresh(t, tokens.text("refresh_token")), http.StatusBadRequest, "invalid_target")
	})
}

// TestAPITokenAlgorithm has a tenant choose the algorithm, the format and the life of its tokens for the API. The format is not
// its to choose.
func TestAPITokenAlgorithm(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for alg, at := range map[string]app.Tenant{"EdDSA": a.Acme, "RS256": a.Globex, "PS256": a.AddTenant(t, "initech")} {
		a.Configure(t, at, "oidc", `{"resource_servers":[{"identifier":"`+apiResource+`","signing_alg":"`+alg+`","accessTokenFormat":"opaque","access_token_ttl":120,"scopes":["parako:clients:read","x"]}]}`)
		p := newProgram(t, a, at, "parako:stats:read", "x")
		got := p.ask(t, "parako:stats:read x")
		expect(t, got, http.StatusOK, "")
		token := got.text("access_token")
		life, _ := got.body["expires_in"].(float64)
		if header := segment(t, token, 0); header["alg"] != alg || life < 1 || life > 120 || got.text("scope") != "parako:stats:read" {
			t.Errorf("%s: header %v, answer %s", alg, header, got.Text)
		}
		refuses(t, p.call(t, token, http.MethodGet, "/nowhere", ""), http.StatusNotFound, "not-found")
	}
}

// TestAPITokenBound presents tokens that are bound to a key.
func TestAPITokenBound(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newProgram(t, a, onPlatform(t, a), readTenants)
	key := newKey(t, jose.ES256)
	r := p.formRequest(t.Context(), "/token", edit(url.Values{}, "grant_type", "client_credentials", "resource", apiResource, "scope", readTenants))
	r.Header.Set("DPoP", key.proof(t, http.MethodPost, p.tenant.Issuer+"/token"))
	got := p.do(t, r)
	expect(t, got, http.StatusOK, "")
	token, target := got.text("access_token"), p.origin()+"/api/v1/tenants"
	proof := key.proof(t, http.MethodGet, target, "ath", ath(token))
	bound := func(scheme, proof string) reply {
		header := []string{"Authorization", scheme + " " + token}
		if proof != "" {
			header = append(header, "DPoP", proof)
		}
		return p.call(t, "", http.MethodGet, "/tenants", "", header...)
	}
	if ok := bound("DPoP", proof); ok.StatusCode != http.StatusOK {
		t.Errorf("with its proof: %d %s", ok.StatusCode, ok.Text)
	}
	for name, got := range map[string]reply{
		"the proof again":            bound("DPoP", proof),
		"as a bearer token":          bound("Bearer", ""),
		"as a bearer with its proof": bound("Bearer", key.proof(t, http.MethodGet, target, "ath", ath(token))),
		"without proof":              bound("DPoP", ""),
		"another key's proof":        bound("DPoP", newKey(t, jose.ES256).proof(t, http.MethodGet, target, "ath", ath(token))),
		"a proof for another path":   bound("DPoP", key.proof(t, http.MethodGet, target+"/acme", "ath", ath(token))),
		"a proof for the protocol":   bound("DPoP", key.proof(t, http.MethodGet, p.tenant.Issuer+"/tenants", "ath", ath(token))),
		"a proof for another token":  bound("DPoP", key.proof(t, http.MethodGet, target, "ath", ath("x"))),
	} {
		t.Log(name)
		refuses(t, got, http.StatusUnauthorized, "token-invalid")
		if challenges := got.Header.Values("WWW-Authenticate"); len(challenges) != 2 || !strings.HasPrefix(challenges[1], `DPoP realm="parako-management-api", error="`) {
			t.Errorf("%s: WWW-Authenticate %q", name, challenges)
		}
	}
	plain := p.token(t, readTenants)
	got = p.call(t, "", http.MethodGet, "/tenants", "", "Authorization", "DPoP "+plain, "DPoP", key.proof(t, http.MethodGet, target, "ath", ath(plain)))
	refuses(t, got, http.StatusUnauthorized, "token-invalid")
}

// TestAPIRates uses up each tier.
func TestAPIRates(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	home := onPlatform(t, a)
	p := newProgram(t, a, home, allTenants)
	token := p.token(t, allTenants)
	for _, tier := range []struct {
		burst              int
		method, path, body string
		status             int
	}{
		{100, http.MethodGet, "/tenants/nobody", "", http.StatusNotFound},
		{30, http.MethodPatch, "/tenants/nobody", `{"display_name":"x"}`, http.StatusNotFound},
	} {
		limit := strconv.Itoa(tier.burst)
		first := p.call(t, token, tier.method, tier.path, tier.body)
		if policy, state := first.Header.Get("RateLimit-Policy"), first.Header.Get("RateLimit"); policy != limit+";w=60" ||
			!strings.HasPrefix(state, "limit="+limit+", remaining="+strconv.Itoa(tier.burst-1)+", reset=") {
			t.Errorf("RateLimit-Policy %q, RateLimit %q", policy, state)
		}
		a.Redis.SetTime(time.Now()) // From here on nothing comes back.
		p.call(t, token, tier.method, tier.path, tier.body)
		var last reply
		for range tier.burst + 2 {
			if last = p.call(t, token, tier.method, tier.path, tier.body); last.StatusCode != tier.status {
				break
			}
		}
		refuses(t, last, http.StatusTooManyRequests, "rate-limit-exceeded")
		after, err := strconv.Atoi(last.Header.Get("Retry-After"))
		if err != nil || after < 1 || after > 60 || last.body["retry_after"] != float64(after) {
			t.Errorf("Retry-After %q, retry_after %v", last.Header.Get("Retry-After"), last.body["retry_after"])
		}
		if state := last.Header.Get("RateLimit"); !strings.HasPrefix(state, "limit="+limit+", remaining=0, reset=") {
			t.Errorf("RateLimit %q", state)
		}
		// The counter is the client's and the tier's.
		other := newProgram(t, a, home, allTenants)
		if got := other.call(t, other.token(t, allTenants), tier.method, tier.path, tier.body); got.StatusCode != tier.status {
			t.Errorf("another client: %d", got.StatusCode)
		}
	}
}

// TestAPIDocument compares the OpenAPI document with the golden file, and asks for it as anybody.
func TestAPIDocument(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	const golden = "../api/testdata/openapi.json"
	p := newProgram(t, a, onPlatform(t, a), readTenants)
	got := app.Get(t, a.Client(t), p.origin()+"/api/v1/openapi.json")
	if got.StatusCode != http.StatusOK || got.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s", got.StatusCode, got.Header.Get("Content-Type"))
	}
	if *update {
		if err := os.WriteFile(golden, []byte(got.Text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.Text); diff != "" {
		t.Errorf("the document has changed; write it with -update and review it (-want +got)\n%s", diff)
	}
	if other := app.Get(t, a.Client(t), strings.TrimSuffix(a.Acme.Issuer, oidc.Mount)+"/api/v1/openapi.json"); other.Text != got.Text {
		t.Error("another tenant serves another document")
	}
	if ok, faults := p.contract.validator.ValidateDocument(); !ok {
		t.Errorf("it is no OpenAPI document: %v", faults)
	}
	type answer struct {
		Ref     string `json:"$ref"`
		Content map[string]struct {
			Examples map[string]any `json:"examples"`
		} `json:"content"`
	}
	var d struct {
		Paths map[string]map[string]struct {
			ID          string                `json:"operationId"`
			Summary     string                `json:"summary"`
			Description string                `json:"description"`
			Security    []map[string][]string `json:"security"`
			Responses   map[string]answer     `json:"responses"`
		} `json:"paths"`
		Components struct {
			Responses map[string]answer `json:"responses"`
		} `json:"components"`
	}
	if err := json.Unmarshal([]byte(got.Text), &d); err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{}
	for path, methods := range d.Paths {
		for method, op := range methods {
			described[strings.ToUpper(method)+" /api/v1"+strings.NewReplacer("{", ":", "}", "").Replace(path)] = true
			if op.ID == "" || op.Summary == "" || op.Description == "" || len(op.Security) != 1 || len(op.Security[0]["client_credentials"]) != 1 {
				t.Errorf("%s %s says too little: %+v", method, path, op)
			}
			for status, answer := range op.Responses {
				if name, shared := strings.CutPrefix(answer.Ref, "#/components/responses/"); shared {
					answer = d.Components.Responses[name]
				}
				if status >= "400" && len(answer.Content["application/problem+json"].Examples) == 0 {
					t.Errorf("%s %s: %s has no example", method, path, status)
				}
			}
		}
	}
	for _, r := range a.Server.Routes() {
		if strings.HasPrefix(r.Path, "/api/v1/") && r.Path != "/api/v1/openapi.json" && !described[r.Method+" "+r.Path] {
			t.Errorf("%s %s is not in the document", r.Method, r.Path)
		}
	}
	if r := app.Do(t, a.Client(t), p.request(t, http.MethodPost, "/openapi.json", "{}")); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("POST: %d", r.StatusCode)
	}
}

// TestAPIOfOneTenant calls the API where there is one tenant: there are no tenants to administer.
func TestAPIOfOneTenant(t *testing.T) {
	t.Parallel()
	a := app.New(t, func(c *config.Config) { c.MultiTenancy.Enabled = false })
	base, err := a.Config.BaseURL()
	if err != nil {
		t.Fatal(err)
	}
	only := app.Tenant{Tenant: tenant.Tenant{ID: tenant.DefaultID, Slug: tenant.DefaultSlug}}
	only.Issuer = only.Tenant.Issuer(base, oidc.Mount)
	p := newProgram(t, a, only, readTenants, "parako:stats:read")
	expect(t, p.ask(t, readTenants), http.StatusBadRequest, "invalid_scope")
	token := p.token(t, "parako:stats:read")
	refuses(t, p.call(t, token, http.MethodGet, "/tenants", ""), http.StatusNotFound, "not-found")
	refuses(t, p.call(t, token, http.MethodGet, "/tenants/acme", ""), http.StatusNotFound, "not-found")
	refuses(t, p.call(t, "", http.MethodGet, "/tenants", ""), http.StatusUnauthorized, "unauthorized")
	if strings.Contains(app.Get(t, p.direct, p.origin()+"/api/v1/openapi.json").Text, `"/tenants`) {
		t.Error("the document speaks of tenants")
	}
}
