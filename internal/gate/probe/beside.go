package probe

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/gate"
)

// Beside checks the gates of runs beside the decisions, which a server that does not answer
// must not hold up.
type Beside struct {
	prober *Prober
	// checked is called when a check is done.
	checked func()

	mu   sync.Mutex
	busy map[types.UID]bool
	seen map[types.UID]map[string]gate.Observation
}

// NewBeside returns one that calls checked whenever there is something to observe.
func NewBeside(prober *Prober, checked func()) *Beside {
	return &Beside{prober: prober, checked: checked, busy: map[types.UID]bool{}, seen: map[types.UID]map[string]gate.Observation{}}
}

// Observe returns what was seen for a run since it was last asked, and has the gates checked
// that are due. A check lives as long as life, which is that of the process.
func (b *Beside) Observe(life context.Context, of types.UID, due []run.Gate) map[string]gate.Observation {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := b.seen[of]
	delete(b.seen, of)
	if len(due) > 0 && !b.busy[of] && seen == nil {
		b.busy[of] = true
		go b.check(life, of, due)
	}
	return seen
}

func (b *Beside) check(ctx context.Context, of types.UID, due []run.Gate) {
	seen := b.prober.CheckAll(ctx, due)
	b.mu.Lock()
	delete(b.busy, of)
	b.seen[of] = seen
	b.mu.Unlock()
	b.checked()
}
