package jobs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"parako/internal/audit"
	"parako/internal/message"
	"parako/internal/oidc"
	"parako/internal/store"
	"parako/internal/telemetry"
	"parako/internal/tenant"
)

// maxMailError bounds what is kept of why a mail was not taken, in bytes.
const maxMailError = 255

// mailArgs are a row of mails.
type mailArgs struct {
	TenantID uuid.UUID `json:"tenant_id"`
	ID       uuid.UUID `json:"id"`
}

// Kind implements river.JobArgs.
func (mailArgs) Kind() string { return string(store.JobMail) }

// mailWorker sends a mail to a person. When an instance is killed between the mail server's answer and the end of the row, the mail
// is sent again, under the same Message-ID.
type mailWorker struct {
	river.WorkerDefaults[mailArgs]

	deps    Deps
	outside *outside
}

// errUnsent reports that a mail could not be sent yet, and shall be tried again.
var errUnsent = errors.New("the mail was not sent")

// Work implements river.Worker.
func (w *mailWorker) Work(ctx context.Context, job *river.Job[mailArgs]) error {
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
		err = w.send(ctx, p, job)
	}
	if _, waits := errors.AsType[*river.JobSnoozeError](err); err == nil || waits || errors.Is(err, errUnsent) {
		return err
	}
	w.deps.Log.ErrorContext(ctx, "mail_failed", "error", err.Error())
	if p != nil && job.Attempt >= job.MaxAttempts { // The queue does not try it again.
		if err := w.abandon(ctx, p, job.Args.ID); err != nil {
			w.deps.Log.ErrorContext(ctx, "mail_failed", "error", err.Error())
		}
	}
	return errTrouble
}

// NextRetry implements river.Worker.
func (*mailWorker) NextRetry(job *river.Job[mailArgs]) time.Time {
	return time.Now().Add(retry(job.Attempt))
}

func (w *mailWorker) load(ctx context.Context, p *oidc.Provider, id uuid.UUID) (letter message.Queued, err error) {
	err = w.deps.Store.AskTenant(ctx, p.Tenant.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		letter, err = message.Load(ctx, tx, id)
		return err
	})
	return letter, err
}

// abandon gives a mail up for a fault that is ours.
func (w *mailWorker) abandon(ctx context.Context, p *oidc.Provider, id uuid.UUID) error {
	ctx, cancel := lasting(ctx)
	defer cancel()
	letter, err := w.load(ctx, p, id)
	if errors.Is(err, store.ErrNotFound) || letter.GivenUp {
		return nil
	}
	if err != nil {
		return fmt.Errorf("load mail %s: %w", id, err)
	}
	return w.failed(ctx, p, letter, &message.Failure{Reason: "The mail could not be made: the log of the server says why."})
}

// keepFor is how long it may take to keep what came of an attempt.
const keepFor = 5 * time.Second

// lasting is a context for keeping what came of an attempt, whose own time may be over by then: what is not kept is done again, and a
// mail that was sent is sent once more.
func lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), keepFor)
}

func (w *mailWorker) send(ctx context.Context, p *oidc.Provider, job *river.Job[mailArgs]) error {
	id := job.Args.ID
	letter, err := w.load(ctx, p, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("load mail %s: %w", id, err)
	case letter.GivenUp:
		return nil
	case letter.Email == "" || p.Tenant.Status != tenant.Active || !p.Settings.SendsMail():
		return w.end(ctx, p, id, telemetry.MailDropped)
	}
	if d := w.deps.Limiter.AllowMail(ctx, p.Tenant.ID, p.Tenant.Quota.MailsPerHour); !d.Allowed {
		w.deps.Metrics.QuotaRefused("mails_per_hour")
		// Not all that wait come back for the one that may be sent next.
		return river.JobSnooze(d.RetryAfter + spread(job.ID, min(9*d.RetryAfter, time.Minute)))
	}
	err = w.hand(ctx, p, letter)
	if err == nil {
		return w.end(ctx, p, id, telemetry.MailSent)
	}
	kept, cancel := lasting(ctx)
	defer cancel()
	w.deps.Limiter.RefundMail(kept, p.Tenant.ID, p.Tenant.Quota.MailsPerHour)
	failure, ok := errors.AsType[*message.Failure](err)
	if !ok {
		return err
	}
	return w.failed(ctx, p, letter, failure)
}

// hand writes a mail and hands it to the tenant's server.
func (w *mailWorker) hand(ctx context.Context, p *oidc.Provider, letter message.Queued) error {
	mail, err := w.deps.Composer.Compose(letter, p.Settings.MailBrand(p.CompanyName()))
	if err != nil {
		return err
	}
	server, err := p.Settings.Integrations.Email.Server(ctx, w.deps.Store, w.deps.Vault)
	if err != nil {
		return fmt.Errorf("open the password of the mail server: %w", err)
	}
	return w.deps.Mail.Send(ctx, server, mail)
}

// end forgets the mail.
func (w *mailWorker) end(ctx context.Context, p *oidc.Provider, id uuid.UUID, result telemetry.MailResult) error {
	ctx, cancel := lasting(ctx)
	defer cancel()
	err := w.deps.Store.InTenant(ctx, p.Tenant.ID, func(ctx context.Context, tx *store.Tx) error { return message.Done(ctx, tx, id) })
	if err != nil {
		return fmt.Errorf("forget mail %s: %w", id, err)
	}
	w.deps.Metrics.Mail(result)
	return nil
}

// failed keeps what came of an attempt. What a server refuses for good is not tried again.
func (w *mailWorker) failed(ctx context.Context, p *oidc.Provider, letter message.Queued, failure *message.Failure) error {
	ctx, cancel := lasting(ctx)
	defer cancel()
	attempt := letter.Attempts + 1
	last := !failure.Temporary || attempt >= message.MaxAttempts
	text := audit.Printable(failure.Reason, maxMailError)
	err := w.deps.Store.InTenant(ctx, p.Tenant.ID, func(ctx context.Context, tx *store.Tx) error {
		if err := message.Tried(ctx, tx, letter.ID, text, last); err != nil || !last {
			return err
		}
		return audit.Record(ctx, tx, audit.Event{
			Type: audit.MailUnsent, Status: audit.Failed, Actor: audit.System(), Target: audit.User(letter.User),
			Detail: map[string]string{"kind": string(letter.Kind), "attempts": strconv.Itoa(attempt), "error": text},
		})
	})
	if err != nil {
		return fmt.Errorf("record attempt of mail %s: %w", letter.ID, err)
	}
	result := telemetry.MailFailed
	if last {
		result = telemetry.MailAbandoned
	}
	w.deps.Metrics.Mail(result)
	w.deps.Log.WarnContext(ctx, "mail_not_sent", "kind", string(letter.Kind), "attempt", attempt, "last", last, "error", text)
	if last {
		return nil
	}
	return errUnsent
}
