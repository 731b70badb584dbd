package server_test

import (
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"parako/internal/oidc"
	"parako/internal/testkit/app"
)

// webAPIInput and webAPIResult are what oauth4webapi.mjs reads and prints.
type webAPIInput struct {
	Issuer      string       `json:"issuer"`
	OtherIssuer string       `json:"other_issuer"`
	RedirectURI string       `json:"redirect_uri"`
	Identifier  string       `json:"identifier"`
	Password    string       `json:"password"`
	Web         webAPIClient `json:"web"`
	FAPI        webAPIClient `json:"fapi"`
}

type webAPIClient struct {
	ClientID         string          `json:"client_id"`
	Key              jose.JSONWebKey `json:"key"`
	IDTokenAlg       string          `json:"id_token_signed_response_alg"`
	AuthorizationAlg string          `json:"authorization_signed_response_alg"`
}

type webAPIResult struct {
	Nonces                int               `json:"nonces"`
	Person                webAPIPerson      `json:"person"`
	TokenType             string            `json:"token_type"`
	Rotated               bool              `json:"rotated"`
	Introspection         webAPIActive      `json:"introspection"`
	Bound                 bool              `json:"bound"`
	ActiveAfterRevocation *bool             `json:"active_after_revocation"`
	JARM                  webAPIJARM        `json:"jarm"`
	FAPI                  webAPIFAPI        `json:"fapi"`
	Refused               map[string]string `json:"refused"`
}

type webAPIPerson struct {
	Sub   string `json:"sub"`
	Email string `json:"email"`
}

type webAPIActive struct {
	Active    bool   `json:"active"`
	Sub       string `json:"sub"`
	ClientID  string `json:"client_id"`
	TokenType string `json:"token_type"`
}

type webAPIJARM struct {
	Sub        string   `json:"sub"`
	Parameters []string `json:"parameters"`
}

type webAPIFAPI struct {
	Person     webAPIPerson `json:"person"`
	TokenType  string       `json:"token_type"`
	Parameters []string     `json:"parameters"`
	Rotated    bool         `json:"rotated"`
}

// TestOAuth4WebAPI has the protocol library beneath openid-client use what openid-client's test does not: pushed and signed
// requests, signed answers, DPoP with and without nonces of ours, private_key_jwt and the FAPI 2.0 profile, in two tenants at the
// same time; and has it see what is refused.
func TestOAuth4WebAPI(t *testing.T) {
	t.Parallel()
	program := node(t)
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{"jwt_response_modes":{"enabled":true},"dpop":{"require_nonce":true}}}`)
	a.Configure(t, a.Globex, "features", `{"oidc":{"jwt_response_modes":{"enabled":true}}}`)
	for _, tenants := range [][2]app.Tenant{{a.Acme, a.Globex}, {a.Globex, a.Acme}} {
		tenant, other := tenants[0], tenants[1]
		t.Run(tenant.Slug, func(t *testing.T) {
			web, fapi := newKey(t, jose.ES256), newKey(t, jose.ES256)
			webClient := webClient(t, a, tenant, func(n *oidc.NewClient) {
				n.TokenEndpointAuthMethod, n.JWKS = "private_key_jwt", web.set(t)
			})
			fapiClient := newParty(t, a, tenant, tenant.Web).with(t, func(n *oidc.NewClient) {
				n.FAPIProfile, n.TokenEndpointAuthMethod, n.DPoPBound, n.JWKS = oidc.FAPI2, "private_key_jwt", true, fapi.set(t)
			}).client
			var got webAPIResult
			runNode(t, program, "oauth4webapi.mjs", webAPIInput{
				Issuer: tenant.Issuer, OtherIssuer: other.Issuer, RedirectURI: app.Callback, Identifier: tenant.Email, Password: app.Password,
				Web:  webAPIClient{ClientID: webClient.ID, Key: web.private, IDTokenAlg: "RS256", AuthorizationAlg: "RS256"},
				FAPI: webAPIClient{ClientID: fapiClient.ID, Key: fapi.private, IDTokenAlg: "ES256", AuthorizationAlg: "ES256"},
			}, &got)

			if asked := got.Nonces > 0; asked != (tenant.Slug == "acme") {
				t.Errorf("asked for a nonce %d times", got.Nonces)
			}
			got.Nonces = 0
			person, inactive := webAPIPerson{Sub: tenant.User.ID.String(), Email: tenant.Email}, false
			want := webAPIResult{
				Person: person, TokenType: "dpop", Rotated: true, Bound: true, ActiveAfterRevocation: &inactive,
				Introspection: webAPIActive{Active: true, Sub: person.Sub, ClientID: webClient.ID, TokenType: "DPoP"},
				JARM:          webAPIJARM{Sub: person.Sub, Parameters: []string{"response"}},
				FAPI:          webAPIFAPI{Person: person, TokenType: "dpop", Parameters: []string{"response"}},
				Refused: map[string]string{
					"discovery of another issuer":            "OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED",
					"answer with another state":              "OAUTH_INVALID_RESPONSE",
					"answer with the iss of another tenant":  "OAUTH_INVALID_RESPONSE",
					"answer without iss":                     "OAUTH_INVALID_RESPONSE",
					"signed answer for another client":       "OAUTH_JWT_CLAIM_COMPARISON_FAILED",
					"signed answer with another state":       "OAUTH_INVALID_RESPONSE",
					"signed answer of another tenant":        "OAUTH_JWT_CLAIM_COMPARISON_FAILED",
					"ID token for another nonce":             "OAUTH_JWT_CLAIM_COMPARISON_FAILED",
					"code with another verifier":             "invalid_grant",
					"code that was spent":                    "invalid_grant",
					"code of another client":                 "invalid_grant",
					"assertion signed with another key":      "invalid_client",
					"assertion for another tenant":           "invalid_client",
					"pushed request without PKCE":            "invalid_request",
					"pushed request that was answered":       "a page with status 400",
					"request object signed with another key": "invalid_request_object",
					"FAPI request that was not pushed":       "invalid_request",
					"token with the proof of another key":    "invalid_token",
					"FAPI code without a proof":              "invalid_dpop_proof",
					"refresh token that was revoked":         "invalid_grant",
				},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("mismatch (-want +got)\n%s", diff)
			}
		})
	}
}
