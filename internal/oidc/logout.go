package oidc

import (
	"context"
	"net/url"
	"slices"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/problem"
	"parako/internal/session"
	"parako/internal/store"
)

// Errors of RP-initiated logout, shown on a page: a redirect could be an attack.
var (
	errLogoutRedirect = problem.New(problem.Invalid, "invalid_redirect_uri", "The application asked us to send you to an address that is not registered for it. Tell the people who run it.")
	errLogoutHint     = problem.New(problem.Invalid, "invalid_request", "The application's request to sign you out is not valid. Tell the people who run it.")
)

// LogoutRequest is a valid request to end the session (OpenID Connect RP-Initiated Logout section 2).
type LogoutRequest struct {
	// ClientID and ClientName are the application that asks; empty: it is not known.
	ClientID   string
	ClientName string
	// Location is where to go afterwards, with the request's state; empty: nowhere.
	Location string
	// Fields are the request's parameters, to be asked for again.
	Fields url.Values
}

// logoutParameters are the parameters of a logout request that mean something to us.
var logoutParameters = []string{"id_token_hint", "logout_hint", "client_id", "post_logout_redirect_uri", "state", "ui_locales"}

// ParseLogout checks a request to end the session. An error is for a page. Whoever is signed in is asked in every case, so that
// nothing depends on the person or the session that a hint names. Where the tenant has turned RP-initiated logout off, people can
// sign out all the same, and what an application sends along means nothing.
func (p *Provider) ParseLogout(ctx context.Context, form url.Values) (LogoutRequest, error) {
	r := LogoutRequest{Fields: url.Values{}}
	if !p.Settings.Features.OIDC.RPInitiatedLogout.Enabled {
		form = url.Values{"ui_locales": form["ui_locales"]}
	}
	for _, name := range logoutParameters {
		if len(form[name]) > 1 {
			return LogoutRequest{}, errLogoutHint
		}
		if value := form.Get(name); value != "" {
			r.Fields.Set(name, value)
		}
	}
	clientID := form.Get("client_id")
	if token := form.Get("id_token_hint"); token != "" {
		hint, err := p.hint(token)
		if err == nil && clientID == "" && len(hint.Audience) == 1 {
			clientID = hint.Audience[0]
		}
		// An ID token of several clients does not say which of them asks (section 2).
		if err != nil || !slices.Contains(hint.Audience, clientID) {
			return LogoutRequest{}, errLogoutHint.Because(err)
		}
	}
	target := form.Get("post_logout_redirect_uri")
	if clientID == "" {
		if target != "" {
			// Without a client nobody vouches for the address.
			return LogoutRequest{}, errLogoutRedirect
		}
		return r, nil
	}
	row, err := p.client(ctx, clientID)
	if isNotFound(err) {
		return LogoutRequest{}, errLogoutHint
	}
	if err != nil {
		return LogoutRequest{}, err
	}
	r.ClientID, r.ClientName = row.ID, row.ClientName
	if target == "" {
		return r, nil
	}
	if !slices.Contains(row.PostLogoutRedirectUris, target) {
		return LogoutRequest{}, errLogoutRedirect
	}
	params := url.Values{}
	if state := form.Get("state"); state != "" {
		params.Set("state", state)
	}
	r.Location = withQuery(target, params)
	return r, nil
}

// Session is who is signed in with the cookie's token; nil: nobody.
func (p *Provider) Session(ctx context.Context, token string) (*session.Session, error) {
	if token == "" {
		return nil, nil //nolint:nilnil // Nobody being signed in is an ordinary answer, not an error.
	}
	var s *session.Session
	err := p.askTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		s, err = p.findSession(ctx, tx, token)
		return err
	})
	return s, err
}

// Logout ends the session of the cookie's token and what dies with it. It returns the addresses that the browser has to load in
// frames, so that the applications behind them learn of it (OpenID Connect Front-Channel Logout section 3).
func (p *Provider) Logout(ctx context.Context, token, clientID string, from audit.Origin) (frames []string, err error) {
	err = p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		s, err := p.findSession(ctx, tx, token)
		if err != nil || s == nil {
			return err
		}
		clients, err := session.End(ctx, tx, s.ID, p.SessionPolicy())
		if err != nil {
			return err
		}
		frames = p.frames(clients, s.ID)
		return audit.Record(ctx, tx, audit.Event{
			Type: audit.LoggedOut, Status: audit.Success, Actor: audit.User(s.User.ID), Target: audit.Thing("session", s.ID.String()),
			ClientID: clientID, Origin: from,
		})
	})
	return frames, err
}

// frames are the addresses of the clients that want to learn of the end of a session in the browser.
func (p *Provider) frames(clients []session.Client, id uuid.UUID) []string {
	if !p.Settings.Features.OIDC.FrontchannelLogout.Enabled {
		return nil
	}
	var frames []string
	for _, c := range clients {
		if c.FrontchannelURI == "" {
			continue
		}
		params := url.Values{}
		if c.FrontchannelSession {
			params = url.Values{"iss": {p.Issuer}, "sid": {id.String()}}
		}
		frames = append(frames, withQuery(c.FrontchannelURI, params))
	}
	return frames
}
