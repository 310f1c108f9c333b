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
		over bool
		d    time.Duration
		want bool
	}{
		"to its end":                     {false, time.Millisecond, true},
		"cut short":                      {true, time.Hour, false},
		"no pause at all is never short": {true, 0, true},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			if one.over {
				ctx = ended
			}
			if got := pause.For(ctx, one.d); got != one.want {
				t.Errorf("it reports %v", got)
			}
		})
	}
}
