package server_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"parako/internal/audit"
	"parako/internal/keyring"
	"parako/internal/store"
	"parako/internal/testkit/app"
)

// published waits until the server publishes a key, or no longer does.
func published(t *testing.T, p party, kid string, want bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); strings.Contains(app.Get(t, p.direct, p.tenant.Issuer+"/jwks").Text, kid) != want; {
		if time.Now().After(end) {
			t.Fatalf("key %s published: want %t within a minute", kid, want)
		}
	}
}

// TestRevokedKey revokes the key of a running server: the tokens that it signed are refused, another signs, and the other tenant
// notices nothing.
func TestRevokedKey(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p, other := newParty(t, a, a.Acme, a.Acme.M2M), newParty(t, a, a.Globex, a.Globex.M2M)
	issue := func(p party) string {
		t.Helper()
		return p.post(t, "/token", "grant_type", "client_credentials", "resource", "urn:test:api", "scope", "read").text("access_token")
	}
	active := func(p party, token string) any {
		t.Helper()
		return p.post(t, "/token/introspection", "token", token).body["active"]
	}
	token, theirs := issue(p), issue(other)
	if active(p, token) != true || active(other, theirs) != true {
		t.Fatal("the tokens are not good from the start")
	}
	kid := kidOf(t, token)
	p.inTenant(t, func(ctx context.Context, tx *store.Tx) error {
		return keyring.Revoke(ctx, tx, a.Vault, audit.Operator("test"), kid)
	})
	published(t, p, kid, false)
	if got := active(p, token); got != false {
		t.Errorf("a token of a revoked key is active: %v", got)
	}
	fresh := issue(p)
	if kidOf(t, fresh) == kid || active(p, fresh) != true {
		t.Errorf("the new token is signed by %s, the revoked key is %s", kidOf(t, fresh), kid)
	}
	if active(other, theirs) != true || kidOf(t, issue(other)) != kidOf(t, theirs) {
		t.Error("another tenant's key was revoked")
	}
}

// TestScheduledRotation moves the time at which keys are due. The jobs of the server do the rest: publish, wait, swap and retire.
func TestScheduledRotation(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.M2M)
	issue := func() string {
		t.Helper()
		return p.post(t, "/token", "grant_type", "client_credentials", "resource", "urn:test:api", "scope", "read").text("access_token")
	}
	token := issue()
	old := kidOf(t, token)
	wake := func(kid string) {
		a.Superuser(t, "UPDATE jobs.river_job AS j SET state = 'available', scheduled_at = now() FROM parako.signing_keys AS k WHERE k.id::text = j.args->>'id' AND k.kid = $1 AND j.state = 'scheduled'", kid)
	}
	is := func(kid, want string) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; {
			got := a.DB.AskAbove(t, "SELECT status || ' ' || promoted FROM parako.signing_keys WHERE kid = $1", kid)
			if len(got) == 1 && got[0] == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("key %s is %q, want %s within a minute", kid, got, want)
			}
			wake(kid) // The job may have gone to sleep after the first wake.
		}
	}
	next := func() []string {
		return a.DB.AskAbove(t, "SELECT kid FROM parako.signing_keys WHERE tenant_id = $1 AND alg = 'ES256' AND status = 'active' AND NOT promoted", a.Acme.ID)
	}
	a.Superuser(t, "UPDATE parako.signing_keys SET promoted_at = now() - interval '91 days' WHERE kid = $1", old)
	for end := time.Now().Add(time.Minute); len(next()) == 0; wake(old) {
		if time.Now().After(end) {
			t.Fatal("no successor was published within a minute")
		}
	}
	successor := next()[0]
	published(t, p, successor, true)
	if got := kidOf(t, issue()); got != old {
		t.Errorf("%s signs before its time, want %s", got, old)
	}
	a.Superuser(t, "UPDATE parako.signing_keys SET promote_at = now() WHERE kid = $1", successor)
	is(successor, "active true")
	for end := time.Now().Add(time.Minute); kidOf(t, issue()) != successor; {
		if time.Now().After(end) {
			t.Fatal("the successor does not sign within a minute")
		}
	}
	if got := p.post(t, "/token/introspection", "token", token); got.body["active"] != true {
		t.Errorf("a token of the key before is refused: %v", got.body)
	}
	a.Superuser(t, "UPDATE parako.signing_keys SET verify_until = now() WHERE kid = $1", old)
	is(old, "retired false")
	published(t, p, old, false)
	if got := p.post(t, "/token/introspection", "token", token); got.body["active"] != false {
		t.Errorf("a token of a retired key is good: %v", got.body)
	}
	if got := a.DB.AskAbove(t, "SELECT length(private_key)::text FROM parako.signing_keys WHERE kid = $1", old); got[0] != "0" {
		t.Errorf("the retired key has a private half of %s bytes", got[0])
	}
}
