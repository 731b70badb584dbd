package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/keyring"
	"parako/internal/problem"
	"parako/internal/secret"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
)

// Preset is a kind of application and the metadata that suits it.
type Preset string

// The presets. PresetNone has the defaults of RFC 7591 section 2.
const (
	PresetNone          Preset = ""
	PresetWeb           Preset = "web"
	PresetSPA           Preset = "spa"
	PresetNative        Preset = "native"
	PresetM2M           Preset = "m2m"
	PresetDevice        Preset = "device"
	PresetAPIManagement Preset = "api_management"
)

// Presets lists them, in the order they are shown.
var Presets = []Preset{PresetWeb, PresetSPA, PresetNative, PresetM2M, PresetDevice, PresetAPIManagement}

// fill completes a description with what the preset decides. false: there is no such preset.
func (p Preset) fill(n *NewClient) bool {
	m := &n.ClientMetadata
	application, method, scope := "web", authBasic, "openid profile email"
	grants, responses, resources := []string{grantCode, grantRefresh}, []string{"code"}, []string{}
	switch p {
	case PresetNone:
		grants, scope = []string{grantCode}, ""
	case PresetWeb:
	case PresetSPA:
		method = authNone
	case PresetNative:
		application, method = "native", authNone
	case PresetM2M:
		grants, responses, scope = []string{grantClientCredentials}, []string{}, ""
	case PresetDevice:
		application, method = "native", authPost
		grants, responses, scope = []string{grantDevice, grantRefresh}, []string{}, "openid profile email offline_access"
	case PresetAPIManagement:
		grants, responses, scope = []string{grantClientCredentials}, []string{}, ""
		resources = []string{ManagementResource}
	default:
		return false
	}
	take(&m.ApplicationType, application)
	take(&m.TokenEndpointAuthMethod, method)
	if m.GrantTypes == nil {
		m.GrantTypes = grants
	}
	if m.ResponseTypes == nil {
		m.ResponseTypes = responses
		if !slices.Contains(m.GrantTypes, grantCode) {
			m.ResponseTypes = []string{}
		}
	}
	take(&m.Scope, scope)
	if n.AllowedResources == nil {
		n.AllowedResources = resources
	}
	alg := "RS256"
	if m.FAPIProfile != "" {
		alg = "ES256"
	}
	take(&m.IDTokenAlg, alg)
	return true
}

// take sets a value that was left out.
func take(value *string, otherwise string) {
	if *value == "" {
		*value = otherwise
	}
}

// NewClient describes a client to register. What is left out takes the preset's value.
type NewClient struct {
	ClientMetadata

	ID               string // default: a random UUID
	Preset           Preset
	AllowedResources []string
	ResourcesScopes  string
	// WithoutPKCE excuses the client where the tenant does not demand PKCE of all.
	WithoutPKCE bool
	// Internal clients belong to the tenant itself: people are not asked for consent.
	Internal bool
	// Secret is set by tests and the development seed only; otherwise a random one is made.
	Secret string
	// Sector is what [FetchSector] found. A client with a sector_identifier_uri is not registered without it.
	Sector Sector
	// Self is the client that registers or changes itself; nil: somebody of the tenant does, and vouches for it.
	Self  *Registrant
	Actor audit.Party
}

// Registrant is a client that registers itself (RFC 7591).
type Registrant struct {
	// Policy is what it is held to, now and when it changes itself.
	Policy RegistrationPolicy
	// Token is what it may manage itself with (RFC 7592), and Initial the token that let it in. Both are for a new client.
	Token   string
	Initial uuid.UUID
}

// Client is a registered client as operators see it. Secret is set once, by what made it.
type Client struct {
	ClientMetadata

	ID               string    `json:"client_id"`
	Secret           string    `json:"client_secret,omitempty"`
	Preset           string    `json:"preset,omitempty"`
	AllowedResources []string  `json:"allowedResources,omitempty"`
	ResourcesScopes  string    `json:"resourcesScopes,omitempty"`
	RequirePKCE      bool      `json:"require_pkce"`
	Internal         bool      `json:"isInternalClient"`
	Active           bool      `json:"active"`
	SelfRegistered   bool      `json:"self_registered"`
	CreatedAt        time.Time `json:"created_at"`
}

