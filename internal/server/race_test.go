package server_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"parako/internal/config"
	"parako/internal/oidc"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

// racers is how many do the same thing at once.
const racers = 12

// together sends what request returns from many goroutines at once and returns the answers.
func (p party) together(t *testing.T, request func() *http.Request) []reply {
	t.Helper()
	replies, errs := [racers]reply{}, [racers]error{}
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	ready.Add(racers)
	for i := range racers {
		done.Go(func() {
			r := request()
			ready.Done()
			<-start
			status, header, body, err := send(p.direct, r)
			replies[i].Response = app.Response{Response: &http.Response{StatusCode: status, Header: header, Request: r}, Text: body}
			if errs[i] = err; err == nil && body != "" {
				errs[i] = json.Unmarshal([]byte(body), &replies[i].body)
			}
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return replies[:]
}

// TestOneCodeManyRedemptions redeems one code from many places at once. One of them gets tokens, the rest invalid_grant; and
// because the code was used more than once, nothing that came of it lives on (RFC 6749 section 4.1.2).
func TestOneCodeManyRedemptions(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	code := p.code(t, "scope", "openid offline_access")
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {app.Callback}, "code_verifier": {verifier}}
	replies := p.together(t, func() *http.Request { return p.formRequest(t.Context(), "/token", form) })
	var won []reply
	for _, r := range replies {
		switch {
		case r.StatusCode == http.StatusOK:
			won = append(won, r)
		case r.StatusCode != http.StatusBadRequest || r.text("error") != "invalid_grant":
			t.Errorf("a loser got %d %v", r.StatusCode, r.Text)
		}
	}
	if len(won) != 1 {
		t.Fatalf("%d redemptions succeeded", len(won))
	}
	if p.alive(t, won[0].text("access_token")) {
		t.Error("the access token of a code that was used twice lives on")
	}
	expect(t, p.refresh(t, won[0].text("refresh_token")), http.StatusBadRequest, "invalid_grant")
}

// TestOneRefreshTokenManyUses refreshes with one token from many places at once. However many are answered within the grace
// period, there is one successor: the family has no forks.
func TestOneRefreshTokenManyUses(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	token := p.tokens(t, "scope", "openid offline_access").text("refresh_token")
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	successors := map[string]bool{}
	for _, r := range p.together(t, func() *http.Request { return p.formRequest(t.Context(), "/token", form) }) {
		if r.StatusCode != http.StatusOK {
			t.Errorf("a use within the grace period got %d %v", r.StatusCode, r.Text)
			continue
		}
		successors[r.text("refresh_token")] = true
	}
	if len(successors) != 1 || successors[token] {
		t.Fatalf("%d successors", len(successors))
	}
	for successor := range successors {
		expect(t, p.refresh(t, successor), http.StatusOK, "")
	}
}

// TestOneInteractionManyAnswers consents from many tabs at once: one code is issued.
func TestOneInteractionManyAnswers(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	page := app.Get(t, p.browser, p.authorizeURL())
	page = app.Post(t, p.browser, page.Request.URL.String()+"/login", url.Values{"identifier": {a.Acme.Email}, "password": {app.Password}})
	if !strings.Contains(page.Text, `id="consent-form"`) {
		t.Fatalf("no consent page: %d %s", page.StatusCode, page.Text)
	}
	var mu sync.Mutex
	var codes []string
	var tabs sync.WaitGroup
	for range racers {
		tabs.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, page.Request.URL.String()+"/confirm", nil)
			if err != nil {
				t.Error(err)
				return
			}
			_, header, _, err := send(p.step, r)
			if err != nil {
				t.Error(err)
				return
			}
			if back, err := url.Parse(header.Get("Location")); err == nil && back.Query().Get("code") != "" {
				mu.Lock()
				codes = append(codes, back.Query().Get("code"))
				mu.Unlock()
			}
		})
	}
	tabs.Wait()
	if len(codes) != 1 {
		t.Fatalf("%d codes were issued", len(codes))
	}
	expect(t, p.redeem(t, codes[0]), http.StatusOK, "")
}

