package cache

import (
	"cmp"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	tenantA = uuid.MustParse("018f0000-0000-7000-8000-00000000000a")
	tenantB = uuid.MustParse("018f0000-0000-7000-8000-00000000000b")
)

// server is a Redis that a test may take down and bring back.
type server struct {
	options    Options
	kill, back func()
	freeze     func() // stops answering without closing; nil where that cannot be arranged
}

// eachRedis runs test against miniredis, against a redis-server of its own where one is installed, and against
// REDIS_URL where it is set; the last is shared, hence not to be killed.
func eachRedis(t *testing.T, mayKill bool, test func(*testing.T, server)) {
	t.Helper()
	run := func(name string, start func(*testing.T) server) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.options.Prefix = "test-" + uuid.NewString()
			test(t, s)
		})
	}
	run("miniredis", startMini)
	if path, err := exec.LookPath("redis-server"); err == nil {
		run("process", func(t *testing.T) server { return startProcess(t, path) })
	}
	if url := os.Getenv("REDIS_URL"); url != "" && !mayKill {
		run("shared", func(*testing.T) server { return server{options: Options{URL: url}} })
	} else if url == "" && os.Getenv("CI") == "true" {
		t.Error("REDIS_URL is not set: CI tests against a real Redis")
	}
}

func startMini(t *testing.T) server {
	t.Helper()
	m := miniredis.RunT(t)
	return server{
		options: Options{URL: "redis://" + m.Addr(), Compat: true},
		kill:    m.Close,
		back: func() {
			if err := m.Restart(); err != nil {
				t.Error(err)
			}
		},
	}
}

func startProcess(t *testing.T, path string) server {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis") // t.TempDir can be too long for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	var process *exec.Cmd
	start := func() {
		process = exec.Command(path, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir)
		if err := process.Start(); err != nil {
			t.Error(err)
			return
		}
		eventually(t, "redis-server listens", func() bool {
			conn, err := net.Dial("unix", socket)
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		})
	}
	kill := func() {
		_ = process.Process.Kill()
		_ = process.Wait()
		_ = os.Remove(socket)
	}
	start()
	t.Cleanup(kill)
	freeze := func() { _ = process.Process.Signal(syscall.SIGSTOP) }
	return server{options: Options{URL: "unix://" + socket}, kill: kill, back: start, freeze: freeze}
}

// eventually polls until holds is true and fails the test when it does not happen at all.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Errorf("never: %s", what)
			return
		case <-ticker.C:
		}
	}
}

// open returns a Cache that is patient, unless the test says otherwise: the machine may be busy.
func open(t *testing.T, o Options) *Cache {
	t.Helper()
	o.Timeout = cmp.Or(o.Timeout, time.Minute)
	c, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

const addScript = `return {redis.call('INCRBY', KEYS[1], ARGV[1]), #KEYS}`

func TestEval(t *testing.T) {
	t.Parallel()
	eachRedis(t, false, func(t *testing.T, s server) {
		c, add := open(t, s.options), NewScript(addScript)
		for i, want := range [][]int64{{3, 1}, {6, 1}} { // the second time through EVALSHA
			got, err := c.Eval(t.Context(), add, TenantKey(tenantA, "test", "x"), "3")
			if err != nil || !gocmp.Equal(want, got) {
				t.Errorf("Eval %d = %v, %v, want %v", i, got, err, want)
			}
		}
		if got, err := c.Eval(t.Context(), add, TenantKey(tenantB, "test", "x"), "3"); err != nil || got[0] != 3 {
			t.Errorf("Eval for another tenant = %v, %v: it sees the first tenant's number", got, err)
		}
	})
}

func TestEvalSurvivesTheDeathOfRedis(t *testing.T) {
	t.Parallel()
	eachRedis(t, true, func(t *testing.T, s server) {
		c, add, key := open(t, s.options), NewScript(addScript), TenantKey(tenantA, "test")
		if _, err := c.Eval(t.Context(), add, key, "1"); err != nil {
			t.Fatal(err)
		}
		s.kill()
		if _, err := c.Eval(t.Context(), add, key, "1"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Eval without Redis: %v, want ErrUnavailable", err)
		}
		if c.Available() {
			t.Error("Available() after a failure")
		}
		s.back()
		eventually(t, "redis is found again", c.Available)
		if _, err := c.Eval(t.Context(), add, key, "1"); err != nil {
			t.Errorf("Eval after the restart: %v", err)
		}
	})
}

func TestRedisMayBeDownAtStart(t *testing.T) {
	t.Parallel()
	eachRedis(t, true, func(t *testing.T, s server) {
		s.kill()
		c := open(t, s.options)
		if c.Available() {
			t.Error("Available() without Redis")
		}
		s.back()
		eventually(t, "redis is found", c.Available)
	})
}

func TestErrorRepliesCountAsFailures(t *testing.T) {
	t.Parallel()
	c := open(t, startMini(t).options)
	if _, err := c.Eval(t.Context(), NewScript(`return redis.error_reply('READONLY no')`), OpsKey("test")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Eval: %v, want ErrUnavailable", err)
	}
	if c.Available() {
		t.Error("Available() after an error reply")
	}
}

// TestSilentPeer: something that accepts and never answers must not hold up the start, nor a request.
func TestSilentPeer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	c := open(t, Options{URL: "redis://" + listener.Addr().String(), Timeout: time.Millisecond})
	if _, err := c.Eval(t.Context(), NewScript(addScript), OpsKey("test"), "1"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Eval: %v, want ErrUnavailable", err)
	}
}

