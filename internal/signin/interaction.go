// Package signin is the state machine between an authorization request and its answer: identify, prove, consent. An
// [Interaction] is a request that waits for a person; it belongs to one tenant and to the browser it began in, and it is
// answered once.
//
// It holds no HTTP and no protocol: package oidc begins interactions and answers them, package pages shows them. It refuses
// an interaction from another browser, one that has expired and one that was answered. Start reading at [Interaction.Next].
package signin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/directory"
	"parako/internal/problem"
	"parako/internal/secret"
	"parako/internal/session"
	"parako/internal/store"
)

// Why an interaction cannot go on. ErrExpired: it is another browser's, too old or answered. ErrUnknown: the tenant has none
// of this id, as when it is another tenant's.
var (
	ErrExpired = problem.New(problem.Invalid, "expired_session", "This sign-in has expired or was finished already. Go back to the application and start again.")
	ErrUnknown = problem.New(problem.NotFound, "unknown_session", "This sign-in is not known here. Go back to the application and start again.")
)

// Step is what an interaction needs next.
type Step string

// The steps, in their order.
const (
	StepLogin    Step = "login"
	StepRegister Step = "register" // instead of the login, where the application asks for it
	StepSelect   Step = "select"
	StepConsent  Step = "consent"
	StepDone     Step = "done"
)

// Interaction is a request for access that waits for a person: an authorization request, that of a device, or a visit to one of
// our own pages.
type Interaction struct {
	ID       uuid.UUID
	ClientID string // empty: there is a Target
	// Request is the validated request as the client sent it.
	Request url.Values
	// Target is the page of our own that the person is on the way to, a local path; empty: there is a client.
	Target string
	// LoginRequired asks for a login within this interaction, whoever is signed in (prompt=login, max_age).
	LoginRequired bool
	// SelectAccount asks whether to go on with the account that is signed in (prompt=select_account).
	SelectAccount bool
	// ConsentPrompt asks for consent although it was given before (prompt=consent).
	ConsentPrompt bool
	// SessionID is the session that may answer: the one there was at the start, or that of the login since.
	SessionID *uuid.UUID
	// PushedID is the pushed request (RFC 9126) that the answer uses up; nil: it was not pushed.
	PushedID []byte
	// DeviceID is the device code (RFC 8628) that the answer is for; nil: it goes back through the browser.
	DeviceID []byte
}

// Begin stores an interaction that must be answered within ttl, and returns it with the secret that ties it to a browser.
func Begin(ctx context.Context, tx *store.Tx, i Interaction, ttl time.Duration) (Interaction, string, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return Interaction{}, "", err
	}
	i.ID = id
	flow := secret.Token()
	err = tx.Later().InteractionCreate(ctx, dbsqlc.InteractionCreateParams{
		ID: id, BrowserDigest: secret.Digest(flow), ClientID: optional(i.ClientID), Target: optional(i.Target), Request: i.Request.Encode(),
		LoginRequired: i.LoginRequired, ConsentPrompt: i.ConsentPrompt, SelectAccount: i.SelectAccount,
		SessionID: i.SessionID, PushedID: i.PushedID, DeviceID: i.DeviceID, ExpiresAt: tx.Now().Add(ttl),
	})
	if err != nil {
		return Interaction{}, "", fmt.Errorf("begin interaction: %w", err)
	}
	return i, flow, nil
}

