package server_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"github.com/zitadel/oidc/v3/pkg/client"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/client/rs"
	"github.com/zitadel/oidc/v3/pkg/client/tokenexchange"
	httphelper "github.com/zitadel/oidc/v3/pkg/http"
	zitadel "github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"

	parako "parako/internal/oidc"
	"parako/internal/testkit/app"
)

// zitadelSite is an application made with the relying party of zitadel/oidc.
type zitadelSite struct {
	rp.RelyingParty

	url     string
	browser *http.Client
}

// zitadelVisit is what the application knows of a person who came back.
type zitadelVisit struct {
	Subject      string `json:"sub"`
	Email        string `json:"email"`
	IDToken      string `json:"id_token"`
	RefreshToken string `json:"refresh_token"`
}

// newZitadelSite serves an application of the client that signs people in at /login.
func newZitadelSite(t *testing.T, p party, options ...rp.Option) zitadelSite {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	cookies := httphelper.NewCookieHandler([]byte(rand.Text()), nil, httphelper.WithUnsecure())
	site, err := rp.NewRelyingPartyOIDC(t.Context(), p.tenant.Issuer, p.client.ID, p.client.Secret, server.URL+"/callback",
		[]string{"openid", "email", "offline_access"},
		append([]rp.Option{rp.WithPKCE(cookies), rp.WithHTTPClient(&http.Client{Transport: loopback(t)}), rp.WithSigningAlgsFromDiscovery()}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/login", rp.AuthURLHandler(uuid.NewString, site))
	mux.Handle("/callback", rp.CodeExchangeHandler(rp.UserinfoCallback(
		func(w http.ResponseWriter, _ *http.Request, tokens *zitadel.Tokens[*zitadel.IDTokenClaims], _ string, _ rp.RelyingParty, person *zitadel.UserInfo) {
			_ = json.NewEncoder(w).Encode(zitadelVisit{
				Subject: person.Subject, Email: person.Email, IDToken: tokens.IDToken, RefreshToken: tokens.RefreshToken,
			})
		}), site))
	return zitadelSite{RelyingParty: site, url: server.URL, browser: visitor(t, p.App)}
}

// back signs the person in and returns the address at which the application takes them back.
func (s zitadelSite) back(t *testing.T, p party) string {
	t.Helper()
	return p.SignIn(t, s.browser, s.url+"/login", p.tenant.Email, p.password).String()
}

// visit signs the person in.
func (s zitadelSite) visit(t *testing.T, p party) zitadelVisit {
	t.Helper()
	resp := app.Get(t, s.browser, s.back(t, p))
	var visit zitadelVisit
	if err := json.Unmarshal([]byte(resp.Text), &visit); err != nil || visit.Subject != p.tenant.User.ID.String() || visit.Email != p.tenant.Email {
		t.Fatalf("%d %s: %v", resp.StatusCode, resp.Text, err)
	}
	return visit
}

// oauthError expects the error of the provider, however the library wraps it.
func oauthError(t *testing.T, err error, code string) {
	t.Helper()
	got := ""
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		got = e.ErrorCode
	} else if e, ok := errors.AsType[*zitadel.Error](err); ok {
		got = string(e.ErrorType)
	}
	if got != code {
		t.Errorf("error = %v, want %s", err, code)
	}
}

// TestZitadelRelyingParty has an application of each tenant use the relying party of zitadel/oidc, all at the same time.
func TestZitadelRelyingParty(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for _, tenants := range [][2]app.Tenant{{a.Acme, a.Globex}, {a.Globex, a.Acme}} {
		tenant, other := tenants[0], tenants[1]
		t.Run(tenant.Slug, func(t *testing.T) {
			p := newParty(t, a, tenant, tenant.Web)
			site := newZitadelSite(t, p, rp.WithAuthStyle(oauth2.AuthStyleInHeader))
			visit := site.visit(t, p)

			fresh, err := rp.RefreshTokens[*zitadel.IDTokenClaims](t.Context(), site, visit.RefreshToken, "", "")
			if err != nil || fresh.RefreshToken == visit.RefreshToken || fresh.IDTokenClaims.Subject != visit.Subject {
				t.Fatalf("refresh: %+v, %v", fresh, err)
			}
			resource, err := rs.NewResourceServerClientCredentials(t.Context(), tenant.Issuer, p.client.ID, p.client.Secret, rs.WithClient(site.HttpClient()))
			if err != nil {
				t.Fatal(err)
			}
			info, err := rs.Introspect[*zitadel.IntrospectionResponse](t.Context(), resource, fresh.AccessToken)
			if err != nil || !info.Active || info.Subject != visit.Subject || info.ClientID != p.client.ID {
				t.Errorf("introspection: %+v, %v", info, err)
			}
			if err := rp.RevokeToken(t.Context(), site, fresh.RefreshToken, "refresh_token"); err != nil {
				t.Error(err)
			}
			_, err = rp.RefreshTokens[*zitadel.IDTokenClaims](t.Context(), site, fresh.RefreshToken, "", "")
			oauthError(t, err, "invalid_grant")

			// The library asks by itself where the browser is to go.
			leave, err := rp.EndSession(t.Context(), site, visit.IDToken, after, "the-state", "", nil)
			if err != nil || leave == nil {
				t.Fatalf("end session: %v, %v", leave, err)
			}
			person := p
			person.browser = site.browser
			person.step = &http.Client{Jar: site.browser.Jar, Transport: site.browser.Transport, CheckRedirect: p.step.CheckRedirect}
			if got := person.confirm(t, app.Get(t, person.step, leave.String())); got.Header.Get("Location") != after+"?state=the-state" {
				t.Errorf("signed out: %d to %q", got.StatusCode, got.Header.Get("Location"))
			}
			person.shows(t, "login-form")

			// What is not this application's, or not this tenant's.
			stolen := visitor(t, a)
			if got := app.Get(t, stolen, site.back(t, p)); got.StatusCode != http.StatusUnauthorized || !strings.Contains(got.Text, "failed to get state") {
				t.Errorf("in another browser: %d %s", got.StatusCode, got.Text)
			}
			if got := app.Get(t, site.browser, strings.Replace(site.back(t, p), "state=", "state=x", 1)); got.StatusCode != http.StatusUnauthorized {
				t.Errorf("with another state: %d %s", got.StatusCode, got.Text)
			}
			neighbour := newZitadelSite(t, newParty(t, a, other, other.Web), rp.WithAuthStyle(oauth2.AuthStyleInHeader))
			if _, err := rp.VerifyIDToken[*zitadel.IDTokenClaims](t.Context(), visit.IDToken, neighbour.IDTokenVerifier()); !errors.Is(err, zitadel.ErrIssuerInvalid) {
				t.Errorf("at another tenant's application: %v", err)
			}
			_, err = rp.NewRelyingPartyOIDC(t.Context(), other.Issuer, p.client.ID, p.client.Secret, app.Callback, nil,
				rp.WithHTTPClient(site.HttpClient()), rp.WithCustomDiscoveryUrl(tenant.Issuer+"/.well-known/openid-configuration"))
			if !errors.Is(err, zitadel.ErrIssuerInvalid) {
				t.Errorf("discovery of another issuer: %v", err)
			}
		})
	}
}

// TestZitadelPrivateKeyJWT authenticates with keys. The assertions that the library makes unasked are good for an hour, which is
// longer than anybody needs; it has to be given shorter ones.
func TestZitadelPrivateKeyJWT(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for name, alg := range map[string]jose.SignatureAlgorithm{"ES256": jose.ES256, "RS256": jose.RS256} {
		t.Run(name, func(t *testing.T) {
			key := newKey(t, alg)
			p := newParty(t, a, a.Acme, a.Acme.Web).with(t, func(n *parako.NewClient) {
				n.TokenEndpointAuthMethod, n.JWKS, n.RedirectURIs = "private_key_jwt", key.set(t), []string{"http://127.0.0.1/callback"}
			})
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key.private}, nil)
			if err != nil {
				t.Fatal(err)
			}
			assertion := func(life time.Duration) string {
				text, err := client.SignedJWTProfileAssertion(p.client.ID, []string{p.tenant.Issuer}, life, signer)
				if err != nil {
					t.Fatal(err)
				}
				return text
			}
			site := newZitadelSite(t, p, rp.WithAuthStyle(oauth2.AuthStyleInParams))
			code := func(verifier string) string {
				u := rp.AuthURL("s", site, rp.WithCodeChallenge(oauth2.S256ChallengeFromVerifier(verifier)))
				return p.SignIn(t, p.browser, u, p.tenant.Email, p.password).Query().Get("code")
			}
			tokens, err := rp.CodeExchange[*zitadel.IDTokenClaims](t.Context(), code(verifier), site,
				rp.WithCodeVerifier(verifier), rp.WithClientAssertionJWT(assertion(time.Minute)))
			if err != nil {
				t.Fatal(err)
			}
			fresh, err := rp.RefreshTokens[*zitadel.IDTokenClaims](t.Context(), site, tokens.RefreshToken, assertion(time.Minute), zitadel.ClientAssertionTypeJWTAssertion)
			if err != nil || fresh.RefreshToken == tokens.RefreshToken {
				t.Errorf("refresh: %+v, %v", fresh, err)
			}
			once := assertion(time.Minute)
			for _, want := range []string{"", "invalid_client"} {
				_, err := rp.CodeExchange[*zitadel.IDTokenClaims](t.Context(), code(verifier), site, rp.WithCodeVerifier(verifier), rp.WithClientAssertionJWT(once))
				oauthError(t, err, want)
			}
			unasked := newZitadelSite(t, p, rp.WithJWTProfile(func() (jose.Signer, error) { return signer, nil }))
			if got := app.Get(t, unasked.browser, unasked.back(t, p)); got.StatusCode != http.StatusUnauthorized || !strings.Contains(got.Text, "invalid_client") {
				t.Errorf("with an assertion for an hour: %d %s", got.StatusCode, got.Text)
			}
		})
	}
}

