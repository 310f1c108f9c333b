package virtual

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/gate"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/rotation"
	"windlass.dev/internal/tell"
)

// Begin makes the run.
func (w *World) Begin(spec v1alpha1.NodeRotationSpec) {
	w.Run = &v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: "run", UID: "run", CreationTimestamp: metav1.NewTime(w.Now)}, Spec: spec}
}

// Snapshot is what the controller sees.
func (w *World) Snapshot() rotation.Snapshot {
	s := rotation.Snapshot{Run: w.Run, Groups: w.Groups, Clouds: map[string]rotation.Cloud{}, Cluster: w.Cluster, Views: w.views, ControlPlane: w.ControlPlane}
	for name, g := range w.Fleet {
		s.Clouds[name] = w.view(g)
	}
	if w.Observe != nil {
		due, _ := gate.Due(rotation.Gates(w.Run, w.Groups), w.Run.Status.Gates, w.Now)
		s.Observed = map[string]gate.Observation{}
		for _, g := range due {
			s.Observed[g.Name] = w.Observe(g.Name)
		}
	}
	w.listed = w.listed[:0]
	for _, name := range slices.Sorted(maps.Keys(w.Records)) {
		w.listed = append(w.listed, *w.Records[name])
	}
	s.Records = w.listed
	return s
}

// Pass is one pass of the controller; it says whether anything changed, and when to look
// again although nothing does.
func (w *World) Pass() (changed bool, wake time.Duration) {
	w.Passes++
	s := w.Snapshot()
	began := time.Now()
	p := rotation.Decide(s, w.Now)
	if w.Decided != nil {
		w.Decided(time.Since(began))
	}
	if w.Compare {
		w.compare(s, p)
	}
	outcome := plan.Outcome{}
	failed := map[string]bool{}
	for _, step := range p.Steps {
		if slices.ContainsFunc(step.Needs, func(need string) bool { return failed[need] }) {
			continue
		}
		err := w.act(step.Action)
		if errors.Is(err, errCrash) {
			w.forget()
			return true, 0
		}
		if err != nil {
			outcome.Failed = append(outcome.Failed, plan.Failure{Step: step, Err: err})
			failed[step.Action.String()] = true
			continue
		}
		outcome.Done = append(outcome.Done, step)
		changed = changed || told(step.Action)
	}
	after := rotation.Report(s, p, outcome, w.Now)
	if !equality.Semantic.DeepEqual(w.Run.Status, after.Status) {
		w.Run.Status, changed = after.Status, true
	}
	if len(outcome.Failed) > 0 && (p.Wake == 0 || p.Wake > time.Second) {
		p.Wake = time.Second
	}
	return changed, p.Wake
}

// compare decides once more, without what saves time.
func (w *World) compare(s rotation.Snapshot, p plan.Plan) {
	thorough := rotation.Thoroughly(s, w.Now)
	if !equality.Semantic.DeepEqual(p.Status, thorough.Status) || p.Wake != thorough.Wake || len(p.Steps) != len(thorough.Steps) {
		w.violate("decided %+v, thoroughly %+v", p, thorough)
		return
	}
	for i := range p.Steps {
		if !equality.Semantic.DeepEqual(p.Steps[i], thorough.Steps[i]) {
			w.violate("decided %v, thoroughly %v", p.Steps[i], thorough.Steps[i])
		}
	}
}

// told says whether a watch tells the controller of what it did: clouds have none.
func told(a plan.Action) bool { return rotation.GroupOf(a) == "" }

// Crash is the error of a fault after which the controller is started anew.
func Crash() error { return errCrash }

// forget is what a crash does: what was assumed and not seen is gone.
func (w *World) forget() {
	for uid := range w.pods {
		w.Cluster.SetAssumed(uid, false)
	}
	w.views = rotation.NewViews()
}

func (w *World) fault(a plan.Action, after bool) error {
	if w.Fault == nil {
		return nil
	}
	return w.Fault(a.String(), after)
}

func (w *World) act(a plan.Action) error {
	if err := w.fault(a, false); err != nil {
		return err
	}
	w.Actions++
	if err := w.do(a); err != nil {
		return err
	}
	return w.fault(a, true)
}

