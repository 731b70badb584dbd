// Package keyring owns a tenant's signing keys: one signer per algorithm, made when the tenant is first used, sealed with
// the tenant's data key at rest, and published as a JSON Web Key Set.
//
// It refuses to sign with a key that is only published, to verify with an algorithm other than the key's own, and to let a
// private key out. A [Ring] is an immutable snapshot. Start reading at [Open].
package keyring

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/tenant"
)

// The algorithms every tenant has a key for. RS256 is what every client understands (OpenID Connect Core section 15.1).
const (
	RS256 = jose.RS256
	ES256 = jose.ES256
	EdDSA = jose.EdDSA
)

// Algorithms lists them, in the order discovery shows.
var Algorithms = []jose.SignatureAlgorithm{RS256, ES256, EdDSA}

const rsaBits = 2048

// ErrInvalid reports a signature that no key of the tenant made, or that must not be trusted. It says no more on purpose.
var ErrInvalid = errors.New("token signature is not valid")

// Ring is the keys of one tenant as they were when it was opened. It is safe for concurrent use.
type Ring struct {
	signers map[jose.SignatureAlgorithm]jose.JSONWebKey // private, with kid
	public  map[string]jose.JSONWebKey                  // by kid
	jwks    []byte
}

// Open loads the ring of a tenant, making what is missing: the data key, and a key for every algorithm without one. Of two
// instances that do so at once, one wins per algorithm and both use its key.
func Open(ctx context.Context, s *store.Store, vault tenant.Vault, id uuid.UUID) (*Ring, error) {
	ring, missing, err := load(ctx, s, vault, id)
	if err != nil || len(missing) == 0 {
		return ring, err
	}
	// Outside a transaction: an RSA key takes a tenth of a second to find.
	fresh := make([]jose.JSONWebKey, len(missing))
	for i, alg := range missing {
		if fresh[i], err = generate(alg); err != nil {
			return nil, fmt.Errorf("generate %s key: %w", alg, err)
		}
	}
	err = s.InTenant(ctx, id, func(ctx context.Context, tx *store.Tx) error {
		sealer, err := vault.Sealer(ctx, tx)
		if err != nil {
			return err
		}
		for _, key := range fresh {
			if err := insert(ctx, tx, sealer, key); err != nil {
				return fmt.Errorf("store %s key: %w", key.Algorithm, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	ring, missing, err = load(ctx, s, vault, id)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("no signing key for %v", missing)
	}
	return ring, err
}

func load(ctx context.Context, s *store.Store, vault tenant.Vault, id uuid.UUID) (*Ring, []jose.SignatureAlgorithm, error) {
	ring := &Ring{signers: map[jose.SignatureAlgorithm]jose.JSONWebKey{}, public: map[string]jose.JSONWebKey{}}
	var set jose.JSONWebKeySet
	err := s.InTenant(ctx, id, func(ctx context.Context, tx *store.Tx) error {
		rows, err := tx.SigningKeyList(ctx, id)
		if err != nil {
			return err
		}
		sealer, err := vault.Sealer(ctx, tx)
		if err != nil {
			return err
		}
		for _, r := range rows {
			var pub jose.JSONWebKey
			if err := json.Unmarshal(r.PublicJWK, &pub); err != nil {
				return fmt.Errorf("parse public key %s: %w", r.Kid, err)
			}
			ring.public[r.Kid] = pub
			set.Keys = append(set.Keys, pub)
			if r.Status != "active" || !r.Promoted {
				continue
			}
			if ring.signers[jose.SignatureAlgorithm(r.Alg)], err = unseal(sealer, r); err != nil {
				return fmt.Errorf("open signing key %s: %w", r.Kid, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("load signing keys: %w", err)
	}
	if ring.jwks, err = json.Marshal(set); err != nil {
		return nil, nil, err
	}
	var missing []jose.SignatureAlgorithm
	for _, alg := range Algorithms {
		if _, ok := ring.signers[alg]; !ok {
			missing = append(missing, alg)
		}
	}
	return ring, missing, nil
}

func generate(alg jose.SignatureAlgorithm) (jose.JSONWebKey, error) {
	var private crypto.PrivateKey
	var err error
	switch alg {
	case RS256:
		private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = errors.New("algorithm is not supported")
	}
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	key := jose.JSONWebKey{Key: private, Algorithm: string(alg), Use: "sig"}
	// The thumbprint (RFC 7638) makes two keys with one kid impossible within a tenant.
	thumb, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	key.KeyID = base64.RawURLEncoding.EncodeToString(thumb)
	return key, nil
}

func insert(ctx context.Context, tx *store.Tx, sealer *secret.Sealer, key jose.JSONWebKey) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	public, err := key.Public().MarshalJSON()
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key.Key)
	if err != nil {
		return err
	}
	sealed, err := sealer.Seal("signing_keys", "private_key", key.KeyID, private)
	if err != nil {
		return err
	}
	n, err := tx.SigningKeyCreate(ctx, dbsqlc.SigningKeyCreateParams{
		ID: id, Kid: key.KeyID, Alg: key.Algorithm, PublicJWK: public, PrivateKey: sealed,
	})
	if err != nil || n == 0 {
		return err
	}
	return audit.Record(ctx, tx, audit.Event{
		Type: audit.KeyCreated, Status: audit.Success, Actor: audit.System(),
		Target: audit.Thing("signing_key", key.KeyID), Detail: map[string]string{"alg": key.Algorithm},
	})
}

func unseal(sealer *secret.Sealer, r dbsqlc.SigningKey) (jose.JSONWebKey, error) {
	der, err := sealer.Open("signing_keys", "private_key", r.Kid, r.PrivateKey)
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	return jose.JSONWebKey{Key: private, KeyID: r.Kid, Algorithm: r.Alg, Use: "sig"}, nil
}

// JWKS is the published set (RFC 7517), public halves only. It is shared: do not change it.
func (r *Ring) JWKS() []byte { return r.jwks }

// Public makes a ring that verifies with the keys of a published set and signs nothing. Keys without kid or alg are left out.
func Public(jwks []byte) (*Ring, error) {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(jwks, &set); err != nil {
		return nil, fmt.Errorf("parse key set: %w", err)
	}
	ring := &Ring{public: map[string]jose.JSONWebKey{}, jwks: jwks}
	for _, key := range set.Keys {
		if key.IsPublic() && key.KeyID != "" && key.Algorithm != "" {
			ring.public[key.KeyID] = key
		}
	}
	return ring, nil
}

// Sign makes a compact JWS of the payload with the tenant's signer for alg. typ is the header's type, such as JWT or at+jwt.
func (r *Ring) Sign(alg jose.SignatureAlgorithm, typ string, payload []byte) (string, error) {
	key, ok := r.signers[alg]
	if !ok {
		return "", fmt.Errorf("no %s key signs", alg)
	}
	// Not kept between calls: making it is a hundredth of the cheapest signature.
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		return "", fmt.Errorf("prepare signature: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return jws.CompactSerialize()
}

// Verify returns the payload of a compact JWS that a published key of the tenant signed with its own algorithm and whose
// type is typ. Keys the token brings along (jwk, jku, x5u) are ignored. ErrInvalid: anything else.
func (r *Ring) Verify(token, typ string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(token, Algorithms)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, ErrInvalid
	}
	// Base64 as it is decoded has many spellings of the same bytes. A token has one: whoever keeps a list of tokens by
	// their text must be able to trust it.
	if spelling, err := jws.CompactSerialize(); err != nil || spelling != token {
		return nil, ErrInvalid
	}
	header := jws.Signatures[0].Protected
	key, ok := r.public[header.KeyID]
	if !ok || header.Algorithm != key.Algorithm {
		return nil, ErrInvalid
	}
	if t, _ := header.ExtraHeaders[jose.HeaderType].(string); t != typ {
		return nil, ErrInvalid
	}
	payload, err := jws.Verify(key.Key)
	if err != nil {
		return nil, ErrInvalid
	}
	return payload, nil
}
