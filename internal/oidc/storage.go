package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/handler/pkce"
	fositestore "github.com/ory/fosite/storage"

	"parako/internal/dbsqlc"
	"parako/internal/store"
)

const (
	// refreshGrace is how long a refresh token may be repeated after its rotation (security checklist K1): long enough for a
	// client that lost the answer, too short to be of use with a stolen token.
	refreshGrace = 10 * time.Second
	// grantLife is the absolute end of a grant (checklist K2).
	grantLife = 30 * 24 * time.Hour
)

// errSpent reports that another request was first to use a one-time token up. fosite wraps it in a server error; the error
// writer finds it and answers invalid_grant.
var errSpent = errors.New("token was used by a concurrent request")

// storage is fosite's storage for one tenant. One grants row with small token rows takes the place of fosite's five
// sessions; what PKCE and OpenID Connect remember about a code is in the code's own row.
type storage struct{ p *Provider }

var (
	_ fosite.Storage                     = storage{}
	_ oauth2.AuthorizeCodeStorage        = storage{}
	_ oauth2.TokenRevocationStorage      = storage{}
	_ openid.OpenIDConnectRequestStorage = storage{}
	_ pkce.PKCERequestStorage            = storage{}
	_ fositestore.Transactional          = storage{}
)

// GetClient implements fosite.ClientManager.
func (s storage) GetClient(ctx context.Context, id string) (fosite.Client, error) {
	row, err := s.p.client(ctx, id)
	if err != nil {
		return nil, err
	}
	return row, nil
}

// ClientAssertionJWTValid implements fosite.ClientManager. Assertions are checked in clientauth.go.
func (storage) ClientAssertionJWTValid(context.Context, string) error { return fosite.ErrJTIKnown }

// SetClientAssertionJWT implements fosite.ClientManager. Assertions are checked in clientauth.go.
func (storage) SetClientAssertionJWT(context.Context, string, time.Time) error {
	return fosite.ErrJTIKnown
}

// BeginTX implements fosite's storage.Transactional.
func (s storage) BeginTX(ctx context.Context) (context.Context, error) {
	return s.p.deps.Store.Begin(ctx, s.p.Tenant.ID)
}

// Commit implements fosite's storage.Transactional.
func (storage) Commit(ctx context.Context) error { return store.Commit(ctx) }

// Rollback implements fosite's storage.Transactional.
func (storage) Rollback(ctx context.Context) error {
	store.Rollback(ctx)
	return nil
}

// CreateAuthorizeCodeSession stores a code. It runs in the transaction that answers the request, which stores the grant.
func (s storage) CreateAuthorizeCodeSession(ctx context.Context, code string, r fosite.Requester) error {
	g, err := sessionOf(r)
	if err != nil {
		return err
	}
	id, err := uuid.Parse(r.GetID())
	if err != nil {
		return fmt.Errorf("parse grant id: %w", err)
	}
	form := fullForm(ctx, r)
	if !s.p.Settings.Features.OIDC.DPoP.Enabled {
		form.Del("dpop_jkt") // It means nothing here.
	}
	return s.p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		return tx.Later().CodeCreate(ctx, dbsqlc.CodeCreateParams{
			ID: tokenID(code), GrantID: id, RedirectURI: form.Get("redirect_uri"), RedirectURISent: form.Has("redirect_uri"),
			CodeChallenge: form.Get("code_challenge"), CodeChallengeMethod: form.Get("code_challenge_method"),
			DpopJkt: optional(form.Get("dpop_jkt")), ExpiresAt: g.GetExpiresAt(fosite.AuthorizeCode),
		})
	})
}

// fullForm is the form of the authorization request. r is fosite's sanitised copy, which lacks what PKCE needs.
func fullForm(ctx context.Context, r fosite.Requester) url.Values {
	if ar, ok := ctx.Value(fosite.AuthorizeRequestContextKey).(fosite.AuthorizeRequester); ok {
		return ar.GetRequestForm()
	}
	return r.GetRequestForm()
}

