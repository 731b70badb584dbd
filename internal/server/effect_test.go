package server_test

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"parako/internal/audit"
	"parako/internal/directory"
	"parako/internal/oidc"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

// TestSettingsTakeEffect sets something for Acme and watches it there, and that nothing changes at Globex.
func TestSettingsTakeEffect(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "application", `{"description": "Rockets and more"}`)
	a.Configure(t, a.Acme, "branding", `{"favicon": "https://acme.example/favicon.svg", "fonts": {"heading": "Acme Display", "mono": "Acme Mono"}}`)
	a.Configure(t, a.Acme, "integrations", `{"urls": {"website": "https://acme.example/", "contact": "https://acme.example/help"}}`)
	a.Configure(t, a.Acme, "oidc", `{"discovery": {"op_policy_uri": "https://acme.example/op", "op_tos_uri": "https://acme.example/tos",
		"claims_locales_supported": ["fr"], "display_values_supported": ["page", "touch"]}}`)
	a.Configure(t, a.Acme, "security", `{"authentication": {
		"login": {"login_methods": ["username"]}, "session": {"bind_user_agent": true, "bind_ip": true, "max_concurrent_sessions": 2},
		"signup": {"enabled": true, "auto_approval": {"enabled": false}}}}`)
	acme, globex := newParty(t, a, a.Acme, webClient(t, a, a.Acme)), newParty(t, a, a.Globex, webClient(t, a, a.Globex))

	t.Run("on the pages", func(t *testing.T) {
		mine, other := acme.shows(t, "login-form"), globex.shows(t, "login-form")
		for _, part := range []string{
			`<meta name="description" content="Rockets and more">`, `href="https://acme.example/favicon.svg"`,
			`id="footer-website" href="https://acme.example/"`, `id="footer-contact" href="https://acme.example/help"`,
		} {
			if !strings.Contains(mine.Text, part) || strings.Contains(other.Text, part) {
				t.Errorf("%s: at Acme %t, at Globex %t", part, strings.Contains(mine.Text, part), strings.Contains(other.Text, part))
			}
		}
		sheet := regexp.MustCompile(`/static/[0-9a-f]+/app.css`).FindString(mine.Text)
		css := app.Get(t, acme.browser, strings.TrimSuffix(a.Acme.Issuer, oidc.Mount)+sheet).Text
		if !strings.Contains(css, `--font-heading:"Acme Display",`) || !strings.Contains(css, `--font-mono:"Acme Mono",`) {
			t.Error("the fonts are not in the style sheet")
		}
	})
	t.Run("in discovery", func(t *testing.T) {
		mine, other := app.Get(t, acme.direct, a.Acme.Issuer+"/.well-known/openid-configuration").Text, app.Get(t, globex.direct, a.Globex.Issuer+"/.well-known/openid-configuration").Text
		for _, part := range []string{
			`"op_policy_uri":"https://acme.example/op"`, `"op_tos_uri":"https://acme.example/tos"`, `"claims_locales_supported":["fr"]`, `"display_values_supported":["page","touch"]`,
		} {
			if !strings.Contains(mine, part) || strings.Contains(other, part) {
				t.Errorf("%s: at Acme %t, at Globex %t", part, strings.Contains(mine, part), strings.Contains(other, part))
			}
		}
	})
	t.Run("names to sign in with", func(t *testing.T) {
		login := acme.shows(t, "login-form")
		refused := app.Post(t, acme.browser, login.Request.URL.String()+"/login", url.Values{"identifier": {a.Acme.Email}, "password": {app.Password}})
		if refused.StatusCode != http.StatusUnauthorized {
			t.Errorf("the address is answered with %d", refused.StatusCode)
		}
	})
	t.Run("sessions", func(t *testing.T) {
		byName := a.Acme
		byName.Email = a.Acme.User.Username
		parties := make([]party, 3)
		for i := range parties {
			parties[i] = newParty(t, a, byName, acme.client)
			parties[i].code(t)
		}
		live := a.DB.Ask(t, a.Acme.ID, "SELECT id::text FROM parako.sessions WHERE user_id = $1 AND ended_at IS NULL", a.Acme.User.ID)
		if len(live) != 2 {
			t.Errorf("%d sessions are live, want 2", len(live))
		}
		for i, want := range []string{"login_required", "", ""} {
			if got := parties[i].answer(t, parties[i].authorize(t, "prompt", "none")).Get("error"); got != want {
				t.Errorf("session %d: %q, want %q", i, got, want)
			}
		}
		p := parties[2]
		for header, value := range map[string]string{"User-Agent": "another", "X-Forwarded-For": "192.0.2.9"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.authorizeURL("prompt", "none"), nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set(header, value)
			if got := p.answer(t, app.Do(t, p.step, r)).Get("error"); got != "login_required" {
				t.Errorf("with another %s: %q", header, got)
			}
		}
		if got := p.answer(t, p.authorize(t, "prompt", "none")).Get("error"); got != "" {
			t.Errorf("as before: %q", got)
		}
	})
	t.Run("accounts that wait", func(t *testing.T) {
		login := acme.shows(t, "login-form")
		waits := app.Post(t, acme.browser, login.Request.URL.String()+"/register", account())
		if waits.StatusCode != http.StatusForbidden || !strings.Contains(waits.Text, "An administrator has to enable it") {
			t.Fatalf("registering is answered with %d\n%s", waits.StatusCode, waits.Text)
		}
		err := a.Store.InTenant(t.Context(), a.Acme.ID, func(ctx context.Context, tx *store.Tx) error {
			u, err := directory.Find(ctx, tx, "new@acme.example")
			if err == nil && (u.AccountEnabled || len(u.Roles) != 1 || u.Roles[0] != "user") {
				t.Errorf("the account is enabled=%t with roles %v", u.AccountEnabled, u.Roles)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestThePlatformsSettingsReachEveryTenant changes something for all and something that binds Acme.
func TestThePlatformsSettingsReachEveryTenant(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "oidc", `{"token_ttl": {"client_credentials": 1800}}`)
	lives := func(of app.Tenant) float64 {
		t.Helper()
		p := newParty(t, a, of, of.M2M)
		n, _ := p.post(t, "/token", "grant_type", "client_credentials", "resource", "urn:test:api", "scope", "read").body["expires_in"].(float64)
		return n
	}
	if acme, globex := lives(a.Acme), lives(a.Globex); acme != 1800 || globex != 3600 {
		t.Fatalf("tokens live %v and %v s, want 1800 and 3600", acme, globex)
	}
	set := func(document string) {
		t.Helper()
		err := a.Store.InTenant(t.Context(), tenant.DefaultID, func(ctx context.Context, tx *store.Tx) error {
			_, err := settings.Write(ctx, tx, settings.Layer{}, settings.Change{Section: "oidc", Document: []byte(document), By: audit.Operator("test")})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	until := func(of app.Tenant, want float64) {
		t.Helper()
		for lives(of) != want {
			if t.Context().Err() != nil {
				t.Fatal("it is not noticed")
			}
		}
	}
	set(`{"token_ttl": {"client_credentials": 900}}`)
	until(a.Globex, 900)
	until(a.Acme, 900) // It is held to the limit, and what it set stays.
	set(`{}`)
	until(a.Acme, 1800)
	until(a.Globex, 3600)
}
