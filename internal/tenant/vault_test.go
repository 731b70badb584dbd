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
