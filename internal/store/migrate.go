package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"parako/db"
	"parako/internal/secret"
)

// Migration is one file of db/migrations and whether it has been applied.
type Migration struct {
	Version int64  `json:"version"`
	File    string `json:"file"`
	Applied bool   `json:"applied"`
}

// Migrator applies the schema's migrations as its owner. It does what the stock goose command does with the same files,
// and holds a lock meanwhile, so that several may start at once.
type Migrator struct {
	db    *sql.DB
	goose *goose.Provider
}

// NewMigrator connects with the owner's URL (DATABASE_URL).
func NewMigrator(url secret.String) (*Migrator, error) {
	cfg, err := pgx.ParseConfig(url.Reveal())
	if err != nil {
		return nil, errors.New("database URL is not valid: want postgres://user:password@host:port/name")
	}
	files, err := fs.Sub(db.Migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("open migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
	if err != nil {
		return nil, fmt.Errorf("prepare migration lock: %w", err)
	}
	conn := stdlib.OpenDB(*cfg)
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, files, goose.WithSessionLocker(locker))
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return &Migrator{db: conn, goose: provider}, nil
}

// Close ends the connection.
func (m *Migrator) Close() error { return m.db.Close() }

// Up applies what is missing and returns it, oldest first.
func (m *Migrator) Up(ctx context.Context) ([]Migration, error) {
	results, err := m.goose.Up(ctx)
	return applied(results, true), err
}

// Down takes back every migration above version, newest first. Version 0 empties the database.
func (m *Migrator) Down(ctx context.Context, version int64) ([]Migration, error) {
	results, err := m.goose.DownTo(ctx, version)
	return applied(results, false), err
}

// Status lists every migration, oldest first.
func (m *Migrator) Status(ctx context.Context) ([]Migration, error) {
	states, err := m.goose.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("read migration status: %w", err)
	}
	list := make([]Migration, len(states))
	for i, s := range states {
		list[i] = Migration{Version: s.Source.Version, File: s.Source.Path, Applied: s.State == goose.StateApplied}
	}
	return list, nil
}

func applied(results []*goose.MigrationResult, up bool) []Migration {
	list := make([]Migration, len(results))
	for i, r := range results {
		list[i] = Migration{Version: r.Source.Version, File: r.Source.Path, Applied: up}
	}
	return list
}

// schemaVersion is the newest migration this binary was built with.
func schemaVersion() (int64, error) {
	names, err := fs.Glob(db.Migrations, "migrations/*.sql")
	if err != nil {
		return 0, fmt.Errorf("list migrations: %w", err)
	}
	if len(names) == 0 {
		return 0, errors.New("no migrations embedded")
	}
	return goose.NumericComponent(names[len(names)-1])
}
