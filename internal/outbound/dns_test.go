package outbound_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"parako/internal/outbound"
	"parako/internal/testkit"
)

// TestResolver tells what is certainly not there from what nobody could say.
func TestResolver(t *testing.T) {
	t.Parallel()
	dns := testkit.NewDNS(t)
	r := outbound.NewResolver(dns.Addr)
	dns.Set("several.example", []string{"one"}, []string{"half ", "and half"})
	dns.Set("empty.example")
	texts, err := r.TXT(t.Context(), "several.example")
	if diff := cmp.Diff([]string{"one", "half and half"}, texts); diff != "" || err != nil {
		t.Errorf("TXT mismatch (-want +got), %v\n%s", err, diff)
	}
	for _, name := range []string{"empty.example", "nowhere.example"} {
		if texts, err := r.TXT(t.Context(), name); !errors.Is(err, outbound.ErrNoRecord) {
			t.Errorf("TXT(%s) = %q, %v; want ErrNoRecord", name, texts, err)
		}
	}
	for code, name := range map[dnsmessage.RCode]string{
		dnsmessage.RCodeServerFailure: "failing.example", dnsmessage.RCodeRefused: "refused.example", dnsmessage.RCodeNotImplemented: "odd.example",
	} {
		dns.Break(name, code)
		if texts, err := r.TXT(t.Context(), name); err == nil || errors.Is(err, outbound.ErrNoRecord) {
			t.Errorf("TXT(%s) = %q, %v; want another error than ErrNoRecord", name, texts, err)
		}
	}
	if texts, err := r.TXT(dns.Ignore(t.Context(), "silent.example"), "silent.example"); err == nil || errors.Is(err, outbound.ErrNoRecord) {
		t.Errorf("TXT without an answer = %q, %v; want another error than ErrNoRecord", texts, err)
	}
	if texts, err := outbound.NewResolver(netip.MustParseAddrPort("127.0.0.1:1")).TXT(t.Context(), "several.example"); err == nil || errors.Is(err, outbound.ErrNoRecord) {
		t.Errorf("TXT from nobody = %q, %v; want another error than ErrNoRecord", texts, err)
	}
	for _, name := range dns.Asked() {
		if diff := cmp.Diff(true, len(name) > 0 && name[len(name)-7:] == "example"); diff != "" {
			t.Errorf("%s was asked for", name)
		}
	}
}
