package jobs_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"parako/internal/jobs"
	"parako/internal/oidc"
	"parako/internal/telemetry"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

// TestPurgeHasTimeForATrail compares what River grants a removal with what it asks of PostgreSQL: the count and the end may take five
// minutes each.
func TestPurgeHasTimeForATrail(t *testing.T) {
	t.Parallel()
	if got := jobs.NewPurger(jobs.Deps{}).Timeout(); got <= 10*time.Minute {
		t.Errorf("a removal may take %s", got)
	}
}

// TestPurgesOneAtATime has the job of a tenant come while another one is being removed.
func TestPurgesOneAtATime(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	acme := testkit.Tenant(t, s, "acme")
	if _, err := tenant.RequestDeletion(t.Context(), s, "acme", tenant.Deletion{Archive: true, Operator: "test"}); err != nil {
		t.Fatal(err)
	}
	db.Superuser(t, "UPDATE parako.tenants SET updated_at = now() - interval '1 minute' WHERE slug = 'acme'")
	begun := func() bool {
		return slices.Equal(db.AskAbove(t, "SELECT slug FROM parako.tenants WHERE slug = 'acme' AND deletion ? 'rows'"), []string{"acme"})
	}
	// Nobody can sign, so that it does not come to its end.
	pool := oidc.NewPool(func(context.Context, tenant.Tenant) (*oidc.Provider, error) { return nil, errors.ErrUnsupported }, oidc.PoolOptions{}, telemetry.NewMetrics(), time.Now)
	purger := jobs.NewPurger(jobs.Deps{Store: s, Pool: pool, Log: slog.New(slog.DiscardHandler)})
	end := purger.Occupy()
	if _, ok := errors.AsType[*river.JobSnoozeError](purger.Work(t.Context(), acme.ID)); !ok || begun() {
		t.Error("two tenants are removed at once")
	}
	end()
	if err := purger.Work(t.Context(), acme.ID); err == nil || !begun() {
		t.Errorf("the removal has not begun: %v", err)
	}
}
