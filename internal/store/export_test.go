package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// TooOld is tooOld, for a table of versions that are not all installed.
var TooOld = tooOld

// Pool is the application's pool, for tests that look at what a transaction left behind on a connection.
func (s *Store) Pool() *pgxpool.Pool { return s.app }

// Ask runs a statement that is not among the generated ones, which all name the tenant: what keeps this one to its tenant is
// the transaction alone.
func (tx *Tx) Ask(ctx context.Context, sql string, args ...any) ([]string, error) {
	rows, err := tx.talk.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
