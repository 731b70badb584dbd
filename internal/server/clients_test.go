package server_test

import (
	"context"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/oidc"
	"parako/internal/outbound"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/testkit/app"
)

// inTenant runs fn in a transaction of the party's tenant.
func (p party) inTenant(t *testing.T, fn func(context.Context, *store.Tx) error) {
	t.Helper()
	if err := p.Store.InTenant(t.Context(), p.tenant.ID, fn); err != nil {
		t.Fatal(err)
	}
}

func TestClientSecretJWT(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.M2M).with(t, func(n *oidc.NewClient) {
		n.Preset, n.RedirectURIs, n.Scope, n.TokenEndpointAuthMethod = oidc.PresetM2M, nil, "jobs:run", "client_secret_jwt"
	})
	ask := func(secret string, pairs ...any) reply {
		t.Helper()
		claims := map[string]any{
			"iss": p.client.ID, "sub": p.client.ID, "aud": p.tenant.Issuer, "jti": uuid.NewString(), "exp": time.Now().Add(time.Minute).Unix(),
		}
		return p.token(t, nil, "client_assertion", signWith(t, jose.HS256, []byte(secret), "", claims, pairs...), "client_assertion_type", assertionType)
	}
	expect(t, ask(p.client.Secret), http.StatusOK, "")
	expect(t, ask(strings.Repeat("w", 43)), http.StatusUnauthorized, "invalid_client")
	expect(t, ask(p.client.Secret, "aud", "https://other.example"), http.StatusUnauthorized, "invalid_client")
	expect(t, ask(p.client.Secret, "jti", "1"), http.StatusOK, "")
	expect(t, ask(p.client.Secret, "jti", "1"), http.StatusUnauthorized, "invalid_client")
	expect(t, p.token(t, nil, "client_secret", p.client.Secret), http.StatusUnauthorized, "invalid_client")

	old := p.client.Secret
	p.inTenant(t, func(ctx context.Context, tx *store.Tx) (err error) {
		p.client, err = oidc.RotateSecret(ctx, tx, a.Vault, p.client.ID, -1, audit.Operator("test"))
		return err
	})
	expect(t, ask(old), http.StatusOK, "")
	expect(t, ask(p.client.Secret), http.StatusOK, "")
}

func TestSecretRotation(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	p.code(t)
	p = p.with(t, func(n *oidc.NewClient) { n.Internal = true })
	rotate := func(overlap time.Duration) party {
		next := p
		p.inTenant(t, func(ctx context.Context, tx *store.Tx) (err error) {
			next.client, err = oidc.RotateSecret(ctx, tx, a.Vault, p.client.ID, overlap, audit.Operator("test"))
			return err
		})
		return next
	}
	works := func(p party, want bool) {
		t.Helper()
		if got := p.redeem(t, p.code(t)); (got.StatusCode == http.StatusOK) != want {
			t.Errorf("works = %d %s, want %t", got.StatusCode, got.Text, want)
		}
	}
	second := rotate(-1)
	works(p, true)
	works(second, true)
	third := rotate(time.Hour)
	works(p, false)
	works(second, true)
	works(third, true)
	fourth := rotate(0)
	works(third, false)
	works(fourth, true)
}

// TestSwitchedOffClient has tokens of every kind, and none of them works any more at once.
func TestSwitchedOffClient(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	p.code(t)
	p = p.with(t, func(n *oidc.NewClient) { n.Internal = true })
	tokens := p.tokens(t, "scope", "openid offline_access")
	code := p.code(t)
	active := func(active bool) {
		p.inTenant(t, func(ctx context.Context, tx *store.Tx) error {
			return oidc.SetClientActive(ctx, tx, p.client.ID, active, audit.Operator("test"))
		})
	}
	active(false)
	expect(t, p.redeem(t, code), http.StatusUnauthorized, "invalid_client")
	expect(t, p.refresh(t, tokens.text("refresh_token")), http.StatusUnauthorized, "invalid_client")
	if p.alive(t, tokens.text("access_token")) {
		t.Error("the access token works")
	}
	if resp := p.authorize(t); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("authorize: %d", resp.StatusCode)
	}
	expect(t, p.pushRequest(t), http.StatusUnauthorized, "invalid_client")
	active(true)
	if !p.alive(t, tokens.text("access_token")) {
		t.Error("the access token does not work again")
	}
	expect(t, p.refresh(t, tokens.text("refresh_token")), http.StatusOK, "")

	p.inTenant(t, func(ctx context.Context, tx *store.Tx) error {
		return oidc.DeleteClient(ctx, tx, p.client.ID, audit.Operator("test"))
	})
	if p.alive(t, tokens.text("access_token")) {
		t.Error("the access token outlives its client")
	}
}

