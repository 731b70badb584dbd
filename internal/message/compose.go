package message

import (
	"bytes"
	"fmt"
	"html/template"
	text "text/template"

	"parako/internal/i18n"
	"parako/templates"
)

// Kind is what a letter is about.
type Kind string

const (
	// Test shows that mail arrives.
	Test Kind = "test"
	// NewSession tells a person that somebody has signed in: with time, ip and device.
	NewSession Kind = "new_session"
)

// facts are the details of a kind, in their order. Each has a name in the catalogue.
var facts = map[Kind][]string{Test: nil, NewSession: {"time", "device", "ip"}}

// Brand is what mail looks like that comes from a tenant.
type Brand struct {
	Company string
	// LogoURL may be empty.
	LogoURL string
	// Color is that of the line above the text, as #rrggbb.
	Color      string
	PrivacyURL string
	TermsURL   string
	ContactURL string
	// Locales are the languages on offer, and Locale the one that a person gets who wants none of them.
	Locales []string
	Locale  string
}

// Composer writes letters. It is safe for concurrent use.
type Composer struct {
	catalog *i18n.Catalog
	html    *template.Template
	text    *text.Template
}

// NewComposer makes a Composer that takes the words from the catalogue.
func NewComposer(catalog *i18n.Catalog) (*Composer, error) {
	c := &Composer{catalog: catalog}
	var err error
	if c.html, err = template.ParseFS(templates.Files, "mail/letter.html"); err != nil {
		return nil, fmt.Errorf("parse mail: %w", err)
	}
	if c.text, err = text.ParseFS(templates.Files, "mail/letter.txt"); err != nil {
		return nil, fmt.Errorf("parse mail: %w", err)
	}
	return c, nil
}

// fact is one line of a letter.
type fact struct{ Name, Value string }

// view is what the templates show.
type view struct {
	Brand

	Language, Subject, Greeting, Body, Advice, Why string
	Facts                                          []fact
	Privacy, Terms, Contact                        string
}

// Compose writes a letter to whom it is for.
func (c *Composer) Compose(q Queued, b Brand) (Mail, error) {
	names, known := facts[q.Kind]
	if !known {
		return Mail{}, fmt.Errorf("there are no words for a letter of kind %q", q.Kind)
	}
	locale := c.catalog.Negotiate(b.Locales, b.Locale, []string{q.Locale}, "", "")
	args := map[string]any{"Company": b.Company, "Name": q.Name}
	say := func(key string) string { return c.catalog.Text(locale, key, args) }
	key := "mail." + string(q.Kind) + "."
	v := view{
		Brand: b, Language: locale, Subject: say(key + "subject"), Greeting: say("mail.greeting"), Body: say(key + "body"), Why: say(key + "why"),
		Privacy: say("common.privacy"), Terms: say("common.terms"), Contact: say("common.contact"),
	}
	if q.Kind != Test {
		v.Advice = say(key + "advice")
	}
	for _, name := range names {
		if value := q.Detail[name]; value != "" {
			v.Facts = append(v.Facts, fact{say("mail.fact." + name), value})
		}
	}
	var page, plain bytes.Buffer
	if err := c.html.Execute(&page, v); err != nil {
		return Mail{}, fmt.Errorf("write mail: %w", err)
	}
	if err := c.text.Execute(&plain, v); err != nil {
		return Mail{}, fmt.Errorf("write mail: %w", err)
	}
	return Mail{ID: q.ID, To: q.Email, Subject: v.Subject, Text: plain.String(), HTML: page.String(), Language: locale, Written: q.Written}, nil
}
