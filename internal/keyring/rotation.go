package keyring

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/problem"
	"parako/internal/store"
	"parako/internal/tenant"
)

// The states of a key. An active one signs once it is promoted and is only published before; an expiring one verifies, and opens
// what was encrypted for it; a retired one does nothing.
const (
	Active   = "active"
	Expiring = "expiring"
	Retired  = "retired"
)

// CacheTime is how long others may keep the published set.
const CacheTime = 5 * time.Minute

const (
	// noticed is how long it takes at most until every instance publishes what was committed, with the clocks' differences.
	noticed = 10 * time.Second
	// keepRetired is how long a retired key can be seen, and verifies seals that were exported ([Past]).
	keepRetired = 366 * 24 * time.Hour
	// lookAgain bounds how long a job sleeps: by then a shorter interval counts also for the keys of today.
	lookAgain = 7 * 24 * time.Hour
	// maxExpiring bounds how many keys of an algorithm are published beside the signer and its successor.
	maxExpiring = 8
)

// Policy says when keys are replaced.
type Policy struct {
	// Interval is how long a key signs.
	Interval time.Duration
	// PromotionDelay is how long a new key is published before it signs; never less than others keep the published set.
	PromotionDelay time.Duration
	// Overlap is how long a key is needed after it has stopped signing: what it signed last has expired by then everywhere.
	Overlap time.Duration
}

// DefaultPolicy is what holds where nothing else is said.
var DefaultPolicy = Policy{Interval: 90 * 24 * time.Hour, Overlap: 2 * time.Hour}

func (p Policy) delay() time.Duration { return max(p.PromotionDelay, CacheTime+noticed) }

func (p Policy) overlapSeconds() int32 { return int32((p.Overlap + CacheTime + noticed) / time.Second) }

// What changing keys can answer.
var (
	ErrUnknownKey = problem.New(problem.NotFound, "key_unknown", "The tenant has no such key.")
	ErrNoNextKey  = problem.New(problem.Conflict, "key_not_pending", "No key of this algorithm waits to sign. Rotate first.")
	ErrTooEarly   = problem.New(problem.Conflict, "key_too_early", "The next key has not been published for long enough: others may not know it yet.")
	ErrRetiredKey = problem.New(problem.Conflict, "key_retired", "The key is retired already.")
	ErrManyKeys   = problem.New(problem.Conflict, "key_too_many", "Too many keys of this algorithm are still needed to verify. Try again when some have been retired.")
)

// Key is a key of a tenant as everybody may see it.
type Key struct {
	KID       string          `json:"kid"`
	Alg       string          `json:"alg"`
	Use       string          `json:"use"`
	Status    string          `json:"status"`
	Promoted  bool            `json:"promoted"`
	Revoked   bool            `json:"revoked,omitempty"`
	PublicKey json.RawMessage `json:"publicKey"`
	CreatedAt time.Time       `json:"createdAt"`
	// PromoteAt is when the key may sign, PromotedAt when it did; RotatedAt when it stopped, VerifyUntil when nothing it made is
	// needed any more, RetiredAt when it was erased.
	PromoteAt   *time.Time `json:"promoteAt,omitempty"`
	PromotedAt  *time.Time `json:"promotedAt,omitempty"`
	RotatedAt   *time.Time `json:"rotatedAt,omitempty"`
	VerifyUntil *time.Time `json:"verifyUntil,omitempty"`
	RetiredAt   *time.Time `json:"retiredAt,omitempty"`
}

func keyOf(r dbsqlc.SigningKey) Key {
	use := "sig"
	if encrypts(r.Alg) {
		use = "enc"
	}
	return Key{
		KID: r.Kid, Alg: r.Alg, Use: use, Status: r.Status, Promoted: r.Promoted, Revoked: r.Revoked, PublicKey: r.PublicJWK, CreatedAt: r.CreatedAt,
		PromoteAt: r.PromoteAt, PromotedAt: r.PromotedAt, RotatedAt: r.RotatedAt, VerifyUntil: r.VerifyUntil, RetiredAt: r.RetiredAt,
	}
}

// encrypts tells keys for encryption from those that sign.
func encrypts(alg string) bool {
	return slices.ContainsFunc(Encryptions, func(e jose.KeyAlgorithm) bool { return string(e) == alg })
}

