package oidc

import (
	"context"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
)

// codeGrant is the authorization_code grant (RFC 6749 section 4.1.3).
type codeGrant struct {
	*oauth2.AuthorizeExplicitGrantHandler
	p *Provider
}

// HandleTokenEndpointRequest implements fosite.TokenEndpointHandler.
func (h *codeGrant) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	if err := bindClient(r); err != nil {
		return err
	}
	if err := h.p.settle(ctx, r); err != nil {
		return err
	}
	if err := h.AuthorizeExplicitGrantHandler.HandleTokenEndpointRequest(ctx, r); err != nil {
		return err
	}
	g, err := sessionOf(r)
	if err != nil {
		return err
	}
	if jkt := g.code.Code.DpopJkt; jkt != nil && *jkt != g.proof {
		return fosite.ErrInvalidGrant.WithHint("The code is bound to another key (RFC 9449 section 10).")
	}
	return h.p.aim(ctx, r, r.GetRequestedAudience())
}

// settle decides what depends on the client of a token request alone.
func (p *Provider) settle(ctx context.Context, r fosite.AccessRequester) error {
	g, err := sessionOf(r)
	if err != nil {
		return err
	}
	return p.confirm(ctx, g)
}

// bindClient tells the session who was authenticated, before the store is asked for the grant.
func bindClient(r fosite.AccessRequester) error {
	g, err := sessionOf(r)
	if err != nil {
		return err
	}
	g.client, _ = r.GetClient().(client)
	return nil
}
