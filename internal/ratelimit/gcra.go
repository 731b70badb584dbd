package ratelimit

import (
	"encoding/binary"
	"sync"
)

const (
	shards        = 64
	maxCounters   = 100_000 // about 5 MB
	maxShard      = maxCounters / shards
	evictionTries = 8
)

// counters is the in-process store: one timestamp per subject, bounded however many subjects there are. Nothing sweeps
// it: expired counters are the first to be evicted.
type counters struct{ shards [shards]shard }

type shard struct {
	mu sync.Mutex
	// full is, in microseconds, when a counter will have all its attempts back (GCRA's theoretical arrival time).
	full map[counterID]int64
}

func newCounters() *counters {
	c := &counters{}
	for i := range c.shards {
		c.shards[i].full = map[counterID]int64{}
	}
	return c
}

func (c *counters) decide(id counterID, now, interval, burst, cost int64) Decision {
	s := &c.shards[binary.BigEndian.Uint64(id[:])%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	full, wait, remaining := gcra(s.full[id], now, interval, burst, cost)
	switch _, known := s.full[id]; {
	case cost == 0 || cost > 0 && wait > 0: // nothing was counted
	case full <= now:
		delete(s.full, id)
	default:
		if !known && len(s.full) >= maxShard {
			s.evict()
		}
		s.full[id] = full
	}
	return decision(wait, remaining)
}

// evict forgets, of a few counters picked by chance, the one that has the least to remember: expired ones first, and
// those that a flood of new subjects has charged once before one that is nearly used up.
func (s *shard) evict() {
	var least counterID
	var leastFull int64
	tries := 0
	for id, full := range s.full { // the runtime starts anywhere
		if tries == 0 || full < leastFull {
			least, leastFull = id, full
		}
		if tries++; tries == evictionTries {
			break
		}
	}
	delete(s.full, least)
}

// gcra is the generic cell rate algorithm (ITU-T I.371) on a virtual clock. All times are microseconds; full is when
// the counter is whole again, or anything in the past. cost 1 counts an attempt if one is left, 0 looks, -1 gives one
// back. It returns the new full, how long until an attempt is allowed (0: this one is), and how many are left.
// gcra.lua is this function line by line.
func gcra(full, now, interval, burst, cost int64) (newFull, wait, remaining int64) {
	window := interval * burst
	full = min(max(full, now), now+window) // a clock that was set back must not refuse for longer than a period
	wait = max(full+interval-now-window, 0)
	if cost < 0 || wait == 0 {
		full = max(full+cost*interval, now)
	}
	return full, wait, (now + window - full) / interval
}
