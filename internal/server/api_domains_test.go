package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAPIDomains claims a domain for a tenant, proves it, moves the issuer there and back, and gives it up.
func TestAPIDomains(t *testing.T) {
	t.Parallel()
	a, dns := appWithDNS(t)
	home := onPlatform(t, a)
	p := newProgram(t, a, home, allTenants)
	token := p.token(t, allTenants)
	const all, host = "/tenants/acme/domains", "login.acme.example"
	list := func() (found []string) {
		for _, d := range done(t, p.call(t, token, http.MethodGet, all, ""), http.StatusOK).rows() {
			name, _ := d["domain"].(string)
			state, _ := d["state"].(string)
			if found = append(found, name+" "+state); d["primary"] == true {
				found = append(found, "primary")
			}
		}
		return found
	}
	if got := list(); len(got) != 0 {
		t.Errorf("before: %v", got)
	}
	added := done(t, p.call(t, token, http.MethodPost, all, `{"domain":" Login.Acme.Example. "}`), http.StatusCreated)
	name, _ := member(added.data(), "record.name").(string)
	value, _ := member(added.data(), "record.value").(string)
	if d := added.data(); d["domain"] != host || d["state"] != "pending" || name != "_parako-challenge."+host || member(d, "record.type") != "TXT" || value == "" {
		t.Fatalf("added: %s", added.Text)
	}
	if again := done(t, p.call(t, token, http.MethodPost, all, `{"domain":"`+host+`"}`), http.StatusCreated); member(again.data(), "record.value") != value {
		t.Errorf("added again: %s", again.Text)
	}
	refuses(t, p.call(t, token, http.MethodPost, all+"/"+host+"/check", ""), http.StatusConflict, "conflict")
	refuses(t, p.call(t, token, http.MethodPut, "/tenants/acme/primary-domain", `{"domain":"`+host+`"}`), http.StatusConflict, "conflict")
	dns.Set(name, []string{value})
	// Nobody else proves it with this record.
	done(t, p.call(t, token, http.MethodPost, "/tenants/globex/domains", `{"domain":"`+host+`"}`), http.StatusCreated)
	refuses(t, p.call(t, token, http.MethodPost, "/tenants/globex/domains/"+host+"/check", ""), http.StatusConflict, "conflict")
	checked := done(t, p.call(t, token, http.MethodPost, all+"/LOGIN.acme.example/check", ""), http.StatusOK)
	if checked.data()["state"] != "verified" {
		t.Errorf("checked: %s", checked.Text)
	}
	awaitStatus(t, a, "http://"+host+"/oidc/v1/jwks", http.StatusOK)
	refuses(t, p.call(t, token, http.MethodPost, all, `{"domain":"`+host+`"}`), http.StatusConflict, "conflict")

	tag := p.call(t, token, http.MethodGet, "/tenants/acme", "").Header.Get("ETag")
	refuses(t, p.call(t, token, http.MethodPut, "/tenants/acme/primary-domain", `{"domain":"`+host+`"}`, "If-Match", `"stale"`), http.StatusPreconditionFailed, "precondition-failed")
	moved := done(t, p.call(t, token, http.MethodPut, "/tenants/acme/primary-domain", `{"domain":"`+host+`"}`, "If-Match", tag), http.StatusOK)
	if d := moved.data(); d["domain"] != host || d["issuer_url"] != "http://"+host+"/oidc/v1" {
		t.Errorf("moved: %s", moved.Text)
	}
	if diff := cmp.Diff([]string{host + " verified", "primary"}, list()); diff != "" {
		t.Errorf("domains (-want +got)\n%s", diff)
	}
	refuses(t, p.call(t, token, http.MethodDelete, all+"/"+host, ""), http.StatusConflict, "conflict")
	back := done(t, p.call(t, token, http.MethodPut, "/tenants/acme/primary-domain", `{"domain":null}`), http.StatusOK)
	if _, said := back.data()["domain"]; said || back.data()["issuer_url"] != a.Acme.Issuer {
		t.Errorf("moved back: %s", back.Text)
	}
	released := done(t, p.call(t, token, http.MethodDelete, all+"/"+host, ""), http.StatusOK)
	if released.data()["state"] != "released" {
		t.Errorf("released: %s", released.Text)
	}
	if diff := cmp.Diff([]string{host + " released"}, list()); diff != "" {
		t.Errorf("domains (-want +got)\n%s", diff)
	}
	trail := a.DB.Ask(t, a.Acme.ID, "SELECT type || ' ' || actor_id FROM parako.audit_events WHERE type LIKE 'domain.%' ORDER BY occurred_at, id")
	by := " api:" + p.client.ID
	if diff := cmp.Diff([]string{"domain.added" + by, "domain.verified" + by, "domain.primary_changed" + by, "domain.primary_changed" + by, "domain.released" + by}, trail); diff != "" {
		t.Errorf("the trail (-want +got)\n%s", diff)
	}

	p = newProgram(t, a, home, allTenants) // with a rate of its own
	token = p.token(t, allTenants)
	for body, want := range map[string]string{
		`{"domain":"https://x.example"}`: "domain", `{"domain":"co.uk"}`: "domain", `{"domain":"x.localhost"}`: "domain", `{"domain":""}`: "domain",
		`{"domain":7}`: "domain", `{"domain":null}`: "domain", `{}`: "domain", `{"domain":"x.example","verified":true}`: "verified", `{"domain":"` + strings.Repeat("x", 300) + `.example"}`: "domain",
	} {
		got := p.call(t, token, http.MethodPost, all, body)
		if refuses(t, got, http.StatusUnprocessableEntity, "validation"); !strings.Contains(got.Text, `"field":"`+want+`"`) {
			t.Errorf("%s: %s", body, got.Text)
		}
	}
	refuses(t, p.call(t, token, http.MethodPut, "/tenants/acme/primary-domain", `{"domain":""}`), http.StatusUnprocessableEntity, "validation")
	refuses(t, p.call(t, token, http.MethodPut, "/tenants/acme/primary-domain", `{}`), http.StatusUnprocessableEntity, "validation")
	refuses(t, p.call(t, token, http.MethodPut, "/tenants/acme/primary-domain", `{"domain":"login.globex.example"}`), http.StatusNotFound, "not-found")
	for _, call := range [][2]string{{http.MethodDelete, all + "/nobody.example"}, {http.MethodPost, all + "/nobody.example/check"}} {
		refuses(t, p.call(t, token, call[0], call[1], ""), http.StatusNotFound, "not-found")
	}
	for _, call := range [][3]string{
		{http.MethodGet, "/domains", ""},
		{http.MethodPost, "/domains", `{"domain":"x.example"}`},
		{http.MethodPut, "/primary-domain", `{"domain":null}`},
		{http.MethodDelete, "/domains/x.example", ""},
		{http.MethodPost, "/domains/x.example/check", ""},
	} {
		refuses(t, p.call(t, token, call[0], "/tenants/nobody"+call[1], call[2]), http.StatusNotFound, "tenant-not-found")
		if call[0] != http.MethodGet {
			refuses(t, p.call(t, p.token(t, readTenants), call[0], "/tenants/acme"+call[1], call[2]), http.StatusForbidden, "scope-insufficient")
		}
	}
}
