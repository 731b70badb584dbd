package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"golang.org/x/net/dns/dnsmessage"

	"parako/internal/audit"
	"parako/internal/outbound"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

const quarantine = 30 * 24 * time.Hour

// names is a registrar on a database with two tenants, and the DNS it asks.
type names struct {
	*tenant.Registrar

	db           *testkit.DB
	store        *store.Store
	dns          *testkit.DNS
	acme, globex tenant.Tenant
}

func newNames(t *testing.T) names {
	t.Helper()
	n := names{db: testkit.NewDB(t), dns: testkit.NewDNS(t)}
	n.store = n.db.Store(t)
	n.Registrar = &tenant.Registrar{
		Store: n.store, DNS: outbound.NewResolver(n.dns.Addr), Base: &url.URL{Scheme: "https", Host: "id.example.com"}, Quarantine: quarantine,
	}
	n.acme, n.globex = testkit.Tenant(t, n.store, "acme"), testkit.Tenant(t, n.store, "globex")
	return n
}

var alice = audit.Operator("alice")

// claim adds a domain and puts its record beside those that are in the DNS.
func (n names) claim(t *testing.T, org tenant.Tenant, name string) tenant.Domain {
	t.Helper()
	d, err := n.AddDomain(t.Context(), org.ID, name, alice)
	if err != nil {
		t.Fatalf("AddDomain(%s): %v", name, err)
	}
	n.dns.Set(d.Record.Name, []string{d.Record.Value})
	return d
}

// verified is a domain that leads to the tenant.
func (n names) verified(t *testing.T, org tenant.Tenant, name string) tenant.Domain {
	t.Helper()
	n.claim(t, org, name)
	d, err := n.VerifyDomain(t.Context(), org.ID, name, alice)
	if err != nil {
		t.Fatalf("VerifyDomain(%s): %v", name, err)
	}
	return d
}

// leads fails the test unless the host leads to the tenant; nil means to nobody.
func (n names) leads(t *testing.T, host string, to uuid.UUID) {
	t.Helper()
	id, err := n.store.Locate(t.Context(), "host", host)
	if id != to || (err != nil) != (to == uuid.Nil) || err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%s leads to %s, %v; want %s", host, id, err, to)
	}
}

// state fails the test unless the tenant's only claim of the name is in the state; none: it has none.
func (n names) state(t *testing.T, org tenant.Tenant, name string, want tenant.DomainState) tenant.Domain {
	t.Helper()
	list, err := n.Domains(t.Context(), org.ID)
	if err != nil {
		t.Fatal(err)
	}
	var found tenant.Domain
	for _, d := range list {
		if d.Name == name {
			found = d
		}
	}
	if found.State != want {
		t.Errorf("%s is %q, want %q", name, found.State, want)
	}
	return found
}

func (n names) trail(t *testing.T, org tenant.Tenant) []string {
	t.Helper()
	return n.db.Ask(t, org.ID, `SELECT concat_ws(' ', type, status, actor_type, actor_id, target_type, target_id, detail - 'released_after')
		FROM parako.audit_events WHERE type LIKE 'domain.%' ORDER BY id`)
}

func revision(t *testing.T, s *store.Store, slug string) int64 {
	t.Helper()
	org, err := tenant.BySlug(t.Context(), s, slug)
	if err != nil {
		t.Fatal(err)
	}
	return org.Revision
}

