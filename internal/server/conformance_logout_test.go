package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"parako/internal/oidc"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/testkit/app"
	"parako/internal/testkit/browser"
)

// suite is the relying party that the OpenID Foundation's conformance suite plays, in front of one tenant. Its pages are of another
// origin than the tenant's and of the same site: a tab of these tests keeps the cookies of other sites out of frames, as a private
// window does, and session management cannot work there.
type suite struct {
	party

	// url is where its pages are: /callback, /after, /rp (the page that watches the session), /frontchannel.
	url  string
	back *receiver
	// framed receives the query of every request for its front-channel logout address.
	framed chan url.Values
}

// logoutModule runs the module for two tenants that differ in what they have turned on and in how their client works.
func logoutModule(t *testing.T, a *app.App, module string, run func(*testing.T, suite)) {
	t.Helper()
	t.Run(module, func(t *testing.T) {
		for _, tt := range []struct {
			tenant app.Tenant
			change func(*oidc.NewClient)
		}{
			{a.Acme, func(*oidc.NewClient) {}},
			{a.Globex, func(n *oidc.NewClient) { n.IDTokenAlg, n.TokenEndpointAuthMethod = "ES256", "client_secret_post" }},
		} {
			t.Run(tt.tenant.Slug, func(t *testing.T) {
				s := suite{back: newReceiver(t), framed: make(chan url.Values, 4)}
				mux := http.NewServeMux()
				page := func(path, text string) {
					mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
						w.Header().Set("Content-Type", "text/html; charset=utf-8")
						_, _ = fmt.Fprint(w, `<!doctype html><html lang="en"><title>Suite</title><link rel="icon" href="data:,">`+text)
					})
				}
				page("/callback", `<h1 id="callback">Back</h1>`)
				page("/after", `<h1 id="after">Signed out</h1>`)
				page("/rp", `<h1 id="rp">Watching</h1><iframe id="op" src="`+tt.tenant.Issuer+`/session/check"></iframe>`)
				mux.HandleFunc("/frontchannel", func(_ http.ResponseWriter, r *http.Request) { s.framed <- r.URL.Query() })
				server := httptest.NewServer(mux)
				t.Cleanup(server.Close)
				s.url = strings.Replace(server.URL, "127.0.0.1", "rp."+tt.tenant.Slug+".localhost", 1)
				s.party = newParty(t, a, tt.tenant, tt.tenant.Web).with(t, func(n *oidc.NewClient) {
					n.RedirectURIs = append(n.RedirectURIs, s.url+"/callback")
					n.PostLogoutRedirectURIs = []string{s.url + "/after"}
					n.BackchannelLogoutURI, n.BackchannelLogoutSession = s.back.URL, true
					n.FrontchannelLogoutURI, n.FrontchannelLogoutSession = s.url+"/frontchannel", true
					tt.change(n)
				})
				run(t, s)
			})
		}
	})
}

func (s suite) discovery(t *testing.T) map[string]any {
	t.Helper()
	var document map[string]any
	if err := json.Unmarshal([]byte(app.Get(t, s.direct, s.tenant.Issuer+"/.well-known/openid-configuration").Text), &document); err != nil {
		t.Fatal(err)
	}
	return document
}

// leads expects a sign-out that has been agreed to, a redirect to the address, and no session afterwards.
func (s suite) leads(t *testing.T, page app.Response, location string) {
	t.Helper()
	got := s.confirm(t, page)
	// The client wants a frame, so that the page itself leads on.
	if got.StatusCode != http.StatusOK || !strings.Contains(got.Text, `id="logged-out-return" href="`+strings.ReplaceAll(location, "&", "&amp;")+`"`) {
		t.Errorf("%d, want a page that leads to %s\n%s", got.StatusCode, location, got.Text)
	}
	s.refused(t, "login_required", "prompt", "none")
}

