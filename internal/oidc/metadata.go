package oidc

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"

	"parako/internal/keyring"
	"parako/internal/settings"
)

// ClientMetadata is what a client says of itself, under the names of OAuth 2.0 Dynamic Client Registration (RFC 7591
// section 2) and of the specifications that add to it.
type ClientMetadata struct {
	MoreMetadata

	Name                    string          `json:"client_name,omitempty"`
	ApplicationType         string          `json:"application_type,omitempty"` // web or native
	TokenEndpointAuthMethod string          `json:"token_endpoint_auth_method,omitempty"`
	GrantTypes              []string        `json:"grant_types,omitempty"`
	ResponseTypes           []string        `json:"response_types,omitempty"`
	RedirectURIs            []string        `json:"redirect_uris,omitempty"`
	PostLogoutRedirectURIs  []string        `json:"post_logout_redirect_uris,omitempty"`
	Scope                   string          `json:"scope,omitempty"`
	JWKS                    json.RawMessage `json:"jwks,omitempty"`
	IDTokenAlg              string          `json:"id_token_signed_response_alg,omitempty"`
	DefaultMaxAge           *int32          `json:"default_max_age,omitempty"` // seconds
	ClientURI               string          `json:"client_uri,omitempty"`
	LogoURI                 string          `json:"logo_uri,omitempty"`
	PolicyURI               string          `json:"policy_uri,omitempty"`
	TermsURI                string          `json:"tos_uri,omitempty"`
	Contacts                []string        `json:"contacts,omitempty"`
	// Audience is the resource (RFC 8707) that the client itself is. Every client is also urn:resource:{client_id}.
	Audience string `json:"audience,omitempty"`
}

// MoreMetadata is the part of a client's metadata that is kept as one document: no query asks for it.
type MoreMetadata struct {
	JWKSURI string `json:"jwks_uri,omitempty"`
	// SubjectType is public (default) or pairwise (OpenID Connect Core section 8).
	SubjectType         string `json:"subject_type,omitempty"`
	SectorIdentifierURI string `json:"sector_identifier_uri,omitempty"`

	IDTokenEncryptionAlg       string `json:"id_token_encrypted_response_alg,omitempty"`
	IDTokenEncryptionEnc       string `json:"id_token_encrypted_response_enc,omitempty"`
	UserinfoAlg                string `json:"userinfo_signed_response_alg,omitempty"`
	UserinfoEncryptionAlg      string `json:"userinfo_encrypted_response_alg,omitempty"`
	UserinfoEncryptionEnc      string `json:"userinfo_encrypted_response_enc,omitempty"`
	IntrospectionAlg           string `json:"introspection_signed_response_alg,omitempty"`
	IntrospectionEncryptionAlg string `json:"introspection_encrypted_response_alg,omitempty"`
	IntrospectionEncryptionEnc string `json:"introspection_encrypted_response_enc,omitempty"`
	AuthorizationAlg           string `json:"authorization_signed_response_alg,omitempty"`
	AuthorizationEncryptionAlg string `json:"authorization_encrypted_response_alg,omitempty"`
	AuthorizationEncryptionEnc string `json:"authorization_encrypted_response_enc,omitempty"`

	RequestObjectAlg           string   `json:"request_object_signing_alg,omitempty"`
	RequestObjectEncryptionAlg string   `json:"request_object_encryption_alg,omitempty"`
	RequestObjectEncryptionEnc string   `json:"request_object_encryption_enc,omitempty"`
	RequireSignedRequestObject bool     `json:"require_signed_request_object,omitempty"`
	RequestURIs                []string `json:"request_uris,omitempty"`
	RequirePushedRequests      bool     `json:"require_pushed_authorization_requests,omitempty"`

	TokenEndpointAuthAlg string `json:"token_endpoint_auth_signing_alg,omitempty"`
	// Of these one is given for tls_client_auth (RFC 8705 section 2.1.2).
	TLSSubjectDN string `json:"tls_client_auth_subject_dn,omitempty"`
	TLSSANDNS    string `json:"tls_client_auth_san_dns,omitempty"`
	TLSSANURI    string `json:"tls_client_auth_san_uri,omitempty"`
	TLSSANIP     string `json:"tls_client_auth_san_ip,omitempty"`
	TLSSANEmail  string `json:"tls_client_auth_san_email,omitempty"`
	// TLSBound and DPoPBound say that the client's access tokens are always bound to its certificate or key.
	TLSBound  bool `json:"tls_client_certificate_bound_access_tokens,omitempty"`
	DPoPBound bool `json:"dpop_bound_access_tokens,omitempty"`

	RequireAuthTime  bool     `json:"require_auth_time,omitempty"`
	DefaultACRValues []string `json:"default_acr_values,omitempty"`
	InitiateLoginURI string   `json:"initiate_login_uri,omitempty"`

	FrontchannelLogoutURI     string `json:"frontchannel_logout_uri,omitempty"`
	FrontchannelLogoutSession bool   `json:"frontchannel_logout_session_required,omitempty"`
	BackchannelLogoutURI      string `json:"backchannel_logout_uri,omitempty"`
	BackchannelLogoutSession  bool   `json:"backchannel_logout_session_required,omitempty"`

	SoftwareID      string `json:"software_id,omitempty"`
	SoftwareVersion string `json:"software_version,omitempty"`

	// The rest is the product's own.

	// FAPIProfile is empty or 2.0: the FAPI 2.0 Security Profile holds for everything the client does.
	FAPIProfile string `json:"fapi_profile,omitempty"`
	// AccessTokenFormat is that of tokens for the resource that the client itself is: jwt (default) or opaque.
	AccessTokenFormat string `json:"accessTokenFormat,omitempty"`
	// TTL are lifetimes in seconds that replace the tenant's.
	TTL ClientTTL `json:"ttl,omitzero"`
}

