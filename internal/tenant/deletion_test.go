package tenant_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parako/internal/tenant"
	"parako/internal/testkit"
)

// TestSlugIsHeld removes a tenant. Nobody gets its slug, for 90 days or until somebody releases it.
func TestSlugIsHeld(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	for _, slug := range []string{"acme", "globex"} {
		acme := testkit.Tenant(t, s, slug)
		if _, err := tenant.RequestDeletion(t.Context(), s, slug, tenant.Deletion{Archive: true, Operator: "alice"}); err != nil {
			t.Fatal(err)
		}
		sign := func(context.Context, []byte) (string, error) { return "signed " + slug, nil }
		// A row that is gone tells no poll that the tenant is not served any more.
		if wait, err := tenant.Purge(t.Context(), s, acme.ID, sign); err != nil || wait <= 5*time.Second {
			t.Fatalf("Purge before all instances have heard of it = %s, %v", wait, err)
		}
		db.Superuser(t, "UPDATE parako.tenants SET updated_at = now() - interval '1 minute' WHERE slug = $1", slug)
		if wait, err := tenant.Purge(t.Context(), s, acme.ID, sign); err != nil || wait != 0 {
			t.Fatalf("Purge = %s, %v", wait, err)
		}
		again := tenant.New{Slug: slug, DisplayName: "Again", Operator: "test"}
		if _, err := tenant.Create(t.Context(), s, again); !errors.Is(err, tenant.ErrSlugTaken) {
			t.Errorf("a tenant under the slug of one that was removed: %v", err)
		}
		if found, err := tenant.BySlug(t.Context(), s, slug); !errors.Is(err, tenant.ErrUnknown) {
			t.Errorf("the slug of a tenant that was removed leads to %s, %v", found.Slug, err)
		}
		for _, name := range []string{slug, acme.ID.String()} {
			signed, err := tenant.Certificates(t.Context(), s, name)
			if diff := cmp.Diff([]string{"signed " + slug}, signed); diff != "" || err != nil {
				t.Errorf("certificates of %s: %v, %s", name, err, diff)
			}
		}
		if slug == "acme" {
			db.Superuser(t, "UPDATE parako.tenant_locators SET held_until = now() WHERE name = 'acme'")
		} else if err := tenant.Release(t.Context(), s, slug, "test"); err != nil {
			t.Fatal(err)
		}
		second, err := tenant.Create(t.Context(), s, again)
		if err != nil {
			t.Fatal(err)
		}
		if found, err := s.Locate(t.Context(), "slug", slug); err != nil || found != second.ID {
			t.Errorf("%s leads to %s, %v", slug, found, err)
		}
		if err := tenant.Release(t.Context(), s, slug, "test"); !errors.Is(err, tenant.ErrNotHeld) {
			t.Errorf("the slug of a living tenant is released: %v", err)
		}
	}
}

// TestHostIsHeld removes a tenant with a host of its own. Nobody gets that before somebody releases it, and nobody can release what is not
// held.
func TestHostIsHeld(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	create := func(slug string) (tenant.Tenant, error) {
		return tenant.Create(t.Context(), s, tenant.New{Slug: slug, DisplayName: slug, Domain: "login.acme.example", Base: base, Operator: "test"})
	}
	release := func(name string) error { return tenant.Release(t.Context(), s, name, "test") }
	acme, err := create("acme")
	if err != nil {
		t.Fatal(err)
	}
	if err := release("login.acme.example"); !errors.Is(err, tenant.ErrNotHeld) {
		t.Errorf("the host of a living tenant is released: %v", err)
	}
	if _, err := tenant.RequestDeletion(t.Context(), s, "acme", tenant.Deletion{Archive: true, Operator: "test"}); err != nil {
		t.Fatal(err)
	}
	db.Superuser(t, "UPDATE parako.tenants SET updated_at = now() - interval '1 minute' WHERE slug = 'acme'")
	sign := func(context.Context, []byte) (string, error) { return "signed", nil }
	if wait, err := tenant.Purge(t.Context(), s, acme.ID, sign); err != nil || wait != 0 {
		t.Fatalf("Purge = %s, %v", wait, err)
	}
	if _, err := create("globex"); !errors.Is(err, tenant.ErrDomainTaken) {
		t.Errorf("the host of a tenant that was removed: %v", err)
	}
	if err := release(" Login.Acme.Example. "); err != nil {
		t.Fatal(err)
	}
	if _, err := create("globex"); err != nil {
		t.Errorf("the host that was released: %v", err)
	}
	home, err := tenant.BySlug(t.Context(), s, tenant.PlatformsSlug)
	if err != nil {
		t.Fatal(err)
	}
	told := db.Ask(t, home.ID, "SELECT detail ->> 'host' FROM parako.audit_events WHERE type = 'tenant.host_released'")
	if diff := cmp.Diff([]string{"login.acme.example"}, told); diff != "" {
		t.Errorf("audit trail mismatch (-want +got)\n%s", diff)
	}
}

