package cache

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/rueidis"
)

// hintBacklog is how many hints may wait for a slow subscriber before they are dropped and reported as a gap.
const hintBacklog = 256

// Hint says that a tenant reached a revision, so that instances need not wait for their next poll. It is only a hint:
// it may be lost, late, repeated or forged, and the receiver reads the truth from PostgreSQL.
type Hint struct {
	Tenant   uuid.UUID
	Revision int64
}

// PublishHint tells all instances, this one included. Best effort: it takes Options.Timeout at most and reports
// nothing, because whoever misses the hint polls anyway. Call it after the transaction has committed.
func (c *Cache) PublishHint(ctx context.Context, h Hint) {
	_ = c.attempt(ctx, func(ctx context.Context) error {
		return c.client.Do(ctx, c.client.B().Publish().Channel(c.hints()).Message(h.encode()).Build()).Error()
	})
}

// SubscribeHints calls onHint for every hint and onGap whenever hints may have been missed: after each successful
// (re)connection and when the callbacks are too slow. It runs both on the calling goroutine, one at a time, and
// returns when ctx is done. Without Redis it calls nothing.
func (c *Cache) SubscribeHints(ctx context.Context, onHint func(Hint), onGap func()) {
	hints, gap := make(chan Hint, hintBacklog), make(chan struct{}, 1)
	received := make(chan struct{})
	go func() {
		defer close(received)
		c.receiveHints(ctx, hints, gap)
	}()
	for {
		select {
		case <-ctx.Done():
			<-received
			return
		case h := <-hints:
			onHint(h)
		case <-gap:
			onGap()
		}
	}
}

// receiveHints never blocks on its channels: the connection's reader delivers the messages, and requests share it.
func (c *Cache) receiveHints(ctx context.Context, hints chan<- Hint, gap chan<- struct{}) {
	missed := func() {
		select {
		case gap <- struct{}{}:
		default: // one is pending and will do
		}
	}
	receive := func(m rueidis.PubSubMessage) {
		h, err := decodeHint(m.Message)
		if err != nil {
			c.log.WarnContext(ctx, "malformed hint ignored", "error", err.Error())
			return
		}
		select {
		case hints <- h:
		default:
			missed()
		}
	}
	// Only once Redis has confirmed is the gap over: what was published before would otherwise be lost unnoticed.
	confirmed := rueidis.WithOnSubscriptionHook(ctx, func(s rueidis.PubSubSubscription) {
		if s.Kind == "subscribe" {
			missed()
		}
	})
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for {
		if c.Available() {
			err := c.client.Receive(confirmed, c.client.B().Subscribe().Channel(c.hints()).Build(), receive)
			if err != nil && ctx.Err() == nil {
				c.fail(ctx, err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// hints is one channel for all tenants: an instance serves any of them, and a subscription each would cost as many
// subscriptions as there are tenants.
func (c *Cache) hints() string { return c.name(OpsKey("hints")) }

func (h Hint) encode() string { return h.Tenant.String() + " " + strconv.FormatInt(h.Revision, 10) }

func decodeHint(s string) (Hint, error) {
	id, number, _ := strings.Cut(s, " ")
	tenant, err := uuid.Parse(id)
	if err != nil || len(id) != len(uuid.Nil.String()) || tenant == uuid.Nil {
		return Hint{}, fmt.Errorf("hint %.80q names no tenant", s)
	}
	revision, err := strconv.ParseInt(number, 10, 64)
	if err != nil || revision < 0 {
		return Hint{}, fmt.Errorf("hint %.80q has no revision", s)
	}
	return Hint{Tenant: tenant, Revision: revision}, nil
}
