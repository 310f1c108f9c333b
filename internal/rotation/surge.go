package rotation

import (
	"slices"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/drain"
)

// surge gives a workload one more replica, or its autoscaler a higher minimum, so that its
// budget lets a pod go. What it was before is written down first.
func (r *replacement) surge(owner drain.Owner) {
	w, ok := r.s.Cluster.Workload(owner)
	if !ok {
		return
	}
	want := v1alpha1.WorkloadSurge{Kind: owner.Kind, Namespace: owner.Namespace, Name: owner.Name, Before: w.Desired, After: w.Desired + 1}
	if a, ok := r.s.Cluster.Autoscaler(owner); ok {
		want.Kind, want.Name, want.Before, want.After = "HorizontalPodAutoscaler", a.Name, a.Min, w.Desired+1
	}
	if r.surgedElsewhere(want) {
		return
	}
	i := slices.IndexFunc(r.next.Surges, func(s v1alpha1.WorkloadSurge) bool { return sameWorkload(s, want) && !s.Restored })
	if i < 0 {
		if key := want.Kind + "/" + want.Namespace + "/" + want.Name; !r.surged[key] { // One node's record is enough.
			r.surged[key] = true
			r.next.Surges = append(slices.Clone(r.next.Surges), want)
		}
		return
	}
	recorded := slices.ContainsFunc(r.was.Status.Surges, func(s v1alpha1.WorkloadSurge) bool { return s == r.next.Surges[i] })
	if s := r.next.Surges[i]; recorded && r.current(s) == s.Before {
		r.step(Scale{Kind: s.Kind, Namespace: s.Namespace, Name: s.Name, From: s.Before, To: s.After}, "its disruption budget wants all pods that there are")
	}
}

func sameWorkload(a, b v1alpha1.WorkloadSurge) bool {
	return a.Kind == b.Kind && a.Namespace == b.Namespace && a.Name == b.Name
}

// surgedElsewhere says that another node's record has given the workload its replica.
func (r *replacement) surgedElsewhere(want v1alpha1.WorkloadSurge) bool {
	for i := range r.s.Records {
		other := &r.s.Records[i]
		if other.UID == r.was.UID || Closed(other.Status.Phase) {
			continue
		}
		if slices.ContainsFunc(other.Status.Surges, func(s v1alpha1.WorkloadSurge) bool { return sameWorkload(s, want) && !s.Restored }) {
			return true
		}
	}
	return false
}

// current is what the workload, or its autoscaler, says now; -1 if it is gone.
func (r *replacement) current(s v1alpha1.WorkloadSurge) int32 {
	if s.Kind != "HorizontalPodAutoscaler" {
		if w, ok := r.s.Cluster.Workload(drain.Owner{Kind: s.Kind, Namespace: s.Namespace, Name: s.Name}); ok {
			return w.Desired
		}
		return -1
	}
	if a, ok := r.s.Cluster.AutoscalerNamed(s.Namespace, s.Name); ok {
		return a.Min
	}
	return -1
}

// restoreSurges gives workloads their number back, and says whether all have it. One that
// somebody changed meanwhile is theirs, and stays, as the step itself finds out: what is
// known here may be from before the workload was scaled at all.
func (r *replacement) restoreSurges() bool {
	all := true
	r.next.Surges = slices.Clone(r.next.Surges)
	for i := range r.next.Surges {
		s := &r.next.Surges[i]
		if s.Restored {
			continue
		}
		if s.Restored = true; r.current(*s) < 0 {
			continue // It is gone.
		}
		back := Scale{Kind: s.Kind, Namespace: s.Namespace, Name: s.Name, From: s.After, To: s.Before}
		r.step(back, "the pod that needed it has left")
		r.needs = append(r.needs, back.String())
		all = false
	}
	return all
}

// sameStatus says whether a record need not be written anew. It is asked for every open node
// in every decision, for which reflection would be too slow.
func sameStatus(a, b *v1alpha1.NodeReplacementStatus) bool {
	return a.Phase == b.Phase && a.Forced == b.Forced && a.Message == b.Message && sameTimes(a, b) &&
		(a.SizeAfter == nil) == (b.SizeAfter == nil) && (a.SizeAfter == nil || *a.SizeAfter == *b.SizeAfter) &&
		slices.Equal(a.Surges, b.Surges) &&
		samePods(a.Pods, b.Pods) &&
		(a.Wait == b.Wait || a.Wait != nil && b.Wait != nil && sameWait(a.Wait, b.Wait))
}

func samePods(a, b []v1alpha1.LeavingPod) bool {
	if len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) {
		return true // It was not touched.
	}
	return slices.EqualFunc(a, b, func(a, b v1alpha1.LeavingPod) bool {
		return a.UID == b.UID && a.Owner == b.Owner && a.LeftAt.Equal(b.LeftAt)
	})
}

func sameTimes(a, b *v1alpha1.NodeReplacementStatus) bool {
	return a.Since.Equal(b.Since) && a.DrainDeadline.Equal(b.DrainDeadline) && a.DrainedAt.Equal(b.DrainedAt) && a.TerminateAt.Equal(b.TerminateAt) && a.FinishedAt.Equal(b.FinishedAt)
}

func sameWait(a, b *v1alpha1.Wait) bool {
	return a.Subject == b.Subject && a.For == b.For && a.Reason == b.Reason && a.Message == b.Message && a.Since.Equal(&b.Since) && a.Until.Equal(b.Until)
}
