package oidc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"parako/internal/dbsqlc"
	"parako/internal/store"
	"parako/internal/tenant"
)

const (
	// expirePage bounds what one transaction removes of each table, and expirePages how often a tenant gets its turn.
	expirePage  = 1000
	expirePages = 200
	// keepExpired is how long a code, token or interaction is kept after it has expired, so that a late reuse is recognised.
	keepExpired = 24 * time.Hour
)

// Expire removes what has long expired in the tenants: a page of each, then another of each that has more, and so on, so that a large
// one keeps no other waiting. It is safe to run on several instances at once. A tenant that fails stops no other.
func Expire(ctx context.Context, s *store.Store, tenants []tenant.Tenant) error {
	var errs []error
	for range expirePages {
		var rest []tenant.Tenant
		for _, t := range tenants {
			more, err := expire(ctx, s, t.ID)
			if ctx.Err() != nil {
				return errors.Join(append(errs, ctx.Err())...)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("tenant %s: %w", t.ID, err))
			} else if more {
				rest = append(rest, t)
			}
		}
		tenants = rest
	}
	return errors.Join(errs...)
}

// expire removes a page of each table in one round trip, and reports whether more is left.
func expire(ctx context.Context, s *store.Store, tenantID uuid.UUID) (more bool, err error) {
	err = s.InTenant(ctx, tenantID, func(ctx context.Context, tx *store.Tx) error {
		q, id, before := tx.Later(), tx.Tenant(), tx.Now().Add(-keepExpired)
		if err := errors.Join(
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
		); err != nil {
			return err
		}
		more, err = tx.ExpiredLeft(ctx, dbsqlc.ExpiredLeftParams{TenantID: id, Before: before})
		return err
	})
	return more, err
}
