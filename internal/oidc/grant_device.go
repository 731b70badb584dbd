package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/openid"

	"parako/internal/dbsqlc"
	"parako/internal/settings"
	"parako/internal/store"
)

const (
	// slowerBy is by how much a client that does not wait has to wait longer (RFC 8628 section 3.5).
	slowerBy = 5 * time.Second
	// pollGrace is what the way to us may take off the time between two requests, before the client is to blame.
	pollGrace = time.Second
)

// errDenied tells a device that the person said no (RFC 8628 section 3.5).
var errDenied = &fosite.RFC6749Error{
	ErrorField: "access_denied", DescriptionField: "The person refused the request of the device.", CodeField: http.StatusBadRequest,
}

// deviceGrant is the device_code grant (RFC 8628 section 3.4): the client asks again and again until the person has answered.
type deviceGrant struct {
	p        *Provider
	idTokens *openid.IDTokenHandleHelper
}

// CanHandleTokenEndpointRequest implements fosite.TokenEndpointHandler.
func (*deviceGrant) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne(grantDevice)
}

// CanSkipClientAuth implements fosite.TokenEndpointHandler.
func (*deviceGrant) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool { return false }

// HandleTokenEndpointRequest implements fosite.TokenEndpointHandler.
func (h *deviceGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	c, ok := r.GetClient().(client)
	if !ok || !slices.Contains(c.GrantTypes, grantDevice) {
		return fosite.ErrUnauthorizedClient.WithHint("The client may not use the device authorization grant.")
	}
	if err := bindClient(r); err != nil {
		return err
	}
	if err := h.p.settle(ctx, r); err != nil {
		return err
	}
	g, err := sessionOf(r)
	if err != nil {
		return err
	}
	granted, err := h.p.askDevice(ctx, g, r.GetRequestForm().Get("device_code"))
	if err != nil {
		return err
	}
	if err := g.restore(granted); err != nil {
		return fosite.ErrServerError.WithWrap(err)
	}
	r.SetID(granted.ID.String())
	for _, scope := range granted.Scopes {
		r.GrantScope(scope)
	}
	for _, resource := range granted.Resources {
		r.GrantAudience(resource)
	}
	now, ttl := h.p.deps.Now().UTC(), h.p.ttl()
	for kind, tenants := range map[fosite.TokenType]int{fosite.AccessToken: ttl.AccessToken, fosite.RefreshToken: ttl.RefreshToken} {
		life := c.GetEffectiveLifespan(fosite.GrantTypeDeviceCode, kind, settings.Seconds(tenants))
		g.SetExpiresAt(kind, now.Add(life).Round(time.Second))
	}
	return h.p.aim(ctx, r, granted.Resources)
}

// askDevice is what the person gave the device, once they have answered. The other answers are errors: that they have not yet,
// that the client asks too often, that they refused, that the time is over. A code that was used already ends its grant.
func (p *Provider) askDevice(ctx context.Context, g *grantSession, code string) (dbsqlc.Grant, error) {
	if !p.tokens.genuine(devicePrefix, code) {
		return dbsqlc.Grant{}, fosite.ErrInvalidGrant
	}
	id := tokenID(signature(code))
	var hasty bool
	err := p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		hasty, err = tx.DeviceCodePoll(ctx, dbsqlc.DeviceCodePollParams{
			TenantID: tx.Tenant(), ID: id, ClientID: g.client.ID, GraceSeconds: pollGrace.Seconds(), SlowerBySeconds: int32(slowerBy / time.Second),
		})
		return err
	})
	switch {
	case err == nil && hasty:
		return dbsqlc.Grant{}, fosite.ErrSlowDown
	case err == nil:
		return dbsqlc.Grant{}, fosite.ErrAuthorizationPending
	case !errors.Is(err, store.ErrNotFound):
		return dbsqlc.Grant{}, fosite.ErrServerError.WithWrap(err)
	}
	// It does not wait any more.
	var row dbsqlc.DeviceCodeByIDRow
	var granted dbsqlc.Grant
	err = p.deps.Store.ViewTenant(ctx, p.Tenant.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		row, err = tx.DeviceCodeByID(ctx, dbsqlc.DeviceCodeByIDParams{TenantID: tx.Tenant(), ID: id, ClientID: g.client.ID})
		if err != nil || row.GrantID == nil {
			return err
		}
		g.family = *row.GrantID
		granted, err = tx.GrantEvenRevoked(ctx, dbsqlc.GrantEvenRevokedParams{TenantID: tx.Tenant(), ID: *row.GrantID})
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return dbsqlc.Grant{}, fosite.ErrInvalidGrant // It never was, is another client's, or the account is disabled.
	case err != nil:
		return dbsqlc.Grant{}, fosite.ErrServerError.WithWrap(err)
	case row.AnsweredAt != nil && row.GrantID == nil:
		return dbsqlc.Grant{}, errDenied
	case row.SpentAt != nil:
		return dbsqlc.Grant{}, fosite.ErrInvalidGrant.WithWrap(errSpent)
	case row.Expired:
		return dbsqlc.Grant{}, fosite.ErrDeviceExpiredToken
	case granted.RevokedAt != nil:
		return dbsqlc.Grant{}, fosite.ErrInvalidGrant
	}
	return granted, nil
}

// PopulateTokenEndpointResponse implements fosite.TokenEndpointHandler. The code is spent in the transaction that stores what it
// gives.
func (h *deviceGrant) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, response fosite.AccessResponder) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	if err := h.issue(ctx, r, response); err != nil {
		return fosite.ErrServerError.WithWrap(err)
	}
	return nil
}

func (h *deviceGrant) issue(ctx context.Context, r fosite.AccessRequester, response fosite.AccessResponder) error {
	g, err := sessionOf(r)
	if err != nil {
		return err
	}
	access, accessSig, err := accessTokens{h.p}.GenerateAccessToken(ctx, r)
	if err != nil {
		return err
	}
	var refresh, refreshSig string
	if slices.Contains(g.client.withoutRefresh(r.GetGrantedScopes()).GrantTypes, grantRefresh) {
		if refresh, refreshSig, err = (refreshStrategy{h.p.tokens}).GenerateRefreshToken(ctx, r); err != nil {
			return err
		}
	}
	err = h.p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		id := tokenID(signature(r.GetRequestForm().Get("device_code")))
		n, err := tx.DeviceCodeSpend(ctx, dbsqlc.DeviceCodeSpendParams{TenantID: tx.Tenant(), ID: id})
		if err == nil && n == 0 {
			err = errSpent
		}
		if err != nil {
			return fmt.Errorf("spend device code: %w", err)
		}
		if err := (storage{h.p}).CreateAccessTokenSession(ctx, accessSig, r); err != nil || refresh == "" {
			return err
		}
		return storage{h.p}.CreateRefreshTokenSession(ctx, refreshSig, accessSig, r)
	})
	if err != nil {
		return err
	}
	response.SetAccessToken(access)
	response.SetTokenType("bearer")
	if refresh != "" {
		response.SetExtra("refresh_token", refresh)
	}
	if !r.GetGrantedScopes().Has("openid") {
		return nil
	}
	g.atHash.AccessTokenHash = h.idTokens.GetAccessTokenHash(ctx, r, response)
	life := g.client.GetEffectiveLifespan(fosite.GrantTypeDeviceCode, fosite.IDToken, settings.Seconds(h.p.ttl().IDToken))
	return h.idTokens.IssueExplicitIDToken(ctx, life, r, response)
}
