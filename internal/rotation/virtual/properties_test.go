package virtual

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/rotation"
)

// More runs are asked for by -rapid.checks: each has up to eight faults and four acts of
// others.

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// worldOf draws a world that has come to rest, and a new version of what its machines are
// made from.
func worldOf(t *rapid.T) *World {
	w := New(start)
	w.Boot = time.Duration(rapid.IntRange(20, 200).Draw(t, "boot")) * time.Second
	w.PodReady = time.Duration(rapid.IntRange(1, 60).Draw(t, "podReady")) * time.Second
	var sets []Set
	need := 0
	for i := range rapid.IntRange(0, 5).Draw(t, "sets") {
		s := Set{Name: fmt.Sprintf("s%d", i), Replicas: rapid.IntRange(1, 6).Draw(t, "replicas"), CPU: int64(rapid.IntRange(1, 6).Draw(t, "cpu") * 100), Unavailable: -1, Available: -1}
		switch rapid.IntRange(0, 3).Draw(t, "budget") {
		case 0:
			s.Unavailable = rapid.IntRange(1, s.Replicas).Draw(t, "unavailable")
		case 1:
			s.Available = rapid.IntRange(0, s.Replicas-1).Draw(t, "available")
		case 2:
			s.Available = s.Replicas // It needs one more replica for a while.
		}
		need += s.Replicas * int(s.CPU)
		sets = append(sets, s)
	}
	// The first group takes all pods, with little to spare or more.
	for i := range rapid.IntRange(1, 3).Draw(t, "groups") {
		size := rapid.IntRange(1, 6).Draw(t, "size")
		cpu := int64(need/size+rapid.SampledFrom([]int{700, 1200, 3000}).Draw(t, "spare")) + 600*int64(len(sets))/int64(size)
		role := v1alpha1.Worker
		if i > 0 && rapid.IntRange(0, 3).Draw(t, "role") == 3 {
			role, cpu = v1alpha1.ControlPlane, 0
		}
		g := Group{Name: fmt.Sprintf("g%d", i), Size: int32(size), Max: int32(size + rapid.IntRange(0, 2).Draw(t, "max")), CPU: cpu, Balanced: rapid.Bool().Draw(t, "balanced"),
			Zones: []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(t, "zones")], Evens: rapid.Bool().Draw(t, "evens")}
		if rapid.Bool().Draw(t, "suspended") {
			g.Suspended = []string{rebalance}
		}
		w.AddGroup(g, role)
		w.Groups[g.Name].Spec.Order = int32(rapid.IntRange(0, 1).Draw(t, "order"))
	}
	for _, s := range sets {
		w.AddSet(s)
	}
	w.Settle()
	w.Pull = time.Duration(rapid.IntRange(0, 20).Draw(t, "pull")) * time.Second
	w.Jitter = time.Duration(rapid.IntRange(0, 90).Draw(t, "jitter")) * time.Second
	if rapid.IntRange(0, 3).Draw(t, "cordonedBefore") == 0 {
		w.Cordon(w.Names()[0], true)
		w.meddled = time.Time{}
	}
	if rapid.IntRange(0, 3).Draw(t, "excludedBefore") == 0 {
		w.Exclude(w.Names()[0])
	}
	for _, g := range sortedGroups(w.Fleet) {
		g.Version = 2
		if rapid.Bool().Draw(t, "lacks") {
			g.Lacks, g.LacksUntil = rapid.SampledFrom(g.Zones).Draw(t, "lackingZone"), w.Now.Add(time.Duration(rapid.IntRange(1, 5000).Draw(t, "lacksFor"))*time.Second)
		}
	}
	return w
}