func seconds(claim any) float64 {
	number, _ := claim.(float64)
	return number
}

// about allows for the second that moments are rounded to.
func about(got, want float64) bool { return math.Abs(got-want) <= 1 }

// lasts allows besides for the time that the request took: the end of the token was chosen in it, and what is left of it counted.
func lasts(tokens reply, want float64) bool {
	got := seconds(tokens.body["expires_in"])
	return got <= want+1 && got >= want-1-tokens.Took.Seconds()
}

func TestLifetimesOfAClient(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "oidc", `{"resource_servers":[{"identifier":"https://api.acme.example","access_token_ttl":30,"scopes":["read"],"signing_alg":"PS256"},
		{"identifier":"https://opaque.acme.example","accessTokenFormat":"opaque"}]}`)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	p.code(t)
	p = p.with(t, func(n *oidc.NewClient) {
		n.TTL = oidc.ClientTTL{AccessToken: 60, IDToken: 90, RefreshToken: 120, ClientCredentials: 45}
		n.GrantTypes = []string{"authorization_code", "refresh_token", "client_credentials"}
		n.AllowedResources, n.ResourcesScopes = []string{"https://api.acme.example", "https://opaque.acme.example", "urn:test:api"}, "read write"
		n.Internal = true
	})
	tokens := p.tokens(t, "scope", "openid offline_access")
	id := claimsOf(t, tokens.text("id_token"))
	if !lasts(tokens, 60) || !about(seconds(id["exp"])-seconds(id["iat"]), 90) {
		t.Errorf("access token %v s, ID token %v", tokens.body["expires_in"], id)
	}
	info := p.post(t, "/token/introspection", "token", tokens.text("refresh_token"))
	if !about(seconds(info.body["exp"])-seconds(info.body["iat"]), 120) {
		t.Errorf("refresh token: %s", info.Text)
	}
	if got := p.token(t, nil); !lasts(got, 45) {
		t.Errorf("client_credentials: %s", got.Text)
	}
	jwt := p.token(t, nil, "resource", "https://api.acme.example", "scope", "read")
	if claims := p.verified(t, "at+jwt", jwt.text("access_token")); !lasts(jwt, 30) || segment(t, jwt.text("access_token"), 0)["alg"] != "PS256" ||
		claims["aud"] != "https://api.acme.example" || claims["scope"] != "read" {
		t.Errorf("the resource's own: %s %v", jwt.Text, claims)
	}
	opaque := p.token(t, nil, "resource", "https://opaque.acme.example")
	if !strings.HasPrefix(opaque.text("access_token"), "parako_at_") || !lasts(opaque, 45) {
		t.Errorf("an opaque one: %s", opaque.Text)
	}
}

// TestLifetimesOfAClientUnderThePlatforms has the platform allow less than a client was given, and more than its tenant.
func TestLifetimesOfAClientUnderThePlatforms(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := program{party: newParty(t, a, a.Acme, a.Acme.M2M)}
	allow := func(seconds string) {
		t.Helper()
		a.ConfigurePlatform(t, "oidc", `{"token_ttl": {"access_token": `+seconds+`, "client_credentials": `+seconds+`}}`)
	}
	allow("50000")
	a.Configure(t, a.Acme, "oidc", `{"token_ttl": {"access_token": 300, "client_credentials": 300}}`)
	a.Configure(t, a.Acme, "security", `{"authentication": {"session": {"absolute_timeout_hours": 1}}}`)
	own := func(seconds int) error {
		platform, err := settings.Platform(t.Context(), a.Store)
		if err != nil {
			t.Fatal(err)
		}
		return a.Store.InTenant(t.Context(), a.Acme.ID, func(ctx context.Context, tx *store.Tx) error {
			_, err := oidc.ChangeClient(ctx, tx, a.Vault, platform, p.client.ID, audit.Operator("test"), func(n *oidc.NewClient) error {
				n.TTL.ClientCredentials = seconds
				return nil
			})
			return err
		})
	}
	if err := own(50_001); err == nil || !strings.Contains(err.Error(), "ClientCredentials 50000") {
		t.Errorf("more than the platform allows: %v", err)
	}
	if err := own(40_000); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return lasts(p.party.token(t, nil), 40_000) })
	// The key that signs is needed for as long as a token that it may have signed.
	if kept := a.DB.Ask(t, a.Acme.ID, "SELECT bool_and(overlap_seconds > 50000)::text FROM parako.signing_keys WHERE status = 'active'"); kept[0] != "true" {
		t.Error("the keys end before their tokens")
	}
	allow("600")
	await(t, func() bool { return lasts(p.party.token(t, nil), 600) })
	p.change(t, func(n *oidc.NewClient) { n.Name = "Another" }) // What was allowed is in nobody's way.
}

