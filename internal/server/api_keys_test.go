package server_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"parako/internal/keyring"
	"parako/internal/testkit/app"
)

// TestAPIKeys rotates the keys of a tenant, and revokes one that signs.
func TestAPIKeys(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	home := onPlatform(t, a)
	service := newParty(t, a, a.Acme, a.Acme.M2M)
	issue := func() string {
		return service.post(t, "/token", "grant_type", "client_credentials", "resource", "urn:test:api").text("access_token")
	}
	old, foreign := issue(), app.Get(t, service.direct, a.Globex.Issuer+"/jwks").Text
	kid, _ := segment(t, old, 0)["kid"].(string)
	q := func() (program, string) { // with a rate of its own
		p := newProgram(t, a, home, allConfig)
		return p, p.token(t, allConfig)
	}
	p, token := q()
	const all = "/tenants/acme/jwks"
	keys := func(query string) []map[string]any {
		got := done(t, p.call(t, token, http.MethodGet, all+query, ""), http.StatusOK)
		for _, k := range got.rows() {
			public, _ := k["publicKey"].(map[string]any)
			for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
				if public[private] != nil {
					t.Errorf("key %v has %q", k["kid"], private)
				}
			}
			if public["kid"] != k["kid"] {
				t.Errorf("public half: %v", k)
			}
		}
		return got.rows()
	}
	of := func(list []map[string]any, kid string) map[string]any {
		i := slices.IndexFunc(list, func(k map[string]any) bool { return k["kid"] == kid })
		if i < 0 {
			t.Fatalf("no key %q in %v", kid, list)
		}
		return list[i]
	}
	before := keys("")
	if k := of(before, kid); k["status"] != keyring.Active || k["promoted"] != true || k["use"] != "sig" || k["alg"] != "ES256" {
		t.Errorf("the key that signs: %v", k)
	}
	if len(keys("?status=active")) != len(before) || len(keys("?status=retired")) != 0 {
		t.Error("status selects others")
	}

	a.Redis.SetTime(time.Now()) // No call returns to the client's rate.
	one := done(t, p.call(t, token, http.MethodPost, all+"/rotate", `{"alg":"ES256"}`), http.StatusOK).rows()
	if len(one) != 1 || one[0]["alg"] != "ES256" || one[0]["promoted"] != false || one[0]["promoteAt"] == nil || one[0]["kid"] == kid {
		t.Fatalf("rotated: %v", one)
	}
	next, _ := one[0]["kid"].(string)
	if again := done(t, p.call(t, token, http.MethodPost, all+"/rotate", `{}`), http.StatusOK).rows(); of(again, next)["promoted"] != false || len(again) < 2 {
		t.Errorf("rotated every one: %v", again)
	}
	await(t, func() bool {
		return strings.Contains(app.Get(t, service.direct, a.Acme.Issuer+"/jwks").Text, next)
	})
	if got, _ := segment(t, issue(), 0)["kid"].(string); got != kid {
		t.Errorf("the next key signs at once: %s", got)
	}
	refuses(t, p.call(t, token, http.MethodPost, all+"/rotate", `{"alg":"none"}`), http.StatusNotFound, "not-found")
	refuses(t, p.call(t, token, http.MethodPost, all+"/rotate", `{}`), http.StatusTooManyRequests, "rate-limit-exceeded")

	p, token = q()
	revoked := done(t, p.call(t, token, http.MethodDelete, all+"/"+kid, ""), http.StatusOK)
	if k := revoked.data(); k["kid"] != kid || k["status"] != keyring.Retired || k["revoked"] != true || k["retiredAt"] == nil {
		t.Errorf("revoked: %s", revoked.Text)
	}
	await(t, func() bool { return !strings.Contains(app.Get(t, service.direct, a.Acme.Issuer+"/jwks").Text, kid) })
	if got := service.post(t, "/token/introspection", "token", old); got.body["active"] != false {
		t.Errorf("a token of the key: %s", got.Text)
	}
	if got, _ := segment(t, issue(), 0)["kid"].(string); got == kid || of(keys("?status=active"), got)["promoted"] != true {
		t.Errorf("after the end of the key %q signs", got)
	}
	refuses(t, p.call(t, token, http.MethodDelete, all+"/"+kid, ""), http.StatusConflict, "conflict")
	p, token = q()
	other := done(t, p.call(t, token, http.MethodGet, "/tenants/globex/jwks", ""), http.StatusOK).rows()
	for _, k := range other {
		theirs, _ := k["kid"].(string)
		if refuses(t, p.call(t, token, http.MethodDelete, all+"/"+theirs, ""), http.StatusNotFound, "not-found"); theirs != "" {
			break
		}
	}
	refuses(t, p.call(t, token, http.MethodDelete, "/tenants/nobody/jwks/"+next, ""), http.StatusNotFound, "tenant-not-found")
	refuses(t, p.call(t, token, http.MethodGet, "/tenants/nobody/jwks", ""), http.StatusNotFound, "tenant-not-found")
	refuses(t, p.call(t, token, http.MethodGet, all+"?status=gone", ""), http.StatusUnprocessableEntity, "validation")
	refuses(t, p.call(t, token, http.MethodPost, "/tenants/nobody/jwks/rotate", `{}`), http.StatusNotFound, "tenant-not-found")
	refuses(t, p.call(t, p.token(t, readConfig), http.MethodPost, all+"/rotate", `{}`), http.StatusForbidden, "scope-insufficient")
	refuses(t, p.call(t, p.token(t, readConfig), http.MethodDelete, all+"/"+next, ""), http.StatusForbidden, "scope-insufficient")
	own := newProgram(t, a, a.Acme, "parako:jwks:read", "parako:jwks:rotate")
	refuses(t, own.call(t, own.token(t, "parako:jwks:read parako:jwks:rotate"), http.MethodGet, all, ""), http.StatusForbidden, "scope-insufficient")
	p, token = q()
	refuses(t, p.call(t, token, http.MethodPost, all+"/rotate", `{"alg":7}`), http.StatusUnprocessableEntity, "validation")
	refuses(t, p.call(t, token, http.MethodPost, all+"/rotate", `{"now":true}`), http.StatusUnprocessableEntity, "validation")
	if got := app.Get(t, service.direct, a.Globex.Issuer+"/jwks").Text; got != foreign {
		t.Errorf("another tenant's keys: %s", got)
	}
	trail := strings.Join(a.DB.Ask(t, a.Acme.ID, "SELECT type || ' ' || actor_id || ' ' || target_id FROM parako.audit_events WHERE target_type = 'signing_key'"), "\n")
	for _, kind := range []string{"revoked", "created"} {
		if !strings.Contains(trail, kind+" api:") {
			t.Errorf("the trail says nothing of a key that was %s: %s", kind, trail)
		}
	}
}
