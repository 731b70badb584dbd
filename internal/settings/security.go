package settings

import "time"

// Security holds the policies of signing in.
type Security struct {
	KeyStore       KeyStore       `json:"key_store"`
	Protection     Protection     `json:"protection"`
	Authentication Authentication `json:"authentication"`
}

// KeyStore is how long signing keys are used.
type KeyStore struct {
	RotationIntervalDays int      `json:"rotation_interval_days" default:"90" minimum:"1" maximum:"3650" unit:"d" scope:"platform" doc:"How long a key signs before another takes its place."`
	OverlapWindowSeconds int      `json:"overlap_window_seconds" default:"7200" minimum:"0" maximum:"31536000" unit:"s" scope:"platform" doc:"The least time for which a key that no longer signs stays published. It stays longer when a token it signed lives longer."`
	PromotionDelayMS     int      `json:"promotion_delay_ms" default:"0" minimum:"0" maximum:"86400000" unit:"ms" scope:"platform" doc:"How long a new key is published before it signs; at least as long as key sets may be cached."`
	Algorithms           []string `json:"algorithms" default:"RS256,ES256,EdDSA" enum:"RS256,ES256,EdDSA" scope:"platform" awaits:"every tenant has a key of each" doc:"The algorithms that every tenant has a key for."`
}

// Protection is against those who are not who they say.
type Protection struct {
	RateLimiting      RateLimiting   `json:"rate_limiting"`
	HighRiskCountries []string       `json:"high_risk_countries" format:"country" awaits:"the server does not look at devices and places yet" doc:"Countries from which signing in needs more proof, as two letters."`
	EncryptDeviceData bool           `json:"encrypt_device_data" limit:"floor" awaits:"the server keeps no data of devices yet" doc:"Whether what is known of devices is sealed."`
	DeviceMatching    DeviceMatching `json:"device_matching"`
}

// RateLimiting bounds the requests of one address to one tenant. The names are older than what they mean: RequestsPerMinute is how
// many requests there may be in a window, not in a minute.
type RateLimiting struct {
	Enabled           bool `json:"enabled" default:"true" limit:"floor" doc:"Whether an address may only open so many pages of this tenant. What applications ask does not count."`
	RequestsPerMinute int  `json:"requests_per_minute" default:"100" minimum:"1" maximum:"100000" limit:"ceiling" doc:"Pages opened and forms sent from one address within window_minutes, whatever the name says. They may come at once, and return evenly."`
	WindowMinutes     int  `json:"window_minutes" default:"15" minimum:"1" maximum:"60" unit:"min" limit:"floor" doc:"The time that requests_per_minute counts: 100 in 15 minutes are 100 at once and one every 9 seconds from then on. A shorter one allows more, so the limit is a floor."`
}

// Window is WindowMinutes as a duration.
func (r RateLimiting) Window() time.Duration { return time.Duration(r.WindowMinutes) * time.Minute }

// DeviceMatching is when a device counts as known.
type DeviceMatching struct {
	MinConfidenceScore       int     `json:"min_confidence_score" default:"70" minimum:"0" maximum:"100" limit:"floor" awaits:"the server does not look at devices yet" doc:"The least similarity of a device that is known, in per cent."`
	IPSimilarityThreshold    float64 `json:"ip_similarity_threshold" default:"0.8" minimum:"0" maximum:"1" limit:"floor" awaits:"the server does not look at devices yet" doc:"The least similarity of addresses."`
	EnableImpossibleTravel   bool    `json:"enable_impossible_travel" scope:"platform" awaits:"the server does not look at places yet" doc:"Whether two places that nobody could travel between are a sign of theft."`
	ImpossibleTravelMaxSpeed int     `json:"impossible_travel_max_speed_kmh" default:"900" minimum:"1" maximum:"100000" unit:"km/h" limit:"ceiling" awaits:"the server does not look at places yet" doc:"The speed that nobody travels at."`
	TrustDurationDays        int     `json:"trust_duration_days" default:"30" minimum:"1" maximum:"365" unit:"d" limit:"ceiling" awaits:"the server does not look at devices yet" doc:"How long a device that was proven is trusted."`
}

// Authentication holds the policies of sessions, passwords and self-registration.
type Authentication struct {
	MultiFactor             MultiFactor             `json:"multi_factor"`
	SessionManagement       SessionManagement       `json:"session_management"`
	Session                 Session                 `json:"session"`
	Login                   Login                   `json:"login"`
	PasswordPolicy          PasswordPolicy          `json:"password_policy"`
	PasswordBreachDetection PasswordBreachDetection `json:"password_breach_detection"`
	Signup                  Signup                  `json:"signup"`
	Roles                   Roles                   `json:"roles"`
	CustomIdentifiers       CustomIdentifiers       `json:"custom_identifiers"`
	Recovery                Recovery                `json:"recovery"`
}

