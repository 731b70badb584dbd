// Package settings owns what can be adjusted: typed sections whose fields declare in their tags the default, the bounds, how far
// a tenant may move what the platform has set, and what the field does. From that one declaration come the validation, the
// merge, the schema, the forms and docs/settings.md. What is set is kept per tenant and section, with its history.
//
// The effective value is the default, under what the platform set, under what the tenant set, held to the limits. It refuses
// to store a name it does not know, a value out of range and one beyond a limit, listing every fault; a limit that became
// tighter later is applied when settings are read. Start reading at [Settings], [Load] and [Write].
package settings

import (
	"encoding/json"
	"slices"
	"time"
)

// Settings are the effective values for one tenant. Treat them as read only: they are shared. [Field] explains the tags.
type Settings struct {
	Application   Application   `json:"application"`
	Branding      Branding      `json:"branding"`
	Security      Security      `json:"security"`
	Features      Features      `json:"features"`
	OIDC          OIDC          `json:"oidc"`
	Integrations  Integrations  `json:"integrations"`
	Notifications Notifications `json:"notifications"`
}

// Application names the product and its languages.
type Application struct {
	Title       string  `json:"title" default:"Parako.ID" minLength:"1" maxLength:"255" doc:"Title of the hosted pages."`
	Description string  `json:"description" maxLength:"500" doc:"What the hosted pages say about themselves to search engines and link previews."`
	Locales     Locales `json:"locales"`
}

// Locales are BCP 47 tags. Default is one of Available.
type Locales struct {
	Default   string   `json:"default" default:"en" doc:"The language of whoever asks for none that is available; one of those available."`
	Available []string `json:"available" default:"en,fr,es,pt,de,it,ru,zh,ja,ko" format:"locale" doc:"The languages offered, as language tags such as pt-BR."`
}

// Branding changes how the hosted pages look. It reaches the style sheet only through custom properties.
type Branding struct {
	CompanyName  string `json:"companyName" maxLength:"255" doc:"The name that people see. Empty: the tenant's display name."`
	Logo         string `json:"logo" format:"web" doc:"The logo on light pages."`
	LogoDark     string `json:"logoDark" format:"web" doc:"The logo on dark pages; empty: the other one."`
	LogoIcon     string `json:"logoIcon" format:"web" awaits:"the consoles are not there yet" doc:"A square logo for narrow places."`
	LogoIconDark string `json:"logoIconDark" format:"web" awaits:"the consoles are not there yet" doc:"The square logo on dark pages."`
	Favicon      string `json:"favicon" format:"web" doc:"The icon of the browser's tab."`
	Fonts        Fonts  `json:"fonts"`
	Colors       Colors `json:"colors"`
}

// Fonts are CSS font-family lists; empty is the system's.
type Fonts struct {
	Sans    string `json:"sans" format:"fonts" doc:"Fonts of the text."`
	Heading string `json:"heading" format:"fonts" doc:"Fonts of the headings; empty: those of the text."`
	Mono    string `json:"mono" format:"fonts" doc:"Fonts of codes."`
}

// Colors map token names such as primaryForeground to #rgb or #rrggbb, for light and dark pages.
type Colors struct {
	Light map[string]string `json:"light" keys:"colors" doc:"The colour on light pages."`
	Dark  map[string]string `json:"dark" keys:"colors" doc:"The colour on dark pages."`
}

// colorNames are the tokens a brand may set: those on the pages, and then those that brands made for the product's palette have as
// well, which are kept for the pages to come.
var (
	colorNames = slices.Concat([]string{
		"primary", "primaryForeground", "accent", "accentForeground", "destructive", "success", "warning",
		"background", "foreground", "card", "cardForeground", "mutedForeground", "border", "input", "ring",
	}, keptColors)
	keptColors = []string{
		"secondary", "secondaryForeground", "destructiveForeground", "successForeground", "warningForeground", "info", "infoForeground",
		"popover", "popoverForeground", "muted", "sidebar", "sidebarForeground", "sidebarPrimary", "sidebarPrimaryForeground",
		"sidebarAccent", "sidebarAccentForeground", "sidebarBorder", "sidebarRing",
	}
)

