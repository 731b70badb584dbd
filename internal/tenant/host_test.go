package tenant_test

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/outbound"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

// TestVouchedDomain is that of a tenant whose creator answers for it.
func TestVouchedDomain(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	org, err := tenant.Create(t.Context(), n.store, tenant.New{Slug: "shop", DisplayName: "Shop", Domain: "Bücher.example", Base: n.Base, Operator: "alice"})
	if err != nil || org.Domain != "xn--bcher-kva.example" {
		t.Fatalf("Create = %+v, %v", org, err)
	}
	d := n.state(t, org, org.Domain, tenant.DomainVerified)
	if !d.Primary || d.Record != nil || d.Unicode != "bücher.example" {
		t.Errorf("its domain is %+v", d)
	}
	if check, err := n.CheckDomain(t.Context(), org.ID, d.ID); err != nil || check.Next != 0 || len(n.dns.Asked()) > 0 {
		t.Errorf("CheckDomain = %+v, %v, asking for %q", check, err, n.dns.Asked())
	}
	if _, err := n.SetPrimaryDomain(t.Context(), org.ID, "", nil, alice); err != nil {
		t.Fatal(err)
	}
	if _, err := n.ReleaseDomain(t.Context(), org.ID, org.Domain, alice); err != nil {
		t.Fatal(err)
	}
	jobs := n.db.AskAbove(t, "SELECT kind FROM jobs.river_job WHERE args = jsonb_build_object('tenant_id', $1::text, 'id', $2::text)", org.ID.String(), d.ID.String())
	if diff := cmp.Diff([]string{"domain_check"}, jobs); diff != "" {
		t.Errorf("nothing forgets it after its quarantine (-want +got)\n%s", diff)
	}
}

// TestReleasedDomainStopsLeading has an instance hold the name in every way it can come to hold it.
func TestReleasedDomainStopsLeading(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(*testing.T, watched, tenant.Tenant){
		"it polls": func(*testing.T, watched, tenant.Tenant) {},
		// The tenant is held at the new revision when the poll hears of it.
		"it has read the tenant": func(t *testing.T, w watched, org tenant.Tenant) {
			t.Helper()
			w.Hold(org)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			acme := testkit.Tenant(t, w.store, "acme")
			dns := testkit.NewDNS(t)
			r := &tenant.Registrar{Store: w.store, DNS: outbound.NewResolver(dns.Addr), Base: &url.URL{Scheme: "https", Host: "id.example.com"}, Quarantine: quarantine}
			d, err := r.AddDomain(t.Context(), acme.ID, "login.acme.example", alice)
			if err != nil {
				t.Fatal(err)
			}
			w.poll()
			host := func(found bool) {
				t.Helper()
				if got, err := w.ByName(t.Context(), "host", d.Name); (err == nil) != found || err == nil && got.ID != acme.ID || err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Errorf("ByName = %q, %v; want it to be found: %t", got.Slug, err, found)
				}
			}
			host(false)
			dns.Set(d.Record.Name, []string{d.Record.Value})
			if _, err := r.VerifyDomain(t.Context(), acme.ID, d.Name, alice); err != nil {
				t.Fatal(err)
			}
			w.poll()
			host(true)
			if _, err := r.ReleaseDomain(t.Context(), acme.ID, d.Name, alice); err != nil {
				t.Fatal(err)
			}
			released, err := tenant.BySlug(t.Context(), w.store, "acme")
			if err != nil {
				t.Fatal(err)
			}
			meanwhile(t, w, released)
			w.poll()
			host(false)
			host(false)
		})
	}
}

