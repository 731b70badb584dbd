package testkit

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS is a name server that knows what a test tells it, and answers for every other name that there is no such. It is safe for
// concurrent use.
type DNS struct {
	// Addr is where it listens.
	Addr netip.AddrPort

	mu      sync.Mutex
	texts   map[string][][]string
	trouble map[string]dnsmessage.RCode
	silent  map[string]func()
	asked   []string
}

// NewDNS starts one, which ends with the test.
func NewDNS(tb testing.TB) *DNS {
	tb.Helper()
	socket, err := (&net.ListenConfig{}).ListenPacket(tb.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("listen for DNS: %v", err)
	}
	d := &DNS{texts: map[string][][]string{}, trouble: map[string]dnsmessage.RCode{}, silent: map[string]func(){}}
	if d.Addr, err = netip.ParseAddrPort(socket.LocalAddr().String()); err != nil {
		tb.Fatalf("listen for DNS: %v", err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		packet := make([]byte, 4096)
		for {
			n, peer, err := socket.ReadFrom(packet)
			if err != nil {
				return
			}
			if answer := d.answer(packet[:n]); answer != nil {
				_, _ = socket.WriteTo(answer, peer)
			}
		}
	})
	tb.Cleanup(func() {
		_ = socket.Close()
		serving.Wait()
	})
	return d
}

// Set makes the name hold one TXT record for each list of strings, and nothing else. Without any the name exists and has none.
func (d *DNS) Set(name string, records ...[]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.trouble, name)
	d.texts[name] = append([][]string{}, records...)
}

// Remove makes the name one that does not exist.
func (d *DNS) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.trouble, name)
	delete(d.texts, name)
}

// Break makes questions for the name fail, such as with SERVFAIL.
func (d *DNS) Break(name string, code dnsmessage.RCode) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trouble[name] = code
}

// Ignore leaves questions for the name without an answer and ends the context instead, as its deadline would.
func (d *DNS) Ignore(ctx context.Context, name string) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.silent[name] = cancel
	return ctx
}

// Asked are the names that were asked for so far.
func (d *DNS) Asked() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string{}, d.asked...)
}

func (d *DNS) answer(question []byte) []byte {
	var parser dnsmessage.Parser
	header, err := parser.Start(question)
	if err != nil {
		return nil
	}
	q, err := parser.Question()
	if err != nil {
		return nil
	}
	name := strings.TrimSuffix(q.Name.String(), ".")
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, name)
	if end := d.silent[name]; end != nil {
		delete(d.silent, name)
		end()
		return nil
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, RecursionDesired: header.RecursionDesired, RecursionAvailable: true},
		Questions: []dnsmessage.Question{q},
	}
	records, known := d.texts[name]
	switch code, broken := d.trouble[name]; {
	case broken:
		m.RCode = code
	case !known:
		m.RCode = dnsmessage.RCodeNameError
	}
	if m.RCode == dnsmessage.RCodeSuccess && q.Type == dnsmessage.TypeTXT {
		for _, strings := range records {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET, TTL: 60},
				Body:   &dnsmessage.TXTResource{TXT: strings},
			})
		}
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	return packed
}
