package server_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/audit"
	"parako/internal/directory"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

// refreshed is the tenant as it is now.
func (p platforms) refreshed(t *testing.T, slug string) tenant.Tenant {
	t.Helper()
	now, err := tenant.BySlug(t.Context(), p.Store, slug)
	if err != nil {
		t.Fatal(err)
	}
	return now
}

func TestPlatformBoundsATenant(t *testing.T) {
	t.Parallel()
	p, _ := administrator(t, app.New(t), "olga")
	const quota = "/platform/tenants/acme/quota"
	post := func(t *testing.T, pairs ...string) app.Response {
		t.Helper()
		return p.post(t, quota, append(pairs, "revision", version(t, p.get(t, quota)))...)
	}
	at(t, p.get(t, quota), http.StatusOK, quota, `id="quota-users"`, `id="quota-clients"`, "3 in use")
	leads(t, post(t, "users", "10", "clients", ""), quota)
	at(t, p.get(t, quota), http.StatusOK, quota, `value="10"`)
	for _, wrong := range []string{"-1", "ten", "1.5", "99999999999"} {
		at(t, post(t, "users", "5", "clients", wrong), http.StatusUnprocessableEntity, quota, `id="quota-clients-error"`, `value="`+wrong+`"`, `value="5"`)
	}
	if q := p.refreshed(t, "acme").Quota; q.Users == nil || *q.Users != 10 || q.Clients != nil {
		t.Errorf("the quota is %+v", q)
	}
	leads(t, post(t, "users", "10", "clients", "0"), quota)
	leads(t, post(t, "users", "10", "clients", "0"), quota) // changes nothing
	seen := version(t, p.get(t, quota))
	leads(t, post(t, "users", "", "clients", "0"), quota)
	// A form from before that would bring the users back, and does not know that it would.
	for _, stale := range []string{seen, "", "x"} {
		at(t, p.post(t, quota, "users", "10", "clients", "7", "revision", stale), http.StatusConflict, quota, `id="stale"`, `value="10"`, `value="7"`, "<dd>∞</dd>")
	}
	if q := p.refreshed(t, "acme").Quota; q.Users != nil || q.Clients == nil || *q.Clients != 0 {
		t.Errorf("the quota is %+v", q)
	}
	changes := p.DB.Ask(t, p.Acme.ID, "SELECT detail::text FROM parako.audit_events WHERE type = 'tenant.quota_changed' ORDER BY occurred_at")
	if diff := cmp.Diff([]string{`{"users": "10"}`, `{"clients": "0"}`, `{"users": "unlimited"}`}, changes); diff != "" {
		t.Errorf("the trail mismatch (-want +got)\n%s", diff)
	}
}

func TestPlatformGivesATenantDomains(t *testing.T) {
	t.Parallel()
	a, dns := appWithDNS(t)
	p, olga := administrator(t, a, "olga")
	const domains, host = "/platform/tenants/acme/domains", "login.acme.example"
	at(t, p.get(t, domains), http.StatusOK, domains, p.Acme.Issuer, `id="domain-form"`)
	at(t, p.post(t, domains, "do", "add", "domain", "https://kept"), http.StatusBadRequest, domains, `id="domains-alert"`, `value="https://kept"`)
	leads(t, p.post(t, domains, "do", "add", "domain", host), domains)
	page := p.get(t, domains)
	at(t, page, http.StatusOK, domains, "Waits for its record", "_parako-challenge."+host)
	record := regexp.MustCompile(`parako-domain-verification=[^<]+`).FindString(page.Text)

	at(t, p.post(t, domains, "do", "check", "domain", host), http.StatusConflict, domains, "The TXT record was not found")
	dns.Set("_parako-challenge."+host, []string{record})
	leads(t, p.post(t, domains, "do", "check", "domain", host), domains)
	at(t, p.get(t, domains), http.StatusOK, domains, "Verified", "/domains/primary?domain="+host, "/domains/release?domain="+host)

	at(t, p.get(t, domains+"/primary?domain="+host), http.StatusOK, domains+"/primary?domain="+host, `id="ask-effect"`, host)
	if now := p.refreshed(t, "acme"); now.Domain != "" {
		t.Fatal("the question alone did something")
	}
	leads(t, app.Get(t, p.step, p.origin+domains+"/primary"), domains) // What somebody comes back to who had to sign in.
	leads(t, p.post(t, domains+"/primary", "domain", host), domains)
	if now := p.refreshed(t, "acme"); now.Domain != host {
		t.Errorf("the primary domain is %q", now.Domain)
	}
	at(t, p.post(t, domains+"/release", "domain", host), http.StatusConflict, domains+"/release", "This is the tenant&#39;s primary domain.")
	at(t, p.post(t, domains+"/release", "domain", "other.example"), http.StatusNotFound, domains+"/release", "has not claimed")
	at(t, p.get(t, domains), http.StatusOK, domains, `id="domain-base-primary"`)
	leads(t, p.post(t, domains+"/primary", "domain", ""), domains)
	leads(t, p.post(t, domains+"/release", "domain", host), domains)
	at(t, p.get(t, domains), http.StatusOK, domains, "Released")
	by := "operator user:" + olga.ID.String()
	trail := p.DB.Ask(t, p.Acme.ID, "SELECT type || ' ' || actor_type || ' ' || actor_id FROM parako.audit_events WHERE type LIKE 'domain.%' ORDER BY occurred_at, id")
	var want []string
	for _, event := range []audit.Type{audit.DomainAdded, audit.DomainVerified, audit.DomainPrimary, audit.DomainPrimary, audit.DomainReleased} {
		want = append(want, string(event)+" "+by)
	}
	if diff := cmp.Diff(want, trail); diff != "" {
		t.Errorf("the trail mismatch (-want +got)\n%s", diff)
	}
}

