package oidc

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/ory/fosite"

	"parako/internal/dbsqlc"
	"parako/internal/secret"
	"parako/internal/store"
)

// assertionType is the client_assertion_type of private_key_jwt and client_secret_jwt (RFC 7523 section 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

const (
	// assertionLife is the longest time an assertion may be valid (checklist K5).
	assertionLife = 5 * time.Minute
	// clockSkew is how far a client's clock may be off.
	clockSkew = 15 * time.Second
)

// credentials are what a request presents to authenticate its client: exactly one method (RFC 6749 section 2.3). A
// certificate is presented besides, and counts where the client registered that it does.
type credentials struct {
	method      string // as in token_endpoint_auth_method; authNone also for a certificate alone
	clientID    string
	secret      string
	assertion   string
	certificate *x509.Certificate
}

// errClient is the one answer to every failed authentication: it must not tell an unknown client from a wrong secret.
func errClient(cause error) error {
	return fosite.ErrInvalidClient.WithHint("The client is unknown, not active, or did not authenticate as registered.").WithWrap(cause)
}

// presented reads the credentials of a request.
func presented(r *http.Request, form url.Values) (credentials, error) {
	c := credentials{method: authNone, clientID: form.Get("client_id"), certificate: certificateOf(r)}
	methods := 0
	if id, pass, ok := r.BasicAuth(); ok {
		methods++
		// Both parts are form-encoded before they are base64-encoded (RFC 6749 section 2.3.1).
		id, err1 := url.QueryUnescape(id)
		pass, err2 := url.QueryUnescape(pass)
		if err := errors.Join(err1, err2); err != nil {
			return c, fosite.ErrInvalidRequest.WithHint("The Authorization header is not encoded as RFC 6749 section 2.3.1 asks.")
		}
		if c.clientID != "" && c.clientID != id {
			return c, fosite.ErrInvalidRequest.WithHint("The Authorization header and client_id name different clients.")
		}
		c.method, c.clientID, c.secret = authBasic, id, pass
	}
	if form.Has("client_secret") {
		methods++
		c.method, c.secret = authPost, form.Get("client_secret")
	}
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		methods++
		if form.Get("client_assertion_type") != assertionType {
			return c, fosite.ErrInvalidRequest.WithHint("The client_assertion_type is not supported.")
		}
		c.method, c.assertion = authPrivateKey, form.Get("client_assertion")
	}
	if methods > 1 {
		return c, fosite.ErrInvalidRequest.WithHint("The request authenticates the client in more than one way.")
	}
	return c, nil
}

// authenticateClient implements fosite.ClientAuthenticationStrategy. A client authenticates with its registered method and
// no other.
func (p *Provider) authenticateClient(ctx context.Context, r *http.Request, form url.Values) (fosite.Client, error) {
	c, err := presented(r, form)
	if err != nil {
		return nil, err
	}
	var token *jwt.JSONWebToken
	if c.assertion != "" || c.method == authPrivateKey {
		// Who is speaking is known only from inside the assertion; it counts once the signature has been checked.
		if token, c.clientID, err = unverifiedIssuer(c); err != nil {
			return nil, errClient(err)
		}
		if token.Headers[0].Algorithm == string(jose.HS256) {
			c.method = authSecretJWT
		}
	}
	who, err := p.client(ctx, c.clientID)
	if errors.Is(err, fosite.ErrNotFound) {
		// The same work as for a known client.
		secret.Equal(secret.Digest(c.secret), make([]byte, 32))
		return nil, errClient(err)
	}
	if err != nil {
		return nil, fosite.ErrServerError.WithWrap(err)
	}
	registered := who.TokenEndpointAuthMethod
	if c.method == authNone && c.certificate != nil && (registered == authTLS || registered == authSelfSigned) {
		c.method = registered
	}
	if c.method != registered {
		return nil, errClient(fmt.Errorf("client %s used %s instead of %s", who.ID, c.method, registered))
	}
	if tls := c.method == authTLS || c.method == authSelfSigned; tls && !p.Settings.Features.OIDC.MTLS.Enabled {
		return nil, errClient(fmt.Errorf("client %s used mutual TLS, which the tenant has turned off", who.ID))
	}
	switch c.method {
	case authBasic, authPost:
		if !p.secretMatches(who.Client, c.secret) {
			return nil, errClient(fmt.Errorf("wrong secret for client %s", who.ID))
		}
	case authPrivateKey, authSecretJWT:
		if err := p.checkAssertion(ctx, who, token); err != nil {
			return nil, err
		}
	case authTLS:
		if err := p.issuedCertificate(certificatesOf(r), who.more); err != nil {
			return nil, errClient(fmt.Errorf("client %s: %w", who.ID, err))
		}
	case authSelfSigned:
		if err := p.knownCertificate(ctx, who, c.certificate); err != nil {
			return nil, errClient(fmt.Errorf("client %s: %w", who.ID, err))
		}
	}
	return who, nil
}

// secretMatches compares in constant time with the secret and, while it lasts, with the one before it.
func (p *Provider) secretMatches(row dbsqlc.Client, presented string) bool {
	digest := secret.Digest(presented)
	current := len(row.SecretDigest) > 0 && secret.Equal(digest, row.SecretDigest)
	previous := len(row.PreviousSecretDigest) > 0 && secret.Equal(digest, row.PreviousSecretDigest) && p.previousSecretLives(row)
	return current || previous
}

func (p *Provider) previousSecretLives(row dbsqlc.Client) bool {
	return row.PreviousSecretExpiresAt != nil && p.deps.Now().Before(*row.PreviousSecretExpiresAt)
}

