package virtual

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/nodes/v1alpha1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/gate"
	"windlass.dev/internal/rotation"
)

// shop is a group of so many nodes with a workload that its budget lets go one by one.
func shop(nodes int32, edit ...func(*World, *Group)) *World {
	w := New(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	g := w.AddGroup(Group{Name: "apps", Size: nodes, Max: nodes, CPU: 1000, Zones: []string{"a", "b"}}, v1alpha1.Worker)
	w.AddSet(Set{Name: "web", Replicas: int(nodes), CPU: 200, Unavailable: 1, Available: -1})
	for _, e := range edit {
		e(w, g)
	}
	w.Settle()
	for _, g := range w.Fleet {
		g.Version = 2
	}
	return w
}

// uneven is a shop whose group is kept even between three zones, one of which has no capacity
// for a while.
func uneven(lack time.Duration, suspended string) *World {
	return shop(6, func(w *World, g *Group) {
		for _, m := range g.machines {
			w.removeNode("node-" + m.ID)
		}
		clear(g.machines)
		g.Zones, g.Evens = []string{"a", "b", "c"}, true
		if suspended != "" {
			g.Suspended, g.suspended = []string{suspended}, []string{suspended}
		}
		for range g.Size {
			m := w.launch(g)
			m.LaunchedAt = w.Now.Add(-time.Hour)
			w.up(g, m)
		}
		g.Lacks, g.LacksUntil = "a", w.Now.Add(lack)
	})
}

// movedFor counts the nodes that went for their zones.
func movedFor(w *World) (n int) {
	for _, r := range records(w) {
		if strings.Contains(r.Spec.Reason, "is in a zone that has more machines than another (") {
			n++
		}
	}
	return n
}

// leftUneven looks whether so many nodes were moved in vain, and that is said.
func leftUneven(moved int) func(*World) string {
	return func(w *World) string {
		said := w.Run.Status.OutcomeMessage
		if n := movedFor(w); n != moved || w.Run.Status.Groups[0].Rebalance == nil || !strings.Contains(said, "NodeGroup/apps is left uneven (a 0, b 3, c 3)") {
			return fmt.Sprintf("%d nodes were moved: %+v %q", n, w.Run.Status.Groups[0], said)
		}
		return count(6)(w)
	}
}

// edited edits the group of a shop.
func edited(w *World, edit func(*Group)) *World {
	edit(w.Fleet["apps"])
	return w
}

// slowly has the pods of a shop take ten minutes until they are Ready.
func slowly(w *World) *World {
	w.PodReady = 10 * time.Minute
	return w
}

// evened looks whether each zone has so many machines, and some were moved for that.
func evened(each int) func(*World) string {
	return func(w *World) string {
		for zone, n := range w.Fleet["apps"].zones() {
			if n != each {
				return fmt.Sprintf("zone %s has %d machines: %v", zone, n, w.Fleet["apps"].zones())
			}
		}
		if movedFor(w) == 0 {
			return "nothing was uneven"
		}
		return ""
	}
}

// records are those of a world's run, in the order in which they were made.
func records(w *World) []*v1alpha1.NodeReplacement {
	var all []*v1alpha1.NodeReplacement
	for _, r := range w.Records {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *v1alpha1.NodeReplacement) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	return all
}

func openNow(w *World) []*v1alpha1.NodeReplacement {
	return slices.DeleteFunc(records(w), func(r *v1alpha1.NodeReplacement) bool { return rotation.Closed(r.Status.Phase) })
}

// story is a run with a strategy, and what has to be seen of it.
type story struct {
	world    *World
	strategy v1alpha1.Strategy
	edit     func(*v1alpha1.NodeRotationSpec)
	// later lets something happen during the run.
	later func(*World)
	// watch is asked at every moment at which something happens, and says what is wrong.
	watch func(*World) string
	// limit is for how long it is watched; a day without one. The run is over by then unless
	// want is empty.
	limit time.Duration
	want  v1alpha1.Phase
	// waits are reasons that have to be seen.
	waits []string
	after func(*World) string
}

func play(t *testing.T, all map[string]story) {
	t.Helper()
	for name, s := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.play(t)
		})
	}
}

