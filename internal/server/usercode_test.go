package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parako/internal/cache"
	"parako/internal/config"
	"parako/internal/ratelimit"
	"parako/internal/secret"
	"parako/internal/testkit/app"
)

// TestUserCodes types codes in many ways.
func TestUserCodes(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Globex, "features", `{"oidc":{"device_flow":{"charset":"digits","mask":"***-***-***"}}}`)
	digits := newDevice(t, a, a.Globex).begin(t).text("user_code")
	if !regexp.MustCompile(`^\d{3}-\d{3}-\d{3}$`).MatchString(digits) {
		t.Errorf("user_code = %q", digits)
	}
	if page := app.Get(t, a.Client(t), a.Globex.Issuer+"/device?user_code="+strings.ReplaceAll(digits, "-", "")); !strings.Contains(page.Text, `value="`+digits+`"`) ||
		!strings.Contains(page.Text, `inputmode="numeric"`) {
		t.Errorf("the page for digits: %s", page.Text)
	}
	p := newDevice(t, a, a.Acme)
	p.as(a.Acme.Web).code(t)
	for name, type_ := range map[string]func(string) string{
		"as shown":      func(code string) string { return code },
		"small letters": strings.ToLower,
		"no hyphen":     func(code string) string { return strings.ReplaceAll(code, "-", "") },
		"spaces":        func(code string) string { return " " + strings.Join(strings.Split(code, ""), " ") + "\t" },
		"other dashes":  func(code string) string { return strings.ReplaceAll(code, "-", "\u2013") },
	} {
		t.Run(name, func(t *testing.T) {
			begun := p.begin(t)
			typed := type_(begun.text("user_code"))
			page := app.Get(t, p.browser, a.Acme.Issuer+"/device?user_code="+url.QueryEscape(typed))
			if !strings.Contains(page.Text, `value="`+begun.text("user_code")+`"`) {
				t.Errorf("%q on the page: %s", typed, page.Text)
			}
			p.approve(t, typed)
			expect(t, p.poll(t, begun), http.StatusOK, "")
		})
	}
}

// withoutRedis has one instance count by itself: a busy machine then cannot lose a count with its Redis.
func withoutRedis(c *config.Config) { c.RedisURL = secret.String{} }

// typeFrom posts a code from an address, as a trusted proxy reports it.
func (p party) typeFrom(t *testing.T, ip, code string) app.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.tenant.Issuer+"/device", strings.NewReader(url.Values{"user_code": {code}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Forwarded-For", ip)
	return app.Do(t, p.step, r)
}

// TestWrongUserCodesLookTheSame compares the answers to codes that never were, have expired, were used or were refused.
func TestWrongUserCodesLookTheSame(t *testing.T) {
	t.Parallel()
	a := app.New(t, withoutRedis)
	p := newDevice(t, a, a.Acme)
	used, denied, expired := p.begin(t), p.begin(t), p.begin(t)
	p.approve(t, used.text("user_code"))
	app.Post(t, p.browser, p.toConsent(t, denied.text("user_code")).Request.URL.String()+"/abort", nil)
	a.Superuser(t, "UPDATE parako.device_codes SET expires_at = now() WHERE id = $1", rowID(expired.text("device_code")))
	strip := func(page app.Response, code string) string {
		return strings.ReplaceAll(strings.ReplaceAll(page.Text, page.Header.Get("X-Request-Id"), ""), code, "")
	}
	const never = "BCDF-GHJK"
	page := p.typeFrom(t, "198.51.100.1", never)
	want := strip(page, never)
	if page.StatusCode != http.StatusBadRequest || !strings.Contains(want, `id="device-error"`) || len(page.Cookies()) > 0 {
		t.Fatalf("a code that never was: %d %v\n%s", page.StatusCode, page.Cookies(), want)
	}
	for name, begun := range map[string]reply{"used": used, "denied": denied, "expired": expired} {
		code := begun.text("user_code")
		page := p.typeFrom(t, "198.51.100.2", code)
		if diff := cmp.Diff(want, strip(page, code)); diff != "" || page.StatusCode != http.StatusBadRequest || len(page.Cookies()) > 0 {
			t.Errorf("%s: %d, mismatch (-never +this)\n%s", name, page.StatusCode, diff)
		}
	}
	// And each counts as a wrong one: of five there are two left.
	for range 2 {
		if page := p.typeFrom(t, "198.51.100.2", never); page.StatusCode != http.StatusBadRequest {
			t.Errorf("the fourth or fifth: %d", page.StatusCode)
		}
	}
	if page := p.typeFrom(t, "198.51.100.2", never); page.StatusCode != http.StatusTooManyRequests {
		t.Errorf("the sixth: %d", page.StatusCode)
	}
}

// TestWrongUserCodesAreLimited guesses from one address until it is stopped.
func TestWrongUserCodesAreLimited(t *testing.T) {
	t.Parallel()
	a := app.New(t, withoutRedis)
	p := newDevice(t, a, a.Acme)
	right := func() string { return p.begin(t).text("user_code") }
	const here, there = "198.51.100.7", "203.0.113.9"
	for range 20 { // What is right does not count, nor does what cannot be a code.
		for _, code := range []string{right(), "", "---", strings.Repeat("B", 40)} {
			if page := p.typeFrom(t, here, code); page.StatusCode == http.StatusTooManyRequests {
				t.Fatalf("%q was refused", code)
			}
		}
	}
	var guesses sync.WaitGroup
	var mu sync.Mutex
	count := map[int]int{}
	for i := range racers {
		guesses.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.Acme.Issuer+"/device", strings.NewReader(fmt.Sprintf("user_code=BBBB%04d", i)))
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("X-Forwarded-For", here)
			status, _, _, err := send(p.direct, r)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			count[status]++
			mu.Unlock()
		})
	}
	guesses.Wait()
	if diff := cmp.Diff(map[int]int{http.StatusBadRequest: 5, http.StatusTooManyRequests: racers - 5}, count); diff != "" {
		t.Errorf("guesses in parallel mismatch (-want +got)\n%s", diff)
	}
	code := right()
	refused := p.typeFrom(t, here, code)
	if refused.StatusCode != http.StatusTooManyRequests || refused.Header.Get("Retry-After") == "" || !strings.Contains(refused.Text, `id="device-error"`) {
		t.Errorf("the right code from there: %d, Retry-After %q", refused.StatusCode, refused.Header.Get("Retry-After"))
	}
	if page := p.typeFrom(t, there, code); page.StatusCode != http.StatusSeeOther {
		t.Errorf("the right code from elsewhere: %d", page.StatusCode)
	}
}

