package oidc

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/ory/fosite"

	"parako/internal/dbsqlc"
	"parako/internal/settings"
	"parako/internal/store"
)

// The token types of RFC 8693 section 3 that we understand.
const (
	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
)

// tokenExchange is the token exchange grant (RFC 8693): whoever got a person's access token as a resource server trades it for
// one that opens the next resource server for the same person. What may be had is what the administrator registered for the
// client, allowedResources and resourcesScopes; the new token says who acts, ends no later than the old one, and dies with the
// same grant.
type tokenExchange struct{ p *Provider }

// CanHandleTokenEndpointRequest implements fosite.TokenEndpointHandler.
func (*tokenExchange) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne(grantTokenExchange)
}

// CanSkipClientAuth implements fosite.TokenEndpointHandler.
func (*tokenExchange) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool { return false }

// HandleTokenEndpointRequest implements fosite.TokenEndpointHandler.
func (h *tokenExchange) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	c, ok := r.GetClient().(client)
	if !ok || c.IsPublic() || !slices.Contains(c.GrantTypes, grantTokenExchange) {
		return fosite.ErrUnauthorizedClient.WithHint("The client may not exchange tokens.")
	}
	if err := bindClient(r); err != nil {
		return err
	}
	if err := h.p.settle(ctx, r); err != nil {
		return err
	}
	form := r.GetRequestForm()
	if err := exchangeable(form); err != nil {
		return err
	}
	info, err := h.subject(ctx, form.Get("subject_token"), c)
	if err != nil {
		return err
	}
	if err := h.restore(ctx, r, info); err != nil {
		return err
	}
	g, err := sessionOf(r)
	if err != nil {
		return err
	}
	g.act = actingFor(c.ID, info.Actor)
	h.p.expireAccess(g, time.Unix(info.Expiry, 0))
	// RFC 8693 section 2.1: audience names a resource by whatever name the two agree on, which is the same one here.
	form["resource"] = slices.Concat(form["resource"], form["audience"])
	if len(form["resource"]) == 0 {
		return errTarget.WithHint("The resource is missing that the token is for.")
	}
	if err := h.p.aim(ctx, r, c.AllowedResources); err != nil {
		return err
	}
	return grantResourceScopes(r, strings.Fields(c.ResourcesScopes))
}

// exchangeable refuses what RFC 8693 allows and we do not do.
func exchangeable(form map[string][]string) error {
	first := func(name string) string {
		if len(form[name]) == 0 {
			return ""
		}
		return form[name][0]
	}
	switch subject, requested := first("subject_token_type"), first("requested_token_type"); {
	case first("subject_token") == "" || subject == "":
		return fosite.ErrInvalidRequest.WithHint("The subject_token or its type is missing.")
	case subject != typeAccessToken && subject != typeJWT:
		return fosite.ErrInvalidRequest.WithHint("The subject_token_type is access_token or jwt.")
	case requested != "" && requested != typeAccessToken && requested != typeJWT:
		return fosite.ErrInvalidRequest.WithHint("The requested_token_type is access_token or jwt.")
	case first("actor_token") != "" || first("actor_token_type") != "":
		return fosite.ErrInvalidRequest.WithHint("The client that asks is the actor: an actor_token is not taken.")
	}
	return nil
}

// subject finds whom a token is about that the caller may exchange: a live access token of a person, issued to the caller or
// for it. Everything else is the same error.
func (h *tokenExchange) subject(ctx context.Context, token string, caller client) (tokenInfo, error) {
	refused := fosite.ErrInvalidRequest.WithHint("The subject_token is not a live access token of a person for this client.")
	if strings.HasPrefix(token, refreshPrefix) {
		return tokenInfo{}, refused
	}
	info, err := h.p.inspect(ctx, token)
	if err != nil && !isNotFound(err) {
		return tokenInfo{}, fosite.ErrServerError.WithWrap(err)
	}
	if err != nil || !info.Active || info.user == uuid.Nil || info.grant == nil || !concerns(info, caller) {
		return tokenInfo{}, refused
	}
	return info, nil
}

// restore fills the request with the grant of the subject token, to which the new token belongs as well.
func (h *tokenExchange) restore(ctx context.Context, r fosite.AccessRequester, info tokenInfo) error {
	g, err := sessionOf(r)
	if err != nil {
		return err
	}
	var row dbsqlc.Grant
	err = h.p.askTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		row, err = tx.GrantByID(ctx, dbsqlc.GrantByIDParams{TenantID: tx.Tenant(), ID: *info.grant})
		return err
	})
	if err != nil {
		return fosite.ErrServerError.WithWrap(err)
	}
	r.SetID(row.ID.String())
	return g.restore(row)
}

// actingFor is the act claim of a token that the client got by exchanging one which acted for its subject already or did not
// (RFC 8693 section 4.1).
func actingFor(clientID string, before json.RawMessage) json.RawMessage {
	act := struct {
		Subject string          `json:"sub"`
		Act     json.RawMessage `json:"act,omitempty"`
	}{clientID, before}
	text, _ := json.Marshal(act) // before is JSON that we made.
	return text
}

// expireAccess gives an access token the client's or the tenant's life, and no more than until.
func (p *Provider) expireAccess(g *grantSession, until time.Time) {
	life := g.client.GetEffectiveLifespan("", fosite.AccessToken, settings.Seconds(p.ttl().AccessToken))
	at := p.deps.Now().UTC().Add(life).Round(time.Second)
	if at.After(until) {
		at = until
	}
	g.SetExpiresAt(fosite.AccessToken, at)
}

// grantResourceScopes grants the scopes that were asked for, which must be among those permitted and none about people; without
// any, all that are permitted.
func grantResourceScopes(r fosite.AccessRequester, permitted []string) error {
	asked := r.GetRequestedScopes()
	if len(asked) == 0 {
		asked = permitted
	}
	for _, scope := range asked {
		if !slices.Contains(permitted, scope) || slices.Contains(personScopes, scope) {
			return fosite.ErrInvalidScope.WithHint("The client may not ask for one of the scopes.")
		}
		r.GrantScope(scope)
	}
	return nil
}

// PopulateTokenEndpointResponse implements fosite.TokenEndpointHandler.
func (h *tokenExchange) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, response fosite.AccessResponder) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	response.SetExtra("issued_token_type", typeAccessToken)
	return h.p.issueAccessToken(ctx, r, response, nil)
}
