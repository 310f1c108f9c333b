package fleetrotation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/kit/plan"
)

// Decide says what to do next about one run, and why not more. What is done follows from
// what is stored only; what a pass finds out is stored first.
func Decide(s Snapshot, now time.Time) plan.Plan {
	r := assess(s, now)
	p := plan.Plan{Steps: r.steps, Wake: r.wake}
	for _, wait := range r.waits {
		p.Why = append(p.Why, plan.Note{Subject: wait.Subject, Reason: wait.Reason, Message: wait.Message})
	}
	return p
}

// run is what a snapshot means. Deciding and reporting both start from it.
type run struct {
	s   Snapshot
	now time.Time
	// fleet has the next status.
	fleet *v1alpha1.FleetRotation
	steps []plan.Step
	waits []v1alpha1.Wait
	// wake is when to look again; 0 for not.
	wake time.Duration
	// noClusters says that no wave selects a cluster.
	noClusters bool
}

func assess(s Snapshot, now time.Time) *run {
	r := &run{s: s, now: now, fleet: s.Fleet.DeepCopy()}
	deleting, kept := s.Fleet.DeletionTimestamp != nil, slices.Contains(s.Fleet.Finalizers, v1alpha1.Finalizer)
	switch {
	case Finished(s.Fleet):
		if deleting && kept {
			r.do(finalizer(s.Fleet, false), "no cluster is touched any more")
		}
	case !kept && !deleting:
		if s.Fleet.Status.Phase == "" {
			r.fleet.Status.Phase = v1alpha1.Pending
		}
		r.do(finalizer(s.Fleet, true), "what is begun in clusters has to be ended")
	case kept:
		r.goOn()
	}
	return r
}

// goOn is a pass over a run that is neither finished nor new.
func (r *run) goOn() {
	status := &r.fleet.Status
	r.end()
	for i := range status.Clusters {
		if active(status.Clusters[i]) {
			r.advance(&status.Clusters[i])
		}
	}
	r.end() // One more may have failed: then no other is begun in this pass.
	free := parallel(currentWave(r.fleet))
	for _, row := range status.Clusters {
		if active(row) {
			free--
		}
	}
	for i := range status.Clusters {
		if status.Clusters[i].Phase == v1alpha1.ClusterPending && r.begin(&status.Clusters[i], free > 0) {
			free--
		}
	}
	r.end()
	if status.Outcome != "" {
		r.wrapUp()
		return
	}
	r.wave()
}

// end notes, once, that the run does not go on to the next cluster, and why.
func (r *run) end() {
	status := &r.fleet.Status
	failed := r.named(func(row v1alpha1.ClusterRotation) bool { return row.Phase == v1alpha1.ClusterFailed })
	switch {
	case status.Outcome != "":
	case r.fleet.DeletionTimestamp != nil:
		status.Outcome, status.OutcomeMessage = v1alpha1.Aborted, "The FleetRotation is deleted."
	case r.fleet.Spec.End == v1alpha1.EndAbort:
		status.Outcome, status.OutcomeMessage = v1alpha1.Aborted, "Somebody ended the run."
	case len(failed) > int(r.fleet.Spec.FailureThreshold):
		status.Outcome = v1alpha1.Failed
		status.OutcomeMessage = fmt.Sprintf("%s failed, and %d may (failureThreshold).", listed(failed), r.fleet.Spec.FailureThreshold)
	}
}

// wrapUp waits until no cluster is touched any more.
func (r *run) wrapUp() {
	status := &r.fleet.Status
	if left := r.named(func(row v1alpha1.ClusterRotation) bool { return !over(row) }); len(left) > 0 {
		status.Phase = v1alpha1.Aborting
		r.wakeIn(lookEvery)
		return
	}
	r.finish(status.Outcome)
}

func (r *run) finish(phase v1alpha1.Phase) {
	at := r.time()
	r.fleet.Status.Phase, r.fleet.Status.FinishedAt, r.wake = phase, &at, 0
	r.waits = nil
}

// wave goes on to the next wave when the current one has passed.
func (r *run) wave() {
	status := &r.fleet.Status
	rows := r.named(func(row v1alpha1.ClusterRotation) bool { return row.Wave == status.Wave })
	if len(rows) == 0 {
		r.beginFrom(status.Wave)
		return
	}
	status.Phase = v1alpha1.Rotating
	left := r.named(func(row v1alpha1.ClusterRotation) bool { return row.Wave == status.Wave && !over(row) })
	if len(left) > 0 {
		return
	}
	if status.WaveDoneAt == nil {
		at := r.time()
		status.WaveDoneAt = &at
	}
	if end := status.WaveDoneAt.Add(bakeOf(r.fleet)); r.now.Before(end) {
		status.Phase = v1alpha1.Baking
		r.wait("run", "", v1alpha1.ReasonBaking, capital(r.waveName(status.Wave))+" is left to itself for a while.", *status.WaveDoneAt, end)
		r.wakeAt(end)
		return
	}
	if baked(r.s.Fleet, r.now) && !r.stillWell() {
		status.Phase = v1alpha1.Baking
		r.wakeIn(lookEvery)
		return
	}
	r.beginFrom(status.Wave + 1)
}

