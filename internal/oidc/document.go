package oidc

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/labstack/echo/v4"

	"parako/internal/keyring"
)

// document is a rendered public document, the same for every caller until the provider is replaced.
type document struct {
	contentType string
	body        []byte
	etag        string
}

func newDocument(contentType string, body []byte) document {
	sum := sha256.Sum256(body)
	return document{contentType: contentType, body: body, etag: `"` + hex.EncodeToString(sum[:16]) + `"`}
}

// documentMaxAge bounds how long caches keep a document, in seconds: short, because a new key signs only after that long.
var documentMaxAge = strconv.Itoa(int(keyring.CacheTime / time.Second))

// serve answers with the document, or with 304 when the caller has it. Caches must tell hosts apart: another tenant's host
// has another document at the same path.
func (d document) serve(c echo.Context) error {
	h := c.Response().Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cache-Control", "public, max-age="+documentMaxAge)
	h.Add("Vary", "Host")
	h.Set("ETag", d.etag)
	if match := c.Request().Header.Get("If-None-Match"); match != "" && slices.ContainsFunc(strings.Split(match, ","), func(tag string) bool {
		return strings.TrimPrefix(strings.TrimSpace(tag), "W/") == d.etag
	}) {
		return c.NoContent(http.StatusNotModified)
	}
	return c.Blob(http.StatusOK, d.contentType, d.body)
}

// metadata is the discovery document (OpenID Connect Discovery section 3, RFC 8414 section 2, and what the specifications named
// in settings.OIDCFeatures add). It lists what works for this tenant and nothing else: what is off is left out.
type metadata struct {
	Issuer                string `json:"issuer"`
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	TokenEndpoint         string `json:"token_endpoint"`
	JWKSURI               string `json:"jwks_uri"`
	UserinfoEndpoint      string `json:"userinfo_endpoint,omitempty"`
	RegistrationEndpoint  string `json:"registration_endpoint,omitempty"`
	IntrospectionEndpoint string `json:"introspection_endpoint,omitempty"`
	RevocationEndpoint    string `json:"revocation_endpoint,omitempty"`
	DeviceEndpoint        string `json:"device_authorization_endpoint,omitempty"`
	PushedEndpoint        string `json:"pushed_authorization_request_endpoint,omitempty"`
	EndSessionEndpoint    string `json:"end_session_endpoint,omitempty"`
	CheckSessionIframe    string `json:"check_session_iframe,omitempty"`

	ScopesSupported        []string `json:"scopes_supported"`
	ResponseTypesSupported []string `json:"response_types_supported"`
	ResponseModesSupported []string `json:"response_modes_supported"`
	GrantTypesSupported    []string `json:"grant_types_supported"`
	SubjectTypesSupported  []string `json:"subject_types_supported"`
	ClaimsSupported        []string `json:"claims_supported"`
	ClaimTypesSupported    []string `json:"claim_types_supported"`
	ACRValuesSupported     []string `json:"acr_values_supported"`
	CodeChallengeMethods   []string `json:"code_challenge_methods_supported"`
	PromptValuesSupported  []string `json:"prompt_values_supported"`
	DisplayValuesSupported []string `json:"display_values_supported"`
	UILocalesSupported     []string `json:"ui_locales_supported"`
	ClaimsLocalesSupported []string `json:"claims_locales_supported,omitempty"`

	TokenAuthMethods         []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgs            []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	IntrospectionAuthMethods []string `json:"introspection_endpoint_auth_methods_supported,omitempty"`
	IntrospectionAuthAlgs    []string `json:"introspection_endpoint_auth_signing_alg_values_supported,omitempty"`
	RevocationAuthMethods    []string `json:"revocation_endpoint_auth_methods_supported,omitempty"`
	RevocationAuthAlgs       []string `json:"revocation_endpoint_auth_signing_alg_values_supported,omitempty"`

	IDTokenAlgs                 []string `json:"id_token_signing_alg_values_supported"`
	IDTokenEncryptionAlgs       []string `json:"id_token_encryption_alg_values_supported,omitempty"`
	IDTokenEncryptionEncs       []string `json:"id_token_encryption_enc_values_supported,omitempty"`
	UserinfoAlgs                []string `json:"userinfo_signing_alg_values_supported,omitempty"`
	UserinfoEncryptionAlgs      []string `json:"userinfo_encryption_alg_values_supported,omitempty"`
	UserinfoEncryptionEncs      []string `json:"userinfo_encryption_enc_values_supported,omitempty"`
	IntrospectionAlgs           []string `json:"introspection_signing_alg_values_supported,omitempty"`
	IntrospectionEncryptionAlgs []string `json:"introspection_encryption_alg_values_supported,omitempty"`
	IntrospectionEncryptionEncs []string `json:"introspection_encryption_enc_values_supported,omitempty"`
	AuthorizationAlgs           []string `json:"authorization_signing_alg_values_supported,omitempty"`
	AuthorizationEncryptionAlgs []string `json:"authorization_encryption_alg_values_supported,omitempty"`
	AuthorizationEncryptionEncs []string `json:"authorization_encryption_enc_values_supported,omitempty"`
	RequestObjectAlgs           []string `json:"request_object_signing_alg_values_supported,omitempty"`
	RequestObjectEncryptionAlgs []string `json:"request_object_encryption_alg_values_supported,omitempty"`
	RequestObjectEncryptionEncs []string `json:"request_object_encryption_enc_values_supported,omitempty"`
	DPoPAlgs                    []string `json:"dpop_signing_alg_values_supported,omitempty"`

	// These have a default of their own where they are left out, and are always said.
	ClaimsParameter       bool `json:"claims_parameter_supported"`
	RequestParameter      bool `json:"request_parameter_supported"`
	RequestURIParameter   bool `json:"request_uri_parameter_supported"`
	AuthorizationResponse bool `json:"authorization_response_iss_parameter_supported"`

	RequestURIRegistration    bool `json:"require_request_uri_registration,omitempty"`
	RequirePushed             bool `json:"require_pushed_authorization_requests,omitempty"`
	CertificateBound          bool `json:"tls_client_certificate_bound_access_tokens,omitempty"`
	BackchannelLogout         bool `json:"backchannel_logout_supported,omitempty"`
	BackchannelLogoutSession  bool `json:"backchannel_logout_session_supported,omitempty"`
	FrontchannelLogout        bool `json:"frontchannel_logout_supported,omitempty"`
	FrontchannelLogoutSession bool `json:"frontchannel_logout_session_supported,omitempty"`

	ServiceDocumentation string `json:"service_documentation,omitempty"`
	PolicyURI            string `json:"op_policy_uri,omitempty"`
	TermsURI             string `json:"op_tos_uri,omitempty"`
}

