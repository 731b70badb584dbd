package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/oidc"
	"parako/internal/session"
	"parako/internal/testkit/app"
)

// age moves the proof behind an ID token's session into the past.
func (p party) age(t *testing.T, idToken, interval string) {
	t.Helper()
	p.Superuser(t, "UPDATE parako.sessions SET auth_time = auth_time - $1::interval WHERE id = $2::uuid", interval, claimsOf(t, idToken)["sid"])
}

func authTime(t *testing.T, idToken string) float64 {
	t.Helper()
	at, _ := claimsOf(t, idToken)["auth_time"].(float64)
	if at == 0 {
		t.Errorf("no auth_time in %v", claimsOf(t, idToken))
	}
	return at
}

func TestPrompt(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	t.Run("none, nobody signed in", func(t *testing.T) {
		newParty(t, a, a.Acme, a.Acme.Web).refused(t, "login_required", "prompt", "none")
	})
	t.Run("none, signed in and consented", func(t *testing.T) {
		p := newParty(t, a, a.Acme, a.Acme.Web)
		first := claimsOf(t, p.tokens(t).text("id_token"))
		silent := p.answer(t, p.authorize(t, "prompt", "none"))
		second := claimsOf(t, p.redeem(t, silent.Get("code")).text("id_token"))
		for _, claim := range []string{"sub", "auth_time", "sid", "acr"} {
			if diff := cmp.Diff(first[claim], second[claim]); diff != "" {
				t.Errorf("%s mismatch (-first +silent)\n%s", claim, diff)
			}
		}
	})
	t.Run("none, signed in without consent", func(t *testing.T) {
		p := newParty(t, a, a.Acme, a.Acme.Web)
		p.code(t)
		stranger := p.as(webClient(t, a, a.Acme))
		stranger.refused(t, "consent_required", "prompt", "none")
		stranger.code(t)
		stranger.answer(t, stranger.authorize(t, "prompt", "none"))
		stranger.refused(t, "consent_required", "prompt", "none", "scope", "openid email")
	})
	t.Run("login asks again and moves auth_time", func(t *testing.T) {
		p := newParty(t, a, a.Acme, a.Acme.Web)
		before := p.tokens(t).text("id_token")
		p.age(t, before, "100 seconds")
		p.shows(t, "login-form", "prompt", "login")
		after := p.tokens(t, "prompt", "login").text("id_token")
		if authTime(t, after) < authTime(t, before) {
			t.Errorf("auth_time went from %v to %v", authTime(t, before), authTime(t, after))
		}
		if claimsOf(t, before)["sid"] != claimsOf(t, after)["sid"] {
			t.Error("the session of the same person was not kept")
		}
	})
	t.Run("an unanswered login is not done by another", func(t *testing.T) {
		p := newParty(t, a, a.Acme, a.Acme.Web)
		p.code(t)
		waiting := p.shows(t, "login-form", "prompt", "login")
		p.code(t)
		if page := app.Get(t, p.browser, waiting.Request.URL.String()); !strings.Contains(page.Text, `id="login-form"`) {
			t.Errorf("a login elsewhere answered prompt=login: %d %s", page.StatusCode, page.Header.Get("Location"))
		}
	})
	t.Run("consent asks again", func(t *testing.T) {
		p := newParty(t, a, a.Acme, a.Acme.Web)
		p.code(t)
		p.shows(t, "consent-form", "prompt", "consent")
		p.code(t, "prompt", "consent")
	})
	t.Run("select_account lets another sign in", func(t *testing.T) {
		p := newParty(t, a, a.Acme, a.Acme.Web)
		p.code(t)
		choice := p.shows(t, "select-form", "prompt", "select_account")
		page := app.Post(t, p.browser, choice.Request.URL.String()+"/switch", nil)
		if !strings.Contains(page.Text, `id="login-form"`) {
			t.Errorf("no login after the switch: %d\n%s", page.StatusCode, page.Text)
		}
	})
	t.Run("select_account goes on when it is said so", func(t *testing.T) {
		p := newParty(t, a, a.Acme, a.Acme.Web)
		p.code(t)
		p.refused(t, "invalid_request", "prompt", "none select_account")
		choice := p.shows(t, "select-form", "prompt", "select_account")
		next := app.Post(t, p.step, choice.Request.URL.String()+"/select", nil)
		if got := p.answer(t, app.Get(t, p.step, next.Header.Get("Location"))); got.Get("code") == "" {
			t.Errorf("no code after the choice: %v", got)
		}
	})
	t.Run("select_account asks nobody for a login alone", func(t *testing.T) {
		newParty(t, a, a.Acme, a.Acme.Web).shows(t, "login-form", "prompt", "select_account")
	})
	t.Run("login consent asks for both", func(t *testing.T) {
		p := newParty(t, a, a.Acme, a.Acme.Web)
		p.code(t)
		login := p.shows(t, "login-form", "prompt", "login consent")
		page := app.Post(t, p.browser, login.Request.URL.String()+"/login", url.Values{"identifier": {a.Acme.Email}, "password": {app.Password}})
		if !strings.Contains(page.Text, `id="consent-form"`) {
			t.Errorf("no consent after the login: %d\n%s", page.StatusCode, page.Text)
		}
	})
	t.Run("refused", func(t *testing.T) {
		p := newParty(t, a, a.Acme, a.Acme.Web)
		for _, prompt := range []string{"none login", "login none", "create", "None", "login\tconsent x"} {
			p.refused(t, "invalid_request", "prompt", prompt)
		}
	})
}

