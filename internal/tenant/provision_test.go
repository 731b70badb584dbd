package tenant_test

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

// TestProvision leaves tenants half filled. One is not served before it is complete; one that was given up is gone with its names; one
// that nobody came back to is removed when its time is over.
func TestProvision(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	base := &url.URL{Scheme: "https", Host: "id.example.com"}
	provision := func(slug string) tenant.Tenant {
		t.Helper()
		got, err := tenant.Provision(t.Context(), s, tenant.New{Slug: slug, DisplayName: slug, Operator: "test", Base: base}, "https://id.acme.example/login", tenant.Quota{})
		if err != nil {
			t.Fatal(err)
		}
		db.Ask(t, got.ID, "INSERT INTO parako.users (id, username, username_norm) VALUES (gen_random_uuid(), 'ana', 'ana') RETURNING ''")
		return got
	}
	acme := provision("acme")
	if acme.Status != tenant.Archived || acme.DeleteAfter == nil || acme.IssuerURL != "https://id.acme.example/login" {
		t.Errorf("%+v", acme)
	}
	if _, err := tenant.SetStatus(t.Context(), s, "acme", tenant.Active, "test"); !errors.Is(err, tenant.ErrDeleting) {
		t.Errorf("served before it is complete: %v", err)
	}
	if _, err := tenant.Restore(t.Context(), s, "acme", nil, "test"); !errors.Is(err, tenant.ErrImporting) {
		t.Errorf("kept before it is complete: %v", err)
	}
	if n := db.AskAbove(t, "SELECT count(*)::text FROM parako.audit_events WHERE type = 'tenant.restored'"); n[0] != "0" {
		t.Error("a trail tells that it was restored")
	}
	if other := provision("other"); other.IssuerURL != "" {
		t.Errorf("two tenants with the issuer %s", other.IssuerURL)
	} else if err := tenant.Discard(t.Context(), s, other.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.BySlug(t.Context(), s, "other"); !errors.Is(err, tenant.ErrUnknown) {
		t.Errorf("one that was given up: %v", err)
	}
	got, err := tenant.Provisioned(t.Context(), s, acme.ID, "test", map[string]string{"from_slug": "x"})
	if err != nil || got.Status != tenant.Active || got.DeleteAfter != nil || got.Revision <= acme.Revision {
		t.Errorf("%+v, %v", got, err)
	}
	if err := tenant.Discard(t.Context(), s, acme.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := tenant.Provisioned(t.Context(), s, acme.ID, "test", nil); !errors.Is(err, tenant.ErrChanged) {
		t.Errorf("complete twice: %v", err)
	}
	if n := db.Ask(t, acme.ID, "SELECT count(*)::text FROM parako.users"); n[0] != "1" {
		t.Errorf("giving up what is complete leaves %s people", n[0])
	}

	forgotten := provision("forgotten")
	jobs := db.AskAbove(t, "SELECT kind FROM jobs.river_job WHERE args ->> 'tenant_id' = $1", forgotten.ID.String())
	if diff := cmp.Diff([]string{string(store.JobPurge)}, jobs); diff != "" {
		t.Errorf("jobs mismatch (-want +got)\n%s", diff)
	}
	sign := func(context.Context, []byte) (string, error) { return "signed", nil }
	if wait, err := tenant.Purge(t.Context(), s, forgotten.ID, sign); err != nil || wait < 23*time.Hour {
		t.Errorf("removed while it may be filled: wait %s, %v", wait, err)
	}
	db.Superuser(t, "UPDATE parako.tenants SET delete_after = now(), updated_at = now() - interval '1 minute' WHERE slug = 'forgotten'")
	if wait, err := tenant.Purge(t.Context(), s, forgotten.ID, sign); err != nil || wait != 0 {
		t.Errorf("wait %s, %v", wait, err)
	}
	if n := db.AskAbove(t, "SELECT count(*)::text FROM parako.tenants WHERE id = $1", forgotten.ID); n[0] != "0" {
		t.Error("what nobody came back to stays")
	}
}
