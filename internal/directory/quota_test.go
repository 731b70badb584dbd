package directory_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"parako/internal/directory"
	"parako/internal/problem"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

// TestQuotaOfUsers has more people come at once than there is room for, in one of two tenants.
func TestQuotaOfUsers(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	acme, globex := testkit.Tenant(t, s, "acme"), testkit.Tenant(t, s, "globex")
	const most, more = 3, 8
	for slug, n := range map[string]int32{"acme": most, "globex": tenant.Unlimited} {
		if _, err := tenant.SetQuota(t.Context(), s, slug, tenant.Quota{Users: &n}, nil, "test"); err != nil {
			t.Fatal(err)
		}
	}
	var wait sync.WaitGroup
	errs := make([]error, 2*more)
	for i := range errs {
		wait.Go(func() {
			id := acme.ID
			if i >= more {
				id = globex.ID
			}
			errs[i] = s.InTenant(t.Context(), id, func(ctx context.Context, tx *store.Tx) error {
				_, err := directory.Create(ctx, tx, directory.New{Username: fmt.Sprintf("u%d", i)})
				return err
			})
		})
	}
	wait.Wait()
	refused := 0
	for _, err := range errs {
		if p, ok := errors.AsType[*problem.Error](err); ok && p.Code == "quota_users" && p.Kind == problem.Conflict &&
			p.Message == "The tenant has reached its quota of 3 users. Ask the platform's administrator to raise it." {
			refused++
		} else if err != nil {
			t.Error(err)
		}
	}
	if refused != more-most {
		t.Errorf("%d were refused, want %d", refused, more-most)
	}
	for id, want := range map[tenant.Tenant]string{acme: "3", globex: "8"} {
		if got := db.Ask(t, id.ID, "SELECT count(*)::text FROM parako.users"); got[0] != want {
			t.Errorf("%s has %s people, want %s", id.Slug, got[0], want)
		}
	}
}
