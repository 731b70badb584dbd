package federation

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
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

	"parako/internal/cache"
	"parako/internal/ratelimit"
	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/telemetry"
	"parako/internal/tenant"
)

const (
	theCode = "4/0AbCd-the-code"
	subject = "203.0.113.7"
)

var (
	acme      = tenant.Tenant{ID: uuid.MustParse("018f0000-0000-7000-8000-00000000000a"), Slug: "acme", Status: tenant.Active}
	globex    = tenant.Tenant{ID: uuid.MustParse("018f0000-0000-7000-8000-00000000000b"), Slug: "glo_bex", Domain: "login.globex.example", Status: tenant.Active}
	platforms = tenant.Tenant{ID: uuid.MustParse("018f0000-0000-7000-8000-00000000000c"), Slug: tenant.PlatformsSlug, Status: tenant.Active}
	builtIn   = tenant.Tenant{ID: tenant.DefaultID, Slug: tenant.DefaultSlug, Status: tenant.Active}
)

// clock is one that tests set.
type clock struct{ seconds atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(c.seconds.Load(), 0) }
func (c *clock) advance(d time.Duration) { c.seconds.Add(int64(d / time.Second)) }

// redis is one that a test may kill.
type redis struct {
	options cache.Options
	kill    func()
}

// eachRedis runs test on miniredis, and on a redis-server where one is installed.
func eachRedis(t *testing.T, test func(*testing.T, redis)) {
	t.Helper()
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		m := miniredis.RunT(t)
		test(t, redis{options: cache.Options{URL: "redis://" + m.Addr(), Compat: true}, kill: m.Close})
	})
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Error("redis-server is not installed: CI tests against a real Redis")
		}
		return
	}
	t.Run("redis-server", func(t *testing.T) {
		t.Parallel()
		dir, err := os.MkdirTemp("", "redis") // t.TempDir can be too long for a socket's name
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		socket := filepath.Join(dir, "s")
		process := exec.Command(path, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir)
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		kill := sync.OnceFunc(func() { _ = process.Process.Kill(); _ = process.Wait() })
		t.Cleanup(kill)
		for deadline := time.After(time.Minute); ; {
			conn, err := net.Dial("unix", socket)
			if err == nil {
				_ = conn.Close()
				break
			}
			select {
			case <-deadline:
				t.Fatal("redis-server does not listen")
			case <-time.After(5 * time.Millisecond):
			}
		}
		test(t, redis{options: cache.Options{URL: "unix://" + socket}, kill: kill})
	})
}

