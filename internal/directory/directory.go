// Package directory owns the people of a tenant: their accounts, the identifiers that lead to them and their profiles. An
// account's id is the subject (sub) of every token about it; it never changes and is never given to anyone else.
//
// It refuses to compare identifiers as typed: they are folded first ([Fold]). Proving that someone is the person behind an
// account is the business of package factor. Start reading at [Create] and [ForLogin]; profile.go says what can be known of a
// person.
package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/problem"
	"parako/internal/store"
	"parako/internal/tenant"
)

// What creating, changing and finding an account can answer, besides what [New.Check] finds.
var (
	ErrTaken   = problem.New(problem.Conflict, "identifier_taken", "An account with this email address, username or phone number exists.")
	ErrUnknown = problem.New(problem.NotFound, "user_unknown", "There is no account with this id, email address or username.")

	ErrPlatformRole = problem.New(problem.Invalid, "platform_role", "The roles platform_admin and platform_viewer are for people of the platform's own tenant, _platforms.")
)

// The roles that only people of the platform's own tenant can have.
const (
	PlatformAdmin  = "platform_admin"
	PlatformViewer = "platform_viewer"
)

// User is an account.
type User = dbsqlc.User

const maxIdentifier = 1024

// Fold makes an identifier comparable: compatibility characters unified, case folded, outer space dropped. Folding again
// changes nothing. Letters that differ in more than case stay different, such as the dotless ı and i.
func Fold(identifier string) string {
	folded := cases.Fold().String(norm.NFKC.String(identifier))
	folded = strings.ToLower(folded) // Fold swaps the two cases of Cherokee.
	return strings.TrimSpace(norm.NFKC.String(folded))
}

// Create adds an account to tx's tenant. Its errors are those of [New.Check], ErrPlatformRole, that of [tenant.RoomForUser], and
// ErrTaken, after which the transaction can only be rolled back.
func Create(ctx context.Context, tx *store.Tx, n New) (User, error) {
	if err := assignable(ctx, tx, n.Roles); err != nil {
		return User{}, err
	}
	id, err := uuid.NewRandom() // Subjects reveal nothing, not even when the account was made.
	if err != nil {
		return User{}, err
	}
	p, err := n.row(id)
	if err != nil {
		return User{}, err
	}
	if err := tenant.RoomForUser(ctx, tx); err != nil {
		return User{}, err
	}
	if err := taken(tx.UserCreate(ctx, p)); err != nil {
		return User{}, fmt.Errorf("create user: %w", err)
	}
	return ByID(ctx, tx, id)
}

// Change replaces what is known of a person and records who did: change gets what is known and alters it. Whoever changes an
// address there says whether the new one is verified. Its errors are ErrUnknown and those of [Create]; after ErrTaken the
// transaction can only be rolled back.
func Change(ctx context.Context, tx *store.Tx, id uuid.UUID, by audit.Party, change func(*New)) (User, error) {
	u, err := tx.UserForUpdate(ctx, dbsqlc.UserForUpdateParams{TenantID: tx.Tenant(), ID: id})
	if err != nil {
		return User{}, unknown(err)
	}
	n, err := newOf(u)
	if err != nil {
		return User{}, err
	}
	change(&n)
	if err := assignable(ctx, tx, n.Roles); err != nil {
		return User{}, err
	}
	p, err := n.row(id)
	if err != nil {
		return User{}, err
	}
	err = taken(tx.UserUpdate(ctx, dbsqlc.UserUpdateParams{
		TenantID: tx.Tenant(), ID: id, Username: p.Username, UsernameNorm: p.UsernameNorm, Email: p.Email, EmailNorm: p.EmailNorm,
		EmailVerified: p.EmailVerified, Name: p.Name, GivenName: p.GivenName, FamilyName: p.FamilyName, MiddleName: p.MiddleName,
		Nickname: p.Nickname, Profile: p.Profile, Picture: p.Picture, Website: p.Website, Gender: p.Gender, Birthdate: p.Birthdate,
		Zoneinfo: p.Zoneinfo, Locale: p.Locale, PhoneNumber: p.PhoneNumber, PhoneNumberVerified: p.PhoneNumberVerified,
		Address: p.Address, Roles: p.Roles,
	}))
	if err != nil {
		return User{}, fmt.Errorf("change user %s: %w", id, err)
	}
	if err := record(ctx, tx, id, by, nil); err != nil {
		return User{}, err
	}
	return ByID(ctx, tx, id)
}

// SetEnabled disables an account, whose sessions and tokens then stop working at once, or enables it again, and records who
// did. ErrUnknown: there is none.
func SetEnabled(ctx context.Context, tx *store.Tx, id uuid.UUID, enabled bool, by audit.Party) error {
	n, err := tx.UserSetEnabled(ctx, dbsqlc.UserSetEnabledParams{TenantID: tx.Tenant(), ID: id, AccountEnabled: enabled})
	if err != nil {
		return fmt.Errorf("set account %s enabled=%t: %w", id, enabled, err)
	}
	if n == 0 {
		return ErrUnknown
	}
	return record(ctx, tx, id, by, map[string]string{"account_enabled": strconv.FormatBool(enabled)})
}

