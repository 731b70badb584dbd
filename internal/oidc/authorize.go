package oidc

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/ory/fosite"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/problem"
	"parako/internal/session"
	"parako/internal/settings"
	"parako/internal/signin"
	"parako/internal/store"
)

// Errors that are shown on a page, because it is not known yet that the redirect URI is the client's (checklist A2).
var (
	errUnknownClient = problem.New(problem.Invalid, "unknown_client", "This application is not known here. Go back to it and try again; if that does not help, tell the people who run it.")
	errRedirectURI   = problem.New(problem.Invalid, "invalid_redirect_uri", "The application asked us to send you to an address that is not registered for it. Tell the people who run it.")
)

// authRequest is a valid authorization request (OpenID Connect Core section 3.1.2.1).
type authRequest struct {
	form        url.Values
	client      dbsqlc.Client
	redirectURI string
	mode        string // query or fragment
	prompts     []string
	maxAge      *time.Duration
	// hint is the subject of a valid id_token_hint; uuid.Nil: none was sent.
	hint  uuid.UUID
	fosit fosite.AuthorizeRequester
}

func (r *authRequest) scopes() []string { return r.fosit.GetRequestedScopes() }

func (r *authRequest) prompted(value string) bool { return slices.Contains(r.prompts, value) }

// codeChallenge is the form of an S256 challenge: 43 characters of base64url (RFC 7636 section 4.2).
var codeChallenge = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// parseAuthorize checks a request as far as it can be checked without knowing who is there. The request is nil when the
// error must be shown on a page; otherwise the error goes back to the client by redirect.
func (p *Provider) parseAuthorize(ctx context.Context, form url.Values) (*authRequest, error) {
	if len(form["client_id"]) != 1 || len(form["redirect_uri"]) > 1 {
		return nil, errUnknownClient
	}
	row, err := p.client(ctx, form.Get("client_id"))
	if err != nil {
		if cause(err) != nil && !isNotFound(err) {
			return nil, err
		}
		return nil, errUnknownClient
	}
	return p.checkAuthorize(ctx, form, row)
}

func (p *Provider) checkAuthorize(ctx context.Context, form url.Values, row dbsqlc.Client) (*authRequest, error) {
	r := &authRequest{form: form, client: row, redirectURI: form.Get("redirect_uri"), mode: "query"}
	if r.redirectURI == "" && len(row.RedirectUris) == 1 && !slices.Contains(strings.Fields(form.Get("scope")), "openid") {
		r.redirectURI = row.RedirectUris[0]
	}
	if !registeredRedirect(row.RedirectUris, r.redirectURI) {
		return nil, errRedirectURI
	}
	if form.Get("response_mode") == "fragment" {
		r.mode = "fragment"
	}
	if err := repeated(form); err != nil {
		return r, err
	}
	if err := r.unsupported(); err != nil {
		return r, err
	}
	for _, resource := range form["resource"] {
		if !slices.Contains(row.AllowedResources, resource) {
			return r, errTarget
		}
	}
	if err := p.runFosite(ctx, r); err != nil {
		return r, err
	}
	if err := r.proofKey(); err != nil {
		return r, err
	}
	if err := r.interactionParameters(); err != nil {
		return r, err
	}
	if hint := form.Get("id_token_hint"); hint != "" {
		claims, err := p.hint(hint)
		if err != nil || !slices.Contains(claims.Audience, row.ID) {
			return r, fosite.ErrInvalidRequest.WithHint("The id_token_hint is not an ID token of this issuer for this client.")
		}
		r.hint = claims.subject
	}
	return r, nil
}

func (r *authRequest) unsupported() error {
	switch {
	case r.form.Has("request"):
		return fosite.ErrRequestNotSupported
	case r.form.Has("request_uri"):
		return fosite.ErrRequestURINotSupported
	case r.form.Has("registration"):
		return fosite.ErrRegistrationNotSupported
	}
	for _, values := range r.form {
		if slices.ContainsFunc(values, func(v string) bool { return !utf8.ValidString(v) || strings.ContainsRune(v, 0) }) {
			return fosite.ErrInvalidRequest.WithHint("A parameter is not valid UTF-8 text.")
		}
	}
	if r.form.Get("response_type") != "code" { // fosite ignores the case and would fail later.
		return fosite.ErrUnsupportedResponseType.WithHint("The response_type must be code.")
	}
	if m := r.form.Get("response_mode"); m != "" && m != "query" && m != "fragment" {
		return fosite.ErrInvalidRequest.WithHint("The response_mode is not supported.")
	}
	return nil
}