// stays expects an error or a page without a way to the client's address.
func (s suite) stays(t *testing.T, pairs ...string) {
	t.Helper()
	got := s.endSession(t, pairs...)
	if got.StatusCode != http.StatusBadRequest || got.Header.Get("Location") != "" || !strings.Contains(got.Text, `id="error-title"`) || strings.Contains(got.Text, s.url) {
		t.Errorf("%d to %q\n%s", got.StatusCode, got.Header.Get("Location"), got.Text)
	}
	s.answer(t, s.authorize(t, "prompt", "none"))
}

// signsOut expects the page that says so.
func (s suite) signsOut(t *testing.T, pairs ...string) {
	t.Helper()
	s.tokens(t)
	got := s.confirm(t, s.endSession(t, pairs...))
	if got.StatusCode != http.StatusOK || !strings.Contains(got.Text, `id="logged-out-title"`) || strings.Contains(got.Text, "logged-out-return") {
		t.Errorf("%d to %q\n%s", got.StatusCode, got.Header.Get("Location"), got.Text)
	}
	s.refused(t, "login_required", "prompt", "none")
}

// TestConformanceOfLogout plays the modules of the certification plans for RP-initiated, back-channel and front-channel logout,
// session management and third-party-initiated login, under their names.
func TestConformanceOfLogout(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{"frontchannel_logout":{"enabled":true},"session_management":{"enabled":true}}}`)
	a.Configure(t, a.Globex, "features", `{"oidc":{"frontchannel_logout":{"enabled":true},"session_management":{"enabled":true},"encryption":{"enabled":true},"hybrid_flow":{"enabled":true}}}`)

	logoutModule(t, a, "oidcc-rp-initiated-logout-discovery-endpoint-verification", func(t *testing.T, s suite) {
		if got := s.discovery(t)["end_session_endpoint"]; got != s.tenant.Issuer+"/session/end" {
			t.Errorf("end_session_endpoint = %v", got)
		}
	})
	logoutModule(t, a, "oidcc-rp-initiated-logout", func(t *testing.T, s suite) {
		hint := s.tokens(t).text("id_token")
		s.leads(t, s.endSession(t, "id_token_hint", hint, "post_logout_redirect_uri", s.url+"/after", "state", "st"), s.url+"/after?state=st")
	})
	logoutModule(t, a, "oidcc-rp-initiated-logout-bad-post-logout-redirect-uri", func(t *testing.T, s suite) {
		s.stays(t, "id_token_hint", s.tokens(t).text("id_token"), "post_logout_redirect_uri", s.url+"/after/bad", "state", "st")
	})
	logoutModule(t, a, "oidcc-rp-initiated-logout-modified-id-token-hint", func(t *testing.T, s suite) {
		parts := strings.Split(s.tokens(t).text("id_token"), ".")
		s.stays(t, "id_token_hint", jwtPart([]byte(`{"alg":"none"}`))+"."+parts[1]+".", "post_logout_redirect_uri", s.url+"/after", "state", "st")
	})
	logoutModule(t, a, "oidcc-rp-initiated-logout-no-id-token-hint", func(t *testing.T, s suite) {
		s.tokens(t)
		s.stays(t, "post_logout_redirect_uri", s.url+"/after", "state", "st")
	})
	logoutModule(t, a, "oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri", func(t *testing.T, s suite) {
		s.stays(t, "id_token_hint", s.tokens(t).text("id_token"), "post_logout_redirect_uri", s.url+"/after?foo=bar", "state", "st")
	})
	logoutModule(t, a, "oidcc-rp-initiated-logout-bad-id-token-hint", func(t *testing.T, s suite) {
		s.tokens(t)
		s.stays(t, "id_token_hint", "bad", "post_logout_redirect_uri", s.url+"/after", "state", "st")
	})
	logoutModule(t, a, "oidcc-rp-initiated-logout-no-params", func(t *testing.T, s suite) { s.signsOut(t) })
	logoutModule(t, a, "oidcc-rp-initiated-logout-no-post-logout-redirect-uri", func(t *testing.T, s suite) {
		s.signsOut(t, "id_token_hint", s.tokens(t).text("id_token"), "state", "st")
	})
	logoutModule(t, a, "oidcc-rp-initiated-logout-only-state", func(t *testing.T, s suite) { s.signsOut(t, "state", "st") })
	logoutModule(t, a, "oidcc-rp-initiated-logout-no-state", func(t *testing.T, s suite) {
		hint := s.tokens(t).text("id_token")
		s.leads(t, s.endSession(t, "id_token_hint", hint, "post_logout_redirect_uri", s.url+"/after"), s.url+"/after")
	})

	logoutModule(t, a, "oidcc-backchannel-rp-initiated-logout-discovery-endpoint-verification", func(t *testing.T, s suite) {
		for _, name := range []string{"backchannel_logout_supported", "backchannel_logout_session_supported"} {
			if got := s.discovery(t)[name]; got != true {
				t.Errorf("%s = %v", name, got)
			}
		}
	})
	logoutModule(t, a, "oidcc-backchannel-rp-initiated-logout", func(t *testing.T, s suite) {
		hint := s.tokens(t).text("id_token")
		s.leads(t, s.endSession(t, "id_token_hint", hint, "post_logout_redirect_uri", s.url+"/after", "state", "st"), s.url+"/after?state=st")
		got, id := s.verified(t, "logout+jwt", s.back.token(t)), claimsOf(t, hint)
		_, nonce := got["nonce"]
		if got["iss"] != id["iss"] || got["aud"] != id["aud"] || got["sub"] != id["sub"] || got["sid"] != id["sid"] || id["sid"] == nil || nonce {
			t.Errorf("the logout token says %v, the ID token %v", got, id)
		}
	})

	logoutModule(t, a, "oidcc-frontchannel-rp-initiated-logout-discovery-endpoint-verification", func(t *testing.T, s suite) {
		for _, name := range []string{"frontchannel_logout_supported", "frontchannel_logout_session_supported"} {
			if got := s.discovery(t)[name]; got != true {
				t.Errorf("%s = %v", name, got)
			}
		}
	})
	logoutModule(t, a, "oidcc-frontchannel-rp-initiated-logout", func(t *testing.T, s suite) {
		tab, hint := s.inBrowser(t)
		tab.Do(chromedp.Navigate(s.tenant.Issuer+"/session/end?"+url.Values{
			"id_token_hint": {hint}, "post_logout_redirect_uri": {s.url + "/after"}, "state": {"st"},
		}.Encode()), seen("logout-confirm"), click("logout-confirm"), seen("after"))
		if got := browser.Get(tab, chromedp.Location()); got != s.url+"/after?state=st" {
			t.Errorf("the browser is at %s", got)
		}
		if got := <-s.framed; got.Get("iss") != s.tenant.Issuer || got.Get("sid") != claimsOf(t, hint)["sid"] {
			t.Errorf("the frame was asked for with %v", got)
		}
		tab.Do(chromedp.Navigate(s.browserURL("prompt", "none")), seen("callback"))
		if got := browser.Get(tab, chromedp.Location()); !strings.Contains(got, "error=login_required") {
			t.Errorf("the browser is still signed in: %s", got)
		}
	})

	logoutModule(t, a, "oidcc-session-management-discovery-endpoint-verification", func(t *testing.T, s suite) {
		if got := s.discovery(t)["check_session_iframe"]; got != s.tenant.Issuer+"/session/check" {
			t.Errorf("check_session_iframe = %v", got)
		}
	})
	logoutModule(t, a, "oidcc-session-management-rp-initiated-logout", func(t *testing.T, s suite) {
		tab, hint := s.inBrowser(t)
		tab.Do(chromedp.Navigate(s.browserURL("prompt", "none")), seen("callback"))
		answer, err := url.Parse(browser.Get(tab, chromedp.Location()))
		if err != nil {
			t.Fatal(err)
		}
		state := answer.Query().Get("session_state")
		for _, tt := range []struct{ message, want string }{
			{s.client.ID + " " + state, "unchanged"},
			{"another-client " + state, "changed"},
			{s.client.ID + " " + state + "x", "changed"},
			{s.client.ID + " no-salt", "error"},
			{state, "error"},
		} {
			if got := s.ask(tab, tt.message); got != tt.want {
				t.Errorf("the frame answers %q to %q, want %q", got, tt.message, tt.want)
			}
		}
		tab.Do(chromedp.Navigate(s.tenant.Issuer+"/session/end?"+url.Values{
			"id_token_hint": {hint}, "post_logout_redirect_uri": {s.url + "/after"},
		}.Encode()), seen("logout-confirm"), click("logout-confirm"), seen("after"))
		if got := s.ask(tab, s.client.ID+" "+state); got != "changed" {
			t.Errorf("after the sign-out the frame answers %q", got)
		}
	})

	logoutModule(t, a, "oidcc-3rd_party-init-login", func(t *testing.T, s suite) {
		p := s.with(t, func(n *oidc.NewClient) {
			n.Name, n.InitiateLoginURI, n.ClientURI = "Start "+s.url, "https://rp.example/initiate", "https://rp.example/page"
		})
		p.tokens(t)
		home := app.Get(t, s.browser, strings.TrimSuffix(s.tenant.Issuer, oidc.Mount)+"/").Text
		if want := "https://rp.example/initiate?iss=" + url.QueryEscape(s.tenant.Issuer) + "&amp;target_link_uri=" + url.QueryEscape("https://rp.example/page"); !strings.Contains(home, want) {
			t.Errorf("the page has no link to %s\n%s", want, home)
		}
		// What the client does then is an ordinary request.
		if got := p.answer(t, p.authorize(t)); got.Get("code") == "" {
			t.Errorf("the client got %v", got)
		}
	})
	logoutModule(t, a, "oidcc-3rd_party-init-login-nohttps", func(t *testing.T, s suite) {
		for _, uri := range []string{"http://rp.example/initiate", "http://localhost:9008/initiate"} {
			err := a.Store.InTenant(t.Context(), s.tenant.ID, func(ctx context.Context, tx *store.Tx) error {
				_, err := oidc.RegisterClient(ctx, tx, a.Vault, settings.Layer{}, oidc.NewClient{Preset: oidc.PresetWeb, ClientMetadata: oidc.ClientMetadata{
					Name: "Own", RedirectURIs: []string{app.Callback}, MoreMetadata: oidc.MoreMetadata{InitiateLoginURI: uri},
				}})
				return err
			})
			if err == nil || !strings.Contains(err.Error(), "initiate_login_uri") {
				t.Errorf("%s: %v", uri, err)
			}
		}
	})
}

// browserURL is an authorization request whose answer goes to the suite's own page.
func (s suite) browserURL(pairs ...string) string {
	return s.authorizeURL(append([]string{"redirect_uri", s.url + "/callback"}, pairs...)...)
}

// inBrowser signs a person in with Chromium and exchanges the code.
func (s suite) inBrowser(t *testing.T) (tab *browser.Tab, idToken string) {
	t.Helper()
	tab = open(t)
	tab.Do(chromedp.Navigate(s.browserURL()), credentials(s.tenant.Email, app.Password), seen("consent-accept"), click("consent-accept"), seen("callback"))
	answer, err := url.Parse(browser.Get(tab, chromedp.Location()))
	if err != nil {
		t.Fatal(err)
	}
	tokens := s.redeem(t, answer.Query().Get("code"), "redirect_uri", s.url+"/callback")
	expect(t, tokens, http.StatusOK, "")
	return tab, tokens.text("id_token")
}

// ask opens the page that watches the session, has it post the message to the frame of the provider, and returns the answer.
func (s suite) ask(tab *browser.Tab, message string) string {
	tab.Do(chromedp.Navigate(s.url+"/rp"), seen("rp"))
	return browser.Get(tab, chromedp.Evaluate[string](fmt.Sprintf(`new Promise((resolve) => {
		const frame = document.getElementById("op");
		const origin = new URL(frame.src).origin;
		addEventListener("message", (e) => { if (e.origin === origin) resolve(e.data); });
		frame.contentWindow.postMessage(%q, origin);
	})`, message), chromedp.EvalAwaitPromise))
}