func newKey(t *testing.T) secret.MasterKey {
	t.Helper()
	key, err := secret.ParseMasterKey(hex.EncodeToString(secret.NewDataKey()))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newRelay is one instance at base.
func newRelay(t *testing.T, o cache.Options, base string, keys ...secret.MasterKey) (*Relay, *clock) {
	t.Helper()
	o.Timeout = time.Minute // the machine may be busy
	c, err := cache.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	now := &clock{}
	now.seconds.Store(1_800_000_000)
	if len(keys) == 0 {
		keys = []secret.MasterKey{newKey(t)}
	}
	return &Relay{Keys: keys, Redis: c, Limiter: ratelimit.New(c, now.now), Metrics: telemetry.NewMetrics(), Base: u, Now: now.now}, now
}

// mini is a relay of the usual deployment, on a Redis of its own.
func mini(t *testing.T) (*Relay, *clock, *miniredis.Miniredis) {
	t.Helper()
	m := miniredis.RunT(t)
	r, now := newRelay(t, cache.Options{URL: "redis://" + m.Addr(), Compat: true}, "https://id.example.com")
	return r, now, m
}

func begin(t *testing.T, r *Relay, who tenant.Tenant, host, provider string) Start {
	t.Helper()
	s, err := r.Begin(t.Context(), who, host, provider, subject)
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	return s
}

// receive returns the reference that the gateway sends the browser on with.
func receive(t *testing.T, r *Relay, provider string, c Callback) string {
	t.Helper()
	location, err := r.Receive(t.Context(), provider, c, subject)
	if err != nil {
		t.Fatalf("Receive: %v", err)
	}
	_, ref, found := strings.Cut(location, "/auth/social/"+provider+"/complete?ref=")
	if !found {
		t.Fatalf("the browser is sent to %s", location)
	}
	return ref
}

// browser keeps the cookies of the sign-ins.
func browser(starts ...Start) func(string) string {
	return func(id string) string {
		for _, s := range starts {
			if s.Cookie == id {
				return s.Sealed
			}
		}
		return ""
	}
}

func TestSignInComesBack(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		base   string
		plain  bool
		tenant tenant.Tenant
		host   string
		want   string // the origin of the complete address
	}{
		"a slug":                      {base: "https://id.example.com", tenant: acme, host: "acme.id.example.com", want: "https://acme.id.example.com"},
		"in capitals":                 {base: "https://id.example.com", tenant: acme, host: "ACME.id.Example.com", want: "https://acme.id.example.com"},
		"a slug with an underscore":   {base: "https://id.example.com", tenant: globex, host: "glo_bex.id.example.com", want: "https://glo_bex.id.example.com"},
		"the platform's tenant":       {base: "https://id.example.com", tenant: platforms, host: "_platforms.id.example.com", want: "https://_platforms.id.example.com"},
		"a custom domain":             {base: "https://id.example.com", tenant: globex, host: "login.globex.example", want: "https://login.globex.example"},
		"a port":                      {base: "https://id.example.com:8443", tenant: acme, host: "acme.id.example.com:8443", want: "https://acme.id.example.com:8443"},
		"a custom domain with a port": {base: "https://id.example.com:8443", tenant: globex, host: "login.globex.example:8443", want: "https://login.globex.example:8443"},
		"development":                 {base: "http://localhost:9007", plain: true, tenant: acme, host: "acme.localhost:9007", want: "http://acme.localhost:9007"},
		"development, custom domain":  {base: "http://localhost:9007", plain: true, tenant: globex, host: "login.globex.example:9007", want: "http://login.globex.example:9007"},
		"the built-in tenant":         {base: "http://localhost:9007", plain: true, tenant: builtIn, host: "localhost:9007", want: "http://localhost:9007"},
	}
	eachRedis(t, func(t *testing.T, s redis) {
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				key := newKey(t)
				one, _ := newRelay(t, s.options, tt.base, key)
				gateway, _ := newRelay(t, s.options, tt.base, key) // another instance
				one.Plain, gateway.Plain = tt.plain, tt.plain
				start := begin(t, one, tt.tenant, tt.host, "google")
				base, _ := url.Parse(tt.base)
				if want := base.Scheme + "://_ops." + base.Host + "/social/google/callback"; start.RedirectURI != want {
					t.Errorf("redirect URI %s, want %s", start.RedirectURI, want)
				}
				location, err := gateway.Receive(t.Context(), "google", Callback{State: start.State, Code: theCode, Issuer: "https://accounts.google.com"}, subject)
				if err != nil {
					t.Fatalf("Receive: %v", err)
				}
				ref, ok := strings.CutPrefix(location, tt.want+"/auth/social/google/complete?ref=")
				if !ok || !refFormat.MatchString(ref) {
					t.Fatalf("the browser is sent to %s, want %s", location, tt.want)
				}
				got, err := one.Complete(t.Context(), tt.tenant.ID, "google", ref, browser(start))
				if err != nil {
					t.Fatalf("Complete: %v", err)
				}
				if got.Code.Reveal() != theCode || got.Nonce != start.Nonce || got.Issuer != "https://accounts.google.com" || got.Refusal != "" ||
					got.RedirectURI != start.RedirectURI || got.Cookie != start.Cookie {
					t.Errorf("arrived: %+v with the code %q", got, got.Code.Reveal())
				}
				challenge := base64.RawURLEncoding.EncodeToString(secret.Digest(got.Verifier.Reveal()))
				if challenge != start.Challenge || len(got.Verifier.Reveal()) < 43 {
					t.Errorf("the verifier does not fit the challenge (RFC 7636 section 4.6)")
				}
			})
		}
	})
}

func TestRefusalOfTheProviderComesBack(t *testing.T) {
	t.Parallel()
	r, _, _ := mini(t)
	start := begin(t, r, acme, "acme.id.example.com", "google")
	ref := receive(t, r, "google", Callback{State: start.State, Error: "access_denied"})
	got, err := r.Complete(t.Context(), acme.ID, "google", ref, browser(start))
	if err != nil || got.Refusal != "access_denied" || !got.Code.Empty() {
		t.Errorf("Complete = %+v, %v", got, err)
	}
}