func TestEvalDoesNotWaitForAFrozenRedis(t *testing.T) {
	t.Parallel()
	eachRedis(t, true, func(t *testing.T, s server) {
		if s.freeze == nil {
			return
		}
		s.options.Timeout = 200 * time.Millisecond
		c := open(t, s.options)
		eventually(t, "redis is found", c.Available)
		s.freeze()
		if _, err := c.Eval(t.Context(), NewScript(addScript), OpsKey("test"), "1"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("Eval: %v, want ErrUnavailable", err)
		}
		s.kill()
		s.back()
		eventually(t, "redis is found again", c.Available)
	})
}

func TestCancelledCallersDoNotCondemnRedis(t *testing.T) {
	t.Parallel()
	c := open(t, startMini(t).options)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Eval(ctx, NewScript(addScript), OpsKey("test"), "1"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Eval: %v, want ErrUnavailable", err)
	}
	if !c.Available() {
		t.Error("a cancelled request made redis unavailable")
	}
}

func TestDisabled(t *testing.T) {
	t.Parallel()
	opened := open(t, Options{})
	for name, c := range map[string]*Cache{"opened without URL": opened, "zero": {}, "nil": nil} {
		if c.Available() {
			t.Errorf("%s: Available()", name)
		}
		if _, err := c.Eval(t.Context(), NewScript(addScript), OpsKey("test"), "1"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: Eval: %v, want ErrUnavailable", name, err)
		}
		c.PublishHint(t.Context(), Hint{Tenant: tenantA})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c.SubscribeHints(ctx, func(Hint) { t.Error("a hint") }, func() { t.Error("a gap") })
		c.Close()
	}
}

func TestClosedIsUnavailable(t *testing.T) {
	t.Parallel()
	c := open(t, startMini(t).options)
	c.Close()
	if _, err := c.Eval(t.Context(), NewScript(addScript), OpsKey("test"), "1"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Eval: %v, want ErrUnavailable", err)
	}
}

func TestOpenDoesNotQuoteThePassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://:hunter2@localhost", "redis://:hunter2@local host:%zz", "redis://:hunter2@localhost/notanumber"} {
		c, err := Open(t.Context(), Options{URL: url})
		if err == nil {
			c.Close()
			t.Errorf("Open(%q) succeeded", url)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("error %q quotes the password", err)
		}
	}
}

// subscriber collects what SubscribeHints calls.
type subscriber struct {
	hints chan Hint
	gaps  chan struct{}
}

