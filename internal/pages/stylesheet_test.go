package pages

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDefaultPalettesAreReadable(t *testing.T) {
	t.Parallel()
	s := newRenderer(t).sheet
	for scheme, colours := range map[string]map[string]string{"light": s.lightColours, "dark": s.darkColours} {
		for _, token := range s.tokens {
			if colours[token] == "" {
				t.Errorf("%s has no %s", scheme, token)
			}
		}
		for _, p := range pairs(s.tokens) {
			if got := contrast(colours[p.over], colours[p.under]); got < p.least {
				t.Errorf("%s: %s on %s has a contrast of %.2f, want %.1f", scheme, p.over, p.under, got, p.least)
			}
		}
	}
}

func TestStylesheet(t *testing.T) {
	t.Parallel()
	r := newRenderer(t)
	neutral := r.Stylesheet(Brand{})
	if !regexp.MustCompile(`^/static/[0-9a-f]{64}/app\.css$`).MatchString(neutral.Path()) {
		t.Errorf("Path() = %q", neutral.Path())
	}
	if strings.Contains(string(neutral.Body), "/*") {
		t.Error("the comments are sent to the reader")
	}

	brand := Brand{
		Light:    map[string]string{"primary": "#ABCDEF", "cardForeground": "#123", "mutedForeground": "#222222"},
		Dark:     map[string]string{"primary-foreground": "#000"},
		FontSans: `Inter, "Noto Sans", system-ui`,
	}
	got := r.Stylesheet(brand)
	if diff := cmp.Diff(got, r.Stylesheet(brand)); diff != "" {
		t.Errorf("the same brand gives different stylesheets:\n%s", diff)
	}
	if got.Hash == neutral.Hash {
		t.Error("two stylesheets have the same hash")
	}
	light, dark, _ := strings.Cut(string(got.Body), "@media (prefers-color-scheme: dark)")
	wantLight := `:root{--card-foreground:#123;--primary:#abcdef;--primary-foreground:#000000;--muted-foreground:#222222;` +
		`--font-sans:"Inter","Noto Sans",system-ui,system-ui,sans-serif;}` + "\n"
	if !strings.HasSuffix(light, wantLight) {
		t.Errorf("before the dark palette stands %q, want %q", light[max(0, len(light)-300):], wantLight)
	}
	wantDark := "@media (prefers-color-scheme: dark){:root{--primary-foreground:#000;}}\n"
	if !strings.HasSuffix(dark, wantDark) {
		t.Errorf("at the end stands %q, want %q", dark[max(0, len(dark)-200):], wantDark)
	}
}

