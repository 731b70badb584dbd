package server_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"parako/internal/config"
	"parako/internal/oidc"
	"parako/internal/problem"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/testkit/app"
)

// TestDeviceTokens asks for what the client, the tenant and the request decide about the tokens.
func TestDeviceTokens(t *testing.T) {
	t.Parallel()
	a := app.New(t, func(c *config.Config) { c.ClientCertificateHeader = "Client-Cert" })
	a.Configure(t, a.Acme, "features", `{"oidc":{"mtls":{"enabled":true}}}`)
	a.Configure(t, a.Acme, "oidc", `{"token_ttl":{"device_code":300},"resource_servers":[{"identifier":"https://one.example","access_token_ttl":30,"scopes":["one:read"]}]}`)
	t.Run("no offline_access, no refresh token", func(t *testing.T) {
		p := newDevice(t, a, a.Acme)
		tokens := p.connect(t, "scope", "openid")
		if tokens.text("refresh_token") != "" || tokens.text("id_token") == "" {
			t.Errorf("%s", tokens.Text)
		}
	})
	t.Run("no refresh_token grant, no refresh token", func(t *testing.T) {
		p := newDevice(t, a, a.Acme, func(n *oidc.NewClient) { n.GrantTypes = []string{deviceGrant} })
		if tokens := p.connect(t); tokens.text("refresh_token") != "" {
			t.Errorf("%s", tokens.Text)
		}
	})
	t.Run("no openid, no ID token", func(t *testing.T) {
		p := newDevice(t, a, a.Acme)
		tokens := p.connect(t, "scope", "email offline_access")
		if tokens.text("refresh_token") == "" || tokens.text("id_token") != "" || tokens.text("scope") != "email offline_access" {
			t.Errorf("%s", tokens.Text)
		}
	})
	t.Run("lifetimes", func(t *testing.T) {
		if got := newDevice(t, a, a.Acme).begin(t); got.body["expires_in"] != 300.0 {
			t.Errorf("the tenant's: %s", got.Text)
		}
		p := newDevice(t, a, a.Acme, func(n *oidc.NewClient) {
			n.TTL = oidc.ClientTTL{DeviceCode: 90, AccessToken: 60, IDToken: 70, RefreshToken: 120}
		})
		begun := p.begin(t)
		if begun.body["expires_in"] != 90.0 {
			t.Errorf("its own: %s", begun.Text)
		}
		left := a.DB.Ask(t, a.Acme.ID, "SELECT extract(epoch FROM expires_at - created_at)::integer::text FROM parako.device_codes WHERE id = $1", rowID(begun.text("device_code")))
		if !slices.Contains([]string{"89", "90", "91"}, left[0]) {
			t.Errorf("the row lives %s seconds", left[0])
		}
		p.approve(t, begun.text("user_code"))
		tokens := p.poll(t, begun)
		id := claimsOf(t, tokens.text("id_token"))
		info := p.post(t, "/token/introspection", "token", tokens.text("refresh_token"))
		if !lasts(tokens, 60) || !about(seconds(id["exp"])-seconds(id["iat"]), 70) || !about(seconds(info.body["exp"])-seconds(info.body["iat"]), 120) {
			t.Errorf("%s\n%v\n%s", tokens.Text, id, info.Text)
		}
	})
	t.Run("resources", func(t *testing.T) {
		p := newDevice(t, a, a.Acme, func(n *oidc.NewClient) {
			n.AllowedResources, n.ResourcesScopes = []string{"https://one.example", "https://two.example"}, "one:read two:read"
		})
		both := func() reply {
			form := url.Values{"scope": {"openid offline_access one:read two:read"}, "resource": {"https://one.example", "https://two.example"}}
			begun := p.do(t, p.formRequest(t.Context(), "/device/auth", form))
			p.approve(t, begun.text("user_code"))
			return begun
		}
		begun := both()
		tokens := p.poll(t, begun)
		claims := p.verified(t, "at+jwt", tokens.text("access_token"))
		if fmt.Sprint(claims["aud"]) != "[https://one.example https://two.example]" || claims["scope"] != "one:read two:read" || !lasts(tokens, 30) ||
			claims["sub"] != a.Acme.User.ID.String() || p.alive(t, tokens.text("access_token")) {
			t.Errorf("%s\n%v", tokens.Text, claims)
		}
		begun = both()
		expect(t, p.poll(t, begun, "resource", "https://three.example"), http.StatusBadRequest, "invalid_target")
		tokens = p.poll(t, begun, "resource", "https://two.example") // What was refused did not spend the code.
		if claims := p.verified(t, "at+jwt", tokens.text("access_token")); claims["aud"] != "https://two.example" || !lasts(tokens, 3600) {
			t.Errorf("%s\n%v", tokens.Text, claims)
		}
		again := p.refresh(t, tokens.text("refresh_token"), "resource", "https://one.example")
		if claims := p.verified(t, "at+jwt", again.text("access_token")); claims["aud"] != "https://one.example" || claims["scope"] != "one:read" {
			t.Errorf("after a refresh: %v", claims)
		}
	})
	t.Run("DPoP", func(t *testing.T) {
		key, stranger := newKey(t, jose.ES256), newKey(t, jose.ES256)
		p := newDevice(t, a, a.Acme, public, func(n *oidc.NewClient) { n.DPoPBound = true })
		begun := p.begin(t)
		p.approve(t, begun.text("user_code"))
		expect(t, p.poll(t, begun), http.StatusBadRequest, "invalid_dpop_proof")
		proof := func(k keyPair) http.Header { return dpop(k.proof(t, http.MethodPost, a.Acme.Issuer+"/token")) }
		tokens := p.send(t.Context(), t, "/token", proof(key), p.pollForm(begun))
		expect(t, tokens, http.StatusOK, "")
		token := tokens.text("access_token")
		if tokens.text("token_type") != "DPoP" {
			t.Errorf("%s", tokens.Text)
		}
		expect(t, p.userinfo(t, token), http.StatusUnauthorized, "invalid_token")
		expect(t, p.userinfoWith(t, token, key.proof(t, http.MethodGet, a.Acme.Issuer+"/userinfo", "ath", ath(token))), http.StatusOK, "")
		refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens.text("refresh_token")}}
		expect(t, p.send(t.Context(), t, "/token", proof(stranger), refresh), http.StatusBadRequest, "invalid_grant")
		expect(t, p.send(t.Context(), t, "/token", proof(key), refresh), http.StatusOK, "")
	})
	t.Run("mutual TLS", func(t *testing.T) {
		mine := certificate(t, nil, nil)
		header := http.Header{"Client-Cert": {mine.rfc9440()}}
		p := newDevice(t, a, a.Acme, func(n *oidc.NewClient) {
			n.TokenEndpointAuthMethod, n.TLSBound = "self_signed_tls_client_auth", true
			n.JWKS = mustJSON(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: mine.key.Public(), KeyID: "1"}}})
			n.AllowedResources = []string{"urn:test:api"}
		})
		expect(t, p.post(t, "/device/auth"), http.StatusUnauthorized, "invalid_client")
		begun := p.send(t.Context(), t, "/device/auth", header, url.Values{"scope": {"openid"}, "resource": {"urn:test:api"}})
		expect(t, begun, http.StatusOK, "")
		p.approve(t, begun.text("user_code"))
		expect(t, p.poll(t, begun), http.StatusUnauthorized, "invalid_client")
		tokens := p.send(t.Context(), t, "/token", header, p.pollForm(begun))
		expect(t, tokens, http.StatusOK, "")
		if cnf, _ := claimsOf(t, tokens.text("access_token"))["cnf"].(map[string]any); cnf["x5t#S256"] != mine.thumbprint() {
			t.Errorf("cnf = %v", cnf)
		}
	})
	t.Run("private_key_jwt", func(t *testing.T) {
		key := newKey(t, jose.ES256)
		p := newDevice(t, a, a.Acme, func(n *oidc.NewClient) { n.TokenEndpointAuthMethod, n.JWKS = "private_key_jwt", key.set(t) })
		assertion := func() []string {
			return []string{"client_assertion_type", assertionType, "client_assertion", p.assertion(t, key)}
		}
		expect(t, p.post(t, "/device/auth"), http.StatusUnauthorized, "invalid_client")
		begun := p.begin(t, assertion()...)
		p.approve(t, begun.text("user_code"))
		expect(t, p.poll(t, begun, assertion()...), http.StatusOK, "")
	})
}

