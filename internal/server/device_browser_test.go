package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"

	"parako/internal/testkit/app"
	"parako/internal/testkit/browser"
)

// TestPersonConnectsADevice follows the link of a device, or types its code, and lets it in.
func TestPersonConnectsADevice(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for _, tenant := range []app.Tenant{a.Acme, a.Globex} {
		t.Run("by its link at "+tenant.Slug, func(t *testing.T) {
			p, tab := newDevice(t, a, tenant), open(t)
			begun := p.begin(t)
			tab.Do(chromedp.Navigate(begun.text("verification_uri_complete")), seen("device-form"))
			if got := browser.Get(tab, chromedp.Value(chromedp.ID("user-code"))); got != begun.text("user_code") {
				t.Errorf("the code is %q, want %q", got, begun.text("user_code"))
			}
			tab.Do(click("device-submit"), seen("login-form"), credentials(tenant.Email, app.Password), seen("consent-form"))
			for id, want := range map[string]string{"consent-client": p.client.Name, "consent-account": tenant.Email, "consent-device": "shows the code", "consent-device-ip": "127.0.0.1"} {
				if got := browser.Get(tab, chromedp.Text(chromedp.ID(id))); !strings.Contains(got, want) {
					t.Errorf("%s is %q, want %q in it", id, got, want)
				}
			}
			expect(t, p.poll(t, begun), http.StatusBadRequest, "authorization_pending")
			tab.Do(click("consent-accept"), seen("device-done"))
			expect(t, p.poll(t, begun), http.StatusOK, "")

			// Who is signed in is asked again, and what was used does not work again.
			tab.Do(chromedp.Navigate(begun.text("verification_uri_complete")), click("device-submit"), seen("device-error"))
			second := p.begin(t)
			tab.Do(chromedp.Navigate(second.text("verification_uri_complete")), click("device-submit"), seen("consent-form"), click("consent-deny"), seen("device-denied"))
			expect(t, p.poll(t, second), http.StatusBadRequest, "access_denied")
		})
		t.Run("with the keyboard alone at "+tenant.Slug, func(t *testing.T) {
			p, tab := newDevice(t, a, tenant), open(t)
			begun := p.begin(t)
			typed := strings.ToLower(strings.ReplaceAll(begun.text("user_code"), "-", " "))
			tab.Do(
				chromedp.Navigate(begun.text("verification_uri")), browser.Focused("user-code"), chromedp.KeyEvent(typed), chromedp.KeyEvent(kb.Enter),
				seen("login-form"),
				browser.Focused("identifier"), chromedp.KeyEvent(tenant.Email), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(app.Password), chromedp.KeyEvent(kb.Enter),
				seen("consent-accept"), chromedp.Focus(chromedp.ID("consent-accept")), chromedp.KeyEvent(kb.Enter), seen("device-done"),
			)
			expect(t, p.poll(t, begun), http.StatusOK, "")
		})
		t.Run("without JavaScript at "+tenant.Slug, func(t *testing.T) {
			p, tab := newDevice(t, a, tenant), open(t)
			begun := p.begin(t)
			tab.Do(
				browser.WithoutScripts(), chromedp.Navigate(begun.text("verification_uri")), chromedp.SendKeys(chromedp.ID("user-code"), "BCDF-GHJK"), click("device-submit"),
				seen("device-error"), chromedp.Clear(chromedp.ID("user-code")), chromedp.SendKeys(chromedp.ID("user-code"), begun.text("user_code")), click("device-submit"),
				credentials(tenant.Email, app.Password), click("consent-accept"), seen("device-done"),
			)
			expect(t, p.poll(t, begun), http.StatusOK, "")
		})
	}
}

// TestDevicePagesCanBeRead checks on each page about devices what holds for every page.
func TestDevicePagesCanBeRead(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for name, setting := range readers() {
		t.Run(name, func(t *testing.T) {
			p, tab := newDevice(t, a, a.Acme), open(t)
			begun := p.begin(t, "scope", "openid profile email offline_access")
			tab.Do(setting, chromedp.Navigate(begun.text("verification_uri")), seen("device-form"), chromedp.SendKeys(chromedp.ID("user-code"), "---")) // which counts against no limit
			checkPage(t, tab, "device")
			tab.Do(click("device-submit"), seen("device-error"))
			checkPage(t, tab, "device with an error")
			tab.Do(chromedp.Navigate(begun.text("verification_uri_complete")), seen("device-form"))
			checkPage(t, tab, "device by its link")
			tab.Do(click("device-submit"), credentials(a.Acme.Email, app.Password), seen("consent-device"))
			checkPage(t, tab, "consent")
			tab.Do(click("consent-accept"), seen("device-done"))
			checkPage(t, tab, "done")
			tab.Do(chromedp.Navigate(p.begin(t).text("verification_uri_complete")), click("device-submit"), click("consent-deny"), seen("device-denied"))
			checkPage(t, tab, "denied")
		})
	}
}

func TestDevicePageForAssistiveTechnology(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	tab := open(t)
	tab.Do(chromedp.Navigate(a.Acme.Issuer+"/device"), seen("device-form"))
	nodes := browser.Get(tab, browser.Accessible())
	for role, want := range map[string][]string{
		"textbox": {"Code"}, "button": {"Continue"}, "heading": {"Connect a device"}, "main": {""}, "alert": nil,
	} {
		if diff := cmp.Diff(want, browser.Named(nodes, role)); diff != "" {
			t.Errorf("nodes with the role %s mismatch (-want +got)\n%s", role, diff)
		}
	}
	tab.Do(chromedp.SendKeys(chromedp.ID("user-code"), "BCDF-GHJK"), click("device-submit"), seen("device-error"), browser.Focused("user-code"))
	if diff := cmp.Diff([]string{""}, browser.Named(browser.Get(tab, browser.Accessible()), "alert")); diff != "" {
		t.Errorf("alerts mismatch (-want +got)\n%s", diff)
	}
}
