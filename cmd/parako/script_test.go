package main

import (
	"encoding/hex"
	"errors"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"parako/internal/secret"
	"parako/internal/testkit"
)

// TestMain lets scripts and tests run this binary as the command parako, in a process of its own.
func TestMain(m *testing.M) {
	testscript.Main(suite{m}, map[string]func(){"parako": main})
}

// suite is the tests with the throw-away databases around them.
type suite struct{ m *testing.M }

// Run implements testscript.TestingM.
func (s suite) Run() int { return testkit.Main(s.m) }

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Values[testing.TB(nil)] = e.T()
			e.Values[(*testkit.DB)(nil)] = new(*testkit.DB)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"database": database, "exits": exits, "superuser": superuser},
	})
}

// database gives the script a database of its own and the environment to use it with:
//
//	database          with the schema
//	database empty    without
func database(ts *testscript.TestScript, neg bool, args []string) {
	tb, kept := scriptDB(ts)
	var db *testkit.DB
	switch {
	case neg || len(args) > 1 || len(args) == 1 && args[0] != "empty":
		ts.Fatalf("usage: database [empty]")
	case len(args) == 1:
		db = testkit.NewEmptyDB(tb)
	default:
		db = testkit.NewDB(tb)
	}
	*kept = db
	ts.Setenv("DATABASE_URL", db.OwnerDSN())
	o := db.Options()
	ts.Setenv("STORAGE_POSTGRESQL_URL", o.AppURL.Reveal())
	ts.Setenv("STORAGE_POSTGRESQL_PLATFORM_URL", o.PlatformURL.Reveal())
	if o.Pooled {
		ts.Setenv("STORAGE_POSTGRESQL_POOLER", "transaction")
	}
	ts.Setenv("DIRECT_APP_URL", db.Direct().AppDSN())
	ts.Setenv("SUPERUSER_URL", db.SuperDSN())
	ts.Setenv("ENCRYPTION_KEY", hex.EncodeToString(secret.NewDataKey()))
	ts.Setenv("DEPLOYMENT_ENVIRONMENT", "production")
	ts.Setenv("DEPLOYMENT_URL", "https://id.example.com")
}

// superuser runs one statement above row-level security in the script's database:
//
//	superuser 'DELETE FROM parako.audit_events'
func superuser(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: superuser statement")
	}
	tb, db := scriptDB(ts)
	if *db == nil {
		ts.Fatalf("the script has no database yet")
	}
	(*db).Superuser(tb, args[0])
}

// scriptDB is the test a script runs in, and where its database is kept.
func scriptDB(ts *testscript.TestScript) (testing.TB, **testkit.DB) {
	tb, _ := ts.Value(testing.TB(nil)).(testing.TB)
	db, _ := ts.Value((*testkit.DB)(nil)).(**testkit.DB)
	return tb, db
}

// exits runs a command that must end with a certain exit status:
//
//	exits 2 parako frobnicate
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits status command [argument...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got, err = exit.ExitCode(), nil
	}
	ts.Check(err)
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}
