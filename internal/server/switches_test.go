package server_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"parako/internal/config"
	"parako/internal/oidc"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/testkit/app"
)

// switchTo replaces the tenant's features and waits until the server has noticed.
func (p party) switchTo(t *testing.T, features string, seen func() bool) {
	t.Helper()
	p.Configure(t, p.tenant, "features", features)
	for deadline := time.After(time.Minute); !seen(); {
		select {
		case <-deadline:
			t.Fatalf("%s is not noticed", features)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestMutualTLSTurnedOff has a client that registered while it was on: it is refused, and gets no token without the binding.
func TestMutualTLSTurnedOff(t *testing.T) {
	t.Parallel()
	a := app.New(t, func(c *config.Config) { c.ClientCertificateHeader = "Client-Cert" })
	a.Configure(t, a.Acme, "features", `{"oidc":{"mtls":{"enabled":true}}}`)
	own := certificate(t, nil, nil)
	keys := mustJSON(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: own.key.Public(), KeyID: "1"}}})
	browser := newParty(t, a, a.Acme, a.Acme.Web)
	known := browser.with(t, func(n *oidc.NewClient) {
		machineClient("known", "client_credentials")(n)
		n.TokenEndpointAuthMethod, n.JWKS = "self_signed_tls_client_auth", keys
	})
	bound := browser.with(t, func(n *oidc.NewClient) {
		machineClient("bound", "client_credentials")(n)
		n.TLSBound = true
	})
	ask := func(p party) reply { return p.token(t, http.Header{"Client-Cert": {own.rfc9440()}}) }
	expect(t, ask(known), http.StatusOK, "")
	expect(t, ask(bound), http.StatusOK, "")
	browser.switchTo(t, `{}`, func() bool { return ask(known).StatusCode != http.StatusOK })
	expect(t, ask(known), http.StatusUnauthorized, "invalid_client")
	expect(t, ask(bound), http.StatusBadRequest, "invalid_request")
}

// TestEncryptionTurnedOff has a client that registered while it was on: nobody else learns to read what it gets.
func TestEncryptionTurnedOff(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{"encryption":{"enabled":true},"jwt_userinfo":{"enabled":true}}}`)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys := mustJSON(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Use: "enc"}}})
	browser := newParty(t, a, a.Acme, a.Acme.Web)
	p := browser.with(t, func(n *oidc.NewClient) {
		n.JWKS, n.IDTokenEncryptionAlg, n.UserinfoEncryptionAlg = keys, "RSA-OAEP-256", "RSA-OAEP-256"
	})
	advertised := func() bool {
		return strings.Contains(app.Get(t, p.direct, a.Acme.Issuer+"/.well-known/openid-configuration").Text, "id_token_encryption_alg_values_supported")
	}
	if !advertised() {
		t.Fatal("encryption is not on")
	}
	p.switchTo(t, `{}`, func() bool { return !advertised() })
	tokens := p.tokens(t)
	if parts := strings.Split(tokens.text("id_token"), "."); len(parts) != 5 {
		t.Errorf("the ID token has %d parts, want the 5 of a JWE", len(parts))
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.Acme.Issuer+"/userinfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+tokens.text("access_token"))
	if got := app.Do(t, p.direct, r); got.Header.Get("Content-Type") != "application/jwt" || len(strings.Split(got.Text, ".")) != 5 {
		t.Errorf("userinfo: %s %s", got.Header.Get("Content-Type"), got.Text)
	}
}

// TestClaimsStayWithinScopes asks by the claims parameter for what the client may not ask for by scopes.
func TestClaimsStayWithinScopes(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{"claims_parameter":{"enabled":true}}}`)
	p := newParty(t, a, a.Acme, a.Acme.Web).with(t, func(n *oidc.NewClient) { n.Scope = "openid email" })
	tokens := p.tokens(t, "scope", "openid", "claims",
		`{"userinfo":{"email":null,"phone_number":{"essential":true},"roles":null},"id_token":{"email":null,"address":null,"account_enabled":null}}`)
	info, id := p.userinfo(t, tokens.text("access_token")).body, claimsOf(t, tokens.text("id_token"))
	if info["email"] != a.Acme.Email || id["email"] != a.Acme.Email {
		t.Errorf("email = %v and %v", info["email"], id["email"])
	}
	for _, name := range []string{"phone_number", "roles", "address", "account_enabled"} {
		if info[name] != nil || id[name] != nil {
			t.Errorf("%s = %v and %v, which the client may not ask for", name, info[name], id[name])
		}
	}
}

