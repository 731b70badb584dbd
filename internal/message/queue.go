package message

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"parako/internal/dbsqlc"
	"parako/internal/store"
)

const (
	// keepLetter is how long a letter is kept that could not be sent.
	keepLetter = 7 * 24 * time.Hour
	// MaxAttempts bounds how often a letter is tried; package jobs spreads the attempts over some four hours.
	MaxAttempts = 10
)

// Letter is what a person is to be told.
type Letter struct {
	ID   uuid.UUID
	User uuid.UUID
	Kind Kind
	// Detail is what the words of the kind want.
	Detail map[string]string
}

// Queue has a letter sent once tx has committed. The address is the one that the person has by then. It costs no round trip.
func Queue(ctx context.Context, tx *store.Tx, l Letter) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make id of letter: %w", err)
	}
	detail, err := json.Marshal(l.Detail)
	if err != nil {
		return fmt.Errorf("encode letter: %w", err)
	}
	err = tx.Later().MailCreate(ctx, dbsqlc.MailCreateParams{ID: id, UserID: l.User, Kind: string(l.Kind), Detail: detail, ExpiresAt: tx.Now().Add(keepLetter)})
	if err != nil {
		return fmt.Errorf("queue letter: %w", err)
	}
	return tx.Enqueue(ctx, store.JobMail, id)
}

// Queued is a letter that waits, and the person it is for.
type Queued struct {
	Letter

	// Email is where the person is reached; empty: there is no address that was proven to be theirs, or the account is disabled.
	Email    string
	Name     string
	Locale   string
	Attempts int
	Written  time.Time
	GivenUp  bool
}

// Load finds a letter. store.ErrNotFound: it was sent, or its person is gone.
func Load(ctx context.Context, tx *store.Tx, id uuid.UUID) (Queued, error) {
	row, err := tx.MailByID(ctx, dbsqlc.MailByIDParams{TenantID: tx.Tenant(), ID: id})
	if err != nil {
		return Queued{}, err
	}
	m := row.Mail
	q := Queued{
		Letter: Letter{ID: m.ID, User: m.UserID, Kind: Kind(m.Kind)}, Name: row.Username, Attempts: int(m.Attempts), Written: m.CreatedAt, GivenUp: m.FailedAt != nil,
	}
	if err := json.Unmarshal(m.Detail, &q.Detail); err != nil {
		return Queued{}, fmt.Errorf("decode letter: %w", err)
	}
	if row.Email != nil && row.EmailVerified && row.AccountEnabled {
		q.Email = *row.Email
	}
	if row.Name != nil {
		q.Name = *row.Name
	}
	if row.Locale != nil {
		q.Locale = *row.Locale
	}
	return q, nil
}

// Done forgets a letter.
func Done(ctx context.Context, tx *store.Tx, id uuid.UUID) error {
	return tx.MailDone(ctx, dbsqlc.MailDoneParams{TenantID: tx.Tenant(), ID: id})
}

// Tried keeps why an attempt failed, and whether it was the last.
func Tried(ctx context.Context, tx *store.Tx, id uuid.UUID, why string, last bool) error {
	_, err := tx.MailTried(ctx, dbsqlc.MailTriedParams{TenantID: tx.Tenant(), ID: id, LastError: why, Last: last})
	return err
}

// Unsent is a letter that was given up.
type Unsent struct {
	ID        uuid.UUID `json:"id"`
	UserID    uuid.UUID `json:"user_id"`
	Kind      Kind      `json:"kind"`
	Attempts  int       `json:"attempts"`
	LastError string    `json:"last_error"`
	CreatedAt time.Time `json:"created_at"`
	FailedAt  time.Time `json:"failed_at"`
}

// Failures lists the letters of tx's tenant that were given up, the latest first, and no more than limit of them.
func Failures(ctx context.Context, tx *store.Tx, limit int32) ([]Unsent, error) {
	rows, err := tx.MailsFailed(ctx, dbsqlc.MailsFailedParams{TenantID: tx.Tenant(), PageSize: limit})
	if err != nil {
		return nil, fmt.Errorf("list unsent mail: %w", err)
	}
	list := make([]Unsent, len(rows))
	for i, r := range rows {
		list[i] = Unsent{
			ID: r.ID, UserID: r.UserID, Kind: Kind(r.Kind), Attempts: int(r.Attempts), LastError: r.LastError, CreatedAt: r.CreatedAt, FailedAt: *r.FailedAt,
		}
	}
	return list, nil
}
