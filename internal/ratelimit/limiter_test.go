package ratelimit

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"parako/internal/cache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	tenantA = uuid.MustParse("018f0000-0000-7000-8000-00000000000a")
	tenantB = uuid.MustParse("018f0000-0000-7000-8000-00000000000b")
	epoch   = time.Date(2026, 11, 24, 3, 0, 0, 123_456_000, time.UTC)
	five    = Limit{Name: "five", Burst: 5, Period: 15 * time.Minute}
)

// clock is a clock that moves when told to.
type clock struct{ micros atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.micros.Store(epoch.UnixMicro())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMicro(c.micros.Load()) }
func (c *clock) advance(d time.Duration) { c.micros.Add(d.Microseconds()) }

// open returns a patient cache: a busy machine must not look like a lost Redis.
func open(t *testing.T, o cache.Options) *cache.Cache {
	t.Helper()
	o.Timeout = time.Minute
	c, err := cache.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// unused is the clock of a Limiter that counts in Redis and must not need one.
func unused(t *testing.T) func() time.Time {
	t.Helper()
	complain := sync.OnceFunc(func() { t.Error("counted in the process") })
	return func() time.Time {
		complain()
		return epoch
	}
}

// eachStore runs test with counters in the process and with counters in miniredis, on a clock that the test moves.
func eachStore(t *testing.T, test func(t *testing.T, l *Limiter, advance func(time.Duration))) {
	t.Helper()
	t.Run("process", func(t *testing.T) {
		t.Parallel()
		c := newClock()
		test(t, New(nil, c.now), c.advance)
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		m, c := miniredis.RunT(t), newClock()
		m.SetTime(c.now())
		test(t, New(open(t, cache.Options{URL: "redis://" + m.Addr(), Compat: true}), unused(t)), func(d time.Duration) {
			c.advance(d)
			m.SetTime(c.now())
			m.FastForward(d) // expires keys
		})
	})
}

func TestAllow(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, l *Limiter, advance func(time.Duration)) {
		allow := func(want Decision) {
			t.Helper()
			if diff := cmp.Diff(want, l.Allow(t.Context(), tenantA, five, "x")); diff != "" {
				t.Errorf("Allow mismatch (-want +got)\n%s", diff)
			}
		}
		for left := range 5 {
			allow(Decision{Allowed: true, Remaining: 4 - left})
		}
		allow(Decision{RetryAfter: 3 * time.Minute})
		allow(Decision{RetryAfter: 3 * time.Minute}) // persisting does not prolong it
		advance(2 * time.Minute)
		allow(Decision{RetryAfter: time.Minute})
		advance(time.Minute)
		allow(Decision{Allowed: true})
		allow(Decision{RetryAfter: 3 * time.Minute})
		advance(time.Hour)
		allow(Decision{Allowed: true, Remaining: 4})
	})
}

func TestSubjectsDoNotShareCounters(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, l *Limiter, _ func(time.Duration)) {
		other := five
		other.Name = "other"
		for range 6 {
			l.Consume(t.Context(), tenantA, five, "x")
		}
		tests := map[string]struct {
			tenant  uuid.UUID
			limit   Limit
			subject string
			want    bool
		}{
			"used up":       {tenantA, five, "x", false},
			"other tenant":  {tenantB, five, "x", true},
			"other limit":   {tenantA, other, "x", true},
			"other subject": {tenantA, five, "y", true},
			"no subject":    {tenantA, five, "", true},
		}
		for name, tt := range tests {
			if got := l.Peek(t.Context(), tt.tenant, tt.limit, tt.subject); got.Allowed != tt.want {
				t.Errorf("%s: Peek = %+v, want Allowed %t", name, got, tt.want)
			}
		}
	})
}

func TestPeekCountsNothing(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, l *Limiter, _ func(time.Duration)) {
		for range 10 {
			if got, want := l.Peek(t.Context(), tenantA, five, "x"), (Decision{Allowed: true, Remaining: 5}); got != want {
				t.Fatalf("Peek = %+v, want %+v", got, want)
			}
		}
		l.Consume(t.Context(), tenantA, five, "x")
		if got, want := l.Peek(t.Context(), tenantA, five, "x"), (Decision{Allowed: true, Remaining: 4}); got != want {
			t.Errorf("Peek = %+v, want %+v", got, want)
		}
	})
}

