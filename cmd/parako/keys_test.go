package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/audit"
	"parako/internal/config"
	"parako/internal/oidc"
	"parako/internal/secret"
	"parako/internal/server"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/testkit/app"
)

// masterKeys are an old and a new one.
func masterKeys(t *testing.T, a *app.App) (before, after string) {
	t.Helper()
	return a.Config.EncryptionKey.Reveal(), a.Config.EncryptionKeyPrevious.Reveal()
}

// keysCommand is `parako keys …` in a process of its own, with the database of the app and the keys given.
func keysCommand(t *testing.T, a *app.App, key, previous string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "parako", append([]string{"keys"}, args...)...)
	cmd.Env = append(os.Environ(), "STORAGE_POSTGRESQL_URL="+a.Config.PostgresURL.Reveal(), "STORAGE_POSTGRESQL_PLATFORM_URL="+a.Config.PlatformURL.Reveal(),
		"STORAGE_POSTGRESQL_POOLER="+string(a.Config.Pooler), "REDIS_URL="+a.Config.RedisURL.Reveal(),
		"ENCRYPTION_KEY="+key, "ENCRYPTION_KEY_PREVIOUS="+previous)
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

// signedIn signs a person in for a confidential client and returns the tokens.
func signedIn(t *testing.T, a *app.App, c oidc.Client) map[string]any {
	t.Helper()
	const verifier = "an-verifier-of-forty-three-characters-or-more-"
	challenge := base64.RawURLEncoding.EncodeToString(secret.Digest(verifier))
	answer := a.SignIn(t, a.Browser(t), a.Acme.Issuer+"/authorize?"+url.Values{
		"client_id": {c.ID}, "redirect_uri": {app.Callback}, "response_type": {"code"}, "scope": {"openid offline_access"}, "prompt": {"consent"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}.Encode(), a.Acme.Email, app.Password)
	return tokensFor(t, a, c, url.Values{
		"grant_type": {"authorization_code"}, "code": {answer.Query().Get("code")}, "redirect_uri": {app.Callback}, "code_verifier": {verifier},
	})
}

func tokensFor(t *testing.T, a *app.App, c oidc.Client, form url.Values) map[string]any {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.Acme.Issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(c.ID, c.Secret)
	resp := app.Do(t, a.Client(t), r)
	var tokens map[string]any
	if err := json.Unmarshal([]byte(resp.Text), &tokens); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("token endpoint: %d %s", resp.StatusCode, resp.Text)
	}
	return tokens
}

