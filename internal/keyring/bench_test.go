package keyring

import (
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// benchRing is a ring whose keys were never stored.
func benchRing(b *testing.B) *Ring {
	b.Helper()
	r := &Ring{signers: map[jose.SignatureAlgorithm]jose.JSONWebKey{}, public: map[string]jose.JSONWebKey{}}
	for _, alg := range Algorithms {
		key, err := generate(alg)
		if err != nil {
			b.Fatal(err)
		}
		r.signers[alg], r.public[key.KeyID] = key, key.Public()
	}
	return r
}

func BenchmarkSign(b *testing.B) {
	r := benchRing(b)
	payload := []byte(`{"iss":"https://acme.example/oidc/v1","sub":"0190b0a0-0000-4000-8000-000000000001","aud":"shop","exp":1700000000}`)
	for _, alg := range Algorithms {
		b.Run(string(alg), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Sign(alg, "JWT", payload); err != nil {
					b.Fatal(err)
				}
			}
		})
		signer, _ := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: r.signers[alg]}, (&jose.SignerOptions{}).WithType("JWT"))
		b.Run(string(alg)+"cached", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				j, err := signer.Sign(payload)
				if err != nil {
					b.Fatal(err)
				}
				j.CompactSerialize()
			}
		})
		b.Run(string(alg)+"new", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				signer, _ = jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: r.signers[alg]}, (&jose.SignerOptions{}).WithType("JWT"))
			}
		})
	}
}
