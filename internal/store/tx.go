package store

import (
	"context"
	"strconv"
	"time"

	"github.com/google/uuid"

	"parako/internal/dbsqlc"
)

// Tx is a transaction of one tenant. Its methods are the generated queries; each still names the tenant, which is
// [Tx.Tenant]. It is not safe for concurrent use.
type Tx struct {
	*dbsqlc.Queries
	tenant uuid.UUID
	now    time.Time
	talk   *conversation
	raised raised
}

// txKey finds the open transaction in a context, so that a nested InTenant joins it.
type txKey struct{}

func newTx(tenant uuid.UUID, now time.Time, talk *conversation) *Tx {
	return &Tx{Queries: dbsqlc.New(talk), tenant: tenant, now: now, talk: talk}
}

// Tenant is the tenant the transaction belongs to.
func (tx *Tx) Tenant() uuid.UUID { return tx.tenant }

// Now is the moment the transaction began, by the clock of this process. It is the same for the whole transaction.
func (tx *Tx) Now() time.Time { return tx.now }

// Writable reports whether PostgreSQL accepts writes in the transaction.
func (tx *Tx) Writable() bool { return tx.talk.mode == readWrite }

// Patient lets each statement that follows in the transaction take up to d, and whoever asks as long between two of them: what is read
// may be written to somebody slow. The role's own timeouts are for requests.
func (tx *Tx) Patient(d time.Duration) {
	for _, sql := range patience(d) {
		tx.talk.queued = append(tx.talk.queued, statement{sql: sql})
	}
}

// patience are the statements that Patient sends. SET takes no parameters; a number has nothing to escape.
func patience(d time.Duration) []string {
	ms := strconv.FormatInt(d.Milliseconds(), 10)
	return []string{"SET LOCAL statement_timeout = " + ms, "SET LOCAL idle_in_transaction_session_timeout = " + ms}
}

// Later queues statements whose outcome nobody needs: they travel with the next statement or with the commit, in the order
// they were queued, and their errors appear there. Only queries without a result can be queued.
func (tx *Tx) Later() *dbsqlc.Queries { return dbsqlc.New(queue{tx.talk}) }

func locate(ctx context.Context, talk *conversation, kind, name string) (uuid.UUID, error) {
	return dbsqlc.New(talk).TenantLocate(ctx, dbsqlc.TenantLocateParams{Kind: kind, Name: name})
}
