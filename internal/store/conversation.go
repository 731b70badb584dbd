package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// mode is what a transaction may do.
type mode int

const (
	readWrite mode = iota
	readOnly
	oneQuestion // read only, and the commit travels with the first statement
	snapshot    // read only, and every statement sees what the first one saw
)

func (m mode) begin() string {
	switch m {
	case readWrite:
		return "begin" // and not "begin read write", which would overrule an administrator who allows no writes
	case snapshot:
		return "begin isolation level repeatable read, read only"
	case readOnly, oneQuestion:
	}
	return "begin read only"
}

type statement struct {
	sql  string
	args []any
}

// conversation is one transaction seen as round trips. It borrows a connection at the first statement, sends begin and the
// prelude along with it, sends queued statements along with the next one, and sends the rest along with commit. So a
// transaction of n questions costs n+1 trips, one that only queues costs one, and one that asks nothing costs none.
type conversation struct {
	pool    *pgxpool.Pool
	mode    mode
	prelude statement
	conn    *pgxpool.Conn
	queued  []statement
	ended   bool
	failed  error // why begin or a queued statement did not succeed: nothing may follow
}

// rollbackTimeout bounds the one statement that must run although the request's context is done.
const rollbackTimeout = 2 * time.Second

// send delivers everything that waits and then last, and returns the results positioned at the result of last.
func (c *conversation) send(ctx context.Context, last statement) (pgx.BatchResults, error) {
	if c.ended {
		return nil, ErrTxEnded
	}
	if c.failed != nil {
		return nil, c.failed
	}
	batch, skip := &pgx.Batch{}, 0
	if c.conn == nil {
		conn, err := c.pool.Acquire(ctx)
		if err != nil {
			return nil, fmt.Errorf("connect to database: %w", err)
		}
		c.conn = conn
		batch.Queue(c.mode.begin())
		batch.Queue(c.prelude.sql, c.prelude.args...)
		skip = 2
	}
	for _, s := range c.queued {
		batch.Queue(s.sql, s.args...)
	}
	skip += len(c.queued)
	c.queued = nil
	batch.Queue(last.sql, last.args...)
	if c.mode == oneQuestion {
		batch.Queue("commit")
		c.ended = true
	}
	results := c.conn.SendBatch(ctx, batch)
	for range skip {
		if _, err := results.Exec(); err != nil {
			_ = results.Close() // Repeats the error.
			// The driver may have failed before it sent anything. Whatever came next would run outside the transaction.
			c.failed = translate(err)
			return nil, c.failed
		}
	}
	return results, nil
}

// Exec implements the generated code's DBTX.
func (c *conversation) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	results, err := c.send(ctx, statement{sql, args})
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	tag, err := results.Exec()
	if closed := results.Close(); err == nil {
		err = closed
	}
	return tag, translate(err)
}

// Query implements the generated code's DBTX. The rows must be closed before the next statement; generated code does.
func (c *conversation) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	results, err := c.send(ctx, statement{sql, args})
	if err != nil {
		return nil, err
	}
	r, err := results.Query()
	if err != nil {
		_ = results.Close() // Repeats the error.
		return nil, translate(err)
	}
	return &rows{Rows: r, results: results}, nil
}

// QueryRow implements the generated code's DBTX. The row must be scanned; generated code does.
func (c *conversation) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	results, err := c.send(ctx, statement{sql, args})
	if err != nil {
		return row{err: err}
	}
	return row{results: results}
}

// commit sends what is queued and ends the transaction, which has ended also when it fails. It is a mistake to commit
// twice, and harmless.
func (c *conversation) commit(ctx context.Context) error {
	defer c.rollback(ctx) // Gives the connection back; after a successful commit there is nothing to undo.
	if c.failed != nil {
		return fmt.Errorf("commit: %w", c.failed)
	}
	if c.ended || (c.conn == nil && len(c.queued) == 0) {
		return nil
	}
	results, err := c.send(ctx, statement{sql: "commit"})
	if err != nil {
		return err
	}
	tag, err := results.Exec()
	if closed := results.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return translate(err)
	}
	if tag.String() != "COMMIT" {
		// PostgreSQL answers ROLLBACK when a statement had failed and its error was ignored.
		return fmt.Errorf("commit: %w", pgx.ErrTxCommitRollback)
	}
	return nil
}

// rollback undoes whatever is open. It works although ctx is done; a connection that cannot roll back is closed.
func (c *conversation) rollback(ctx context.Context) {
	c.ended = true
	if c.conn == nil {
		return
	}
	if pg := c.conn.Conn().PgConn(); pg.TxStatus() != 'I' && !pg.IsClosed() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		// The error is not lost: the pool closes a connection that is still in a transaction.
		_, _ = c.conn.Exec(ctx, "rollback", pgx.QueryExecModeSimpleProtocol)
	}
	c.conn.Release()
	c.conn = nil
}

// row reads the one result and everything behind it.
type row struct {
	results pgx.BatchResults
	err     error
}

// Scan implements pgx.Row.
func (r row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	err := r.results.QueryRow().Scan(dest...)
	if closed := r.results.Close(); err == nil {
		err = closed
	}
	return translate(err)
}

// rows closes the results behind it together with itself.
type rows struct {
	pgx.Rows
	results pgx.BatchResults
}

// Close implements pgx.Rows.
func (r *rows) Close() {
	r.Rows.Close()
	_ = r.results.Close() // An error of the rows is in Err; the commit of a read has nothing to lose.
}

// Err implements pgx.Rows.
func (r *rows) Err() error { return translate(r.Rows.Err()) }

// queue is a DBTX that only remembers statements.
type queue struct{ talk *conversation }

// Exec implements the generated code's DBTX. The tag is empty: the statement has not run yet.
func (q queue) Exec(_ context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if q.talk.ended {
		return pgconn.CommandTag{}, ErrTxEnded
	}
	q.talk.queued = append(q.talk.queued, statement{sql, args})
	return pgconn.CommandTag{}, nil
}

// Query implements the generated code's DBTX.
func (queue) Query(context.Context, string, ...any) (pgx.Rows, error) {
	return nil, errQueuedResult
}

// QueryRow implements the generated code's DBTX.
func (queue) QueryRow(context.Context, string, ...any) pgx.Row { return row{err: errQueuedResult} }
