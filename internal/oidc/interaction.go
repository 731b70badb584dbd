package oidc

import (
	"context"
	"errors"
	"net/url"

	"github.com/google/uuid"
	"github.com/ory/fosite"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/session"
	"parako/internal/signin"
	"parako/internal/store"
)

// Waiting is an interaction with everything a page needs to show its next step.
type Waiting struct {
	signin.Interaction
	Client dbsqlc.Client // empty when there is a Target
	// Session is who is signed in; nil: nobody that this interaction accepts.
	Session *session.Session
	Step    signin.Step
	// Scopes are what the client asks for.
	Scopes []string
	// RedirectURI is where the answer will go; empty for a device, which fetches it, and for a Target, which is ours.
	RedirectURI string
	// DeviceIP is the address from which the device asked that the answer is for; empty when there is no device, and when the
	// address is not known.
	DeviceIP string
	// MayRegister says whether a new account can answer the interaction: where the tenant lets people register, and the client
	// expects nobody in particular.
	MayRegister bool

	request *authRequest
}

// Waiting loads an interaction for the browser that holds its flow secret and the session token. signin.ErrExpired
// and signin.ErrUnknown: it cannot go on.
func (p *Provider) Waiting(ctx context.Context, id uuid.UUID, flow, token string) (Waiting, error) {
	var w Waiting
	err := p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		var err error
		if w.Interaction, err = signin.Load(ctx, tx, id, flow); err != nil {
			return err
		}
		if w.Target != "" {
			if w.Session, err = p.findSession(ctx, tx, token); err == nil && !w.SignedIn(w.Session) {
				w.Session = nil
			}
			w.Step = w.Next(w.Session, true, nil, nil)
			return err
		}
		if w.Session, err = p.clientSession(ctx, tx, token); err != nil {
			return err
		}
		who, err := p.clientIn(ctx, tx, w.ClientID)
		if isNotFound(err) {
			return errUnknownClient
		}
		if err != nil {
			return err
		}
		w.Client = who.Client
		if !w.SignedIn(w.Session) {
			w.Session = nil
		}
		if w.DeviceID != nil {
			if w.DeviceIP, err = waitingDevice(ctx, tx, w.DeviceID); err != nil {
				return err
			}
		}
		if w.request, err = p.recheck(ctx, w.Interaction, who); err != nil {
			return signin.ErrExpired.Because(err)
		}
		w.request.pushed = w.PushedID
		w.MayRegister = p.Settings.Security.Authentication.Signup.Enabled && w.request.subject == ""
		var consented []string
		if w.Session != nil {
			if consented, err = signin.Consented(ctx, tx, w.Session.User.ID, w.ClientID); err != nil {
				return err
			}
		}
		w.Scopes = p.consentScopes(w.request)
		w.Step = w.Next(w.Session, w.Client.IsInternalClient, w.Scopes, consented)
		if w.Step == signin.StepLogin && w.request.prompted(promptCreate) {
			w.Step = signin.StepRegister
		}
		return nil
	})
	if err != nil {
		return Waiting{}, err
	}
	if w.request != nil {
		w.RedirectURI = w.request.redirectURI
	}
	return w, nil
}

// SignIn begins an interaction that leads to a page of our own instead of a client, whoever is signed in: target is a local path with
// its query. hint is who is expected to sign in; empty: nobody in particular.
func (p *Provider) SignIn(ctx context.Context, target, hint string) (Answer, error) {
	waiting := signin.Interaction{Target: target, LoginRequired: true, Request: url.Values{}}
	if hint != "" {
		waiting.Request.Set("login_hint", hint)
	}
	var answer Answer
	err := p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		answer, err = p.wait(ctx, tx, waiting)
		return err
	})
	return answer, err
}

// recheck is the request that waits. It was valid when it began; what has changed since (the client's redirect URIs, its scopes)
// counts.
func (p *Provider) recheck(ctx context.Context, i signin.Interaction, who client) (*authRequest, error) {
	if i.DeviceID != nil {
		return p.checkDevice(i.Request, who)
	}
	return p.checkAuthorize(ctx, i.Request, who)
}

// Complete answers the interaction with what was asked for. agreed says that the person has just consented; it is needed when
// the step is consent, and ignored otherwise.
func (p *Provider) Complete(ctx context.Context, w Waiting, agreed bool, from audit.Origin) (Answer, error) {
	if w.Session == nil || (w.Step == signin.StepConsent && !agreed) || w.Step == signin.StepSelect {
		return Answer{}, signin.ErrExpired
	}
	var answer Answer
	err := p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		err := signin.Finish(ctx, tx, w.ID)
		if err != nil || w.Target != "" {
			answer.Location = w.Target
			return err
		}
		if !p.expects(w.request, w.Session) {
			// Someone else signed in than the client expects (OpenID Connect Core section 3.1.2.1, id_token_hint).
			answer, err = p.respond(ctx, w.request, errorParams(fosite.ErrLoginRequired))
			return err
		}
		if w.Step == signin.StepConsent {
			if err := signin.GiveConsent(ctx, tx, *w.Session, w.ClientID, w.Scopes, from); err != nil {
				return err
			}
		}
		if w.DeviceID != nil {
			answer, err = p.admitDevice(ctx, tx, w, from)
			return err
		}
		answer, err = p.issue(ctx, tx, w.request, *w.Session)
		return err
	})
	if _, refused := errors.AsType[*fosite.RFC6749Error](err); refused {
		return p.refuse(ctx, w.request, err)
	}
	return answer, err
}

// Deny answers the interaction with access_denied. It needs no session: whoever was asked to sign in may refuse.
func (p *Provider) Deny(ctx context.Context, w Waiting, from audit.Origin) (Answer, error) {
	var answer Answer
	err := p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		err := signin.Finish(ctx, tx, w.ID)
		if err == nil && w.Session != nil && w.Target == "" {
			err = signin.DenyConsent(ctx, tx, *w.Session, w.ClientID, from)
		}
		if err == nil && w.DeviceID != nil {
			answer, err = p.refuseDevice(ctx, tx, w, from)
		}
		return err
	})
	if w.Target != "" {
		answer.Location = "/"
	}
	if err != nil || w.DeviceID != nil || w.Target != "" {
		return answer, err
	}
	return p.respond(ctx, w.request, errorParams(fosite.ErrAccessDenied.WithHint("End-User aborted interaction")))
}

// Choose goes on with the account that is signed in (prompt=select_account).
func (p *Provider) Choose(ctx context.Context, w Waiting) error {
	return p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error { return signin.Choose(ctx, tx, w.ID) })
}

// Switch lets the person answer the interaction with another account than the one that is signed in.
func (p *Provider) Switch(ctx context.Context, w Waiting) error {
	return p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error { return signin.Switch(ctx, tx, w.ID) })
}

func errorParams(err error) url.Values {
	e, _ := explain(err)
	return url.Values{"error": {e.Code}, "error_description": {e.Description}}
}

func isNotFound(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, fosite.ErrNotFound)
}
