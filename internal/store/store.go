package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"parako/internal/dbsqlc/control"
	"parako/internal/secret"
)

// Options say where PostgreSQL is and as whom to connect.
type Options struct {
	// AppURL connects as parako_app, for everything that happens inside a tenant. Required.
	AppURL secret.String
	// PlatformURL connects as parako_platform, for what crosses tenants. Empty: [Store.InPlatform] fails.
	PlatformURL secret.String
	// Pooled says that the URLs lead to a pooler in transaction mode, which gives every transaction the next free session:
	// statements are not prepared then. It is no harm on a direct connection, only slower.
	Pooled bool
	// Now is the clock that transactions read once, at their begin. Nil means time.Now.
	Now func() time.Time
	// Changed hears of every tenant whose revision a transaction of this store has raised, once that has committed, before the
	// transaction's caller goes on. It must be quick. Nil: nobody listens.
	Changed func(ctx context.Context, tenant uuid.UUID, revision int64)
}

// platformConns bounds the platform's pool: it serves administrators and one poll, never a request of a tenant.
const platformConns = 4

// Store holds the connection pools. It is safe for concurrent use.
type Store struct {
	app      *pgxpool.Pool
	platform *pgxpool.Pool
	now      func() time.Time
	changed  func(ctx context.Context, tenant uuid.UUID, revision int64)
}

// Open prepares the pools. It does not wait for the database: the first statement connects, and [Store.Check] tells
// whether the database may be used.
func Open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{now: o.Now, changed: o.Changed}
	if s.now == nil {
		s.now = time.Now
	}
	if s.changed == nil {
		s.changed = func(context.Context, uuid.UUID, int64) {}
	}
	var err error
	if s.app, err = openPool(ctx, o.AppURL, o.Pooled, 0); err != nil {
		return nil, fmt.Errorf("open database pool: %w", err)
	}
	if !o.PlatformURL.Empty() {
		if s.platform, err = openPool(ctx, o.PlatformURL, o.Pooled, platformConns); err != nil {
			s.app.Close()
			return nil, fmt.Errorf("open platform pool: %w", err)
		}
	}
	return s, nil
}

// openPool leaves the size to the URL (pool_max_conns) or to pgx unless maxConns is positive.
func openPool(ctx context.Context, url secret.String, pooled bool, maxConns int32) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url.Reveal())
	if err != nil {
		// pgx repeats the URL, password masked, but a malformed one may defeat the masking.
		return nil, errors.New("database URL is not valid: want postgres://user:password@host:port/name")
	}
	if maxConns > 0 {
		cfg.MaxConns = maxConns
	}
	if pooled {
		// A prepared statement is remembered by the session, its description on this side. Either way an execution takes one
		// round trip; without the former PostgreSQL parses and plans each.
		cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	// A connection inside a transaction would carry its tenant to the next borrower: the pool closes it instead, without
	// being told. An AfterRelease that looked again would cost a goroutine and keep the connection from the next borrower
	// until it has run.
	return pgxpool.NewWithConfig(ctx, cfg)
}

// Close waits for borrowed connections and closes the pools.
func (s *Store) Close() {
	s.app.Close()
	if s.platform != nil {
		s.platform.Close()
	}
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	return s.app.Ping(ctx)
}

// Connections is how many the application's pool has at most.
func (s *Store) Connections() int { return int(s.app.Config().MaxConns) }

// PoolStats reports the connections of the application's pool: all, idle and borrowed.
func (s *Store) PoolStats() (total, idle, acquired int32) {
	st := s.app.Stat()
	return st.TotalConns(), st.IdleConns(), st.AcquiredConns()
}

// InTenant runs fn in a read-write transaction of the tenant and commits when fn returns nil. Inside a transaction of the
// same tenant fn joins it; inside one of another tenant, or a read-only one, InTenant fails. fn must not use tx after it
// returns, nor from several goroutines.
func (s *Store) InTenant(ctx context.Context, tenant uuid.UUID, fn func(context.Context, *Tx) error) error {
	return s.inTenant(ctx, tenant, readWrite, fn)
}

// ViewTenant is InTenant for reading only: PostgreSQL refuses every write.
func (s *Store) ViewTenant(ctx context.Context, tenant uuid.UUID, fn func(context.Context, *Tx) error) error {
	return s.inTenant(ctx, tenant, readOnly, fn)
}

// SnapshotTenant is ViewTenant in which every statement sees the rows as they were at the first one, whatever is committed meanwhile.
// It joins no transaction but another snapshot.
func (s *Store) SnapshotTenant(ctx context.Context, tenant uuid.UUID, fn func(context.Context, *Tx) error) error {
	return s.inTenant(ctx, tenant, snapshot, fn)
}

