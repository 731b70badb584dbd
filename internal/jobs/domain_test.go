package jobs_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"parako/internal/audit"
	"parako/internal/outbound"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

// registrar claims names for the world's tenant, as an instance that asks the name server does.
func (w *world) registrar() *tenant.Registrar {
	return &tenant.Registrar{
		Store: w.store, DNS: outbound.NewResolver(w.dns.Addr), Base: &url.URL{Scheme: "https", Host: "id.example"}, Quarantine: 30 * 24 * time.Hour,
	}
}

// TestDomainJob follows the job of one domain: it is the same one from the claim to the end of the quarantine, and sleeps in between.
func TestDomainJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.NewDB(t))
	r := w.registrar()
	d, err := r.AddDomain(t.Context(), w.org.ID, "login.acme.example", audit.Operator("test"))
	if err != nil {
		t.Fatal(err)
	}
	stop := w.run(t)
	defer stop()
	slept := func(from, to string) {
		t.Helper()
		if got := w.db.AskAbove(t, "SELECT (scheduled_at BETWEEN now() + $1::interval AND now() + $2::interval)::text FROM jobs.river_job WHERE kind = 'domain_check'", from, to); len(got) != 1 || got[0] != "true" {
			t.Errorf("the job sleeps for another time than %s to %s: %q", from, to, got)
		}
	}
	for len(w.db.AskAbove(t, "SELECT '' FROM jobs.river_job WHERE kind = 'domain_check' AND state = 'scheduled'")) == 0 {
		continue
	}
	slept("21 hours", "27 hours")
	w.dns.Set(d.Record.Name, []string{d.Record.Value})
	if _, err := r.VerifyDomain(t.Context(), w.org.ID, d.Name, audit.Operator("test")); err != nil {
		t.Fatal(err)
	}
	before := len(w.dns.Asked())
	w.db.Superuser(t, "UPDATE jobs.river_job SET scheduled_at = now() WHERE kind = 'domain_check'")
	for len(w.dns.Asked()) == before {
		continue
	}
	for len(w.db.AskAbove(t, "SELECT '' FROM jobs.river_job WHERE kind = 'domain_check' AND state = 'scheduled' AND scheduled_at > now() + interval '1 minute'")) == 0 {
		continue
	}
	slept("21 hours", "27 hours")

	// It fails, and is given up: all instances are told.
	w.dns.Remove(d.Record.Name)
	w.db.Superuser(t, `UPDATE parako.tenant_domains SET missing_since = now() - interval '20 days', missing_checks = 20, failing_since = now() - interval '8 days'`)
	w.db.Superuser(t, "UPDATE jobs.river_job SET scheduled_at = now() WHERE kind = 'domain_check'")
	if told := <-w.changed; told != w.org.ID {
		t.Errorf("instances were told of %s", told)
	}
	for len(w.db.AskAbove(t, "SELECT '' FROM jobs.river_job WHERE kind = 'domain_check' AND state = 'scheduled' AND scheduled_at > now() + interval '1 minute'")) == 0 {
		continue
	}
	slept("29 days", "31 days")
	w.db.Superuser(t, "UPDATE parako.tenant_domains SET released_at = now() - interval '31 days'")
	w.db.Superuser(t, "UPDATE jobs.river_job SET scheduled_at = now() WHERE kind = 'domain_check'")
	for w.left(t, store.JobDomain) != "completed" {
		continue
	}
	if rows := w.db.AskAbove(t, "SELECT name FROM parako.tenant_domains"); len(rows) > 0 {
		t.Errorf("there is still %q", rows)
	}
	if said := w.log.String(); strings.Contains(said, "level=ERROR") || strings.Contains(said, "level=WARN") {
		t.Error(said)
	}
}

// TestDomainJobOutlivesTrouble breaks what the job reads: it goes to sleep, and does not count how often.
func TestDomainJobOutlivesTrouble(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testkit.NewDB(t))
	if _, err := w.registrar().AddDomain(t.Context(), w.org.ID, "login.acme.example", audit.Operator("test")); err != nil {
		t.Fatal(err)
	}
	w.db.Superuser(t, "UPDATE jobs.river_job SET max_attempts = 1")
	w.db.Superuser(t, "REVOKE SELECT ON parako.tenant_domains FROM parako_app")
	stop := w.run(t)
	for len(w.db.AskAbove(t, "SELECT '' FROM jobs.river_job WHERE kind = 'domain_check' AND state = 'scheduled' AND scheduled_at > now() + interval '1 minute'")) == 0 {
		continue
	}
	stop()
	if !strings.Contains(w.log.String(), "domain_check_failed") {
		t.Errorf("the log says %s", w.log.String())
	}
}
