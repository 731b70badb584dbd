package jobs

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"parako/internal/store"
	"parako/internal/tenant"
)

// purgeArgs are a tenant.
type purgeArgs struct {
	TenantID uuid.UUID `json:"tenant_id"`
	ID       uuid.UUID `json:"id"`
}

// Kind implements river.JobArgs.
func (purgeArgs) Kind() string { return string(store.JobPurge) }

// purgeWorker removes tenants whose time has come. The job sleeps until then, and between the parts of the work.
type purgeWorker struct {
	river.WorkerDefaults[purgeArgs]

	deps Deps
}

// purgeRetry is how long to wait after a fault. A removal is never given up: see Work.
const purgeRetry = time.Minute

// Work implements river.Worker.
func (w *purgeWorker) Work(ctx context.Context, job *river.Job[purgeArgs]) error {
	wait, err := tenant.Purge(ctx, w.deps.Store, job.Args.TenantID, w.sign)
	if err != nil {
		w.deps.Log.ErrorContext(ctx, "tenant_purge_failed", "tenant_id", job.Args.TenantID.String(), "error", err.Error())
		// To sleep is no attempt, of which River grants a number.
		return river.JobSnooze(purgeRetry)
	}
	if wait > 0 {
		return river.JobSnooze(wait)
	}
	return nil
}

// sign signs a certificate as the platform.
func (w *purgeWorker) sign(ctx context.Context, certificate []byte) (string, error) {
	home, err := tenant.BySlug(ctx, w.deps.Store, tenant.PlatformsSlug)
	if err != nil {
		return "", err
	}
	p, err := w.deps.Pool.Get(ctx, home)
	if err != nil {
		return "", err
	}
	return p.SignAs(tenant.CertificateType, certificate)
}
