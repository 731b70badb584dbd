package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

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

// Answer is what the browser gets: a redirect, or a form that it posts to Location, perhaps to an interaction, whose flow
// secret then goes into a cookie.
type Answer struct {
	Location string
	// Form is posted to Location (OAuth 2.0 Form Post Response Mode); nil: the browser is redirected.
	Form        url.Values
	Interaction uuid.UUID
	Flow        string
	FlowLife    time.Duration
	// BrowserState is what the browser keeps for check_session_iframe; empty: nothing.
	BrowserState string
}

// Authorize answers an authorization request of the browser that holds the session token: with what was asked for when nobody
// must be asked, else with an interaction. An error that is a problem is for a page.
func (p *Provider) Authorize(ctx context.Context, form url.Values, token string, _ audit.Origin) (Answer, error) {
	r, err := p.parseAuthorize(ctx, form)
	if err != nil {
		return p.refuse(ctx, r, err)
	}
	var answer Answer
	err = p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		s, err := p.clientSession(ctx, tx, token)
		if err != nil {
			return err
		}
		waiting := signin.Interaction{
			ClientID: r.client.ID, Request: r.form, LoginRequired: p.needsLogin(r, s, tx.Now()), ConsentPrompt: r.prompted("consent"),
			PushedID: r.pushed,
		}
		step := signin.StepLogin
		if !waiting.LoginRequired {
			waiting.SessionID, waiting.SelectAccount = &s.ID, r.prompted("select_account")
			consented, err := signin.Consented(ctx, tx, s.User.ID, r.client.ID)
			if err != nil {
				return err
			}
			step = waiting.Next(s, r.client.IsInternalClient, p.consentScopes(r), consented)
		}
		switch {
		case step == signin.StepDone:
			answer, err = p.issue(ctx, tx, r, *s)
			return err
		case r.prompted("none") && step == signin.StepLogin:
			return fosite.ErrLoginRequired
		case r.prompted("none"):
			return fosite.ErrConsentRequired
		}
		answer, err = p.wait(ctx, tx, waiting)
		return err
	})
	if err != nil {
		return p.refuse(ctx, r, err)
	}
	return answer, nil
}

// wait begins the interaction in which a person is asked, and sends them there.
func (p *Provider) wait(ctx context.Context, tx *store.Tx, waiting signin.Interaction) (Answer, error) {
	life := settings.Seconds(p.ttl().Interaction)
	waiting, flow, err := signin.Begin(ctx, tx, waiting, life)
	return Answer{
		Location: p.URL("/interaction/" + waiting.ID.String()), Interaction: waiting.ID, Flow: flow, FlowLife: life,
	}, err
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

// clientSession is findSession for what clients want. The account that makes the platform's first administrator gets nothing of it.
func (p *Provider) clientSession(ctx context.Context, tx *store.Tx, token string) (*session.Session, error) {
	s, err := p.findSession(ctx, tx, token)
	if s != nil && s.User.BootstrapUntil != nil {
		return nil, nil //nolint:nilnil // As if nobody were signed in.
	}
	return s, err
}

// issue grants what was asked for and answers with it, within tx. A pushed request is used up by this.
func (p *Provider) issue(ctx context.Context, tx *store.Tx, r *authRequest, s session.Session) (Answer, error) {
	if r.pushed != nil {
		n, err := tx.PushedRequestSpend(ctx, dbsqlc.PushedRequestSpendParams{TenantID: tx.Tenant(), ID: r.pushed})
		if err != nil {
			return Answer{}, err
		}
		if n == 0 {
			return Answer{}, errPushed
		}
	}
	if r.responseType == "none" {
		return p.respondIn(ctx, r, s, url.Values{})
	}
	r.grantAll()
	if r.form.Get("redirect_uri") == "" {
		// The token request need not repeat what was not sent (RFC 6749 section 4.1.3).
		r.fosit.GetRequestForm().Del("redirect_uri")
	}
	g := newGrantSession()
	g.authorizedBy(s, r.form.Get("nonce"))
	g.client, g.claims, g.person = r.client, r.claims, &s.User
	g.bare, g.audience = r.responseType == "id_token", r.fosit.GetGrantedAudience()
	if err := createGrant(ctx, tx, r, g); err != nil {
		return Answer{}, err
	}
	response, err := p.oauth2.NewAuthorizeResponse(ctx, r.fosit, g)
	if err != nil {
		return Answer{}, err
	}
	params := url.Values{}
	for name, values := range response.GetParameters() {
		switch name {
		case "code", "access_token", "expires_in", "id_token":
			params[name] = values
		case "token_type":
			params.Set("token_type", "Bearer")
			params.Set("scope", joinScopes(r.scopes()))
		}
	}
	return p.respondIn(ctx, r, s, params)
}

// respondIn makes the answer to the client and says in which state the session is, where the tenant has that on (OpenID Connect
// Session Management section 2).
func (p *Provider) respondIn(ctx context.Context, r *authRequest, s session.Session, params url.Values) (Answer, error) {
	state := p.BrowserState(&s)
	if state != "" {
		params.Set("session_state", sessionState(r.client.ID, r.redirectURI, state))
	}
	answer, err := p.respond(ctx, r, params)
	answer.BrowserState = state
	return answer, err
}

// createGrant stores what one authorization gives. A code and the tokens belong to it.
func createGrant(ctx context.Context, tx *store.Tx, r *authRequest, g *grantSession) error {
	id, err := uuid.Parse(r.fosit.GetID())
	if err != nil {
		return err
	}
	claims, err := r.claims.document()
	if err != nil {
		return err
	}
	return tx.Later().GrantCreate(ctx, dbsqlc.GrantCreateParams{
		ID: id, ClientID: r.client.ID, UserID: g.subject, SessionID: g.sessionID,
		Scopes: array(r.fosit.GetGrantedScopes()), Resources: array(r.fosit.GetGrantedAudience()),
		AuthTime: g.authTime, ACR: g.acr, AMR: g.amr, Nonce: g.nonce, Claims: claims, ExpiresAt: tx.Now().Add(grantLife),
	})
}

// refuse sends an error back to the client when the request's redirect URI is known to be its own, and otherwise leaves it
// for a page.
func (p *Provider) refuse(ctx context.Context, r *authRequest, err error) (Answer, error) {
	if r == nil {
		return Answer{}, forPage(err)
	}
	e, internal := explain(err)
	if internal != nil && !cancelled(ctx) {
		p.deps.Log.ErrorContext(ctx, "authorize_failed", "client_id", r.client.ID, "error", internal.Error())
		e, _ = explain(problem.Late(ctx, internal))
	}
	params := url.Values{"error": {e.Code}}
	if e.Description != "" {
		params.Set("error_description", e.Description)
	}
	return p.respond(ctx, r, params)
}

// forPage makes an error of the protocol one that a page can show.
func forPage(err error) error {
	if rfc, ok := asRFC(err); ok && rfc == errPushed {
		return errPushedRequest.Because(err)
	}
	if rfc, ok := errors.AsType[*fosite.RFC6749Error](err); ok && rfc.CodeField < http.StatusInternalServerError {
		return problem.New(problem.Invalid, rfc.ErrorField, "The application's request is not valid. Tell the people who run it.").Because(err)
	}
	return err
}

// hintClaims are what an id_token_hint says.
type hintClaims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  audience `json:"aud"`
	SessionID string   `json:"sid"`
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
	if claims.Issuer != p.Issuer || claims.Subject == "" {
		return hintClaims{}, fosite.ErrInvalidRequest
	}
	return claims, nil
}
