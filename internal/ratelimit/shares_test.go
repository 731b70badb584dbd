package ratelimit

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
)

// entered tries to enter and reports what came of it: true, or false while it waits. left gives up waiting, or the place.
func entered(t *testing.T, s *Shares, tenant uuid.UUID) (in bool, left func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Enter(ctx, tenant)
		done <- err
	}()
	synctest.Wait()
	select {
	case err := <-done:
		return err == nil, func() error {
			cancel()
			if err == nil {
				s.Leave(tenant)
			}
			return err
		}
	default:
		return false, func() error {
			cancel()
			err := <-done
			if err == nil {
				s.Leave(tenant)
			}
			return err
		}
	}
}

// admits counts how many of n requests of a tenant come in at once.
func admits(t *testing.T, s *Shares, tenant uuid.UUID, n int) (count int, left []func() error) {
	t.Helper()
	for range n {
		in, f := entered(t, s, tenant)
		if in {
			count++
		}
		left = append(left, f)
	}
	return count, left
}

func leaveAll(left ...[]func() error) {
	for _, list := range left {
		for _, f := range list {
			_ = f()
		}
	}
}

func TestSharesOfATenantAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewShares(8, 100, time.Minute, time.Now)
		n, left := admits(t, s, tenantA, 12)
		if n != 7 {
			t.Errorf("alone it has %d of 8 places, want 7", n)
		}
		in, leave := entered(t, s, tenantB)
		if !in {
			t.Error("who comes next finds no place")
		}
		leaveAll([]func() error{leave}, left)
		if s.taken != 0 || len(s.tenants) != 0 || s.turn != nil {
			t.Errorf("%d places are taken, by %d tenants", s.taken, len(s.tenants))
		}
	})
}

func TestSharesOfNeighbours(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewShares(20, 100, time.Minute, time.Now)
		_, first := admits(t, s, tenantB, 1)
		leaveAll(first)
		n, left := admits(t, s, tenantA, 30)
		if n != 7 { // Half as many as were free before the seventh.
			t.Errorf("beside another it has %d of 20 places, want 7", n)
		}
		m, others := admits(t, s, tenantB, 30)
		if m != 4 {
			t.Errorf("the other one has %d, want 4", m)
		}
		leaveAll(others)
		<-time.After(neighbourly + time.Second) // The time of the bubble.
		_ = left[0]()
		synctest.Wait()
		if s.taken != 19 {
			t.Errorf("when the other one is gone %d places are taken, want 19", s.taken)
		}
		leaveAll(left[1:])
	})
}

func TestSharesGoInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewShares(1, 100, time.Minute, time.Now)
		_, holder := admits(t, s, tenantA, 1)
		var order []string
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { wantsTurn(t, s, tenantA, "a", &mu, &order) })
		}
		synctest.Wait()
		all.Go(func() { wantsTurn(t, s, tenantB, "b", &mu, &order) })
		synctest.Wait()
		leaveAll(holder)
		all.Wait()
		if len(order) != 4 || order[1] != "b" {
			t.Errorf("they were served as %v: the one of b waited for more than one of a", order)
		}
	})
}

func wantsTurn(t *testing.T, s *Shares, tenant uuid.UUID, name string, mu *sync.Mutex, order *[]string) {
	t.Helper()
	if _, err := s.Enter(t.Context(), tenant); err != nil {
		t.Error(err)
		return
	}
	mu.Lock()
	*order = append(*order, name)
	mu.Unlock()
	s.Leave(tenant)
}

func TestSharesRefuse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewShares(2, 3, time.Minute, time.Now)
		n, left := admits(t, s, tenantA, 1+3)
		if n != 1 {
			t.Fatalf("%d came in, want 1", n)
		}
		if _, err := s.Enter(t.Context(), tenantA); !errors.Is(err, ErrBusy) {
			t.Errorf("one more than may wait: %v, want %v", err, ErrBusy)
		}
		if err := left[1](); !errors.Is(err, context.Canceled) {
			t.Errorf("who has gone: %v", err)
		}
		in, leave := entered(t, s, tenantA)
		if in {
			t.Error("who takes the place of one that has gone waits, too")
		}
		<-time.After(time.Minute)
		if err := leave(); !errors.Is(err, ErrBusy) {
			t.Errorf("who has waited for a minute: %v, want %v", err, ErrBusy)
		}
		leaveAll(left[:1], left[2:])
		if s.taken != 0 || len(s.tenants) != 0 || s.turn != nil {
			t.Errorf("%d places are taken, by %d tenants", s.taken, len(s.tenants))
		}
	})
}

func TestStepOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewShares(2, 3, time.Minute, time.Now)
		ctx, err := s.Enter(t.Context(), tenantA)
		if err != nil {
			t.Fatal(err)
		}
		back := StepOut(ctx)
		n, left := admits(t, s, tenantA, 3)
		if n != 1 {
			t.Errorf("while one is outside %d come in, want 1", n)
		}
		in := make(chan struct{})
		go func() { back(); close(in) }()
		synctest.Wait()
		if served, waiting := s.Load(); served != 1 || waiting != 3 {
			t.Errorf("%d are served and %d wait, want 1 and 3", served, waiting)
		}
		_ = left[0]()
		<-in // before those that wait
		if served, waiting := s.Load(); served != 1 || waiting != 2 {
			t.Errorf("%d are served and %d wait, want 1 and 2", served, waiting)
		}
		s.Leave(tenantA)
		leaveAll(left[1:])
		StepOut(t.Context())() // Without a place it is nothing.
		if s.taken != 0 || len(s.tenants) != 0 {
			t.Errorf("%d places are taken", s.taken)
		}
	})
}

// However many of a tenant's requests step out and come back at once, a place is left for the next tenant.
func TestWhoStepsOutKeepsToTheShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const places, queue = 4, 8
		s := NewShares(places, queue, time.Minute, time.Now)
		var all sync.WaitGroup
		leave := make(chan struct{})
		for i := range 3 * queue {
			ctx, err := s.Enter(t.Context(), tenantA)
			if errors.Is(err, ErrBusy) {
				if i < queue {
					t.Fatalf("only %d can be outside", i)
				}
				break // Who is inside cannot step out any more.
			}
			back := StepOut(ctx)
			all.Go(func() {
				<-leave
				back()
				s.Leave(tenantA)
			})
		}
		close(leave)
		if _, err := s.Enter(t.Context(), tenantB); err != nil {
			t.Errorf("the next tenant: %v", err)
		}
		if served, _ := s.Load(); served > places {
			t.Errorf("%d are served, of %d places", served, places)
		}
		s.Leave(tenantB)
		all.Wait()
		if s.taken != 0 || len(s.tenants) != 0 || s.turn != nil {
			t.Errorf("%d places are taken, by %d tenants", s.taken, len(s.tenants))
		}
	})
}

// TestSharesAdd has many tenants come and go by chance, and looks that no more places are taken than there are.
func TestSharesAdd(t *testing.T) {
	t.Parallel()
	const places = 5
	s := NewShares(places, 4, time.Minute, time.Now)
	var inside atomic.Int64
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for range 300 {
				var tenant uuid.UUID
				binary.BigEndian.PutUint64(tenant[:], 1+rand.Uint64N(7))
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(4) == 0 {
					cancel()
				}
				if _, err := s.Enter(ctx, tenant); err == nil {
					if n := inside.Add(1); n > places {
						t.Errorf("%d are inside", n)
					}
					inside.Add(-1)
					s.Leave(tenant)
				}
				cancel()
			}
		})
	}
	all.Wait()
	if s.taken != 0 || len(s.tenants) != 0 || s.turn != nil {
		t.Errorf("%d places are taken, by %d tenants", s.taken, len(s.tenants))
	}
}

// BenchmarkShares is what every request pays while nobody waits.
func BenchmarkShares(b *testing.B) {
	s := NewShares(1<<20, 1, time.Minute, time.Now)
	b.ReportAllocs()
	var n atomic.Uint64
	b.RunParallel(func(pb *testing.PB) {
		var tenant uuid.UUID
		binary.BigEndian.PutUint64(tenant[:], n.Add(1))
		ctx := b.Context()
		for pb.Next() {
			if _, err := s.Enter(ctx, tenant); err != nil {
				b.Error(err)
				return
			}
			s.Leave(tenant)
		}
	})
}