// ClientTTL are a client's own lifetimes in seconds; 0 takes the tenant's.
type ClientTTL struct {
	AccessToken       int `json:"AccessToken,omitempty"`
	ClientCredentials int `json:"ClientCredentials,omitempty"`
	IDToken           int `json:"IdToken,omitempty"`
	RefreshToken      int `json:"RefreshToken,omitempty"`
	DeviceCode        int `json:"DeviceCode,omitempty"`
}

// within shortens what is above what the platform allows.
func (c ClientTTL) within(longest settings.TokenTTL) ClientTTL {
	return ClientTTL{
		AccessToken: min(c.AccessToken, longest.AccessToken), ClientCredentials: min(c.ClientCredentials, longest.ClientCredentials),
		IDToken: min(c.IDToken, longest.IDToken), RefreshToken: min(c.RefreshToken, longest.RefreshToken), DeviceCode: min(c.DeviceCode, longest.DeviceCode),
	}
}

// FAPI2 is the value of fapi_profile for the FAPI 2.0 Security Profile.
const FAPI2 = "2.0"

// The subject types.
const (
	SubjectPublic   = "public"
	SubjectPairwise = "pairwise"
)

// The ways in which a client may authenticate (RFC 7591 section 2, OpenID Connect Core section 9, RFC 8705 section 2).
const (
	authNone       = "none"
	authBasic      = "client_secret_basic"
	authPost       = "client_secret_post"
	authSecretJWT  = "client_secret_jwt"
	authPrivateKey = "private_key_jwt"
	authTLS        = "tls_client_auth"
	authSelfSigned = "self_signed_tls_client_auth"
)

// The grant types.
const (
	grantCode              = "authorization_code"
	grantImplicit          = "implicit"
	grantRefresh           = "refresh_token"
	grantClientCredentials = "client_credentials"
	grantDevice            = "urn:ietf:params:oauth:grant-type:device_code"
	grantTokenExchange     = "urn:ietf:params:oauth:grant-type:token-exchange"
	grantJWTBearer         = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// signingAlgorithms are what we sign with, and what others may sign with towards us. Never a MAC where a key pair is meant,
// never none.
var signingAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA}

