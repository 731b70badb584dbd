package oidc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"parako/internal/dbsqlc"
	"parako/internal/settings"
)

// bench is a provider without a database, for what is decided without one.
func bench(change func(*settings.Settings)) *Provider {
	set := settings.Default()
	if change != nil {
		change(&set)
	}
	p := &Provider{
		Issuer: "https://acme.example/oidc/v1", Settings: set, nonces: make([]byte, 32), pairwise: make([]byte, 32),
		deps: Deps{Now: time.Now, Log: slog.New(slog.DiscardHandler)},
	}
	p.tokens = opaqueTokens{key: make([]byte, 32), now: time.Now}
	p.oauth2 = compose(p)
	return p
}

// everyFeature turns the parts on that change what an authorization request can be.
func everyFeature(s *settings.Settings) {
	f := &s.Features.OIDC
	f.ImplicitFlow.Enabled, f.HybridFlow.Enabled, f.ClaimsParameter.Enabled = true, true, true
	f.PKCE.Required = false
}

func benchClient() client {
	return client{Client: dbsqlc.Client{
		ID: "app", Active: true, ApplicationType: "web", TokenEndpointAuthMethod: authBasic, Scope: "openid profile email", ResourcesScopes: "read",
		RedirectUris: []string{"https://app.example/cb", "http://127.0.0.1/cb"}, GrantTypes: []string{grantCode, grantImplicit},
		ResponseTypes: []string{"code", "id_token", "code id_token"}, AllowedResources: []string{"urn:api"}, IDTokenSignedResponseAlg: "RS256",
	}}
}

// FuzzAuthorizeRequest holds that an accepted request is within what its client registered, and that no answer, good or bad,
// leads anywhere but to a registered redirect URI.
func FuzzAuthorizeRequest(f *testing.F) {
	for _, seed := range []string{
		"response_type=code&redirect_uri=https%3A%2F%2Fapp.example%2Fcb&scope=openid&code_challenge=KqzFVVoj1xIeRMaYoKBsIWuO4_VBBpZdnQDgP3WuG_k&code_challenge_method=S256",
		"response_type=id_token+code&redirect_uri=http%3A%2F%2F127.0.0.1%3A9%2Fcb&scope=openid+email&nonce=n&response_mode=fragment&prompt=login+consent&max_age=0",
		"response_type=code&scope=read&resource=urn%3Aapi&redirect_uri=https://app.example/cb", "response_type=none&claims=%7B%22userinfo%22%3A%7B%7D%7D",
		"redirect_uri=https://evil.example&response_type=code", "state=a&state=b&redirect_uri=https://app.example/cb", "%zz", "a=%00", "a=%ff",
		"response_mode=query&response_type=id_token&nonce=1&scope=openid&redirect_uri=https://app.example/cb", "prompt=none+login&redirect_uri=https://app.example/cb",
	} {
		f.Add(seed)
	}
	p, who := bench(everyFeature), benchClient()
	f.Fuzz(func(t *testing.T, query string) {
		form, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		r, err := p.checkAuthorize(t.Context(), form, who)
		if r == nil {
			if err == nil {
				t.Fatal("neither a request nor an error")
			}
			if _, isProblem := explain(err); isProblem != nil {
				t.Fatalf("a fault of ours: %v", err)
			}
			return
		}
		if !registeredRedirect(who.RedirectUris, r.redirectURI) {
			t.Fatalf("%q is not registered", r.redirectURI)
		}
		if err != nil {
			e, internal := explain(err)
			if internal != nil || e.Code == "" || e.Code == "server_error" {
				t.Fatalf("%q: %v", query, err)
			}
			answer, err := p.respond(t.Context(), r, errorParams(err))
			if err != nil || !strings.HasPrefix(answer.Location, r.redirectURI) {
				t.Fatalf("answer = %v, %v", answer, err)
			}
			return
		}
		if r.responseType != "none" && !slices.Contains(who.ResponseTypes, r.responseType) {
			t.Fatalf("response type %q", r.responseType)
		}
		if plain, _ := r.mode.split(); r.asks("id_token") && plain == modeQuery {
			t.Fatal("an ID token in a query")
		}
		for _, scope := range r.scopes() {
			if !slices.Contains(strings.Fields(who.Scope+" "+who.ResourcesScopes), scope) {
				t.Fatalf("scope %q", scope)
			}
		}
		for name, values := range form {
			if len(values) > 1 && name != "resource" && name != "audience" {
				t.Fatalf("%s is repeated", name)
			}
		}
		if r.form.Get("code_challenge") != "" && r.form.Get("code_challenge_method") != "S256" && r.asks("code") {
			t.Fatal("a challenge that is not S256")
		}
	})
}

