package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/outbound"
	"parako/internal/store"
	"parako/internal/telemetry"
)

// logoutToken is what tells a client that a session has ended (OpenID Connect Back-Channel Logout section 2.4). It has no nonce,
// so that nobody takes it for an ID token.
type logoutToken struct {
	Issuer    string              `json:"iss"`
	Subject   string              `json:"sub"`
	Audience  string              `json:"aud"`
	IssuedAt  int64               `json:"iat"`
	Expiry    int64               `json:"exp"`
	ID        string              `json:"jti"`
	Events    map[string]struct{} `json:"events"`
	SessionID string              `json:"sid"`
}

const (
	// logoutEvent is the member of events by which a logout token is known.
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
	// logoutTokenType is its media type without application/ (section 2.4).
	logoutTokenType = "logout+jwt"
	// logoutTokenLife is as long as the specification recommends at most.
	logoutTokenLife = 2 * time.Minute
	// maxLogoutAttempts bounds how often a client is told; package jobs spreads the attempts over some four hours.
	maxLogoutAttempts = 10
)

// ErrUndelivered reports that a client could not be told yet that a session has ended, and shall be told again.
var ErrUndelivered = errors.New("the logout was not delivered")

// DeliverLogout tells a client that a session has ended: it posts a logout token to the client's backchannel_logout_uri (section
// 2.5). The delivery is forgotten when the client has been told, when it no longer wants to be, or when there is no such
// delivery. When it is refused, or was tried too often, that is recorded and nothing is left to do; otherwise the error is
// [ErrUndelivered]. It is safe to call twice for the same delivery: the client is told twice then, which does no harm.
func (p *Provider) DeliverLogout(ctx context.Context, id uuid.UUID) error {
	var delivery dbsqlc.LogoutDelivery
	var to client
	err := p.deps.Store.ViewTenant(ctx, p.Tenant.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		if delivery, err = tx.LogoutDeliveryByID(ctx, dbsqlc.LogoutDeliveryByIDParams{TenantID: tx.Tenant(), ID: id}); err != nil {
			return err
		}
		to, err = p.clientIn(ctx, tx, delivery.ClientID)
		return err
	})
	switch {
	case isNotFound(err), err == nil && delivery.FailedAt == nil && (to.more.BackchannelLogoutURI == "" || !p.Settings.Features.OIDC.BackchannelLogout.Enabled):
		// It was made already, or nobody wants it any more.
		return p.logoutDelivered(ctx, id, telemetry.LogoutDropped)
	case err != nil:
		return fmt.Errorf("load logout delivery %s: %w", id, err)
	case delivery.FailedAt != nil:
		return nil
	}
	trouble := p.sendLogoutToken(ctx, to, delivery)
	if trouble == nil {
		return p.logoutDelivered(ctx, id, telemetry.LogoutDelivered)
	}
	return p.logoutFailed(ctx, to, delivery, trouble)
}

// sendLogoutToken makes a new token for each attempt: a client may have seen the last one without our hearing of it, and would
// take it for a replay.
func (p *Provider) sendLogoutToken(ctx context.Context, to client, d dbsqlc.LogoutDelivery) error {
	now := p.deps.Now()
	token, err := p.sign(jose.SignatureAlgorithm(to.IDTokenSignedResponseAlg), logoutTokenType, logoutToken{
		Issuer: p.Issuer, Subject: p.subjectFor(to, d.UserID), Audience: to.ID, IssuedAt: now.Unix(), Expiry: now.Add(logoutTokenLife).Unix(),
		ID: uuid.NewString(), Events: map[string]struct{}{logoutEvent: {}}, SessionID: d.SessionID.String(),
	})
	if err != nil {
		return fmt.Errorf("sign logout token: %w", err)
	}
	if token, err = p.encryptFor(ctx, to, to.more.IDTokenEncryptionAlg, to.more.IDTokenEncryptionEnc, token); err != nil {
		return fmt.Errorf("encrypt logout token: %w", err)
	}
	form := url.Values{"logout_token": {token}}
	_, err = p.deps.Outbound.Post(ctx, to.more.BackchannelLogoutURI, "application/x-www-form-urlencoded", []byte(form.Encode()))
	return err
}

