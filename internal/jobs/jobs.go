// Package jobs does in the background what transactions of tenants have asked for with store.Tx.Enqueue. The queue is River's, in
// schema jobs of the same database, so that a job exists exactly when the transaction that caused it has committed. A job is the
// id of a row of a tenant and the tenant's id; what there is to do is read in a transaction of that tenant.
//
// Several instances work the same queue; each job is done by one at a time, and again when an instance was killed meanwhile, so
// that every job must bear being done twice. The queue is polled and never listened to, which a pooler in transaction mode would
// not allow. Start reading at [Run].
package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"parako/internal/message"
	"parako/internal/oidc"
	"parako/internal/ratelimit"
	"parako/internal/store"
	"parako/internal/telemetry"
	"parako/internal/tenant"
)

// schema is where migration 00024 has put River's tables.
const schema = "jobs"

const (
	// pollInterval is how long a job waits at most until somebody looks for it.
	pollInterval = time.Second
	// jobTimeout bounds one attempt: a few statements and one call to the outside. To remove a tenant takes longer, see purgeWorker.
	jobTimeout = 30 * time.Second
	// rescueAfter is when a job whose instance was killed is taken up again.
	rescueAfter = 5 * time.Minute
	// keepDone is how long a job that is done can be seen.
	keepDone = time.Hour
	// workers bounds the jobs that an instance does at once. They mostly wait for others to answer.
	workers = 32
	// startAgain is how long to wait when the database did not answer at the start.
	startAgain = 5 * time.Second
)

// Deps are what the jobs need.
type Deps struct {
	Store    *store.Store
	Registry *tenant.Registry
	Vault    tenant.Vault
	Pool     *oidc.Pool
	Domains  *tenant.Registrar
	Mail     *message.Sender
	Composer *message.Composer
	Limiter  *ratelimit.Limiter
	Metrics  *telemetry.Metrics
	Log      *slog.Logger
	// Grace is how long jobs in progress may take at the end. What is cut off is done again by whoever comes first.
	Grace time.Duration
}

// Run works the queue until ctx is done, and returns when the jobs in progress have ended. It reports only what no waiting can
// mend; while the database does not answer it tries again.
func Run(ctx context.Context, d Deps) error {
	client, err := d.client()
	if err != nil {
		return err
	}
	for {
		// River takes the end of the context it is started with for a kill.
		err := client.Start(context.WithoutCancel(ctx))
		if err == nil {
			break
		}
		d.Log.ErrorContext(ctx, "jobs_not_started", "error", err.Error())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(startAgain):
		}
	}
	<-ctx.Done()
	if err := client.Stop(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("stop jobs: %w", err)
	}
	return nil
}

func (d Deps) client() (*river.Client[pgx.Tx], error) {
	pool, err := d.Store.JobPool()
	if err != nil {
		return nil, err
	}
	all := river.NewWorkers()
	out := &outside{}
	river.AddWorker(all, &logoutWorker{deps: d, outside: out})
	river.AddWorker(all, &domainWorker{deps: d})
	river.AddWorker(all, &keyWorker[rotationArgs]{deps: d})
	river.AddWorker(all, &keyWorker[promotionArgs]{deps: d})
	river.AddWorker(all, &keyWorker[retirementArgs]{deps: d})
	river.AddWorker(all, &mailWorker{deps: d, outside: out})
	river.AddWorker(all, &purgeWorker{deps: d})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Schema: schema, Workers: all, Logger: slog.New(quiet{d.Log.Handler()}), Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers}},
		PollOnly: true, FetchPollInterval: pollInterval, JobTimeout: jobTimeout, RescueStuckJobsAfter: rescueAfter,
		SoftStopTimeout: d.Grace, CompletedJobRetentionPeriod: keepDone,
		// It belongs to the owner of the indexes, which nobody is here.
		ReindexerSchedule: river.NeverSchedule(),
	})
	if err != nil {
		return nil, fmt.Errorf("prepare jobs: %w", err)
	}
	return client, nil
}

