package oidc

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	"github.com/ory/fosite"

	"parako/internal/dbsqlc"
	"parako/internal/directory"
	"parako/internal/settings"
	"parako/internal/store"
)

// jwtBearer is the grant of RFC 7523 section 2.1: an issuer that the tenant trusts vouches for a person of the tenant. There is
// no session behind it: the client gets an access token for a resource, and neither a refresh token nor an ID token.
type jwtBearer struct{ p *Provider }

// bearerLife is the longest time an assertion about a person may be valid.
const bearerLife = time.Hour

// CanHandleTokenEndpointRequest implements fosite.TokenEndpointHandler.
func (*jwtBearer) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne(grantJWTBearer)
}

// CanSkipClientAuth implements fosite.TokenEndpointHandler.
func (*jwtBearer) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool { return false }

// errAssertion refuses an assertion (RFC 7523 section 3.1). The hint must not tell whether a person exists.
func errAssertion(cause error) error {
	return fosite.ErrInvalidGrant.WithHint("The assertion is not valid, not for us, used before, or about nobody here.").WithWrap(cause)
}

// HandleTokenEndpointRequest implements fosite.TokenEndpointHandler.
func (h *jwtBearer) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	c, ok := r.GetClient().(client)
	if !ok || c.IsPublic() || !slices.Contains(c.GrantTypes, grantJWTBearer) {
		return fosite.ErrUnauthorizedClient.WithHint("The client may not use the jwt-bearer grant.")
	}
	if err := bindClient(r); err != nil {
		return err
	}
	if err := h.p.settle(ctx, r); err != nil {
		return err
	}
	form := r.GetRequestForm()
	if len(form["resource"]) == 0 {
		return errTarget.WithHint("The resource is missing that the token is for.")
	}
	issuer, claims, err := h.verify(ctx, form.Get("assertion"), c)
	if err != nil {
		return err
	}
	g, err := sessionOf(r)
	if err != nil {
		return err
	}
	if g.subject, err = h.person(ctx, issuer, claims.Subject); err != nil {
		return err
	}
	g.authTime, g.amr = h.p.deps.Now().UTC(), []string{}
	h.p.expireAccess(g, h.p.deps.Now().Add(bearerLife))
	if err := h.p.aim(ctx, r, c.AllowedResources); err != nil {
		return err
	}
	permitted := slices.DeleteFunc(strings.Fields(c.ResourcesScopes), func(scope string) bool { return !slices.Contains(issuer.Scopes, scope) })
	if err := grantResourceScopes(r, permitted); err != nil {
		return err
	}
	for _, resource := range g.audience {
		r.GrantAudience(resource)
	}
	fresh, err := h.p.spendOnce(ctx, "bearer", issuer.Issuer, claims.ID, claims.Expiry.Time().Add(clockSkew))
	if err != nil {
		return fosite.ErrServerError.WithWrap(err)
	}
	if !fresh {
		return errAssertion(errors.New("it was used before"))
	}
	return nil
}

