package outbound

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// ErrNoRecord is the definite answer that there is no such record: the name does not exist (NXDOMAIN), or has none of the type.
// A server that does not answer, or that says it failed, is another error.
var ErrNoRecord = errors.New("there is no such record")

// Resolver asks the DNS. It calls nothing that a tenant has named: only the resolvers of the machine, or the one that the operator
// has named, which do. It is safe for concurrent use.
type Resolver struct{ dns *net.Resolver }

// NewResolver makes a Resolver that asks the server at the address; the zero value means those of the machine.
func NewResolver(server netip.AddrPort) *Resolver {
	r := &Resolver{dns: &net.Resolver{PreferGo: true}} // The other resolver does not tell the kinds of failure apart.
	if server.IsValid() {
		r.dns.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, server.String())
		}
	}
	return r
}

// TXT are the texts at an absolute name, each record's strings joined (RFC 7208 section 3.3). ErrNoRecord: there are none for sure.
// It takes [Timeout] at most.
func (r *Resolver) TXT(ctx context.Context, name string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	// The final dot keeps the machine's search list out.
	texts, err := r.dns.LookupTXT(ctx, name+".")
	if failure, ok := errors.AsType[*net.DNSError](err); ok && failure.IsNotFound {
		return nil, ErrNoRecord
	}
	return texts, err
}
