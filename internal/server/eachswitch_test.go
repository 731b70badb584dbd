package server_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"parako/internal/audit"
	"parako/internal/oidc"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/testkit/app"
)

// observed is what outsiders see of a switch: the word is another one once the switch is turned.
type observed func(t *testing.T, p party) string

// outcome is the error of an authorization request of somebody who is signed in, and what it is answered with if there is none.
func outcome(pairs ...string) observed {
	return func(t *testing.T, p party) string {
		t.Helper()
		resp := p.authorize(t, append([]string{"prompt", "none"}, pairs...)...)
		u, err := url.Parse(resp.Header.Get("Location"))
		if err != nil || u.Host == "" {
			return fmt.Sprint("page ", resp.StatusCode)
		}
		answer := u.Query()
		if u.Fragment != "" {
			answer, err = url.ParseQuery(u.EscapedFragment())
			if err != nil {
				t.Fatal(err)
			}
		}
		if code := answer.Get("error"); code != "" {
			return code
		}
		answer.Del("session_state") // of another switch
		return strings.Join(slices.Sorted(maps.Keys(answer)), " ")
	}
}

// refusal is the status and the error of a request to an endpoint.
func refusal(path string, pairs ...string) observed {
	return func(t *testing.T, p party) string {
		t.Helper()
		got := app.Do(t, p.direct, p.formRequest(t.Context(), path, edit(url.Values{}, pairs...)))
		_, code, _ := strings.Cut(got.Text, `"error":"`)
		code, _, _ = strings.Cut(code, `"`)
		return fmt.Sprint(got.StatusCode, " ", code)
	}
}

// served is whether there is such an endpoint.
func served(method, path string) observed {
	return func(t *testing.T, p party) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, p.tenant.Issuer+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(app.Do(t, p.direct, r).StatusCode != http.StatusNotFound)
	}
}

// announced is whether the discovery document has the text.
func announced(text string) observed {
	return func(t *testing.T, p party) string {
		t.Helper()
		return fmt.Sprint(strings.Contains(app.Get(t, p.direct, p.tenant.Issuer+"/.well-known/openid-configuration").Text, text))
	}
}

// proven is the error of a code that there is not, sent with a proof.
func proven(proof func(t *testing.T, p party) string) observed {
	return func(t *testing.T, p party) string {
		t.Helper()
		return p.send(t.Context(), t, "/token", dpop(proof(t, p)), url.Values{
			"grant_type": {"authorization_code"}, "code": {"none"}, "redirect_uri": {p.callback}, "code_verifier": {verifier},
		}).text("error")
	}
}

// inTokens looks at the answer to a code.
func inTokens(scope string, look func(t *testing.T, p party, tokens reply) string) observed {
	return func(t *testing.T, p party) string {
		t.Helper()
		got := p.answer(t, p.authorize(t, "prompt", "none", "scope", scope))
		if got.Get("code") == "" {
			return got.Get("error")
		}
		return look(t, p, p.redeem(t, got.Get("code")))
	}
}

