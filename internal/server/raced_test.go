//go:build race

package server_test

// raced says that the race detector watches, which takes several times as long.
const raced = true
