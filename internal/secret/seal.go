package secret

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// sealVersion is the first byte of every sealed value and wrapped key. Version 1: nonce (12 bytes), AES-256-GCM
// ciphertext, tag (16 bytes).
const sealVersion = 1

// ErrOpen is returned when a sealed value does not open. It has no detail on purpose: wrong key, wrong place and
// changed bytes look the same.
var ErrOpen = errors.New("sealed value does not open")

var errNoTenant = errors.New("no tenant")

// Sealer encrypts one tenant's columns at rest with that tenant's data key. A value opens only in the table, column
// and row it was sealed for, so that whoever can write to the database cannot move a secret to where it would be
// shown. Safe for concurrent use. With random nonces one data key is good for 2^32 values.
type Sealer struct {
	tenant uuid.UUID
	aead   aead
	key    func() []byte // a closure for the reason given at String
	// inherited is what Derive returned elsewhere, by purpose; nil: there is nothing.
	inherited func(purpose string) ([]byte, bool)
}

// NewDataKey returns 32 random bytes: a tenant's data key. Store it only as [MasterKey.Wrap] returns it.
func NewDataKey() []byte {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // documented never to return an error
	return key
}

// NewSealer returns a Sealer for the tenant's unwrapped data key. It fails without a tenant or when dataKey does not
// have 32 bytes.
func NewSealer(tenant uuid.UUID, dataKey []byte) (*Sealer, error) {
	if tenant == uuid.Nil {
		return nil, fmt.Errorf("make sealer: %w", errNoTenant)
	}
	a, err := newAEAD(dataKey)
	if err != nil {
		return nil, fmt.Errorf("make sealer: %w", err)
	}
	return &Sealer{tenant: tenant, aead: a, key: func() []byte { return dataKey }}, nil
}

// Derive returns n bytes that depend on the tenant's data key and on the purpose and tell nothing of either: HKDF-SHA-256
// (RFC 5869), salt = the 16 bytes of the tenant, info = purpose. The same purpose gives the same bytes for as long as the
// tenant lives, whatever master key wraps the data key; a purpose ends in its version ("oauth-hmac-v1"). It panics without a
// purpose and when n is not between 1 and 8160, which are mistakes of the program.
//
// What the tenant has inherited comes first ([Sealer.Inheriting]).
func (s *Sealer) Derive(purpose string, n int) []byte {
	if s.inherited != nil {
		if key, ok := s.inherited(purpose); ok && len(key) == n {
			return bytes.Clone(key)
		}
	}
	return derive(s.key(), s.tenant, purpose, n)
}

// Inheriting returns a Sealer that derives the keys given, by their purposes, instead of its own: those of a tenant that had another
// data key before. All else is as it is in s.
func (s *Sealer) Inheriting(keys map[string][]byte) *Sealer {
	heir := *s
	heir.inherited = func(purpose string) ([]byte, bool) {
		key, ok := keys[purpose]
		return key, ok
	}
	return &heir
}

// Seal encrypts plaintext for one place; row is the row's key in its canonical text form. Two calls never give the
// same bytes, so sealed values cannot be compared or searched. It fails when a name of the place is empty, because a
// forgotten one would make values interchangeable.
func (s *Sealer) Seal(table, column, row string, plaintext []byte) ([]byte, error) {
	if table == "" || column == "" || row == "" {
		return nil, errors.New("seal: table, column and row are required")
	}
	return s.aead.seal(plaintext, s.place(table, column, row)), nil
}

// Open returns the plaintext of a value sealed for this place by this tenant. It fails with [ErrOpen] when anything
// differs.
func (s *Sealer) Open(table, column, row string, sealed []byte) ([]byte, error) {
	return s.aead.open(sealed, s.place(table, column, row))
}

// place encodes where a value lives. Each part is preceded by its length: ("ab", "c") and ("a", "bc") must differ.
func (s *Sealer) place(table, column, row string) []byte {
	place := []byte{sealVersion}
	for _, part := range []string{string(s.tenant[:]), table, column, row} {
		place = binary.BigEndian.AppendUint32(place, uint32(len(part)))
		place = append(place, part...)
	}
	return place
}

// aead is AES-256-GCM that prepends its version and nonce.
type aead struct{ gcm cipher.AEAD }

func newAEAD(key []byte) (aead, error) {
	if len(key) != keyBytes {
		return aead{}, fmt.Errorf("key of %d bytes instead of %d", len(key), keyBytes) // AES alone would accept 16
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return aead{}, fmt.Errorf("make cipher: %w", err)
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return aead{}, fmt.Errorf("make GCM: %w", err)
	}
	return aead{gcm}, nil
}

func (a aead) seal(plaintext, context []byte) []byte {
	sealed := make([]byte, 1, 1+len(plaintext)+a.gcm.Overhead())
	sealed[0] = sealVersion
	return a.gcm.Seal(sealed, nil, plaintext, context)
}

func (a aead) open(sealed, context []byte) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != sealVersion {
		return nil, ErrOpen
	}
	plaintext, err := a.gcm.Open(nil, nil, sealed[1:], context)
	if err != nil {
		return nil, ErrOpen
	}
	return plaintext, nil
}
