package jobs

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
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
