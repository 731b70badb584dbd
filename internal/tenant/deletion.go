package tenant

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"parako/internal/dbsqlc"
	"parako/internal/dbsqlc/control"
	"parako/internal/problem"
	"parako/internal/store"
)

const (
	// DefaultGrace is how long a tenant can be restored unless its removal says otherwise.
	DefaultGrace = 30 * 24 * time.Hour
	// maxGrace keeps a slip from making a removal that never comes.
	maxGrace = 3660 * 24 * time.Hour
	// slugHeld is how long nobody gets the slug of a tenant that was removed: as long as somebody may still trust its issuer.
	slugHeld = 90 * 24 * time.Hour
	// settle is how long a tenant stays, archived, after its last change. A row that is gone tells no poll anything: by then every
	// instance has read that the tenant is archived, or trusts nothing it holds.
	settle = 2 * staleAfter
	// emptyBatch bounds the rows that one transaction removes, and emptyFor one turn of Purge.
	emptyBatch = 1000
	emptyFor   = 15 * time.Second
	// countFor is the patience with counting, and with removing a trail, which goes with its tenant in one statement.
	countFor = 5 * time.Minute
	// PurgeFor is how long a turn of Purge may take: to count, to empty, and to remove the trail, with something to spare.
	PurgeFor = 3 * countFor
)

// What removing a tenant can answer besides what changing one can.
var (
	ErrNotArchived = problem.New(problem.Conflict, "tenant_not_archived", "Only an archived tenant is deleted. Archive it first.")
	ErrDeleting    = problem.New(problem.Conflict, "tenant_deleting", "The tenant is to be deleted. Restore it first.")
	ErrNotDeleting = problem.New(problem.Conflict, "tenant_not_deleting", "The tenant is not to be deleted, or its removal has begun.")
	ErrGrace       = problem.New(problem.Invalid, "grace_range", "A grace period is 0 to 3660 days.")
	ErrNotHeld     = problem.New(problem.NotFound, "slug_not_held", "No deleted tenant holds this slug or host.")
)

// CertificateType is the type of a signed Certificate (RFC 7515 section 4.1.9): no other token of the platform can pass for one.
const CertificateType = "parako-deletion+jwt"

// Certificate says that a tenant was removed, and what there was.
type Certificate struct {
	TenantID    uuid.UUID `json:"tenant_id"`
	Slug        string    `json:"slug"`
	RequestedBy string    `json:"requested_by"`
	RequestedAt time.Time `json:"requested_at"`
	CompletedAt time.Time `json:"completed_at"`
	// Rows are the rows there were, by table, when the removal began.
	Rows map[string]int64 `json:"rows"`
	// DataKeySHA256 is of the wrapped data key that was destroyed, in hexadecimal; empty: the tenant never had one.
	DataKeySHA256 string `json:"data_key_sha256,omitempty"`
	// LastSeal and LastSealHash are the end of the trail; zero: it was never sealed.
	LastSeal     int64  `json:"last_seal,omitempty"`
	LastSealHash string `json:"last_seal_hash,omitempty"`
}

// Deletion asks for the removal of a tenant.
type Deletion struct {
	// Grace is how long it can be restored.
	Grace time.Duration
	// Archive archives a tenant that is not; without it only an archived one is removed.
	Archive bool
	// Revision is the one that whoever asked has seen; nil: any.
	Revision *int64
	// Operator names who asked, for the audit trail and the certificate.
	Operator string
}

// RequestDeletion has a tenant removed with everything it has once the grace period is over. Until then Restore takes it back.
// ErrRevision: the tenant is not at the revision any more.
func RequestDeletion(ctx context.Context, s *store.Store, slug string, d Deletion) (Tenant, error) {
	if d.Grace < 0 || d.Grace > maxGrace {
		return Tenant{}, ErrGrace
	}
	t, err := BySlug(ctx, s, slug)
	switch {
	case err != nil:
		return Tenant{}, err
	case t.Slug == PlatformsSlug:
		return Tenant{}, ErrProtected
	case t.DeleteAfter != nil:
		return Tenant{}, ErrDeleting
	case t.Status != Archived && !d.Archive:
		return Tenant{}, ErrNotArchived
	}
	var row control.Tenant
	err = s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		revision := d.Revision
		if t.Status != Archived {
			_, err := tx.TenantSetStatus(ctx, control.TenantSetStatusParams{ID: t.ID, Status: string(Archived), Was: string(t.Status), Revision: revision})
			revision = nil // It has risen, and nobody else changes the row before the end.
			if err != nil {
				return fmt.Errorf("archive tenant: %w", err)
			}
			if err := record(ctx, tx, t.ID, "tenant.status_changed", d.Operator, map[string]string{"from": string(t.Status), "to": string(Archived)}); err != nil {
				return err
			}
		}
		row, err = tx.TenantDeletionRequest(ctx, control.TenantDeletionRequestParams{ID: t.ID, GraceSeconds: d.Grace.Seconds(), Operator: d.Operator, Revision: revision})
		if err != nil {
			return fmt.Errorf("request deletion of tenant: %w", err)
		}
		after := map[string]string{"delete_after": row.DeleteAfter.UTC().Format(time.RFC3339)}
		if err := record(ctx, tx, t.ID, "tenant.deletion_requested", d.Operator, after); err != nil {
			return err
		}
		// Only a tenant adds jobs of its own. Committed before the row is: a job too many does nothing, one too few would be
		// missed. It waits for the row.
		return s.InTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error { return tx.Enqueue(ctx, store.JobPurge, t.ID) })
	})
	return changed(row, d.Revision, err)
}

