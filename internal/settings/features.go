package settings

// Features turn parts of the product on and off for a tenant.
type Features struct {
	OIDC OIDCFeatures `json:"oidc"`
}

// Switch is a part that is on or off.
type Switch struct {
	Enabled bool `json:"enabled"`
}

// OIDCFeatures are the parts of the protocol. What is off is neither served nor advertised.
type OIDCFeatures struct {
	// DeviceFlow is the device authorization grant (RFC 8628). Default on.
	DeviceFlow DeviceFlow `json:"device_flow"`
	// ClientCredentials is the grant of that name (RFC 6749 section 4.4). Default on.
	ClientCredentials Switch `json:"client_credentials"`
	// TokenRevocation is RFC 7009. Default on.
	TokenRevocation Switch `json:"token_revocation"`
	// TokenIntrospection is RFC 7662. Default on.
	TokenIntrospection Switch `json:"token_introspection"`
	// JWTIntrospection signs the answers for clients that ask (RFC 9701); it needs TokenIntrospection. Default off.
	JWTIntrospection Switch `json:"jwt_introspection"`
	// UserinfoEndpoint is OpenID Connect Core section 5.3. Default on.
	UserinfoEndpoint Switch `json:"userinfo_endpoint"`
	// JWTUserinfo signs the answers for clients that registered userinfo_signed_response_alg. Default off.
	JWTUserinfo Switch `json:"jwt_userinfo"`
	// ResourceIndicators is RFC 8707. Default on.
	ResourceIndicators Switch `json:"resource_indicators"`
	// RPInitiatedLogout, BackchannelLogout, FrontchannelLogout and SessionManagement are the specifications of these names. The
	// first two are on by default.
	RPInitiatedLogout  Switch `json:"rp_initiated_logout"`
	BackchannelLogout  Switch `json:"backchannel_logout"`
	FrontchannelLogout Switch `json:"frontchannel_logout"`
	SessionManagement  Switch `json:"session_management"`
	// DynamicClientRegistration is RFC 7591, always with an initial access token. Default off.
	DynamicClientRegistration Switch `json:"dynamic_client_registration"`
	// ClientRegistrationManagement is RFC 7592; it needs DynamicClientRegistration. Default off.
	ClientRegistrationManagement Switch `json:"client_registration_management"`
	// PKCE is RFC 7636, with S256 only. Default enabled and required of every client.
	PKCE PKCE `json:"pkce"`
	// ImplicitFlow allows the response types id_token and id_token token, HybridFlow those with code and more. Default off.
	ImplicitFlow Switch `json:"implicit_flow"`
	HybridFlow   Switch `json:"hybrid_flow"`
	// ConformIDTokenClaims keeps the claims of scopes out of ID tokens where the client can ask userinfo (OpenID Connect Core
	// section 5.4). Default on.
	ConformIDTokenClaims Switch `json:"conform_id_token_claims"`
	// ClaimsParameter is OpenID Connect Core section 5.5. Default off.
	ClaimsParameter Switch `json:"claims_parameter"`
	// RequestObjects takes signed request objects by value (RFC 9101), RequestURI by reference. Default on, off.
	RequestObjects Switch `json:"request_objects"`
	RequestURI     Switch `json:"request_uri"`
	// PushedAuthorizationRequests is RFC 9126. Default on and not required of every client.
	PushedAuthorizationRequests Pushed `json:"pushed_authorization_requests"`
	// JWTResponseModes is JARM. Default off.
	JWTResponseModes Switch `json:"jwt_response_modes"`
	// Encryption lets clients register for encrypted tokens and answers, and send encrypted request objects. Who has registered
	// goes on to get them encrypted when it is turned off. Default off.
	Encryption Switch `json:"encryption"`
	// DPoP is RFC 9449. Default on, without a nonce demanded.
	DPoP DPoP `json:"dpop"`
	// MTLS is RFC 8705. Default off.
	MTLS Switch `json:"mtls"`
	// TokenExchange is RFC 8693. Default off.
	TokenExchange Switch `json:"token_exchange"`
	// JWTBearer is the grant of RFC 7523, for the issuers of [OIDC.JWTBearerIssuers]. Default off.
	JWTBearer Switch `json:"jwt_bearer"`
	// ExpiresWithSession ends what was granted without offline_access together with the session. Default on.
	ExpiresWithSession Switch `json:"expires_with_session"`
	// RotateRefreshToken gives a new refresh token at every use. Default on; it is always on for clients without a secret.
	RotateRefreshToken Switch `json:"rotate_refresh_token"`
}

// The characters of user codes.
const (
	CharsetBase20 = "base-20"
	CharsetDigits = "digits"
)

// DeviceFlow is the form of the codes that people type.
type DeviceFlow struct {
	Enabled bool `json:"enabled"`
	// Charset is base-20 (consonants, RFC 8628 section 6.1) or digits. Default base-20.
	Charset string `json:"charset"`
	// Mask has an asterisk for each character and may have hyphens between. Default ****-****.
	Mask string `json:"mask"`
}

// PKCE says of whom a code challenge is demanded. When Required: of every client. When only Enabled: of every client but those
// that authenticate and were excused (--no-pkce of `parako client create` and `update`). When neither: of nobody. Of clients
// of the FAPI 2.0 profile it is demanded in any case.
type PKCE struct {
	Enabled  bool `json:"enabled"`
	Required bool `json:"required"`
}

// Pushed says whether a request may be pushed, and whether it must be.
type Pushed struct {
	Enabled  bool `json:"enabled"`
	Required bool `json:"required"`
}

// DPoP says whether proofs are taken, and whether each must carry a nonce of ours.
type DPoP struct {
	Enabled      bool `json:"enabled"`
	RequireNonce bool `json:"require_nonce"`
}

func defaultFeatures() Features {
	on := Switch{Enabled: true}
	return Features{OIDC: OIDCFeatures{
		DeviceFlow:        DeviceFlow{Enabled: true, Charset: CharsetBase20, Mask: "****-****"},
		ClientCredentials: on, TokenRevocation: on, TokenIntrospection: on, UserinfoEndpoint: on, ResourceIndicators: on,
		RPInitiatedLogout: on, BackchannelLogout: on, PKCE: PKCE{Enabled: true, Required: true}, ConformIDTokenClaims: on,
		RequestObjects: on, PushedAuthorizationRequests: Pushed{Enabled: true}, DPoP: DPoP{Enabled: true},
		ExpiresWithSession: on, RotateRefreshToken: on,
	}}
}
