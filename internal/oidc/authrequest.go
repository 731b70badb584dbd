package oidc

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ory/fosite"

	"parako/internal/problem"
	"parako/internal/session"
)

// Errors that are shown on a page, because it is not known yet that the redirect URI is the client's (checklist A2).
var (
	errUnknownClient = problem.New(problem.Invalid, "unknown_client", "This application is not known here. Go back to it and try again; if that does not help, tell the people who run it.")
	errRedirectURI   = problem.New(problem.Invalid, "invalid_redirect_uri", "The application asked us to send you to an address that is not registered for it. Tell the people who run it.")
	errPushedRequest = problem.New(problem.Invalid, "expired_session", "The application's request is not known here, has expired or was answered already. Go back to the application and start again.")
)

// authRequest is a valid authorization request (OpenID Connect Core section 3.1.2.1).
type authRequest struct {
	// form is the request as it counts: what was pushed or signed, instead of what the browser brought.
	form   url.Values
	client client
	// pushed is the pushed request it came from; nil: none.
	pushed      []byte
	redirectURI string
	// responseType has its words sorted.
	responseType string
	mode         responseMode
	prompts      []string
	maxAge       *time.Duration
	claims       *claimsRequest
	// subject is who the client expects, by a valid id_token_hint or by the claims parameter; empty: anyone.
	subject string
	fosit   fosite.AuthorizeRequester
}

func (r *authRequest) scopes() []string { return r.fosit.GetRequestedScopes() }

func (r *authRequest) prompted(value string) bool { return slices.Contains(r.prompts, value) }

// grantAll grants what is asked for.
func (r *authRequest) grantAll() {
	for _, scope := range r.scopes() {
		r.fosit.GrantScope(scope)
	}
	for _, resource := range r.fosit.GetRequestedAudience() {
		r.fosit.GrantAudience(resource)
	}
}

// asks reports whether the response type has the word, such as code.
func (r *authRequest) asks(word string) bool {
	return slices.Contains(strings.Fields(r.responseType), word)
}

// codeChallenge is the form of an S256 challenge: 43 characters of base64url (RFC 7636 section 4.2).
var codeChallenge = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// parseAuthorize checks a request as far as it can be checked without knowing who is there. The request is nil when the
// error must be shown on a page; otherwise the error goes back to the client.
func (p *Provider) parseAuthorize(ctx context.Context, form url.Values) (*authRequest, error) {
	if len(form["client_id"]) != 1 || len(form["redirect_uri"]) > 1 {
		return nil, errUnknownClient
	}
	who, err := p.client(ctx, form.Get("client_id"))
	if err != nil {
		if cause(err) != nil && !isNotFound(err) {
			return nil, err
		}
		return nil, errUnknownClient
	}
	flat, pushed, err := p.flatten(ctx, who, form)
	if err != nil {
		return p.refusable(form, who), err
	}
	r, err := p.checkAuthorize(ctx, flat, who)
	if r != nil {
		r.pushed = pushed
	}
	return r, err
}

// refusable is as much of a request as its refusal needs, when what the browser brought names a registered redirect URI; nil
// otherwise.
func (p *Provider) refusable(form url.Values, who client) *authRequest {
	r := &authRequest{form: form, client: who, redirectURI: form.Get("redirect_uri")}
	if !registeredRedirect(who.RedirectUris, r.redirectURI) {
		return nil
	}
	r.responseType = canonicalResponseType(form.Get("response_type"))
	r.mode, _ = modeOf(form.Get("response_mode"), r.responseType, p.Settings.Features.OIDC)
	return r
}

