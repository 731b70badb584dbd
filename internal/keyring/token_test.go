package keyring

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

const claims = `{"iss":"https://acme.example/oidc/v1","sub":"0190b0a0-0000-4000-8000-000000000001","aud":"shop","exp":1700000000}`

// newRing is a ring whose keys were never stored.
func newRing(tb testing.TB) *Ring {
	tb.Helper()
	r := &Ring{signers: map[string]jose.JSONWebKey{}, public: map[string]jose.JSONWebKey{}}
	for _, alg := range everyones {
		key, err := generate(string(alg))
		if err != nil {
			tb.Fatal(err)
		}
		r.signers[string(alg)], r.public[key.KeyID] = key, key.Public()
	}
	return r
}

func sign(tb testing.TB, r *Ring, alg jose.SignatureAlgorithm, typ string) string {
	tb.Helper()
	token, err := r.Sign(alg, typ, []byte(claims))
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

var b64 = base64.RawURLEncoding

// forge makes a token with the header, whatever it says, and a true signature of key by alg.
func forge(tb testing.TB, key any, alg jose.SignatureAlgorithm, header string) string {
	tb.Helper()
	input := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(claims))
	opts := &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{}}
	if err := json.Unmarshal([]byte(header), &opts.ExtraHeaders); err != nil {
		tb.Fatal(err)
	}
	delete(opts.ExtraHeaders, "alg")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		tb.Fatal(err)
	}
	jws, err := signer.Sign([]byte(claims))
	if err != nil {
		tb.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		tb.Fatal(err)
	}
	if !strings.HasPrefix(token, input+".") {
		tb.Fatalf("header %s does not come out as it went in", header)
	}
	return token
}

func header(fields map[string]any) string {
	text, _ := json.Marshal(fields) // sorted, as go-jose writes it
	return string(text)
}

func TestSignThenVerify(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	for _, alg := range everyones {
		for _, typ := range []string{"JWT", "at+jwt"} {
			token := sign(t, ring, alg, typ)
			payload, err := ring.Verify(token, typ)
			if err != nil || string(payload) != claims {
				t.Errorf("%s %s: Verify = %s, %v", alg, typ, payload, err)
			}
			first, _, _ := strings.Cut(token, ".")
			got, err := b64.DecodeString(first)
			if err != nil {
				t.Fatal(err)
			}
			want := header(map[string]any{"alg": alg, "kid": ring.signers[string(alg)].KeyID, "typ": typ})
			if diff := cmp.Diff(want, string(got)); diff != "" {
				t.Errorf("%s header mismatch (-want +got)\n%s", alg, diff)
			}
		}
	}
}

