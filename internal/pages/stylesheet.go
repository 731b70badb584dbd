package pages

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Brand is how a tenant looks. The zero value is the look of Parako. Values come from a tenant's settings and are not trusted.
type Brand struct {
	Company     string
	LogoURL     string
	LogoDarkURL string
	FaviconURL  string
	Light, Dark map[string]string // token (cardForeground or card-foreground) → #rgb or #rrggbb, for either colour scheme
	FontSans    string            // comma-separated font families that come before the system's own
	FontHeading string            // the same for headings; "" is FontSans
	FontMono    string            // the same for codes
}

// Stylesheet is the style of every page under one brand, in one file.
type Stylesheet struct {
	Hash string // of Body, in hexadecimal
	Body []byte // text/css; charset=utf-8
}

// Path returns where the server offers the stylesheet. The path changes whenever the content does, so the answer may be cached for ever
// (Cache-Control: public, max-age=31536000, immutable).
func (s Stylesheet) Path() string { return "/static/" + s.Hash + "/app.css" }

// Shell returns the brand's part of a page in a locale; sheet is the result of [Renderer.Stylesheet] for the same brand.
func (b Brand) Shell(locale string, sheet Stylesheet) Shell {
	return Shell{
		Locale: locale, Company: b.Company, LogoURL: b.LogoURL, LogoDarkURL: b.LogoDarkURL, FaviconURL: b.FaviconURL,
		StylesheetURL: sheet.Path(),
	}
}

// Stylesheet returns the base stylesheet with the brand's tokens in it; equal brands give equal bytes. Nothing a brand says can become
// anything but a colour or a font name: unknown tokens and values that are not exactly a hexadecimal colour or a list of plain family
// names are left out, and the default stands.
//
// A brand rarely states all its colours. Where one it left out would be unreadable beside one it gave, it becomes black or white instead.
// The result takes about 0.1 ms; callers keep it with the other things they know of a tenant.
func (r *Renderer) Stylesheet(b Brand) Stylesheet {
	var css strings.Builder
	css.WriteString(r.sheet.light)
	var root strings.Builder
	root.WriteString(declarations(r.sheet.tokens, r.sheet.lightColours, b.Light))
	for _, font := range []struct{ token, families, system string }{
		{"sans", b.FontSans, "system-ui,sans-serif"},
		{"heading", b.FontHeading, "system-ui,sans-serif"},
		{"mono", b.FontMono, "ui-monospace,monospace"},
	} {
		if families := fontFamilies(font.families); families != "" {
			root.WriteString("--font-" + font.token + ":" + families + "," + font.system + ";")
		}
	}
	if root.Len() > 0 {
		css.WriteString(":root{" + root.String() + "}\n")
	}
	css.WriteString(r.sheet.rest)
	if root := declarations(r.sheet.tokens, r.sheet.darkColours, b.Dark); root != "" {
		css.WriteString("@media (prefers-color-scheme: dark){:root{" + root + "}}\n")
	}
	body := []byte(css.String())
	sum := sha256.Sum256(body)
	return Stylesheet{Hash: hex.EncodeToString(sum[:]), Body: body}
}

// sheet is static/app.css taken apart. The file is the only place where tokens and their defaults are written down.
type sheet struct {
	light, rest               string   // cut where the dark palette begins: a brand's light palette must come before it
	tokens                    []string // colour tokens in the order of the file
	lightColours, darkColours map[string]string
}

