package testkit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"parako/db"
	"parako/internal/embedpg"
)

// The roles of a deployment. All may log in without a password: the server is private to the test process. Roles are
// shared by all databases of the process, so a test that runs in parallel must not alter them.
const (
	superuser    = "postgres"
	ownerRole    = "parako_owner"
	appRole      = "parako_app"
	platformRole = "parako_platform"
)

// DB is a database with the product's schema and nothing in it, for one test. Its DSNs are URLs for pgx.
type DB struct {
	// Name is the database's name on the server, unique in the test process.
	Name string

	cluster *embedpg.Cluster
	pooler  *pooler // before the two roles of the product; nil: none
}

// AppDSN connects as parako_app, the role that serves requests: row-level security applies.
func (d *DB) AppDSN() string { return d.served(appRole) + d.bareMode() }

// PlatformDSN connects as parako_platform, the role of the control plane.
func (d *DB) PlatformDSN() string { return d.served(platformRole) + d.bareMode() }

// served leads a role of the product to the pooler where there is one.
func (d *DB) served(role string) string {
	dsn := d.cluster.DSN(role, d.Name)
	if d.pooler == nil {
		return dsn
	}
	return d.pooler.dsn(dsn)
}

// bareMode tells a connection that no store opens that it is pooled.
func (d *DB) bareMode() string {
	if d.pooler == nil {
		return ""
	}
	return "&default_query_exec_mode=cache_describe"
}

// OwnerDSN connects as parako_owner, which is no superuser, owns the database and its schema, and ran the migrations.
func (d *DB) OwnerDSN() string { return d.cluster.DSN(ownerRole, d.Name) }

// SuperDSN connects as the superuser, who is above row-level security: for questions to the catalog, never to prepare or
// check what a tenant sees.
func (d *DB) SuperDSN() string { return d.cluster.DSN(superuser, d.Name) }

// Superuser runs one statement above row-level security, to put the database into a state that nothing else leads to.
func (d *DB) Superuser(tb testing.TB, sql string, args ...any) {
	tb.Helper()
	ctx := context.WithoutCancel(tb.Context())
	conn, err := pgx.Connect(ctx, d.SuperDSN())
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql, args...); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

// Main runs the tests of a package and removes what they shared. It returns the exit status:
//
//	func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }
func Main(m *testing.M) int {
	shared.mu.Lock()
	shared.owned = true
	shared.mu.Unlock()

	// Without this, Ctrl-C would leave the files of the cluster behind.
	ctx, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	ignore := context.AfterFunc(ctx, func() {
		_ = shared.close()
		os.Exit(1)
	})
	defer ignore()

	status := m.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, "testkit:", err)
		return max(status, 1)
	}
	return status
}

// patience replaces the time-outs of the product's roles, which a busy machine would exceed while a test holds a lock, or keeps a
// transaction open.
const patience = "2min"

// NewDB returns a fresh database with all migrations applied and drops it, with whoever is still connected, when the
// test is over. The first call in a process starts a server (about a second); later ones copy a template (about 50 ms),
// one at a time. Safe for parallel tests. It ends the test when there is no server to be had or the package's TestMain
// does not call [Main].
func NewDB(tb testing.TB) *DB { return newDB(tb, false) }

// NewEmptyDB is [NewDB] without the migrations, for tests that apply them. parako_owner owns the database, and the roles
// are there: they belong to the server.
func NewEmptyDB(tb testing.TB) *DB { return newDB(tb, true) }

func newDB(tb testing.TB, empty bool) *DB {
	tb.Helper()
	ctx := context.WithoutCancel(tb.Context()) // interrupting a statement would cost the connection all tests share
	d, err := shared.create(ctx, empty)
	if err != nil {
		tb.Fatalf("make test database: %v", err)
	}
	tb.Cleanup(func() {
		if err := shared.drop(ctx, d.Name); err != nil {
			tb.Errorf("drop test database: %v", err)
		}
	})
	return d
}

// shared is the one server of this process. A test is handed nothing but its *testing.T, so this cannot be a value that
// somebody passes.
var shared server

