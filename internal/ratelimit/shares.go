package ratelimit

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"parako/internal/problem"
)

// ErrBusy says that a tenant has used up its share, and that enough of its requests wait already.
var ErrBusy = problem.New(problem.Unavailable, "tenant_busy", "The tenant has more requests than its share of the server can serve. Try again in a moment.")

// Shares divides the places in which requests are served among the tenants that ask at the same time, so that one with many requests
// waits for itself and not the others for it. It is safe for concurrent use, and costs no memory while nobody waits.
//
// A tenant that is alone may have all places but one. While others ask, too, it may have half as many as the others leave
// free: the more tenants are busy the less each has, and whoever comes next finds a place at once. Every tenant may have one as long as there are
// any. Beyond that its requests queue among themselves; a place that becomes free goes to the tenants that wait in turn.
type Shares struct {
	places, queue int
	patience      time.Duration
	now           func() time.Time

	mu      sync.Mutex
	taken   int
	waits   int                  // of all tenants
	tenants map[uuid.UUID]*share // those that are served or wait
	turn    *share               // whose turn it is, in the ring of those that wait
	spare   *share               // forgotten ones to be used again
	last    uuid.UUID            // who asked last
	crowded time.Time            // until when more than one tenant counts as asking
}

// share is what one tenant has.
type share struct {
	tenant      uuid.UUID
	served      int
	outside     int // have stepped out, and come back
	first, last *waiter
	waiting     int
	next, prev  *share // in the ring, or among the spare ones
}

// waiter is a request that waits; admitted is closed when it has a place.
type waiter struct {
	admitted   chan struct{}
	next, prev *waiter
}

// neighbourly is how long a tenant leaves room for another that has asked.
const neighbourly = 10 * time.Second

// NewShares divides places, at least one. As many of a tenant's requests as queue says may wait, none longer than patience.
func NewShares(places, queue int, patience time.Duration, now func() time.Time) *Shares {
	return &Shares{places: max(places, 1), queue: queue, patience: patience, now: now, tenants: map[uuid.UUID]*share{}}
}

// Enter takes a place for a request of the tenant, and waits for one if need be. It must be given back with [Shares.Leave] unless Enter
// fails: with ErrBusy, or with the error of ctx. The context it returns is for [StepOut].
func (s *Shares) Enter(ctx context.Context, tenant uuid.UUID) (context.Context, error) {
	if err := s.enter(ctx, tenant); err != nil {
		return nil, err
	}
	return context.WithValue(ctx, placeKey{}, place{s, tenant}), nil
}

type placeKey struct{}

// place is what a request holds.
type place struct {
	shares *Shares
	tenant uuid.UUID
}

// StepOut gives the place of a request back while it waits for somebody outside, who may be slow on purpose, and returns what takes one
// again, before the tenant's requests that wait: it blocks until there is one. Once as many of the tenant's requests are outside as may
// wait, it does nothing, as it does without a place.
func StepOut(ctx context.Context) (back func()) {
	p, ok := ctx.Value(placeKey{}).(place)
	if !ok || !p.shares.stepOut(p.tenant) {
		return func() {}
	}
	return func() { p.shares.comeBack(p.tenant) }
}

func (s *Shares) stepOut(tenant uuid.UUID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tenants[tenant]
	if t.outside >= s.queue {
		return false
	}
	t.outside++
	s.leave(t)
	return true
}

// comeBack waits however long it takes: who was in before is served to the end.
func (s *Shares) comeBack(tenant uuid.UUID) {
	s.mu.Lock()
	t := s.tenants[tenant]
	t.outside--
	if t.waiting == 0 && s.may(t) {
		t.served++
		s.taken++
		s.mu.Unlock()
		return
	}
	w := s.wait(t, true)
	s.mu.Unlock()
	<-w.admitted
}

