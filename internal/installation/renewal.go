package installation

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/plan"
)

// A renewal replaces the pods of a Mattermost that was a ClusterInstallation by ones with
// the labels of the newer API. A Deployment cannot change by which labels it selects, and
// two cannot have one name, so that the former one is deleted without its pods, once it is
// on record that they are the ones that go. Their sets get the Mattermost as owner, and
// they and their sets get the newer labels besides their own, so that the Service can
// send to both. A pod that is to go loses them first: only when no requests come to it any
// more is it stopped. At no time do fewer pods serve than are wanted, or are there more than
// one beyond that and those that are stopping; if an autoscaler sets how many, it may be as
// many again.

// LeavingAnnotation says since when a pod is to get no requests any more.
const LeavingAnnotation = "windlass.dev/leaving-since"

// deletionCost has a set stop the pod with the least first.
const deletionCost = "controller.kubernetes.io/pod-deletion-cost"

// renewalLook is how often a renewal is looked at: pods are not watched.
const renewalLook = 2 * time.Second

// Outgoing are the pods that a renewal replaces, and those that replace them, as the API
// server has them.
type Outgoing struct {
	// Sets are those of the former Deployment, in the order of their names.
	Sets []OutgoingSet
	// Pods are those of the sets, and New are those of the new Deployment, in the order of
	// their names.
	Pods []OutgoingPod
	New  []OutgoingPod
}

// OutgoingSet is a ReplicaSet that the former Deployment left.
type OutgoingSet struct {
	Name            string
	UID             types.UID
	ResourceVersion string
	// Controller is who controls it; empty for nobody.
	Controller types.UID
	Replicas   int32
	// Labels are those that its pods get.
	Labels   map[string]string
	Deleting bool
}

// OutgoingPod is a pod of one of the two generations.
type OutgoingPod struct {
	Name            string
	UID             types.UID
	ResourceVersion string
	// Set is the UID of the ReplicaSet that controls it.
	Set      types.UID
	Labels   map[string]string
	Ready    bool
	Deleting bool
	// Routed says that the Service sends requests to it.
	Routed bool
	// Leaving is since when it is to get no requests any more; zero for one that may.
	Leaving time.Time
}

// ChangePod sets labels and annotations of a pod, and removes labels, if it still is what
// was decided about.
type ChangePod struct {
	Ref             plan.Ref
	ResourceVersion string
	Labels          map[string]string
	Without         []string
	Annotations     map[string]string
}

func (c ChangePod) String() string { return "change " + c.Ref.String() }

// ChangeSet gives a ReplicaSet an owner, further labels for its pods, or fewer replicas, if
// it still is what was decided about.
type ChangeSet struct {
	Ref             plan.Ref
	ResourceVersion string
	Owner           *metav1.OwnerReference
	Labels          map[string]string
	Replicas        *int32
}

func (c ChangeSet) String() string { return "change " + c.Ref.String() }

// DeleteSet deletes a ReplicaSet that has no pods.
type DeleteSet struct {
	Ref             plan.Ref
	UID             types.UID
	ResourceVersion string
}

func (d DeleteSet) String() string { return "delete " + d.Ref.String() }

// selectsOlder reports whether a Deployment selects its pods by the labels of the older
// API.
func selectsOlder(d *appsv1.Deployment) bool {
	if d == nil || d.Spec.Selector == nil {
		return false
	}
	_, older := d.Spec.Selector.MatchLabels[v1alpha1Resource]
	return older
}

// SelectsNewer reports whether a Deployment is there whose pods have the labels of the
// newer API.
func SelectsNewer(d *appsv1.Deployment) bool {
	if d == nil || d.Spec.Selector == nil {
		return false
	}
	_, newer := d.Spec.Selector.MatchLabels[resourceLabel]
	return newer
}

// OlderSelector and NewerSelector are the labels by which the two generations of pods are
// found. The new ones have none of the older labels.
func OlderSelector(mm *v1beta1.Mattermost) map[string]string {
	return map[string]string{appLabel: "mattermost", v1alpha1Installation: mm.Name, v1alpha1Resource: mm.Name}
}

// NewerSelector is described with OlderSelector.
func NewerSelector(mm *v1beta1.Mattermost) map[string]string {
	return map[string]string{appLabel: "mattermost", installationLabel: mm.Name, resourceLabel: mm.Name}
}

// Renewing reports whether the pods of a Mattermost are being replaced by ones with other
// labels, as far as is on record.
func Renewing(mm *v1beta1.Mattermost) bool { return mm.Status.Renewal != nil }

