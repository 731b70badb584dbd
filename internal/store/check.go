package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// tooOld reports whether a server of this version (server_version_num) has a hole in its row-level security that matters
// here: 15.9, 16.5 and 17.1 fixed CVE-2024-10976, and 15 is the oldest major version the schema works on.
func tooOld(version int) bool {
	switch major, minor := version/10000, version%10000; major {
	case 15:
		return minor < 9
	case 16:
		return minor < 5
	case 17:
		return minor < 1
	default:
		return major < 15
	}
}

// The roles the policies are written for, made by the migrations.
const (
	appRole      = "parako_app"
	platformRole = "parako_platform"
)

// roleFaults lists, one sentence a row, why the connected role is not the one expected ($1) or could get around row-level
// security.
const roleFaults = `
WITH me AS (SELECT * FROM pg_roles WHERE rolname = current_user)
SELECT format('the connection is of role %s where %s is needed', current_user, $1::text) WHERE current_user <> $1
UNION ALL
SELECT format('role %s is a superuser', rolname) FROM me WHERE rolsuper
UNION ALL
SELECT format('role %s has BYPASSRLS', rolname) FROM me WHERE rolbypassrls
UNION ALL
SELECT format('role %s may create roles', rolname) FROM me WHERE rolcreaterole
UNION ALL
SELECT format('role %s may copy the whole cluster (REPLICATION)', rolname) FROM me WHERE rolreplication
UNION ALL
SELECT format('role %s is a member of %s', me.rolname, r.rolname)
  FROM me
  JOIN pg_auth_members AS m ON m.member = me.oid
  JOIN pg_roles AS r ON r.oid = m.roleid
UNION ALL
SELECT format('role %s owns %s', me.rolname, c.oid::regclass)
  FROM me
  JOIN pg_class AS c ON c.relowner = me.oid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = 'parako'
UNION ALL
SELECT format('session user %s is not role %s', session_user, current_user) WHERE session_user <> current_user`

// Finding is one way in which the database falls short of isolating tenants, as the view audit.isolation_findings says it.
type Finding struct {
	// Check is the number of the check and Name what it demands; see the view audit.checks.
	Check int    `json:"check"`
	Name  string `json:"name"`
	// Object is what is wrong, and Finding how.
	Object  string `json:"object"`
	Finding string `json:"finding"`
}

// The checks that concern an administrator and not the server that starts: a publication may be how the database is being
// moved, an index on an expression is only slow, and tooOld knows which versions to refuse.
const (
	checkPublication = 24
	checkExpression  = 25
	checkVersion     = 26
)

// Check refuses a database that must not be served: unreachable, too old, with a role that row-level security does not
// bind, not migrated, or changed since so that tenants are less apart. The error says what to do, one line per fault.
func (s *Store) Check(ctx context.Context) error {
	var server int
	if err := s.app.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&server); err != nil {
		return fmt.Errorf("reach the database: %w", err)
	}
	if tooOld(server) {
		return fmt.Errorf("PostgreSQL %d.%d is too old: row-level security needs 15.9, 16.5, 17.1 or later", server/10000, server%10000)
	}
	var app, platform roleCheck
	var findings []Finding
	var unchecked error
	var checks sync.WaitGroup
	checks.Go(func() { app = checkRole(ctx, s.app, appRole) })
	if s.platform != nil {
		checks.Go(func() { platform = checkRole(ctx, s.platform, platformRole) })
	}
	checks.Go(func() { findings, unchecked = s.Isolation(ctx) })
	checks.Wait()
	if err := cmp.Or(app.err, platform.err); err != nil {
		return err
	}
	faults := append(app.faults, platform.faults...)
	if len(faults) > 0 {
		return fmt.Errorf("tenant isolation is not enforced: connect as parako_app and parako_platform, as the migrations create them:\n  %s",
			strings.Join(faults, "\n  "))
	}
	if unchecked != nil {
		return unchecked
	}
	for _, f := range findings {
		if f.Check != checkPublication && f.Check != checkExpression && f.Check != checkVersion {
			faults = append(faults, f.Object+": "+f.Finding)
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("tenant isolation is not enforced: the database is not as the migrations make it, see `parako doctor isolation`:\n  %s",
			strings.Join(faults, "\n  "))
	}
	return nil
}

// parts are the views that audit.isolation_findings is made of, those that take longest first. A test holds the two equal.
var parts = []string{"job", "policy", "code", "role", "grant", "key", "table", "server"}

// lanes is how many connections ask for parts at once: planning them is most of the work, and a session does it on one core.
const lanes = 4

// Isolation asks the catalog about everything that keeps tenants apart, some 30 checks. A clean database gives nothing. It
// fails when the schema is older than this release, and when a part cannot be asked. Any role with rights on schema audit may
// ask: parako_app, parako_auditor, the owner.
func (s *Store) Isolation(ctx context.Context) ([]Finding, error) {
	if err := checkSchema(ctx, s.app); err != nil {
		return nil, err
	}
	left := make(chan string, len(parts))
	for _, part := range parts {
		left <- part
	}
	close(left)
	var mu sync.Mutex
	findings := []Finding{}
	var failed error
	var asking sync.WaitGroup
	for range lanes {
		asking.Go(func() {
			for part := range left {
				found, err := s.isolationPart(ctx, part)
				mu.Lock()
				findings, failed = append(findings, found...), errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	asking.Wait()
	if failed != nil {
		return nil, fmt.Errorf("check isolation: %w", failed)
	}
	slices.SortFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Check, b.Check), cmp.Compare(a.Object, b.Object), cmp.Compare(a.Finding, b.Finding))
	})
	return findings, nil
}

func (s *Store) isolationPart(ctx context.Context, part string) (findings []Finding, err error) {
	// Compiling the query for its one execution would take twice as long as the query. A busy PostgreSQL may take longer than for a
	// request.
	options := pgx.TxOptions{BeginQuery: "begin read only; set local jit = off; set local statement_timeout = '30s'"}
	err = pgx.BeginTxFunc(ctx, s.app, options, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, "SELECT f.check_no, c.check_name, f.object, f.finding FROM audit."+part+"_findings AS f LEFT JOIN audit.checks AS c USING (check_no)",
			pgx.QueryExecModeExec)
		if err != nil {
			return err
		}
		findings, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Finding])
		return err
	})
	return findings, err
}

func checkSchema(ctx context.Context, pool *pgxpool.Pool) error {
	want, err := schemaVersion()
	if err != nil {
		return err
	}
	var have int64
	err = pool.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version").Scan(&have)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && (pg.Code == "42P01" || pg.Code == "42501") {
		have, err = 0, nil // No table, or one that was made before our grant: nothing is migrated.
	}
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if have < want {
		return fmt.Errorf("the schema is at version %d and this release needs %d: run `parako migrate up`", have, want)
	}
	return nil
}

// roleCheck is what speaks against the role of a pool's connections.
type roleCheck struct {
	faults []string
	err    error
}

func checkRole(ctx context.Context, pool *pgxpool.Pool, role string) roleCheck {
	rows, err := pool.Query(ctx, roleFaults, role)
	if err != nil {
		return roleCheck{err: fmt.Errorf("check isolation: %w", err)}
	}
	faults, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return roleCheck{err: fmt.Errorf("check isolation: %w", err)}
	}
	return roleCheck{faults: faults}
}
