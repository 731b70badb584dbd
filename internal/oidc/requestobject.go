package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/ory/fosite"

	"parako/internal/dbsqlc"
	"parako/internal/ratelimit"
	"parako/internal/secret"
	"parako/internal/store"
)

// pushedPrefix begins the request_uri of a pushed request (RFC 9126 section 2.2).
const pushedPrefix = "urn:ietf:params:oauth:request_uri:"

// flatten turns what the browser brought into the request that counts: the pushed one, or the one inside a request object.
// Nothing that stands beside it is taken over (RFC 9101 section 6.3, RFC 9126 section 4): whoever can change the browser's
// address must not be able to add to what the client pushed or signed. pushed identifies a pushed request.
func (p *Provider) flatten(ctx context.Context, who client, form url.Values) (flat url.Values, pushed []byte, err error) {
	if err := repeated(form); err != nil {
		return nil, nil, err
	}
	f := p.Settings.Features.OIDC
	if uri := form.Get("request_uri"); strings.HasPrefix(uri, pushedPrefix) && f.PushedAuthorizationRequests.Enabled {
		return p.pushedRequest(ctx, who, uri)
	}
	if f.PushedAuthorizationRequests.Required || who.more.RequirePushedRequests || who.fapi() {
		return nil, nil, fosite.ErrInvalidRequest.WithHint("The request must be pushed (RFC 9126).")
	}
	flat, err = p.openRequest(ctx, who, form)
	return flat, nil, err
}

// errPushed reports a pushed request that cannot be answered.
var errPushed = fosite.ErrInvalidRequestURI.WithHint("The pushed request is not known, has expired or was answered already.")

// pushedRequest loads a request that the client pushed. It may be loaded again until a code was issued for it: a person may
// reload the page.
func (p *Provider) pushedRequest(ctx context.Context, who client, uri string) (url.Values, []byte, error) {
	id := secret.Digest(uri)
	var row dbsqlc.PushedRequest
	err := p.askTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		row, err = tx.PushedRequestByID(ctx, dbsqlc.PushedRequestByIDParams{TenantID: tx.Tenant(), ID: id, ClientID: who.ID})
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, errPushed
	}
	if err != nil {
		return nil, nil, err
	}
	form, err := url.ParseQuery(row.Request)
	return form, id, err
}

// openRequest replaces the form by the request object in it, if there is one (RFC 9101, OpenID Connect Core section 6).
func (p *Provider) openRequest(ctx context.Context, who client, form url.Values) (url.Values, error) {
	f := p.Settings.Features.OIDC
	byValue, byReference := form.Get("request") != "", form.Get("request_uri") != ""
	switch {
	case byValue && !f.RequestObjects.Enabled:
		return nil, fosite.ErrRequestNotSupported
	case byReference && !f.RequestURI.Enabled:
		return nil, fosite.ErrRequestURINotSupported
	case byValue && byReference:
		return nil, fosite.ErrInvalidRequest.WithHint("The parameters request and request_uri exclude each other.")
	case byValue:
		return p.requestObject(ctx, who, form, form.Get("request"))
	case byReference:
		text, err := p.fetchRequest(ctx, who, form.Get("request_uri"))
		if err != nil {
			return nil, err
		}
		return p.requestObject(ctx, who, form, text)
	case who.more.RequireSignedRequestObject:
		return nil, fosite.ErrInvalidRequest.WithHint("The client must send a signed request object (RFC 9101).")
	}
	return form, nil
}

// fetchRequest gets a request object from an address that the client registered, byte for byte apart from the fragment
// (OpenID Connect Core section 6.2).
func (p *Provider) fetchRequest(ctx context.Context, who client, uri string) (string, error) {
	bare, _, _ := strings.Cut(uri, "#")
	if !slices.ContainsFunc(who.more.RequestURIs, func(registered string) bool {
		base, _, _ := strings.Cut(registered, "#")
		return base == bare
	}) {
		return "", fosite.ErrInvalidRequestURI.WithHint("The request_uri is not registered for the client.")
	}
	defer ratelimit.StepOut(ctx)()
	answer, err := p.deps.Outbound.Get(ctx, bare, "application/oauth-authz-req+jwt, application/jwt")
	if err != nil {
		return "", fosite.ErrInvalidRequestURI.WithHint("The request object cannot be had from its address.").WithWrap(err)
	}
	return strings.TrimSpace(string(answer.Body)), nil
}

// errRequestObject refuses a request object (RFC 9101 section 7).
func errRequestObject(hint string, cause error) error {
	return fosite.ErrInvalidRequestObject.WithHint(hint).WithWrap(cause)
}

const (
	// requestLife is the longest time a request object may be valid, and requestAge how old it may be.
	requestLife = time.Hour
	requestAge  = time.Hour
)