// TestDomainFromClaimToRelease follows one domain through its life.
func TestDomainFromClaimToRelease(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	ctx, id, before := t.Context(), n.acme.ID, revision(t, n.store, "acme")
	claimed, err := n.AddDomain(ctx, id, " Login.Bücher.Example. ", alice)
	if err != nil {
		t.Fatal(err)
	}
	const host = "login.xn--bcher-kva.example"
	token := strings.TrimPrefix(claimed.Record.Value, "parako-domain-verification=")
	if claimed.Name != host || claimed.Unicode != "login.bücher.example" || claimed.State != tenant.DomainPending || claimed.Record.Type != "TXT" ||
		claimed.Record.Name != "_parako-challenge."+host || len(token) < 22 || token == claimed.Record.Value {
		t.Errorf("AddDomain = %+v, %+v", claimed, claimed.Record)
	}
	if again, err := n.AddDomain(ctx, id, host, alice); err != nil || again.ID != claimed.ID || again.Record.Value != claimed.Record.Value {
		t.Errorf("AddDomain again = %+v, %v; want the same claim", again, err)
	}
	n.leads(t, host, uuid.Nil)
	if _, err := n.SetPrimaryDomain(ctx, id, host, nil, alice); !errors.Is(err, tenant.ErrDomainPending) {
		t.Errorf("SetPrimaryDomain before the proof: %v, want ErrDomainPending", err)
	}

	verify := func(want error) tenant.Domain {
		t.Helper()
		d, err := n.VerifyDomain(ctx, id, "login.bücher.example", alice)
		if !errors.Is(err, want) {
			t.Errorf("VerifyDomain: %v, want %v", err, want)
		}
		return d
	}
	at, value := claimed.Record.Name, claimed.Record.Value
	verify(tenant.ErrDomainUnproven)
	for _, wrong := range []string{value[:len(value)-1], value + "x", strings.ToUpper(value), token, "parako-domain-verification=", " " + value, ""} {
		n.dns.Set(at, []string{wrong})
		verify(tenant.ErrDomainUnproven)
	}
	n.dns.Set(at)
	verify(tenant.ErrDomainUnproven)
	n.dns.Break(at, dnsmessage.RCodeServerFailure)
	verify(tenant.ErrDomainUnchecked)
	if _, err := n.VerifyDomain(n.dns.Ignore(ctx, at), id, host, alice); !errors.Is(err, tenant.ErrDomainUnchecked) {
		t.Errorf("VerifyDomain without an answer: %v, want ErrDomainUnchecked", err)
	}
	n.leads(t, host, uuid.Nil)
	if got := revision(t, n.store, "acme"); got != before {
		t.Errorf("a claim without a proof has moved the revision from %d to %d", before, got)
	}
	n.dns.Set(at, []string{"v=spf1 -all"}, []string{value[:10], value[10:]}, []string{"parako-domain-verification=old"})
	if d := verify(nil); d.State != tenant.DomainVerified || d.Primary || d.Verified == nil || d.Revision != before+1 {
		t.Errorf("VerifyDomain = %+v", d)
	}
	n.leads(t, host, id)
	if _, err := n.AddDomain(ctx, id, host, alice); !errors.Is(err, tenant.ErrDomainClaimed) {
		t.Errorf("AddDomain of a verified one: %v, want ErrDomainClaimed", err)
	}

	moved, err := n.SetPrimaryDomain(ctx, id, "LOGIN.bücher.example", nil, alice)
	if err != nil || moved.Domain != host || moved.Revision != before+2 || moved.Issuer(n.Base, "/oidc/v1") != "https://"+host+"/oidc/v1" {
		t.Errorf("SetPrimaryDomain = %+v, %v", moved, err)
	}
	if d := n.state(t, n.acme, host, tenant.DomainVerified); !d.Primary {
		t.Error("the list does not say that it is primary")
	}
	if _, err := n.ReleaseDomain(ctx, id, host, alice); !errors.Is(err, tenant.ErrDomainPrimary) {
		t.Errorf("ReleaseDomain of the primary: %v, want ErrDomainPrimary", err)
	}
	if moved, err = n.SetPrimaryDomain(ctx, id, "", nil, alice); err != nil || moved.Issuer(n.Base, "") != "https://acme.id.example.com" {
		t.Errorf("SetPrimaryDomain to none = %+v, %v", moved, err)
	}
	if d, err := n.ReleaseDomain(ctx, id, host, alice); err != nil || d.State != tenant.DomainReleased || d.Revision != before+4 {
		t.Errorf("ReleaseDomain = %+v, %v", d, err)
	}
	n.leads(t, host, uuid.Nil)
	n.state(t, n.acme, host, tenant.DomainReleased)
	for what, err := range map[string]error{
		"verify": second(n.VerifyDomain(ctx, id, host, alice)), "release": second(n.ReleaseDomain(ctx, id, host, alice)),
		"make primary": second(n.SetPrimaryDomain(ctx, id, host, nil, alice)),
	} {
		if !errors.Is(err, tenant.ErrDomainUnknown) {
			t.Errorf("%s after the release: %v, want ErrDomainUnknown", what, err)
		}
	}
	want := []string{
		"domain.added success operator alice domain " + host + " {}",
		"domain.verified success operator alice domain " + host + " {}",
		"domain.primary_changed success operator alice domain " + host + ` {"from": ""}`,
		`domain.primary_changed success operator alice domain  {"from": "` + host + `"}`,
		"domain.released success operator alice domain " + host + ` {"reason": "requested"}`,
	}
	if diff := cmp.Diff(want, n.trail(t, n.acme)); diff != "" {
		t.Errorf("audit trail mismatch (-want +got)\n%s", diff)
	}
}