func (s *Shares) enter(ctx context.Context, tenant uuid.UUID) error {
	s.mu.Lock()
	if tenant != s.last {
		if now := s.now(); s.last != uuid.Nil {
			s.crowded = now.Add(neighbourly)
		}
		s.last = tenant
	}
	t := s.share(tenant)
	if t.waiting == 0 && s.may(t) {
		t.served++
		s.taken++
		s.mu.Unlock()
		return nil
	}
	if t.waiting >= s.queue {
		s.forget(t)
		s.mu.Unlock()
		return ErrBusy
	}
	w := s.wait(t, false)
	s.mu.Unlock()
	return s.await(ctx, t, w)
}

// await waits until w is admitted, ctx is done or patience is over.
func (s *Shares) await(ctx context.Context, t *share, w *waiter) error {
	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	var err error
	select {
	case <-w.admitted:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = ErrBusy
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-w.admitted: // Meanwhile. It is given back, because nobody wants it any more.
		s.leave(t)
	default:
		s.drop(t, w)
		s.forget(t)
	}
	return err
}

// Leave gives back a place of the tenant.
func (s *Shares) Leave(tenant uuid.UUID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave(s.tenants[tenant])
}

// Load is how many requests have a place, and how many wait for one.
func (s *Shares) Load() (served, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken, s.waits
}

func (s *Shares) leave(t *share) {
	t.served--
	s.taken--
	s.forget(t)
	s.admit()
}

// admit gives what is free to those that wait, one each in turn. Who may not have more now is passed over; those have places, so they
// are not many.
func (s *Shares) admit() {
	for passed := 0; s.turn != nil && s.taken < s.places; {
		t := s.turn
		s.turn = t.next
		if !s.may(t) {
			if passed++; passed > s.places {
				return
			}
			continue
		}
		passed = 0
		w := t.first
		s.drop(t, w)
		t.served++
		s.taken++
		close(w.admitted)
	}
}

// may reports whether the tenant may have one more place.
func (s *Shares) may(t *share) bool {
	free := s.places - s.taken
	switch {
	case free <= 0:
		return false
	case t.served == 0:
		return true
	case s.now().After(s.crowded):
		return free > 1
	}
	return 2*(t.served+1) <= free
}

// share finds or makes the tenant's.
func (s *Shares) share(tenant uuid.UUID) *share {
	t := s.tenants[tenant]
	if t != nil {
		return t
	}
	if t = s.spare; t != nil {
		s.spare = t.next
		*t = share{}
	} else {
		t = &share{}
	}
	t.tenant = tenant
	s.tenants[tenant] = t
	return t
}

// forget drops the share of a tenant that neither is served, nor waits, nor will come back.
func (s *Shares) forget(t *share) {
	if t.served > 0 || t.waiting > 0 || t.outside > 0 {
		return
	}
	delete(s.tenants, t.tenant)
	t.next, s.spare = s.spare, t
}

// wait puts a request at the end of its tenant's queue, or before all others in it, and the tenant at the end of the ring.
func (s *Shares) wait(t *share, before bool) *waiter {
	w := &waiter{admitted: make(chan struct{})}
	switch {
	case t.first == nil:
		t.first, t.last = w, w
	case before:
		w.next, t.first.prev, t.first = t.first, w, w
	default:
		w.prev, t.last.next, t.last = t.last, w, w
	}
	s.waits++
	if t.waiting++; t.waiting > 1 {
		return w
	}
	if s.turn == nil {
		t.next, t.prev, s.turn = t, t, t
	} else {
		t.next, t.prev = s.turn, s.turn.prev
		t.prev.next, t.next.prev = t, t
	}
	return w
}

// drop takes a request out of its tenant's queue, and the tenant out of the ring with the last of them.
func (s *Shares) drop(t *share, w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		t.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		t.last = w.prev
	}
	s.waits--
	if t.waiting--; t.waiting > 0 {
		return
	}
	if t.next == t {
		s.turn = nil
	} else {
		if s.turn == t {
			s.turn = t.next
		}
		t.prev.next, t.next.prev = t.next, t.prev
	}
	t.next, t.prev = nil, nil
}
