package oidc

import (
	"context"
	"errors"
	"time"

	"parako/internal/dbsqlc"
	"parako/internal/store"
)

const (
	// expirePage bounds what one transaction removes of each table.
	expirePage = 1000
	// keepExpired is how long a code, token or interaction is kept after it has expired, so that a late reuse is recognised.
	keepExpired = 24 * time.Hour
)

// Expire removes what has long expired in the tenant, a bounded number of rows in one round trip. It is safe to run on
// several instances at once.
func (p *Provider) Expire(ctx context.Context) error {
	return p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		q, id, before := tx.Later(), tx.Tenant(), tx.Now().Add(-keepExpired)
		return errors.Join(
			q.InteractionExpire(ctx, dbsqlc.InteractionExpireParams{TenantID: id, Before: before, PageSize: expirePage}),
			q.CodeExpire(ctx, dbsqlc.CodeExpireParams{TenantID: id, Before: before, PageSize: expirePage}),
			q.AccessTokenExpire(ctx, dbsqlc.AccessTokenExpireParams{TenantID: id, Before: before, PageSize: expirePage}),
			q.RefreshTokenExpire(ctx, dbsqlc.RefreshTokenExpireParams{TenantID: id, Before: before, PageSize: expirePage}),
			q.GrantExpire(ctx, dbsqlc.GrantExpireParams{TenantID: id, Before: before, PageSize: expirePage}),
			q.RevokedTokenExpire(ctx, dbsqlc.RevokedTokenExpireParams{TenantID: id, Before: before, PageSize: expirePage}),
			q.PushedRequestExpire(ctx, dbsqlc.PushedRequestExpireParams{TenantID: id, Before: before, PageSize: expirePage}),
			q.DeviceCodeExpire(ctx, dbsqlc.DeviceCodeExpireParams{TenantID: id, Before: before, PageSize: expirePage}),
			q.ClientAssertionExpire(ctx, dbsqlc.ClientAssertionExpireParams{TenantID: id, Before: before, PageSize: expirePage}),
			q.RegistrationTokenExpire(ctx, dbsqlc.RegistrationTokenExpireParams{TenantID: id, Before: before, PageSize: expirePage}),
			q.LogoutDeliveryExpire(ctx, dbsqlc.LogoutDeliveryExpireParams{TenantID: id, Before: before, PageSize: expirePage}),
			q.MailExpire(ctx, dbsqlc.MailExpireParams{TenantID: id, Before: before, PageSize: expirePage}),
			q.SessionExpire(ctx, dbsqlc.SessionExpireParams{TenantID: id, Before: before, PageSize: expirePage}),
		)
	})
}

// Expire removes what has long expired in every tenant that is in use here. Tenants that nobody uses gain no rows.
func (p *Pool) Expire(ctx context.Context) error {
	var errs []error
	for _, provider := range p.providers() {
		errs = append(errs, provider.Expire(ctx))
	}
	return errors.Join(errs...)
}

// providers are those that are built now.
func (p *Pool) providers() []*Provider {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []*Provider
	for el := p.order.Front(); el != nil; el = el.Next() {
		e := el.Value.(*entry) //nolint:forcetypeassert // The list holds nothing else.
		if e.built() && e.err == nil {
			list = append(list, e.provider)
		}
	}
	return list
}
