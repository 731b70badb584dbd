package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/directory"
	"parako/internal/factor"
	"parako/internal/oidc"
	"parako/internal/secret"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

// marked is a tenant that gives itself away wherever it appears: its word is in every text it has, and what cannot hold a
// word is its own.
type marked struct {
	app.Tenant
	word string
	// marks are the word and what stands for it where only digits fit, all in lower case.
	marks    []string
	password string
	// ip is the address its people and clients come from.
	ip              string
	callback, after string
	scope, resource string
	admin           directory.User
	adminEmail      string
	// keyed is a client that authenticates with key.
	keyed oidc.Client
	// keeper is a client of the Management API, with every scope that its tenant can grant.
	keeper oidc.Client
	// box is a device that people connect.
	box oidc.Client
	key *ecdsa.PrivateKey
}

// mark makes a tenant of the word, which is a slug. n is 0 to 9 and tells apart what cannot hold a word.
func mark(t *testing.T, a *app.App, word string, n int) marked {
	t.Helper()
	created, err := tenant.Create(t.Context(), a.Store, tenant.New{
		Slug: word, DisplayName: word + " display", Domain: "login." + word + ".example", Base: a.Base(t), Operator: word + "-operator",
	})
	if err != nil {
		t.Fatal(err)
	}
	return settle(t, a, created, word, n)
}

// settle puts people, clients and settings of the word into a tenant.
func settle(t *testing.T, a *app.App, created tenant.Tenant, word string, n int) marked {
	t.Helper()
	base, err := a.Config.BaseURL()
	if err != nil {
		t.Fatal(err)
	}
	phone, colour := fmt.Sprintf("4420718387%d%d", n, n), fmt.Sprintf("#a%d1b%dc", n, n)
	m := marked{
		Tenant: app.Tenant{Tenant: created, Issuer: created.Issuer(base, oidc.Mount), Email: "pat@" + word + ".example"},
		word:   word, password: "correct horse " + word, ip: fmt.Sprintf("203.0.113.%d", 200+n), adminEmail: "root@" + word + ".example",
		callback: "https://app." + word + ".example/callback", after: "https://app." + word + ".example/bye",
		scope: word + ":run", resource: "urn:" + word + ":api",
	}
	m.marks = []string{word, phone, colour, m.ip}
	if m.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	keys, err := json.Marshal(m.keys())
	if err != nil {
		t.Fatal(err)
	}
	hash, err := factor.Passwords{Hasher: secret.NewHasher(0)}.Hash(t.Context(), m.password)
	if err != nil {
		t.Fatal(err)
	}
	operator := audit.Operator(word + "-operator")
	err = a.Store.InTenant(t.Context(), m.ID, func(ctx context.Context, tx *store.Tx) error {
		person := func(name, email, phone string, roles ...string) directory.User {
			u, err := directory.Create(ctx, tx, directory.New{
				Username: word + "-" + name, Email: email, EmailVerified: true, Name: name + " " + word, GivenName: name, FamilyName: word,
				PhoneNumber: phone, Website: "https://" + word + ".example/" + name, Roles: roles,
				Address: &directory.Address{Formatted: "1 " + word + " street", StreetAddress: "1 " + word + " street", Locality: word},
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := factor.Put(ctx, tx, u.ID, hash); err != nil {
				t.Fatal(err)
			}
			return u
		}
		m.User, m.admin = person("pat", m.Email, "+"+phone), person("root", m.adminEmail, "", "user", "admin")
		register := func(id string, n oidc.NewClient) oidc.Client {
			n.ID, n.Name, n.Actor = word+"-"+id, word+" "+id, operator
			client, err := oidc.RegisterClient(ctx, tx, a.Vault, settings.Layer{}, n)
			if err != nil {
				t.Fatal(err)
			}
			return client
		}
		application := oidc.NewClient{
			ClientMetadata: oidc.ClientMetadata{
				RedirectURIs: []string{m.callback}, PostLogoutRedirectURIs: []string{m.after},
				Scope: "openid profile email address phone offline_access " + m.scope,
			},
			Preset: oidc.PresetWeb, AllowedResources: []string{m.resource}, Secret: word + "-secret-of-web-" + secret.Token(),
		}
		m.Web = register("web", application)
		application.Preset, application.Secret = oidc.PresetSPA, ""
		m.SPA = register("spa", application)
		service := oidc.NewClient{
			ClientMetadata: oidc.ClientMetadata{Scope: m.scope},
			Preset:         oidc.PresetM2M, AllowedResources: []string{m.resource}, ResourcesScopes: m.scope,
			Secret: word + "-secret-of-m2m-" + secret.Token(),
		}
		m.M2M = register("m2m", service)
		service.TokenEndpointAuthMethod, service.JWKS = "private_key_jwt", keys
		m.keyed = register("keyed", service)
		m.keeper = register("keeper", oidc.NewClient{
			Preset: oidc.PresetAPIManagement, ResourcesScopes: strings.Join(oidc.GrantableManagementScopes(created.Slug), " "),
			Secret: word + "-secret-of-keeper-" + secret.Token(),
		})
		m.box = register("box", oidc.NewClient{Preset: oidc.PresetDevice, ClientMetadata: oidc.ClientMetadata{Scope: "openid offline_access"}})
		features := settings.Default().Features // as much as there is, as far as it changes nothing for who does not ask for it
		turnOn(reflect.ValueOf(&features.OIDC).Elem())
		features.OIDC.PushedAuthorizationRequests.Required, features.OIDC.DPoP.RequireNonce = false, false
		for section, value := range map[string]any{
			"features":    features,
			"security":    json.RawMessage(openDoors),
			"application": map[string]any{"title": word + " title"},
			"branding": map[string]any{
				"companyName": word + " company", "logo": "https://" + word + ".example/logo.svg",
				"fonts": map[string]any{"sans": word}, "colors": map[string]any{"light": map[string]any{"accent": colour}},
			},
			"integrations": map[string]any{"urls": map[string]any{
				"privacy_policy": "https://" + word + ".example/privacy", "terms_of_service": "https://" + word + ".example/terms",
			}},
		} {
			document, err := json.Marshal(value)
			if err != nil {
				return err
			}
			written, err := settings.Write(ctx, tx, settings.Layer{}, settings.Change{Section: section, Document: document, By: operator, Reason: word})
			if err != nil {
				return err
			}
			m.Revision = written.Revision
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// party is a client of the tenant with a person's browser in front of it, which follows redirects within the tenant's host.
func (m marked) party(t *testing.T, a *app.App, client oidc.Client) party {
	t.Helper()
	p := newParty(t, a, m.Tenant, client)
	p.callback, p.password = m.callback, m.password
	p.browser.CheckRedirect = func(next *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(next.URL.String(), m.Issuer) {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return p
}

// keys are the public keys of the tenant's clients.
func (m marked) keys() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: m.key.Public(), KeyID: m.word + "-key"}}}
}

// proof shows that the client holds the key (RFC 9449).
func (m marked) proof(t *testing.T, method, target string) string {
	t.Helper()
	return keyPair{alg: jose.ES256, private: jose.JSONWebKey{Key: m.key}}.proof(t, method, target, "jti", m.word+uuid.NewString())
}

// assertion authenticates the client at the tenant, once (RFC 7523).
func (m marked) assertion(t *testing.T, client string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: m.key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(map[string]any{
		"iss": client, "sub": client, "aud": m.Issuer, "jti": m.word + uuid.NewString(), "exp": time.Now().Add(4 * time.Minute).Unix(),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}
