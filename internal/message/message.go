// Package message owns the mail that people get: what it says, in the words and colours of their organisation, and how it is
// handed to the mail server of that organisation.
//
// A transaction that causes a mail calls [Queue], so that the mail exists exactly when the transaction has committed. Package jobs
// composes it, hands it in and keeps what came of it. Which server it is stands in the settings of the tenant; the connection is
// made through package outbound, since whoever names the server must not reach our own network with it. Start reading at
// [Sender.Send].
package message

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/wneessen/go-mail"

	"parako/internal/outbound"
	"parako/internal/secret"
)

// timeout bounds a whole conversation with a mail server. Some answer late on purpose, to those that do not wait.
const timeout = 20 * time.Second

// implicitTLS is the port of submission that speaks TLS from the start (RFC 8314 section 7.3).
const implicitTLS = 465

// Server is where mail is handed in (RFC 6409).
type Server struct {
	Host string
	Port int
	// Username and Password prove who hands in; without a name nobody does.
	Username string
	Password secret.String
	// From is the sender: an address, or Name <address>.
	From string
	// AnyCertificate accepts one that proves nothing.
	AnyCertificate bool
}

// Ready reports whether there is a server to hand mail to, and a sender.
func (s Server) Ready() bool { return s.Host != "" && s.From != "" }

// Mail is what one person gets.
type Mail struct {
	// ID is the same for each attempt, so that a mail server can tell that it has the mail already.
	ID      uuid.UUID
	To      string
	Subject string
	Text    string
	HTML    string
	// Language is a BCP 47 tag.
	Language string
	Written  time.Time
}

// Failure says why a mail was not taken, in words for whoever runs the tenant. It names no address of a person.
type Failure struct {
	Reason string
	// Temporary: the same attempt may succeed later.
	Temporary bool

	cause error
}

// Error implements error.
func (f *Failure) Error() string { return f.Reason }

// Unwrap implements errors.
func (f *Failure) Unwrap() error { return f.cause }

// Sender hands mail to servers. It is safe for concurrent use.
type Sender struct {
	out *outbound.Client
	// These are the constants, except in tests.
	implicitTLS int
	timeout     time.Duration
}

// NewSender makes a Sender that connects through out.
func NewSender(out *outbound.Client) *Sender {
	return &Sender{out: out, implicitTLS: implicitTLS, timeout: timeout}
}

// Send hands a mail to the server, which has taken it when the error is nil. Otherwise it is a *[Failure].
func (s *Sender) Send(ctx context.Context, to Server, m Mail) error {
	if !to.Ready() {
		return &Failure{Reason: "There is no mail server: set integrations.email.smtp_host and from."}
	}
	document, err := m.document(to.From)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	// The library does not hang up when the conversation fails at its beginning, and allows every step the time of the whole.
	client, err := s.client(to, func(line net.Conn) { context.AfterFunc(ctx, func() { _ = line.Close() }) })
	if err != nil {
		return &Failure{Reason: "The settings of the mail server are wrong: " + err.Error(), cause: err}
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return notConnected(err)
	}
	err = client.SendWithSMTPClient(session, document)
	_ = client.CloseWithSMTPClient(session)
	if err == nil || document.IsDelivered() {
		return nil // What fails after the mail was taken is no failure.
	}
	return notTaken(err)
}

// client knows how to speak with the server. It tells of the connection it makes.
func (s *Sender) client(to Server, made func(net.Conn)) (*mail.Client, error) {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := s.out.Dial(ctx, network, address)
		if err == nil {
			made(conn)
		}
		return conn, err
	}
	config := s.out.TLS(to.Host)
	config.InsecureSkipVerify = to.AnyCertificate // The setting says so, and the platform can forbid it.
	options := []mail.Option{
		mail.WithPort(to.Port), mail.WithTimeout(s.timeout), mail.WithTLSConfig(config), mail.WithoutNoop(), mail.WithoutRset(),
		mail.WithTLSPolicy(mail.TLSMandatory), mail.WithDialContextFunc(dial),
	}
	if name := domainOf(to.From); name != "" {
		options = append(options, mail.WithHELO(name))
	}
	switch {
	case to.Port == s.implicitTLS:
		// Told of SSL, the library would not see that a connection of ours is encrypted, and would not sign in.
		options = append(options, mail.WithTLSPolicy(mail.TLSOpportunistic), mail.WithDialContextFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			secured := tls.Client(conn, config)
			if err := secured.HandshakeContext(ctx); err != nil {
				return nil, fmt.Errorf("speak TLS: %w", err)
			}
			return secured, nil
		}))
	case s.out.Local():
		options = append(options, mail.WithTLSPolicy(mail.TLSOpportunistic)) // A mail catcher on a developer's machine has no certificate.
	}
	if to.Username != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(to.Username), mail.WithPassword(to.Password.Reveal()))
	}
	return mail.NewClient(to.Host, options...)
}

// notConnected says why there was no conversation.
func notConnected(err error) *Failure {
	f := &Failure{Reason: "The mail server could not be reached.", Temporary: true, cause: err}
	var answer *net.DNSError
	switch code := replyCode(err); {
	case errors.Is(err, outbound.ErrRefused):
		f.Reason, f.Temporary = "The address of the mail server may not be called.", false
	case isCertificate(err):
		f.Reason = "The certificate of the mail server is not valid for its name."
	case strings.Contains(err.Error(), "does not support STARTTLS"): // The library has no error of its own for either.
		f.Reason = "The mail server offers no encryption (STARTTLS)."
	case errors.Is(err, mail.ErrNoSupportedAuthDiscovered), errors.Is(err, mail.ErrPlainAuthNotSupported),
		strings.Contains(err.Error(), "server does not support SMTP AUTH"):
		f.Reason, f.Temporary = "The mail server does not let anybody sign in on this port.", false
	case code == "535" || code == "534" || code == "530":
		f.Reason, f.Temporary = "The mail server refused the username and password: "+code+".", false
	case code != "":
		f.Reason = "The mail server answered " + code + "."
	case errors.As(err, &answer) && answer.IsNotFound:
		f.Reason = "There is no mail server of this name."
	}
	return f
}

// notTaken says why the server did not take a mail.
func notTaken(err error) *Failure {
	f := &Failure{Reason: "The conversation with the mail server broke off.", Temporary: true, cause: err}
	refused, ok := errors.AsType[*mail.SendError](err)
	if !ok || refused.ErrorCode() == 0 {
		return f
	}
	code := strconv.Itoa(refused.ErrorCode())
	if more := refused.EnhancedStatusCode(); more != "" {
		code += " " + more
	}
	f.Temporary = refused.IsTemp()
	switch refused.Reason {
	case mail.ErrSMTPMailFrom:
		f.Reason = "The mail server refused the sender: " + code + "."
	case mail.ErrSMTPRcptTo:
		f.Reason = "The mail server refused the recipient: " + code + "."
	default:
		f.Reason = "The mail server refused the mail: " + code + "."
	}
	return f
}

func isCertificate(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}