// renewalDue says why a renewal has to begin; empty if none has to. The pods are replaced
// anyway when the image changes. As long as the ClusterInstallation is there, it may
// want them back as they are.
func (a assessment) renewalDue(s Snapshot) string {
	hindered := Released(s.Mattermost) || a.Deleting || a.Paused || len(a.Problems)+len(a.Conflicts) > 0
	switch {
	case hindered, !renewable(s):
		return ""
	case s.Mattermost.Annotations[v1beta1.MigrationModeAnnotation] == v1beta1.MigrationRecreate:
		return v1beta1.MigrationModeAnnotation + " says so"
	case a.Upgrade.From != "" && a.Upgrade.From != a.Upgrade.To && a.Upgrade.Done():
		return a.Upgrade.To + " replaces all of them anyway"
	default:
		return ""
	}
}

// renewable reports whether there are pods that could be replaced, and nobody who may
// want them back.
func renewable(s Snapshot) bool {
	return !s.view() && !Renewing(s.Mattermost) && s.Older == nil &&
		lineageOf(s) == v1beta1.LineageV1alpha1 && selectsOlder(s.Deployment) && s.Deployment.DeletionTimestamp == nil
}

// renewal is how far the replacement of the pods is.
type renewal struct {
	// Begins says why one has to begin, which is put on record before anything is done.
	Begins string
	// Active says that one is under way.
	Active bool
	// Wanted is how many pods are to serve.
	Wanted int32
	// Replicas are those of the new Deployment for now; nil leaves them to an autoscaler.
	Replicas *int32
	// Stops says that all pods have to stop before a new one starts.
	Stops bool
	// Older says that the Service selects by the older labels still.
	Older bool
	// Steps prepare it.
	Steps []plan.Step
	// Drains says that all is prepared, so that pods may go.
	Drains bool
	// Left is how many of the former pods are left, and Serving how many serve, of both.
	Left, Serving int
}

// renewalOf reads how far a renewal is. It is over when nothing of the former pods is left,
// and as many new ones serve as are wanted.
func renewalOf(s Snapshot, mm *v1beta1.Mattermost) renewal {
	if s.view() || !Renewing(s.Mattermost) {
		return renewal{}
	}
	r := renewal{Active: true, Stops: stopsFirst(mm), Left: len(s.Outgoing.Pods)}
	r.Wanted = r.wanted(s, mm)
	for _, pod := range slices.Concat(s.Outgoing.Pods, s.Outgoing.New) {
		if pod.serves() {
			r.Serving++
		}
	}
	if SelectsNewer(s.Deployment) && len(s.Outgoing.Sets)+len(s.Outgoing.Pods) == 0 && r.Serving >= int(r.Wanted) {
		return renewal{} // It is over.
	}
	r.Replicas = r.newReplicas(s)
	if selectsOlder(s.Deployment) {
		r.Older = true
		if s.Deployment.DeletionTimestamp == nil {
			r.Steps = []plan.Step{{Action: plan.Delete{Ref: s.ref(deploymentKind, s.Name()), UID: s.Deployment.UID, Orphan: true}, Why: "it cannot select other pods; those that it has go on"}}
		}
		return r
	}
	r.adopt(s, mm)
	r.Older = len(r.Steps) > 0
	r.Drains = !r.Older && s.Deployment != nil
	return r
}

// wanted is how many pods are to serve: as many as the autoscaler says, if there is one.
func (r renewal) wanted(s Snapshot, mm *v1beta1.Mattermost) int32 {
	switch {
	case !s.Autoscaled || replicas(mm) == 0:
		return replicas(mm)
	case !r.Stops && SelectsNewer(s.Deployment) && s.Deployment.Spec.Replicas != nil && *s.Deployment.Spec.Replicas != 0:
		return *s.Deployment.Spec.Replicas // With none an autoscaler rests, and sets nothing.
	default:
		return s.Mattermost.Status.Renewal.Replicas
	}
}

func stopsFirst(mm *v1beta1.Mattermost) bool {
	return mm.Spec.DeploymentTemplate != nil && mm.Spec.DeploymentTemplate.DeploymentStrategyType == string(appsv1.RecreateDeploymentStrategyType)
}

// serves reports whether a pod answers requests, and gets them.
func (p OutgoingPod) serves() bool { return p.Ready && p.Routed && !p.Deleting && p.Leaving.IsZero() }

