package rotationmodels

import (
	"container/heap"
	"iter"
	"time"
)

// simulation runs flows of control one at a time, in virtual time. Of what happens at the
// same time, what was planned first comes first.
type simulation struct {
	now    time.Duration
	events events
	serial int
}

type event struct {
	at     time.Duration
	serial int
	do     func()
}

type events []event

func (e events) Len() int      { return len(e) }
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].serial < e[j].serial
}
func (e *events) Push(x any) { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// after does something later.
func (s *simulation) after(d time.Duration, do func()) {
	s.serial++
	heap.Push(&s.events, event{at: s.now + d, serial: s.serial, do: do})
}

// run goes on until nothing is left to happen.
func (s *simulation) run() {
	for s.events.Len() > 0 {
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		e.do()
	}
}

// flow is a flow of control, as it is given to itself: time passes only where it waits.
type flow struct{ pause func(pause) bool }

// pause is a time, or a signal if there is one.
type pause struct {
	time   time.Duration
	signal *signal
}

func (f flow) sleep(d time.Duration) { f.pause(pause{time: d}) }

func (f flow) await(s *signal) { f.pause(pause{signal: s}) }

// start begins a flow at once, and comes back when it first waits.
func (s *simulation) start(do func(flow)) {
	next, _ := iter.Pull(func(yield func(pause) bool) { do(flow{pause: yield}) })
	var resume func()
	resume = func() {
		waits, more := next()
		switch {
		case !more:
		case waits.signal != nil:
			waits.signal.waiting = append(waits.signal.waiting, resume)
		default:
			s.after(waits.time, resume)
		}
	}
	resume()
}

// signal resumes all that wait for it.
type signal struct{ waiting []func() }

func (s *simulation) raise(on *signal) {
	for _, resume := range on.waiting {
		s.after(0, resume)
	}
	on.waiting = nil
}
