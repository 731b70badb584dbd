package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"parako/internal/outbound"
)

func publicKey(t *testing.T, kid string) jose.JSONWebKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: key.Public(), KeyID: kid}
}

// keyServer serves a key set that the test changes, and counts who asks.
type keyServer struct {
	*httptest.Server
	mu    sync.Mutex
	set   []byte
	asked atomic.Int32
}

func newKeyServer(t *testing.T) *keyServer {
	t.Helper()
	s := &keyServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.asked.Add(1)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.set == nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(s.set)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *keyServer) publish(t *testing.T, keys ...jose.JSONWebKey) {
	t.Helper()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = set
}

func (s *keyServer) fail() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = nil
}

// TestKeyCache follows a client through a rotation of its keys and an outage of its site.
func TestKeyCache(t *testing.T) {
	t.Parallel()
	site := newKeyServer(t)
	var now atomic.Int64
	now.Store(time.Now().UnixNano())
	pass := func(d time.Duration) { now.Add(int64(d)) }
	cache := NewKeyCache(outbound.New(outbound.Options{Loopback: true, Timeout: time.Minute}), func() time.Time { return time.Unix(0, now.Load()) })
	tenant := uuid.New()
	has := func(kid string, missing bool) bool {
		t.Helper()
		keys, err := cache.at(t.Context(), tenant, site.URL, missing)
		if err != nil {
			return false
		}
		for _, k := range keys {
			if k.KeyID == kid {
				return true
			}
		}
		return false
	}
	expect := func(what string, got bool, want bool, asked int32) {
		t.Helper()
		if got != want || site.asked.Load() != asked {
			t.Errorf("%s: %t, asked %d times; want %t, %d times", what, got, site.asked.Load(), want, asked)
		}
	}
	site.publish(t, publicKey(t, "1"))
	expect("the first time", has("1", false), true, 1)
	expect("again", has("1", false), true, 1)
	site.publish(t, publicKey(t, "1"), publicKey(t, "2"))
	expect("a key that is new", has("2", true), true, 2)
	site.publish(t, publicKey(t, "2"), publicKey(t, "3"))
	expect("another one at once", has("3", true), false, 2)
	pass(keysRetry)
	expect("it is found later", has("3", true), true, 3)
	pass(keysFresh)
	site.publish(t, publicKey(t, "2"))
	expect("a key that is gone", has("1", false), false, 4)

	site.fail()
	pass(keysFresh)
	expect("an outage", has("2", false), true, 5)
	expect("an outage is not asked about again at once", has("2", false), true, 5)
	expect("nor for a key that is missing", has("5", true), false, 5)
	pass(keysStale)
	expect("an outage for too long", has("2", false), false, 6)
	site.publish(t, publicKey(t, "4"))
	pass(keysRetry)
	expect("it is back", has("4", false), true, 7)
}

// TestKeyCacheAsksOnce for however many need the keys, and keeps tenants apart.
func TestKeyCacheAsksOnce(t *testing.T) {
	t.Parallel()
	site := newKeyServer(t)
	site.publish(t, publicKey(t, "1"))
	cache := NewKeyCache(outbound.New(outbound.Options{Loopback: true, Timeout: time.Minute}), time.Now)
	var wg sync.WaitGroup
	tenants := []uuid.UUID{uuid.New(), uuid.New()}
	for i := range 50 {
		wg.Go(func() {
			if _, err := cache.at(context.WithoutCancel(t.Context()), tenants[i%2], site.URL, false); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := site.asked.Load(); got != 2 {
		t.Errorf("asked %d times for two tenants", got)
	}
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	good := publicKey(t, "good")
	text, err := good.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := parseKeys([]byte(`{"keys":[{"kty":"future"},` + string(text) + `,{"kty":"oct","k":"c2VjcmV0"},7]}`))
	if err != nil || len(keys) != 1 || keys[0].KeyID != "good" {
		t.Errorf("keys = %v, %v", keys, err)
	}
	for _, wrong := range []string{"", "[]", `{"keys":{}}`} {
		if keys, err := parseKeys([]byte(wrong)); err == nil {
			t.Errorf("%q: %v", wrong, keys)
		}
	}
}
