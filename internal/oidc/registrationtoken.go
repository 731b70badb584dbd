package oidc

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/problem"
	"parako/internal/secret"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
)

// RegistrationPolicy is what clients may register that register themselves with one token. Besides it the rules hold that
// bind them all; see [registrationRequest]. The zero value adds nothing to these.
type RegistrationPolicy struct {
	// GrantTypes are those a client may have; none: every one in which a person agrees or the client speaks for itself.
	GrantTypes []string `json:"grant_types,omitempty"`
	// Scopes are those a client may have; none: the tenant's scopes about people. A client that names none gets these.
	Scopes []string `json:"scopes,omitempty"`
	// RedirectHosts are those its redirect URIs may lead to, with the port when the URI has one; none: any.
	RedirectHosts []string `json:"redirect_hosts,omitempty"`
}

// personalGrants are the grants in which a person takes part.
var personalGrants = []string{grantCode, grantImplicit, grantRefresh, grantDevice}

// allGrants are those there are, served or not.
var allGrants = append(slices.Clone(personalGrants), grantClientCredentials, grantTokenExchange, grantJWTBearer)

// check refuses what could never be meant.
func (p RegistrationPolicy) check() error {
	if len(p.GrantTypes) > maxClientList || len(p.Scopes) > maxClientList || len(p.RedirectHosts) > maxClientList {
		return policyFault("A policy has at most %d entries of each kind.", maxClientList)
	}
	for _, grant := range p.GrantTypes {
		if !slices.Contains(allGrants, grant) {
			return policyFault("There is no grant type %s.", grant)
		}
	}
	for _, scope := range p.Scopes {
		if !scopeToken(scope) {
			return policyFault("A scope is a word of printable ASCII characters (RFC 6749 section 3.3).")
		}
	}
	for _, host := range p.RedirectHosts {
		if u, err := url.Parse("https://" + host); err != nil || host == "" || u.Host != host || !safeRedirect("https://"+host) {
			return policyFault("A redirect host is a host name, with a port if redirect URIs have one.")
		}
	}
	return nil
}

func policyFault(format string, args ...any) error {
	return problem.New(problem.Invalid, "registration_policy_invalid", ascii(fmt.Sprintf(format, args...)))
}

// scopeToken reports whether the text is a scope (RFC 6749 section 3.3).
func scopeToken(text string) bool {
	return text != "" && len(text) <= 255 && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' })
}

// hold completes what a client asks to be registered with, and refuses what the policy does not allow it. The grant types of
// m are complete.
func (p RegistrationPolicy) hold(m *ClientMetadata, set settings.Settings) error {
	grants := p.GrantTypes
	if len(grants) == 0 {
		grants = append(slices.Clone(personalGrants), grantClientCredentials)
	}
	for _, grant := range m.GrantTypes {
		if !slices.Contains(grants, grant) {
			return badMetadata("The grant type %s is not available to clients that register with this token.", grant)
		}
	}
	scopes, otherwise := p.Scopes, p.Scopes
	if len(scopes) == 0 {
		scopes = slices.Concat(personScopes, set.OIDC.Scopes)
		if slices.ContainsFunc(m.GrantTypes, func(g string) bool { return slices.Contains(personalGrants, g) }) {
			otherwise = slices.DeleteFunc(slices.Clone(personScopes), func(s string) bool { return s == "offline_access" })
		}
	}
	take(&m.Scope, joinScopes(otherwise))
	for scope := range strings.FieldsSeq(m.Scope) {
		if !slices.Contains(scopes, scope) {
			return badMetadata("The scope %s is not available to clients that register with this token.", scope)
		}
	}
	if len(p.RedirectHosts) == 0 {
		return nil
	}
	for _, uri := range m.RedirectURIs {
		if !p.leadsHome(uri) {
			return badRedirect("A redirect URI leads to a host that is not available to clients that register with this token: %s", uri)
		}
	}
	for _, uri := range m.PostLogoutRedirectURIs {
		if !p.leadsHome(uri) {
			return badMetadata("A post_logout_redirect_uri leads to a host that is not available to clients that register with this token: %s", uri)
		}
	}
	return nil
}

func (p RegistrationPolicy) leadsHome(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && slices.ContainsFunc(p.RedirectHosts, func(host string) bool { return strings.EqualFold(host, u.Host) })
}

// storedPolicy reads the policy of a token or of a client that registered itself.
func storedPolicy(document json.RawMessage) (RegistrationPolicy, error) {
	var p RegistrationPolicy
	if err := json.Unmarshal(document, &p); err != nil {
		return p, fmt.Errorf("read registration policy: %w", err)
	}
	return p, nil
}

// NewRegistrationToken describes an initial access token (RFC 7591 section 1.2) to make.
type NewRegistrationToken struct {
	Policy RegistrationPolicy
	// Uses is how many clients may be registered with it, 1 to 1000.
	Uses int
	// TTL is how long it lives, 5 minutes to 30 days; zero: until it is used up or revoked.
	TTL time.Duration
	// Note reminds operators of what it is for. At most 500 characters.
	Note  string
	Actor audit.Party
}

const (
	minRegistrationLife = 5 * time.Minute
	maxRegistrationLife = 30 * 24 * time.Hour
	maxRegistrationUses = 1000
)

