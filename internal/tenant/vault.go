package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"parako/internal/dbsqlc"
	"parako/internal/secret"
	"parako/internal/store"
)

// Vault opens the data keys of tenants with the deployment's master key. The zero value opens nothing.
type Vault struct {
	// Master wraps the data keys of new tenants.
	Master secret.MasterKey
	// Previous opens what Master does not, while one replaces the other. The zero value: there is none.
	Previous secret.MasterKey
}

// NewVault reads the keys as they are written in ENCRYPTION_KEY and ENCRYPTION_KEY_PREVIOUS, of which the latter may be empty.
// An error names the variable and no part of its value.
func NewVault(master, previous secret.String) (Vault, error) {
	var v Vault
	var err error
	if v.Master, err = secret.ParseMasterKey(master.Reveal()); err != nil {
		return Vault{}, fmt.Errorf("ENCRYPTION_KEY: %w", err)
	}
	if previous.Empty() {
		return v, nil
	}
	if v.Previous, err = secret.ParseMasterKey(previous.Reveal()); err != nil {
		return Vault{}, fmt.Errorf("ENCRYPTION_KEY_PREVIOUS: %w", err)
	}
	if v.Previous.ID() == v.Master.ID() {
		return Vault{}, errors.New("ENCRYPTION_KEY_PREVIOUS is the same as ENCRYPTION_KEY: remove it")
	}
	return v, nil
}

// Keys are the master keys in use, the one that new things are made with first.
func (v Vault) Keys() []secret.MasterKey {
	keys := []secret.MasterKey{v.Master}
	if v.Previous.ID() != "" {
		keys = append(keys, v.Previous)
	}
	return keys
}

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
	return v.sealer(tx.Tenant(), row)
}

// sealer makes the Sealer of a data key, with what the tenant has inherited.
func (v Vault) sealer(id uuid.UUID, row dbsqlc.DataKey) (*secret.Sealer, error) {
	key, err := v.unwrap(id, row)
	if err != nil {
		return nil, err
	}
	sealer, err := secret.NewSealer(id, key)
	if err != nil || row.Inherited == nil {
		return sealer, err
	}
	document, err := sealer.Open("data_keys", "inherited", row.ID.String(), row.Inherited)
	if err != nil {
		return nil, fmt.Errorf("open inherited keys: %w", err)
	}
	var keys map[string][]byte
	if err := json.Unmarshal(document, &keys); err != nil {
		return nil, fmt.Errorf("read inherited keys: %w", err)
	}
	return sealer.Inheriting(keys), nil
}

// lasting are the purposes of the derived keys without which a tenant that moves would not be the same: that of pairwise subjects, and
// that of tokens that live until somebody takes them back, with which clients are registered and administer themselves.
var lasting = []string{"pairwise-v1", "oauth-hmac-v1"}

// Lasting returns the derived keys that a tenant takes along when it moves, by purpose. They are as secret as the data key.
func Lasting(sealer *secret.Sealer) map[string][]byte {
	keys := make(map[string][]byte, len(lasting))
	for _, purpose := range lasting {
		keys[purpose] = sealer.Derive(purpose, 32)
	}
	return keys
}

// Inherit makes the data key of a tenant that is being filled, and keeps for it the derived keys that it had elsewhere. Without any, it
// is Sealer.
func (v Vault) Inherit(ctx context.Context, tx *store.Tx, keys map[string][]byte) (*secret.Sealer, error) {
	sealer, err := v.Sealer(ctx, tx)
	if err != nil || len(keys) == 0 {
		return sealer, err
	}
	row, err := tx.DataKeyGet(ctx, tx.Tenant())
	if err != nil {
		return nil, fmt.Errorf("load data key: %w", err)
	}
	document, err := json.Marshal(keys)
	if err != nil {
		return nil, err
	}
	sealed, err := sealer.Seal("data_keys", "inherited", row.ID.String(), document)
	if err != nil {
		return nil, err
	}
	n, err := tx.DataKeyInherit(ctx, dbsqlc.DataKeyInheritParams{TenantID: tx.Tenant(), ID: row.ID, Inherited: sealed})
	if err == nil && n != 1 {
		err = errors.New("it has inherited before")
	}
	if err != nil {
		return nil, fmt.Errorf("keep inherited keys: %w", err)
	}
	return sealer.Inheriting(keys), nil
}

// Present is Sealer for a transaction that only reads: nothing is made, and without a data key there is nothing that is sealed.
// store.ErrNotFound: the tenant has none.
func (v Vault) Present(ctx context.Context, tx *store.Tx) (*secret.Sealer, error) {
	if v.Master.ID() == "" {
		return nil, errNoMasterKey
	}
	row, err := tx.DataKeyGet(ctx, tx.Tenant())
	if err != nil {
		return nil, fmt.Errorf("load data key: %w", err)
	}
	return v.sealer(tx.Tenant(), row)
}

// unwrap opens a data key with the master key that wrapped it.
func (v Vault) unwrap(id uuid.UUID, row dbsqlc.DataKey) ([]byte, error) {
	master := v.Master
	switch {
	case row.MasterKeyID == v.Master.ID():
	case v.Previous.ID() == "":
		return nil, fmt.Errorf("data key is wrapped by master key %s and ENCRYPTION_KEY is %s", row.MasterKeyID, v.Master.ID())
	case row.MasterKeyID == v.Previous.ID():
		master = v.Previous
	default:
		return nil, fmt.Errorf("data key is wrapped by master key %s, ENCRYPTION_KEY is %s and ENCRYPTION_KEY_PREVIOUS is %s",
			row.MasterKeyID, v.Master.ID(), v.Previous.ID())
	}
	key, err := master.Unwrap(id, row.Wrapped)
	if err != nil {
		return nil, fmt.Errorf("unwrap data key: %w", err)
	}
	return key, nil
}

// Rewrap wraps the data key of tx's tenant with v.Master when v.Previous wraps it, and returns the ID of the key that wrapped
// it before. Nothing is returned when there was nothing to do: the tenant has no data key, v.Master wraps it already, or
// another run of the command was faster. The data key itself stays, and with it what it seals and what is derived from it.
func (v Vault) Rewrap(ctx context.Context, tx *store.Tx) (string, error) {
	if v.Master.ID() == "" {
		return "", errNoMasterKey
	}
	row, err := tx.DataKeyGet(ctx, tx.Tenant())
	if errors.Is(err, store.ErrNotFound) || err == nil && row.MasterKeyID == v.Master.ID() {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("load data key: %w", err)
	}
	key, err := v.unwrap(tx.Tenant(), row)
	if err != nil {
		return "", err
	}
	wrapped, err := v.Master.Wrap(tx.Tenant(), key)
	if err != nil {
		return "", err
	}
	n, err := tx.DataKeyRewrap(ctx, dbsqlc.DataKeyRewrapParams{
		TenantID: tx.Tenant(), Before: row.MasterKeyID, MasterKeyID: v.Master.ID(), Wrapped: wrapped,
	})
	if err != nil || n == 0 {
		return "", err
	}
	return row.MasterKeyID, nil
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