// List returns the keys of tx's tenant, the newest first, retired ones included. Private halves are not even opened.
func List(ctx context.Context, tx *store.Tx) ([]Key, error) {
	rows, err := tx.SigningKeyHistory(ctx, tx.Tenant())
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	list := make([]Key, len(rows))
	for i, r := range rows {
		list[i] = keyOf(r)
	}
	return list, nil
}

// InUse are the algorithms that tx's tenant has a key to sign with, or to have others encrypt with, in the order of the alphabet.
func InUse(ctx context.Context, tx *store.Tx) ([]string, error) {
	list, err := List(ctx, tx)
	if err != nil {
		return nil, err
	}
	var algs []string
	for _, k := range list {
		if k.Status == Active && k.Promoted {
			algs = append(algs, k.Alg)
		}
	}
	slices.Sort(algs)
	return algs, nil
}

// Past makes a ring that verifies with every key tx's tenant has had within a year and did not revoke, for what is kept longer
// than a token. It signs nothing and is not published.
func Past(ctx context.Context, tx *store.Tx) (*Ring, error) {
	list, err := List(ctx, tx)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	for _, k := range list {
		if !k.Revoked {
			set.Keys = append(set.Keys, k.PublicKey)
		}
	}
	document, err := json.Marshal(set)
	if err != nil {
		return nil, err
	}
	return Public(document)
}

// locked is the tenant's keys, which nobody else changes before the transaction ends.
type locked []dbsqlc.SigningKey

func lock(ctx context.Context, tx *store.Tx) (locked, error) {
	rows, err := tx.SigningKeyLock(ctx, tx.Tenant())
	if err != nil {
		return nil, fmt.Errorf("lock keys: %w", err)
	}
	return rows, nil
}

// find returns the only key with which a condition holds.
func (l locked) find(holds func(dbsqlc.SigningKey) bool) (dbsqlc.SigningKey, bool) {
	i := slices.IndexFunc(l, holds)
	if i < 0 {
		return dbsqlc.SigningKey{}, false
	}
	return l[i], true
}

func (l locked) signer(alg string) (dbsqlc.SigningKey, bool) {
	return l.find(func(r dbsqlc.SigningKey) bool { return r.Alg == alg && signs(r) })
}

func (l locked) next(alg string) (dbsqlc.SigningKey, bool) {
	return l.find(func(r dbsqlc.SigningKey) bool { return r.Alg == alg && waits(r) })
}

// room is when the first of the keys of an algorithm that still verify is retired, and not before now.
func (l locked) room(alg string, now time.Time) time.Time {
	first := now.Add(lookAgain)
	for _, r := range l {
		if r.Alg == alg && r.Status == Expiring && r.VerifyUntil != nil {
			first = earlier(first, *r.VerifyUntil)
		}
	}
	if first.Before(now) {
		return now
	}
	return first
}

// waits reports whether a key is published and does not sign yet.
func waits(r dbsqlc.SigningKey) bool { return r.Status == Active && !r.Promoted }

// Rotate publishes the next key of an algorithm, which a job has sign after the promotion delay; until then the present one
// does. Where a key waits already it is returned and nothing is done: two rotations at once are one. ErrUnknownKey: the tenant
// does not use the algorithm. ErrManyKeys: keys were replaced too often lately. A key is generated within the transaction.
func Rotate(ctx context.Context, tx *store.Tx, vault tenant.Vault, p Policy, by audit.Party, alg string) (Key, error) {
	keys, err := lock(ctx, tx)
	if err != nil {
		return Key{}, err
	}
	if r, ok := keys.next(alg); ok {
		return keyOf(r), nil
	}
	if _, ok := keys.signer(alg); !ok {
		return Key{}, ErrUnknownKey
	}
	expiring := 0
	for _, r := range keys {
		if r.Alg == alg && r.Status == Expiring {
			expiring++
		}
	}
	if expiring >= maxExpiring {
		return Key{}, ErrManyKeys
	}
	sealer, err := vault.Sealer(ctx, tx)
	if err != nil {
		return Key{}, err
	}
	key, err := generate(alg)
	if err != nil {
		return Key{}, fmt.Errorf("generate %s key: %w", alg, err)
	}
	made, err := seal(sealer, key)
	if err != nil {
		return Key{}, err
	}
	n, err := tx.SigningKeyPublish(ctx, dbsqlc.SigningKeyPublishParams{
		ID: made.ID, Kid: made.Kid, Alg: made.Alg, PublicJWK: made.PublicJWK, PrivateKey: made.PrivateKey, DelaySeconds: p.delay().Seconds(),
	})
	if err != nil {
		return Key{}, fmt.Errorf("publish %s key: %w", alg, err)
	}
	if n > 0 {
		if err := errors.Join(recordKey(ctx, tx, audit.KeyCreated, by, made, nil), tx.Enqueue(ctx, store.JobKeyPromotion, made.ID), touch(ctx, tx)); err != nil {
			return Key{}, err
		}
	}
	// Another rotation, whose key was not there yet when the keys were locked, may have been faster.
	if keys, err = lock(ctx, tx); err != nil {
		return Key{}, err
	}
	r, ok := keys.next(alg)
	if !ok {
		return Key{}, fmt.Errorf("no %s key waits", alg)
	}
	return keyOf(r), nil
}

