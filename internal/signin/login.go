package signin

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/directory"
	"parako/internal/factor"
	"parako/internal/message"
	"parako/internal/problem"
	"parako/internal/ratelimit"
	"parako/internal/session"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/telemetry"
	"parako/internal/tenant"
)

// What a login can answer. ErrCredentials is the same for an unknown account and a wrong password, and takes the same time
// (checklist U1); ErrDisabled is told only to someone who has proved the password.
var (
	ErrMissing     = problem.New(problem.Invalid, "missing_credentials", "Enter your email address or username and your password.")
	ErrCredentials = problem.New(problem.Unauthorized, "invalid_credentials", "Invalid credentials. Please try again.")
	ErrDisabled    = problem.New(problem.Forbidden, "account_disabled", "This account is disabled.")
	ErrTooMany     = problem.New(problem.TooMany, "too_many_attempts", "Too many failed attempts. Wait a few minutes and try again.")
)

// Throttled is ErrTooMany with the time to wait.
type Throttled struct{ RetryAfter time.Duration }

// Error implements error.
func (*Throttled) Error() string { return ErrTooMany.Code }

// Unwrap makes it an ErrTooMany.
func (*Throttled) Unwrap() error { return ErrTooMany }

// Logins proves people by their password and gives them a session. It is safe for concurrent use.
type Logins struct {
	Store     *store.Store
	Passwords factor.Passwords
	Limiter   *ratelimit.Limiter
	Metrics   *telemetry.Metrics
	// Slack multiplies the limits on failed attempts: 1 in production, more where tests and developers share an address.
	Slack int
}

// Attempt is one try to sign in within an interaction.
type Attempt struct {
	Tenant      uuid.UUID
	Interaction Interaction
	Identifier  string
	Password    string
	// Methods are what people may sign in with, of [settings.SignupMethods].
	Methods []string
	// Token is the session the browser holds already; empty: none.
	Token  string
	Policy session.Policy
	// Tell says that the person is told by mail of a session that is new.
	Tell   bool
	Origin audit.Origin
}

// maxIdentifier is longer than any email address or username.
const maxIdentifier = 320

