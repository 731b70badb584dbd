package oidc

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/ory/fosite"

	"parako/internal/audit"
	"parako/internal/ratelimit"
	"parako/internal/store"
)

// tokenResponse is the answer to a token request (RFC 6749 section 5.1).
type tokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	Scope        string `json:"scope,omitempty"`
	// IssuedTokenType answers a token exchange (RFC 8693 section 2.2.1).
	IssuedTokenType string `json:"issued_token_type,omitempty"`
}

// token is the token endpoint. It is never wrapped in a transaction as a whole: what a refused request has found out, such
// as the reuse of a code, must stay (design D9).
func (h *Handler) token(c echo.Context) error {
	p, err := h.Provider(c)
	if err != nil {
		return err
	}
	r := c.Request()
	ctx := r.Context()
	form, err := postForm(c)
	if err != nil {
		return h.writeError(c, err)
	}
	g := newGrantSession()
	p.offerNonce(c)
	if g.proof, err = p.proofKey(ctx, r, p.URL("/token"), ""); err != nil {
		return h.refuseToken(ctx, c, p, form, client{}, g, err)
	}
	request, err := p.oauth2.NewAccessRequest(ctx, r, g)
	if err != nil && request == nil {
		// fosite names neither the client nor the fault when no handler knows the grant.
		err = fosite.ErrUnsupportedGrantType
	}
	var response fosite.AccessResponder
	if err == nil {
		response, err = p.oauth2.NewAccessResponse(ctx, request)
	}
	var caller client
	if request != nil {
		caller, _ = request.GetClient().(client)
	}
	allowOrigin(c, &caller)
	if err != nil {
		return h.refuseToken(ctx, c, p, form, caller, g, err)
	}
	h.deps.Metrics.TokenIssued(form.Get("grant_type"))
	if g, err = sessionOf(request); err != nil { // fosite may have copied it
		return err
	}
	scopes, err := p.tokenScopes(ctx, g, request.GetGrantedScopes())
	if err != nil {
		return err
	}
	noStore(c)
	return c.JSON(http.StatusOK, tokenResponse{
		AccessToken: response.GetAccessToken(), TokenType: g.cnf.tokenType(), ExpiresIn: p.secondsLeft(g),
		RefreshToken: extra(response, "refresh_token"), IDToken: extra(response, "id_token"), Scope: joinScopes(scopes),
		IssuedTokenType: extra(response, "issued_token_type"),
	})
}

func extra(r fosite.AccessResponder, name string) string {
	s, _ := r.GetExtra(name).(string)
	return s
}

// secondsLeft is the life of the access token that was issued. Its end is a whole second, so that this is one, too.
func (p *Provider) secondsLeft(g *grantSession) int64 {
	return int64(g.GetExpiresAt(fosite.AccessToken).Sub(p.deps.Now()).Round(time.Second) / time.Second)
}

func (h *Handler) refuseToken(ctx context.Context, c echo.Context, p *Provider, form url.Values, caller client, g *grantSession, err error) error {
	if cancelled(ctx) {
		return err
	}
	if errors.Is(err, errSpent) && g.family != uuid.Nil {
		// Two redeemed one code at once and this one lost: a second use like any other (RFC 6749 section 4.1.2).
		if err := p.revokeGrant(ctx, g.family); err != nil {
			h.deps.Log.ErrorContext(ctx, "revoke_grant_failed", "error", err.Error())
		}
	}
	reason := refusal(err)
	h.deps.Metrics.TokenError(reason, form.Get("grant_type"))
	if reason == fosite.ErrAuthorizationPending.ErrorField || reason == fosite.ErrSlowDown.ErrorField {
		return h.writeError(c, err) //nolint:contextcheck // It takes the context from c. A device that waits was refused nothing.
	}
	if !p.worthRecording(ctx) {
		h.deps.Metrics.RateLimited(ratelimit.TokenRefused().Name)
		return h.writeError(c, err) //nolint:contextcheck // It takes the context from c.
	}
	recorded := p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		return audit.Record(ctx, tx, audit.Event{
			Type: audit.TokenRefused, Status: audit.Failed, Actor: actor(caller), ClientID: claimedClient(c.Request(), form, caller), Origin: audit.OriginOf(ctx),
			Detail: map[string]string{"error": reason, "grant_type": grantName(form.Get("grant_type"))},
		})
	})
	if recorded != nil {
		h.deps.Log.ErrorContext(ctx, "audit_failed", "error", recorded.Error())
	}
	return h.writeError(c, err) //nolint:contextcheck // It takes the context from c.
}

