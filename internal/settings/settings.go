// Package settings owns what a tenant can adjust: typed sections with a default beside every field, overrides kept in the
// database per section, and the effective value, which is the defaults with the overrides laid over them.
//
// It refuses an override with a name it does not know or a value that is out of range, at the moment it is written, listing
// every fault. Start reading at [Settings] and [Load].
package settings

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/problem"
	"parako/internal/store"
)

// Settings are the effective values for one tenant. Treat them as read only: they are shared.
type Settings struct {
	Application  Application  `json:"application"`
	Branding     Branding     `json:"branding"`
	Security     Security     `json:"security"`
	Features     Features     `json:"features"`
	OIDC         OIDC         `json:"oidc"`
	Integrations Integrations `json:"integrations"`
}

// Application names the product and its languages.
type Application struct {
	// Title of the pages. Default "Parako.ID".
	Title   string  `json:"title"`
	Locales Locales `json:"locales"`
}

// Locales are BCP 47 tags. Default is one of Available.
type Locales struct {
	Default   string   `json:"default"`
	Available []string `json:"available"`
}

// Branding changes how the hosted pages look. It reaches the style sheet only through custom properties.
type Branding struct {
	// CompanyName as shown to people. Empty: the tenant's display name.
	CompanyName string `json:"companyName"`
	// Logo and LogoDark are https URLs, or empty: pages are https, and a picture over http would not be shown.
	Logo     string `json:"logo"`
	LogoDark string `json:"logoDark"`
	Fonts    Fonts  `json:"fonts"`
	Colors   Colors `json:"colors"`
}

// Fonts are CSS font-family lists; empty is the system's.
type Fonts struct {
	Sans string `json:"sans"`
}

// Colors map token names such as primaryForeground (see colorNames) to #rgb or #rrggbb, for light and dark pages.
type Colors struct {
	Light map[string]string `json:"light"`
	Dark  map[string]string `json:"dark"`
}

// Security holds the policies of signing in.
type Security struct {
	Authentication Authentication `json:"authentication"`
}

// Authentication holds the policies of sessions, passwords and self-registration.
type Authentication struct {
	Session        Session        `json:"session"`
	PasswordPolicy PasswordPolicy `json:"password_policy"`
	Signup         Signup         `json:"signup"`
}

// Session bounds how long a browser stays signed in. Zero turns a bound off.
type Session struct {
	// IdleTimeoutMinutes without a request end a session. Default 30.
	IdleTimeoutMinutes int `json:"idle_timeout_minutes"`
	// AbsoluteTimeoutHours end a session whatever happens. Default 24.
	AbsoluteTimeoutHours int `json:"absolute_timeout_hours"`
}

// Idle is IdleTimeoutMinutes as a duration; 0 is never.
func (s Session) Idle() time.Duration { return time.Duration(s.IdleTimeoutMinutes) * time.Minute }

// Absolute is AbsoluteTimeoutHours as a duration; 0 is never.
func (s Session) Absolute() time.Duration { return time.Duration(s.AbsoluteTimeoutHours) * time.Hour }

// PasswordPolicy says what a new password is like. NIST SP 800-63B-4 section 3.1.1.2 advises against all but the length, so
// the rest is off by default.
type PasswordPolicy struct {
	// MinLength in characters, 8 to 64. Default 8; where a password is the only proof, that document asks for 15.
	MinLength        int  `json:"min_length"`
	RequireUppercase bool `json:"require_uppercase"`
	RequireLowercase bool `json:"require_lowercase"`
	RequireNumbers   bool `json:"require_numbers"`
	RequireSymbols   bool `json:"require_symbols"`
}

// Signup says whether people may make accounts for themselves.
type Signup struct {
	// Enabled offers registration on the login page, and by prompt=create. Default off.
	Enabled bool `json:"enabled"`
	// Methods are the identifiers that people may register, of [SignupMethods]. With both, one of them is enough. Default email.
	Methods []string `json:"signup_methods"`
	// RequireEmailVerification and RequirePhoneVerification cannot be true: the server sends neither mail nor SMS yet.
	RequireEmailVerification bool `json:"require_email_verification"`
	RequirePhoneVerification bool `json:"require_phone_verification"`
}

// The identifiers that people may register.
const (
	SignupEmail    = "email"
	SignupUsername = "username"
)

// SignupMethods lists them, in the order they are shown.
var SignupMethods = []string{SignupEmail, SignupUsername}