// metadataOf reads a client's metadata from its row.
func metadataOf(r dbsqlc.Client) (ClientMetadata, error) {
	m := ClientMetadata{
		Name: r.ClientName, ApplicationType: r.ApplicationType, TokenEndpointAuthMethod: r.TokenEndpointAuthMethod,
		GrantTypes: r.GrantTypes, ResponseTypes: r.ResponseTypes, RedirectURIs: r.RedirectUris, PostLogoutRedirectURIs: r.PostLogoutRedirectUris,
		Scope: r.Scope, JWKS: r.JWKS, IDTokenAlg: r.IDTokenSignedResponseAlg, DefaultMaxAge: r.DefaultMaxAge,
		ClientURI: text(r.ClientURI), LogoURI: text(r.LogoURI), PolicyURI: text(r.PolicyURI), TermsURI: text(r.TosURI), Contacts: r.Contacts,
		Audience: text(r.Audience),
	}
	var err error
	m.MoreMetadata, err = moreOf(r)
	return m, err
}

// moreOf reads the part without columns, which most clients do not have.
func moreOf(r dbsqlc.Client) (MoreMetadata, error) {
	var more MoreMetadata
	if len(r.Metadata) <= len("{}") {
		return more, nil
	}
	if err := json.Unmarshal(r.Metadata, &more); err != nil {
		return more, fmt.Errorf("read metadata of client %s: %w", r.ID, err)
	}
	return more, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// optional is NULL for an empty text.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func fromRow(r dbsqlc.Client) (Client, error) {
	m, err := metadataOf(r)
	return Client{
		ID: r.ID, ClientMetadata: m, Preset: text(r.Preset), AllowedResources: r.AllowedResources, ResourcesScopes: r.ResourcesScopes,
		RequirePKCE: r.RequirePkce, Internal: r.IsInternalClient, Active: r.Active, SelfRegistered: r.RegistrationPolicy != nil,
		CreatedAt: r.CreatedAt,
	}, err
}

// What registering and changing a client can answer.
var (
	ErrClientTaken   = problem.New(problem.Conflict, "client_taken", "A client with this client_id exists.")
	ErrClientUnknown = problem.New(problem.NotFound, "client_unknown", "There is no client with this client_id.")
	errPreset        = problem.New(problem.Invalid, "client_invalid", "A preset is web, spa, native, m2m, device or api_management.")
	errClientID      = problem.New(problem.Invalid, "client_invalid", "A client_id is 1 to 255 letters, digits, dots, underscores, tildes and hyphens.")
)

// RegisterClient adds a client to tx's tenant and records it. The secret of a client that has one is in the result and
// nowhere else. vault is needed for a client whose secret is the key of a MAC or of an encryption; platform is what the platform has
// set for all tenants.
func RegisterClient(ctx context.Context, tx *store.Tx, vault tenant.Vault, platform settings.Layer, n NewClient) (Client, error) {
	set, err := settings.Load(ctx, tx, platform)
	if err != nil {
		return Client{}, err
	}
	if err := n.complete(set, ClientMetadata{}); err != nil {
		return Client{}, err
	}
	if err := n.checkTTL(platform, tx.Tenant(), ClientTTL{}); err != nil {
		return Client{}, err
	}
	p, err := n.params()
	if err != nil {
		return Client{}, err
	}
	var plain string
	if strings.HasPrefix(n.TokenEndpointAuthMethod, "client_secret_") {
		take(&n.Secret, secret.Token())
		plain = n.Secret
		p.SecretDigest = secret.Digest(plain)
		if p.SecretSealed, err = sealSecret(ctx, tx, vault, &n.ClientMetadata, n.ID, plain); err != nil {
			return Client{}, err
		}
	}
	event := audit.Event{
		Type: audit.ClientCreated, Status: audit.Success, Actor: n.Actor, Target: audit.Client(n.ID), ClientID: n.ID, Origin: audit.OriginOf(ctx),
		Detail: map[string]string{"preset": string(n.Preset)},
	}
	if n.Self != nil {
		p.RegistrationDigest = tokenID(signature(n.Self.Token))
		if p.RegistrationPolicy, err = json.Marshal(n.Self.Policy); err != nil {
			return Client{}, err
		}
		event.Actor, event.Detail = audit.Client(n.ID), map[string]string{"registration_token": n.Self.Initial.String()}
	}
	if err := tenant.RoomForClient(ctx, tx); err != nil {
		return Client{}, err
	}
	err = tx.ClientCreate(ctx, p)
	if _, taken := errors.AsType[*store.Conflict](err); taken {
		return Client{}, ErrClientTaken
	}
	if err != nil {
		return Client{}, fmt.Errorf("register client: %w", err)
	}
	if err := n.prepare(ctx, tx, vault, ClientMetadata{}); err != nil {
		return Client{}, err
	}
	if err := audit.Record(ctx, tx, event); err != nil {
		return Client{}, err
	}
	c, err := GetClient(ctx, tx, n.ID)
	c.Secret = plain
	return c, err
}

