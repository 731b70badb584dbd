package cache

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func TestPutAndTake(t *testing.T) {
	t.Parallel()
	eachRedis(t, false, func(t *testing.T, s server) {
		c, key, value := open(t, s.options), TenantKey(tenantA, "test", "x"), []byte("a\x00\xffb\r\n")
		if _, found, err := c.Take(t.Context(), key); found || err != nil {
			t.Errorf("Take of nothing: %t, %v", found, err)
		}
		if put, err := c.Put(t.Context(), key, value, time.Minute); !put || err != nil {
			t.Errorf("Put: %t, %v", put, err)
		}
		if put, err := c.Put(t.Context(), key, []byte("another"), time.Minute); put || err != nil {
			t.Errorf("Put over what is there: %t, %v", put, err)
		}
		if _, found, err := c.Take(t.Context(), TenantKey(tenantB, "test", "x")); found || err != nil {
			t.Errorf("Take by another tenant: %t, %v", found, err)
		}
		if got, found, err := c.Take(t.Context(), key); !bytes.Equal(got, value) || !found || err != nil {
			t.Errorf("Take = %q, %t, %v, want %q", got, found, err, value)
		}
		if _, found, err := c.Take(t.Context(), key); found || err != nil {
			t.Errorf("the second Take: %t, %v", found, err)
		}
		if !c.Available() {
			t.Error("finding nothing made redis unavailable")
		}
	})
}

func TestOneOfManyTakes(t *testing.T) {
	t.Parallel()
	eachRedis(t, false, func(t *testing.T, s server) {
		c, key := open(t, s.options), TenantKey(tenantA, "test")
		if put, err := c.Put(t.Context(), key, []byte("x"), time.Minute); !put || err != nil {
			t.Fatalf("Put: %t, %v", put, err)
		}
		var winners atomic.Int32
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, found, err := c.Take(t.Context(), key); err != nil {
					t.Error(err)
				} else if found {
					winners.Add(1)
				}
			})
		}
		if all.Wait(); winners.Load() != 1 {
			t.Errorf("%d callers took the value", winners.Load())
		}
	})
}

func TestWhatWasPutExpires(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	c, key := open(t, Options{URL: "redis://" + m.Addr(), Compat: true}), TenantKey(tenantA, "test")
	if put, err := c.Put(t.Context(), key, []byte("x"), 2*time.Minute); !put || err != nil {
		t.Fatalf("Put: %t, %v", put, err)
	}
	m.FastForward(2 * time.Minute)
	if _, found, err := c.Take(t.Context(), key); found || err != nil {
		t.Errorf("Take after its time: %t, %v", found, err)
	}
}

func TestPutAndTakeWithoutRedis(t *testing.T) {
	t.Parallel()
	eachRedis(t, true, func(t *testing.T, s server) {
		c, key := open(t, s.options), TenantKey(tenantA, "test")
		if put, err := c.Put(t.Context(), key, []byte("x"), time.Minute); !put || err != nil {
			t.Fatalf("Put: %t, %v", put, err)
		}
		s.kill()
		if _, found, err := c.Take(t.Context(), key); found || !errors.Is(err, ErrUnavailable) {
			t.Errorf("Take: %t, %v, want ErrUnavailable", found, err)
		}
		if put, err := c.Put(t.Context(), key, []byte("x"), time.Minute); put || !errors.Is(err, ErrUnavailable) {
			t.Errorf("Put: %t, %v, want ErrUnavailable", put, err)
		}
	})
}
