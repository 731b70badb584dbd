package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const hush = "correct-horse-battery-staple"

// holder is what fmt treats differently: it may not call methods of an unexported field.
type holder struct {
	Exported   String
	unexported String
	nested     struct{ deep []String }
}

func TestStringNeverPrintsItself(t *testing.T) {
	t.Parallel()
	s := NewString(hush)
	h := holder{Exported: s, unexported: s}
	h.nested.deep = []String{s}
	values := map[string]any{
		"value":             s,
		"pointer":           &s,
		"slice":             []String{s},
		"map":               map[string]String{"k": s},
		"struct":            h,
		"pointer to struct": &h,
		"error":             fmt.Errorf("connect with %v: %w", s, fmt.Errorf("%s", s)),
	}
	verbs := []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T", "%10.3s"}
	hex := fmt.Sprintf("%x", hush)
	for name, v := range values {
		for _, verb := range verbs {
			got := fmt.Sprintf(verb, v)
			if strings.Contains(got, hush) || strings.Contains(strings.ToLower(got), hex) || strings.Contains(got, hush[:3]) {
				t.Errorf("Sprintf(%q, %s) = %q", verb, name, got)
			}
		}
		js, err := json.Marshal(v)
		if err != nil {
			t.Errorf("json.Marshal(%s): %v", name, err)
		}
		var logged bytes.Buffer
		slog.New(slog.NewJSONHandler(&logged, nil)).Info("m", "v", v)
		slog.New(slog.NewTextHandler(&logged, nil)).Info("m", "v", v)
		for _, out := range []string{string(js), logged.String()} {
			if strings.Contains(out, hush) {
				t.Errorf("%s is printed: %s", name, out)
			}
		}
	}
	if got, want := fmt.Sprint(s), redacted; got != want {
		t.Errorf("Sprint = %q, want %q", got, want)
	}
}

func TestStringIsRefusedByDatabaseDrivers(t *testing.T) {
	t.Parallel()
	if v, err := NewString(hush).Value(); err == nil {
		t.Errorf("Value() = %v, want an error", v)
	}
}

func TestStringContent(t *testing.T) {
	t.Parallel()
	var zero, read String
	if !zero.Empty() || zero.Reveal() != "" {
		t.Errorf("zero String: Empty() = %t, Reveal() = %q", zero.Empty(), zero.Reveal())
	}
	if err := json.Unmarshal([]byte(`"`+hush+`"`), &read); err != nil {
		t.Fatal(err)
	}
	if read.Empty() || read.Reveal() != hush {
		t.Errorf("Reveal() = %q, want %q", read.Reveal(), hush)
	}
	if !read.Equal(NewString(hush)) || read.Equal(zero) {
		t.Error("Equal does not compare contents")
	}
}

func TestEqual(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		a, b string
		want bool
	}{
		"same":                  {"abc", "abc", true},
		"both empty":            {"", "", true},
		"one differs":           {"abc", "abd", false},
		"one is the prefix":     {"abc", "abcd", false},
		"trailing NUL counts":   {"abc", "abc\x00", false},
		"empty is not anything": {"", "a", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Equal([]byte(tt.a), []byte(tt.b)); got != tt.want {
				t.Errorf("Equal(%q, %q) = %t, want %t", tt.a, tt.b, got, tt.want)
			}
		})
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		token := Token()
		if len(token) != 43 || strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Fatalf("Token() = %q, want 43 characters of base64url", token)
		}
		if seen[token] {
			t.Fatalf("Token() repeated %q", token)
		}
		seen[token] = true
	}
}

func TestDigestIsSHA256(t *testing.T) {
	t.Parallel()
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2 appendix B.1
	if got := fmt.Sprintf("%x", Digest("abc")); got != want {
		t.Errorf("Digest(abc) = %s, want %s", got, want)
	}
}
