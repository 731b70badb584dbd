// Package keyring owns a tenant's keys: one signer per algorithm, made when the tenant is first used or first needs it, and
// where the tenant takes encrypted requests a key for each way of encrypting, sealed with the tenant's data key at rest, and
// published as a JSON Web Key Set. It replaces them ([Rotate], [Promote], [Revoke]) and the master key ([Rewrap]).
//
// It refuses to sign with a key that is only published, to verify or decrypt with an algorithm other than the key's own, and
// to let a private key out. A [Ring] is an immutable snapshot. Start reading at [Open].
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
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/tenant"
)

// The algorithms that a tenant can sign with. RS256 is what every client understands (OpenID Connect Core section 15.1).
const (
	RS256 = jose.RS256
	PS256 = jose.PS256
	ES256 = jose.ES256
	EdDSA = jose.EdDSA
)

// Algorithms lists them, in the order discovery shows. Every tenant has a key for each but PS256, which [Ensure] makes.
var Algorithms = []jose.SignatureAlgorithm{RS256, PS256, ES256, EdDSA}

// Encryptions are the algorithms by which others can encrypt for a tenant that has keys for them, see [Open].
var Encryptions = []jose.KeyAlgorithm{jose.RSA_OAEP_256, jose.ECDH_ES}

// always are the keys that every tenant has.
var always = []string{string(RS256), string(ES256), string(EdDSA)}

const rsaBits = 2048

// ErrInvalid reports a signature that no key of the tenant made, or that must not be trusted. It says no more on purpose.
var ErrInvalid = errors.New("token signature is not valid")

// Ring is the keys of one tenant as they were when it was opened. It is safe for concurrent use.
type Ring struct {
	signers map[string]jose.JSONWebKey // private, with kid, by algorithm
	openers map[string]jose.JSONWebKey // private, for decryption, by kid
	public  map[string]jose.JSONWebKey // by kid
	jwks    []byte
}