// OIDC holds the protocol's numbers and names.
type OIDC struct {
	TokenTTL         TokenTTL          `json:"token_ttl"`
	Scopes           []string          `json:"scopes" enum:"roles,account" doc:"Scopes that clients may ask for besides the standard ones."`
	ResourceServers  []ResourceServer  `json:"resource_servers" doc:"The resources (RFC 8707) whose tokens differ from the defaults. One that is not here is known as soon as a client may ask for it."`
	JWTBearerIssuers []JWTBearerIssuer `json:"jwt_bearer_issuers" doc:"Who is trusted to vouch for people with a JSON Web Token (RFC 7523 section 2.1)."`
	Discovery        Discovery         `json:"discovery"`
}

// OptionalScopes mean something about a person and can be asked for where a tenant says so: roles (claim roles) and account
// (claims account_enabled, last_login and username).
var OptionalScopes = []string{"roles", "account"}

// Discovery adds to the discovery document.
type Discovery struct {
	ServiceDocumentation   string   `json:"service_documentation" format:"web" doc:"Where developers read about this provider."`
	OPPolicyURI            string   `json:"op_policy_uri" format:"web" doc:"How clients may use the data; empty: integrations.urls.privacy_policy."`
	OPTosURI               string   `json:"op_tos_uri" format:"web" doc:"The terms for clients; empty: integrations.urls.terms_of_service."`
	ClaimsLocalesSupported []string `json:"claims_locales_supported" format:"locale" doc:"The languages of claims; empty: not said."`
	DisplayValuesSupported []string `json:"display_values_supported" default:"page" enum:"page,popup,touch,wap" doc:"The values of the parameter display."`
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
	AccessToken       int `json:"access_token" default:"3600" minimum:"1" maximum:"86400" unit:"s" limit:"ceiling" doc:"Lifetime of access tokens."`
	ClientCredentials int `json:"client_credentials" default:"3600" minimum:"1" maximum:"86400" unit:"s" limit:"ceiling" doc:"Lifetime of access tokens from client_credentials."`
	IDToken           int `json:"id_token" default:"3600" minimum:"1" maximum:"86400" unit:"s" limit:"ceiling" doc:"Lifetime of ID tokens."`
	AuthorizationCode int `json:"authorization_code" default:"60" minimum:"1" maximum:"60" unit:"s" limit:"ceiling" doc:"Lifetime of authorization codes (RFC 9700 section 4.5 asks for short ones)."`
	RefreshToken      int `json:"refresh_token" default:"86400" minimum:"1" maximum:"31536000" unit:"s" limit:"ceiling" doc:"Lifetime of refresh tokens from their last use."`
	Interaction       int `json:"interaction" default:"600" minimum:"30" maximum:"3600" unit:"s" limit:"ceiling" doc:"How long a person has to sign in and consent."`
	DeviceCode        int `json:"device_code" default:"600" minimum:"30" maximum:"1800" unit:"s" limit:"ceiling" doc:"Lifetime of device codes (RFC 8628)."`
	PushedRequest     int `json:"pushed_request" default:"90" minimum:"5" maximum:"600" unit:"s" limit:"ceiling" doc:"Lifetime of pushed authorization requests (RFC 9126)."`
	Grant             int `json:"grant" default:"0" minimum:"0" maximum:"31536000" unit:"s" limit:"ceiling0" awaits:"grants live as long as their tokens" doc:"Lifetime of what a person has allowed an application; 0: as long as its tokens."`
	BackchannelAuth   int `json:"backchannel_auth" default:"600" minimum:"30" maximum:"3600" unit:"s" limit:"ceiling" awaits:"client-initiated backchannel authentication is not there yet" doc:"Lifetime of backchannel authentication requests."`
	Session           int `json:"session" default:"86400" minimum:"60" maximum:"31536000" unit:"s" limit:"ceiling" awaits:"security.authentication.session bounds sessions" doc:"Lifetime of the session's cookie."`
}