func TestRefund(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, l *Limiter, _ func(time.Duration)) {
		for range 100 { // a person who always logs in successfully is never refused
			if !l.Allow(t.Context(), tenantA, five, "x").Allowed {
				t.Fatal("refused although every attempt was refunded")
			}
			l.Refund(t.Context(), tenantA, five, "x")
		}
		for range 3 {
			l.Refund(t.Context(), tenantA, five, "x") // cannot save up
		}
		if got, want := l.Peek(t.Context(), tenantA, five, "x"), (Decision{Allowed: true, Remaining: 5}); got != want {
			t.Errorf("Peek = %+v, want %+v", got, want)
		}
	})
}

func TestParallelAttemptsCannotOvertakeTheCount(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, l *Limiter, _ func(time.Duration)) {
		var allowed atomic.Int64
		var attempts sync.WaitGroup
		for range 50 {
			attempts.Go(func() {
				if l.Allow(t.Context(), tenantA, five, "x").Allowed {
					allowed.Add(1)
				}
			})
		}
		attempts.Wait()
		if got := allowed.Load(); got != 5 {
			t.Errorf("%d of 50 parallel attempts were allowed, want 5", got)
		}
	})
}

// TestThirdPartyCannotLockOut: somebody who fails for a victim's account exhausts their own counters only.
func TestThirdPartyCannotLockOut(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, l *Limiter, _ func(time.Duration)) {
		attacker, victim := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("198.51.100.1")
		for range 50 {
			l.Consume(t.Context(), tenantA, LoginIdentifier(), IdentifierFrom("ann@example.com", attacker))
			l.Consume(t.Context(), tenantA, LoginIP(), IP(attacker))
		}
		if l.Peek(t.Context(), tenantA, LoginIdentifier(), IdentifierFrom("ann@example.com", attacker)).Allowed {
			t.Error("the attacker is not refused")
		}
		if !l.Peek(t.Context(), tenantA, LoginIdentifier(), IdentifierFrom("ann@example.com", victim)).Allowed ||
			!l.Peek(t.Context(), tenantA, LoginIP(), IP(victim)).Allowed {
			t.Error("the victim is locked out")
		}
	})
}

func TestNoSubjectInRedis(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	l := New(open(t, cache.Options{URL: "redis://" + m.Addr(), Compat: true}), newClock().now)
	l.Consume(t.Context(), tenantA, LoginIdentifier(), IdentifierFrom("ann@example.com", netip.MustParseAddr("203.0.113.9")))
	l.Consume(t.Context(), tenantA, LoginIP(), "ann@example.com")
	l.Consume(t.Context(), tenantB, LoginIP(), "ann@example.com")
	dump, digests := m.Dump(), map[string]bool{}
	for _, key := range m.Keys() {
		parts := strings.Split(key, ":")
		if parts[1] == "_ops" {
			continue
		}
		if len(parts) != 5 || uuid.Validate(parts[1]) != nil || digests[parts[4]] {
			t.Errorf("key %s: want prefix, tenant, rl, limit and a digest of its own", key)
		}
		digests[parts[4]] = true
	}
	if len(digests) != 3 || strings.Contains(dump, "ann") || strings.Contains(dump, "203.0.113.9") {
		t.Errorf("redis holds\n%s", dump)
	}
}

// TestGoAndLuaAgree drives both with the same random history, once with keys that expire and once with a clock that
// also jumps back, which miniredis cannot combine.
func TestGoAndLuaAgree(t *testing.T) {
	t.Parallel()
	t.Run("keys expire", func(t *testing.T) { t.Parallel(); compareHistories(t, true) })
	t.Run("the clock jumps back", func(t *testing.T) { t.Parallel(); compareHistories(t, false) })
}

