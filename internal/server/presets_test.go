package server_test

import (
	"net/http"
	"testing"

	"parako/internal/oidc"
	"parako/internal/testkit/app"
)

// TestPresets registers a client of every preset with its name and, where browsers come back to it, its redirect URI alone, and
// does with it what the preset is for.
func TestPresets(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	browser := newParty(t, a, a.Acme, a.Acme.Web)
	client := func(t *testing.T, preset oidc.Preset, redirectURIs ...string) party {
		t.Helper()
		return browser.as(register(t, a, a.Acme, oidc.NewClient{
			Preset: preset, ClientMetadata: oidc.ClientMetadata{Name: "Preset " + string(preset), RedirectURIs: redirectURIs},
		}))
	}
	// person takes tokens about a person as far as they go.
	person := func(t *testing.T, p party, tokens reply) {
		t.Helper()
		if id := p.verified(t, "JWT", tokens.text("id_token")); id["sub"] != a.Acme.User.ID.String() || id["aud"] != p.client.ID {
			t.Errorf("ID token: %v", id)
		}
		if info := p.userinfo(t, tokens.text("access_token")); info.body["email"] != a.Acme.Email {
			t.Errorf("userinfo: %d %s", info.StatusCode, info.Text)
		}
		expect(t, p.post(t, "/token/revocation", "token", tokens.text("access_token")), http.StatusOK, "")
		expect(t, p.userinfo(t, tokens.text("access_token")), http.StatusUnauthorized, "invalid_token")
	}
	flows := map[oidc.Preset]func(*testing.T){
		oidc.PresetWeb: func(t *testing.T) {
			p := client(t, oidc.PresetWeb, app.Callback)
			if p.client.Secret == "" {
				t.Error("a web application has no secret")
			}
			person(t, p, p.tokens(t, "scope", "openid email"))
		},
		oidc.PresetSPA: func(t *testing.T) {
			p := client(t, oidc.PresetSPA, app.Callback)
			tokens := p.tokens(t, "scope", "openid email")
			fresh := p.refresh(t, tokens.text("refresh_token"))
			expect(t, fresh, http.StatusOK, "")
			person(t, p, fresh)
		},
		oidc.PresetNative: func(t *testing.T) {
			p := client(t, oidc.PresetNative, "http://127.0.0.1/callback")
			p.callback = "http://127.0.0.1:53682/callback" // the port that was free (RFC 8252 section 7.3)
			person(t, p, p.redeem(t, p.code(t, "scope", "openid email"), "redirect_uri", p.callback))
		},
		oidc.PresetM2M: func(t *testing.T) {
			p := client(t, oidc.PresetM2M)
			tokens := p.post(t, "/token", "grant_type", "client_credentials")
			expect(t, tokens, http.StatusOK, "")
			if info := p.post(t, "/token/introspection", "token", tokens.text("access_token")); info.body["active"] != true || info.body["client_id"] != p.client.ID {
				t.Errorf("introspection: %s", info.Text)
			}
		},
		oidc.PresetDevice: func(t *testing.T) {
			p := client(t, oidc.PresetDevice)
			person(t, p, p.connect(t, "scope", "openid email"))
		},
		oidc.PresetAPIManagement: func(t *testing.T) {
			p := client(t, oidc.PresetAPIManagement)
			tokens := p.post(t, "/token", "grant_type", "client_credentials", "resource", "urn:parako:api:v1")
			expect(t, tokens, http.StatusOK, "")
			if claims := p.verified(t, "at+jwt", tokens.text("access_token")); claims["aud"] != "urn:parako:api:v1" || claims["client_id"] != p.client.ID {
				t.Errorf("access token: %v", claims)
			}
			expect(t, p.post(t, "/token", "grant_type", "client_credentials", "resource", "https://other.example"), http.StatusBadRequest, "invalid_target")
		},
	}
	for _, preset := range oidc.Presets {
		flow := flows[preset]
		if flow == nil {
			t.Errorf("nothing is done with the preset %s", preset)
			continue
		}
		t.Run(string(preset), flow)
	}
}
