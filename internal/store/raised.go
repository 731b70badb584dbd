package store

import (
	"context"

	"github.com/google/uuid"

	"parako/internal/dbsqlc/control"
)

// raised remembers which revisions a transaction raises, for [Options.Changed]. Every query that raises one has its method in
// this file in place of the generated one, so that nobody who changes a tenant has to think of the other instances; a test
// finds a query without.
type raised struct {
	hear func(ctx context.Context, tenant uuid.UUID, revision int64)
	all  []revision
}

type revision struct {
	tenant uuid.UUID
	number int64
}

// by notes the result of a query that raises the tenant's revision.
func (r *raised) by(tenant uuid.UUID, number int64, err error) (int64, error) {
	if err == nil {
		r.all = append(r.all, revision{tenant, number})
	}
	return number, err
}

// tell announces what a transaction has raised that committed. Whoever asked for it may have gone away meanwhile.
func (r *raised) tell(ctx context.Context) {
	for _, one := range r.all {
		r.hear(context.WithoutCancel(ctx), one.tenant, one.number)
	}
}

// commit ends the transaction. Only what has committed is announced.
func (tx *Tx) commit(ctx context.Context) error {
	if err := tx.talk.commit(ctx); err != nil {
		return err
	}
	tx.raised.tell(ctx)
	return nil
}

// TenantTouch makes every server instance reload what it holds of the tenant, once the transaction has committed.
func (tx *Tx) TenantTouch(ctx context.Context, tenant uuid.UUID) (int64, error) {
	number, err := tx.Queries.TenantTouch(ctx, tenant)
	return tx.raised.by(tenant, number, err)
}

// row is by for a query that returns the tenant.
func (r *raised) row(t control.Tenant, err error) (control.Tenant, error) {
	_, err = r.by(t.ID, t.Revision, err)
	return t, err
}

// TenantSetStatus changes the status, ends what was issued before, and makes every server instance notice, once the transaction
// has committed.
func (tx *PlatformTx) TenantSetStatus(ctx context.Context, p control.TenantSetStatusParams) (control.Tenant, error) {
	return tx.raised.row(tx.Queries.TenantSetStatus(ctx, p))
}

// TenantUpdate changes what a tenant is called, and is announced like the others.
func (tx *PlatformTx) TenantUpdate(ctx context.Context, p control.TenantUpdateParams) (control.Tenant, error) {
	return tx.raised.row(tx.Queries.TenantUpdate(ctx, p))
}

// TenantSetQuota bounds a tenant, and is announced like the others.
func (tx *PlatformTx) TenantSetQuota(ctx context.Context, p control.TenantSetQuotaParams) (control.Tenant, error) {
	return tx.raised.row(tx.Queries.TenantSetQuota(ctx, p))
}

// TenantDeletionRequest has a tenant removed later, and is announced like the others.
func (tx *PlatformTx) TenantDeletionRequest(ctx context.Context, p control.TenantDeletionRequestParams) (control.Tenant, error) {
	return tx.raised.row(tx.Queries.TenantDeletionRequest(ctx, p))
}

// TenantDeletionCancel lets a tenant stay, and is announced like the others.
func (tx *PlatformTx) TenantDeletionCancel(ctx context.Context, p control.TenantDeletionCancelParams) (control.Tenant, error) {
	return tx.raised.row(tx.Queries.TenantDeletionCancel(ctx, p))
}

// TenantCreate adds a tenant and has every server instance forget that its names led nowhere, once the transaction has
// committed.
func (tx *PlatformTx) TenantCreate(ctx context.Context, p control.TenantCreateParams) error {
	const first = 1
	_, err := tx.raised.by(p.ID, first, tx.Queries.TenantCreate(ctx, p))
	return err
}

// TenantProvision adds a tenant that is about to be filled, and is announced like TenantCreate.
func (tx *PlatformTx) TenantProvision(ctx context.Context, p control.TenantProvisionParams) error {
	const first = 1
	_, err := tx.raised.by(p.ID, first, tx.Queries.TenantProvision(ctx, p))
	return err
}

// TenantProvisioned has a tenant served that was filled, and is announced like the others.
func (tx *PlatformTx) TenantProvisioned(ctx context.Context, id uuid.UUID) (control.Tenant, error) {
	return tx.raised.row(tx.Queries.TenantProvisioned(ctx, id))
}

// TenantDomainsChanged makes every server instance notice which hosts lead to the tenant, once the transaction has committed.
func (tx *PlatformTx) TenantDomainsChanged(ctx context.Context, p control.TenantDomainsChangedParams) (int64, error) {
	number, err := tx.Queries.TenantDomainsChanged(ctx, p)
	return tx.raised.by(p.ID, number, err)
}

// TenantSetDomain moves the tenant's issuer and makes every server instance notice, once the transaction has committed.
func (tx *PlatformTx) TenantSetDomain(ctx context.Context, p control.TenantSetDomainParams) (control.Tenant, error) {
	return tx.raised.row(tx.Queries.TenantSetDomain(ctx, p))
}