// TestHostsOfATenant says which requests belong to another host, and which hosts a certificate is for.
func TestHostsOfATenant(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	for _, host := range []string{"login.acme.example", "other.acme.example", "login.globex.example"} {
		org := n.acme
		if host == "login.globex.example" {
			org = n.globex
		}
		n.verified(t, org, host)
	}
	n.claim(t, n.acme, "pending.acme.example")
	if _, err := n.SetPrimaryDomain(t.Context(), n.acme.ID, "login.acme.example", nil, alice); err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.Create(t.Context(), n.store, tenant.New{Slug: "gone", DisplayName: "Gone", Domain: "login.gone.example", Base: n.Base}); err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.SetStatus(t.Context(), n.store, "gone", tenant.Suspended, "test"); err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.EnsurePlatforms(t.Context(), n.store); err != nil {
		t.Fatal(err)
	}
	resolver := func(change ...func(*tenant.Options)) *tenant.Resolver {
		o := tenant.Options{Enabled: true, FromHeader: true, FromHost: true, Header: "x-tenant-id", Base: n.Base, Log: slog.New(slog.DiscardHandler)}
		for _, f := range change {
			f(&o)
		}
		return tenant.NewResolver(tenant.NewRegistry(n.store, o.Log, time.Now), o)
	}
	v := resolver()
	for host, want := range map[string]string{
		"login.acme.example": "", "LOGIN.ACME.example:443": "", "other.acme.example": "https://login.acme.example", "acme.id.example.com": "https://login.acme.example",
		"login.globex.example": "https://globex.id.example.com", "globex.id.example.com": "", "_ops.id.example.com": "", "_platforms.id.example.com": "",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		org, err := v.Resolve(r)
		if err != nil {
			t.Errorf("Resolve(%s): %v", host, err)
			continue
		}
		got, elsewhere := v.Elsewhere(r, org)
		if elsewhere != (want != "") || elsewhere && got != want {
			t.Errorf("Elsewhere(%s) = %q, %t; want %q", host, got, elsewhere, want)
		}
	}
	for host, want := range map[string]bool{
		"login.acme.example": true, "other.acme.example": true, "Login.Globex.example.": true, "acme.id.example.com": true, "_ops.id.example.com": true,
		"_platforms.id.example.com": true, "id.example.com": true, "pending.acme.example": false, "login.gone.example": false,
		"gone.id.example.com": false, "nobody.id.example.com": false, "default.id.example.com": false, "a.acme.id.example.com": false,
		"evil.example": false, "": false, "203.0.113.1": false, "[::1]": false, "-.id.example.com": false, "acme.example/..": false,
	} {
		if got, err := v.Serves(t.Context(), host); err != nil || got != want {
			t.Errorf("Serves(%s) = %t, %v; want %t", host, got, err, want)
		}
	}
	for _, v := range []*tenant.Resolver{resolver(func(o *tenant.Options) { o.Enabled = false }), resolver(func(o *tenant.Options) { o.FromHost = false })} {
		for host, want := range map[string]bool{"id.example.com": true, "acme.id.example.com": false, "login.acme.example": false} {
			if got, err := v.Serves(t.Context(), host); err != nil || got != want {
				t.Errorf("Serves(%s) where hosts do not count = %t, %v; want %t", host, got, err, want)
			}
		}
	}
	n.store.Close()
	if got, err := v.Serves(t.Context(), "acme.id.example.com"); err == nil || got {
		t.Errorf("Serves without a database = %t, %v", got, err)
	}
}

// TestHostOfAnothersIssuer has a tenant prove a host on which another has an issuer, and hosts whose names begin and end alike.
func TestHostOfAnothersIssuer(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	issues := func(issuer string) {
		t.Helper()
		if _, err := tenant.Update(t.Context(), n.store, "globex", tenant.Changes{IssuerURL: &issuer, Base: n.Base, Operator: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	const host = "login.acme.example"
	claimed := n.claim(t, n.acme, host)
	for _, issuer := range []string{"https://" + host, "https://" + host + "/oidc", "https://" + host + ":8443/oidc"} {
		issues(issuer)
		if _, err := n.VerifyDomain(t.Context(), n.acme.ID, host, alice); !errors.Is(err, tenant.ErrDomainTaken) {
			t.Errorf("beside the issuer %s: %v, want ErrDomainTaken", issuer, err)
		}
	}
	n.verified(t, n.acme, host+".org")
	n.verified(t, n.acme, "x."+host)
	n.leads(t, host, uuid.Nil)
	n.verified(t, n.globex, host) // It is its own.
	issues("")
	n.dns.Set(claimed.Record.Name, []string{claimed.Record.Value})
	if _, err := n.VerifyDomain(t.Context(), n.acme.ID, host, alice); !errors.Is(err, tenant.ErrDomainTaken) {
		t.Errorf("beside the domain: %v, want ErrDomainTaken", err)
	}
}

// TestIssuersHostIsFree has a host proven once no issuer is on it any more.
func TestIssuersHostIsFree(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	const host = "login.acme.example"
	for _, issuer := range []string{"https://" + host + "/oidc", ""} {
		if _, err := tenant.Update(t.Context(), n.store, "globex", tenant.Changes{IssuerURL: &issuer, Base: n.Base, Operator: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	n.verified(t, n.acme, host)
}
