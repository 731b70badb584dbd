package oidc

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/openid"

	"parako/internal/directory"
	"parako/internal/secret"
	"parako/internal/settings"
	"parako/internal/store"
)

// idToken is the payload of an ID token (OpenID Connect Core section 2), without claims about the person.
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
	CodeHash string   `json:"c_hash,omitempty"`
	// SessionID is the session at the provider, for logout (OpenID Connect Back-Channel Logout section 2.1).
	SessionID string `json:"sid,omitempty"`
}

// idTokens implements fosite's openid.OpenIDConnectTokenStrategy.
type idTokens struct{ p *Provider }

var _ openid.OpenIDConnectTokenStrategy = idTokens{}

// GenerateIDToken signs an ID token for the request's client with the algorithm the client registered, and encrypts it where the
// client asks for that.
func (s idTokens) GenerateIDToken(ctx context.Context, lifespan time.Duration, r fosite.Requester) (string, error) {
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
		Issuer: s.p.Issuer, Subject: s.p.subjectFor(c, g.subject), Audience: c.ID, Expiry: now.Add(lifespan).Unix(), IssuedAt: now.Unix(),
		AuthTime: g.authTime.Unix(), Nonce: g.nonce, ACR: g.acr, AMR: g.amr, AtHash: g.atHash.AccessTokenHash, CodeHash: g.atHash.CodeHash,
	}
	if g.sessionID != nil {
		claims.SessionID = g.sessionID.String()
	}
	payload, err := s.p.withPerson(ctx, g, r.GetGrantedScopes(), claims)
	if err != nil {
		return "", err
	}
	token, err := s.p.sign(jose.SignatureAlgorithm(c.IDTokenSignedResponseAlg), "JWT", payload)
	if err != nil {
		return "", err
	}
	return s.p.encryptFor(ctx, c, c.more.IDTokenEncryptionAlg, c.more.IDTokenEncryptionEnc, token)
}

// withPerson adds to an ID token the claims about the person that belong into it: those the client asked for by name, and those
// of the scopes when it cannot ask userinfo, or when the tenant wants them in both places.
func (p *Provider) withPerson(ctx context.Context, g *grantSession, scopes []string, claims idToken) (any, error) {
	names := g.claims.idToken()
	if f := p.Settings.Features.OIDC; g.bare || !f.ConformIDTokenClaims.Enabled || !f.UserinfoEndpoint.Enabled {
		names = append(names, claimNames(scopes)...)
	}
	if !slices.ContainsFunc(names, func(name string) bool { return p.scopeOf(name) != "" }) {
		return claims, nil
	}
	if g.person == nil {
		var person directory.User
		err := p.askTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
			person, err = directory.ByID(ctx, tx, g.subject)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("load person of ID token: %w", err)
		}
		g.person = &person
	}
	payload, err := object(claims)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if p.scopeOf(name) != "" {
			addClaims(payload, *g.person, []string{name})
		}
	}
	return payload, nil
}

func (p *Provider) sign(alg jose.SignatureAlgorithm, typ string, claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return p.keys.Sign(alg, typ, payload)
}

// SignAs signs a document of the tenant's that is no token. typ tells it from every other (RFC 7515 section 4.1.9).
func (p *Provider) SignAs(typ string, payload []byte) (string, error) {
	return p.keys.Sign(jose.ES256, typ, payload)
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
	// Confirmation and Actor are as in RFC 7800 and RFC 8693 section 4.1.
	Confirmation json.RawMessage `json:"cnf,omitempty"`
	Actor        json.RawMessage `json:"act,omitempty"`
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

// accessTokens implements fosite's oauth2.AccessTokenStrategy: opaque without a resource, and with one what the resource wants,
// a JSON Web Token unless it says otherwise (design D10). The signature of a JSON Web Token is its jti, under which it is stored or revoked.
type accessTokens struct{ p *Provider }

// AccessTokenSignature implements oauth2.AccessTokenStrategy.
func (accessTokens) AccessTokenSignature(_ context.Context, token string) string {
	return signature(token)
}

// GenerateAccessToken implements oauth2.AccessTokenStrategy.
func (s accessTokens) GenerateAccessToken(ctx context.Context, r fosite.Requester) (token, sig string, err error) {
	g, err := sessionOf(r)
	if err != nil {
		return "", "", err
	}
	server, err := s.p.tokenFormat(ctx, g.audience)
	if err != nil {
		return "", "", err
	}
	if server.format == settings.FormatOpaque {
		token, sig = s.p.tokens.mint(accessPrefix, secret.Token())
		return token, sig, nil
	}
	scopes, err := s.p.tokenScopes(ctx, g, r.GetGrantedScopes())
	if err != nil {
		return "", "", err
	}
	jti, err := uuid.NewRandom()
	if err != nil {
		return "", "", err
	}
	claims := accessToken{
		Issuer: s.p.Issuer, Audience: audience(g.audience), Expiry: g.GetExpiresAt(fosite.AccessToken).Unix(),
		IssuedAt: s.p.deps.Now().Unix(), ID: jti.String(), ClientID: r.GetClient().GetID(), Scope: joinScopes(scopes),
		Confirmation: g.cnf.document(), Actor: g.act,
	}
	if g.subject == uuid.Nil {
		claims.Subject = claims.ClientID // RFC 9068 section 2.2: no resource owner, so the client itself.
	} else {
		claims.Subject = s.p.subjectFor(g.client, g.subject)
	}
	if g.acr != "" { // Somebody else vouched for the person otherwise.
		claims.AuthTime, claims.ACR, claims.AMR = g.authTime.Unix(), g.acr, g.amr
	}
	token, err = s.p.sign(server.alg, "at+jwt", claims)
	return token, claims.ID, err
}

// ValidateAccessToken implements oauth2.AccessTokenStrategy. Access tokens are checked in inspect.go.
func (accessTokens) ValidateAccessToken(context.Context, fosite.Requester, string) error {
	return fosite.ErrInvalidTokenFormat
}