func second[T any](_ T, err error) error { return err }

func TestDomainsThatAreRefused(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	for want, list := range map[error][]string{
		tenant.ErrDomainFormat: {
			"", "localhost", "com", "203.0.113.1", "[2001:db8::1]", "*.acme.example", "https://acme.example", "acme.example:443", "a_b.example",
			"xn--a.example", "ac me.example", "-a.example", strings.Repeat("a", 64) + ".example",
			// There is no room for the challenge.
			strings.Repeat(strings.Repeat("a", 49)+".", 4) + strings.Repeat("b", 28) + ".example",
		},
		tenant.ErrDomainRefused: {
			"id.example.com", "ID.Example.COM.", "acme.id.example.com", "a.b.id.example.com", "co.uk", "github.io", "公司.cn", "x.localhost", "x.local",
		},
		nil: {"example.com", "notid.example.com", "acme.co.uk", strings.Repeat(strings.Repeat("a", 49)+".", 4) + strings.Repeat("b", 27) + ".example"},
	} {
		for _, name := range list {
			if _, err := n.AddDomain(t.Context(), n.acme.ID, name, alice); !errors.Is(err, want) {
				t.Errorf("AddDomain(%s): %v, want %v", name, err, want)
			}
		}
	}
	if asked := n.dns.Asked(); len(asked) > 0 {
		t.Errorf("the DNS was asked for %q", asked)
	}
}

func TestDomainsAreBounded(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	n.db.Superuser(t, "INSERT INTO parako.tenant_domains (tenant_id, id, name, token) SELECT $1, gen_random_uuid(), i || '.example', 'x' FROM generate_series(1, 100) AS i", n.acme.ID)
	if _, err := n.AddDomain(t.Context(), n.acme.ID, "one.example", alice); !errors.Is(err, tenant.ErrDomainLimit) {
		t.Errorf("AddDomain: %v, want ErrDomainLimit", err)
	}
	if _, err := n.AddDomain(t.Context(), n.globex.ID, "one.example", alice); err != nil {
		t.Errorf("AddDomain of another tenant: %v", err)
	}
}

// TestDomainOfAnother tries to use, and to take, what another tenant has.
func TestDomainOfAnother(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	const host = "login.acme.example"
	ctx, at := t.Context(), n.verified(t, n.acme, host).Record.Name
	for what, err := range map[string]error{
		"verify": second(n.VerifyDomain(ctx, n.globex.ID, host, alice)), "release": second(n.ReleaseDomain(ctx, n.globex.ID, host, alice)),
		"make primary": second(n.SetPrimaryDomain(ctx, n.globex.ID, host, nil, alice)),
	} {
		if !errors.Is(err, tenant.ErrDomainUnknown) {
			t.Errorf("%s another's domain: %v, want ErrDomainUnknown", what, err)
		}
	}
	// A claim says nothing about others, with or without the record of the one who has the name.
	mine, err := n.AddDomain(ctx, n.globex.ID, host, alice)
	if err != nil || mine.State != tenant.DomainPending {
		t.Fatalf("AddDomain = %+v, %v", mine, err)
	}
	if _, err := n.VerifyDomain(ctx, n.globex.ID, host, alice); !errors.Is(err, tenant.ErrDomainUnproven) {
		t.Errorf("VerifyDomain with the other's record: %v, want ErrDomainUnproven", err)
	}
	n.dns.Set(at, []string{mine.Record.Value})
	if _, err := n.VerifyDomain(ctx, n.globex.ID, host, alice); !errors.Is(err, tenant.ErrDomainTaken) {
		t.Errorf("VerifyDomain of a domain that is taken: %v, want ErrDomainTaken", err)
	}
	if _, err := tenant.Create(ctx, n.store, tenant.New{Slug: "initech", DisplayName: "Initech", Domain: host, Base: n.Base}); !errors.Is(err, tenant.ErrDomainTaken) {
		t.Errorf("Create with a domain that is taken: %v, want ErrDomainTaken", err)
	}
	n.leads(t, host, n.acme.ID)
	n.state(t, n.globex, host, tenant.DomainPending)
	if got := n.trail(t, n.globex); len(got) != 1 {
		t.Errorf("the other's trail says %q", got)
	}
	// Another's name is as good as none to whoever looks for a primary one that the database alone refuses.
	n.db.Superuser(t, "UPDATE parako.tenant_domains SET verified_at = now() WHERE tenant_id = $1", n.globex.ID)
	if _, err := n.SetPrimaryDomain(ctx, n.globex.ID, host, nil, alice); !errors.Is(err, tenant.ErrDomainPending) {
		t.Errorf("SetPrimaryDomain of a name that leads to another: %v, want ErrDomainPending", err)
	}
}

