package server_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"parako/internal/oidc"
	"parako/internal/store"
	"parako/internal/testkit"
	"parako/internal/testkit/app"
)

// keep has n transactions begin, and keeps them open until the function that it returns is called. transaction calls begun inside one.
func keep(t *testing.T, n int, transaction func(ctx context.Context, begun func()) error) (end func()) {
	t.Helper()
	release := make(chan struct{})
	var open, ended sync.WaitGroup
	open.Add(n)
	for range n {
		ended.Go(func() {
			begun := sync.OnceFunc(open.Done)
			defer begun()
			err := transaction(context.WithoutCancel(t.Context()), func() {
				begun()
				<-release
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	open.Wait()
	return func() {
		close(release)
		ended.Wait()
	}
}

// TestAnswerWithoutConnections borrows all connections to the database, tenants' and then the platform's: whoever needs one is told so in
// the form they expect, while their own connection lasts, and is served again afterwards.
func TestAnswerWithoutConnections(t *testing.T) {
	t.Parallel()
	a := app.NewOn(t, testkit.NewDB(t).Direct()) // The pooler of tests has fewer sessions than a server connections.
	asPost(t, a, a.Globex)
	serveToken(t, a, a.Globex) // Acme's provider is not there yet, Globex's is.
	home := newProgram(t, a, onPlatform(t, a), readTenants)
	token := home.token(t, readTenants)
	tenants := func() app.Response {
		return home.call(t, token, http.MethodGet, "/tenants", "").Response
	}
	acme := strings.TrimSuffix(a.Acme.Issuer, oidc.Mount)
	client := a.Client(t)
	type asked struct {
		ask   func() app.Response
		words string // of the refusal
	}
	ofTenants := map[string]asked{
		"keys":    {func() app.Response { return app.Get(t, client, a.Acme.Issuer+"/jwks") }, `"error":"temporarily_unavailable"`},
		"a page":  {func() app.Response { return app.Get(t, client, acme+"/") }, "</html>"},
		"the API": {func() app.Response { return app.Get(t, client, acme+"/api/v1/tenants") }, `"type":"urn:parako:error:answer-late"`},
		"a token": {func() app.Response {
			w := serveToken(t, a, a.Globex)
			return app.Response{Response: w.Result(), Text: w.Body.String()}
		}, `"error":"temporarily_unavailable"`},
	}
	ofPlatform := map[string]asked{"an operation of the API": {tenants, `"type":"urn:parako:error:answer-late"`}}

	refused := func(requests map[string]asked, end func()) {
		usual := a.Server.AnswerIn(100 * time.Millisecond)
		for name, r := range requests {
			resp := r.ask()
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "5" || !strings.Contains(resp.Text, r.words) {
				t.Errorf("%s is answered with %d, Retry-After %q\n%s", name, resp.StatusCode, resp.Header.Get("Retry-After"), resp.Text)
			}
		}
		end()
		a.Server.AnswerIn(usual)
		for name, r := range requests {
			if resp := r.ask(); resp.StatusCode >= http.StatusInternalServerError {
				t.Errorf("%s is answered with %d afterwards", name, resp.StatusCode)
			}
		}
	}
	borrow := func() (end func()) {
		return keep(t, a.Server.Store().Connections(), func(ctx context.Context, begun func()) error {
			return a.Server.Store().ViewTenant(ctx, a.Globex.ID, func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.DomainCount(ctx, tx.Tenant())
				begun()
				return err
			})
		})
	}
	refused(ofTenants, borrow())

	// A proxy that wants to know whether to get a certificate is no caller of the public listener.
	certificate := func() int {
		w := httptest.NewRecorder()
		a.Server.Metrics().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/tls/ask?domain=login.nobody.example", nil))
		return w.Code
	}
	end, usual := borrow(), a.Server.AnswerIn(100*time.Millisecond)
	if got := certificate(); got != http.StatusServiceUnavailable {
		t.Errorf("a proxy is answered with %d", got)
	}
	end()
	a.Server.AnswerIn(usual)
	if got := certificate(); got != http.StatusNotFound {
		t.Errorf("a proxy is answered with %d afterwards", got)
	}
	const platformConnections = 4 // of an instance
	refused(ofPlatform, keep(t, platformConnections, func(ctx context.Context, begun func()) error {
		return a.Server.Store().InPlatform(ctx, func(context.Context, *store.PlatformTx) error {
			begun()
			return nil
		})
	}))
	if !strings.Contains(a.Logs.String(), "request_failed") {
		t.Error("no line of the log says what was waited for")
	}
}