// OIDC holds the protocol's numbers and names.
type OIDC struct {
	TokenTTL TokenTTL `json:"token_ttl"`
	// Scopes are those of [OptionalScopes] that clients may ask for besides the standard ones. Default none.
	Scopes []string `json:"scopes"`
	// ResourceServers are the resources (RFC 8707) whose tokens differ from the defaults. A resource that is not here is known
	// as soon as a client may ask for it.
	ResourceServers []ResourceServer `json:"resource_servers"`
	// JWTBearerIssuers are trusted to vouch for people with a JSON Web Token (RFC 7523 section 2.1).
	JWTBearerIssuers []JWTBearerIssuer `json:"jwt_bearer_issuers"`
	Discovery        Discovery         `json:"discovery"`
}

// OptionalScopes mean something about a person and can be asked for where a tenant says so: roles (claim roles) and account
// (claims account_enabled, last_login and username).
var OptionalScopes = []string{"roles", "account"}

// Discovery adds to the discovery document.
type Discovery struct {
	// ServiceDocumentation is an https URL, or empty.
	ServiceDocumentation string `json:"service_documentation"`
}

// The formats of access tokens for a resource.
const (
	FormatJWT    = "jwt"
	FormatOpaque = "opaque"
)

// ResourceServer is what tokens for a resource are like.
type ResourceServer struct {
	// Identifier is the resource parameter's value, an absolute URI.
	Identifier string `json:"identifier"`
	// Scopes are those that exist there; empty means whatever the client is registered for.
	Scopes []string `json:"scopes"`
	// AccessTokenFormat is jwt (default) or opaque.
	AccessTokenFormat string `json:"accessTokenFormat"`
	// AccessTokenTTL is the lifetime in seconds; 0 takes the tenant's.
	AccessTokenTTL int `json:"access_token_ttl"`
	// SigningAlg is RS256, PS256, ES256 (default) or EdDSA.
	SigningAlg string `json:"signing_alg"`
}

// JWTBearerIssuer is somebody else's issuer.
type JWTBearerIssuer struct {
	// Issuer is compared with iss, byte for byte.
	Issuer string `json:"issuer"`
	// JWKSURI is an https URL, JWKS the set itself; exactly one is given.
	JWKSURI string          `json:"jwks_uri"`
	JWKS    json.RawMessage `json:"jwks,omitempty"`
	// Subject says what sub is here: id (default), username or email of an account.
	Subject string `json:"subject"`
	// Scopes are the most it can vouch for; Clients who may present its tokens. Both empty by default, which is nobody.
	Scopes  []string `json:"scopes"`
	Clients []string `json:"clients"`
}

// The bounds of the lifetime of device codes in seconds. What lives longer can be guessed longer.
const (
	MinDeviceCodeTTL = 30
	MaxDeviceCodeTTL = 1800
)

// TokenTTL are lifetimes in seconds.
type TokenTTL struct {
	AccessToken       int `json:"access_token"`       // default 3600
	ClientCredentials int `json:"client_credentials"` // default 3600
	IDToken           int `json:"id_token"`           // default 3600
	AuthorizationCode int `json:"authorization_code"` // default 60, at most 60 (RFC 9700 section 4.5 asks for short)
	RefreshToken      int `json:"refresh_token"`      // default 86400
	Interaction       int `json:"interaction"`        // default 600
	DeviceCode        int `json:"device_code"`        // default 600
	PushedRequest     int `json:"pushed_request"`     // default 90
}

// Seconds turns one of the lifetimes into a duration.
func Seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// Integrations hold addresses outside.
type Integrations struct {
	URLs URLs `json:"urls"`
}

// URLs are links shown on the hosted pages; empty ones are not shown.
type URLs struct {
	PrivacyPolicy  string `json:"privacy_policy"`
	TermsOfService string `json:"terms_of_service"`
}

// Default is what holds where a tenant has said nothing.
func Default() Settings {
	return Settings{
		Application: Application{
			Title: "Parako.ID",
			Locales: Locales{
				Default:   "en",
				Available: []string{"en", "fr", "es", "pt", "de", "it", "ru", "zh", "ja", "ko"},
			},
		},
		Branding: Branding{Colors: Colors{Light: map[string]string{}, Dark: map[string]string{}}},
		Security: Security{Authentication: Authentication{
			Session:        Session{IdleTimeoutMinutes: 30, AbsoluteTimeoutHours: 24},
			PasswordPolicy: PasswordPolicy{MinLength: 8},
			Signup:         Signup{Methods: []string{SignupEmail}},
		}},
		Features: defaultFeatures(),
		OIDC: OIDC{TokenTTL: TokenTTL{
			AccessToken: 3600, ClientCredentials: 3600, IDToken: 3600, AuthorizationCode: 60, RefreshToken: 86400, Interaction: 600,
			DeviceCode: 600, PushedRequest: 90,
		}},
	}
}