func TestResourcesOfAPerson(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "oidc", `{"resource_servers":[{"identifier":"https://one.example","scopes":["one:read","both"]},{"identifier":"https://two.example","scopes":["two:read","both"]}]}`)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	p.code(t)
	p = p.with(t, func(n *oidc.NewClient) {
		n.AllowedResources, n.ResourcesScopes, n.Internal = []string{"https://one.example", "https://two.example"}, "one:read two:read both", true
	})
	request := p.authorizeURL("scope", "openid offline_access one:read two:read both", "resource", "https://one.example") + "&resource=" + url.QueryEscape("https://two.example")
	code := func() string { return p.read(t, app.Get(t, p.step, request).Header.Get("Location")).Get("code") }
	aimed := func(tokens reply, audience any, scope string) {
		t.Helper()
		expect(t, tokens, http.StatusOK, "")
		claims := p.verified(t, "at+jwt", tokens.text("access_token"))
		if text := string(mustJSON(t, claims["aud"])); text != string(mustJSON(t, audience)) || claims["scope"] != scope || tokens.text("scope") != scope {
			t.Errorf("aud = %s, scope = %v, said %q; want %v and %q", text, claims["scope"], tokens.text("scope"), audience, scope)
		}
		if p.alive(t, tokens.text("access_token")) {
			t.Error("a token for a resource opens userinfo")
		}
	}
	both := p.redeem(t, code())
	aimed(both, []string{"https://one.example", "https://two.example"}, "one:read both two:read")
	aimed(p.redeem(t, code(), "resource", "https://two.example"), "https://two.example", "two:read both")
	first := p.redeem(t, code(), "resource", "https://one.example")
	aimed(first, "https://one.example", "one:read both")
	again := p.refresh(t, first.text("refresh_token"), "resource", "https://two.example")
	aimed(again, "https://two.example", "two:read both")
	expect(t, p.redeem(t, code(), "resource", "https://three.example"), http.StatusBadRequest, "invalid_target")
	expect(t, p.refresh(t, again.text("refresh_token"), "resource", "https://three.example"), http.StatusBadRequest, "invalid_target")
	p.refused(t, "invalid_target", "resource", "https://three.example")
	p.refused(t, "invalid_scope", "scope", "openid one:read") // Without the resource the scope means nothing.
}

// fetchSector is what a caller of RegisterClient does before the transaction.
func fetchSector(t *testing.T, m oidc.ClientMetadata) oidc.Sector {
	t.Helper()
	out := outbound.New(outbound.Options{Loopback: true})
	t.Cleanup(out.Close)
	sector, err := oidc.FetchSector(t.Context(), out, oidc.ClientMetadata{}, m)
	if err != nil {
		t.Fatal(err)
	}
	return sector
}

