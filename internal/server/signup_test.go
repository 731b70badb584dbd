package server_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parako/internal/session"
	"parako/internal/testkit/app"
)

// openDoors is the section security of a tenant where people may register.
const openDoors = `{"authentication":{"signup":{"enabled":true,"signup_methods":["email","username"]}}}`

// newcomer is a party of Acme, which lets people register; Globex does not.
func newcomer(t *testing.T, a *app.App) party {
	t.Helper()
	return newParty(t, a, a.Acme, webClient(t, a, a.Acme))
}

// account is the form of the registration page, with pairs laid over it.
func account(pairs ...string) url.Values {
	return edit(url.Values{"email": {"new@acme.example"}, "username": {""}, "name": {""}, "password": {app.Password}}, pairs...)
}

// passwordField is the element in which a person types a new password.
var passwordField = regexp.MustCompile(`<input id="password"[^>]*>`)

// people counts the accounts of a tenant.
func people(t *testing.T, a *app.App, tenant app.Tenant) int {
	t.Helper()
	return len(a.DB.Ask(t, tenant.ID, "SELECT id::text FROM parako.users"))
}

func TestSignup(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "security", openDoors)
	t.Run("makes an account, signs it in and goes on to the consent", func(t *testing.T) {
		p := newcomer(t, a)
		login := p.shows(t, "login-form", "scope", "openid profile email")
		register := login.Request.URL.String() + "/register"
		if !strings.Contains(login.Text, `id="login-register" href="`+register+`"`) {
			t.Fatalf("the login page has no link to %s:\n%s", register, login.Text)
		}
		form := app.Get(t, p.browser, register)
		if form.StatusCode != http.StatusOK || !strings.Contains(form.Text, `id="register-form"`) {
			t.Fatalf("no form: %d\n%s", form.StatusCode, form.Text)
		}
		consent := app.Post(t, p.browser, register, account("email", "Ann@acme.example", "name", "Ann Ames"))
		if !strings.Contains(consent.Text, `id="consent-form"`) || !strings.Contains(consent.Text, "Ann@acme.example") {
			t.Fatalf("no consent: %d\n%s", consent.StatusCode, consent.Text)
		}
		code := p.answer(t, app.Post(t, p.step, consent.Request.URL.String()+"/confirm", nil)).Get("code")
		tokens := p.redeem(t, code)
		expect(t, tokens, http.StatusOK, "")
		id := claimsOf(t, tokens.text("id_token"))
		if id["acr"] != session.ACRPassword || id["sub"] == a.Acme.User.ID.String() {
			t.Errorf("ID token = %v", id)
		}
		claims := p.userinfo(t, tokens.text("access_token")).body
		want := map[string]any{
			"sub": id["sub"], "email": "Ann@acme.example", "email_verified": false, "name": "Ann Ames", "preferred_username": id["sub"],
			"updated_at": claims["updated_at"],
		}
		if diff := cmp.Diff(want, claims); diff != "" {
			t.Errorf("claims mismatch (-want +got)\n%s", diff)
		}

		// The person is signed in, and comes back with the password from anywhere.
		if got := p.answer(t, p.authorize(t, "prompt", "none")); got.Get("code") == "" {
			t.Errorf("silently: %v", got)
		}
		elsewhere := newcomer(t, a)
		elsewhere.tenant.Email = "ann@ACME.example"
		if got := claimsOf(t, elsewhere.tokens(t).text("id_token"))["sub"]; got != id["sub"] {
			t.Errorf("sub = %v, want %v", got, id["sub"])
		}
	})
	t.Run("by username", func(t *testing.T) {
		p := newcomer(t, a)
		page := p.shows(t, "login-form")
		app.Post(t, p.browser, page.Request.URL.String()+"/register", account("email", "", "username", "Cy"))
		got := a.DB.Ask(t, a.Acme.ID, "SELECT concat_ws('|', username, email) FROM parako.users WHERE username_norm = 'cy'")
		if diff := cmp.Diff([]string{"Cy"}, got); diff != "" {
			t.Errorf("accounts mismatch (-want +got)\n%s", diff)
		}
	})
	t.Run("says what is wrong and keeps what was typed", func(t *testing.T) {
		p := newcomer(t, a)
		register := p.shows(t, "login-form").Request.URL.String() + "/register"
		for name, tt := range map[string]struct {
			pairs []string
			shown []string
		}{
			"everything": {
				[]string{"email", `not"<an> address`, "username", "a b", "password", "pass<wd", "name", "a\x07"},
				[]string{"email-error", "username-error", "password-error", "name-error", `value="not&#34;&lt;an&gt; address"`, `value="a b"`},
			},
			"no identifier":        {[]string{"email", ""}, []string{"register-error"}},
			"an empty form":        {[]string{"email", drop, "username", drop, "password", drop, "name", drop}, []string{"register-error", "password-error"}},
			"a short password":     {[]string{"password", "1234567"}, []string{"password-error", `value="new@acme.example"`}},
			"a long password":      {[]string{"password", strings.Repeat("p", 129)}, []string{"password-error"}},
			"an obvious password":  {[]string{"password", "New@Acme.Example"}, []string{"password-error"}},
			"the own name":         {[]string{"email", "", "username", "bo", "name", "Acme Rocket Works", "password", "acme rocket works"}, []string{"password-error", `value="bo"`}},
			"the id of an account": {[]string{"email", "", "username", a.Acme.User.ID.String()}, []string{"username-error"}},
		} {
			t.Run(name, func(t *testing.T) {
				resp := app.Post(t, p.step, register, account(tt.pairs...))
				if resp.StatusCode != http.StatusBadRequest {
					t.Errorf("status %d, want 400", resp.StatusCode)
				}
				for _, want := range tt.shown {
					if !strings.Contains(resp.Text, want) {
						t.Errorf("the page is without %s:\n%s", want, resp.Text)
					}
				}
				if field := passwordField.FindString(resp.Text); field == "" || strings.Contains(field, "value=") {
					t.Errorf("the password came back: %s", field)
				}
			})
		}
	})
	t.Run("refuses every taken identifier in the same words", func(t *testing.T) {
		p := newcomer(t, a)
		register := p.shows(t, "login-form").Request.URL.String() + "/register"
		before := people(t, a, a.Globex)
		var words []string
		for _, pairs := range [][]string{{"email", strings.ToUpper(a.Acme.Email)}, {"username", "Person"}} {
			resp := app.Post(t, p.step, register, account(pairs...))
			if resp.StatusCode != http.StatusConflict || len(resp.Cookies()) > 0 {
				t.Errorf("%q: %d %v", pairs, resp.StatusCode, resp.Cookies())
			}
			if strings.Contains(resp.Text, `class="fault"`) {
				t.Errorf("%q: the page points at a field:\n%s", pairs, resp.Text)
			}
			_, rest, _ := strings.Cut(resp.Text, `id="register-error"`)
			alert, _, _ := strings.Cut(rest, "</p>")
			words = append(words, alert)
		}
		if words[0] == "" || words[0] != words[1] {
			t.Errorf("the words differ: %q", words)
		}
		// The interaction waits on.
		if resp := app.Get(t, p.browser, register); resp.StatusCode != http.StatusOK {
			t.Errorf("the form afterwards: %d", resp.StatusCode)
		}
		if after := people(t, a, a.Globex); after != before {
			t.Errorf("another tenant has %d people, had %d", after, before)
		}
	})
	t.Run("is for the browser that began, and for a request that waits", func(t *testing.T) {
		p := newcomer(t, a)
		page := p.shows(t, "login-form").Request.URL.String()
		thief := newcomer(t, a)
		if resp := app.Post(t, thief.step, page+"/register", account("email", "thief@acme.example")); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("from another browser: %d", resp.StatusCode)
		}
		if resp := app.Get(t, thief.step, page+"/register"); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("the form in another browser: %d", resp.StatusCode)
		}
		p.answer(t, app.Post(t, p.step, page+"/abort", nil))
		if resp := app.Post(t, p.step, page+"/register", account("email", "thief@acme.example")); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("after the answer: %d", resp.StatusCode)
		}
		if got := a.DB.Ask(t, a.Acme.ID, "SELECT username FROM parako.users WHERE email_norm = 'thief@acme.example'"); len(got) > 0 {
			t.Error("an account was made")
		}
	})
	t.Run("is over once somebody is signed in", func(t *testing.T) {
		p := newcomer(t, a)
		p.code(t, "scope", "openid")
		page := p.shows(t, "consent-form", "prompt", "consent").Request.URL.String()
		for _, resp := range []app.Response{
			app.Get(t, p.step, page+"/register"), app.Get(t, p.step, page+"/login"), app.Post(t, p.step, page+"/register", account("email", "late@acme.example")),
		} {
			if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != page {
				t.Errorf("%s %s: %d to %q", resp.Request.Method, resp.Request.URL, resp.StatusCode, resp.Header.Get("Location"))
			}
		}
		if got := a.DB.Ask(t, a.Acme.ID, "SELECT username FROM parako.users WHERE email_norm = 'late@acme.example'"); len(got) > 0 {
			t.Error("an account was made")
		}
	})
	t.Run("is not there for a request about a certain person", func(t *testing.T) {
		p := newcomer(t, a)
		hint := p.tokens(t).text("id_token")
		page := p.shows(t, "login-form", "prompt", "login", "id_token_hint", hint)
		if strings.Contains(page.Text, "login-register") {
			t.Errorf("the login page has the link:\n%s", page.Text)
		}
		if resp := app.Get(t, p.step, page.Request.URL.String()+"/register"); resp.StatusCode != http.StatusNotFound {
			t.Errorf("the form: %d", resp.StatusCode)
		}
		p.refused(t, "invalid_request", "prompt", "create", "id_token_hint", hint)
	})
	t.Run("does not exist at a tenant that does not offer it", func(t *testing.T) {
		p := newParty(t, a, a.Globex, a.Globex.Web)
		page := p.shows(t, "login-form")
		if strings.Contains(page.Text, "login-register") {
			t.Errorf("the login page has the link:\n%s", page.Text)
		}
		register := page.Request.URL.String() + "/register"
		for _, resp := range []app.Response{app.Get(t, p.step, register), app.Post(t, p.step, register, account())} {
			if resp.StatusCode != http.StatusNotFound {
				t.Errorf("%s: %d, want 404", resp.Request.Method, resp.StatusCode)
			}
		}
		if got := people(t, a, a.Globex); got != 1 {
			t.Errorf("%d people, want the one there was", got)
		}
		p.refused(t, "invalid_request", "prompt", "create")
	})
}