func subject(t *testing.T, tokens map[string]any) string {
	t.Helper()
	idToken, _ := tokens["id_token"].(string)
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(idToken, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil || claims.Subject == "" {
		t.Fatalf("%s: %v", payload, err)
	}
	return claims.Subject
}

// TestRotateMaster replaces the master key below a server that knows both. The command is killed in the middle, people sign in
// meanwhile, it is run again, and in the end a server with the new key alone goes on where the other has stopped.
func TestRotateMaster(t *testing.T) {
	t.Parallel()
	a := app.New(t, func(c *config.Config) {
		c.EncryptionKeyPrevious = secret.NewString(hex.EncodeToString(secret.NewDataKey()))
	})
	before, after := masterKeys(t, a)
	var pairwise oidc.Client
	if err := a.Store.InTenant(t.Context(), a.Acme.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		pairwise, err = oidc.RegisterClient(ctx, tx, a.Vault, settings.Layer{}, oidc.NewClient{ID: "pair", Preset: oidc.PresetWeb, Actor: audit.Operator("test"), ClientMetadata: oidc.ClientMetadata{
			Name: "Pair", RedirectURIs: []string{app.Callback}, Scope: "openid offline_access", MoreMetadata: oidc.MoreMetadata{SubjectType: oidc.SubjectPairwise},
		}})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	first := signedIn(t, a, pairwise)
	signedIn(t, a, a.Acme.Web)
	if got := app.Get(t, a.Client(t), a.Globex.Issuer+"/jwks"); got.StatusCode != http.StatusOK { // Globex gets its data key.
		t.Fatalf("%d %s", got.StatusCode, got.Text)
	}
	wrapping := func() []string {
		t.Helper()
		return a.DB.AskAbove(t, "SELECT DISTINCT master_key_id FROM parako.data_keys ORDER BY 1")
	}
	if diff := cmp.Diff([]string{a.Vault.Master.ID()}, wrapping()); diff != "" {
		t.Fatalf("master keys mismatch (-want +got)\n%s", diff)
	}

	// The last tenant's row is held, so that the command stands still in front of it, and is killed there.
	release := a.DB.Hold(t, "SELECT FROM parako.data_keys WHERE tenant_id = $1 FOR UPDATE", a.Globex.ID)
	cmd, out := keysCommand(t, a, after, before, "rotate-master")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	const waiting = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%UPDATE parako.data_keys%'"
	for a.DB.AskAbove(t, waiting)[0] == "0" {
		select {
		case err := <-ended:
			t.Fatalf("the command has ended: %v\n%s", err, out)
		default:
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the command was killed and ended well")
	}
	if got := wrapping(); len(got) != 2 {
		t.Errorf("in the middle the data keys are wrapped by %q, want two master keys", got)
	}
	// Providers are built anew from what they find now: one tenant with the new key, one with the old.
	a.Superuser(t, "UPDATE parako.tenants SET revision = revision + 1, updated_at = now()")
	if second := signedIn(t, a, pairwise); subject(t, second) != subject(t, first) {
		t.Errorf("the pairwise subject was %s and is %s", subject(t, first), subject(t, second))
	}
	release()

	for _, want := range []string{", 1 data keys re-wrapped, 0 left behind\n", ", 0 data keys re-wrapped, 0 left behind\n"} { // The last time there is nothing to do.
		cmd, out = keysCommand(t, a, after, before, "rotate-master")
		if err := cmd.Run(); err != nil || !strings.Contains(out.String(), want) || !strings.HasSuffix(out.String(), "\n0 left: ENCRYPTION_KEY_PREVIOUS may be removed\n") {
			t.Errorf("rotate-master: %v\n%s\nwant %q", err, out, want)
		}
	}
	parts, err := secret.ParseMasterKey(after)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{parts.ID()}, wrapping()); diff != "" {
		t.Errorf("master keys mismatch (-want +got)\n%s", diff)
	}
	recorded := a.DB.AskAbove(t, "SELECT concat_ws(' ', actor_type, actor_id, detail->>'from', detail->>'to') FROM parako.audit_events WHERE type = 'data_key.rewrapped' AND tenant_id = $1", a.Acme.ID)
	if diff := cmp.Diff([]string{"operator cli " + a.Vault.Master.ID() + " " + parts.ID()}, recorded); diff != "" {
		t.Errorf("events mismatch (-want +got)\n%s", diff)
	}

	// A server that has never known the old key.
	a.Stop(t)
	alone := a.Config
	alone.EncryptionKey, alone.EncryptionKeyPrevious = secret.NewString(after), secret.String{}
	next, err := server.New(t.Context(), server.Options{Config: alone, Log: slog.New(slog.DiscardHandler), RedisCompat: true})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", a.Addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- next.Run(ctx, listener, nil, func() { close(ready) }) }()
	<-ready
	refresh, _ := first["refresh_token"].(string)
	refreshed := tokensFor(t, a, pairwise, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	if subject(t, refreshed) != subject(t, first) {
		t.Errorf("the pairwise subject was %s and is %s", subject(t, first), subject(t, refreshed))
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
	// And one that knows nothing but the old.
	alone.EncryptionKey = secret.NewString(before)
	if s, err := server.New(t.Context(), server.Options{Config: alone, Log: slog.New(slog.DiscardHandler), RedisCompat: true}); err == nil {
		s.Close()
		t.Error("a server with the old key alone starts")
	} else if !strings.Contains(err.Error(), "ENCRYPTION_KEY does not open this database") || !strings.Contains(err.Error(), parts.ID()) {
		t.Errorf("the refusal does not say what is wrong: %v", err)
	}
}

// TestRotateMasterLeavesWhatNeitherKeyOpens has one tenant wrapped by a third key. The others are done, and the command fails.
func TestRotateMasterLeavesWhatNeitherKeyOpens(t *testing.T) {
	t.Parallel()
	a := app.New(t, func(c *config.Config) {
		c.EncryptionKeyPrevious = secret.NewString(hex.EncodeToString(secret.NewDataKey()))
	})
	before, after := masterKeys(t, a)
	for _, tenant := range []app.Tenant{a.Acme, a.Globex} {
		app.Get(t, a.Client(t), tenant.Issuer+"/jwks")
	}
	a.Superuser(t, "UPDATE parako.data_keys SET master_key_id = '0badc0de' WHERE tenant_id = $1", a.Acme.ID)
	cmd, out := keysCommand(t, a, after, before, "rotate-master")
	if err := cmd.Run(); err == nil || strings.Contains(out.String(), "may be removed") || !strings.Contains(out.String(), a.Acme.ID.String()+": data key is wrapped by master key 0badc0de") {
		t.Errorf("rotate-master: %v\n%s", err, out)
	}
	if left := a.DB.AskAbove(t, "SELECT count(*)::text FROM parako.data_keys WHERE master_key_id = $1 AND tenant_id = $2", a.Vault.Master.ID(), a.Globex.ID); left[0] != "0" {
		t.Errorf("%s other tenants were left behind", left[0])
	}
	for _, pair := range [][2]string{{after, ""}, {"", ""}, {after, after}} {
		cmd, out := keysCommand(t, a, pair[0], pair[1], "rotate-master")
		if err := cmd.Run(); err == nil || !strings.Contains(out.String(), "ENCRYPTION_KEY") || strings.Contains(out.String(), after) {
			t.Errorf("rotate-master: %v\n%s", err, out)
		}
	}
}