func TestReferenceIsGoodOnce(t *testing.T) {
	t.Parallel()
	eachRedis(t, func(t *testing.T, s redis) {
		r, _ := newRelay(t, s.options, "https://id.example.com")
		start := begin(t, r, acme, "acme.id.example.com", "google")
		ref := receive(t, r, "google", Callback{State: start.State, Code: theCode})
		var winners atomic.Int32
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				_, err := r.Complete(t.Context(), acme.ID, "google", ref, browser(start))
				if err == nil {
					winners.Add(1)
				} else if !errors.Is(err, ErrOver) {
					t.Error(err)
				}
			})
		}
		if all.Wait(); winners.Load() != 1 {
			t.Errorf("%d of 20 got the code", winners.Load())
		}
	})
}

// TestReferenceElsewhere brings a reference to where it does not belong.
func TestReferenceElsewhere(t *testing.T) {
	t.Parallel()
	r, _, _ := mini(t)
	var starts []Start
	for range 2 {
		starts = append(starts, begin(t, r, acme, "acme.id.example.com", "google"))
	}
	mine, second := starts[0], starts[1]
	theirs := begin(t, r, globex, "glo_bex.id.example.com", "google")
	under := func(sealed string) func(string) string { return func(string) string { return sealed } }
	resealed := func() string { // what only a fault of ours could make
		parsed, _, _, err := parseState(mine.State)
		if err != nil {
			t.Fatal(err)
		}
		plain := fmt.Appendf(nil, `{"p":%q,"v":"x","n":"y","x":%d}`, secret.Token(), r.Now().Add(CookieLife).Unix())
		sealed, err := r.seal("cookie", acme.ID, "google", parsed.browser, plain)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(sealed)
	}()
	tampered := []byte(mine.Sealed)
	tampered[len(tampered)/2] ^= 1
	tests := map[string]struct {
		tenant   tenant.Tenant
		provider string
		cookie   func(string) string
		spent    bool // so that not even the right browser gets it
	}{
		"another tenant":                    {tenant: globex, provider: "google", cookie: browser(mine)},
		"another provider":                  {tenant: acme, provider: "github", cookie: browser(mine), spent: true},
		"no name of a provider":             {tenant: acme, provider: "Google!", cookie: browser(mine)},
		"a browser without a cookie":        {tenant: acme, provider: "google", cookie: browser(), spent: true},
		"a browser with another sign-in":    {tenant: acme, provider: "google", cookie: browser(second), spent: true},
		"another sign-in's cookie, renamed": {tenant: acme, provider: "google", cookie: under(second.Sealed), spent: true},
		"another tenant's cookie, renamed":  {tenant: acme, provider: "google", cookie: under(theirs.Sealed), spent: true},
		"a changed cookie":                  {tenant: acme, provider: "google", cookie: under(string(tampered)), spent: true},
		"a cookie with another secret":      {tenant: acme, provider: "google", cookie: under(resealed), spent: true},
		"a cookie that is none of ours":     {tenant: acme, provider: "google", cookie: under("%%%"), spent: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ref := receive(t, r, "google", Callback{State: mine.State, Code: theCode})
			if got, err := r.Complete(t.Context(), tt.tenant.ID, tt.provider, ref, tt.cookie); !errors.Is(err, ErrOver) || !got.Code.Empty() {
				t.Errorf("Complete: %+v, %v, want ErrOver", got, err)
			}
			_, err := r.Complete(t.Context(), acme.ID, "google", ref, browser(mine))
			if spent := errors.Is(err, ErrOver); spent != tt.spent {
				t.Errorf("afterwards the right browser gets %v, want spent %t", err, tt.spent)
			}
		})
	}
	for _, ref := range []string{"", "x", secret.Token(), secret.Token() + "x", "../../" + secret.Token()[6:]} {
		if _, err := r.Complete(t.Context(), acme.ID, "google", ref, browser(mine)); !errors.Is(err, ErrOver) {
			t.Errorf("Complete with %q: %v, want ErrOver", ref, err)
		}
	}
}

