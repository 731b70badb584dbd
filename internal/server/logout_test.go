package server_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"

	"parako/internal/keyring"
	"parako/internal/testkit/app"
)

// after is where the clients of an App want people after they signed out.
const after = "http://localhost:9008/"

var (
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
	formAction  = regexp.MustCompile(`<form id="logout-form" method="post" action="([^"]*)">`)
)

// endSession asks to sign out.
func (p party) endSession(t *testing.T, pairs ...string) app.Response {
	t.Helper()
	return app.Get(t, p.step, p.tenant.Issuer+"/session/end?"+edit(url.Values{}, pairs...).Encode())
}

// confirm presses the button of the page that asks.
func (p party) confirm(t *testing.T, page app.Response) app.Response {
	t.Helper()
	action := formAction.FindStringSubmatch(page.Text)
	if page.StatusCode != http.StatusOK || action == nil || !strings.Contains(page.Text, `id="logout-confirm"`) {
		t.Fatalf("the page does not ask: %d to %q\n%s", page.StatusCode, page.Header.Get("Location"), page.Text)
	}
	form := url.Values{}
	for _, field := range hiddenField.FindAllStringSubmatch(page.Text, -1) {
		form.Set(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
	}
	return app.Post(t, p.step, html.UnescapeString(action[1]), form)
}

func TestLogout(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	signedIn := func(t *testing.T) (party, string) {
		t.Helper()
		p := newParty(t, a, a.Acme, a.Acme.Web)
		return p, p.tokens(t).text("id_token")
	}
	t.Run("with a hint it leads back to the application", func(t *testing.T) {
		p, hint := signedIn(t)
		page := p.endSession(t, "id_token_hint", hint, "post_logout_redirect_uri", after, "state", `s"<&`)
		p.answer(t, p.authorize(t, "prompt", "none")) // Asking has ended nothing.
		got := p.confirm(t, page)
		if want := after + "?state=" + url.QueryEscape(`s"<&`); got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != want {
			t.Errorf("%d to %q, want %q", got.StatusCode, got.Header.Get("Location"), want)
		}
		p.refused(t, "login_required", "prompt", "none")
		if again := p.endSession(t, "id_token_hint", hint, "post_logout_redirect_uri", after); again.Header.Get("Location") != after {
			t.Errorf("when nobody is signed in: %d to %q", again.StatusCode, again.Header.Get("Location"))
		}
	})
	t.Run("the cookie of an ended session is worth nothing", func(t *testing.T) {
		p, hint := signedIn(t)
		u, err := url.Parse(a.Acme.Issuer)
		if err != nil {
			t.Fatal(err)
		}
		kept := p.browser.Jar.Cookies(u)
		p.confirm(t, p.endSession(t, "id_token_hint", hint))
		p.browser.Jar.SetCookies(u, kept)
		p.refused(t, "login_required", "prompt", "none")
	})
	t.Run("by POST", func(t *testing.T) {
		p, hint := signedIn(t)
		form := url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {after}, "state": {"x"}}
		r := p.formRequest(t.Context(), "/session/end", form)
		r.Header.Set("Origin", "http://localhost:9008")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		hop := app.Do(t, p.direct, r)
		if hop.StatusCode != http.StatusSeeOther || !strings.HasPrefix(hop.Header.Get("Location"), a.Acme.Issuer+"/session/end?") {
			t.Fatalf("%d to %q", hop.StatusCode, hop.Header.Get("Location"))
		}
		if got := p.confirm(t, app.Get(t, p.step, hop.Header.Get("Location"))); got.Header.Get("Location") != after+"?state=x" {
			t.Errorf("%d to %q", got.StatusCode, got.Header.Get("Location"))
		}
	})
	for name, pairs := range map[string][]string{
		"no parameters": nil, "only state": {"state", "x"}, "only a client": {"client_id", a.Acme.Web.ID}, "unknown parameters": {"extra", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := signedIn(t)
			got := p.confirm(t, p.endSession(t, pairs...))
			if got.StatusCode != http.StatusOK || !strings.Contains(got.Text, `id="logged-out-title"`) {
				t.Errorf("%d to %q\n%s", got.StatusCode, got.Header.Get("Location"), got.Text)
			}
			p.refused(t, "login_required", "prompt", "none")
		})
	}
	t.Run("refused on a page", func(t *testing.T) {
		p, hint := signedIn(t)
		foreign := newParty(t, a, a.Globex, a.Globex.Web).tokens(t).text("id_token")
		parts := strings.Split(hint, ".")
		for name, pairs := range map[string][]string{
			"uri that is not registered":    {"id_token_hint", hint, "post_logout_redirect_uri", "https://evil.example/"},
			"uri with an added query":       {"id_token_hint", hint, "post_logout_redirect_uri", after + "?x=y"},
			"uri without its slash":         {"id_token_hint", hint, "post_logout_redirect_uri", "http://localhost:9008"},
			"a redirect_uri":                {"id_token_hint", hint, "post_logout_redirect_uri", app.Callback},
			"uri without a hint":            {"post_logout_redirect_uri", after},
			"unsigned hint":                 {"id_token_hint", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + parts[1] + ".", "post_logout_redirect_uri", after},
			"modified hint":                 {"id_token_hint", parts[0] + "." + parts[1] + "x." + parts[2], "post_logout_redirect_uri", after},
			"garbage hint":                  {"id_token_hint", "garbage", "post_logout_redirect_uri", after},
			"hint of another tenant":        {"id_token_hint", foreign, "post_logout_redirect_uri", after},
			"client_id of another client":   {"id_token_hint", hint, "client_id", a.Acme.SPA.ID, "post_logout_redirect_uri", after},
			"unknown client":                {"client_id", "nobody", "post_logout_redirect_uri", after},
			"client of another tenant":      {"client_id", a.Globex.Web.ID, "post_logout_redirect_uri", after},
			"script as uri":                 {"client_id", a.Acme.Web.ID, "post_logout_redirect_uri", "javascript:alert(1)"},
			"client_id that no client has":  {"client_id", "\x00"},
			"post_logout_redirect_uri, NUL": {"client_id", a.Acme.Web.ID, "post_logout_redirect_uri", after + "\x00"},
		} {
			got := p.endSession(t, pairs...)
			if got.StatusCode != http.StatusBadRequest || got.Header.Get("Location") != "" || !strings.Contains(got.Text, `id="error-title"`) {
				t.Errorf("%s: %d to %q", name, got.StatusCode, got.Header.Get("Location"))
			}
			confirm := app.Post(t, p.step, a.Acme.Issuer+"/session/end/confirm", edit(url.Values{}, pairs...))
			if confirm.StatusCode != http.StatusBadRequest || confirm.Header.Get("Location") != "" {
				t.Errorf("%s, confirmed: %d to %q", name, confirm.StatusCode, confirm.Header.Get("Location"))
			}
		}
		p.answer(t, p.authorize(t, "prompt", "none"))
	})
	t.Run("hints", func(t *testing.T) {
		p, hint := signedIn(t)
		keys, err := keyring.Open(t.Context(), a.Store, a.Vault, keyring.DefaultPolicy, a.Acme.ID)
		if err != nil {
			t.Fatal(err)
		}
		// signed is the hint with other claims, signed by the tenant itself.
		signed := func(pairs ...any) string {
			claims := claimsOf(t, hint)
			for i := 0; i < len(pairs); i += 2 {
				claims[pairs[i].(string)] = pairs[i+1] //nolint:forcetypeassert // Names come first.
			}
			token, err := keys.Sign(keyring.RS256, "JWT", mustJSON(t, claims))
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
		several := signed("aud", []string{"somebody", a.Acme.Web.ID})
		for name, tt := range map[string]struct {
			pairs []string
			asks  bool
		}{
			"expired long ago":                    {[]string{"id_token_hint", signed("iat", 1, "exp", 2)}, true},
			"of a session that is not this one":   {[]string{"id_token_hint", signed("sid", uuid.NewString())}, true},
			"of another person":                   {[]string{"id_token_hint", signed("sub", uuid.NewString())}, true},
			"of several clients, one of which":    {[]string{"id_token_hint", several, "client_id", a.Acme.Web.ID}, true},
			"logout_hint of anybody":              {[]string{"logout_hint", "somebody else", "client_id", a.Acme.Web.ID}, true},
			"of several clients, and none named":  {[]string{"id_token_hint", several}, false},
			"of several clients, and another one": {[]string{"id_token_hint", several, "client_id", a.Acme.SPA.ID}, false},
			"of nobody":                           {[]string{"id_token_hint", signed("aud", []string{})}, false},
			"of another issuer":                   {[]string{"id_token_hint", signed("iss", a.Globex.Issuer)}, false},
		} {
			got := p.endSession(t, append(tt.pairs, "post_logout_redirect_uri", after)...)
			if asks := strings.Contains(got.Text, `id="logout-confirm"`); asks != tt.asks || asks != (got.StatusCode == http.StatusOK) || got.Header.Get("Location") != "" {
				t.Errorf("%s: %d to %q", name, got.StatusCode, got.Header.Get("Location"))
			}
		}
		p.answer(t, p.authorize(t, "prompt", "none")) // Nothing has ended without a word.
		if got := p.endSession(t, "ui_locales", "xx de"); !strings.Contains(got.Text, `<html lang="de"`) {
			t.Errorf("ui_locales is not obeyed:\n%s", got.Text)
		}
		if got := p.endSession(t, "logout_hint", "a", "client_id", a.Acme.Web.ID); !strings.Contains(got.Text, `name="logout_hint" value="a"`) {
			t.Error("the hint does not survive the question")
		}
	})
	t.Run("where applications may not ask", func(t *testing.T) {
		closed := a.AddTenant(t, "closed")
		a.Configure(t, closed, "features", `{"oidc":{"rp_initiated_logout":{"enabled":false}}}`)
		p := newParty(t, a, closed, closed.Web)
		hint := p.tokens(t).text("id_token")
		if text := app.Get(t, p.direct, closed.Issuer+"/.well-known/openid-configuration").Text; strings.Contains(text, "end_session_endpoint") {
			t.Errorf("discovery says %s", text)
		}
		if got := p.endSession(t, "id_token_hint", "garbage", "post_logout_redirect_uri", "https://evil.example/"); strings.Contains(got.Text, "garbage") {
			t.Errorf("what an application sends means something:\n%s", got.Text)
		}
		got := p.confirm(t, p.endSession(t, "id_token_hint", hint, "post_logout_redirect_uri", after, "ui_locales", "de"))
		if got.StatusCode != http.StatusOK || !strings.Contains(got.Text, `id="logged-out-title"`) || !strings.Contains(got.Text, `<html lang="de"`) {
			t.Errorf("a person cannot sign out: %d to %q\n%s", got.StatusCode, got.Header.Get("Location"), got.Text)
		}
		p.refused(t, "login_required", "prompt", "none")
	})
	t.Run("what ends with the session and what does not", func(t *testing.T) {
		p, hint := signedIn(t)
		spa := p.as(a.Acme.SPA)
		online, browserApp, offline := p.tokens(t), spa.tokens(t), p.tokens(t, "scope", "openid offline_access")
		p.confirm(t, p.endSession(t, "id_token_hint", hint))
		if p.alive(t, online.text("access_token")) || p.alive(t, browserApp.text("access_token")) {
			t.Error("a token outlives its session")
		}
		expect(t, spa.refresh(t, browserApp.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
		if !p.alive(t, offline.text("access_token")) {
			t.Error("a token with offline_access died with the session")
		}
		expect(t, p.refresh(t, offline.text("refresh_token")), http.StatusOK, "")
	})
	t.Run("another site cannot sign anybody out", func(t *testing.T) {
		p, hint := signedIn(t)
		r := p.formRequest(t.Context(), "/session/end/confirm", url.Values{"id_token_hint": {hint}})
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Origin", "https://evil.example")
		if got := app.Do(t, p.step, r); got.StatusCode != http.StatusForbidden {
			t.Errorf("%d, want 403", got.StatusCode)
		}
		p.answer(t, p.authorize(t, "prompt", "none"))
	})
}