// TestManyTenantsInASmallPool asks for more tenants at once than the pool holds, so that providers are evicted all the time.
// Every answer comes from the tenant that was asked.
func TestManyTenantsInASmallPool(t *testing.T) {
	t.Parallel()
	a := app.New(t, func(c *config.Config) { c.MultiTenancy.PoolMaxSize = 3 })
	tenants := []app.Tenant{a.Acme, a.Globex}
	for i := range 8 {
		tenants = append(tenants, a.AddTenant(t, fmt.Sprintf("org%d", i)))
	}
	client := a.Client(t)
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			tenant := tenants[rand.IntN(len(tenants))]
			p := party{App: a, tenant: tenant, client: tenant.M2M, direct: client}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tenant.Issuer+"/.well-known/openid-configuration", nil)
			if i%2 == 0 {
				r, err = p.formRequest(t.Context(), "/token", url.Values{"grant_type": {"client_credentials"}, "resource": {"urn:test:api"}}), nil
			}
			if err != nil {
				t.Error(err)
				return
			}
			status, _, body, err := send(client, r)
			for err == nil && status == http.StatusServiceUnavailable && t.Context().Err() == nil { // Its turn has not come for too long.
				if r.GetBody != nil {
					r.Body, err = r.GetBody()
				}
				if err == nil {
					status, _, body, err = send(client, r)
				}
			}
			if err != nil || status != http.StatusOK {
				t.Errorf("%s: %d %s %v", tenant.Slug, status, body, err)
				return
			}
			var answer struct {
				Issuer string `json:"issuer"`
				Access string `json:"access_token"`
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil {
				t.Error(err)
				return
			}
			if answer.Access != "" {
				answer.Issuer, _ = claimsOf(t, answer.Access)["iss"].(string)
			}
			if answer.Issuer != tenant.Issuer {
				t.Errorf("%s was answered by %s", tenant.Issuer, answer.Issuer)
			}
		})
	}
	all.Wait()
}

// TestStormOverASmallPool asks for twenty tenants at once while the pool holds three, and each tenant changes meanwhile. Every answer
// comes from the tenant that was asked. A request that had come half way before is finished as if nothing had
// happened.
func TestStormOverASmallPool(t *testing.T) {
	t.Parallel()
	a := app.New(t, func(c *config.Config) { c.MultiTenancy.PoolMaxSize = 3 })
	var orgs []tenant.Tenant
	for i := range 20 {
		org, err := tenant.Create(t.Context(), a.Store, tenant.New{Slug: fmt.Sprintf("storm%d", i), DisplayName: "Storm"})
		if err != nil {
			t.Fatal(err)
		}
		orgs = append(orgs, org)
	}
	a.Server.AnswerIn(time.Hour)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", a.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := url.Values{"grant_type": {"client_credentials"}, "resource": {"urn:test:api"}, "scope": {"read"}}.Encode()
	issuer, err := url.Parse(a.Acme.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "POST /oidc/v1/token HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\nContent-Type: application/x-www-form-urlencoded\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n", issuer.Host,
		base64.StdEncoding.EncodeToString([]byte(a.Acme.M2M.ID+":"+a.Acme.M2M.Secret)), len(body))
	if err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	if line, err := reader.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") { // its tenant is known, and it waits for the body
		t.Fatalf("%q, %v", line, err)
	}

	base, err := a.Config.BaseURL()
	if err != nil {
		t.Fatal(err)
	}
	client := a.Client(t)
	var all sync.WaitGroup
	for _, org := range orgs {
		all.Go(func() {
			want := org.Issuer(base, oidc.Mount)
			for round := range 2 {
				resp := app.Get(t, client, want+"/.well-known/openid-configuration")
				for resp.StatusCode == http.StatusServiceUnavailable && t.Context().Err() == nil { // Its turn has not come for too long.
					resp = app.Get(t, client, want+"/.well-known/openid-configuration")
				}
				if !strings.Contains(resp.Text, `"issuer":"`+want+`"`) {
					t.Errorf("%s, round %d: %d %s", want, round, resp.StatusCode, resp.Text)
				}
				if err := a.Server.Store().InTenant(t.Context(), org.ID, func(ctx context.Context, tx *store.Tx) error {
					_, err := tx.TenantTouch(ctx, tx.Tenant())
					return err
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	// Whatever happens meanwhile, the bound is kept.
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	for storming := true; storming; {
		select {
		case <-ended:
			storming = false
		case <-time.After(5 * time.Millisecond):
		}
		if n := metric(t, a, "parako_provider_pool_size"); n > 3 {
			t.Errorf("the pool holds %d", n)
		}
	}
	if n := metric(t, a, `parako_provider_pool_evictions_total{reason="lru"}`); n < 17 {
		t.Errorf("only %d providers had to make room", n)
	}

	if _, err := io.WriteString(conn, body); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.ReadString('\n'); err != nil { // the blank line after 100 Continue
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(resp.Body)
		t.Errorf("the request in flight got %d %s", resp.StatusCode, answer)
	}
}