// MultiFactor is which second proofs people may set up.
type MultiFactor struct {
	Enabled  bool      `json:"enabled" limit:"floor" awaits:"the server knows no second factor yet" doc:"Whether people may protect their account with a second proof."`
	TOTP     TOTP      `json:"totp"`
	Email    EmailCode `json:"email"`
	SMS      SMSCode   `json:"sms"`
	WebAuthn WebAuthn  `json:"webauthn"`
}

// TOTP is the codes of authenticator apps (RFC 6238).
type TOTP struct {
	Enabled    bool   `json:"enabled" limit:"floor" awaits:"the server knows no second factor yet" doc:"Whether codes of authenticator apps are offered."`
	IssuerName string `json:"issuer_name" maxLength:"255" doc:"The name that the app shows; empty: the organisation's."`
}

// EmailCode is codes by mail.
type EmailCode struct {
	Enabled        bool `json:"enabled" limit:"floor" awaits:"the server knows no second factor yet" doc:"Whether codes by mail are offered."`
	CodeTTLSeconds int  `json:"code_ttl_seconds" default:"600" minimum:"60" maximum:"3600" unit:"s" limit:"ceiling" doc:"Lifetime of a code."`
}

// SMSCode is codes by text message.
type SMSCode struct {
	Enabled bool `json:"enabled" limit:"floor" awaits:"the server cannot send SMS yet" doc:"Whether codes by text message are offered."`
}

// WebAuthn is passkeys and security keys.
type WebAuthn struct {
	Enabled                 bool   `json:"enabled" limit:"floor" awaits:"the server knows no passkeys yet" doc:"Whether passkeys are offered."`
	RPName                  string `json:"rp_name" maxLength:"255" doc:"The name that the browser shows; empty: the organisation's."`
	Timeout                 int    `json:"timeout" default:"60000" minimum:"30000" maximum:"300000" unit:"ms" doc:"How long the browser waits for the person."`
	Attestation             string `json:"attestation" default:"none" enum:"none,indirect,direct,enterprise" scope:"platform" doc:"What the authenticator has to say about itself."`
	UserVerification        string `json:"user_verification" default:"preferred" enum:"discouraged,preferred,required" limit:"floor" doc:"Whether the authenticator asks for a PIN or a finger."`
	AuthenticatorAttachment string `json:"authenticator_attachment" enum:",platform,cross-platform" doc:"The kind of authenticator; empty: any."`
	ResidentKey             string `json:"resident_key" default:"preferred" enum:"discouraged,preferred,required" limit:"floor" doc:"Whether the passkey must be able to sign in without a username."`
	MaxCredentialsPerUser   int    `json:"max_credentials_per_user" default:"10" minimum:"1" maximum:"50" limit:"ceiling" doc:"Passkeys of one person."`
}

// SessionManagement is about several people in one browser.
type SessionManagement struct {
	MultipleAccounts Switch `json:"multiple_accounts" awaits:"a browser holds one account yet" doc:"Whether several accounts may be signed in at once in one browser."`
}

