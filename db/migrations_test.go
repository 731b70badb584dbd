package db_test

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"parako/internal/embedpg"
	"parako/internal/testkit"
)

// built is where our own program goes.
var built string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "parako-db-test")
	if err != nil {
		panic(err)
	}
	built = filepath.Join(dir, "parako")
	code := testkit.Main(m)
	_ = os.RemoveAll(dir) // It is a file of the machine's own directory for such.
	os.Exit(code)
}

// Two programs. It takes the go command a second to find that there is nothing to build, so it is asked once.
var (
	stockGoose = sync.OnceValues(func() (string, error) {
		return command([]string{"CGO_ENABLED=0"}, "tool", "-modfile=tools/go.mod", "-n", "goose")
	})
	ourParako = sync.OnceValues(func() (string, error) {
		_, err := command(nil, "build", "-o", built, "./cmd/parako")
		return built, err
	})
)

// command returns what the go command prints.
func command(environment []string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	return strings.TrimSpace(string(output)), err
}

// goose runs the stock command line as an operator or a pipeline does, and returns what it prints.
func goose(t *testing.T, dsn string, command ...string) (string, error) {
	t.Helper()
	path, err := stockGoose()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, append([]string{"-dir", "migrations", "postgres", dsn}, command...)...)
	output, err := cmd.CombinedOutput()
	return string(output), err
}

func mustGoose(t *testing.T, dsn string, command ...string) {
	t.Helper()
	if output, err := goose(t, dsn, command...); err != nil {
		t.Fatalf("goose %s: %v\n%s", strings.Join(command, " "), err, output)
	}
}

// parako runs our command with one variable set, as an operator or a pipeline does, and returns what it prints.
func parako(t *testing.T, variable, dsn string, command ...string) string {
	t.Helper()
	path, err := ourParako()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, command...)
	cmd.Env = append(os.Environ(), variable+"="+dsn)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("parako %s: %v\n%s%s", strings.Join(command, " "), err, &stdout, &stderr)
	}
	return stdout.String()
}

func run(t *testing.T, dsn string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// connect is a connection until the test is over.
func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// as is dsn for another role.
func as(t *testing.T, dsn, role string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	return u.String()
}

// column returns the one text column of a query.
func column(t *testing.T, db *testkit.DB, sql string) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), db.SuperDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestRolesHaveTimeouts looks at what bounds a request. The databases of other tests have more patience.
func TestRolesHaveTimeouts(t *testing.T) {
	t.Parallel()
	got := column(t, testkit.NewDB(t), `SELECT rolname || ' ' || string_agg(setting, ' ' ORDER BY setting)
		  FROM pg_roles, unnest(rolconfig) AS setting
		 WHERE rolname LIKE 'parako%' AND setting LIKE '%timeout=%'
		 GROUP BY rolname ORDER BY rolname`)
	const timeouts = " idle_in_transaction_session_timeout=5s lock_timeout=2s statement_timeout=5s"
	if diff := cmp.Diff([]string{"parako_app" + timeouts, "parako_auditor" + timeouts, "parako_platform" + timeouts}, got); diff != "" {
		t.Errorf("roles mismatch (-want +got)\n%s", diff)
	}
}

