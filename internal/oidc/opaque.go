package oidc

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"github.com/ory/fosite"

	"parako/internal/secret"
)

// The prefixes of opaque tokens tell the kinds apart and let scanners find leaked ones.
const (
	codePrefix    = "parako_ac_"
	accessPrefix  = "parako_at_"
	refreshPrefix = "parako_rt_"
	devicePrefix  = "parako_dc_"
	// userCodePrefix is seen by nobody: people type no prefix.
	userCodePrefix = "parako_uc_"
	// initialPrefix begins initial access tokens (RFC 7591 section 1.2), registrationPrefix registration access tokens (RFC 7592
	// section 1.2).
	initialPrefix      = "parako_iat_"
	registrationPrefix = "parako_rat_"
)

// opaqueTokens makes and checks authorization codes, device codes, opaque access tokens, refresh tokens and the tokens of
// registration: a prefix, 256 random bits, and their MAC under the tenant's own key. So a token of another tenant is refused without asking
// the database. What is stored is a digest of the MAC.
type opaqueTokens struct {
	key []byte
	now func() time.Time
}

// tokensOf derives the MAC's key from the tenant's data key, which outlives the master key.
func tokensOf(sealer *secret.Sealer, now func() time.Time) opaqueTokens {
	return opaqueTokens{key: sealer.Derive("oauth-hmac-v1", 32), now: now}
}

// mint makes a token from its random half, and returns it with its signature.
func (o opaqueTokens) mint(prefix, random string) (token, signature string) {
	signature = o.mac(prefix, random)
	return prefix + random + "." + signature, signature
}

func (o opaqueTokens) mac(prefix, random string) string {
	m := hmac.New(sha256.New, o.key)
	m.Write([]byte(prefix))
	m.Write([]byte(random))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// genuine reports whether this tenant made the token.
func (o opaqueTokens) genuine(prefix, token string) bool {
	body, ok := strings.CutPrefix(token, prefix)
	if !ok {
		return false
	}
	random, signature, ok := strings.Cut(body, ".")
	return ok && secret.Equal([]byte(signature), []byte(o.mac(prefix, random)))
}

// signature is the part of a token that identifies it at rest.
func signature(token string) string {
	_, s, _ := strings.Cut(token, ".")
	return s
}

// tokenID is the primary key under which a signature, or the jti of a JSON Web Token, is stored.
func tokenID(signature string) []byte { return secret.Digest(signature) }

func (o opaqueTokens) validate(prefix, token string, expiry time.Time) error {
	if !o.genuine(prefix, token) {
		return fosite.ErrInvalidTokenFormat
	}
	if !expiry.IsZero() && !o.now().Before(expiry) {
		return fosite.ErrTokenExpired
	}
	return nil
}

// codeStrategy implements fosite's oauth2.AuthorizeCodeStrategy.
type codeStrategy struct{ opaqueTokens }

func (codeStrategy) AuthorizeCodeSignature(_ context.Context, token string) string {
	return signature(token)
}

func (s codeStrategy) GenerateAuthorizeCode(context.Context, fosite.Requester) (string, string, error) {
	token, sig := s.mint(codePrefix, secret.Token())
	return token, sig, nil
}

func (s codeStrategy) ValidateAuthorizeCode(_ context.Context, r fosite.Requester, token string) error {
	return s.validate(codePrefix, token, r.GetSession().GetExpiresAt(fosite.AuthorizeCode))
}

// refreshStrategy implements fosite's oauth2.RefreshTokenStrategy.
type refreshStrategy struct{ opaqueTokens }

func (refreshStrategy) RefreshTokenSignature(_ context.Context, token string) string {
	return signature(token)
}

// GenerateRefreshToken derives the successor of a refresh token from it, so that a client which repeats a refresh within the
// grace period, because the answer was lost, gets the same successor: a token has one successor, and a family no forks.
func (s refreshStrategy) GenerateRefreshToken(_ context.Context, r fosite.Requester) (string, string, error) {
	random := secret.Token()
	if a, ok := r.(fosite.AccessRequester); ok && a.GetGrantTypes().ExactOne("refresh_token") {
		if g, err := sessionOf(r); err == nil && g.keep {
			token := r.GetRequestForm().Get("refresh_token")
			return token, signature(token), nil
		}
		random = s.mac("successor", r.GetRequestForm().Get("refresh_token"))
	}
	token, sig := s.mint(refreshPrefix, random)
	return token, sig, nil
}

func (s refreshStrategy) ValidateRefreshToken(_ context.Context, r fosite.Requester, token string) error {
	return s.validate(refreshPrefix, token, r.GetSession().GetExpiresAt(fosite.RefreshToken))
}
