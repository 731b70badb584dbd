package server_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"parako/internal/oidc"
	"parako/internal/testkit/app"
)

const (
	grantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	grantJWTBearer     = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	typeAccessToken    = "urn:ietf:params:oauth:token-type:access_token"
)

// machineClient may use the grants of machines for two resources.
func machineClient(id, grant string) func(*oidc.NewClient) {
	return func(n *oidc.NewClient) {
		n.ID, n.Preset, n.RedirectURIs, n.Scope, n.GrantTypes = id, oidc.PresetM2M, nil, "jobs:run", []string{"client_credentials", grant}
		n.AllowedResources, n.ResourcesScopes = []string{"https://two.example", "https://three.example"}, "read write"
	}
}

func TestTokenExchange(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{"token_exchange":{"enabled":true}}}`)
	a.Configure(t, a.Acme, "oidc", `{"resource_servers":[{"identifier":"https://three.example","scopes":["read"]}]}`)
	browser := newParty(t, a, a.Acme, a.Acme.Web)
	browser.code(t)
	const gateway = "urn:resource:gateway"
	app1 := browser.with(t, func(n *oidc.NewClient) {
		n.AllowedResources, n.ResourcesScopes, n.Internal = []string{gateway}, "call", true
	})
	p := browser.with(t, machineClient("gateway", grantTokenExchange))
	other := browser.with(t, machineClient("other", grantTokenExchange))
	subject := app1.tokens(t, "resource", gateway, "scope", "openid call")
	ask := func(p party, pairs ...string) reply {
		t.Helper()
		return p.post(t, "/token", append([]string{
			"grant_type", grantTokenExchange, "subject_token", subject.text("access_token"), "subject_token_type", typeAccessToken, "resource", "https://two.example",
		}, pairs...)...)
	}

	got := ask(p, "scope", "read")
	expect(t, got, http.StatusOK, "")
	claims := p.verified(t, "at+jwt", got.text("access_token"))
	act, _ := claims["act"].(map[string]any)
	if claims["sub"] != a.Acme.User.ID.String() || claims["client_id"] != "gateway" || claims["aud"] != "https://two.example" || claims["scope"] != "read" || act["sub"] != "gateway" {
		t.Errorf("claims = %v", claims)
	}
	if got.text("issued_token_type") != typeAccessToken || got.text("token_type") != "Bearer" || got.body["refresh_token"] != nil || got.body["id_token"] != nil {
		t.Errorf("answer = %s", got.Text)
	}
	if seconds(claims["exp"]) > seconds(claimsOf(t, subject.text("access_token"))["exp"]) {
		t.Error("the new token outlives the old one")
	}
	if info := p.post(t, "/token/introspection", "token", got.text("access_token")); info.body["active"] != true || info.body["act"] == nil {
		t.Errorf("introspection = %s", info.Text)
	}
	if by := ask(p, "resource", drop, "audience", "https://three.example"); by.text("scope") != "read" {
		t.Errorf("by audience: %s", by.Text)
	}
	t.Run("a chain says who acted", func(t *testing.T) {
		second := browser.with(t, func(n *oidc.NewClient) {
			machineClient("second", grantTokenExchange)(n)
			n.Audience = "https://two.example"
		})
		again := second.post(t, "/token", "grant_type", grantTokenExchange, "subject_token", got.text("access_token"), "subject_token_type", typeAccessToken, "resource", "https://three.example")
		expect(t, again, http.StatusOK, "")
		text := string(mustJSON(t, claimsOf(t, again.text("access_token"))["act"]))
		if text != `{"act":{"sub":"gateway"},"sub":"second"}` {
			t.Errorf("act = %s", text)
		}
	})
	t.Run("refused", func(t *testing.T) {
		foreign := newParty(t, a, a.Globex, a.Globex.Web).tokens(t).text("access_token")
		mine := app1.tokens(t)
		for name, tt := range map[string]struct {
			code string
			got  reply
		}{
			"another client's token":      {"invalid_request", ask(other)},
			"a token for nobody here":     {"invalid_request", ask(p, "subject_token", mine.text("access_token"))},
			"an ID token":                 {"invalid_request", ask(p, "subject_token", mine.text("id_token"))},
			"a refresh token":             {"invalid_request", ask(p, "subject_token", mine.text("refresh_token"))},
			"another tenant's token":      {"invalid_request", ask(p, "subject_token", foreign)},
			"garbage":                     {"invalid_request", ask(p, "subject_token", "x")},
			"a client's own token":        {"invalid_request", ask(p, "subject_token", p.post(t, "/token", "grant_type", "client_credentials").text("access_token"))},
			"no subject_token":            {"invalid_request", ask(p, "subject_token", drop)},
			"another type":                {"invalid_request", ask(p, "subject_token_type", "urn:ietf:params:oauth:token-type:saml2")},
			"an ID token wanted":          {"invalid_request", ask(p, "requested_token_type", "urn:ietf:params:oauth:token-type:id_token")},
			"an actor":                    {"invalid_request", ask(p, "actor_token", "x", "actor_token_type", typeAccessToken)},
			"no resource":                 {"invalid_target", ask(p, "resource", drop)},
			"a resource it may not have":  {"invalid_target", ask(p, "resource", "https://four.example")},
			"a scope it may not have":     {"invalid_scope", ask(p, "scope", "admin")},
			"a scope of people":           {"invalid_scope", ask(p, "scope", "openid")},
			"a client without the grant":  {"unauthorized_client", ask(browser)},
			"the application with public": {"unauthorized_client", ask(browser.as(a.Acme.SPA))},
		} {
			if tt.got.StatusCode != http.StatusBadRequest || tt.got.text("error") != tt.code {
				t.Errorf("%s: %d %s", name, tt.got.StatusCode, tt.got.Text)
			}
		}
		off := newParty(t, a, a.Globex, a.Globex.M2M)
		expect(t, off.post(t, "/token", "grant_type", grantTokenExchange), http.StatusBadRequest, "unsupported_grant_type")
	})
	t.Run("it dies with what it came from", func(t *testing.T) {
		if info := p.post(t, "/token/introspection", "token", got.text("access_token")); info.body["active"] != true {
			t.Fatalf("before: %s", info.Text)
		}
		a.Superuser(t, "UPDATE parako.grants SET revoked_at = now() WHERE client_id = $1", app1.client.ID)
		if info := p.post(t, "/token/introspection", "token", got.text("access_token")); info.body["active"] != false {
			t.Errorf("after the grant was revoked: %s", info.Text)
		}
		expect(t, ask(p), http.StatusBadRequest, "invalid_request")
	})
}

func TestJWTBearer(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	key, second := newKey(t, jose.ES256), newKey(t, jose.RS256)
	a.Configure(t, a.Acme, "features", `{"oidc":{"jwt_bearer":{"enabled":true}}}`)
	a.Configure(t, a.Acme, "oidc", fmt.Sprintf(`{"jwt_bearer_issuers":[
		{"issuer":"https://idp.example","jwks":%s,"scopes":["read"],"clients":["robot"]},
		{"issuer":"mailer","jwks":%s,"subject":"email","scopes":["read"],"clients":["robot"]},
		{"issuer":"namer","jwks":%s,"subject":"username","scopes":["read"],"clients":["robot"]},
		{"issuer":"nobody","jwks":%s,"scopes":["read"],"clients":[]}]}`, key.set(t), key.set(t), key.set(t), key.set(t)))
	browser := newParty(t, a, a.Acme, a.Acme.Web)
	p := browser.with(t, machineClient("robot", grantJWTBearer))
	assertion := func(pairs ...any) string {
		return key.sign(t, "JWT", map[string]any{
			"iss": "https://idp.example", "sub": a.Acme.User.ID.String(), "aud": a.Acme.Issuer, "jti": uuid.NewString(), "exp": time.Now().Add(time.Minute).Unix(),
		}, pairs...)
	}
	ask := func(assertion string, pairs ...string) reply {
		t.Helper()
		return p.post(t, "/token", append([]string{"grant_type", grantJWTBearer, "assertion", assertion, "resource", "https://two.example"}, pairs...)...)
	}
	once := assertion()
	got := ask(once)
	expect(t, got, http.StatusOK, "")
	claims := p.verified(t, "at+jwt", got.text("access_token"))
	if claims["sub"] != a.Acme.User.ID.String() || claims["client_id"] != "robot" || claims["scope"] != "read" || claims["auth_time"] != nil || got.body["refresh_token"] != nil {
		t.Errorf("claims = %v", claims)
	}
	expect(t, ask(once), http.StatusBadRequest, "invalid_grant")
	a.Superuser(t, "UPDATE parako.users SET email_verified = false WHERE id = $1", a.Acme.User.ID)
	expect(t, ask(assertion("iss", "mailer", "sub", a.Acme.Email)), http.StatusBadRequest, "invalid_grant")
	a.Superuser(t, "UPDATE parako.users SET email_verified = true WHERE id = $1", a.Acme.User.ID)
	expect(t, ask(assertion("iss", "mailer", "sub", a.Acme.Email)), http.StatusOK, "")
	expect(t, ask(assertion("iss", "namer", "sub", "PERSON")), http.StatusOK, "")

	for name, tt := range map[string]reply{
		"an unknown issuer":      ask(assertion("iss", "https://other.example")),
		"an issuer for nobody":   ask(assertion("iss", "nobody")),
		"another tenant":         ask(assertion("aud", a.Globex.Issuer)),
		"several audiences":      ask(assertion("aud", []string{a.Acme.Issuer, "x"})),
		"expired":                ask(assertion("exp", time.Now().Add(-time.Minute).Unix())),
		"for ever":               ask(assertion("exp", nil)),
		"for days":               ask(assertion("exp", time.Now().Add(48*time.Hour).Unix())),
		"no jti":                 ask(assertion("jti", nil)),
		"no sub":                 ask(assertion("sub", nil)),
		"a stranger":             ask(assertion("sub", uuid.NewString())),
		"another tenant's":       ask(assertion("sub", a.Globex.User.ID.String())),
		"an address as an id":    ask(assertion("sub", a.Acme.Email)),
		"a name as an address":   ask(assertion("iss", "mailer", "sub", "person")),
		"an address as a name":   ask(assertion("iss", "namer", "sub", a.Acme.Email)),
		"another key":            ask(second.sign(t, "JWT", map[string]any{"iss": "https://idp.example"})),
		"garbage":                ask("x"),
		"of no signature at all": ask(jwtPart([]byte(`{"alg":"none"}`)) + "." + jwtPart([]byte(`{"iss":"https://idp.example"}`)) + "."),
	} {
		if tt.StatusCode != http.StatusBadRequest || tt.text("error") != "invalid_grant" {
			t.Errorf("%s: %d %s", name, tt.StatusCode, tt.Text)
		}
	}
	expect(t, ask(assertion(), "resource", drop), http.StatusBadRequest, "invalid_target")
	expect(t, ask(assertion(), "resource", "https://four.example"), http.StatusBadRequest, "invalid_target")
	expect(t, ask(assertion(), "scope", "write"), http.StatusBadRequest, "invalid_scope") // The issuer does not vouch for it.
	expect(t, browser.post(t, "/token", "grant_type", grantJWTBearer, "assertion", assertion(), "resource", "https://two.example"), http.StatusBadRequest, "unauthorized_client")

	a.Superuser(t, "UPDATE parako.users SET account_enabled = false WHERE id = $1", a.Acme.User.ID)
	expect(t, ask(assertion()), http.StatusBadRequest, "invalid_grant")
	if info := p.post(t, "/token/introspection", "token", got.text("access_token")); info.body["active"] != false {
		t.Errorf("the token of a disabled account: %s", info.Text)
	}
}