// sealSecret keeps a secret that must be known again, and no other.
func sealSecret(ctx context.Context, tx *store.Tx, vault tenant.Vault, m *ClientMetadata, id, plain string) ([]byte, error) {
	if !m.needsSecretText() {
		return nil, nil
	}
	sealer, err := vault.Sealer(ctx, tx)
	if err != nil {
		return nil, fmt.Errorf("seal client secret: %w", err)
	}
	return sealer.Seal("clients", "secret_sealed", id, []byte(plain))
}

// prepare makes the rest of the tenant ready for the client as it has become: its providers forget what they know of resources
// when the client is one, was one or is one of its own kind, and there is a key for every algorithm that signs for it.
func (n *NewClient) prepare(ctx context.Context, tx *store.Tx, vault tenant.Vault, before ClientMetadata) error {
	if n.Audience != before.Audience || n.AccessTokenFormat != before.AccessTokenFormat {
		if _, err := tx.TenantTouch(ctx, tx.Tenant()); err != nil {
			return fmt.Errorf("announce resource: %w", err)
		}
	}
	if slices.Contains([]string{n.IDTokenAlg, n.UserinfoAlg, n.IntrospectionAlg, n.AuthorizationAlg}, string(keyring.PS256)) {
		return keyring.Ensure(ctx, tx, vault, keyring.PS256)
	}
	return nil
}

// complete lays the description over its preset and checks the result, as a change of what the client was before.
func (n *NewClient) complete(set settings.Settings, before ClientMetadata) error {
	if !n.Preset.fill(n) {
		return errPreset
	}
	take(&n.ID, uuid.NewString())
	if !clientIDFormat.MatchString(n.ID) {
		return errClientID
	}
	n.Name = strings.TrimSpace(n.Name)
	n.Scope, n.ResourcesScopes = joinScopes(strings.Fields(n.Scope)), joinScopes(strings.Fields(n.ResourcesScopes))
	if n.Self != nil {
		if err := n.Self.Policy.hold(&n.ClientMetadata, set); err != nil {
			return invalidClient(err)
		}
	}
	if err := n.check(set.Features.OIDC); err != nil {
		return invalidClient(err)
	}
	if len(n.ResourcesScopes) > 2048 || !printable(n.ResourcesScopes) {
		return invalidClient(badMetadata("resourcesScopes is too long or not plain text."))
	}
	if err := n.checkSector(before); err != nil {
		return invalidClient(err)
	}
	if len(n.AllowedResources) > maxClientList || slices.ContainsFunc(n.AllowedResources, func(r string) bool { return !settings.ResourceURI(r) }) {
		return problem.New(problem.Invalid, "client_invalid", "A resource is an absolute URI without fragment (RFC 8707 section 2).")
	}
	return nil
}

// checkTTL refuses lifetimes that the platform does not allow, unless they were there before it tightened them.
func (n *NewClient) checkTTL(platform settings.Layer, of uuid.UUID, before ClientTTL) error {
	longest, err := settings.LongestTTL(platform, of)
	if err != nil || n.TTL == before || n.TTL.within(longest) == n.TTL {
		return err
	}
	return invalidClient(badMetadata("A lifetime in ttl is above what the platform allows: AccessToken %d, ClientCredentials %d, IdToken %d, RefreshToken %d, DeviceCode %d.",
		longest.AccessToken, longest.ClientCredentials, longest.IDToken, longest.RefreshToken, longest.DeviceCode))
}

func (n *NewClient) params() (dbsqlc.ClientCreateParams, error) {
	more, err := json.Marshal(n.MoreMetadata)
	if err != nil {
		return dbsqlc.ClientCreateParams{}, err
	}
	return dbsqlc.ClientCreateParams{
		ID: n.ID, ClientName: n.Name, ApplicationType: n.ApplicationType, Preset: optional(string(n.Preset)),
		TokenEndpointAuthMethod: n.TokenEndpointAuthMethod, JWKS: n.JWKS, RedirectUris: array(n.RedirectURIs),
		PostLogoutRedirectUris: array(n.PostLogoutRedirectURIs), GrantTypes: array(n.GrantTypes), ResponseTypes: array(n.ResponseTypes),
		Scope: n.Scope, AllowedResources: array(n.AllowedResources), ResourcesScopes: n.ResourcesScopes, RequirePkce: !n.WithoutPKCE,
		IDTokenSignedResponseAlg: n.IDTokenAlg, IsInternalClient: n.Internal, DefaultMaxAge: n.DefaultMaxAge,
		ClientURI: optional(n.ClientURI), LogoURI: optional(n.LogoURI), PolicyURI: optional(n.PolicyURI), TosURI: optional(n.TermsURI),
		Contacts: array(n.Contacts), Audience: optional(n.Audience), Metadata: more,
	}, nil
}

