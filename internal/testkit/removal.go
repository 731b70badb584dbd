package testkit

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"parako/internal/store"
	"parako/internal/tenant"
)

// Removal is a tenant on its way out, for tests that stand below package tenant.
type Removal struct {
	// Unsigned, unless it is nil, is why the certificate cannot be signed.
	Unsigned error
	// Certificate is the one that was signed last.
	Certificate tenant.Certificate

	store  *store.Store
	tenant tenant.Tenant
}

// Remove archives a tenant and asks for its removal after the grace period.
func Remove(tb testing.TB, d *DB, slug string, grace time.Duration) *Removal {
	tb.Helper()
	r := &Removal{store: d.Store(tb)}
	var err error
	r.tenant, err = tenant.RequestDeletion(tb.Context(), r.store, slug, tenant.Deletion{Archive: true, Grace: grace, Operator: "test"})
	if err != nil {
		tb.Fatalf("remove tenant %s: %v", slug, err)
	}
	return r
}

// Purge is tenant.Purge.
func (r *Removal) Purge(ctx context.Context) (time.Duration, error) {
	return tenant.Purge(ctx, r.store, r.tenant.ID, func(_ context.Context, text []byte) (string, error) {
		if r.Unsigned != nil {
			return "", r.Unsigned
		}
		return string(text), json.Unmarshal(text, &r.Certificate)
	})
}

// Restore is tenant.Restore.
func (r *Removal) Restore(ctx context.Context) error {
	_, err := tenant.Restore(ctx, r.store, r.tenant.Slug, nil, "test")
	return err
}