func TestDeclarations(t *testing.T) {
	t.Parallel()
	s := newRenderer(t).sheet
	tests := map[string]struct {
		palette map[string]string
		want    string
	}{
		"nothing":                          {nil, ""},
		"readable primary keeps the white": {map[string]string{"primary": "#7a1fa2"}, "--primary:#7a1fa2;--ring:#7a1fa2;"},
		"pale primary gets black text and keeps the ring": {
			map[string]string{"primary": "#ffd400"}, "--primary:#ffd400;--primary-foreground:#000000;",
		},
		"the tenant's own text colour stands": {
			map[string]string{"primary": "#7a1fa2", "primaryForeground": "#777", "ring": "#000"},
			"--primary:#7a1fa2;--primary-foreground:#777;--ring:#000;",
		},
		"white card changes nothing else": {map[string]string{"card": "#fff"}, "--card:#fff;"},
		"black card turns what stands on it": {
			map[string]string{"card": "#000"}, "--card:#000;--card-foreground:#ffffff;--muted-foreground:#ffffff;--ring:#ffffff;",
		},
		"both spellings of a token": {
			map[string]string{"card-foreground": "#111", "cardForeground": "#222"}, "--card-foreground:#222;",
		},
		"unknown token":       {map[string]string{"sidebar": "#111", "": "#111", "font-sans": "#111"}, ""},
		"not quite a colour":  {map[string]string{"card": "#12", "border": "#1234", "input": "123456", "ring": "#12345g", "muted": "red"}, ""},
		"colour and a script": {map[string]string{"card": "#fff;}body{display:none", "ring": "#fff\n", "muted": " #fff"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, declarations(s.tokens, s.lightColours, tt.palette)); diff != "" {
				t.Errorf("declarations mismatch (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFontFamilies(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]string{
		"":                               "",
		"Inter":                          `"Inter"`,
		`Inter, 'Open Sans' ,"Noto", , `: `"Inter","Open Sans","Noto"`,
		"system-ui,sans-serif":           "system-ui,sans-serif",
		"ヒラギノ角ゴ Pro W3":                  `"ヒラギノ角ゴ Pro W3"`,
		strings.Repeat("x", 65):          "",
	} {
		if got := fontFamilies(list); got != want {
			t.Errorf("fontFamilies(%q) = %q, want %q", list, got, want)
		}
	}
}

// injections try to leave the value they stand in.
var injections = []string{
	"red;}body{display:none}", "#fff}*{color:red", "#fff;--x:url(//evil.example)", "url(https://evil.example/x)", "expression(alert(1))",
	`\23 fff`, "#fff/*", "*/", "#fff!important", "</style><script>alert(1)</script>", "var(--primary)", "#fff\n}", "@import 'x'", `";}*{x:"`,
	"'", `"`, "a\\", "a;b", "a{b", "a}b", "a<b", "a>b", "a(b", "a:b", "a@b", "a\x00b", "a\u2028b", "\ufeff#fff", "#fff ",
}

func TestBrandCannotInjectCSS(t *testing.T) {
	t.Parallel()
	r := newRenderer(t)
	want := r.Stylesheet(Brand{})
	for _, injection := range injections {
		got := r.Stylesheet(Brand{
			Company: injection, LogoURL: injection, LogoDarkURL: injection, FaviconURL: injection, FontSans: injection,
			Light: map[string]string{"primary": injection, "card": injection, injection: "#000"},
			Dark:  map[string]string{"primary": injection, injection: injection},
		})
		if diff := cmp.Diff(string(want.Body), string(got.Body)); diff != "" {
			t.Errorf("%q changed the stylesheet (-want +got):\n%s", injection, diff)
		}
	}
}

// FuzzBrand holds that whatever a brand says, only colours and quoted names reach the stylesheet.
func FuzzBrand(f *testing.F) {
	for _, injection := range injections {
		f.Add("primary", injection, injection)
	}
	f.Add("cardForeground", "#abc", "Inter, 'Noto Sans'")
	s := newRenderer(f).sheet
	colours := regexp.MustCompile(`^(--[a-z-]+:#([0-9a-f]{3}|[0-9a-f]{6});)*$`)
	families := regexp.MustCompile(`^(("[\p{L}\p{Nd} ._-]+"|[a-z-]+)(,|$))*$`)
	f.Fuzz(func(t *testing.T, token, value, fonts string) {
		if got := declarations(s.tokens, s.lightColours, map[string]string{token: value}); !colours.MatchString(got) {
			t.Errorf("declarations of %q: %q = %q", token, value, got)
		}
		if got := fontFamilies(fonts); !families.MatchString(got) {
			t.Errorf("fontFamilies(%q) = %q", fonts, got)
		}
	})
}

func TestBrandShell(t *testing.T) {
	t.Parallel()
	brand := Brand{Company: "Acme", LogoURL: "/a.png", LogoDarkURL: "/b.png", FaviconURL: "/c.png"}
	got := brand.Shell("de", Stylesheet{Hash: "00"})
	want := Shell{
		Locale: "de", Company: "Acme", LogoURL: "/a.png", LogoDarkURL: "/b.png", FaviconURL: "/c.png", StylesheetURL: "/static/00/app.css",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Shell mismatch (-want +got):\n%s", diff)
	}
}

func BenchmarkStylesheet(b *testing.B) {
	r := newRenderer(b)
	brand := Brand{Light: map[string]string{"primary": "#7a1fa2"}, Dark: map[string]string{"primary": "#d9a8f0"}}
	for b.Loop() {
		r.Stylesheet(brand)
	}
}
