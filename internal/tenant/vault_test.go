package tenant_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

func sealer(t *testing.T, s *store.Store, v tenant.Vault, id uuid.UUID) *secret.Sealer {
	t.Helper()
	var got *secret.Sealer
	err := s.InTenant(t.Context(), id, func(ctx context.Context, tx *store.Tx) (err error) {
		got, err = v.Sealer(ctx, tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestFirstUsesAtOnceGiveOneKey(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	acme, v := testkit.Tenant(t, s, "acme").ID, testkit.Vault(t)
	values := make(chan []byte, 8)
	var all sync.WaitGroup
	for range cap(values) {
		all.Go(func() {
			err := s.InTenant(t.Context(), acme, func(ctx context.Context, tx *store.Tx) error {
				own, err := v.Sealer(ctx, tx)
				if err != nil {
					return err
				}
				sealed, err := own.Seal("table", "column", "row", []byte("word"))
				values <- sealed
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	close(values)
	later := sealer(t, s, v, acme)
	for sealed := range values {
		if got, err := later.Open("table", "column", "row", sealed); err != nil || string(got) != "word" {
			t.Errorf("Open = %q, %v", got, err)
		}
	}
	if diff := cmp.Diff([]string{"1"}, db.Ask(t, acme, "SELECT count(*)::text FROM parako.data_keys")); diff != "" {
		t.Errorf("number of keys mismatch (-want +got)\n%s", diff)
	}
}

func TestTenantsHaveDifferentKeys(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	v := testkit.Vault(t)
	acme, umbra := sealer(t, s, v, testkit.Tenant(t, s, "acme").ID), sealer(t, s, v, testkit.Tenant(t, s, "umbra").ID)
	sealed, err := acme.Seal("table", "column", "row", []byte("word"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := umbra.Open("table", "column", "row", sealed); err == nil {
		t.Errorf("another tenant opens %q", got)
	}
}

func TestVaultRefuses(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	acme, umbra, v := testkit.Tenant(t, s, "acme").ID, testkit.Tenant(t, s, "umbra").ID, testkit.Vault(t)
	sealer(t, s, v, acme)
	try := func(run func(context.Context, uuid.UUID, func(context.Context, *store.Tx) error) error, v tenant.Vault, id uuid.UUID) string {
		err := run(t.Context(), id, func(ctx context.Context, tx *store.Tx) error {
			_, err := v.Sealer(ctx, tx)
			return err
		})
		if err == nil {
			return ""
		}
		return err.Error()
	}
	other := testkit.Vault(t)
	t.Run("another master key, by name", func(t *testing.T) {
		want := "data key is wrapped by master key " + v.Master.ID() + " and ENCRYPTION_KEY is " + other.Master.ID()
		if diff := cmp.Diff(want, try(s.InTenant, other, acme)); diff != "" {
			t.Errorf("error mismatch (-want +got)\n%s", diff)
		}
	})
	t.Run("two other master keys, by name", func(t *testing.T) {
		both := tenant.Vault{Master: other.Master, Previous: testkit.Vault(t).Master}
		want := "data key is wrapped by master key " + v.Master.ID() + ", ENCRYPTION_KEY is " + both.Master.ID() + " and ENCRYPTION_KEY_PREVIOUS is " + both.Previous.ID()
		if diff := cmp.Diff(want, try(s.InTenant, both, acme)); diff != "" {
			t.Errorf("error mismatch (-want +got)\n%s", diff)
		}
	})
	t.Run("no master key", func(t *testing.T) {
		for _, id := range []uuid.UUID{acme, umbra} { // a later use and a first
			if got := try(s.InTenant, tenant.Vault{}, id); got != "set ENCRYPTION_KEY to that of the servers" {
				t.Errorf("error = %q", got)
			}
		}
	})
	t.Run("a first use where nothing can be written", func(t *testing.T) {
		if got := try(s.ViewTenant, v, umbra); !strings.Contains(got, "read-only transaction") {
			t.Errorf("error = %q", got)
		}
	})
	t.Run("but not a later use", func(t *testing.T) {
		if got := try(s.AskTenant, v, acme); got != "" {
			t.Errorf("error = %q", got)
		}
	})
	t.Run("a key that was moved to another tenant", func(t *testing.T) {
		wrapped := db.Ask(t, acme, "SELECT encode(wrapped, 'hex') FROM parako.data_keys")[0]
		db.Ask(t, umbra, "INSERT INTO parako.data_keys (id, master_key_id, wrapped) VALUES (gen_random_uuid(), $1, decode($2, 'hex')) RETURNING 'done'", v.Master.ID(), wrapped)
		if got := try(s.InTenant, v, umbra); !strings.HasPrefix(got, "unwrap data key: ") {
			t.Errorf("error = %q", got)
		}
	})
}

// TestRewrap replaces the master key of a tenant: what was sealed and derived before stays as it was, and the old key alone
// opens nothing any more.
func TestRewrap(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	acme, umbra, before := testkit.Tenant(t, s, "acme").ID, testkit.Tenant(t, s, "umbra").ID, testkit.Vault(t)
	old := sealer(t, s, before, acme)
	sealed, err := old.Seal("table", "column", "row", []byte("word"))
	if err != nil {
		t.Fatal(err)
	}
	after := tenant.Vault{Master: testkit.Vault(t).Master, Previous: before.Master}
	rewrap := func(v tenant.Vault, id uuid.UUID) (from string, err error) {
		err = s.InTenant(t.Context(), id, func(ctx context.Context, tx *store.Tx) error {
			from, err = v.Rewrap(ctx, tx)
			return err
		})
		return from, err
	}
	if got := sealer(t, s, after, acme); string(got.Derive("p-v1", 32)) != string(old.Derive("p-v1", 32)) {
		t.Error("with both keys something else is derived")
	}
	sealer(t, s, after, umbra)                              // Made meanwhile, with the new key.
	for _, want := range []string{before.Master.ID(), ""} { // The second time there is nothing to do.
		if got, err := rewrap(after, acme); got != want || err != nil {
			t.Errorf("Rewrap = %q, %v, want %q", got, err, want)
		}
	}
	if got, err := rewrap(after, umbra); got != "" || err != nil {
		t.Errorf("Rewrap of a new tenant = %q, %v", got, err)
	}
	if got, err := rewrap(after, testkit.Tenant(t, s, "idle").ID); got != "" || err != nil {
		t.Errorf("Rewrap of a tenant without a key = %q, %v", got, err)
	}
	now := sealer(t, s, tenant.Vault{Master: after.Master}, acme)
	if got, err := now.Open("table", "column", "row", sealed); err != nil || string(got) != "word" {
		t.Errorf("Open = %q, %v", got, err)
	}
	if string(now.Derive("p-v1", 32)) != string(old.Derive("p-v1", 32)) || string(now.Derive("q-v1", 32)) == string(old.Derive("p-v1", 32)) {
		t.Error("what is derived from the data key has changed")
	}
	if got, err := rewrap(before, acme); err == nil {
		t.Errorf("the old key alone rewraps: %q", got)
	}
	for name, vault := range map[string][2]string{
		"the same key twice": {hexKey, hexKey}, "no key": {"", ""}, "a previous key that is none": {hexKey, "change-me"},
	} {
		if _, err := tenant.NewVault(secret.NewString(vault[0]), secret.NewString(vault[1])); err == nil || strings.Contains(err.Error(), "change-me") {
			t.Errorf("NewVault of %s: %v", name, err)
		}
	}
}

const hexKey = "8f1c0a5be2d94773a60b1f2e9d4c58e7316fa2908bd5c4e0773f19a2b6d80e4c"

// TestInheritedKeys gives a tenant the derived keys of another. It derives them instead of its own, after the master key was replaced
// too, and no others; whoever gets them from it gets the same.
func TestInheritedKeys(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	v := testkit.Vault(t)
	acme, heir := testkit.Tenant(t, s, "acme").ID, testkit.Tenant(t, s, "heir").ID
	before := sealer(t, s, v, acme)
	inherit := func() error {
		return s.InTenant(t.Context(), heir, func(ctx context.Context, tx *store.Tx) error {
			_, err := v.Inherit(ctx, tx, tenant.Lasting(before))
			return err
		})
	}
	if err := inherit(); err != nil {
		t.Fatal(err)
	}
	if err := inherit(); err == nil || !strings.Contains(err.Error(), "inherited before") {
		t.Errorf("a second inheritance: %v", err)
	}
	next := tenant.Vault{Master: testkit.Vault(t).Master, Previous: v.Master}
	err := s.InTenant(t.Context(), heir, func(ctx context.Context, tx *store.Tx) error {
		_, err := next.Rewrap(ctx, tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	after := sealer(t, s, tenant.Vault{Master: next.Master}, heir)
	if diff := cmp.Diff(tenant.Lasting(before), tenant.Lasting(after)); diff != "" {
		t.Error("the derived keys are others")
	}
	own := secretOf(before, "dpop-nonce-v1")
	if own == secretOf(after, "dpop-nonce-v1") || secretOf(before, "pairwise-v1") == secretOf(before, "oauth-hmac-v1") {
		t.Error("what is not inherited is the same")
	}
	sealed := db.Ask(t, heir, "SELECT encode(inherited, 'escape') FROM parako.data_keys")[0]
	if strings.Contains(sealed, "pairwise") {
		t.Error("the inherited keys are stored in plain")
	}
}

func secretOf(s *secret.Sealer, purpose string) string { return string(s.Derive(purpose, 32)) }