// checkAuthorize checks a flat request. Its redirect URI comes first: without it nothing can be sent back.
func (p *Provider) checkAuthorize(ctx context.Context, form url.Values, who client) (*authRequest, error) {
	omitEmpty(form)
	f := p.Settings.Features.OIDC
	r := &authRequest{form: form, client: who, redirectURI: form.Get("redirect_uri"), responseType: canonicalResponseType(form.Get("response_type"))}
	if r.redirectURI == "" && len(who.RedirectUris) == 1 && !slices.Contains(strings.Fields(form.Get("scope")), "openid") {
		r.redirectURI = who.RedirectUris[0]
	}
	if !registeredRedirect(who.RedirectUris, r.redirectURI) {
		return nil, errRedirectURI
	}
	var err error
	if r.mode, err = modeOf(form.Get("response_mode"), r.responseType, f); err != nil {
		return r, err
	}
	if plain, _ := r.mode.split(); plain == modeFormPost && !strings.HasPrefix(r.redirectURI, "http") {
		r.mode, _ = modeOf("", r.responseType, f)
		return r, fosite.ErrInvalidRequest.WithHint("The response_mode form_post needs an http or https redirect_uri.")
	}
	for _, check := range []func() error{
		func() error { return repeated(form) },
		r.unsupported,
		func() error { return p.checkResponseType(r) },
		func() error { return p.checkResources(r) },
		func() error { return p.runFosite(ctx, r) },
		func() error { return p.checkChallenge(r) },
		func() error { return p.checkParameters(r) },
		func() error { return p.checkClaims(r) },
		func() error { return p.checkHint(r) },
		r.checkCreate,
	} {
		if err := check(); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (r *authRequest) unsupported() error {
	if r.form.Has("registration") {
		return fosite.ErrRegistrationNotSupported
	}
	for _, values := range r.form {
		if slices.ContainsFunc(values, func(v string) bool { return !utf8.ValidString(v) || strings.ContainsRune(v, 0) }) {
			return fosite.ErrInvalidRequest.WithHint("A parameter is not valid UTF-8 text.")
		}
	}
	return nil
}

// checkResponseType refuses what the tenant does not serve or the client did not register.
func (p *Provider) checkResponseType(r *authRequest) error {
	if !slices.Contains(servedResponseTypes(p.Settings.Features.OIDC), r.responseType) {
		return fosite.ErrUnsupportedResponseType.WithHint("The response_type is missing or not supported.")
	}
	// none gives nothing away that code would not; it needs no registration of its own.
	if r.responseType != "none" && !slices.Contains(r.client.ResponseTypes, r.responseType) {
		return fosite.ErrUnsupportedResponseType.WithHint("The client is not registered for this response_type.")
	}
	if r.client.fapi() && r.responseType != "code" {
		return fosite.ErrUnsupportedResponseType.WithHint("FAPI 2.0 knows the response_type code only.")
	}
	if r.asks("token") && (r.client.more.DPoPBound || r.client.more.TLSBound) {
		return fosite.ErrUnsupportedResponseType.WithHint("The client's tokens are bound to a key, which it cannot prove to have at this endpoint.")
	}
	if r.asks("id_token") {
		if !slices.Contains(strings.Fields(r.form.Get("scope")), "openid") {
			return fosite.ErrInvalidScope.WithHint("An ID token needs the scope openid.")
		}
		if r.form.Get("nonce") == "" {
			return fosite.ErrInvalidRequest.WithHint("The nonce is missing: an ID token from this endpoint needs one (OpenID Connect Core sections 3.2.2.1 and 3.3.2.11).")
		}
	}
	return nil
}

func (p *Provider) checkResources(r *authRequest) error {
	resources := r.form["resource"]
	if len(resources) > 0 && !p.Settings.Features.OIDC.ResourceIndicators.Enabled {
		return errTarget
	}
	for _, resource := range resources {
		if resource == ManagementResource || !slices.Contains(r.client.AllowedResources, resource) {
			return errTarget
		}
	}
	return nil
}

// runFosite lets fosite check the request: scopes, redirect URI. It sees a copy of the form: with a state, which fosite
// insists on, and with resources as the audience it knows.
func (p *Provider) runFosite(ctx context.Context, r *authRequest) error {
	form := maps.Clone(r.form)
	for _, name := range []string{"prompt", "max_age", "id_token_hint", "response_mode", "audience", "claims", "request", "request_uri"} {
		form.Del(name) // Decided by us, or not ours.
	}
	form.Set("state", "s")
	form.Set("redirect_uri", r.redirectURI)
	form.Set("response_type", r.responseType)
	asking := r.client
	if r.responseType == "none" {
		// fosite knows no such type; for the rest it is like code.
		form.Set("response_type", "code")
		asking.ResponseTypes = append(slices.Clone(asking.ResponseTypes), "code")
	}
	if resources := r.form["resource"]; len(resources) > 0 {
		form["audience"] = resources
		asking.Scope += " " + asking.ResourcesScopes
	}
	synthetic := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/authorize"}, Form: form, Header: http.Header{}}
	engine := fosite.Fosite{Store: known{storage{p}, asking}, Config: p.oauth2.Config}
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

// checkChallenge demands PKCE with S256 (RFC 7636, RFC 9700 section 2.1.1) of whom the tenant says, before anyone is asked to
// sign in. A challenge that nobody asked for is checked as well.
func (p *Provider) checkChallenge(r *authRequest) error {
	if !r.asks("code") {
		return nil
	}
	pkce := p.Settings.Features.OIDC.PKCE
	challenge, method := r.form.Get("code_challenge"), r.form.Get("code_challenge_method")
	switch {
	case challenge == "" && method == "":
		if pkce.Required || pkce.Enabled && (r.client.IsPublic() || r.client.RequirePkce) || r.client.fapi() {
			return fosite.ErrInvalidRequest.WithHint("The code_challenge is missing: PKCE with S256 is required.")
		}
	case challenge == "":
		return fosite.ErrInvalidRequest.WithHint("The code_challenge is missing: PKCE with S256 is required.")
	case method != "S256":
		return fosite.ErrInvalidRequest.WithHint("The code_challenge_method must be S256.")
	case !codeChallenge.MatchString(challenge):
		return fosite.ErrInvalidRequest.WithHint("The code_challenge must be 43 characters of base64url.")
	}
	return nil
}

// promptCreate leads to the registration page (Initiating User Registration via OpenID Connect 1.0).
const promptCreate = "create"

// promptValues are the values of prompt (OpenID Connect Core section 3.1.2.1) that the tenant allows.
func (p *Provider) promptValues() []string {
	values := []string{"none", "login", "consent", "select_account"}
	if p.Settings.Security.Authentication.Signup.Enabled {
		values = append(values, promptCreate)
	}
	return values
}

func (p *Provider) checkParameters(r *authRequest) error {
	r.prompts = strings.Fields(r.form.Get("prompt"))
	for _, prompt := range r.prompts {
		if !slices.Contains(p.promptValues(), prompt) {
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
	if jkt := r.form.Get("dpop_jkt"); jkt != "" && !codeChallenge.MatchString(jkt) {
		return fosite.ErrInvalidRequest.WithHint("The dpop_jkt is not a JWK thumbprint (RFC 9449 section 10).")
	}
	return nil
}

// errUnmet reports an authentication that we cannot give (OpenID Connect Core Unmet Authentication Requirements).
var errUnmet = &fosite.RFC6749Error{
	ErrorField: "unmet_authentication_requirements", DescriptionField: "None of the acr values that are essential to the client can be met.",
	CodeField: http.StatusBadRequest,
}

func (p *Provider) checkClaims(r *authRequest) error {
	text := r.form.Get("claims")
	if text == "" || !p.Settings.Features.OIDC.ClaimsParameter.Enabled {
		return nil
	}
	var err error
	if r.claims, err = parseClaims(text); err != nil {
		return err
	}
	r.claims.keep(func(name string) bool { return p.mayClaim(r.client, name) })
	r.subject = r.claims.subject()
	if wanted := r.claims.acr(); len(wanted) > 0 && !slices.ContainsFunc(wanted, func(acr string) bool { return slices.Contains(acrValues, acr) }) {
		return errUnmet
	}
	return nil
}

// acrValues are the authentication contexts that people can reach.
var acrValues = []string{session.ACRPassword}

func (p *Provider) checkHint(r *authRequest) error {
	hint := r.form.Get("id_token_hint")
	if hint == "" {
		return nil
	}
	claims, err := p.hint(hint)
	if err != nil || !slices.Contains(claims.Audience, r.client.ID) || r.subject != "" && r.subject != claims.Subject {
		return fosite.ErrInvalidRequest.WithHint("The id_token_hint is not an ID token of this issuer for this client, or names another person than the claims parameter.")
	}
	r.subject = claims.Subject
	return nil
}

// checkCreate refuses a request for a new account that must also be a certain one.
func (r *authRequest) checkCreate() error {
	if r.prompted(promptCreate) && r.subject != "" {
		return fosite.ErrInvalidRequest.WithHint("The prompt create asks for a new account, and the id_token_hint or the claims parameter for one there is.")
	}
	return nil
}

// needsLogin reports whether s, who may be nobody, must sign in again for the request. A new account is a login of somebody
// else.
func (p *Provider) needsLogin(r *authRequest, s *session.Session, now time.Time) bool {
	switch {
	case s == nil, r.prompted("login"), r.prompted(promptCreate):
		return true
	case !p.expects(r, s):
		return true
	case r.maxAge == nil:
		return false
	}
	// max_age=0 is prompt=login, also where the clock of the instance that saw the proof goes ahead of ours.
	return *r.maxAge == 0 || now.Sub(s.AuthTime) >= *r.maxAge
}

// expects reports whether the client expects the person of the session, or nobody in particular.
func (p *Provider) expects(r *authRequest, s *session.Session) bool {
	return r.subject == "" || r.subject == p.subjectFor(r.client, s.User.ID)
}

// consentScopes are what a person is asked about: the scopes, and those that single claims belong to.
func (p *Provider) consentScopes(r *authRequest) []string {
	scopes := slices.Clone(r.scopes())
	for _, scope := range p.scopesOfClaims(r.claims) {
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}