// logoutDelivered forgets the delivery.
func (p *Provider) logoutDelivered(ctx context.Context, id uuid.UUID, result telemetry.LogoutResult) error {
	err := p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		return tx.Later().LogoutDeliveryDone(ctx, dbsqlc.LogoutDeliveryDoneParams{TenantID: tx.Tenant(), ID: id})
	})
	if err != nil {
		return fmt.Errorf("forget logout delivery %s: %w", id, err)
	}
	p.deps.Metrics.LogoutDelivery(result)
	return nil
}

// maxLogoutError bounds what is kept of why a delivery failed, in bytes.
const maxLogoutError = 255

// logoutFailed keeps what came of an attempt. A client that answers 400 does not accept the token, and never will (section
// 2.8); an address that may not be called stays so. Whatever else is not a success may pass: a client that follows the
// specification answers nothing else, so that it was not the client who answered (section 2.5).
func (p *Provider) logoutFailed(ctx context.Context, to client, d dbsqlc.LogoutDelivery, trouble error) error {
	var status outbound.StatusError
	refused := errors.As(trouble, &status) && int(status) == http.StatusBadRequest || errors.Is(trouble, outbound.ErrRefused)
	attempt := int(d.Attempts) + 1
	last := refused || attempt >= maxLogoutAttempts
	reason, result := "unreachable", telemetry.LogoutFailed
	switch {
	case refused:
		reason, result = "refused", telemetry.LogoutRefused
	case last:
		result = telemetry.LogoutAbandoned
	}
	text := audit.Printable(trouble.Error(), maxLogoutError)
	err := p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		n, err := tx.LogoutDeliveryTried(ctx, dbsqlc.LogoutDeliveryTriedParams{TenantID: tx.Tenant(), ID: d.ID, LastError: text, Last: last})
		if err != nil || n == 0 || !last {
			return err
		}
		return audit.Record(ctx, tx, audit.Event{
			Type: audit.LogoutUndelivered, Status: audit.Failed, Actor: audit.System(), Target: audit.Thing("session", d.SessionID.String()),
			ClientID: to.ID, Detail: map[string]string{"reason": reason, "attempts": strconv.Itoa(attempt), "error": text},
		})
	})
	if err != nil {
		return fmt.Errorf("record attempt of logout delivery %s: %w", d.ID, err)
	}
	p.deps.Metrics.LogoutDelivery(result)
	p.deps.Log.WarnContext(ctx, "logout_not_delivered", "client_id", to.ID, "attempt", attempt, "last", last, "error", text)
	if last {
		return nil
	}
	return ErrUndelivered
}

// Undelivered is a logout that a client was not told of.
type Undelivered struct {
	ID        uuid.UUID `json:"id"`
	ClientID  string    `json:"client_id"`
	SessionID uuid.UUID `json:"session_id"`
	Attempts  int       `json:"attempts"`
	LastError string    `json:"last_error"`
	EndedAt   time.Time `json:"ended_at"`
	FailedAt  time.Time `json:"failed_at"`
}

// UndeliveredLogouts lists the logouts of tx's tenant that were given up, the latest first, and no more than limit of them.
func UndeliveredLogouts(ctx context.Context, tx *store.Tx, limit int32) ([]Undelivered, error) {
	rows, err := tx.LogoutDeliveriesFailed(ctx, dbsqlc.LogoutDeliveriesFailedParams{TenantID: tx.Tenant(), PageSize: limit})
	if err != nil {
		return nil, fmt.Errorf("list undelivered logouts: %w", err)
	}
	list := make([]Undelivered, len(rows))
	for i, r := range rows {
		list[i] = Undelivered{
			ID: r.ID, ClientID: r.ClientID, SessionID: r.SessionID, Attempts: int(r.Attempts), LastError: r.LastError, EndedAt: r.CreatedAt,
			FailedAt: *r.FailedAt,
		}
	}
	return list, nil
}
