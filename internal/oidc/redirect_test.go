package oidc

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestMatchRedirect(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		registered, presented string
		want                  bool
	}{
		"identical":                            {"https://a.example/cb", "https://a.example/cb", true},
		"identical with a query":               {"https://a.example/cb?x=1", "https://a.example/cb?x=1", true},
		"a private scheme":                     {"com.example.app:/cb", "com.example.app:/cb", true},
		"loopback ignores the port (RFC 8252)": {"http://127.0.0.1/cb", "http://127.0.0.1:49152/cb", true},
		"IPv6 loopback ignores the port":       {"http://[::1]:1/cb", "http://[::1]:2/cb", true},
		"localhost by name keeps its port":     {"http://localhost:9008/cb", "http://localhost:9009/cb", false},
		"another loopback address":             {"http://127.0.0.1/cb", "http://127.0.0.2/cb", false},
		"loopback with another path":           {"http://127.0.0.1/cb", "http://127.0.0.1:1/cb2", false},
		"loopback with another query":          {"http://127.0.0.1/cb", "http://127.0.0.1:1/cb?x=1", false},
		"loopback over https":                  {"https://127.0.0.1/cb", "http://127.0.0.1:1/cb", false},
		"a trailing slash":                     {"https://a.example/cb", "https://a.example/cb/", false},
		"another case in the path":             {"https://a.example/cb", "https://a.example/CB", false},
		"another case in the host":             {"https://a.example/cb", "https://A.example/cb", false},
		"another case in the scheme":           {"https://a.example/cb", "HTTPS://a.example/cb", false},
		"a dot segment":                        {"https://a.example/cb", "https://a.example/x/../cb", false},
		"an encoded slash":                     {"https://a.example/cb", "https://a.example%2fcb", false},
		"user information":                     {"https://a.example/cb", "https://a.example@evil.example/cb", false},
		"a suffix of the host":                 {"https://a.example/cb", "https://a.example.evil.example/cb", false},
		"a backslash":                          {"https://a.example/cb", `https://a.example\@evil.example/cb`, false},
		"a fragment":                           {"https://a.example/cb", "https://a.example/cb#x", false},
		"an empty fragment":                    {"https://a.example/cb", "https://a.example/cb#", false},
		"a NUL":                                {"https://a.example/cb", "https://a.example/cb\x00", false},
		"an encoded NUL":                       {"https://a.example/cb", "https://a.example/cb%00", false},
		"a line break":                         {"https://a.example/cb", "https://a.example/cb\r\nX: y", false},
		"a space in front":                     {"https://a.example/cb", " https://a.example/cb", false},
		"a script, although registered":        {"javascript:alert(1)", "javascript:alert(1)", false},
		"data, although registered":            {"data:text/html,x", "data:text/html,x", false},
		"a wildcard, although registered":      {"https://*.example/cb", "https://*.example/cb", false},
		"nothing":                              {"https://a.example/cb", "", false},
		"no scheme":                            {"//a.example/cb", "//a.example/cb", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := matchRedirect(tt.registered, tt.presented); got != tt.want {
				t.Errorf("matchRedirect(%q, %q) = %t, want %t", tt.registered, tt.presented, got, tt.want)
			}
		})
	}
}

// FuzzMatchRedirect holds what a match means: the same string, or the same but for the port of a loopback address over http.
// Nothing that matches carries a fragment, user information or a scheme that runs code.
func FuzzMatchRedirect(f *testing.F) {
	for _, seed := range [][2]string{
		{"https://a.example/cb", "https://a.example/cb"},
		{"http://127.0.0.1/cb", "http://127.0.0.1:80/cb"},
		{"http://[::1]/", "http://[::1]:9/"},
		{"http://127.0.0.1/cb", "http://127.0.0.1:1@evil.example/cb"},
		{"com.example:/cb", "com.example:/cb"},
		{"http://127.0.0.1", "http://127.0.0.1:#"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, registered, presented string) {
		if !matchRedirect(registered, presented) {
			return
		}
		got, err := url.Parse(presented)
		if err != nil {
			t.Fatalf("%q matches and cannot be parsed", presented)
		}
		if got.User != nil || got.Fragment != "" || strings.ContainsAny(presented, "#\\ \x00\r\n") || got.Scheme == "javascript" || got.Scheme == "data" {
			t.Fatalf("%q matches", presented)
		}
		if registered == presented {
			return
		}
		want, err := url.Parse(registered)
		if err != nil {
			t.Fatalf("%q matches %q, which cannot be parsed", presented, registered)
		}
		addr, err := netip.ParseAddr(got.Hostname())
		if err != nil || !addr.IsLoopback() || got.Scheme != "http" || want.Hostname() != got.Hostname() || want.EscapedPath() != got.EscapedPath() || want.RawQuery != got.RawQuery {
			t.Fatalf("%q matches %q", presented, registered)
		}
	})
}

// FuzzASCII holds what an error description may contain (RFC 6749 section 4.1.2.1), whatever went wrong.
func FuzzASCII(f *testing.F) {
	f.Add("plain")
	f.Add("\"quoted\" \\ \r\n \x00 ü 漢字")
	f.Fuzz(func(t *testing.T, text string) {
		if got := ascii(text); strings.ContainsFunc(got, func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }) || len(got) > 400 {
			t.Fatalf("ascii(%q) = %q", text, got)
		}
	})
}