// requestObject opens a request object: decrypts it, verifies who made it, for whom and when, and returns what it asks for.
func (p *Provider) requestObject(ctx context.Context, who client, outer url.Values, text string) (url.Values, error) {
	signed, err := p.decryptRequest(who, text)
	if err != nil {
		return nil, errRequestObject("It cannot be decrypted.", err)
	}
	token, err := jwt.ParseSigned(signed, signingAlgorithms)
	if err != nil {
		return nil, errRequestObject("It is not a JWT signed with RS256, PS256, ES256 or EdDSA.", err)
	}
	header := token.Headers[0]
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); typ != "" && !strings.EqualFold(typ, "JWT") && !strings.EqualFold(typ, "oauth-authz-req+jwt") {
		return nil, errRequestObject("Its typ says that it is something else.", nil)
	}
	if alg := who.more.RequestObjectAlg; alg != "" && alg != header.Algorithm || who.fapi() && !slices.Contains(fapiAlgorithms, jose.SignatureAlgorithm(header.Algorithm)) {
		return nil, errRequestObject("It is signed with another algorithm than the client registered.", nil)
	}
	key, err := p.signatureKey(ctx, who.keys(), header)
	if err != nil {
		return nil, errRequestObject("No key of the client fits its signature.", err)
	}
	var claims jwt.Claims
	var params map[string]json.RawMessage
	if err := token.Claims(key.Key, &claims, &params); err != nil {
		return nil, errRequestObject("Its signature does not hold.", err)
	}
	if err := p.checkRequestClaims(who, claims, params); err != nil {
		return nil, err
	}
	form, err := formOf(params)
	if err != nil {
		return nil, err
	}
	if form.Get("client_id") != outer.Get("client_id") && form.Has("client_id") {
		return nil, errRequestObject("Its client_id is not that of the request.", nil)
	}
	form.Set("client_id", who.ID)
	return form, nil
}

// decryptRequest opens the outer layer of an encrypted request object.
func (p *Provider) decryptRequest(who client, text string) (string, error) {
	if strings.Count(text, ".") != 4 {
		if who.more.RequestObjectEncryptionAlg != "" {
			return "", errors.New("the client registered to encrypt its request objects")
		}
		return text, nil
	}
	if !p.Settings.Features.OIDC.Encryption.Enabled {
		return "", errors.New("encryption is not available")
	}
	if plain, err := p.keys.Decrypt(text); err == nil {
		return string(plain), nil
	}
	jwe, err := jose.ParseEncryptedCompact(text, []jose.KeyAlgorithm{jose.DIRECT, jose.A128KW, jose.A256KW}, encryptions)
	if err != nil {
		return "", err
	}
	enc, _ := jwe.Header.ExtraHeaders["enc"].(string)
	key, err := p.secretKey(who, jwe.Header.Algorithm, enc)
	if err != nil {
		return "", err
	}
	plain, err := jwe.Decrypt(key)
	return string(plain), err
}

// checkRequestClaims checks who made a request object, for whom and when (RFC 9101 section 4; FAPI 2.0 Message Signing section
// 5.3.1 for clients of that profile).
func (p *Provider) checkRequestClaims(who client, claims jwt.Claims, params map[string]json.RawMessage) error {
	now := p.deps.Now()
	switch {
	case claims.Issuer != "" && claims.Issuer != who.ID:
		return errRequestObject("Its iss is not the client.", nil)
	case !slices.Contains(claims.Audience, p.Issuer):
		return errRequestObject("Its aud is not this issuer.", nil)
	case claims.Expiry != nil && !now.Add(-clockSkew).Before(claims.Expiry.Time()):
		return errRequestObject("It has expired.", nil)
	case claims.NotBefore != nil && claims.NotBefore.Time().After(now.Add(clockSkew)):
		return errRequestObject("It is not valid yet.", nil)
	case claims.IssuedAt != nil && (claims.IssuedAt.Time().After(now.Add(clockSkew)) || now.Sub(claims.IssuedAt.Time()) > requestAge):
		return errRequestObject("Its iat is not the present time.", nil)
	case claims.Expiry != nil && claims.Expiry.Time().After(now.Add(requestLife+clockSkew)):
		return errRequestObject("It lives too long.", nil)
	case params["request"] != nil || params["request_uri"] != nil:
		return errRequestObject("A request object cannot hold another.", nil)
	case params["sub"] != nil && claims.Subject == who.ID:
		// It could pass for a client assertion elsewhere (RFC 9101 section 10.8).
		return errRequestObject("Its sub must not be the client.", nil)
	}
	if !who.fapi() {
		return nil
	}
	switch {
	case claims.Expiry == nil || claims.NotBefore == nil:
		return errRequestObject("FAPI 2.0 needs exp and nbf.", nil)
	case now.Sub(claims.NotBefore.Time()) > requestAge+clockSkew:
		return errRequestObject("Its nbf is too long ago.", nil)
	}
	return nil
}

// claimsOfJWT are the members of a request object that are not parameters.
var claimsOfJWT = []string{"iss", "aud", "exp", "nbf", "iat", "jti", "sub"}

// formOf turns the members of a request object into parameters: texts as they are, numbers and booleans in their JSON spelling,
// objects as JSON (RFC 9101 section 4, OpenID Connect Core section 6.1), lists of texts as a repeated parameter.
func formOf(params map[string]json.RawMessage) (url.Values, error) {
	form := url.Values{}
	for name, raw := range params {
		if slices.Contains(claimsOfJWT, name) {
			continue
		}
		var text string
		var list []string
		switch {
		case len(raw) == 0 || string(raw) == "null":
		case raw[0] == '"':
			if err := json.Unmarshal(raw, &text); err != nil {
				return nil, errRequestObject("A member is not valid.", err)
			}
			form.Set(name, text)
		case raw[0] == '[' && name == "resource":
			if err := json.Unmarshal(raw, &list); err != nil {
				return nil, errRequestObject("The resource is not a list of texts.", err)
			}
			form[name] = list
		default:
			form.Set(name, string(raw))
		}
	}
	return form, nil
}