func TestMaxAge(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	first := p.tokens(t).text("id_token")
	p.age(t, first, "2 seconds")
	if second := p.redeem(t, p.answer(t, p.authorize(t, "max_age", "10000")).Get("code")).text("id_token"); authTime(t, second) != authTime(t, first)-2 {
		t.Errorf("auth_time = %v within max_age, want %v", authTime(t, second), authTime(t, first)-2)
	}
	p.refused(t, "login_required", "max_age", "1", "prompt", "none")
	p.shows(t, "login-form", "max_age", "1")
	p.shows(t, "login-form", "max_age", "0")
	for _, wrong := range []string{"-1", "1.5", "soon", "99999999999999999999", " 1"} {
		p.refused(t, "invalid_request", "max_age", wrong)
	}

	strict := p.as(webClient(t, a, a.Acme))
	a.Superuser(t, "UPDATE parako.clients SET default_max_age = 1 WHERE id = $1", strict.client.ID)
	strict.shows(t, "login-form")
	strict.shows(t, "consent-form", "max_age", "10000") // The request's own wins.

	again := p.tokens(t, "max_age", "1").text("id_token")
	if authTime(t, again) < authTime(t, first) {
		t.Errorf("auth_time went from %v to %v", authTime(t, first), authTime(t, again))
	}
	zero := p.tokens(t, "max_age", "0").text("id_token")
	authTime(t, zero)

	// A proof that another clock saw in the future is none for max_age=0, which is prompt=login.
	p.age(t, zero, "-1 hour")
	p.refused(t, "login_required", "max_age", "0", "prompt", "none")
	p.shows(t, "login-form", "max_age", "0")
	if got := p.answer(t, p.authorize(t, "max_age", "1")); got.Get("code") == "" {
		t.Errorf("max_age=1 with a proof from the future: %v", got)
	}
}

// TestVoluntaryParameters of OpenID Connect Core section 3.1.2.1: what cannot be done as asked is done as it can be, and the
// answer says what was.
func TestVoluntaryParameters(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	for _, pairs := range [][]string{
		{"acr_values", "urn:mace:incommon:iap:silver urn:x"},
		{"acr_values", session.ACRPassword + " urn:x"},
		{"acr_values", ""},
		{"display", "wap", "claims_locales", "de fr-CA", "ui_locales", "tlh"},
		{"display", "hologram", "claims_locales", "not a language!", "ui_locales", "???", "login_hint", "nobody@globex.example"},
	} {
		tokens := p.tokens(t, append(pairs, "scope", "openid profile")...)
		id := claimsOf(t, tokens.text("id_token"))
		if id["acr"] != session.ACRPassword || id["sub"] != a.Acme.User.ID.String() {
			t.Errorf("%q: acr %v of %v, want %s", pairs, id["acr"], id["sub"], session.ACRPassword)
		}
		if name := p.userinfo(t, tokens.text("access_token")).body["name"]; name != "Pat Person" {
			t.Errorf("%q: name = %v", pairs, name)
		}
	}
}

