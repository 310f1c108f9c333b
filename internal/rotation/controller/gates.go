package controller

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/nodes/v1alpha1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/gate"
	"windlass.dev/internal/gate/probe"
)

// gates checks the gates of runs beside the decisions, which a server that does not answer
// must not hold up.
type gates struct {
	prober *probe.Prober
	// checked is called when a check is done.
	checked func()

	mu   sync.Mutex
	busy map[types.UID]bool
	seen map[types.UID]map[string]gate.Observation
}

// observe returns what was seen since it was last asked, and has the gates checked that are due.
func (g *gates) observe(life context.Context, r *v1alpha1.NodeRotation, due []run.Gate) map[string]gate.Observation {
	g.mu.Lock()
	defer g.mu.Unlock()
	seen := g.seen[r.UID]
	delete(g.seen, r.UID)
	if len(due) > 0 && !g.busy[r.UID] && seen == nil {
		g.busy[r.UID] = true
		go g.check(life, r.UID, due)
	}
	return seen
}

func (g *gates) check(ctx context.Context, uid types.UID, due []run.Gate) {
	seen := g.prober.CheckAll(ctx, due)
	g.mu.Lock()
	delete(g.busy, uid)
	g.seen[uid] = seen
	g.mu.Unlock()
	g.checked()
}