// RegistrationToken is an initial access token as operators see it. Token is set once, by what made it.
type RegistrationToken struct {
	ID        uuid.UUID          `json:"id"`
	Token     string             `json:"token,omitempty"`
	Policy    RegistrationPolicy `json:"policy"`
	MaxUses   int                `json:"max_uses"`
	Uses      int                `json:"uses"`
	Note      string             `json:"note,omitempty"`
	CreatedBy string             `json:"created_by"`
	CreatedAt time.Time          `json:"created_at"`
	ExpiresAt *time.Time         `json:"expires_at,omitempty"`
	RevokedAt *time.Time         `json:"revoked_at,omitempty"`
}

// State is active, or why the token lets nobody register any more: revoked, expired or used.
func (t RegistrationToken) State(now time.Time) string {
	switch {
	case t.RevokedAt != nil:
		return "revoked"
	case t.ExpiresAt != nil && !now.Before(*t.ExpiresAt):
		return "expired"
	case t.Uses >= t.MaxUses:
		return "used"
	}
	return "active"
}

// ErrRegistrationTokenUnknown reports that no token has the id, or that it was revoked before.
var ErrRegistrationTokenUnknown = problem.New(problem.NotFound, "registration_token_unknown", "There is no registration token with this id, or it was revoked already.")

// check finds what the description lacks.
func (n NewRegistrationToken) check() error {
	switch {
	case n.Uses < 1 || n.Uses > maxRegistrationUses:
		return problem.New(problem.Invalid, "registration_token_invalid", "A registration token is good for 1 to 1000 uses.")
	case n.TTL != 0 && (n.TTL < minRegistrationLife || n.TTL > maxRegistrationLife):
		return problem.New(problem.Invalid, "registration_token_invalid", "A registration token lives between 5 minutes and 30 days, or has no end.")
	case utf8.RuneCountInString(n.Note) > 500 || !printable(n.Note):
		return problem.New(problem.Invalid, "registration_token_invalid", "A note has at most 500 characters on one line.")
	}
	return n.Policy.check()
}

// CreateRegistrationToken makes an initial access token for tx's tenant and records it. The token is in the result and
// nowhere else.
func CreateRegistrationToken(ctx context.Context, tx *store.Tx, vault tenant.Vault, n NewRegistrationToken) (RegistrationToken, error) {
	if err := n.check(); err != nil {
		return RegistrationToken{}, err
	}
	sealer, err := vault.Sealer(ctx, tx)
	if err != nil {
		return RegistrationToken{}, fmt.Errorf("make registration token: %w", err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return RegistrationToken{}, err
	}
	policy, err := json.Marshal(n.Policy)
	if err != nil {
		return RegistrationToken{}, err
	}
	t := RegistrationToken{
		ID: id, Policy: n.Policy, MaxUses: n.Uses, Note: n.Note, CreatedBy: n.Actor.ID, CreatedAt: tx.Now(),
	}
	if n.TTL != 0 {
		ends := tx.Now().Add(n.TTL)
		t.ExpiresAt = &ends
	}
	var sig string
	t.Token, sig = tokensOf(sealer, tx.Now).mint(initialPrefix, secret.Token())
	err = tx.RegistrationTokenCreate(ctx, dbsqlc.RegistrationTokenCreateParams{
		ID: id, TokenDigest: tokenID(sig), Policy: policy, MaxUses: int32(n.Uses), Note: n.Note, CreatedBy: n.Actor.ID,
		ExpiresAt: t.ExpiresAt,
	})
	if err != nil {
		return RegistrationToken{}, fmt.Errorf("make registration token: %w", err)
	}
	return t, recordRegistrationToken(ctx, tx, audit.RegistrationTokenCreated, id, n.Actor, map[string]string{"uses": fmt.Sprint(n.Uses)})
}

// ListRegistrationTokens pages through the initial access tokens of tx's tenant, oldest first, used ones included. uuid.Nil
// begins.
func ListRegistrationTokens(ctx context.Context, tx *store.Tx, after uuid.UUID, limit int32) ([]RegistrationToken, error) {
	rows, err := tx.RegistrationTokenList(ctx, dbsqlc.RegistrationTokenListParams{TenantID: tx.Tenant(), After: after, PageSize: limit})
	if err != nil {
		return nil, fmt.Errorf("list registration tokens: %w", err)
	}
	tokens := make([]RegistrationToken, len(rows))
	for i, r := range rows {
		policy, err := storedPolicy(r.Policy)
		if err != nil {
			return nil, err
		}
		tokens[i] = RegistrationToken{
			ID: r.ID, Policy: policy, MaxUses: int(r.MaxUses), Uses: int(r.Uses), Note: r.Note, CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt,
			ExpiresAt: r.ExpiresAt, RevokedAt: r.RevokedAt,
		}
	}
	return tokens, nil
}

// RevokeRegistrationToken ends an initial access token and records it. The clients that were registered with it stay.
func RevokeRegistrationToken(ctx context.Context, tx *store.Tx, id uuid.UUID, by audit.Party) error {
	n, err := tx.RegistrationTokenRevoke(ctx, dbsqlc.RegistrationTokenRevokeParams{TenantID: tx.Tenant(), ID: id})
	if err != nil {
		return fmt.Errorf("revoke registration token: %w", err)
	}
	if n == 0 {
		return ErrRegistrationTokenUnknown
	}
	return recordRegistrationToken(ctx, tx, audit.RegistrationTokenRevoked, id, by, nil)
}

func recordRegistrationToken(ctx context.Context, tx *store.Tx, event audit.Type, id uuid.UUID, by audit.Party, detail map[string]string) error {
	return audit.Record(ctx, tx, audit.Event{
		Type: event, Status: audit.Success, Actor: by, Target: audit.Thing("registration_token", id.String()), Detail: detail,
	})
}
