package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"parako/internal/audit"
	"parako/internal/directory"
	"parako/internal/jobs"
	"parako/internal/message"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

// post gives the world a mail server, whose password the tenant sets, and two people: one with a proven address and one without.
func (w *world) post(t *testing.T) (box *testkit.Mailbox, proven, unproven uuid.UUID) {
	t.Helper()
	const password = "s3cr3t of the mail server"
	box = testkit.NewMailbox(t, "acme", password)
	w.roots = box.Roots
	w.set(t, w.org, "integrations", fmt.Sprintf(
		`{"email": {"smtp_host": "localhost", "smtp_port": %d, "smtp_username": "acme", "smtp_password": %q, "from": "login@acme.example"}}`, box.Port, password))
	w.write(t, func(ctx context.Context, tx *store.Tx) error {
		for name, id := range map[string]*uuid.UUID{"proven": &proven, "unproven": &unproven} {
			u, err := directory.Create(ctx, tx, directory.New{Email: name + "@acme.example", EmailVerified: name == "proven"})
			if err != nil {
				return err
			}
			*id = u.ID
		}
		return nil
	})
	return box, proven, unproven
}

// set replaces a section of what a tenant sets.
func (w *world) set(t *testing.T, org tenant.Tenant, section, document string) {
	t.Helper()
	err := w.store.InTenant(t.Context(), org.ID, func(ctx context.Context, tx *store.Tx) error {
		sealer, err := w.vault.Sealer(ctx, tx)
		if err != nil {
			return err
		}
		_, err = settings.Write(ctx, tx, settings.Layer{}, settings.Change{Section: section, Document: []byte(document), By: audit.Operator("test"), Sealer: sealer})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) letter(t *testing.T, user uuid.UUID) {
	t.Helper()
	w.write(t, func(ctx context.Context, tx *store.Tx) error {
		return message.Queue(ctx, tx, message.Letter{User: user, Kind: message.NewSession, Detail: map[string]string{"ip": "192.0.2.7"}})
	})
}

// mails are the rows, as attempts, whether it was given up, and why.
func (w *world) mails(t *testing.T) string {
	t.Helper()
	return strings.Join(w.db.Ask(t, w.org.ID, "SELECT concat_ws(' ', attempts, failed_at IS NOT NULL, last_error) FROM parako.mails ORDER BY id"), "\n")
}

// TestMail sends what a transaction has queued through the tenant's own server, with the password that only the tenant's key opens.
// Whoever has no proven address gets nothing.
func TestMail(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.NewDB(t))
	box, proven, unproven := w.post(t)
	w.letter(t, unproven)
	w.letter(t, proven)
	stop := w.run(t)
	got := box.Next(t)
	for w.left(t, store.JobMail) != "completed" {
		continue
	}
	stop()
	if got.To != "proven@acme.example" || got.User != "acme" || !got.TLS || !strings.Contains(got.Text, "192.0.2.7") || !box.Empty() {
		t.Errorf("the mailbox has %+v", got)
	}
	if rows := w.mails(t); rows != "" {
		t.Errorf("what is left: %s", rows)
	}
	if said := w.log.String(); strings.Contains(said, "proven@") || strings.Contains(said, "s3cr3t") {
		t.Errorf("the log says %s", said)
	}
}

// TestMailThatIsRefused is given up at once when the server will never take it, and is tried again when it may.
func TestMailThatIsRefused(t *testing.T) {
	t.Parallel()
	for code, want := range map[int][2]string{
		550: {"completed", "1 t The mail server refused the recipient: 550 5.1.1."},
		451: {"retryable", "1 f The mail server refused the recipient: 451 4.1.1."},
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testkit.NewDB(t))
			box, proven, _ := w.post(t)
			box.Refuse("proven@acme.example", code)
			one := int32(1) // What nobody takes does not count.
			if _, err := tenant.SetQuota(t.Context(), w.store, w.org.Slug, tenant.Quota{MailsPerHour: &one}, nil, "test"); err != nil {
				t.Fatal(err)
			}
			w.letter(t, proven)
			stop := w.run(t)
			for w.left(t, store.JobMail) != want[0] {
				continue
			}
			stop()
			if got := w.mails(t); got != want[1] {
				t.Errorf("%q, want %q", got, want[1])
			}
			events := w.db.Ask(t, w.org.ID, "SELECT detail ->> 'error' FROM parako.audit_events WHERE type = 'mail.unsent'")
			if recorded := len(events) == 1; recorded != (code == 550) {
				t.Errorf("the trail says %q", events)
			}
			if code != 451 {
				return
			}
			// It comes when its time has come and the server has changed its mind.
			box.Refuse("proven@acme.example", 0)
			w.db.Superuser(t, "UPDATE jobs.river_job SET scheduled_at = now() - interval '1 second', state = 'available'")
			stop = w.run(t)
			got := box.Next(t)
			for w.left(t, store.JobMail) != "completed" {
				continue
			}
			stop()
			if got.To != "proven@acme.example" || w.mails(t) != "" {
				t.Errorf("the mailbox has %+v, and left is %q", got, w.mails(t))
			}
		})
	}
}