// What testkit makes its databases with is the library that internal/store uses, so that one dump stands for both.
func TestStockGooseGoesUpDownAndUp(t *testing.T) {
	t.Parallel()
	db := testkit.NewEmptyDB(t)
	mustGoose(t, db.OwnerDSN(), "up")
	for _, dsn := range []string{db.AppDSN(), as(t, db.SuperDSN(), "parako_auditor")} {
		var answer struct {
			Findings []any `json:"findings"`
		}
		output := parako(t, "STORAGE_POSTGRESQL_URL", dsn, "doctor", "isolation", "--json")
		if err := json.Unmarshal([]byte(output), &answer); err != nil || answer.Findings == nil || len(answer.Findings) > 0 {
			t.Errorf("the doctor: %v, want no findings in\n%s", err, output)
		}
	}
	first := db.Dump(t)
	if diff := cmp.Diff(testkit.NewDB(t).Dump(t), first); diff != "" {
		t.Errorf("the command line and the library differ (-library +command line)\n%s", diff)
	}
	// The built-in tenant and the canaries are the rows the schema comes with.
	const tenants = "SELECT id || ' ' || slug FROM parako.tenants ORDER BY id"
	anchor := []string{
		"00000000-0000-4000-8000-000000000001 default", "00000000-0000-4000-8000-00000000000a canary-a", "00000000-0000-4000-8000-00000000000b canary-b",
	}
	if diff := cmp.Diff(anchor, column(t, db, tenants)); diff != "" {
		t.Errorf("tenants mismatch (-want +got)\n%s", diff)
	}

	mustGoose(t, db.OwnerDSN(), "reset")
	const left = `
		SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema')
		UNION ALL
		SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname !~ '^goose_db_version'
		UNION ALL
		SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace`
	if got := column(t, db, left); len(got) != 0 {
		t.Errorf("reset leaves %q behind", got)
	}
	mustGoose(t, db.OwnerDSN(), "up")
	if diff := cmp.Diff(first, db.Dump(t)); diff != "" {
		t.Errorf("the second time up differs (-first +second)\n%s", diff)
	}
	if diff := cmp.Diff(anchor, column(t, db, tenants)); diff != "" {
		t.Errorf("tenants mismatch (-want +got)\n%s", diff)
	}
}

// Managed databases often give an owner that may not create roles; an administrator creates them beforehand.
func TestOwnerThatMayNotCreateRoles(t *testing.T) {
	t.Parallel()
	db := testkit.NewEmptyDB(t)
	owner := strings.ReplaceAll(db.Name, "test", "owner") // roles belong to the whole server
	run(t, db.SuperDSN(),
		"CREATE ROLE "+owner+" LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOBYPASSRLS",
		"ALTER DATABASE "+db.Name+" OWNER TO "+owner)
	dsn := as(t, db.OwnerDSN(), owner)
	mustGoose(t, dsn, "up")
	got := strings.ReplaceAll(db.Dump(t), owner, "parako_owner")
	if diff := cmp.Diff(testkit.NewDB(t).Dump(t), got); diff != "" {
		t.Errorf("schema mismatch (-want +got)\n%s", diff)
	}
	mustGoose(t, dsn, "down-to", "0")
	mustGoose(t, dsn, "up")
	if diff := cmp.Diff(got, strings.ReplaceAll(db.Dump(t), owner, "parako_owner")); diff != "" {
		t.Errorf("the second time up differs (-first +second)\n%s", diff)
	}
}

func TestMissingRolesAreNamed(t *testing.T) {
	t.Parallel()
	// A server of its own: on the shared one the roles exist. Its folder has a short name for the sake of its socket.
	dir, err := os.MkdirTemp("", "parako-db-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cluster, err := embedpg.Start(t.Context(), embedpg.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	super := cluster.DSN("postgres", "postgres")
	run(t, super, "CREATE ROLE plain_owner LOGIN", "CREATE ROLE parako_app LOGIN", "CREATE DATABASE managed OWNER plain_owner")
	output, err := goose(t, cluster.DSN("plain_owner", "managed"), "up")
	const want = "roles parako_auditor, parako_platform do not exist and plain_owner may not create roles"
	if err == nil || !strings.Contains(output, want) {
		t.Errorf("goose up: %v, want %q in\n%s", err, want, output)
	}
	run(t, super, "CREATE ROLE parako_platform LOGIN", "CREATE ROLE parako_auditor NOLOGIN")
	output, err = goose(t, cluster.DSN("plain_owner", "managed"), "up")
	if err == nil || !strings.Contains(output, "role parako_tenant_auditor does not exist and plain_owner may not create roles") {
		t.Errorf("goose up without the later role: %v\n%s", err, output)
	}
	run(t, super, "CREATE ROLE parako_tenant_auditor NOLOGIN")
	mustGoose(t, cluster.DSN("plain_owner", "managed"), "up")
}
