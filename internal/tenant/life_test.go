package tenant_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/tenant"
	"parako/internal/testkit"
)

var base = &url.URL{Scheme: "https", Host: "id.example.com"}

func TestUpdate(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	acme := testkit.Tenant(t, s, "acme")
	issuer, none, name, spaced := "https://login.acme.example/oidc", "", "Acme Rockets", "  Acme Rockets "
	want := acme
	for _, step := range []struct {
		change  tenant.Changes
		name    string
		issuer  string
		because string
	}{
		{tenant.Changes{DisplayName: &spaced}, name, "", "a name"},
		{tenant.Changes{IssuerURL: &issuer}, name, issuer, "an issuer"},
		{tenant.Changes{IssuerURL: &issuer}, name, issuer, "the same issuer again"},
		{tenant.Changes{IssuerURL: &none}, name, "", "no issuer"},
		{tenant.Changes{IssuerURL: &issuer, DisplayName: &name}, name, issuer, "the issuer that was given back"},
	} {
		step.change.Base, step.change.Operator = base, "alice"
		got, err := tenant.Update(t.Context(), s, "acme", step.change)
		if err != nil {
			t.Fatalf("%s: %v", step.because, err)
		}
		want.DisplayName, want.IssuerURL, want.Revision, want.UpdatedAt = step.name, step.issuer, want.Revision+1, got.UpdatedAt
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: Update mismatch (-want +got)\n%s", step.because, diff)
		}
		if got.Issuer(base, "/oidc/v1") != issuer && step.issuer != "" {
			t.Errorf("%s: issuer = %s", step.because, got.Issuer(base, "/oidc/v1"))
		}
	}
	trail := db.Ask(t, acme.ID, "SELECT actor_id || ' ' || detail FROM parako.audit_events WHERE type = 'tenant.updated' ORDER BY id")
	if len(trail) != 5 || trail[0] != `alice {"display_name": "Acme Rockets"}` || trail[3] != `alice {"issuer_url": ""}` {
		t.Errorf("audit trail: %q", trail)
	}
}

// TestOneIssuerAtATime gives a tenant two issuers at once: it gets one of them and has claimed no other.
func TestOneIssuerAtATime(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	acme := testkit.Tenant(t, s, "acme")
	release := db.Hold(t, "SELECT FROM parako.tenants WHERE id = $1 FOR UPDATE", acme.ID)
	outcomes := make(chan error, 2)
	for _, issuer := range []string{"https://one.acme.example", "https://two.acme.example"} {
		go func() {
			_, err := tenant.Update(t.Context(), s, "acme", tenant.Changes{IssuerURL: &issuer, Base: base, Operator: "test"})
			outcomes <- err
		}()
	}
	// Both have seen that there is no issuer.
	for db.AskAbove(t, "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%UPDATE parako.tenants%'")[0] != "2" {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
	release()
	first, second := <-outcomes, <-outcomes
	if first != nil {
		first, second = second, first
	}
	if first != nil || !errors.Is(second, tenant.ErrChanged) {
		t.Errorf("Update = %v and %v, want one that succeeds and ErrChanged", first, second)
	}
	got, err := tenant.BySlug(t.Context(), s, "acme")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{got.IssuerURL}, db.AskAbove(t, "SELECT name FROM parako.tenant_locators WHERE kind = 'issuer'")); diff != "" {
		t.Errorf("claimed issuers mismatch (-the tenant's +claimed)\n%s", diff)
	}
}