func TestPlatformChangesTheKeysOfATenant(t *testing.T) {
	t.Parallel()
	p, _ := administrator(t, app.New(t), "olga")
	const keys = "/platform/tenants/acme/keys"
	at(t, p.get(t, keys), http.StatusOK, keys, "when it is first used")
	app.Get(t, p.Client(t), p.Acme.Issuer+"/jwks")
	page := p.get(t, keys)
	at(t, page, http.StatusOK, keys, `id="rotate-ES256"`, `id="rotate-RS256"`, "Signs ·")
	leads(t, p.post(t, keys, "alg", "ES256"), keys)
	page = p.get(t, keys)
	at(t, page, http.StatusOK, keys, "Signs from", `id="rotate-RS256"`)
	if strings.Contains(page.Text, `id="rotate-ES256"`) {
		t.Error("a key that has its successor is rotated again")
	}
	at(t, p.post(t, keys, "alg", "none"), http.StatusNotFound, keys, "The tenant has no such key.")

	signing := p.DB.Ask(t, p.Acme.ID, "SELECT kid FROM parako.signing_keys WHERE alg = 'EdDSA'")[0]
	question := keys + "/revoke?kid=" + signing
	holds(t, page.Text, `href="`+question+`"`)
	at(t, p.get(t, question), http.StatusOK, question, `id="ask-effect"`, signing)
	leads(t, app.Get(t, p.step, p.origin+keys+"/revoke"), keys)
	at(t, p.get(t, keys+"/revoke?kid=nothing"), http.StatusNotFound, keys+"/revoke?kid=nothing")
	leads(t, p.post(t, keys+"/revoke", "kid", signing), keys)
	at(t, p.get(t, keys), http.StatusOK, keys, "Revoked")
	at(t, p.post(t, keys+"/revoke", "kid", signing), http.StatusConflict, keys+"/revoke", "The key is retired already.")
	if left := p.DB.Ask(t, p.Acme.ID, "SELECT count(*)::text FROM parako.signing_keys WHERE alg = 'EdDSA' AND status = 'active'")[0]; left != "1" {
		t.Errorf("%s EdDSA keys sign, want the successor", left)
	}
	by := p.DB.Ask(t, p.Acme.ID, "SELECT DISTINCT actor_type FROM parako.audit_events WHERE type = 'key.revoked'")
	if diff := cmp.Diff([]string{"operator"}, by); diff != "" {
		t.Errorf("the trail mismatch (-want +got)\n%s", diff)
	}
}

