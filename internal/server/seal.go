package server

import (
	"context"
	"encoding/hex"
	"log/slog"
	"time"

	"parako/internal/audit"
	"parako/internal/oidc"
	"parako/internal/store"
	"parako/internal/telemetry"
	"parako/internal/tenant"
)

const (
	// sealInterval is how often the trails of the tenants in use are sealed: how long an event can be changed unnoticed.
	sealInterval = 5 * time.Second
	// roundInterval is how often a page of all the tenants gets its turn, whatever their number: there is something to seal
	// only where a command line wrote, or where an instance was killed before it had sealed.
	roundInterval = time.Minute
	roundPage     = 100
)

// sealer seals audit trails in the background. Several instances may do so at once; each trail has one sealer at a time.
type sealer struct {
	store *store.Store
	pool  *oidc.Pool
	log   *slog.Logger
	now   func() time.Time
	after string // the slug at which the round over all tenants has arrived
}

// run seals until ctx is done.
func (s *sealer) run(ctx context.Context) {
	used, round := time.NewTicker(sealInterval), time.NewTicker(roundInterval)
	defer used.Stop()
	defer round.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-used.C:
			s.sealUsed(ctx)
		case <-round.C:
			s.sealNext(ctx)
		}
	}
}

// sealUsed seals the trails of the tenants that were asked for lately, so long ago at most as a request may take.
func (s *sealer) sealUsed(ctx context.Context) {
	for _, t := range s.pool.UsedSince(s.now().Add(-sealInterval - writeTimeout)) {
		s.seal(ctx, t)
	}
}

// sealNext seals the trails of the next page of all tenants and begins again behind the last.
func (s *sealer) sealNext(ctx context.Context) {
	page, next, err := nextTenants(ctx, s.store, s.after)
	if err != nil {
		s.failed(ctx, err)
		return
	}
	s.after = next
	for _, t := range page {
		s.seal(ctx, t)
	}
}

// nextTenants is the page of all tenants behind a slug, and the slug at which it ends; none after the last page. The built-in tenant,
// which is in no list, comes with the first.
func nextTenants(ctx context.Context, s *store.Store, after string) (page []tenant.Tenant, next string, err error) {
	page, err = tenant.List(ctx, s, "", after, roundPage)
	if err != nil {
		return nil, "", err
	}
	if len(page) >= roundPage {
		next = page[roundPage-1].Slug
	}
	if after == "" {
		page = append(page, tenant.Tenant{ID: tenant.DefaultID, Slug: tenant.DefaultSlug})
	}
	return page, next, nil
}

// seal seals one trail and logs the seal: where logs leave the machine, they are a witness that nobody with the database
// alone can change.
func (s *sealer) seal(ctx context.Context, t tenant.Tenant) {
	if ctx.Err() != nil {
		return
	}
	ctx = telemetry.WithTenant(ctx, t.Slug)
	events, mark, err := audit.Seal(ctx, s.store, t.ID)
	if err != nil {
		s.failed(ctx, err)
	}
	if events > 0 {
		s.log.InfoContext(ctx, "audit_sealed", "seal_no", mark.SealNo, "events", events, "hash", hex.EncodeToString(mark.Hash))
	}
}

func (s *sealer) failed(ctx context.Context, err error) {
	if ctx.Err() == nil {
		s.log.ErrorContext(ctx, "audit_seal_failed", "error", err.Error())
	}
}
