// Package directory owns the people of a tenant: their accounts, the identifiers that lead to them and their profiles. An
// account's id is the subject (sub) of every token about it; it never changes and is never given to anyone else.
//
// It refuses to compare identifiers as typed: they are folded first ([Fold]). Proving that someone is the person behind an
// account is the business of package factor. Start reading at [Create] and [ForLogin].
package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"parako/internal/dbsqlc"
	"parako/internal/problem"
	"parako/internal/store"
)

// What creating an account can answer.
var (
	ErrEmailFormat    = problem.New(problem.Invalid, "email_format", "This is not an email address.")
	ErrUsernameFormat = problem.New(problem.Invalid, "username_format", "A username is 1 to 50 visible characters without spaces or @.")
	ErrPhoneFormat    = problem.New(problem.Invalid, "phone_format", "A phone number is written in E.164 form, such as +442071838750.")
	ErrProfileFormat  = problem.New(problem.Invalid, "profile_format", "A name, a part of an address, a locale or a time zone is at most 255 characters without control characters.")
	ErrTaken          = problem.New(problem.Conflict, "identifier_taken", "An account with this email address, username or phone number exists.")
)

// User is an account.
type User = dbsqlc.User

// Address is the address claim (OpenID Connect Core section 5.1.1).
type Address struct {
	Formatted     string `json:"formatted,omitempty"`
	StreetAddress string `json:"street_address,omitempty"`
	Locality      string `json:"locality,omitempty"`
	Region        string `json:"region,omitempty"`
	PostalCode    string `json:"postal_code,omitempty"`
	Country       string `json:"country,omitempty"`
}

// New describes an account to create. Every field may be empty; an empty Username becomes the account's id.
type New struct {
	Username            string
	Email               string
	EmailVerified       bool
	Name                string
	GivenName           string
	FamilyName          string
	PhoneNumber         string // E.164
	PhoneNumberVerified bool
	Locale              string // BCP 47
	Zoneinfo            string // IANA
	Address             *Address
	Roles               []string // default user
}

const (
	maxUsername   = 50  // characters
	maxEmail      = 254 // bytes (RFC 5321 section 4.5.3.1.3, without the angle brackets)
	maxProfile    = 255 // characters
	maxIdentifier = 1024
)

var phoneFormat = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)

// Fold makes an identifier comparable: compatibility characters unified, case folded, outer space dropped. Folding again
// changes nothing. Letters that differ in more than case stay different, such as the dotless ı and i.
func Fold(identifier string) string {
	folded := cases.Fold().String(norm.NFKC.String(identifier))
	folded = strings.ToLower(folded) // Fold swaps the two cases of Cherokee.
	return strings.TrimSpace(norm.NFKC.String(folded))
}

// Create adds an account to tx's tenant. Its errors are those above; after ErrTaken the transaction can only be rolled
// back.
func Create(ctx context.Context, tx *store.Tx, n New) (User, error) {
	id, err := uuid.NewRandom() // Subjects reveal nothing, not even when the account was made.
	if err != nil {
		return User{}, err
	}
	p := dbsqlc.UserCreateParams{
		ID: id, Username: strings.TrimSpace(n.Username),
		Name: optional(n.Name), GivenName: optional(n.GivenName), FamilyName: optional(n.FamilyName),
		PhoneNumber: optional(n.PhoneNumber), PhoneNumberVerified: n.PhoneNumber != "" && n.PhoneNumberVerified,
		Locale: optional(n.Locale), Zoneinfo: optional(n.Zoneinfo), Roles: n.Roles,
	}
	if p.Username == "" {
		p.Username = id.String()
	}
	if p.Roles == nil {
		p.Roles = []string{"user"}
	}
	p.UsernameNorm = Fold(p.Username)
	if !validUsername(p.Username) || !validUsername(p.UsernameNorm) {
		return User{}, ErrUsernameFormat
	}
	if n.PhoneNumber != "" && !phoneFormat.MatchString(n.PhoneNumber) {
		return User{}, ErrPhoneFormat
	}
	if email := strings.TrimSpace(n.Email); email != "" {
		if a, err := mail.ParseAddress(email); err != nil || a.Address != email || len(email) > maxEmail || !visible(email) {
			return User{}, ErrEmailFormat
		}
		folded := Fold(email)
		p.Email, p.EmailNorm, p.EmailVerified = &email, &folded, n.EmailVerified
	}
	profile := []string{n.Name, n.GivenName, n.FamilyName, n.Locale, n.Zoneinfo}
	if a := n.Address; a != nil {
		profile = append(profile, a.Formatted, a.StreetAddress, a.Locality, a.Region, a.PostalCode, a.Country)
		if p.Address, err = json.Marshal(n.Address); err != nil {
			return User{}, err
		}
	}
	if slices.ContainsFunc(profile, func(text string) bool { return !validProfile(text) }) {
		return User{}, ErrProfileFormat
	}
	err = tx.UserCreate(ctx, p)
	if _, taken := errors.AsType[*store.Conflict](err); taken {
		return User{}, ErrTaken
	}
	if err != nil {
		return User{}, fmt.Errorf("create user: %w", err)
	}
	return ByID(ctx, tx, id)
}

// validUsername is asked about the name as typed and as folded: a full-width ＠ must not fold into an email address.
func validUsername(s string) bool {
	n := utf8.RuneCountInString(s)
	return n > 0 && n <= maxUsername && visible(s) && !strings.ContainsRune(s, '@')
}

// visible reports whether s has only characters that show: with a zero-width or a right-to-left character, two
// names could look alike.
func visible(s string) bool {
	hidden := func(r rune) bool { return r == utf8.RuneError || r == ' ' || !unicode.IsPrint(r) }
	return !strings.ContainsFunc(s, hidden)
}

// validProfile allows line breaks, which a formatted address has.
func validProfile(s string) bool {
	bad := func(r rune) bool { return r == utf8.RuneError || unicode.IsControl(r) && r != '\n' && r != '\r' }
	return utf8.RuneCountInString(s) <= maxProfile && !strings.ContainsFunc(s, bad)
}

func optional(s string) *string {
	if s = strings.TrimSpace(s); s == "" {
		return nil
	}
	return &s
}

// ByID finds an account. store.ErrNotFound: none in this tenant.
func ByID(ctx context.Context, tx *store.Tx, id uuid.UUID) (User, error) {
	return tx.UserByID(ctx, dbsqlc.UserByIDParams{TenantID: tx.Tenant(), ID: id})
}

// ForLogin finds the account that an email address or username leads to, and its password hash, which is empty when there
// is no password. store.ErrNotFound: none in this tenant.
func ForLogin(ctx context.Context, tx *store.Tx, identifier string) (User, string, error) {
	// PostgreSQL refuses such text, and what nobody can be called is no fault of ours.
	if len(identifier) > maxIdentifier || !utf8.ValidString(identifier) || strings.ContainsRune(identifier, 0) {
		return User{}, "", store.ErrNotFound
	}
	row, err := tx.UserForLogin(ctx, dbsqlc.UserForLoginParams{TenantID: tx.Tenant(), Identifier: Fold(identifier)})
	if err != nil {
		return User{}, "", err
	}
	return row.User, row.Hash, nil
}

// Label is how an account is shown to its owner: the email address, else the username.
func Label(u User) string {
	if u.Email != nil {
		return *u.Email
	}
	return u.Username
}