// TestTimes lets each of the three times pass: the state's, the code's and the cookie's.
func TestTimes(t *testing.T) {
	t.Parallel()
	r, now, m := mini(t)
	start := begin(t, r, acme, "acme.id.example.com", "google")
	now.advance(stateLife - time.Second)
	last := receive(t, r, "google", Callback{State: start.State, Code: theCode})
	now.advance(time.Second)
	if _, err := r.Receive(t.Context(), "google", Callback{State: start.State, Code: theCode}, subject); !errors.Is(err, ErrStateAge) {
		t.Errorf("Receive after the state's time: %v, want ErrStateAge", err)
	}
	now.advance(codeLife - time.Second)
	if _, err := r.Complete(t.Context(), acme.ID, "google", last, browser(start)); err != nil {
		t.Errorf("Complete in the last second of the cookie: %v", err)
	}

	start = begin(t, r, acme, "acme.id.example.com", "google")
	ref := receive(t, r, "google", Callback{State: start.State, Code: theCode})
	now.advance(CookieLife)
	if _, err := r.Complete(t.Context(), acme.ID, "google", ref, browser(start)); !errors.Is(err, ErrOver) {
		t.Errorf("Complete after the cookie's time: %v, want ErrOver", err)
	}

	start = begin(t, r, acme, "acme.id.example.com", "google")
	ref = receive(t, r, "google", Callback{State: start.State, Code: theCode})
	m.FastForward(codeLife)
	if _, err := r.Complete(t.Context(), acme.ID, "google", ref, browser(start)); !errors.Is(err, ErrOver) {
		t.Errorf("Complete after the code's time: %v, want ErrOver", err)
	}
}

// TestAChangeOfTheMasterKey has the key replaced while a person is at the provider.
func TestAChangeOfTheMasterKey(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	o := cache.Options{URL: "redis://" + m.Addr(), Compat: true}
	before, after := newKey(t), newKey(t)
	old, _ := newRelay(t, o, "https://id.example.com", before)
	changed, _ := newRelay(t, o, "https://id.example.com", after, before)
	strange, _ := newRelay(t, o, "https://id.example.com", after)
	start := begin(t, old, acme, "acme.id.example.com", "google")
	if _, err := strange.Receive(t.Context(), "google", Callback{State: start.State, Code: theCode}, subject); !errors.Is(err, ErrState) {
		t.Errorf("Receive with another key: %v, want ErrState", err)
	}
	ref := receive(t, changed, "google", Callback{State: start.State, Code: theCode})
	if got, err := changed.Complete(t.Context(), acme.ID, "google", ref, browser(start)); err != nil || got.Code.Reveal() != theCode {
		t.Errorf("Complete = %+v, %v", got, err)
	}
	ref = receive(t, old, "google", Callback{State: start.State, Code: theCode})
	if _, err := strange.Complete(t.Context(), acme.ID, "google", ref, browser(start)); !errors.Is(err, ErrOver) {
		t.Errorf("Complete with another key: %v, want ErrOver", err)
	}
}

// TestBeginAtAnotherDomain begins at a domain of the tenant that is not its primary one, and at nobody else's.
func TestBeginAtAnotherDomain(t *testing.T) {
	t.Parallel()
	r, _, _ := mini(t)
	down := errors.New("the database does not answer")
	r.LeadsTo = func(_ context.Context, host string) (tenant.Tenant, error) {
		switch host {
		case "id.acme.example":
			return acme, nil
		case "login.globex.example":
			return globex, nil
		case "down.example":
			return tenant.Tenant{}, down
		}
		return tenant.Tenant{}, store.ErrNotFound
	}
	for host, want := range map[string]error{
		"id.acme.example": nil, "ID.Acme.Example": nil, "id.acme.example:444": ErrHost, "login.globex.example": ErrHost, "evil.example": ErrHost,
		"down.example": down,
	} {
		if _, err := r.Begin(t.Context(), acme, host, "google", subject); !errors.Is(err, want) {
			t.Errorf("Begin at %q: %v, want %v", host, err, want)
		}
	}
}