// server is a private cluster with a template database. The zero value starts at the first create.
type server struct {
	mu       sync.Mutex // guards all, and lets one at a time use admin
	owned    bool       // Main runs and will close
	failed   error      // why the start failed: each test says so, and none tries again
	dir      string
	cluster  *embedpg.Cluster
	pooler   *pooler   // before all databases; nil: none
	admin    *pgx.Conn // as superuser
	template string
	count    int // of databases made, for their names
}

func (s *server) create(ctx context.Context, empty bool) (*DB, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.owned {
		return nil, errors.New("the package needs: func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }")
	}
	if s.cluster == nil && s.failed == nil {
		s.failed = s.start(ctx)
	}
	if s.failed != nil {
		return nil, s.failed
	}
	s.count++
	d := &DB{Name: fmt.Sprintf("parako_test_%d", s.count), cluster: s.cluster, pooler: s.pooler}
	template := s.template
	if empty {
		template = "template1"
	}
	if err := s.exec(ctx, "CREATE DATABASE "+d.Name+" TEMPLATE "+template+" OWNER "+ownerRole); err != nil {
		return nil, err
	}
	for _, role := range []string{appRole, platformRole} {
		for _, timeout := range []string{"lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"} {
			if err := s.exec(ctx, "ALTER ROLE "+role+" IN DATABASE "+d.Name+" SET "+timeout+" = '"+patience+"'"); err != nil {
				return nil, err
			}
		}
	}
	return d, nil
}

func (s *server) drop(ctx context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
}

// start runs the cluster and makes the template. What it leaves on failure, close removes.
func (s *server) start(ctx context.Context) error {
	migrations, err := fs.Sub(db.Migrations, "migrations")
	if err != nil {
		return err
	}
	if s.template, err = templateName(migrations); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "parako-test-"); err != nil {
		return err
	}
	if s.cluster, err = embedpg.Start(ctx, embedpg.Options{Dir: s.dir}); err != nil {
		return err
	}
	if program := os.Getenv(poolerVariable); program != "" {
		if s.pooler, err = startPooler(ctx, s.cluster, program); err != nil {
			return fmt.Errorf("%s: %w", poolerVariable, err)
		}
	}
	if s.admin, err = pgx.Connect(ctx, s.cluster.DSN(superuser, "postgres")); err != nil {
		return err
	}
	if err := s.exec(ctx,
		"CREATE ROLE "+ownerRole+" LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB CREATEROLE",
		"CREATE DATABASE "+s.template+" OWNER "+ownerRole,
	); err != nil {
		return err
	}
	if err := migrate(ctx, s.cluster.DSN(ownerRole, s.template), migrations); err != nil {
		return fmt.Errorf("migrate template database: %w", err)
	}
	// PostgreSQL does not copy a database that somebody is connected to.
	return s.exec(ctx, "ALTER DATABASE "+s.template+" ALLOW_CONNECTIONS false")
}

func (s *server) exec(ctx context.Context, statements ...string) error {
	for _, sql := range statements {
		if _, err := s.admin.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// close stops the server, if there is one, and removes its files.
func (s *server) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owned = false
	if s.admin != nil {
		_ = s.admin.Close(context.Background())
	}
	var err error
	if s.pooler != nil {
		_, err = s.pooler.close()
	}
	if s.cluster != nil {
		err = errors.Join(err, s.cluster.Stop())
	}
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// templateName is derived from the text of the migrations, so that a template always says which schema it has.
func templateName(migrations fs.FS) (string, error) {
	digest := sha256.New()
	names, err := fs.Glob(migrations, "*.sql")
	if err != nil {
		return "", err
	}
	for _, name := range names {
		text, err := fs.ReadFile(migrations, name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(digest, "%s %d\n%s", name, len(text), text)
	}
	return fmt.Sprintf("parako_template_%x", digest.Sum(nil)[:6]), nil
}

func migrate(ctx context.Context, dsn string, migrations fs.FS) error {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return err
	}
	conn := stdlib.OpenDB(*config)
	defer conn.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, migrations)
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}
