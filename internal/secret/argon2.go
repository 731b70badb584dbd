package secret

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/go-crypt/crypt/algorithm/argon2"
)

// Cost of a new hash: the second choice of OWASP's password storage cheat sheet, about 40 ms of one core.
const (
	argonMemoryKiB = 19456
	argonPasses    = 2
	argonLanes     = 1
	argonSaltBytes = 16
	argonKeyBytes  = 32
)

// Highest cost Verify accepts. Stored hashes may come from an import, and one of 4 GiB would take the process down.
const (
	maxMemoryKiB = 128 << 10
	maxPasses    = 16
	maxLanes     = 16
	minKeyBytes  = 16 // a stored key of a few bytes would match by chance
	maxKeyBytes  = 64
)

// MaxPasswordBytes is the longest password that is hashed. Nothing is ever truncated.
const MaxPasswordBytes = 1024

var (
	// ErrTooLong is returned for a password above [MaxPasswordBytes], before any work is done.
	ErrTooLong = fmt.Errorf("password is longer than %d bytes", MaxPasswordBytes)
	// ErrHashFormat is returned by [Hasher.Verify] for a stored hash that is not Argon2id or whose cost is out of
	// bounds. The message never contains the hash.
	ErrHashFormat = errors.New("stored password hash is not usable Argon2id")
)

// Hasher hashes passwords with Argon2id (RFC 9106) into PHC strings and checks them. A hash holds 19 MiB while it
// runs, so a Hasher runs only so many at once and the rest wait: a login flood costs time, not memory. Share one per
// process; safe for concurrent use.
type Hasher struct {
	slots  chan struct{}
	argon  *argon2.Hasher
	nobody string
}

// NewHasher returns a Hasher that runs at most concurrency hashes at once. Zero or less means one per processor:
// hashing never waits for anything but the processor, so more would only hold memory.
func NewHasher(concurrency int) *Hasher {
	if concurrency < 1 {
		concurrency = runtime.GOMAXPROCS(0)
	}
	argon, err := argon2.New(
		argon2.WithVariantID(),
		argon2.WithM(argonMemoryKiB),
		argon2.WithT(argonPasses),
		argon2.WithP(argonLanes),
		argon2.WithS(argonSaltBytes),
		argon2.WithK(argonKeyBytes),
	)
	if err != nil {
		panic(fmt.Sprintf("secret: argon2 parameters: %v", err)) // they are constants
	}
	// A key of zero bytes is the hash of no known password, and checking against it costs what any check costs.
	nobody := fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", argonMemoryKiB, argonPasses, argonLanes,
		base64.RawStdEncoding.EncodeToString(make([]byte, argonSaltBytes)),
		base64.RawStdEncoding.EncodeToString(make([]byte, argonKeyBytes)))
	return &Hasher{slots: make(chan struct{}, concurrency), argon: argon, nobody: nobody}
}

// Hash returns the PHC string of password under a fresh salt. Any bytes are allowed, NUL included. It fails with
// [ErrTooLong], or with ctx's error when ctx ends while it waits for its turn; once begun it is not interrupted.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if len(password) > MaxPasswordBytes {
		return "", ErrTooLong
	}
	if err := h.acquire(ctx); err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	defer h.release()
	digest, err := h.argon.Hash(password)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return digest.Encode(), nil
}

// Verify reports whether password is the one phc was made from, and whether a matching hash should be replaced by a
// new [Hasher.Hash] because it is weaker than what Hash makes now. A wrong password is not an error. It fails with
// [ErrTooLong], with [ErrHashFormat], or with ctx's error when ctx ends while it waits for its turn.
func (h *Hasher) Verify(ctx context.Context, phc, password string) (ok, rehash bool, err error) {
	if len(password) > MaxPasswordBytes {
		return false, false, ErrTooLong
	}
	weak, err := inspect(phc)
	if err != nil {
		return false, false, err
	}
	digest, err := argon2.DecodeVariant(argon2.VariantID)(phc)
	if err != nil {
		return false, false, ErrHashFormat // the library's message quotes parts of the hash
	}
	if err := h.acquire(ctx); err != nil {
		return false, false, fmt.Errorf("verify password: %w", err)
	}
	defer h.release()
	ok, err = digest.MatchAdvanced(password)
	if err != nil {
		return false, false, ErrHashFormat
	}
	return ok, ok && weak, nil
}

// VerifyNobody costs what [Hasher.Verify] costs against a hash of today's parameters, and matches nothing. Call it
// when there is no such user, or the time of the answer tells which users exist. It fails as Verify does.
func (h *Hasher) VerifyNobody(ctx context.Context, password string) error {
	_, _, err := h.Verify(ctx, h.nobody, password)
	return err
}

func (h *Hasher) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err // select picks at random, and a request that is gone must not cost a hash
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *Hasher) release() { <-h.slots }

// inspect checks a PHC string's form and cost before the library acts on it, and reports whether it is weaker than
// a new hash.
func inspect(phc string) (weak bool, err error) {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v=19" {
		return false, ErrHashFormat
	}
	var memory, passes, lanes int
	_, err = fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &lanes)
	if err != nil || parts[3] != fmt.Sprintf("m=%d,t=%d,p=%d", memory, passes, lanes) {
		return false, ErrHashFormat
	}
	salt, saltErr := base64.RawStdEncoding.DecodeString(parts[4])
	key, keyErr := base64.RawStdEncoding.DecodeString(parts[5])
	if saltErr != nil || keyErr != nil ||
		memory < 8*lanes || memory > maxMemoryKiB || passes < 1 || passes > maxPasses || lanes < 1 || lanes > maxLanes ||
		len(salt) == 0 || len(key) < minKeyBytes || len(key) > maxKeyBytes {
		return false, ErrHashFormat
	}
	return memory < argonMemoryKiB || passes < argonPasses || len(salt) < argonSaltBytes || len(key) < argonKeyBytes, nil
}