func TestBeginRefuses(t *testing.T) {
	t.Parallel()
	r, _, _ := mini(t)
	hosts := map[string]struct {
		tenant tenant.Tenant
		host   string
	}{
		"another tenant's host":            {acme, "glo_bex.id.example.com"},
		"another tenant's domain":          {acme, "login.globex.example"},
		"a stranger's host":                {acme, "evil.example"},
		"a host that ends like ours":       {acme, "acme.id.example.com.evil.example"},
		"the base":                         {acme, "id.example.com"},
		"the gateway":                      {acme, "_ops.id.example.com"},
		"another port":                     {acme, "acme.id.example.com:444"},
		"a domain with another port":       {globex, "login.globex.example:444"},
		"a label more":                     {acme, "www.acme.id.example.com"},
		"nothing":                          {acme, ""},
		"a port alone, without a domain":   {acme, ":"},
		"a path in the host":               {acme, "acme.id.example.com/x"},
		"credentials in the host":          {acme, "acme.id.example.com@evil.example"},
		"the built-in tenant under a slug": {builtIn, "default.id.example.com"},
	}
	for name, tt := range hosts {
		if _, err := r.Begin(t.Context(), tt.tenant, tt.host, "google", subject); !errors.Is(err, ErrHost) {
			t.Errorf("%s: Begin at %q: %v, want ErrHost", name, tt.host, err)
		}
	}
	for _, provider := range []string{"", "Google", "-x", "a/b", "a.b", strings.Repeat("a", 33)} {
		if _, err := r.Begin(t.Context(), acme, "acme.id.example.com", provider, subject); err == nil {
			t.Errorf("Begin at the provider %q", provider)
		}
	}
	burst := ratelimit.SocialLogin().Burst
	for range burst {
		begin(t, r, acme, "acme.id.example.com", "google")
	}
	_, err := r.Begin(t.Context(), acme, "acme.id.example.com", "google", subject)
	if wait, ok := errors.AsType[*Throttled](err); !ok || wait.RetryAfter <= 0 {
		t.Errorf("Begin after %d: %v, want Throttled", burst, err)
	}
	begin(t, r, globex, "login.globex.example", "google") // counts for itself
	r.Base, _ = url.Parse("http://id.example.com")
	if _, err := r.Begin(t.Context(), acme, "acme.id.example.com", "google", "192.0.2.1"); !errors.Is(err, ErrPlain) {
		t.Errorf("Begin without https: %v, want ErrPlain", err)
	}
	if _, err := r.Receive(t.Context(), "google", Callback{State: "x", Code: theCode}, subject); !errors.Is(err, ErrPlain) {
		t.Errorf("Receive without https: %v, want ErrPlain", err)
	}
}

func TestCallbacksAreLimited(t *testing.T) {
	t.Parallel()
	r, _, _ := mini(t)
	start := begin(t, r, acme, "acme.id.example.com", "google")
	for range 2 * ratelimit.SocialCallback().Burst { // what is not ours counts for nobody
		if _, err := r.Receive(t.Context(), "google", Callback{State: start.State + "x", Code: theCode}, subject); !errors.Is(err, ErrState) {
			t.Fatalf("Receive: %v, want ErrState", err)
		}
	}
	for range ratelimit.SocialCallback().Burst {
		receive(t, r, "google", Callback{State: start.State, Code: theCode})
	}
	_, err := r.Receive(t.Context(), "google", Callback{State: start.State, Code: theCode}, subject)
	if wait, ok := errors.AsType[*Throttled](err); !ok || wait.RetryAfter <= 0 || !errors.Is(err, ErrTooMany) {
		t.Errorf("Receive: %v, want Throttled", err)
	}
}

// TestRedisIsKilledInTheMiddle kills it at each step of a sign-in. Nothing is let through, and nothing waits.
func TestRedisIsKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	t.Run("before the callback", func(t *testing.T) {
		t.Parallel()
		eachRedis(t, func(t *testing.T, s redis) {
			r, _ := newRelay(t, s.options, "https://id.example.com")
			start := begin(t, r, acme, "acme.id.example.com", "google")
			s.kill()
			for range 2 { // once it is found out, and once it is known
				if _, err := r.Receive(t.Context(), "google", Callback{State: start.State, Code: theCode}, subject); !errors.Is(err, ErrUnavailable) {
					t.Errorf("Receive: %v, want ErrUnavailable", err)
				}
			}
			if _, err := r.Begin(t.Context(), acme, "acme.id.example.com", "google", subject); !errors.Is(err, ErrUnavailable) {
				t.Errorf("Begin: %v, want ErrUnavailable", err)
			}
		})
	})
	t.Run("before the end", func(t *testing.T) {
		t.Parallel()
		eachRedis(t, func(t *testing.T, s redis) {
			r, _ := newRelay(t, s.options, "https://id.example.com")
			start := begin(t, r, acme, "acme.id.example.com", "google")
			ref := receive(t, r, "google", Callback{State: start.State, Code: theCode})
			s.kill()
			if _, err := r.Complete(t.Context(), acme.ID, "google", ref, browser(start)); !errors.Is(err, ErrUnavailable) {
				t.Errorf("Complete: %v, want ErrUnavailable", err)
			}
		})
	})
}

