package settings

// Features turn parts of the product on and off.
type Features struct {
	OIDC            OIDCFeatures    `json:"oidc"`
	SocialProviders SocialProviders `json:"social_providers"`
}

// Switch is a part that is on or off. The tags of the field that holds it are those of Enabled.
type Switch struct {
	Enabled bool `json:"enabled"`
}

// OIDCFeatures are the parts of the protocol. What is off is neither served nor advertised.
type OIDCFeatures struct {
	DeviceFlow                   DeviceFlow `json:"device_flow"`
	ClientCredentials            Switch     `json:"client_credentials" default:"true" doc:"The grant client_credentials (RFC 6749 section 4.4)."`
	TokenRevocation              Switch     `json:"token_revocation" default:"true" doc:"Token revocation (RFC 7009)."`
	TokenIntrospection           Switch     `json:"token_introspection" default:"true" doc:"Token introspection (RFC 7662)."`
	JWTIntrospection             Switch     `json:"jwt_introspection" needs:"features.oidc.token_introspection.enabled" doc:"Signed answers of introspection for clients that ask (RFC 9701)."`
	UserinfoEndpoint             Switch     `json:"userinfo_endpoint" default:"true" doc:"UserInfo (OpenID Connect Core section 5.3)."`
	JWTUserinfo                  Switch     `json:"jwt_userinfo" needs:"features.oidc.userinfo_endpoint.enabled" doc:"Signed answers of UserInfo for clients that registered userinfo_signed_response_alg."`
	ResourceIndicators           Switch     `json:"resource_indicators" default:"true" doc:"The parameter resource (RFC 8707)."`
	RPInitiatedLogout            Switch     `json:"rp_initiated_logout" default:"true" doc:"OpenID Connect RP-Initiated Logout."`
	BackchannelLogout            Switch     `json:"backchannel_logout" default:"true" doc:"OpenID Connect Back-Channel Logout."`
	FrontchannelLogout           Switch     `json:"frontchannel_logout" doc:"OpenID Connect Front-Channel Logout."`
	SessionManagement            Switch     `json:"session_management" doc:"OpenID Connect Session Management."`
	DynamicClientRegistration    Switch     `json:"dynamic_client_registration" doc:"Registration of clients by themselves (RFC 7591), always with an initial access token."`
	ClientRegistrationManagement Switch     `json:"client_registration_management" needs:"features.oidc.dynamic_client_registration.enabled" doc:"Clients read and change their registration (RFC 7592)."`
	PKCE                         PKCE       `json:"pkce"`
	ImplicitFlow                 Switch     `json:"implicit_flow" doc:"The response types id_token and id_token token."`
	HybridFlow                   Switch     `json:"hybrid_flow" doc:"The response types with code and more."`
	ConformIDTokenClaims         Switch     `json:"conform_id_token_claims" default:"true" doc:"Keeps the claims of scopes out of ID tokens where the client can ask UserInfo (OpenID Connect Core section 5.4)."`
	ClaimsParameter              Switch     `json:"claims_parameter" doc:"The parameter claims (OpenID Connect Core section 5.5)."`
	RequestObjects               Switch     `json:"request_objects" default:"true" doc:"Signed request objects by value (RFC 9101)."`
	RequestURI                   Switch     `json:"request_uri" needs:"features.oidc.request_objects.enabled" doc:"Signed request objects by reference (RFC 9101)."`
	PushedAuthorizationRequests  Pushed     `json:"pushed_authorization_requests"`
	JWTResponseModes             Switch     `json:"jwt_response_modes" doc:"Signed authorization responses (JARM)."`
	Encryption                   Switch     `json:"encryption" doc:"Clients may register for encrypted tokens and answers, and send encrypted request objects. Who has registered goes on to get them encrypted when it is turned off."`
	DPoP                         DPoP       `json:"dpop"`
	MTLS                         Switch     `json:"mtls" doc:"Client certificates (RFC 8705)."`
	TokenExchange                Switch     `json:"token_exchange" doc:"Token exchange (RFC 8693)."`
	JWTBearer                    Switch     `json:"jwt_bearer" doc:"The grant of RFC 7523, for oidc.jwt_bearer_issuers."`
	ExpiresWithSession           Switch     `json:"expires_with_session" default:"true" doc:"Ends what was granted without offline_access together with the session."`
	RotateRefreshToken           Switch     `json:"rotate_refresh_token" default:"true" doc:"A new refresh token at every use; always so for clients without a secret."`
}

