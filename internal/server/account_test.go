package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"parako/internal/testkit"
	"parako/internal/testkit/app"
)

// TestDisabledAccountHasNoTokens disables an account whose tokens are out, and lets it back in.
func TestDisabledAccountHasNoTokens(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	tokens := p.tokens(t, "scope", "openid offline_access")
	if !p.alive(t, tokens.text("access_token")) {
		t.Fatal("the access token was never alive")
	}
	a.Superuser(t, "UPDATE parako.users SET account_enabled = false WHERE id = $1", a.Acme.User.ID)
	if p.alive(t, tokens.text("access_token")) {
		t.Error("the access token of a disabled account lives")
	}
	if got := p.post(t, "/token/introspection", "token", tokens.text("access_token")); got.body["active"] != false {
		t.Errorf("introspection for a disabled account = %s", got.Text)
	}
	expect(t, p.refresh(t, tokens.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	if resp := p.authorize(t, "prompt", "none"); !strings.Contains(resp.Header.Get("Location"), "error=login_required") {
		t.Errorf("the session of a disabled account: %d to %s", resp.StatusCode, resp.Header.Get("Location"))
	}
	a.Superuser(t, "UPDATE parako.users SET account_enabled = true WHERE id = $1", a.Acme.User.ID)
	expect(t, p.refresh(t, tokens.text("refresh_token")), http.StatusOK, "")
}

// TestGrantsDieWithTheirSession lets a session run out: what was granted for it ends, what was granted offline goes on.
func TestGrantsDieWithTheirSession(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.SPA)
	bound, offline := p.tokens(t), p.tokens(t, "scope", "openid offline_access")
	a.Superuser(t, "UPDATE parako.sessions SET expires_at = now() - interval '1 second'")
	expect(t, p.refresh(t, bound.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
	expect(t, p.refresh(t, offline.text("refresh_token")), http.StatusOK, "")
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

// TestExpiredRowsAreRemoved ages what a sign-in leaves behind and sweeps the tenant. What is recent and what another tenant
// has stays.
func TestExpiredRowsAreRemoved(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p, other := newParty(t, a, a.Acme, a.Acme.Web), newParty(t, a, a.Globex, a.Globex.Web)
	p.tokens(t, "scope", "openid offline_access")
	other.tokens(t, "scope", "openid offline_access")
	newDevice(t, a, a.Acme).begin(t)
	newDevice(t, a, a.Globex).begin(t)
	p.initialToken(t)
	other.initialToken(t)
	p.delivery(t)
	other.delivery(t)
	tables := []string{"interactions", "codes", "access_tokens", "refresh_tokens", "grants", "registration_tokens", "sessions", "device_codes", "logout_deliveries"}
	count := func(tenant app.Tenant, table string) int {
		return len(a.DB.Ask(t, tenant.ID, "SELECT 'x' FROM parako."+table))
	}
	if err := a.Server.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if count(a.Acme, table) == 0 {
			t.Fatalf("%s: a recent row was removed", table)
		}
		a.Superuser(t, "UPDATE parako."+table+" SET expires_at = now() - interval '2 days' WHERE tenant_id = $1", a.Acme.ID)
	}
	if err := a.Server.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if n := count(a.Acme, table); n != 0 {
			t.Errorf("%s: %d expired rows are left", table, n)
		}
		if count(a.Globex, table) == 0 {
			t.Errorf("%s: another tenant's row was removed", table)
		}
	}
}

// TestMoreThanAPageExpires has more rows than one transaction removes, in a tenant in use and in one that this instance has never met.
func TestMoreThanAPageExpires(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	app.Get(t, a.Client(t), a.Acme.Issuer+"/jwks")
	quiet := testkit.Tenant(t, a.Store, "quiet")
	for _, id := range []uuid.UUID{a.Acme.ID, quiet.ID} {
		a.Superuser(t, "INSERT INTO parako.revoked_tokens (tenant_id, id, expires_at) SELECT $1, 'x' || n, now() - interval '3 days' FROM generate_series(1, 2500) AS n", id)
	}
	left := func(id uuid.UUID) int { return len(a.DB.Ask(t, id, "SELECT id FROM parako.revoked_tokens")) }
	if err := a.Server.Expire(t.Context()); err != nil || left(a.Acme.ID) != 0 || left(quiet.ID) == 0 {
		t.Errorf("%d rows are left, and %d of a tenant that nobody uses, %v", left(a.Acme.ID), left(quiet.ID), err)
	}
	if after, err := a.Server.ExpireNext(t.Context(), ""); err != nil || after != "" || left(quiet.ID) != 0 {
		t.Errorf("%d rows of a tenant that nobody uses are left after the round, which ends at %q, %v", left(quiet.ID), after, err)
	}
}
