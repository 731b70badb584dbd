package store_test

import (
	"context"
	"errors"
	"testing"

	"parako/internal/store"
)

func TestLater(t *testing.T) {
	t.Parallel()
	f := setup(t)
	t.Run("keeps the order of the program", func(t *testing.T) {
		err := f.InTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
			before, err := wrote(ctx, tx, "ordered")
			if err != nil {
				return err
			}
			if err := write(ctx, tx.Later(), "ordered"); err != nil {
				return err
			}
			after, err := wrote(ctx, tx, "ordered")
			if before || !after {
				t.Errorf("the row is there before its insert: %t, after: %t", before, after)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Run("arrives with the commit", func(t *testing.T) {
		err := f.InTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(write(ctx, tx.Later(), "one"), write(ctx, tx.Later(), "two"))
		})
		if err != nil {
			t.Fatal(err)
		}
		if !f.kept(t, f.acme, "one") || !f.kept(t, f.acme, "two") {
			t.Error("a queued statement is lost")
		}
	})
	t.Run("fails at the commit, with all of it", func(t *testing.T) {
		err := f.InTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(write(ctx, tx.Later(), "three"), refused(ctx, tx.Later()), write(ctx, tx.Later(), "four"))
		})
		if code(err) != checkViolation {
			t.Errorf("InTenant: %v, want %s", err, checkViolation)
		}
		if f.kept(t, f.acme, "three") || f.kept(t, f.acme, "four") {
			t.Error("part of the transaction stayed")
		}
	})
	t.Run("has no results", func(t *testing.T) {
		err := f.InTenant(t.Context(), f.acme, func(ctx context.Context, tx *store.Tx) error {
			_, row := tx.Later().TenantTouch(ctx, tx.Tenant())
			_, rows := tx.Later().SettingsList(ctx, tx.Tenant())
			if row == nil || rows == nil {
				t.Errorf("queued questions: %v, %v, want errors", row, rows)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	f.clean(t)
}

func TestBeginCommitRollback(t *testing.T) {
	t.Parallel()
	f := setup(t)
	begin := func(t *testing.T) context.Context {
		t.Helper()
		ctx, err := f.Begin(t.Context(), f.acme)
		if err != nil {
			t.Fatal(err)
		}
		return ctx
	}
	inside := func(t *testing.T, ctx context.Context, word string) {
		t.Helper()
		err := f.InTenant(ctx, f.acme, func(ctx context.Context, tx *store.Tx) error { return write(ctx, tx.Queries, word) })
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Run("commit keeps what joined, and ends it", func(t *testing.T) {
		ctx := begin(t)
		inside(t, ctx, "committed")
		if err := store.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		store.Rollback(ctx) // does nothing any more
		if err := store.Commit(ctx); err != nil {
			t.Errorf("second Commit: %v", err)
		}
		if !f.kept(t, f.acme, "committed") {
			t.Error("the row is lost")
		}
	})
	t.Run("rollback undoes it", func(t *testing.T) {
		ctx := begin(t)
		inside(t, ctx, "rolled back")
		store.Rollback(ctx)
		store.Rollback(ctx)
		if f.kept(t, f.acme, "rolled back") {
			t.Error("the row stayed")
		}
	})
	t.Run("a commit that fails gives the connection back", func(t *testing.T) {
		ctx := begin(t)
		inside(t, ctx, "half")
		err := f.InTenant(ctx, f.acme, func(ctx context.Context, tx *store.Tx) error { return refused(ctx, tx.Later()) })
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Commit(ctx); code(err) != checkViolation {
			t.Errorf("Commit: %v, want %s", err, checkViolation)
		}
		f.clean(t)
		if f.kept(t, f.acme, "half") {
			t.Error("the row stayed")
		}
	})
	t.Run("nothing to commit", func(t *testing.T) {
		if err := store.Commit(begin(t)); err != nil {
			t.Error(err)
		}
	})
	t.Run("it does not nest", func(t *testing.T) {
		ctx := begin(t)
		defer store.Rollback(ctx)
		if _, err := f.Begin(ctx, f.acme); err == nil {
			t.Error("Begin inside a transaction succeeds")
		}
		err := f.InTenant(ctx, f.umbra, func(context.Context, *store.Tx) error { return nil })
		if !errors.Is(err, store.ErrOtherTenant) {
			t.Errorf("another tenant inside: %v, want ErrOtherTenant", err)
		}
	})
	f.clean(t)
}
