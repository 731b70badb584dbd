package store_test

import (
	"context"
	"testing"

	"parako/internal/store"
	"parako/internal/testkit"
)

// BenchmarkTransactions measures what a transaction costs with and without a pooler, one at a time, as latency and as CPU
// seconds per thousand of this process, PostgreSQL and pgbouncer together (docs/performance.md).
func BenchmarkTransactions(b *testing.B) {
	db := testkit.NewDB(b)
	acme := testkit.Tenant(b, db.Store(b), "acme").ID
	described := db.Direct().Options()
	described.Pooled = true
	ways := []struct {
		name string
		o    store.Options
	}{
		{"direct", db.Direct().Options()},
		{"direct, as if pooled", described},
		{"pgbouncer", db.Pooled(b).Options()},
		{"pgbouncer that clears up", db.Pooled(b, "server_reset_query_always = 1").Options()},
	}
	ask := func(ctx context.Context, tx *store.Tx) error {
		_, err := wrote(ctx, tx, "word")
		return err
	}
	steps := func(ctx context.Context, tx *store.Tx) error {
		if err := ask(ctx, tx); err != nil {
			return err
		}
		if err := ask(ctx, tx); err != nil {
			return err
		}
		return write(ctx, tx.Later(), "word")
	}
	for _, way := range ways {
		s, err := store.Open(b.Context(), way.o)
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		for name, run := range map[string]func() error{
			"question":          func() error { return s.AskTenant(b.Context(), acme, ask) },
			"three round trips": func() error { return s.InTenant(b.Context(), acme, steps) },
		} {
			b.Run(name+"/"+way.name, func(b *testing.B) {
				if err := run(); err != nil { // Connections and statements are warm.
					b.Fatal(err)
				}
				before := testkit.CPUSeconds(b)
				n := 0
				for b.Loop() {
					if err := run(); err != nil {
						b.Fatal(err)
					}
					n++
				}
				b.ReportMetric((testkit.CPUSeconds(b)-before)/float64(n)*1000, "cpu-s/1000tx")
			})
		}
	}
}
