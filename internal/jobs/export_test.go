package jobs

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// Purger removes tenants.
type Purger struct{ worker *purgeWorker }

// NewPurger makes a purger as an instance does.
func NewPurger(d Deps) Purger { return Purger{&purgeWorker{deps: d}} }

// Timeout is what an attempt may take.
func (p Purger) Timeout() time.Duration { return p.worker.Timeout(nil) }

// Work does the job of a tenant once.
func (p Purger) Work(ctx context.Context, id uuid.UUID) error {
	return p.worker.Work(ctx, &river.Job[purgeArgs]{Args: purgeArgs{TenantID: id, ID: id}})
}

// Occupy has the instance remove another tenant until the end of it is called.
func (p Purger) Occupy() (end func()) {
	p.worker.busy.Lock()
	return p.worker.busy.Unlock
}

// Outside bounds what jobs of a tenant do at once.
type Outside struct{ outside }

// Enter is what a job that calls outside begins with.
func (o *Outside) Enter(ctx context.Context, tenant uuid.UUID) (leave func(), err error) {
	return o.enter(ctx, tenant, 3)
}

// Tenants are how many it knows of.
func (o *Outside) Tenants() int { return len(o.tenants) }

// SendMail does the job of a mail once, as the attempt of so many.
func SendMail(ctx context.Context, d Deps, org, id uuid.UUID, attempt, most int) error {
	w := &mailWorker{deps: d, outside: &outside{}}
	return w.Work(ctx, &river.Job[mailArgs]{JobRow: &rivertype.JobRow{Attempt: attempt, MaxAttempts: most}, Args: mailArgs{TenantID: org, ID: id}})
}
