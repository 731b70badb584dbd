// Package ratelimit slows down guessing: so many attempts in so much time, per tenant and subject.
//
// Every limit the product has is enumerated in limits.go, with the subject it counts and the reason. Counters live in
// Redis and are shared by all instances; while Redis is away each instance counts on its own, so a limit may then be
// exceeded by a factor of the number of instances but is never off. Counters are not a record of anything: they vanish
// with Redis and are not restored. What is asked for every request is counted in the process alone, because it must not cost a
// round trip ([Limiter.AllowHere]).
//
// The algorithm is GCRA, which needs one timestamp per subject and refills evenly: a [Limit] of 5 per 15 minutes
// admits 5 at once and then one each 3 minutes. Its arithmetic exists twice, in gcra.go and in gcra.lua; a test keeps
// them equal.
//
// The package refuses requests of nobody. It only answers; callers decide what a refusal looks like. Start reading at
// limits.go, then [Limiter].
package ratelimit

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"

	"parako/internal/cache"
)

// Limiter answers whether one more attempt is within a [Limit]. It never fails: without Redis it counts in the
// process. Safe for concurrent use.
type Limiter struct {
	redis  *cache.Cache
	script *cache.Script
	local  *counters // while Redis is away
	here   *counters // of AllowHere; apart, so that a flood of requests cannot push failed logins out of memory
	now    func() time.Time
}

// Decision is the answer to one attempt.
type Decision struct {
	// Allowed reports whether the attempt is within the limit.
	Allowed bool
	// RetryAfter is how long until an attempt will be allowed; zero when Allowed.
	RetryAfter time.Duration
	// Remaining is how many further attempts would be allowed at once.
	Remaining int
}

//go:embed gcra.lua
var gcraLua string

// New returns a Limiter that counts in redis and, when that is unavailable or nil, in the process by the clock now.
// Counting in Redis uses the clock of Redis, the only one that all instances share.
func New(redis *cache.Cache, now func() time.Time) *Limiter {
	return &Limiter{redis: redis, script: cache.NewScript(gcraLua), local: newCounters(), here: newCounters(), now: now}
}

// Allow counts one attempt if it is within the limit, and says whether it was. A refused attempt is not counted, so
// persisting does not prolong a refusal. Count before the answer is known and give back with [Limiter.Refund] what
// turned out well: attempts in parallel then cannot overtake the count.
func (l *Limiter) Allow(ctx context.Context, tenant uuid.UUID, limit Limit, subject string) Decision {
	return l.decide(ctx, tenant, limit, subject, 1)
}

// AllowHere is [Limiter.Allow] counted in the process, whether or not there is a Redis: for what is asked so often that a round trip
// would cost more than the requests that other instances let pass besides.
func (l *Limiter) AllowHere(tenant uuid.UUID, limit Limit, subject string) Decision {
	return l.here.decide(digest(tenant, limit.Name, subject), l.now().UnixMicro(), limit.interval(), int64(limit.Burst), 1)
}

// AllowMail counts one mail in the name of a tenant against its quota of mails in an hour, nil being none. What is refused can be sent
// after RetryAfter; with a quota of 0 that is never true, and asked again every hour.
func (l *Limiter) AllowMail(ctx context.Context, tenant uuid.UUID, perHour *int32) Decision {
	switch {
	case perHour == nil:
		return Decision{Allowed: true, Remaining: math.MaxInt32}
	case *perHour < 1:
		return Decision{RetryAfter: time.Hour}
	}
	return l.Allow(ctx, tenant, QuotaMails(*perHour), "")
}

// RefundMail gives back a mail that AllowMail counted and nobody took.
func (l *Limiter) RefundMail(ctx context.Context, tenant uuid.UUID, perHour *int32) {
	if perHour != nil && *perHour > 0 {
		l.Refund(ctx, tenant, QuotaMails(*perHour), "")
	}
}

// Peek says what [Limiter.Allow] would say and counts nothing. Between Peek and [Limiter.Consume] others may pass;
// where that matters use Allow and [Limiter.Refund].
func (l *Limiter) Peek(ctx context.Context, tenant uuid.UUID, limit Limit, subject string) Decision {
	return l.decide(ctx, tenant, limit, subject, 0)
}

// Consume counts one attempt that has been made, such as a failed login after [Limiter.Peek]. When nothing is left
// it changes nothing, so nobody is ever refused for longer than until the next attempt is due.
func (l *Limiter) Consume(ctx context.Context, tenant uuid.UUID, limit Limit, subject string) {
	l.decide(ctx, tenant, limit, subject, 1)
}

// Refund gives back one attempt that [Limiter.Allow] counted and that turned out well.
func (l *Limiter) Refund(ctx context.Context, tenant uuid.UUID, limit Limit, subject string) {
	l.decide(ctx, tenant, limit, subject, -1)
}

func (l *Limiter) decide(ctx context.Context, tenant uuid.UUID, limit Limit, subject string, cost int64) Decision {
	interval, burst := limit.interval(), int64(limit.Burst)
	digest := digest(tenant, limit.Name, subject)
	key := cache.TenantKey(tenant, "rl", limit.Name, base64.RawURLEncoding.EncodeToString(digest[:]))
	reply, err := l.redis.Eval(ctx, l.script, key,
		strconv.FormatInt(interval, 10), strconv.FormatInt(burst, 10), strconv.FormatInt(cost, 10))
	if err == nil && len(reply) == 2 {
		return decision(reply[0], reply[1])
	}
	return l.local.decide(digest, l.now().UnixMicro(), interval, burst, cost)
}

func decision(wait, remaining int64) Decision {
	return Decision{
		Allowed:    wait == 0,
		RetryAfter: time.Duration(wait) * time.Microsecond,
		Remaining:  int(remaining),
	}
}

// counterID stands for a tenant, a limit and a subject. Subjects are addresses of people and machines and have no
// business in Redis; with the tenant inside, equal subjects of two tenants cannot be told to be equal.
type counterID [16]byte

func digest(tenant uuid.UUID, limit, subject string) counterID {
	var room [96]byte // enough for any address, so that this costs no memory
	text := append(room[:0], tenant[:]...)
	text = binary.BigEndian.AppendUint32(text, uint32(len(limit)))
	text = append(text, limit...)
	text = append(text, subject...)
	sum := sha256.Sum256(text)
	return counterID(sum[:16])
}