// Promote has the next key of an algorithm sign in the place of the present one, which verifies for as long as the policy and
// all that held while it signed demand, and then is retired by a job. Both happen or neither does. ErrNoNextKey: none waits.
// ErrTooEarly: it does not wait long enough, unless early is set, by which whoever keeps the published set refuses new tokens
// until it fetches the set again.
func Promote(ctx context.Context, tx *store.Tx, p Policy, by audit.Party, alg string, early bool) (Key, error) {
	keys, err := lock(ctx, tx)
	if err != nil {
		return Key{}, err
	}
	next, ok := keys.next(alg)
	if !ok {
		return Key{}, ErrNoNextKey
	}
	replaced := map[string]string{}
	if old, ok := keys.signer(alg); ok {
		n, err := tx.SigningKeyDemote(ctx, dbsqlc.SigningKeyDemoteParams{TenantID: tx.Tenant(), ID: old.ID, OverlapSeconds: p.overlapSeconds(), Opens: encrypts(alg)})
		if err == nil && n != 1 {
			err = errors.New("it does not sign any more")
		}
		if err != nil {
			return Key{}, fmt.Errorf("end the signing of key %s: %w", old.Kid, err)
		}
		if err := tx.Enqueue(ctx, store.JobKeyRetirement, old.ID); err != nil {
			return Key{}, err
		}
		replaced["replaces"] = old.Kid
	}
	n, err := tx.SigningKeyPromote(ctx, dbsqlc.SigningKeyPromoteParams{TenantID: tx.Tenant(), ID: next.ID, Early: early})
	if err != nil {
		return Key{}, fmt.Errorf("promote key %s: %w", next.Kid, err)
	}
	if n == 0 {
		return Key{}, ErrTooEarly // The transaction ends with it, and the present key goes on.
	}
	began := tx.Now()
	next.Promoted, next.PromotedAt = true, &began
	return keyOf(next), errors.Join(recordKey(ctx, tx, audit.KeyPromoted, by, next, replaced), tx.Enqueue(ctx, store.JobKeyRotation, next.ID), touch(ctx, tx))
}

// Revoke ends a key at once: it signs, verifies and opens nothing any more, is not published, and its private half is erased.
// When it signed, a new key is made and signs in the same transaction. ErrUnknownKey: there is none with this kid.
// ErrRetiredKey: it was over already.
func Revoke(ctx context.Context, tx *store.Tx, vault tenant.Vault, by audit.Party, kid string) error {
	keys, err := lock(ctx, tx)
	if err != nil {
		return err
	}
	key, ok := keys.find(func(r dbsqlc.SigningKey) bool { return r.Kid == kid })
	if !ok {
		return ErrUnknownKey
	}
	n, err := tx.SigningKeyRevoke(ctx, dbsqlc.SigningKeyRevokeParams{TenantID: tx.Tenant(), ID: key.ID})
	if err != nil {
		return fmt.Errorf("revoke key %s: %w", kid, err)
	}
	if n == 0 {
		return ErrRetiredKey
	}
	if err := errors.Join(recordKey(ctx, tx, audit.KeyRevoked, by, key, nil), tx.Enqueue(ctx, store.JobKeyRetirement, key.ID), touch(ctx, tx)); err != nil {
		return err
	}
	if !signs(key) {
		return nil
	}
	sealer, err := vault.Sealer(ctx, tx)
	if err != nil {
		return err
	}
	successor, err := generate(key.Alg)
	if err != nil {
		return fmt.Errorf("generate %s key: %w", key.Alg, err)
	}
	return insert(ctx, tx, sealer, successor, by)
}

