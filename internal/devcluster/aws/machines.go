package aws

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"windlass.dev/internal/devcluster/aws/world"
)

// Nodes is where machines are nodes. Each call may be repeated, and is then for a state
// that is there already.
type Nodes interface {
	// Boot makes the machine's node.
	Boot(ctx context.Context, m world.Machine) error
	// Kill ends the machine's node and its pods at once, as a machine does that is
	// switched off.
	Kill(ctx context.Context, m world.Machine) error
	// Drain evicts the machine's pods and returns when the last has left, or ctx ends.
	Drain(ctx context.Context, m world.Machine) error
}

// NoNodes is for worlds whose machines are nodes nowhere.
type NoNodes struct{}

func (NoNodes) Boot(context.Context, world.Machine) error  { return nil }
func (NoNodes) Kill(context.Context, world.Machine) error  { return nil }
func (NoNodes) Drain(context.Context, world.Machine) error { return nil }

// again is how long it takes until what could not be done is tried again.
const again = 200 * time.Millisecond

// Machines carries out what a world wants done to its nodes, until ctx ends.
type Machines struct {
	world *world.World
	nodes Nodes
	log   io.Writer
	// drains ends those that go on, by instance.
	drains  map[string]context.CancelFunc
	running sync.WaitGroup
}

// NewMachines returns what has to be run. What cannot be done is told to log.
func NewMachines(w *world.World, nodes Nodes, log io.Writer) *Machines {
	return &Machines{world: w, nodes: nodes, log: log, drains: map[string]context.CancelFunc{}}
}

// Run returns when ctx has ended and nothing goes on any more.
func (m *Machines) Run(ctx context.Context) {
	defer m.running.Wait()
	var pending []world.Effect
	for ctx.Err() == nil {
		pending = m.try(ctx, append(pending, m.world.Effects()...))
		if len(pending) == 0 {
			m.world.Await(ctx.Done())
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
}

// try returns what is still to be done. What is later for a machine waits for what is
// earlier, except for its end.
func (m *Machines) try(ctx context.Context, effects []world.Effect) (left []world.Effect) {
	ended := map[string]bool{}
	for _, e := range effects {
		if e.Kind == world.Kill {
			ended[e.Machine.InstanceId] = true
		}
	}
	waits := map[string]bool{}
	for _, e := range effects {
		id := e.Machine.InstanceId
		switch {
		case e.Kind != world.Kill && ended[id]:
		case waits[id]:
			left = append(left, e)
		default:
			if err := m.do(ctx, e); err != nil && ctx.Err() == nil {
				fmt.Fprintf(m.log, "%s %s: %v\n", e.Kind, id, err)
				waits[id] = true
				left = append(left, e)
			}
		}
	}
	return left
}

func (m *Machines) do(ctx context.Context, e world.Effect) error {
	switch e.Kind {
	case world.Boot:
		return m.nodes.Boot(ctx, e.Machine)
	case world.Kill:
		m.undrain(e.Machine)
		return m.nodes.Kill(ctx, e.Machine)
	case world.Drain:
		ctx, end := context.WithCancel(ctx)
		m.drains[e.Machine.InstanceId] = end
		m.running.Go(func() { m.drain(ctx, e.Machine) })
	case world.Undrain:
		m.undrain(e.Machine)
	}
	return nil
}

func (m *Machines) undrain(machine world.Machine) {
	if end := m.drains[machine.InstanceId]; end != nil {
		end()
		delete(m.drains, machine.InstanceId)
	}
}

// drain tries until the machine is drained, or ctx ends.
func (m *Machines) drain(ctx context.Context, machine world.Machine) {
	for {
		err := m.nodes.Drain(ctx, machine)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		fmt.Fprintf(m.log, "drain %s: %v\n", machine.InstanceId, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(again):
		}
	}
	// It changes nothing that could be refused.
	_ = m.world.Write(func(s *world.State) error { s.Drained(machine.InstanceId); return nil })
}
