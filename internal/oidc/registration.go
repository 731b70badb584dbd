package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"github.com/ory/fosite"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/problem"
	"parako/internal/ratelimit"
	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/tenant"
)

// clientInformation is what a client is told about itself (RFC 7591 section 3.2.1, RFC 7592 section 3).
type clientInformation struct {
	ClientMetadata

	ID     string `json:"client_id"`
	Secret string `json:"client_secret,omitempty"`
	// IssuedAt is in seconds since 1970; SecretExpiresAt is 0, for never, where the client has a secret.
	IssuedAt          int64  `json:"client_id_issued_at"`
	SecretExpiresAt   *int64 `json:"client_secret_expires_at,omitempty"`
	RegistrationURI   string `json:"registration_client_uri"`
	RegistrationToken string `json:"registration_access_token"`
}

// information is what a client is told about itself: what it registered, as it is kept, and nothing that the tenant's
// administrators added.
func (p *Provider) information(c Client, token string) clientInformation {
	info := clientInformation{
		ClientMetadata: administeredAs(c.ClientMetadata, ClientMetadata{}), ID: c.ID, Secret: c.Secret, IssuedAt: c.CreatedAt.Unix(),
		RegistrationURI: p.URL("/register-rp/" + c.ID), RegistrationToken: token,
	}
	if strings.HasPrefix(c.TokenEndpointAuthMethod, "client_secret_") {
		info.SecretExpiresAt = new(int64)
	}
	return info
}

// administeredAs is m with what only administrators set as in other.
func administeredAs(m, other ClientMetadata) ClientMetadata {
	m.Audience, m.AccessTokenFormat, m.FAPIProfile, m.TTL = other.Audience, other.AccessTokenFormat, other.FAPIProfile, other.TTL
	return m
}

// The errors of tokens at the registration endpoints (RFC 6750 section 3.1). One covers every reason for which a token is not
// good: nobody learns which client or which token there is.
var (
	errNoRegistrationToken = &fosite.RFC6749Error{
		ErrorField: "invalid_token", DescriptionField: "An access token is required.", CodeField: http.StatusUnauthorized,
	}
	errRegistrationToken = &fosite.RFC6749Error{
		ErrorField: "invalid_token", DescriptionField: "The token is unknown, expired, used up or revoked, or another client's.",
		CodeField: http.StatusUnauthorized,
	}
	errRegistrations = problem.New(problem.TooMany, "too_many_attempts", "Too many requests of this kind have failed. Wait a few minutes and try again.")
)

// errSoftwareStatement refuses software statements (RFC 7591 section 3.2.2): there is nobody whose statements count.
var errSoftwareStatement = &fosite.RFC6749Error{
	ErrorField: "unapproved_software_statement", DescriptionField: "Software statements are not accepted.", CodeField: http.StatusBadRequest,
}

// registering answers a request to one of the registration endpoints, which needs a bearer token of the kind that prefix begins.
// do returns the status and the body of the answer, nil for none. Failures are counted by address, before it is known whether it
// is one, so that requests in parallel cannot overtake the count.
func (h *Handler) registering(c echo.Context, prefix string, do func(ctx context.Context, p *Provider, token string) (int, any, error)) error {
	p, err := h.Provider(c)
	if err != nil {
		return err
	}
	f := p.Settings.Features.OIDC
	if !f.DynamicClientRegistration.Enabled || prefix == registrationPrefix && !f.ClientRegistrationManagement.Enabled {
		return errOff
	}
	ctx := c.Request().Context()
	limit, caller := ratelimit.ClientRegistrationRefused(), callerIP(ctx)
	if d := h.deps.Limiter.Allow(ctx, p.Tenant.ID, limit, caller); !d.Allowed {
		h.deps.Metrics.RateLimited(limit.Name)
		c.Response().Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(d.RetryAfter.Seconds()))))
		return h.writeError(c, errRegistrations)
	}
	token, err := p.registrationToken(c, prefix)
	if err != nil {
		return h.refuseRegistration(c, err)
	}
	status, body, err := do(ctx, p, token)
	if quota := tenant.OverQuota(err); quota != "" {
		h.deps.Metrics.QuotaRefused(quota)
	}
	if err != nil {
		return h.refuseRegistration(c, err)
	}
	h.deps.Limiter.Refund(ctx, p.Tenant.ID, limit, caller)
	noStore(c)
	if body == nil {
		return c.NoContent(status)
	}
	return c.JSON(status, body)
}