// TestWrongUserCodesOfATenantAreLimited lets a thousand wrong codes come from elsewhere. No address is let in then, and those of
// other tenants are.
func TestWrongUserCodesOfATenantAreLimited(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p, foreign := newDevice(t, a, a.Acme), newDevice(t, a, a.Globex)
	redis, err := cache.Open(t.Context(), cache.Options{URL: "redis://" + a.Redis.Addr(), Compat: true, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	others, limit := ratelimit.New(redis, time.Now), ratelimit.UserCodeTenant()
	for range limit.Burst {
		others.Consume(t.Context(), a.Acme.ID, limit, "")
	}
	// An attempt returns every few seconds, and a busy machine may lose sight of its Redis for a moment.
	for ip := 1; p.typeFrom(t, fmt.Sprintf("192.0.2.%d", ip), p.begin(t).text("user_code")).StatusCode != http.StatusTooManyRequests; ip++ {
		if ip == 200 {
			t.Fatal("the tenant's limit does not hold")
		}
		others.Consume(t.Context(), a.Acme.ID, limit, "")
	}
	if page := foreign.typeFrom(t, "192.0.2.1", foreign.begin(t).text("user_code")); page.StatusCode != http.StatusSeeOther {
		t.Errorf("another tenant's: %d", page.StatusCode)
	}
}

// TestUserCodesAreUnique lets every code that is drawn be one that is taken, a few times and then always.
func TestUserCodesAreUnique(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p, foreign := newDevice(t, a, a.Acme), newDevice(t, a, a.Globex)
	for _, sql := range []string{
		"CREATE SEQUENCE public.draws",
		`CREATE FUNCTION public.draw() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
			IF nextval('public.draws') NOT BETWEEN 6 AND 10 THEN NEW.user_code_digest := 'taken'; END IF; RETURN NEW; END $$`,
		"CREATE TRIGGER draw BEFORE INSERT ON parako.device_codes FOR EACH ROW EXECUTE FUNCTION public.draw()",
	} {
		a.Superuser(t, sql)
	}
	p.begin(t)          // draws the code
	foreign.begin(t)    // draws the same, for another tenant
	begun := p.begin(t) // draws it three times more, and then another
	p.approve(t, begun.text("user_code"))
	expect(t, p.poll(t, begun), http.StatusOK, "")
	a.Superuser(t, "ALTER SEQUENCE public.draws RESTART 11")
	expect(t, p.post(t, "/device/auth"), http.StatusInternalServerError, "server_error")
}