func TestSignRefusesAlgorithmsWithoutASigner(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	delete(ring.signers, string(ES256)) // its key is only published
	for _, alg := range []jose.SignatureAlgorithm{ES256, jose.PS256, jose.ES384, jose.HS256, "none", ""} {
		if token, err := ring.Sign(alg, "JWT", []byte(claims)); err == nil || token != "" {
			t.Errorf("Sign(%q) = %q, %v, want an error", alg, token, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	ring, foreign := newRing(t), newRing(t)
	kid := func(alg jose.SignatureAlgorithm) string { return ring.signers[string(alg)].KeyID }
	own := func(alg jose.SignatureAlgorithm) any { return ring.signers[string(alg)].Key }
	theirs := func(alg jose.SignatureAlgorithm) any { return foreign.signers[string(alg)].Key }
	plain := func(alg jose.SignatureAlgorithm) map[string]any {
		return map[string]any{"alg": alg, "kid": kid(alg), "typ": "JWT"}
	}
	with := func(fields map[string]any, name string, value any) string {
		fields[name] = value
		return header(fields)
	}
	without := func(fields map[string]any, name string) string {
		delete(fields, name)
		return header(fields)
	}
	unsigned := func(alg string) string {
		h := header(map[string]any{"alg": alg, "kid": kid(RS256), "typ": "JWT"})
		return b64.EncodeToString([]byte(h)) + "." + b64.EncodeToString([]byte(claims)) + "."
	}
	hmacOf := func(secret []byte) string {
		h := header(map[string]any{"alg": "HS256", "kid": kid(RS256), "typ": "JWT"})
		input := b64.EncodeToString([]byte(h)) + "." + b64.EncodeToString([]byte(claims))
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(input))
		return input + "." + b64.EncodeToString(mac.Sum(nil))
	}
	rsaJWK := ring.public[kid(RS256)]
	der, err := x509.MarshalPKIXPublicKey(rsaJWK.Key)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := rsaJWK.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	good := sign(t, ring, EdDSA, "JWT")
	parts := strings.Split(good, ".")
	swap := func(i int, part string) string {
		changed := append([]string{}, parts...)
		changed[i] = part
		return strings.Join(changed, ".")
	}
	ecdsaParts := strings.Split(sign(t, ring, ES256, "JWT"), ".")
	general, err := json.Marshal(map[string]any{
		"payload": parts[1], "signatures": []any{map[string]any{"protected": parts[0], "signature": parts[2]}},
	})
	if err != nil {
		t.Fatal(err)
	}

	tests := map[string]string{
		"another tenant's token":                           sign(t, foreign, RS256, "JWT"),
		"another tenant's key under our kid, RS256":        forge(t, theirs(RS256), RS256, header(plain(RS256))),
		"another tenant's key under our kid, ES256":        forge(t, theirs(ES256), ES256, header(plain(ES256))),
		"another tenant's key under our kid, EdDSA":        forge(t, theirs(EdDSA), EdDSA, header(plain(EdDSA))),
		"an unknown kid":                                   forge(t, own(ES256), ES256, with(plain(ES256), "kid", "unknown")),
		"an empty kid":                                     forge(t, own(ES256), ES256, with(plain(ES256), "kid", "")),
		"no kid":                                           forge(t, own(ES256), ES256, without(plain(ES256), "kid")),
		"no algorithm, that is, none":                      unsigned("none"),
		"none in another spelling":                         unsigned("nOnE"),
		"an empty algorithm":                               unsigned(""),
		"an algorithm without its signature":               unsigned("RS256"),
		"the public key as an HMAC secret, PEM":            hmacOf(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"the public key as an HMAC secret, DER":            hmacOf(der),
		"the public key as an HMAC secret, JWK":            hmacOf(jwk),
		"an algorithm for our RSA key that is not ours":    forge(t, own(RS256), jose.PS256, with(plain(RS256), "alg", "PS256")),
		"a larger hash for our RSA key":                    forge(t, own(RS256), jose.RS512, with(plain(RS256), "alg", "RS512")),
		"the kid of a key of another algorithm":            forge(t, own(ES256), ES256, with(plain(ES256), "kid", kid(RS256))),
		"another type":                                     sign(t, ring, RS256, "at+jwt"),
		"no type":                                          forge(t, own(RS256), RS256, without(plain(RS256), "typ")),
		"a type in another case":                           forge(t, own(RS256), RS256, with(plain(RS256), "typ", "jwt")),
		"a key brought along (jwk)":                        forge(t, theirs(ES256), ES256, with(plain(ES256), "jwk", publicHalf(foreign.signers[string(ES256)]))),
		"a key brought along under no kid":                 forge(t, theirs(ES256), ES256, without(map[string]any{"alg": ES256, "typ": "JWT", "jwk": publicHalf(foreign.signers[string(ES256)])}, "kid")),
		"the address of a key (jku)":                       forge(t, theirs(ES256), ES256, with(plain(ES256), "jku", "https://evil.example/jwks")),
		"the address of a certificate (x5u)":               forge(t, theirs(ES256), ES256, with(plain(ES256), "x5u", "https://evil.example/cert")),
		"a critical header nobody knows (RFC 7515 4.1.11)": forge(t, own(ES256), ES256, with(map[string]any{"alg": ES256, "kid": kid(ES256), "typ": "JWT", "exp": 1}, "crit", []string{"exp"})),
		"another payload":                                  swap(1, b64.EncodeToString([]byte(strings.Replace(claims, "0001", "0002", 1)))),
		"another header":                                   swap(0, b64.EncodeToString([]byte(strings.Replace(header(plain(EdDSA)), "JWT", "jwt", 1)))),
		"the signature of another token":                   swap(2, strings.Split(forge(t, own(EdDSA), EdDSA, with(plain(EdDSA), "typ", "x")), ".")[2]),
		"no signature":                                     swap(2, ""),
		"a signature cut short":                            swap(2, parts[2][:len(parts[2])-4]),
		"a signature of zeros (CVE-2022-21449)":            strings.Join([]string{ecdsaParts[0], ecdsaParts[1], b64.EncodeToString(make([]byte, 64))}, "."),
		"a line break inside":                              swap(1, parts[1][:8]+"\n"+parts[1][8:]),
		"a line break behind":                              good + "\n",
		"padding":                                          good + "==",
		"stray bits in the last character":                 good[:len(good)-1] + string(good[len(good)-1]+1),
		"a fourth part":                                    good + ".",
		"two parts":                                        parts[0] + "." + parts[1],
		"the JSON serialisation":                           string(general),
		"nothing":                                          "",
		"dots":                                             "..",
		"an opaque token":                                  "zK3m0Yd7w2Jw9dVd0p6cA0m9e8V3s4Y5aB6cD7eF8gH",
	}
	for name, token := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if payload, err := ring.Verify(token, "JWT"); !errors.Is(err, ErrInvalid) || payload != nil {
				t.Errorf("Verify = %s, %v, want %v", payload, err, ErrInvalid)
			}
		})
	}
	// The forgeries fail for what is wrong with them and not because they are forged.
	for _, alg := range everyones {
		if _, err := ring.Verify(forge(t, own(alg), alg, header(plain(alg))), "JWT"); err != nil {
			t.Errorf("Verify of a true %s token = %v", alg, err)
		}
	}
}