// Session bounds how long a browser stays signed in. Zero turns a bound off.
type Session struct {
	IdleTimeoutMinutes           int    `json:"idle_timeout_minutes" default:"30" minimum:"0" maximum:"525600" unit:"min" limit:"ceiling0" doc:"Minutes without a request that end a session; 0: never."`
	AbsoluteTimeoutHours         int    `json:"absolute_timeout_hours" default:"24" minimum:"0" maximum:"8760" unit:"h" limit:"ceiling0" doc:"Hours after which a session ends whatever happens; 0: never."`
	BindIP                       bool   `json:"bind_ip" limit:"floor" doc:"Whether a session ends when its address changes. It hits people on the move."`
	BindUserAgent                bool   `json:"bind_user_agent" limit:"floor" doc:"Whether a session ends when the browser calls itself something else."`
	BindDevice                   bool   `json:"bind_device" limit:"floor" awaits:"the server does not look at devices yet" doc:"Whether a session ends when its device changes."`
	MaxConcurrentSessions        int    `json:"max_concurrent_sessions" default:"0" minimum:"0" maximum:"1000" limit:"ceiling0" doc:"Sessions of one person; the oldest ends when there is one more. 0: any number."`
	MaxAccountsPerSession        int    `json:"max_accounts_per_session" default:"1" minimum:"1" maximum:"20" limit:"ceiling" awaits:"a browser holds one account yet" doc:"Accounts in one browser at once."`
	EncryptSessionData           bool   `json:"encrypt_session_data" limit:"floor" awaits:"sessions hold no secret: the cookie is kept as a digest" doc:"Whether what is known of a session is sealed."`
	NotifyNewSession             bool   `json:"notify_new_session" limit:"floor" doc:"Whether people get the mail about a new session whatever notifications.defaults says."`
	RequireReauthOnSwitch        bool   `json:"require_reauth_on_switch" limit:"floor" awaits:"a browser holds one account yet" doc:"Whether a person proves again who they are when they choose another account of the browser."`
	Require2FAForNewDevice       bool   `json:"require_2fa_for_new_device" limit:"floor" awaits:"the server knows no second factor yet" doc:"Whether a new device needs a second proof."`
	NewDevice2FAMethod           string `json:"new_device_2fa_method" default:"auto" enum:"auto,totp,email" awaits:"the server knows no second factor yet" doc:"Which proof a new device needs."`
	NewDeviceConfidenceThreshold int    `json:"new_device_confidence_threshold" default:"70" minimum:"0" maximum:"100" limit:"floor" awaits:"the server does not look at devices yet" doc:"The least similarity of a device that is not new, in per cent."`
}

// Idle is IdleTimeoutMinutes as a duration; 0 is never.
func (s Session) Idle() time.Duration { return time.Duration(s.IdleTimeoutMinutes) * time.Minute }

// Absolute is AbsoluteTimeoutHours as a duration; 0 is never.
func (s Session) Absolute() time.Duration { return time.Duration(s.AbsoluteTimeoutHours) * time.Hour }

// The identifiers that people may sign in and register with.
const (
	SignupEmail    = "email"
	SignupUsername = "username"
)

// SignupMethods lists them, in the order they are shown.
var SignupMethods = []string{SignupEmail, SignupUsername}

// Login says what people call themselves.
type Login struct {
	LoginMethods []string `json:"login_methods" default:"email,username" enum:"email,username" least:"1" doc:"What people may sign in with."`
}

// PasswordPolicy says what a new password is like. NIST SP 800-63B-4 section 3.1.1.2 advises against all but the length, so
// the rest is off by default.
type PasswordPolicy struct {
	MinLength        int  `json:"min_length" default:"8" minimum:"8" maximum:"64" limit:"floor" doc:"Least number of characters. Where a password is the only proof, NIST SP 800-63B-4 asks for 15."`
	RequireUppercase bool `json:"require_uppercase" limit:"floor" doc:"Whether it needs a capital letter."`
	RequireLowercase bool `json:"require_lowercase" limit:"floor" doc:"Whether it needs a small letter."`
	RequireNumbers   bool `json:"require_numbers" limit:"floor" doc:"Whether it needs a digit."`
	RequireSymbols   bool `json:"require_symbols" limit:"floor" doc:"Whether it needs another character."`
	MaxAgeDays       int  `json:"max_age_days" default:"0" minimum:"0" maximum:"3650" unit:"d" limit:"ceiling0" awaits:"people cannot change their password yet" doc:"Days after which a password must be changed; 0: never, as NIST advises."`
}

// PasswordBreachDetection asks whether a password is known to thieves.
type PasswordBreachDetection struct {
	Enabled             bool `json:"enabled" scope:"platform" awaits:"the server asks nobody about passwords yet" doc:"Whether passwords are looked up among those known to be stolen."`
	APITimeoutMS        int  `json:"api_timeout_ms" default:"3000" minimum:"500" maximum:"30000" unit:"ms" scope:"platform" doc:"How long to wait for the answer."`
	CheckOnRegistration bool `json:"check_on_registration" default:"true" scope:"platform" doc:"Whether to ask when an account is made."`
	CheckOnLogin        bool `json:"check_on_login" default:"true" scope:"platform" doc:"Whether to ask when somebody signs in."`
	CheckOnReset        bool `json:"check_on_password_reset" default:"true" scope:"platform" doc:"Whether to ask when a password is reset."`
	CheckOnChange       bool `json:"check_on_password_change" default:"true" scope:"platform" doc:"Whether to ask when a password is changed."`
	MinBreachCount      int  `json:"min_breach_count" default:"1" minimum:"1" maximum:"1000000" scope:"platform" doc:"How often a password must have been seen."`
}