func TestLoginPageFollowsTheRequest(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	if page := p.shows(t, "login-form", "login_hint", `pat"<b>@acme.example`); !strings.Contains(page.Text, `value="pat&#34;&lt;b&gt;@acme.example"`) {
		t.Errorf("login_hint is not in the form:\n%s", page.Text)
	}
	for uiLocales, want := range map[string]string{"de": "de", "xx fr": "fr", "": "en", "tlh": "en", "de-AT en": "de"} {
		if page := p.shows(t, "login-form", "ui_locales", uiLocales); !strings.Contains(page.Text, `<html lang="`+want+`"`) {
			t.Errorf("ui_locales %q: no page in %s:\n%.200s", uiLocales, want, page.Text)
		}
	}
	for _, display := range []string{"page", "popup", "touch", "wap"} {
		p.shows(t, "login-form", "display", display, "claims_locales", "de", "acr_values", "urn:x", "claims", `{"userinfo":{"email":{"essential":true}}}`)
	}
}

func TestIDTokenHint(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	mine := p.tokens(t).text("id_token")
	foreign := newParty(t, a, a.Globex, a.Globex.Web).tokens(t).text("id_token")
	another := p.as(a.Acme.SPA).tokens(t).text("id_token")
	access := p.as(a.Acme.M2M).post(t, "/token", "grant_type", "client_credentials", "resource", "urn:test:api").text("access_token")
	if got := p.answer(t, p.authorize(t, "prompt", "none", "id_token_hint", mine)); got.Get("code") == "" {
		t.Errorf("hint of the person who is signed in: %v", got)
	}
	parts := strings.Split(mine, ".")
	for name, hint := range map[string]string{
		"garbage": "garbage", "of another tenant": foreign, "of another client": another, "an access token": access,
		"with a broken signature": parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"unsigned":                "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + parts[1] + ".",
	} {
		t.Run(name, func(t *testing.T) {
			p.refused(t, "invalid_request", "prompt", "none", "id_token_hint", hint)
			p.refused(t, "invalid_request", "id_token_hint", hint)
		})
	}

	// Somebody else signs in: the client must not take them for the person of its hint.
	a.Superuser(t, `INSERT INTO parako.users (tenant_id, id, username, username_norm, roles)
		SELECT tenant_id, gen_random_uuid(), 'other', 'other', roles FROM parako.users WHERE id = $1`, a.Acme.User.ID)
	a.Superuser(t, `INSERT INTO parako.user_passwords (tenant_id, id, user_id, hash)
		SELECT p.tenant_id, gen_random_uuid(), u.id, p.hash FROM parako.user_passwords AS p, parako.users AS u
		 WHERE p.user_id = $1 AND u.username = 'other' AND u.tenant_id = p.tenant_id`, a.Acme.User.ID)
	other := newParty(t, a, a.Acme, a.Acme.Web)
	other.tenant.Email = "other"
	other.code(t)
	other.refused(t, "login_required", "prompt", "none", "id_token_hint", mine)
	other.shows(t, "login-form", "id_token_hint", mine)
	if got := other.signIn(t, "id_token_hint", mine); got.Get("error") != "login_required" || got.Has("code") {
		t.Errorf("another person than the hint's signed in: %v", got)
	}
}

func TestAuthorizeRefusals(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	p.code(t) // A refusal must not depend on somebody being signed in.
	for name, tt := range map[string]struct {
		code  string
		pairs []string
	}{
		"no response_type":           {"unsupported_response_type", []string{"response_type", drop}},
		"response_type token":        {"unsupported_response_type", []string{"response_type", "token"}},
		"response_type id_token":     {"unsupported_response_type", []string{"response_type", "id_token"}},
		"response_type hybrid":       {"unsupported_response_type", []string{"response_type", "code id_token token"}},
		"response_type unknown":      {"unsupported_response_type", []string{"response_type", "Code"}},
		"no challenge":               {"invalid_request", []string{"code_challenge", drop}},
		"empty challenge":            {"invalid_request", []string{"code_challenge", ""}},
		"short challenge":            {"invalid_request", []string{"code_challenge", "short"}},
		"long challenge":             {"invalid_request", []string{"code_challenge", strings.Repeat("a", 44)}},
		"challenge not base64url":    {"invalid_request", []string{"code_challenge", strings.Repeat("+", 43)}},
		"plain":                      {"invalid_request", []string{"code_challenge_method", "plain"}},
		"no challenge method":        {"invalid_request", []string{"code_challenge_method", drop}},
		"challenge method unknown":   {"invalid_request", []string{"code_challenge_method", "s256"}},
		"unsigned request object":    {"invalid_request_object", []string{"request", "eyJhbGciOiJub25lIn0.e30."}},
		"request_uri":                {"request_uri_not_supported", []string{"request_uri", "https://rp.example/r"}},
		"pushed request_uri":         {"invalid_request_uri", []string{"request_uri", "urn:ietf:params:oauth:request_uri:x"}},
		"registration":               {"registration_not_supported", []string{"registration", "{}"}},
		"unknown scope":              {"invalid_scope", []string{"scope", "openid everything"}},
		"scope by wildcard":          {"invalid_scope", []string{"scope", "openid *"}},
		"response_mode jwt":          {"invalid_request", []string{"response_mode", "jwt"}},
		"response_mode unknown":      {"invalid_request", []string{"response_mode", "web_message"}},
		"resource that is not known": {"invalid_target", []string{"resource", "urn:not:known"}},
		"NUL in nonce":               {"invalid_request", []string{"nonce", "a\x00b"}},
		"invalid UTF-8":              {"invalid_request", []string{"login_hint", "\xff"}},
	} {
		t.Run(name, func(t *testing.T) {
			p.refused(t, tt.code, tt.pairs...)
			newParty(t, a, a.Acme, a.Acme.Web).refused(t, tt.code, tt.pairs...)
		})
	}
	m2m := register(t, a, a.Acme, oidc.NewClient{ID: "machine", Preset: oidc.PresetM2M, ClientMetadata: oidc.ClientMetadata{Name: "Machine", RedirectURIs: []string{app.Callback}}})
	t.Run("client without the code flow", func(t *testing.T) {
		p.as(m2m).refused(t, "unsupported_response_type", "scope", drop)
	})
}

