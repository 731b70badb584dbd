package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// devRun is a `parako dev` in a process of its own.
type devRun struct {
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	seeded seeded
}

// ports are two that nobody listens on now.
func ports(t *testing.T) (server, demo int) {
	t.Helper()
	var free [2]int
	for i := range free {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if free[i], err = strconv.Atoi(port); err != nil {
			t.Fatal(err)
		}
	}
	return free[0], free[1]
}

func devCommand(t *testing.T, dir string, server, demo int) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "parako", "dev", "--json", "--data-dir", dir, "--port", strconv.Itoa(server), "--demo-port", strconv.Itoa(demo))
	// Whatever database the tests were given is not for this.
	cmd.Env = append(os.Environ(), "DATABASE_URL=", "REDIS_URL=", "STORAGE_POSTGRESQL_URL=", "STORAGE_POSTGRESQL_PLATFORM_URL=", "ENCRYPTION_KEY=")
	stderr := &bytes.Buffer{}
	cmd.Stderr = stderr
	return cmd, stderr
}

// startDev returns when the run has printed what it seeded, which it does when it is ready.
func startDev(t *testing.T, dir string, server, demo int) *devRun {
	t.Helper()
	r := &devRun{}
	r.cmd, r.stderr = devCommand(t, dir, server, demo)
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill() }) // It has ended unless the test has failed.
	if err := json.NewDecoder(stdout).Decode(&r.seeded); err != nil {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
		t.Fatalf("no description of what runs: %v\n%s", err, r.stderr)
	}
	return r
}

// interrupt is Ctrl-C, and waits for the end.
func (r *devRun) interrupt(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Wait(); err != nil {
		t.Errorf("parako dev ended with %v\n%s", err, r.stderr)
	}
}

// failsWith runs a second `parako dev` that cannot start, and demands one line that says why.
func failsWith(t *testing.T, dir string, server, demo int, reason string) {
	t.Helper()
	cmd, stderr := devCommand(t, dir, server, demo)
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("parako dev = %v, want exit status 1", err)
	}
	if text := stderr.String(); !strings.Contains(text, reason) || strings.Count(text, "\n") != 1 {
		t.Errorf("stderr is %q, want one line with %q", text, reason)
	}
}

// beside runs another command with the environment that the run has printed, and no other.
func beside(t *testing.T, run seeded, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "parako", args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for name, value := range run.Environment {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("parako %s: %v\n%s", strings.Join(args, " "), err, said)
	}
}

// TestDev is a developer's day: a first run, signing in at both tenants, Ctrl-C, a second run that knows the same passwords,
// a crash, and a third run.
func TestDev(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	server, demo := ports(t)
	first := startDev(t, dir, server, demo)
	for _, tenant := range first.seeded.Tenants {
		if want := fmt.Sprintf("http://%s.localhost:%d/oidc/v1", tenant.Slug, server); tenant.Issuer != want {
			t.Errorf("issuer %q, want %q", tenant.Issuer, want)
		}
		signInAtDemo(t, first.seeded.Demo, tenant)
	}
	signInAtPlatform(t, first.seeded)
	beside(t, first.seeded, "tenant", "create", "--slug", "initech", "--name", "Initech", "--domain", "login.initech.example")
	otherServer, otherDemo := ports(t)
	failsWith(t, dir, otherServer, otherDemo, "another `parako dev` uses")
	failsWith(t, filepath.Join(t.TempDir(), "other"), server, otherDemo, "choose another with --port")
	failsWith(t, filepath.Join(t.TempDir(), "other"), otherServer, demo, "choose another with --demo-port")
	first.interrupt(t)
	if _, err := os.Stat(filepath.Join(dir, "postgres", "data", "postmaster.pid")); !os.IsNotExist(err) {
		t.Errorf("PostgreSQL did not stop: %v", err)
	}

	second := startDev(t, dir, server, demo)
	if diff := cmp.Diff(first.seeded, second.seeded); diff != "" {
		t.Errorf("the second run differs (-first +second)\n%s", diff)
	}
	if err := second.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = second.cmd.Wait() // It was killed.

	third := startDev(t, dir, server, demo)
	signInAtDemo(t, third.seeded.Demo, third.seeded.Tenants[0])
	third.interrupt(t)
}

