// Package session owns the browser sessions of a tenant: who is signed in, since when and how. A session is a row; the
// cookie holds a random token of which the row keeps the digest, and its id is the sid claim that clients may see.
//
// It refuses to find a session in another tenant than the one the cookie was made for, one that was idle too long, and one
// of a disabled account. Start reading at [Start] and [Find].
package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/directory"
	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/tenant"
)

// Authentication context and method references (OpenID Connect Core section 2, RFC 8176).
const (
	ACRPassword = "urn:pwd"
	AMRPassword = "pwd"
)

// touchEvery is how exact the idle time is: a session is written at most this often.
const touchEvery = time.Minute

// farFuture stands in for "never" where the policy sets no absolute bound.
const farFuture = 365 * 24 * time.Hour

// Policy bounds a session's life, zero being no bound, and says who is told of its end.
type Policy struct {
	Idle, Absolute time.Duration
	// Backchannel has the clients of a session told of its end that registered an address for that (OpenID Connect Back-Channel
	// Logout).
	Backchannel bool
	// BindIP and BindUserAgent end a session that is used from another address, or by a browser of another name, than it began with.
	BindIP, BindUserAgent bool
	// Most is how many sessions a person may have; the oldest end when there is one more. 0: any number.
	Most int
	// Quota says that the tenant has a quota of sessions, which is then looked at before one more begins.
	Quota bool
	// KeepGrants lets what was granted without offline_access outlive the session.
	KeepGrants bool
}

// IdleSince is the moment since which a session must have been used to be live at now.
func (p Policy) IdleSince(now time.Time) time.Time {
	if p.Idle <= 0 {
		return time.Time{}
	}
	return now.Add(-p.Idle)
}

// end is when a session that begins now must end.
func (p Policy) end(now time.Time) time.Time {
	if p.Absolute <= 0 {
		return now.Add(farFuture)
	}
	return now.Add(p.Absolute)
}

// Session is a live session.
type Session struct {
	ID       uuid.UUID
	User     directory.User
	AuthTime time.Time // when the person last proved who they are, in whole seconds
	ACR      string
	AMR      []string
}

// Proof is how the person behind a new session proved who they are, and from where.
type Proof struct {
	User      directory.User
	ACR       string
	AMR       []string
	IP        string
	UserAgent string
}

// maxUserAgent keeps a caller from filling the table with its own header.
const maxUserAgent = 512

// Start begins a session and returns the token for its cookie. Whatever session another person had in the browser must be
// ended by the caller: a token is never reused across a login (session fixation). Beyond the tenant's quota it fails with the problem
// of [tenant.RoomForSession], and tx must not commit.
func Start(ctx context.Context, tx *store.Tx, p Proof, policy Policy) (Session, string, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return Session{}, "", err
	}
	token := secret.Token()
	s := Session{ID: id, User: p.User, AuthTime: tx.Now().UTC().Truncate(time.Second), ACR: p.ACR, AMR: p.AMR}
	err = tx.SessionCreate(ctx, dbsqlc.SessionCreateParams{
		ID: id, TokenDigest: secret.Digest(token), UserID: p.User.ID, AuthTime: s.AuthTime, ACR: p.ACR, AMR: p.AMR,
		IP: p.IP, UserAgent: audit.Printable(p.UserAgent, maxUserAgent), ExpiresAt: policy.end(tx.Now()),
	})
	if err != nil {
		return Session{}, "", fmt.Errorf("start session: %w", err)
	}
	if err := policy.trim(ctx, tx, p.User.ID); err != nil {
		return Session{}, "", err
	}
	if policy.Quota {
		if err := tenant.RoomForSession(ctx, tx, policy.IdleSince(tx.Now())); err != nil {
			return Session{}, "", err
		}
	}
	return s, token, nil
}

// trim ends the oldest sessions of a person who has more than the policy allows. Two logins at once are trimmed one after the
// other: each waits for the person's row.
func (p Policy) trim(ctx context.Context, tx *store.Tx, user uuid.UUID) error {
	if p.Most <= 0 {
		return nil
	}
	if _, err := tx.UserForUpdate(ctx, dbsqlc.UserForUpdateParams{TenantID: tx.Tenant(), ID: user}); err != nil {
		return fmt.Errorf("count sessions: %w", err)
	}
	surplus, err := tx.SessionSurplus(ctx, dbsqlc.SessionSurplusParams{TenantID: tx.Tenant(), UserID: user, Most: int32(p.Most)})
	if err != nil {
		return fmt.Errorf("count sessions: %w", err)
	}
	for _, id := range surplus {
		if _, err := End(ctx, tx, id, p); err != nil {
			return err
		}
	}
	return nil
}