// worthRecording keeps a flood of refused requests from one address out of the audit trail.
func (p *Provider) worthRecording(ctx context.Context) bool {
	return p.deps.Limiter.Allow(ctx, p.Tenant.ID, ratelimit.TokenRefused(), callerIP(ctx)).Allowed
}

// callerIP is the subject of limits that count per address.
func callerIP(ctx context.Context) string {
	addr, err := netip.ParseAddr(audit.OriginOf(ctx).IP)
	if err != nil {
		addr = netip.IPv6Unspecified() // All callers without an address share one count.
	}
	return ratelimit.IP(addr)
}

func actor(c client) audit.Party {
	if c.ID == "" {
		return audit.Party{}
	}
	return audit.Client(c.ID)
}

// claimedClient is the client a request speaks for, authenticated or not.
func claimedClient(r *http.Request, form url.Values, c client) string {
	if c.ID != "" {
		return c.ID
	}
	if id, _, ok := r.BasicAuth(); ok {
		return id
	}
	return form.Get("client_id")
}

// grantName keeps what callers invent out of the audit trail.
func grantName(grant string) string {
	switch grant {
	case grantCode, grantRefresh, grantClientCredentials, grantDevice, grantTokenExchange, grantJWTBearer:
		return grant
	}
	return "other"
}

// recordIssued adds the issue of an access token to the audit trail, in the transaction that stores it.
func recordIssued(ctx context.Context, tx *store.Tx, r fosite.Requester, g *grantSession) error {
	grant := ""
	if a, ok := ctx.Value(fosite.AccessRequestContextKey).(fosite.AccessRequester); ok && len(a.GetGrantTypes()) == 1 {
		grant = a.GetGrantTypes()[0]
	}
	e := audit.Event{
		Type: audit.TokenIssued, Status: audit.Success, Actor: audit.Client(r.GetClient().GetID()), ClientID: r.GetClient().GetID(),
		Origin: audit.OriginOf(ctx), Detail: map[string]string{"grant_type": grant, "scope": joinScopes(r.GetGrantedScopes())},
	}
	if s := g.GetSubject(); s != "" {
		e.Target = audit.User(g.subject)
	}
	return audit.Record(ctx, tx, e)
}

// postForm reads the body of a request to a protocol endpoint, which is a form in which nothing is repeated. Some
// libraries send an empty client_secret for clients that have none.
func postForm(c echo.Context) (url.Values, error) {
	r := c.Request()
	// fosite would read multipart bodies too, past the checks below.
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/x-www-form-urlencoded" {
		return nil, fosite.ErrInvalidRequest.WithHint("The body must be application/x-www-form-urlencoded.")
	}
	if err := r.ParseForm(); err != nil {
		return nil, tooLarge(err, fosite.ErrInvalidRequest.WithHint("The body is not a form."))
	}
	if err := repeated(r.PostForm); err != nil {
		return nil, err
	}
	omitEmpty(r.PostForm)
	for name := range r.URL.Query() {
		if name == "client_secret" || name == "client_assertion" || name == "code" || name == "refresh_token" || name == "device_code" {
			return nil, fosite.ErrInvalidRequest.WithHint("Secrets belong in the body, not in the query.")
		}
	}
	return r.PostForm, nil
}

// authenticated reads the body and authenticates the client of a request to one of the token's side endpoints.
func authenticated(c echo.Context, p *Provider) (url.Values, client, error) {
	form, err := postForm(c)
	if err != nil {
		return nil, client{}, err
	}
	who, err := p.authenticateClient(c.Request().Context(), c.Request(), form)
	if err != nil {
		return nil, client{}, err
	}
	caller, _ := who.(client)
	allowOrigin(c, &caller)
	return form, caller, nil
}