// newReplicas has one pod more than wanted, in all.
func (r renewal) newReplicas(s Snapshot) *int32 {
	former := s.Outgoing.former()
	switch {
	case r.Stops && len(s.Outgoing.Pods) > 0, selectsOlder(s.Deployment):
		return new(int32)
	case r.Stops:
		return new(r.Wanted)
	case s.Autoscaled:
		return new(r.Wanted) // With which it is made; then it is the autoscaler's.
	}
	n := min(r.Wanted, max(r.Wanted+1-former, 0))
	if SelectsNewer(s.Deployment) && s.Deployment.Spec.Replicas != nil {
		n = max(n, min(r.Wanted, *s.Deployment.Spec.Replicas))
	}
	return &n
}

// former is how many pods of the former Deployment there are or will be. A set that is to
// have fewer has more until Kubernetes has stopped them; those that are stopping do not
// count, as with a Deployment: one on a node that is gone may stay for ever.
func (o Outgoing) former() int32 {
	run := map[types.UID]int32{}
	for _, pod := range o.Pods {
		if !pod.Deleting {
			run[pod.Set]++
		}
	}
	n := int32(0)
	for _, set := range o.Sets {
		n += max(set.Replicas, run[set.UID])
	}
	return n
}

// adopt gives what the former Deployment left an owner and the newer labels.
func (r *renewal) adopt(s Snapshot, mm *v1beta1.Mattermost) {
	for _, set := range s.Outgoing.Sets {
		if set.Deleting || set.Controller != "" && set.Controller != mm.UID {
			continue // Kubernetes is about to take the former Deployment off it.
		}
		change := ChangeSet{Ref: s.ref(replicaSetKind, set.Name), ResourceVersion: set.ResourceVersion}
		if set.Controller == "" {
			change.Owner = new(ownerReference(mm))
		}
		if !has(set.Labels, NewerSelector(mm)) {
			change.Labels = NewerSelector(mm)
		}
		if change.Owner != nil || change.Labels != nil {
			r.Steps = append(r.Steps, plan.Step{Action: change, Why: "the former Deployment left it"})
		}
	}
	for _, pod := range s.Outgoing.Pods {
		if pod.Leaving.IsZero() && !pod.Deleting && !has(pod.Labels, NewerSelector(mm)) {
			r.Steps = append(r.Steps, plan.Step{
				Action: ChangePod{Ref: s.ref(podKind, pod.Name), ResourceVersion: pod.ResourceVersion, Labels: NewerSelector(mm)},
				Why:    "the Service is to send to it and to those that replace it",
			})
		}
	}
}

// drain takes away what is there beyond what is wanted.
func (r renewal) drain(s Snapshot, now time.Time) []plan.Step {
	if !r.Drains {
		return nil
	}
	return append(r.leave(s, now), r.shrink(s, now)...)
}

// leave has requests sent elsewhere: of pods that are not ready at once, and of others as
// far as there are more than are wanted.
func (r renewal) leave(s Snapshot, now time.Time) []plan.Step {
	if r.Stops {
		return nil
	}
	leaving := 0
	for _, pod := range s.Outgoing.Pods {
		if !pod.Leaving.IsZero() {
			leaving++
		}
	}
	// As many at a time as a quarter of those that are wanted, for the sake of those who
	// connect anew.
	spare := min(r.Serving-int(r.Wanted), max(int(r.Wanted)/4, 1)-leaving)
	var steps []plan.Step
	for _, pod := range slices.SortedStableFunc(slices.Values(s.Outgoing.Pods), byReady) {
		if !pod.Leaving.IsZero() || pod.Deleting || pod.Ready && spare <= 0 {
			continue
		}
		if pod.Ready {
			spare--
		}
		steps = append(steps, plan.Step{
			Action: ChangePod{
				Ref: s.ref(podKind, pod.Name), ResourceVersion: pod.ResourceVersion, Without: slices.Sorted(maps.Keys(onlyNewer(s.Mattermost))),
				Annotations: map[string]string{LeavingAnnotation: now.UTC().Format(time.RFC3339), deletionCost: "-1000"},
			},
			Why: "others serve in its place",
		})
	}
	return steps
}

