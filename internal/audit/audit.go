// Package audit owns the record of what happened inside a tenant: one row per event, append-only by grant, written in the
// transaction it describes, so that an event is there exactly when its effect is.
//
// It refuses secrets: callers name ids and reasons, never tokens, passwords or codes. Start reading at [Record].
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"parako/internal/dbsqlc"
	"parako/internal/store"
)

// Type says what happened.
type Type string

// The events. docs/audit.md explains each.
const (
	LoginSucceeded      Type = "login.succeeded"
	LoginFailed         Type = "login.failed"
	ConsentGiven        Type = "consent.given"
	ConsentDenied       Type = "consent.denied"
	TokenIssued         Type = "token.issued"
	TokenRefused        Type = "token.refused"
	TokenRevoked        Type = "token.revoked"
	TokenReused         Type = "token.reuse_detected"
	DeviceAuthorized    Type = "device.authorized"
	DeviceDenied        Type = "device.denied"
	UserCodeRefused     Type = "device.code_refused"
	LoggedOut           Type = "logout"
	LogoutUndelivered   Type = "logout.undelivered"
	MailUnsent          Type = "mail.unsent"
	ClientCreated       Type = "client.created"
	ClientChanged       Type = "client.changed"
	ClientDeleted       Type = "client.deleted"
	ClientSecretRotated Type = "client.secret_rotated"
	UserCreated         Type = "user.created"
	UserChanged         Type = "user.changed"
	RegistrationRefused Type = "registration.refused"
	KeyCreated          Type = "key.created"
	KeyPromoted         Type = "key.promoted"
	KeyRetired          Type = "key.retired"
	KeyRevoked          Type = "key.revoked"
	DataKeyRewrapped    Type = "data_key.rewrapped"
	SettingsChanged     Type = "settings.changed"
	APIRequest          Type = "api.request"

	DomainAdded    Type = "domain.added"
	DomainVerified Type = "domain.verified"
	DomainPrimary  Type = "domain.primary_changed"
	DomainFailing  Type = "domain.failing"
	DomainReleased Type = "domain.released"

	BootstrapCreated  Type = "bootstrap.created"
	BootstrapReplaced Type = "bootstrap.replaced"

	RegistrationTokenCreated Type = "registration_token.created"
	RegistrationTokenRevoked Type = "registration_token.revoked"
)

// Status says how it went.
type Status string

// The statuses, as the API filters by them.
const (
	Success Status = "success"
	Failed  Status = "failed"
	Info    Status = "info"
	Warning Status = "warning"
)

// Party is who did something, or what it was done to. The zero value is nobody in particular.
type Party struct{ Type, ID string }

// String shows the party as its type and id.
func (p Party) String() string { return strings.TrimSuffix(p.Type+" "+p.ID, " ") }

// User is a person's account.
func User(id uuid.UUID) Party { return Party{"user", id.String()} }

// Client is an application, by its client_id.
func Client(id string) Party { return Party{"client", id} }

// Operator is whoever runs the deployment, by the name they go by.
func Operator(name string) Party { return Party{"operator", name} }

// System is this process itself, acting on nobody's behalf.
func System() Party { return Party{"system", ""} }

// Thing is anything else that something can be done to: it is a target and never an actor.
func Thing(kind, id string) Party { return Party{kind, id} }

// Origin is where a request came from. The zero value is this process itself.
type Origin struct {
	RequestID string
	// IP is the caller's address as the trusted proxies report it.
	IP        string
	UserAgent string
}

type originKey struct{}

// WithOrigin carries where a request came from to whatever is done on its behalf.
func WithOrigin(ctx context.Context, o Origin) context.Context {
	return context.WithValue(ctx, originKey{}, o)
}

// OriginOf is where the request came from that ctx belongs to; the zero Origin when it belongs to none.
func OriginOf(ctx context.Context) Origin {
	o, _ := ctx.Value(originKey{}).(Origin)
	return o
}

// Event is one thing that happened. Detail holds short facts, such as a reason or a grant type.
type Event struct {
	Type     Type
	Status   Status
	Actor    Party
	Target   Party
	ClientID string
	Origin   Origin
	Detail   map[string]string
}

// What a caller of the product can put into the trail is cut to these many bytes: nobody fills it with a header.
const (
	maxName  = 255
	maxValue = 512
)

// Record adds e to the trail of tx's tenant. It costs no round trip: the row travels with the transaction's next statement
// or its commit, and an error appears there. Texts are made [Printable]: no request can word its header so that what it
// does fails to be recorded.
func Record(ctx context.Context, tx *store.Tx, e Event) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("record %s: %w", e.Type, err)
	}
	detail := make(map[string]string, len(e.Detail))
	for name, value := range e.Detail {
		detail[Printable(name, maxName)] = Printable(value, maxValue)
	}
	document, err := json.Marshal(detail)
	if err != nil {
		return fmt.Errorf("record %s: %w", e.Type, err)
	}
	actor := e.Actor
	if actor.Type == "" {
		actor.Type = "anonymous"
	}
	return tx.Later().AuditAppend(ctx, dbsqlc.AuditAppendParams{
		ID: id, Type: string(e.Type), Status: string(e.Status),
		ActorType: actor.Type, ActorID: Printable(actor.ID, maxName),
		TargetType: e.Target.Type, TargetID: Printable(e.Target.ID, maxName), ClientID: Printable(e.ClientID, maxName),
		RequestID: Printable(e.Origin.RequestID, maxName), IP: Printable(e.Origin.IP, maxName),
		UserAgent: Printable(e.Origin.UserAgent, maxValue), Detail: document,
	})
}

// Printable makes what a caller sent fit to be stored and shown: at most limit bytes, valid UTF-8 cut between characters,
// with a question mark for each control character, each invisible one and each invalid byte. PostgreSQL refuses some of
// these, a terminal obeys others, and a right-to-left override would make a line of the trail read as another.
func Printable(s string, limit int) string {
	var b strings.Builder
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) && !unicode.Is(unicode.Zs, r) {
			r = '?'
		}
		if b.Len()+utf8.RuneLen(r) > limit {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}
