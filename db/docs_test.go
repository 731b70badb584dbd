package db_test

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// sqlBlock is a block of SQL in a page.
var sqlBlock = regexp.MustCompile("(?s)```sql\n(.*?)```")

// statement is one statement of a block with the error that the comment behind it announces.
var statement = regexp.MustCompile(`(?s)([^;]+);[^\n]*\n?((?:-- ERROR:[^\n]*\n)?)`)

// TestDocumentedQueriesWork runs every block of SQL in the page for DBAs as the role that the page names: what acts inside a
// tenant as parako_app, what changes a grant as the owner, everything else as parako_auditor. A statement fails exactly
// where the page says so.
func TestDocumentedQueriesWork(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/dba.md")
	if err != nil {
		t.Fatal(err)
	}
	tr := newTrail(t)
	tr.populate(t)
	blocks := sqlBlock.FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 5 {
		t.Fatalf("the page has %d blocks of SQL", len(blocks))
	}
	for _, block := range blocks {
		sql := strings.ReplaceAll(block[1], "<tenant id>", tr.acme.String())
		dsn := as(t, tr.SuperDSN(), "parako_auditor")
		switch {
		case strings.Contains(sql, "parako.set_tenant("):
			dsn = tr.AppDSN()
		case strings.Contains(sql, "GRANT "):
			dsn = tr.OwnerDSN()
		}
		t.Run(strings.TrimSpace(strings.SplitN(sql, "\n", 2)[0]), func(t *testing.T) {
			conn, err := pgx.Connect(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.WithoutCancel(t.Context()))
			for _, found := range statement.FindAllStringSubmatch(sql, -1) {
				_, err := conn.Exec(t.Context(), found[1])
				announced := strings.TrimSpace(strings.TrimPrefix(found[2], "-- ERROR:"))
				if got := message(err); got != announced {
					t.Errorf("%s\nfails with %q, want %q", strings.TrimSpace(found[1]), got, announced)
				}
			}
		})
	}
}
