package message

import (
	"errors"
	"net/mail"
	"net/textproto"
	"strconv"
	"strings"

	gomail "github.com/wneessen/go-mail"
)

// document is the mail as it travels (RFC 5322).
func (m Mail) document(from string) (*gomail.Msg, error) {
	sender, err := mail.ParseAddress(from)
	if err != nil {
		return nil, &Failure{Reason: "integrations.email.from is not an address.", cause: err}
	}
	to, err := mail.ParseAddress(m.To)
	if err != nil || to.Name != "" {
		return nil, &Failure{Reason: "The recipient's address cannot be written to.", cause: err}
	}
	d := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	d.FromMailAddress(sender)
	d.ToMailAddress(to)
	d.Subject(m.Subject)
	d.SetDateWithValue(m.Written)
	d.SetMessageIDWithValue(m.ID.String() + "@" + domainOf(sender.Address))
	d.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: nobody's holiday answers it
	d.SetGenHeader("Content-Language", m.Language)
	d.SetBodyString(gomail.TypeTextPlain, m.Text)
	d.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	return d, nil
}

// domainOf is the domain of an address, with a name or without; empty: it is none.
func domainOf(text string) string {
	a, err := mail.ParseAddress(text)
	if err != nil {
		return ""
	}
	return a.Address[strings.LastIndexByte(a.Address, '@')+1:]
}

// replyCode is what a mail server has answered with, as three digits.
func replyCode(err error) string {
	if answer, ok := errors.AsType[*textproto.Error](err); ok {
		return strconv.Itoa(answer.Code)
	}
	return ""
}
