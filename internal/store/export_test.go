package store

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// TooOld is tooOld, for a table of versions that are not all installed.
var TooOld = tooOld

// IsolationParts are the views that Isolation asks.
var IsolationParts = parts

// Pool is the application's pool, for tests that look at what a transaction left behind on a connection.
func (s *Store) Pool() *pgxpool.Pool { return s.app }

// ProveBetween is Prove with tenants of the test's own.
func (s *Store) ProveBetween(ctx context.Context, attacker, victim uuid.UUID) (Proof, error) {
	return s.prove(ctx, attacker, victim)
}

// Plant puts a row of the tenant into every table that has none and returns the tables of tenants, with the name of the
// column of the tenant. Another nth gives other values.
func (s *Store) Plant(ctx context.Context, tenant uuid.UUID, nth int) (map[string]string, error) {
	tables := map[string]string{}
	err := pgx.BeginFunc(ctx, s.app, func(tx pgx.Tx) error {
		list, err := canaryTables(ctx, tx)
		if err != nil {
			return err
		}
		for _, t := range list {
			if t.tenant != "" {
				tables[t.name] = t.tenant
			}
		}
		if _, err := tx.Exec(ctx, "SELECT parako.set_tenant($1)", tenant); err != nil {
			return err
		}
		return plant(ctx, tx, list, tenant, nth)
	})
	return tables, err
}

// Ask runs a statement that is not among the generated ones, which all name the tenant: what keeps this one to its tenant is
// the transaction alone.
func (tx *Tx) Ask(ctx context.Context, sql string, args ...any) ([]string, error) {
	rows, err := tx.talk.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
