package store_test

import (
	"io/fs"
	"path"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/db"
	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/testkit"
)

func migrator(t *testing.T, db *testkit.DB) *store.Migrator {
	t.Helper()
	m, err := store.NewMigrator(secret.NewString(db.OwnerDSN()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func files(list []store.Migration) []string {
	var names []string
	for _, m := range list {
		names = append(names, m.File)
	}
	return names
}

func TestMigrator(t *testing.T) {
	t.Parallel()
	paths, err := fs.Glob(db.Migrations, "migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	var all, reversed []string
	for _, p := range paths {
		all = append(all, path.Base(p))
		reversed = append([]string{path.Base(p)}, reversed...)
	}
	empty := testkit.NewEmptyDB(t)
	m := migrator(t, empty)
	status := func(t *testing.T, applied int) {
		t.Helper()
		list, err := m.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(all, files(list)); diff != "" {
			t.Errorf("Status mismatch (-want +got)\n%s", diff)
		}
		for i, one := range list {
			if one.Applied != (i < applied) {
				t.Errorf("%s: applied is %t, want %t", one.File, one.Applied, i < applied)
			}
		}
	}
	status(t, 0)

	done, err := m.Up(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, files(done)); diff != "" {
		t.Errorf("Up mismatch (-want +got)\n%s", diff)
	}
	status(t, len(all))
	// db/migrations_test.go compares the same with the stock command line.
	dump := empty.Dump(t)
	if diff := cmp.Diff(testkit.NewDB(t).Dump(t), dump); diff != "" {
		t.Errorf("schema mismatch (-want +got)\n%s", diff)
	}

	if done, err = m.Up(t.Context()); err != nil || len(done) != 0 {
		t.Errorf("Up again: %q, %v, want nothing", files(done), err)
	}
	if done, err = m.Down(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(reversed[:len(reversed)-1], files(done)); diff != "" {
		t.Errorf("Down to the first mismatch (-want +got)\n%s", diff)
	}
	status(t, 1)
	if _, err = m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(dump, empty.Dump(t)); diff != "" {
		t.Errorf("the second time up differs (-first +second)\n%s", diff)
	}
}

func TestSeveralMigratorsStartAtOnce(t *testing.T) {
	t.Parallel()
	empty := testkit.NewEmptyDB(t)
	var all sync.WaitGroup
	applied := make(chan int, 4)
	for range cap(applied) {
		m := migrator(t, empty)
		all.Go(func() {
			done, err := m.Up(t.Context())
			if err != nil {
				t.Error(err)
			}
			applied <- len(done)
		})
	}
	all.Wait()
	close(applied)
	var winners int
	for n := range applied {
		if n > 0 {
			winners++
		}
	}
	if winners != 1 {
		t.Errorf("%d of them applied migrations, want 1", winners)
	}
}