func (s *story) play(t *testing.T) {
	t.Helper()
	w := s.world
	spec := v1alpha1.NodeRotationSpec{Strategy: &s.strategy}
	if s.edit != nil {
		s.edit(&spec)
	}
	if s.later != nil {
		s.later(w)
	}
	w.Begin(spec)
	seen := map[string]bool{}
	wrong := ""
	took, over := w.Until(cmp.Or(s.limit, 24*time.Hour), func() bool {
		for i := range w.Run.Status.Waits {
			seen[w.Run.Status.Waits[i].Reason] = true
		}
		if s.watch != nil && wrong == "" {
			if wrong = s.watch(w); wrong != "" {
				wrong = w.Now.Format(time.TimeOnly) + ": " + wrong
			}
		}
		return wrong != ""
	})
	if wrong != "" {
		t.Error(wrong)
	}
	if st := w.Run.Status; over != (s.want != "") || over && st.Phase != s.want {
		t.Errorf("after %s the run is %s, want %q: %s %+v", took, st.Phase, s.want, st.OutcomeMessage, st.Waits)
	}
	for _, reason := range s.waits {
		if !seen[reason] {
			t.Errorf("it never waits for %s, but for %v", reason, seen)
		}
	}
	if over {
		for range 3 { // Records and the run are let go.
			w.Pass()
		}
		w.Left()
	}
	if s.after != nil {
		if wrong := s.after(w); wrong != "" {
			t.Error(wrong)
		}
	}
	if len(w.Violations) > 0 {
		t.Error(w.Problems())
	}
}

// count is a check of how many nodes were replaced in the end.
func count(want int32) func(*World) string {
	return func(w *World) string {
		if got := w.Run.Status.Replaced; got != want {
			return fmt.Sprintf("%d nodes were replaced, want %d", got, want)
		}
		return ""
	}
}

func percent(text string) *intstr.IntOrString { return new(intstr.Parse(text)) }

// first says whether those of the records that are selected were made, and closed, before
// any other was made.
func first(w *World, what string, selected func(*v1alpha1.NodeReplacement) bool) string {
	var before, after []*v1alpha1.NodeReplacement
	for _, r := range records(w) {
		if selected(r) {
			before = append(before, r)
		} else {
			after = append(after, r)
		}
	}
	for _, r := range before {
		for _, other := range after {
			if !r.CreationTimestamp.Before(&other.CreationTimestamp) {
				return fmt.Sprintf("%s of %s is not taken before %s", r.Spec.Node, what, other.Spec.Node)
			}
		}
	}
	if len(before) == 0 || len(after) == 0 {
		return fmt.Sprintf("%d of %s, and %d others", len(before), what, len(after))
	}
	return ""
}

