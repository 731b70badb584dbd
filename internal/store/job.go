package store

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"parako/internal/dbsqlc"
)

// Job is a kind of background work. Package jobs does it.
type Job string

// JobLogout tells a client that a session has ended; its row is one of logout_deliveries.
const JobLogout Job = "logout_delivery"

// JobDomain does what is due for a tenant's claim of a host name; its row is one of tenant_domains.
const JobDomain Job = "domain_check"

// What the keys of a tenant need some day; the row is one of signing_keys. Each sleeps until then.
const (
	JobKeyRotation   Job = "key_rotation"   // a key that signs gets a successor
	JobKeyPromotion  Job = "key_promotion"  // a key that is published signs
	JobKeyRetirement Job = "key_retirement" // a key that only verifies is erased, and later removed
)

// JobMail sends a mail; its row is one of mails.
const JobMail Job = "mail"

// JobPurge removes the tenant whose job it is; its row is that of the tenant.
const JobPurge Job = "tenant_purge"

// Enqueue adds a job that is done once the transaction has committed, by whichever instance comes first, and not at all when
// it has not. The queue holds rows of every tenant, so a job is nothing but the id of a row of this tenant that says the rest.
// It costs no round trip, like [Tx.Later].
func (tx *Tx) Enqueue(ctx context.Context, kind Job, id uuid.UUID) error {
	if err := tx.Later().JobEnqueue(ctx, dbsqlc.JobEnqueueParams{Kind: string(kind), TenantID: tx.tenant, ID: id}); err != nil {
		return fmt.Errorf("enqueue %s: %w", kind, err)
	}
	return nil
}

// JobPool is how package jobs, and nobody else, reaches the queue: as parako_platform, because the queue belongs to no tenant.
// What a job leads to is out of that role's reach. ErrNoPlatform: this process was not given the role's login.
func (s *Store) JobPool() (*pgxpool.Pool, error) {
	if s.platform == nil {
		return nil, fmt.Errorf("reach the queue: %w", ErrNoPlatform)
	}
	return s.platform, nil
}