func discoveryDocument(p *Provider) (document, error) {
	f := p.Settings.Features.OIDC
	signing := names(signingAlgorithms)
	methods := p.authMethods()
	m := metadata{
		Issuer: p.Issuer, AuthorizationEndpoint: p.URL("/authorize"), TokenEndpoint: p.URL("/token"), JWKSURI: p.URL("/jwks"),
		UserinfoEndpoint:      p.urlIf(f.UserinfoEndpoint.Enabled, "/userinfo"),
		RegistrationEndpoint:  p.urlIf(f.DynamicClientRegistration.Enabled, "/register-rp"),
		IntrospectionEndpoint: p.urlIf(f.TokenIntrospection.Enabled, "/token/introspection"),
		RevocationEndpoint:    p.urlIf(f.TokenRevocation.Enabled, "/token/revocation"),
		DeviceEndpoint:        p.urlIf(f.DeviceFlow.Enabled, "/device/auth"),
		PushedEndpoint:        p.urlIf(f.PushedAuthorizationRequests.Enabled, "/request"),
		EndSessionEndpoint:    p.urlIf(f.RPInitiatedLogout.Enabled, "/session/end"),
		CheckSessionIframe:    p.urlIf(f.SessionManagement.Enabled, "/session/check"),

		ScopesSupported: p.scopesSupported(), ResponseTypesSupported: servedResponseTypes(f), ResponseModesSupported: servedResponseModes(f),
		GrantTypesSupported: servedGrants(f), SubjectTypesSupported: []string{SubjectPublic, SubjectPairwise},
		ClaimsSupported: p.claimsSupported(), ClaimTypesSupported: []string{"normal"}, ACRValuesSupported: acrValues,
		CodeChallengeMethods: []string{"S256"}, PromptValuesSupported: p.promptValues(), DisplayValuesSupported: p.Settings.OIDC.Discovery.DisplayValuesSupported, ClaimsLocalesSupported: p.Settings.OIDC.Discovery.ClaimsLocalesSupported,
		UILocalesSupported: p.Settings.Application.Locales.Available,

		TokenAuthMethods: append(slices.Clone(methods), authNone), TokenAuthAlgs: append([]string{string(jose.HS256)}, signing...),
		IDTokenAlgs: signing, ClaimsParameter: f.ClaimsParameter.Enabled, RequestParameter: f.RequestObjects.Enabled,
		RequestURIParameter: f.RequestURI.Enabled, RequestURIRegistration: f.RequestURI.Enabled, AuthorizationResponse: true,
		RequirePushed: f.PushedAuthorizationRequests.Required, CertificateBound: f.MTLS.Enabled,
		BackchannelLogout: f.BackchannelLogout.Enabled, BackchannelLogoutSession: f.BackchannelLogout.Enabled,
		FrontchannelLogout: f.FrontchannelLogout.Enabled, FrontchannelLogoutSession: f.FrontchannelLogout.Enabled,
		ServiceDocumentation: p.Settings.OIDC.Discovery.ServiceDocumentation,
		PolicyURI:            cmp.Or(p.Settings.OIDC.Discovery.OPPolicyURI, p.Settings.Integrations.URLs.PrivacyPolicy),
		TermsURI:             cmp.Or(p.Settings.OIDC.Discovery.OPTosURI, p.Settings.Integrations.URLs.TermsOfService),
	}
	if f.TokenIntrospection.Enabled {
		m.IntrospectionAuthMethods, m.IntrospectionAuthAlgs = methods, m.TokenAuthAlgs
	}
	if f.TokenRevocation.Enabled {
		m.RevocationAuthMethods, m.RevocationAuthAlgs = m.TokenAuthMethods, m.TokenAuthAlgs
	}
	keyManagement, content := names(keyAlgorithms), names(encryptions)
	for _, of := range []struct {
		signed             bool
		algs, manage, encs *[]string
	}{
		{false, &m.IDTokenAlgs, &m.IDTokenEncryptionAlgs, &m.IDTokenEncryptionEncs},
		{f.UserinfoEndpoint.Enabled && f.JWTUserinfo.Enabled, &m.UserinfoAlgs, &m.UserinfoEncryptionAlgs, &m.UserinfoEncryptionEncs},
		{f.JWTIntrospection.Enabled, &m.IntrospectionAlgs, &m.IntrospectionEncryptionAlgs, &m.IntrospectionEncryptionEncs},
		{f.JWTResponseModes.Enabled, &m.AuthorizationAlgs, &m.AuthorizationEncryptionAlgs, &m.AuthorizationEncryptionEncs},
		{f.RequestObjects.Enabled || f.RequestURI.Enabled, &m.RequestObjectAlgs, &m.RequestObjectEncryptionAlgs, &m.RequestObjectEncryptionEncs},
	} {
		if of.signed {
			*of.algs = signing
		}
		if f.Encryption.Enabled && len(*of.algs) > 0 {
			*of.manage, *of.encs = keyManagement, content
		}
	}
	if len(m.RequestObjectEncryptionAlgs) > 0 {
		m.RequestObjectEncryptionAlgs = names(requestKeyAlgorithms)
	}
	if f.DPoP.Enabled {
		m.DPoPAlgs = signing
	}
	body, err := json.Marshal(m)
	return newDocument("application/json", body), err
}

// urlIf is an endpoint's address where it is turned on.
func (p *Provider) urlIf(on bool, path string) string {
	if !on {
		return ""
	}
	return p.URL(path)
}

// authMethods are the ways to authenticate a client, without the one that is none.
func (p *Provider) authMethods() []string {
	methods := []string{authBasic, authPost, authSecretJWT, authPrivateKey}
	if p.Settings.Features.OIDC.MTLS.Enabled {
		if p.deps.ClientCAs != nil {
			methods = append(methods, authTLS)
		}
		methods = append(methods, authSelfSigned)
	}
	return methods
}

// names are algorithms as discovery lists them.
func names[T ~string](algorithms []T) []string {
	list := make([]string, len(algorithms))
	for i, alg := range algorithms {
		list[i] = string(alg)
	}
	return list
}