// TestRedisHoldsNothingReadable looks at the bytes in Redis: whoever has them has no code, no reference and no secret of a browser.
func TestRedisHoldsNothingReadable(t *testing.T) {
	t.Parallel()
	r, _, m := mini(t)
	start := begin(t, r, acme, "acme.id.example.com", "google")
	ref := receive(t, r, "google", Callback{State: start.State, Code: theCode, Issuer: "https://accounts.google.com"})
	var value string
	for _, key := range m.Keys() {
		if strings.Contains(key, ref) {
			t.Errorf("the key %s holds the reference", key)
		}
		if strings.HasPrefix(key, "parako:"+acme.ID.String()+":social:") {
			value, _ = m.Get(key)
			if ttl := m.TTL(key); ttl <= 0 || ttl > codeLife {
				t.Errorf("it is kept for %v", ttl)
			}
		}
	}
	if len(value) < len(theCode) {
		t.Fatalf("redis holds no code under the tenant: %v", m.Keys())
	}
	got, err := r.Complete(t.Context(), acme.ID, "google", ref, browser(start))
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"the code": theCode, "the issuer": "accounts.google.com", "the reference": ref, "the verifier": got.Verifier.Reveal(),
		"the nonce": got.Nonce, "the cookie": start.Sealed,
	} {
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if strings.Contains(value, text) || err == nil && len(raw) > 8 && strings.Contains(value, string(raw)) {
			t.Errorf("redis holds %s", what)
		}
	}
}

// TestParcelsBelongToTheirSignIn has somebody who can write to Redis exchange what waits for two people.
func TestParcelsBelongToTheirSignIn(t *testing.T) {
	t.Parallel()
	r, _, m := mini(t)
	victim, thief := begin(t, r, acme, "acme.id.example.com", "google"), begin(t, r, acme, "acme.id.example.com", "google")
	refs := []string{receive(t, r, "google", Callback{State: victim.State, Code: "the victim's"}), receive(t, r, "google", Callback{State: thief.State, Code: "the thief's"})}
	keys := []string{"parako:" + refKey(acme.ID, refs[0]).String(), "parako:" + refKey(acme.ID, refs[1]).String()}
	first, _ := m.Get(keys[0])
	second, _ := m.Get(keys[1])
	for what, value := range map[string]string{
		"the other one":                          first,
		"the other one under the thief's digest": second[:32] + first[32:],
		"nothing":                                "",
		"a piece":                                second[:33],
	} {
		if err := m.Set(keys[1], value); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Complete(t.Context(), acme.ID, "google", refs[1], browser(thief)); !errors.Is(err, ErrOver) {
			t.Errorf("%s: Complete = %+v with %q, %v, want ErrOver", what, got, got.Code.Reveal(), err)
		}
	}
}

func TestCallbackForm(t *testing.T) {
	t.Parallel()
	r, _, m := mini(t)
	state := begin(t, r, acme, "acme.id.example.com", "google").State
	m.FlushAll()
	for name, c := range map[string]Callback{
		"nothing":                 {},
		"no state":                {Code: theCode},
		"neither code nor error":  {State: state},
		"code and error":          {State: state, Code: theCode, Error: "access_denied"},
		"a code that is too long": {State: state, Code: strings.Repeat("x", maxCode+1)},
		"an error with a quote":   {State: state, Error: `a"b`},
		"an error with a break":   {State: state, Error: "a\nb"},
		"an error that is long":   {State: state, Error: strings.Repeat("x", 129)},
		"an issuer without https": {State: state, Code: theCode, Issuer: "http://accounts.google.com"},
		"an issuer with a space":  {State: state, Code: theCode, Issuer: "https://accounts google.com"},
	} {
		if _, err := r.Receive(t.Context(), "google", c, subject); !errors.Is(err, ErrCallback) {
			t.Errorf("%s: Receive: %v, want ErrCallback", name, err)
		}
	}
	if diff := cmp.Diff([]string(nil), m.Keys(), cmp.Transformer("", func(keys []string) []string { return append([]string(nil), keys...) })); diff != "" {
		t.Errorf("refused callbacks left something in redis (-want +got)\n%s", diff)
	}
}