// TestEverySwitchDoesItsOwnPart turns each switch of the protocol for Acme, and sees at Acme's endpoints that it does what it is
// there for and nothing else, and at Globex that nothing happens. A switch without a line here does not pass.
func TestEverySwitchDoesItsOwnPart(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	const base = "features.oidc."
	// At the beginning everything is on, but for what only narrows the rest.
	narrow := []string{"pkce.required", "pushed_authorization_requests.required", "dpop.require_nonce"}
	switches := map[string]*settings.Field{}
	state := map[string]bool{}
	for _, f := range settings.Fields() {
		if name, ok := strings.CutPrefix(f.Path, base); ok && f.Kind == settings.Boolean && !f.PlatformOnly && f.Awaits == "" {
			switches[name], state[name] = &f, !slices.Contains(narrow, name)
		}
	}
	document := func(state map[string]bool) string {
		tree := map[string]map[string]bool{}
		for name, on := range state {
			group, leaf, _ := strings.Cut(name, ".")
			if tree[group] == nil {
				tree[group] = map[string]bool{}
			}
			tree[group][leaf] = on
		}
		return string(mustJSON(t, map[string]any{"oidc": tree}))
	}
	a.Configure(t, a.Acme, "features", document(state))
	a.Configure(t, a.Globex, "features", document(state))

	key := newKey(t, jose.ES256)
	parties := map[string]party{}
	for _, of := range []app.Tenant{a.Acme, a.Globex} {
		p := newParty(t, a, of, webClient(t, a, of, func(n *oidc.NewClient) {
			n.WithoutPKCE = true
			n.AllowedResources = []string{"urn:test:api"}
			n.RedirectURIs = []string{"https://client.example/callback"}
			n.ResponseTypes = []string{"code", "id_token", "code id_token"}
			n.GrantTypes = []string{"authorization_code", "refresh_token", "implicit", "client_credentials"}
		}))
		p.callback = "https://client.example/callback"
		p.code(t, "scope", "openid email offline_access")
		parties[of.Slug] = p
	}
	spa := func(p party) party {
		p.callback = app.Callback
		return p.as(p.tenant.SPA)
	}

	observations := map[string]observed{
		"backchannel_logout.enabled":  announced(`"backchannel_logout_supported":true`),
		"frontchannel_logout.enabled": announced(`"frontchannel_logout_supported":true`),
		"rp_initiated_logout.enabled": announced(`"end_session_endpoint"`),
		"session_management.enabled":  announced(`"check_session_iframe"`),
		"encryption.enabled":          announced(`"id_token_encryption_alg_values_supported"`),
		"mtls.enabled":                announced(`"tls_client_certificate_bound_access_tokens":true`),
		"jwt_userinfo.enabled":        announced(`"userinfo_signing_alg_values_supported"`),
		"jwt_introspection.enabled":   announced(`"introspection_signing_alg_values_supported"`),
		// Its own test ends a session and looks at what is left.
		"expires_with_session.enabled": nil,

		"claims_parameter.enabled":               outcome("claims", "{"),
		"request_objects.enabled":                outcome("request", "none"),
		"request_uri.enabled":                    outcome("request_uri", "https://client.example/object"),
		"resource_indicators.enabled":            outcome("resource", "urn:test:api"),
		"jwt_response_modes.enabled":             outcome("response_mode", "query.jwt"),
		"implicit_flow.enabled":                  outcome("response_type", "id_token"),
		"hybrid_flow.enabled":                    outcome("response_type", "code id_token"),
		"pkce.required":                          outcome("code_challenge", drop, "code_challenge_method", drop),
		"pushed_authorization_requests.required": outcome(),
		"pkce.enabled": func(t *testing.T, p party) string {
			t.Helper()
			return outcome("code_challenge", drop, "code_challenge_method", drop)(t, spa(p))
		},

		"client_credentials.enabled":            refusal("/token", "grant_type", "client_credentials", "scope", "none"),
		"device_flow.enabled":                   refusal("/device/auth"),
		"token_exchange.enabled":                refusal("/token", "grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
		"jwt_bearer.enabled":                    refusal("/token", "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
		"token_revocation.enabled":              refusal("/token/revocation", "token", "none"),
		"token_introspection.enabled":           refusal("/token/introspection", "token", "none"),
		"pushed_authorization_requests.enabled": refusal("/request"),

		"userinfo_endpoint.enabled":              served(http.MethodGet, "/userinfo"),
		"dynamic_client_registration.enabled":    served(http.MethodPost, "/register-rp"),
		"client_registration_management.enabled": served(http.MethodGet, "/register-rp/none"),

		"dpop.enabled": proven(func(*testing.T, party) string { return "none" }),
		"dpop.require_nonce": proven(func(t *testing.T, p party) string {
			t.Helper()
			return key.proof(t, http.MethodPost, p.tenant.Issuer+"/token")
		}),
		"conform_id_token_claims.enabled": inTokens("openid email", func(t *testing.T, _ party, tokens reply) string {
			t.Helper()
			_, has := claimsOf(t, tokens.text("id_token"))["email"]
			return fmt.Sprint("email in ID token: ", has)
		}),
		"rotate_refresh_token.enabled": inTokens("openid offline_access", func(t *testing.T, p party, tokens reply) string {
			t.Helper()
			old := tokens.text("refresh_token")
			if old == "" {
				return "no refresh token"
			}
			refreshed := p.refresh(t, old)
			return fmt.Sprint(refreshed.StatusCode, " rotated: ", refreshed.text("refresh_token") != old)
		}),
	}
	for name := range switches {
		if _, ok := observations[name]; !ok {
			t.Errorf("nothing shows that %s takes effect", name)
		}
	}
	reach := map[string][]string{
		// Where every request has to be pushed, none of those that are not gets as far as before.
		"pushed_authorization_requests.required": {
			"claims_parameter", "request_objects", "request_uri", "resource_indicators", "jwt_response_modes", "implicit_flow", "hybrid_flow",
			"pkce", "conform_id_token_claims", "rotate_refresh_token",
		},
		// Claims that cannot be had elsewhere are in the ID token.
		"userinfo_endpoint.enabled": {"conform_id_token_claims"},
	}
	look := func(p party) map[string]string {
		seen := map[string]string{}
		for name, observe := range observations {
			if observe != nil {
				seen[name] = observe(t, p)
			}
		}
		return seen
	}
	acme, globex := parties["acme"], parties["globex"]
	before := look(acme)
	if diff := cmp.Diff(before, look(globex)); diff != "" {
		t.Fatalf("the tenants differ at the beginning (-acme +globex)\n%s", diff)
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		turned := maps.Clone(state)
		turned[name] = !turned[name]
		needing := func(other string) bool { return switches[other].Needs == base+name && !turned[name] }
		for other := range switches {
			if needing(other) {
				turned[other] = false
			}
		}
		a.Configure(t, a.Acme, "features", document(turned))
		acme.marked(t, name)
		for other, now := range look(acme) {
			group, _, _ := strings.Cut(other, ".")
			switch was := before[other]; {
			case other == name && now == was:
				t.Errorf("turning %s does nothing: %s", name, now)
			case other == name || needing(other) || slices.Contains(reach[name], group):
			case now != was:
				t.Errorf("turning %s, %s goes from %q to %q", name, other, was, now)
			}
		}
		if now := observations[name](t, globex); now != before[name] {
			t.Errorf("turning %s at Acme, it goes from %q to %q at Globex", name, before[name], now)
		}
	}
}

// marked changes something else of the tenant as well, and waits until that is seen, and with it everything that was changed before.
func (p party) marked(t *testing.T, mark string) {
	t.Helper()
	// The server's own store announces what it writes, so that nobody waits for the next poll.
	err := p.Server.Store().InTenant(t.Context(), p.tenant.ID, func(ctx context.Context, tx *store.Tx) error {
		document := `{"discovery": {"service_documentation": "https://docs.example/` + mark + `"}}`
		_, err := settings.Write(ctx, tx, settings.Layer{}, settings.Change{Section: "oidc", Document: []byte(document), By: audit.Operator("test")})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for announced("https://docs.example/"+mark)(t, p) != "true" {
		if t.Context().Err() != nil {
			t.Fatalf("%s is not noticed", mark)
		}
	}
}