// Seconds turns one of the lifetimes into a duration.
func Seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// Integrations hold addresses outside.
type Integrations struct {
	Email Email `json:"email"`
	URLs  URLs  `json:"urls"`
}

// Email is how mail is sent. Without a host none is.
type Email struct {
	SMTPHost              string `json:"smtp_host" format:"host" doc:"The mail server that takes submissions; empty: no mail is sent. Private addresses are refused unless the operator has allowed them."`
	SMTPPort              int    `json:"smtp_port" default:"587" minimum:"1" maximum:"65535" doc:"Its port; 465 speaks TLS from the start, others STARTTLS."`
	SMTPUsername          string `json:"smtp_username" maxLength:"255" with:"integrations.email.smtp_host" doc:"The account; empty: none is used. A tenant with a server of its own does not inherit the platform's."`
	SMTPPassword          Sealed `json:"smtp_password" with:"integrations.email.smtp_host" doc:"The account's password. It is inherited together with the server, and never sent to another one."`
	From                  string `json:"from" format:"mailbox" doc:"The sender, as an address or as Name <address>."`
	TLSRejectUnauthorized bool   `json:"tls_reject_unauthorized" default:"true" limit:"floor" doc:"Whether the mail server's certificate must be valid."`
}

// URLs are links shown on the hosted pages; empty ones are not shown.
type URLs struct {
	Website        string `json:"website" format:"web" doc:"The organisation's site."`
	PrivacyPolicy  string `json:"privacy_policy" format:"web" doc:"The privacy policy."`
	TermsOfService string `json:"terms_of_service" format:"web" doc:"The terms of service."`
	Contact        string `json:"contact" format:"web" doc:"Where people find help."`
}

// Notifications say what people are told, and how.
type Notifications struct {
	Channels Channels             `json:"channels"`
	Defaults NotificationDefaults `json:"defaults"`
}

// Channels are ways to reach people.
type Channels struct {
	Email Channel `json:"email"`
	SMS   SMS     `json:"sms"`
}

// Channel is a way that is on or off.
type Channel struct {
	Enabled bool `json:"enabled" default:"true" doc:"Whether mail is sent at all, given a mail server in integrations.email."`
}

// SMS is how text messages are sent.
type SMS struct {
	Enabled    bool      `json:"enabled" awaits:"the server cannot send SMS yet" doc:"Whether text messages are sent."`
	Provider   string    `json:"provider" default:"twilio" enum:"twilio" doc:"Who sends them."`
	FromNumber string    `json:"from_number" format:"phone" doc:"The sender, as +491701234567."`
	APIKey     Sealed    `json:"api_key" doc:"The account at the provider."`
	APISecret  Sealed    `json:"api_secret" doc:"The account's secret."`
	RateLimits SMSLimits `json:"rate_limits"`
}

// SMSLimits bound what text messages cost.
type SMSLimits struct {
	PerPhonePerHour int `json:"per_phone_per_hour" default:"3" minimum:"1" maximum:"100" limit:"ceiling" doc:"Messages to one number within an hour."`
	PerIPPerDay     int `json:"per_ip_per_day" default:"10" minimum:"1" maximum:"10000" limit:"ceiling" doc:"Messages on behalf of one address within a day."`
	CooldownSeconds int `json:"cooldown_seconds" default:"60" minimum:"0" maximum:"3600" unit:"s" limit:"floor" doc:"The least time between two messages to one number."`
}

// NotificationDefaults hold for people who have not chosen.
type NotificationDefaults struct {
	SecurityAlerts       bool `json:"security_alerts" awaits:"people cannot change their account yet" doc:"Whether people hear of changes to their account."`
	NewSessionAlerts     bool `json:"new_session_alerts" default:"true" doc:"Whether people get a mail about a sign-in in a new browser session, at an address that was proven to be theirs."`
	AllowUserPreferences bool `json:"allow_user_preferences" awaits:"people have no page for their choices yet" doc:"Whether people may choose themselves."`
}