// TestOneDeviceCodeManyRedemptions redeems one device code from many places at once. One of them gets tokens; and because the
// code was used more than once, nothing that came of it lives on.
func TestOneDeviceCodeManyRedemptions(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newDevice(t, a, a.Acme)
	begun := p.begin(t)
	p.approve(t, begun.text("user_code"))
	var won []reply
	for _, r := range p.together(t, func() *http.Request { return p.formRequest(t.Context(), "/token", p.pollForm(begun)) }) {
		switch {
		case r.StatusCode == http.StatusOK:
			won = append(won, r)
		case r.StatusCode != http.StatusBadRequest || r.text("error") != "invalid_grant":
			t.Errorf("a loser got %d %v", r.StatusCode, r.Text)
		}
	}
	if len(won) != 1 {
		t.Fatalf("%d redemptions succeeded", len(won))
	}
	if p.alive(t, won[0].text("access_token")) {
		t.Error("the access token of a code that was used twice lives on")
	}
	expect(t, p.refresh(t, won[0].text("refresh_token")), http.StatusBadRequest, "invalid_grant")
}

// TestDeviceCodeLifetimeIsBounded registers lifetimes in which a code could be guessed, and ones in which nobody could type it.
func TestDeviceCodeLifetimeIsBounded(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for _, ttl := range []int{settings.MinDeviceCodeTTL - 1, settings.MaxDeviceCodeTTL + 1} {
		err := a.Store.InTenant(t.Context(), a.Acme.ID, func(ctx context.Context, tx *store.Tx) error {
			_, err := oidc.RegisterClient(ctx, tx, a.Vault, settings.Layer{}, oidc.NewClient{
				Preset: oidc.PresetDevice, ClientMetadata: oidc.ClientMetadata{Name: "TV", MoreMetadata: oidc.MoreMetadata{TTL: oidc.ClientTTL{DeviceCode: ttl}}},
			})
			return err
		})
		if problem.From(err).Code != "client_invalid" {
			t.Errorf("%d seconds: %v", ttl, err)
		}
	}
}
