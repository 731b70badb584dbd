package keyring

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }

// everyones are the algorithms that every tenant has a key for.
var everyones = []jose.SignatureAlgorithm{RS256, ES256, EdDSA}

func open(t *testing.T, s *store.Store, vault tenant.Vault, id uuid.UUID) *Ring {
	t.Helper()
	ring, err := Open(t.Context(), s, vault, DefaultPolicy, id)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func TestOpenMakesOneKeyPerAlgorithmHoweverManyAskAtOnce(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s, vault := db.Store(t), testkit.Vault(t)
	org, other := testkit.Tenant(t, s, "acme"), testkit.Tenant(t, s, "other")

	rings := make([]*Ring, 8)
	failed := make([]error, len(rings))
	var all sync.WaitGroup
	for i := range rings {
		all.Go(func() { rings[i], failed[i] = Open(t.Context(), s, vault, DefaultPolicy, org.ID) })
	}
	all.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	rings = slices.Concat(rings, []*Ring{open(t, s, vault, org.ID)}) // a later one makes nothing

	kept := db.Ask(t, org.ID, "SELECT alg || ' ' || status || ' ' || promoted FROM parako.signing_keys ORDER BY alg")
	if diff := cmp.Diff([]string{"ES256 active true", "EdDSA active true", "RS256 active true"}, kept); diff != "" {
		t.Errorf("keys mismatch (-want +got)\n%s", diff)
	}
	if got := db.Ask(t, org.ID, "SELECT count(*)::text FROM parako.data_keys"); got[0] != "1" {
		t.Errorf("%s data keys, want 1", got[0])
	}
	for i, ring := range rings {
		if diff := cmp.Diff(string(rings[0].JWKS()), string(ring.JWKS())); diff != "" {
			t.Errorf("ring %d publishes another set (-first +this)\n%s", i, diff)
		}
		for _, alg := range everyones {
			if _, err := rings[0].Verify(sign(t, ring, alg, "JWT"), "JWT"); err != nil {
				t.Errorf("ring %d signs %s with a key the first does not know: %v", i, alg, err)
			}
		}
	}

	events := db.Ask(t, org.ID, `
SELECT concat_ws(' ', e.status, e.actor_type, e.target_type, e.detail->>'alg', e.target_id = k.kid)
  FROM parako.audit_events AS e
  JOIN parako.signing_keys AS k ON k.alg = e.detail->>'alg'
 WHERE e.type = 'key.created'
 ORDER BY k.alg`)
	want := []string{
		"success system signing_key ES256 t", "success system signing_key EdDSA t", "success system signing_key RS256 t",
	}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("events mismatch (-want +got)\n%s", diff)
	}
	if got := db.Ask(t, other.ID, "SELECT kid FROM parako.signing_keys"); len(got) != 0 {
		t.Errorf("another tenant has the keys %q", got)
	}
}

func TestOpenOfAnUnknownTenant(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	if ring, err := Open(t.Context(), s, testkit.Vault(t), DefaultPolicy, uuid.New()); err == nil {
		t.Errorf("Open = %v, want an error", ring)
	}
}

func TestTenantsShareNoKey(t *testing.T) {
	t.Parallel()
	s, vault := testkit.NewDB(t).Store(t), testkit.Vault(t)
	one, other := open(t, s, vault, testkit.Tenant(t, s, "acme").ID), open(t, s, vault, testkit.Tenant(t, s, "other").ID)
	for _, alg := range everyones {
		if one.signers[string(alg)].KeyID == other.signers[string(alg)].KeyID {
			t.Errorf("both sign %s with %s", alg, one.signers[string(alg)].KeyID)
		}
		if _, err := other.Verify(sign(t, one, alg, "JWT"), "JWT"); !errors.Is(err, ErrInvalid) {
			t.Errorf("Verify of the other's %s token = %v, want %v", alg, err, ErrInvalid)
		}
	}
}

