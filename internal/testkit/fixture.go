package testkit

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/tenant"
)

// Options are what a store needs to open the database with both roles. Parameters of pgx, such as pool_max_conns=1, are added
// to both URLs.
func (d *DB) Options(parameters ...string) store.Options {
	suffix := strings.Join(append([]string{""}, parameters...), "&")
	return store.Options{
		AppURL: secret.NewString(d.served(appRole) + suffix), PlatformURL: secret.NewString(d.served(platformRole) + suffix),
		Pooled: d.pooler != nil,
	}
}

// Store opens the database as the product does, with both roles and the machine's clock, until the test is over.
func (d *DB) Store(tb testing.TB) *store.Store {
	tb.Helper()
	return d.StoreAt(tb, time.Now)
}

// StoreAt is [DB.Store] whose transactions read the time from now, such as [Clock.Now]. PostgreSQL's own clock stays the
// machine's: rows that the schema dates itself carry the real time.
func (d *DB) StoreAt(tb testing.TB, now func() time.Time) *store.Store {
	tb.Helper()
	o := d.Options()
	o.Now = now
	s, err := store.Open(tb.Context(), o)
	if err != nil {
		tb.Fatalf("open store: %v", err)
	}
	tb.Cleanup(s.Close)
	return s
}

// Tenant creates an active tenant whose display name is its slug.
func Tenant(tb testing.TB, s *store.Store, slug string) tenant.Tenant {
	tb.Helper()
	t, err := tenant.Create(tb.Context(), s, tenant.New{Slug: slug, DisplayName: slug, Operator: "test"})
	if err != nil {
		tb.Fatalf("create tenant %s: %v", slug, err)
	}
	return t
}

// Vault returns a vault with a master key of its own.
func Vault(tb testing.TB) tenant.Vault {
	tb.Helper()
	master, err := secret.ParseMasterKey(hex.EncodeToString(secret.NewDataKey()))
	if err != nil {
		tb.Fatalf("make master key: %v", err)
	}
	return tenant.Vault{Master: master}
}

// Ask runs one statement as parako_app inside the tenant and returns the first column of its rows, which must be text. It
// is for what a test has to see, or to spoil, behind the back of the code; it ends the test when the statement fails.
func (d *DB) Ask(tb testing.TB, tenant uuid.UUID, sql string, args ...any) []string {
	tb.Helper()
	rows, err := d.ask(tb.Context(), tenant, sql, args...)
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return rows
}

// Refused runs one statement like [DB.Ask] and returns the SQLSTATE with which PostgreSQL refuses it, or "" when the
// statement succeeds.
func (d *DB) Refused(tb testing.TB, tenant uuid.UUID, sql string, args ...any) string {
	tb.Helper()
	_, err := d.ask(tb.Context(), tenant, sql, args...)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return ""
}

// AskAbove runs one statement as the superuser, whom no policy holds back, and returns the first column of its rows, which
// must be text. It is for what holds across tenants, such as that the rows of all others have not changed.
func (d *DB) AskAbove(tb testing.TB, sql string, args ...any) []string {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), d.SuperDSN())
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(tb.Context()))
	rows, err := conn.Query(tb.Context(), sql, args...)
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return found
}

// Hold runs one statement as the superuser and keeps its transaction open, and so the locks it took, until release is called.
func (d *DB) Hold(tb testing.TB, sql string, args ...any) (release func()) {
	tb.Helper()
	ctx := context.WithoutCancel(tb.Context())
	conn, err := pgx.Connect(ctx, d.SuperDSN())
	if err != nil {
		tb.Fatal(err)
	}
	release = sync.OnceFunc(func() { _ = conn.Close(ctx) }) // PostgreSQL rolls back.
	tb.Cleanup(release)
	tx, err := conn.Begin(ctx)
	if err == nil {
		_, err = tx.Exec(ctx, sql, args...)
	}
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return release
}

func (d *DB) ask(ctx context.Context, tenant uuid.UUID, sql string, args ...any) (found []string, err error) {
	conn, err := pgx.Connect(ctx, d.AppDSN())
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT parako.set_tenant($1)", tenant); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return found, err
}

// Clock is a time that moves only when the test says so. The zero value is the machine's time at its first use. It is safe
// for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now is the time.
func (c *Clock) Now() time.Time { return c.move(0) }

// Advance moves the time on by d.
func (c *Clock) Advance(d time.Duration) { c.move(d) }

func (c *Clock) move(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now.IsZero() {
		c.now = time.Now()
	}
	c.now = c.now.Add(d)
	return c.now
}
