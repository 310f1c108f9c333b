package drain

import (
	"slices"
	"strings"
	"time"

	"windlass.dev/api/nodes/v1alpha1"
)

// Load is what a node carries that has to leave it. It is found out when somebody asks, and
// kept until a pod of the node changes: a decision over thousands of nodes looks anew only
// at the pods of the few on which something happened. It is not to be changed by others.
type Load struct {
	// Left is how many pods have to leave the node, those too that were asked to go.
	Left int
	// Movable are those that were not, and that somebody makes again elsewhere, sorted by
	// namespace and name.
	Movable []*Pod
	// Shares are what these ask of their budgets, in the order of the pods.
	Shares []Share

	rules string // of the policy
	room  demand
	// calm says that no pod needs more thought than whether its budget has something left;
	// wait is then what all of them wait for if none has.
	calm bool
	wait *Wait
	gone time.Time // when the first that is leaving should be gone; zero for none
	// noted is the list that was last found to be as Noted says, by its first entry and its
	// length: such lists are replaced, and never changed.
	noted     *v1alpha1.LeavingPod
	notedSize int
}

// Share is what the pods of a node ask of one budget.
type Share struct {
	Budget *Budget
	// Pods is how many of them it covers; of Seen it is known how long they took to become
	// Ready, which is Took together.
	Pods, Seen int
	Took       time.Duration
}

// Load returns what a node carries that has to leave it.
func (c *Cluster) Load(node string, p *Policy) *Load {
	if at := c.places[node]; at != nil {
		return at.loaded(p)
	}
	return (&place{}).loaded(p)
}

// Load is what the node carries that has to leave it.
func (n *Node) Load(p *Policy) *Load { return n.place.loaded(p) }

func (at *place) loaded(p *Policy) *Load {
	if at.load != nil && at.load.rules == p.key {
		return at.load
	}
	l := &Load{rules: p.key, calm: len(p.rules) == 0}
	for _, pod := range at.pods {
		if !p.stays(pod) {
			l.add(pod)
		}
	}
	l.room = demandOf(l.Movable)
	if len(l.Shares) > 0 {
		l.wait = &Wait{For: l.firstBudget(), Reason: v1alpha1.ReasonBudget, Message: budgetUsedUp}
	}
	at.load = l
	return l
}

// touch forgets what was found out of the pods of a node.
func (c *Cluster) touch(node string) {
	if at := c.places[node]; at != nil {
		at.load = nil
	}
}

func (l *Load) add(pod *Pod) {
	l.Left++
	if pod.Leaving() {
		l.leaving(pod)
		return
	}
	l.calm = l.calm && pod.Ready && !pod.Pending && pod.Owner != (Owner{}) && len(pod.Budgets) == 1 && len(pod.claims) == 0
	if pod.Owner == (Owner{}) {
		return
	}
	l.Movable = append(l.Movable, pod)
	for _, b := range pod.Budgets {
		s := l.share(b)
		s.Pods++
		if pod.Ready && pod.ReadyAt.After(pod.CreatedAt) {
			s.Seen, s.Took = s.Seen+1, s.Took+pod.ReadyAt.Sub(pod.CreatedAt)
		}
	}
}

// leaving notes a pod that was asked to go: it counts for as long as it is there.
func (l *Load) leaving(pod *Pod) {
	if !pod.DeletedAt.IsZero() && (l.gone.IsZero() || pod.GoneBy.Before(l.gone)) {
		l.gone = pod.GoneBy
	}
	if of := "Pod/" + pod.Key(); l.wait == nil || of < l.wait.For {
		l.wait = &Wait{For: of, Reason: v1alpha1.ReasonTerminating, Message: podEnding}
	}
}

func (l *Load) share(b *Budget) *Share {
	for i := range l.Shares {
		if l.Shares[i].Budget == b {
			return &l.Shares[i]
		}
	}
	l.Shares = append(l.Shares, Share{Budget: b})
	return &l.Shares[len(l.Shares)-1]
}

// firstBudget names the budget that comes first by its name.
func (l *Load) firstBudget() string {
	first := l.Shares[0].Budget.String()
	for _, s := range l.Shares[1:] {
		if name := s.Budget.String(); strings.Compare(name, first) < 0 {
			first = name
		}
	}
	return first
}

// Noted says that a list of pods, of those that have to leave the node and of those that
// have, says of each what there is to say. Most have their pods in the node's order.
func (l *Load) Noted(list []v1alpha1.LeavingPod) bool {
	if len(list) == 0 {
		return len(l.Movable) == 0
	}
	if l.noted == &list[0] && l.notedSize == len(list) {
		return true
	}
	pods := l.Movable
	for i := range list {
		if list[i].LeftAt != nil {
			continue
		}
		if len(pods) == 0 || pods[0].UID != list[i].UID || pods[0].Awaited() != list[i].Owner {
			return false
		}
		pods = pods[1:]
	}
	if len(pods) > 0 {
		return false
	}
	l.noted, l.notedSize = &list[0], len(list)
	return true
}

// standsStill says that no pod may go now, and that none needs more thought than that.
func (l *Load) standsStill(a *Allowance, now time.Time) bool {
	if !l.calm || !l.gone.IsZero() && !now.Before(l.gone.Add(stuckAfter)) {
		return false
	}
	for i := range l.Shares {
		if b := l.Shares[i].Budget; b.Never() || a.left(b) > 0 {
			return false
		}
	}
	return true
}

// still is what a node waits for that stands still, and when to look again; nil and zero for
// nothing.
func (l *Load) still() (w *Wait, look time.Time) {
	if !l.gone.IsZero() {
		look = l.gone.Add(stuckAfter)
	}
	return l.wait, look
}

// Still is what Drain would wait for, in short, of a node of which nothing may be asked to go:
// so it is with most nodes most of the time. It is nil if there may be more to do. It takes
// nothing from the allowance.
func (l *Load) Still(a *Allowance, now time.Time) (w *Wait, look time.Time) {
	if !l.standsStill(a, now) {
		return nil, look
	}
	return l.still()
}

// demand is the room that pods need: those that are alike, and that nothing binds to a
// place or to each other, as numbers, since there may be very many.
type demand struct {
	alike []number
	bound []*Pod
}

type number struct {
	shape *Shape
	pods  int
}

func demandOf(pods []*Pod) demand {
	var d demand
	for _, p := range pods {
		if len(p.claims) > 0 || p.Shape.spreads() {
			d.bound = append(d.bound, p)
			continue
		}
		i := slices.IndexFunc(d.alike, func(n number) bool { return n.shape == p.Shape })
		if i < 0 {
			i = len(d.alike)
			d.alike = append(d.alike, number{shape: p.Shape})
		}
		d.alike[i].pods++
	}
	return d
}
