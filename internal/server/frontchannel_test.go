package server_test

import (
	"context"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/oidc"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/testkit/app"
)

var logoutFrame = regexp.MustCompile(`<iframe class="logout-frame" src="([^"]*)"`)

// framesOf are the addresses that the page after a sign-out loads, in order.
func framesOf(page app.Response) []string {
	frames := []string{}
	for _, frame := range logoutFrame.FindAllStringSubmatch(page.Text, -1) {
		frames = append(frames, html.UnescapeString(frame[1]))
	}
	return frames
}

func framedAt(uri string, session bool) func(*oidc.NewClient) {
	return func(n *oidc.NewClient) {
		n.FrontchannelLogoutURI, n.FrontchannelLogoutSession = uri, session
		n.RedirectURIs = append(n.RedirectURIs, "https://two.example:8443/callback")
	}
}

// TestFrontchannelLogout has a person use applications that want a frame, and sign out.
func TestFrontchannelLogout(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{"frontchannel_logout":{"enabled":true}}}`)
	const one, two = "http://localhost:9008/bye", "https://two.example:8443/bye?keep=this"
	t.Run("with an address to go on to", func(t *testing.T) {
		web := newParty(t, a, a.Acme, a.Acme.Web)
		first, second := web.with(t, framedAt(one, false)), web.with(t, framedAt(two, true))
		web.with(t, framedAt("http://localhost:9008/elsewhere", false)) // It has nothing to do with the session.
		hint := first.tokens(t).text("id_token")
		sid, _ := claimsOf(t, second.tokens(t).text("id_token"))["sid"].(string)
		page := first.confirm(t, first.endSession(t, "id_token_hint", hint, "post_logout_redirect_uri", after, "state", "x&y"))
		got := framesOf(page)
		want := []string{one, "https://two.example:8443/bye?keep=this&iss=" + url.QueryEscape(a.Acme.Issuer) + "&sid=" + sid}
		if diff := cmp.Diff(sorted(want), sorted(got)); diff != "" || sid == "" || page.StatusCode != http.StatusOK {
			t.Errorf("%d, frames mismatch (-want +got)\n%s", page.StatusCode, diff)
		}
		policy := page.Header.Get("Content-Security-Policy")
		for _, source := range []string{"http://localhost:9008", "https://two.example:8443"} {
			if !strings.Contains(policy, source) {
				t.Errorf("the policy lacks %s: %s", source, policy)
			}
		}
		if n := len(strings.Fields(policy[strings.Index(policy, "frame-src"):])); !strings.Contains(policy, "; frame-src ") || n != 5 { // with script-src 'self'
			t.Errorf("the policy allows more frames than there are: %s", policy)
		}
		if link := `id="logged-out-return" href="http://localhost:9008/?state=x%26y"`; !strings.Contains(page.Text, link) || !strings.Contains(page.Text, "/return.js") {
			t.Errorf("the page does not lead on:\n%s", page.Text)
		}
		first.refused(t, "login_required", "prompt", "none")
		again := first.endSession(t, "id_token_hint", hint, "post_logout_redirect_uri", after)
		if again.Header.Get("Location") != after || len(framesOf(again)) > 0 {
			t.Errorf("the second time: %d to %q", again.StatusCode, again.Header.Get("Location"))
		}
	})
	t.Run("without one", func(t *testing.T) {
		p := newParty(t, a, a.Acme, a.Acme.Web).with(t, framedAt(one, false))
		p.tokens(t)
		page := p.confirm(t, p.endSession(t))
		if diff := cmp.Diff([]string{one}, framesOf(page)); diff != "" {
			t.Errorf("frames mismatch (-want +got)\n%s", diff)
		}
		if strings.Contains(page.Text, "return.js") || strings.Contains(page.Text, "logged-out-return") || strings.Contains(page.Header.Get("Content-Security-Policy"), "script-src") {
			t.Errorf("the page leads somewhere:\n%s", page.Text)
		}
	})
	t.Run("where it is off", func(t *testing.T) {
		p := newParty(t, a, a.Globex, a.Globex.Web).with(t, framedAt(one, true))
		hint := p.tokens(t).text("id_token")
		if got := p.confirm(t, p.endSession(t, "id_token_hint", hint, "post_logout_redirect_uri", after)); got.Header.Get("Location") != after {
			t.Errorf("%d to %q", got.StatusCode, got.Header.Get("Location"))
		}
	})
}

// TestFrontchannelAddressBelongsToTheClient registers addresses for frames.
func TestFrontchannelAddressBelongsToTheClient(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for uri, want := range map[string]bool{
		"http://localhost:9008/x?y=z": true, "http://localhost/": false, "https://localhost:9008/": false,
		"http://localhost:9009/": false, "https://evil.example/": false,
	} {
		err := a.Store.InTenant(t.Context(), a.Acme.ID, func(ctx context.Context, tx *store.Tx) error {
			_, err := oidc.RegisterClient(ctx, tx, a.Vault, settings.Layer{}, oidc.NewClient{Preset: oidc.PresetWeb, ClientMetadata: oidc.ClientMetadata{
				Name: "Own", RedirectURIs: []string{app.Callback}, MoreMetadata: oidc.MoreMetadata{FrontchannelLogoutURI: uri},
			}})
			return err
		})
		if (err == nil) != want {
			t.Errorf("%s: %v", uri, err)
		}
	}
}
