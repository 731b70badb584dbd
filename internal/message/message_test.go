package message_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"parako/internal/i18n"
	"parako/internal/message"
	"parako/internal/outbound"
	"parako/internal/secret"
	"parako/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }

const (
	user     = "parako"
	password = "correct horse"
	reader   = "ada@acme.example"
)

// inbox is a mailbox, and how to hand mail to it.
func inbox(t *testing.T) (*testkit.Mailbox, *message.Sender, message.Server) {
	t.Helper()
	box := testkit.NewMailbox(t, user, password)
	out := outbound.New(outbound.Options{Loopback: true, Roots: box.Roots})
	t.Cleanup(out.Close)
	return box, message.NewSender(out), message.Server{
		Host: "localhost", Port: box.Port, Username: user, Password: secret.NewString(password), From: "Acme <login@acme.example>",
	}
}

func letter() message.Mail {
	return message.Mail{
		ID: uuid.MustParse("0197d6c1-6b0a-7c33-9a53-0c2f1f1a7b11"), To: reader, Subject: "Grüße\r\nBcc: eve@evil.example", Text: "Hello", HTML: "<p>Hello</p>",
		Language: "de", Written: time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC),
	}
}

func TestSend(t *testing.T) {
	t.Parallel()
	box, sender, server := inbox(t)
	if err := sender.Send(t.Context(), server, letter()); err != nil {
		t.Fatal(err)
	}
	got := box.Next(t)
	if got.From != "login@acme.example" || got.To != reader || got.User != user || !got.TLS {
		t.Errorf("it came as %+v", got)
	}
	m, err := mail.ReadMessage(strings.NewReader(got.Text))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"From": `"Acme" <login@acme.example>`, "To": "<ada@acme.example>", "Message-Id": "<0197d6c1-6b0a-7c33-9a53-0c2f1f1a7b11@acme.example>",
		"Auto-Submitted": "auto-generated", "Content-Language": "de", "Date": "Thu, 26 Nov 2026 08:00:00 +0000", "Bcc": "",
	} {
		if m.Header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, m.Header.Get(name), want)
		}
	}
	if parts := parts(t, m); parts["text/plain"] != "Hello" || parts["text/html"] != "<p>Hello</p>" {
		t.Errorf("it says %q", parts)
	}
}

// TestSendWithTLSFromTheStart signs in on the port that does not begin with STARTTLS.
func TestSendWithTLSFromTheStart(t *testing.T) {
	t.Parallel()
	box, sender, server := inbox(t)
	sender.ImplicitTLS(box.TLSPort)
	server.Port = box.TLSPort
	if err := sender.Send(t.Context(), server, letter()); err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	if got := box.Next(t); got.User != user || !got.TLS {
		t.Errorf("it came as %+v", got)
	}
}

// TestSlowConversation ends with its context at every step, however long the server takes.
func TestSlowConversation(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"", "EHLO", "STARTTLS"} {
		t.Run("before "+step, func(t *testing.T) {
			t.Parallel()
			l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var serving sync.WaitGroup
			serving.Go(func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				r := bufio.NewReader(conn)
				if step != "" {
					_, _ = io.WriteString(conn, "220 localhost\r\n")
				}
				for {
					if step == "" {
						cancel()
					}
					line, err := r.ReadString('\n')
					if err != nil {
						return // It has hung up.
					}
					if strings.HasPrefix(line, step) {
						cancel()
						continue // and no answer
					}
					_, _ = io.WriteString(conn, "250-localhost\r\n250 STARTTLS\r\n")
				}
			})
			out := outbound.New(outbound.Options{Loopback: true})
			defer out.Close()
			sender := message.NewSender(out)
			sender.Patience(time.Hour)
			err = sender.Send(ctx, message.Server{Host: "localhost", Port: port(t, l), From: "login@acme.example"}, letter())
			if failure, ok := errors.AsType[*message.Failure](err); !ok || !failure.Temporary {
				t.Errorf("it ends with %v", err)
			}
			serving.Wait()
		})
	}
}

// parts are the texts of a mail by their type.
func parts(t *testing.T, m *mail.Message) map[string]string {
	t.Helper()
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(quotedprintable.NewReader(part))
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(part.Header.Get("Content-Type"), ";")
		all[kind] = string(text)
	}
}

