package server_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"

	"parako/internal/audit"
	"parako/internal/oidc"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/testkit/app"
	"parako/internal/testkit/browser"
)

// deployment is a server with the application that its people want to use.
type deployment struct {
	*app.App
	callback string // of the application, a loopback redirect URI (RFC 8252 section 7.3)
}

func deploy(t *testing.T) deployment {
	t.Helper()
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, `<!doctype html><html lang="en"><title>Application</title><link rel="icon" href="data:,"><h1 id="application">Back</h1>`)
	}))
	t.Cleanup(application.Close)
	return deployment{App: app.New(t), callback: application.URL + "/callback"}
}

// open opens a tab in which no page may offend its own Content-Security-Policy.
func open(t *testing.T) *browser.Tab {
	t.Helper()
	tab := browser.Open(t)
	t.Cleanup(func() {
		if diff := cmp.Diff([]string(nil), tab.Faults()); diff != "" {
			t.Errorf("faults of the pages mismatch (-want +got)\n%s", diff)
		}
	})
	return tab
}

// authorize is a request of the tenant's single-page application. It asks for consent whatever was agreed to earlier, because
// tests that run in parallel share the person. extra are other parameters, name and value in turn; an empty value removes one.
func (d deployment) authorize(tenant app.Tenant, extra ...string) string {
	query := url.Values{
		"client_id": {tenant.SPA.ID}, "redirect_uri": {d.callback}, "response_type": {"code"}, "scope": {"openid profile email"},
		"state": {"the-state"}, "code_challenge_method": {"S256"}, "code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"},
		"prompt": {"consent"},
	}
	for i := 0; i+1 < len(extra); i += 2 {
		query.Set(extra[i], extra[i+1])
		if extra[i+1] == "" {
			query.Del(extra[i])
		}
	}
	return tenant.Issuer + "/authorize?" + query.Encode()
}

// seen waits until the page has the element.
func seen(id string) chromedp.Action[chromedp.Void] { return chromedp.WaitVisible(chromedp.ID(id)) }

func click(id string) chromedp.Action[chromedp.Void] { return chromedp.Click(chromedp.ID(id)) }

// credentials fills in the login page and sends it.
func credentials(identifier, password string) chromedp.Action[chromedp.Void] {
	return chromedp.Steps(
		chromedp.SendKeys(chromedp.ID("identifier"), identifier), chromedp.SendKeys(chromedp.ID("password"), password), click("login-submit"),
	)
}

