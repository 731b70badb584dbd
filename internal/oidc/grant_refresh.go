package oidc

import (
	"context"
	"slices"
	"strings"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
)

// refreshGrant is the refresh_token grant (RFC 6749 section 6) with rotation: a token used twice outside the grace period
// ends its grant.
type refreshGrant struct {
	*oauth2.RefreshTokenGrantHandler
	p *Provider
}

// HandleTokenEndpointRequest implements fosite.TokenEndpointHandler. It also lets the client ask for fewer scopes, for this
// access token; the grant keeps them all.
func (h *refreshGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	asked := strings.Fields(r.GetRequestForm().Get("scope"))
	if err := bindClient(r); err != nil {
		return err
	}
	if err := h.RefreshTokenGrantHandler.HandleTokenEndpointRequest(ctx, r); err != nil {
		return err
	}
	if err := withinResources(r, r.GetGrantedAudience()); err != nil {
		return err
	}
	if len(asked) == 0 {
		return nil
	}
	for _, scope := range asked {
		if !slices.Contains(r.GetGrantedScopes(), scope) {
			return fosite.ErrInvalidScope.WithHint("The refreshed token cannot have scopes that were not granted.")
		}
	}
	if request, ok := r.(*fosite.AccessRequest); ok {
		request.GrantedScope = asked
	}
	return nil
}
