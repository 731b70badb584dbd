package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"parako/internal/outbound"
	"parako/internal/ratelimit"
)

// KeyCache keeps the key sets behind jwks_uri of clients and of trusted issuers. All providers share one; an entry belongs to
// the tenant that asked for it, so that no tenant learns from another's cache which addresses it has called. It is safe for
// concurrent use.
type KeyCache struct {
	out *outbound.Client
	now func() time.Time

	flights singleflight.Group
	mu      sync.Mutex
	sets    map[keyAddress]cachedSet
}

// NewKeyCache makes an empty cache that fetches through out.
func NewKeyCache(out *outbound.Client, now func() time.Time) *KeyCache {
	return &KeyCache{out: out, now: now, sets: map[keyAddress]cachedSet{}}
}

type keyAddress struct {
	tenant uuid.UUID
	uri    string
}

type cachedSet struct {
	keys    []jose.JSONWebKey
	fetched time.Time // the last try, successful or not
	good    time.Time // the last success; zero: never
	sought  time.Time // the last look for a key that was missing; zero: never
}

const (
	// keysFresh is how long a set is used without a look at its address.
	keysFresh = 5 * time.Minute
	// keysRetry is how soon an address is asked again for a key that is missing, and after a try that failed. The first look for
	// a missing key happens at once: keys are rotated also right after they were fetched.
	keysRetry = 10 * time.Second
	// keysStale is how long a set goes on serving while its address does not answer.
	keysStale = time.Hour
	// maxKeySets bounds the cache.
	maxKeySets = 2000
)

// at returns the keys behind an address. A caller that did not find its key in them asks again with missing.
func (c *KeyCache) at(ctx context.Context, tenant uuid.UUID, uri string, missing bool) ([]jose.JSONWebKey, error) {
	address := keyAddress{tenant, uri}
	if known := c.known(address); known.serves(c.now(), missing) {
		return known.answer(c.now())
	}
	defer ratelimit.StepOut(ctx)()
	// Whoever asks at the same time waits for the same call; it runs on when the first has gone.
	result, _, _ := c.flights.Do(tenant.String()+" "+uri, func() (any, error) {
		known := c.known(address) // The call of another may have ended in between.
		if known.serves(c.now(), missing) {
			return known, nil
		}
		if missing {
			known.sought = c.now()
		}
		return c.fetch(context.WithoutCancel(ctx), address, known), nil
	})
	set, _ := result.(cachedSet)
	return set.answer(c.now())
}

func (c *KeyCache) known(address keyAddress) cachedSet {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sets[address]
}

// serves reports whether the set answers without a look at its address.
func (s cachedSet) serves(now time.Time, missing bool) bool {
	switch {
	case !missing && now.Sub(s.good) < keysFresh:
		return true
	case s.fetched.After(s.good):
		return now.Sub(s.fetched) < keysRetry
	}
	return missing && now.Sub(s.sought) < keysRetry
}

func (s cachedSet) answer(now time.Time) ([]jose.JSONWebKey, error) {
	if s.good.IsZero() || now.Sub(s.good) > keysStale {
		return nil, errors.New("the keys cannot be had from their address")
	}
	return s.keys, nil
}

func (c *KeyCache) fetch(ctx context.Context, address keyAddress, known cachedSet) cachedSet {
	set := cachedSet{keys: known.keys, good: known.good, sought: known.sought, fetched: c.now()}
	if answer, err := c.out.Get(ctx, address.uri, "application/jwk-set+json, application/json"); err == nil {
		if keys, err := parseKeys(answer.Body); err == nil {
			set.keys, set.good = keys, set.fetched
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.sets[address]; !ok && len(c.sets) >= maxKeySets {
		for other := range c.sets { // Any: the next who needs it fetches it again.
			delete(c.sets, other)
			break
		}
	}
	c.sets[address] = set
	return set
}

// parseKeys reads a key set and passes over keys it does not understand, as RFC 7517 section 5 asks.
func parseKeys(document []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return nil, fmt.Errorf("parse key set: %w", err)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && key.Valid() && key.IsPublic() {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// keySource is where somebody's public keys are: by value or behind an address.
type keySource struct {
	jwks json.RawMessage
	uri  string
}

func (c client) keys() keySource { return keySource{c.JWKS, c.more.JWKSURI} }

// findKey looks for a key with pick, and asks the address again when it finds none.
func (p *Provider) findKey(ctx context.Context, s keySource, pick func([]jose.JSONWebKey) (jose.JSONWebKey, error)) (jose.JSONWebKey, error) {
	if s.uri == "" {
		keys, err := parseKeys(s.jwks)
		if err != nil {
			return jose.JSONWebKey{}, err
		}
		return pick(keys)
	}
	keys, err := p.deps.Keys.at(ctx, p.Tenant.ID, s.uri, false)
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	if key, err := pick(keys); err == nil {
		return key, nil
	}
	if keys, err = p.deps.Keys.at(ctx, p.Tenant.ID, s.uri, true); err != nil {
		return jose.JSONWebKey{}, err
	}
	return pick(keys)
}

// signatureKey finds the key that made a signature: by kid or, without one, the only key of the right kind. The algorithm is
// the header's and must be the key's own when the key names one.
func (p *Provider) signatureKey(ctx context.Context, s keySource, header jose.Header) (jose.JSONWebKey, error) {
	return p.findKey(ctx, s, func(keys []jose.JSONWebKey) (jose.JSONWebKey, error) {
		fits := slices.DeleteFunc(slices.Clone(keys), func(k jose.JSONWebKey) bool {
			return header.KeyID != "" && k.KeyID != header.KeyID || k.Use == "enc" || !keyFits(k, header.Algorithm)
		})
		if len(fits) != 1 {
			return jose.JSONWebKey{}, fmt.Errorf("%d keys fit the signature", len(fits))
		}
		return fits[0], nil
	})
}

// encryptionKey finds the key to encrypt for with alg; of several, the first.
func (p *Provider) encryptionKey(ctx context.Context, s keySource, alg string) (jose.JSONWebKey, error) {
	return p.findKey(ctx, s, func(keys []jose.JSONWebKey) (jose.JSONWebKey, error) {
		i := slices.IndexFunc(keys, func(k jose.JSONWebKey) bool { return encryptsWith(k, alg) })
		if i < 0 {
			return jose.JSONWebKey{}, fmt.Errorf("no key fits an encryption with %s", alg)
		}
		return keys[i], nil
	})
}

// encryptsWith reports whether the client wants to be encrypted for with the key and alg.
func encryptsWith(k jose.JSONWebKey, alg string) bool { return k.Use != "sig" && keyFits(k, alg) }

// keyFits reports whether a key can be used with alg: it names no other, and is of the kind and size that alg needs.
func keyFits(k jose.JSONWebKey, alg string) bool {
	if k.Algorithm != "" && k.Algorithm != alg {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return (strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")) && key.N.BitLen() >= 2048 // RS256, PS256, RSA-OAEP
	case *ecdsa.PublicKey:
		return (alg == "ES256" || alg == "ECDH-ES") && key.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}