func TestAuthorizeVariants(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	p.code(t)
	silent := func(t *testing.T, pairs ...string) url.Values {
		t.Helper()
		got := p.answer(t, p.authorize(t, pairs...))
		if got.Get("code") == "" {
			t.Errorf("%q: %v", pairs, got)
		}
		return got
	}
	t.Run("no state", func(t *testing.T) {
		for _, pairs := range [][]string{{"state", drop}, {"state", ""}} {
			if got := silent(t, pairs...); got.Has("state") {
				t.Errorf("state %q came from nowhere", got.Get("state"))
			}
		}
		if got := p.answer(t, p.authorize(t, "state", drop, "scope", "no")); got.Has("state") || got.Get("error") != "invalid_scope" {
			t.Errorf("error without state: %v", got)
		}
	})
	t.Run("a parameter without a value is none", func(t *testing.T) {
		silent(t, "registration", "", "request", "", "request_uri", "", "max_age", "", "prompt", "", "resource", "", "claims", "", "response_mode", "", "dpop_jkt", "")
	})
	t.Run("state is returned as it came", func(t *testing.T) {
		for _, state := range []string{"x", "a b+c&d=e#f%20é✓", strings.Repeat("s", 4000)} {
			if got := silent(t, "state", state); got.Get("state") != state {
				t.Errorf("state = %q, want %q", got.Get("state"), state)
			}
		}
	})
	t.Run("no nonce, short nonce, long nonce", func(t *testing.T) {
		for want, nonce := range map[string]string{"": drop, "n": "n", strings.Repeat("n", 500): strings.Repeat("n", 500)} {
			id := claimsOf(t, p.redeem(t, silent(t, "nonce", nonce).Get("code")).text("id_token"))
			if got, _ := id["nonce"].(string); got != want {
				t.Errorf("nonce = %q, want %q", got, want)
			}
		}
	})
	t.Run("unknown parameters are ignored", func(t *testing.T) {
		silent(t, "extra", "1", "audience", "urn:x", "scope", "openid")
		silent(t, "display", "popup", "acr_values", "urn:1 urn:2", "claims", "{")
	})
	t.Run("response_mode", func(t *testing.T) {
		for mode, glue := range map[string]string{"query": "?", "fragment": "#", drop: "?", "": "?"} {
			resp := p.authorize(t, "response_mode", mode)
			if !strings.HasPrefix(resp.Header.Get("Location"), app.Callback+glue) || p.answer(t, resp).Get("code") == "" {
				t.Errorf("response_mode %q leads to %s", mode, resp.Header.Get("Location"))
			}
		}
		if resp := p.authorize(t, "response_mode", "fragment", "scope", "no"); !strings.HasPrefix(resp.Header.Get("Location"), app.Callback+"#") {
			t.Errorf("an error with response_mode=fragment leads to %s", resp.Header.Get("Location"))
		}
	})
	t.Run("POST", func(t *testing.T) {
		for _, tt := range []party{p, newParty(t, a, a.Acme, a.Acme.Web)} {
			resp := app.Post(t, tt.step, tt.tenant.Issuer+"/authorize", tt.request())
			want := tt.authorizeURL()
			if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != want {
				t.Fatalf("POST: %d to %s, want 303 to %s", resp.StatusCode, resp.Header.Get("Location"), want)
			}
			if got := tt.read(t, a.SignIn(t, tt.browser, want, a.Acme.Email, app.Password).String()); got.Get("code") == "" {
				t.Errorf("POST ends in %v", got)
			}
		}
	})
	t.Run("order of scopes does not matter", func(t *testing.T) {
		other := newParty(t, a, a.Acme, a.Acme.SPA)
		if got := other.tokens(t, "scope", "email openid"); got.text("id_token") == "" || got.text("scope") != "email openid" {
			t.Errorf("token response: %s", got.Text)
		}
	})
	t.Run("loopback redirect with any port", func(t *testing.T) {
		const uri = "http://127.0.0.1:51004/callback"
		resp := p.authorize(t, "redirect_uri", uri)
		if !strings.HasPrefix(resp.Header.Get("Location"), uri+"?") {
			t.Fatalf("%d to %q", resp.StatusCode, resp.Header.Get("Location"))
		}
		code := p.read(t, resp.Header.Get("Location")).Get("code")
		expect(t, p.redeem(t, code, "redirect_uri", "http://127.0.0.1:51005/callback"), http.StatusBadRequest, "invalid_grant")
		expect(t, p.redeem(t, code, "redirect_uri", uri), http.StatusOK, "")
	})
	t.Run("the only redirect_uri may be left out without openid", func(t *testing.T) {
		own := p.as(webClient(t, a, a.Acme))
		if resp := own.authorize(t, "redirect_uri", drop); resp.StatusCode != http.StatusBadRequest || resp.Header.Get("Location") != "" {
			t.Errorf("with openid: %d to %q", resp.StatusCode, resp.Header.Get("Location"))
		}
		if resp := p.authorize(t, "redirect_uri", drop, "scope", "profile"); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("with two registered: %d to %q", resp.StatusCode, resp.Header.Get("Location"))
		}
		code := own.code(t, "redirect_uri", drop, "scope", "profile")
		got := own.redeem(t, code, "redirect_uri", drop)
		expect(t, got, http.StatusOK, "")
		if got.text("id_token") != "" {
			t.Error("an ID token without openid")
		}
	})
	t.Run("codes cannot be guessed", func(t *testing.T) {
		seen := map[string]bool{}
		for range 20 {
			code := silent(t).Get("code")
			random, _, _ := strings.Cut(strings.TrimPrefix(code, "parako_ac_"), ".")
			if len(random) < 43 { // 256 bits
				t.Errorf("code %q has too little in it", code)
			}
			seen[random] = true
		}
		if len(seen) != 20 {
			t.Errorf("%d different codes of 20", len(seen))
		}
	})
}