// TestOneOfManyGetsTheDomain has several tenants prove the same name at once.
func TestOneOfManyGetsTheDomain(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	const host = "login.shared.example"
	var records [][]string
	var at string
	orgs := []tenant.Tenant{n.acme, n.globex}
	for i := range 4 {
		orgs = append(orgs, testkit.Tenant(t, n.store, fmt.Sprintf("org%d", i)))
	}
	for _, org := range orgs {
		d := n.claim(t, org, host)
		at, records = d.Record.Name, append(records, []string{d.Record.Value})
	}
	n.dns.Set(at, records...)
	results := make([]error, len(orgs))
	var all sync.WaitGroup
	for i, org := range orgs {
		all.Go(func() { results[i] = second(n.VerifyDomain(t.Context(), org.ID, host, alice)) })
	}
	all.Wait()
	winner := -1
	for i, err := range results {
		switch {
		case err == nil && winner >= 0:
			t.Errorf("%s and %s both have it", orgs[winner].Slug, orgs[i].Slug)
		case err == nil:
			winner = i
			n.state(t, orgs[i], host, tenant.DomainVerified)
			n.leads(t, host, orgs[i].ID)
		case !errors.Is(err, tenant.ErrDomainTaken):
			t.Error(err)
		default:
			n.state(t, orgs[i], host, tenant.DomainPending)
		}
	}
	if winner < 0 {
		t.Error("nobody has it")
	}
}

// TestReleasedDomainIsKept is the takeover of a name that was given up and still leads here: who else finds its way into the DNS
// gets it only when nobody remembers the one who had it.
func TestReleasedDomainIsKept(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	const host = "login.acme.example"
	ctx := t.Context()
	n.verified(t, n.acme, host)
	if _, err := n.ReleaseDomain(ctx, n.acme.ID, host, alice); err != nil {
		t.Fatal(err)
	}
	mine := n.claim(t, n.globex, host)
	taken := func() {
		t.Helper()
		if _, err := n.VerifyDomain(ctx, n.globex.ID, host, alice); !errors.Is(err, tenant.ErrDomainTaken) {
			t.Errorf("VerifyDomain during the quarantine: %v, want ErrDomainTaken", err)
		}
		if _, err := tenant.Create(ctx, n.store, tenant.New{Slug: "initech", DisplayName: "Initech", Domain: host, Base: n.Base}); !errors.Is(err, tenant.ErrDomainTaken) {
			t.Errorf("Create during the quarantine: %v, want ErrDomainTaken", err)
		}
		n.leads(t, host, uuid.Nil) //nolint:contextcheck // It takes the test's.
	}
	taken()
	n.db.Superuser(t, "UPDATE parako.tenant_locators SET reserved_until = reserved_until - interval '29 days 23 hours' WHERE name = $1", host)
	taken()
	// The same tenant may come back, with a new token: the old record proves nothing.
	back, err := n.AddDomain(ctx, n.acme.ID, host, alice)
	if err != nil || back.State != tenant.DomainPending {
		t.Fatalf("AddDomain again = %+v, %v", back, err)
	}
	n.dns.Set(mine.Record.Name, []string{mine.Record.Value}, []string{back.Record.Value})
	if _, err := n.VerifyDomain(ctx, n.acme.ID, host, alice); err != nil {
		t.Errorf("VerifyDomain of whoever had it: %v", err)
	}
	n.leads(t, host, n.acme.ID)
	if _, err := n.ReleaseDomain(ctx, n.acme.ID, host, alice); err != nil {
		t.Fatal(err)
	}
	taken()
	n.db.Superuser(t, "UPDATE parako.tenant_locators SET reserved_until = now() WHERE name = $1", host)
	if _, err := n.VerifyDomain(ctx, n.globex.ID, host, alice); err != nil {
		t.Errorf("VerifyDomain after the quarantine: %v", err)
	}
	n.leads(t, host, n.globex.ID)
	// Whoever had it first forgets it, and takes nothing along.
	n.db.Superuser(t, "UPDATE parako.tenant_domains SET released_at = released_at - interval '31 days' WHERE released_at IS NOT NULL")
	for _, released := range n.db.Ask(t, n.acme.ID, "SELECT id::text FROM parako.tenant_domains") {
		if check, err := n.CheckDomain(ctx, n.acme.ID, uuid.MustParse(released)); err != nil || check.Next != 0 {
			t.Errorf("CheckDomain = %+v, %v", check, err)
		}
	}
	n.state(t, n.acme, host, "")
	n.leads(t, host, n.globex.ID)
}

