package server_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"parako/internal/keyring"
	"parako/internal/oidc"
	"parako/internal/testkit/app"
)

// keyPair is a key of a client.
type keyPair struct {
	alg     jose.SignatureAlgorithm
	private jose.JSONWebKey
}

func newKey(t *testing.T, alg jose.SignatureAlgorithm) keyPair {
	t.Helper()
	var key crypto.Signer
	var err error
	switch alg {
	case jose.RS256, jose.PS256:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{alg: alg, private: jose.JSONWebKey{Key: key, KeyID: uuid.NewString()}}
}

// set is the key as a client publishes it.
func (k keyPair) set(t *testing.T) json.RawMessage {
	t.Helper()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k.private.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func (k keyPair) thumbprint(t *testing.T) string {
	t.Helper()
	sum, err := k.private.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

// sign makes a JWT of type typ; pairs are laid over claims, and nil leaves a claim out.
func (k keyPair) sign(t *testing.T, typ string, claims map[string]any, pairs ...any) string {
	t.Helper()
	return signWith(t, k.alg, k.private, typ, claims, pairs...)
}

func signWith(t *testing.T, alg jose.SignatureAlgorithm, key any, typ string, claims map[string]any, pairs ...any) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		if claims[name] = pairs[i+1]; pairs[i+1] == nil {
			delete(claims, name)
		}
	}
	options := &jose.SignerOptions{}
	if typ != "" {
		options = options.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// assertion authenticates a client at the tenant by private_key_jwt.
func (p party) assertion(t *testing.T, k keyPair, pairs ...any) string {
	t.Helper()
	return k.sign(t, "JWT", map[string]any{
		"iss": p.client.ID, "sub": p.client.ID, "aud": p.tenant.Issuer, "jti": uuid.NewString(), "iat": time.Now().Unix(),
		"exp": time.Now().Add(time.Minute).Unix(),
	}, pairs...)
}

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// requestObject is the authorization request as a signed request object.
func (p party) requestObject(t *testing.T, k keyPair, pairs ...any) string {
	t.Helper()
	claims := map[string]any{
		"iss": p.client.ID, "aud": p.tenant.Issuer, "iat": time.Now().Unix(), "nbf": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	}
	for name, values := range p.request() {
		claims[name] = values[0]
	}
	return k.sign(t, "oauth-authz-req+jwt", claims, pairs...)
}

// proof is a DPoP proof (RFC 9449 section 4.2) for a call of an endpoint; pairs are laid over its claims.
func (k keyPair) proof(t *testing.T, method, target string, pairs ...any) string {
	t.Helper()
	claims := map[string]any{"jti": uuid.NewString(), "htm": method, "htu": target, "iat": time.Now().Unix()}
	for i := 0; i < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		if claims[name] = pairs[i+1]; pairs[i+1] == nil {
			delete(claims, name)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.alg, Key: k.private.Key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// ath is the hash of an access token in a proof.
func ath(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// verified checks a JWT of the tenant against its published keys and returns the claims.
func (p party) verified(t *testing.T, typ, token string) map[string]any {
	t.Helper()
	keys, err := keyring.Public([]byte(app.Get(t, p.direct, p.tenant.Issuer+"/jwks").Text))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := keys.Verify(token, typ)
	if err != nil {
		t.Fatalf("%s: %v", token, err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// serve answers every path with the document of that path, on loopback.
func serve(t *testing.T, documents map[string]func() string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		document, ok := documents[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if strings.HasSuffix(r.URL.Path, ".jwt") {
			w.Header().Set("Content-Type", "application/oauth-authz-req+jwt")
		} else {
			w.Header().Set("Content-Type", "application/json")
		}
		_, _ = w.Write([]byte(document()))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// send posts a form with headers.
func (p party) send(ctx context.Context, t *testing.T, path string, header http.Header, form url.Values) reply {
	t.Helper()
	r := p.formRequest(ctx, path, form)
	for name, values := range header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	return p.do(t, r)
}

// with is the client changed.
func (p party) with(t *testing.T, change func(*oidc.NewClient)) party {
	t.Helper()
	return p.as(webClient(t, p.App, p.tenant, change))
}

// encrypted makes a JWE around a JWT.
func (party) encrypted(t *testing.T, to jose.Recipient, token string) string {
	t.Helper()
	encrypter, err := jose.NewEncrypter(jose.A128CBC_HS256, to, (&jose.EncrypterOptions{}).WithContentType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	jwe, err := encrypter.Encrypt([]byte(token))
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwe.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// secretKey is the key that comes from a client's secret (OpenID Connect Core section 10.2).
func secretKey(secret string, size int) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:size]
}

// codeAt signs in at an authorization URL of its own and returns the code.
func (p party) codeAt(t *testing.T, target string) string {
	t.Helper()
	got := p.read(t, p.SignIn(t, p.browser, target, p.tenant.Email, app.Password).String())
	if got.Get("code") == "" {
		t.Fatalf("no code: %v", got)
	}
	return got.Get("code")
}

// secretKeyFor is the key of a symmetric algorithm that comes from the client's secret.
func (p party) secretKeyFor(alg, enc string) []byte {
	size := map[string]int{"A128KW": 16, "A256KW": 32, "dirA128GCM": 16, "dirA256CBC-HS512": 64}
	n := size[alg]
	if alg == "dir" {
		n = size[alg+enc]
	}
	if n > sha256.Size {
		sum := sha512.Sum512([]byte(p.client.Secret))
		return sum[:n]
	}
	return secretKey(p.client.Secret, n)
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