// AskTenant is ViewTenant for exactly one statement, which goes to the server and back in one round trip with its begin
// and its commit. A second statement is an error.
func (s *Store) AskTenant(ctx context.Context, tenant uuid.UUID, fn func(context.Context, *Tx) error) error {
	return s.inTenant(ctx, tenant, oneQuestion, fn)
}

func (s *Store) inTenant(ctx context.Context, tenant uuid.UUID, m mode, fn func(context.Context, *Tx) error) error {
	if outer, ok := ctx.Value(txKey{}).(*Tx); ok {
		if outer.tenant != tenant {
			return fmt.Errorf("join transaction of tenant %s for tenant %s: %w", outer.tenant, tenant, ErrOtherTenant)
		}
		if outer.talk.mode != readWrite && m == readWrite {
			return fmt.Errorf("write in a read-only transaction: %w", ErrReadOnly)
		}
		if outer.talk.mode != snapshot && m == snapshot {
			return fmt.Errorf("take a snapshot inside a transaction: %w", ErrOtherTenant)
		}
		return fn(ctx, outer)
	}
	ctx, tx, err := s.begin(ctx, tenant, m)
	if err != nil {
		return err
	}
	// A panic in fn must not leave the transaction open; after a commit this does nothing.
	defer tx.talk.rollback(ctx)
	if err := fn(ctx, tx); err != nil {
		return err
	}
	return tx.commit(ctx)
}

// Begin opens a transaction that [Commit] or [Rollback] ends, for callers that cannot be given a function: fosite's
// handlers. Everyone else uses InTenant.
func (s *Store) Begin(ctx context.Context, tenant uuid.UUID) (context.Context, error) {
	if _, ok := ctx.Value(txKey{}).(*Tx); ok {
		return nil, fmt.Errorf("begin inside a transaction: %w", ErrOtherTenant)
	}
	ctx, _, err := s.begin(ctx, tenant, readWrite)
	return ctx, err
}

// Commit ends the transaction of Begin.
func Commit(ctx context.Context) error {
	return ctx.Value(txKey{}).(*Tx).commit(ctx) //nolint:forcetypeassert // A Commit without Begin is a bug.
}

// Rollback undoes the transaction of Begin. After Commit it does nothing.
func Rollback(ctx context.Context) {
	ctx.Value(txKey{}).(*Tx).talk.rollback(ctx) //nolint:forcetypeassert // A Rollback without Begin is a bug.
}

func (s *Store) begin(ctx context.Context, tenant uuid.UUID, m mode) (context.Context, *Tx, error) {
	if tenant == uuid.Nil {
		return nil, nil, fmt.Errorf("begin transaction: %w", ErrNoTenant)
	}
	tx := newTx(tenant, s.now(), &conversation{
		pool:    s.app,
		mode:    m,
		prelude: statement{sql: "SELECT parako.set_tenant($1)", args: []any{tenant}},
	})
	tx.raised.hear = s.changed
	return context.WithValue(ctx, txKey{}, tx), tx, nil
}

// Locate answers which tenant a slug (kind "slug") or a host (kind "host") leads to, in one round trip.
// ErrNotFound: none.
func (s *Store) Locate(ctx context.Context, kind, name string) (uuid.UUID, error) {
	talk := &conversation{
		pool:    s.app,
		mode:    oneQuestion,
		prelude: statement{sql: "SELECT parako.set_locator($1, $2)", args: []any{kind, name}},
	}
	defer talk.rollback(ctx)
	return locate(ctx, talk, kind, name)
}

// PlatformTx is a transaction of the platform's role. It reaches tenants and their locators and appends to the audit
// trail; PostgreSQL grants it nothing else.
type PlatformTx struct {
	*control.Queries
	now    time.Time
	raised raised
	tx     pgx.Tx
}

// Patient is [Tx.Patient] for the platform.
func (tx *PlatformTx) Patient(ctx context.Context, d time.Duration) error {
	for _, sql := range patience(d) {
		if _, err := tx.tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// Now is the moment the transaction began, by the clock of this process.
func (tx *PlatformTx) Now() time.Time { return tx.now }

// InPlatform runs fn in a transaction of parako_platform and commits when fn returns nil.
func (s *Store) InPlatform(ctx context.Context, fn func(context.Context, *PlatformTx) error) error {
	if s.platform == nil {
		return fmt.Errorf("cross tenants: %w", ErrNoPlatform)
	}
	tx := &PlatformTx{now: s.now(), raised: raised{hear: s.changed}}
	err := pgx.BeginFunc(ctx, s.platform, func(open pgx.Tx) error {
		tx.Queries, tx.tx = control.New(open), open
		return fn(ctx, tx)
	})
	if err != nil {
		return translate(err)
	}
	tx.raised.tell(ctx)
	return nil
}
