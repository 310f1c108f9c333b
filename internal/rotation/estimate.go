package rotation

import (
	"cmp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/drain"
)

// What is assumed until it has been seen.
const (
	assumedBoot = 90 * time.Second
	assumedPod  = 30 * time.Second
)

// maxCosts is how many things an estimate names.
const maxCosts = 5

// estimateEvery is how old an estimate may get: to make one, all pods are looked at.
const estimateEvery = 15 * time.Second

// estimate says how long the run will take, from what nodes and pods have taken so far.
// The bound is what no order of work could beat: no node is there before it has booted,
// and a budget lets its pods go one after another.
func (d *decider) estimate() {
	if Finished(d.status.Phase) && d.status.Phase != v1alpha1.Planned || d.status.StartedAt == nil {
		d.status.Estimate = nil
		return
	}
	if was := d.status.Estimate; was != nil && d.now.Before(was.At.Add(estimateEvery)) {
		return
	}
	d.status.Estimate = nil
	var boot, bound time.Duration
	total, slots := 0, 0
	queues := make([]queue, d.s.Cluster.Slots())
	for _, g := range d.groups {
		if g.leaving == 0 {
			continue
		}
		total, slots = total+g.leaving, slots+max(g.surge+g.unavailable, 1)
		boot = max(boot, g.boot())
		if g.surge > 0 {
			bound = max(bound, g.boot())
		}
		for _, m := range g.machines {
			if m.leaving && m.node != nil {
				enqueue(queues, d.load(g, m))
			}
		}
	}
	if total == 0 {
		return
	}
	waves := (total + slots - 1) / slots
	var slowest, inWave time.Duration
	all := make([]v1alpha1.Cost, 0, len(queues))
	for i := range queues {
		q := &queues[i]
		if q.budget == nil {
			continue
		}
		alone := q.takes(q.pods)
		slowest, inWave = max(slowest, alone), max(inWave, q.takes((q.pods+waves-1)/waves))
		all = append(all, v1alpha1.Cost{Subject: q.budget.String(), Seconds: int64(alone.Seconds())})
	}
	slices.SortFunc(all, func(a, b v1alpha1.Cost) int {
		return cmp.Or(cmp.Compare(b.Seconds, a.Seconds), strings.Compare(a.Subject, b.Subject))
	})
	took := time.Duration(waves) * (boot + inWave)
	d.status.Estimate = &v1alpha1.Estimate{
		At: metav1.NewTime(d.now), Finish: metav1.NewTime(d.now.Add(took)), Seconds: int64((d.now.Sub(d.status.StartedAt.Time) + took).Seconds()),
		BoundSeconds: int64((bound + slowest).Seconds()), Dominating: all[:min(len(all), maxCosts)],
	}
}

// queue is what a budget has before it.
type queue struct {
	budget     *drain.Budget
	pods, seen int
	took       time.Duration
}

func enqueue(queues []queue, l *drain.Load) {
	for _, s := range l.Shares {
		q := &queues[s.Budget.Slot]
		q.budget, q.pods, q.seen, q.took = s.Budget, q.pods+s.Pods, q.seen+s.Seen, q.took+s.Took
	}
}

// takes is how long a budget needs for so many pods, one batch after another.
func (q *queue) takes(pods int) time.Duration {
	pace := assumedPod
	if q.seen > 0 {
		pace = q.took / time.Duration(q.seen)
	}
	allowed := max(q.budget.Expected-q.budget.Wanted, 1)
	return time.Duration((pods+allowed-1)/allowed) * pace
}

// boot is how long the machines of the group take from their launch to a Ready node.
func (g *group) boot() time.Duration {
	var sum time.Duration
	n := 0
	for _, m := range g.machines {
		if m.State == cloud.Running && m.outdated == "" && m.node != nil && m.node.Ready() && m.node.ReadySince.After(m.LaunchedAt) {
			sum += m.node.ReadySince.Sub(m.LaunchedAt)
			n++
		}
	}
	if n == 0 {
		return assumedBoot
	}
	return sum/time.Duration(n) + g.strategy.minReady
}