func TestRefusingAndCancelling(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	refuse := func(t *testing.T, page app.Response) {
		t.Helper()
		action := page.Request.URL.String() + "/abort"
		got := p.answer(t, app.Post(t, p.step, action, nil))
		if got.Get("error") != "access_denied" || got.Get("state") != "the-state" {
			t.Errorf("abort: %v", got)
		}
		if again := app.Post(t, p.step, action, nil); again.StatusCode != http.StatusBadRequest || again.Header.Get("Location") != "" {
			t.Errorf("aborting twice: %d to %q", again.StatusCode, again.Header.Get("Location"))
		}
		if late := app.Get(t, p.step, page.Request.URL.String()); late.StatusCode != http.StatusBadRequest {
			t.Errorf("an answered interaction: %d", late.StatusCode)
		}
	}
	refuse(t, p.shows(t, "login-form"))
	p.code(t)
	refuse(t, p.as(webClient(t, a, a.Acme)).shows(t, "consent-form"))

	// What changed at the client since the request began counts.
	own := p.as(webClient(t, a, a.Acme))
	waiting := own.shows(t, "consent-form", "scope", "openid email")
	a.Superuser(t, "UPDATE parako.clients SET scope = 'openid' WHERE id = $1", own.client.ID)
	if resp := app.Post(t, p.step, waiting.Request.URL.String()+"/confirm", nil); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a scope the client has lost: %d to %q", resp.StatusCode, resp.Header.Get("Location"))
	}
	waiting = own.shows(t, "consent-form")
	a.Superuser(t, "UPDATE parako.clients SET active = false WHERE id = $1", own.client.ID)
	if resp := app.Post(t, p.step, waiting.Request.URL.String()+"/confirm", nil); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a client that was switched off: %d to %q", resp.StatusCode, resp.Header.Get("Location"))
	}
}