// TestDemoPersonsAreComplete: a conformance suite that asks for a claim gets it.
func TestDemoPersonsAreComplete(t *testing.T) {
	t.Parallel()
	for _, brand := range demoBrands() {
		for _, part := range []any{brand.person, *brand.person.Address} {
			v := reflect.ValueOf(part)
			for i := range v.NumField() {
				if v.Field(i).IsZero() {
					t.Errorf("%s has no %s", brand.person.Username, v.Type().Field(i).Name)
				}
			}
		}
		if err := brand.person.Check(); err != nil {
			t.Errorf("%s: %v", brand.person.Username, err)
		}
	}
}

// visitor is a browser that keeps cookies and finds every host on this machine.
type visitor struct{ *http.Client }

func newVisitor(t *testing.T) visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := visitor{&http.Client{Jar: jar, Transport: loopbackTransport()}}
	t.Cleanup(v.CloseIdleConnections)
	return v
}

func (v visitor) read(t *testing.T, r *http.Request) (string, *url.URL) {
	t.Helper()
	resp, err := v.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body), resp.Request.URL
}

func (v visitor) get(t *testing.T, target string) (string, *url.URL) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v.read(t, r)
}

func (v visitor) post(t *testing.T, target string, form url.Values) (string, *url.URL) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", r.URL.Scheme+"://"+r.URL.Host)
	return v.read(t, r)
}

// signInAtPlatform does what an operator does first: sign in at the platform's pages and see the tenants.
func signInAtPlatform(t *testing.T, s seeded) {
	t.Helper()
	v := newVisitor(t)
	page, at := v.get(t, s.Platform)
	if !strings.Contains(page, `id="login-form"`) {
		t.Fatalf("%s shows no login form:\n%s", at, page)
	}
	page, at = v.post(t, at.String()+"/login", url.Values{"identifier": {s.Operator.Identifier}, "password": {s.Operator.Password}})
	for _, tenant := range s.Tenants {
		if !strings.Contains(page, `href="/platform/tenants/`+tenant.Slug+`"`) {
			t.Errorf("%s does not list %s:\n%s", at, tenant.Slug, page)
		}
	}
}

// signInAtDemo does what a person does at the demo relying party: sign in, consent, see the claims, sign out.
func signInAtDemo(t *testing.T, demo string, tenant seededTenant) {
	t.Helper()
	v := newVisitor(t)
	page, at := v.get(t, demo+"/login/"+tenant.Slug)
	if !strings.Contains(page, `id="login-form"`) {
		t.Fatalf("%s shows no login form:\n%s", at, page)
	}
	page, at = v.post(t, at.String()+"/login", url.Values{"identifier": {tenant.Users[0].Identifier}, "password": {tenant.Users[0].Password}})
	if strings.Contains(page, `id="consent-form"`) { // Only the first time.
		page, at = v.post(t, at.String()+"/confirm", nil)
	}
	if !strings.Contains(page, `id="demo-claims"`) || !strings.Contains(page, tenant.Users[0].Identifier) {
		t.Fatalf("%s shows no claims:\n%s", at, page)
	}
	page, at = v.post(t, demo+"/logout", nil)
	if !strings.Contains(page, `id="logout-confirm"`) {
		t.Fatalf("%s does not ask:\n%s", at, page)
	}
	form := url.Values{}
	maps.Copy(form, at.Query()) // The form repeats the request in hidden fields.
	if page, at = v.post(t, at.Scheme+"://"+at.Host+"/oidc/v1/session/end/confirm", form); !strings.HasPrefix(at.String(), demo) {
		t.Fatalf("signing out ends at %s:\n%s", at, page)
	}
}