// TestMailThatNobodyWantsAnyMore is dropped: mail was turned off, or the tenant was suspended, after it was written.
func TestMailThatNobodyWantsAnyMore(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*testing.T, *world){
		"mail is off": func(t *testing.T, w *world) {
			t.Helper()
			w.set(t, w.org, "notifications", `{"channels": {"email": {"enabled": false}}}`)
		},
		"suspended": func(t *testing.T, w *world) {
			t.Helper()
			if _, err := tenant.SetStatus(t.Context(), w.store, w.org.Slug, tenant.Suspended, "test"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, testkit.NewDB(t))
			box, proven, _ := w.post(t)
			w.letter(t, proven)
			change(t, w)
			stop := w.run(t)
			for w.left(t, store.JobMail) != "completed" {
				continue
			}
			stop()
			if rows := w.mails(t); rows != "" || !box.Empty() {
				t.Errorf("a mail went out, or is left: %q", rows)
			}
		})
	}
}

// TestMailBeyondTheQuota waits, and counts as no attempt.
func TestMailBeyondTheQuota(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.NewDB(t))
	box, proven, _ := w.post(t)
	one := int32(1)
	if _, err := tenant.SetQuota(t.Context(), w.store, w.org.Slug, tenant.Quota{MailsPerHour: &one}, nil, "test"); err != nil {
		t.Fatal(err)
	}
	w.letter(t, proven)
	w.letter(t, proven)
	stop := w.run(t)
	box.Next(t)
	for w.left(t, store.JobMail) != "completed,scheduled" {
		continue
	}
	stop()
	if got := w.mails(t); got != "0 f " || !box.Empty() {
		t.Errorf("what is left: %q", got)
	}
}

// mail is the id of the only mail.
func (w *world) mail(t *testing.T) uuid.UUID {
	t.Helper()
	id, err := uuid.Parse(w.db.Ask(t, w.org.ID, "SELECT id::text FROM parako.mails")[0])
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestMailWhoseTimeIsOver is kept as tried although the time of the attempt ends while the server is silent.
func TestMailWhoseTimeIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.NewDB(t))
	_, proven, _ := w.post(t)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var serving sync.WaitGroup
	serving.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		cancel()
		_, _ = io.Copy(io.Discard, conn) // until it hangs up
	})
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w.set(t, w.org, "integrations", `{"email": {"smtp_host": "localhost", "smtp_port": `+port+`, "from": "login@acme.example"}}`)
	w.letter(t, proven)
	deps, closed := w.deps(t)
	defer closed()
	if err := jobs.SendMail(ctx, deps, w.org.ID, w.mail(t), 1, 25); err == nil {
		t.Error("the mail was sent")
	}
	_ = l.Close()
	serving.Wait()
	if got, want := w.mails(t), "1 f The mail server could not be reached."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestMailThatCannotBeMade is given up with the last attempt of the queue, and its people can see that.
func TestMailThatCannotBeMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.NewDB(t))
	_, proven, _ := w.post(t)
	w.letter(t, proven)
	w.db.Superuser(t, `UPDATE parako.tenant_settings SET value = jsonb_set(value, '{email,smtp_password}', '"bm90IHNlYWxlZA=="') WHERE section = 'integrations'`)
	deps, closed := w.deps(t)
	defer closed()
	if err := jobs.SendMail(t.Context(), deps, w.org.ID, w.mail(t), 24, 25); err == nil || w.mails(t) != "0 f " {
		t.Errorf("before the last attempt: %v, and %q", err, w.mails(t))
	}
	for range 2 { // The second finds that it is done.
		_ = jobs.SendMail(t.Context(), deps, w.org.ID, w.mail(t), 25, 25)
	}
	if got, want := w.mails(t), "1 t The mail could not be made: the log of the server says why."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if events := w.db.Ask(t, w.org.ID, "SELECT detail ->> 'error' FROM parako.audit_events WHERE type = 'mail.unsent'"); len(events) != 1 {
		t.Errorf("the trail says %q", events)
	}
}

// TestOutside lets few jobs of a tenant call outside at once, and those of others meanwhile.
func TestOutside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var o jobs.Outside
		acme, globex := uuid.New(), uuid.New()
		var leaves []func()
		for {
			leave, err := o.Enter(t.Context(), acme)
			if snooze, ok := errors.AsType[*river.JobSnoozeError](err); ok {
				if snooze.Duration < time.Second || snooze.Duration > 5*time.Second {
					t.Errorf("it comes back in %s", snooze.Duration)
				}
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, leave)
		}
		if len(leaves) != 4 {
			t.Errorf("%d jobs of a tenant are outside", len(leaves))
		}
		leave, err := o.Enter(t.Context(), globex)
		if err != nil {
			t.Fatalf("a job of another tenant: %v", err)
		}
		leave()
		in := make(chan error)
		go func() {
			leave, err := o.Enter(t.Context(), acme)
			if err == nil {
				leave()
			}
			in <- err
		}()
		synctest.Wait()
		leaves[0]()
		if err := <-in; err != nil {
			t.Errorf("whoever waits while one leaves: %v", err)
		}
		for _, leave := range leaves[1:] {
			leave()
		}
		if n := o.Tenants(); n != 0 {
			t.Errorf("%d tenants are remembered", n)
		}
	})
}