// Which nodes are taken, how many at a time, and in which order.
func TestOrder(t *testing.T) {
	t.Parallel()
	atMost := func(n int) func(*World) string {
		return func(w *World) string {
			if open := openNow(w); len(open) > n {
				return fmt.Sprintf("%d nodes are open", len(open))
			}
			return ""
		}
	}
	label := func(w *World, name string) {
		w.change(name, func(n *corev1.Node) { n.Labels["disk"] = "old" })
	}
	old := map[string]bool{}
	play(t, map[string]story{
		"a surge of one": {world: shop(4), strategy: v1alpha1.Strategy{MaxSurge: percent("1")}, watch: atMost(1), want: v1alpha1.Succeeded, after: count(4)},
		"no surge": {world: shop(4), strategy: v1alpha1.Strategy{MaxSurge: percent("0"), MaxUnavailable: percent("1")}, want: v1alpha1.Succeeded, after: count(4), watch: func(w *World) string {
			if g := w.Fleet["apps"]; g.live() > 4 {
				return fmt.Sprintf("there are %d machines", g.live())
			}
			return atMost(1)(w)
		}},
		"zones one at a time": {world: shop(6), strategy: v1alpha1.Strategy{MaxSurge: percent("100%"), Zones: v1alpha1.OneAtATime}, want: v1alpha1.Succeeded, after: count(6), watch: func(w *World) string {
			zones := map[string]bool{}
			for _, r := range openNow(w) {
				zones[r.Spec.Zone] = true
			}
			if len(zones) > 1 {
				return fmt.Sprintf("nodes of zones %v are open", zones)
			}
			return ""
		}},
		"zones that are uneven in the end": {world: uneven(4*time.Minute, ""), strategy: v1alpha1.Strategy{MaxSurge: percent("2")}, want: v1alpha1.Succeeded, after: evened(2)},
		"the same with no surge":           {world: uneven(10*time.Minute, ""), strategy: v1alpha1.Strategy{MaxSurge: percent("0"), MaxUnavailable: percent("1")}, want: v1alpha1.Succeeded, after: evened(2)},
		// The first drain takes longer than a new node may take to be Ready.
		"uneven zones that are drained slowly": {world: slowly(uneven(25*time.Minute, "")), strategy: v1alpha1.Strategy{MaxSurge: percent("2"), NodeReadyTimeoutSeconds: new(int32(300))}, want: v1alpha1.Succeeded, after: evened(2)},
		"a zone with no capacity at all":       {world: uneven(24*time.Hour, ""), strategy: v1alpha1.Strategy{MaxSurge: percent("2")}, want: v1alpha1.Succeeded, after: leftUneven(0)},
		"the same without surge":               {world: uneven(24*time.Hour, ""), strategy: v1alpha1.Strategy{MaxSurge: percent("0"), MaxUnavailable: percent("1")}, want: v1alpha1.Succeeded, after: leftUneven(1)},
		"no capacity beyond the size":          {world: edited(uneven(10*time.Minute, ""), func(g *Group) { g.Capacity = 6 }), strategy: v1alpha1.Strategy{MaxSurge: percent("2"), MaxUnavailable: percent("1")}, want: v1alpha1.Succeeded, after: evened(2)},
		"zones that nobody evens out": {world: uneven(4*time.Minute, rebalance), strategy: v1alpha1.Strategy{MaxSurge: percent("2")}, want: v1alpha1.Succeeded, after: func(w *World) string {
			if moved := movedFor(w); moved > 0 {
				return fmt.Sprintf("%d nodes were moved", moved)
			}
			return count(6)(w)
		}},
		"zones in turn": {world: shop(6), strategy: v1alpha1.Strategy{MaxSurge: percent("4")}, want: v1alpha1.Succeeded, watch: func(w *World) string {
			zones := map[string]int{}
			for _, r := range records(w)[:min(len(w.Records), 4)] {
				zones[r.Spec.Zone]++
			}
			if len(w.Records) >= 4 && zones["a"] != zones["b"] {
				return fmt.Sprintf("the first four are of zones %v", zones)
			}
			return ""
		}},
		"by labels": {world: shop(4, func(w *World, _ *Group) {
			for _, name := range w.Names()[2:] {
				old[name] = true
				label(w, name)
			}
		}), strategy: v1alpha1.Strategy{MaxSurge: percent("2"), Order: []metav1.LabelSelector{{MatchLabels: map[string]string{"disk": "old"}}}}, want: v1alpha1.Succeeded, after: func(w *World) string {
			return first(w, "the nodes with old disks", func(r *v1alpha1.NodeReplacement) bool { return old[r.Spec.Node] })
		}},
		"what is about to be taken away goes first": {world: shop(4, func(_ *World, g *Group) {
			for _, m := range g.machines {
				m.Interrupted = m.ID == "m-000003"
			}
		}), strategy: v1alpha1.Strategy{MaxSurge: percent("1")}, want: v1alpha1.Succeeded, after: func(w *World) string {
			if r := records(w)[0]; r.Spec.Instance != "m-000003" {
				return r.Spec.Instance + " is the first"
			}
			return ""
		}},
		"groups in their order": {world: shop(2, func(w *World, _ *Group) {
			w.AddGroup(Group{Name: "later", Size: 2, Max: 2, CPU: 1000}, v1alpha1.Worker)
			w.Groups["later"].Spec.Order = 1
		}), strategy: v1alpha1.Strategy{MaxSurge: percent("100%")}, want: v1alpha1.Succeeded, after: func(w *World) string {
			return first(w, "the group of order 0", func(r *v1alpha1.NodeReplacement) bool { return r.Spec.Group == "apps" })
		}},
		"groups of one order together": {world: shop(4, func(w *World, _ *Group) {
			w.AddGroup(Group{Name: "beside", Size: 2, Max: 2, CPU: 1000}, v1alpha1.Worker)
		}), strategy: v1alpha1.Strategy{MaxSurge: percent("1")}, want: v1alpha1.Succeeded, after: func(w *World) string {
			if first(w, "one group", func(r *v1alpha1.NodeReplacement) bool { return r.Spec.Group == "apps" }) == "" || first(w, "the other", func(r *v1alpha1.NodeReplacement) bool { return r.Spec.Group != "apps" }) == "" {
				return "one group waits for the other"
			}
			return ""
		}},
		"control planes first, and one at a time": {world: shop(3, func(w *World, _ *Group) {
			w.AddGroup(Group{Name: "masters", Size: 3, Max: 3, CPU: 0}, v1alpha1.ControlPlane)
		}), strategy: v1alpha1.Strategy{MaxSurge: percent("100%"), MaxUnavailable: percent("100%")}, want: v1alpha1.Succeeded, watch: func(w *World) string {
			n := 0
			for _, r := range openNow(w) {
				if r.Spec.Group == "masters" {
					n++
				}
			}
			if n > 1 {
				return fmt.Sprintf("%d nodes of the control plane are open", n)
			}
			return ""
		}, after: func(w *World) string {
			return first(w, "the control plane", func(r *v1alpha1.NodeReplacement) bool { return r.Spec.Group == "masters" })
		}},
		"no control plane that is not whole": {world: func() *World {
			w := shop(1, func(w *World, _ *Group) {
				w.AddGroup(Group{Name: "masters", Size: 3, Max: 3, CPU: 0}, v1alpha1.ControlPlane)
			})
			w.ControlPlane = "etcd has no leader"
			w.after(time.Hour, func() { w.ControlPlane = "" })
			return w
		}(), want: v1alpha1.Succeeded, waits: []string{v1alpha1.ReasonQuorum}, watch: func(w *World) string {
			if w.ControlPlane != "" && len(w.Records) > 0 {
				return "a node is taken while " + w.ControlPlane
			}
			return ""
		}},
	})
}