// The characters of user codes.
const (
	CharsetBase20 = "base-20"
	CharsetDigits = "digits"
)

// DeviceFlow is the device authorization grant and the form of the codes that people type.
type DeviceFlow struct {
	Enabled bool   `json:"enabled" default:"true" doc:"The device authorization grant (RFC 8628)."`
	Charset string `json:"charset" default:"base-20" enum:"base-20,digits" doc:"The characters of user codes: consonants (RFC 8628 section 6.1) or digits."`
	Mask    string `json:"mask" default:"****-****" doc:"The form of user codes: an asterisk for each character, with single hyphens in between."`
}

// PKCE says of whom a code challenge is demanded. When Required: of every client. When only Enabled: of every client but those
// that authenticate and were excused (--no-pkce of `parako client create` and `update`). When neither: of nobody. Of clients
// of the FAPI 2.0 profile it is demanded in any case.
type PKCE struct {
	Enabled  bool `json:"enabled" default:"true" limit:"floor,set" doc:"Proof keys (RFC 7636), with S256 only."`
	Required bool `json:"required" default:"true" limit:"floor,set" needs:"features.oidc.pkce.enabled" doc:"Whether every client has to use them."`
}

// Pushed says whether a request may be pushed, and whether it must be.
type Pushed struct {
	Enabled  bool `json:"enabled" default:"true" doc:"Pushed authorization requests (RFC 9126)."`
	Required bool `json:"required" limit:"floor" needs:"features.oidc.pushed_authorization_requests.enabled" doc:"Whether every client has to push its requests."`
}

// DPoP says whether proofs are taken, and whether each must carry a nonce of ours.
type DPoP struct {
	Enabled      bool `json:"enabled" default:"true" doc:"Proof of possession (RFC 9449)."`
	RequireNonce bool `json:"require_nonce" limit:"floor" doc:"Whether each proof must carry a nonce of ours."`
}

// SocialProviders are other people's providers that people may sign in with.
type SocialProviders struct {
	Enabled   []string       `json:"enabled" enum:"google,github,microsoft,linkedin,facebook" awaits:"people cannot sign in with other providers yet" doc:"The providers offered."`
	Behavior  SocialBehavior `json:"behavior"`
	Google    SocialClient   `json:"google"`
	GitHub    SocialClient   `json:"github"`
	Microsoft SocialClient   `json:"microsoft"`
	LinkedIn  SocialClient   `json:"linkedin"`
	Facebook  SocialClient   `json:"facebook"`
}

// SocialClient is this deployment as a client of another provider.
type SocialClient struct {
	ClientID     string `json:"client_id" maxLength:"500" doc:"The client_id there."`
	ClientSecret Sealed `json:"client_secret" doc:"The secret there."`
}

// SocialBehavior says what happens with the accounts of people who come from another provider.
type SocialBehavior struct {
	ExistingUserNoIntegration     string        `json:"existing_user_no_integration" default:"require_manual_link" enum:"auto_link,require_manual_link" limit:"floor" doc:"When the address belongs to an account."`
	NoUserAccount                 string        `json:"no_user_account" default:"require_existing_account" enum:"allow_registration,require_existing_account" doc:"When there is no account."`
	MissingContactInfo            string        `json:"missing_contact_info" default:"reject_login" enum:"redirect_to_form,reject_login" doc:"When the other provider names no address."`
	RequirePasswordOnRegistration bool          `json:"require_password_on_registration" doc:"Whether a new account needs a password, too."`
	Options                       SocialOptions `json:"options"`
}

// SocialOptions are the details.
type SocialOptions struct {
	AllowMultipleProviders bool `json:"allow_multiple_providers" default:"true" doc:"Whether an account may be linked to several providers."`
	AutoVerifyEmail        bool `json:"auto_verify_email" default:"true" limit:"ceiling" doc:"Whether an address that the other provider vouches for counts as proven."`
	ShowHelpfulErrors      bool `json:"show_helpful_errors" limit:"ceiling" doc:"Whether people are told why it did not work."`
	MaxProvidersPerUser    int  `json:"max_providers_per_user" default:"5" minimum:"1" maximum:"10" limit:"ceiling" doc:"Links of one account."`
}