func strategyOf(t *rapid.T) *v1alpha1.Strategy {
	s := &v1alpha1.Strategy{
		MinReadySeconds: new(int32(rapid.IntRange(0, 20).Draw(t, "minReady"))),
		MaxSurge:        new(intstr.FromInt(rapid.IntRange(1, 4).Draw(t, "surge"))),
		MaxUnavailable:  new(intstr.FromInt(rapid.IntRange(0, 2).Draw(t, "maxUnavailable"))),
		Zones:           rapid.SampledFrom([]v1alpha1.ZoneOrder{"", v1alpha1.OneAtATime, v1alpha1.AnyZone}).Draw(t, "zoneOrder"),
		Drain:           &v1alpha1.Drain{TimeoutSeconds: new(int32(3600)), OnTimeout: rapid.SampledFrom([]v1alpha1.OnDrainTimeout{v1alpha1.SkipNode, v1alpha1.BlockRun}).Draw(t, "onTimeout")},
	}
	if rapid.IntRange(0, 2).Draw(t, "prePull") == 0 {
		s.PrePull = &v1alpha1.PrePull{MaxImages: int32(rapid.IntRange(1, 3).Draw(t, "images")), TimeoutSeconds: new(int32(rapid.IntRange(1, 60).Draw(t, "pullTimeout")))}
	}
	if rapid.Bool().Draw(t, "canary") {
		s.Canary = &v1alpha1.Canary{Nodes: int32(rapid.IntRange(1, 2).Draw(t, "canaryNodes")), BakeSeconds: new(int32(60))}
	}
	if rapid.Bool().Draw(t, "waves") {
		s.Waves = &v1alpha1.Waves{First: int32(rapid.IntRange(1, 2).Draw(t, "first")), Factor: 2, BakeSeconds: 30}
	}
	return s
}

// crashes makes the controller crash, or a call fail, at some of its actions.
func crashes(t *rapid.T, w *World, count *atomic.Int64) {
	at := map[int]bool{}
	for range rapid.IntRange(0, 8).Draw(t, "faults") {
		at[rapid.IntRange(0, 200).Draw(t, "action")] = rapid.Bool().Draw(t, "crash")
	}
	n := -1
	w.Fault = func(_ string, after bool) error {
		if !after {
			n++
		}
		crash, fault := at[n]
		switch {
		case !fault || crash != after:
			return nil
		case crash:
			count.Add(1)
			return Crash()
		default:
			count.Add(1)
			return fmt.Errorf("fault at action %d", n)
		}
	}
}

// stale lets the controller see groups as they were. Where others change sizes meanwhile
// nobody could tell who asked for what, so only runs that are left alone see old views.
func stale(t *rapid.T, w *World) {
	w.Describe = time.Duration(rapid.IntRange(0, 4).Draw(t, "describe")) * time.Second
	looks := rapid.IntRange(0, 3).Draw(t, "stale")
	if looks == 0 {
		return
	}
	n := 0
	w.Stale = func() bool {
		n++
		return n%(looks+1) != 0
	}
}

// finish lets the run come to its end, and looks for what it left behind.
func finish(t *rapid.T, w *World, spec string) {
	if took, over := w.Go(12 * time.Hour); !over {
		t.Fatalf("%s: the run is not over after %s: %s %+v\nproblems: %s", spec, took, w.Run.Status.Phase, w.Run.Status.Waits, w.Problems())
	}
	w.Fault, w.Stale = nil, nil
	for range 3 {
		w.Pass()
	}
	w.Left()
	if w.Problems() != "" {
		t.Fatalf("%s: %s, %s: %s", spec, w.Run.Status.Phase, w.Run.Status.OutcomeMessage, w.Problems())
	}
}

// Every run ends, whatever crashes, and leaves nothing behind but new nodes.
func TestRunsEnd(t *testing.T) {
	t.Parallel()
	var faults atomic.Int64
	defer func() { t.Logf("%d crashes and faults", faults.Load()) }()
	rapid.Check(t, func(t *rapid.T) {
		w := worldOf(t)
		w.Compare = true
		crashes(t, w, &faults)
		stale(t, w)
		strategy := strategyOf(t)
		lookAtPlan(t, w, strategy, len(w.Names()))
		w.Begin(v1alpha1.NodeRotationSpec{Strategy: strategy})
		finish(t, w, "run")
		if w.Run.Status.Phase != v1alpha1.Succeeded {
			t.Fatalf("the run ended %s: %s %+v", w.Run.Status.Phase, w.Run.Status.OutcomeMessage, w.Run.Status.Waits)
		}
		for _, g := range sortedGroups(w.Fleet) {
			for _, m := range g.machines {
				if m.Template != template(g, 2) && m.State != "Ending" {
					t.Fatalf("machine %s is outdated", m.ID)
				}
			}
		}
		lookAtPlan(t, w, strategy, 0)
	})
}

