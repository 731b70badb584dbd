package oidc

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/google/uuid"

	"parako/internal/dbsqlc"
	"parako/internal/store"
)

// tokenUser finds the live opaque access token of a person and the account it is about. Tokens for a resource are refused:
// whoever runs that resource must not learn more with them (RFC 9068 section 4). store.ErrNotFound: anything else.
func (p *Provider) tokenUser(ctx context.Context, token string) (dbsqlc.AccessTokenUserRow, error) {
	var row dbsqlc.AccessTokenUserRow
	if !p.tokens.genuine(accessPrefix, token) {
		return row, store.ErrNotFound
	}
	err := p.askTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		row, err = tx.AccessTokenUser(ctx, dbsqlc.AccessTokenUserParams{TenantID: tx.Tenant(), ID: tokenID(signature(token))})
		return err
	})
	return row, err
}

// tokenInfo is what a live token says, in the words of introspection (RFC 7662 section 2.2).
type tokenInfo struct {
	Active    bool     `json:"active"`
	Issuer    string   `json:"iss,omitempty"`
	Subject   string   `json:"sub,omitempty"`
	ClientID  string   `json:"client_id,omitempty"`
	Scope     string   `json:"scope,omitempty"`
	Audience  audience `json:"aud,omitempty"`
	TokenType string   `json:"token_type,omitempty"`
	Expiry    int64    `json:"exp,omitempty"`
	IssuedAt  int64    `json:"iat,omitempty"`
	ID        string   `json:"jti,omitempty"`
	AuthTime  int64    `json:"auth_time,omitempty"`
	ACR       string   `json:"acr,omitempty"`
	AMR       []string `json:"amr,omitempty"`
	// Confirmation and Actor are as in RFC 7800 and RFC 8693 section 4.1.
	Confirmation json.RawMessage `json:"cnf,omitempty"`
	Actor        json.RawMessage `json:"act,omitempty"`

	// grant is the family of a token that belongs to one; id is where an access token is stored.
	grant *uuid.UUID
	id    []byte
	// user is the account it is about; uuid.Nil: none.
	user uuid.UUID
}

// inspect finds what a token says. store.ErrNotFound: it is not a live token of this tenant.
func (p *Provider) inspect(ctx context.Context, token string) (tokenInfo, error) {
	switch {
	case strings.HasPrefix(token, accessPrefix):
		if !p.tokens.genuine(accessPrefix, token) {
			return tokenInfo{}, store.ErrNotFound
		}
		return p.inspectStored(ctx, tokenID(signature(token)))
	case strings.HasPrefix(token, refreshPrefix):
		return p.inspectRefresh(ctx, token)
	}
	return p.inspectJWT(ctx, token)
}

func (p *Provider) inspectStored(ctx context.Context, id []byte) (tokenInfo, error) {
	var row dbsqlc.AccessTokenByIDRow
	err := p.askTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		row, err = tx.AccessTokenByID(ctx, dbsqlc.AccessTokenByIDParams{TenantID: tx.Tenant(), ID: id})
		return err
	})
	if err != nil {
		return tokenInfo{}, err
	}
	t := row.AccessToken
	info := tokenInfo{
		Active: true, Issuer: p.Issuer, Subject: t.ClientID, ClientID: t.ClientID, Scope: joinScopes(t.Scopes), Audience: t.Resources,
		TokenType: "Bearer", Expiry: t.ExpiresAt.Unix(), IssuedAt: t.CreatedAt.Unix(), Confirmation: t.Cnf, Actor: t.Act, grant: t.GrantID, id: id,
	}
	cnf, err := storedConfirmation(t.Cnf)
	if err != nil {
		return tokenInfo{}, err
	}
	info.TokenType = cnf.tokenType()
	if row.UserID != nil && row.AuthTime != nil && row.ACR != nil {
		more, err := moreOf(dbsqlc.Client{ID: t.ClientID, Metadata: row.Metadata})
		if err != nil {
			return tokenInfo{}, err
		}
		info.Subject, info.user = p.subject(t.ClientID, more, row.RedirectUris, *row.UserID), *row.UserID
		if *row.ACR != "" { // Somebody else vouched for the person otherwise.
			info.AuthTime, info.ACR, info.AMR = row.AuthTime.Unix(), *row.ACR, row.AMR
		}
	}
	return info, nil
}

func (p *Provider) inspectRefresh(ctx context.Context, token string) (tokenInfo, error) {
	if !p.tokens.genuine(refreshPrefix, token) {
		return tokenInfo{}, store.ErrNotFound
	}
	var row dbsqlc.RefreshTokenByIDRow
	err := p.askTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		row, err = tx.RefreshTokenByID(ctx, dbsqlc.RefreshTokenByIDParams{TenantID: tx.Tenant(), ID: tokenID(signature(token))})
		return err
	})
	if err != nil {
		return tokenInfo{}, err
	}
	t, g := row.RefreshToken, row.Grant
	owner, err := p.client(ctx, g.ClientID)
	if err != nil {
		return tokenInfo{}, err
	}
	info := tokenInfo{
		Active: t.UsedAt == nil && g.RevokedAt == nil && p.outlives(row) &&
			row.Now.Before(t.ExpiresAt) && row.Now.Before(g.ExpiresAt),
		Issuer: p.Issuer, Subject: p.subjectFor(owner, g.UserID), ClientID: g.ClientID, Scope: joinScopes(g.Scopes), Audience: g.Resources,
		Expiry: t.ExpiresAt.Unix(), IssuedAt: t.CreatedAt.Unix(), grant: &g.ID,
	}
	return info, nil
}

// inspectJWT checks a JSON Web Token of ours. One that belongs to a grant is stored, and asks its row; one of
// client_credentials is not, and asks its client.
func (p *Provider) inspectJWT(ctx context.Context, token string) (tokenInfo, error) {
	payload, err := p.keys.Verify(token, "at+jwt")
	if err != nil {
		return tokenInfo{}, store.ErrNotFound
	}
	var t accessToken
	if err := json.Unmarshal(payload, &t); err != nil || t.Issuer != p.Issuer || !p.deps.Now().Before(time.Unix(t.Expiry, 0)) {
		return tokenInfo{}, store.ErrNotFound
	}
	if t.Subject != t.ClientID {
		info, err := p.inspectStored(ctx, tokenID(t.ID))
		info.ID = t.ID
		return info, err
	}
	if _, err := p.clientOfToken(ctx, t); err != nil {
		return tokenInfo{}, err
	}
	cnf, err := storedConfirmation(t.Confirmation)
	if err != nil {
		return tokenInfo{}, err
	}
	return tokenInfo{
		Active: true, Issuer: t.Issuer, Subject: t.Subject, ClientID: t.ClientID, Scope: t.Scope, Audience: t.Audience, TokenType: cnf.tokenType(),
		Expiry: t.Expiry, IssuedAt: t.IssuedAt, ID: t.ID, Confirmation: t.Confirmation, Actor: t.Actor,
	}, nil
}
