// Package oidc is the protocol: OAuth 2.0 and OpenID Connect for one tenant at a time, on fosite. A [Provider] is an
// immutable snapshot of a tenant (issuer, settings, keys, rendered discovery) with the handlers composed around it; a
// [Pool] keeps a bounded number of them and replaces one as soon as its tenant's revision changes. There is one file per
// endpoint and per grant.
//
// fosite's types never leave the package. It refuses to answer for another tenant than the provider's: the issuer, the keys,
// the key of the opaque tokens and the transaction are all the tenant's own. Start reading at routes.go, then provider.go.
package oidc
