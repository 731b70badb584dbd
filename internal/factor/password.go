// Package factor owns the ways to prove who someone is, one file each. A factor answers one question, whether the proof is
// good, and takes the same time whether the account exists or not.
//
// It refuses to decide what a proof is enough for: that is package signin. Start reading at [Passwords.Verify].
package factor

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/google/uuid"

	"parako/internal/dbsqlc"
	"parako/internal/problem"
	"parako/internal/secret"
	"parako/internal/store"
)

// MinPasswordLength and MaxPasswordLength bound a new password, in characters (NIST SP 800-63B-4 section 3.1.1.2).
const (
	MinPasswordLength = 8
	MaxPasswordLength = 128
)

// ErrPasswordLength refuses a new password by its length.
var ErrPasswordLength = problem.New(problem.Invalid, "password_length",
	fmt.Sprintf("A password is %d to %d characters.", MinPasswordLength, MaxPasswordLength))

// Passwords proves people by what they know, hashed with Argon2id. It is safe for concurrent use.
type Passwords struct{ Hasher *secret.Hasher }

// Verify reports whether password belongs to the hash, and the new hash to keep when the old one's parameters are weaker
// than today's. An empty hash, the sign of an unknown account, costs the same and is never right. Call it outside a
// transaction: it takes tens of milliseconds, and waits when many do it at once.
func (p Passwords) Verify(ctx context.Context, hash, password string) (right bool, upgraded string, err error) {
	if hash == "" {
		err = p.Hasher.VerifyNobody(ctx, password)
		return false, "", tolerate(err)
	}
	right, weak, err := p.Hasher.Verify(ctx, hash, password)
	if err != nil || !right {
		return false, "", tolerate(err)
	}
	if weak {
		if upgraded, err = p.Hasher.Hash(ctx, password); err != nil {
			return false, "", err
		}
	}
	return true, upgraded, nil
}

// tolerate makes a password too long to be anyone's a wrong one.
func tolerate(err error) error {
	if errors.Is(err, secret.ErrTooLong) {
		return nil
	}
	return err
}

// Hash checks a new password and hashes it. Call it outside a transaction.
func (p Passwords) Hash(ctx context.Context, password string) (string, error) {
	if n := utf8.RuneCountInString(password); n < MinPasswordLength || n > MaxPasswordLength {
		return "", ErrPasswordLength
	}
	return p.Hasher.Hash(ctx, password)
}

// Put keeps a hash as the account's password.
func Put(ctx context.Context, tx *store.Tx, user uuid.UUID, hash string) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	return tx.PasswordPut(ctx, dbsqlc.PasswordPutParams{ID: id, UserID: user, Hash: hash})
}
