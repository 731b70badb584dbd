package oidc

import (
	"context"
	"slices"

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
	if err := h.AuthorizeExplicitGrantHandler.HandleTokenEndpointRequest(ctx, r); err != nil {
		return err
	}
	return withinResources(r, r.GetRequestedAudience())
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

// withinResources refuses a resource that the grant does not cover (RFC 8707 section 2.2).
func withinResources(r fosite.AccessRequester, granted []string) error {
	for _, resource := range r.GetRequestForm()["resource"] {
		if !slices.Contains(granted, resource) {
			return errTarget
		}
	}
	return nil
}