// returned waits until the browser is back at the application and returns what the server told it.
func (d deployment) returned(t *testing.T, tab *browser.Tab) url.Values {
	t.Helper()
	tab.Do(seen("application"))
	location := browser.Get(tab, chromedp.Location())
	if !strings.HasPrefix(location, d.callback+"?") {
		t.Fatalf("the browser is at %s, want %s", location, d.callback)
	}
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// checkCode checks a successful authorization response.
func checkCode(t *testing.T, answer url.Values, tenant app.Tenant) {
	t.Helper()
	if answer.Get("code") == "" || answer.Get("state") != "the-state" || answer.Get("iss") != tenant.Issuer {
		t.Errorf("the application got %v", answer)
	}
}

func TestPersonSignsIn(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	for _, tenant := range []app.Tenant{d.Acme, d.Globex} {
		t.Run("and consents at "+tenant.Slug, func(t *testing.T) {
			tab := open(t)
			tab.Do(chromedp.Navigate(d.authorize(tenant)), credentials(tenant.Email, app.Password), seen("consent-accept"))
			if got := browser.Get(tab, chromedp.Text(chromedp.ID("consent-client"))); !strings.Contains(got, tenant.SPA.Name) {
				t.Errorf("the consent page says %q, want the name %q", got, tenant.SPA.Name)
			}
			if got := browser.Get(tab, chromedp.Text(chromedp.ID("consent-account"))); !strings.Contains(got, tenant.Email) {
				t.Errorf("the consent page says %q, want the account %s", got, tenant.Email)
			}
			tab.Do(click("consent-accept"))
			checkCode(t, d.returned(t, tab), tenant)

			// Signed in and agreed once: the second time the pages do not show.
			tab.Do(chromedp.Navigate(d.authorize(tenant, "prompt", "")))
			checkCode(t, d.returned(t, tab), tenant)
		})
		t.Run("with the keyboard alone at "+tenant.Slug, func(t *testing.T) {
			tab := open(t)
			tab.Do(
				chromedp.Navigate(d.authorize(tenant)), browser.Focused("identifier"),
				chromedp.KeyEvent(tenant.Email), chromedp.KeyEvent(kb.Tab), browser.Focused("password"),
				chromedp.KeyEvent(app.Password), chromedp.KeyEvent(kb.Enter), seen("consent-accept"),
			)
			// Tab reaches the answer, past what else can be done on the page, and shows where it is.
			for i := 0; browser.Get(tab, chromedp.Evaluate[string]("document.activeElement.id")) != "consent-accept"; i++ {
				if i == 10 {
					t.Fatal("Tab does not reach consent-accept")
				}
				tab.Do(chromedp.KeyEvent(kb.Tab))
			}
			if got := browser.Get(tab, browser.Style("consent-accept", "outline-style")); got == "none" {
				t.Error("the focused button shows no ring")
			}
			tab.Do(chromedp.KeyEvent(kb.Enter))
			checkCode(t, d.returned(t, tab), tenant)
		})
		t.Run("without JavaScript at "+tenant.Slug, func(t *testing.T) {
			tab := open(t)
			tab.Do(
				browser.WithoutScripts(), chromedp.Navigate(d.authorize(tenant)), credentials(tenant.Email, app.Password),
				seen("consent-accept"), click("consent-accept"),
			)
			checkCode(t, d.returned(t, tab), tenant)
		})
	}
}

func TestPersonDenies(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	for _, tenant := range []app.Tenant{d.Acme, d.Globex} {
		for name, steps := range map[string][]chromedp.Action[chromedp.Void]{
			"the login":   {click("login-cancel")},
			"the consent": {credentials(tenant.Email, app.Password), seen("consent-deny"), click("consent-deny")},
		} {
			t.Run(name+" at "+tenant.Slug, func(t *testing.T) {
				tab := open(t)
				tab.Do(chromedp.Navigate(d.authorize(tenant)))
				tab.Do(steps...)
				answer := d.returned(t, tab)
				if answer.Get("error") != "access_denied" || answer.Get("state") != "the-state" || answer.Get("iss") != tenant.Issuer || answer.Has("code") {
					t.Errorf("the application got %v", answer)
				}
			})
		}
	}
}

func TestWrongPasswordKeepsTheIdentifier(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	// The right password of another tenant's person is as wrong as any.
	for _, tt := range []struct {
		tenant               app.Tenant
		identifier, password string
	}{
		{d.Acme, d.Acme.Email, "not the password"},
		{d.Globex, d.Acme.Email, app.Password},
	} {
		t.Run(tt.tenant.Slug, func(t *testing.T) {
			tab := open(t)
			tab.Do(
				chromedp.Navigate(d.authorize(tt.tenant)), credentials(tt.identifier, tt.password), seen("login-error"), browser.Focused("password"),
			)
			if got := browser.Get(tab, chromedp.Value(chromedp.ID("identifier"))); got != tt.identifier {
				t.Errorf("the identifier is %q, want %q", got, tt.identifier)
			}
			if got := browser.Get(tab, chromedp.Value(chromedp.ID("password"))); got != "" {
				t.Errorf("the password came back: %q", got)
			}
			tab.Do(chromedp.Clear(chromedp.ID("identifier")), credentials(tt.tenant.Email, app.Password), seen("consent-accept"), click("consent-accept"))
			checkCode(t, d.returned(t, tab), tt.tenant)
		})
	}
}

// TestPagesCanBeRead visits every kind of page, in light and dark colours and on a small telephone, and checks what holds for
// all of them.
func TestPagesCanBeRead(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	brand(t, d, d.Globex, `{"colors":{"light":{"primary":"#ffe100"},"dark":{"primary":"#5b0000"}}}`) // hard to read on and beside
	for _, tenant := range []app.Tenant{d.Acme, d.Globex} {
		for name, setting := range readers() {
			t.Run(tenant.Slug+" "+name, func(t *testing.T) {
				tab := open(t)
				tab.Do(setting, chromedp.Navigate(d.authorize(tenant)), seen("login-form"))
				checkPage(t, tab, "login")
				tab.Do(credentials(tenant.Email, "wrong"), seen("login-error"))
				checkPage(t, tab, "login with an error")
				tab.Do(chromedp.SendKeys(chromedp.ID("password"), app.Password), click("login-submit"), seen("consent-form"))
				checkPage(t, tab, "consent")
				tab.Do(chromedp.Navigate(tenant.Issuer+"/session/end"), seen("logout-form"))
				checkPage(t, tab, "logout")
				tab.Do(click("logout-confirm"), seen("logged-out-title"))
				checkPage(t, tab, "logged out")
				tab.Do(chromedp.Navigate(d.authorize(tenant, "client_id", "nobody")), seen("error-title"))
				checkPage(t, tab, "error")
			})
		}
	}
}

// readers are the ways in which people look at pages.
func readers() map[string]chromedp.Action[chromedp.Void] {
	return map[string]chromedp.Action[chromedp.Void]{
		"light on a desk":        chromedp.EmulateViewport(1280, 800),
		"dark on a desk":         browser.Dark(),
		"light on 320 pixels":    browser.Phone(320),
		"dark on 390 pixels":     chromedp.Steps(browser.Phone(390), browser.Dark()),
		"in German on 320":       chromedp.Steps(browser.Phone(320), browser.Language("de-CH, de;q=0.9, en;q=0.5")),
		"in Russian, dark, desk": chromedp.Steps(browser.Language("ru"), browser.Dark()),
	}
}

func checkPage(t *testing.T, tab *browser.Tab, name string) {
	t.Helper()
	if wide := browser.Get(tab, browser.Overflow()); wide > 0 {
		t.Errorf("%s: %d pixels wider than the screen", name, wide)
	}
	for _, text := range browser.Get(tab, browser.Texts()) {
		if text.Contrast < 4.5 { // WCAG 2.2 section 1.4.3
			t.Errorf("%s: contrast of %q is %.2f", name, text.Text, text.Contrast)
		}
	}
	if lang := browser.Get(tab, chromedp.Evaluate[string]("document.documentElement.lang")); lang == "" {
		t.Errorf("%s: the page does not say its language", name)
	}
	if titles := browser.Get(tab, chromedp.Evaluate[int](`document.querySelectorAll("h1").length`)); titles != 1 {
		t.Errorf("%s: %d elements h1, want 1", name, titles)
	}
	nodes := browser.Get(tab, browser.Accessible())
	for _, role := range []string{"textbox", "button", "link", "heading"} {
		for _, label := range browser.Named(nodes, role) {
			if label == "" {
				t.Errorf("%s: a %s has no name", name, role)
			}
		}
	}
}

func TestLoginPageForAssistiveTechnology(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	tab := open(t)
	tab.Do(chromedp.Navigate(d.authorize(d.Acme)), seen("login-form"))
	nodes := browser.Get(tab, browser.Accessible())
	for role, want := range map[string][]string{
		"textbox": {"Email or username", "Password"},
		"button":  {"Sign in", "Cancel"},
		"heading": {"Sign in"},
		"main":    {""},
	} {
		if diff := cmp.Diff(want, browser.Named(nodes, role)); diff != "" {
			t.Errorf("nodes with the role %s mismatch (-want +got)\n%s", role, diff)
		}
	}
	if got := browser.Get(tab, chromedp.AttributeValue(chromedp.ID("password"), "type")); got.Value != "password" {
		t.Errorf("the password field has the type %q", got.Value)
	}
	tab.Do(credentials(d.Acme.Email, "wrong"), seen("login-error"))
	if diff := cmp.Diff([]string{""}, browser.Named(browser.Get(tab, browser.Accessible()), "alert")); diff != "" {
		t.Errorf("alerts mismatch (-want +got)\n%s", diff)
	}
}

// TestLoginPageIsSmall holds the budget of people on slow networks (design D13).
func TestLoginPageIsSmall(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	tab := open(t)
	tab.Do(chromedp.Navigate(d.authorize(d.Acme)), seen("login-form"))
	total, kinds := 0, map[network.ResourceType]int{}
	for _, r := range tab.Requests() {
		if strings.HasPrefix(r.URL, "data:") {
			continue
		}
		if r.Status != http.StatusOK || r.Bytes == 0 {
			t.Errorf("%s: status %d, %d bytes", r.URL, r.Status, r.Bytes)
		}
		kinds[r.Type]++
		total += r.Bytes
		t.Logf("%s %d bytes", r.Type, r.Bytes)
	}
	if diff := cmp.Diff(map[network.ResourceType]int{network.ResourceTypeDocument: 1, network.ResourceTypeStylesheet: 1}, kinds); diff != "" {
		t.Errorf("requests mismatch (-want +got)\n%s", diff)
	}
	const budget = 15_000
	if total >= budget {
		t.Errorf("the login page takes %d bytes, budget %d", total, budget)
	}
}

func TestPersonSignsOut(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	for _, tenant := range []app.Tenant{d.Acme, d.Globex} {
		t.Run(tenant.Slug, func(t *testing.T) {
			tab := open(t)
			home := strings.TrimSuffix(tenant.Issuer, oidc.Mount) + "/"
			tab.Do(chromedp.Navigate(d.authorize(tenant)), credentials(tenant.Email, app.Password), seen("consent-accept"))
			tab.Do(chromedp.Navigate(home), seen("home-account"))
			tab.Do(click("home-logout"), seen("logout-account"))

			// No is an answer too.
			tab.Do(click("logout-cancel"), seen("home-account"))
			tab.Do(click("home-logout"), seen("logout-confirm"), click("logout-confirm"), seen("logged-out-title"))
			tab.Do(chromedp.Navigate(home), seen("home-anonymous"))
			tab.Do(chromedp.Navigate(d.authorize(tenant)), seen("login-form"))
		})
	}
}

func TestBrandsDiffer(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	brand(t, d, d.Acme, `{"companyName":"Acme Rockets","colors":{"light":{"primary":"#b4232c"}}}`)
	brand(t, d, d.Globex, `{"companyName":"Globex","colors":{"light":{"primary":"#0b6b4f"}}}`)
	for _, tt := range []struct {
		tenant          app.Tenant
		company, colour string
	}{
		{d.Acme, "Acme Rockets", "rgb(180, 35, 44)"},
		{d.Globex, "Globex", "rgb(11, 107, 79)"},
	} {
		t.Run(tt.tenant.Slug, func(t *testing.T) {
			tab := open(t)
			tab.Do(chromedp.Navigate(d.authorize(tt.tenant)), seen("login-submit"))
			if got := browser.Get(tab, browser.Style("login-submit", "background-color")); got != tt.colour {
				t.Errorf("the button is %s, want %s", got, tt.colour)
			}
			if got := browser.Get(tab, chromedp.Title()); !strings.HasSuffix(got, " · "+tt.company) {
				t.Errorf("title = %q, want the name %q in it", got, tt.company)
			}
		})
	}
}

// brand gives a tenant a look before anyone has seen another.
func brand(t *testing.T, d deployment, tenant app.Tenant, branding string) {
	t.Helper()
	if err := d.Store.InTenant(t.Context(), tenant.ID, func(ctx context.Context, tx *store.Tx) error {
		_, err := settings.Write(ctx, tx, settings.Layer{}, settings.Change{Section: "branding", Document: []byte(branding), By: audit.Operator("test")})
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestUnknownClientGetsAPage(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	tab := open(t)
	// A client of the other tenant is as unknown as one that never was.
	for _, id := range []string{"nobody", d.Globex.SPA.ID} {
		tab.Do(chromedp.Navigate(d.authorize(d.Acme, "client_id", id)), seen("error-title"))
		if got := browser.Get(tab, chromedp.Location()); !strings.HasPrefix(got, d.Acme.Issuer) {
			t.Errorf("%s: the browser was sent to %s", id, got)
		}
		if got := browser.Get(tab, chromedp.Text(chromedp.ID("error-request-id"))); got == "" {
			t.Errorf("%s: the page has no request id", id)
		}
	}
}

func TestLanguageFollowsThePerson(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	for name, tt := range map[string]struct {
		accept, uiLocales string
		want              string
	}{
		"Accept-Language":                        {accept: "de-AT, de;q=0.8, en;q=0.5", want: "de Anmelden"},
		"ui_locales":                             {accept: "en", uiLocales: "de-DE", want: "de Anmelden"},
		"ui_locales in order of preference":      {accept: "en", uiLocales: "xx fr de", want: "fr Se connecter"},
		"English where nothing else is in reach": {accept: "xx", want: "en Sign in"},
	} {
		t.Run(name, func(t *testing.T) {
			tab := open(t)
			tab.Do(browser.Language(tt.accept), chromedp.Navigate(d.authorize(d.Acme, "ui_locales", tt.uiLocales)), seen("login-submit"))
			got := fmt.Sprint(browser.Get(tab, chromedp.Evaluate[string]("document.documentElement.lang")), " ",
				browser.Get(tab, chromedp.Text(chromedp.ID("login-submit"))))
			if got != tt.want {
				t.Errorf("the page is %q, want %q", got, tt.want)
			}
		})
	}
}