// When nodes are taken: in windows, in waves, and while gates pass.
func TestHolds(t *testing.T) {
	t.Parallel()
	gates := func(onFailure run.OnGateFailure) []run.Gate {
		return []run.Gate{{Name: "errors", IntervalSeconds: 30, TimeoutSeconds: 120, OnFailure: onFailure, HTTP: &run.HTTPGate{URL: "http://127.0.0.1"}}}
	}
	// fails is a world whose gate fails from when a node was replaced on, for so long.
	fails := func(forLong time.Duration) *World {
		w := shop(4)
		var since time.Time
		w.Observe = func(string) gate.Observation {
			if w.Run.Status.Replaced > 0 && since.IsZero() {
				since = w.Now
			}
			if !since.IsZero() && w.Now.Before(since.Add(forLong)) {
				return gate.Observation{Passing: metav1.ConditionFalse, Message: "9 % of requests fail"}
			}
			return gate.Observation{Passing: metav1.ConditionTrue}
		}
		return w
	}
	one := v1alpha1.Strategy{MaxSurge: percent("1")}
	with := func(s v1alpha1.Strategy, edit func(*v1alpha1.Strategy)) v1alpha1.Strategy {
		edit(&s)
		return s
	}
	play(t, map[string]story{
		"a window": {world: shop(4), strategy: with(one, func(s *v1alpha1.Strategy) {
			s.Windows = []run.Window{{Schedule: "0 22 * * *", DurationSeconds: 300, TimeZone: "Europe/Berlin"}} // 21:00 UTC
		}), limit: 72 * time.Hour, want: v1alpha1.Succeeded, waits: []string{v1alpha1.ReasonOutsideWindow}, after: func(w *World) string {
			days := map[int]bool{}
			for _, r := range records(w) {
				at := r.CreationTimestamp.UTC()
				if days[at.Day()] = true; at.Hour() != 21 || at.Minute() >= 5 {
					return "a node is taken at " + at.String()
				}
			}
			if len(days) < 2 {
				return "the run does not outlast its window, which shows little"
			}
			return ""
		}},
		"a canary": {world: shop(4), strategy: v1alpha1.Strategy{MaxSurge: percent("100%"), Canary: &v1alpha1.Canary{Nodes: 1, BakeSeconds: new(int32(900))}}, want: v1alpha1.Succeeded, waits: []string{v1alpha1.ReasonBaking}, after: func(w *World) string {
			all := records(w)
			if next := all[0].Status.FinishedAt.Add(15 * time.Minute); all[1].CreationTimestamp.Time.Before(next) {
				return fmt.Sprintf("the second node is taken at %s, before %s", all[1].CreationTimestamp, next)
			}
			return ""
		}},
		"waves": {world: shop(7), strategy: v1alpha1.Strategy{MaxSurge: percent("100%"), Waves: &v1alpha1.Waves{First: 1, Factor: 2, BakeSeconds: 60}}, want: v1alpha1.Succeeded, after: func(w *World) string {
			all := records(w)
			for _, wave := range [][2]int{{0, 1}, {1, 3}, {3, 7}} {
				for _, r := range all[wave[0]:wave[1]] {
					if wave[0] > 0 && r.CreationTimestamp.Before(all[wave[0]-1].Status.FinishedAt) {
						return fmt.Sprintf("%s is taken before the wave of %s is over", r.Name, all[wave[0]-1].Name)
					}
					if !r.CreationTimestamp.Time.Before(all[wave[0]].CreationTimestamp.Add(time.Minute)) {
						return fmt.Sprintf("%s is not taken together with %s", r.Name, all[wave[0]].Name)
					}
				}
			}
			return ""
		}},
		"a gate that fails for a while": {world: fails(time.Hour), strategy: with(one, func(s *v1alpha1.Strategy) { s.Gates = gates(run.PauseOnFailure) }),
			want: v1alpha1.Succeeded, waits: []string{v1alpha1.ReasonGateFailed}, after: func(w *World) string {
				all := records(w)
				if gap := all[2].CreationTimestamp.Sub(all[1].CreationTimestamp.Time); gap < 50*time.Minute && all[1].CreationTimestamp.Sub(all[0].CreationTimestamp.Time) < 50*time.Minute {
					return fmt.Sprintf("nodes are taken while the gate fails: %s", gap)
				}
				return ""
			}},
		"a gate that rolls back": {world: fails(24 * time.Hour), strategy: with(one, func(s *v1alpha1.Strategy) { s.Gates = gates(run.RollBackOnFailure) }),
			edit: func(spec *v1alpha1.NodeRotationSpec) { spec.Target = &v1alpha1.Target{TemplateVersion: "3"} }, want: v1alpha1.RolledBack, after: func(w *World) string {
				for _, m := range w.Fleet["apps"].machines {
					if m.State != "Ending" && m.Template == "apps:3" {
						return m.ID + " is left of the image that failed"
					}
				}
				return ""
			}},
		"a deadline": {world: shop(8), strategy: with(one, func(s *v1alpha1.Strategy) { s.DeadlineSeconds = new(int32(300)) }), want: v1alpha1.Aborted, after: func(w *World) string {
			if !strings.Contains(w.Run.Status.OutcomeMessage, v1alpha1.ReasonDeadline) {
				return "it says " + w.Run.Status.OutcomeMessage
			}
			return ""
		}},
		"nodes that never become Ready": {world: shop(3, func(_ *World, g *Group) { g.Broken = true }), strategy: with(one, func(s *v1alpha1.Strategy) { s.NodeReadyTimeoutSeconds = new(int32(600)) }),
			want: v1alpha1.Failed, waits: []string{v1alpha1.ReasonSurgeNotReady}, after: func(w *World) string {
				if !strings.Contains(w.Run.Status.OutcomeMessage, v1alpha1.ReasonNodeNotReady) || w.Run.Status.Replaced > 0 {
					return "it says " + w.Run.Status.OutcomeMessage
				}
				return ""
			}},
		"machines that do not come": {world: shop(3, func(_ *World, g *Group) { g.Capacity = 3 }), later: func(w *World) { w.after(time.Hour, func() { w.Supply("apps", 0) }) }, strategy: one, want: v1alpha1.Succeeded, waits: []string{v1alpha1.ReasonProviderProblem}, after: count(3)},
		"no progress": {world: shop(2, func(w *World, g *Group) { g.Capacity = 2 }), strategy: with(one, func(s *v1alpha1.Strategy) { s.ProgressDeadlineSeconds = new(int32(1800)) }), limit: 2 * time.Hour, after: func(w *World) string {
			if c := meta.FindStatusCondition(w.Run.Status.Conditions, v1alpha1.ConditionStalled); c == nil || c.Reason != v1alpha1.ReasonNoProgress || !strings.Contains(c.Message, "no capacity") {
				return fmt.Sprintf("the condition is %+v", c)
			}
			return ""
		}},
		"who wants to know is told": {world: shop(2), strategy: with(one, func(s *v1alpha1.Strategy) {
			s.Canary = &v1alpha1.Canary{Nodes: 1, BakeSeconds: new(int32(10))}
			s.Notifications = []run.Notification{{Slack: &run.WebhookNotification{}}}
		}), want: v1alpha1.Succeeded, after: func(w *World) string {
			if got, want := fmt.Sprint(w.Told), fmt.Sprint([]run.NotifiedEvent{run.NotifyStarted, run.NotifyWaveFinished, run.NotifySucceeded}); got != want {
				return "told are " + got + ", want " + want
			}
			return ""
		}},
	})
}

