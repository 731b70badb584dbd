package tenant

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"parako/internal/dbsqlc"
	"parako/internal/secret"
	"parako/internal/store"
)

// Vault opens the data keys of tenants with the deployment's master key. The zero value opens nothing.
type Vault struct{ Master secret.MasterKey }

// errNoMasterKey reports that an operator's command needs the key and was not given it.
var errNoMasterKey = errors.New("set ENCRYPTION_KEY to that of the servers")

// Sealer returns what seals and opens the secrets of tx's tenant. It makes the tenant's data key at the first use; of two
// instances that do so at once, one wins and both use its key. tx must be writable then.
func (v Vault) Sealer(ctx context.Context, tx *store.Tx) (*secret.Sealer, error) {
	if v.Master.ID() == "" {
		return nil, errNoMasterKey
	}
	row, err := tx.DataKeyGet(ctx, tx.Tenant())
	if errors.Is(err, store.ErrNotFound) {
		row, err = v.create(ctx, tx)
	}
	if err != nil {
		return nil, fmt.Errorf("load data key: %w", err)
	}
	if row.MasterKeyID != v.Master.ID() {
		return nil, fmt.Errorf("data key is wrapped by master key %s and ENCRYPTION_KEY is %s", row.MasterKeyID, v.Master.ID())
	}
	key, err := v.Master.Unwrap(tx.Tenant(), row.Wrapped)
	if err != nil {
		return nil, fmt.Errorf("unwrap data key: %w", err)
	}
	return secret.NewSealer(tx.Tenant(), key)
}

func (v Vault) create(ctx context.Context, tx *store.Tx) (dbsqlc.DataKey, error) {
	wrapped, err := v.Master.Wrap(tx.Tenant(), secret.NewDataKey())
	if err != nil {
		return dbsqlc.DataKey{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return dbsqlc.DataKey{}, err
	}
	err = tx.DataKeyCreate(ctx, dbsqlc.DataKeyCreateParams{ID: id, MasterKeyID: v.Master.ID(), Wrapped: wrapped})
	if err != nil {
		return dbsqlc.DataKey{}, err
	}
	return tx.DataKeyGet(ctx, tx.Tenant())
}
