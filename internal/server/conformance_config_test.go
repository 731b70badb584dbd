package server_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"parako/internal/testkit/app"
)

// TestConformanceConfig is the Config plan, oidcc-discovery-endpoint-verification.
func TestConformanceConfig(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	configureForConformance(t, a)
	for _, tenant := range []app.Tenant{a.Acme, a.Globex} {
		t.Run("oidcc-discovery-endpoint-verification/"+tenant.Slug, func(t *testing.T) {
			c := conformance{party: newParty(t, a, tenant, tenant.Web)}
			resp := app.Get(t, c.direct, tenant.Issuer+"/.well-known/openid-configuration")
			document := c.discovery(t)
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" || document["issuer"] != tenant.Issuer {
				t.Errorf("%d %s %v", resp.StatusCode, resp.Header.Get("Content-Type"), document["issuer"])
			}
			for _, name := range []string{"authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"} {
				if text, _ := document[name].(string); !strings.HasPrefix(text, tenant.Issuer+"/") {
					t.Errorf("%s = %q", name, text)
				}
			}
			for name, value := range map[string]string{
				"response_types_supported": "code", "subject_types_supported": "public", "id_token_signing_alg_values_supported": "RS256",
				"scopes_supported": "openid", "grant_types_supported": "authorization_code", "claims_supported": "sub",
				"code_challenge_methods_supported": "S256", "token_endpoint_auth_methods_supported": "client_secret_basic", "response_modes_supported": "form_post",
			} {
				if !c.lists(t, name, value) {
					t.Errorf("%s does not list %s", name, value)
				}
			}
			other := app.Get(t, c.direct, strings.Replace(tenant.Issuer, "/oidc/v1", "/.well-known/oauth-authorization-server/oidc/v1", 1))
			if other.Text != resp.Text {
				t.Error("the two documents differ (RFC 8414)")
			}
			var set struct {
				Keys []map[string]any `json:"keys"`
			}
			jwks := app.Get(t, c.direct, tenant.Issuer+"/jwks").Text
			if err := json.Unmarshal([]byte(jwks), &set); err != nil || len(set.Keys) < 3 {
				t.Fatalf("%v: %s", err, jwks)
			}
			kids := map[any]bool{}
			for _, key := range set.Keys {
				if kids[key["kid"]] || key["kid"] == nil || key["alg"] == nil || key["use"] == nil {
					t.Errorf("key = %v", key)
				}
				kids[key["kid"]] = true
			}
			if private := regexp.MustCompile(`"(d|p|q|dp|dq|qi|k|oth)":`).FindString(jwks); private != "" {
				t.Errorf("the key set holds %s", private)
			}
		})
	}
}
