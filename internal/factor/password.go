// Package factor owns the ways to prove who someone is, one file each. A factor answers one question, whether the proof is
// good, and takes the same time whether the account exists or not.
//
// It refuses to decide what a proof is enough for: that is package signin. Start reading at [Passwords.Verify].
package factor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"parako/internal/dbsqlc"
	"parako/internal/directory"
	"parako/internal/problem"
	"parako/internal/secret"
	"parako/internal/store"
)

// MinPasswordLength and MaxPasswordLength bound a new password, in characters (NIST SP 800-63B-4 section 3.1.1.2).
const (
	MinPasswordLength = 8
	MaxPasswordLength = 128
)

// What is wrong with a new password: its length, which characters it lacks of those the tenant demands, or that it is little
// more than what everybody knows of the person.
var (
	ErrPasswordLength  = errPasswordLength(MinPasswordLength)
	ErrPasswordPolicy  = problem.New(problem.Invalid, "password_policy", "This password lacks characters that the password policy demands.")
	ErrPasswordObvious = problem.New(problem.Invalid, "password_obvious", "A password cannot be a name, an email address or a username with little around it.")
)

func errPasswordLength(least int) *problem.Error {
	return problem.New(problem.Invalid, "password_length", fmt.Sprintf("A password is %d to %d characters.", least, MaxPasswordLength))
}

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

// Policy is what a tenant demands of a new password; the zero value demands [MinPasswordLength] and nothing else.
type Policy struct {
	MinLength        int // in characters
	RequireUppercase bool
	RequireLowercase bool
	RequireNumbers   bool
	RequireSymbols   bool
}

// Check finds what is wrong with a new password. known are words that belong to the person or to the service, which make no
// password by themselves (NIST SP 800-63B-4 section 3.1.1.2). It takes no time to speak of.
func (p Policy) Check(password string, known ...string) error {
	least := max(p.MinLength, MinPasswordLength)
	if n := utf8.RuneCountInString(password); n < least || n > MaxPasswordLength {
		return errPasswordLength(least)
	}
	for _, class := range []struct {
		required bool
		is       func(rune) bool
	}{
		{p.RequireUppercase, unicode.IsUpper},
		{p.RequireLowercase, unicode.IsLower},
		{p.RequireNumbers, unicode.IsNumber},
		{p.RequireSymbols, func(r rune) bool { return unicode.IsPunct(r) || unicode.IsSymbol(r) }},
	} {
		if class.required && !strings.ContainsFunc(password, class.is) {
			return ErrPasswordPolicy
		}
	}
	folded := directory.Fold(password)
	for _, word := range known {
		word = directory.Fold(word)
		local, _, _ := strings.Cut(word, "@")
		if littleMoreThan(folded, word) || littleMoreThan(folded, local) {
			return ErrPasswordObvious
		}
	}
	return nil
}

// littleMoreThan reports whether password is the word and fewer than four characters around it.
func littleMoreThan(password, word string) bool {
	const few = 4
	return word != "" && strings.Contains(password, word) && utf8.RuneCountInString(password)-utf8.RuneCountInString(word) < few
}

// Hash hashes a new password. It refuses what no policy allows, by its length. Call it outside a transaction.
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
