package oidc

import (
	"sync"
	"testing"

	"github.com/ory/fosite"
)

// TestSharedErrorsStayAsTheyAre explains one error to many requests at once. The race detector tells when one of them writes.
func TestSharedErrorsStayAsTheyAre(t *testing.T) {
	t.Parallel()
	shared := fosite.ErrInvalidRequest.WithHintIDOrDefaultf("an-id", "The hint.")
	want, _ := explain(shared)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if got, _ := explain(shared); got != want {
				t.Errorf("explained as %v, want %v", got, want)
			}
		})
	}
	all.Wait()
}
