package testkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Mailbox is a mail server that keeps what it gets. It is safe for concurrent use.
type Mailbox struct {
	// Port is where it listens on this machine, for connections that begin with STARTTLS, and TLSPort for those that begin with TLS.
	Port, TLSPort int
	// Roots prove that it is localhost.
	Roots *x509.CertPool

	mu      sync.Mutex
	user    string
	secret  string
	answers map[string]*smtp.SMTPError
	got     []Received
	arrived chan struct{}
}

// Received is a mail that a Mailbox got.
type Received struct {
	From, To string
	// User is who signed in; empty: nobody did.
	User string
	// TLS says that it came encrypted.
	TLS bool
	// Text is the mail as it came.
	Text string
}

// NewMailbox starts one, which ends with the test. It takes mail from those who sign in with user and password, and from
// everybody when user is empty.
func NewMailbox(tb testing.TB, user, password string) *Mailbox {
	tb.Helper()
	m := &Mailbox{user: user, secret: password, answers: map[string]*smtp.SMTPError{}, arrived: make(chan struct{}, 100)}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatalf("make key of mailbox: %v", err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatalf("make certificate of mailbox: %v", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatalf("make certificate of mailbox: %v", err)
	}
	m.Roots = x509.NewCertPool()
	m.Roots.AddCert(leaf)
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	s := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &mailSession{box: m, conn: c}, nil }))
	s.Domain, s.TLSConfig, s.ErrorLog = "localhost", config, silent{}
	var serving sync.WaitGroup
	var listeners []net.Listener
	listen := func(wrap func(net.Listener) net.Listener) int {
		l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatalf("listen for mail: %v", err)
		}
		listeners = append(listeners, l)
		serving.Go(func() { _ = s.Serve(wrap(l)) })
		_, text, _ := net.SplitHostPort(l.Addr().String())
		port, _ := strconv.Atoi(text)
		return port
	}
	m.Port = listen(func(l net.Listener) net.Listener { return l })
	m.TLSPort = listen(func(l net.Listener) net.Listener { return tls.NewListener(l, config) })
	tb.Cleanup(func() {
		_ = s.Close()
		for _, l := range listeners {
			_ = l.Close() // The server does not know of one that it is only about to serve.
		}
		serving.Wait()
	})
	return m
}

// Refuse answers mail to an address with this reply from now on; code 0: it takes it again.
func (m *Mailbox) Refuse(to string, code int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.answers, to)
	if code != 0 {
		m.answers[to] = &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 1, 1}, Message: "not " + to}
	}
}

// Next waits for a mail that was not returned before.
func (m *Mailbox) Next(tb testing.TB) Received {
	tb.Helper()
	select {
	case <-m.arrived:
	case <-tb.Context().Done():
		tb.Fatal("no mail came")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	first := m.got[0]
	m.got = m.got[1:]
	return first
}

// Empty reports whether no mail is left that was not returned.
func (m *Mailbox) Empty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.got) == 0
}

// mailSession is a conversation of a Mailbox.
type mailSession struct {
	box  *Mailbox
	conn *smtp.Conn
	mail Received
	user string
}

// AuthMechanisms implements smtp.AuthSession.
func (*mailSession) AuthMechanisms() []string { return []string{sasl.Plain} }

// Auth implements smtp.AuthSession.
func (s *mailSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != s.box.user || password != s.box.secret {
			return smtp.ErrAuthFailed
		}
		s.user = user
		return nil
	}), nil
}

// Mail implements smtp.Session.
func (s *mailSession) Mail(from string, _ *smtp.MailOptions) error {
	if s.user != s.box.user {
		return smtp.ErrAuthRequired
	}
	_, encrypted := s.conn.TLSConnectionState()
	s.mail = Received{From: from, User: s.user, TLS: encrypted}
	return nil
}

// Rcpt implements smtp.Session.
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	if answer := s.box.answers[to]; answer != nil {
		return answer
	}
	s.mail.To = to
	return nil
}

// Data implements smtp.Session.
func (s *mailSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mail.Text = string(text)
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.box.got = append(s.box.got, s.mail)
	s.box.arrived <- struct{}{}
	return nil
}

// Reset implements smtp.Session.
func (s *mailSession) Reset() { s.mail = Received{} }

// Logout implements smtp.Session.
func (*mailSession) Logout() error { return nil }

// silent is a log that nobody reads.
type silent struct{}

// Printf implements smtp.Logger.
func (silent) Printf(string, ...any) {}

// Println implements smtp.Logger.
func (silent) Println(...any) {}
