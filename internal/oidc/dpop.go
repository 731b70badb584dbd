package oidc

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/labstack/echo/v4"
	"github.com/ory/fosite"

	"parako/internal/secret"
)

// Errors of DPoP (RFC 9449 sections 5, 7.1 and 8).
var (
	errProof = &fosite.RFC6749Error{
		ErrorField: "invalid_dpop_proof", DescriptionField: "The DPoP proof is not valid.", CodeField: http.StatusBadRequest,
	}
	errProofNonce = &fosite.RFC6749Error{
		ErrorField: "use_dpop_nonce", DescriptionField: "The DPoP proof must carry the nonce of the DPoP-Nonce header.", CodeField: http.StatusBadRequest,
	}
)

const (
	// proofPast is how old a proof may be; with a nonce of ours in it the client's clock does not matter so much.
	proofPast      = 60 * time.Second
	proofPastNonce = 5 * time.Minute
	// nonceWindow is how long a nonce is given out; it is taken for one window more.
	nonceWindow = 2 * time.Minute
)

// proofClaims are the claims of a proof (section 4.2).
type proofClaims struct {
	ID         string `json:"jti"`
	Method     string `json:"htm"`
	URL        string `json:"htu"`
	IssuedAt   *int64 `json:"iat"`
	TokenHash  string `json:"ath"`
	Nonce      string `json:"nonce"`
	thumbprint string
}

// proofKey checks the DPoP header of a request and returns the thumbprint of the key it proves; empty: there is no header. target
// is the endpoint's address, token the access token that is presented with the proof, if one is. A proof is used up by this.
func (p *Provider) proofKey(ctx context.Context, r *http.Request, target, token string) (string, error) {
	headers := r.Header.Values("DPoP")
	if len(headers) == 0 || !p.Settings.Features.OIDC.DPoP.Enabled {
		return "", nil
	}
	if len(headers) > 1 {
		return "", errProof.WithHint("The DPoP header is sent more than once.")
	}
	proof, err := parseProof(headers[0])
	if err != nil {
		return "", errProof.WithHint("It is a JWT of type dpop+jwt with an asymmetric signature and the public key in its header.").WithWrap(err)
	}
	if err := p.checkProof(proof, r.Method, target, token); err != nil {
		return "", err
	}
	fresh, err := p.spendOnce(ctx, "dpop", proof.thumbprint, proof.ID, p.deps.Now().Add(proofPastNonce+clockSkew))
	if err != nil {
		return "", fosite.ErrServerError.WithWrap(err)
	}
	if !fresh {
		return "", errProof.WithHint("It was used before.")
	}
	return proof.thumbprint, nil
}

// parseProof checks the signature with the key in the header (section 4.3).
func parseProof(text string) (proofClaims, error) {
	var claims proofClaims
	jws, err := jose.ParseSignedCompact(text, signingAlgorithms)
	if err != nil {
		return claims, err
	}
	header := jws.Signatures[0].Protected
	key := header.JSONWebKey
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); typ != "dpop+jwt" || key == nil {
		return claims, errors.New("the header lacks typ or jwk")
	}
	if !key.IsPublic() || !key.Valid() || !keyFits(*key, header.Algorithm) {
		return claims, errors.New("the key does not fit")
	}
	payload, err := jws.Verify(key.Key)
	if err != nil {
		return claims, err
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return claims, err
	}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	claims.thumbprint = base64.RawURLEncoding.EncodeToString(thumbprint)
	return claims, err
}

func (p *Provider) checkProof(proof proofClaims, method, target, token string) error {
	now := p.deps.Now()
	past := proofPast
	switch {
	case proof.Nonce != "" && !p.nonceIsOurs(proof.Nonce), proof.Nonce == "" && p.Settings.Features.OIDC.DPoP.RequireNonce:
		return errProofNonce
	case proof.Nonce != "":
		past = proofPastNonce
	}
	switch {
	case proof.ID == "" || len(proof.ID) > 512:
		return errProof.WithHint("It has no usable jti.")
	case proof.Method != method:
		return errProof.WithHint("The htm is not the method of the request.")
	case !sameEndpoint(proof.URL, target):
		return errProof.WithHint("The htu is not the URL of the endpoint.")
	case proof.IssuedAt == nil:
		return errProof.WithHint("It has no iat.")
	}
	issued := time.Unix(*proof.IssuedAt, 0)
	if issued.After(now.Add(clockSkew)) || issued.Before(now.Add(-past)) {
		return errProof.WithHint("The iat is not the present time.")
	}
	if token != "" && !secret.Equal([]byte(proof.TokenHash), []byte(tokenHash(token))) {
		return errProof.WithHint("The ath is not the hash of the access token.")
	}
	return nil
}

