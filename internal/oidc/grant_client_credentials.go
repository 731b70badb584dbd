package oidc

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/ory/fosite"

	"parako/internal/settings"
	"parako/internal/store"
)

// clientCredentials is the client_credentials grant (RFC 6749 section 4.4). With a resource (RFC 8707) the token is a JSON
// Web Token for that resource and is not stored; without one it is opaque.
type clientCredentials struct{ p *Provider }

// CanHandleTokenEndpointRequest implements fosite.TokenEndpointHandler.
func (*clientCredentials) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne("client_credentials")
}

// CanSkipClientAuth implements fosite.TokenEndpointHandler.
func (*clientCredentials) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool {
	return false
}

// HandleTokenEndpointRequest implements fosite.TokenEndpointHandler. Scopes of people, such as openid, are never granted: a
// client has no profile.
func (h *clientCredentials) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	c, ok := r.GetClient().(client)
	if !ok || c.IsPublic() || !slices.Contains(c.GrantTypes, "client_credentials") {
		return fosite.ErrUnauthorizedClient.WithHint("The client may not use the client_credentials grant.")
	}
	if err := bindClient(r); err != nil {
		return err
	}
	if err := h.p.settle(ctx, r); err != nil {
		return err
	}
	life := settings.Seconds(h.p.ttl().ClientCredentials)
	if own := c.more.TTL.ClientCredentials; own > 0 {
		life = settings.Seconds(own)
	}
	r.GetSession().SetExpiresAt(fosite.AccessToken, h.p.deps.Now().UTC().Add(life).Round(time.Second))
	allowed := c.Scope
	if asked := r.GetRequestForm()["resource"]; len(asked) > 0 {
		if err := h.p.aim(ctx, r, c.AllowedResources); err != nil {
			return err
		}
		allowed = c.ResourcesScopes
		for _, resource := range asked {
			r.GrantAudience(resource)
		}
	}
	permitted := strings.Fields(allowed)
	if r.GetGrantedAudience().Has(ManagementResource) {
		return h.grantManagement(r, permitted)
	}
	for _, scope := range r.GetRequestedScopes() {
		if !slices.Contains(permitted, scope) || slices.Contains(personScopes, scope) {
			return fosite.ErrInvalidScope.WithHint("The client may not ask for one of the scopes.")
		}
		r.GrantScope(scope)
	}
	return nil
}

// grantManagement grants, of the scopes that are asked for, those that the client is registered for and that its tenant can
// grant. Who asks for more gets less, and the answer says what (RFC 6749 section 3.3); who would get nothing is refused.
func (h *clientCredentials) grantManagement(r fosite.AccessRequester, permitted []string) error {
	grantable := GrantableManagementScopes(h.p.Tenant.Slug)
	for _, scope := range r.GetRequestedScopes() {
		if slices.Contains(permitted, scope) && slices.Contains(grantable, scope) {
			r.GrantScope(scope)
		}
	}
	if len(r.GetRequestedScopes()) > 0 && len(r.GetGrantedScopes()) == 0 {
		return fosite.ErrInvalidScope.WithHint("The client may have none of the scopes.")
	}
	return nil
}

// PopulateTokenEndpointResponse implements fosite.TokenEndpointHandler.
func (h *clientCredentials) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, response fosite.AccessResponder) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	return h.p.issueAccessToken(ctx, r, response, nil)
}

// issueAccessToken makes an access token that comes alone, stores it and records it. JSON Web Tokens of clients themselves are
// not stored. before runs first in the transaction; nil: nothing does.
func (p *Provider) issueAccessToken(ctx context.Context, r fosite.AccessRequester, response fosite.AccessResponder, before func(context.Context, *store.Tx) error) error {
	g, err := sessionOf(r)
	if err != nil {
		return err
	}
	token, sig, err := accessTokens{p}.GenerateAccessToken(ctx, r)
	if err != nil {
		return fosite.ErrServerError.WithWrap(err)
	}
	err = p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		if before != nil {
			if err := before(ctx, tx); err != nil {
				return err
			}
		}
		if strings.HasPrefix(token, accessPrefix) || g.subject != uuid.Nil {
			return storage{p}.CreateAccessTokenSession(ctx, sig, r)
		}
		return recordIssued(ctx, tx, r, g)
	})
	if err != nil {
		return fosite.ErrServerError.WithWrap(err)
	}
	response.SetAccessToken(token)
	response.SetTokenType("bearer") // fosite wants one; token.go says what it is.
	return nil
}
