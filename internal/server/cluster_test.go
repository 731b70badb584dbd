package server_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/cache"
	"parako/internal/oidc"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

// cluster is several instances, and a driver that changes what they serve.
type cluster struct {
	*app.Cluster
	acme, globex, initech app.Tenant
	// victim is switched off and on, and changing has its redirect URI changed.
	victim, changing oidc.Client
	round            int
	redis            *cache.Cache // somebody else's
	heard            [3]int       // how often an instance heard of all changes before it was asked for them

	mu      sync.Mutex
	retired map[string]bool // keys that every instance is known to sign with no more
	settled int             // the least life of a token, once every instance is known to have it
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{Cluster: app.NewCluster(t, 3), retired: map[string]bool{}}
	first := c.Instances[0]
	c.acme, c.globex = first.Acme, first.Globex
	created, err := tenant.Create(t.Context(), first.Store, tenant.New{Slug: "initech", DisplayName: "Initech", Domain: "0.initech.example", Base: first.Base(t)})
	if err != nil {
		t.Fatal(err)
	}
	c.redis = c.Redis.Client(t)
	c.initech = app.Tenant{Tenant: created}
	c.victim = register(t, first, c.acme, oidc.NewClient{ID: "victim", Preset: oidc.PresetM2M, ClientMetadata: oidc.ClientMetadata{Name: "Victim", Scope: "jobs:run"}})
	c.changing = webClient(t, first, c.acme)
	for _, a := range c.Instances { // A tenant's first request makes its keys.
		for _, org := range []app.Tenant{c.acme, c.globex} {
			app.Get(t, a.Client(t), org.Issuer+"/jwks")
		}
	}
	return c
}

