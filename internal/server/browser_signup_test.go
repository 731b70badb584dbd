package server_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"

	"parako/internal/testkit/app"
	"parako/internal/testkit/browser"
)

// welcoming is a deployment where both tenants let people register.
func welcoming(t *testing.T) deployment {
	t.Helper()
	d := deploy(t)
	for _, tenant := range []app.Tenant{d.Acme, d.Globex} {
		d.Configure(t, tenant, "security", openDoors)
	}
	return d
}

// details fills in the registration page and sends it.
func details(email, password string) chromedp.Action[chromedp.Void] {
	return chromedp.Steps(
		chromedp.SendKeys(chromedp.ID("email"), email), chromedp.SendKeys(chromedp.ID("password"), password), click("register-submit"),
	)
}

func TestPersonRegisters(t *testing.T) {
	t.Parallel()
	d := welcoming(t)
	for _, tenant := range []app.Tenant{d.Acme, d.Globex} {
		t.Run("from the login page at "+tenant.Slug, func(t *testing.T) {
			tab := open(t)
			tab.Do(chromedp.Navigate(d.authorize(tenant)), click("login-register"), seen("register-form"), browser.Focused("email"))
			tab.Do(details("ann@x.example", app.Password))
			tab.Do(seen("consent-accept"))
			if got := browser.Get(tab, chromedp.Text(chromedp.ID("consent-account"))); !strings.Contains(got, "ann@x.example") {
				t.Errorf("the consent page says %q", got)
			}
			tab.Do(click("consent-accept"))
			checkCode(t, d.returned(t, tab), tenant)
		})
		t.Run("with the keyboard alone at "+tenant.Slug, func(t *testing.T) {
			tab := open(t)
			tab.Do(
				chromedp.Navigate(d.authorize(tenant, "prompt", "create")), browser.Focused("email"), chromedp.KeyEvent("bea@x.example"),
				chromedp.KeyEvent(kb.Tab), browser.Focused("username"), chromedp.KeyEvent("bea"),
				chromedp.KeyEvent(kb.Tab), browser.Focused("password"), chromedp.KeyEvent("bea@x.example"),
				chromedp.KeyEvent(kb.Tab), browser.Focused("name"), chromedp.KeyEvent("Bea"),
				chromedp.KeyEvent(kb.Tab), browser.Focused("register-submit"), chromedp.KeyEvent(kb.Enter),
				// The password was too obvious, and the reader continues there; the rest is still in its place.
				seen("password-error"), browser.Focused("password"), chromedp.KeyEvent(app.Password), chromedp.KeyEvent(kb.Enter),
				seen("consent-accept"),
			)
			got := d.DB.Ask(t, tenant.ID, "SELECT concat_ws('|', username, email, name) FROM parako.users WHERE username_norm = 'bea'")
			if diff := cmp.Diff([]string{"bea|bea@x.example|Bea"}, got); diff != "" {
				t.Errorf("accounts mismatch (-want +got)\n%s", diff)
			}
		})
		t.Run("without JavaScript at "+tenant.Slug, func(t *testing.T) {
			tab := open(t)
			tab.Do(
				browser.WithoutScripts(), chromedp.Navigate(d.authorize(tenant)), click("login-register"), seen("register-form"),
				details("cy", app.Password), seen("email-error"), chromedp.Clear(chromedp.ID("email")), details("cy@x.example", app.Password),
				seen("consent-accept"), click("consent-accept"),
			)
			checkCode(t, d.returned(t, tab), tenant)
		})
		t.Run("not, and signs in instead, or gives up, at "+tenant.Slug, func(t *testing.T) {
			tab := open(t)
			tab.Do(
				chromedp.Navigate(d.authorize(tenant, "prompt", "create")), details(tenant.Email, app.Password), seen("register-error"),
				click("register-login"), credentials(tenant.Email, app.Password), seen("consent-accept"),
				chromedp.Navigate(d.authorize(tenant, "prompt", "create")), click("register-cancel"),
			)
			if got := d.returned(t, tab); got.Get("error") != "access_denied" {
				t.Errorf("the application got %v", got)
			}
		})
	}
}

// TestRegistrationCanBeRead holds the registration page to what TestPagesCanBeRead holds the others to.
func TestRegistrationCanBeRead(t *testing.T) {
	t.Parallel()
	d := welcoming(t)
	brand(t, d, d.Globex, `{"colors":{"light":{"primary":"#ffe100"},"dark":{"primary":"#5b0000"}}}`) // hard to read on and beside
	for name, tt := range map[string]struct {
		tenant  app.Tenant
		setting chromedp.Action[chromedp.Void]
	}{
		"light on a desk":                 {d.Acme, chromedp.EmulateViewport(1280, 800)},
		"in German, dark, on 320 pixels":  {d.Acme, chromedp.Steps(browser.Phone(320), browser.Dark(), browser.Language("de"))},
		"in Japanese on 360 pixels":       {d.Acme, chromedp.Steps(browser.Phone(360), browser.Language("ja"))},
		"dark on a desk, with a brand":    {d.Globex, browser.Dark()},
		"on 360 pixels, with a brand":     {d.Globex, browser.Phone(360)},
		"in Russian on 320, with a brand": {d.Globex, chromedp.Steps(browser.Phone(320), browser.Language("ru"))},
	} {
		t.Run(name, func(t *testing.T) {
			tab := open(t)
			tab.Do(tt.setting, chromedp.Navigate(d.authorize(tt.tenant)), seen("login-register"))
			checkPage(t, tab, "login")
			tab.Do(click("login-register"), seen("register-form"))
			checkPage(t, tab, "registration")
			tab.Do(chromedp.SendKeys(chromedp.ID("username"), "a b"), details("nobody", "nobody12"), seen("password-error"), browser.Focused("email"))
			checkPage(t, tab, "registration with faults")
			tab.Do(
				chromedp.Clear(chromedp.ID("email")), chromedp.Clear(chromedp.ID("username")), details(tt.tenant.Email, app.Password),
				seen("register-error"),
			)
			checkPage(t, tab, "registration refused")
		})
	}
}

func TestRegistrationPageForAssistiveTechnology(t *testing.T) {
	t.Parallel()
	d := welcoming(t)
	tab := open(t)
	tab.Do(chromedp.Navigate(d.authorize(d.Acme, "prompt", "create")), seen("register-form"))
	nodes := browser.Get(tab, browser.Accessible())
	for role, want := range map[string][]string{
		"textbox": {"Email", "Username", "Password", "Name (optional)"},
		"button":  {"Create account", "Cancel"},
		"heading": {"Create an account"},
		"main":    {""},
	} {
		if diff := cmp.Diff(want, browser.Named(nodes, role)); diff != "" {
			t.Errorf("nodes with the role %s mismatch (-want +got)\n%s", role, diff)
		}
	}
	for field, want := range map[string]string{"email": "email", "username": "username", "password": "new-password", "name": "name"} {
		if got := browser.Get(tab, chromedp.AttributeValue(chromedp.ID(field), "autocomplete")); got.Value != want {
			t.Errorf("%s is filled in as %q, want %q", field, got.Value, want)
		}
	}
	tab.Do(details(d.Acme.Email, app.Password), seen("register-error"))
	if diff := cmp.Diff([]string{""}, browser.Named(browser.Get(tab, browser.Accessible()), "alert")); diff != "" {
		t.Errorf("alerts mismatch (-want +got)\n%s", diff)
	}
}
