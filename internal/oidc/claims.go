package oidc

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"github.com/ory/fosite"

	"parako/internal/directory"
)

// personScopes are the scopes that mean something about a person (OpenID Connect Core section 5.4).
var personScopes = []string{"openid", "profile", "email", "address", "phone", "offline_access"}

// scopeClaims are the claims that a scope asks for (OpenID Connect Core section 5.4, and settings.OptionalScopes).
var scopeClaims = map[string][]string{
	"profile": {
		"name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile", "picture", "website",
		"gender", "birthdate", "zoneinfo", "locale", "updated_at",
	},
	"email":   {"email", "email_verified"},
	"address": {"address"},
	"phone":   {"phone_number", "phone_number_verified"},
	"roles":   {"roles"},
	"account": {"account_enabled", "last_login", "username"},
}

// protocolClaims are the claims that are not about the person.
var protocolClaims = []string{"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash", "c_hash", "sid"}

// claimsSupported are all claims of a tenant, in the order discovery shows.
func (p *Provider) claimsSupported() []string {
	list := slices.Clone(protocolClaims)
	for _, scope := range p.scopesSupported() {
		list = append(list, scopeClaims[scope]...)
	}
	return list
}

// scopesSupported are the scopes of people, in the order discovery shows.
func (p *Provider) scopesSupported() []string {
	return slices.Concat(personScopes, p.Settings.OIDC.Scopes)
}

// scopeOf is the scope that a claim belongs to; empty: none of this tenant.
func (p *Provider) scopeOf(claim string) string {
	for _, scope := range p.scopesSupported() {
		if slices.Contains(scopeClaims[scope], claim) {
			return scope
		}
	}
	return ""
}

// personClaim is the value of a claim about u; false: it is not known, or no claim about people.
func personClaim(u directory.User, name string) (any, bool) {
	optional := func(value *string) (any, bool) {
		if value == nil || *value == "" {
			return nil, false
		}
		return *value, true
	}
	switch name {
	case "name":
		return optional(u.Name)
	case "given_name":
		return optional(u.GivenName)
	case "family_name":
		return optional(u.FamilyName)
	case "middle_name":
		return optional(u.MiddleName)
	case "nickname":
		return optional(u.Nickname)
	case "preferred_username", "username":
		return optional(&u.Username)
	case "profile":
		return optional(u.Profile)
	case "picture":
		return optional(u.Picture)
	case "website":
		return optional(u.Website)
	case "gender":
		return optional(u.Gender)
	case "birthdate":
		return optional(u.Birthdate)
	case "zoneinfo":
		return optional(u.Zoneinfo)
	case "locale":
		return optional(u.Locale)
	case "updated_at":
		return u.UpdatedAt.Unix(), true
	case "email":
		return optional(u.Email)
	case "email_verified":
		return u.EmailVerified, u.Email != nil
	case "phone_number":
		return optional(u.PhoneNumber)
	case "phone_number_verified":
		return u.PhoneNumberVerified, u.PhoneNumber != nil
	case "address":
		return u.Address, len(u.Address) > 0
	case "roles":
		return u.Roles, true
	case "account_enabled":
		return u.AccountEnabled, true
	case "last_login":
		if u.LastLoginAt == nil {
			return nil, false
		}
		return u.LastLoginAt.Unix(), true
	}
	return nil, false
}

// addClaims puts what is known of u by these names into the object.
func addClaims(object map[string]any, u directory.User, names []string) {
	for _, name := range names {
		if value, ok := personClaim(u, name); ok {
			object[name] = value
		}
	}
}

// claimNames are the claims of people that the scopes ask for.
func claimNames(scopes []string) []string {
	var names []string
	for _, scope := range scopes {
		names = append(names, scopeClaims[scope]...)
	}
	return names
}