func TestPlatformRemovesATenant(t *testing.T) {
	t.Parallel()
	p, olga := administrator(t, app.New(t), "olga")
	const deletion = "/platform/tenants/acme/deletion"
	at(t, p.get(t, deletion), http.StatusOK, deletion, `id="deletion-effect"`, `value="30"`, "<bdi>acme</bdi>")
	for _, typed := range [][3]string{{"globex", "30", "confirm-error"}, {"", "30", "confirm-error"}, {"acme", "0", "days-error"}, {"acme", "x", "days-error"}, {"acme", "3661", "days-error"}} {
		at(t, p.post(t, deletion, "confirm", typed[0], "days", typed[1]), http.StatusUnprocessableEntity, deletion, `id="`+typed[2]+`"`, `value="`+typed[1]+`"`)
	}
	if now := p.refreshed(t, "acme"); now.DeleteAfter != nil || now.Status != tenant.Active {
		t.Fatalf("something happened: %+v", now)
	}
	p.Superuser(t, "UPDATE parako.sessions SET auth_time = auth_time - interval '16 minutes' WHERE user_id = $1", olga.ID)
	resp := p.post(t, deletion, "confirm", "acme", "days", "3")
	if !strings.HasPrefix(resp.Header.Get("Location"), p.origin+"/oidc/v1/interaction/") {
		t.Fatalf("%d to %q, want the sign-in", resp.StatusCode, resp.Header.Get("Location"))
	}
	login := app.Get(t, p.browser, resp.Header.Get("Location"))
	resp = app.Post(t, p.browser, login.Request.URL.String()+"/login", url.Values{"identifier": {"olga"}, "password": {app.Password}})
	at(t, resp, http.StatusOK, deletion, `id="deletion-form"`)

	leads(t, p.post(t, deletion, "confirm", " acme ", "days", "3"), deletion)
	now := p.refreshed(t, "acme")
	if now.DeleteAfter == nil || now.Status != tenant.Archived || now.DeleteAfter.Sub(now.UpdatedAt).Hours() != 72 {
		t.Errorf("it is %+v", now)
	}
	due := now.DeleteAfter.UTC().Format("2006-01-02 15:04 MST")
	at(t, p.get(t, deletion), http.StatusOK, deletion, due, `id="restore-submit"`)
	at(t, p.get(t, "/platform/tenants/acme"), http.StatusOK, "/platform/tenants/acme", due)
	at(t, p.post(t, deletion, "confirm", "acme", "days", "3"), http.StatusConflict, deletion, "The tenant is to be deleted.")
	leads(t, p.post(t, deletion, "do", "restore"), "/platform/tenants/acme")
	at(t, p.post(t, deletion, "do", "restore"), http.StatusConflict, deletion, "The tenant is not to be deleted")

	// One that is being imported has an end, too, which is nothing that was asked for.
	if _, err := tenant.Provision(t.Context(), p.Store, tenant.New{Slug: "moving", DisplayName: "Moving", Operator: "test", Base: p.Base(t)}, "", tenant.Quota{}); err != nil {
		t.Fatal(err)
	}
	const moving = "/platform/tenants/moving/deletion"
	page := p.get(t, moving)
	at(t, page, http.StatusOK, moving, `id="deletion-due"`)
	if strings.Contains(page.Text, "restore-submit") {
		t.Error("an import that is not complete can be restored")
	}
	at(t, p.post(t, moving, "do", "restore"), http.StatusConflict, moving, "being imported")
	if p.refreshed(t, "acme").DeleteAfter != nil {
		t.Error("it is still to be removed")
	}
	by := " operator user:" + olga.ID.String()
	want := []string{"tenant.created operator test", "tenant.status_changed" + by, "tenant.deletion_requested" + by, "tenant.restored" + by}
	if diff := cmp.Diff(want, p.trail(t, "acme")); diff != "" {
		t.Errorf("the trail mismatch (-want +got)\n%s", diff)
	}
	for _, name := range []string{"quota", "deletion"} {
		own := "/platform/tenants/_platforms/" + name
		at(t, p.get(t, own), http.StatusForbidden, own)
		at(t, p.post(t, own, "confirm", "_platforms", "days", "1", "users", "1"), http.StatusForbidden, own)
	}
}

// TestViewerOfThePlatformChangesNoTenant visits every page about a tenant and posts to each.
func TestViewerOfThePlatformChangesNoTenant(t *testing.T) {
	t.Parallel()
	p := openPlatform(t, app.New(t))
	app.Get(t, p.Client(t), p.Acme.Issuer+"/jwks")
	kid := p.DB.Ask(t, p.Acme.ID, "SELECT kid FROM parako.signing_keys WHERE alg = 'ES256'")[0]
	if _, err := domainsOf(t, p.App).AddDomain(t.Context(), p.Acme.ID, "login.acme.example", audit.Operator("test")); err != nil {
		t.Fatal(err)
	}
	p.employ(t, "vera", directory.PlatformViewer)
	const of = "/platform/tenants/acme"
	at(t, p.signIn(t, of+"/keys", "vera", app.Password), http.StatusOK, of+"/keys", kid)
	for path, shown := range map[string]string{"": `id="tenant-quota"`, "/quota": "∞", "/domains": "_parako-challenge.login.acme.example", "/keys": kid, "/deletion": `id="deletion-effect"`} {
		page := p.get(t, of+path)
		at(t, page, http.StatusOK, of+path, shown)
		if found := regexp.MustCompile(`<(form|button|input|select)\b`).FindString(page.Text); found != "" || strings.Contains(page.Text, "/revoke") || strings.Contains(page.Text, "/release") {
			t.Errorf("%s has a %s, or leads to a question\n%s", path, found, page.Text)
		}
	}
	posted := 0
	for _, r := range p.Server.Routes() {
		if !ofPlatform(r) || !strings.Contains(r.Path, ":slug") {
			continue
		}
		path := strings.NewReplacer(":slug", "acme", ":section", "oidc").Replace(r.Path)
		if slices.Contains([]string{"/primary", "/release", "/revoke", "/edit", "/status"}, path[strings.LastIndexByte(path, '/'):]) {
			at(t, p.get(t, path+"?domain=login.acme.example&kid="+kid+"&status=archived"), http.StatusForbidden, path+"?domain=login.acme.example&kid="+kid+"&status=archived")
		}
		if r.Method == http.MethodPost {
			posted++
			at(t, p.post(t, path, "version", "0", "v.token_ttl.access_token", "5", "domain", "login.acme.example", "kid", kid, "alg", "ES256", "users", "1", "confirm", "acme", "days", "1",
				"status", "archived", "display_name", "Vera", "revision", "1"), http.StatusForbidden, path)
		}
	}
	if posted < 10 {
		t.Fatalf("%d forms: the pages were not found", posted)
	}
	if diff := cmp.Diff([]string{"tenant.created operator test"}, p.trail(t, "acme")); diff != "" {
		t.Errorf("the trail mismatch (-want +got)\n%s", diff)
	}
}
