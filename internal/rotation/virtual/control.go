package virtual

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/drain"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/rotation"
)

// Begin makes the run.
func (w *World) Begin(spec v1alpha1.NodeRotationSpec) {
	w.Run = &v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: "run", UID: "run", CreationTimestamp: metav1.NewTime(w.Now)}, Spec: spec}
}

// Snapshot is what the controller sees.
func (w *World) Snapshot() rotation.Snapshot {
	s := rotation.Snapshot{Run: w.Run, Groups: w.Groups, Clouds: map[string]rotation.Cloud{}, Cluster: w.Cluster}
	for name, g := range w.Fleet {
		s.Clouds[name] = g.describe()
	}
	for _, name := range slices.Sorted(maps.Keys(w.Records)) {
		s.Records = append(s.Records, *w.Records[name])
	}
	return s
}

// Pass is one pass of the controller; it says whether anything changed, and when to look
// again although nothing does.
func (w *World) Pass() (changed bool, wake time.Duration) {
	w.Passes++
	s := w.Snapshot()
	p := rotation.Decide(s, w.Now)
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
	}
	after := rotation.Report(s, p, outcome, w.Now)
	changed = len(outcome.Done) > 0
	if !equality.Semantic.DeepEqual(w.Run.Status, after.Status) {
		w.Run.Status, changed = after.Status, true
	}
	if len(outcome.Failed) > 0 && (p.Wake == 0 || p.Wake > time.Second) {
		p.Wake = time.Second
	}
	w.watch()
	return changed, p.Wake
}

// Crash is the error of a fault after which the controller is started anew.
func Crash() error { return errCrash }

// forget is what a crash does: what was assumed and not seen is gone.
func (w *World) forget() {
	for uid := range w.pods {
		w.Cluster.SetAssumed(uid, false)
	}
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
		if w.Records[a.Record.Name] == nil {
			r := a.Record.DeepCopy()
			r.UID, r.Finalizers, r.CreationTimestamp = types.UID(w.id("record-")), []string{v1alpha1.Finalizer}, metav1.NewTime(w.Now)
			w.Records[r.Name] = r
		}
	case rotation.Record:
		w.Records[a.Name].Status = *a.Status.DeepCopy()
	case rotation.Close:
		w.Records[a.Name].Finalizers = nil
	case rotation.Mark:
		w.mark(a)
	case rotation.Evict:
		return w.evict(a.UID, a.Force)
	case rotation.Scale:
		return w.scale(a)
	case rotation.DeleteNode:
		w.removeNode(a.Name)
	default:
		return w.doCloud(action)
	}
	return nil
}

func (w *World) doCloud(action plan.Action) error {
	switch a := action.(type) {
	case rotation.Prepare:
		return w.prepare(w.Fleet[a.Group], a.Guard, a.Target)
	case rotation.Resize:
		g := w.Fleet[a.Group]
		g.Size, g.Max = a.Size, max(a.Size, g.Max)
		w.fill(g)
	case rotation.Protect:
		for _, id := range a.Machines {
			if m := w.Fleet[a.Group].machines[id]; m != nil {
				m.Protected = true
			}
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

func (w *World) mark(a rotation.Mark) {
	n := w.nodes[a.Node]
	if n == nil || n.UID != a.UID {
		return
	}
	n = n.DeepCopy() // The index keeps what it is given.
	w.nodes[a.Node] = n
	if a.Cordon != nil {
		n.Spec.Unschedulable = *a.Cordon
		delete(n.Labels, corev1.LabelNodeExcludeBalancers)
		if *a.Cordon {
			n.Labels[corev1.LabelNodeExcludeBalancers] = "true"
		}
	}
	if a.Outdated != nil {
		n.Spec.Taints = nil
		if *a.Outdated {
			n.Spec.Taints = []corev1.Taint{{Key: v1alpha1.OutdatedTaint, Effect: corev1.TaintEffectPreferNoSchedule}}
		}
	}
	if a.Hold != nil {
		n.Annotations = map[string]string{}
		if *a.Hold {
			n.Annotations[drain.ScaleDownDisabled] = "true"
		}
	}
	w.Cluster.SetNode(n)
	w.schedule()
}

func (w *World) scale(a rotation.Scale) error {
	s := w.sets[a.Name]
	if s == nil || s.Replicas != int(a.From) {
		return fmt.Errorf("scale %s: it has not %d replicas", a.Name, a.From)
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
	w.Cluster.SetWorkload(drain.Workload{Owner: drain.Owner{Kind: "ReplicaSet", Namespace: "apps", Name: s.Name}, Desired: int32(size)})
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

// watch looks for what may never be.
func (w *World) watch() {
	for _, g := range sortedGroups(w.Fleet) {
		rec := recordOf(w.Run, g.Name)
		if rec == nil {
			continue
		}
		live, cordoned, up := 0, 0, 0
		for id, m := range g.machines {
			if m.State == cloud.Ending {
				continue
			}
			live++
			if n := w.nodes["node-"+id]; n != nil {
				if n.Spec.Unschedulable {
					cordoned++
				} else if ready(n) {
					up++
				}
			}
		}
		surge, unavailable := limits(w.Run, w.Groups[g.Name], int(rec.Size))
		if live > int(rec.Size)+surge {
			w.violate("group %s has %d machines; its size is %d and the surge %d", g.Name, live, rec.Size, surge)
		}
		if cordoned > 0 && up < int(rec.Size)-unavailable && !g.Broken {
			w.violate("group %s has %d nodes that take pods, and %d cordoned; its size is %d and %d may be unavailable", g.Name, up, cordoned, rec.Size, unavailable)
		}
	}
	for _, s := range w.sets {
		w.watchSet(s)
	}
}

func (w *World) watchSet(s *Set) {
	if s.Never {
		return
	}
	healthy := 0
	for _, p := range s.pods {
		if p.DeletionTimestamp == nil && len(p.Status.Conditions) > 0 {
			healthy++
		}
	}
	want := s.Replicas - s.Unavailable
	switch {
	case s.Available >= 0:
		want = s.Available
	case s.Unavailable < 0: // The default: a quarter, and at least one.
		want = s.Replicas - max(s.Replicas/4, 1)
	}
	if healthy < want {
		w.violate("workload %s has %d healthy pods of %d", s.Name, healthy, want)
	}
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
	start := w.Now
	for w.Now.Sub(start) <= limit {
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