// TestReleasedDomainIsForgotten leaves nothing behind when the quarantine is over.
func TestReleasedDomainIsForgotten(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	const host = "login.acme.example"
	d := n.verified(t, n.acme, host)
	if _, err := n.ReleaseDomain(t.Context(), n.acme.ID, host, alice); err != nil {
		t.Fatal(err)
	}
	check, err := n.CheckDomain(t.Context(), n.acme.ID, d.ID)
	if err != nil || check.Next <= quarantine-time.Minute || check.Next > quarantine+time.Minute {
		t.Errorf("CheckDomain = %+v, %v; want to be called again after the quarantine", check, err)
	}
	n.db.Superuser(t, "UPDATE parako.tenant_domains SET released_at = released_at - interval '31 days'")
	n.db.Superuser(t, "UPDATE parako.tenant_locators SET reserved_until = reserved_until - interval '31 days' WHERE name = $1", host)
	if check, err := n.CheckDomain(t.Context(), n.acme.ID, d.ID); err != nil || check.Next != 0 {
		t.Errorf("CheckDomain = %+v, %v", check, err)
	}
	n.state(t, n.acme, host, "")
	if left := n.db.AskAbove(t, "SELECT name FROM parako.tenant_locators WHERE kind = 'host'"); len(left) > 0 {
		t.Errorf("there is still %q", left)
	}
}

