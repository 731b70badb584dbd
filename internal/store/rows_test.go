package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/store"
	"parako/internal/testkit"
)

// TestSnapshot looks twice, and somebody writes in between.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	acme := testkit.Tenant(t, s, "acme").ID
	count := func(ctx context.Context, tx *store.Tx) string {
		t.Helper()
		rows, err := tx.Ask(ctx, "SELECT count(*)::text FROM parako.users")
		if err != nil {
			t.Fatal(err)
		}
		return rows[0]
	}
	add := func(name string) {
		db.Ask(t, acme, "INSERT INTO parako.users (id, username, username_norm) VALUES (gen_random_uuid(), $1, $1) RETURNING ''", name)
	}
	err := s.SnapshotTenant(t.Context(), acme, func(ctx context.Context, tx *store.Tx) error {
		if got := count(ctx, tx); got != "0" {
			t.Errorf("%s people at first", got)
		}
		add("ana")
		if got := count(ctx, tx); got != "0" {
			t.Errorf("%s people, of whom one came later", got)
		}
		if err := s.SnapshotTenant(ctx, acme, func(context.Context, *store.Tx) error { return nil }); err != nil {
			t.Errorf("a snapshot in a snapshot: %v", err)
		}
		if err := s.InTenant(ctx, acme, func(context.Context, *store.Tx) error { return nil }); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("a write in a snapshot: %v", err)
		}
		if _, err := tx.Ask(ctx, "DELETE FROM parako.users RETURNING ''"); err == nil || !strings.Contains(err.Error(), "read-only") {
			t.Errorf("PostgreSQL lets a snapshot write: %v", err)
		}
		return errBack
	})
	if !errors.Is(err, errBack) {
		t.Fatal(err)
	}
	err = s.ViewTenant(t.Context(), acme, func(ctx context.Context, _ *store.Tx) error {
		return s.SnapshotTenant(ctx, acme, func(context.Context, *store.Tx) error { return nil })
	})
	if !errors.Is(err, store.ErrOtherTenant) {
		t.Errorf("a snapshot of what has been read in parts: %v", err)
	}
}

var errBack = errors.New("that is all")

// TestRows hands the rows of one tenant on to another. Nobody else's are among them, and what is there already is not added.
func TestRows(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	acme, globex, heir := testkit.Tenant(t, s, "acme").ID, testkit.Tenant(t, s, "globex").ID, testkit.Tenant(t, s, "heir").ID
	const add = `INSERT INTO parako.users (id, username, username_norm, address, roles, created_at) SELECT gen_random_uuid(), $1 || n, $1 || n,
		'{"a": [1, 2.50, "ü\\n"]}', '{user,"a \"b\""}', '2020-02-29 12:00:00.123456+02' FROM generate_series(1, 3) AS n RETURNING ''`
	db.Ask(t, acme, add, "ana")
	db.Ask(t, globex, add, "gus")
	var users store.Table
	var rows []json.RawMessage
	err := s.ViewTenant(t.Context(), acme, func(ctx context.Context, tx *store.Tx) error {
		tables, err := tx.Tables(ctx)
		if err != nil {
			return err
		}
		users = tables[slices.IndexFunc(tables, func(t store.Table) bool { return t.Name == "users" })]
		return tx.Rows(ctx, users, func(row json.RawMessage) error {
			rows = append(rows, row)
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 3 || strings.Contains(string(rows[0]), "gus") || strings.Contains(string(rows[0]), "tenant_id") {
		t.Fatalf("rows = %s", rows)
	}
	put := func(rows []json.RawMessage) error {
		return s.InTenant(t.Context(), heir, func(ctx context.Context, tx *store.Tx) error { return tx.AddRows(ctx, users, rows) })
	}
	if err := put(rows[:1]); err != nil {
		t.Fatal(err)
	}
	if err := put(rows); err == nil || !strings.Contains(err.Error(), "1 of 3 rows are there already") {
		t.Errorf("a row that is there: %v", err)
	}
	if err := put(rows[1:]); err != nil {
		t.Fatal(err)
	}
	const all = "SELECT (to_jsonb(u) - 'tenant_id')::text FROM parako.users AS u ORDER BY id"
	if diff := cmp.Diff(db.Ask(t, acme, all), db.Ask(t, heir, all)); diff != "" {
		t.Errorf("rows mismatch (-before +after)\n%s", diff)
	}
	var schema int64
	err = s.ViewTenant(t.Context(), acme, func(ctx context.Context, tx *store.Tx) (err error) {
		schema, err = tx.Schema(ctx)
		return err
	})
	if err != nil || schema < 41 {
		t.Errorf("schema %d, %v", schema, err)
	}
}
