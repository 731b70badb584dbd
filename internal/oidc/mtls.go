package oidc

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"parako/internal/secret"
)

// certificatesOf are the certificate that the caller proved to have, as the server's trusted proxies report it, and those
// that were sent to build its chain; nil: none.
func certificatesOf(r *http.Request) []*x509.Certificate {
	if r.TLS == nil {
		return nil
	}
	return r.TLS.PeerCertificates
}

// certificateOf is the certificate alone; nil: none.
func certificateOf(r *http.Request) *x509.Certificate {
	if chain := certificatesOf(r); len(chain) > 0 {
		return chain[0]
	}
	return nil
}

// issuedCertificate checks that one of the authorities issued the certificate, for a client, and that it has the one name that
// the client registered (RFC 8705 section 2.1). The proxy that ends TLS need not check: it could not for self-signed ones.
func (p *Provider) issuedCertificate(chain []*x509.Certificate, m MoreMetadata) error {
	if len(chain) == 0 || p.deps.ClientCAs == nil {
		return errors.New("there is no certificate, or no authority to issue one")
	}
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: p.deps.ClientCAs, Intermediates: between, CurrentTime: p.deps.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return fmt.Errorf("verify certificate: %w", err)
	}
	if !certificateIs(chain[0], m) {
		return errors.New("the certificate has another name")
	}
	return nil
}

// certificateIs reports whether the certificate has the one name that the client registered (RFC 8705 section 2.1.2).
func certificateIs(cert *x509.Certificate, m MoreMetadata) bool {
	switch {
	case m.TLSSubjectDN != "":
		return cert.Subject.String() == m.TLSSubjectDN
	case m.TLSSANDNS != "":
		return slices.ContainsFunc(cert.DNSNames, func(name string) bool { return strings.EqualFold(name, m.TLSSANDNS) })
	case m.TLSSANURI != "":
		for _, uri := range cert.URIs {
			if uri.String() == m.TLSSANURI {
				return true
			}
		}
	case m.TLSSANIP != "":
		want, err := netip.ParseAddr(m.TLSSANIP)
		if err != nil {
			return false
		}
		for _, ip := range cert.IPAddresses {
			if got, ok := netip.AddrFromSlice(ip); ok && got.Unmap() == want.Unmap() {
				return true
			}
		}
	case m.TLSSANEmail != "":
		return slices.Contains(cert.EmailAddresses, m.TLSSANEmail)
	}
	return false
}

// knownCertificate checks that the key of a self-signed certificate is one of the client's (RFC 8705 section 2.2).
func (p *Provider) knownCertificate(ctx context.Context, who client, cert *x509.Certificate) error {
	if cert == nil {
		return errors.New("there is no certificate")
	}
	if now := p.deps.Now(); now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return errors.New("the certificate is not valid now")
	}
	want, err := (&jose.JSONWebKey{Key: cert.PublicKey}).Thumbprint(crypto.SHA256)
	if err != nil {
		return err
	}
	_, err = p.findKey(ctx, who.keys(), func(keys []jose.JSONWebKey) (jose.JSONWebKey, error) {
		for _, key := range keys {
			got, err := key.Thumbprint(crypto.SHA256)
			if err == nil && secret.Equal(got, want) {
				return key, nil
			}
		}
		return jose.JSONWebKey{}, errors.New("the certificate's key is not among its keys")
	})
	return err
}

// certificateThumbprint is the x5t#S256 of a certificate (RFC 8705 section 3.1).
func certificateThumbprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