func compareHistories(t *testing.T, expire bool) {
	t.Helper()
	m, c := miniredis.RunT(t), newClock()
	m.SetTime(c.now())
	lua, local := New(open(t, cache.Options{URL: "redis://" + m.Addr(), Compat: true}), unused(t)), New(nil, c.now)
	limits := []Limit{{"a", 1, time.Second}, {"b", 5, 7 * time.Second}, {"c", 1000, 13 * time.Second}, {"d", 3, 3 * time.Microsecond}}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for step := range 5000 {
		if random.IntN(3) == 0 {
			d := time.Duration(random.Int64N(int64(10 * time.Second))).Truncate(time.Microsecond)
			switch {
			case expire:
				m.FastForward(d)
			case random.IntN(10) == 0:
				d = -d
			}
			c.advance(d)
			m.SetTime(c.now())
		}
		limit := limits[random.IntN(len(limits))]
		if random.IntN(50) == 0 {
			limit.Burst = 1 + limit.Burst/2 // an operator changed it
		}
		cost := min(int64(random.IntN(7)-1), 1)
		subject := string(rune('a' + random.IntN(3)))
		want := local.decide(t.Context(), tenantA, limit, subject, cost)
		got := lua.decide(t.Context(), tenantA, limit, subject, cost)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d, step %d, %+v, cost %d: Go and Lua differ (-go +lua)\n%s", seed, step, limit, cost, diff)
		}
	}
}

// TestRealRedis checks the script where a real Redis runs it: one of its own where redis-server is installed, and
// REDIS_URL where it is set.
func TestRealRedis(t *testing.T) {
	t.Parallel()
	urls := map[string]string{}
	if path, err := exec.LookPath("redis-server"); err == nil {
		urls["process"] = "unix://" + startRedis(t, path)
	}
	if url := os.Getenv("REDIS_URL"); url != "" {
		urls["shared"] = url
	} else if os.Getenv("CI") == "true" {
		t.Error("REDIS_URL is not set: CI tests against a real Redis")
	}
	for name, url := range urls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := open(t, cache.Options{URL: url, Prefix: "test-" + uuid.NewString()})
			for deadline := time.After(time.Minute); !c.Available(); {
				select {
				case <-deadline:
					t.Fatal("redis does not answer")
				case <-time.After(5 * time.Millisecond):
				}
			}
			l := New(c, unused(t))
			slow := Limit{Name: "slow", Burst: 3, Period: 30 * 24 * time.Hour}
			for left := range 3 {
				if got, want := l.Allow(t.Context(), tenantA, slow, "x"), (Decision{Allowed: true, Remaining: 2 - left}); got != want {
					t.Errorf("Allow = %+v, want %+v", got, want)
				}
			}
			got := l.Allow(t.Context(), tenantA, slow, "x")
			if got.Allowed || got.Remaining != 0 || got.RetryAfter <= 9*24*time.Hour || got.RetryAfter > 10*24*time.Hour {
				t.Errorf("Allow = %+v, want a refusal for about ten days", got)
			}
			l.Refund(t.Context(), tenantA, slow, "x")
			if got := l.Peek(t.Context(), tenantA, slow, "x"); !got.Allowed || got.Remaining != 1 {
				t.Errorf("Peek after Refund = %+v, want one left", got)
			}
		})
	}
}

func startRedis(t *testing.T, path string) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis") // t.TempDir can be too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	process := exec.Command(path, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir)
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
		_ = os.RemoveAll(dir)
	})
	return socket
}

func TestCountingGoesOnWhenRedisDies(t *testing.T) {
	t.Parallel()
	m, c := miniredis.RunT(t), newClock()
	l := New(open(t, cache.Options{URL: "redis://" + m.Addr(), Compat: true}), c.now)
	for range 5 {
		l.Consume(t.Context(), tenantA, five, "x")
	}
	m.Close()
	for left := range 5 { // the old count is lost, the limit is not
		if got, want := l.Allow(t.Context(), tenantA, five, "x"), (Decision{Allowed: true, Remaining: 4 - left}); got != want {
			t.Errorf("Allow = %+v, want %+v", got, want)
		}
	}
	if got, want := l.Allow(t.Context(), tenantA, five, "x"), (Decision{RetryAfter: 3 * time.Minute}); got != want {
		t.Errorf("Allow = %+v, want %+v", got, want)
	}
}

func TestCancelledRequestsAreStillCounted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := New(nil, newClock().now)
	l.Consume(ctx, tenantA, five, "x")
	if got := l.Peek(t.Context(), tenantA, five, "x"); got.Remaining != 4 {
		t.Errorf("Peek = %+v, want 4 remaining", got)
	}
}