// Restore takes the request for a tenant's removal back. The tenant stays archived. revision is what the tenant's must be; nil: any.
// ErrImporting: nobody asked for it, and whoever fills the tenant still has it.
func Restore(ctx context.Context, s *store.Store, slug string, revision *int64, operator string) (Tenant, error) {
	t, err := BySlug(ctx, s, slug)
	if err != nil {
		return Tenant{}, err
	}
	if t.Importing {
		return Tenant{}, ErrImporting
	}
	var row control.Tenant
	err = s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		row, err = tx.TenantDeletionCancel(ctx, control.TenantDeletionCancelParams{ID: t.ID, Revision: revision})
		if err != nil {
			return fmt.Errorf("restore tenant: %w", err)
		}
		return record(ctx, tx, t.ID, "tenant.restored", operator, map[string]string{})
	})
	switch {
	case errors.Is(err, store.ErrNotFound) && revision != nil && t.DeleteAfter != nil:
		return Tenant{}, ErrRevision
	case errors.Is(err, store.ErrNotFound):
		return Tenant{}, ErrNotDeleting
	case err != nil:
		return Tenant{}, err
	}
	return fromControl(row), nil
}

// Release gives the slug or a host of a removed tenant back before its time, so that another tenant can have it. Whoever still trusts
// the issuer of the former will trust the next one.
func Release(ctx context.Context, s *store.Store, name, operator string) error {
	if strings.Contains(name, ".") {
		host, err := hostOf(name)
		if err != nil {
			return err
		}
		name = host
	}
	home, err := EnsurePlatforms(ctx, s)
	if err != nil {
		return err
	}
	err = s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		kind, err := tx.LocatorFree(ctx, control.LocatorFreeParams{Name: name, Holder: home.ID})
		if err != nil {
			return fmt.Errorf("release %s: %w", name, err)
		}
		event := "tenant.slug_released"
		if kind == "host" {
			event = "tenant.host_released"
		}
		return record(ctx, tx, home.ID, event, operator, map[string]string{kind: name})
	})
	if errors.Is(err, store.ErrNotFound) {
		return ErrNotHeld
	}
	return err
}

// Purge does a part of a removal that is due and tells how long to wait before the next; zero: nothing is left to do. Each part can be
// repeated, and stopped anywhere. The end is one transaction: either the tenant is there, or its certificate is, signed by sign.
func Purge(ctx context.Context, s *store.Store, id uuid.UUID, sign func(context.Context, []byte) (string, error)) (time.Duration, error) {
	row, due, err := toRemove(ctx, s, id)
	if err != nil || due != 0 || row.DeleteAfter == nil {
		return due, err
	}
	c := Certificate{TenantID: row.ID, Slug: row.Slug}
	if err := json.Unmarshal(row.Deletion, &c); err != nil {
		return 0, fmt.Errorf("read deletion: %w", err)
	}
	if c.Rows == nil {
		if err := begin(ctx, s, &c); err != nil {
			return 0, err
		}
	}
	emptied, err := empty(ctx, s, id)
	if err != nil || !emptied {
		return time.Second, err
	}
	return 0, finish(ctx, s, c, sign)
}

// toRemove finds the tenant, and how long it still has: until it is due, and all know that it is not served. Without a request, and without a tenant, delete_after is nil.
func toRemove(ctx context.Context, s *store.Store, id uuid.UUID) (control.Tenant, time.Duration, error) {
	var row control.Tenant
	var left time.Duration
	err := s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) (err error) {
		if row, err = tx.TenantToRemove(ctx, id); err != nil || row.DeleteAfter == nil {
			return err
		}
		now, err := tx.Clock(ctx)
		left = max(0, row.DeleteAfter.Sub(now), row.UpdatedAt.Add(settle).Sub(now))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return control.Tenant{}, 0, nil
	}
	return row, left, err
}