// TestFailures has a server refuse for each reason, and compares what the tenant's people are told, and whether it is worth
// another attempt.
func TestFailures(t *testing.T) {
	t.Parallel()
	box, sender, server := inbox(t)
	strict := outbound.New(outbound.Options{Roots: box.Roots})
	suspicious := outbound.New(outbound.Options{Loopback: true})
	t.Cleanup(strict.Close)
	t.Cleanup(suspicious.Close)
	box.Refuse("gone@acme.example", 550)
	box.Refuse("busy@acme.example", 451)
	for name, test := range map[string]struct {
		sender    *message.Sender
		change    func(*message.Server)
		to, want  string
		temporary bool
	}{
		"no server":          {change: func(s *message.Server) { s.Host = "" }, want: "There is no mail server: set integrations.email.smtp_host and from."},
		"our own network":    {sender: message.NewSender(strict), want: "The address of the mail server may not be called."},
		"a strange password": {change: func(s *message.Server) { s.Password = secret.NewString("wrong") }, want: "The mail server refused the username and password: 535."},
		"no password":        {change: func(s *message.Server) { s.Username = "" }, want: "The mail server refused the sender: 502 5.7.0."},
		"a strange certificate": {
			sender: message.NewSender(suspicious), want: "The certificate of the mail server is not valid for its name.", temporary: true,
		},
		"nobody there":              {change: func(s *message.Server) { s.Port = deaf(t) }, want: "The mail server could not be reached.", temporary: true},
		"a recipient that is gone":  {to: "gone@acme.example", want: "The mail server refused the recipient: 550 5.1.1."},
		"a recipient for later":     {to: "busy@acme.example", want: "The mail server refused the recipient: 451 4.1.1.", temporary: true},
		"no recipient":              {to: "nobody", want: "The recipient's address cannot be written to."},
		"a recipient with a second": {to: "ada@acme.example\r\nBcc: eve@evil.example", want: "The recipient's address cannot be written to."},
		"no sender":                 {change: func(s *message.Server) { s.From = "Acme" }, want: "integrations.email.from is not an address."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, to, m := sender, server, letter()
			if test.sender != nil {
				s = test.sender
			}
			if test.change != nil {
				test.change(&to)
			}
			if test.to != "" {
				m.To = test.to
			}
			err := s.Send(t.Context(), to, m)
			failure, ok := errors.AsType[*message.Failure](err)
			if !ok {
				t.Fatalf("%v", err)
			}
			if failure.Reason != test.want || failure.Temporary != test.temporary {
				t.Errorf("%q, temporary %t, want %q, %t (%v)", failure.Reason, failure.Temporary, test.want, test.temporary, errors.Unwrap(failure))
			}
		})
	}
}

// deaf is a port that nobody listens on.
func deaf(t *testing.T) int {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return port(t, l)
}

func port(t *testing.T, l net.Listener) int {
	t.Helper()
	addr, err := netip.ParseAddrPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return int(addr.Port())
}

// TestNoPasswordInTheClear speaks with a server that offers no encryption: nobody's password may go there.
func TestNoPasswordInTheClear(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var heard strings.Builder
	var serving sync.WaitGroup
	serving.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "220 localhost\r\n")
		for r := bufio.NewReader(conn); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			heard.WriteString(line)
			answer := "502 no\r\n"
			if strings.HasPrefix(line, "EHLO") {
				answer = "250-localhost\r\n250 AUTH PLAIN LOGIN\r\n"
			}
			_, _ = io.WriteString(conn, answer)
		}
	})
	out := outbound.New(outbound.Options{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}})
	defer out.Close()
	err = message.NewSender(out).Send(t.Context(), message.Server{
		Host: "localhost", Port: port(t, l), Username: user, Password: secret.NewString(password), From: "login@acme.example",
	}, letter())
	if failure, ok := errors.AsType[*message.Failure](err); !ok || failure.Reason != "The mail server offers no encryption (STARTTLS)." || !failure.Temporary {
		t.Errorf("it ends with %v", err)
	}
	_ = l.Close()
	serving.Wait()
	if !strings.Contains(heard.String(), "EHLO") || strings.Contains(heard.String(), "AUTH") || strings.Contains(heard.String(), "MAIL") {
		t.Errorf("the server heard %q", heard.String())
	}
}

// TestCompose writes every kind in every language: nothing is left unsaid, and what people and tenants call themselves is text.
func TestCompose(t *testing.T) {
	t.Parallel()
	catalog, err := i18n.New()
	if err != nil {
		t.Fatal(err)
	}
	composer, err := message.NewComposer(catalog)
	if err != nil {
		t.Fatal(err)
	}
	subjects := map[string]bool{}
	for _, kind := range []message.Kind{message.Test, message.NewSession} {
		for _, locale := range catalog.Locales() {
			q := message.Queued{
				Letter: message.Letter{Kind: kind, Detail: map[string]string{"time": "2026-11-26 08:00 UTC", "device": "Firefox, Linux", "ip": "192.0.2.1"}},
				Email:  reader, Name: "Ada <script>", Locale: locale,
			}
			m, err := composer.Compose(q, message.Brand{Company: "Acme & Söhne", Color: "#2656a8", PrivacyURL: "https://acme.example/privacy", Locale: "en"})
			if err != nil {
				t.Fatal(err)
			}
			subjects[m.Subject] = true
			if m.Language != locale || !strings.Contains(m.Subject, "Acme & Söhne") {
				t.Errorf("%s: %q in %s", locale, m.Subject, m.Language)
			}
			for _, text := range []string{m.Subject, m.Text, m.HTML} {
				if strings.Contains(text, "mail.") || strings.Contains(text, "<no value>") || strings.Contains(text, "{{") {
					t.Errorf("%s %s has a hole: %s", locale, kind, text)
				}
			}
			if strings.Contains(m.HTML, "<script>") || !strings.Contains(m.HTML, "Ada &lt;script&gt;") || !strings.Contains(m.Text, "Ada <script>") {
				t.Errorf("%s %s: the name is not text", locale, kind)
			}
			if kind == message.NewSession && (!strings.Contains(m.Text, "Firefox, Linux") || !strings.Contains(m.HTML, "192.0.2.1")) {
				t.Errorf("%s: the facts are missing", locale)
			}
		}
	}
	if want := 2 * len(catalog.Locales()); len(subjects) != want {
		t.Errorf("%d subjects, want %d", len(subjects), want)
	}
	if _, err := composer.Compose(message.Queued{Letter: message.Letter{Kind: "unknown"}}, message.Brand{}); err == nil {
		t.Error("a letter of an unknown kind was written")
	}
}