func TestProcessCountersAreBounded(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := New(nil, c.now)
	for range 5 {
		l.Consume(t.Context(), tenantA, five, "victim")
	}
	count := func() (n int) {
		for i := range l.local.shards {
			n += len(l.local.shards[i].full)
		}
		return n
	}
	for i := range 3 * maxCounters {
		l.local.decide(digest(tenantB, "flood", string([]byte{byte(i), byte(i >> 8), byte(i >> 16)})), c.now().UnixMicro(), 1000, 5, 1)
	}
	if got := count(); got > maxCounters {
		t.Errorf("%d counters are kept, want at most %d", got, maxCounters)
	}
	if l.Peek(t.Context(), tenantA, five, "victim").Allowed {
		t.Error("a flood of other subjects reset a counter that was used up")
	}
	before := count()
	for i := range 1000 {
		l.Peek(t.Context(), tenantB, five, string(rune(i)))
	}
	if got := count(); got != before {
		t.Errorf("Peek changed the number of counters from %d to %d", before, got)
	}
}

func TestIP(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ addr, want string }{
		"IPv4":                   {"203.0.113.9", "203.0.113.9"},
		"IPv4 in IPv6":           {"::ffff:203.0.113.9", "203.0.113.9"},
		"IPv6 is one per /64":    {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		"the zone is no way out": {"fe80::1%eth0", "fe80::/64"},
	}
	for name, tt := range tests {
		if got := IP(netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("%s: IP(%s) = %s, want %s", name, tt.addr, got, tt.want)
		}
	}
	if got := IP(netip.Addr{}); got == "" {
		t.Error("an unknown address has no subject")
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, limit := range All() {
		if limit.interval() <= 0 || names[limit.Name] {
			t.Errorf("limit %+v has no interval or somebody else's name", limit)
		}
		names[limit.Name] = true
	}
	for _, bad := range []Limit{{}, {Name: "x"}, {Name: "x", Burst: 1}, {Name: "x", Period: time.Hour}, {Name: "x", Burst: 2, Period: time.Microsecond}, {Burst: 1, Period: time.Hour}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("limit %+v is accepted", bad)
				}
			}()
			New(nil, newClock().now).Allow(t.Context(), tenantA, bad, "x")
		}()
	}
}

func TestAllowHere(t *testing.T) {
	t.Parallel()
	m, c := miniredis.RunT(t), newClock()
	l := New(open(t, cache.Options{URL: "redis://" + m.Addr(), Compat: true}), c.now)
	limit := Requests(2, 10*time.Minute)
	allow := func(tenant uuid.UUID, subject string, want Decision) {
		t.Helper()
		if diff := cmp.Diff(want, l.AllowHere(tenant, limit, subject)); diff != "" {
			t.Errorf("AllowHere mismatch (-want +got)\n%s", diff)
		}
	}
	allow(tenantA, "x", Decision{Allowed: true, Remaining: 1})
	allow(tenantA, "x", Decision{Allowed: true})
	allow(tenantA, "x", Decision{RetryAfter: 5 * time.Minute})
	allow(tenantA, "y", Decision{Allowed: true, Remaining: 1})
	allow(tenantB, "x", Decision{Allowed: true, Remaining: 1})
	c.advance(5 * time.Minute)
	allow(tenantA, "x", Decision{Allowed: true})
	for _, key := range m.Keys() {
		if strings.Contains(key, ":rl:") {
			t.Errorf("Redis holds %s", key)
		}
	}
	policy, state := limit.Headers(l.AllowHere(tenantA, limit, "x"))
	if policy != "2;w=600" || state != "limit=2, remaining=0, reset=600" {
		t.Errorf("Headers = %q, %q", policy, state)
	}
}

func TestAllowMail(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, l *Limiter, advance func(time.Duration)) {
		two, none := int32(2), int32(0)
		allow := func(tenant uuid.UUID, perHour *int32, want bool) {
			t.Helper()
			if got := l.AllowMail(t.Context(), tenant, perHour); got.Allowed != want || got.Allowed == (got.RetryAfter > 0) {
				t.Errorf("AllowMail = %+v, want Allowed %t", got, want)
			}
		}
		allow(tenantA, &two, true)
		allow(tenantA, &two, true)
		allow(tenantA, &two, false)
		allow(tenantB, &two, true)
		allow(tenantA, nil, true)
		allow(tenantA, &none, false)
		advance(30 * time.Minute)
		allow(tenantA, &two, true)
		allow(tenantA, &two, false)
	})
}

// BenchmarkAllowHere is what every request pays.
func BenchmarkAllowHere(b *testing.B) {
	l, limit := New(nil, time.Now), Requests(100_000, time.Minute)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.AllowHere(tenantA, limit, "192.0.2.1")
		}
	})
}
