package server_test

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
	brand := map[string]any{
		"companyName": "Acme Rockets", "logo": "https://acme.example/logo.svg", "logoDark": "https://acme.example/dark.svg",
		"favicon": "https://acme.example/favicon.svg", "fonts": map[string]string{"sans": "Acme Text", "heading": "Acme Display", "mono": "Acme Mono"},
	}
	light, dark := palette("#%06x", 0x100), palette("#%06x", 0x200)
	brand["colors"] = map[string]any{"light": light, "dark": dark}
	a.Configure(t, a.Acme, "branding", string(mustJSON(t, brand)))
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
			`src="https://acme.example/logo.svg"`, `srcset="https://acme.example/dark.svg"`, "Acme Rockets",
			`id="footer-website" href="https://acme.example/"`, `id="footer-contact" href="https://acme.example/help"`,
		} {
			if !strings.Contains(mine.Text, part) || strings.Contains(other.Text, part) {
				t.Errorf("%s: at Acme %t, at Globex %t", part, strings.Contains(mine.Text, part), strings.Contains(other.Text, part))
			}
		}
		sheet := regexp.MustCompile(`/static/[0-9a-f]+/app.css`).FindString(mine.Text)
		css := app.Get(t, acme.browser, strings.TrimSuffix(a.Acme.Issuer, oidc.Mount)+sheet).Text
		for _, font := range []string{`--font-sans:"Acme Text",`, `--font-heading:"Acme Display",`, `--font-mono:"Acme Mono",`} {
			if !strings.Contains(css, font) {
				t.Errorf("%s is not in the style sheet", font)
			}
		}
		for _, f := range settings.Fields() {
			name, ok := strings.CutPrefix(f.Path, "branding.colors.light.")
			if ok && strings.Contains(css, "var("+property(name)+")") == f.Kept() {
				t.Errorf("%s is said to be on no page: %t, and the style sheet differs", name, f.Kept())
			}
		}
		at := strings.LastIndex(css, "@media (prefers-color-scheme: dark)")
		for mode, in := range map[string]struct {
			css     string
			palette map[string]string
		}{"light": {css[:at], light}, "dark": {css[at:], dark}} {
			for name, color := range in.palette {
				if !strings.Contains(in.css, property(name)+":"+color+";") {
					t.Errorf("%s %s is not in the style sheet", mode, name)
				}
			}
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

// property is the name of a colour in the style sheet.
func property(name string) string {
	return "--" + strings.ToLower(regexp.MustCompile("[A-Z]").ReplaceAllString(name, "-$0"))
}

// palette gives every colour that pages have a value of its own, as format writes numbers from first on.
func palette(format string, first int) map[string]string {
	colors := map[string]string{}
	for _, f := range settings.Fields() {
		if name, ok := strings.CutPrefix(f.Path, "branding.colors.light."); ok && !f.Kept() {
			colors[name] = fmt.Sprintf(format, first+len(colors))
		}
	}
	return colors
}

// TestEveryLifetimeTakesEffect sets each lifetime of Acme's to another number, and finds it in what is issued; at Globex they are
// the defaults.
func TestEveryLifetimeTakesEffect(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	own, standard := map[string]float64{}, map[string]float64{}
	for _, f := range settings.Fields() {
		if name, ok := strings.CutPrefix(f.Path, "oidc.token_ttl."); ok && f.Awaits == "" {
			n, err := strconv.ParseFloat(fmt.Sprint(f.Default), 64)
			if err != nil {
				t.Fatal(err)
			}
			standard[name], own[name] = n, math.Floor(n/2)-float64(len(own))
		}
	}
	a.Configure(t, a.Acme, "oidc", string(mustJSON(t, map[string]any{"token_ttl": own})))
	for _, tt := range []struct {
		tenant app.Tenant
		want   map[string]float64
	}{{a.Acme, own}, {a.Globex, standard}} {
		p := newParty(t, a, tt.tenant, webClient(t, a, tt.tenant))
		number := func(body map[string]any, name string) float64 {
			n, _ := body[name].(float64)
			return n
		}
		expiry := func(r reply) float64 { return number(r.body, "expires_in") }
		stored := func(table string) float64 {
			t.Helper()
			lives := a.DB.Ask(t, tt.tenant.ID, "SELECT DISTINCT round(extract(epoch FROM expires_at - created_at))::text FROM parako."+table)
			if len(lives) != 1 {
				t.Fatalf("%s live %q", table, lives)
			}
			seconds, err := strconv.ParseFloat(lives[0], 64)
			if err != nil {
				t.Fatal(err)
			}
			return seconds
		}
		tokens := p.tokens(t, "scope", "openid offline_access")
		claims := claimsOf(t, tokens.text("id_token"))
		got := map[string]float64{
			"access_token": expiry(tokens), "id_token": number(claims, "exp") - number(claims, "iat"),
			"authorization_code": stored("codes"), "refresh_token": stored("refresh_tokens"), "interaction": stored("interactions"),
			"client_credentials": expiry(p.as(tt.tenant.M2M).post(t, "/token", "grant_type", "client_credentials", "resource", "urn:test:api", "scope", "read")),
			"device_code":        expiry(newDevice(t, a, tt.tenant).begin(t)),
			"pushed_request":     expiry(p.do(t, p.formRequest(t.Context(), "/request", p.request()))),
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: lifetimes mismatch (-want +got)\n%s", tt.tenant.Slug, diff)
		}
	}
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