// TestPairwiseSubjects are the same within a sector, different across, and the same wherever they appear.
func TestPairwiseSubjects(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	browser := newParty(t, a, a.Acme, a.Acme.Web)
	browser.code(t)
	sector := serve(t, map[string]func() string{"/uris.json": func() string { return `["https://three.example/cb","https://four.example/cb"]` }}) + "/uris.json"
	pairwise := func(callback string, sector string) party {
		return browser.with(t, func(n *oidc.NewClient) {
			n.SubjectType, n.RedirectURIs, n.SectorIdentifierURI, n.Internal = "pairwise", []string{callback}, sector, true
			n.Scope = "openid offline_access"
			n.Sector = fetchSector(t, n.ClientMetadata)
		})
	}
	subject := func(p party) (string, reply) {
		t.Helper()
		callback := p.client.RedirectURIs[0]
		location := p.authorize(t, "redirect_uri", callback, "scope", "openid offline_access").Header.Get("Location")
		tokens := p.redeem(t, p.read(t, location).Get("code"), "redirect_uri", callback)
		expect(t, tokens, http.StatusOK, "")
		sub, _ := claimsOf(t, tokens.text("id_token"))["sub"].(string)
		return sub, tokens
	}
	one, other := pairwise("https://one.example/cb", ""), pairwise("https://two.example/cb", "")
	sub, tokens := subject(one)
	if again, _ := subject(one); again != sub {
		t.Errorf("sub went from %s to %s", sub, again)
	}
	if same, _ := subject(pairwise("https://one.example/other", "")); same != sub {
		t.Error("one host, two subjects")
	}
	if elsewhere, _ := subject(other); elsewhere == sub || strings.Contains(sub, a.Acme.User.ID.String()) {
		t.Errorf("sub = %s and %s", sub, elsewhere)
	}
	first, _ := subject(pairwise("https://three.example/cb", sector))
	second, _ := subject(pairwise("https://four.example/cb", sector))
	if first != second || first == sub {
		t.Errorf("one sector: %s and %s", first, second)
	}
	for name, got := range map[string]any{
		"userinfo":      one.userinfo(t, tokens.text("access_token")).body["sub"],
		"introspection": one.post(t, "/token/introspection", "token", tokens.text("access_token")).body["sub"],
		"of a refresh":  one.post(t, "/token/introspection", "token", tokens.text("refresh_token")).body["sub"],
		"refreshed":     claimsOf(t, one.refresh(t, tokens.text("refresh_token")).text("id_token"))["sub"],
	} {
		if got != sub {
			t.Errorf("%s: sub = %v, want %s", name, got, sub)
		}
	}
	hint := one.authorizeURL("redirect_uri", "https://one.example/cb", "prompt", "none", "id_token_hint", tokens.text("id_token"))
	if got := one.read(t, app.Get(t, one.step, hint).Header.Get("Location")); got.Get("code") == "" {
		t.Errorf("a hint with a pairwise sub: %v", got)
	}
}

func TestClaimsParameter(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{"claims_parameter":{"enabled":true}}}`)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	const claims = `{"userinfo":{"email":{"essential":true},"name":null,"unknown":null},"id_token":{"phone_number":null,"auth_time":{"essential":true},"acr":{"values":["urn:pwd"]}}}`
	page := p.shows(t, "login-form", "claims", claims)
	consent := app.Post(t, p.browser, page.Request.URL.String()+"/login", url.Values{"identifier": {a.Acme.Email}, "password": {app.Password}})
	for _, scope := range []string{"See your email address", "See your profile", "See your phone number"} {
		if !strings.Contains(consent.Text, scope) {
			t.Errorf("the person is not asked: %s", scope)
		}
	}
	tokens := p.tokens(t, "claims", claims)
	id := claimsOf(t, tokens.text("id_token"))
	if id["phone_number"] != "+442071838750" || id["email"] != nil || id["name"] != nil || id["auth_time"] == nil {
		t.Errorf("ID token = %v", id)
	}
	info := p.userinfo(t, tokens.text("access_token")).body
	if info["email"] != a.Acme.Email || info["name"] != "Pat Person" || info["phone_number"] != nil || info["family_name"] != nil {
		t.Errorf("userinfo = %v", info)
	}
	sub := a.Acme.User.ID.String()
	if got := p.answer(t, p.authorize(t, "claims", `{"id_token":{"sub":{"value":"`+sub+`"}}}`, "prompt", "none")); got.Get("code") == "" {
		t.Errorf("the person it names: %v", got)
	}
	p.refused(t, "login_required", "claims", `{"id_token":{"sub":{"value":"somebody else"}}}`, "prompt", "none")
	p.refused(t, "unmet_authentication_requirements", "claims", `{"id_token":{"acr":{"essential":true,"value":"urn:mfa:otp"}}}`)
	for _, wrong := range []string{"{", "[]", `"x"`, `{"userinfo":[]}`, `{} {}`, `{"id_token":{"sub":7}}`} {
		p.refused(t, "invalid_request", "claims", wrong)
	}
	off := newParty(t, a, a.Globex, a.Globex.Web)
	if got := off.userinfo(t, off.tokens(t, "claims", `{"userinfo":{"email":null}}`).text("access_token")).body; got["email"] != nil {
		t.Errorf("where it is off: %v", got)
	}
}