// Open loads the ring of a tenant, making what is missing: the data key, a key for every algorithm that all tenants have, and
// one for each of more, which are of [Algorithms] or [Encryptions]. Of two instances that do so at once, one wins per algorithm
// and both use its key.
//
// The policy is that of tokens which are signed with the ring from now on: the keys are remembered to be needed for its overlap.
func Open(ctx context.Context, s *store.Store, vault tenant.Vault, p Policy, id uuid.UUID, more ...string) (*Ring, error) {
	wanted := append(slices.Clone(always), more...)
	ring, missing, err := load(ctx, s, vault, p, id, wanted)
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
			if err := insert(ctx, tx, sealer, key, audit.System()); err != nil {
				return fmt.Errorf("store %s key: %w", key.Algorithm, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	ring, missing, err = load(ctx, s, vault, p, id, wanted)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("no key for %v", missing)
	}
	return ring, err
}

// Ensure makes the key of an algorithm that not every tenant has, unless it is there, and has every instance load it. It
// happens once in a tenant's life, when its first client asks for the algorithm; only then is a key made within a transaction.
func Ensure(ctx context.Context, tx *store.Tx, vault tenant.Vault, alg jose.SignatureAlgorithm) error {
	rows, err := tx.SigningKeyList(ctx, tx.Tenant())
	if err != nil {
		return fmt.Errorf("load signing keys: %w", err)
	}
	if slices.Contains(always, string(alg)) || slices.ContainsFunc(rows, func(r dbsqlc.SigningKey) bool { return r.Alg == string(alg) && signs(r) }) {
		return nil
	}
	sealer, err := vault.Sealer(ctx, tx)
	if err != nil {
		return err
	}
	key, err := generate(string(alg))
	if err != nil {
		return fmt.Errorf("generate %s key: %w", alg, err)
	}
	if err := insert(ctx, tx, sealer, key, audit.System()); err != nil {
		return fmt.Errorf("store %s key: %w", alg, err)
	}
	_, err = tx.TenantTouch(ctx, tx.Tenant())
	return err
}

// signs reports whether a key is the one of its algorithm that is used.
func signs(r dbsqlc.SigningKey) bool { return r.Status == Active && r.Promoted }

func load(ctx context.Context, s *store.Store, vault tenant.Vault, p Policy, id uuid.UUID, wanted []string) (*Ring, []string, error) {
	ring := &Ring{signers: map[string]jose.JSONWebKey{}, openers: map[string]jose.JSONWebKey{}, public: map[string]jose.JSONWebKey{}}
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
		short := false
		for _, r := range rows {
			var pub jose.JSONWebKey
			if err := json.Unmarshal(r.PublicJWK, &pub); err != nil {
				return fmt.Errorf("parse public key %s: %w", r.Kid, err)
			}
			ring.public[r.Kid] = pub
			set.Keys = append(set.Keys, pub)
			opens := pub.Use == "enc" // An old key goes on opening what was encrypted for it.
			if !signs(r) && !opens {
				continue
			}
			private, err := unseal(sealer, r)
			if err != nil {
				return fmt.Errorf("open key %s: %w", r.Kid, err)
			}
			if signs(r) {
				ring.signers[r.Alg] = private
				if r.PromotedAt == nil {
					if err := adopt(ctx, tx, r.ID); err != nil {
						return err
					}
				}
				short = short || r.OverlapSeconds < p.overlapSeconds()
			}
			if opens {
				ring.openers[r.Kid] = private
			}
		}
		if short {
			return tx.Later().SigningKeyOverlap(ctx, dbsqlc.SigningKeyOverlapParams{TenantID: id, OverlapSeconds: p.overlapSeconds()})
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("load signing keys: %w", err)
	}
	if ring.jwks, err = json.Marshal(set); err != nil {
		return nil, nil, err
	}
	var missing []string
	for _, alg := range wanted {
		if _, ok := ring.signers[alg]; !ok {
			missing = append(missing, alg)
		}
	}
	return ring, missing, nil
}

// adopt gives a signer that an older release made the job that replaces it, once.
func adopt(ctx context.Context, tx *store.Tx, id uuid.UUID) error {
	n, err := tx.SigningKeyAdopt(ctx, dbsqlc.SigningKeyAdoptParams{TenantID: tx.Tenant(), ID: id})
	if err != nil || n == 0 {
		return err
	}
	return tx.Enqueue(ctx, store.JobKeyRotation, id)
}

func generate(alg string) (jose.JSONWebKey, error) {
	var private crypto.PrivateKey
	var err error
	use := "sig"
	switch alg {
	case string(RS256), string(PS256):
		private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case string(ES256):
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case string(EdDSA):
		_, private, err = ed25519.GenerateKey(rand.Reader)
	case string(jose.RSA_OAEP_256):
		use = "enc"
		private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case string(jose.ECDH_ES):
		use = "enc"
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		err = errors.New("algorithm is not supported")
	}
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	key := jose.JSONWebKey{Key: private, Algorithm: alg, Use: use}
	// The thumbprint (RFC 7638) makes two keys with one kid impossible within a tenant.
	thumb, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	key.KeyID = base64.RawURLEncoding.EncodeToString(thumb)
	return key, nil
}

// insert adds a key that signs at once, unless another does, and the job that replaces it some day.
func insert(ctx context.Context, tx *store.Tx, sealer *secret.Sealer, key jose.JSONWebKey, by audit.Party) error {
	made, err := seal(sealer, key)
	if err != nil {
		return err
	}
	n, err := tx.SigningKeyCreate(ctx, dbsqlc.SigningKeyCreateParams{
		ID: made.ID, Kid: made.Kid, Alg: made.Alg, PublicJWK: made.PublicJWK, PrivateKey: made.PrivateKey,
	})
	if err != nil || n == 0 {
		return err
	}
	return errors.Join(recordKey(ctx, tx, audit.KeyCreated, by, made, nil), tx.Enqueue(ctx, store.JobKeyRotation, made.ID))
}

// seal makes the parts of a key's row that are known before it has a state.
func seal(sealer *secret.Sealer, key jose.JSONWebKey) (dbsqlc.SigningKey, error) {
	failed := dbsqlc.SigningKey{}
	id, err := uuid.NewV7()
	if err != nil {
		return failed, err
	}
	public, err := key.Public().MarshalJSON()
	if err != nil {
		return failed, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key.Key)
	if err != nil {
		return failed, err
	}
	sealed, err := sealer.Seal("signing_keys", "private_key", key.KeyID, private)
	if err != nil {
		return failed, err
	}
	return dbsqlc.SigningKey{ID: id, Kid: key.KeyID, Alg: key.Algorithm, PublicJWK: public, PrivateKey: sealed}, nil
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
	return jose.JSONWebKey{Key: private, KeyID: r.Kid, Algorithm: r.Alg}, nil
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
	key, ok := r.signers[string(alg)]
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
	if !ok || header.Algorithm != key.Algorithm || key.Use == "enc" {
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

// contentEncryptions are those of RFC 7518 section 5 that the product takes.
var contentEncryptions = []jose.ContentEncryption{jose.A128CBC_HS256, jose.A128GCM, jose.A256CBC_HS512, jose.A256GCM}

// Decrypt opens a compact JWE (RFC 7516) that was made for one of the tenant's encryption keys, by its own algorithm.
// ErrInvalid: anything else.
func (r *Ring) Decrypt(token string) ([]byte, error) {
	jwe, err := jose.ParseEncryptedCompact(token, Encryptions, contentEncryptions)
	if err != nil {
		return nil, ErrInvalid
	}
	for kid, key := range r.openers {
		// Without a kid any key of the algorithm may be meant: there are several while one replaces the other.
		if key.Algorithm != jwe.Header.Algorithm || jwe.Header.KeyID != "" && jwe.Header.KeyID != kid {
			continue
		}
		if text, err := jwe.Decrypt(key.Key); err == nil {
			return text, nil
		}
	}
	return nil, ErrInvalid
}
