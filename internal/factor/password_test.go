package factor_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"parako/internal/directory"
	"parako/internal/factor"
	"parako/internal/problem"
	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }

// weak is "correct horse" under less than today's memory and passes.
const weak = "$argon2id$v=19$m=8192,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$ulKcj6VJ78RNwnS/MJMzy87l8JYJKGxNMZ6yzgcex6M"

func TestVerify(t *testing.T) {
	t.Parallel()
	p := factor.Passwords{Hasher: secret.NewHasher(1)}
	hash, err := p.Hash(t.Context(), "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		hash, password string
		want           bool
	}{
		"the right password":                 {hash, "correct horse", true},
		"another":                            {hash, "wrong horse", false},
		"another case":                       {hash, "Correct horse", false},
		"a beginning of it":                  {hash, "correct hors", false},
		"more than it":                       {hash, "correct horse\x00", false},
		"nothing":                            {hash, "", false},
		"too long to be anyone's":            {hash, strings.Repeat("a", secret.MaxPasswordBytes+1), false},
		"an unknown account":                 {"", "correct horse", false},
		"an unknown account and nothing":     {"", "", false},
		"an unknown account and too long":    {"", strings.Repeat("a", secret.MaxPasswordBytes+1), false},
		"an old hash and another password":   {weak, "wrong horse", false},
		"the hash itself":                    {hash, hash, false},
		"an unknown account and zero bytes":  {"", strings.Repeat("\x00", 32), false},
		"a password of bytes, not of UTF-8":  {hash, "\xff\xfe", false},
		"an unknown account, bytes not text": {"", "\xff\xfe", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			right, upgraded, err := p.Verify(t.Context(), tt.hash, tt.password)
			if err != nil || right != tt.want || upgraded != "" {
				t.Errorf("Verify = %t, %q, %v, want %t without an upgrade", right, upgraded, err, tt.want)
			}
		})
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	all := factor.Policy{MinLength: 10, RequireUppercase: true, RequireLowercase: true, RequireNumbers: true, RequireSymbols: true}
	known := []string{"Countess", "ada.lovelace@acme.example", "", "Acme Rockets"}
	tests := map[string]struct {
		policy   factor.Policy
		password string
		want     error
	}{
		"eight characters":                {factor.Policy{}, "aaaaaaab", nil},
		"seven characters":                {factor.Policy{}, "aaaaaaa", factor.ErrPasswordLength},
		"seven characters in more bytes":  {factor.Policy{}, "ééééééé", factor.ErrPasswordLength},
		"the most":                        {factor.Policy{}, strings.Repeat("é", 128), nil},
		"one more":                        {factor.Policy{}, strings.Repeat("é", 129), factor.ErrPasswordLength},
		"fewer than the tenant demands":   {factor.Policy{MinLength: 15}, "fourteen chars", factor.ErrPasswordLength},
		"as many as the tenant demands":   {factor.Policy{MinLength: 15}, "fifteen chars!!", nil},
		"a tenant cannot demand less":     {factor.Policy{MinLength: 3}, "abcd", factor.ErrPasswordLength},
		"spaces count":                    {factor.Policy{}, "a b c d e", nil},
		"everything":                      {all, "Rocket 2 ?", nil},
		"everything in another script":    {all, "Ракета ٢ ؟", nil},
		"without upper case":              {all, "rocket 2 ?", factor.ErrPasswordPolicy},
		"without lower case":              {all, "ROCKET 2 ?", factor.ErrPasswordPolicy},
		"without a number":                {all, "Rocket II ?", factor.ErrPasswordPolicy},
		"without a symbol":                {all, "Rocket 2 x", factor.ErrPasswordPolicy},
		"nothing is demanded by default":  {factor.Policy{}, "rocket x", nil},
		"the name":                        {factor.Policy{}, "countess", factor.ErrPasswordObvious},
		"the name in another case":        {factor.Policy{}, "COUNTESS", factor.ErrPasswordObvious},
		"the name and a year":             {factor.Policy{}, "Countess!15", factor.ErrPasswordObvious},
		"the name and more":               {factor.Policy{}, "countess1815", nil},
		"the address":                     {factor.Policy{}, "ada.lovelace@acme.example", factor.ErrPasswordObvious},
		"what stands before the @":        {factor.Policy{}, "ada.lovelace", factor.ErrPasswordObvious},
		"the service":                     {factor.Policy{}, "1acme rockets", factor.ErrPasswordObvious},
		"a word of the service":           {factor.Policy{}, "acme is nice", nil},
		"what nobody knows of the person": {factor.Policy{}, "correct horse", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := tt.policy.Check(tt.password, known...); !errors.Is(err, tt.want) {
				t.Errorf("Check = %v, want %v", err, tt.want)
			}
		})
	}
	err := factor.Policy{MinLength: 15}.Check("short")
	if p := problem.From(err); p.Message != "A password is 15 to 128 characters." {
		t.Errorf("message = %q", p.Message)
	}
}