// GetClient loads a client of tx's tenant, active or not.
func GetClient(ctx context.Context, tx *store.Tx, id string) (Client, error) {
	row, err := tx.ClientByID(ctx, dbsqlc.ClientByIDParams{TenantID: tx.Tenant(), ID: id})
	if errors.Is(err, store.ErrNotFound) {
		return Client{}, ErrClientUnknown
	}
	if err != nil {
		return Client{}, fmt.Errorf("load client: %w", err)
	}
	return fromRow(row)
}

// ListClients pages through the clients of tx's tenant by client_id.
func ListClients(ctx context.Context, tx *store.Tx, after string, limit int32) ([]Client, error) {
	rows, err := tx.ClientList(ctx, dbsqlc.ClientListParams{TenantID: tx.Tenant(), After: after, PageSize: limit})
	if err != nil {
		return nil, fmt.Errorf("list clients: %w", err)
	}
	clients := make([]Client, len(rows))
	for i, r := range rows {
		if clients[i], err = fromRow(r); err != nil {
			return nil, err
		}
	}
	return clients, nil
}

// ChangeClient replaces the metadata of a client: change gets what it is and alters it, or refuses. What depends on who it is,
// its client_id and its secret, stays. It records the change.
func ChangeClient(ctx context.Context, tx *store.Tx, vault tenant.Vault, platform settings.Layer, id string, by audit.Party, change func(*NewClient) error) (Client, error) {
	row, err := tx.ClientForUpdate(ctx, dbsqlc.ClientForUpdateParams{TenantID: tx.Tenant(), ID: id})
	if errors.Is(err, store.ErrNotFound) {
		return Client{}, ErrClientUnknown
	}
	if err != nil {
		return Client{}, fmt.Errorf("load client: %w", err)
	}
	old, err := fromRow(row)
	if err != nil {
		return Client{}, err
	}
	n := NewClient{
		ID: old.ID, Preset: Preset(old.Preset), ClientMetadata: old.ClientMetadata, AllowedResources: old.AllowedResources,
		ResourcesScopes: old.ResourcesScopes, WithoutPKCE: !old.RequirePKCE, Internal: old.Internal,
	}
	if err := change(&n); err != nil {
		return Client{}, err
	}
	n.ID, n.Preset = old.ID, Preset(old.Preset)
	set, err := settings.Load(ctx, tx, platform)
	if err != nil {
		return Client{}, err
	}
	if err := n.complete(set, old.ClientMetadata); err != nil {
		return Client{}, err
	}
	if err := n.checkTTL(platform, tx.Tenant(), old.TTL); err != nil {
		return Client{}, err
	}
	p, err := n.params()
	if err != nil {
		return Client{}, err
	}
	update := dbsqlc.ClientUpdateParams{
		TenantID: tx.Tenant(), ID: id, ClientName: p.ClientName, ApplicationType: p.ApplicationType, TokenEndpointAuthMethod: p.TokenEndpointAuthMethod,
		JWKS: p.JWKS, RedirectUris: p.RedirectUris, PostLogoutRedirectUris: p.PostLogoutRedirectUris, GrantTypes: p.GrantTypes,
		ResponseTypes: p.ResponseTypes, Scope: p.Scope, AllowedResources: p.AllowedResources, ResourcesScopes: p.ResourcesScopes,
		RequirePkce: p.RequirePkce, IDTokenSignedResponseAlg: p.IDTokenSignedResponseAlg, IsInternalClient: p.IsInternalClient,
		DefaultMaxAge: p.DefaultMaxAge, ClientURI: p.ClientURI, LogoURI: p.LogoURI, PolicyURI: p.PolicyURI, TosURI: p.TosURI, Contacts: p.Contacts,
		Audience: p.Audience, Metadata: p.Metadata,
	}
	var plain string
	switch had, has := len(row.SecretDigest) > 0, strings.HasPrefix(n.TokenEndpointAuthMethod, "client_secret_"); {
	case has && (!had || n.needsSecretText() && len(row.SecretSealed) == 0):
		// There is no secret yet, or not the text of it: the client gets a new one.
		plain = secret.Token()
		update.SecretDigest = secret.Digest(plain)
		if update.SecretSealed, err = sealSecret(ctx, tx, vault, &n.ClientMetadata, id, plain); err != nil {
			return Client{}, err
		}
	case has:
		update.SecretDigest, update.SecretSealed = row.SecretDigest, row.SecretSealed
		update.PreviousSecretDigest, update.PreviousSecretSealed, update.PreviousSecretExpiresAt = row.PreviousSecretDigest, row.PreviousSecretSealed, row.PreviousSecretExpiresAt
	}
	if _, err := tx.ClientUpdate(ctx, update); err != nil {
		return Client{}, fmt.Errorf("change client: %w", err)
	}
	if err := n.prepare(ctx, tx, vault, old.ClientMetadata); err != nil {
		return Client{}, err
	}
	if err := recordClient(ctx, tx, audit.ClientChanged, id, by, nil); err != nil {
		return Client{}, err
	}
	c, err := GetClient(ctx, tx, id)
	c.Secret = plain
	return c, err
}

