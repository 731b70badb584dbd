package store

import (
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var (
	// ErrNotFound reports that no row of this tenant matches. It says nothing about other tenants' rows.
	ErrNotFound = errors.New("not found")
	// ErrNoTenant reports a transaction begun without a tenant.
	ErrNoTenant = errors.New("no tenant")
	// ErrOtherTenant reports a nested transaction that cannot join the outer one.
	ErrOtherTenant = errors.New("another transaction is open")
	// ErrReadOnly reports a write nested in a read.
	ErrReadOnly = errors.New("transaction is read only")
	// ErrNoPlatform reports that this process was not given the platform's login.
	ErrNoPlatform = errors.New("no platform connection: set STORAGE_POSTGRESQL_PLATFORM_URL")
	// ErrTxEnded reports a statement after the end of its transaction.
	ErrTxEnded = errors.New("transaction has ended")

	errQueuedResult = errors.New("a statement with a result cannot be queued")
)

// Conflict reports a row that exists already. Constraint names the rule; it is empty on Citus.
type Conflict struct{ Constraint string }

// Error implements error.
func (c *Conflict) Error() string { return "conflict: " + c.Constraint }

// SQLSTATE codes that callers branch on.
const uniqueViolation = "23505"

// translate turns the driver's errors into the package's own. Other errors pass, wrapped as they are.
func translate(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotFound
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == uniqueViolation {
		return &Conflict{Constraint: pg.ConstraintName}
	}
	return err
}