func parseSheet(source string) sheet {
	source = regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(source, "")
	source = regexp.MustCompile(`\s*\n\s*`).ReplaceAllString(strings.TrimSpace(source), "\n") + "\n"

	var s sheet
	const dark = "@media (prefers-color-scheme: dark)"
	light, rest, _ := strings.Cut(source, dark)
	s.light, s.rest = light, dark+rest
	s.lightColours, s.darkColours = map[string]string{}, map[string]string{}
	colour := regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`)
	for _, found := range colour.FindAllStringSubmatch(light, -1) {
		s.tokens = append(s.tokens, found[1])
		s.lightColours[found[1]] = found[2]
	}
	for _, found := range colour.FindAllStringSubmatch(rest, -1) {
		s.darkColours[found[1]] = found[2]
	}
	return s
}

// declarations returns the CSS declarations by which a brand's palette differs from the defaults.
func declarations(tokens []string, defaults, palette map[string]string) string {
	changed := map[string]string{}
	// Sorted, so that a palette that says the same token in both spellings always means the same.
	for _, name := range slices.Sorted(maps.Keys(palette)) {
		token, value := kebab(name), palette[name]
		if _, ok := luminance(value); ok && defaults[token] != "" {
			changed[token] = strings.ToLower(value)
		}
	}
	if primary, ok := changed["primary"]; ok && changed["ring"] == "" {
		changed["ring"] = primary
		if contrast(primary, effective("card", defaults, changed)) < 3 {
			delete(changed, "ring")
		}
	}
	for _, pair := range pairs(tokens) {
		under := effective(pair.under, defaults, changed)
		if changed[pair.over] == "" && contrast(effective(pair.over, defaults, changed), under) < pair.least {
			changed[pair.over] = readable(under)
		}
	}
	var css strings.Builder
	for _, token := range tokens {
		if value := changed[token]; value != "" {
			css.WriteString("--" + token + ":" + value + ";")
		}
	}
	return css.String()
}

// pair is two tokens that meet on a page: over is drawn on under, and must stand out by at least the contrast ratio least.
type pair struct {
	over, under string
	least       float64
}

// pairs returns the pairs the stylesheet uses: 4.5:1 for text (WCAG 2.2 §1.4.3), 3:1 for the edge of a field and the focus ring
// (§1.4.11).
func pairs(tokens []string) []pair {
	all := []pair{
		{"foreground", "background", 4.5},
		{"muted-foreground", "card", 4.5},
		{"input", "card", 3},
		{"input", "background", 3},
		{"ring", "card", 3},
	}
	for _, token := range tokens {
		if under, ok := strings.CutSuffix(token, "-foreground"); ok {
			all = append(all, pair{token, under, 4.5})
		}
	}
	return all
}

func effective(token string, defaults, changed map[string]string) string {
	if value := changed[token]; value != "" {
		return value
	}
	return defaults[token]
}

// readable returns the better of black and white on a colour. One of them always reaches 4.5:1.
func readable(under string) string {
	if contrast("#000000", under) > contrast("#ffffff", under) {
		return "#000000"
	}
	return "#ffffff"
}

// contrast returns the contrast ratio of two colours, 1 to 21 (WCAG 2.2, "contrast ratio").
func contrast(a, b string) float64 {
	la, _ := luminance(a)
	lb, _ := luminance(b)
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

// luminance returns the relative luminance of a colour, 0 to 1 (WCAG 2.2), and whether it is written as #rgb or #rrggbb.
func luminance(colour string) (float64, bool) {
	digits, ok := strings.CutPrefix(colour, "#")
	if !ok {
		return 0, false
	}
	if len(digits) == 3 {
		digits = string([]byte{digits[0], digits[0], digits[1], digits[1], digits[2], digits[2]})
	}
	if len(digits) != 6 {
		return 0, false
	}
	channels, err := hex.DecodeString(digits)
	if err != nil {
		return 0, false
	}
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		c := float64(channels[i]) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum, true
}

// kebab turns the spelling of the settings, cardForeground, into that of CSS, card-foreground.
func kebab(name string) string {
	var b strings.Builder
	for _, r := range name {
		if unicode.IsUpper(r) {
			b.WriteByte('-')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}

// fontFamilies returns the families of a list, each quoted, or "" when there is none. A family is letters, digits, spaces and -_. only:
// with nothing else let through there is no way out of the quotes.
func fontFamilies(list string) string {
	keywords := []string{"system-ui", "ui-sans-serif", "ui-serif", "ui-rounded", "ui-monospace", "sans-serif", "serif", "monospace"}
	foreign := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(" -_.", r)
	}
	var families []string
	for name := range strings.SplitSeq(list, ",") {
		name = strings.Trim(strings.TrimSpace(name), `"'`)
		switch {
		case name == "" || len(name) > 64 || strings.ContainsFunc(name, foreign):
			continue
		case slices.Contains(keywords, name):
			families = append(families, name) // in quotes it would be the name of a font
		default:
			families = append(families, `"`+name+`"`)
		}
	}
	return strings.Join(families, ",")
}
