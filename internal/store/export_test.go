package store

import "github.com/jackc/pgx/v5/pgxpool"

// TooOld is tooOld, for a table of versions that are not all installed.
var TooOld = tooOld

// Pool is the application's pool, for tests that look at what a transaction left behind on a connection.
func (s *Store) Pool() *pgxpool.Pool { return s.app }
