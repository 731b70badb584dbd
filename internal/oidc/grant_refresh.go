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
	if err := h.p.settle(ctx, r); err != nil {
		return err
	}
	if request, ok := r.(*fosite.AccessRequest); ok {
		// fosite asks whether the client may still have every scope of the grant; some of them are scopes of a resource.
		if who, ok := request.Client.(client); ok {
			who.Scope += " " + who.ResourcesScopes
			request.Client = who
		}
	}
	if err := h.RefreshTokenGrantHandler.HandleTokenEndpointRequest(ctx, r); err != nil {
		return err
	}
	g, err := sessionOf(r) // fosite copied it
	if err != nil {
		return err
	}
	if bound := g.bound; bound.bound() && bound != g.cnf {
		return fosite.ErrInvalidGrant.WithHint("The refresh token is bound to another key or certificate.")
	}
	g.keep = h.p.keepsRefreshToken(g.client)
	if err := h.p.aim(ctx, r, r.GetGrantedAudience()); err != nil {
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

// keepsRefreshToken reports whether a refresh token goes on being used. It is always renewed for a client that does not
// authenticate, because nothing else would give a theft away; never for one of FAPI 2.0, whose tokens are bound to its key and
// which must not lose them with an answer (FAPI 2.0 Security Profile section 5.3.2.1).
func (p *Provider) keepsRefreshToken(c client) bool {
	return !c.IsPublic() && (c.fapi() || !p.Settings.Features.OIDC.RotateRefreshToken.Enabled)
}