// registrationToken is the bearer token of the request, if this tenant made it for the purpose.
func (p *Provider) registrationToken(c echo.Context, prefix string) (string, error) {
	presented, err := presentedToken(c)
	switch {
	case err != nil:
		return "", fosite.ErrInvalidRequest.WithHint(err.Error())
	case presented.token == "":
		return "", errNoRegistrationToken
	case presented.dpop || !p.tokens.genuine(prefix, presented.token):
		return "", errRegistrationToken
	}
	return presented.token, nil
}

// refuseRegistration answers with an error, and with a challenge when it is about the token.
func (h *Handler) refuseRegistration(c echo.Context, err error) error {
	switch rfc, _ := asRFC(err); rfc {
	case errNoRegistrationToken:
		c.Response().Header().Set("WWW-Authenticate", "Bearer"+challengeParams("", ""))
	case errRegistrationToken:
		c.Response().Header().Set("WWW-Authenticate", "Bearer"+challengeParams(rfc.ErrorField, rfc.DescriptionField))
	}
	return h.writeError(c, err)
}

// register is the client registration endpoint (RFC 7591 section 3, OpenID Connect Dynamic Client Registration section 3).
// Nothing is done for whoever brings a token that is used up; what counts is the statement that uses it, in the transaction
// that registers the client.
func (h *Handler) register(c echo.Context) error {
	return h.registering(c, initialPrefix, func(ctx context.Context, p *Provider, token string) (int, any, error) {
		digest := tokenID(signature(token))
		var initial dbsqlc.RegistrationToken
		err := p.askTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
			initial, err = tx.RegistrationTokenLive(ctx, dbsqlc.RegistrationTokenLiveParams{TenantID: tx.Tenant(), TokenDigest: digest})
			return err
		})
		if isNotFound(err) {
			return 0, nil, errRegistrationToken
		}
		if err != nil {
			return 0, nil, err
		}
		policy, err := storedPolicy(initial.Policy)
		if err != nil {
			return 0, nil, err
		}
		r, err := readRegistration(c)
		if err == nil {
			err = r.ofNewClient()
		}
		if err != nil {
			return 0, nil, err
		}
		sector, err := FetchSector(ctx, p.deps.Outbound, ClientMetadata{}, r.metadata)
		if err != nil {
			return 0, nil, err
		}
		own, _ := p.tokens.mint(registrationPrefix, secret.Token())
		var made Client
		err = p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
			n, err := tx.RegistrationTokenSpend(ctx, dbsqlc.RegistrationTokenSpendParams{TenantID: tx.Tenant(), TokenDigest: digest})
			if err != nil {
				return err
			}
			if n == 0 {
				return errRegistrationToken
			}
			made, err = RegisterClient(ctx, tx, p.deps.Vault, p.platform, NewClient{
				ClientMetadata: r.metadata, Sector: sector, Self: &Registrant{Policy: policy, Token: own, Initial: initial.ID},
			})
			return err
		})
		return http.StatusCreated, p.information(made, own), err
	})
}

