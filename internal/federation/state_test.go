package federation

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/secret"
	"parako/internal/tenant"
)

// bench is a relay that signs and verifies and has no Redis.
func bench(tb testing.TB, base string) *Relay {
	tb.Helper()
	key, err := secret.ParseMasterKey("c2f1a76bd0934e5588a1f2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7")
	if err != nil {
		tb.Fatal(err)
	}
	u, err := url.Parse(base)
	if err != nil {
		tb.Fatal(err)
	}
	return &Relay{Keys: []secret.MasterKey{key}, Base: u, Now: func() time.Time { return time.Unix(1_800_000_000, 0) }}
}

func sample(r *Relay) state {
	return state{
		tenant: acme.ID, provider: "google", expires: r.Now().Add(stateLife), browser: [32]byte(secret.Digest("the secret")),
		host: "acme.id.example.com",
	}
}

func TestStateIsRead(t *testing.T) {
	t.Parallel()
	r := bench(t, "https://id.example.com")
	want := sample(r)
	got, err := r.verify(r.sign(want))
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(state{})); err != nil || diff != "" {
		t.Errorf("verify: %v (-want +got)\n%s", err, diff)
	}
}

// TestChangedStates changes every bit and every character of a state, and its length.
func TestChangedStates(t *testing.T) {
	t.Parallel()
	r := bench(t, "https://id.example.com")
	text := r.sign(sample(r))
	refused := func(what, changed string) {
		t.Helper()
		if _, err := r.verify(changed); !errors.Is(err, ErrState) {
			t.Errorf("%s: verify(%s): %v, want ErrState", what, changed, err)
		}
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			changed := bytes.Clone(raw)
			changed[i] ^= 1 << bit
			refused("a bit", base64.RawURLEncoding.EncodeToString(changed))
		}
		refused("cut", base64.RawURLEncoding.EncodeToString(raw[:i]))
	}
	for i := range text {
		for _, c := range "Aa0-_=\n%\x00é" {
			if changed := text[:i] + string(c) + text[i+1:]; changed != text {
				refused("a character", changed)
			}
			refused("a character more", text[:i]+string(c)+text[i:])
		}
	}
	refused("a character at the end", text+"\n")
	refused("a byte more", base64.RawURLEncoding.EncodeToString(append(bytes.Clone(raw), 0)))
	refused("too long", strings.Repeat("A", 1<<20))
}