// fapiAlgorithms are those that the FAPI 2.0 Security Profile allows (section 5.4).
var fapiAlgorithms = []jose.SignatureAlgorithm{jose.PS256, jose.ES256, jose.EdDSA}

// The key managements and encryptions of the product (RFC 7518). RSA1_5 is broken, and is not among them.
var (
	keyAlgorithms = []jose.KeyAlgorithm{jose.RSA_OAEP, jose.RSA_OAEP_256, jose.ECDH_ES, jose.A128KW, jose.A256KW, jose.DIRECT}
	// requestKeyAlgorithms are those of what is encrypted for us: by our keys, or by the client's secret.
	requestKeyAlgorithms = append(slices.Clone(keyring.Encryptions), jose.A128KW, jose.A256KW, jose.DIRECT)
	encryptions          = []jose.ContentEncryption{jose.A128CBC_HS256, jose.A128GCM, jose.A256CBC_HS512, jose.A256GCM}
)

// metadataError says which rule of which name a client's metadata breaks, for people and for RFC 7591 section 3.2.2.
type metadataError struct {
	// redirect: it is about a redirect URI.
	redirect bool
	message  string
}

// Error implements error.
func (e *metadataError) Error() string { return e.message }

// code is the error as it is registered for clients.
func (e *metadataError) code() string {
	if e.redirect {
		return "invalid_redirect_uri"
	}
	return "invalid_client_metadata"
}

func badMetadata(format string, args ...any) error {
	return &metadataError{message: ascii(fmt.Sprintf(format, args...))}
}

func badRedirect(format string, args ...any) error {
	return &metadataError{redirect: true, message: ascii(fmt.Sprintf(format, args...))}
}

// check finds the first rule that the metadata breaks. f is what the tenant has turned on: nobody registers for what is not
// there. Addresses are looked at and not called.
func (m *ClientMetadata) check(f settings.OIDCFeatures) error {
	for _, step := range []func(settings.OIDCFeatures) error{m.checkTexts, m.checkGrants, m.checkRedirects, m.checkFrontchannel, m.checkAuthentication, m.checkAlgorithms, m.checkFAPI} {
		if err := step(f); err != nil {
			return err
		}
	}
	return nil
}

const maxClientList = 50 // entries of any list in a client's metadata