func TestUpdateRefuses(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	acme := testkit.Tenant(t, s, "acme")
	testkit.Tenant(t, s, "globex")
	if _, err := tenant.Create(t.Context(), s, tenant.New{Slug: "shop", DisplayName: "Shop", Domain: "login.shop.example", Base: base, Operator: "test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.EnsurePlatforms(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	of := func(issuer string) tenant.Changes { return tenant.Changes{IssuerURL: &issuer, Base: base} }
	claimed := of("https://id.globex.example")
	if _, err := tenant.Update(t.Context(), s, "globex", claimed); err != nil {
		t.Fatal(err)
	}
	name, nothing, long := "Name", " ", strings.Repeat("é", 256)
	type change struct {
		slug   string
		change tenant.Changes
		want   error
	}
	tests := map[string]change{
		"the platform's own tenant":        {tenant.PlatformsSlug, tenant.Changes{DisplayName: &name}, tenant.ErrProtected},
		"the platform's issuer":            {tenant.PlatformsSlug, of("https://platforms.example"), tenant.ErrProtected},
		"the built-in tenant":              {tenant.DefaultSlug, tenant.Changes{DisplayName: &name}, tenant.ErrUnknown},
		"the gateway":                      {tenant.OpsSlug, tenant.Changes{DisplayName: &name}, tenant.ErrUnknown},
		"a tenant that is not there":       {"nobody", tenant.Changes{DisplayName: &name}, tenant.ErrUnknown},
		"no name":                          {"acme", tenant.Changes{DisplayName: &nothing}, tenant.ErrDisplayName},
		"a long name":                      {"acme", tenant.Changes{DisplayName: &long}, tenant.ErrDisplayName},
		"the issuer of another":            {"acme", claimed, tenant.ErrIssuerTaken},
		"another's host":                   {"acme", of("https://globex.id.example.com/oidc/v1"), tenant.ErrIssuerTaken},
		"a host that another may get":      {"acme", of("https://initech.id.example.com/oidc/v1"), tenant.ErrIssuerTaken},
		"the domain of another":            {"acme", of("https://login.shop.example/acme"), tenant.ErrIssuerTaken},
		"the deployment's own issuer":      {"acme", of("https://id.example.com/oidc/v1"), tenant.ErrIssuerTaken},
		"another's path of the deployment": {"acme", of("https://id.example.com/globex"), tenant.ErrIssuerTaken},
	}
	for name, issuer := range map[string]string{
		"plain http": "http://login.acme.example", "another scheme": "ftp://login.acme.example", "no scheme": "login.acme.example/oidc",
		"a path alone": "/oidc", "a final slash": "https://login.acme.example/", "a final slash behind a path": "https://login.acme.example/oidc/",
		"a query": "https://login.acme.example?x=y", "an empty query": "https://login.acme.example?", "a fragment": "https://login.acme.example#x",
		"an empty fragment": "https://login.acme.example#", "a user": "https://user@login.acme.example", "capitals": "https://Login.acme.example",
		"a capital scheme": "HTTPS://login.acme.example", "an empty port": "https://login.acme.example:", "a final dot": "https://login.acme.example.",
		"dots": "https://login.acme.example/a/../b", "two slashes": "https://login.acme.example/a//b", "an escape": "https://login.acme.example/%61",
		"a space": "https://login.acme.example/a b", "a new line": "https://login.acme.example/\n", "no host": "https:///oidc", "too long": "https://login.acme.example/" + strings.Repeat("a", 253),
		"another script": "https://lögin.acme.example", "a quote": `https://login.acme.example/"`,
	} {
		tests[name] = change{"acme", of(issuer), tenant.ErrIssuerFormat}
	}
	for name, tt := range tests {
		got, err := tenant.Update(t.Context(), s, tt.slug, tt.change)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: Update = %v, want %v", name, err, tt.want)
		}
		if diff := cmp.Diff(tenant.Tenant{}, got); diff != "" {
			t.Errorf("%s: Update gives a tenant beside the error (-want +got)\n%s", name, diff)
		}
	}
	if got, err := tenant.BySlug(t.Context(), s, "acme"); err != nil || got.Revision != acme.Revision {
		t.Errorf("acme = %+v, %v; want it untouched", got, err)
	}
}

// TestIssuersThatAreAllowed are of a tenant's own host, its path of the deployment's, and elsewhere.
func TestIssuersThatAreAllowed(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	if _, err := tenant.Create(t.Context(), s, tenant.New{Slug: "shop", DisplayName: "Shop", Domain: "login.shop.example", Base: base, Operator: "test"}); err != nil {
		t.Fatal(err)
	}
	local := &url.URL{Scheme: "http", Host: "localhost:9007"}
	for issuer, base := range map[string]*url.URL{
		"https://shop.id.example.com": base, "https://id.example.com/shop": base, "https://id.example.com/shop/oidc": base,
		"https://login.shop.example/oidc": base, "https://elsewhere.example:8443/a-b_c~d.e": base, "http://shop.localhost:9007/oidc/v1": local,
	} {
		if got, err := tenant.Update(t.Context(), s, "shop", tenant.Changes{IssuerURL: &issuer, Base: base}); err != nil || got.IssuerURL != issuer {
			t.Errorf("%s: %+v, %v", issuer, got, err)
		}
	}
}

func TestTransitions(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	acme := testkit.Tenant(t, s, "acme")
	for _, step := range []struct {
		to   tenant.Status
		want error
	}{
		{tenant.Active, nil},
		{tenant.Archived, nil},
		{tenant.Suspended, tenant.ErrTransition},
		{tenant.Archived, nil},
		{tenant.Active, nil},
		{tenant.Suspended, nil},
		{tenant.Suspended, nil},
		{tenant.Active, nil},
		{tenant.Suspended, nil},
		{tenant.Archived, nil},
		{tenant.Active, nil},
	} {
		if _, err := tenant.SetStatus(t.Context(), s, "acme", step.to, "test"); !errors.Is(err, step.want) {
			t.Errorf("to %s: %v, want %v", step.to, err, step.want)
		}
	}
	if got, err := tenant.BySlug(t.Context(), s, "acme"); err != nil || got.Status != tenant.Active || got.Revision != acme.Revision+7 {
		t.Errorf("%+v, %v; want it active after 7 changes", got, err)
	}
}

// TestStatusAtARevision changes the status of a tenant that has changed since it was read.
func TestStatusAtARevision(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	seen := testkit.Tenant(t, s, "acme").Revision
	name := "Acme Ltd"
	if _, err := tenant.Update(t.Context(), s, "acme", tenant.Changes{DisplayName: &name, Operator: "test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.SetStatusAt(t.Context(), s, "acme", tenant.Suspended, &seen, "test"); !errors.Is(err, tenant.ErrRevision) {
		t.Errorf("SetStatusAt an old revision: %v, want ErrRevision", err)
	}
	seen++
	if got, err := tenant.SetStatusAt(t.Context(), s, "acme", tenant.Suspended, &seen, "test"); err != nil || got.Status != tenant.Suspended {
		t.Errorf("SetStatusAt the revision it has = %+v, %v", got, err)
	}
}