// TestForgedStates signs with what somebody may have, and what we would not.
func TestForgedStates(t *testing.T) {
	t.Parallel()
	r := bench(t, "https://id.example.com")
	other := bench(t, "https://id.example.com")
	other.Keys = []secret.MasterKey{newKey(t)}
	change := func(f func(*state)) string {
		s := sample(r)
		f(&s)
		return r.sign(s)
	}
	// The tag of one tenant's state under the body of another's.
	swapped := func() string {
		a, _ := base64.RawURLEncoding.DecodeString(r.sign(sample(r)))
		b, _ := base64.RawURLEncoding.DecodeString(change(func(s *state) { s.tenant = globex.ID }))
		return base64.RawURLEncoding.EncodeToString(append(b[:len(b)-macBytes], a[len(a)-macBytes:]...))
	}()
	nobodys := func() string {
		raw, _ := base64.RawURLEncoding.DecodeString(r.sign(sample(r)))
		copy(raw[1:17], uuid.Nil[:])
		return base64.RawURLEncoding.EncodeToString(raw)
	}()
	tests := map[string]struct {
		state string
		want  error
	}{
		"another master key":       {other.sign(sample(r)), ErrState},
		"swapped tenants":          {swapped, ErrState},
		"no tenant":                {nobodys, ErrState},
		"over":                     {change(func(s *state) { s.expires = r.Now() }), ErrStateAge},
		"long over":                {change(func(s *state) { s.expires = r.Now().Add(-time.Hour) }), ErrStateAge},
		"a clock a little ahead":   {change(func(s *state) { s.expires = r.Now().Add(stateLife + skew) }), nil},
		"a clock far ahead":        {change(func(s *state) { s.expires = r.Now().Add(stateLife + skew + time.Second) }), ErrState},
		"no provider":              {change(func(s *state) { s.provider = "" }), ErrState},
		"a provider with a slash":  {change(func(s *state) { s.provider = "a/../b" }), ErrState},
		"no host":                  {change(func(s *state) { s.host = "" }), ErrState},
		"the gateway":              {change(func(s *state) { s.host = "_ops.id.example.com" }), ErrState},
		"the base":                 {change(func(s *state) { s.host = "id.example.com" }), ErrState},
		"two labels":               {change(func(s *state) { s.host = "a.b.id.example.com" }), ErrState},
		"no slug":                  {change(func(s *state) { s.host = "-a.id.example.com" }), ErrState},
		"default as a slug":        {change(func(s *state) { s.host = "default.id.example.com" }), ErrState},
		"a port":                   {change(func(s *state) { s.host = "acme.id.example.com:444" }), ErrState},
		"an address":               {change(func(s *state) { s.host = "203.0.113.9" }), ErrState},
		"an IPv6 address":          {change(func(s *state) { s.host = "[::1]" }), ErrState},
		"a single label":           {change(func(s *state) { s.host = "intranet" }), ErrState},
		"a path":                   {change(func(s *state) { s.host = "evil.example/x" }), ErrState},
		"credentials":              {change(func(s *state) { s.host = "acme.id.example.com@evil.example" }), ErrState},
		"a query":                  {change(func(s *state) { s.host = "evil.example?x=.id.example.com" }), ErrState},
		"a break":                  {change(func(s *state) { s.host = "evil.example\r\nX: y" }), ErrState},
		"a custom domain":          {change(func(s *state) { s.host = "login.globex.example" }), nil},
		"an international domain":  {change(func(s *state) { s.host = "xn--bcher-kva.example" }), nil},
		"a slug with an underline": {change(func(s *state) { s.host = "glo_bex.id.example.com" }), nil},
		"the platform's tenant":    {change(func(s *state) { s.host = "_platforms.id.example.com" }), nil},
		"the built-in tenant":      {change(func(s *state) { s.tenant, s.host = tenant.DefaultID, "id.example.com" }), nil},
	}
	for name, tt := range tests {
		if _, err := r.verify(tt.state); !errors.Is(err, tt.want) {
			t.Errorf("%s: verify: %v, want %v", name, err, tt.want)
		}
	}
	if _, err := r.Receive(t.Context(), "github", Callback{State: r.sign(sample(r)), Code: theCode}, subject); !errors.Is(err, ErrState) {
		t.Errorf("another provider: Receive: %v, want ErrState", err)
	}
}

// TestSizes: the longest names fit what providers and browsers carry.
func TestSizes(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("a", 61) + "."
	domain := strings.Repeat(label, 4) + "examp" // 253 characters
	who := tenant.Tenant{ID: uuid.New(), Slug: strings.Repeat("a", 63), Domain: domain}
	r, _, _ := mini(t)
	r.Base, _ = url.Parse("https://id.example.com:65000")
	start := begin(t, r, who, domain+":65000", strings.Repeat("p", 32))
	if len(domain) != 253 || len(start.State) > maxState || len(start.Sealed) > 1000 {
		t.Errorf("domain %d, state %d, cookie %d characters", len(domain), len(start.State), len(start.Sealed))
	}
	if _, err := r.verify(start.State); err != nil {
		t.Errorf("verify: %v", err)
	}
}

func FuzzState(f *testing.F) {
	r := bench(f, "https://id.example.com")
	valid := r.sign(sample(r))
	for _, s := range []string{"", "A", valid, valid[:40], valid + "A", strings.Repeat("A", maxState)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := r.verify(text); err == nil && text != valid {
			t.Errorf("verify accepts %q", text)
		}
		s, body, tag, err := parseState(text)
		if err != nil {
			return
		}
		if again := base64.RawURLEncoding.EncodeToString(append(bytes.Clone(body), tag...)); again != text {
			t.Errorf("%q has a second spelling: %q", text, again)
		}
		written, err := base64.RawURLEncoding.DecodeString(r.sign(s))
		if err != nil || !bytes.Equal(written[:len(written)-macBytes], body) {
			t.Errorf("%q is read as %+v, which is written otherwise", text, s)
		}
	})
}
