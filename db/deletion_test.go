package db_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/testkit"
)

// left counts the rows of the tenant in each table of the catalog that has a tenant, and in the queue.
func (tr trail) left(t *testing.T, id uuid.UUID) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, at := range column(t, tr.DB, `SELECT format('%I.%I %I', n.nspname, c.relname, a.attname)
		  FROM pg_class AS c
		  JOIN pg_namespace AS n ON n.oid = c.relnamespace
		  JOIN pg_attribute AS a ON a.attrelid = c.oid
		   AND (a.attname = 'tenant_id' OR n.nspname = 'parako' AND c.relname = 'tenants' AND a.attname = 'id')
		 WHERE c.relkind IN ('r', 'p')
		   AND NOT c.relispartition -- its rows are those of its parent
		   AND n.nspname !~ '^(pg_|information_schema)'`) {
		table, name, _ := strings.Cut(at, " ")
		var n int
		if err := tr.super.QueryRow(t.Context(), "SELECT count(*) FROM "+table+" WHERE "+name+" = $1", id).Scan(&n); err != nil {
			t.Fatal(err)
		}
		counts[table] = n
	}
	var jobs int
	if err := tr.super.QueryRow(t.Context(), "SELECT count(*) FROM jobs.river_job WHERE args ->> 'tenant_id' = $1 AND kind <> 'tenant_purge'", id.String()).Scan(&jobs); err != nil {
		t.Fatal(err)
	}
	counts["jobs.river_job"] = jobs
	return counts
}

// TestDeletionLeavesNothing removes a tenant that has rows in every table, with faults on the way, and looks for what is left in every
// table that the catalog knows.
func TestDeletionLeavesNothing(t *testing.T) {
	t.Parallel()
	tr := newTrail(t)
	tr.populate(t)
	tr.fillTheRest(t)
	for _, id := range []uuid.UUID{tr.acme, tr.globex} {
		tr.Ask(t, id, `WITH job AS (INSERT INTO jobs.river_job (kind, args) VALUES ('logout_delivery', jsonb_build_object('tenant_id', $1::uuid, 'id', $1::uuid)))
			SELECT ''`, id)
	}
	before, neighbour := tr.left(t, tr.acme), tr.left(t, tr.globex)
	for table, n := range before {
		if n == 0 {
			t.Errorf("%s has no row of the tenant: the test proves nothing about it", table)
		}
	}
	platform := connect(t, tr.PlatformDSN())
	refused := func(when string) {
		t.Helper()
		if tag, err := platform.Exec(t.Context(), "DELETE FROM parako.tenants"); err != nil || tag.RowsAffected() != 0 {
			t.Fatalf("%s the platform removes %d tenants, %v", when, tag.RowsAffected(), err)
		}
	}
	refused("at any time")

	tr.exec(t, "INSERT INTO parako.tenant_locators (kind, name, tenant_id, verified_at) VALUES ('issuer', 'https://login.acme.example', $1, now())", tr.acme)
	const grace = 30 * 24 * time.Hour
	r := testkit.Remove(t, tr.DB, "acme", grace)
	r.Unsigned = errors.New("no key")
	if wait, err := r.Purge(t.Context()); err != nil || wait <= grace-time.Hour || wait > grace {
		t.Fatalf("a removal that is not due: wait %s, %v", wait, err)
	}
	refused("before it is due")
	tr.exec(t, "UPDATE parako.tenants SET delete_after = now(), updated_at = now() - interval '1 minute' WHERE slug = 'acme'")
	before["parako.audit_events"] = tr.left(t, tr.acme)["parako.audit_events"]

	// Whoever is stopped has done a part; the next goes on.
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := r.Purge(stopped); err == nil {
		t.Error("a removal that was stopped reports nothing")
	}
	if _, err := r.Purge(t.Context()); !errors.Is(err, r.Unsigned) {
		t.Fatalf("without a signature: %v", err)
	}
	for table, n := range tr.left(t, tr.acme) {
		if trail := strings.Contains(table, "audit_") || strings.Contains(table, "locators") || table == "parako.tenants" || strings.HasPrefix(table, "jobs."); !trail && n != 0 {
			t.Errorf("%s still has %d rows", table, n)
		}
	}
	if err := r.Restore(t.Context()); err == nil {
		t.Error("restored without its rows")
	}
	r.Unsigned = nil
	for range 2 {
		if wait, err := r.Purge(t.Context()); err != nil || wait != 0 {
			t.Fatalf("wait %s, %v", wait, err)
		}
	}
	for table, n := range tr.left(t, tr.acme) {
		if n != 0 {
			t.Errorf("%s still has %d rows of the tenant", table, n)
		}
	}
	if diff := cmp.Diff(neighbour, tr.left(t, tr.globex)); diff != "" {
		t.Errorf("rows of the neighbour mismatch (-before +after)\n%s", diff)
	}

	c := r.Certificate
	if c.TenantID != tr.acme || c.Slug != "acme" || c.RequestedBy != "test" || c.RequestedAt.IsZero() || c.CompletedAt.Before(c.RequestedAt) ||
		len(c.DataKeySHA256) != 64 || c.LastSeal == 0 || len(c.LastSealHash) != 64 {
		t.Errorf("certificate = %+v", c)
	}
	for table, n := range before {
		name := strings.TrimPrefix(table, "parako.")
		if outside := table == "jobs.river_job" || name == "tenant_locators" || strings.HasPrefix(name, "audit_"); !outside && c.Rows[name] != int64(n) {
			t.Errorf("the certificate says %d rows of %s, there were %d", c.Rows[name], name, n)
		}
	}
	if c.Rows["audit_events"] < int64(before["parako.audit_events"]) {
		t.Errorf("the certificate says %d events, there were %d", c.Rows["audit_events"], before["parako.audit_events"])
	}
	if found := column(t, tr.DB, "SELECT name FROM parako.tenant_locators WHERE name IN ('acme', 'https://login.acme.example')"); len(found) != 1 || found[0] != "acme" {
		t.Errorf("names that are kept: %q", found)
	}
	if findings := column(t, tr.DB, "SELECT concat_ws(' ', check_no, object, finding) FROM audit.isolation_findings WHERE check_no <> 26"); len(findings) != 0 {
		t.Errorf("findings: %q", findings)
	}
}