func subscribe(t *testing.T, c *Cache) subscriber {
	t.Helper()
	s := subscriber{make(chan Hint, 100), make(chan struct{}, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.SubscribeHints(ctx, func(h Hint) { s.hints <- h }, func() { s.gaps <- struct{}{} })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

func TestHints(t *testing.T) {
	t.Parallel()
	eachRedis(t, false, func(t *testing.T, s server) {
		sender, a, b := open(t, s.options), subscribe(t, open(t, s.options)), subscribe(t, open(t, s.options))
		other := s.options
		other.Prefix += "-other"
		elsewhere := subscribe(t, open(t, other))
		<-a.gaps
		<-b.gaps
		<-elsewhere.gaps
		raw := sender.client.B().Publish().Channel(sender.hints()).Message("rubbish").Build()
		if err := sender.client.Do(t.Context(), raw).Error(); err != nil {
			t.Fatal(err)
		}
		want := []Hint{{tenantA, 7}, {tenantB, 1 << 60}, {tenantA, 0}}
		for _, h := range want {
			sender.PublishHint(t.Context(), h)
		}
		for _, sub := range []subscriber{a, b} {
			if diff := gocmp.Diff(want, []Hint{<-sub.hints, <-sub.hints, <-sub.hints}); diff != "" {
				t.Errorf("hints mismatch (-want +got)\n%s", diff)
			}
		}
		if len(elsewhere.hints) != 0 {
			t.Error("a hint crossed into an installation with another prefix")
		}
	})
}

func TestHintsResumeAfterTheDeathOfRedis(t *testing.T) {
	t.Parallel()
	eachRedis(t, true, func(t *testing.T, s server) {
		c := open(t, s.options)
		sub := subscribe(t, c)
		<-sub.gaps
		s.kill()
		eventually(t, "the loss is noticed", func() bool { return !c.Available() })
		c.PublishHint(t.Context(), Hint{tenantA, 1}) // lost, and nobody is held up
		s.back()
		<-sub.gaps // the subscriber is told to read what it missed
		eventually(t, "redis is found again", c.Available)
		c.PublishHint(t.Context(), Hint{tenantA, 2})
		if got, want := <-sub.hints, (Hint{tenantA, 2}); got != want {
			t.Errorf("hint after the restart = %v, want %v", got, want)
		}
	})
}

func TestSlowSubscribersAreToldOfTheGap(t *testing.T) {
	t.Parallel()
	c := open(t, startMini(t).options)
	ctx, cancel := context.WithCancel(t.Context())
	busy, release, gaps, done := make(chan struct{}, 2*hintBacklog), make(chan struct{}), make(chan struct{}, 8), make(chan struct{})
	go func() {
		defer close(done)
		c.SubscribeHints(ctx, func(Hint) { busy <- struct{}{}; <-release }, func() { gaps <- struct{}{} })
	}()
	<-gaps // connected
	for i := range int64(2*hintBacklog + 2) {
		c.PublishHint(t.Context(), Hint{tenantA, i})
		if i == 0 {
			<-busy
		}
	}
	close(release)
	<-gaps // dropped
	cancel()
	<-done
}

func FuzzDecodeHint(f *testing.F) {
	id := tenantA.String()
	for _, s := range []string{
		"", " ", id, id + " 7", id + " -1", id + " 1 2", "urn:uuid:" + id + " 1", "{" + id + "} 1", uuid.Nil.String() + " 1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := decodeHint(s)
		if err != nil {
			return
		}
		if again, err := decodeHint(h.encode()); err != nil || again != h {
			t.Errorf("decodeHint(%q) = %v, but its encoding gives %v, %v", s, h, again, err)
		}
		if h.Tenant == uuid.Nil || h.Revision < 0 {
			t.Errorf("decodeHint(%q) = %v", s, h)
		}
	})
}

func TestKeys(t *testing.T) {
	t.Parallel()
	const id = "018f0000-0000-7000-8000-00000000000a"
	tests := map[string]struct {
		key  Key
		want string
	}{
		"tenant":            {TenantKey(tenantA, "rl", "login-ip", "x"), id + ":rl:login-ip:x"},
		"no parts":          {TenantKey(tenantA, "rl"), id + ":rl"},
		"one empty part":    {TenantKey(tenantA, "rl", ""), id + ":rl:"},
		"colon in a part":   {TenantKey(tenantA, "rl", "a:b"), id + ":rl:a%3Ab"},
		"escape in a part":  {TenantKey(tenantA, "rl", "a%3Ab"), id + ":rl:a%253Ab"},
		"braces, IPv6":      {TenantKey(tenantA, "rl", "{fe80::1}"), id + ":rl:%7Bfe80%3A%3A1%7D"},
		"line break, space": {TenantKey(tenantA, "rl", "a\r\n b"), id + ":rl:a%0D%0A+b"},
		"ops":               {OpsKey("relay", "x"), "_ops:relay:x"},
		"ops, like tenant":  {OpsKey(id, "rl"), "_ops:" + id + ":rl"},
	}
	for name, tt := range tests {
		if got := tt.key.String(); got != tt.want {
			t.Errorf("%s: key %s, want %s", name, got, tt.want)
		}
	}
}

func FuzzKeysDiffer(f *testing.F) {
	f.Add("a,b", "a:b", ",")
	f.Add("a,,b", "a,b", ",")
	f.Add("a%3Ab", "a:b", ",")
	f.Fuzz(func(t *testing.T, x, y, separator string) {
		a, b := strings.Split(x, separator), strings.Split(y, separator)
		same := gocmp.Equal(a, b)
		if (TenantKey(tenantA, "k", a...) == TenantKey(tenantA, "k", b...)) != same {
			t.Errorf("keys of %q and %q", a, b)
		}
		if len(a) > 0 && TenantKey(tenantA, "k", a...) == TenantKey(tenantB, "k", a...) {
			t.Errorf("two tenants share the key of %q", a)
		}
	})
}

func TestKeysWithoutScopePanic(t *testing.T) {
	t.Parallel()
	for i, mistake := range []func(){
		func() { TenantKey(uuid.Nil, "rl", "x") },
		func() { TenantKey(tenantA, "", "x") },
		func() { OpsKey("") },
		func() { _ = Key{}.String() },
	} {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			mistake()
		})
	}
}
