package pages

import (
	"net/http"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	got := http.Header{}
	SecurityHeaders(got, "https://app.example/callback?x=1", "https://app.example", "com.example.app:/callback", "https://evil.example;x/")
	want := http.Header{
		"Content-Security-Policy": {"default-src 'none'; style-src 'self'; img-src 'self' https: data:; font-src 'self'; " +
			"form-action 'self' https://app.example com.example.app:; frame-ancestors 'none'; base-uri 'none'"},
		"X-Content-Type-Options": {"nosniff"},
		"X-Frame-Options":        {"DENY"},
		"Referrer-Policy":        {"no-referrer"},
		"Cache-Control":          {"no-store"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers mismatch (-want +got):\n%s", diff)
	}
}

func TestFormSource(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		uri, want string
	}{
		"origin":                    {"https://app.example", "https://app.example"},
		"port and path":             {"http://127.0.0.1:49152/cb?a=b#c", "http://127.0.0.1:49152"},
		"user name is dropped":      {"https://user:pw@app.example/", "https://app.example"},
		"private scheme":            {"com.example.app:/cb", "com.example.app:"},
		"private scheme with host":  {"myapp://callback", "myapp:"},
		"scheme only":               {"myapp:", "myapp:"},
		"IPv6 has no source":        {"http://[::1]:8080/cb", "http:"},
		"wildcard":                  {"https://*.example/", ""},
		"directive end":             {"https://a.example;script-src *", ""},
		"no host":                   {"https:///x", ""},
		"quote":                     {"https://'unsafe-inline'/", ""},
		"international name as is":  {"https://bücher.example/", ""},
		"script":                    {"JavaScript:alert(1)", ""},
		"data":                      {"data:text/html,x", ""},
		"relative":                  {"/callback", ""},
		"empty":                     {"", ""},
		"not a URI":                 {"https://a b/", ""},
		"line break does not split": {"https://a.example\r\nX: y", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := formSource(tt.uri)
			if got != tt.want || ok != (tt.want != "") {
				t.Errorf("formSource(%q) = %q, %t, want %q", tt.uri, got, ok, tt.want)
			}
		})
	}
}

// FuzzFormSource holds that a URI can add one source to the policy and nothing else.
func FuzzFormSource(f *testing.F) {
	f.Add("https://app.example:8443/cb")
	f.Add("https://*.example;x 'self'")
	f.Add("my+app-1.x:/cb")
	source := regexp.MustCompile(`^([a-z][a-z0-9+.-]*:|https?://[A-Za-z0-9.-]+(:[0-9]*)?)$`)
	f.Fuzz(func(t *testing.T, uri string) {
		if got, ok := formSource(uri); ok && !source.MatchString(got) {
			t.Errorf("formSource(%q) = %q", uri, got)
		}
	})
}

func TestAllowFrames(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		uris []string
		want string
	}{
		"origins once":             {[]string{"https://a.example/x?y=z", "https://b.example:8443/", "https://a.example/w"}, "; frame-src https://a.example https://b.example:8443"},
		"nothing to frame":         {nil, ""},
		"a scheme is no origin":    {[]string{"com.example.app:/x", "http://[::1]/x", "javascript:alert(1)"}, ""},
		"nothing ends a directive": {[]string{"https://a.example;script-src *"}, ""},
	} {
		got := http.Header{"Content-Security-Policy": {"default-src 'none'"}}
		AllowFrames(got, tt.uris)
		if diff := cmp.Diff("default-src 'none'"+tt.want, got.Get("Content-Security-Policy")); diff != "" {
			t.Errorf("%s: mismatch (-want +got)\n%s", name, diff)
		}
	}
}