// begin notes what there is, before anything of it goes.
func begin(ctx context.Context, s *store.Store, c *Certificate) error {
	err := s.InTenant(ctx, c.TenantID, func(ctx context.Context, tx *store.Tx) error {
		tx.Patient(countFor)
		for {
			if _, err := tx.AuditSeal(ctx, tx.Tenant()); errors.Is(err, store.ErrNotFound) {
				break
			} else if err != nil {
				return fmt.Errorf("seal the trail: %w", err)
			}
		}
		head, err := tx.AuditSealHead(ctx, tx.Tenant())
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("read the last seal: %w", err)
		}
		c.LastSeal, c.LastSealHash = head.SealNo, hex.EncodeToString(head.Hash)
		key, err := tx.DataKeyGet(ctx, tx.Tenant())
		switch {
		case err == nil:
			sum := sha256.Sum256(key.Wrapped)
			c.DataKeySHA256 = hex.EncodeToString(sum[:])
		case !errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("read the data key: %w", err)
		}
		tables, err := tx.Belongings(ctx)
		c.Rows = make(map[string]int64, len(tables))
		for _, t := range tables {
			if c.Rows[t.Name], err = tx.Count(ctx, t); err != nil {
				return err
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	deletion, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		if _, err := tx.TenantDeletionBegin(ctx, control.TenantDeletionBeginParams{ID: c.TenantID, Deletion: deletion}); err != nil {
			return fmt.Errorf("begin deletion: %w", err) // It was restored in this moment, or another instance was first.
		}
		return nil
	})
}

// empty removes rows in the tenant's own transactions, and reports whether none are left that can go like this.
func empty(ctx context.Context, s *store.Store, id uuid.UUID) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, emptyFor)
	defer cancel()
	var tables []store.Belonging
	err := s.ViewTenant(ctx, id, func(ctx context.Context, tx *store.Tx) (err error) {
		tables, err = tx.Belongings(ctx)
		return err
	})
	for _, table := range tables {
		for n := int64(1); n > 0 && err == nil; {
			err = s.InTenant(ctx, id, func(ctx context.Context, tx *store.Tx) (err error) {
				n, err = tx.Empty(ctx, table, emptyBatch)
				return err
			})
		}
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return false, nil // It goes on at the next turn.
	}
	return err == nil, err
}

// finish removes the tenant and leaves the certificate.
func finish(ctx context.Context, s *store.Store, c Certificate, sign func(context.Context, []byte) (string, error)) error {
	home, err := EnsurePlatforms(ctx, s)
	if err != nil {
		return err
	}
	err = s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		now, err := tx.Clock(ctx)
		c.CompletedAt = now.UTC()
		return err
	})
	if err != nil {
		return err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	signed, err := sign(ctx, text)
	if err != nil {
		return fmt.Errorf("sign certificate: %w", err)
	}
	return s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		if err := tx.Patient(ctx, countFor); err != nil {
			return err
		}
		n, err := tx.TenantDelete(ctx, c.TenantID)
		if err != nil {
			return fmt.Errorf("delete tenant: %w", err)
		}
		if n == 0 {
			return nil // Another instance did it.
		}
		err = errors.Join(
			tx.LocatorsDelete(ctx, c.TenantID),
			tx.LocatorHold(ctx, control.LocatorHoldParams{TenantID: c.TenantID, Holder: home.ID, HoldSeconds: slugHeld.Seconds()}),
			tx.JobsForget(ctx, control.JobsForgetParams{TenantID: c.TenantID, But: string(store.JobPurge)}),
		)
		if err != nil {
			return fmt.Errorf("forget tenant: %w", err)
		}
		return recordAbout(ctx, tx, home.ID, c.TenantID, "tenant.deleted", c.RequestedBy, map[string]string{"slug": c.Slug, "certificate": signed})
	})
}

// Certificates are those of a removed tenant, by its id or its slug, the last first: signed, as they stand in the platform's trail.
func Certificates(ctx context.Context, s *store.Store, name string) ([]string, error) {
	if !ValidSlug(name) {
		return nil, nil
	}
	home, err := BySlug(ctx, s, PlatformsSlug)
	if err != nil {
		return nil, err
	}
	var events []dbsqlc.AuditEvent
	err = s.AskTenant(ctx, home.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		events, err = tx.AuditDeletions(ctx, dbsqlc.AuditDeletionsParams{TenantID: tx.Tenant(), Name: name})
		return err
	})
	signed := make([]string, len(events))
	for i, e := range events {
		var detail struct {
			Certificate string `json:"certificate"`
		}
		if err := json.Unmarshal(e.Detail, &detail); err != nil {
			return nil, fmt.Errorf("read event %s: %w", e.ID, err)
		}
		signed[i] = detail.Certificate
	}
	return signed, err
}