// runFosite lets fosite check the request: response type, scopes, redirect URI. It sees a copy of the form: with a state
// when the client sent none, which fosite insists on, and with resources as the audience it knows.
func (p *Provider) runFosite(ctx context.Context, r *authRequest) error {
	form := maps.Clone(r.form)
	for _, name := range []string{"prompt", "max_age", "id_token_hint", "response_mode", "audience"} {
		form.Del(name) // Decided by us, or not ours.
	}
	form.Set("state", "s")
	form.Set("redirect_uri", r.redirectURI)
	if resources := r.form["resource"]; len(resources) > 0 {
		form["audience"] = resources
	}
	synthetic := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/authorize"}, Form: form, Header: http.Header{}}
	engine := fosite.Fosite{Store: known{storage{p}, client{r.client}}, Config: p.oauth2.Config}
	var err error
	r.fosit, err = engine.NewAuthorizeRequest(ctx, synthetic)
	return err
}

// known answers with the client that has been loaded already.
type known struct {
	storage
	client client
}

// GetClient implements fosite.ClientManager.
func (k known) GetClient(context.Context, string) (fosite.Client, error) { return k.client, nil }

// proofKey demands PKCE with S256 of every client (RFC 7636, RFC 9700 section 2.1.1), before anyone is asked to sign in.
func (r *authRequest) proofKey() error {
	switch {
	case r.form.Get("code_challenge") == "":
		return fosite.ErrInvalidRequest.WithHint("The code_challenge is missing: PKCE with S256 is required.")
	case r.form.Get("code_challenge_method") != "S256":
		return fosite.ErrInvalidRequest.WithHint("The code_challenge_method must be S256.")
	case !codeChallenge.MatchString(r.form.Get("code_challenge")):
		return fosite.ErrInvalidRequest.WithHint("The code_challenge must be 43 characters of base64url.")
	}
	return nil
}

func (r *authRequest) interactionParameters() error {
	r.prompts = strings.Fields(r.form.Get("prompt"))
	for _, prompt := range r.prompts {
		if !slices.Contains(allowedPrompts, prompt) {
			return fosite.ErrInvalidRequest.WithHint("The prompt is not supported.")
		}
	}
	if r.prompted("none") && len(r.prompts) > 1 {
		return fosite.ErrInvalidRequest.WithHint("The prompt none excludes every other.")
	}
	switch text := r.form.Get("max_age"); {
	case text != "":
		seconds, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return fosite.ErrInvalidRequest.WithHint("The max_age is not a number of seconds.")
		}
		age := time.Duration(seconds) * time.Second
		r.maxAge = &age
	case r.client.DefaultMaxAge != nil:
		age := time.Duration(*r.client.DefaultMaxAge) * time.Second
		r.maxAge = &age
	}
	return nil
}

// needsLogin reports whether s, who may be nobody, must sign in again for the request.
func (r *authRequest) needsLogin(s *session.Session, now time.Time) bool {
	switch {
	case s == nil, r.prompted("login"), r.prompted("select_account"):
		return true
	case r.hint != uuid.Nil && r.hint != s.User.ID:
		return true
	}
	return r.maxAge != nil && now.Sub(s.AuthTime) >= *r.maxAge
}

// Answer is what the browser gets: a redirect, perhaps to an interaction, whose flow secret then goes into a cookie.
type Answer struct {
	Location    string
	Interaction uuid.UUID
	Flow        string
	FlowLife    time.Duration
}

