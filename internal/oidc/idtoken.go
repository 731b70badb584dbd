package oidc

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/openid"

	"parako/internal/keyring"
	"parako/internal/secret"
)

// idToken is the payload of an ID token (OpenID Connect Core section 2). Claims about the person are at userinfo.
type idToken struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience string   `json:"aud"`
	Expiry   int64    `json:"exp"`
	IssuedAt int64    `json:"iat"`
	AuthTime int64    `json:"auth_time"`
	Nonce    string   `json:"nonce,omitempty"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`
	AtHash   string   `json:"at_hash,omitempty"`
	// SessionID is the session at the provider, for logout (OpenID Connect Back-Channel Logout section 2.1).
	SessionID string `json:"sid,omitempty"`
}

// idTokens implements fosite's openid.OpenIDConnectTokenStrategy.
type idTokens struct{ p *Provider }

var _ openid.OpenIDConnectTokenStrategy = idTokens{}

// GenerateIDToken signs an ID token for the request's client with the algorithm the client registered.
func (s idTokens) GenerateIDToken(_ context.Context, lifespan time.Duration, r fosite.Requester) (string, error) {
	g, err := sessionOf(r)
	if err != nil {
		return "", err
	}
	c, ok := r.GetClient().(client)
	if !ok {
		return "", fmt.Errorf("unexpected client type %T", r.GetClient())
	}
	now := s.p.deps.Now()
	claims := idToken{
		Issuer: s.p.Issuer, Subject: g.GetSubject(), Audience: c.ID, Expiry: now.Add(lifespan).Unix(), IssuedAt: now.Unix(),
		AuthTime: g.authTime.Unix(), Nonce: g.nonce, ACR: g.acr, AMR: g.amr, AtHash: g.atHash.AccessTokenHash,
	}
	if g.sessionID != nil {
		claims.SessionID = g.sessionID.String()
	}
	return s.p.sign(jose.SignatureAlgorithm(c.IDTokenSignedResponseAlg), "JWT", claims)
}

func (p *Provider) sign(alg jose.SignatureAlgorithm, typ string, claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return p.keys.Sign(alg, typ, payload)
}

// accessToken is the payload of a JSON Web Token used as access token (RFC 9068 section 2.2).
type accessToken struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	Expiry   int64    `json:"exp"`
	IssuedAt int64    `json:"iat"`
	ID       string   `json:"jti"`
	ClientID string   `json:"client_id"`
	Scope    string   `json:"scope,omitempty"`
	AuthTime int64    `json:"auth_time,omitempty"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`
}

// audience is one string when there is one, as most resource servers expect.
type audience []string

// MarshalJSON implements json.Marshaler.
func (a audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// accessTokens implements fosite's oauth2.AccessTokenStrategy: opaque without a resource, a JSON Web Token with one
// (design D10). The signature of a JSON Web Token is its jti, under which it is stored or revoked.
type accessTokens struct{ p *Provider }

// AccessTokenSignature implements oauth2.AccessTokenStrategy.
func (accessTokens) AccessTokenSignature(_ context.Context, token string) string {
	return signature(token)
}

// GenerateAccessToken implements oauth2.AccessTokenStrategy.
func (s accessTokens) GenerateAccessToken(_ context.Context, r fosite.Requester) (token, sig string, err error) {
	resources := r.GetGrantedAudience()
	if len(resources) == 0 {
		token, sig = s.p.tokens.mint(accessPrefix, secret.Token())
		return token, sig, nil
	}
	g, err := sessionOf(r)
	if err != nil {
		return "", "", err
	}
	jti, err := uuid.NewRandom()
	if err != nil {
		return "", "", err
	}
	claims := accessToken{
		Issuer: s.p.Issuer, Subject: g.GetSubject(), Audience: audience(resources), Expiry: g.GetExpiresAt(fosite.AccessToken).Unix(),
		IssuedAt: s.p.deps.Now().Unix(), ID: jti.String(), ClientID: r.GetClient().GetID(), Scope: joinScopes(r.GetGrantedScopes()),
	}
	if g.subject == uuid.Nil {
		claims.Subject = claims.ClientID // RFC 9068 section 2.2: no resource owner, so the client itself.
	} else {
		claims.AuthTime, claims.ACR, claims.AMR = g.authTime.Unix(), g.acr, g.amr
	}
	token, err = s.p.sign(keyring.ES256, "at+jwt", claims)
	return token, claims.ID, err
}

// ValidateAccessToken implements oauth2.AccessTokenStrategy. Access tokens are checked in inspect.go.
func (accessTokens) ValidateAccessToken(context.Context, fosite.Requester, string) error {
	return fosite.ErrInvalidTokenFormat
}
