package tenant_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"parako/internal/problem"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

func TestCreate(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	got, err := tenant.Create(t.Context(), s, tenant.New{
		Slug: " Shop ", DisplayName: "  The Shop ", Domain: " Shop.Example. ", Base: base, Operator: "alice",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := tenant.Tenant{
		Slug: "shop", DisplayName: "The Shop", Status: tenant.Active, Domain: "shop.example", Revision: 1,
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(tenant.Tenant{}, "ID", "CreatedAt", "UpdatedAt")); diff != "" {
		t.Errorf("Create mismatch (-want +got)\n%s", diff)
	}
	if got.ID.Version() != 7 || got.CreatedAt.IsZero() || got.UpdatedAt.IsZero() {
		t.Errorf("Create = %+v, want an id of version 7 and times", got)
	}
	for kind, name := range map[string]string{"slug": "shop", "host": "shop.example"} {
		if id, err := s.Locate(t.Context(), kind, name); err != nil || id != got.ID {
			t.Errorf("Locate(%s, %s) = %s, %v", kind, name, id, err)
		}
	}
	found, err := tenant.BySlug(t.Context(), s, "shop")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, found); diff != "" {
		t.Errorf("BySlug mismatch (-created +found)\n%s", diff)
	}
	if _, err := tenant.BySlug(t.Context(), s, "nobody"); !errors.Is(err, tenant.ErrUnknown) {
		t.Errorf("BySlug of nobody: %v, want ErrUnknown", err)
	}
	trail := db.Ask(t, got.ID, "SELECT concat_ws(' ', type, status, actor_type, actor_id, target_type, target_id = $1::text, detail) FROM parako.audit_events", got.ID.String())
	if diff := cmp.Diff([]string{`tenant.created success operator alice tenant t {"slug": "shop"}`}, trail); diff != "" {
		t.Errorf("audit trail mismatch (-want +got)\n%s", diff)
	}
}

func TestSlugs(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	corpus := map[error][]string{
		nil: {
			"a", "0", "acme", "acme-inc", "acme_inc", "acme-", "acme_", "0a", strings.Repeat("a", 63), "Upper", " space ", "admins",
		},
		tenant.ErrSlugFormat: {
			"", " ", "-acme", "_acme", "acme.inc", "acme inc", "acmé", "acme/inc", "acme%", "acme\n.", strings.Repeat("a", 64), "a\x00",
		},
		tenant.ErrSlugReserved: {
			"default", "Default", "_ops", "_platforms", "_system", "admin", "api", "auth", "login", "static", "www", "mail", "status",
			"localhost", "xn--bcher-kva", "a--b",
		},
	}
	for want, slugs := range corpus {
		for _, slug := range slugs {
			if _, err := tenant.Create(t.Context(), s, tenant.New{Slug: slug, DisplayName: "Name"}); !errors.Is(err, want) {
				t.Errorf("Create with slug %q: %v, want %v", slug, err, want)
			}
		}
	}
}

func TestValidSlug(t *testing.T) {
	t.Parallel()
	for slug, want := range map[string]bool{
		"acme": true, "default": true, "_ops": true, "_platforms": true, "_system": false, "Acme": false, "": false, "a.b": false,
	} {
		if got := tenant.ValidSlug(slug); got != want {
			t.Errorf("ValidSlug(%q) = %t, want %t", slug, got, want)
		}
	}
}

func TestDisplayNames(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	for i, tt := range []struct {
		name string
		want error
	}{
		{"A", nil},
		{strings.Repeat("é", 255), nil},
		{"  " + strings.Repeat("é", 255) + "  ", nil},
		{"", tenant.ErrDisplayName},
		{"   ", tenant.ErrDisplayName},
		{strings.Repeat("é", 256), tenant.ErrDisplayName},
		{"a\nb", tenant.ErrDisplayName},
		{"a\x00b", tenant.ErrDisplayName},
		{"a\u2028b", tenant.ErrDisplayName},
		{"\u202eb", tenant.ErrDisplayName},
		{"a\xff", tenant.ErrDisplayName},
		{"می\u200cروم ✈️", nil},
	} {
		_, err := tenant.Create(t.Context(), s, tenant.New{Slug: fmt.Sprintf("name%d", i), DisplayName: tt.name})
		if !errors.Is(err, tt.want) {
			t.Errorf("Create with a name of %d bytes: %v, want %v", len(tt.name), err, tt.want)
		}
	}
}

func TestDomains(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	long := strings.Repeat(strings.Repeat("a", 49)+".", 5) // 250 bytes
	corpus := map[error][]string{
		nil: {
			"shop.example", "a.b.c.example", "0.example", "a-b.example", "xn--bcher-kva.example", "shop.xn--p1ai",
			strings.Repeat("a", 63) + ".example", long + "abc", "dot.example.", " CAPITALS.Example ", "Bücher.shop.example",
		},
		tenant.ErrDomainRefused: {
			"co.uk", "github.io", "tenant.localhost", "printer.local", "abc.onion", "1.10.in-addr.arpa", "no.invalid",
			base.Hostname(), "acme." + base.Hostname(), "a.b." + base.Hostname() + ".", "ACME.ID.Example.com",
		},
		tenant.ErrDomainFormat: {
			"example", "localhost", ".example", "shop..example", "shop.example..", "-shop.example", "shop-.example", "shop.-example",
			"a_b.example", "xn--.example", "*.example", "shop example", "https://shop.example", "shop.example:443",
			"shop.example/login", "shop.example?a", "me@shop.example", "203.0.113.1", "1.2.3", "[2001:db8::1]", "2001:db8::1",
			"shop.example%2f", `shop.example\`, "shop.\x00example", strings.Repeat("a", 64) + ".example", long + "abcd",
		},
	}
	n := 0
	for want, domains := range corpus {
		for _, domain := range domains {
			n++
			_, err := tenant.Create(t.Context(), s, tenant.New{Slug: fmt.Sprintf("domain%d", n), DisplayName: "Name", Domain: domain, Base: base})
			if !errors.Is(err, want) {
				t.Errorf("Create with domain %q: %v, want %v", domain, err, want)
			}
		}
	}
}

func TestNamesAreTakenOnce(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	create := func(slug, domain string) error {
		_, err := tenant.Create(t.Context(), s, tenant.New{Slug: slug, DisplayName: slug, Domain: domain, Base: base})
		return err
	}
	if err := create("shop", "shop.example"); err != nil {
		t.Fatal(err)
	}
	if err := create("shop", ""); !errors.Is(err, tenant.ErrSlugTaken) {
		t.Errorf("the slug again: %v, want ErrSlugTaken", err)
	}
	if err := create("store", "shop.example"); !errors.Is(err, tenant.ErrDomainTaken) {
		t.Errorf("the domain again: %v, want ErrDomainTaken", err)
	}
	if err := create("store", "store.example"); err != nil {
		t.Errorf("a slug that was not given away: %v", err)
	}
}

func TestOneOfManyGetsTheSlug(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	results := make(chan error, 8)
	var all sync.WaitGroup
	for range cap(results) {
		all.Go(func() {
			_, err := tenant.Create(t.Context(), s, tenant.New{Slug: "acme", DisplayName: "Acme"})
			results <- err
		})
	}
	all.Wait()
	close(results)
	winners := 0
	for err := range results {
		switch {
		case err == nil:
			winners++
		case !errors.Is(err, tenant.ErrSlugTaken):
			t.Error(err)
		}
	}
	if winners != 1 {
		t.Errorf("%d tenants were created, want 1", winners)
	}
}

func TestEnsurePlatforms(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	ids := make(chan uuid.UUID, 8)
	var all sync.WaitGroup
	for range cap(ids) {
		all.Go(func() {
			got, err := tenant.EnsurePlatforms(t.Context(), s)
			if err != nil || got.Slug != tenant.PlatformsSlug || got.Status != tenant.Active {
				t.Errorf("EnsurePlatforms = %+v, %v", got, err)
			}
			ids <- got.ID
		})
	}
	all.Wait()
	close(ids)
	first := <-ids
	for id := range ids {
		if id != first {
			t.Errorf("EnsurePlatforms gives %s and %s", first, id)
		}
	}
	if list, err := tenant.List(t.Context(), s, "", "", 10); err != nil || len(list) != 1 {
		t.Errorf("List = %d tenants, %v; want 1", len(list), err)
	}
}

func TestEnsurePlatformsNeedsThePlatform(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	s.Close()
	if _, err := tenant.EnsurePlatforms(t.Context(), s); err == nil || errors.Is(err, tenant.ErrUnknown) {
		t.Errorf("EnsurePlatforms: %v, want the database's error", err)
	}
}

func TestSetStatus(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	acme := testkit.Tenant(t, s, "acme")
	for i, status := range []tenant.Status{tenant.Suspended, tenant.Archived, tenant.Active} {
		got, err := tenant.SetStatus(t.Context(), s, "acme", status, "alice")
		if err != nil {
			t.Fatal(err)
		}
		if want := acme.Revision + int64(i) + 1; got.Status != status || got.Revision != want || got.ID != acme.ID {
			t.Errorf("SetStatus = %s at revision %d, want %s at %d", got.Status, got.Revision, status, want)
		}
		stored, err := tenant.BySlug(t.Context(), s, "acme")
		if err != nil || stored.Status != status || stored.Revision != got.Revision || !stored.UpdatedAt.After(acme.UpdatedAt) {
			t.Errorf("BySlug = %+v, %v", stored, err)
		}
	}
	trail := db.Ask(t, acme.ID, "SELECT actor_id || ' ' || detail FROM parako.audit_events WHERE type = 'tenant.status_changed' ORDER BY id")
	want := []string{
		`alice {"to": "suspended", "from": "active"}`, `alice {"to": "archived", "from": "suspended"}`, `alice {"to": "active", "from": "archived"}`,
	}
	if diff := cmp.Diff(want, trail); diff != "" {
		t.Errorf("audit trail mismatch (-want +got)\n%s", diff)
	}
}

func TestSetStatusRefuses(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	testkit.Tenant(t, s, "acme")
	if _, err := tenant.EnsurePlatforms(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		slug   string
		status tenant.Status
		want   problem.Kind
	}{
		"a tenant that is not there": {"nobody", tenant.Suspended, problem.NotFound},
		"the built-in tenant":        {tenant.DefaultSlug, tenant.Suspended, problem.NotFound},
		"the gateway's tenant":       {tenant.OpsSlug, tenant.Suspended, problem.NotFound},
		"the platform's own tenant":  {tenant.PlatformsSlug, tenant.Suspended, problem.Forbidden},
		"a status that is none":      {"acme", "deleted", problem.Invalid},
		"no status":                  {"acme", "", problem.Invalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := tenant.SetStatus(t.Context(), s, tt.slug, tt.status, "test")
			if err == nil || problem.From(err).Kind != tt.want {
				t.Errorf("SetStatus = %v, want kind %s", err, tt.want)
			}
			if diff := cmp.Diff(tenant.Tenant{}, got); diff != "" {
				t.Errorf("SetStatus gives a tenant beside the error (-want +got)\n%s", diff)
			}
		})
	}
	for _, slug := range []string{"acme", tenant.PlatformsSlug} {
		if got, err := tenant.BySlug(t.Context(), s, slug); err != nil || got.Status != tenant.Active || got.Revision != 1 {
			t.Errorf("%s = %+v, %v; want it untouched", slug, got, err)
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	for _, slug := range []string{"d", "b", "a", "e", "c"} {
		testkit.Tenant(t, s, slug)
	}
	if _, err := tenant.SetStatus(t.Context(), s, "c", tenant.Suspended, "test"); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		status tenant.Status
		after  string
		limit  int32
		want   string
	}{
		"all, without the built-in one": {limit: 10, want: "abcde"},
		"the first page":                {limit: 2, want: "ab"},
		"the next page":                 {after: "b", limit: 2, want: "cd"},
		"the last page":                 {after: "d", limit: 2, want: "e"},
		"behind the end":                {after: "e", limit: 2},
		"after what is not there":       {after: "bb", limit: 1, want: "c"},
		"of a status":                   {status: tenant.Active, limit: 10, want: "abde"},
		"of another":                    {status: tenant.Suspended, limit: 10, want: "c"},
		"of a status nobody has":        {status: tenant.Archived, limit: 10},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list, err := tenant.List(t.Context(), s, tt.status, tt.after, tt.limit)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, one := range list {
				got += one.Slug
			}
			if got != tt.want {
				t.Errorf("List = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCreateNeedsThePlatform(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	s.Close()
	if _, err := tenant.Create(t.Context(), s, tenant.New{Slug: "acme", DisplayName: "Acme"}); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Create: %v, want the database's error", err)
	}
}
