package server

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// clientAuthorities reads the authorities of client certificates; nil without a file.
func clientAuthorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // No file means no authority, and tls_client_auth is not offered.
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read it: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("there is no certificate in PEM in it")
	}
	return pool, nil
}

// clientCertificate reads what a trusted proxy says of the client's certificate, in the form of RFC 9440 or as a URL-encoded PEM,
// and the rest of its chain from a header of the same name with -Chain behind it. nil: there is none, or none that can be read.
func clientCertificate(header http.Header, certificate string) *tls.ConnectionState {
	if certificate == "" || len(header.Values(certificate)) != 1 {
		return nil
	}
	chain, err := parseCertificates(header.Get(certificate))
	if err != nil || len(chain) == 0 {
		return nil
	}
	if rest, err := parseCertificates(strings.Join(header.Values(certificate+"-Chain"), ",")); err == nil {
		chain = append(chain, rest...)
	}
	return &tls.ConnectionState{PeerCertificates: chain}
}

// parseCertificates reads a list of byte sequences between colons (RFC 8941 section 3.3.5), or PEM with percent escapes.
func parseCertificates(text string) ([]*x509.Certificate, error) {
	var der [][]byte
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, ":") {
		for item := range strings.SplitSeq(text, ",") {
			inner, ok1 := strings.CutPrefix(strings.TrimSpace(item), ":")
			inner, ok2 := strings.CutSuffix(inner, ":")
			raw, err := base64.StdEncoding.DecodeString(inner)
			if err != nil || !ok1 || !ok2 {
				return nil, errors.New("not a byte sequence")
			}
			der = append(der, raw)
		}
	} else {
		plain, err := url.PathUnescape(text) // A plus sign is base64 here.
		if err != nil {
			return nil, err
		}
		for rest := []byte(plain); ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			der = append(der, block.Bytes)
		}
	}
	certs := make([]*x509.Certificate, len(der))
	for i, raw := range der {
		var err error
		if certs[i], err = x509.ParseCertificate(raw); err != nil {
			return nil, err
		}
	}
	return certs, nil
}
