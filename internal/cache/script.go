package cache

import (
	"context"

	"github.com/redis/rueidis"
)

// Script is a Lua script that works on one key and returns integers. Make one per process and share it; safe for
// concurrent use.
type Script struct{ lua *rueidis.Lua }

// NewScript prepares source. Redis learns it when it is first evaluated, and again after a restart.
func NewScript(source string) *Script { return &Script{rueidis.NewLuaScript(source)} }

// Eval runs script with KEYS[1] = key and ARGV = args and returns its integers. It fails only with [ErrUnavailable],
// after Options.Timeout at the latest; the script may have run nevertheless.
func (c *Cache) Eval(ctx context.Context, script *Script, key Key, args ...string) ([]int64, error) {
	var result []int64
	err := c.attempt(ctx, func(ctx context.Context) error {
		var err error
		result, err = script.lua.Exec(ctx, c.client, []string{c.name(key)}, args).AsIntSlice()
		return err
	})
	if err != nil {
		return nil, err
	}
	return result, nil
}
