package outbound

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestMayCall(t *testing.T) {
	t.Parallel()
	strict := New(Options{})
	own := New(Options{Allowed: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8")}})
	dev := New(Options{Loopback: true})
	tests := map[string]struct{ strict, own, dev bool }{
		"8.8.8.8":              {true, true, true},
		"2606:4700::1111":      {true, true, true},
		"127.0.0.1":            {false, false, true},
		"127.9.9.9":            {false, false, true},
		"::1":                  {false, false, true},
		"::ffff:127.0.0.1":     {false, false, true},
		"::ffff:10.0.0.1":      {false, false, false},
		"10.0.0.1":             {false, false, false},
		"10.1.2.3":             {false, true, false},
		"172.16.0.1":           {false, false, false},
		"192.168.1.1":          {false, false, false},
		"169.254.169.254":      {false, false, false}, // metadata of clouds
		"fd00:ec2::254":        {false, true, false},  // the same
		"fe80::1":              {false, false, false},
		"100.64.0.1":           {false, false, false},
		"0.0.0.0":              {false, false, false},
		"::":                   {false, false, false},
		"224.0.0.1":            {false, false, false},
		"ff02::1":              {false, false, false},
		"255.255.255.255":      {false, false, false},
		"64:ff9b::7f00:1":      {false, false, false},
		"2002:7f00:1::":        {false, false, false},
		"2001:0:4136:e378::1":  {false, false, false},
		"192.0.2.1":            {false, false, false},
		"2001:db8::1":          {false, false, false},
		"198.18.0.1":           {false, false, false},
		"::ffff:169.254.169.1": {false, false, false},
	}
	for text, want := range tests {
		addr := netip.MustParseAddr(text).Unmap()
		for name, c := range map[string]struct {
			client *Client
			want   bool
		}{"strict": {strict, want.strict}, "with networks": {own, want.own}, "development": {dev, want.dev}} {
			if got := c.client.mayCall(addr); got != c.want {
				t.Errorf("%s: mayCall(%s) = %t, want %t", name, text, got, c.want)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	strict, dev := New(Options{}), New(Options{Loopback: true})
	tests := map[string]struct{ strict, dev bool }{
		"https://client.example/jwks":            {true, true},
		"https://client.example:8443/":           {true, true},
		"http://client.example/jwks":             {false, false},
		"http://localhost:9000/jwks":             {false, true},
		"http://127.0.0.1/jwks":                  {false, true},
		"https://user:pw@client.example/":        {false, false},
		"https://client.example/#f":              {false, false},
		"https:///path":                          {false, false},
		"file:///etc/passwd":                     {false, false},
		"gopher://client.example/":               {false, false},
		"//client.example/":                      {false, false},
		"":                                       {false, false},
		"https://a/" + strings.Repeat("x", 2048): {false, false},
		"http://localhost.evil.example/":         {false, false},
	}
	for target, want := range tests {
		if got := strict.Check(target) == nil; got != want.strict {
			t.Errorf("Check(%q) = %t, want %t", target, got, want.strict)
		}
		if got := dev.Check(target) == nil; got != want.dev {
			t.Errorf("in development Check(%q) = %t, want %t", target, got, want.dev)
		}
	}
}

// TestGet calls a server on this machine: allowed in development, and otherwise refused only when the connection is made.
func TestGet(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "Application/JSON; charset=utf-8")
		_, _ = w.Write([]byte(r.Header.Get("Accept")))
	})
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/jwks", http.StatusFound) })
	mux.HandleFunc("/huge", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, MaxBody+1)) })
	mux.HandleFunc("/largest", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, MaxBody)) })
	mux.HandleFunc("/error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	dev := New(Options{Loopback: true, Roots: roots})
	t.Cleanup(dev.Close)

	got, err := dev.Get(t.Context(), server.URL+"/jwks", "application/json")
	if err != nil || got.Status != http.StatusOK || got.Type != "application/json" || string(got.Body) != "application/json" {
		t.Errorf("Get = %+v, %v", got, err)
	}
	if got, err := dev.Get(t.Context(), server.URL+"/largest", "*/*"); err != nil || len(got.Body) != MaxBody {
		t.Errorf("the largest answer: %d bytes, %v", len(got.Body), err)
	}
	for path, want := range map[string]string{"/redirect": "status 302", "/huge": "larger than", "/error": "status 418", "/nothing": "status 404"} {
		if _, err := dev.Get(t.Context(), server.URL+path, "*/*"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Get(%s): %v, want %q", path, err, want)
		}
	}
	if _, err := New(Options{Loopback: true}).Get(t.Context(), server.URL+"/jwks", "*/*"); err == nil {
		t.Error("a certificate that nobody trusts is believed")
	}
	strict := New(Options{Roots: roots})
	if _, err := strict.Get(t.Context(), server.URL+"/jwks", "*/*"); !errors.Is(err, ErrRefused) {
		t.Errorf("a call to this machine: %v, want %v", err, ErrRefused)
	}
	own := New(Options{Roots: roots, Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if _, err := own.Get(t.Context(), server.URL+"/jwks", "*/*"); err != nil {
		t.Errorf("a call into an allowed network: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := dev.Get(cancelled, server.URL+"/jwks", "*/*"); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call: %v", err)
	}
}

// TestNamesAreCheckedWhenTheyAreCalled uses a name that leads to this machine: nothing about the name says so.
func TestNamesAreCheckedWhenTheyAreCalled(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{}, 1)
	go func() {
		if conn, err := listener.Accept(); err == nil {
			accepted <- struct{}{}
			_ = conn.Close()
		}
	}()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{}).Get(t.Context(), "https://localhost:"+port+"/", "*/*"); !errors.Is(err, ErrRefused) {
		t.Errorf("a name of this machine: %v, want %v", err, ErrRefused)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-accepted:
		t.Error("the connection was made")
	default:
	}
}

func TestPost(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, 64)
		n, _ := r.Body.Read(body)
		_, _ = w.Write([]byte(r.Method + " " + r.Header.Get("Content-Type") + " " + string(body[:n])))
	}))
	t.Cleanup(server.Close)
	dev := New(Options{Loopback: true})
	t.Cleanup(dev.Close)
	got, err := dev.Post(t.Context(), server.URL, "application/x-www-form-urlencoded", []byte("logout_token=x"))
	if err != nil || string(got.Body) != "POST application/x-www-form-urlencoded logout_token=x" {
		t.Errorf("Post = %q, %v", got.Body, err)
	}
}
