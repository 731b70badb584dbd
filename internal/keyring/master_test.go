package keyring

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

// TestHomesAreRewrappedLast looks at a rotation of the master key where it may be cut off: a server opens the data key of its home when
// it starts, and must not start with the new key alone before all is done.
func TestHomesAreRewrappedLast(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s, old := db.Store(t), testkit.Vault(t)
	platforms, err := tenant.EnsurePlatforms(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	acme, globex := testkit.Tenant(t, s, "acme"), testkit.Tenant(t, s, "globex")
	for _, id := range []uuid.UUID{tenant.DefaultID, platforms.ID, acme.ID, globex.ID} {
		if _, err := Open(t.Context(), s, old, DefaultPolicy, id); err != nil {
			t.Fatal(err)
		}
	}
	vault := tenant.Vault{Master: testkit.Vault(t).Master, Previous: old.Master}
	want := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, db.AskAbove(t, "SELECT slug FROM parako.data_keys JOIN parako.tenants AS t ON t.id = tenant_id WHERE master_key_id = $1 ORDER BY slug COLLATE \"C\"", vault.Master.ID())); diff != "" {
			t.Errorf("wrapped by the new key mismatch (-want +got)\n%s", diff)
		}
	}

	db.Superuser(t, "UPDATE parako.data_keys SET master_key_id = '0badc0de' WHERE tenant_id = $1", acme.ID)
	r, err := Rewrap(t.Context(), s, vault, audit.Operator("test"), func(Rewrapping) {})
	if err == nil || r.Left != 1 || r.Seen != r.Tenants {
		t.Errorf("Rewrap of a key that nobody knows = %+v, %v", r, err)
	}
	want("globex")

	db.Superuser(t, "UPDATE parako.data_keys SET master_key_id = $2 WHERE tenant_id = $1", acme.ID, old.Master.ID())
	passes := 0
	r, err = Rewrap(t.Context(), s, vault, audit.Operator("test"), func(Rewrapping) {
		if passes++; passes == 1 {
			want("acme", "globex")
		}
	})
	if err != nil || r.Rewrapped != 3 || r.Left != 0 || r.Seen != r.Tenants {
		t.Errorf("Rewrap = %+v, %v", r, err)
	}
	want("_platforms", "acme", tenant.DefaultSlug, "globex")
}