// Signup says whether people may make accounts for themselves.
type Signup struct {
	Enabled                  bool            `json:"enabled" doc:"Whether the login page offers registration, and prompt=create is served."`
	Methods                  []string        `json:"signup_methods" default:"email" enum:"email,username" least:"1" doc:"The identifiers that people may register. With both, one of them is enough."`
	RequireEmailVerification bool            `json:"require_email_verification" limit:"floor" awaits:"nobody can prove an address yet, and so finish to register" doc:"Whether an address must be proven first."`
	RequirePhoneVerification bool            `json:"require_phone_verification" limit:"floor" awaits:"the server cannot send SMS yet, so nobody could finish to register" doc:"Whether a number must be proven first."`
	AutoApproval             AutoApproval    `json:"auto_approval"`
	ContactChannels          ContactChannels `json:"contact_channels"`
}

// AutoApproval says whose accounts may be used at once.
type AutoApproval struct {
	Enabled          bool     `json:"enabled" default:"true" limit:"ceiling" doc:"Whether a new account may be used at once; otherwise an administrator enables it."`
	DomainsWhitelist []string `json:"domains_whitelist" format:"host" awaits:"the server cannot prove addresses yet, so anybody could name one" doc:"The domains of addresses whose accounts may be used at once; empty: all."`
}

// ContactChannels say what people are asked for when they register.
type ContactChannels struct {
	RequireAtLeastOne bool `json:"require_at_least_one" default:"true" awaits:"an identifier is always asked for" doc:"Whether one of the channels is needed."`
	Email             Ask  `json:"email"`
	Phone             Ask  `json:"phone"`
	FullName          Ask  `json:"full_name"`
}

// Ask is one thing that people are asked for.
type Ask struct {
	Enabled  bool `json:"enabled" awaits:"the form of registration is fixed" doc:"Whether it is asked for."`
	Required bool `json:"required" awaits:"the form of registration is fixed" doc:"Whether it is needed."`
}

// Roles are names that applications and the consoles give a meaning to.
type Roles struct {
	Available []string `json:"available" default:"user,admin,superadmin" format:"role" least:"1" scope:"platform" doc:"The roles that people may have."`
	Default   string   `json:"default" default:"user" doc:"The role of people who register themselves; one of those available, and none that administers."`
}

// CustomIdentifiers are names of an organisation's own, such as a staff number.
type CustomIdentifiers struct {
	Enabled bool               `json:"enabled" awaits:"the server knows no identifiers but addresses and usernames yet" doc:"Whether people have identifiers of the organisation's own."`
	Fields  []CustomIdentifier `json:"fields" doc:"At most three of them."`
}

// CustomIdentifier is one of them.
type CustomIdentifier struct {
	Slot                    int    `json:"slot"`
	Key                     string `json:"key"`
	Name                    string `json:"name"`
	HintForUser             string `json:"hint_for_user"`
	ValidationType          string `json:"validation_type"`
	Pattern                 string `json:"pattern"`
	Charset                 string `json:"charset"`
	Mask                    string `json:"mask"`
	MinLength               int    `json:"min_length"`
	MaxLength               int    `json:"max_length"`
	CaseSensitive           bool   `json:"case_sensitive"`
	RequiredForRegistration bool   `json:"required_for_registration"`
	EditPolicy              string `json:"edit_policy"`
	UsableForLogin          bool   `json:"usable_for_login"`
}

// Recovery is how people get back into an account. A tenant cannot open a way that the platform has closed.
type Recovery struct {
	Enabled           bool        `json:"enabled" limit:"ceiling" awaits:"people cannot recover accounts yet" doc:"Whether people may recover their account themselves."`
	BackupCodes       BackupCodes `json:"backup_codes"`
	SecondaryEmail    bool        `json:"secondary_email" limit:"ceiling" awaits:"people cannot recover accounts yet" doc:"Whether a second address is a way."`
	SMS               bool        `json:"sms" limit:"ceiling" awaits:"the server cannot send SMS yet" doc:"Whether a text message is a way."`
	SecurityQuestions bool        `json:"security_questions" limit:"ceiling" awaits:"NIST SP 800-63B-4 forbids them" doc:"Whether answers to questions are a way."`
}

// BackupCodes are for when nothing else is at hand.
type BackupCodes struct {
	Enabled    bool `json:"enabled" limit:"ceiling" awaits:"people cannot recover accounts yet" doc:"Whether people get codes to print."`
	Count      int  `json:"count" default:"10" minimum:"1" maximum:"50" limit:"ceiling" doc:"How many."`
	ExpiryDays int  `json:"expiry_days" default:"365" minimum:"1" maximum:"3650" unit:"d" limit:"ceiling" doc:"How long they are good."`
}
