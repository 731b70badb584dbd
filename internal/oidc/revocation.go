package oidc

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/ory/fosite"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/store"
)

// revocation is the revocation endpoint (RFC 7009). Revoking a refresh token ends its whole grant; an access token ends
// alone. A token that is unknown or another client's is answered like one that was revoked (section 2.2).
func (h *Handler) revocation(c echo.Context) error {
	p, err := h.Provider(c)
	if err != nil {
		return err
	}
	if !p.Settings.Features.OIDC.TokenRevocation.Enabled {
		return errOff
	}
	form, caller, err := authenticated(c, p)
	if err != nil {
		return h.writeError(c, err)
	}
	token := form.Get("token")
	if token == "" {
		return h.writeError(c, fosite.ErrInvalidRequest.WithHint("The token is missing."))
	}
	ctx := c.Request().Context()
	info, err := p.inspect(ctx, token)
	if err != nil && !isNotFound(err) {
		return h.writeError(c, err)
	}
	if err == nil && info.ClientID == caller.ID {
		if err := p.revoke(ctx, info, caller, Origin(c)); err != nil {
			return h.writeError(c, err)
		}
	}
	noStore(c)
	return c.NoContent(http.StatusOK)
}

func (p *Provider) revoke(ctx context.Context, info tokenInfo, caller client, from audit.Origin) error {
	return p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		var err error
		switch {
		case info.id != nil:
			_, err = tx.AccessTokenRevoke(ctx, dbsqlc.AccessTokenRevokeParams{TenantID: tx.Tenant(), ID: info.id})
		case info.grant != nil:
			_, err = tx.GrantRevoke(ctx, dbsqlc.GrantRevokeParams{TenantID: tx.Tenant(), ID: *info.grant})
		default:
			err = tx.Later().RevokedTokenCreate(ctx, dbsqlc.RevokedTokenCreateParams{ID: info.ID, ExpiresAt: time.Unix(info.Expiry, 0)})
		}
		if err != nil {
			return err
		}
		return audit.Record(ctx, tx, audit.Event{
			Type: audit.TokenRevoked, Status: audit.Success, Actor: audit.Client(caller.ID), ClientID: caller.ID, Origin: from,
		})
	})
}

// revokeGrant ends a family of tokens after a code or refresh token was used twice, and records it once.
func (p *Provider) revokeGrant(ctx context.Context, grant uuid.UUID) error {
	return p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		n, err := tx.GrantRevoke(ctx, dbsqlc.GrantRevokeParams{TenantID: tx.Tenant(), ID: grant})
		if err != nil || n == 0 {
			return err
		}
		return audit.Record(ctx, tx, audit.Event{
			Type: audit.TokenReused, Status: audit.Warning, Target: audit.Thing("grant", grant.String()), Origin: audit.OriginOf(ctx),
		})
	})
}
