package jobs

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"parako/internal/store"
)

// domainAgain is when a domain is looked at again after our own database did not answer.
const domainAgain = 10 * time.Minute

// domainArgs are a row of tenant_domains.
type domainArgs struct {
	TenantID uuid.UUID `json:"tenant_id"`
	ID       uuid.UUID `json:"id"`
}

// Kind implements river.JobArgs.
func (domainArgs) Kind() string { return string(store.JobDomain) }

// domainWorker looks after a tenant's claim of a host name. The job is there for as long as the claim: it sleeps until the next
// look is due, so that a tick costs what is due and not what there is.
type domainWorker struct {
	river.WorkerDefaults[domainArgs]

	deps Deps
}

// Work implements river.Worker. A failure of ours only puts the look off: a job that gave up would leave a domain unlooked at.
func (w *domainWorker) Work(ctx context.Context, job *river.Job[domainArgs]) error {
	check, err := w.deps.Domains.CheckDomain(ctx, job.Args.TenantID, job.Args.ID)
	if err != nil {
		w.deps.Log.ErrorContext(ctx, "domain_check_failed", "error", err.Error())
		return river.JobSnooze(domainAgain)
	}
	if check.Next > 0 {
		return river.JobSnooze(check.Next)
	}
	return nil
}
