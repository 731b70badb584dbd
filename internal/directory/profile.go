package directory

import (
	"errors"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // Not every machine has the time zones.
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/text/language"

	"parako/internal/problem"
)

// What is wrong with a description of a person.
var (
	ErrEmailFormat     = problem.New(problem.Invalid, "email_format", "This is not an email address.")
	ErrUsernameFormat  = problem.New(problem.Invalid, "username_format", "A username is 1 to 50 visible characters without spaces or @, and no UUID.")
	ErrPhoneFormat     = problem.New(problem.Invalid, "phone_format", "A phone number is written in E.164 form, such as +442071838750.")
	ErrProfileFormat   = problem.New(problem.Invalid, "profile_format", "A name, a nickname, a gender, a role or a part of an address is at most 255 characters without control characters.")
	ErrLinkFormat      = problem.New(problem.Invalid, "link_format", "A profile, a picture or a website is an http or https URL of at most 2048 characters.")
	ErrBirthdateFormat = problem.New(problem.Invalid, "birthdate_format", "A birthdate is a day (YYYY-MM-DD), a year (YYYY), or a day without its year (0000-MM-DD).")
	ErrZoneinfoFormat  = problem.New(problem.Invalid, "zoneinfo_format", "A time zone is a name of the IANA database, such as Europe/London.")
	ErrLocaleFormat    = problem.New(problem.Invalid, "locale_format", "A locale is a language tag (BCP 47), such as en-GB.")
)

// New describes a person: every claim of OpenID Connect Core section 5.1, and roles. Every field may be empty; space around a
// text does not count, and an empty Username becomes the account's id.
type New struct {
	Username            string
	Email               string
	EmailVerified       bool
	Name                string
	GivenName           string
	FamilyName          string
	MiddleName          string
	Nickname            string
	Profile             string // http or https URL, as the two below
	Picture             string
	Website             string
	Gender              string
	Birthdate           string // YYYY-MM-DD, YYYY, or 0000-MM-DD
	Zoneinfo            string // IANA
	Locale              string // BCP 47
	PhoneNumber         string // E.164
	PhoneNumberVerified bool
	Address             *Address
	Roles               []string // default user
}

// Address is the address claim (OpenID Connect Core section 5.1.1).
type Address struct {
	Formatted     string `json:"formatted,omitempty"`
	StreetAddress string `json:"street_address,omitempty"`
	Locality      string `json:"locality,omitempty"`
	Region        string `json:"region,omitempty"`
	PostalCode    string `json:"postal_code,omitempty"`
	Country       string `json:"country,omitempty"`
}

const (
	maxUsername = 50  // characters
	maxEmail    = 254 // bytes (RFC 5321 section 4.5.3.1.3, without the angle brackets)
	maxProfile  = 255 // characters
	maxLink     = 2048
	maxRoles    = 50
)

var (
	phoneFormat     = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
	birthdateFormat = regexp.MustCompile(`^[0-9]{4}(?:-[0-9]{2}-[0-9]{2})?$`)
)

// Check finds what cannot be stored of the description: all of the errors above that apply, joined.
func (n New) Check() error {
	var faults []error
	check := func(text string, valid func(string) bool, fault error) {
		if text = strings.TrimSpace(text); text != "" && !valid(text) {
			faults = append(faults, fault)
		}
	}
	check(n.Email, validEmail, ErrEmailFormat)
	check(n.Username, func(s string) bool { return validUsername(s) && validUsername(Fold(s)) }, ErrUsernameFormat)
	if n.PhoneNumber != "" && !phoneFormat.MatchString(n.PhoneNumber) {
		faults = append(faults, ErrPhoneFormat)
	}
	lines := append([]string{n.Name, n.GivenName, n.FamilyName, n.MiddleName, n.Nickname, n.Gender}, n.Roles...)
	var paragraphs []string
	if a := n.Address; a != nil {
		lines = append(lines, a.Locality, a.Region, a.PostalCode, a.Country)
		paragraphs = []string{a.Formatted, a.StreetAddress}
	}
	spaced := func(role string) bool { return role == "" || strings.TrimSpace(role) != role }
	if !all(lines, validLine) || !all(paragraphs, validParagraph) || len(n.Roles) > maxRoles || slices.ContainsFunc(n.Roles, spaced) {
		faults = append(faults, ErrProfileFormat)
	}
	if !all([]string{n.Profile, n.Picture, n.Website}, validLink) {
		faults = append(faults, ErrLinkFormat)
	}
	check(n.Birthdate, validBirthdate, ErrBirthdateFormat)
	check(n.Zoneinfo, validZoneinfo, ErrZoneinfoFormat)
	check(n.Locale, validLocale, ErrLocaleFormat)
	return errors.Join(faults...)
}

func all(list []string, valid func(string) bool) bool {
	return !slices.ContainsFunc(list, func(text string) bool {
		text = strings.TrimSpace(text)
		return text != "" && !valid(text)
	})
}

func validEmail(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s && len(s) <= maxEmail && visible(s)
}

// validUsername is asked about the name as typed and as folded: a full-width ＠ must not fold into an email address. A name
// that reads like the id of an account could be taken for that account.
func validUsername(s string) bool {
	n := utf8.RuneCountInString(s)
	_, notID := uuid.Parse(s)
	return n > 0 && n <= maxUsername && visible(s) && !strings.ContainsRune(s, '@') && notID != nil
}

// visible reports whether s has only characters that show: with a zero-width or a right-to-left character, two
// names could look alike.
func visible(s string) bool {
	hidden := func(r rune) bool { return r == utf8.RuneError || r == ' ' || !unicode.IsPrint(r) }
	return !strings.ContainsFunc(s, hidden)
}

func validLine(s string) bool { return validParagraph(s) && !strings.ContainsAny(s, "\r\n") }

// validParagraph allows line breaks, which a formatted address and a street address may have.
func validParagraph(s string) bool {
	bad := func(r rune) bool { return r == utf8.RuneError || unicode.IsControl(r) && r != '\n' && r != '\r' }
	return utf8.RuneCountInString(s) <= maxProfile && !strings.ContainsFunc(s, bad)
}

// validLink keeps out what a page that shows the link would run, and credentials.
func validLink(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil && len(s) <= maxLink && visible(s)
}

// validBirthdate knows the forms of OpenID Connect Core section 5.1; the year 0000 stands for one that is not told.
func validBirthdate(s string) bool {
	if !birthdateFormat.MatchString(s) {
		return false
	}
	if len(s) == len("2006") {
		return s != "0000"
	}
	_, err := time.Parse(time.DateOnly, s) // 0000 is a leap year.
	return err == nil
}

func validZoneinfo(s string) bool {
	_, err := time.LoadLocation(s)
	return err == nil && s != "Local" // Local means this machine's.
}

func validLocale(s string) bool {
	_, err := language.Parse(s)
	return err == nil && len(s) <= maxLocale
}

// maxLocale is as long as a language tag gets (BCP 47 section 4.4.1).
const maxLocale = 35
