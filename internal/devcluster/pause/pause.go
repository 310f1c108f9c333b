// Package pause waits for a time, as far as there is still somebody who wants it.
package pause

import (
	"context"
	"time"
)

// For waits until d is over or ctx ends, and reports whether it was the former.
func For(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return d <= 0
	case <-timer.C:
		return true
	}
}
