package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/problem"
	"parako/internal/secret"
	"parako/internal/store"
)

// Preset is a kind of application and the metadata that suits it.
type Preset string

// The presets.
const (
	PresetWeb           Preset = "web"
	PresetSPA           Preset = "spa"
	PresetNative        Preset = "native"
	PresetM2M           Preset = "m2m"
	PresetDevice        Preset = "device"
	PresetAPIManagement Preset = "api_management"
)

// Presets lists them, in the order they are shown.
var Presets = []Preset{PresetWeb, PresetSPA, PresetNative, PresetM2M, PresetDevice, PresetAPIManagement}

// Resource of the Management API.
const managementResource = "urn:parako:api:v1"

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// metadata fills in what the preset decides.
func (p Preset) metadata() (dbsqlc.ClientCreateParams, bool) {
	c := dbsqlc.ClientCreateParams{
		ApplicationType: "web", TokenEndpointAuthMethod: "client_secret_basic", RequirePkce: true, IDTokenSignedResponseAlg: "RS256",
		GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: []string{"code"}, Scope: "openid profile email",
		AllowedResources: []string{}, RedirectUris: []string{}, PostLogoutRedirectUris: []string{},
	}
	switch p {
	case PresetWeb:
	case PresetSPA:
		c.TokenEndpointAuthMethod = "none"
	case PresetNative:
		c.ApplicationType, c.TokenEndpointAuthMethod = "native", "none"
	case PresetM2M:
		c.GrantTypes, c.ResponseTypes, c.Scope = []string{"client_credentials"}, []string{}, ""
	case PresetDevice:
		c.ApplicationType, c.TokenEndpointAuthMethod = "native", "client_secret_post"
		c.GrantTypes, c.ResponseTypes, c.Scope = []string{deviceGrant}, []string{}, "openid profile email offline_access"
	case PresetAPIManagement:
		c.GrantTypes, c.ResponseTypes, c.Scope = []string{"client_credentials"}, []string{}, ""
		c.AllowedResources = []string{managementResource}
	default:
		return c, false
	}
	return c, true
}

// NewClient describes a client to register. Empty fields take the preset's value.
type NewClient struct {
	ID                      string // default: a random UUID
	Name                    string
	Preset                  Preset
	RedirectURIs            []string
	PostLogoutRedirectURIs  []string
	Scope                   string
	TokenEndpointAuthMethod string
	// JWKS holds the public keys of a private_key_jwt client.
	JWKS             json.RawMessage
	AllowedResources []string
	ResourcesScopes  string
	IDTokenAlg       string
	// Internal clients belong to the tenant itself: people are not asked for consent.
	Internal bool
	// Secret is set by tests and the development seed only; otherwise a random one is made.
	Secret string
	Actor  audit.Party
}

// Client is a registered client as operators see it. Secret is set once, by [RegisterClient].
type Client struct {
	ID                      string          `json:"client_id"`
	Secret                  string          `json:"client_secret,omitempty"`
	Name                    string          `json:"client_name"`
	Preset                  string          `json:"preset,omitempty"`
	ApplicationType         string          `json:"application_type"`
	TokenEndpointAuthMethod string          `json:"token_endpoint_auth_method"`
	GrantTypes              []string        `json:"grant_types"`
	ResponseTypes           []string        `json:"response_types"`
	RedirectURIs            []string        `json:"redirect_uris"`
	PostLogoutRedirectURIs  []string        `json:"post_logout_redirect_uris"`
	Scope                   string          `json:"scope"`
	AllowedResources        []string        `json:"allowedResources,omitempty"`
	ResourcesScopes         string          `json:"resourcesScopes,omitempty"`
	JWKS                    json.RawMessage `json:"jwks,omitempty"`
	IDTokenAlg              string          `json:"id_token_signed_response_alg"`
	Internal                bool            `json:"isInternalClient"`
	Active                  bool            `json:"active"`
	CreatedAt               time.Time       `json:"created_at"`
}

func fromRow(r dbsqlc.Client) Client {
	c := Client{
		ID: r.ID, Name: r.ClientName, ApplicationType: r.ApplicationType, TokenEndpointAuthMethod: r.TokenEndpointAuthMethod,
		GrantTypes: r.GrantTypes, ResponseTypes: r.ResponseTypes, RedirectURIs: r.RedirectUris, PostLogoutRedirectURIs: r.PostLogoutRedirectUris,
		Scope: r.Scope, AllowedResources: r.AllowedResources, ResourcesScopes: r.ResourcesScopes, JWKS: r.JWKS, IDTokenAlg: r.IDTokenSignedResponseAlg,
		Internal: r.IsInternalClient, Active: r.Active, CreatedAt: r.CreatedAt,
	}
	if r.Preset != nil {
		c.Preset = *r.Preset
	}
	return c
}

// ErrClientTaken refuses a client_id that exists in the tenant.
var ErrClientTaken = problem.New(problem.Conflict, "client_taken", "A client with this client_id exists.")

func invalidClient(message string) error {
	return problem.New(problem.Invalid, "client_invalid", message)
}