// TestDomainIsLookedAtAgain takes the record away. What the DNS does not say for sure counts for nothing.
func TestDomainIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	const host = "login.acme.example"
	d := n.verified(t, n.acme, host)
	at, value := d.Record.Name, d.Record.Value
	if _, err := n.SetPrimaryDomain(t.Context(), n.acme.ID, host, nil, alice); err != nil {
		t.Fatal(err)
	}
	before := revision(t, n.store, "acme")
	look := func(ctx context.Context) tenant.Check {
		t.Helper()
		check, err := n.CheckDomain(ctx, n.acme.ID, d.ID)
		if err != nil {
			t.Fatal(err)
		}
		return check
	}
	days := func(n int) string { return fmt.Sprintf("interval '%d days'", n) }
	ago := func(columns ...string) {
		t.Helper()
		for _, column := range columns {
			n.db.Superuser(t, "UPDATE parako.tenant_domains SET "+column+" = "+column+" - "+days(7))
		}
	}
	daily := func(check tenant.Check) {
		t.Helper()
		if check.Next < 22*time.Hour || check.Next > 26*time.Hour || check.Revision != 0 {
			t.Errorf("CheckDomain = %+v, want to be called again in about a day", check)
		}
	}
	daily(look(t.Context()))
	if got := revision(t, n.store, "acme"); got != before {
		t.Errorf("finding the record has moved the revision from %d to %d", before, got)
	}

	// An outage, for however long.
	outage := func(state tenant.DomainState) {
		t.Helper()
		n.dns.Break(at, dnsmessage.RCodeServerFailure)
		for range 5 {
			if check := look(t.Context()); check.Next != time.Hour {
				t.Errorf("CheckDomain during an outage = %+v", check)
			}
		}
		look(n.dns.Ignore(t.Context(), at))
		n.state(t, n.acme, host, state)
		n.leads(t, host, n.acme.ID)
	}
	outage(tenant.DomainVerified)
	if d := n.state(t, n.acme, host, tenant.DomainVerified); d.Missing != nil {
		t.Errorf("an outage counts: %+v", d)
	}

	// Gone for sure, but for a few looks, or for a short time only.
	n.dns.Remove(at)
	for range 4 {
		daily(look(t.Context()))
	}
	ago("missing_since")
	n.state(t, n.acme, host, tenant.DomainVerified)
	n.dns.Set(at, []string{value})
	daily(look(t.Context()))
	n.dns.Set(at, []string{"something else"})
	for range 6 {
		daily(look(t.Context()))
	}
	n.state(t, n.acme, host, tenant.DomainVerified)

	// Both: it fails, is served all the same, and recovers.
	ago("missing_since")
	outage(tenant.DomainVerified)
	n.dns.Set(at)
	daily(look(t.Context()))
	n.state(t, n.acme, host, tenant.DomainFailing)
	n.leads(t, host, n.acme.ID)
	daily(look(t.Context()))
	n.dns.Set(at, []string{value})
	daily(look(t.Context()))
	if d := n.state(t, n.acme, host, tenant.DomainVerified); d.Missing != nil || d.Failing != nil {
		t.Errorf("it has not recovered: %+v", d)
	}

	// And in the end it is given up, with the issuer back at the base domain.
	n.dns.Remove(at)
	for range 5 {
		daily(look(t.Context()))
	}
	ago("missing_since")
	daily(look(t.Context()))
	ago("missing_since", "failing_since")
	outage(tenant.DomainFailing)
	n.dns.Remove(at)
	if check := look(t.Context()); check.Next != quarantine || check.Revision != before+1 {
		t.Errorf("CheckDomain = %+v, want the release at revision %d", check, before+1)
	}
	n.state(t, n.acme, host, tenant.DomainReleased)
	n.leads(t, host, uuid.Nil)
	if org, err := tenant.BySlug(t.Context(), n.store, "acme"); err != nil || org.Domain != "" {
		t.Errorf("the tenant is %+v, %v", org, err)
	}
	want := []string{
		"domain.failing warning system  domain " + host + " {}",
		"domain.verified success system  domain " + host + " {}",
		"domain.failing warning system  domain " + host + " {}",
		"domain.released success system  domain " + host + ` {"reason": "unproven"}`,
	}
	if diff := cmp.Diff(want, n.trail(t, n.acme)[3:]); diff != "" {
		t.Errorf("audit trail mismatch (-want +got)\n%s", diff)
	}
}

// TestClaimsEnd drops what nobody has proven in a week.
func TestClaimsEnd(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	d := n.claim(t, n.acme, "login.acme.example")
	if check, err := n.CheckDomain(t.Context(), n.acme.ID, d.ID); err != nil || check.Next < 22*time.Hour || check.Next > 26*time.Hour {
		t.Errorf("CheckDomain = %+v, %v", check, err)
	}
	n.leads(t, d.Name, uuid.Nil) // A job proves nothing that nobody asked to prove.
	n.db.Superuser(t, "UPDATE parako.tenant_domains SET created_at = created_at - interval '7 days'")
	for range 2 {
		if check, err := n.CheckDomain(t.Context(), n.acme.ID, d.ID); err != nil || check.Next != 0 {
			t.Errorf("CheckDomain = %+v, %v", check, err)
		}
	}
	n.state(t, n.acme, d.Name, "")
	if asked := n.dns.Asked(); len(asked) > 0 {
		t.Errorf("the DNS was asked for %q", asked)
	}
	if got := n.trail(t, n.acme); len(got) != 2 || !strings.HasSuffix(got[1], `{"reason": "expired"}`) {
		t.Errorf("the trail says %q", got)
	}
}