// TestPairwiseNativeClients have no host in common: what two of them learn of a person cannot be put together.
func TestPairwiseNativeClients(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	browser := newParty(t, a, a.Acme, a.Acme.Web)
	browser.code(t)
	seen := map[string]string{}
	for _, callback := range []string{"com.example.one:/cb", "com.example.two:/cb", app.Callback, app.Callback} {
		p := browser.with(t, func(n *oidc.NewClient) {
			n.Preset, n.SubjectType, n.RedirectURIs, n.Internal, n.Scope = oidc.PresetNative, "pairwise", []string{callback}, true, "openid"
		})
		location := p.authorize(t, "redirect_uri", callback, "scope", "openid").Header.Get("Location")
		_, query, _ := strings.Cut(location, "?")
		tokens := p.redeem(t, p.read(t, app.Callback+"?"+query).Get("code"), "redirect_uri", callback)
		expect(t, tokens, http.StatusOK, "")
		sub, _ := claimsOf(t, tokens.text("id_token"))["sub"].(string)
		if seen[sub] != "" {
			t.Errorf("%s and %s learn the same sub", callback, seen[sub])
		}
		seen[sub] = callback
	}
}

// TestGrantsOutliveTheirSession where the tenant says so.
func TestGrantsOutliveTheirSession(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Globex, "features", `{"oidc":{"expires_with_session":{"enabled":false}}}`)
	for _, tt := range []struct {
		tenant app.Tenant
		lives  bool
	}{{a.Acme, false}, {a.Globex, true}} {
		p := newParty(t, a, tt.tenant, tt.tenant.Web)
		tokens := p.tokens(t, "scope", "openid")
		p.confirm(t, p.endSession(t))
		if got := p.alive(t, tokens.text("access_token")); got != tt.lives {
			t.Errorf("%s: alive after the session = %t, want %t", tt.tenant.Slug, got, tt.lives)
		}
	}
}

// TestClientsAskForWhatIsThere registers what the tenant has not turned on, or what could never work.
func TestClientsAskForWhatIsThere(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Globex, "features", `{"oidc":{"encryption":{"enabled":true},"implicit_flow":{"enabled":true},"hybrid_flow":{"enabled":true}}}`)
	key := certificate(t, nil, nil).key.Public()
	onlySigns := mustJSON(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: "1", Use: "sig"}}})
	for name, tt := range map[string]struct {
		tenant app.Tenant
		change func(*oidc.NewClient)
		says   string
	}{
		"signed userinfo":       {a.Acme, func(n *oidc.NewClient) { n.UserinfoAlg = "ES256" }, "userinfo"},
		"signed introspection":  {a.Acme, func(n *oidc.NewClient) { n.IntrospectionAlg = "ES256" }, "introspection"},
		"signed authorization":  {a.Acme, func(n *oidc.NewClient) { n.AuthorizationAlg = "ES256" }, "authorization"},
		"a key that signs only": {a.Globex, func(n *oidc.NewClient) { n.JWKS, n.IDTokenEncryptionAlg = onlySigns, "ECDH-ES" }, "jwks"},
		"bound tokens in the front": {a.Globex, func(n *oidc.NewClient) {
			n.RedirectURIs = []string{"https://rp.example/cb"}
			n.DPoPBound, n.ResponseTypes, n.GrantTypes = true, []string{"code token"}, []string{"authorization_code", "implicit"}
		}, "token endpoint"},
		"a key of another kind":         {a.Globex, func(n *oidc.NewClient) { n.JWKS, n.IDTokenEncryptionAlg = onlySigns, "RSA-OAEP-256" }, "jwks"},
		"scopes that are no text":       {a.Acme, func(n *oidc.NewClient) { n.ResourcesScopes = "read\x00" }, "resourcesScopes"},
		"certificates where there none": {a.Acme, func(n *oidc.NewClient) { n.TLSBound = true }, "Mutual TLS"},
	} {
		n := oidc.NewClient{ClientMetadata: oidc.ClientMetadata{Name: "Wishful", RedirectURIs: []string{app.Callback}}, Preset: oidc.PresetWeb}
		tt.change(&n)
		err := a.Store.InTenant(t.Context(), tt.tenant.ID, func(ctx context.Context, tx *store.Tx) error {
			_, err := oidc.RegisterClient(ctx, tx, a.Vault, settings.Layer{}, n)
			return err
		})
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want something about %q", name, err, tt.says)
		}
	}
}