// TestDeletionCanBeTakenBack asks for removals that must not be, and takes one back.
func TestDeletionCanBeTakenBack(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	acme := testkit.Tenant(t, s, "acme")
	if _, err := tenant.EnsurePlatforms(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	request := func(slug string, d tenant.Deletion) error {
		_, err := tenant.RequestDeletion(t.Context(), s, slug, d)
		return err
	}
	restore := func(slug string) error {
		_, err := tenant.Restore(t.Context(), s, slug, nil, "bob")
		return err
	}
	status := func(to tenant.Status) error {
		_, err := tenant.SetStatus(t.Context(), s, "acme", to, "test")
		return err
	}
	seen := acme.Revision
	stale := seen + 1
	for i, step := range []struct{ got, want error }{
		{request("acme", tenant.Deletion{Archive: true, Revision: &stale}), tenant.ErrRevision},
		{request("acme", tenant.Deletion{}), tenant.ErrNotArchived},
		{request("acme", tenant.Deletion{Archive: true, Grace: -1}), tenant.ErrGrace},
		{request("acme", tenant.Deletion{Archive: true, Grace: 1 << 62}), tenant.ErrGrace},
		{request("nobody", tenant.Deletion{Archive: true}), tenant.ErrUnknown},
		{request(tenant.DefaultSlug, tenant.Deletion{Archive: true}), tenant.ErrUnknown},
		{request(tenant.PlatformsSlug, tenant.Deletion{Archive: true}), tenant.ErrProtected},
		{restore("acme"), tenant.ErrNotDeleting},
		{restore("nobody"), tenant.ErrUnknown},
		{request("acme", tenant.Deletion{Archive: true, Grace: tenant.DefaultGrace, Operator: "alice", Revision: &seen}), nil},
		{request("acme", tenant.Deletion{Grace: tenant.DefaultGrace}), tenant.ErrDeleting},
		{status(tenant.Active), tenant.ErrDeleting},
		{restore("acme"), nil},
		{restore("acme"), tenant.ErrNotDeleting},
		{request("acme", tenant.Deletion{Grace: tenant.DefaultGrace, Revision: &seen}), tenant.ErrRevision},
		{status(tenant.Active), nil},
	} {
		if !errors.Is(step.got, step.want) {
			t.Errorf("step %d: %v, want %v", i, step.got, step.want)
		}
	}
	// The job of the request that was taken back finds nothing to do.
	if wait, err := tenant.Purge(t.Context(), s, acme.ID, nil); wait != 0 || err != nil {
		t.Errorf("Purge = %s, %v", wait, err)
	}
	if got, err := tenant.BySlug(t.Context(), s, "acme"); err != nil || got.Status != tenant.Active || got.DeleteAfter != nil {
		t.Errorf("%+v, %v", got, err)
	}
	want := []string{"tenant.created", "tenant.status_changed", "tenant.deletion_requested", "tenant.restored", "tenant.status_changed"}
	if diff := cmp.Diff(want, db.Ask(t, acme.ID, "SELECT type FROM parako.audit_events ORDER BY id")); diff != "" {
		t.Errorf("audit trail mismatch (-want +got)\n%s", diff)
	}
}

// TestTheTrailIsCountedOnce lets a removal fail at its end. What follows the count does not depend on it: a turn has too little time
// for a large trail.
func TestTheTrailIsCountedOnce(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	acme := testkit.Tenant(t, db.Store(t), "acme")
	removal := testkit.Remove(t, db, "acme", 0)
	db.Superuser(t, "UPDATE parako.tenants SET updated_at = now() - interval '1 minute' WHERE slug = 'acme'")
	removal.Unsigned = errors.New("no key")
	if _, err := removal.Purge(t.Context()); !errors.Is(err, removal.Unsigned) {
		t.Fatalf("Purge without a key = %v", err)
	}
	removal.Unsigned = nil
	db.Superuser(t, "REVOKE SELECT ON parako.audit_events FROM parako_app")
	if wait, err := removal.Purge(t.Context()); wait != 0 || err != nil {
		t.Fatalf("Purge = %s, %v", wait, err)
	}
	if removal.Certificate.TenantID != acme.ID || removal.Certificate.Rows["audit_events"] == 0 {
		t.Errorf("the certificate is %+v", removal.Certificate)
	}
}

// TestRemovalDoesNotWaitForAnImport has somebody write a row that refers to the tenant, in a transaction that stays open.
func TestRemovalDoesNotWaitForAnImport(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	acme := testkit.Tenant(t, db.Store(t), "acme")
	removal := testkit.Remove(t, db, "acme", time.Hour)
	db.Hold(t, "INSERT INTO parako.revoked_tokens (tenant_id, id, expires_at) VALUES ($1, 'x', now())", acme.ID)
	if wait, err := removal.Purge(t.Context()); wait <= 0 || err != nil {
		t.Errorf("Purge = %s, %v", wait, err)
	}
}