func (m *ClientMetadata) checkTexts(settings.OIDCFeatures) error {
	if m.Name == "" || utf8.RuneCountInString(m.Name) > 255 || !printable(m.Name) {
		return badMetadata("A client_name is 1 to 255 characters on one line.")
	}
	if m.ApplicationType != "web" && m.ApplicationType != "native" {
		return badMetadata("application_type is web or native.")
	}
	for name, list := range map[string][]string{
		"redirect_uris": m.RedirectURIs, "post_logout_redirect_uris": m.PostLogoutRedirectURIs, "request_uris": m.RequestURIs, "contacts": m.Contacts,
		"grant_types": m.GrantTypes, "response_types": m.ResponseTypes, "default_acr_values": m.DefaultACRValues,
	} {
		if len(list) > maxClientList {
			return badMetadata("%s has at most %d entries.", name, maxClientList)
		}
		for _, entry := range list {
			if len(entry) > 2048 || !printable(entry) {
				return badMetadata("%s holds something that is too long or not plain text.", name)
			}
		}
	}
	for name, link := range map[string]string{
		"client_uri": m.ClientURI, "logo_uri": m.LogoURI, "policy_uri": m.PolicyURI, "tos_uri": m.TermsURI,
		"jwks_uri": m.JWKSURI, "sector_identifier_uri": m.SectorIdentifierURI,
		"backchannel_logout_uri": m.BackchannelLogoutURI, "frontchannel_logout_uri": m.FrontchannelLogoutURI,
	} {
		if link != "" && !webURI(link) {
			return badMetadata("%s is an https URL without fragment.", name)
		}
	}
	// OpenID Connect Dynamic Client Registration section 2 makes no exception for this machine.
	if m.InitiateLoginURI != "" && (!webURI(m.InitiateLoginURI) || !strings.HasPrefix(m.InitiateLoginURI, "https://")) {
		return badMetadata("initiate_login_uri is an https URL without fragment.")
	}
	for _, uri := range m.RequestURIs {
		if !webURI(strings.SplitN(uri, "#", 2)[0]) { // The fragment may be a hash of the content (OpenID Connect Core section 6.2).
			return badMetadata("request_uris are https URLs.")
		}
	}
	for name, text := range map[string]string{
		"software_id": m.SoftwareID, "software_version": m.SoftwareVersion, "scope": m.Scope, "tls_client_auth_subject_dn": m.TLSSubjectDN,
		"tls_client_auth_san_dns": m.TLSSANDNS, "tls_client_auth_san_uri": m.TLSSANURI, "tls_client_auth_san_ip": m.TLSSANIP,
		"tls_client_auth_san_email": m.TLSSANEmail,
	} {
		if len(text) > 2048 || !printable(text) {
			return badMetadata("%s is too long or not plain text.", name)
		}
	}
	if m.DefaultMaxAge != nil && *m.DefaultMaxAge < 0 {
		return badMetadata("default_max_age is a number of seconds.")
	}
	if m.Audience != "" && (!settings.ResourceURI(m.Audience) || strings.HasPrefix(m.Audience, clientResource) || strings.HasPrefix(m.Audience, ownResources)) {
		return badMetadata("audience is an absolute URI without fragment (RFC 8707 section 2), outside of urn:resource: and urn:parako:.")
	}
	if m.AccessTokenFormat != "" && m.AccessTokenFormat != settings.FormatJWT && m.AccessTokenFormat != settings.FormatOpaque {
		return badMetadata("accessTokenFormat is jwt or opaque.")
	}
	for _, ttl := range []int{m.TTL.AccessToken, m.TTL.ClientCredentials, m.TTL.IDToken, m.TTL.RefreshToken} {
		if ttl < 0 || ttl > 31_536_000 {
			return badMetadata("A lifetime in ttl is between 1 second and a year.")
		}
	}
	if ttl := m.TTL.DeviceCode; ttl != 0 && (ttl < settings.MinDeviceCodeTTL || ttl > settings.MaxDeviceCodeTTL) {
		return badMetadata("The lifetime DeviceCode in ttl is between %d and %d seconds.", settings.MinDeviceCodeTTL, settings.MaxDeviceCodeTTL)
	}
	return nil
}

// checkFrontchannel keeps the address for front-channel logout to an origin of the client's redirect URIs (OpenID Connect
// Front-Channel Logout section 2): nobody gets a frame on our page for anything else.
func (m *ClientMetadata) checkFrontchannel(settings.OIDCFeatures) error {
	if m.FrontchannelLogoutURI == "" || slices.ContainsFunc(m.RedirectURIs, func(uri string) bool { return origin(uri) == origin(m.FrontchannelLogoutURI) }) {
		return nil
	}
	return badMetadata("frontchannel_logout_uri has the scheme, host and port of one of the redirect_uris.")
}

// origin is that of a URI as browsers write it (RFC 6454 section 6.1); empty when it has none of its own.
func origin(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port == "" || u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		return u.Scheme + "://" + host
	}
	return u.Scheme + "://" + host + ":" + port
}

