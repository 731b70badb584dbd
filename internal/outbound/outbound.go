// Package outbound is the one way in which the product calls an address that a tenant or a client has named: keys of clients,
// sector identifiers, request objects, logout notices. Whoever registers an address must not be able to make us speak to our
// own network with it (server-side request forgery).
//
// It refuses anything but https, addresses that are not public, redirects, proxies of the environment, answers over a
// megabyte, and patience beyond five seconds. The address is checked when the connection is made, so that a name cannot
// resolve to one address for the check and to another for the call (DNS rebinding). Mail servers of tenants are reached with
// [Client.Dial], which holds to the same addresses. Start reading at [Client.Get].
package outbound

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// ErrRefused reports an address that may not be called. It is the same for all reasons: the caller must not map our network
// with it.
var ErrRefused = errors.New("the address may not be called")

const (
	// Timeout bounds a call from the look-up of the name to the last byte.
	Timeout = 5 * time.Second
	// MaxBody is the largest answer.
	MaxBody = 1 << 20
)

// Options say what may be called besides public https addresses.
type Options struct {
	// Allowed are networks of the operator's own, in which clients live.
	Allowed []netip.Prefix
	// Loopback allows this machine, and http to it: for development and tests.
	Loopback bool
	// Roots are trusted instead of the system's; nil means the system's.
	Roots *x509.CertPool
	// Timeout replaces the constant. Longer only in tests, where it keeps a busy machine from looking like somebody slow.
	Timeout time.Duration
}

// Client calls addresses. It is safe for concurrent use.
type Client struct {
	o      Options
	dialer *net.Dialer
	http   *http.Client
}

// New makes a Client.
func New(o Options) *Client {
	c := &Client{o: o}
	timeout := cmp.Or(o.Timeout, Timeout)
	c.dialer = &net.Dialer{Timeout: timeout, ControlContext: c.control}
	c.http = &http.Client{
		Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
		Transport: &http.Transport{
			Proxy:                  nil, // A proxy of the environment would make the calls in our place, unchecked.
			DialContext:            c.dialer.DialContext,
			TLSClientConfig:        c.TLS(""),
			ForceAttemptHTTP2:      true,
			MaxConnsPerHost:        8,
			MaxIdleConns:           32,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
	return c
}

// Dial connects to an address (host:port) for a protocol other than HTTP, such as that of mail. ErrRefused, or what the network
// said.
func (c *Client) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return c.dialer.DialContext(ctx, network, address)
}

// TLS is how to speak TLS with the server of this name.
func (c *Client) TLS(name string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.o.Roots, ServerName: name}
}

// Local reports whether this machine may be called, as in development.
func (c *Client) Local() bool { return c.o.Loopback }

// control refuses a connection to an address that may not be called. The dialer has resolved the name by then.
func (c *Client) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil || !c.mayCall(target.Addr().Unmap()) {
		return ErrRefused
	}
	return nil
}

// special are the networks that are not public although netip has no word for them.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this network
	netip.MustParsePrefix("100.64.0.0/10"),   // carrier-grade NAT
	netip.MustParsePrefix("192.0.0.0/24"),    // protocol assignments
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation
	netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"), // documentation
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation
	netip.MustParsePrefix("240.0.0.0/4"),     // reserved, and broadcast
	netip.MustParsePrefix("64:ff9b::/96"),    // NAT64: an IPv4 address in disguise
	netip.MustParsePrefix("64:ff9b:1::/48"),  // the same, local
	netip.MustParsePrefix("100::/64"),        // discard
	netip.MustParsePrefix("2001::/23"),       // protocol assignments, Teredo among them
	netip.MustParsePrefix("2001:db8::/32"),   // documentation
	netip.MustParsePrefix("2002::/16"),       // 6to4: an IPv4 address in disguise
	netip.MustParsePrefix("fec0::/10"),       // site-local of old
}

// mayCall reports whether the address is public or was allowed.
func (c *Client) mayCall(addr netip.Addr) bool {
	for _, allowed := range c.o.Allowed {
		if allowed.Contains(addr) {
			return true
		}
	}
	if addr.IsLoopback() {
		return c.o.Loopback
	}
	if !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.Zone() != "" {
		return false
	}
	for _, prefix := range special {
		if prefix.Contains(addr) {
			return false
		}
	}
	return true
}

// Check reports whether the URL has a form that may be called: https, or http to this machine in development, with a host
// and without credentials and fragment. It resolves nothing.
func (c *Client) Check(target string) error {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || len(target) > 2048 {
		return ErrRefused
	}
	if u.Scheme == "https" {
		return nil
	}
	if u.Scheme == "http" && c.o.Loopback && loopbackName(u.Hostname()) {
		return nil
	}
	return ErrRefused
}

func loopbackName(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Response is an answer with status 2xx, read to its end.
type Response struct {
	Status int
	// Type is the media type without parameters, in lower case; empty when there is none.
	Type string
	Body []byte
}

// StatusError reports an answer with another status.
type StatusError int

// Error implements error.
func (e StatusError) Error() string { return fmt.Sprintf("the answer has status %d", int(e)) }

// Get fetches the URL. accept is what the Accept header says. ErrRefused, a [StatusError], or what the network said.
func (c *Client) Get(ctx context.Context, target, accept string) (Response, error) {
	return c.do(ctx, http.MethodGet, target, "", nil, accept)
}

// Post sends a body to the URL, and accepts any kind of answer.
func (c *Client) Post(ctx context.Context, target, contentType string, body []byte) (Response, error) {
	return c.do(ctx, http.MethodPost, target, contentType, body, "*/*")
}

func (c *Client) do(ctx context.Context, method, target, contentType string, body []byte, accept string) (Response, error) {
	if err := c.Check(target); err != nil {
		return Response{}, err
	}
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return Response{}, ErrRefused
	}
	r.Header.Set("Accept", accept)
	r.Header.Set("User-Agent", "Parako")
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		if errors.Is(err, ErrRefused) {
			return Response{}, ErrRefused
		}
		return Response{}, fmt.Errorf("call %s: %w", r.URL.Host, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, MaxBody+1))
	if err != nil {
		return Response{}, fmt.Errorf("read the answer of %s: %w", r.URL.Host, err)
	}
	if len(text) > MaxBody {
		return Response{}, fmt.Errorf("the answer of %s is larger than %d bytes", r.URL.Host, MaxBody)
	}
	if answer.StatusCode < http.StatusOK || answer.StatusCode > 299 {
		return Response{}, StatusError(answer.StatusCode)
	}
	media, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	return Response{Status: answer.StatusCode, Type: media, Body: text}, nil
}

// Close gives idle connections up.
func (c *Client) Close() { c.http.CloseIdleConnections() }
