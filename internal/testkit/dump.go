package testkit

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Dump returns the schema of the database as pg_dump writes it, without data. Two databases with the same schema give the
// same text. Where pg_dump is not installed the test is skipped, in CI it fails.
func (d *DB) Dump(tb testing.TB) string {
	tb.Helper()
	output, err := exec.CommandContext(tb.Context(), d.PGDump(tb), "--schema-only", d.SuperDSN()).Output()
	if err != nil {
		if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Output returns it bare.
			tb.Fatalf("pg_dump: %v: %s", err, exit.Stderr)
		}
		tb.Fatalf("pg_dump: %v", err)
	}
	var dump strings.Builder
	for line := range strings.Lines(string(output)) {
		// These hold a key that is new every time.
		if !strings.HasPrefix(line, `\restrict `) && !strings.HasPrefix(line, `\unrestrict `) {
			dump.WriteString(line)
		}
	}
	return dump.String()
}

// PGDump finds pg_dump beside the server, whose version it has to match, or in PATH.
func (d *DB) PGDump(tb testing.TB) string {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), d.SuperDSN())
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close(tb.Context())
	var bin string
	if err := conn.QueryRow(tb.Context(), "SELECT setting FROM pg_config WHERE name = 'BINDIR'").Scan(&bin); err != nil {
		tb.Fatal(err)
	}
	program := filepath.Join(bin, "pg_dump")
	if _, err := os.Stat(program); err == nil {
		return program
	}
	program, err = exec.LookPath("pg_dump")
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		tb.Fatalf("pg_dump is neither in %s nor in PATH", bin)
	default:
		tb.Skipf("pg_dump is neither in %s nor in PATH", bin)
	}
	return program
}
