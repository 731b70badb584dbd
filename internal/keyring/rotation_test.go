package keyring

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

// house is a tenant whose keys have been made.
type house struct {
	db    *testkit.DB
	store *store.Store
	vault tenant.Vault
	id    uuid.UUID
}

func newHouse(t *testing.T) house {
	t.Helper()
	db := testkit.NewDB(t)
	h := house{db: db, store: db.Store(t), vault: testkit.Vault(t)}
	h.id = testkit.Tenant(t, h.store, "acme").ID
	h.open(t)
	return h
}

func (h house) open(t *testing.T, more ...string) *Ring {
	t.Helper()
	ring, err := Open(t.Context(), h.store, h.vault, DefaultPolicy, h.id, more...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func (h house) do(t *testing.T, fn func(context.Context, *store.Tx) error) error {
	t.Helper()
	return h.store.InTenant(t.Context(), h.id, fn)
}

func (h house) rotate(t *testing.T, alg string) Key {
	t.Helper()
	var key Key
	if err := h.do(t, func(ctx context.Context, tx *store.Tx) (err error) {
		key, err = Rotate(ctx, tx, h.vault, DefaultPolicy, audit.Operator("test"), alg)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return key
}

func (h house) promote(t *testing.T, alg string, early bool) error {
	t.Helper()
	return h.do(t, func(ctx context.Context, tx *store.Tx) error {
		_, err := Promote(ctx, tx, DefaultPolicy, audit.Operator("test"), alg, early)
		return err
	})
}

func (h house) attend(t *testing.T, kind store.Job, kid string) time.Time {
	t.Helper()
	var next time.Time
	id := uuid.MustParse(h.db.Ask(t, h.id, "SELECT id::text FROM parako.signing_keys WHERE kid = $1", kid)[0])
	if err := h.do(t, func(ctx context.Context, tx *store.Tx) (err error) {
		next, err = Attend(ctx, tx, h.vault, DefaultPolicy, kind, id)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return next
}

// states are the keys of an algorithm, the oldest first.
func (h house) states(t *testing.T, alg string) []string {
	t.Helper()
	return h.db.Ask(t, h.id, "SELECT status || CASE WHEN promoted THEN ' signs' ELSE '' END || CASE WHEN private_key = '' THEN ' erased' ELSE '' END FROM parako.signing_keys WHERE alg = $1 ORDER BY created_at, id", alg)
}

func (h house) want(t *testing.T, alg string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, h.states(t, alg)); diff != "" {
		t.Errorf("%s keys mismatch (-want +got)\n%s", alg, diff)
	}
}

func (h house) revision(t *testing.T) string {
	t.Helper()
	return h.db.Ask(t, h.id, "SELECT revision::text FROM parako.tenants")[0]
}

// TestRotation follows a key through its life: its successor is published and signs only after the delay, both verify, and in the
// end it is erased and removed.
func TestRotation(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	before := h.open(t)
	old := before.signers[string(ES256)].KeyID
	token := sign(t, before, ES256, "JWT")
	revision := h.revision(t)

	next := h.rotate(t, "ES256")
	if again := h.rotate(t, "ES256"); again.KID != next.KID || next.KID == old {
		t.Errorf("a second rotation makes %s, the first made %s from %s", again.KID, next.KID, old)
	}
	h.want(t, "ES256", "active signs", "active")
	if wait := time.Until(*next.PromoteAt); wait < CacheTime || wait > CacheTime+time.Minute {
		t.Errorf("the next key signs in %s, want somewhat more than others keep the published set", wait)
	}
	published := h.open(t)
	if published.signers[string(ES256)].KeyID != old || !strings.Contains(string(published.JWKS()), next.KID) {
		t.Error("the old key has to sign and the next to be published")
	}
	if now := h.revision(t); now == revision {
		t.Error("no instance is told to load the next key")
	}
	if err := h.promote(t, "ES256", false); !errors.Is(err, ErrTooEarly) {
		t.Errorf("Promote before its time = %v, want %v", err, ErrTooEarly)
	}
	h.want(t, "ES256", "active signs", "active") // The old one was demoted in the same transaction.
	if got := h.attend(t, store.JobKeyPromotion, next.KID); !got.Equal(*next.PromoteAt) {
		t.Errorf("the job looks again at %s, want %s", got, next.PromoteAt)
	}

	h.db.Ask(t, h.id, "UPDATE parako.signing_keys SET promote_at = now() WHERE kid = $1", next.KID)
	revision = h.revision(t)
	if got := h.attend(t, store.JobKeyPromotion, next.KID); !got.IsZero() {
		t.Errorf("after the promotion the job looks again at %s", got)
	}
	h.want(t, "ES256", "expiring erased", "active signs")
	if now := h.revision(t); now == revision {
		t.Error("no instance is told of the promotion")
	}
	swapped := h.open(t)
	if swapped.signers[string(ES256)].KeyID != next.KID {
		t.Error("the next key does not sign")
	}
	for name, text := range map[string]string{"the old key's": token, "the next key's": sign(t, swapped, ES256, "JWT")} {
		if _, err := swapped.Verify(text, "JWT"); err != nil {
			t.Errorf("Verify of %s token = %v", name, err)
		}
	}

	if got := h.attend(t, store.JobKeyRetirement, old); time.Until(got) < DefaultPolicy.Overlap {
		t.Errorf("the old key is retired at %s, want a token of the longest life to be over", got)
	}
	h.db.Ask(t, h.id, "UPDATE parako.signing_keys SET verify_until = now() WHERE kid = $1", old)
	if _, err := h.open(t).Verify(token, "JWT"); !errors.Is(err, ErrInvalid) {
		t.Errorf("Verify after the end, before the job came = %v, want %v", err, ErrInvalid)
	}
	h.attend(t, store.JobKeyRetirement, old)
	h.want(t, "ES256", "retired erased", "active signs")
	past := func() *Ring {
		var ring *Ring
		if err := h.do(t, func(ctx context.Context, tx *store.Tx) (err error) {
			ring, err = Past(ctx, tx)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return ring
	}
	if _, err := past().Verify(token, "JWT"); err != nil {
		t.Errorf("what is kept for long does not verify: %v", err)
	}
	h.db.Ask(t, h.id, "UPDATE parako.signing_keys SET retired_at = now() - interval '400 days' WHERE kid = $1", old)
	if got := h.attend(t, store.JobKeyRetirement, old); !got.IsZero() {
		t.Errorf("after the removal the job looks again at %s", got)
	}
	h.want(t, "ES256", "active signs")
	h.want(t, "RS256", "active signs") // Other algorithms are left alone.

	events := h.db.Ask(t, h.id, "SELECT concat_ws(' ', type, actor_type, detail->>'replaces' = $1) FROM parako.audit_events WHERE target_id IN ($1, $2) AND type LIKE 'key.%' ORDER BY occurred_at, id", old, next.KID)
	if diff := cmp.Diff([]string{"key.created system", "key.created operator", "key.promoted system t", "key.retired system"}, events); diff != "" {
		t.Errorf("events mismatch (-want +got)\n%s", diff)
	}
}

// TestRotationWhenItIsDue moves the day on which the key began to sign.
func TestRotationWhenItIsDue(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	kid := h.open(t).signers[string(EdDSA)].KeyID
	if got := time.Until(h.attend(t, store.JobKeyRotation, kid)); got > lookAgain || got < lookAgain-time.Minute {
		t.Errorf("a new key is looked at in %s", got)
	}
	h.want(t, "EdDSA", "active signs")
	h.db.Ask(t, h.id, "UPDATE parako.signing_keys SET promoted_at = now() - interval '91 days' WHERE kid = $1", kid)
	if got := h.attend(t, store.JobKeyRotation, kid); got.IsZero() {
		t.Error("a key that still signs is not looked at again")
	}
	h.want(t, "EdDSA", "active signs", "active")
	h.attend(t, store.JobKeyRotation, kid) // As when the instance was killed before it could say that it is done.
	h.want(t, "EdDSA", "active signs", "active")
	if err := h.promote(t, "EdDSA", true); err != nil {
		t.Fatal(err)
	}
	if got := h.attend(t, store.JobKeyRotation, kid); !got.IsZero() {
		t.Errorf("a key that does not sign any more is looked at again at %s", got)
	}
	if got := h.db.AskAbove(t, "SELECT kind || ' ' || count(*) FROM jobs.river_job AS j JOIN parako.signing_keys AS k ON k.id::text = j.args->>'id' WHERE k.alg = 'EdDSA' GROUP BY kind ORDER BY kind"); !slices.Equal(got, []string{"key_promotion 1", "key_retirement 1", "key_rotation 2"}) {
		t.Errorf("jobs %q", got)
	}
}

// TestRotationsAtOnceAreOne starts several with stores of their own, and promotes the outcome likewise.
func TestRotationsAtOnceAreOne(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var all sync.WaitGroup
	kids, failed := make([]string, 6), make([]error, 6)
	for i := range kids {
		s := h.db.Store(t)
		all.Go(func() {
			failed[i] = s.InTenant(t.Context(), h.id, func(ctx context.Context, tx *store.Tx) error {
				key, err := Rotate(ctx, tx, h.vault, DefaultPolicy, audit.System(), "ES256")
				kids[i] = key.KID
				return err
			})
		})
	}
	all.Wait()
	if err := errors.Join(failed...); err != nil || len(slices.Compact(slices.Clone(kids))) != 1 {
		t.Fatalf("rotations made %q, %v", kids, err)
	}
	h.want(t, "ES256", "active signs", "active")
	for i := range failed {
		s := h.db.Store(t)
		all.Go(func() {
			failed[i] = s.InTenant(t.Context(), h.id, func(ctx context.Context, tx *store.Tx) error {
				_, err := Promote(ctx, tx, DefaultPolicy, audit.System(), "ES256", true)
				return err
			})
		})
	}
	all.Wait()
	done := 0
	for _, err := range failed {
		if err == nil {
			done++
		} else if !errors.Is(err, ErrNoNextKey) {
			t.Error(err)
		}
	}
	if done != 1 {
		t.Errorf("%d promotions, want 1", done)
	}
	h.want(t, "ES256", "expiring erased", "active signs")
}

// TestASwapThatFailsChangesNothing lets the second half of the swap fail in the database.
func TestASwapThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	next := h.rotate(t, "RS256")
	h.db.Superuser(t, "ALTER TABLE parako.signing_keys ADD CONSTRAINT never CHECK (NOT promoted OR kid <> '"+next.KID+"')")
	revision := h.revision(t)
	if err := h.promote(t, "RS256", true); err == nil {
		t.Error("the swap succeeded")
	}
	h.want(t, "RS256", "active signs", "active")
	if now := h.revision(t); now != revision {
		t.Errorf("revision %s, was %s", now, revision)
	}
	if _, err := h.open(t).Sign(RS256, "JWT", []byte("{}")); err != nil {
		t.Errorf("nothing signs: %v", err)
	}
}

// TestVerifyUntilIsThatOfTheLongestToken lowers the lifetimes before the swap: tokens from before live on.
func TestVerifyUntilIsThatOfTheLongestToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	long := Policy{Interval: DefaultPolicy.Interval, Overlap: 100 * time.Hour}
	if _, err := Open(t.Context(), h.store, h.vault, long, h.id); err != nil {
		t.Fatal(err)
	}
	h.open(t) // With the shorter one again.
	h.rotate(t, "ES256")
	if err := h.promote(t, "ES256", true); err != nil {
		t.Fatal(err)
	}
	got := h.db.Ask(t, h.id, "SELECT (extract(epoch FROM verify_until - rotated_at) >= $1)::text FROM parako.signing_keys WHERE status = 'expiring'", (long.Overlap + CacheTime).Seconds())
	if diff := cmp.Diff([]string{"true"}, got); diff != "" {
		t.Errorf("a token of the longest life outlives its key (-want +got)\n%s", diff)
	}
}

// TestRevoke ends keys in each state.
func TestRevoke(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	revoke := func(kid string) error {
		return h.do(t, func(ctx context.Context, tx *store.Tx) error {
			return Revoke(ctx, tx, h.vault, audit.Operator("test"), kid)
		})
	}
	before := h.open(t)
	signer, token := before.signers[string(ES256)].KeyID, sign(t, before, ES256, "JWT")
	next := h.rotate(t, "ES256")
	if err := revoke(next.KID); err != nil {
		t.Fatal(err)
	}
	h.want(t, "ES256", "active signs", "retired erased")
	revision := h.revision(t)
	if err := revoke(signer); err != nil {
		t.Fatal(err)
	}
	h.want(t, "ES256", "retired erased", "retired erased", "active signs")
	if now := h.revision(t); now == revision {
		t.Error("no instance is told")
	}
	after := h.open(t)
	if _, err := after.Verify(token, "JWT"); !errors.Is(err, ErrInvalid) || strings.Contains(string(after.JWKS()), signer) {
		t.Errorf("a revoked key verifies: %v", err)
	}
	if _, err := after.Verify(sign(t, after, ES256, "JWT"), "JWT"); err != nil {
		t.Errorf("the new key does not sign: %v", err)
	}
	var past *Ring
	if err := h.do(t, func(ctx context.Context, tx *store.Tx) (err error) { past, err = Past(ctx, tx); return err }); err != nil {
		t.Fatal(err)
	}
	if _, err := past.Verify(token, "JWT"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a revoked key counts for what is kept: %v", err)
	}
	for kid, want := range map[string]error{signer: ErrRetiredKey, "unknown": ErrUnknownKey} {
		if err := revoke(kid); !errors.Is(err, want) {
			t.Errorf("Revoke(%s) = %v, want %v", kid, err, want)
		}
	}
	if err := h.promote(t, "ES256", true); !errors.Is(err, ErrNoNextKey) {
		t.Errorf("Promote of nothing = %v, want %v", err, ErrNoNextKey)
	}
	if err := h.do(t, func(ctx context.Context, tx *store.Tx) error {
		_, err := Rotate(ctx, tx, h.vault, DefaultPolicy, audit.System(), "PS256")
		return err
	}); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("Rotate of an algorithm that is not used = %v", err)
	}
}

// TestEncryptionKeysOpenForTheOverlap encrypts for a key that is replaced meanwhile.
func TestEncryptionKeysOpenForTheOverlap(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ring := h.open(t, names()...)
	for _, alg := range Encryptions {
		signer := ring.signers[string(alg)]
		public := signer.Public()
		for _, kid := range []string{signer.KeyID, ""} {
			e, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: alg, Key: public.Key, KeyID: kid}, nil)
			if err != nil {
				t.Fatal(err)
			}
			jwe, err := e.Encrypt([]byte("hello"))
			if err != nil {
				t.Fatal(err)
			}
			text, err := jwe.CompactSerialize()
			if err != nil {
				t.Fatal(err)
			}
			h.rotate(t, string(alg))
			if err := h.promote(t, string(alg), true); err != nil {
				t.Fatal(err)
			}
			if got, err := h.open(t, names()...).Decrypt(text); err != nil || string(got) != "hello" {
				t.Errorf("%s with kid %q: %q, %v", alg, kid, got, err)
			}
		}
		h.db.Ask(t, h.id, "UPDATE parako.signing_keys SET verify_until = now() WHERE status = 'expiring'")
		if err := h.do(t, func(ctx context.Context, tx *store.Tx) error { _, err := Retire(ctx, tx, audit.System()); return err }); err != nil {
			t.Fatal(err)
		}
		h.want(t, string(alg), "retired erased", "retired erased", "active signs")
	}
}

func names() []string { return []string{string(jose.RSA_OAEP_256), string(jose.ECDH_ES)} }

// TestKeysOfAnOlderRelease are given the job that replaces them, once.
func TestKeysOfAnOlderRelease(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.db.Superuser(t, "DELETE FROM jobs.river_job")
	h.db.Ask(t, h.id, "UPDATE parako.signing_keys SET promoted_at = NULL")
	h.open(t)
	h.open(t)
	if got := h.db.AskAbove(t, "SELECT kind || ' ' || count(*) FROM jobs.river_job GROUP BY kind"); !slices.Equal(got, []string{"key_rotation 3"}) {
		t.Errorf("jobs %q", got)
	}
}

// TestManyRotations is refused before the published set grows without end.
func TestManyRotations(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for range maxExpiring {
		h.rotate(t, "EdDSA")
		if err := h.promote(t, "EdDSA", true); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.do(t, func(ctx context.Context, tx *store.Tx) error {
		_, err := Rotate(ctx, tx, h.vault, DefaultPolicy, audit.System(), "EdDSA")
		return err
	}); !errors.Is(err, ErrManyKeys) {
		t.Errorf("Rotate = %v, want %v", err, ErrManyKeys)
	}
}

// TestRotationThatIsDueTooOften has a job replace a key where the overlap leaves no room: it waits until there is.
func TestRotationThatIsDueTooOften(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for range maxExpiring {
		h.rotate(t, "EdDSA")
		if err := h.promote(t, "EdDSA", true); err != nil {
			t.Fatal(err)
		}
	}
	kid := h.open(t).signers[string(EdDSA)].KeyID
	h.db.Ask(t, h.id, "UPDATE parako.signing_keys SET promoted_at = now() - interval '91 days' WHERE kid = $1", kid)
	h.db.Ask(t, h.id, "UPDATE parako.signing_keys SET verify_until = '2101-01-01' WHERE status = 'expiring'")
	if got := time.Until(h.attend(t, store.JobKeyRotation, kid)); got < lookAgain || got > lookAgain+time.Hour {
		t.Errorf("it is looked at again in %s", got)
	}
	for _, until := range []time.Time{time.Now().Add(time.Hour).Truncate(time.Second), time.Now().Add(-time.Hour)} {
		h.db.Ask(t, h.id, "UPDATE parako.signing_keys SET verify_until = $1 WHERE id = (SELECT id FROM parako.signing_keys WHERE alg = 'EdDSA' AND status = 'expiring' ORDER BY id LIMIT 1)", until)
		if got := h.attend(t, store.JobKeyRotation, kid); got.Before(time.Now()) || got.After(time.Now().Add(2*time.Hour)) {
			t.Errorf("there is room at %s, and it is looked at again at %s", until, got)
		}
	}
	if got := h.db.Ask(t, h.id, "SELECT count(*)::text FROM parako.signing_keys WHERE alg = 'EdDSA' AND status = 'active'"); got[0] != "1" {
		t.Errorf("%s keys are active", got[0])
	}
}