// stillWell looks, at the end of a bake, whether the clusters of the wave are as well as
// before. One that does not become so in time has failed.
func (r *run) stillWell() bool {
	status, well := &r.fleet.Status, true
	since := metav1.NewTime(status.WaveDoneAt.Add(bakeOf(r.fleet)))
	until := since.Add(timeout(r.fleet))
	for i := range status.Clusters {
		row := &status.Clusters[i]
		if row.Wave != status.Wave || row.Phase != v1alpha1.ClusterSucceeded {
			continue
		}
		problem := r.health(*row)
		if problem == nil {
			continue
		}
		well = false
		if r.now.Before(until) {
			r.wait("Cluster/"+row.Name, "", problem.Reason, problem.Message, since, until)
			continue
		}
		r.set(row, v1alpha1.ClusterFailed, problem.Reason, "After the wave: "+problem.Message)
	}
	r.end()
	return well
}

// beginFrom begins the first wave, from a number on, that selects a cluster.
func (r *run) beginFrom(number int32) {
	status := &r.fleet.Status
	if r.invalid() != "" {
		status.Phase = v1alpha1.Pending
		return
	}
	for ; int(number) < len(r.fleet.Spec.Waves); number++ {
		names := members(r.fleet, r.s.Registered, number)
		if len(names) == 0 {
			continue
		}
		if r.fleet.Spec.Paused {
			r.wait("run", "", v1alpha1.ReasonPaused, capital(r.waveName(number))+" is begun when the run is resumed.", r.pausedSince(), time.Time{})
			return
		}
		at := r.time()
		if status.StartedAt == nil {
			status.StartedAt = &at
		}
		status.Wave, status.WaveDoneAt, status.Phase = number, nil, v1alpha1.Rotating
		for _, name := range names {
			status.Clusters = append(status.Clusters, v1alpha1.ClusterRotation{
				Name: name, Wave: number, Phase: v1alpha1.ClusterPending, Since: at,
			})
		}
		r.wakeIn(lookEvery)
		return
	}
	failed := r.named(func(row v1alpha1.ClusterRotation) bool { return row.Phase == v1alpha1.ClusterFailed })
	switch {
	case len(status.Clusters) == 0:
		status.Phase, r.noClusters = v1alpha1.Pending, true
		r.wakeIn(idleEvery)
	case len(failed) > 0:
		status.Outcome, status.OutcomeMessage = v1alpha1.Failed, listed(failed)+" failed; all others are done."
		r.finish(v1alpha1.Failed)
	default:
		r.finish(v1alpha1.Succeeded)
	}
}

// named returns the clusters, of those that were begun, that fit.
func (r *run) named(fits func(v1alpha1.ClusterRotation) bool) []string {
	var names []string
	for _, row := range r.fleet.Status.Clusters {
		if fits(row) {
			names = append(names, row.Name)
		}
	}
	return names
}

// do also looks again soon: what a step has led to is seen in the cluster only.
func (r *run) do(action plan.Action, why string) {
	r.wakeIn(lookSoon)
	r.steps = append(r.steps, plan.Step{Action: action, Why: why})
}

// time is now, as precise as the API keeps it.
func (r *run) time() metav1.Time { return metav1.NewTime(r.now.Truncate(time.Second)) }

func (r *run) wakeAt(at time.Time) { r.wakeIn(max(at.Sub(r.now), time.Millisecond)) }

func (r *run) wakeIn(d time.Duration) {
	if r.wake == 0 || d < r.wake {
		r.wake = d
	}
}

// wait says what is waited for. A zero until is unknown.
func (r *run) wait(subject, what, reason, message string, since metav1.Time, until time.Time) {
	w := v1alpha1.Wait{Subject: subject, For: what, Reason: reason, Message: plan.Bounded(message, rowLimit), Since: since}
	if !until.IsZero() {
		at := metav1.NewTime(until.Truncate(time.Second))
		w.Until = &at
	}
	r.waits = append(r.waits, w)
}

// finalizer applies, or gives up, our finalizer. With the UID it can make no namesake.
func finalizer(fleet *v1alpha1.FleetRotation, wanted bool) plan.Action {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("FleetRotation"))
	object.SetName(fleet.Name)
	object.SetUID(fleet.UID)
	if wanted {
		object.SetFinalizers([]string{v1alpha1.Finalizer})
	}
	return plan.Apply{Object: object}
}

// waveName counts from one, as people do.
func (r *run) waveName(number int32) string {
	return fmt.Sprintf("wave %d of %d", number+1, len(r.fleet.Spec.Waves))
}

func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// listed names at most five.
func listed(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
