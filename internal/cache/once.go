package cache

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

// Put keeps value under key for ttl, a whole number of seconds and at least one, unless something is there already, and reports
// whether it did. Seal what is secret: Redis has no row-level security and may be shared. It fails only with [ErrUnavailable], after
// Options.Timeout at the latest; the value may have been kept nevertheless.
func (c *Cache) Put(ctx context.Context, key Key, value []byte, ttl time.Duration) (bool, error) {
	put := false
	err := c.attempt(ctx, func(ctx context.Context) error {
		command := c.client.B().Set().Key(c.name(key)).Value(rueidis.BinaryString(value)).Nx().ExSeconds(int64(ttl / time.Second)).Build()
		err := c.client.Do(ctx, command).Error()
		put = err == nil
		if rueidis.IsRedisNil(err) {
			return nil
		}
		return err
	})
	return put, err
}

// Take returns what [Cache.Put] kept under key and removes it in the same step, so that of many callers one gets it. found is false
// when there is nothing: it was taken, has expired, or was lost with Redis. It fails only with [ErrUnavailable]; the value may be gone
// nevertheless. It needs Redis 6.2 or later.
func (c *Cache) Take(ctx context.Context, key Key) (value []byte, found bool, err error) {
	err = c.attempt(ctx, func(ctx context.Context) error {
		var err error
		value, err = c.client.Do(ctx, c.client.B().Getdel().Key(c.name(key)).Build()).AsBytes()
		found = err == nil
		if rueidis.IsRedisNil(err) {
			return nil
		}
		return err
	})
	return value, found, err
}