// ownClient finds, with find, the client of the request's path for whoever holds its registration access token.
// errRegistrationToken: it is another's or an old one, or the client is gone or switched off (RFC 7592 section 2.1).
func ownClient(c echo.Context, token string, find func(id string) (dbsqlc.Client, error)) (dbsqlc.Client, error) {
	id := c.Param("client_id")
	if !clientIDFormat.MatchString(id) {
		return dbsqlc.Client{}, errRegistrationToken
	}
	row, err := find(id)
	if errors.Is(err, store.ErrNotFound) {
		return dbsqlc.Client{}, errRegistrationToken
	}
	if err != nil {
		return dbsqlc.Client{}, err
	}
	if !row.Active || row.RegistrationPolicy == nil || !secret.Equal(row.RegistrationDigest, tokenID(signature(token))) {
		return dbsqlc.Client{}, errRegistrationToken
	}
	return row, nil
}

// readOwnClient is ownClient in a transaction of its own.
func (p *Provider) readOwnClient(ctx context.Context, c echo.Context, token string) (dbsqlc.Client, error) {
	return ownClient(c, token, func(id string) (row dbsqlc.Client, err error) {
		err = p.askTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
			row, err = tx.ClientByID(ctx, dbsqlc.ClientByIDParams{TenantID: tx.Tenant(), ID: id})
			return err
		})
		return row, err
	})
}

// registered tells a client what is registered for it (RFC 7592 section 2.1). Its secret is not known any more.
func (h *Handler) registered(c echo.Context) error {
	return h.registering(c, registrationPrefix, func(ctx context.Context, p *Provider, token string) (int, any, error) {
		row, err := p.readOwnClient(ctx, c, token)
		if err != nil {
			return 0, nil, err
		}
		own, err := fromRow(row)
		return http.StatusOK, p.information(own, token), err
	})
}

// reregister replaces what a client registered, and its registration access token (RFC 7592 sections 2.2 and 5). What is left
// out is as if it had never been said.
func (h *Handler) reregister(c echo.Context) error {
	return h.registering(c, registrationPrefix, func(ctx context.Context, p *Provider, token string) (int, any, error) {
		row, err := p.readOwnClient(ctx, c, token)
		if err != nil {
			return 0, nil, err
		}
		policy, err := storedPolicy(row.RegistrationPolicy)
		if err != nil {
			return 0, nil, err
		}
		before, err := metadataOf(row)
		if err != nil {
			return 0, nil, err
		}
		r, err := readRegistration(c)
		if err == nil {
			err = r.ofClient(row)
		}
		if err != nil {
			return 0, nil, err
		}
		sector, err := FetchSector(ctx, p.deps.Outbound, before, r.metadata)
		if err != nil {
			return 0, nil, err
		}
		next, sig := p.tokens.mint(registrationPrefix, secret.Token())
		var changed Client
		err = p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
			n, err := tx.ClientRenewRegistration(ctx, dbsqlc.ClientRenewRegistrationParams{
				TenantID: tx.Tenant(), ID: row.ID, PresentedDigest: tokenID(signature(token)), RegistrationDigest: tokenID(sig),
			})
			if err != nil {
				return err
			}
			if n == 0 {
				return errRegistrationToken
			}
			changed, err = ChangeClient(ctx, tx, p.deps.Vault, p.platform, row.ID, audit.Client(row.ID), func(n *NewClient) error {
				n.ClientMetadata, n.Sector, n.Self = administeredAs(r.metadata, n.ClientMetadata), sector, &Registrant{Policy: policy}
				return nil
			})
			return err
		})
		return http.StatusOK, p.information(changed, next), err
	})
}

// unregister removes a client and everything it was granted (RFC 7592 section 2.3).
func (h *Handler) unregister(c echo.Context) error {
	return h.registering(c, registrationPrefix, func(ctx context.Context, p *Provider, token string) (int, any, error) {
		err := p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
			row, err := ownClient(c, token, func(id string) (dbsqlc.Client, error) {
				return tx.ClientForUpdate(ctx, dbsqlc.ClientForUpdateParams{TenantID: tx.Tenant(), ID: id})
			})
			if err != nil {
				return err
			}
			return DeleteClient(ctx, tx, row.ID, audit.Client(row.ID))
		})
		return http.StatusNoContent, nil, err
	})
}