// verify checks who signed an assertion, for whom and when (RFC 7523 section 3).
func (h *jwtBearer) verify(ctx context.Context, text string, c client) (settings.JWTBearerIssuer, jwt.Claims, error) {
	var claims jwt.Claims
	token, err := jwt.ParseSigned(text, signingAlgorithms)
	if err != nil {
		return settings.JWTBearerIssuer{}, claims, errAssertion(err)
	}
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return settings.JWTBearerIssuer{}, claims, errAssertion(err)
	}
	trusted := h.p.Settings.OIDC.JWTBearerIssuers
	i := slices.IndexFunc(trusted, func(b settings.JWTBearerIssuer) bool {
		return b.Issuer == claims.Issuer && slices.Contains(b.Clients, c.ID)
	})
	if i < 0 {
		return settings.JWTBearerIssuer{}, claims, errAssertion(errors.New("its issuer is not trusted with this client"))
	}
	key, err := h.p.signatureKey(ctx, keySource{trusted[i].JWKS, trusted[i].JWKSURI}, token.Headers[0])
	if err != nil {
		return settings.JWTBearerIssuer{}, claims, errAssertion(err)
	}
	claims = jwt.Claims{}
	if err := token.Claims(key.Key, &claims); err != nil {
		return settings.JWTBearerIssuer{}, claims, errAssertion(err)
	}
	now := h.p.deps.Now()
	switch {
	case len(claims.Audience) != 1 || claims.Audience[0] != h.p.Issuer && claims.Audience[0] != h.p.URL("/token"):
		err = errors.New("it has another audience")
	case claims.Subject == "":
		err = errors.New("it has no sub")
	case claims.ID == "" || len(claims.ID) > 512:
		err = errors.New("it has no usable jti")
	case claims.Expiry == nil || !now.Add(-clockSkew).Before(claims.Expiry.Time()):
		err = errors.New("it has expired or never does")
	case claims.Expiry.Time().After(now.Add(bearerLife + clockSkew)):
		err = errors.New("it lives too long")
	case claims.NotBefore != nil && claims.NotBefore.Time().After(now.Add(clockSkew)):
		err = errors.New("it is not valid yet")
	case claims.IssuedAt != nil && claims.IssuedAt.Time().After(now.Add(clockSkew)):
		err = errors.New("it was issued in the future")
	}
	if err != nil {
		err = errAssertion(err)
	}
	return trusted[i], claims, err
}

// person finds the account an issuer means with a subject.
func (h *jwtBearer) person(ctx context.Context, issuer settings.JWTBearerIssuer, subject string) (uuid.UUID, error) {
	var user directory.User
	err := h.p.askTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		if issuer.Subject == "username" || issuer.Subject == "email" {
			user, _, err = directory.ForLogin(ctx, tx, subject)
			return err
		}
		id, err := uuid.Parse(subject)
		if err != nil {
			return store.ErrNotFound
		}
		user, err = directory.ByID(ctx, tx, id)
		return err
	})
	if isNotFound(err) || err == nil && (!user.AccountEnabled || user.BootstrapUntil != nil || !meant(user, issuer.Subject, subject)) {
		return uuid.Nil, errAssertion(errors.New("it is about nobody here"))
	}
	if err != nil {
		return uuid.Nil, fosite.ErrServerError.WithWrap(err)
	}
	return user.ID, nil
}

// meant reports whether the account was found by what the issuer means by its subjects. An address that nobody verified is no
// sign of a person.
func meant(u directory.User, kind, subject string) bool {
	switch kind {
	case "username":
		return directory.Fold(u.Username) == directory.Fold(subject)
	case "email":
		return u.Email != nil && u.EmailVerified && directory.Fold(*u.Email) == directory.Fold(subject)
	}
	return true
}

// PopulateTokenEndpointResponse implements fosite.TokenEndpointHandler. The token belongs to a grant of its own, which ends with
// it, so that disabling the account ends it as well.
func (h *jwtBearer) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, response fosite.AccessResponder) error {
	if !h.CanHandleTokenEndpointRequest(ctx, r) {
		return fosite.ErrUnknownRequest
	}
	g, err := sessionOf(r)
	if err != nil {
		return err
	}
	id, err := uuid.Parse(r.GetID())
	if err != nil {
		return err
	}
	return h.p.issueAccessToken(ctx, r, response, func(ctx context.Context, tx *store.Tx) error {
		return tx.Later().GrantCreate(ctx, dbsqlc.GrantCreateParams{
			ID: id, ClientID: g.client.ID, UserID: g.subject, Scopes: array(r.GetGrantedScopes()), Resources: array(r.GetGrantedAudience()),
			AuthTime: g.authTime, ACR: g.acr, AMR: g.amr, ExpiresAt: g.GetExpiresAt(fosite.AccessToken),
		})
	})
}