// metric reads a counter of an instance.
func metric(t *testing.T, a *app.App, name string) int {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(scrape(t, a))
	if m == nil {
		t.Fatalf("there is no metric %s", name)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

func scrape(t *testing.T, a *app.App) string {
	t.Helper()
	w := httptest.NewRecorder()
	a.Server.Metrics().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

const (
	heardHints = "parako_tenant_hints_total"
	polls      = `parako_tenant_polls_total{result="success"}`
)

// change is one thing that changed. seen reports whether an instance serves what it has become.
type change struct {
	what string
	// hinted: an instance has made it, which tells the others through Redis.
	hinted bool
	// atOnce: nothing of it is held in memory, so that no instance may serve the old state at all.
	atOnce bool
	seen   func(t *testing.T, a *app.App) bool
}

// noticed demands every change of every instance. None may serve the old state after the second poll that ended after the
// changes: one may have been under way when they committed, and the other began afterwards. Nor may one that has heard as many
// hints as were published since hints were counted. It logs the longest that each took.
func (c *cluster) noticed(t *testing.T, what string, hints map[int]int, changes []change) {
	t.Helper()
	committed := time.Now()
	published := 0
	for _, ch := range changes {
		if ch.hinted {
			published++
		}
	}
	var mu sync.Mutex
	took := map[string]time.Duration{}
	var all sync.WaitGroup
	for i, a := range c.Instances {
		base := metric(t, a, polls)
		before, connected := hints[i]
		informed := func() bool { return connected && published > 0 && metric(t, a, heardHints) >= before+published }
		all.Go(func() {
			for _, ch := range changes {
				eventually(t, fmt.Sprintf("%s: instance %d notices %s", what, i, ch.what), func() bool {
					late, told := metric(t, a, polls) >= base+2, ch.hinted && informed()
					if told {
						mu.Lock()
						c.heard[i]++
						mu.Unlock()
					}
					if ch.seen(t, a) {
						return true
					}
					if late || told || ch.atOnce {
						t.Errorf("%s: instance %d serves the state before %s; two polls have passed: %t; all hints were heard: %t", what, i, ch.what, late, told)
						return true
					}
					return false
				})
				mu.Lock()
				took[ch.what] = max(took[ch.what], time.Since(committed))
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for _, name := range slices.Sorted(maps.Keys(took)) {
		t.Logf("%-30s %-22s seen everywhere after %4d ms", what, name, took[name].Milliseconds())
	}
}

// eventually waits for what must come to hold, and ends the goroutine's part of the test when it never does.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.After(2 * time.Minute); !holds(); {
		select {
		case <-deadline:
			t.Errorf("never: %s", what)
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// hear counts the hints that the instances have heard so far, but for those that Redis does not reach.
func (c *cluster) hear(t *testing.T, deaf []int) map[int]int {
	t.Helper()
	heard := map[int]int{}
	for i, a := range c.Instances {
		if !slices.Contains(deaf, i) {
			heard[i] = metric(t, a, heardHints)
		}
	}
	return heard
}

// connect waits until hints reach every instance, and until those have arrived that were still on their way. The hints that it
// publishes change nothing.
func (c *cluster) connect(t *testing.T) {
	t.Helper()
	for exact := 0; exact < 3 && !t.Failed(); {
		before := c.hear(t, nil)
		c.redis.PublishHint(t.Context(), cache.Hint{Tenant: c.acme.ID})
		after := c.hear(t, nil)
		for range 100 {
			if after = c.hear(t, nil); !slices.ContainsFunc([]int{0, 1, 2}, func(i int) bool { return after[i] == before[i] }) {
				break
			}
			<-time.After(10 * time.Millisecond)
		}
		exact++
		for i := range c.Instances {
			if after[i] != before[i]+1 {
				exact = 0
			}
		}
	}
}

// direct is a client of the tenant at one instance.
func direct(t *testing.T, a *app.App, org app.Tenant, client oidc.Client) party {
	t.Helper()
	return party{App: a, tenant: org, client: client, callback: app.Callback, direct: a.Client(t), step: a.Client(t)}
}

// turn changes everything that a tenant can be changed in, each at another instance, and has every instance notice; then what
// was switched off comes back. deaf are the instances that Redis does not reach; without Redis that is all.
func (c *cluster) turn(t *testing.T, what string, deaf []int) {
	t.Helper()
	c.round++
	n := c.round
	life := 600 + 60*n
	by := audit.Operator("test")
	at := func(i int) *app.App { return c.Instances[(n+i)%len(c.Instances)] }
	publishes := func(i int) bool { return !slices.Contains(deaf, (n+i)%len(c.Instances)) }
	within := func(i int, fn func(context.Context, *store.Tx) error) {
		t.Helper()
		if err := at(i).Server.Store().InTenant(t.Context(), c.acme.ID, fn); err != nil {
			t.Fatal(err)
		}
	}
	status := func(i int, status tenant.Status) {
		t.Helper()
		if _, err := tenant.SetStatus(t.Context(), at(i).Server.Store(), c.globex.Slug, status, "test"); err != nil {
			t.Fatal(err)
		}
	}
	serves := func(t *testing.T, a *app.App) bool {
		t.Helper()
		return app.Get(t, a.Client(t), c.globex.Issuer+"/jwks").StatusCode == http.StatusOK
	}
	victimWorks := func(t *testing.T, a *app.App) bool {
		t.Helper()
		return direct(t, a, c.acme, c.victim).post(t, "/token", "grant_type", "client_credentials").StatusCode == http.StatusOK
	}
	mint := func(t *testing.T, a *app.App) reply {
		t.Helper()
		r := direct(t, a, c.acme, c.acme.M2M).post(t, "/token", "grant_type", "client_credentials", "resource", "urn:test:api", "scope", "read")
		expect(t, r, http.StatusOK, "")
		return r
	}
	old := kidOf(t, mint(t, at(0)).text("access_token"))

	hints := c.hear(t, deaf)
	within(0, func(ctx context.Context, tx *store.Tx) error {
		_, err := settings.Write(ctx, tx, settings.Layer{}, settings.Change{Section: "oidc", Document: fmt.Appendf(nil, `{"token_ttl":{"client_credentials":%d}}`, life), By: by})
		return err
	})
	within(1, func(ctx context.Context, tx *store.Tx) error {
		return oidc.SetClientActive(ctx, tx, c.victim.ID, false, by)
	})
	redirect := fmt.Sprintf("https://client.example/%d", n)
	within(2, func(ctx context.Context, tx *store.Tx) error {
		_, err := oidc.ChangeClient(ctx, tx, at(2).Vault, settings.Layer{}, c.changing.ID, by, func(n *oidc.NewClient) error {
			n.RedirectURIs = []string{redirect}
			return nil
		})
		return err
	})
	status(1, tenant.Suspended)
	at(0).Superuser(t, "UPDATE parako.signing_keys SET status = 'expiring', rotated_at = now() WHERE tenant_id = $1 AND alg = 'ES256'", c.acme.ID)
	within(2, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.TenantTouch(ctx, tx.Tenant())
		return err
	})
	// Somebody moves the domain with a program that publishes nothing.
	host := func(n int) string { return strconv.Itoa(n) + ".initech.example" }
	at(0).Superuser(t, "UPDATE parako.tenant_locators SET name = $2 WHERE kind = 'host' AND tenant_id = $1", c.initech.ID, host(n))
	at(0).Superuser(t, "UPDATE parako.tenants SET domain = $2, revision = revision + 1, updated_at = now() WHERE id = $1", c.initech.ID, host(n))

	c.noticed(t, what, hints, []change{
		{what: "settings", hinted: publishes(0), seen: func(t *testing.T, a *app.App) bool {
			t.Helper()
			left, _ := mint(t, a).body["expires_in"].(float64)
			return left > float64(life-30)
		}},
		{what: "suspended tenant", hinted: publishes(1), seen: func(t *testing.T, a *app.App) bool { t.Helper(); return !serves(t, a) }},
		{what: "rotated key", hinted: publishes(2), seen: func(t *testing.T, a *app.App) bool {
			t.Helper()
			return kidOf(t, mint(t, a).text("access_token")) != old
		}},
		{what: "disabled client", atOnce: true, seen: func(t *testing.T, a *app.App) bool { t.Helper(); return !victimWorks(t, a) }},
		{what: "client's redirect URI", atOnce: true, seen: func(t *testing.T, a *app.App) bool {
			t.Helper()
			p := direct(t, a, c.acme, c.changing)
			return p.authorize(t, "redirect_uri", redirect).StatusCode == http.StatusSeeOther && p.authorize(t).StatusCode == http.StatusBadRequest
		}},
		{what: "domain", seen: func(t *testing.T, a *app.App) bool {
			t.Helper()
			const path = "/oidc/v1/.well-known/openid-configuration"
			now, before := as(t, a, host(n), path, nil), as(t, a, host(n-1), path, nil)
			return strings.Contains(now.Text, `"issuer":"http://`+host(n)+`/oidc/v1"`) && before.StatusCode == http.StatusNotFound
		}},
	})
	c.mu.Lock()
	c.retired[old] = true
	c.settled = life
	c.mu.Unlock()

	hints = c.hear(t, deaf)
	within(0, func(ctx context.Context, tx *store.Tx) error {
		return oidc.SetClientActive(ctx, tx, c.victim.ID, true, by)
	})
	status(2, tenant.Active)
	c.noticed(t, what, hints, []change{
		{what: "reactivated tenant", hinted: publishes(2), seen: serves},
		{what: "enabled client", atOnce: true, seen: victimWorks},
	})
}

// kidOf is the key that signed a token.
func kidOf(t *testing.T, token string) string {
	t.Helper()
	kid, _ := segment(t, token, 0)["kid"].(string)
	if kid == "" {
		t.Errorf("no kid in %s", token)
	}
	return kid
}

// load signs a person in, refreshes and gets tokens for a service, over and over and over all instances, until stop is closed.
// Every answer must be the one expected.
func (c *cluster) load(t *testing.T, stop <-chan struct{}, rounds *atomic.Int64) {
	t.Helper()
	browser := c.Browser(t)
	follow := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p := newParty(t, c.Instances[0], c.acme, c.acme.Web)
	p.direct = &http.Client{Transport: browser.Transport, CheckRedirect: follow}
	for {
		select {
		case <-stop:
			return
		default:
		}
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Error(err)
			return
		}
		p.browser = &http.Client{Transport: browser.Transport, CheckRedirect: browser.CheckRedirect, Jar: jar}
		p.step = &http.Client{Transport: browser.Transport, CheckRedirect: follow, Jar: jar}
		got := p.tokens(t, "scope", "openid offline_access")
		for range 3 {
			got = p.refresh(t, got.text("refresh_token"))
			expect(t, got, http.StatusOK, "")
		}
		expect(t, p.userinfo(t, got.text("access_token")), http.StatusOK, "")
		for range 5 {
			c.mu.Lock()
			retired, life := maps.Clone(c.retired), c.settled
			c.mu.Unlock()
			r := p.as(c.acme.M2M).post(t, "/token", "grant_type", "client_credentials", "resource", "urn:test:api", "scope", "read")
			expect(t, r, http.StatusOK, "")
			if kid := kidOf(t, r.text("access_token")); retired[kid] {
				t.Errorf("a token was signed by %s, which every instance had retired", kid)
			}
			if left, _ := r.body["expires_in"].(float64); left < float64(life-30) {
				t.Errorf("a token lives %v s, and every instance had been told %d", left, life)
			}
		}
		rounds.Add(1)
	}
}

// TestClusterUnderFire has three instances serve people while everything about their tenants changes and Redis is killed, comes
// back, and is out of one instance's reach in two ways. Nobody is refused, and no instance serves what was before for longer than
// its hint or its poll takes.
func TestClusterUnderFire(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	stop := make(chan struct{})
	var rounds atomic.Int64
	var workers sync.WaitGroup
	for range 3 {
		workers.Go(func() { c.load(t, stop, &rounds) })
	}
	end := sync.OnceFunc(func() { close(stop); workers.Wait() })
	defer end()
	for _, phase := range []struct {
		what   string
		before func()
		deaf   []int
	}{
		{what: "with Redis", before: func() { c.connect(t) }},
		{what: "Redis is killed", before: func() { c.Redis.Kill(t) }, deaf: []int{0, 1, 2}},
		{what: "Redis is back, empty", before: func() { c.Redis.Restart(t); c.connect(t) }},
		{what: "Redis answers one no more", before: func() { c.Links[0].Stall() }, deaf: []int{0}},
		{what: "the split is over", before: func() { c.Links[0].Heal(); c.connect(t) }},
		{what: "Redis refuses one", before: func() { c.Links[1].Cut() }, deaf: []int{1}},
		{what: "all is well", before: func() { c.Links[1].Heal(); c.connect(t) }},
	} {
		phase.before()
		done := rounds.Load()
		eventually(t, "people go on signing in", func() bool { return rounds.Load() > done || t.Failed() })
		c.turn(t, phase.what, phase.deaf)
		if t.Failed() {
			return
		}
	}
	end()
	for i, n := range c.heard {
		if n == 0 {
			t.Errorf("instance %d never heard of a change by a hint", i)
		}
	}
	t.Logf("%d times a person signed in and refreshed three times, and a service got five tokens", rounds.Load())
}

// TestForgedHints floods the instances with what somebody with access to Redis can invent: revisions that there will never be, of
// a tenant that is served and of nobody, and rubbish. Nothing is built again, and people are served.
func TestForgedHints(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.connect(t)
	builds := func() (all int) {
		for _, a := range c.Instances {
			all += metric(t, a, `parako_provider_pool_builds_total{result="success"}`)
		}
		return all
	}
	ask := func() {
		for _, a := range c.Instances {
			expect(t, direct(t, a, c.acme, c.acme.M2M).post(t, "/token", "grant_type", "client_credentials"), http.StatusOK, "")
		}
	}
	ask()
	before, heard := builds(), c.hear(t, nil)
	const forged = 200 // an instance that is behind keeps more
	for n := range forged {
		id := c.acme.ID
		if n%2 == 0 {
			id = uuid.New()
		}
		c.redis.PublishHint(t.Context(), cache.Hint{Tenant: id, Revision: math.MaxInt64})
		if n%50 == 0 {
			ask()
		}
	}
	for i, a := range c.Instances {
		eventually(t, "the forged hints are heard", func() bool { return metric(t, a, heardHints) >= heard[i]+forged })
	}
	ask()
	if after := builds(); after != before {
		t.Errorf("%d providers were built because of forged hints", after-before)
	}
}