// FuzzRequestObject signs what it is given. Whatever is inside, nothing but the client's own request comes out.
func FuzzRequestObject(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public()}}})
	if err != nil {
		f.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		f.Fatal(err)
	}
	p, who := bench(everyFeature), benchClient()
	who.JWKS = set
	for _, seed := range []string{
		`{"iss":"app","aud":"https://acme.example/oidc/v1","scope":"openid","max_age":0}`, `{"aud":["https://acme.example/oidc/v1"],"client_id":"app"}`,
		`{"aud":"https://acme.example/oidc/v1","client_id":"other"}`, `{"aud":"https://acme.example/oidc/v1","exp":1e300}`, `{"aud":"https://acme.example/oidc/v1","resource":["a","b"]}`,
		`{"aud":"https://acme.example/oidc/v1","claims":{"userinfo":{}},"state":null,"nonce":7,"x":[1]}`, `[]`, `7`, `{"aud":"https://acme.example/oidc/v1","sub":"app"}`, `{`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		jws, err := signer.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		form, err := p.requestObject(t.Context(), who, url.Values{"client_id": {"app"}, "state": {"outside"}}, text)
		if err != nil {
			if e, internal := explain(err); internal != nil || e.Code != "invalid_request_object" {
				t.Fatalf("%v", err)
			}
			return
		}
		if form.Get("client_id") != "app" || form.Get("state") == "outside" {
			t.Fatalf("form = %v", form)
		}
		for _, name := range append(slices.Clone(claimsOfJWT), "request", "request_uri") {
			if form.Has(name) {
				t.Fatalf("%s became a parameter", name)
			}
		}
		for name, values := range form {
			if len(values) != 1 && name != "resource" {
				t.Fatalf("%s has %d values", name, len(values))
			}
		}
	})
}

