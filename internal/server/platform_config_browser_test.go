package server_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"parako/internal/directory"
	"parako/internal/testkit/app"
	"parako/internal/testkit/browser"
)

// TestOperatorConfiguresATenant changes settings of a tenant as people look at pages, without scripts.
func TestOperatorConfiguresATenant(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for name, setting := range map[string]chromedp.Action[chromedp.Void]{
		"light-on-320-pixels":   browser.Phone(320),
		"dark-on-a-desk":        chromedp.Steps(chromedp.EmulateViewport(1280, 800), browser.Dark()),
		"in-german-dark-on-390": chromedp.Steps(browser.Phone(390), browser.Dark(), browser.Language("de")),
	} {
		t.Run(name, func(t *testing.T) {
			p := openPlatform(t, a)
			p.employ(t, name, directory.PlatformAdmin)
			org := p.AddTenant(t, "of-"+name)
			app.Get(t, p.Client(t), org.Issuer+"/jwks")
			tab := open(t)
			tab.Do(setting, chromedp.Navigate(p.origin+"/platform/tenants/"+org.Slug), credentials(name, app.Password), seen("tenant-config"))
			checkPage(t, tab, "tenant")
			tab.Do(click("tenant-config"), seen("sections"))
			checkPage(t, tab, "sections")
			section := p.origin + "/platform/tenants/" + org.Slug + "/config/"
			tab.Do(chromedp.Navigate(section+"integrations"), seen("section-form"))
			tab.Do(click("g-urls"), seen("s-urls-website"))
			checkPage(t, tab, "section")
			tab.Do(
				chromedp.SendKeys(chromedp.ID("s-urls-website"), "http://not.secure.example"), chromedp.SendKeys(chromedp.ID("reason"), "a reason"), click("section-submit"), seen("form-error"),
				// What is wrong is in sight: its part of the page is open.
				seen("s-urls-website-f"),
			)
			checkPage(t, tab, "section with a fault")
			if got := browser.Get(tab, chromedp.Value(chromedp.ID("reason"))); got != "a reason" {
				t.Errorf("the reason is %q", got)
			}
			nodes := browser.Get(tab, browser.Accessible())
			if got := browser.Named(nodes, "alert"); len(got) != 1 {
				t.Errorf("alerts %q, want one", got)
			}
			for _, role := range []string{"combobox", "spinbutton", "checkbox", "DisclosureTriangle"} {
				for _, label := range browser.Named(nodes, role) {
					if label == "" {
						t.Errorf("a %s has no name", role)
					}
				}
			}
			tab.Do(chromedp.SetValue(chromedp.ID("s-urls-website"), "https://acme.example/"), click("section-submit"), seen("saved"))
			checkPage(t, tab, "saved")
			tab.Do(click("section-history"), seen("versions"))
			checkPage(t, tab, "history")
			for _, long := range []string{"security", "branding", "features"} {
				tab.Do(chromedp.Navigate(section+long), seen("section-form"))
				checkPage(t, tab, long)
			}
			for path, id := range map[string]string{"edit": "edit-form", "quota": "quota-form", "domains": "domain-form", "keys": "keys", "deletion": "deletion-form"} {
				tab.Do(chromedp.Navigate(p.origin+"/platform/tenants/"+org.Slug+"/"+path), seen(id))
				checkPage(t, tab, path)
			}
		})
	}
}

// TestOperatorReachesEverySettingByTheKeyboard opens a part of a section, changes a setting in it and saves, without a mouse.
func TestOperatorReachesEverySettingByTheKeyboard(t *testing.T) {
	t.Parallel()
	p := openPlatform(t, app.New(t))
	p.employ(t, "olga", directory.PlatformAdmin)
	tab := open(t)
	tab.Do(chromedp.Navigate(p.origin+"/platform/tenants/acme/config/oidc"), credentials("olga", app.Password), seen("section-form"))
	reach := func(id string) {
		t.Helper()
		const focus = "(document.activeElement.id || document.activeElement.parentElement?.id)"
		for i := 0; browser.Get(tab, chromedp.Evaluate[string](focus)) != id; i++ {
			if i == 60 {
				t.Fatalf("Tab does not reach %s", id)
			}
			tab.Do(chromedp.KeyEvent(kb.Tab))
		}
	}
	reach("g-token_ttl")
	if got := browser.Get(tab, chromedp.Evaluate[string]("getComputedStyle(document.activeElement).outlineStyle")); got == "none" {
		t.Error("the focused part shows no ring")
	}
	tab.Do(chromedp.KeyEvent(kb.Enter), seen("s-token_ttl-access_token"))
	reach("s-token_ttl-access_token")
	tab.Do(chromedp.KeyEvent("120"), chromedp.KeyEvent(kb.Enter), seen("saved"))
	if got := p.overrides(t, p.Acme, "oidc"); got != `{"token_ttl": {"access_token": 120}}` {
		t.Errorf("stored %s", got)
	}
	// A browser stops what is out of bounds, and the open part of the page shows where.
	tab.Do(chromedp.SetValue(chromedp.ID("s-token_ttl-access_token"), "99999"), click("section-submit"), browser.Focused("s-token_ttl-access_token"))
	if got := p.overrides(t, p.Acme, "oidc"); strings.Contains(got, "99999") {
		t.Errorf("stored %s", got)
	}
}