// What becomes of nodes that do not get empty, and of what pods leave behind.
func TestDrains(t *testing.T) {
	t.Parallel()
	stubborn := func(w *World, _ *Group) { // It allows nothing, and may not surge.
		w.AddSet(Set{Name: "db", Replicas: 1, CPU: 200, Unavailable: 0, Available: -1})
	}
	drain := func(edit func(*v1alpha1.Drain)) v1alpha1.Strategy {
		d := &v1alpha1.Drain{TimeoutSeconds: new(int32(600))}
		edit(d)
		return v1alpha1.Strategy{MaxSurge: percent("1"), Drain: d}
	}
	attached := func(forLong time.Duration) *World {
		w := shop(2)
		for _, name := range w.Names() {
			w.Cluster.SetAttachment("a-"+name, name, "pv-1")
			w.after(forLong, func() { w.Cluster.DeleteAttachment("a-"+name, name) })
		}
		return w
	}
	play(t, map[string]story{
		"a node is skipped, tried once more, and given back": {world: shop(3, stubborn), strategy: drain(func(d *v1alpha1.Drain) { d.OnTimeout = v1alpha1.SkipNode }), want: v1alpha1.Failed,
			waits: []string{v1alpha1.ReasonBudgetNever}, after: func(w *World) string {
				tried := map[string]int{}
				for _, r := range records(w) {
					tried[r.Spec.Node]++
				}
				if w.Run.Status.Replaced != 2 || !strings.Contains(w.Run.Status.OutcomeMessage, "1 nodes could not be emptied") || !slices.Contains([]int{tried[nodeOf(w, "db")]}, 2) {
					return fmt.Sprintf("%d replaced, tried %v: %s", w.Run.Status.Replaced, tried, w.Run.Status.OutcomeMessage)
				}
				return ""
			}},
		"a node is kept until somebody helps": {world: shop(3, stubborn), later: func(w *World) {
			w.after(5*time.Hour, func() { w.sets["db"].Unavailable = 1; w.count(w.sets["db"]) })
		}, strategy: drain(func(d *v1alpha1.Drain) { d.OnTimeout = v1alpha1.BlockRun }), want: v1alpha1.Succeeded, waits: []string{v1alpha1.ReasonBudgetNever}, after: count(3)},
		"what is left is deleted": {world: shop(3, stubborn), strategy: drain(func(d *v1alpha1.Drain) { d.OnTimeout = v1alpha1.ForceNode }), want: v1alpha1.Succeeded, after: func(w *World) string {
			if !slices.ContainsFunc(records(w), func(r *v1alpha1.NodeReplacement) bool { return strings.Contains(r.Status.Forced, "not empty in time") }) {
				return "no record says so"
			}
			return ""
		}},
		"one more replica lets the pod go": {world: shop(2, func(w *World, _ *Group) {
			w.AddSet(Set{Name: "db", Replicas: 1, CPU: 200, Unavailable: -1, Available: 1})
		}), strategy: drain(func(*v1alpha1.Drain) {}), want: v1alpha1.Succeeded, after: func(w *World) string {
			if w.sets["db"].Replicas != 1 {
				return "it is left with its replica"
			}
			return ""
		}},
		"a node stays until what left it is Ready elsewhere": {world: shop(2, func(w *World, _ *Group) {
			w.PodReady = 10 * time.Minute
		}), strategy: drain(func(d *v1alpha1.Drain) { d.TimeoutSeconds = new(int32(7200)) }), want: v1alpha1.Succeeded, waits: []string{v1alpha1.ReasonReplacements}, after: func(w *World) string {
			for _, r := range records(w) {
				if wait := r.Status.TerminateAt.Sub(r.Status.DrainedAt.Time); wait < 9*time.Minute {
					return fmt.Sprintf("%s is ended %s after its pod left", r.Name, wait)
				}
			}
			return ""
		}},
		"or is ended at once": {world: shop(2, func(w *World, _ *Group) { w.PodReady = 10 * time.Minute }),
			strategy: drain(func(d *v1alpha1.Drain) { d.WaitForReplacements = new(false) }), want: v1alpha1.Succeeded, after: func(w *World) string {
				if r := records(w)[0]; r.Status.TerminateAt.Sub(r.Status.DrainedAt.Time) > time.Minute {
					return "it waits all the same"
				}
				return ""
			}},
		"volumes are detached first": {world: attached(20 * time.Minute), strategy: drain(func(d *v1alpha1.Drain) { d.VolumesDetachedTimeoutSeconds = new(int32(3600)) }), want: v1alpha1.Succeeded, waits: []string{v1alpha1.ReasonVolumes}, watch: func(w *World) string {
			for _, r := range records(w) {
				if r.Status.TerminateAt != nil && w.Cluster.Attached(r.Spec.Node) != nil {
					return r.Spec.Node + " is ended with a volume"
				}
			}
			return ""
		}},
		"unless that takes too long": {world: attached(24 * time.Hour), strategy: drain(func(d *v1alpha1.Drain) { d.VolumesDetachedTimeoutSeconds = new(int32(120)) }), want: v1alpha1.Succeeded, after: func(w *World) string {
			if r := records(w)[0]; !strings.Contains(r.Status.Forced, "pv-1") {
				return "no record says so"
			}
			return ""
		}},
		"load balancers let go first": {world: shop(2, func(_ *World, g *Group) {
			g.Balanced = true
			for _, m := range g.machines {
				m.Registered = true
			}
		}), strategy: drain(func(*v1alpha1.Drain) {}), want: v1alpha1.Succeeded, after: count(2)},
	})
}

// nodeOf is where a pod of a workload is.
func nodeOf(w *World, set string) string {
	for _, p := range w.sets[set].pods {
		return p.Spec.NodeName
	}
	return ""
}