func TestVerifyReplacesAWeakHash(t *testing.T) {
	t.Parallel()
	p := factor.Passwords{Hasher: secret.NewHasher(1)}
	right, upgraded, err := p.Verify(t.Context(), weak, "correct horse")
	if err != nil || !right || upgraded == "" || upgraded == weak {
		t.Fatalf("Verify of a weak hash = %t, %q, %v, want true and a new hash", right, upgraded, err)
	}
	right, again, err := p.Verify(t.Context(), upgraded, "correct horse")
	if err != nil || !right || again != "" {
		t.Errorf("Verify of the new hash = %t, %q, %v, want true and nothing to replace", right, again, err)
	}
}

func TestVerifySaysThatAStoredHashIsOfNoUse(t *testing.T) {
	t.Parallel()
	p := factor.Passwords{Hasher: secret.NewHasher(1)}
	for _, hash := range []string{"correct horse", "$2a$10$abc", "$argon2id$v=19$m=99999999,t=1,p=1$c2FsdHNhbHQ$a2V5a2V5a2V5a2V5"} {
		right, _, err := p.Verify(t.Context(), hash, "correct horse")
		if right || !errors.Is(err, secret.ErrHashFormat) {
			t.Errorf("Verify of %q = %t, %v, want %v", hash, right, err, secret.ErrHashFormat)
		}
	}
}

// An account that does not exist must not be told from one that does by the time of the answer. Time cannot be asserted,
// so this counts what one check allocates, which is nearly all of it the memory that Argon2id fills.
func TestAnUnknownAccountCostsWhatAKnownOneDoes(t *testing.T) { //nolint:paralleltest // it counts what the whole process allocates
	p := factor.Passwords{Hasher: secret.NewHasher(1)}
	hash, err := p.Hash(t.Context(), "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	cost := func(hash, password string) uint64 {
		t.Helper()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, _, err := p.Verify(t.Context(), hash, password); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	const mebibyte = 1 << 20
	tests := map[string]struct {
		password string
		busy     bool
	}{
		"a password":   {"wrong horse", true},
		"nothing":      {"", true},
		"far too long": {strings.Repeat("a", secret.MaxPasswordBytes+1), false},
	}
	for name, tt := range tests {
		known, unknown := cost(hash, tt.password), cost("", tt.password)
		if max(known, unknown)-min(known, unknown) > mebibyte/2 {
			t.Errorf("%s: a known account allocates %d bytes, an unknown one %d", name, known, unknown)
		}
		if busy := unknown > 10*mebibyte; busy != tt.busy {
			t.Errorf("%s: an unknown account allocates %d bytes, want a hash's worth: %t", name, unknown, tt.busy)
		}
	}
}

// A known and an unknown account wait in the same queue, and leave it when the caller has gone.
func TestVerifyGivesUpWithItsCaller(t *testing.T) {
	t.Parallel()
	p := factor.Passwords{Hasher: secret.NewHasher(1)}
	gone, leave := context.WithCancel(t.Context())
	leave()
	for _, hash := range []string{weak, ""} {
		if right, _, err := p.Verify(gone, hash, "correct horse"); right || !errors.Is(err, context.Canceled) {
			t.Errorf("Verify(%q) = %t, %v, want %v", hash, right, err, context.Canceled)
		}
	}
}

func TestHashBoundsTheLength(t *testing.T) {
	t.Parallel()
	p := factor.Passwords{Hasher: secret.NewHasher(1)}
	tests := map[string]struct {
		password string
		want     error
	}{
		"shortest":                       {strings.Repeat("a", factor.MinPasswordLength), nil},
		"too short":                      {strings.Repeat("a", factor.MinPasswordLength-1), factor.ErrPasswordLength},
		"nothing":                        {"", factor.ErrPasswordLength},
		"longest, in characters":         {strings.Repeat("🙂", factor.MaxPasswordLength), nil},
		"too long":                       {strings.Repeat("a", factor.MaxPasswordLength+1), factor.ErrPasswordLength},
		"four characters of eight bytes": {"éééé", factor.ErrPasswordLength},
		"space counts":                   {"        ", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hash, err := p.Hash(t.Context(), tt.password)
			if !errors.Is(err, tt.want) || (hash == "") != (tt.want != nil) {
				t.Fatalf("Hash = %q, %v, want %v", hash, err, tt.want)
			}
			if tt.want != nil {
				return
			}
			if right, _, err := p.Verify(t.Context(), hash, tt.password); err != nil || !right {
				t.Errorf("Verify of what was hashed = %t, %v", right, err)
			}
		})
	}
}

func TestPutReplacesTheHashThatLoginFinds(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org, other := testkit.Tenant(t, s, "acme"), testkit.Tenant(t, s, "other")
	var user directory.User
	for _, want := range []string{"first", "second"} {
		var got string
		if err := s.InTenant(t.Context(), org.ID, func(ctx context.Context, tx *store.Tx) (err error) {
			if want == "first" {
				if user, err = directory.Create(ctx, tx, directory.New{Username: "ada"}); err != nil {
					return err
				}
			}
			if err = factor.Put(ctx, tx, user.ID, want); err != nil {
				return err
			}
			_, got, err = directory.ForLogin(ctx, tx, "ada")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("ForLogin finds the hash %q, want %q", got, want)
		}
	}
	if err := s.InTenant(t.Context(), other.ID, func(ctx context.Context, tx *store.Tx) error {
		return factor.Put(ctx, tx, user.ID, "stolen")
	}); err == nil {
		t.Error("another tenant put a password on the account")
	}
}
