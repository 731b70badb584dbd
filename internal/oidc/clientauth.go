package oidc

import (
	"context"
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

// assertionType is the client_assertion_type of private_key_jwt (RFC 7523 section 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionAlgorithms are what clients may sign assertions with: never a MAC, never none.
var assertionAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA}

const (
	// assertionLife is the longest time an assertion may be valid (checklist K5).
	assertionLife = 5 * time.Minute
	// clockSkew is how far a client's clock may be off.
	clockSkew = 15 * time.Second
)

// credentials are what a request presents to authenticate its client: exactly one method (RFC 6749 section 2.3).
type credentials struct {
	method    string // as in token_endpoint_auth_method
	clientID  string
	secret    string
	assertion string
}

// errClient is the one answer to every failed authentication: it must not tell an unknown client from a wrong secret.
func errClient(cause error) error {
	return fosite.ErrInvalidClient.WithHint("The client is unknown, not active, or did not authenticate as registered.").WithWrap(cause)
}

func presented(r *http.Request, form url.Values) (credentials, error) {
	c := credentials{method: "none", clientID: form.Get("client_id")}
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
		c.method, c.clientID, c.secret = "client_secret_basic", id, pass
	}
	if form.Has("client_secret") {
		methods++
		c.method, c.secret = "client_secret_post", form.Get("client_secret")
	}
	if form.Has("client_assertion") || form.Has("client_assertion_type") {
		methods++
		if form.Get("client_assertion_type") != assertionType {
			return c, fosite.ErrInvalidRequest.WithHint("The client_assertion_type is not supported.")
		}
		c.method, c.assertion = "private_key_jwt", form.Get("client_assertion")
	}
	if methods > 1 {
		return c, fosite.ErrInvalidRequest.WithHint("The request authenticates the client in more than one way.")
	}
	return c, nil
}

// authenticateClient implements fosite.ClientAuthenticationStrategy for client_secret_basic, client_secret_post,
// private_key_jwt and none. A client authenticates with its registered method and no other.
func (p *Provider) authenticateClient(ctx context.Context, r *http.Request, form url.Values) (fosite.Client, error) {
	c, err := presented(r, form)
	if err != nil {
		return nil, err
	}
	var claims jwt.Claims
	if c.method == "private_key_jwt" {
		// Who is speaking is known only from inside the assertion; it counts once the signature has been checked.
		if c.clientID, claims, err = unverifiedIssuer(c); err != nil {
			return nil, errClient(err)
		}
	}
	row, err := p.client(ctx, c.clientID)
	if errors.Is(err, fosite.ErrNotFound) {
		// The same work as for a known client.
		secret.Equal(secret.Digest(c.secret), make([]byte, 32))
		return nil, errClient(err)
	}
	if err != nil {
		return nil, fosite.ErrServerError.WithWrap(err)
	}
	if c.method != row.TokenEndpointAuthMethod {
		return nil, errClient(fmt.Errorf("client %s used %s instead of %s", row.ID, c.method, row.TokenEndpointAuthMethod))
	}
	switch c.method {
	case "client_secret_basic", "client_secret_post":
		if !p.secretMatches(row, c.secret) {
			return nil, errClient(fmt.Errorf("wrong secret for client %s", row.ID))
		}
	case "private_key_jwt":
		if err := p.checkAssertion(ctx, row, c.assertion, claims); err != nil {
			return nil, err
		}
	}
	return client{row}, nil
}

// secretMatches compares in constant time with the secret and, while it lasts, with the one before it.
func (p *Provider) secretMatches(row dbsqlc.Client, presented string) bool {
	digest := secret.Digest(presented)
	current := len(row.SecretDigest) > 0 && secret.Equal(digest, row.SecretDigest)
	previous := len(row.PreviousSecretDigest) > 0 && secret.Equal(digest, row.PreviousSecretDigest) &&
		row.PreviousSecretExpiresAt != nil && p.deps.Now().Before(*row.PreviousSecretExpiresAt)
	return current || previous
}

func unverifiedIssuer(c credentials) (string, jwt.Claims, error) {
	token, err := jwt.ParseSigned(c.assertion, assertionAlgorithms)
	if err != nil {
		return "", jwt.Claims{}, err
	}
	var claims jwt.Claims
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return "", jwt.Claims{}, err
	}
	if claims.Issuer == "" || claims.Issuer != claims.Subject || (c.clientID != "" && c.clientID != claims.Issuer) {
		return "", jwt.Claims{}, errors.New("iss, sub and client_id of the assertion differ")
	}
	return claims.Issuer, claims, nil
}

// checkAssertion verifies a client assertion and uses it up (RFC 7523 section 3).
func (p *Provider) checkAssertion(ctx context.Context, row dbsqlc.Client, assertion string, claims jwt.Claims) error {
	token, err := jwt.ParseSigned(assertion, assertionAlgorithms)
	if err != nil {
		return errClient(err)
	}
	key, err := assertionKey(row.JWKS, token)
	if err != nil {
		return errClient(err)
	}
	if err := token.Claims(key.Key, &claims); err != nil {
		return errClient(err)
	}
	now := p.deps.Now()
	switch {
	case len(claims.Audience) != 1 || (claims.Audience[0] != p.Issuer && claims.Audience[0] != p.URL("/token")):
		// One audience only: an assertion addressed to several servers could be replayed by any of them.
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
	var n int64
	err = p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		n, err = tx.ClientAssertionSpend(ctx, dbsqlc.ClientAssertionSpendParams{
			// The client is part of the key: nobody else can use its jti up.
			ID: secret.Digest(row.ID + "\x00" + claims.ID), ExpiresAt: claims.Expiry.Time().Add(clockSkew),
		})
		return err
	})
	if err != nil {
		return fosite.ErrServerError.WithWrap(err)
	}
	if n == 0 {
		return errClient(errors.New("assertion was used before"))
	}
	return nil
}

// assertionKey picks the client's key by kid or, without one, the only key of the right kind. The algorithm must be the
// key's own when it names one.
func assertionKey(jwks json.RawMessage, token *jwt.JSONWebToken) (jose.JSONWebKey, error) {
	var set jose.JSONWebKeySet
	if len(jwks) == 0 || json.Unmarshal(jwks, &set) != nil || len(token.Headers) != 1 {
		return jose.JSONWebKey{}, errors.New("client has no usable keys")
	}
	header := token.Headers[0]
	fits := slices.DeleteFunc(set.Keys, func(k jose.JSONWebKey) bool {
		return !k.IsPublic() || (header.KeyID != "" && k.KeyID != header.KeyID) || (k.Algorithm != "" && k.Algorithm != header.Algorithm) ||
			(k.Use != "" && k.Use != "sig")
	})
	if len(fits) != 1 {
		return jose.JSONWebKey{}, fmt.Errorf("%d keys of the client fit the assertion", len(fits))
	}
	return fits[0], nil
}
