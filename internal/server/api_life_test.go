package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parako/internal/keyring"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

const everyTenantScope = "parako:tenants:read parako:tenants:write parako:tenants:delete"

// awaitStatus asks until the server answers with the status.
func awaitStatus(t *testing.T, a *app.App, target string, want int) {
	t.Helper()
	for deadline := time.After(2 * time.Minute); app.Get(t, a.Client(t), target).StatusCode != want; {
		select {
		case <-deadline:
			t.Fatalf("%s does not answer %d", target, want)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestAPIDeletion deletes tenants, and restores one.
func TestAPIDeletion(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	home := onPlatform(t, a)
	p := newProgram(t, a, home, everyTenantScope)
	token := p.token(t, everyTenantScope)
	const one = "/tenants/acme"

	for _, scope := range []string{allTenants, readTenants} {
		refuses(t, p.call(t, p.token(t, scope), http.MethodDelete, one+"?archive=true", ""), http.StatusForbidden, "scope-insufficient")
	}
	refuses(t, p.call(t, p.token(t, "parako:tenants:read parako:tenants:delete"), http.MethodPost, one+"/restore", ""), http.StatusForbidden, "scope-insufficient")
	own := newProgram(t, a, a.Acme, "parako:users:read")
	refuses(t, own.call(t, own.token(t, "parako:users:read"), http.MethodDelete, one+"?archive=true", ""), http.StatusForbidden, "scope-insufficient")
	refuses(t, p.call(t, token, http.MethodPost, one+"/restore", ""), http.StatusConflict, "conflict")
	refuses(t, p.call(t, token, http.MethodGet, one+"/certificate", ""), http.StatusNotFound, "not-found")
	fresh := p.call(t, token, http.MethodGet, one, "").Header.Get("ETag")
	other := p.call(t, token, http.MethodGet, "/tenants/globex", "").Header.Get("ETag")
	for path, want := range map[string]struct {
		status int
		kind   string
	}{
		one:                                                  {409, "conflict"}, // It is active.
		"/tenants/_platforms?archive=true":                   {409, "conflict"},
		"/tenants/nobody?archive=true":                       {404, "tenant-not-found"},
		one + "?archive=true&grace_days=-1":                  {422, "validation"},
		one + "?archive=true&grace_days=3661":                {422, "validation"},
		one + "?archive=true&grace_days=soon":                {422, "validation"},
		one + "?archive=true&grace_days=0":                   {422, "validation"},
		one + "?archive=true&grace_days=0&confirm=globex":    {422, "validation"},
		one + "?archive=perhaps&grace_days=0&confirm=globex": {422, "validation"},
	} {
		q := newProgram(t, a, home, everyTenantScope) // with a rate of its own
		refuses(t, q.call(t, q.token(t, everyTenantScope), http.MethodDelete, path, ""), want.status, want.kind)
	}
	refuses(t, p.call(t, token, http.MethodDelete, one+"?archive=true", "", "If-Match", other), http.StatusPreconditionFailed, "precondition-failed")
	if got := app.Get(t, p.direct, a.Acme.Issuer+"/jwks").StatusCode; got != http.StatusOK {
		t.Fatalf("a refusal has taken the tenant away: %d", got)
	}

	// With a grace it can be restored.
	asked := done(t, p.call(t, token, http.MethodDelete, one+"?archive=true&grace_days=7&reason=left", "", "If-Match", fresh), http.StatusAccepted)
	text, _ := asked.data()["delete_after"].(string)
	after, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || asked.data()["status"] != "archived" {
		t.Fatalf("asked: %s %v", asked.Text, err)
	}
	if left := time.Until(after); left < 6*24*time.Hour || left > 7*24*time.Hour {
		t.Errorf("it is to be erased in %s", left)
	}
	awaitStatus(t, a, a.Acme.Issuer+"/jwks", http.StatusForbidden)
	if got := p.call(t, token, http.MethodGet, one, ""); got.data()["delete_after"] != text {
		t.Errorf("read: %s", got.Text)
	}
	refuses(t, p.call(t, token, http.MethodDelete, one, ""), http.StatusConflict, "conflict")
	refuses(t, p.call(t, token, http.MethodPut, one+"/status", `{"status":"active"}`), http.StatusConflict, "conflict")
	refuses(t, p.call(t, token, http.MethodPost, "/tenants/globex/restore", ""), http.StatusConflict, "conflict")
	refuses(t, p.call(t, token, http.MethodPost, "/tenants/nobody/restore", ""), http.StatusNotFound, "tenant-not-found")
	refuses(t, p.call(t, token, http.MethodPost, one+"/restore", "", "If-Match", fresh), http.StatusPreconditionFailed, "precondition-failed")
	restored := done(t, p.call(t, token, http.MethodPost, one+"/restore", "", "If-Match", asked.Header.Get("ETag")), http.StatusOK)
	if _, said := restored.data()["delete_after"]; said || restored.data()["status"] != "archived" {
		t.Errorf("restored: %s", restored.Text)
	}
	done(t, p.call(t, token, http.MethodPut, one+"/status", `{"status":"active"}`), http.StatusOK)
	awaitStatus(t, a, a.Acme.Issuer+"/jwks", http.StatusOK)
	trail := strings.Join(a.DB.Ask(t, a.Acme.ID, "SELECT type || ' ' || actor_id FROM parako.audit_events WHERE type LIKE 'tenant.%' AND type <> 'tenant.created' ORDER BY occurred_at, id"), "\n")
	by := " api:" + p.client.ID + "\n"
	if diff := cmp.Diff("tenant.status_changed"+by+"tenant.deletion_requested"+by+"tenant.restored"+by+"tenant.status_changed"+by, trail+"\n"); diff != "" {
		t.Errorf("the trail (-want +got)\n%s", diff)
	}
	said := ""
	for _, e := range events(t, a, home) {
		if e.RequestID == asked.Header.Get("X-Request-Id") {
			said += e.Text
		}
	}
	if !strings.Contains(said, a.Acme.ID.String()) || !strings.Contains(said, "left") {
		t.Errorf("the platform's trail: %s", said)
	}

	// Without one it is gone, and a certificate remains.
	done(t, p.call(t, token, http.MethodDelete, one+"?archive=true&grace_days=0&confirm=acme", ""), http.StatusAccepted)
	awaitStatus(t, a, a.Acme.Issuer+"/jwks", http.StatusNotFound)
	refuses(t, p.call(t, token, http.MethodGet, one, ""), http.StatusNotFound, "tenant-not-found")
	certificate := done(t, p.call(t, token, http.MethodGet, "/tenants/ACME/certificate", ""), http.StatusOK)
	if byID := p.call(t, token, http.MethodGet, "/tenants/"+a.Acme.ID.String()+"/certificate", ""); byID.Text != certificate.Text {
		t.Errorf("by its id: %s", byID.Text)
	}
	d := certificate.data()
	if d["verified"] != true || member(d, "certificate.tenant_id") != a.Acme.ID.String() || member(d, "certificate.requested_by") != "api:"+p.client.ID ||
		member(d, "certificate.rows.users") != 1.0 {
		t.Errorf("certificate: %s", certificate.Text)
	}
	ring, err := keyring.Public([]byte(app.Get(t, p.direct, home.Issuer+"/jwks").Text))
	if err != nil {
		t.Fatal(err)
	}
	jws, _ := d["jws"].(string)
	if _, err := ring.Verify(jws, tenant.CertificateType); err != nil {
		t.Errorf("the published keys do not verify it: %v", err)
	}
	// One that nobody signed is not passed off as verified.
	a.Superuser(t, "ALTER TABLE parako.audit_events DISABLE TRIGGER USER")
	a.Superuser(t, `UPDATE parako.audit_events SET detail = jsonb_set(detail, '{certificate}', to_jsonb((detail ->> 'certificate') || 'x')) WHERE type = 'tenant.deleted'`)
	forged := done(t, p.call(t, token, http.MethodGet, one+"/certificate", ""), http.StatusOK)
	if _, shown := forged.data()["certificate"]; shown || forged.data()["verified"] != false {
		t.Errorf("forged: %s", forged.Text)
	}
	if got := app.Get(t, p.direct, a.Globex.Issuer+"/jwks").StatusCode; got != http.StatusOK {
		t.Errorf("another tenant: %d", got)
	}
}

// TestAPIQuota bounds a tenant.
func TestAPIQuota(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	home := onPlatform(t, a)
	p := newProgram(t, a, home, allTenants)
	token := p.token(t, allTenants)
	const one = "/tenants/acme/quota"
	quota := func(got reply) [2]any {
		t.Helper()
		done(t, got, http.StatusOK)
		return [2]any{member(got.data(), "quota.users"), member(got.data(), "quota.clients")}
	}
	before := p.call(t, token, http.MethodGet, one, "")
	if q := quota(before); q != [2]any{nil, nil} || member(before.data(), "usage.users") != 1.0 || member(before.data(), "usage.clients") != 3.0 {
		t.Errorf("before: %s", before.Text)
	}
	for _, step := range []struct {
		method, body string
		want         [2]any
	}{
		{http.MethodPatch, `{"users":5}`, [2]any{5.0, nil}},
		{http.MethodPatch, `{"clients":0}`, [2]any{5.0, 0.0}},
		{http.MethodPatch, `{}`, [2]any{5.0, 0.0}},
		{http.MethodPatch, `{"users":null}`, [2]any{nil, 0.0}},
		{http.MethodPut, `{"users":7}`, [2]any{7.0, nil}}, // What is left out is unlimited.
		{http.MethodPut, `{"users":null,"clients":2147483647}`, [2]any{nil, 2147483647.0}},
		{http.MethodPut, `{"users":2}`, [2]any{2.0, nil}},
	} {
		if got := quota(p.call(t, token, step.method, one, step.body)); got != step.want {
			t.Errorf("%s %s: %v, want %v", step.method, step.body, got, step.want)
		}
		if got := quota(p.call(t, token, http.MethodGet, one, "")); got != step.want {
			t.Errorf("%s %s: reads %v, want %v", step.method, step.body, got, step.want)
		}
	}
	for body, field := range map[string]string{
		`{"users":-1}`: "users", `{"users":1.5}`: "users", `{"users":"5"}`: "users", `{"users":2147483648}`: "users", `{"people":5}`: "people", `null`: "(root)", `[]`: "(root)",
	} {
		for _, method := range []string{http.MethodPut, http.MethodPatch} {
			got := p.call(t, token, method, one, body)
			if refuses(t, got, http.StatusUnprocessableEntity, "validation"); limits(got)[field] != nil || len(limits(got)) != 1 || !strings.Contains(got.Text, `"field":"`+field+`"`) {
				t.Errorf("%s %s: %s", method, body, got.Text)
			}
		}
	}
	q := newProgram(t, a, home, allTenants)
	other := q.token(t, allTenants)
	refuses(t, q.call(t, other, http.MethodPut, "/tenants/_platforms/quota", `{}`), http.StatusConflict, "conflict")
	refuses(t, q.call(t, other, http.MethodPut, "/tenants/nobody/quota", `{}`), http.StatusNotFound, "tenant-not-found")
	refuses(t, q.call(t, other, http.MethodGet, "/tenants/nobody/quota", ""), http.StatusNotFound, "tenant-not-found")
	refuses(t, q.call(t, q.token(t, readTenants), http.MethodPut, one, `{}`), http.StatusForbidden, "scope-insufficient")
	own := newProgram(t, a, a.Acme, "parako:users:read")
	refuses(t, own.call(t, own.token(t, "parako:users:read"), http.MethodPut, one, `{}`), http.StatusForbidden, "scope-insufficient")
	if got := quota(p.call(t, token, http.MethodGet, one, "")); got != [2]any{2.0, nil} {
		t.Errorf("a refusal has changed it: %v", got)
	}
	if got := quota(p.call(t, token, http.MethodGet, "/tenants/globex/quota", "")); got != [2]any{nil, nil} {
		t.Errorf("another tenant: %v", got)
	}
	trail := a.DB.Ask(t, a.Acme.ID, "SELECT actor_id || ' ' || detail::text FROM parako.audit_events WHERE type = 'tenant.quota_changed' ORDER BY occurred_at, id")
	if len(trail) != 7 || !strings.HasPrefix(trail[0], "api:"+p.client.ID+" ") || !strings.Contains(trail[0], `"users": "5"`) {
		t.Errorf("the trail: %q", trail)
	}

	for _, method := range []string{http.MethodPut, http.MethodPatch} {
		refuses(t, p.call(t, token, method, one, `{"users":1}`, "If-Match", `"stale"`), http.StatusPreconditionFailed, "precondition-failed")
		tag := p.call(t, token, http.MethodGet, one, "").Header.Get("ETag")
		set := done(t, p.call(t, token, method, one, `{"users":1}`, "If-Match", tag), http.StatusOK)
		if now := set.Header.Get("ETag"); tag == "" || now == tag || now != p.call(t, token, http.MethodGet, "/tenants/acme", "").Header.Get("ETag") {
			t.Errorf("%s answers with ETag %q after %q", method, now, tag)
		}
		refuses(t, p.call(t, token, method, one, `{"users":2}`, "If-Match", tag), http.StatusPreconditionFailed, "precondition-failed")
	}
}
