package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"parako/internal/keyring"
	"parako/internal/oidc"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/telemetry"
	"parako/internal/tenant"
)

const (
	// keyTrouble is how long a key waits after something went wrong. It is never given up.
	keyTrouble = 5 * time.Minute
	// keyInactive is how often a job looks whether its tenant is served again.
	keyInactive = 24 * time.Hour
)

// keyArgs are a row of signing_keys.
type keyArgs struct {
	TenantID uuid.UUID `json:"tenant_id"`
	ID       uuid.UUID `json:"id"`
}

func (a keyArgs) row() keyArgs { return a }

// The kinds of jobs for a key.
type (
	rotationArgs   struct{ keyArgs }
	promotionArgs  struct{ keyArgs }
	retirementArgs struct{ keyArgs }
)

// Kind implements river.JobArgs.
func (rotationArgs) Kind() string { return string(store.JobKeyRotation) }

// Kind implements river.JobArgs.
func (promotionArgs) Kind() string { return string(store.JobKeyPromotion) }

// Kind implements river.JobArgs.
func (retirementArgs) Kind() string { return string(store.JobKeyRetirement) }

// keyWorker does with a key what is due, and sleeps until something is.
type keyWorker[A interface {
	river.JobArgs
	row() keyArgs
}] struct {
	river.WorkerDefaults[A]

	deps Deps
}

// Work implements river.Worker.
func (w *keyWorker[A]) Work(ctx context.Context, job *river.Job[A]) error {
	next, err := w.deps.attend(ctx, store.Job(job.Args.Kind()), job.Args.row())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil // The tenant is gone, and its keys with it.
	case err != nil:
		w.deps.Log.ErrorContext(ctx, "key_job_failed", "kind", job.Args.Kind(), "error", err.Error())
		return river.JobSnooze(keyTrouble)
	case next.IsZero():
		return nil
	}
	return river.JobSnooze(max(time.Until(next), time.Second))
}

// attend needs no provider: those of the tenants that are in use stay in the pool.
func (d Deps) attend(ctx context.Context, kind store.Job, row keyArgs) (next time.Time, err error) {
	t, err := d.Registry.ByID(ctx, row.TenantID)
	if err != nil {
		return time.Time{}, err
	}
	if t.Status != tenant.Active {
		return time.Now().Add(keyInactive), nil
	}
	ctx = telemetry.WithTenant(ctx, t.Slug)
	platform, err := settings.Platform(ctx, d.Store)
	if err != nil {
		return time.Time{}, err
	}
	err = d.Store.InTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error {
		policy, err := oidc.KeyPolicy(ctx, tx, platform)
		if err != nil {
			return err
		}
		next, err = keyring.Attend(ctx, tx, d.Vault, policy, kind, row.ID)
		return err
	})
	return next, err
}
