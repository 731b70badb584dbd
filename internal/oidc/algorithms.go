package oidc

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"parako/internal/settings"
)

// What clients may register about signatures and encryption, as part of [ClientMetadata].check.

// signedBy reports whether alg, unless it is empty, is one of ours.
func signedBy(alg string) bool {
	return alg == "" || slices.Contains(signingAlgorithms, jose.SignatureAlgorithm(alg))
}

func (m *ClientMetadata) checkAlgorithms(f settings.OIDCFeatures) error {
	for name, alg := range map[string]string{
		"id_token_signed_response_alg": m.IDTokenAlg, "userinfo_signed_response_alg": m.UserinfoAlg,
		"introspection_signed_response_alg": m.IntrospectionAlg, "authorization_signed_response_alg": m.AuthorizationAlg,
		"request_object_signing_alg": m.RequestObjectAlg,
	} {
		if !signedBy(alg) {
			return badMetadata("%s is RS256, PS256, ES256 or EdDSA.", name)
		}
	}
	if hmac := m.TokenEndpointAuthMethod == authSecretJWT; m.TokenEndpointAuthAlg != "" &&
		(hmac && m.TokenEndpointAuthAlg != string(jose.HS256) || !hmac && !signedBy(m.TokenEndpointAuthAlg)) {
		return badMetadata("token_endpoint_auth_signing_alg is HS256 for client_secret_jwt, and RS256, PS256, ES256 or EdDSA for private_key_jwt.")
	}
	for name, pair := range map[string]*encryptionPair{
		"id_token_encrypted_response":      {&m.IDTokenEncryptionAlg, &m.IDTokenEncryptionEnc},
		"userinfo_encrypted_response":      {&m.UserinfoEncryptionAlg, &m.UserinfoEncryptionEnc},
		"introspection_encrypted_response": {&m.IntrospectionEncryptionAlg, &m.IntrospectionEncryptionEnc},
		"authorization_encrypted_response": {&m.AuthorizationEncryptionAlg, &m.AuthorizationEncryptionEnc},
		"request_object_encryption":        {&m.RequestObjectEncryptionAlg, &m.RequestObjectEncryptionEnc},
	} {
		if err := pair.check(name, f); err != nil {
			return err
		}
	}
	if alg := jose.KeyAlgorithm(m.RequestObjectEncryptionAlg); alg != "" && !slices.Contains(requestKeyAlgorithms, alg) {
		return badMetadata("request_object_encryption_alg is RSA-OAEP-256, ECDH-ES, A128KW, A256KW or dir.")
	}
	for name, of := range map[string]struct {
		served bool
		algs   [2]string
	}{
		"userinfo":      {f.JWTUserinfo.Enabled, [2]string{m.UserinfoAlg, m.UserinfoEncryptionAlg}},
		"introspection": {f.JWTIntrospection.Enabled, [2]string{m.IntrospectionAlg, m.IntrospectionEncryptionAlg}},
		"authorization": {f.JWTResponseModes.Enabled, [2]string{m.AuthorizationAlg, m.AuthorizationEncryptionAlg}},
	} {
		if !of.served && of.algs != [2]string{} {
			return badMetadata("Signed or encrypted responses are not available for %s.", name)
		}
	}
	for name, alg := range map[string]string{
		"id_token": m.IDTokenEncryptionAlg, "userinfo": m.UserinfoEncryptionAlg, "introspection": m.IntrospectionEncryptionAlg,
		"authorization": m.AuthorizationEncryptionAlg,
	} {
		if alg != "" && !symmetric(alg) && len(m.JWKS) == 0 && m.JWKSURI == "" {
			return badMetadata("An encrypted %s needs jwks or jwks_uri with a key to encrypt for.", name)
		}
		if alg != "" && !symmetric(alg) && len(m.JWKS) > 0 {
			var set jose.JSONWebKeySet
			if err := json.Unmarshal(m.JWKS, &set); err != nil {
				return badMetadata("jwks is a JSON Web Key Set.")
			}
			if !slices.ContainsFunc(set.Keys, func(k jose.JSONWebKey) bool { return encryptsWith(k, alg) }) {
				return badMetadata("jwks has no key for the encryption of the %s with %s.", name, alg)
			}
		}
		if symmetric(alg) && !strings.HasPrefix(m.TokenEndpointAuthMethod, "client_secret_") {
			return badMetadata("An encryption with %s needs a client with a secret.", alg)
		}
	}
	return nil
}

