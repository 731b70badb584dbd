// Package i18n owns the words of the hosted pages and the choice of the language they are shown in.
//
// Messages live in locales/<tag>.toml, one file per locale, as plain text with {{.Name}} placeholders. The package knows nothing of HTML:
// what it returns is not escaped, and the page that prints it must do so. It never formats dates or numbers and reads no request.
//
// Start reading at [Catalog.Text] and [Catalog.Negotiate].
package i18n

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	goi18n "github.com/nicksnyder/go-i18n/v2/i18n"
	"golang.org/x/text/language"
)

// Fallback is the locale whose catalogue is complete by definition: the others are held to its keys by a test, and a message
// missing elsewhere is taken from it.
const Fallback = "en"

//go:embed locales/*.toml
var locales embed.FS

// Catalog holds every message of every locale. It is immutable after [New] and safe for concurrent use. The zero value is not usable.
type Catalog struct {
	locales []locale // the order of preference when two match a reader equally well
	byName  map[string]*locale
}

type locale struct {
	name      string
	tag       language.Tag
	localizer *goi18n.Localizer
	plain     map[string]string // messages without placeholders, looked up without running a template
}

// New parses the embedded message files. An error names the file that is not valid TOML, or whose message is not a valid template;
// both are bugs of the build, so a caller should refuse to start.
func New() (*Catalog, error) {
	return load(locales, []string{"en", "fr", "es", "pt", "de", "it", "ru", "zh", "ja", "ko"})
}

func load(files fs.FS, names []string) (*Catalog, error) {
	bundle := goi18n.NewBundle(language.MustParse(Fallback))
	bundle.RegisterUnmarshalFunc("toml", toml.Unmarshal)

	c := &Catalog{locales: make([]locale, 0, len(names)), byName: make(map[string]*locale, len(names))}
	for _, name := range names {
		file := path.Join("locales", name+".toml")
		text, err := fs.ReadFile(files, file)
		if err != nil {
			return nil, fmt.Errorf("read messages: %w", err)
		}
		parsed, err := bundle.ParseMessageFileBytes(text, file)
		if err != nil {
			return nil, fmt.Errorf("parse messages %s: %w", file, err)
		}
		l := locale{name: name, tag: parsed.Tag, plain: make(map[string]string, len(parsed.Messages))}
		l.localizer = goi18n.NewLocalizer(bundle, name, Fallback)
		for _, message := range parsed.Messages {
			// go-i18n compiles a message when it is first used; using each once here moves the error from a reader to the start.
			text, err := l.localizer.Localize(&goi18n.LocalizeConfig{MessageID: message.ID})
			if err != nil {
				return nil, fmt.Errorf("parse messages %s: %s: %w", file, message.ID, err)
			}
			if !strings.Contains(message.Other, "{{") {
				l.plain[message.ID] = text
			}
		}
		c.locales = append(c.locales, l)
	}
	for i := range c.locales {
		c.byName[c.locales[i].name] = &c.locales[i]
	}
	return c, nil
}

// Locales returns the names of the shipped locales as BCP 47 tags, [Fallback] first. The slice belongs to the caller.
func (c *Catalog) Locales() []string {
	names := make([]string, len(c.locales))
	for i, l := range c.locales {
		names[i] = l.name
	}
	return names
}

// Text returns the message called key in a locale, with args filled into its placeholders. A message the locale lacks, or a locale that
// is not shipped, yields the text of [Fallback]; an unknown key yields the key itself, so that a mistake is visible and never fatal.
// The result is plain text: escape it before it becomes HTML.
func (c *Catalog) Text(name, key string, args map[string]any) string {
	l := c.byName[name]
	if l == nil {
		l = c.byName[Fallback]
	}
	if text, ok := l.plain[key]; ok {
		return text
	}
	text, err := l.localizer.Localize(&goi18n.LocalizeConfig{MessageID: key, TemplateData: args})
	if text == "" && err != nil {
		return key
	}
	return text
}

// Negotiate chooses the locale of a page: the first of uiLocales (OpenID Connect Core §3.1.2.1), cookie, acceptLanguage (an
// Accept-Language header, RFC 9110 §12.5.4) and def that names a language on offer. The offer is what the tenant made available, reduced
// to what is shipped; an empty offer means every shipped locale. Malformed preferences are skipped, because they come from the network.
// The result is always a shipped locale, [Fallback] at worst.
func (c *Catalog) Negotiate(available []string, def string, uiLocales []string, cookie, acceptLanguage string) string {
	offer := make([]*locale, 0, len(c.locales))
	for i := range c.locales {
		if len(available) == 0 || slices.Contains(available, c.locales[i].name) {
			offer = append(offer, &c.locales[i])
		}
	}
	for _, wanted := range append(slices.Clip(uiLocales), cookie) {
		if tag, err := language.Parse(wanted); err == nil {
			if name, ok := match(offer, tag); ok {
				return name
			}
		}
	}
	tags, _, err := language.ParseAcceptLanguage(acceptLanguage)
	if err == nil {
		for _, tag := range tags {
			if name, ok := match(offer, tag); ok {
				return name
			}
		}
	}
	if c.byName[def] != nil {
		return def
	}
	if len(offer) > 0 {
		return offer[0].name
	}
	return Fallback
}

// match returns the locale on offer that is the wanted language in whatever region or script: de-CH is served de, zh-Hant is served zh.
// A matcher alone would go further and serve related languages, Russian to a Ukrainian among them, which is worse than the default.
func match(offer []*locale, wanted language.Tag) (string, bool) {
	base, _, _ := wanted.Raw()
	best, found := "", language.No
	for _, l := range offer {
		if offered, _, _ := l.tag.Raw(); offered != base {
			continue
		}
		if c := language.Comprehends(wanted, l.tag); best == "" || c > found {
			best, found = l.name, c
		}
	}
	return best, best != ""
}

// Dir returns the direction a locale is written in, "ltr" or "rtl", for the dir attribute of HTML. An unknown locale is "ltr".
func Dir(name string) string {
	script, _ := language.Make(name).Script()
	switch script.String() {
	case "Adlm", "Arab", "Hebr", "Nkoo", "Rohg", "Syrc", "Thaa":
		return "rtl"
	}
	return "ltr"
}
