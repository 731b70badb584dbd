package server_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"parako/internal/testkit/app"
)

// stateCookie is the value and the attributes of the cookie that scripts compare; empty when the answer does not set it.
func stateCookie(t *testing.T, resp app.Response) (value, attributes string) {
	t.Helper()
	for _, line := range resp.Header.Values("Set-Cookie") {
		if rest, ok := strings.CutPrefix(line, "browser_state="); ok {
			value, attributes, _ = strings.Cut(rest, "; ")
		}
	}
	return value, attributes
}

// stateFor computes session_state as the specification does (OpenID Connect Session Management section 3.2).
func stateFor(clientID, origin, browserState, sessionState string) string {
	_, salt, _ := strings.Cut(sessionState, ".")
	sum := sha256.Sum256([]byte(clientID + " " + origin + " " + browserState + " " + salt))
	return base64.RawURLEncoding.EncodeToString(sum[:]) + "." + salt
}

func TestSessionState(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{"session_management":{"enabled":true},"jwt_response_modes":{"enabled":true},"hybrid_flow":{"enabled":true},"implicit_flow":{"enabled":true}}}`)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	page := p.shows(t, "login-form")
	login := app.Post(t, p.step, page.Request.URL.String()+"/login", url.Values{"identifier": {a.Acme.Email}, "password": {app.Password}})
	browserState, attributes := stateCookie(t, login)
	if browserState == "" || !strings.Contains(attributes, "Path=/; Max-Age=86400; Secure; SameSite=None") || strings.Contains(attributes, "HttpOnly") || strings.Contains(attributes, "Domain") {
		t.Errorf("the login sets %q with %q", browserState, attributes)
	}
	p.code(t)
	seen := map[string]bool{}
	for _, pairs := range [][]string{
		nil, {"response_mode", "fragment"}, {"response_mode", "form_post"}, {"response_mode", "jwt"}, {"response_type", "none"},
	} {
		resp := p.authorize(t, append(pairs, "prompt", "none")...)
		var got url.Values
		if strings.Contains(resp.Text, `id="answer-form"`) {
			_, got = app.AnswerForm(t, resp.Text)
		} else {
			u, err := url.Parse(resp.Header.Get("Location"))
			if err != nil {
				t.Fatal(err)
			}
			if got = u.Query(); u.Fragment != "" {
				if got, err = url.ParseQuery(u.EscapedFragment()); err != nil {
					t.Fatal(err)
				}
			}
		}
		state := got.Get("session_state")
		if response := got.Get("response"); response != "" {
			state, _ = claimsOf(t, response)["session_state"].(string)
		}
		if state == "" || strings.Contains(state, " ") || seen[state] || state != stateFor(p.client.ID, "http://localhost:9008", browserState, state) {
			t.Errorf("%q: session_state = %q", pairs, state)
		}
		seen[state] = true
		if again, _ := stateCookie(t, resp); again != browserState {
			t.Errorf("%q: the browser's state is %q, was %q", pairs, again, browserState)
		}
	}
	second := newParty(t, a, a.Acme, a.Acme.Web)
	second.code(t)
	if other, _ := stateCookie(t, second.authorize(t, "prompt", "none")); other == browserState || other == "" {
		t.Errorf("two sessions have the state %q", other)
	}
	bye := p.confirm(t, p.endSession(t))
	if value, attributes := stateCookie(t, bye); value != "" || !strings.Contains(attributes, "Max-Age=0") {
		t.Errorf("a sign-out leaves %q with %q", value, attributes)
	}
	failed := p.authorize(t, "prompt", "none")
	if value, attributes := stateCookie(t, failed); value+attributes != "" || strings.Contains(failed.Header.Get("Location"), "session_state") {
		t.Errorf("without a session: %q, %s", value, failed.Header.Get("Location"))
	}

	frame := app.Get(t, p.direct, a.Acme.Issuer+"/session/check")
	policy := frame.Header.Get("Content-Security-Policy")
	if frame.StatusCode != http.StatusOK || frame.Header.Get("X-Frame-Options") != "" || strings.Contains(policy, "frame-ancestors") || !strings.Contains(policy, "default-src 'none'; script-src 'self'") {
		t.Errorf("check_session_iframe: %d, %v", frame.StatusCode, frame.Header)
	}

	off := newParty(t, a, a.Globex, a.Globex.Web)
	off.code(t)
	resp := off.authorize(t, "prompt", "none")
	if value, attributes := stateCookie(t, resp); value+attributes != "" || strings.Contains(resp.Header.Get("Location"), "session_state") {
		t.Errorf("where it is off: %q, %s", value, resp.Header.Get("Location"))
	}
	if got := app.Get(t, p.direct, a.Globex.Issuer+"/session/check"); got.StatusCode != http.StatusNotFound {
		t.Errorf("check_session_iframe where it is off: %d", got.StatusCode)
	}
}
