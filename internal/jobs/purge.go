package jobs

import (
	"context"
	"sync"
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
	// busy keeps an instance to one removal at a time: its last step holds one of the platform's few connections, for minutes.
	busy sync.Mutex
}

const (
	// purgeRetry is how long to wait after a fault. A removal is never given up: see Work.
	purgeRetry = time.Minute
	// purgeQueue is how long to wait when another tenant is being removed here.
	purgeQueue = 10 * time.Second
)

// Timeout implements river.Worker. To count a trail, and to remove it, takes longer than other jobs may. River leaves the job of an
// instance that was killed alone for as long, whatever rescueAfter says.
func (*purgeWorker) Timeout(*river.Job[purgeArgs]) time.Duration { return tenant.PurgeFor }

// Work implements river.Worker.
func (w *purgeWorker) Work(ctx context.Context, job *river.Job[purgeArgs]) error {
	if !w.busy.TryLock() {
		return river.JobSnooze(purgeQueue)
	}
	defer w.busy.Unlock()
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