// Authorize answers an authorization request of the browser that holds the session token: with a code when nobody must be
// asked, else with an interaction. An error that is a problem is for a page.
func (p *Provider) Authorize(ctx context.Context, form url.Values, token string, from audit.Origin) (Answer, error) {
	r, err := p.parseAuthorize(ctx, form)
	if err != nil {
		return p.refuse(ctx, r, err)
	}
	var answer Answer
	err = p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		s, err := p.findSession(ctx, tx, token)
		if err != nil {
			return err
		}
		waiting := signin.Interaction{
			ClientID: r.client.ID, Request: form, LoginRequired: r.needsLogin(s, tx.Now()), ConsentPrompt: r.prompted("consent"),
		}
		step := signin.StepLogin
		if !waiting.LoginRequired {
			waiting.SessionID = &s.ID
			consented, err := signin.Consented(ctx, tx, s.User.ID, r.client.ID)
			if err != nil {
				return err
			}
			step = waiting.Next(s, r.client.IsInternalClient, r.scopes(), consented)
		}
		switch {
		case step == signin.StepDone:
			answer.Location, err = p.issueCode(ctx, tx, r, *s)
			return err
		case r.prompted("none") && step == signin.StepLogin:
			return fosite.ErrLoginRequired
		case r.prompted("none"):
			return fosite.ErrConsentRequired
		}
		answer.FlowLife = settings.Seconds(p.ttl().Interaction)
		waiting, answer.Flow, err = signin.Begin(ctx, tx, waiting, answer.FlowLife)
		answer.Interaction = waiting.ID
		answer.Location = p.URL("/interaction/" + waiting.ID.String())
		return err
	})
	if err != nil {
		return p.refuse(ctx, r, err)
	}
	return answer, nil
}

// findSession is the session behind a cookie, nil when there is none.
func (p *Provider) findSession(ctx context.Context, tx *store.Tx, token string) (*session.Session, error) {
	if token == "" {
		return nil, nil //nolint:nilnil // Nobody being signed in is an ordinary answer, not an error.
	}
	s, err := session.Find(ctx, tx, token, p.SessionPolicy())
	if isNotFound(err) {
		return nil, nil //nolint:nilnil // See above.
	}
	if err != nil {
		return nil, err
	}
	return &s, nil
}

// issueCode grants what was asked for and answers with a code, within tx.
func (p *Provider) issueCode(ctx context.Context, tx *store.Tx, r *authRequest, s session.Session) (string, error) {
	for _, scope := range r.scopes() {
		r.fosit.GrantScope(scope)
	}
	for _, resource := range r.fosit.GetRequestedAudience() {
		r.fosit.GrantAudience(resource)
	}
	if r.form.Get("redirect_uri") == "" {
		// The token request need not repeat what was not sent (RFC 6749 section 4.1.3).
		r.fosit.GetRequestForm().Del("redirect_uri")
	}
	g := newGrantSession()
	g.authorizedBy(s, r.form.Get("nonce"))
	response, err := p.oauth2.NewAuthorizeResponse(ctx, r.fosit, g)
	if err != nil {
		return "", err
	}
	_ = tx // The store's statements joined it through ctx.
	return p.respond(r, url.Values{"code": {response.GetCode()}}), nil
}

// respond makes the redirect back to the client. Every response names its issuer (RFC 9207).
func (p *Provider) respond(r *authRequest, params url.Values) string {
	params.Set("iss", p.Issuer)
	if state := r.form.Get("state"); state != "" {
		params.Set("state", state)
	}
	if r.mode == "fragment" {
		return r.redirectURI + "#" + params.Encode()
	}
	return withQuery(r.redirectURI, params)
}

// refuse sends an error back to the client when the request's redirect URI is known to be its own, and otherwise leaves it
// for a page.
func (p *Provider) refuse(ctx context.Context, r *authRequest, err error) (Answer, error) {
	if r == nil {
		return Answer{}, err
	}
	e, internal := explain(err)
	if internal != nil && !cancelled(ctx) {
		p.deps.Log.ErrorContext(ctx, "authorize_failed", "client_id", r.client.ID, "error", internal.Error())
	}
	params := url.Values{"error": {e.Code}}
	if e.Description != "" {
		params.Set("error_description", e.Description)
	}
	return Answer{Location: p.respond(r, params)}, nil
}

// hintClaims are what an id_token_hint says.
type hintClaims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  audience `json:"aud"`
	SessionID string   `json:"sid"`
	subject   uuid.UUID
}

// hint verifies an ID token of ours. One that has expired will do (OpenID Connect Core section 3.1.2.1).
func (p *Provider) hint(token string) (hintClaims, error) {
	payload, err := p.keys.Verify(token, "JWT")
	if err != nil {
		return hintClaims{}, err
	}
	var claims hintClaims
	if err := json.Unmarshal(payload, &claims); err != nil {
		return hintClaims{}, err
	}
	if claims.Issuer != p.Issuer {
		return hintClaims{}, fosite.ErrInvalidRequest
	}
	if claims.subject, err = uuid.Parse(claims.Subject); err != nil {
		return hintClaims{}, err
	}
	return claims, nil
}