// provider is that of a job's tenant, whatever its status: what its people have ended stays ended. store.ErrNotFound: the tenant
// is gone, and what the job was about with it.
func (d Deps) provider(ctx context.Context, id uuid.UUID) (context.Context, *oidc.Provider, error) {
	t, err := d.Registry.ByID(ctx, id)
	if err != nil {
		return ctx, nil, err
	}
	p, err := d.Pool.Get(ctx, t)
	return telemetry.WithTenant(ctx, t.Slug), p, err
}

// logoutArgs are a row of logout_deliveries.
type logoutArgs struct {
	TenantID uuid.UUID `json:"tenant_id"`
	ID       uuid.UUID `json:"id"`
}

// Kind implements river.JobArgs.
func (logoutArgs) Kind() string { return string(store.JobLogout) }

// logoutWorker tells clients that a session has ended.
type logoutWorker struct {
	river.WorkerDefaults[logoutArgs]

	deps    Deps
	outside *outside
}

// Work implements river.Worker.
func (w *logoutWorker) Work(ctx context.Context, job *river.Job[logoutArgs]) error {
	leave, err := w.outside.enter(ctx, job.Args.TenantID, job.ID)
	if err != nil {
		return err
	}
	defer leave()
	ctx, p, err := w.deps.provider(ctx, job.Args.TenantID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = p.DeliverLogout(ctx, job.Args.ID)
	}
	if err != nil && !errors.Is(err, oidc.ErrUndelivered) {
		w.deps.Log.ErrorContext(ctx, "logout_delivery_failed", "error", err.Error())
		err = errTrouble
	}
	return err
}

// NextRetry implements river.Worker.
func (*logoutWorker) NextRetry(job *river.Job[logoutArgs]) time.Time {
	return time.Now().Add(retry(job.Attempt))
}

// outside bounds the jobs of each tenant that wait for somebody whom the tenant has named. Its zero value is ready.
type outside struct {
	mu      sync.Mutex
	tenants map[uuid.UUID]*calls
}

// calls are those of one tenant.
type calls struct {
	places chan struct{}
	jobs   int // that have a place or want one
}

const (
	// maxOutside is how many such jobs of one tenant an instance does at once, so that those of the others find a worker while a server
	// that the tenant named does not answer.
	maxOutside = 4
	// awaitPlace is how long a job waits for another of its tenant, most of which take no time, before it makes room for other tenants.
	awaitPlace = time.Second
)

// enter lets a job of the tenant call outside until leave is called, or has it come back in a few seconds.
func (o *outside) enter(ctx context.Context, tenant uuid.UUID, job int64) (leave func(), err error) {
	o.mu.Lock()
	c := o.tenants[tenant]
	if c == nil {
		if o.tenants == nil {
			o.tenants = map[uuid.UUID]*calls{}
		}
		c = &calls{places: make(chan struct{}, maxOutside)}
		o.tenants[tenant] = c
	}
	c.jobs++
	o.mu.Unlock()
	wait := time.NewTimer(awaitPlace)
	defer wait.Stop()
	select {
	case c.places <- struct{}{}:
		return func() {
			<-c.places
			o.forget(tenant, c)
		}, nil
	case <-wait.C:
		err = river.JobSnooze(time.Second + spread(job, 4*time.Second))
	case <-ctx.Done():
		err = ctx.Err()
	}
	o.forget(tenant, c)
	return nil, err
}

func (o *outside) forget(tenant uuid.UUID, c *calls) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c.jobs--; c.jobs == 0 {
		delete(o.tenants, tenant)
	}
}

// spread is a part of a time, another one for each of the jobs that follow each other, so that they do not come back all at once.
func spread(job int64, over time.Duration) time.Duration {
	const parts = 16
	return over * time.Duration(job%parts) / parts
}

// retry is how long to wait after an attempt, counted from 1, before the next one. Ten attempts take some four hours.
func retry(attempt int) time.Duration {
	const first, last = 10 * time.Second, time.Hour
	wait := first
	for range attempt - 1 {
		if wait *= 3; wait >= last {
			return last
		}
	}
	return wait
}

// errTrouble is all that the queue keeps of an error, because it belongs to no tenant. The log has the rest.
var errTrouble = errors.New("it failed; see the log")

// quiet passes on warnings and errors. What River tells besides is about itself, such as when it will do what it has been told
// never to do.
type quiet struct{ slog.Handler }

// Enabled implements slog.Handler.
func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && q.Handler.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }
