package secret

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
)

func TestHashAndVerify(t *testing.T) {
	t.Parallel()
	h := NewHasher(0)
	long := strings.Repeat("ä", MaxPasswordBytes/2)
	tests := map[string]struct {
		password, presented string
		want                bool
	}{
		"same":                            {hush, hush, true},
		"other":                           {hush, hush + "r", false},
		"NUL does not end a password":     {"a\x00b", "a\x00c", false},
		"NUL is kept":                     {"a\x00b", "a\x00b", true},
		"the last of 1024 bytes counts":   {long, long[:len(long)-2] + "ö", false},
		"1024 bytes":                      {long, long, true},
		"empty is a password, not a skip": {hush, "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			phc, err := h.Hash(t.Context(), tt.password)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(phc, "$argon2id$v=19$m=19456,t=2,p=1$") {
				t.Errorf("Hash = %q", phc)
			}
			ok, rehash, err := h.Verify(t.Context(), phc, tt.presented)
			if ok != tt.want || rehash || err != nil {
				t.Errorf("Verify = %t, %t, %v, want %t, false, nil", ok, rehash, err, tt.want)
			}
		})
	}
}

func TestVerifyAsksForRehash(t *testing.T) {
	t.Parallel()
	h := NewHasher(1)
	tests := map[string]struct {
		phc, password string
		ok, rehash    bool
	}{
		// The first two are vectors of the reference implementation in C.
		"little memory":                  {"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "password", true, true},
		"short salt":                     {"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password", true, true},
		"stronger parameters":            {"$argon2id$v=19$m=65536,t=3,p=4$fhuPgJ0bi8+t+8vHMkuQbA$4w98B10g9IBNrSmXd6At7sguHWTKg2cvPMT6dkJ75Mk", "password", true, false},
		"weaker, but the wrong password": {"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "Password", false, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ok, rehash, err := h.Verify(t.Context(), tt.phc, tt.password)
			if ok != tt.ok || rehash != tt.rehash || err != nil {
				t.Errorf("Verify = %t, %t, %v, want %t, %t, nil", ok, rehash, err, tt.ok, tt.rehash)
			}
		})
	}
}

func TestVerifyRefusesHashes(t *testing.T) {
	t.Parallel()
	h := NewHasher(1)
	const salt, key = "c29tZXNhbHRzb21lc2FsdA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	tests := map[string]string{
		"empty":                "",
		"plain text":           hush,
		"bcrypt":               "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
		"argon2i":              "$argon2i$v=19$m=19456,t=2,p=1$" + salt + "$" + key,
		"old version":          "$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + key,
		"no version":           "$argon2id$m=19456,t=2,p=1$" + salt + "$" + key,
		"4 GiB":                "$argon2id$v=19$m=4194304,t=2,p=1$" + salt + "$" + key,
		"overflowing memory":   "$argon2id$v=19$m=99999999999999999999,t=2,p=1$" + salt + "$" + key,
		"endless passes":       "$argon2id$v=19$m=19456,t=2147483647,p=1$" + salt + "$" + key,
		"no passes":            "$argon2id$v=19$m=19456,t=0,p=1$" + salt + "$" + key,
		"no lanes":             "$argon2id$v=19$m=19456,t=2,p=0$" + salt + "$" + key,
		"many lanes":           "$argon2id$v=19$m=19456,t=2,p=255$" + salt + "$" + key,
		"negative":             "$argon2id$v=19$m=-19456,t=2,p=1$" + salt + "$" + key,
		"parameters twice":     "$argon2id$v=19$m=19456,t=2,p=1,m=4194304$" + salt + "$" + key,
		"leading zero":         "$argon2id$v=19$m=019456,t=2,p=1$" + salt + "$" + key,
		"no key":               "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$",
		"key of four bytes":    "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$AAAAAA",
		"no salt":              "$argon2id$v=19$m=19456,t=2,p=1$$" + key,
		"not base64":           "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$!!!!",
		"something after it":   "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + key + "$x",
		"something before it":  "x$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$" + key,
		"a line break in it":   "$argon2id$v=19$m=19456,t=2,p=1\n$" + salt + "$" + key,
		"less than 8 KiB/lane": "$argon2id$v=19$m=64,t=2,p=16$" + salt + "$" + key,
	}
	for name, phc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if ok, rehash, err := h.Verify(t.Context(), phc, hush); ok || rehash || !errors.Is(err, ErrHashFormat) {
				t.Errorf("Verify = %t, %t, %v, want ErrHashFormat", ok, rehash, err)
			}
		})
	}
}

func TestLongPasswordsAreRefused(t *testing.T) {
	t.Parallel()
	h := NewHasher(1)
	h.slots <- struct{}{} // refused before waiting for a turn
	long := strings.Repeat("a", MaxPasswordBytes+1)
	if _, err := h.Hash(t.Context(), long); !errors.Is(err, ErrTooLong) {
		t.Errorf("Hash: %v, want ErrTooLong", err)
	}
	if _, _, err := h.Verify(t.Context(), h.nobody, long); !errors.Is(err, ErrTooLong) {
		t.Errorf("Verify: %v, want ErrTooLong", err)
	}
	if err := h.VerifyNobody(t.Context(), long); !errors.Is(err, ErrTooLong) {
		t.Errorf("VerifyNobody: %v, want ErrTooLong", err)
	}
}

func TestNobodyHasTodaysParameters(t *testing.T) {
	t.Parallel()
	h := NewHasher(1)
	phc, err := h.Hash(t.Context(), hush)
	if err != nil {
		t.Fatal(err)
	}
	cost := func(phc string) string { return phc[:strings.LastIndex(phc[:strings.LastIndex(phc, "$")], "$")] }
	if got, want := cost(h.nobody), cost(phc); got != want || len(h.nobody) != len(phc) {
		t.Errorf("nobody's hash %s has not the shape of %s", h.nobody, phc)
	}
	if err := h.VerifyNobody(t.Context(), hush); err != nil {
		t.Errorf("VerifyNobody: %v", err)
	}
}

func TestHasherWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := NewHasher(1)
		h.slots <- struct{}{} // somebody else is hashing
		ctx, cancel := context.WithCancel(t.Context())
		refused, served := make(chan error, 1), make(chan error, 1)
		go func() { _, err := h.Hash(ctx, hush); refused <- err }()
		go func() { served <- h.VerifyNobody(t.Context(), hush) }()
		synctest.Wait() // both are blocked
		if len(refused)+len(served) != 0 {
			t.Fatal("more hashes run than allowed")
		}
		cancel()
		if err := <-refused; !errors.Is(err, context.Canceled) {
			t.Errorf("Hash: %v, want context.Canceled", err)
		}
		<-h.slots
		if err := <-served; err != nil {
			t.Errorf("VerifyNobody: %v", err)
		}
		if len(h.slots) != 0 {
			t.Error("a slot was not given back")
		}
	})
}

func TestHasherIgnoresRequestsThatAreGone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewHasher(8).Hash(ctx, hush); !errors.Is(err, context.Canceled) {
		t.Errorf("Hash: %v, want context.Canceled", err)
	}
}
