package i18n

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

func newCatalog(t *testing.T) *Catalog {
	t.Helper()
	c, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// messages reads a locale's file without go-i18n, so that the test does not trust the code it checks.
func messages(t *testing.T, name string) map[string]string {
	t.Helper()
	text, err := fs.ReadFile(locales, "locales/"+name+".toml")
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	flat := map[string]string{}
	var walk func(prefix string, node map[string]any)
	walk = func(prefix string, node map[string]any) {
		for key, value := range node {
			switch value := value.(type) {
			case string:
				flat[prefix+key] = value
			case map[string]any:
				walk(prefix+key+".", value)
			default:
				t.Errorf("%s: %s%s is neither text nor a table", name, prefix, key)
			}
		}
	}
	walk("", tree)
	return flat
}

func TestLocalesAreComplete(t *testing.T) {
	t.Parallel()
	c := newCatalog(t)
	english := messages(t, Fallback)
	placeholder := regexp.MustCompile(`{{[^}]*}}`)

	files, err := fs.Glob(locales, "locales/*.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(c.Locales()) {
		t.Errorf("%d message files, %d locales: a file is not offered", len(files), len(c.Locales()))
	}
	for _, name := range c.Locales() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := messages(t, name)
			for key, want := range english {
				text, ok := got[key]
				if !ok || strings.TrimSpace(text) == "" {
					t.Errorf("%s is missing", key)
					continue
				}
				wantArgs, gotArgs := placeholder.FindAllString(want, -1), placeholder.FindAllString(text, -1)
				slices.Sort(wantArgs)
				slices.Sort(gotArgs)
				if diff := cmp.Diff(wantArgs, gotArgs); diff != "" {
					t.Errorf("%s placeholders mismatch (-en +%s):\n%s", key, name, diff)
				}
				if strings.Contains(text, "'") {
					t.Errorf("%s: %q has a typewriter apostrophe", key, text)
				}
			}
			for key := range got {
				if _, ok := english[key]; !ok {
					t.Errorf("%s is not in English", key)
				}
			}
		})
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	c := newCatalog(t)
	tests := map[string]struct {
		locale, key string
		args        map[string]any
		want        string
	}{
		"plain":                       {"de", "login.password", nil, "Passwort"},
		"placeholder":                 {"fr", "logout.title", map[string]any{"Company": "Acme"}, "Se déconnecter de Acme ?"},
		"text is not escaped":         {"en", "login.continue", map[string]any{"Client": "A & <B>"}, "to continue to A & <B>"},
		"argument is not a template":  {"en", "login.continue", map[string]any{"Client": "{{.Client}}"}, "to continue to {{.Client}}"},
		"unknown locale is English":   {"xx", "login.password", nil, "Password"},
		"unknown key is returned":     {"en", "login.nonsense", nil, "login.nonsense"},
		"unknown key in other locale": {"ja", "login.nonsense", nil, "login.nonsense"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := c.Text(tt.locale, tt.key, tt.args); got != tt.want {
				t.Errorf("Text(%q, %q) = %q, want %q", tt.locale, tt.key, got, tt.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	c, err := load(fstest.MapFS{
		"locales/en.toml": {Data: []byte("[a]\nb = \"one\"\nc = \"two {{.N}}\"")},
		"locales/fr.toml": {Data: []byte("[a]\nb = \"un\"")},
	}, []string{"en", "fr"})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Text("fr", "a.c", map[string]any{"N": 2}); got != "two 2" {
		t.Errorf("a message missing in French = %q, want the English one", got)
	}
	for name, text := range map[string]string{"broken TOML": "[a", "broken template": `a = "{{.N"`} {
		if _, err := load(fstest.MapFS{"locales/en.toml": {Data: []byte(text)}}, []string{"en"}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := load(fstest.MapFS{}, []string{"en"}); err == nil {
		t.Error("a missing file is accepted")
	}
}

func TestNegotiate(t *testing.T) {
	t.Parallel()
	c := newCatalog(t)
	tests := map[string]struct {
		available      []string
		def            string
		uiLocales      []string
		cookie, accept string
		want           string
	}{
		"nothing said":                           {def: "en", want: "en"},
		"default":                                {def: "it", want: "it"},
		"default that is not shipped":            {def: "xx", want: "en"},
		"ui_locales win":                         {def: "en", uiLocales: []string{"de"}, cookie: "fr", accept: "it", want: "de"},
		"ui_locales in order":                    {def: "en", uiLocales: []string{"nl", "pt-BR", "de"}, want: "pt"},
		"cookie wins over the header":            {def: "en", cookie: "fr", accept: "it", want: "fr"},
		"header by weight":                       {def: "en", accept: "it;q=0.3, ko-KR;q=0.9", want: "ko"},
		"header with a refused language":         {def: "en", accept: "it;q=0, es", want: "es"},
		"region is dropped":                      {def: "en", accept: "de-CH", want: "de"},
		"script is dropped":                      {def: "en", accept: "zh-TW", want: "zh"},
		"case does not matter":                   {def: "en", uiLocales: []string{"DE-at"}, want: "de"},
		"a related language is not the language": {def: "en", accept: "uk", want: "en"},
		"tenant restricts":                       {available: []string{"en", "fr"}, def: "fr", uiLocales: []string{"de"}, cookie: "ja", accept: "en", want: "en"},
		"tenant offers what is not shipped":      {available: []string{"sv"}, def: "sv", accept: "sv", want: "en"},
		"default outside the shipped":            {available: []string{"fr", "ja"}, def: "sv", want: "fr"},
		"malformed preferences are skipped":      {def: "en", uiLocales: []string{"", "_", "!!"}, cookie: "a b", accept: "fr", want: "fr"},
		"malformed header is skipped":            {def: "ja", accept: "fr;q=x", want: "ja"},
		"wildcard is no preference":              {def: "es", accept: "*", want: "es"},
		"undetermined is no preference":          {def: "es", cookie: "und", accept: "und-US", want: "es"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := c.Negotiate(tt.available, tt.def, tt.uiLocales, tt.cookie, tt.accept); got != tt.want {
				t.Errorf("Negotiate = %q, want %q", got, tt.want)
			}
		})
	}
}

// FuzzNegotiate holds that whatever arrives from the network, the answer is a shipped locale.
func FuzzNegotiate(f *testing.F) {
	c, err := New()
	if err != nil {
		f.Fatal(err)
	}
	f.Add("de", "fr", "it, *;q=0.5")
	f.Add("x-private", "art-lojban", "zh-min-nan, i-klingon;q=-1")
	f.Fuzz(func(t *testing.T, uiLocale, cookie, accept string) {
		got := c.Negotiate(nil, "en", []string{uiLocale}, cookie, accept)
		if !slices.Contains(c.Locales(), got) {
			t.Errorf("Negotiate = %q, which is not shipped", got)
		}
	})
}

func TestDir(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"en": "ltr", "ja": "ltr", "ar": "rtl", "he": "rtl", "az-Arab": "rtl", "": "ltr"} {
		if got := Dir(name); got != want {
			t.Errorf("Dir(%q) = %q, want %q", name, got, want)
		}
	}
}

func BenchmarkNegotiate(b *testing.B) {
	c, err := New()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c.Negotiate(nil, "en", nil, "", "de-CH,de;q=0.9,en;q=0.8")
	}
}

func BenchmarkText(b *testing.B) {
	c, err := New()
	if err != nil {
		b.Fatal(err)
	}
	args := map[string]any{"Client": "Acme"}
	for b.Loop() {
		c.Text("de", "login.continue", args)
	}
}