// Section returns a pointer to the part of s with that name; nil for a section without settings yet.
func (s *Settings) Section(name string) any {
	switch name {
	case "application":
		return &s.Application
	case "branding":
		return &s.Branding
	case "security":
		return &s.Security
	case "features":
		return &s.Features
	case "oidc":
		return &s.OIDC
	case "integrations":
		return &s.Integrations
	}
	return nil
}

// lay puts an override over s: objects merge, arrays and scalars replace, null leaves what is there. It may come from a
// newer release, whose sections and names are passed over.
func (s *Settings) lay(section string, override []byte) error {
	target := s.Section(section)
	if target == nil {
		return nil
	}
	override, err := withoutNulls(override) // encoding/json would let null empty a list or a map
	if err == nil {
		err = decode(override, target, false)
	}
	if err != nil {
		return fmt.Errorf("section %s: %w", section, err)
	}
	return nil
}

// decode reads exactly one JSON value, whose names must all be known when strict.
func decode(document []byte, target any, strict bool) error {
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(target); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

// withoutNulls leaves out the members of objects that are null.
func withoutNulls(document []byte) ([]byte, error) {
	var tree any
	if err := decode(document, &tree, false); err != nil {
		return nil, err
	}
	prune(tree)
	return json.Marshal(tree)
}

func prune(node any) {
	object, _ := node.(map[string]any)
	maps.DeleteFunc(object, func(_ string, member any) bool { return member == nil })
	for _, member := range object {
		prune(member)
	}
}

// Load reads the effective settings of tx's tenant, in one round trip.
func Load(ctx context.Context, tx *store.Tx) (Settings, error) {
	rows, err := tx.SettingsList(ctx, tx.Tenant())
	if err != nil {
		return Settings{}, fmt.Errorf("load settings: %w", err)
	}
	s := Default()
	for _, r := range rows {
		if err := s.lay(r.Section, r.Value); err != nil {
			return Settings{}, fmt.Errorf("load settings: %w", err)
		}
	}
	return s, nil
}

// Put replaces the override of one section after checking what it would make of the settings, records who did (by), and raises the tenant's
// revision, which it returns. A section or a name it does not know, a value of the wrong type and one out of range are
// problems of kind Invalid, with every fault in the message as far as the document can be read.
func Put(ctx context.Context, tx *store.Tx, section string, override json.RawMessage, by audit.Party) (int64, error) {
	known := new(Settings).Section(section)
	if known == nil {
		return 0, problem.New(problem.Invalid, "section_not_allowed", "There are no settings in this section.")
	}
	if err := decode(override, known, true); err != nil {
		return 0, invalid(explain(section, err)).Because(err)
	}
	override, err := withoutNulls(override) // What was checked is what is stored: a member may have been there twice.
	if err != nil {
		return 0, fmt.Errorf("put settings: %w", err)
	}
	s := Default()
	if err := s.lay(section, override); err != nil {
		return 0, fmt.Errorf("put settings: %w", err)
	}
	if faults := s.Validate(); len(faults) > 0 {
		return 0, invalid(faults...)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return 0, fmt.Errorf("put settings: %w", err)
	}
	if _, err = tx.SettingsPut(ctx, dbsqlc.SettingsPutParams{ID: id, Section: section, Value: override}); err != nil {
		return 0, fmt.Errorf("put settings: %w", err)
	}
	err = audit.Record(ctx, tx, audit.Event{
		Type: audit.SettingsChanged, Status: audit.Success, Actor: by, Target: audit.Thing("settings", section),
	})
	if err != nil {
		return 0, err
	}
	return tx.TenantTouch(ctx, tx.Tenant())
}

func invalid(faults ...string) *problem.Error {
	return problem.New(problem.Invalid, "settings_invalid", "The settings are not valid: "+strings.Join(faults, "; ")+".")
}

// explain says what is wrong with a document to whoever wrote it.
func explain(section string, err error) string {
	t, ok := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case !ok:
		return section + ": " + strings.TrimPrefix(err.Error(), "json: ")
	case t.Field == "":
		return section + " must be an object"
	}
	return section + "." + t.Field + " has the wrong type"
}