// Load finds an interaction that still waits, for the browser that holds its secret. Its errors are ErrExpired and
// ErrUnknown.
func Load(ctx context.Context, tx *store.Tx, id uuid.UUID, flow string) (Interaction, error) {
	row, err := tx.InteractionByID(ctx, dbsqlc.InteractionByIDParams{TenantID: tx.Tenant(), ID: id, BrowserDigest: secret.Digest(flow)})
	if errors.Is(err, store.ErrNotFound) {
		return Interaction{}, ErrUnknown
	}
	if err != nil {
		return Interaction{}, fmt.Errorf("load interaction: %w", err)
	}
	if !row.Waiting {
		return Interaction{}, ErrExpired
	}
	i := row.Interaction
	request, err := url.ParseQuery(i.Request)
	if err != nil {
		return Interaction{}, fmt.Errorf("parse interaction %s: %w", id, err)
	}
	return Interaction{
		ID: i.ID, ClientID: text(i.ClientID), Target: text(i.Target), Request: request, LoginRequired: i.LoginRequired,
		ConsentPrompt: i.ConsentPrompt, SelectAccount: i.SelectAccount, SessionID: i.SessionID, PushedID: i.PushedID, DeviceID: i.DeviceID,
	}, nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// admits reports whether the account may sign in within the interaction at now. The one that makes the first administrator does
// nothing else, for no client, and not for ever.
func (i Interaction) admits(u directory.User, now time.Time) bool {
	return u.AccountEnabled && (u.BootstrapUntil == nil || i.Target != "" && now.Before(*u.BootstrapUntil))
}

// Finish answers the interaction. It succeeds once; ErrExpired afterwards.
func Finish(ctx context.Context, tx *store.Tx, id uuid.UUID) error {
	n, err := tx.InteractionFinish(ctx, dbsqlc.InteractionFinishParams{TenantID: tx.Tenant(), ID: id})
	if err != nil {
		return fmt.Errorf("finish interaction: %w", err)
	}
	if n == 0 {
		return ErrExpired
	}
	return nil
}

// Choose goes on with the account that is signed in.
func Choose(ctx context.Context, tx *store.Tx, id uuid.UUID) error {
	n, err := tx.InteractionChosen(ctx, dbsqlc.InteractionChosenParams{TenantID: tx.Tenant(), ID: id})
	if err != nil {
		return fmt.Errorf("choose account: %w", err)
	}
	if n == 0 {
		return ErrExpired
	}
	return nil
}

// Switch asks for a login within the interaction whoever is signed in, because the person wants to use another account.
func Switch(ctx context.Context, tx *store.Tx, id uuid.UUID) error {
	n, err := tx.InteractionSwitch(ctx, dbsqlc.InteractionSwitchParams{TenantID: tx.Tenant(), ID: id})
	if err != nil {
		return fmt.Errorf("switch account: %w", err)
	}
	if n == 0 {
		return ErrExpired
	}
	return nil
}

// SignedIn reports whether s may answer the interaction as it stands.
func (i Interaction) SignedIn(s *session.Session) bool {
	return s != nil && !i.LoginRequired && i.SessionID != nil && *i.SessionID == s.ID
}

// Next is the step the interaction needs, given who is signed in (nil: nobody) and what they have agreed to for the client.
// internal clients belong to the tenant itself and ask for no consent.
func (i Interaction) Next(s *session.Session, internal bool, scopes, consented []string) Step {
	switch {
	case !i.SignedIn(s):
		return StepLogin
	case i.SelectAccount:
		return StepSelect
	case NeedsConsent(i.ConsentPrompt, internal, scopes, consented):
		return StepConsent
	}
	return StepDone
}

// NeedsConsent reports whether a person must be asked before the client gets the scopes.
func NeedsConsent(prompt, internal bool, scopes, consented []string) bool {
	if prompt {
		return true
	}
	if internal {
		return false
	}
	return slices.ContainsFunc(scopes, func(s string) bool { return !slices.Contains(consented, s) })
}

// Consented is what a person has agreed to for a client; nothing when they were never asked.
func Consented(ctx context.Context, tx *store.Tx, user uuid.UUID, client string) ([]string, error) {
	scopes, err := tx.ConsentByClient(ctx, dbsqlc.ConsentByClientParams{TenantID: tx.Tenant(), UserID: user, ClientID: client})
	if errors.Is(err, store.ErrNotFound) {
		return []string{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load consent: %w", err)
	}
	return scopes, nil
}

// GiveConsent remembers that the person agreed, and records it.
func GiveConsent(ctx context.Context, tx *store.Tx, s session.Session, client string, scopes []string, from audit.Origin) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	err = tx.Later().ConsentPut(ctx, dbsqlc.ConsentPutParams{ID: id, UserID: s.User.ID, ClientID: client, Scopes: scopes})
	if err != nil {
		return fmt.Errorf("keep consent: %w", err)
	}
	return audit.Record(ctx, tx, consentEvent(audit.ConsentGiven, audit.Success, s, client, from))
}

// DenyConsent records that the person refused.
func DenyConsent(ctx context.Context, tx *store.Tx, s session.Session, client string, from audit.Origin) error {
	return audit.Record(ctx, tx, consentEvent(audit.ConsentDenied, audit.Failed, s, client, from))
}

func consentEvent(t audit.Type, status audit.Status, s session.Session, client string, from audit.Origin) audit.Event {
	return audit.Event{
		Type: t, Status: status, Actor: audit.User(s.User.ID), Target: audit.Client(client), ClientID: client, Origin: from,
	}
}
