package pause_test

import (
	"context"
	"testing"
	"time"

	"windlass.dev/internal/devcluster/pause"
)

func TestFor(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(t.Context())
	end()
	for title, one := range map[string]struct {
		ctx  context.Context
		d    time.Duration
		want bool
	}{
		"to its end":                     {t.Context(), time.Millisecond, true},
		"cut short":                      {ended, time.Hour, false},
		"no pause at all is never short": {ended, 0, true},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			if got := pause.For(one.ctx, one.d); got != one.want {
				t.Errorf("it reports %v", got)
			}
		})
	}
}