// Every single character of a token counts.
func TestVerifyRefusesAnyChangedCharacter(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	for _, alg := range []jose.SignatureAlgorithm{ES256, EdDSA} {
		token := sign(t, ring, alg, "JWT")
		for i := range token {
			for _, other := range []byte{token[i] ^ 1, token[i] + 1, 'A', '.', '='} {
				changed := []byte(token)
				if changed[i] = other; string(changed) == token {
					continue
				}
				if _, err := ring.Verify(string(changed), "JWT"); err == nil {
					t.Errorf("%s: character %d changed from %q to %q, and Verify accepts it", alg, i, token[i], other)
				}
			}
		}
	}
}

// FuzzVerify replaces a part of a token that Sign made, or all of it: whatever Verify accepts, Sign has signed. (The text
// of an ECDSA signature is not compared: of each there are two.)
func FuzzVerify(f *testing.F) {
	ring, foreign := newRing(f), newRing(f)
	signed := map[string]bool{}
	var tokens []string
	for _, alg := range everyones {
		token := sign(f, ring, alg, "JWT")
		tokens = append(tokens, token)
		signed[token[:strings.LastIndexByte(token, '.')]] = true
		f.Add(uint8(len(tokens)-1), 0, 0, "")
		f.Add(uint8(len(tokens)-1), 0, len(token), sign(f, foreign, alg, "JWT"))
		f.Add(uint8(len(tokens)-1), len(token), 0, "=")
		f.Add(uint8(len(tokens)-1), len(token)/2, 1, "\n")
		f.Add(uint8(len(tokens)-1), len(token)-1, 1, "A")
	}
	f.Fuzz(func(t *testing.T, which uint8, at, cut int, with string) {
		token := tokens[int(which)%len(tokens)]
		at = min(max(at, 0), len(token))
		end := at + min(max(cut, 0), len(token)-at)
		changed := token[:at] + with + token[end:]
		payload, err := ring.Verify(changed, "JWT")
		if err != nil {
			return
		}
		if !signed[changed[:strings.LastIndexByte(changed, '.')]] || !bytes.Equal(payload, []byte(claims)) {
			t.Errorf("Verify accepts %q, which Sign did not make: %s", changed, payload)
		}
	})
}

// publicHalf is a public key as the fields of a header, in the order in which header writes them.
func publicHalf(key jose.JSONWebKey) map[string]any {
	public := key.Public()
	text, _ := public.MarshalJSON()
	var fields map[string]any
	_ = json.Unmarshal(text, &fields)
	return fields
}