// registrationRequest is what a client says of itself (RFC 7591 section 2). Whatever its token allows, these rules hold:
// it has a client_name, which people are shown; it sets nothing that only administrators set; it comes without a software
// statement; and members that mean nothing here are passed over, names in other languages among them.
type registrationRequest struct {
	metadata ClientMetadata
	// members are all that was sent, by name. What is null was not sent (section 2).
	members map[string]json.RawMessage
}

// administered are the members that only administrators set.
var administered = []string{"isInternalClient", "allowedResources", "resourcesScopes", "audience", "accessTokenFormat", "ttl", "fapi_profile"}

// memberName is the form of the names of all other members that mean something.
var memberName = regexp.MustCompile(`^[a-z0-9_]+$`)

// readRegistration reads the body of a request.
func readRegistration(c echo.Context) (registrationRequest, error) {
	if media, _, _ := mime.ParseMediaType(c.Request().Header.Get("Content-Type")); media != "application/json" {
		return registrationRequest{}, fosite.ErrInvalidRequest.WithHint("The body must be application/json.")
	}
	body, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return registrationRequest{}, tooLarge(err, fosite.ErrInvalidRequest.WithHint("The body cannot be read."))
	}
	return parseRegistration(body)
}

func parseRegistration(body []byte) (registrationRequest, error) {
	var r registrationRequest
	if err := json.Unmarshal(body, &r.members); err != nil || r.members == nil {
		return r, fosite.ErrInvalidRequest.WithHint("The body must be a JSON object (RFC 7591 section 3.1).")
	}
	maps.DeleteFunc(r.members, func(_ string, value json.RawMessage) bool { return string(value) == "null" })
	if r.has("software_statement") {
		return r, errSoftwareStatement
	}
	for _, name := range administered {
		if r.has(name) {
			return r, badMetadata("%s is for the tenant's administrators to set.", name)
		}
	}
	// encoding/json does not tell the cases of letters apart, and would take accesstokenformat for accessTokenFormat.
	known := maps.Clone(r.members)
	maps.DeleteFunc(known, func(name string, _ json.RawMessage) bool { return !memberName.MatchString(name) })
	text, err := json.Marshal(known)
	if err != nil {
		return r, err
	}
	err = json.Unmarshal(text, &r.metadata)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		name := wrong.Field[strings.LastIndex(wrong.Field, ".")+1:]
		if name == "redirect_uris" {
			return r, badRedirect("redirect_uris is a list of URIs.")
		}
		return r, badMetadata("%s has a value of another kind than it should.", name)
	}
	if err != nil {
		return r, badMetadata("A value cannot be read.")
	}
	r.metadata = administeredAs(r.metadata, ClientMetadata{})
	return r, nil
}

func (r registrationRequest) has(name string) bool {
	_, sent := r.members[name]
	return sent
}

// text is a member that is a text; empty when there is none.
func (r registrationRequest) text(name string) string {
	var text string
	if json.Unmarshal(r.members[name], &text) != nil {
		return ""
	}
	return text
}

// ofNewClient refuses what a client cannot choose.
func (r registrationRequest) ofNewClient() error {
	for _, name := range []string{"client_id", "client_secret"} {
		if r.has(name) {
			return badMetadata("%s is for the server to choose.", name)
		}
	}
	return nil
}

// ofClient demands that the request speaks of the client (RFC 7592 section 2.2): by its client_id, with its own secret or
// none, and without what only the server says.
func (r registrationRequest) ofClient(row dbsqlc.Client) error {
	if r.text("client_id") != row.ID {
		return badMetadata("client_id is missing or another client's.")
	}
	if r.has("client_secret") && !secret.Equal(secret.Digest(r.text("client_secret")), row.SecretDigest) {
		return badMetadata("client_secret is not the client's secret, which is for the server to choose.")
	}
	for _, name := range []string{"registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"} {
		if r.has(name) {
			return badMetadata("%s is for the server to say.", name)
		}
	}
	return nil
}