// RegisterClient adds a client to tx's tenant and records it. The secret of a confidential client is in the result and
// nowhere else.
func RegisterClient(ctx context.Context, tx *store.Tx, n NewClient) (Client, error) {
	p, err := n.params()
	if err != nil {
		return Client{}, err
	}
	var plain string
	if strings.HasPrefix(p.TokenEndpointAuthMethod, "client_secret_") {
		if plain = n.Secret; plain == "" {
			plain = secret.Token()
		}
		p.SecretDigest = secret.Digest(plain)
	}
	err = tx.ClientCreate(ctx, p)
	if _, taken := errors.AsType[*store.Conflict](err); taken {
		return Client{}, ErrClientTaken
	}
	if err != nil {
		return Client{}, fmt.Errorf("register client: %w", err)
	}
	err = audit.Record(ctx, tx, audit.Event{
		Type: audit.ClientCreated, Status: audit.Success, Actor: n.Actor, Target: audit.Client(p.ID), ClientID: p.ID,
		Detail: map[string]string{"preset": string(n.Preset)},
	})
	if err != nil {
		return Client{}, err
	}
	row, err := tx.ClientByID(ctx, dbsqlc.ClientByIDParams{TenantID: tx.Tenant(), ID: p.ID})
	c := fromRow(row)
	c.Secret = plain
	return c, err
}

// ListClients pages through the clients of tx's tenant by client_id.
func ListClients(ctx context.Context, tx *store.Tx, after string, limit int32) ([]Client, error) {
	rows, err := tx.ClientList(ctx, dbsqlc.ClientListParams{TenantID: tx.Tenant(), After: after, PageSize: limit})
	if err != nil {
		return nil, fmt.Errorf("list clients: %w", err)
	}
	clients := make([]Client, len(rows))
	for i, r := range rows {
		clients[i] = fromRow(r)
	}
	return clients, nil
}

// params checks the description and lays it over the preset.
func (n NewClient) params() (dbsqlc.ClientCreateParams, error) {
	p, ok := n.Preset.metadata()
	if !ok {
		return p, invalidClient("A preset is web, spa, native, m2m, device or api_management.")
	}
	p.ID, p.ClientName, p.Preset = n.ID, strings.TrimSpace(n.Name), (*string)(&n.Preset)
	if p.ID == "" {
		p.ID = uuid.NewString()
	}
	if !clientIDFormat.MatchString(p.ID) {
		return p, invalidClient("A client_id is 1 to 255 letters, digits, dots, underscores, tildes and hyphens.")
	}
	if p.ClientName == "" || utf8.RuneCountInString(p.ClientName) > 255 {
		return p, invalidClient("A client_name is 1 to 255 characters.")
	}
	if n.TokenEndpointAuthMethod != "" {
		p.TokenEndpointAuthMethod = n.TokenEndpointAuthMethod
	}
	if n.Scope != "" {
		p.Scope = joinScopes(strings.Fields(n.Scope))
	}
	if n.IDTokenAlg != "" {
		p.IDTokenSignedResponseAlg = n.IDTokenAlg
	}
	if n.RedirectURIs != nil {
		p.RedirectUris = n.RedirectURIs
	}
	if n.PostLogoutRedirectURIs != nil {
		p.PostLogoutRedirectUris = n.PostLogoutRedirectURIs
	}
	if n.AllowedResources != nil {
		p.AllowedResources = n.AllowedResources
	}
	p.ResourcesScopes, p.IsInternalClient = joinScopes(strings.Fields(n.ResourcesScopes)), n.Internal
	return p, errors.Join(checkURIs(p), checkMethod(&p, n.JWKS))
}

func checkURIs(p dbsqlc.ClientCreateParams) error {
	if slices.Contains(p.ResponseTypes, "code") && len(p.RedirectUris) == 0 {
		return invalidClient("This kind of client needs at least one redirect_uri.")
	}
	for _, uri := range slices.Concat(p.RedirectUris, p.PostLogoutRedirectUris) {
		if !safeRedirect(uri) {
			return invalidClient("A redirect URI is absolute, without user, fragment and wildcard, and not a script: " + ascii(uri))
		}
	}
	for _, resource := range p.AllowedResources {
		if !strings.Contains(resource, ":") || strings.Contains(resource, "#") {
			return invalidClient("A resource is an absolute URI without fragment (RFC 8707 section 2).")
		}
	}
	return nil
}

func checkMethod(p *dbsqlc.ClientCreateParams, jwks json.RawMessage) error {
	switch p.TokenEndpointAuthMethod {
	case "none":
		if slices.Contains(p.GrantTypes, "client_credentials") {
			return invalidClient("A client without a secret cannot use client_credentials.")
		}
	case "client_secret_basic", "client_secret_post":
	case "private_key_jwt":
		var set jose.JSONWebKeySet
		if json.Unmarshal(jwks, &set) != nil || len(set.Keys) == 0 {
			return invalidClient("private_key_jwt needs a jwks with at least one public key.")
		}
		for _, key := range set.Keys {
			if !key.Valid() || !key.IsPublic() {
				return invalidClient("The jwks may hold public keys only.")
			}
		}
		p.JWKS = jwks
	default:
		return invalidClient("token_endpoint_auth_method is none, client_secret_basic, client_secret_post or private_key_jwt.")
	}
	switch p.IDTokenSignedResponseAlg {
	case "RS256", "ES256", "EdDSA":
		return nil
	}
	return invalidClient("id_token_signed_response_alg is RS256, ES256 or EdDSA.")
}