func TestJWKSIsPublicAndComplete(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	ring := open(t, s, testkit.Vault(t), testkit.Tenant(t, s, "acme").ID)
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(ring.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	// Anything besides these members would be too much: d, p, q, dp, dq, qi and k are private (RFC 7518 section 6).
	members := map[any][]string{
		"RSA": {"alg", "e", "kid", "kty", "n", "use"},
		"EC":  {"alg", "crv", "kid", "kty", "use", "x", "y"},
		"OKP": {"alg", "crv", "kid", "kty", "use", "x"},
	}
	kinds := map[any]any{"RS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
	kids := map[any]bool{}
	for _, key := range set.Keys {
		var got []string
		for name := range key {
			got = append(got, name)
		}
		slices.Sort(got)
		if diff := cmp.Diff(members[key["kty"]], got); diff != "" {
			t.Errorf("members of %v mismatch (-want +got)\n%s", key["alg"], diff)
		}
		if key["kty"] != kinds[key["alg"]] || key["use"] != "sig" {
			t.Errorf("key %v is of kind %v for %v", key["alg"], key["kty"], key["use"])
		}
		kids[key["kid"]] = true
	}
	if len(set.Keys) != len(everyones) || len(kids) != len(everyones) {
		t.Errorf("%d keys with %d kids, want %d", len(set.Keys), len(kids), len(everyones))
	}
	for alg, key := range ring.signers {
		public := key.Public()
		thumb, err := public.Thumbprint(crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if want := base64.RawURLEncoding.EncodeToString(thumb); key.KeyID != want {
			t.Errorf("kid of %s is %s, want the thumbprint %s (RFC 7638)", alg, key.KeyID, want)
		}
	}
}

func TestPrivateKeysAreSealedAtRest(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	org := testkit.Tenant(t, s, "acme").ID
	ring := open(t, s, testkit.Vault(t), org)
	// The whole row, in the form of a dump.
	rows := strings.Join(db.Ask(t, org, "SELECT signing_keys::text FROM parako.signing_keys"), "\n")
	for _, alg := range everyones {
		private := ring.signers[string(alg)].Key
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		secrets := map[string][]byte{"PKCS 8": der, "the beginning of PKCS 8": der[:16], "the end of PKCS 8": der[len(der)-16:]}
		if seed, ok := private.(ed25519.PrivateKey); ok {
			secrets["the seed"] = seed.Seed()
		}
		if !bytes.Contains([]byte(rows), []byte(ring.signers[string(alg)].KeyID)) {
			t.Errorf("the rows have no %s key", alg)
		}
		for name, plain := range secrets {
			for _, spelled := range []string{hex.EncodeToString(plain), base64.RawURLEncoding.EncodeToString(plain), base64.StdEncoding.EncodeToString(plain)} {
				if strings.Contains(rows, spelled) {
					t.Errorf("the rows show %s of the %s key", name, alg)
				}
			}
		}
	}
}

func TestSealedKeysOpenOnlyWhereTheyWereMade(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s, vault := db.Store(t), testkit.Vault(t)
	const (
		key  = "SELECT encode(private_key, 'hex') FROM parako.signing_keys WHERE alg = $1"
		plug = "UPDATE parako.signing_keys SET private_key = decode($2, 'hex') WHERE alg = $1"
	)
	refused := func(t *testing.T, org uuid.UUID, vault tenant.Vault, want error) {
		t.Helper()
		if ring, err := Open(t.Context(), s, vault, DefaultPolicy, org); err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("Open = %v, %v, want an error such as %v", ring, err, want)
		}
	}

	t.Run("another row", func(t *testing.T) {
		t.Parallel()
		org := testkit.Tenant(t, s, "rows").ID
		open(t, s, vault, org)
		db.Ask(t, org, plug, "ES256", db.Ask(t, org, key, "EdDSA")[0])
		refused(t, org, vault, secret.ErrOpen)
	})
	t.Run("another tenant", func(t *testing.T) {
		t.Parallel()
		org, thief := testkit.Tenant(t, s, "victim").ID, testkit.Tenant(t, s, "thief").ID
		open(t, s, vault, org)
		open(t, s, vault, thief)
		const whole = "SELECT kid || ' ' || public_jwk || ' ' || encode(private_key, 'hex') FROM parako.signing_keys WHERE alg = 'ES256'"
		row := db.Ask(t, org, whole)[0]
		kid, rest, _ := strings.Cut(row, " ")
		at := strings.LastIndexByte(rest, ' ')
		db.Ask(t, thief, "UPDATE parako.signing_keys SET kid = $1, public_jwk = $2::jsonb, private_key = decode($3, 'hex') WHERE alg = 'ES256'",
			kid, rest[:at], rest[at+1:])
		refused(t, thief, vault, secret.ErrOpen)
		// Not even with the data key it was sealed with.
		wrapped := db.Ask(t, org, "SELECT encode(wrapped, 'hex') FROM parako.data_keys")[0]
		db.Ask(t, thief, "UPDATE parako.data_keys SET wrapped = decode($1, 'hex')", wrapped)
		refused(t, thief, vault, secret.ErrOpen)
	})
	t.Run("another master key", func(t *testing.T) {
		t.Parallel()
		org := testkit.Tenant(t, s, "master").ID
		open(t, s, vault, org)
		refused(t, org, testkit.Vault(t), nil)
	})
	t.Run("a flipped bit", func(t *testing.T) {
		t.Parallel()
		org := testkit.Tenant(t, s, "bit").ID
		open(t, s, vault, org)
		db.Ask(t, org, "UPDATE parako.signing_keys SET private_key = set_bit(private_key, 500, 1 - get_bit(private_key, 500)) WHERE alg = 'RS256'")
		refused(t, org, vault, secret.ErrOpen)
	})
}

func TestAKeyStopsSigningBeforeItStopsVerifying(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s, vault := db.Store(t), testkit.Vault(t)
	org := testkit.Tenant(t, s, "acme").ID
	before := open(t, s, vault, org)
	token := sign(t, before, ES256, "JWT")
	published := func(r *Ring) (kids []string) {
		t.Helper()
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(r.JWKS(), &set); err != nil {
			t.Fatal(err)
		}
		for _, key := range set.Keys {
			kids = append(kids, key.KeyID)
		}
		return kids
	}
	old := before.signers[string(ES256)].KeyID

	db.Ask(t, org, "UPDATE parako.signing_keys SET status = 'expiring', rotated_at = now() WHERE alg = 'ES256'")
	rotated := open(t, s, vault, org)
	if rotated.signers[string(ES256)].KeyID == old {
		t.Error("an expiring key signs")
	}
	if _, err := rotated.Verify(token, "JWT"); err != nil {
		t.Errorf("Verify by an expiring key = %v", err)
	}
	if kids := published(rotated); len(kids) != 4 || kids[3] != old {
		t.Errorf("published keys %q, want four with the expiring one %s last", kids, old)
	}

	db.Ask(t, org, "UPDATE parako.signing_keys SET status = 'retired', private_key = '' WHERE kid = $1", old)
	retired := open(t, s, vault, org)
	if _, err := retired.Verify(token, "JWT"); !errors.Is(err, ErrInvalid) {
		t.Errorf("Verify by a retired key = %v, want %v", err, ErrInvalid)
	}
	if kids := published(retired); len(kids) != 3 || slices.Contains(kids, old) {
		t.Errorf("published keys %q, want three without the retired one %s", kids, old)
	}
	// A ring is a snapshot: what was opened before goes on as it was.
	if _, err := before.Verify(token, "JWT"); err != nil || len(published(before)) != 3 {
		t.Errorf("the first ring changed: Verify = %v", err)
	}
}

func TestAKeyIsPublishedBeforeItSigns(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s, vault := db.Store(t), testkit.Vault(t)
	org := testkit.Tenant(t, s, "acme").ID
	signer := open(t, s, vault, org).signers[string(ES256)].KeyID
	next, err := generate(string(ES256))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.InTenant(t.Context(), org, func(ctx context.Context, tx *store.Tx) error {
		sealer, err := vault.Sealer(ctx, tx)
		if err != nil {
			return err
		}
		return insert(ctx, tx, sealer, next, audit.System())
	}); err != nil {
		t.Fatal(err)
	}
	if got := db.Ask(t, org, "SELECT kid FROM parako.signing_keys WHERE alg = 'ES256'"); !slices.Equal(got, []string{signer}) {
		t.Errorf("ES256 keys %q, want only the signer %s: insert must not add a second", got, signer)
	}
	// What a rotation does first.
	db.Ask(t, org, `INSERT INTO parako.signing_keys (id, kid, alg, status, promoted, public_jwk, private_key)
VALUES (gen_random_uuid(), $1, 'ES256', 'active', false, $2::jsonb, '\x00')`, next.KeyID, string(mustJSON(t, next.Public())))
	ring := open(t, s, vault, org)
	if ring.signers[string(ES256)].KeyID != signer {
		t.Errorf("%s signs, want %s until the other is promoted", ring.signers[string(ES256)].KeyID, signer)
	}
	if _, ok := ring.public[next.KeyID]; !ok {
		t.Error("the next key is not published")
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestEnsureMakesAKeyOnce asks for PS256 in several tenants and transactions, and finds it published and signing.
func TestEnsureMakesAKeyOnce(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s, vault := db.Store(t), testkit.Vault(t)
	org, other := testkit.Tenant(t, s, "acme").ID, testkit.Tenant(t, s, "other").ID
	before := open(t, s, vault, org)
	if _, err := before.Sign(PS256, "JWT", []byte("{}")); err == nil {
		t.Error("a tenant signs with PS256 that no client asked for")
	}
	var all sync.WaitGroup
	failed := make([]error, 4)
	for i := range failed {
		all.Go(func() {
			failed[i] = s.InTenant(t.Context(), org, func(ctx context.Context, tx *store.Tx) error {
				return errors.Join(Ensure(ctx, tx, vault, PS256), Ensure(ctx, tx, vault, RS256))
			})
		})
	}
	all.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	after := open(t, s, vault, org)
	if _, err := after.Verify(sign(t, after, PS256, "JWT"), "JWT"); err != nil {
		t.Errorf("PS256: %v", err)
	}
	if diff := cmp.Diff([]string{"1"}, db.Ask(t, org, "SELECT count(*)::text FROM parako.signing_keys WHERE alg = 'PS256'")); diff != "" {
		t.Errorf("keys for PS256 mismatch (-want +got)\n%s", diff)
	}
	if got := db.Ask(t, org, "SELECT revision::text FROM parako.tenants"); got[0] == "1" {
		t.Error("no instance is told to load the key")
	}
	if got := db.Ask(t, other, "SELECT alg FROM parako.signing_keys WHERE alg = 'PS256'"); len(got) > 0 {
		t.Errorf("another tenant has it, too: %q", got)
	}
}

// TestDecrypt encrypts for a tenant as a client would, with what it publishes.
func TestDecrypt(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s, vault := db.Store(t), testkit.Vault(t)
	openWith := func(id uuid.UUID) *Ring {
		ring, err := Open(t.Context(), s, vault, DefaultPolicy, id, string(jose.RSA_OAEP_256), string(jose.ECDH_ES))
		if err != nil {
			t.Fatal(err)
		}
		return ring
	}
	ring, other := openWith(testkit.Tenant(t, s, "acme").ID), openWith(testkit.Tenant(t, s, "other").ID)
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(ring.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	published := map[string]jose.JSONWebKey{}
	for _, key := range set.Keys {
		if key.Use == "enc" {
			published[key.Algorithm] = key
		}
		if !key.IsPublic() {
			t.Errorf("key %s is not public", key.KeyID)
		}
	}
	encrypt := func(t *testing.T, alg jose.KeyAlgorithm, key any, kid string) string {
		t.Helper()
		e, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: alg, Key: key, KeyID: kid}, nil)
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
		return text
	}
	for _, alg := range Encryptions {
		key, ok := published[string(alg)]
		if !ok {
			t.Fatalf("no key for %s is published", alg)
		}
		for name, kid := range map[string]string{"with its kid": key.KeyID, "without a kid": ""} {
			got, err := ring.Decrypt(encrypt(t, alg, key.Key, kid))
			if err != nil || string(got) != "hello" {
				t.Errorf("%s %s: %q, %v", alg, name, got, err)
			}
			if _, err := other.Decrypt(encrypt(t, alg, key.Key, kid)); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s %s opens at another tenant: %v", alg, name, err)
			}
		}
	}
	rsa := published[string(jose.RSA_OAEP_256)]
	for name, token := range map[string]string{
		"another algorithm for the same key": encrypt(t, jose.RSA_OAEP, rsa.Key, rsa.KeyID),
		"an unknown kid":                     encrypt(t, jose.RSA_OAEP_256, rsa.Key, "nobody"),
		"a signature instead":                sign(t, ring, RS256, "JWT"),
		"nothing":                            "",
	} {
		if _, err := ring.Decrypt(token); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want %v", name, err, ErrInvalid)
		}
	}
	if _, err := ring.Verify(sign(t, ring, ES256, "JWT"), "JWT"); err != nil {
		t.Errorf("the ring does not sign any more: %v", err)
	}
}
