package secret

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/google/uuid"
)

const (
	keyBytes = 32 // AES-256

	masterKeyIDDomain = "parako/master-key-id/v1"
	dataKeyDomain     = "parako/data-key/v1"
	// purposeWrap is reserved: no caller of Derive may use it.
	purposeWrap = "data-key-wrap-v1"
)

// MasterKey is the deployment's one key (ENCRYPTION_KEY). It seals no data itself and nothing that lasts is derived from it:
// it wraps each tenant's data key, so changing it means re-wrapping one small value per tenant. It redacts itself.
// The zero value is no key: its methods other than ID panic. Safe for concurrent use.
type MasterKey struct {
	key func() []byte // a closure for the reason given at String
	id  string
}

// ErrWeakKey is returned by [ParseMasterKey] for a value that no random generator makes.
var ErrWeakKey = errors.New("master key is not random (make one with: openssl rand -hex 32)")

// ErrKeyFormat is returned by [ParseMasterKey] for a value that is not 32 encoded bytes.
var ErrKeyFormat = errors.New("master key must be 64 hex digits or 44 characters of base64 (make one with: openssl rand -hex 32)")

// ParseMasterKey reads 32 bytes as 64 hex digits or as 44 characters of padded base64, standard or URL alphabet.
// Surrounding white space is ignored, because secrets mounted as files end in a newline. It fails with [ErrKeyFormat]
// or [ErrWeakKey]; no error contains any part of s.
func ParseMasterKey(s string) (MasterKey, error) {
	raw, err := decodeKey(strings.TrimSpace(s))
	if err != nil {
		return MasterKey{}, err
	}
	if predictable(raw) {
		return MasterKey{}, ErrWeakKey
	}
	sum := sha256.Sum256(append([]byte(masterKeyIDDomain), raw...))
	return MasterKey{key: func() []byte { return raw }, id: hex.EncodeToString(sum[:4])}, nil
}

func decodeKey(s string) ([]byte, error) {
	var raw []byte
	var err error
	switch len(s) {
	case hex.EncodedLen(keyBytes):
		raw, err = hex.DecodeString(s)
	case base64.StdEncoding.EncodedLen(keyBytes):
		raw, err = base64.URLEncoding.DecodeString(strings.NewReplacer("+", "-", "/", "_").Replace(s))
	default:
		return nil, ErrKeyFormat
	}
	if err != nil || len(raw) != keyBytes {
		return nil, ErrKeyFormat // the decoder's own message quotes its input
	}
	return raw, nil
}

// predictable recognises sample values: one byte or a short pattern repeated, a counting sequence, readable text.
// Each test refuses a random key with a probability below 10^-12.
func predictable(key []byte) bool {
	distinct := map[byte]bool{}
	constantStep, text := true, true
	for i, b := range key {
		distinct[b] = true
		if i > 1 && b-key[i-1] != key[1]-key[0] {
			constantStep = false
		}
		if b < ' ' || b > '~' {
			text = false
		}
	}
	return constantStep || text || len(distinct) <= keyBytes/2
}

// ID names the key without revealing it: the first 8 hex digits of SHA-256 over a domain-separated copy. It is stored
// beside everything the key wraps, so that two master keys can be in use while one replaces the other. The zero
// MasterKey has the empty ID.
func (m MasterKey) ID() string { return m.id }

// Derive returns n bytes that depend on the key, the tenant and the purpose, and tell nothing about any of the three:
// HKDF-SHA-256 (RFC 5869), salt = the 16 bytes of the tenant, info = purpose. The same arguments give the same bytes
// in every release; a purpose ends in its version ("data-key-wrap-v1"). What has to outlive the master key is derived with
// [Sealer.Derive]. It panics without a tenant, without a purpose and when n is not between 1 and 8160, all of which are
// mistakes of the program.
func (m MasterKey) Derive(tenant uuid.UUID, purpose string, n int) []byte {
	return derive(m.key(), tenant, purpose, n)
}

func derive(from []byte, tenant uuid.UUID, purpose string, n int) []byte {
	if tenant == uuid.Nil || purpose == "" || n < 1 {
		panic("secret: derive a key without a tenant, a purpose or a length")
	}
	key, err := hkdf.Key(sha256.New, from, tenant[:], purpose, n)
	if err != nil {
		panic(fmt.Sprintf("secret: derive %d bytes: %v", n, err))
	}
	return key
}

// Wrap encrypts a tenant's data key for storage: version byte 1, 96-bit nonce, AES-256-GCM ciphertext and tag, under a
// key derived for this tenant. Only [MasterKey.Unwrap] with the same master key and tenant opens it. It fails without
// a tenant or when dataKey does not have 32 bytes.
func (m MasterKey) Wrap(tenant uuid.UUID, dataKey []byte) ([]byte, error) {
	if len(dataKey) != keyBytes {
		return nil, fmt.Errorf("wrap data key: %d bytes instead of %d", len(dataKey), keyBytes)
	}
	aead, err := m.wrapper(tenant)
	if err != nil {
		return nil, fmt.Errorf("wrap data key: %w", err)
	}
	return aead.seal(dataKey, wrapContext(tenant)), nil
}

// Unwrap returns the data key that [MasterKey.Wrap] encrypted. It fails with [ErrOpen], without saying why, when
// the master key or the tenant is another one or a bit was changed.
func (m MasterKey) Unwrap(tenant uuid.UUID, wrapped []byte) ([]byte, error) {
	aead, err := m.wrapper(tenant)
	if err != nil {
		return nil, fmt.Errorf("unwrap data key: %w", err)
	}
	return aead.open(wrapped, wrapContext(tenant))
}

// wrapper derives instead of using the master key for AES directly: one key serves one algorithm, and no two tenants
// draw nonces for the same key.
func (m MasterKey) wrapper(tenant uuid.UUID) (aead, error) {
	if tenant == uuid.Nil {
		return aead{}, errNoTenant
	}
	return newAEAD(m.Derive(tenant, purposeWrap, keyBytes))
}

func wrapContext(tenant uuid.UUID) []byte { return append([]byte(dataKeyDomain), tenant[:]...) }

// String implements [fmt.Stringer] and names the key by its ID.
func (m MasterKey) String() string { return "master key " + m.id }

// Format implements [fmt.Formatter]: whatever the verb, it writes the ID and nothing of the key.
func (m MasterKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, m.String()) }

// LogValue implements [slog.LogValuer] and names the key by its ID.
func (m MasterKey) LogValue() slog.Value { return slog.StringValue(m.String()) }

// MarshalText implements [encoding.TextMarshaler] (and with it JSON) and names the key by its ID.
func (m MasterKey) MarshalText() ([]byte, error) { return []byte(m.String()), nil }