// Whoever ends a run, before its time, gets everything back; and so does who scales,
// cordons and deletes meanwhile.
func TestRunsEndAmongOthers(t *testing.T) {
	t.Parallel()
	var faults atomic.Int64
	defer func() { t.Logf("%d crashes and faults", faults.Load()) }()
	rapid.Check(t, func(t *rapid.T) {
		w := worldOf(t)
		w.Compare = true
		crashes(t, w, &faults)
		for range rapid.IntRange(1, 4).Draw(t, "acts") {
			act(t, w)
		}
		w.Begin(v1alpha1.NodeRotationSpec{Strategy: strategyOf(t)})
		finish(t, w, "run")
	})
}

// lookAtPlan makes a dry run: it names so many nodes, and does nothing.
func lookAtPlan(t *rapid.T, w *World, strategy *v1alpha1.Strategy, nodes int) {
	w.Begin(v1alpha1.NodeRotationSpec{Strategy: strategy, DryRun: true})
	p := rotation.Decide(w.Snapshot(), w.Now)
	decided, ok := p.Status.(rotation.Decision)
	if !ok || decided.Status.Phase != v1alpha1.Planned || len(decided.Status.Plan.Nodes) != nodes || len(p.Steps) > 0 {
		t.Fatalf("the plan is %+v of %+v, want %d nodes; its steps are %v", decided.Status.Plan, decided.Status, nodes, p.Steps)
	}
}

// roomWithout says whether the pods, all of which are in the first group, still fit when so
// many of its nodes are gone: somebody else's cordons stay, and each node may have less left
// than the largest pod needs.
func roomWithout(w *World, nodes int) bool {
	const largest = 600
	g, need := w.Fleet["g0"], int64(largest)
	for _, s := range w.sets {
		need += int64(s.Replicas) * s.CPU
	}
	usable := int64(g.size) - int64(nodes)
	for id := range g.machines {
		if w.others["node-"+id].cordoned {
			usable--
		}
	}
	return usable*(g.CPU-largest) > need
}

// act lets somebody do something at some time.
func act(t *rapid.T, w *World) {
	at := time.Duration(rapid.IntRange(0, 1500).Draw(t, "at")) * time.Second
	group := fmt.Sprintf("g%d", rapid.IntRange(0, len(w.Fleet)-1).Draw(t, "group"))
	number := rapid.IntRange(0, 20).Draw(t, "number")
	do := map[string]func(){
		"scale up": func() { w.Resize(group, int32(1+number%3)) },
		"scale down": func() {
			if group != "g0" || roomWithout(w, 2) {
				w.Resize(group, -int32(1+number%2))
			}
		},
		"end":    func() { w.EndMachine(group, number) },
		"delete": func() { w.DeletePod(number) },
		"cordon": func() {
			name := w.Names()[number%len(w.Names())]
			w.Cordon(name, true)
			w.after(10*time.Minute, func() { w.Cordon(name, false) })
		},
		"uncordon":    func() { w.Cordon(w.Names()[number%len(w.Names())], false) },
		"delete node": func() { w.DeleteNode(w.Names()[number%len(w.Names())]) },
		"pause": func() {
			w.Run.Spec.Paused = true
			w.after(15*time.Minute, func() { w.Run.Spec.Paused = false })
		},
		"abort":     func() { w.Run.Spec.End = v1alpha1.EndAbort },
		"roll back": func() { w.Run.Spec.End = v1alpha1.EndRollBack },
		"lack": func() {
			w.Supply(group, w.Fleet[group].live())
			w.after(20*time.Minute, func() { w.Supply(group, 0) })
		},
	}
	what := rapid.SampledFrom([]string{"scale up", "scale down", "end", "delete", "cordon", "uncordon", "delete node", "pause", "abort", "roll back", "lack"}).Draw(t, "act")
	w.after(at, func() {
		if !rotation.Finished(w.Run.Status.Phase) && len(w.Names()) > 0 {
			do[what]()
		}
	})
}
