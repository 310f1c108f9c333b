// Package world is the fake AWS without its wire: launch templates, instances, Auto
// Scaling groups, managed node groups, target groups and parameters, and how they change
// with time. It knows no protocol, no Kubernetes and no network.
//
// Everything is in a State, whose actions are methods that depend on nothing but the
// state, its time and their input. A World adds what a shared service needs: a lock, a
// clock, and reads that lag behind writes.
package world

import (
	"slices"
	"sync"
	"time"
)

// Clock tells the time. k8s.io/utils/clock and its stepped clock for tests are clocks.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

// World is shared by all who call. Its time is its clock's.
type World struct {
	clock Clock
	// changed has an element when somebody may want to look at the effects or at the
	// time of the next change.
	changed chan struct{}

	mu   sync.Mutex
	live *State
	// lag is how far reads are behind, and past what they see: the states from the one
	// that was current lag ago.
	lag  time.Duration
	past []past
}

type past struct {
	since time.Time
	state *State
}

// New returns a world in which nothing is but what the configuration says.
func New(c Config, clock Clock) *World {
	return &World{clock: clock, changed: make(chan struct{}, 1), live: newState(c, clock.Now())}
}

// Write lets f change the state. Where f returns an error it must have changed nothing.
func (w *World) Write(f func(*State) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock.Now()
	w.live.Advance(now)
	err := f(w.live)
	// What f made due is done at once, as far as it is due now.
	w.live.Advance(now)
	w.remember(now)
	w.wake()
	return err
}

// Read lets f look at the state as it is for readers, who may be behind. f must change
// nothing and keep nothing.
func (w *World) Read(f func(*State) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock.Now()
	w.live.Advance(now)
	w.remember(now)
	if w.lag == 0 {
		return f(w.live)
	}
	seen := now.Add(-w.lag)
	for len(w.past) > 1 && !w.past[1].since.After(seen) {
		w.past = slices.Delete(w.past, 0, 1)
	}
	return f(w.past[0].state)
}

// Lag makes reads see what was d ago; 0 makes them see what is.
func (w *World) Lag(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.clock.Now()
	w.live.Advance(now)
	w.lag, w.past = d, nil
	w.remember(now)
}

func (w *World) remember(now time.Time) {
	if w.lag > 0 {
		w.past = append(w.past, past{now, w.live.clone()})
	}
}

func (w *World) wake() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// Await returns once somebody wrote or the next change by itself is due, or stop is
// closed; and at the latest after a second, because a stepped clock may have stepped
// while it was asked for a timer, which is then too late.
func (w *World) Await(stop <-chan struct{}) {
	w.mu.Lock()
	due, ok := w.live.Next()
	w.mu.Unlock()
	var later <-chan time.Time
	if ok {
		left := due.Sub(w.clock.Now())
		if left <= 0 {
			return
		}
		later = w.clock.After(left)
	}
	select {
	case <-stop:
	case <-later:
	case <-w.changed:
	case <-time.After(time.Second):
	}
}

// Effects advances to now and takes what has to be done outside of the world since the
// last call, in order.
func (w *World) Effects() []Effect {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live.Advance(w.clock.Now())
	taken := w.live.Effects
	w.live.Effects = nil
	return taken
}
