package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/dbsqlc/control"
	"parako/internal/store"
)

// TestChangesAreAnnouncedOnceCommitted raises revisions in every way there is and looks at what was heard, and when.
func TestChangesAreAnnouncedOnceCommitted(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var heard []string
	o := f.db.Options()
	o.Changed = func(ctx context.Context, id uuid.UUID, revision int64) {
		if ctx.Err() != nil {
			t.Errorf("heard with a context that has ended: %v", ctx.Err())
		}
		name := map[uuid.UUID]string{f.acme: "acme", f.umbra: "umbra"}[id]
		heard = append(heard, fmt.Sprintf("%s %d", name, revision))
	}
	s := open(t, o)
	touch := func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.TenantTouch(ctx, tx.Tenant())
		return err
	}
	expect := func(what string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, heard); diff != "" {
			t.Errorf("%s: heard (-want +got)\n%s", what, diff)
		}
		heard = nil
	}
	errBack := errors.New("take it back")

	if err := s.InTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
		if err := touch(ctx, tx); err != nil {
			return err
		}
		expect("before the commit")
		return s.InTenant(ctx, f.acme, touch)
	}); err != nil {
		t.Fatal(err)
	}
	expect("two that joined", "acme 2", "acme 3")

	if err := s.InTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
		return errors.Join(touch(ctx, tx), errBack)
	}); !errors.Is(err, errBack) {
		t.Fatal(err)
	}
	expect("taken back")

	if err := s.InTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
		_ = touch(ctx, tx)
		_, _ = tx.Ask(ctx, "SELECT 1/0")
		return nil
	}); err == nil {
		t.Fatal("a transaction with an ignored error committed")
	}
	expect("refused at the commit")

	ctx, err := s.Begin(t.Context(), f.umbra)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.InTenant(ctx, f.umbra, touch); err != nil {
		t.Fatal(err)
	}
	if err := store.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	expect("Begin and Commit", "umbra 2")

	if ctx, err = s.Begin(t.Context(), f.umbra); err != nil {
		t.Fatal(err)
	}
	if err := s.InTenant(ctx, f.umbra, touch); err != nil {
		t.Fatal(err)
	}
	store.Rollback(ctx)
	expect("Begin and Rollback")

	set := func(was, status string, fault error) error {
		return s.InPlatform(t.Context(), func(ctx context.Context, tx *store.PlatformTx) error {
			_, err := tx.TenantSetStatus(ctx, control.TenantSetStatusParams{ID: f.umbra, Status: status, Was: was})
			return errors.Join(err, fault)
		})
	}
	if err := set("active", "suspended", nil); err != nil {
		t.Fatal(err)
	}
	expect("the platform", "umbra 3")
	if err := set("suspended", "active", errBack); !errors.Is(err, errBack) {
		t.Fatal(err)
	}
	expect("the platform, taken back")

	if err := s.InPlatform(t.Context(), func(ctx context.Context, tx *store.PlatformTx) error {
		return tx.TenantCreate(ctx, control.TenantCreateParams{ID: uuid.New(), Slug: "new", DisplayName: "New"})
	}); err != nil {
		t.Fatal(err)
	}
	expect("a tenant that is new", " 1")
}

// TestEveryRaisingQueryIsAnnounced reads the queries. One that raises a revision, or makes a tenant, has a method in raised.go that
// hides the generated one.
func TestEveryRaisingQueryIsAnnounced(t *testing.T) {
	t.Parallel()
	own, err := os.ReadFile("raised.go")
	if err != nil {
		t.Fatal(err)
	}
	raising := regexp.MustCompile(`(?i)revision\s*=\s*(\w+\.)?revision\s*\+|INSERT\s+INTO\s+parako\.tenants\b`)
	name := regexp.MustCompile(`^-- name: (\w+)`)
	var found []string
	for dir, receiver := range map[string]string{"../../queries": "Tx", "../../queries/control": "PlatformTx"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.sql"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			query := ""
			for line := range strings.Lines(string(text)) {
				if m := name.FindStringSubmatch(line); m != nil {
					query = m[1]
				}
				if !raising.MatchString(line) {
					continue
				}
				found = append(found, query)
				if method := fmt.Sprintf("func (tx *%s) %s(", receiver, query); !strings.Contains(string(own), method) {
					t.Errorf("%s raises a revision and nobody hears of it: have it return the revision, and write in raised.go\n%sctx …) { … tx.raised.by(…) }", query, method)
				}
			}
		}
	}
	if !slices.Contains(found, "TenantTouch") || !slices.Contains(found, "TenantSetStatus") || !slices.Contains(found, "TenantCreate") {
		t.Errorf("the search finds %q", found)
	}
}
