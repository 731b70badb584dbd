package server_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parako/internal/secret"
	"parako/internal/server"
	"parako/internal/testkit"
	"parako/internal/testkit/app"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	client := a.Client(t)
	for path, want := range map[string]string{"/health": "ok", "/health?deep=true": "ok", "/readyz": "ready"} {
		awaitStatus(t, a, "http://anything.example"+path, http.StatusOK) // On a busy machine PostgreSQL may be late at first.
		resp := app.Get(t, client, "http://anything.example"+path)
		var body struct {
			Status string            `json:"status"`
			Checks map[string]string `json:"checks"`
		}
		if err := json.Unmarshal([]byte(resp.Text), &body); err != nil || resp.StatusCode != http.StatusOK || body.Status != want {
			t.Errorf("%s: %d %s", path, resp.StatusCode, resp.Text)
		}
		if strings.Contains(path, "deep") && (body.Checks["database"] != "ok" || body.Checks["redis"] != "ok") {
			t.Errorf("%s: checks %v", path, body.Checks)
		}
	}
}

// TestHealthWithoutDatabase takes the database away from a running server. A pooler that notices only then lets requests wait for it.
func TestHealthWithoutDatabase(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.SuperuserElsewhere(t, "ALTER DATABASE "+a.DB.Name+" ALLOW_CONNECTIONS false")
	a.SuperuserElsewhere(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", a.DB.Name)
	client := a.Client(t)
	for path, want := range map[string]string{"/health?deep=true": "degraded", "/readyz": "db_disconnected"} {
		if resp := app.Get(t, client, "http://x.example"+path); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(resp.Text, want) {
			t.Errorf("%s: %d %s", path, resp.StatusCode, resp.Text)
		}
	}
	if resp := app.Get(t, client, "http://x.example/health"); resp.StatusCode != http.StatusOK {
		t.Errorf("/health: %d %s", resp.StatusCode, resp.Text)
	}
	resp := app.Get(t, client, a.Acme.Issuer+"/jwks")
	late := resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") == "5"
	if resp.StatusCode != http.StatusInternalServerError && !late || strings.Contains(resp.Text, a.DB.Name) {
		t.Errorf("a request without a database: %d %s", resp.StatusCode, resp.Text)
	}
}

// TestPulseIsShared has many ask at once whether the database answers, and go away.
func TestPulseIsShared(t *testing.T) {
	t.Parallel()
	s, clock := testkit.NewDB(t).Store(t), &testkit.Clock{}
	if err := s.Ping(t.Context()); err != nil { // The first has to connect.
		t.Fatal(err)
	}
	var pings atomic.Int64
	beats := server.NewPulse(func(ctx context.Context) error {
		pings.Add(1)
		return s.Ping(ctx)
	}, clock.Now)
	gone, leave := context.WithCancel(t.Context())
	leave()
	ask := func(want bool, total int64) {
		t.Helper()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if got := beats(gone); got != want {
					t.Errorf("the database answers: %t, want %t", got, want)
				}
			})
		}
		all.Wait()
		if got := pings.Load(); got != total {
			t.Errorf("the database was asked %d times, want %d", got, total)
		}
	}
	ask(true, 1)
	ask(true, 1)
	clock.Advance(time.Second)
	ask(true, 2)
	s.Close()
	clock.Advance(time.Second)
	ask(false, 3)
}

// TestShutdownFinishesRequestsInFlight stops a server that has received half a request, and sends the other half then.
func TestShutdownFinishesRequestsInFlight(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Config.ShutdownGrace = time.Minute
	second, err := server.New(t.Context(), server.Options{Config: a.Config, Log: slog.New(slog.DiscardHandler), RedisCompat: true})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- second.Run(ctx, listener, metrics, func() { close(ready) }) }()
	<-ready

	scrape := app.Get(t, http.DefaultClient, "http://"+metrics.Addr().String()+"/metrics")
	if !strings.Contains(scrape.Text, "parako_provider_pool_size") {
		t.Errorf("metrics: %d %.300s", scrape.StatusCode, scrape.Text)
	}
	if resp := app.Get(t, a.Client(t), a.Acme.Issuer[:len(a.Acme.Issuer)-len("/oidc/v1")]+"/metrics"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("metrics on the public listener: %d", resp.StatusCode)
	}

	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := fmt.Sprintf("grant_type=client_credentials&client_id=%s&client_secret=wrong", a.Acme.M2M.ID)
	// Expect: the server asks for the body once it is reading it, so the request is known to be in flight.
	_, err = fmt.Fprintf(conn, "POST /oidc/v1/token HTTP/1.1\r\nHost: acme.localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"+
		"Content-Length: %d\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n", len(body))
	if err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	if line, err := reader.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
	stop()
	// The listener is closed before the request is finished: wait for that, then finish the request.
	for {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			break
		}
		_ = c.Close()
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
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !strings.Contains(string(answer), "invalid_client") {
		t.Errorf("the request in flight got %d %s, %v", resp.StatusCode, answer, err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
}

// TestServerRefusesARoleAboveTheRules is the boot check as an operator meets it.
func TestServerRefusesARoleAboveTheRules(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for role, dsn := range map[string]string{"postgres is a superuser": a.DB.SuperDSN(), "parako_owner owns parako": a.DB.OwnerDSN()} {
		refused := a.Config
		refused.PostgresURL = secret.NewString(dsn)
		s, err := server.New(t.Context(), server.Options{Config: refused, Log: slog.New(slog.DiscardHandler), RedisCompat: true})
		if err == nil {
			s.Close()
			t.Fatalf("a server started as %s", role)
		}
		if !strings.Contains(err.Error(), role) {
			t.Errorf("the refusal does not name %q: %v", role, err)
		}
	}
}

// TestServerRefusesTheWrongMasterKey starts an instance whose key cannot open what another has sealed.
func TestServerRefusesTheWrongMasterKey(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	wrong := a.Config
	wrong.EncryptionKey = secret.NewString(hex.EncodeToString(secret.NewDataKey()))
	s, err := server.New(t.Context(), server.Options{Config: wrong, Log: slog.New(slog.DiscardHandler), RedisCompat: true})
	if err == nil {
		s.Close()
		t.Fatal("a server started with another master key")
	}
	if !strings.Contains(err.Error(), "ENCRYPTION_KEY does not open this database") {
		t.Errorf("the refusal does not say what is wrong: %v", err)
	}
}