// tokenHash is the ath of an access token.
func tokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// sameEndpoint compares without query and fragment, and scheme and host without regard to case (section 4.3 item 9).
func sameEndpoint(presented, target string) bool {
	got, err1 := url.Parse(presented)
	want, err2 := url.Parse(target)
	if err1 != nil || err2 != nil {
		return false
	}
	return strings.EqualFold(got.Scheme, want.Scheme) && strings.EqualFold(authority(got), authority(want)) && got.EscapedPath() == want.EscapedPath() && got.User == nil
}

// authority is the host and the port, without a port that the scheme implies.
func authority(u *url.URL) string {
	if port := u.Port(); port == "443" && strings.EqualFold(u.Scheme, "https") || port == "80" && strings.EqualFold(u.Scheme, "http") {
		return u.Hostname()
	}
	return u.Host
}

// nonce is what proofs should carry now (section 8): the number of the window and its MAC, so that no instance has to remember
// what another gave out.
func (p *Provider) nonce() string {
	return p.nonceOf(p.deps.Now().Unix() / int64(nonceWindow/time.Second))
}

func (p *Provider) nonceOf(window int64) string {
	text := binary.BigEndian.AppendUint64(nil, uint64(window))
	mac := hmac.New(sha256.New, p.nonces)
	mac.Write(text)
	return base64.RawURLEncoding.EncodeToString(append(text, mac.Sum(nil)[:16]...))
}

func (p *Provider) nonceIsOurs(nonce string) bool {
	now := p.deps.Now().Unix() / int64(nonceWindow/time.Second)
	return secret.Equal([]byte(nonce), []byte(p.nonceOf(now))) || secret.Equal([]byte(nonce), []byte(p.nonceOf(now-1)))
}

// offerNonce tells a client that uses DPoP which nonce to use next.
func (p *Provider) offerNonce(c echo.Context) {
	if c.Request().Header.Get("DPoP") != "" && p.Settings.Features.OIDC.DPoP.Enabled {
		c.Response().Header().Set("DPoP-Nonce", p.nonce())
	}
}

// confirmation is the key or certificate a token is bound to (RFC 7800, RFC 9449 section 6.1, RFC 8705 section 3.1). The zero
// value binds to nothing.
type confirmation struct {
	JKT string `json:"jkt,omitempty"`
	X5T string `json:"x5t#S256,omitempty"`
}

func (c confirmation) bound() bool { return c != confirmation{} }

// document is the cnf claim; nil: none.
func (c confirmation) document() json.RawMessage {
	if !c.bound() {
		return nil
	}
	text, _ := json.Marshal(c) // Two strings never fail.
	return text
}

func storedConfirmation(document json.RawMessage) (confirmation, error) {
	var c confirmation
	if len(document) == 0 {
		return c, nil
	}
	err := json.Unmarshal(document, &c)
	return c, err
}

// tokenType is the token_type of tokens that are bound so (RFC 9449 section 5).
func (c confirmation) tokenType() string {
	if c.JKT != "" {
		return "DPoP"
	}
	return "Bearer"
}

// confirm decides what the tokens of a request are bound to, once its client is known: the key of the DPoP proof that came with
// it, and the certificate where the client wants that.
func (p *Provider) confirm(ctx context.Context, g *grantSession) error {
	g.cnf = confirmation{JKT: g.proof}
	if g.client.more.DPoPBound && g.proof == "" {
		return errProof.WithHint("This client must send one.")
	}
	if !g.client.more.TLSBound {
		return nil
	}
	if !p.Settings.Features.OIDC.MTLS.Enabled {
		return fosite.ErrInvalidRequest.WithHint("The client's tokens are bound to its certificate, and mutual TLS is turned off.")
	}
	r, ok := ctx.Value(fosite.RequestContextKey).(*http.Request)
	if !ok {
		return errors.New("the request is not in its context")
	}
	cert := certificateOf(r)
	if cert == nil {
		return fosite.ErrInvalidRequest.WithHint("The client must present its certificate.")
	}
	g.cnf.X5T = certificateThumbprint(cert)
	return nil
}
