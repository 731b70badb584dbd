// Package cache is the only door to Redis.
//
// Redis may be killed at any moment: it holds nothing that may not be lost (counters, hints), no call waits for it
// longer than a tenth of a second, and after a failure no call waits at all until a background probe has seen it
// answer again. Every caller therefore has an answer of its own to [ErrUnavailable], and PostgreSQL stays the only
// source of truth.
//
// Redis has no row-level security: a name is all that separates two tenants. So every name is a [Key], only
// constructors make one, and they demand the tenant.
//
// The package decides nothing about limits or invalidation; it evaluates scripts for package ratelimit and carries
// [Hint]s. Start reading at [Open].
package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

const (
	// defaultTimeout bounds what Redis may cost a request, once.
	defaultTimeout = 100 * time.Millisecond
	// dialTimeout and peerTimeout are longer, because only the probe in the background waits for them: a TLS handshake
	// with a distant Redis may take more than a request can spare.
	dialTimeout = time.Second
	peerTimeout = 2 * time.Second
	// probeEvery is how long Redis is left alone after a failure.
	probeEvery = 500 * time.Millisecond

	defaultPrefix = "parako"
)

// ErrUnavailable means that Redis could not be asked. The caller goes on without it.
var ErrUnavailable = errors.New("redis is unavailable")

// Options configures [Open].
type Options struct {
	// URL is redis://, rediss:// or unix:// with optional user, password and database. Empty means there is no Redis.
	URL string
	// Prefix is the first part of every name, so that installations can share a Redis. Default "parako".
	Prefix string
	// Timeout is how long one call waits for Redis at most. Default 100 ms; longer only in tests, where it keeps a busy
	// machine from looking like a lost Redis.
	Timeout time.Duration
	// Compat speaks RESP2 with separate connections for subscriptions, which is all that miniredis understands.
	Compat bool
	// Log receives one line each time Redis is lost or found again. Default: no log.
	Log *slog.Logger
}

// Cache is a connection to Redis that may be down. The nil and zero Cache are disabled, as is one opened without a
// URL. Safe for concurrent use.
type Cache struct {
	client  rueidis.Client // nil when disabled
	prefix  string
	timeout time.Duration
	log     *slog.Logger

	up     atomic.Bool
	failed chan struct{} // wakes the probe
	stop   context.CancelFunc
	probes sync.WaitGroup
}

// Open connects to Redis. A Redis that does not answer is not an error: it is probed in the background until
// [Cache.Close], and used once it answers. A malformed URL is an error, which does not quote the URL because it holds
// the password. ctx bounds the first attempt only.
func Open(ctx context.Context, o Options) (*Cache, error) {
	if o.URL == "" {
		return &Cache{}, nil
	}
	options, err := rueidis.ParseURL(o.URL)
	if err != nil {
		return nil, errors.New("redis URL is malformed (expected redis://user:password@host:6379/0)")
	}
	options.ForceSingleClient = true // gives a client even when the first dial fails
	options.DisableCache = true      // client-side caching is not used
	options.AlwaysRESP2 = o.Compat
	options.DisableRetry = true
	options.PipelineMultiplex = -1 // one connection, so that the probe proves the one that requests will use
	options.ClientName = "parako"
	options.Dialer.Timeout = max(dialTimeout, o.Timeout)
	options.ConnWriteTimeout = max(peerTimeout, o.Timeout)
	client, err := rueidis.NewClient(options)
	if client == nil {
		return nil, fmt.Errorf("open redis: %w", err)
	}

	c := &Cache{
		client:  client,
		prefix:  cmp.Or(o.Prefix, defaultPrefix),
		timeout: cmp.Or(o.Timeout, defaultTimeout),
		log:     cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
		failed:  make(chan struct{}, 1),
	}
	c.up.Store(true)
	if err == nil {
		err = c.probe(ctx)
	}
	if err != nil {
		c.fail(ctx, err)
	}
	watch, stop := context.WithCancel(context.WithoutCancel(ctx)) // It ends with Close.
	c.stop = stop
	c.probes.Go(func() { c.watch(watch) })
	return c, nil
}

// Available reports whether Redis answered last time. False also when there is no Redis.
func (c *Cache) Available() bool { return c != nil && c.client != nil && c.up.Load() }

// Close ends the connections. Calls made later report [ErrUnavailable]. End the contexts of [Cache.SubscribeHints]
// first.
func (c *Cache) Close() {
	if c == nil || c.client == nil {
		return
	}
	c.up.Store(false)
	c.stop()
	c.probes.Wait()
	c.up.Store(false) // the last probe may have succeeded
	c.client.Close()
}

// attempt runs one exchange with Redis under the timeout and remembers a failure.
func (c *Cache) attempt(ctx context.Context, exchange func(context.Context) error) error {
	if !c.Available() {
		return ErrUnavailable
	}
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := exchange(bounded)
	if err == nil {
		return nil
	}
	if ctx.Err() == nil { // a caller that went away says nothing about Redis
		c.fail(ctx, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// fail makes every call skip Redis until the probe succeeds. An error reply counts like a dead connection: a replica
// that refuses to write or a Redis without memory is as useless.
func (c *Cache) fail(ctx context.Context, err error) {
	if !c.up.Swap(false) {
		return
	}
	c.log.WarnContext(ctx, "redis lost", "error", err.Error())
	select {
	case c.failed <- struct{}{}:
	default:
	}
}

// watch is the only place that asks Redis while it is down, so that no request pays for finding out.
func (c *Cache) watch(ctx context.Context) {
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.failed:
		}
		for ticker.Reset(probeEvery); !c.up.Load(); {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if c.probe(ctx) == nil {
				c.up.Store(true)
				c.log.InfoContext(ctx, "redis found")
			}
		}
	}
}

// probe writes, because a Redis that only answers is not enough.
func (c *Cache) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(peerTimeout, c.timeout))
	defer cancel()
	set := c.client.B().Set().Key(c.name(OpsKey("probe"))).Value("1").Px(time.Second).Build()
	return c.client.Do(ctx, set).Error()
}

func (c *Cache) name(k Key) string { return c.prefix + ":" + k.String() }
