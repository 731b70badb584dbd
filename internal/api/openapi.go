package api

import (
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"parako/internal/oidc"
)

// config is what huma is made with: JSON alone, our form of errors, and none of its own routes.
func (*Handler) config() huma.Config {
	scopes := map[string]string{}
	for _, scope := range oidc.ManagementScopes() {
		scopes[scope.Name] = scope.Allows
		if scope.Platform {
			scopes[scope.Name] += " Only for clients of the platform's own tenant."
		}
	}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Parako Management API", Version: "1",
				Description: "Administers one tenant: the one whose host is called. A call carries an access token of that tenant for the resource " +
					oidc.ManagementResource + ", which its token endpoint issues for client_credentials. Errors are RFC 9457 documents.",
			},
			Servers: []*huma.Server{{URL: Mount}},
			Components: &huma.Components{SecuritySchemes: map[string]*huma.SecurityScheme{security: {
				Type: "oauth2", Description: "Ask for resource=" + oidc.ManagementResource + " and the scopes of the calls.",
				Flows: &huma.OAuthFlows{ClientCredentials: &huma.OAuthFlow{TokenURL: oidc.Mount + "/token", Scopes: scopes}},
			}}},
		},
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{translate},
	}
}

// limitParameter is the limit of a list as the document has it. It is read as text, because what cannot be a limit is no error.
func limitParameter() *huma.Param {
	one, most := 1.0, float64(maxPage)
	return &huma.Param{
		Name: "limit", In: "query", Description: "How many entries to answer with. What is out of bounds is brought into them; what is no number counts as left out.",
		Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: &one, Maximum: &most, Default: defaultPage},
	}
}

// echoPath is a path of the document as the router writes it.
func echoPath(path string) string {
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}