// assignable reports whether people of tx's tenant can have the roles.
func assignable(ctx context.Context, tx *store.Tx, roles []string) error {
	if !slices.Contains(roles, PlatformAdmin) && !slices.Contains(roles, PlatformViewer) {
		return nil
	}
	t, err := tx.TenantByID(ctx, tx.Tenant())
	if err != nil {
		return fmt.Errorf("look up tenant: %w", err)
	}
	if t.Slug != tenant.PlatformsSlug {
		return ErrPlatformRole
	}
	return nil
}

func record(ctx context.Context, tx *store.Tx, id uuid.UUID, by audit.Party, detail map[string]string) error {
	return audit.Record(ctx, tx, audit.Event{
		Type: audit.UserChanged, Status: audit.Success, Actor: by, Target: audit.User(id), Detail: detail,
	})
}

// taken makes a unique violation ErrTaken.
func taken(err error) error {
	if _, conflict := errors.AsType[*store.Conflict](err); conflict {
		return ErrTaken
	}
	return err
}

// unknown makes an account that is not there ErrUnknown.
func unknown(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return ErrUnknown
	}
	return fmt.Errorf("load user: %w", err)
}

// row is what is stored of the description, once it has been checked.
func (n New) row(id uuid.UUID) (dbsqlc.UserCreateParams, error) {
	if n.Username == id.String() {
		n.Username = ""
	}
	if err := n.Check(); err != nil {
		return dbsqlc.UserCreateParams{}, err
	}
	p := dbsqlc.UserCreateParams{
		ID: id, Username: strings.TrimSpace(n.Username), Email: optional(n.Email), Name: optional(n.Name), GivenName: optional(n.GivenName),
		FamilyName: optional(n.FamilyName), MiddleName: optional(n.MiddleName), Nickname: optional(n.Nickname), Profile: optional(n.Profile),
		Picture: optional(n.Picture), Website: optional(n.Website), Gender: optional(n.Gender), Birthdate: optional(n.Birthdate),
		Zoneinfo: optional(n.Zoneinfo), Locale: optional(n.Locale), PhoneNumber: optional(n.PhoneNumber), Roles: n.Roles,
	}
	if p.Username == "" {
		p.Username = id.String()
	}
	p.UsernameNorm = Fold(p.Username)
	if p.Email != nil {
		folded := Fold(*p.Email)
		p.EmailNorm, p.EmailVerified = &folded, n.EmailVerified
	}
	p.PhoneNumberVerified = p.PhoneNumber != nil && n.PhoneNumberVerified
	if p.Roles == nil {
		p.Roles = []string{"user"}
	}
	if n.Address == nil || *n.Address == (Address{}) {
		return p, nil
	}
	var err error
	p.Address, err = json.Marshal(n.Address)
	return p, err
}

// newOf is the opposite of row.
func newOf(u User) (New, error) {
	n := New{
		Username: u.Username, Email: text(u.Email), EmailVerified: u.EmailVerified, Name: text(u.Name), GivenName: text(u.GivenName),
		FamilyName: text(u.FamilyName), MiddleName: text(u.MiddleName), Nickname: text(u.Nickname), Profile: text(u.Profile),
		Picture: text(u.Picture), Website: text(u.Website), Gender: text(u.Gender), Birthdate: text(u.Birthdate), Zoneinfo: text(u.Zoneinfo),
		Locale: text(u.Locale), PhoneNumber: text(u.PhoneNumber), PhoneNumberVerified: u.PhoneNumberVerified, Roles: u.Roles,
	}
	if len(u.Address) > 0 {
		if err := json.Unmarshal(u.Address, &n.Address); err != nil {
			return New{}, fmt.Errorf("read address of user %s: %w", u.ID, err)
		}
	}
	return n, nil
}

func optional(s string) *string {
	if s = strings.TrimSpace(s); s == "" {
		return nil
	}
	return &s
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// ByID finds an account. store.ErrNotFound: none in this tenant.
func ByID(ctx context.Context, tx *store.Tx, id uuid.UUID) (User, error) {
	return tx.UserByID(ctx, dbsqlc.UserByIDParams{TenantID: tx.Tenant(), ID: id})
}

// Find finds an account by its id, email address or username, in this order. ErrUnknown: none in this tenant.
func Find(ctx context.Context, tx *store.Tx, who string) (User, error) {
	if id, err := uuid.Parse(who); err == nil {
		if u, err := ByID(ctx, tx, id); !errors.Is(err, store.ErrNotFound) {
			return u, err
		}
	}
	u, _, err := ForLogin(ctx, tx, who)
	if err != nil {
		return User{}, unknown(err)
	}
	return u, nil
}

// List pages through the people of tx's tenant by their folded usernames: after is that of the last one seen.
func List(ctx context.Context, tx *store.Tx, after string, limit int32) ([]User, error) {
	list, err := tx.UserList(ctx, dbsqlc.UserListParams{TenantID: tx.Tenant(), After: after, PageSize: limit})
	if err != nil {
		return nil, fmt.Errorf("list users: %w", err)
	}
	return list, nil
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