// TestRegistrationsAreThrottled tries taken identifiers until there is an end of answers, from one address.
func TestRegistrationsAreThrottled(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "security", openDoors)
	p := newcomer(t, a)
	register := p.shows(t, "login-form").Request.URL.String() + "/register"
	const limit = 30            // three, times the slack of development
	a.Redis.SetTime(time.Now()) // No attempt returns.
	refused := 0
	var last app.Response
	for {
		if last = app.Post(t, p.step, register, account("email", a.Acme.Email)); last.StatusCode != http.StatusConflict {
			break
		}
		if refused++; refused > 2*limit { // Tries return with time, one every two minutes.
			t.Fatalf("%d refusals and no end", refused)
		}
	}
	if last.StatusCode != http.StatusTooManyRequests || last.Header.Get("Retry-After") == "" || refused < limit {
		t.Errorf("after %d refusals: %d, Retry-After %q", refused, last.StatusCode, last.Header.Get("Retry-After"))
	}
	if resp := app.Post(t, p.step, register, account("email", "free@acme.example")); resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a free address is told apart: %d", resp.StatusCode)
	}
	if p.code(t) == "" {
		t.Error("nobody can sign in any more")
	}
}

// TestPromptCreate holds the server to Initiating User Registration via OpenID Connect 1.0.
func TestPromptCreate(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "security", openDoors)
	a.Configure(t, a.Acme, "features", `{"oidc":{"claims_parameter":{"enabled":true}}}`)
	t.Run("is in the metadata where it works", func(t *testing.T) {
		for tenant, want := range map[*app.Tenant]bool{&a.Acme: true, &a.Globex: false} {
			p := newParty(t, a, *tenant, tenant.Web)
			resp := app.Get(t, p.direct, tenant.Issuer+"/.well-known/openid-configuration")
			_, rest, _ := strings.Cut(resp.Text, `"prompt_values_supported":[`)
			values, _, _ := strings.Cut(rest, "]")
			if got := slices.Contains(strings.Split(values, ","), `"create"`); got != want || values == "" {
				t.Errorf("%s: prompt_values_supported = %s", tenant.Slug, values)
			}
		}
	})
	t.Run("leads to the registration first", func(t *testing.T) {
		p := newcomer(t, a)
		page := p.shows(t, "register-form", "prompt", "create")
		interaction, found := strings.CutSuffix(page.Request.URL.String(), "/register")
		if !found {
			t.Fatalf("the form is at %s", page.Request.URL)
		}
		if !strings.Contains(page.Text, `id="register-login" href="`+interaction+`/login"`) {
			t.Errorf("no way to the login:\n%s", page.Text)
		}
		next := app.Post(t, p.browser, page.Request.URL.String(), account("email", "first@acme.example"))
		if !strings.Contains(next.Text, `id="consent-form"`) {
			t.Errorf("no consent: %d\n%s", next.StatusCode, next.Text)
		}
	})
	t.Run("lets who has an account sign in", func(t *testing.T) {
		p := newcomer(t, a)
		interaction := strings.TrimSuffix(p.shows(t, "register-form", "prompt", "create").Request.URL.String(), "/register")
		if login := app.Get(t, p.browser, interaction+"/login"); !strings.Contains(login.Text, `id="login-form"`) {
			t.Fatalf("no login: %d\n%s", login.StatusCode, login.Text)
		}
		next := app.Post(t, p.browser, interaction+"/login", url.Values{"identifier": {a.Acme.Email}, "password": {app.Password}})
		if !strings.Contains(next.Text, `id="consent-form"`) {
			t.Errorf("no consent: %d\n%s", next.StatusCode, next.Text)
		}
	})
	t.Run("makes a new account when somebody is signed in", func(t *testing.T) {
		p := newcomer(t, a)
		before := claimsOf(t, p.tokens(t).text("id_token"))
		page := p.shows(t, "register-form", "prompt", "create")
		next := app.Post(t, p.browser, page.Request.URL.String(), account("email", "second@acme.example"))
		code := p.answer(t, app.Post(t, p.step, next.Request.URL.String()+"/confirm", nil)).Get("code")
		after := claimsOf(t, p.redeem(t, code).text("id_token"))
		if after["sub"] == before["sub"] || after["sid"] == before["sid"] {
			t.Errorf("the ID tokens are of %v and %v", before, after)
		}
		live := a.DB.Ask(t, a.Acme.ID, "SELECT id::text FROM parako.sessions WHERE ended_at IS NULL")
		if first, _ := before["sid"].(string); slices.Contains(live, first) {
			t.Error("the browser's first session goes on, and nobody holds it")
		}
	})
	t.Run("an unanswered registration is not done by a login elsewhere", func(t *testing.T) {
		p := newcomer(t, a)
		page := p.shows(t, "register-form", "prompt", "create")
		p.code(t)
		if again := app.Get(t, p.browser, page.Request.URL.String()); !strings.Contains(again.Text, `id="register-form"`) {
			t.Errorf("the page is gone: %d", again.StatusCode)
		}
	})
	t.Run("with other values", func(t *testing.T) {
		for i, prompt := range []string{"create login", "login create", "create consent", "create select_account"} {
			p := newcomer(t, a)
			page := p.shows(t, "register-form", "prompt", prompt)
			next := app.Post(t, p.browser, page.Request.URL.String(), account("email", "with"+strconv.Itoa(i)+"@acme.example"))
			if !strings.Contains(next.Text, `id="consent-form"`) {
				t.Errorf("%s: no consent: %d\n%s", prompt, next.StatusCode, next.Text)
			}
		}
		p := newcomer(t, a)
		for _, prompt := range []string{"none create", "create none", "Create", "create x"} {
			p.refused(t, "invalid_request", "prompt", prompt)
		}
		p.refused(t, "invalid_request", "prompt", "create", "claims", `{"id_token":{"sub":{"value":"`+a.Acme.User.ID.String()+`"}}}`)
	})
	t.Run("the page follows the request", func(t *testing.T) {
		p := newcomer(t, a)
		for hint, want := range map[string]string{
			`new"@acme.example`: `name="email" value="new&#34;@acme.example"`, "newbie": `name="username" value="newbie"`,
		} {
			if page := p.shows(t, "register-form", "prompt", "create", "login_hint", hint, "ui_locales", "xx de"); !strings.Contains(page.Text, want) ||
				!strings.Contains(page.Text, `<html lang="de"`) {
				t.Errorf("%s is not in the form, or it is not in German:\n%s", want, page.Text)
			}
		}
	})
}