// secretOverlap is how long the secret before a rotation goes on working.
const secretOverlap = 24 * time.Hour

// RotateSecret gives a client a new secret; the one before works for overlap more, or a day when it is negative. Of two
// rotations in a row the first secret is gone.
func RotateSecret(ctx context.Context, tx *store.Tx, vault tenant.Vault, id string, overlap time.Duration, by audit.Party) (Client, error) {
	row, err := tx.ClientForUpdate(ctx, dbsqlc.ClientForUpdateParams{TenantID: tx.Tenant(), ID: id})
	if errors.Is(err, store.ErrNotFound) {
		return Client{}, ErrClientUnknown
	}
	if err != nil {
		return Client{}, fmt.Errorf("load client: %w", err)
	}
	if len(row.SecretDigest) == 0 {
		return Client{}, problem.New(problem.Invalid, "client_without_secret", "This client has no secret: it does not authenticate with one.")
	}
	if overlap < 0 {
		overlap = secretOverlap
	}
	m, err := metadataOf(row)
	if err != nil {
		return Client{}, err
	}
	plain := secret.Token()
	sealed, err := sealSecret(ctx, tx, vault, &m, id, plain)
	if err != nil {
		return Client{}, err
	}
	_, err = tx.ClientRotateSecret(ctx, dbsqlc.ClientRotateSecretParams{
		TenantID: tx.Tenant(), ID: id, SecretDigest: secret.Digest(plain), SecretSealed: sealed, PreviousSecretExpiresAt: tx.Now().Add(overlap),
	})
	if err != nil {
		return Client{}, fmt.Errorf("rotate client secret: %w", err)
	}
	if err := recordClient(ctx, tx, audit.ClientSecretRotated, id, by, nil); err != nil {
		return Client{}, err
	}
	c, err := GetClient(ctx, tx, id)
	c.Secret = plain
	return c, err
}

// SetClientActive switches a client on or off. Off stops it at once: it authenticates no more, and its tokens are dead.
func SetClientActive(ctx context.Context, tx *store.Tx, id string, active bool, by audit.Party) error {
	n, err := tx.ClientSetActive(ctx, dbsqlc.ClientSetActiveParams{TenantID: tx.Tenant(), ID: id, Active: active})
	if err != nil {
		return fmt.Errorf("switch client: %w", err)
	}
	if n == 0 {
		return ErrClientUnknown
	}
	return recordClient(ctx, tx, audit.ClientChanged, id, by, map[string]string{"active": fmt.Sprint(active)})
}

// DeleteClient removes a client with everything it was granted.
func DeleteClient(ctx context.Context, tx *store.Tx, id string, by audit.Party) error {
	n, err := tx.ClientDelete(ctx, dbsqlc.ClientDeleteParams{TenantID: tx.Tenant(), ID: id})
	if err != nil {
		return fmt.Errorf("delete client: %w", err)
	}
	if n == 0 {
		return ErrClientUnknown
	}
	// It may have been a resource that providers remember.
	if _, err := tx.TenantTouch(ctx, tx.Tenant()); err != nil {
		return fmt.Errorf("announce deletion of client: %w", err)
	}
	return recordClient(ctx, tx, audit.ClientDeleted, id, by, nil)
}

func recordClient(ctx context.Context, tx *store.Tx, event audit.Type, id string, by audit.Party, detail map[string]string) error {
	return audit.Record(ctx, tx, audit.Event{
		Type: event, Status: audit.Success, Actor: by, Target: audit.Client(id), ClientID: id, Origin: audit.OriginOf(ctx), Detail: detail,
	})
}