func (w *World) do(action plan.Action) error {
	switch a := action.(type) {
	case rotation.Guard:
		w.Run.Finalizers = nil
		if a.On {
			w.Run.Finalizers = []string{v1alpha1.Finalizer}
		}
	case rotation.Open:
		w.watchOpen(a.Record)
		if w.Records[a.Record.Name] == nil {
			r := a.Record.DeepCopy()
			r.UID, r.Finalizers, r.CreationTimestamp = types.UID(w.id("record-")), []string{v1alpha1.Finalizer}, metav1.NewTime(w.Now)
			w.Records[r.Name] = r
		}
	case rotation.Record:
		w.Records[a.Name].Status = *a.Status.DeepCopy()
		if len(a.Status.Pods) > 1000 {
			w.violate("record %s has %d pods", a.Name, len(a.Status.Pods))
		}
	case rotation.Close:
		w.Records[a.Name].Finalizers = nil
	case rotation.Mark:
		w.mark(a)
	case rotation.Evict, rotation.Scale, rotation.PrePull, rotation.RemovePod:
		return w.doPods(action)
	case tell.Notify:
		w.Told = append(w.Told, string(a.Untold.Event))
	case rotation.DeleteNode:
		w.removeNode(a.Name)
	default:
		if g := w.Fleet[rotation.GroupOf(action)]; g != nil {
			g.seenAt = time.Time{} // It asks the provider anew.
		}
		return w.doCloud(action)
	}
	return nil
}

func (w *World) doPods(action plan.Action) error {
	switch a := action.(type) {
	case rotation.Evict:
		return w.evict(a.UID, a.Force)
	case rotation.Scale:
		return w.scale(a)
	case rotation.PrePull:
		w.prePull(a)
	case rotation.RemovePod:
		w.removePull(a.UID)
	}
	return nil
}

func (w *World) doCloud(action plan.Action) error {
	switch a := action.(type) {
	case rotation.Prepare:
		return w.prepare(w.Fleet[a.Group], a.Guard, a.Target)
	case rotation.Resize:
		g := w.Fleet[a.Group]
		if a.Size < g.Size && g.live() > int(a.Size) {
			w.violate("group %s is resized to %d machines and has %d", g.Name, a.Size, g.live())
		}
		g.Size, g.Max = a.Size, max(a.Size, g.Max)
		w.fill(g)
		w.watchSize(g)
	case rotation.Protect:
		for _, id := range a.Machines {
			if m := w.Fleet[a.Group].machines[id]; m != nil {
				m.Protected = true
			}
		}
	case rotation.Deregister:
		if m := w.Fleet[a.Group].machines[a.Machine]; m != nil {
			w.after(20*time.Second, func() { m.Registered = false })
		}
	case rotation.End:
		return w.endMachine(w.Fleet[a.Group], a.Machine, a.Size)
	case rotation.Restore:
		return w.restore(w.Fleet[a.Group], a.Guard, a.Settings, a.Former)
	default:
		return fmt.Errorf("what is %s", action)
	}
	return nil
}

func (w *World) scale(a rotation.Scale) error {
	s := w.sets[a.Name]
	if s == nil || s.Replicas != int(a.From) {
		return nil // Somebody else changed it.
	}
	for ; s.Replicas < int(a.To); s.Replicas++ {
		w.makePod(s, "")
	}
	w.setSize(s, int(a.To))
	return nil
}

// setSize lets a workload want another number of pods; what is too much goes, the youngest first.
func (w *World) setSize(s *Set, size int) {
	s.Replicas = size
	w.setWorkload(s)
	names := slices.Sorted(maps.Keys(s.pods))
	for _, uid := range slices.Backward(names) {
		alive := 0
		for _, p := range s.pods {
			if p.DeletionTimestamp == nil {
				alive++
			}
		}
		if p := s.pods[uid]; alive > size && p.DeletionTimestamp == nil {
			p.DeletionTimestamp = new(metav1.NewTime(w.Now.Add(30 * time.Second)))
			w.Cluster.SetPod(p)
			w.after(w.PodEnd, func() { w.removePod(p) })
		}
	}
	w.count(s)
	w.schedule()
}

func recordOf(run *v1alpha1.NodeRotation, group string) *v1alpha1.GroupRotation {
	for i := range run.Status.Groups {
		if run.Status.Groups[i].Name == group {
			return &run.Status.Groups[i]
		}
	}
	return nil
}

// Go runs the controller until the run is over, or for so long; it says how long it took.
func (w *World) Go(limit time.Duration) (took time.Duration, over bool) {
	return w.Until(limit, func() bool { return false })
}

// Until is Go, and stops as soon as somebody has seen enough.
func (w *World) Until(limit time.Duration, enough func() bool) (took time.Duration, over bool) {
	start := w.Now
	for w.Now.Sub(start) <= limit && !enough() {
		var wake time.Duration
		for i := 0; ; i++ {
			var changed bool
			changed, wake = w.Pass()
			if rotation.Finished(w.Run.Status.Phase) {
				return w.Now.Sub(start), true
			}
			if !changed {
				break
			}
			if i > 10_000 {
				w.violate("the controller does not come to rest: %v", w.Run.Status.Waits)
				return w.Now.Sub(start), false
			}
		}
		var latest time.Time
		if wake > 0 {
			latest = w.Now.Add(wake)
		}
		if !w.Next(latest) {
			w.violate("nothing will ever happen again: %s %v", w.Run.Status.Phase, w.Run.Status.Waits)
			return w.Now.Sub(start), false
		}
	}
	return w.Now.Sub(start), false
}