// TestZitadelMachines uses the grants of programs: client_credentials and token exchange.
func TestZitadelMachines(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{"token_exchange":{"enabled":true}}}`)
	browser := newParty(t, a, a.Acme, a.Acme.Web)
	front := browser.with(t, func(n *parako.NewClient) {
		n.AllowedResources, n.ResourcesScopes = []string{"urn:resource:gateway"}, "call"
	})
	gateway := browser.with(t, machineClient("gateway", grantTokenExchange))
	subject := front.tokens(t, "resource", "urn:resource:gateway", "scope", "openid call").text("access_token")

	outside := &http.Client{Transport: loopback(t)}
	exchanger, err := tokenexchange.NewTokenExchangerClientCredentials(t.Context(), a.Acme.Issuer, gateway.client.ID, gateway.client.Secret, tokenexchange.WithHTTPClient(outside))
	if err != nil {
		t.Fatal(err)
	}
	exchange := func(subject string, scopes ...string) (*zitadel.TokenExchangeResponse, error) {
		return tokenexchange.ExchangeToken(t.Context(), exchanger, subject, zitadel.AccessTokenType, "", "", []string{"https://two.example"}, nil, scopes, zitadel.AccessTokenType)
	}
	got, err := exchange(subject, "read")
	if err != nil {
		t.Fatal(err)
	}
	claims := gateway.verified(t, "at+jwt", got.AccessToken)
	if got.IssuedTokenType != zitadel.AccessTokenType || claims["sub"] != a.Acme.User.ID.String() || claims["aud"] != "https://two.example" || claims["scope"] != "read" {
		t.Errorf("%+v says %v", got, claims)
	}
	_, err = exchange(newParty(t, a, a.Globex, a.Globex.Web).tokens(t).text("access_token"), "read")
	oauthError(t, err, "invalid_request")
	_, err = exchange(subject, "admin")
	oauthError(t, err, "invalid_scope")

	for _, tenant := range []app.Tenant{a.Acme, a.Globex} {
		machine, err := rp.NewRelyingPartyOIDC(t.Context(), tenant.Issuer, a.Acme.M2M.ID, a.Acme.M2M.Secret, "", []string{"read"},
			rp.WithHTTPClient(outside), rp.WithAuthStyle(oauth2.AuthStyleInHeader))
		if err != nil {
			t.Fatal(err)
		}
		token, err := rp.ClientCredentials(t.Context(), machine, url.Values{"resource": {"urn:test:api"}})
		if tenant.Slug == "globex" {
			oauthError(t, err, "invalid_client")
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if claims := gateway.verified(t, "at+jwt", token.AccessToken); claims["sub"] != a.Acme.M2M.ID || claims["aud"] != "urn:test:api" {
			t.Errorf("client_credentials: %v", claims)
		}
	}
}