// FuzzProof signs what it is given as a DPoP proof. It is accepted only for its method, endpoint and time.
func FuzzProof(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		f.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	p := bench(nil)
	p.deps.Now = func() time.Time { return now }
	const target = "https://acme.example/oidc/v1/token"
	for _, seed := range []string{
		`{"jti":"1","htm":"POST","htu":"https://acme.example/oidc/v1/token","iat":1800000000}`, `{"jti":"1","htm":"POST","htu":"https://acme.example:443/oidc/v1/token?x#y","iat":1799999990}`,
		`{"jti":"1","htm":"GET","htu":"https://acme.example/oidc/v1/token","iat":1800000000}`, `{"jti":"","htm":"POST"}`, `{"iat":1e10}`, `{"iat":-9223372036854775808}`, `[]`, `{"nonce":"x"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		jws, err := signer.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		proof, err := parseProof(text)
		if err != nil {
			return
		}
		if err := p.checkProof(proof, http.MethodPost, target, ""); err != nil {
			if e, internal := explain(err); internal != nil || e.Code != "invalid_dpop_proof" && e.Code != "use_dpop_nonce" {
				t.Fatalf("%v", err)
			}
			return
		}
		u, err := url.Parse(proof.URL)
		if err != nil || proof.Method != http.MethodPost || proof.ID == "" || !strings.EqualFold(u.Hostname(), "acme.example") || u.Path != "/oidc/v1/token" {
			t.Fatalf("accepted: %s", payload)
		}
		if age := now.Sub(time.Unix(*proof.IssuedAt, 0)); age > proofPastNonce || age < -clockSkew {
			t.Fatalf("accepted at an age of %s", age)
		}
	})
}

// FuzzProofText parses what nobody signed. There is no key to be had from it.
func FuzzProofText(f *testing.F) {
	f.Add("eyJhbGciOiJub25lIiwidHlwIjoiZHBvcCtqd3QifQ.e30.")
	f.Add("eyJhbGciOiJFUzI1NiIsInR5cCI6ImRwb3Arand0IiwiandrIjp7fX0.e30.AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := parseProof(text); err == nil {
			t.Fatalf("accepted: %s", text)
		}
	})
}

// FuzzClientMetadata holds that what is accepted is safe and complete: checked again it is accepted unchanged.
func FuzzClientMetadata(f *testing.F) {
	for _, seed := range []string{
		`{"client_name":"A","redirect_uris":["https://a.example/cb"]}`, `{"client_name":"A","grant_types":["implicit"],"response_types":["id_token token"],"redirect_uris":["https://a.example"]}`,
		`{"client_name":"A","redirect_uris":["javascript:alert(1)"]}`, `{"client_name":"A","redirect_uris":["http://a.example"]}`, `{"client_name":"\u202e","jwks":{"keys":[]},"redirect_uris":["a:/b"],"application_type":"native"}`,
		`{"client_name":"A","redirect_uris":["https://a.example","https://b.example"],"subject_type":"pairwise"}`, `{"fapi_profile":"2.0","client_name":"A"}`,
	} {
		f.Add([]byte(seed))
	}
	set := settings.Default()
	everyFeature(&set)
	set.Features.OIDC.Encryption.Enabled = true
	f.Fuzz(func(t *testing.T, document []byte) {
		n := NewClient{ID: "app"}
		if json.Unmarshal(document, &n.ClientMetadata) != nil {
			return
		}
		if err := n.complete(set, ClientMetadata{}); err != nil {
			if ascii(err.Error()) != err.Error() {
				t.Fatalf("not ASCII: %q", err)
			}
			return
		}
		for _, uri := range n.RedirectURIs {
			if !safeRedirect(uri) {
				t.Fatalf("accepted %q", uri)
			}
		}
		for _, response := range n.ResponseTypes {
			for _, grant := range responseTypes[response] {
				if !slices.Contains(n.GrantTypes, grant) {
					t.Fatalf("%s without %s", response, grant)
				}
			}
		}
		if n.TokenEndpointAuthMethod == authNone && slices.Contains(n.GrantTypes, grantClientCredentials) {
			t.Fatal("a public client with client_credentials")
		}
		before, err := json.Marshal(n.ClientMetadata)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.complete(set, ClientMetadata{}); err != nil {
			t.Fatalf("checked again: %v", err)
		}
		after, err := json.Marshal(n.ClientMetadata)
		if err != nil || string(before) != string(after) {
			t.Fatalf("checked again: %s became %s", before, after)
		}
	})
}

// FuzzRegistration holds that nothing an application sends about itself sets what only administrators set, that it has a name,
// and that what it is refused with can be sent to it.
func FuzzRegistration(f *testing.F) {
	for _, seed := range []string{
		`{"client_name":"A","redirect_uris":["https://a.example/cb"]}`, `{"client_name":"A","ttl":{"AccessToken":1}}`, `{"client_name":"A","TTL":{"AccessToken":1},"redirect_uris":["a:/b"]}`,
		`{"client_name":"A","accesstokenformat":"opaque","FAPI_PROFILE":"2.0","redirect_uris":["https://a.example"]}`, `{"client_name":"A","audience":null,"Audience":"https://a.example"}`,
		`{"client_name#ja":"A","redirect_uris":"x"}`, `{"software_statement":"a.b.c"}`, `null`, `[]`, `{"client_name":"A","scope":7}`, `{"client_name":"A","audience":"x","audience":null}`,
	} {
		f.Add([]byte(seed))
	}
	set := settings.Default()
	everyFeature(&set)
	f.Fuzz(func(t *testing.T, document []byte) {
		r, err := parseRegistration(document)
		if err == nil {
			err = r.ofNewClient()
		}
		n := NewClient{ClientMetadata: r.metadata, Self: &Registrant{}}
		if err == nil {
			err = n.complete(set, ClientMetadata{})
		}
		if err != nil {
			answer, internal := explain(err)
			if internal != nil || ascii(answer.Description) != answer.Description || answer.status != http.StatusBadRequest {
				t.Fatalf("%s: %+v, %v", document, answer, internal)
			}
			return
		}
		if n.Audience != "" || n.AccessTokenFormat != "" || n.FAPIProfile != "" || n.TTL != (ClientTTL{}) || n.Internal || len(n.AllowedResources) > 0 || n.ResourcesScopes != "" {
			t.Fatalf("%s set what only administrators set: %+v", document, n)
		}
		if n.Name == "" || slices.Contains(n.GrantTypes, grantTokenExchange) || slices.Contains(n.GrantTypes, grantJWTBearer) {
			t.Fatalf("%s was accepted: %+v", document, n)
		}
	})
}
