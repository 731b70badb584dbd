package oidc

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

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

// documentMaxAge bounds how long caches keep a document, in seconds: short, because a replaced key must be seen soon.
const documentMaxAge = "300"

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

// metadata is the discovery document (OpenID Connect Discovery section 3, RFC 8414 section 2). It lists what works for this
// tenant and nothing else.
type metadata struct {
	Issuer                            string   `json:"issuer"`
	AuthorizationEndpoint             string   `json:"authorization_endpoint"`
	TokenEndpoint                     string   `json:"token_endpoint"`
	UserinfoEndpoint                  string   `json:"userinfo_endpoint"`
	JWKSURI                           string   `json:"jwks_uri"`
	IntrospectionEndpoint             string   `json:"introspection_endpoint"`
	RevocationEndpoint                string   `json:"revocation_endpoint"`
	EndSessionEndpoint                string   `json:"end_session_endpoint"`
	ScopesSupported                   []string `json:"scopes_supported"`
	ResponseTypesSupported            []string `json:"response_types_supported"`
	ResponseModesSupported            []string `json:"response_modes_supported"`
	GrantTypesSupported               []string `json:"grant_types_supported"`
	SubjectTypesSupported             []string `json:"subject_types_supported"`
	IDTokenSigningAlgValuesSupported  []string `json:"id_token_signing_alg_values_supported"`
	TokenEndpointAuthMethodsSupported []string `json:"token_endpoint_auth_methods_supported"`
	TokenEndpointAuthSigningAlgs      []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	IntrospectionAuthMethodsSupported []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAuthSigningAlgs      []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	RevocationAuthMethodsSupported    []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAuthSigningAlgs         []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	ClaimsSupported                   []string `json:"claims_supported"`
	ClaimTypesSupported               []string `json:"claim_types_supported"`
	ACRValuesSupported                []string `json:"acr_values_supported"`
	CodeChallengeMethodsSupported     []string `json:"code_challenge_methods_supported"`
	PromptValuesSupported             []string `json:"prompt_values_supported"`
	DisplayValuesSupported            []string `json:"display_values_supported"`
	UILocalesSupported                []string `json:"ui_locales_supported"`
	ClaimsParameterSupported          bool     `json:"claims_parameter_supported"`
	RequestParameterSupported         bool     `json:"request_parameter_supported"`
	RequestURIParameterSupported      bool     `json:"request_uri_parameter_supported"`
	AuthorizationResponseIssSupported bool     `json:"authorization_response_iss_parameter_supported"`
	PolicyURI                         string   `json:"op_policy_uri,omitempty"`
	TermsURI                          string   `json:"op_tos_uri,omitempty"`
}

// authMethods are the ways to authenticate a client, without the one that is none.
var authMethods = []string{"client_secret_basic", "client_secret_post", "private_key_jwt"}

func discoveryDocument(p *Provider) (document, error) {
	assertions := make([]string, len(assertionAlgorithms))
	for i, alg := range assertionAlgorithms {
		assertions[i] = string(alg)
	}
	signing := make([]string, len(keyring.Algorithms))
	for i, alg := range keyring.Algorithms {
		signing[i] = string(alg)
	}
	methods := append(slices.Clone(authMethods), "none")
	body, err := json.Marshal(metadata{
		Issuer:                            p.Issuer,
		AuthorizationEndpoint:             p.URL("/authorize"),
		TokenEndpoint:                     p.URL("/token"),
		UserinfoEndpoint:                  p.URL("/userinfo"),
		JWKSURI:                           p.URL("/jwks"),
		IntrospectionEndpoint:             p.URL("/token/introspection"),
		RevocationEndpoint:                p.URL("/token/revocation"),
		EndSessionEndpoint:                p.URL("/session/end"),
		ScopesSupported:                   personScopes,
		ResponseTypesSupported:            []string{"code"},
		ResponseModesSupported:            []string{"query", "fragment"},
		GrantTypesSupported:               []string{"authorization_code", "refresh_token", "client_credentials"},
		SubjectTypesSupported:             []string{"public"},
		IDTokenSigningAlgValuesSupported:  signing,
		TokenEndpointAuthMethodsSupported: methods,
		TokenEndpointAuthSigningAlgs:      assertions,
		IntrospectionAuthMethodsSupported: authMethods,
		IntrospectionAuthSigningAlgs:      assertions,
		RevocationAuthMethodsSupported:    methods,
		RevocationAuthSigningAlgs:         assertions,
		ClaimsSupported:                   claimsSupported,
		ClaimTypesSupported:               []string{"normal"},
		ACRValuesSupported:                []string{"urn:pwd"},
		CodeChallengeMethodsSupported:     []string{"S256"},
		PromptValuesSupported:             allowedPrompts,
		DisplayValuesSupported:            []string{"page"},
		UILocalesSupported:                p.Settings.Application.Locales.Available,
		AuthorizationResponseIssSupported: true,
		PolicyURI:                         p.Settings.Integrations.URLs.PrivacyPolicy,
		TermsURI:                          p.Settings.Integrations.URLs.TermsOfService,
	})
	return newDocument("application/json", body), err
}