// GetAuthorizeCodeSession finds a code. One that was spent is returned with ErrInvalidatedAuthorizeCode, upon which fosite
// revokes the grant.
func (s storage) GetAuthorizeCodeSession(ctx context.Context, code string, sess fosite.Session) (fosite.Requester, error) {
	g, ok := sess.(*grantSession)
	if !ok {
		return nil, fmt.Errorf("unexpected session type %T", sess)
	}
	if id := tokenID(code); g.code == nil || subtle.ConstantTimeCompare(g.code.Code.ID, id) != 1 {
		var row dbsqlc.CodeByIDRow
		err := s.p.askTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
			row, err = tx.CodeByID(ctx, dbsqlc.CodeByIDParams{TenantID: tx.Tenant(), ID: id})
			return err
		})
		if errors.Is(err, store.ErrNotFound) {
			return nil, fosite.ErrNotFound
		}
		if err != nil {
			return nil, err
		}
		g.code, g.family = &row, row.Grant.ID
	}
	row := g.code
	if err := g.restore(row.Grant); err != nil {
		return nil, err
	}
	g.SetExpiresAt(fosite.AuthorizeCode, row.Code.ExpiresAt)
	r := s.request(row.Grant, g)
	r.Form = url.Values{"code_challenge": {row.Code.CodeChallenge}, "code_challenge_method": {row.Code.CodeChallengeMethod}}
	if row.Code.RedirectURISent {
		r.Form.Set("redirect_uri", row.Code.RedirectURI)
	}
	if row.Code.SpentAt != nil || row.Grant.RevokedAt != nil {
		return r, fosite.ErrInvalidatedAuthorizeCode
	}
	return r, nil
}

// request is the stored grant as fosite wants to see it. Its client is the authenticated one when that is the grant's own;
// otherwise it is a name without any right, for fosite to find that they differ.
func (storage) request(row dbsqlc.Grant, g *grantSession) *fosite.Request {
	owner := client{Client: dbsqlc.Client{ID: row.ClientID}}
	if g.client.ID == row.ClientID {
		owner = g.client.withoutRefresh(row.Scopes)
	}
	return &fosite.Request{
		ID: row.ID.String(), RequestedAt: row.CreatedAt, Client: owner,
		RequestedScope: row.Scopes, GrantedScope: row.Scopes, RequestedAudience: row.Resources, GrantedAudience: row.Resources,
		Form: url.Values{}, Session: g,
	}
}

// InvalidateAuthorizeCodeSession spends a code. The loser of a race revokes the grant, like any second use.
func (s storage) InvalidateAuthorizeCodeSession(ctx context.Context, code string) error {
	return s.p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		n, err := tx.CodeSpend(ctx, dbsqlc.CodeSpendParams{TenantID: tx.Tenant(), ID: tokenID(code)})
		if err == nil && n == 0 {
			return errSpent
		}
		return err
	})
}

// CreateAccessTokenSession stores an access token. JSON Web Tokens of a grant are stored too, under their jti, so that the
// grant's revocation reaches them.
func (s storage) CreateAccessTokenSession(ctx context.Context, sig string, r fosite.Requester) error {
	g, err := sessionOf(r)
	if err != nil {
		return err
	}
	scopes, err := s.p.tokenScopes(ctx, g, r.GetGrantedScopes())
	if err != nil {
		return err
	}
	p := dbsqlc.AccessTokenCreateParams{
		ID: tokenID(sig), ClientID: r.GetClient().GetID(), Scopes: array(scopes), Resources: array(g.audience), Cnf: g.cnf.document(),
		Act: g.act, ExpiresAt: g.GetExpiresAt(fosite.AccessToken),
	}
	if g.subject != uuid.Nil {
		id, err := uuid.Parse(r.GetID())
		if err != nil {
			return fmt.Errorf("parse grant id: %w", err)
		}
		p.GrantID = &id
	}
	return s.p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		if err := tx.Later().AccessTokenCreate(ctx, p); err != nil {
			return err
		}
		return recordIssued(ctx, tx, r, g)
	})
}

// CreateRefreshTokenSession stores a refresh token.
func (s storage) CreateRefreshTokenSession(ctx context.Context, sig, _ string, r fosite.Requester) error {
	g, err := sessionOf(r)
	if err != nil {
		return err
	}
	id, err := uuid.Parse(r.GetID())
	if err != nil {
		return fmt.Errorf("parse grant id: %w", err)
	}
	return s.p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		create := dbsqlc.RefreshTokenCreateParams{ID: tokenID(sig), GrantID: id, ExpiresAt: g.GetExpiresAt(fosite.RefreshToken)}
		if g.client.IsPublic() {
			// Only the key keeps a stolen token from being used; a client that authenticates has better (RFC 9449 section 5).
			create.Cnf = g.cnf.document()
		}
		return tx.Later().RefreshTokenCreate(ctx, create)
	})
}

