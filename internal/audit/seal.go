package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"parako/internal/dbsqlc"
	"parako/internal/store"
)

// Mark is one seal of a tenant's trail. Whoever keeps a mark outside the database can tell later whether anything that
// happened before it was changed since: its hash covers every seal before, and through them every event (docs/audit.md).
type Mark struct {
	// SealNo counts the seals of the tenant from 1.
	SealNo int64
	Hash   []byte
}

// Seal seals what happened in the tenant and is not sealed yet, and returns how many events that were and the last seal it
// made. No events: there was nothing to seal, or another server is about it. PostgreSQL does the work; see audit.seal in
// db/migrations.
func Seal(ctx context.Context, s *store.Store, tenant uuid.UUID) (events int, last Mark, err error) {
	for {
		var made dbsqlc.AuditSealRow
		err := s.InTenant(ctx, tenant, func(ctx context.Context, tx *store.Tx) (err error) {
			made, err = tx.AuditSeal(ctx, tx.Tenant())
			return err
		})
		if errors.Is(err, store.ErrNotFound) {
			return events, last, nil
		}
		if err != nil {
			return events, last, fmt.Errorf("seal audit trail: %w", err)
		}
		events, last = events+int(made.Events), Mark{SealNo: made.SealNo, Hash: made.Hash}
	}
}

// LastMark returns the last seal of the tenant. [store.ErrNotFound]: nothing was sealed yet.
func LastMark(ctx context.Context, tx *store.Tx) (Mark, error) {
	seal, err := tx.AuditSealHead(ctx, tx.Tenant())
	return Mark{SealNo: seal.SealNo, Hash: seal.Hash}, err
}

// Finding is something that does not fit the seals of a tenant's trail.
type Finding struct {
	// SealNo is the seal concerned, 0 for an event under none.
	SealNo int64 `json:"seal_no,omitempty"`
	// EventID is the event concerned; empty when it is the seal itself.
	EventID string `json:"event_id,omitempty"`
	// OccurredAt is what the event says of itself, in RFC 3339; empty when the event is gone.
	OccurredAt string `json:"occurred_at,omitempty"`
	Finding    string `json:"finding"`
}

// verifyPatience is how long one look at a whole trail may take; PostgreSQL checks about 80 000 events a second.
const verifyPatience = 30 * time.Minute

// Verify compares what the tenant's trail holds between two moments with the seals. No findings: nothing that is sealed was
// edited, deleted, inserted or moved since. The zero time means without that bound.
func Verify(ctx context.Context, tx *store.Tx, since, until time.Time) ([]Finding, error) {
	if until.IsZero() {
		until = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	}
	tx.Patient(verifyPatience)
	rows, err := tx.AuditVerify(ctx, dbsqlc.AuditVerifyParams{TenantID: tx.Tenant(), Since: since, Until: until})
	if err != nil {
		return nil, fmt.Errorf("verify audit trail: %w", err)
	}
	found := make([]Finding, len(rows))
	for i, r := range rows {
		found[i] = Finding(r)
	}
	return found, nil
}

// HashOf returns the hash of one of the tenant's seals, to compare with a [Mark] that was kept. [store.ErrNotFound]: there
// is no such seal, so the trail was written anew.
func HashOf(ctx context.Context, tx *store.Tx, sealNo int64) ([]byte, error) {
	return tx.AuditSealHash(ctx, dbsqlc.AuditSealHashParams{TenantID: tx.Tenant(), SealNo: sealNo})
}
