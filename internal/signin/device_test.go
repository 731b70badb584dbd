package signin

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDevice(t *testing.T) {
	t.Parallel()
	for agent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                                  "Firefox, Linux",
		"Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36":                   "Chrome, Android",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1": "Safari, iOS",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0":           "Edge, Windows",
		"": "",
	} {
		if got := device(agent); got != want {
			t.Errorf("%q: %q, want %q", agent, got, want)
		}
	}
	// What a stranger makes up is not passed on.
	for _, agent := range []string{
		"https://evil.example/1.0", "evil.example/1.0", "Call +1 555 0100 now/1.0", "Your account is locked please call us/1.0", "<b>x</b>/1.0", "a\r\nb/1.0",
		strings.Repeat("x", 5000) + "/1.0", "Mozilla/5.0 (evil.example; visit evil.example)", "\xff\xfe/1.0",
	} {
		if got := device(agent); !utf8.ValidString(got) || strings.ContainsAny(got, ".:/<+\r\n") || len(got) > 2*maxName+2 || strings.Count(got, " ") > 5 {
			t.Errorf("%.40q is passed on as %q", agent, got)
		}
	}
}