// claimsRequest is the claims parameter (OpenID Connect Core section 5.5). A nil request asks for nothing.
type claimsRequest struct {
	Userinfo map[string]*claimDemand `json:"userinfo,omitempty"`
	IDToken  map[string]*claimDemand `json:"id_token,omitempty"`
}

// claimDemand says how a claim is wanted (section 5.5.1). nil: voluntarily.
type claimDemand struct {
	Essential bool              `json:"essential,omitempty"`
	Value     json.RawMessage   `json:"value,omitempty"`
	Values    []json.RawMessage `json:"values,omitempty"`
}

const maxClaimsRequest = 50 // claims in a claims parameter

// parseClaims reads a claims parameter. Members it does not know are passed over, as section 5.5 asks.
func parseClaims(text string) (*claimsRequest, error) {
	var request claimsRequest
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	if err := d.Decode(&request); err != nil || d.More() {
		return nil, fosite.ErrInvalidRequest.WithHint("The claims parameter is not a JSON object as OpenID Connect Core section 5.5 asks.")
	}
	if len(request.Userinfo)+len(request.IDToken) > maxClaimsRequest {
		return nil, fosite.ErrInvalidRequest.WithHint("The claims parameter asks for too many claims.")
	}
	return &request, nil
}

// mayClaim reports whether a client may ask for a claim by its name. One about the person must belong to a scope that the client
// may ask for: the parameter is another way to the same claims, not to more.
func (p *Provider) mayClaim(c client, name string) bool {
	if scope := p.scopeOf(name); scope != "" {
		return c.GetScopes().Has(scope)
	}
	return slices.Contains(protocolClaims, name)
}

// keep leaves the claims whose name satisfies fn.
func (c *claimsRequest) keep(fn func(name string) bool) {
	for _, demands := range []map[string]*claimDemand{c.Userinfo, c.IDToken} {
		maps.DeleteFunc(demands, func(name string, _ *claimDemand) bool { return !fn(name) })
	}
}

// userinfo and idToken are the names asked for at either place.
func (c *claimsRequest) userinfo() []string {
	if c == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(c.Userinfo))
}

func (c *claimsRequest) idToken() []string {
	if c == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(c.IDToken))
}

// scopes are those that the claims asked for belong to, so that a person is asked before anyone learns of them.
func (p *Provider) scopesOfClaims(c *claimsRequest) []string {
	var scopes []string
	for _, name := range slices.Concat(c.userinfo(), c.idToken()) {
		if scope := p.scopeOf(name); scope != "" && !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

// subject is the value that sub must have; empty: any.
func (c *claimsRequest) subject() string {
	if c == nil {
		return ""
	}
	for _, members := range []map[string]*claimDemand{c.IDToken, c.Userinfo} {
		if demand := members["sub"]; demand != nil && len(demand.Value) > 0 {
			var sub string
			if json.Unmarshal(demand.Value, &sub) == nil {
				return sub
			}
		}
	}
	return ""
}

// acr are the values of which acr must have one (section 5.5.1.1); nil: none is essential.
func (c *claimsRequest) acr() []string {
	if c == nil || c.IDToken["acr"] == nil || !c.IDToken["acr"].Essential {
		return nil
	}
	demand := c.IDToken["acr"]
	var values []string
	for _, raw := range append(slices.Clone(demand.Values), demand.Value) {
		var value string
		if json.Unmarshal(raw, &value) == nil && value != "" {
			values = append(values, value)
		}
	}
	return values
}

// document is what is kept of the request with its grant; nil: nothing.
func (c *claimsRequest) document() (json.RawMessage, error) {
	if c == nil || len(c.Userinfo)+len(c.IDToken) == 0 {
		return nil, nil
	}
	return json.Marshal(c)
}

// storedClaims reads what document wrote.
func storedClaims(document json.RawMessage) (*claimsRequest, error) {
	if len(document) == 0 {
		return nil, nil //nolint:nilnil // Most grants have none.
	}
	var request claimsRequest
	err := json.Unmarshal(document, &request)
	return &request, err
}
