package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

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

// tableFaults lists, one sentence a row, which tables of the schema row-level security does not fully cover.
const tableFaults = `
SELECT format('table %s has no forced row-level security', c.oid::regclass)
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = 'parako'
   AND c.relkind IN ('r', 'p')
   AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
UNION ALL
SELECT format('table %s has no restrictive policy for parako_app', c.oid::regclass)
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = 'parako'
   AND c.relkind IN ('r', 'p')
   AND NOT EXISTS (SELECT
                     FROM pg_policy AS p
                    WHERE p.polrelid = c.oid
                      AND NOT p.polpermissive
                      AND (SELECT oid FROM pg_roles WHERE rolname = 'parako_app') = ANY (p.polroles))`

// Check refuses a database that must not be served: unreachable, too old, with a role that row-level security does not
// bind, not migrated, or with a table that it does not cover. The error says what to do, one line per fault.
func (s *Store) Check(ctx context.Context) error {
	var server int
	if err := s.app.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&server); err != nil {
		return fmt.Errorf("reach the database: %w", err)
	}
	if tooOld(server) {
		return fmt.Errorf("PostgreSQL %d.%d is too old: row-level security needs 15.9, 16.5, 17.1 or later", server/10000, server%10000)
	}
	faults, err := queryFaults(ctx, s.app, roleFaults, appRole)
	if err != nil {
		return err
	}
	if s.platform != nil {
		more, err := queryFaults(ctx, s.platform, roleFaults, platformRole)
		if err != nil {
			return err
		}
		faults = append(faults, more...)
	}
	if len(faults) > 0 {
		return fmt.Errorf("tenant isolation is not enforced: connect as parako_app and parako_platform, as the migrations create them:\n  %s",
			strings.Join(faults, "\n  "))
	}
	if err := checkSchema(ctx, s.app); err != nil {
		return err
	}
	if faults, err = queryFaults(ctx, s.app, tableFaults); err != nil {
		return err
	}
	if len(faults) > 0 {
		return fmt.Errorf("tenant isolation is not enforced: the tables are not as the migrations create them:\n  %s",
			strings.Join(faults, "\n  "))
	}
	return nil
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

func queryFaults(ctx context.Context, pool *pgxpool.Pool, query string, args ...any) ([]string, error) {
	rows, err := pool.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("check isolation: %w", err)
	}
	faults, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("check isolation: %w", err)
	}
	return faults, nil
}
