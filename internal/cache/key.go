package cache

import (
	"net/url"
	"strings"

	"github.com/google/uuid"
)

// opsScope stands where a tenant's id stands; it is not a uuid, so it cannot be a tenant's.
const opsScope = "_ops"

// Key names something in Redis that belongs to one tenant. Only [TenantKey] and [OpsKey] make one; the zero Key is
// refused. The prefix of the installation is added when it is used.
type Key struct{ name string }

// TenantKey names what belongs to a tenant: kind says what it is, parts which one. Parts may contain anything; two
// different lists never give the same Key. It panics without a tenant or kind, which is a mistake of the program.
func TenantKey(tenant uuid.UUID, kind string, parts ...string) Key {
	if tenant == uuid.Nil {
		panic("cache: key without a tenant")
	}
	return newKey(tenant.String(), kind, parts)
}

// OpsKey names what belongs to the installation: the stateless relay and the connection's own upkeep. Nothing that
// was learned from one tenant may be stored under it.
func OpsKey(kind string, parts ...string) Key { return newKey(opsScope, kind, parts) }

func newKey(scope, kind string, parts []string) Key {
	if kind == "" {
		panic("cache: key without a kind")
	}
	var name strings.Builder
	name.WriteString(scope)
	for _, part := range append([]string{kind}, parts...) {
		name.WriteByte(':')
		name.WriteString(url.QueryEscape(part)) // escapes the colon, and the braces that Redis Cluster reads
	}
	return Key{name.String()}
}

// String returns "{tenant}:{kind}:{part}:…" with escaped parts. In Redis the prefix stands before it.
func (k Key) String() string {
	if k.name == "" {
		panic("cache: zero key")
	}
	return k.name
}
