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

// TestOperatorWorksOnThePlatformsPages creates, looks for and suspends a tenant on a small telephone in the dark, without scripts, and
// reaches everything by the keyboard.
func TestOperatorWorksOnThePlatformsPages(t *testing.T) {
	t.Parallel()
	p := openPlatform(t, app.New(t))
	p.employ(t, "olga", directory.PlatformAdmin)
	tab := open(t)
	readable := func(page string) {
		t.Helper()
		if over := browser.Get(tab, browser.Overflow()); over > 0 {
			t.Errorf("%s is %d pixels wider than the screen", page, over)
		}
		const enough = 4.5
		for _, text := range browser.Get(tab, browser.Texts()) {
			if text.Contrast < enough {
				t.Errorf("%s: contrast of %q is %.2f, want %.1f", page, text.Text, text.Contrast, enough)
			}
		}
	}
	const narrow = 360
	tab.Do(browser.Phone(narrow), browser.Dark(), chromedp.Navigate(p.origin+"/platform"), credentials("olga", app.Password), seen("tenants"))
	readable("the list")
	tab.Do(click("tenants-new"), seen("tenant-form"))
	readable("the form")
	tab.Do(
		browser.Focused("slug"), chromedp.KeyEvent("Not a slug"), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent("Initech "+strings.Repeat("Limited", 20)),
		chromedp.KeyEvent(kb.Enter), seen("slug-error"), browser.Focused("slug"),
	)
	readable("the form with a fault")
	nodes := browser.Get(tab, browser.Accessible())
	if got := browser.Named(nodes, "alert"); len(got) != 1 {
		t.Errorf("alerts %q, want one", got)
	}
	tab.Do(chromedp.SetValue(chromedp.ID("slug"), "initech"), click("tenant-submit"), seen("tenant-facts"))
	readable("the tenant")
	tab.Do(click("tenant-suspended"), seen("status-effect"))
	readable("the question")
	tab.Do(click("status-submit"), seen("tenant-active"))
	if got := browser.Get(tab, chromedp.Text(chromedp.ID("tenant-status"))); got != "Suspended" {
		t.Errorf("the status reads %q", got)
	}
	tab.Do(click("platform-tenants"), seen("tenants"), chromedp.SendKeys(chromedp.ID("slug"), "ini"), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(chromedp.CSS(`#slug[value="ini"]`)), seen("tenants"))
	if got := browser.Get(tab, chromedp.Text(chromedp.ID("tenants"))); !strings.Contains(got, "initech") || strings.Contains(got, "acme") {
		t.Errorf("the search finds %q", got)
	}
	tab.Do(click("platform-logout"), seen("logout-form"))
}

// TestFirstAccountInABrowser goes the way of whoever has just installed the product.
func TestFirstAccountInABrowser(t *testing.T) {
	t.Parallel()
	p := openPlatform(t, app.New(t, withFirst))
	tab := open(t)
	tab.Do(
		browser.WithoutScripts(), chromedp.Navigate(p.origin+"/platform"), credentials("first@parako.example", firstPassword), seen("setup-form"),
		chromedp.SendKeys(chromedp.ID("email"), "olga@parako.example"), chromedp.SendKeys(chromedp.ID("password"), "another good password"), click("setup-submit"),
		seen("login-form"), chromedp.SendKeys(chromedp.ID("password"), "another good password"), click("login-submit"), seen("tenants"),
	)
	if got := browser.Get(tab, chromedp.Text(chromedp.ID("platform-account"))); !strings.Contains(got, "olga@parako.example") {
		t.Errorf("the page says %q", got)
	}
}