// encryptionPair is the alg and the enc of one encrypted thing.
type encryptionPair struct{ alg, enc *string }

func (p *encryptionPair) check(name string, f settings.OIDCFeatures) error {
	if *p.alg == "" {
		if *p.enc != "" {
			return badMetadata("%s_enc needs %s_alg.", name, name)
		}
		return nil
	}
	if !f.Encryption.Enabled {
		return badMetadata("Encryption is not available.")
	}
	if !slices.Contains(keyAlgorithms, jose.KeyAlgorithm(*p.alg)) {
		return badMetadata("%s_alg is RSA-OAEP, RSA-OAEP-256, ECDH-ES, A128KW, A256KW or dir.", name)
	}
	if *p.enc == "" {
		*p.enc = string(jose.A128CBC_HS256) // The default of OpenID Connect Dynamic Client Registration section 2.
	}
	if !slices.Contains(encryptions, jose.ContentEncryption(*p.enc)) {
		return badMetadata("%s_enc is A128CBC-HS256, A128GCM, A256CBC-HS512 or A256GCM.", name)
	}
	return nil
}

// symmetric reports whether a key management takes its key from the client's secret (OpenID Connect Core section 10.2).
func symmetric(alg string) bool {
	return alg == string(jose.DIRECT) || alg == string(jose.A128KW) || alg == string(jose.A256KW)
}

// needsSecretText reports whether the client's secret itself is needed, not only its digest.
func (m *ClientMetadata) needsSecretText() bool {
	return m.TokenEndpointAuthMethod == authSecretJWT || slices.ContainsFunc([]string{
		m.IDTokenEncryptionAlg, m.UserinfoEncryptionAlg, m.IntrospectionEncryptionAlg, m.AuthorizationEncryptionAlg, m.RequestObjectEncryptionAlg,
	}, symmetric)
}

// checkFAPI holds a client of the FAPI 2.0 Security Profile to its rules (sections 5.3.2 and 5.4).
func (m *ClientMetadata) checkFAPI(f settings.OIDCFeatures) error {
	if m.FAPIProfile == "" {
		return nil
	}
	if m.FAPIProfile != FAPI2 {
		return badMetadata("fapi_profile is 2.0.")
	}
	switch m.TokenEndpointAuthMethod {
	case authPrivateKey, authTLS, authSelfSigned:
	default:
		return badMetadata("A FAPI 2.0 client authenticates with private_key_jwt or mutual TLS.")
	}
	if !f.PushedAuthorizationRequests.Enabled {
		return badMetadata("A FAPI 2.0 client needs pushed authorization requests, which are not available.")
	}
	if m.TLSBound == m.DPoPBound {
		return badMetadata("A FAPI 2.0 client sets either dpop_bound_access_tokens or tls_client_certificate_bound_access_tokens.")
	}
	for _, r := range m.ResponseTypes {
		if r != "code" {
			return badMetadata("A FAPI 2.0 client uses the response type code.")
		}
	}
	for _, alg := range []string{m.IDTokenAlg, m.UserinfoAlg, m.IntrospectionAlg, m.AuthorizationAlg, m.RequestObjectAlg, m.TokenEndpointAuthAlg} {
		if alg != "" && !slices.Contains(fapiAlgorithms, jose.SignatureAlgorithm(alg)) {
			return badMetadata("A FAPI 2.0 client signs, and is signed for, with PS256, ES256 or EdDSA.")
		}
	}
	for _, uri := range m.RedirectURIs {
		if u, err := url.Parse(uri); err != nil || u.Scheme != "https" && !loopbackHost(u.Hostname()) {
			return badRedirect("A FAPI 2.0 client has https redirect URIs: %s", uri)
		}
	}
	return nil
}