// Renew keeps old through a new login of the same person, who proved it by p: the sid stays, so that a later logout reaches
// what was granted before, and the token and the time of the proof are new. store.ErrNotFound: old has ended.
func Renew(ctx context.Context, tx *store.Tx, old Session, p Proof, policy Policy) (Session, string, error) {
	token := secret.Token()
	s := Session{ID: old.ID, User: p.User, AuthTime: tx.Now().UTC().Truncate(time.Second), ACR: p.ACR, AMR: p.AMR}
	n, err := tx.SessionRenew(ctx, dbsqlc.SessionRenewParams{
		TenantID: tx.Tenant(), ID: old.ID, UserID: p.User.ID, TokenDigest: secret.Digest(token),
		AuthTime: s.AuthTime, ACR: p.ACR, AMR: p.AMR, ExpiresAt: policy.end(tx.Now()),
	})
	if err == nil && n == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return Session{}, "", fmt.Errorf("renew session %s: %w", old.ID, err)
	}
	return s, token, nil
}

// Find is the live session of a cookie's token. store.ErrNotFound: none, or it has ended. In a writable transaction it
// records that the session was used.
func Find(ctx context.Context, tx *store.Tx, token string, policy Policy) (Session, error) {
	row, err := tx.SessionByToken(ctx, dbsqlc.SessionByTokenParams{TenantID: tx.Tenant(), TokenDigest: secret.Digest(token)})
	if err != nil {
		return Session{}, err
	}
	idle := tx.Now().Sub(row.Session.LastSeenAt)
	if policy.Idle > 0 && idle > policy.Idle {
		return Session{}, store.ErrNotFound
	}
	// A policy that was tightened after the login holds at once.
	if policy.Absolute > 0 && tx.Now().Sub(row.Session.AuthTime) > policy.Absolute {
		return Session{}, store.ErrNotFound
	}
	if from := audit.OriginOf(ctx); policy.BindIP && from.IP != row.Session.IP ||
		policy.BindUserAgent && audit.Printable(from.UserAgent, maxUserAgent) != row.Session.UserAgent {
		return Session{}, store.ErrNotFound
	}
	if idle > touchEvery && tx.Writable() {
		if err := tx.Later().SessionTouch(ctx, dbsqlc.SessionTouchParams{TenantID: tx.Tenant(), ID: row.Session.ID}); err != nil {
			return Session{}, err
		}
	}
	return Session{
		ID: row.Session.ID, User: row.User, AuthTime: row.Session.AuthTime.UTC(), ACR: row.Session.ACR, AMR: row.Session.AMR,
	}, nil
}

// Client is a client that was given something in a session and registered an address to learn of its end.
type Client = dbsqlc.SessionClientsRow

// keepDelivery is how long it can be seen that a client was not told.
const keepDelivery = 30 * 24 * time.Hour

// End ends a session and, unless the policy keeps them, every grant that dies with it: those without offline_access. What tells the clients of the session is
// enqueued with it; the clients are returned. Ending it twice is harmless, and nobody is told twice.
func End(ctx context.Context, tx *store.Tx, id uuid.UUID, policy Policy) ([]Client, error) {
	user, err := tx.SessionEnd(ctx, dbsqlc.SessionEndParams{TenantID: tx.Tenant(), ID: id})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("end session %s: %w", id, err)
	}
	clients, err := tx.SessionClients(ctx, dbsqlc.SessionClientsParams{TenantID: tx.Tenant(), SessionID: id})
	if err != nil {
		return nil, fmt.Errorf("list clients of session %s: %w", id, err)
	}
	if !policy.KeepGrants {
		if err := tx.Later().GrantRevokeBySession(ctx, dbsqlc.GrantRevokeBySessionParams{TenantID: tx.Tenant(), SessionID: id}); err != nil {
			return nil, fmt.Errorf("revoke grants of session %s: %w", id, err)
		}
	}
	for _, c := range clients {
		if c.BackchannelURI == "" || !policy.Backchannel {
			continue
		}
		delivery, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		err = errors.Join(
			tx.Later().LogoutDeliveryCreate(ctx, dbsqlc.LogoutDeliveryCreateParams{
				ID: delivery, ClientID: c.ID, UserID: user, SessionID: id, ExpiresAt: tx.Now().Add(keepDelivery),
			}),
			tx.Enqueue(ctx, store.JobLogout, delivery),
		)
		if err != nil {
			return nil, fmt.Errorf("tell clients of session %s: %w", id, err)
		}
	}
	return clients, nil
}

// EndAll ends every session of a person, as End does each.
func EndAll(ctx context.Context, tx *store.Tx, user uuid.UUID, policy Policy) error {
	ids, err := tx.SessionsByUser(ctx, dbsqlc.SessionsByUserParams{TenantID: tx.Tenant(), UserID: user})
	if err != nil {
		return fmt.Errorf("list sessions of user %s: %w", user, err)
	}
	for _, id := range ids {
		if _, err := End(ctx, tx, id, policy); err != nil {
			return err
		}
	}
	return nil
}
