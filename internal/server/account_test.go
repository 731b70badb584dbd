package server_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"parako/internal/testkit/app"
)

type issued struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	ID      string `json:"id_token"`
	Error   string `json:"error"`
}

// obtain signs the tenant's person in at its browser application and redeems the code.
func obtain(t *testing.T, a *app.App, tenant app.Tenant, scope string) issued {
	t.Helper()
	verifier := oauth2.GenerateVerifier()
	authorize := url.Values{
		"response_type": {"code"}, "client_id": {tenant.SPA.ID}, "redirect_uri": {app.Callback}, "scope": {scope},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
	}
	back := a.SignIn(t, a.Browser(t), tenant.Issuer+"/authorize?"+authorize.Encode(), tenant.Email, app.Password)
	return redeem(t, a, tenant, url.Values{
		"grant_type": {"authorization_code"}, "client_id": {tenant.SPA.ID}, "code": {back.Query().Get("code")}, "redirect_uri": {app.Callback},
		"code_verifier": {verifier},
	})
}

func redeem(t *testing.T, a *app.App, tenant app.Tenant, form url.Values) issued {
	t.Helper()
	resp := app.Post(t, a.Client(t), tenant.Issuer+"/token", form)
	var tokens issued
	if err := json.Unmarshal([]byte(resp.Text), &tokens); err != nil {
		t.Fatalf("%d %s", resp.StatusCode, resp.Text)
	}
	return tokens
}

func refreshed(t *testing.T, a *app.App, tenant app.Tenant, token string) issued {
	t.Helper()
	return redeem(t, a, tenant, url.Values{"grant_type": {"refresh_token"}, "client_id": {tenant.SPA.ID}, "refresh_token": {token}})
}

func userinfoStatus(t *testing.T, a *app.App, tenant app.Tenant, token string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tenant.Issuer+"/userinfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return app.Do(t, a.Client(t), r).StatusCode
}

// TestDisabledAccountHasNoTokens disables an account whose tokens are out, and lets it back in.
func TestDisabledAccountHasNoTokens(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	tokens := obtain(t, a, a.Acme, "openid offline_access")
	if got := userinfoStatus(t, a, a.Acme, tokens.Access); got != 200 {
		t.Fatalf("userinfo %d before", got)
	}
	a.Superuser(t, "UPDATE parako.users SET account_enabled = false WHERE id = $1", a.Acme.User.ID)
	if got := userinfoStatus(t, a, a.Acme, tokens.Access); got != 401 {
		t.Errorf("userinfo %d for a disabled account", got)
	}
	if got := refreshed(t, a, a.Acme, tokens.Refresh); got.Error != "invalid_grant" {
		t.Errorf("refresh of a disabled account = %+v", got)
	}
	a.Superuser(t, "UPDATE parako.users SET account_enabled = true WHERE id = $1", a.Acme.User.ID)
	if got := refreshed(t, a, a.Acme, tokens.Refresh); got.Access == "" {
		t.Errorf("refresh of an account that was enabled again = %+v", got)
	}
}

// TestGrantsDieWithTheirSession lets a session run out: what was granted for it ends, what was granted offline goes on.
func TestGrantsDieWithTheirSession(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	bound, offline := obtain(t, a, a.Acme, "openid"), obtain(t, a, a.Acme, "openid offline_access")
	a.Superuser(t, "UPDATE parako.sessions SET expires_at = now() - interval '1 second'")
	if got := refreshed(t, a, a.Acme, bound.Refresh); got.Error != "invalid_grant" {
		t.Errorf("refresh after the session = %+v", got)
	}
	if got := refreshed(t, a, a.Acme, offline.Refresh); got.Access == "" {
		t.Errorf("offline refresh after the session = %+v", got)
	}
}

// TestHead asks for headers only, as monitors do.
func TestHead(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for _, target := range []string{"http://x.example/health", a.Acme.Issuer + "/.well-known/openid-configuration", strings.TrimSuffix(a.Acme.Issuer, "/oidc/v1") + "/"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodHead, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp := app.Do(t, a.Client(t), r); resp.StatusCode != http.StatusOK || resp.Text != "" {
			t.Errorf("HEAD %s = %d %q", target, resp.StatusCode, resp.Text)
		}
	}
}
