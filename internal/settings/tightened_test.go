package settings_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/settings"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

// What a tenant set when it was allowed is held to a limit that came later, and comes back when the limit goes.
func TestALimitThatComesLaterClamps(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org := testkit.Tenant(t, s, "acme")
	if _, err := put(t, s, org.ID, "oidc", `{"token_ttl": {"access_token": 3000}}`); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, s, org.ID, "features", `{"oidc": {"jwt_introspection": {"enabled": true}}}`); err != nil {
		t.Fatal(err)
	}
	platform := shared(t, s, "oidc", `{"token_ttl": {"access_token": 600}}`)
	if got := effective(t, s, org.ID, platform).OIDC.TokenTTL.AccessToken; got != 600 {
		t.Errorf("access_token = %d under a platform that allows 600", got)
	}
	e, err := settings.ExplainFor(t.Context(), s, org.ID, "oidc.token_ttl.access_token")
	if err != nil {
		t.Fatal(err)
	}
	if !e.Clamped || e.Value != 600 || e.Layer != settings.FromPlatform || fmt.Sprint(e.Tenant) != "3000" || fmt.Sprint(e.Bound) != "600" || e.Set == nil {
		t.Errorf("explanation = %+v, want 3000 clamped to the platform's 600", e)
	}
	// What is beyond the limit by now is in nobody's way, and may not be set again.
	if _, err := write(t, s, org.ID, platform, settings.Change{Section: "oidc", Document: []byte(`{"scopes": ["roles"]}`), Patch: true}); err != nil {
		t.Errorf("a patch of something else = %v", err)
	}
	for patch, document := range map[bool]string{true: `{"token_ttl": {"access_token": 2000}}`, false: `{"token_ttl": {"access_token": 3000}}`} {
		if _, err := write(t, s, org.ID, platform, settings.Change{Section: "oidc", Document: []byte(document), Patch: patch}); err == nil {
			t.Errorf("%s is taken under a platform that allows 600", document)
		}
	}
	platform = shared(t, s, "oidc", `{}`)
	if got := effective(t, s, org.ID, platform).OIDC.TokenTTL.AccessToken; got != 3000 {
		t.Errorf("access_token = %d when the limit has gone", got)
	}
	// A part that needs another goes off with it.
	platform = shared(t, s, "features", `{"oidc": {"token_introspection": {"enabled": false}}}`)
	if effective(t, s, org.ID, platform).Features.OIDC.JWTIntrospection.Enabled {
		t.Error("signed introspection is on without introspection")
	}
	if e, err = settings.ExplainFor(t.Context(), s, org.ID, "features.oidc.jwt_introspection.enabled"); err != nil || e.Value != false || e.Adjusted == "" {
		t.Errorf("explanation = %+v, %v, want why it is off", e, err)
	}
}

// What the platform begins to demand holds in a tenant that had turned off what it takes, which comes on.
func TestADemandThatComesLaterHolds(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org := testkit.Tenant(t, s, "acme")
	if _, err := put(t, s, org.ID, "features", `{"oidc": {"pushed_authorization_requests": {"enabled": false}, "pkce": {"enabled": false, "required": false}}}`); err != nil {
		t.Fatal(err)
	}
	before := effective(t, s, org.ID, settings.Layer{}).Features.OIDC
	if before.PushedAuthorizationRequests.Enabled || before.PKCE.Enabled || before.PKCE.Required {
		t.Fatalf("the tenant could not turn them off: %+v", before)
	}
	platform := shared(t, s, "features", `{"oidc": {"pushed_authorization_requests": {"required": true}, "pkce": {"required": true}}}`)
	after := effective(t, s, org.ID, platform).Features.OIDC
	if !after.PushedAuthorizationRequests.Enabled || !after.PushedAuthorizationRequests.Required || !after.PKCE.Enabled || !after.PKCE.Required {
		t.Errorf("what the platform demands does not hold: %+v, %+v", after.PushedAuthorizationRequests, after.PKCE)
	}
	e, err := settings.ExplainFor(t.Context(), s, org.ID, "features.oidc.pushed_authorization_requests.enabled")
	if err != nil || e.Value != true || !strings.Contains(e.Adjusted, "demands features.oidc.pushed_authorization_requests.required") {
		t.Errorf("explanation = %+v, %v, want why it is on", e, err)
	}
	if _, err := write(t, s, org.ID, platform, settings.Change{Section: "features", Document: []byte(`{"oidc": {"dpop": {"require_nonce": true}}}`), Patch: true}); err != nil {
		t.Errorf("a patch of something else = %v", err)
	}
}

// What nothing in a tenant may exceed is what the platform says; in the built-in tenant, which is the platform, what anybody may.
func TestLongestLifetimes(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org := testkit.Tenant(t, s, "acme")
	platform := shared(t, s, "oidc", `{"token_ttl": {"access_token": 600}}`)
	for of, want := range map[uuid.UUID][3]int{org.ID: {600, 3600, 86_400}, tenant.DefaultID: {86_400, 86_400, 31_536_000}} {
		got, err := settings.LongestTTL(platform, of)
		if diff := cmp.Diff(want, [3]int{got.AccessToken, got.IDToken, got.RefreshToken}); err != nil || diff != "" {
			t.Errorf("of %s: %v, lifetimes mismatch (-want +got)\n%s", of, err, diff)
		}
	}
}