// shrink has each set stop the pods that get no requests any more, and deletes those that
// have none.
func (r renewal) shrink(s Snapshot, now time.Time) []plan.Step {
	keep, pods := map[types.UID]int32{}, map[types.UID]int{}
	for _, pod := range s.Outgoing.Pods {
		pods[pod.Set]++
		if !pod.left(now) && !pod.Deleting && !r.Stops {
			keep[pod.Set]++
		}
	}
	var steps []plan.Step
	for _, set := range s.Outgoing.Sets {
		ref := s.ref(replicaSetKind, set.Name)
		switch n := keep[set.UID]; {
		case set.Deleting || set.Controller != s.Mattermost.UID:
		case set.Replicas > n:
			steps = append(steps, plan.Step{Action: ChangeSet{Ref: ref, ResourceVersion: set.ResourceVersion, Replicas: &n}, Why: "the rest of its pods gets no requests any more"})
		case set.Replicas == 0 && pods[set.UID] == 0:
			steps = append(steps, plan.Step{Action: DeleteSet{Ref: ref, UID: set.UID, ResourceVersion: set.ResourceVersion}, Why: "its pods are replaced"})
		}
	}
	return steps
}

// left reports whether a pod has had no requests for as long as the news takes to reach
// all that send any.
func (p OutgoingPod) left(now time.Time) bool {
	return !p.Leaving.IsZero() && !p.Routed && now.Sub(p.Leaving) >= drainTime*time.Second
}

func byReady(a, b OutgoingPod) int {
	if a.Ready != b.Ready {
		if b.Ready {
			return -1
		}
		return 1
	}
	return strings.Compare(a.Name, b.Name)
}

// onlyNewer are the labels that a pod of the older API gets for the Service's sake.
func onlyNewer(mm *v1beta1.Mattermost) map[string]string {
	all := NewerSelector(mm)
	for key := range OlderSelector(mm) {
		delete(all, key)
	}
	return all
}

func has(labels, wanted map[string]string) bool {
	for key, value := range wanted {
		if labels[key] != value {
			return false
		}
	}
	return true
}

// message says how far a renewal is.
func (r renewal) message() string {
	text := fmt.Sprintf("The pods are replaced by ones with the labels of a Mattermost: %d of the former ones are left, and %d serve, of %d that are wanted.", r.Left, r.Serving, r.Wanted)
	if r.Left > 0 && r.Serving <= int(r.Wanted) && !r.Stops {
		text += " The next one goes when a new one is ready and gets requests."
	}
	return text
}

// holds keeps the former Deployment from being applied as the new one.
func (r renewal) holds(s Snapshot) bool { return r.Active && selectsOlder(s.Deployment) }

// count adds the pods that are replaced to those that are seen.
func (r renewal) count(h *health) {
	if r.Active {
		h.Wanted, h.Replicas = r.Wanted, h.Replicas+int32(r.Left)
	}
}

// note says how far it is; ok is false while there is none.
func (r renewal) note(subject string) (note plan.Note, ok bool) {
	note = plan.Note{Subject: subject, Reason: v1beta1.ReasonRenewing, Message: r.message()}
	if r.Begins != "" {
		note.Message = "The pods are about to be replaced by ones with the labels of a Mattermost, because " + r.Begins + "."
	}
	return note, r.Active || r.Begins != ""
}

// begin puts on record that the pods are replaced from here on.
func (a assessment) begin(s Snapshot, now time.Time) *v1beta1.Mattermost {
	mm := s.Mattermost.DeepCopy()
	status := &mm.Status
	n := int32(1)
	if s.Deployment.Spec.Replicas != nil {
		n = *s.Deployment.Spec.Replicas
	}
	status.Renewal = &v1beta1.Renewal{Since: metav1.NewTime(now.Truncate(time.Second)), Replicas: n}
	status.Lineage = ""
	status.State = v1beta1.Reconciling
	c := conditions{list: &status.Conditions, generation: cmp.Or(status.ObservedGeneration, mm.Generation), now: now}
	note, _ := a.Renewal.note("")
	c.summary(summary{state: v1beta1.Reconciling, reason: note.Reason, message: note.Message})
	return mm
}

// PodOf reads what a renewal needs to know of a pod.
func PodOf(pod *corev1.Pod, routed bool) OutgoingPod {
	p := OutgoingPod{
		Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion, Labels: pod.Labels,
		Deleting: pod.DeletionTimestamp != nil, Routed: routed,
		Ready: slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}),
	}
	if owner := metav1.GetControllerOf(pod); owner != nil {
		p.Set = owner.UID
	}
	if since, left := pod.Annotations[LeavingAnnotation]; left {
		// One that cannot be read is as long ago as can be: the pod gets no requests anyway.
		p.Leaving, _ = time.Parse(time.RFC3339, since)
		if p.Leaving.IsZero() {
			p.Leaving = pod.CreationTimestamp.Time
		}
	}
	return p
}