// secretTexts are the secrets that work, for clients whose secret is the key of a MAC.
func (p *Provider) secretTexts(row dbsqlc.Client) ([]string, error) {
	sealed := [][]byte{row.SecretSealed}
	if p.previousSecretLives(row) {
		sealed = append(sealed, row.PreviousSecretSealed)
	}
	var texts []string
	for _, s := range sealed {
		if len(s) == 0 {
			continue
		}
		plain, err := p.sealer.Open("clients", "secret_sealed", row.ID, s)
		if err != nil {
			return nil, fmt.Errorf("open secret of client %s: %w", row.ID, err)
		}
		texts = append(texts, string(plain))
	}
	return texts, nil
}

func unverifiedIssuer(c credentials) (*jwt.JSONWebToken, string, error) {
	token, err := jwt.ParseSigned(c.assertion, append([]jose.SignatureAlgorithm{jose.HS256}, signingAlgorithms...))
	if err != nil {
		return nil, "", err
	}
	var claims jwt.Claims
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return nil, "", err
	}
	if claims.Issuer == "" || claims.Issuer != claims.Subject || (c.clientID != "" && c.clientID != claims.Issuer) {
		return nil, "", errors.New("iss, sub and client_id of the assertion differ")
	}
	return token, claims.Issuer, nil
}

// assertionClaims are the claims of a client assertion.
type assertionClaims struct {
	jwt.Claims

	// audience is the aud as it came: FAPI 2.0 Security Profile section 5.3.2.1 wants a string.
	audience json.RawMessage
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *assertionClaims) UnmarshalJSON(b []byte) error {
	var raw struct {
		Audience json.RawMessage `json:"aud"`
	}
	err := errors.Join(json.Unmarshal(b, &c.Claims), json.Unmarshal(b, &raw))
	c.audience = raw.Audience
	return err
}

// verifyAssertion checks the signature of a client assertion and reads its claims.
func (p *Provider) verifyAssertion(ctx context.Context, who client, token *jwt.JSONWebToken, claims *assertionClaims) error {
	header := token.Headers[0]
	if alg := who.more.TokenEndpointAuthAlg; alg != "" && alg != header.Algorithm {
		return fmt.Errorf("the assertion is signed with %s instead of %s", header.Algorithm, alg)
	}
	if who.fapi() && !slices.Contains(fapiAlgorithms, jose.SignatureAlgorithm(header.Algorithm)) {
		return fmt.Errorf("FAPI 2.0 does not allow %s", header.Algorithm)
	}
	if who.TokenEndpointAuthMethod == authPrivateKey {
		key, err := p.signatureKey(ctx, who.keys(), header)
		if err != nil {
			return err
		}
		return token.Claims(key.Key, claims)
	}
	texts, err := p.secretTexts(who.Client)
	if err != nil {
		return err
	}
	err = errors.New("the client has no secret")
	for _, text := range texts {
		if err = token.Claims([]byte(text), claims); err == nil {
			return nil
		}
	}
	return err
}

// checkAssertion verifies a client assertion and uses it up (RFC 7523 section 3).
func (p *Provider) checkAssertion(ctx context.Context, who client, token *jwt.JSONWebToken) error {
	var claims assertionClaims
	if err := p.verifyAssertion(ctx, who, token, &claims); err != nil {
		return errClient(err)
	}
	now := p.deps.Now()
	switch {
	case !p.assertionIsForUs(who, claims):
		return errClient(errors.New("assertion has another audience"))
	case claims.Expiry == nil || !now.Add(-clockSkew).Before(claims.Expiry.Time()):
		return errClient(errors.New("assertion has expired or never does"))
	case claims.Expiry.Time().After(now.Add(assertionLife + clockSkew)):
		return errClient(errors.New("assertion lives too long"))
	case claims.NotBefore != nil && claims.NotBefore.Time().After(now.Add(clockSkew)):
		return errClient(errors.New("assertion is not valid yet"))
	case claims.IssuedAt != nil && claims.IssuedAt.Time().After(now.Add(clockSkew)):
		return errClient(errors.New("assertion was issued in the future"))
	case claims.ID == "" || len(claims.ID) > 512:
		return errClient(errors.New("assertion has no usable jti"))
	}
	// The client is part of the key: nobody else can use its jti up.
	fresh, err := p.spendOnce(ctx, "assertion", who.ID, claims.ID, claims.Expiry.Time().Add(clockSkew))
	if err != nil {
		return fosite.ErrServerError.WithWrap(err)
	}
	if !fresh {
		return errClient(errors.New("assertion was used before"))
	}
	return nil
}

// assertionIsForUs accepts one audience only: an assertion addressed to several servers could be replayed by any of them. The
// issuer is the audience (RFC 7523bis); outside FAPI the endpoints that older clients name will do.
func (p *Provider) assertionIsForUs(who client, claims assertionClaims) bool {
	aud := claims.Audience
	if len(aud) != 1 || who.fapi() && claims.audience[0] != '"' {
		return false
	}
	return aud[0] == p.Issuer || !who.fapi() && slices.Contains([]string{p.URL("/token"), p.URL("/request")}, aud[0])
}

// spendOnce uses an identifier up that may be used once: by owner, for a purpose, until a moment. false: it was used before.
// The row that says so is in PostgreSQL, so that neither another instance nor the loss of Redis lets a replay through.
func (p *Provider) spendOnce(ctx context.Context, purpose, owner, id string, until time.Time) (bool, error) {
	var n int64
	err := p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		n, err = tx.ClientAssertionSpend(ctx, dbsqlc.ClientAssertionSpendParams{
			ID: secret.Digest(purpose + "\x00" + owner + "\x00" + id), ExpiresAt: until,
		})
		return err
	})
	return n == 1, err
}