// GetRefreshTokenSession finds a refresh token. One that was rotated out before the grace period is returned with
// ErrInactiveToken, upon which fosite revokes the grant.
func (s storage) GetRefreshTokenSession(ctx context.Context, sig string, sess fosite.Session) (fosite.Requester, error) {
	g, ok := sess.(*grantSession)
	if !ok {
		return nil, fmt.Errorf("unexpected session type %T", sess)
	}
	var row dbsqlc.RefreshTokenByIDRow
	err := s.p.askTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		row, err = tx.RefreshTokenByID(ctx, dbsqlc.RefreshTokenByIDParams{TenantID: tx.Tenant(), ID: tokenID(sig)})
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, fosite.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	if err := g.restore(row.Grant); err != nil {
		return nil, err
	}
	if g.bound, err = storedConfirmation(row.RefreshToken.Cnf); err != nil {
		return nil, err
	}
	g.SetExpiresAt(fosite.RefreshToken, row.RefreshToken.ExpiresAt)
	r := s.request(row.Grant, g)
	used := row.RefreshToken.UsedAt
	switch {
	case row.Grant.RevokedAt != nil:
		return nil, fosite.ErrNotFound
	case !s.p.outlives(row):
		return nil, fosite.ErrNotFound // It died with the session.
	case used != nil && row.Now.Sub(*used) > refreshGrace:
		return r, fosite.ErrInactiveToken
	}
	return r, nil
}

// outlives reports whether a refresh token is good as far as its session is concerned: it goes on, or the grant does not need it.
func (p *Provider) outlives(row dbsqlc.RefreshTokenByIDRow) bool {
	return row.SessionLive || !p.Settings.Features.OIDC.ExpiresWithSession.Enabled || slices.Contains(row.Grant.Scopes, "offline_access")
}

// RotateRefreshToken spends a refresh token, or repeats that within the grace period. One that is kept is not spent.
func (s storage) RotateRefreshToken(ctx context.Context, _, sig string) error {
	if a, ok := ctx.Value(fosite.AccessRequestContextKey).(fosite.AccessRequester); ok {
		if g, err := sessionOf(a); err == nil && g.keep {
			return nil
		}
	}
	return s.p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		n, err := tx.RefreshTokenUse(ctx, dbsqlc.RefreshTokenUseParams{
			TenantID: tx.Tenant(), ID: tokenID(sig), GraceSeconds: refreshGrace.Seconds(),
		})
		if err == nil && n == 0 {
			return errSpent
		}
		return err
	})
}

// RevokeRefreshToken ends a grant and with it every token of the family.
func (s storage) RevokeRefreshToken(ctx context.Context, grant string) error {
	id, err := uuid.Parse(grant)
	if err != nil {
		return fmt.Errorf("parse grant id: %w", err)
	}
	return s.p.revokeGrant(ctx, id)
}

// RevokeAccessToken ends a grant and with it every token of the family.
func (s storage) RevokeAccessToken(ctx context.Context, grant string) error {
	return s.RevokeRefreshToken(ctx, grant)
}

// DeleteRefreshTokenSession has nothing to do: fosite revokes the grant next to it.
func (storage) DeleteRefreshTokenSession(context.Context, string) error { return nil }

// GetAccessTokenSession is not used: access tokens are looked up in inspect.go.
func (storage) GetAccessTokenSession(context.Context, string, fosite.Session) (fosite.Requester, error) {
	return nil, fosite.ErrNotFound
}

// DeleteAccessTokenSession is not used: access tokens end with their grant.
func (storage) DeleteAccessTokenSession(context.Context, string) error { return nil }

// CreateOpenIDConnectSession has nothing to do: the grant holds what the ID token needs.
func (storage) CreateOpenIDConnectSession(context.Context, string, fosite.Requester) error {
	return nil
}

// GetOpenIDConnectSession returns the grant behind a code when openid was granted.
func (s storage) GetOpenIDConnectSession(ctx context.Context, code string, r fosite.Requester) (fosite.Requester, error) {
	stored, err := s.GetAuthorizeCodeSession(ctx, signature(code), r.GetSession())
	if err != nil {
		return nil, err
	}
	if !stored.GetGrantedScopes().Has("openid") {
		return nil, openid.ErrNoSessionFound
	}
	return stored, nil
}

// DeleteOpenIDConnectSession has nothing to do.
func (storage) DeleteOpenIDConnectSession(context.Context, string) error { return nil }

// CreatePKCERequestSession has nothing to do: the code's row holds the challenge.
func (storage) CreatePKCERequestSession(context.Context, string, fosite.Requester) error { return nil }

// GetPKCERequestSession returns the code with its challenge.
func (s storage) GetPKCERequestSession(ctx context.Context, sig string, sess fosite.Session) (fosite.Requester, error) {
	return s.GetAuthorizeCodeSession(ctx, sig, sess)
}

// DeletePKCERequestSession has nothing to do: the challenge goes with the code.
func (storage) DeletePKCERequestSession(context.Context, string) error { return nil }

func sessionOf(r fosite.Requester) (*grantSession, error) {
	g, ok := r.GetSession().(*grantSession)
	if !ok {
		return nil, fmt.Errorf("unexpected session type %T", r.GetSession())
	}
	return g, nil
}

// array keeps NULL out of NOT NULL arrays.
func array(a fosite.Arguments) []string {
	if a == nil {
		return []string{}
	}
	return a
}