// Retire erases the keys whose time is over, and returns them. A job does so by itself.
func Retire(ctx context.Context, tx *store.Tx, by audit.Party) ([]Key, error) {
	keys, err := lock(ctx, tx)
	if err != nil {
		return nil, err
	}
	over := []Key{}
	for _, r := range keys {
		done, err := retire(ctx, tx, by, r)
		if err != nil {
			return nil, err
		}
		if done {
			over = append(over, keyOf(r))
		}
	}
	return over, nil
}

func retire(ctx context.Context, tx *store.Tx, by audit.Party, r dbsqlc.SigningKey) (bool, error) {
	n, err := tx.SigningKeyRetire(ctx, dbsqlc.SigningKeyRetireParams{TenantID: tx.Tenant(), ID: r.ID})
	if err != nil || n == 0 {
		return false, err
	}
	return true, errors.Join(recordKey(ctx, tx, audit.KeyRetired, by, r, nil), touch(ctx, tx))
}

// Attend does what a job is for with one key of tx's tenant, if it is time, and returns when to look again. The zero time: never,
// for the key has left the state that the job is about. A job may be done twice.
func Attend(ctx context.Context, tx *store.Tx, vault tenant.Vault, p Policy, kind store.Job, id uuid.UUID) (time.Time, error) {
	keys, err := lock(ctx, tx)
	if err != nil {
		return time.Time{}, err
	}
	key, ok := keys.find(func(r dbsqlc.SigningKey) bool { return r.ID == id })
	if !ok {
		return time.Time{}, nil
	}
	now := tx.Now()
	switch {
	case kind == store.JobKeyRotation && signs(key) && key.PromotedAt != nil:
		due := key.PromotedAt.Add(p.Interval)
		if now.Before(due) {
			return earlier(due, now.Add(lookAgain)), nil
		}
		next, err := Rotate(ctx, tx, vault, p, audit.System(), key.Alg)
		if errors.Is(err, ErrManyKeys) {
			// The interval is too short for the overlap: a key is replaced as soon as another has been retired.
			return keys.room(key.Alg, now).Add(time.Minute), nil
		}
		if err != nil || next.PromoteAt == nil {
			return now.Add(time.Hour), err
		}
		// By then the key does not sign any more, or its successor was revoked and it has to be replaced again.
		return next.PromoteAt.Add(time.Hour), nil
	case kind == store.JobKeyPromotion && waits(key) && key.PromoteAt != nil:
		if now.Before(*key.PromoteAt) {
			return *key.PromoteAt, nil
		}
		_, err := Promote(ctx, tx, p, audit.System(), key.Alg, false)
		return time.Time{}, err
	case kind == store.JobKeyRetirement && key.Status == Expiring && key.VerifyUntil != nil:
		if now.Before(*key.VerifyUntil) {
			return earlier(*key.VerifyUntil, now.Add(lookAgain)), nil
		}
		_, err := retire(ctx, tx, audit.System(), key)
		return now.Add(lookAgain), err
	case kind == store.JobKeyRetirement && key.Status == Retired && key.RetiredAt != nil:
		if end := key.RetiredAt.Add(keepRetired); now.Before(end) {
			return end, nil
		}
		_, err := tx.SigningKeyDelete(ctx, dbsqlc.SigningKeyDeleteParams{TenantID: tx.Tenant(), ID: id, Before: now.Add(-keepRetired)})
		return time.Time{}, err
	}
	return time.Time{}, nil
}

// Settle gives every key of a tenant that came from elsewhere with its keys the job that looks after it.
func Settle(ctx context.Context, tx *store.Tx) error {
	keys, err := lock(ctx, tx)
	if err != nil {
		return err
	}
	for _, key := range keys {
		kind := store.JobKeyRetirement
		switch {
		case signs(key):
			kind = store.JobKeyRotation
		case waits(key):
			kind = store.JobKeyPromotion
		}
		if err := tx.Enqueue(ctx, kind, key.ID); err != nil {
			return err
		}
	}
	return nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// touch has every instance load the keys anew.
func touch(ctx context.Context, tx *store.Tx) error {
	_, err := tx.TenantTouch(ctx, tx.Tenant())
	return err
}

func recordKey(ctx context.Context, tx *store.Tx, event audit.Type, by audit.Party, r dbsqlc.SigningKey, more map[string]string) error {
	detail := map[string]string{"alg": r.Alg}
	maps.Copy(detail, more)
	return audit.Record(ctx, tx, audit.Event{
		Type: event, Status: audit.Success, Actor: by, Target: audit.Thing("signing_key", r.Kid), Detail: detail,
	})
}