func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// webURI reports whether a client may register the address for us or for browsers to go to: https, or http on this machine,
// which the guarded client refuses outside of development.
func webURI(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || len(text) > 2048 {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && loopbackHost(u.Hostname())
}

func loopbackHost(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && addr.IsLoopback()
}

// responseTypes are all there are, in their one spelling, with the grants they need (OpenID Connect Dynamic Client
// Registration section 2).
var responseTypes = map[string][]string{
	"code":                {grantCode},
	"none":                {grantCode},
	"id_token":            {grantImplicit},
	"id_token token":      {grantImplicit},
	"code id_token":       {grantCode, grantImplicit},
	"code token":          {grantCode, grantImplicit},
	"code id_token token": {grantCode, grantImplicit},
}

// servedResponseTypes are those of a tenant, in the order discovery shows.
func servedResponseTypes(f settings.OIDCFeatures) []string {
	served := []string{"code", "none"}
	if f.ImplicitFlow.Enabled {
		served = append(served, "id_token", "id_token token")
	}
	if f.HybridFlow.Enabled {
		served = append(served, "code id_token", "code token", "code id_token token")
	}
	return served
}

// servedGrants are the grants of a tenant, in the order discovery shows.
func servedGrants(f settings.OIDCFeatures) []string {
	served := []string{grantCode, grantRefresh}
	for _, g := range []struct {
		on    bool
		grant string
	}{
		{f.ImplicitFlow.Enabled || f.HybridFlow.Enabled, grantImplicit},
		{f.ClientCredentials.Enabled, grantClientCredentials},
		{f.DeviceFlow.Enabled, grantDevice},
		{f.TokenExchange.Enabled, grantTokenExchange},
		{f.JWTBearer.Enabled, grantJWTBearer},
	} {
		if g.on {
			served = append(served, g.grant)
		}
	}
	return served
}

// canonicalResponseType sorts the words of a response type as the keys of responseTypes are (OAuth 2.0 Multiple Response Type
// Encoding Practices section 3: their order does not matter).
func canonicalResponseType(text string) string {
	words := strings.Fields(text)
	slices.Sort(words)
	return strings.Join(words, " ")
}

func (m *ClientMetadata) checkGrants(f settings.OIDCFeatures) error {
	for _, grant := range m.GrantTypes {
		if !slices.Contains(servedGrants(f), grant) {
			return badMetadata("The grant type %s is not available.", grant)
		}
	}
	for i, text := range m.ResponseTypes {
		canonical := canonicalResponseType(text)
		if !slices.Contains(servedResponseTypes(f), canonical) {
			return badMetadata("The response type %s is not available.", text)
		}
		for _, grant := range responseTypes[canonical] {
			if !slices.Contains(m.GrantTypes, grant) {
				return badMetadata("The response type %s needs the grant type %s.", text, grant)
			}
		}
		m.ResponseTypes[i] = canonical
	}
	if slices.Contains(m.GrantTypes, grantCode) && !slices.ContainsFunc(m.ResponseTypes, func(r string) bool { return strings.Contains(r, "code") || r == "none" }) {
		return badMetadata("The grant type authorization_code needs a response type with code.")
	}
	if m.TokenEndpointAuthMethod == authNone {
		for _, grant := range []string{grantClientCredentials, grantTokenExchange, grantJWTBearer} {
			if slices.Contains(m.GrantTypes, grant) {
				return badMetadata("A client that does not authenticate cannot use %s.", grant)
			}
		}
	}
	return nil
}

func (m *ClientMetadata) checkRedirects(settings.OIDCFeatures) error {
	if len(m.ResponseTypes) > 0 && len(m.RedirectURIs) == 0 {
		return badRedirect("This kind of client needs at least one redirect_uri.")
	}
	implicit := slices.Contains(m.GrantTypes, grantImplicit)
	for _, uri := range m.RedirectURIs {
		if !safeRedirect(uri) {
			return badRedirect("A redirect URI is absolute, without user, fragment and wildcard, and not a script: %s", uri)
		}
		u, err := url.Parse(uri)
		if err != nil {
			return badRedirect("A redirect URI is a URI: %s", uri)
		}
		// OpenID Connect Dynamic Client Registration section 2, application_type.
		switch {
		case m.ApplicationType == "web" && implicit && (u.Scheme != "https" || loopbackHost(u.Hostname())):
			return badRedirect("A web client of the implicit grant has https redirect URIs that do not lead to this machine: %s", uri)
		case u.Scheme == "http" && !loopbackHost(u.Hostname()):
			return badRedirect("An http redirect URI leads to this machine; elsewhere it is https: %s", uri)
		case m.ApplicationType == "web" && u.Scheme != "https" && u.Scheme != "http":
			return badRedirect("A web client has https redirect URIs: %s", uri)
		}
	}
	for _, uri := range m.PostLogoutRedirectURIs {
		if !safeRedirect(uri) {
			return badMetadata("A post_logout_redirect_uri is absolute, without user, fragment and wildcard, and not a script: %s", uri)
		}
	}
	if m.SubjectType != "" && m.SubjectType != SubjectPublic && m.SubjectType != SubjectPairwise {
		return badMetadata("subject_type is public or pairwise.")
	}
	if m.SubjectType == SubjectPairwise && m.SectorIdentifierURI == "" {
		hosts := map[string]bool{}
		for _, uri := range m.RedirectURIs {
			u, _ := url.Parse(uri) // It was checked above.
			hosts[u.Host] = true
		}
		if len(hosts) != 1 {
			return badMetadata("A client of pairwise subjects has redirect URIs on one host, or a sector_identifier_uri (OpenID Connect Core section 8.1).")
		}
	}
	return nil
}

func (m *ClientMetadata) checkAuthentication(f settings.OIDCFeatures) error {
	keys := len(m.JWKS) > 0 || m.JWKSURI != ""
	if len(m.JWKS) > 0 && m.JWKSURI != "" {
		return badMetadata("jwks and jwks_uri exclude each other (RFC 7591 section 2).")
	}
	if len(m.JWKS) > 0 {
		var err error
		if m.JWKS, err = publicKeys(m.JWKS); err != nil {
			return err
		}
	}
	names := slices.DeleteFunc([]string{m.TLSSubjectDN, m.TLSSANDNS, m.TLSSANURI, m.TLSSANIP, m.TLSSANEmail}, func(s string) bool { return s == "" })
	switch m.TokenEndpointAuthMethod {
	case authNone, authBasic, authPost, authSecretJWT:
	case authPrivateKey:
		if !keys {
			return badMetadata("private_key_jwt needs jwks or jwks_uri.")
		}
	case authTLS:
		if len(names) != 1 {
			return badMetadata("tls_client_auth needs exactly one of tls_client_auth_subject_dn, _san_dns, _san_uri, _san_ip and _san_email (RFC 8705 section 2.1.2).")
		}
	case authSelfSigned:
		if !keys {
			return badMetadata("self_signed_tls_client_auth needs jwks or jwks_uri with the certificate.")
		}
	default:
		return badMetadata("token_endpoint_auth_method is none, client_secret_basic, client_secret_post, client_secret_jwt, private_key_jwt, tls_client_auth or self_signed_tls_client_auth.")
	}
	if tls := m.TokenEndpointAuthMethod == authTLS || m.TokenEndpointAuthMethod == authSelfSigned || m.TLSBound; tls && !f.MTLS.Enabled {
		return badMetadata("Mutual TLS is not available.")
	}
	if front := func(r string) bool { return slices.Contains(strings.Fields(r), "token") }; (m.DPoPBound || m.TLSBound) && slices.ContainsFunc(m.ResponseTypes, front) {
		return badMetadata("Bound access tokens come from the token endpoint only: leave out the response types with token.")
	}
	if m.DPoPBound && !f.DPoP.Enabled {
		return badMetadata("DPoP is not available.")
	}
	return nil
}

// publicKeys accepts a set of public keys only, and returns it as it is kept: without members that mean nothing here.
func publicKeys(jwks json.RawMessage) (json.RawMessage, error) {
	var set jose.JSONWebKeySet
	if json.Unmarshal(jwks, &set) != nil || len(set.Keys) == 0 || len(set.Keys) > maxClientList {
		return nil, badMetadata("jwks is a JSON Web Key Set with at least one key.")
	}
	for _, key := range set.Keys {
		if !key.Valid() || !key.IsPublic() || !printable(key.KeyID) || !printable(key.Algorithm) || !printable(key.Use) {
			return nil, badMetadata("jwks holds valid public keys only.")
		}
	}
	kept, err := json.Marshal(set)
	if err != nil {
		return nil, badMetadata("jwks is a JSON Web Key Set with at least one key.")
	}
	return kept, nil
}
