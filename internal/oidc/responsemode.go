package oidc

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/ory/fosite"

	"parako/internal/settings"
)

// responseMode is how the answer reaches the client (OAuth 2.0 Multiple Response Type Encoding Practices, OAuth 2.0 Form Post
// Response Mode, JARM).
type responseMode string

const (
	modeQuery    responseMode = "query"
	modeFragment responseMode = "fragment"
	modeFormPost responseMode = "form_post"
)

// plain is the mode without its signature, and signed whether there is one.
func (m responseMode) split() (plain responseMode, signed bool) {
	text, signed := strings.CutSuffix(string(m), ".jwt")
	return responseMode(text), signed
}

// servedResponseModes are those of a tenant, in the order discovery shows.
func servedResponseModes(f settings.OIDCFeatures) []string {
	modes := []string{"query", "fragment", "form_post"}
	if f.JWTResponseModes.Enabled {
		modes = append(modes, "jwt", "query.jwt", "fragment.jwt", "form_post.jwt")
	}
	return modes
}

// modeOf decides the mode of a request with the response type. A mode that is not served, or that would put tokens into a
// query, is an error, which goes by the type's own mode.
func modeOf(requested, responseType string, f settings.OIDCFeatures) (responseMode, error) {
	own := modeFragment
	if responseType == "code" || responseType == "none" || responseTypes[responseType] == nil {
		own = modeQuery
	}
	if requested == "" {
		return own, nil
	}
	if !slices.Contains(servedResponseModes(f), requested) {
		return own, fosite.ErrInvalidRequest.WithHint("The response_mode is not supported.")
	}
	if requested == "jwt" {
		return own + ".jwt", nil
	}
	mode := responseMode(requested)
	// JARM lets tokens travel in a query only when they are encrypted (section 2.3.1); we do not.
	if plain, _ := mode.split(); plain == modeQuery && own == modeFragment {
		return own, fosite.ErrInvalidRequest.WithHint("The response_mode query is not allowed for this response_type.")
	}
	return mode, nil
}

// jarmLife is how long a signed answer is valid: long enough for the redirect (JARM section 2.1).
const jarmLife = time.Minute

// respond makes the answer to the client. Every answer names its issuer (RFC 9207).
func (p *Provider) respond(ctx context.Context, r *authRequest, params url.Values) (Answer, error) {
	if state := r.form.Get("state"); state != "" {
		params.Set("state", state)
	}
	plain, signed := r.mode.split()
	if signed {
		response, err := p.signResponse(ctx, r, params)
		if err != nil {
			return Answer{}, fmt.Errorf("sign authorization response: %w", err)
		}
		params = url.Values{"response": {response}}
	} else {
		params.Set("iss", p.Issuer)
	}
	if plain == modeFormPost {
		return Answer{Location: r.redirectURI, Form: params}, nil
	}
	if plain == modeFragment {
		return Answer{Location: r.redirectURI + "#" + params.Encode()}, nil
	}
	return Answer{Location: withQuery(r.redirectURI, params)}, nil
}

// signResponse makes the JWT of JARM (section 2.1), encrypted where the client asks for that.
func (p *Provider) signResponse(ctx context.Context, r *authRequest, params url.Values) (string, error) {
	claims := map[string]any{"iss": p.Issuer, "aud": r.client.ID, "exp": p.deps.Now().Add(jarmLife).Unix()}
	for name := range params {
		claims[name] = params.Get(name)
	}
	alg := r.client.more.AuthorizationAlg
	take(&alg, defaultAlg(r.client))
	token, err := p.sign(jose.SignatureAlgorithm(alg), "JWT", claims)
	if err != nil {
		return "", err
	}
	return p.encryptFor(ctx, r.client, r.client.more.AuthorizationEncryptionAlg, r.client.more.AuthorizationEncryptionEnc, token)
}

// defaultAlg signs what the client has not registered an algorithm for.
func defaultAlg(c client) string {
	if c.fapi() {
		return string(jose.ES256)
	}
	return string(jose.RS256)
}

// encryptFor wraps a signed token for the client, or returns it as it is when the client asks for no encryption. The key is one
// the client published, or comes from its secret (OpenID Connect Core section 10.2).
func (p *Provider) encryptFor(ctx context.Context, c client, alg, enc, token string) (string, error) {
	if alg == "" {
		return token, nil
	}
	recipient := jose.Recipient{Algorithm: jose.KeyAlgorithm(alg)}
	if symmetric(alg) {
		key, err := p.secretKey(c, alg, enc)
		if err != nil {
			return "", err
		}
		recipient.Key = key
	} else {
		key, err := p.encryptionKey(ctx, c.keys(), alg)
		if err != nil {
			return "", fmt.Errorf("find encryption key of client %s: %w", c.ID, err)
		}
		recipient.Key, recipient.KeyID = key.Key, key.KeyID
	}
	encrypter, err := jose.NewEncrypter(jose.ContentEncryption(enc), recipient, (&jose.EncrypterOptions{}).WithContentType("JWT"))
	if err != nil {
		return "", fmt.Errorf("prepare encryption: %w", err)
	}
	jwe, err := encrypter.Encrypt([]byte(token))
	if err != nil {
		return "", fmt.Errorf("encrypt: %w", err)
	}
	return jwe.CompactSerialize()
}

// keySizes are the bytes of key that each way of encrypting needs.
var keySizes = map[string]int{
	string(jose.A128KW): 16, string(jose.A256KW): 32, string(jose.A128GCM): 16, string(jose.A256GCM): 32,
	string(jose.A128CBC_HS256): 32, string(jose.A256CBC_HS512): 64,
}

// secretKey derives a key from the client's secret (OpenID Connect Core section 10.2).
func (p *Provider) secretKey(c client, alg, enc string) ([]byte, error) {
	texts, err := p.secretTexts(c.Client)
	if err != nil {
		return nil, err
	}
	if len(texts) == 0 {
		return nil, errors.New("the client's secret is not known")
	}
	size := keySizes[alg]
	if alg == string(jose.DIRECT) {
		size = keySizes[enc]
	}
	return leftmost(texts[0], size), nil
}

// answerJSON makes the object signed by alg and encrypted as the client asks, for answers that may be JWTs.
func (p *Provider) answerJWT(ctx context.Context, c client, alg, typ, encryptionAlg, encryptionEnc string, claims any) (string, error) {
	take(&alg, defaultAlg(c))
	token, err := p.sign(jose.SignatureAlgorithm(alg), typ, claims)
	if err != nil {
		return "", err
	}
	return p.encryptFor(ctx, c, encryptionAlg, encryptionEnc, token)
}

// object turns a struct into the map of its JSON, to which claims are added.
func object(v any) (map[string]any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var o map[string]any
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	err = d.Decode(&o)
	return o, err
}

// leftmost are the first bytes of the SHA-2 hash of a secret: of SHA-256 up to 32 bytes, of SHA-512 beyond.
func leftmost(text string, size int) []byte {
	if size <= sha256.Size {
		sum := sha256.Sum256([]byte(text))
		return sum[:size]
	}
	sum := sha512.Sum512([]byte(text))
	return sum[:size]
}