// Login proves the person and ties a session of theirs to the interaction. It returns the token for the session's cookie.
func (l *Logins) Login(ctx context.Context, a Attempt) (string, error) {
	if a.Identifier == "" || a.Password == "" {
		return "", ErrMissing
	}
	if len(a.Identifier) > maxIdentifier || !utf8.ValidString(a.Identifier) || strings.ContainsRune(a.Identifier, 0) {
		return "", ErrCredentials
	}
	addr := address(a.Origin)
	refund, err := l.admit(
		ctx, a.Tenant,
		charge{ratelimit.LoginIdentifier(), ratelimit.IdentifierFrom(directory.Fold(a.Identifier), addr)},
		charge{ratelimit.LoginIP(), ratelimit.IP(addr)},
		charge{ratelimit.LoginBruteIP(), ratelimit.IP(addr)},
	)
	if err != nil {
		return "", err
	}
	var user directory.User
	var hash string
	var admitted bool
	err = l.Store.AskTenant(ctx, a.Tenant, func(ctx context.Context, tx *store.Tx) (err error) {
		user, hash, err = directory.ForLogin(ctx, tx, a.Identifier)
		admitted = a.Interaction.admits(user, tx.Now())
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", fmt.Errorf("find account: %w", err)
	}
	if !a.calledRightly(user) {
		user, hash = directory.User{}, "" // As if there were none, and in the same time.
	}
	right, upgraded, err := l.Passwords.Verify(ctx, hash, a.Password)
	if err != nil {
		return "", fmt.Errorf("verify password: %w", err)
	}
	switch {
	case !right:
		l.Metrics.LoginAttempt(false, "password")
		return "", l.failed(ctx, a, user, ErrCredentials)
	case !admitted:
		l.Metrics.LoginAttempt(false, "password")
		return "", l.failed(ctx, a, user, ErrDisabled)
	}
	token, err := l.signIn(ctx, a, func(ctx context.Context, tx *store.Tx) (directory.User, error) {
		if upgraded == "" {
			return user, nil
		}
		if err := factor.Put(ctx, tx, user.ID, upgraded); err != nil {
			return directory.User{}, fmt.Errorf("renew password hash: %w", err)
		}
		return user, nil
	})
	if quota := tenant.OverQuota(err); quota != "" {
		refund() // The proof was good.
		l.Metrics.QuotaRefused(quota)
		why, _ := errors.AsType[*problem.Error](err)
		return "", l.failed(ctx, a, user, why)
	}
	if err != nil {
		return "", err
	}
	refund()
	l.Metrics.LoginAttempt(true, "password")
	return token, nil
}

// calledRightly reports whether the account was found by a name that people may sign in with.
func (a Attempt) calledRightly(user directory.User) bool {
	method := settings.SignupUsername
	if user.EmailNorm != nil && *user.EmailNorm == directory.Fold(a.Identifier) {
		method = settings.SignupEmail
	}
	return slices.Contains(a.Methods, method)
}

// charge is what an attempt counts against.
type charge struct {
	limit   ratelimit.Limit
	subject string
}

// admit counts the attempt against its limits before anything is looked at, so that attempts in parallel cannot overtake the
// count. refund takes it back when it turns out well, where only failures count.
func (l *Logins) admit(ctx context.Context, id uuid.UUID, charges ...charge) (refund func(), err error) {
	var charged []charge
	refund = func() {
		for _, c := range charged {
			l.Limiter.Refund(ctx, id, c.limit, c.subject)
		}
	}
	for _, c := range charges {
		c.limit.Burst *= max(l.Slack, 1)
		d := l.Limiter.Allow(ctx, id, c.limit, c.subject)
		if !d.Allowed {
			refund()
			l.Metrics.RateLimited(c.limit.Name)
			return nil, &Throttled{RetryAfter: d.RetryAfter}
		}
		charged = append(charged, c)
	}
	return refund, nil
}

// address is where the attempt comes from. All callers without an address share one count.
func address(from audit.Origin) netip.Addr {
	addr, err := netip.ParseAddr(from.IP)
	if err != nil {
		return netip.IPv6Unspecified()
	}
	return addr
}

// signIn ties a session to the interaction, of the person that who finds or makes in the same transaction.
func (l *Logins) signIn(ctx context.Context, a Attempt, who func(context.Context, *store.Tx) (directory.User, error)) (string, error) {
	var token string
	err := l.Store.InTenant(ctx, a.Tenant, func(ctx context.Context, tx *store.Tx) error {
		user, err := who(ctx, tx)
		if err != nil {
			return err
		}
		s, fresh, err := startOrRenew(ctx, tx, a, session.Proof{
			User: user, ACR: session.ACRPassword, AMR: []string{session.AMRPassword}, IP: a.Origin.IP, UserAgent: a.Origin.UserAgent,
		})
		if err != nil {
			return fmt.Errorf("start session: %w", err)
		}
		token = fresh
		n, err := tx.InteractionSignedIn(ctx, dbsqlc.InteractionSignedInParams{TenantID: tx.Tenant(), ID: a.Interaction.ID, SessionID: &s.ID})
		if err != nil {
			return fmt.Errorf("continue interaction: %w", err)
		}
		if n == 0 {
			return ErrExpired
		}
		if err := tx.Later().UserSignedIn(ctx, dbsqlc.UserSignedInParams{TenantID: tx.Tenant(), ID: user.ID}); err != nil {
			return err
		}
		return audit.Record(ctx, tx, audit.Event{
			Type: audit.LoginSucceeded, Status: audit.Success, Actor: audit.User(user.ID), Target: audit.Thing("session", s.ID.String()),
			ClientID: a.Interaction.ClientID, Origin: a.Origin, Detail: map[string]string{"method": "password"},
		})
	})
	return token, err
}

// startOrRenew keeps the browser's session when the same person proves it again, and ends another person's.
func startOrRenew(ctx context.Context, tx *store.Tx, a Attempt, p session.Proof) (session.Session, string, error) {
	if a.Token == "" {
		return a.start(ctx, tx, p)
	}
	old, err := session.Find(ctx, tx, a.Token, a.Policy)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return session.Session{}, "", err
	case old.User.ID == p.User.ID:
		return session.Renew(ctx, tx, old, p, a.Policy)
	default:
		if _, err := session.End(ctx, tx, old.ID, a.Policy); err != nil {
			return session.Session{}, "", err
		}
	}
	return a.start(ctx, tx, p)
}

// start begins a session, and tells the person if that is wanted.
func (a Attempt) start(ctx context.Context, tx *store.Tx, p session.Proof) (session.Session, string, error) {
	s, token, err := session.Start(ctx, tx, p, a.Policy)
	if err != nil || !a.Tell || !p.User.EmailVerified {
		return s, token, err
	}
	return s, token, message.Queue(ctx, tx, message.Letter{User: p.User.ID, Kind: message.NewSession, Detail: map[string]string{
		"time": tx.Now().UTC().Format("2006-01-02 15:04 MST"), "device": device(p.UserAgent), "ip": p.IP,
	}})
}

// failed records a failed login, with the account when there is one, and returns why. What was typed is not kept: it may be a
// password. A failure that cannot be recorded is an error of its own.
func (l *Logins) failed(ctx context.Context, a Attempt, user directory.User, why *problem.Error) error {
	e := audit.Event{
		Type: audit.LoginFailed, Status: audit.Failed, ClientID: a.Interaction.ClientID, Origin: a.Origin,
		Detail: map[string]string{"method": "password", "reason": why.Code},
	}
	if user.ID != uuid.Nil {
		e.Target = audit.User(user.ID)
	}
	err := l.Store.InTenant(ctx, a.Tenant, func(ctx context.Context, tx *store.Tx) error { return audit.Record(ctx, tx, e) })
	if err != nil {
		return fmt.Errorf("record failed login: %w", err)
	}
	return why
}
