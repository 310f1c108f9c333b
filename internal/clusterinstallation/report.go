package clusterinstallation

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit/condition"
	"windlass.dev/internal/kit/plan"
)

// messageLimit bounds a condition's message, in bytes.
const messageLimit = 1024

// Report returns a copy of the resource with the status it should now have.
func Report(s Snapshot, p plan.Plan, outcome plan.Outcome, now time.Time) *v1alpha1.ClusterInstallation {
	c := s.courseOf(p)
	// What has changed since it was looked at is looked at again at once.
	outcome.Failed = slices.DeleteFunc(slices.Clone(outcome.Failed), func(failure plan.Failure) bool {
		_, retires := failure.Step.Action.(Retire)
		return retires && apierrors.IsConflict(failure.Err)
	})
	if c.Stands {
		return c.stand(s.ClusterInstallation, outcome, now)
	}
	ci := Default(s.ClusterInstallation)
	after := s.ClusterInstallation.DeepCopy()
	if HandedOver(after) {
		return after
	}
	var parts []part
	for _, v := range c.Views {
		status := installation.ReportAll(v.Snapshot, v.plan, outcome, now).Status
		parts = append(parts, part{set: v.Set, status: inWords(status)})
	}
	status := merge(ci, parts, now)
	status.Restore = reference(s.Restore())
	if meta.IsStatusConditionTrue(parts[0].status.Conditions, v1beta1.ConditionReleased) {
		// The rest is the Mattermost Operator's to say.
		after.Status.Conditions, after.Status.Inventory = parts[0].status.Conditions, parts[0].status.Inventory
		after.Status.Credentials, after.Status.Good, after.Status.RolledBackFrom = "", nil, ""
		return after
	}
	if c.Begins && status.State != v1alpha1.Stable {
		// There was nothing to do because nothing can be done.
		c.Phase, c.Message = v1alpha1.MigrationWaiting, beginsWhenStable
	}
	c.report(s.ClusterInstallation, &status, outcome, now)
	same := equality.Semantic.DeepEqual(status.Restore, after.Status.Restore) && equality.Semantic.DeepEqual(after.Status.Migration, status.Migration)
	if same && installation.OnlyCounts(&v1beta1.Mattermost{Status: StatusOf(after.Status)}, StatusOf(status), now) {
		return after
	}
	after.Status = status
	return after
}

// Unknown is the report of a pass that could not read what it needed.
func Unknown(stored *v1alpha1.ClusterInstallation, err error, now time.Time) *v1alpha1.ClusterInstallation {
	after := stored.DeepCopy()
	mm := &v1beta1.Mattermost{ObjectMeta: after.ObjectMeta, Status: StatusOf(after.Status)}
	after.Status.Conditions = installation.Unknown(mm, err, now).Status.Conditions
	return after
}

// HandedOver reports whether nothing of a resource read from the API server is ours.
func HandedOver(ci *v1alpha1.ClusterInstallation) bool {
	return installation.HandedOver(&v1beta1.Mattermost{ObjectMeta: ci.ObjectMeta})
}

// part is what is to be said of one view.
type part struct {
	set    *installation.Set
	status v1beta1.MattermostStatus
}

func (p part) ready() bool {
	return meta.IsStatusConditionTrue(p.status.Conditions, v1beta1.ConditionReady)
}

func (p part) called(name string) bool { return p.set != nil && p.set.Name == name }

// inWords says it in this API's words.
func inWords(status v1beta1.MattermostStatus) v1beta1.MattermostStatus {
	status.Error = inOurWords(status.Error)
	for i := range status.Conditions {
		status.Conditions[i].Message = inOurWords(status.Conditions[i].Message)
	}
	return status
}

// merge makes one status of those of the views. The set that serves stands for the
// installation; what keeps any of them from being as wanted keeps the installation,
// but for its canary.
func merge(ci *v1alpha1.ClusterInstallation, parts []part, now time.Time) v1alpha1.ClusterInstallationStatus {
	main, lead := parts[0], parts[0]
	if i := slices.IndexFunc(parts, func(p part) bool { return p.called(production(ci)) }); i > 0 {
		lead = parts[i]
	}
	worst := lead
	for _, p := range append([]part{main, lead}, parts...) {
		if canary := ci.Spec.Canary; !p.ready() && (!canary.Enable || !p.called(canary.Deployment.Name)) {
			worst = p
			break
		}
	}
	status := v1alpha1.ClusterInstallationStatus{
		State: v1alpha1.Reconciling, Version: lead.status.Version, Image: lead.status.Image, Endpoint: lead.status.Endpoint,
		Replicas: lead.status.Replicas, UpdatedReplicas: lead.status.UpdatedReplicas,
		ObservedGeneration: main.status.ObservedGeneration, Error: worst.status.Error,
		Good: main.status.Good, RolledBackFrom: main.status.RolledBackFrom, Conditions: main.status.Conditions,
	}
	if worst.ready() {
		status.State = v1alpha1.Stable
	}
	if bg := ci.Spec.BlueGreen; bg.Enable {
		status.BlueName, status.GreenName = bg.Blue.Name, bg.Green.Name
	}
	c := conditions{list: &status.Conditions, generation: status.ObservedGeneration, now: now}
	c.summary(worst)
	c.upgrade(parts)
	c.canary(ci, parts)
	c.released(parts)
	for _, p := range parts {
		status.Credentials = cmp.Or(status.Credentials, p.status.Credentials)
		status.Inventory = append(status.Inventory, p.status.Inventory...)
	}
	status.Inventory = sorted(status.Inventory)
	return status
}

// sorted lists each object once.
func sorted(items []v1beta1.InventoryItem) []v1beta1.InventoryItem {
	order := func(a, b v1beta1.InventoryItem) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	}
	slices.SortStableFunc(items, order)
	return slices.CompactFunc(items, func(a, b v1beta1.InventoryItem) bool { return order(a, b) == 0 })
}

type conditions struct {
	list       *[]metav1.Condition
	generation int64
	now        time.Time
}

func (c conditions) set(one metav1.Condition) { condition.Set(c.list, one, c.generation, c.now) }

// summary takes over Ready, and of Reconciling and Stalled the one that holds.
func (c conditions) summary(from part) {
	if from.set == nil {
		return
	}
	for _, kind := range []string{v1beta1.ConditionReady, v1beta1.ConditionReconciling, v1beta1.ConditionStalled} {
		said := meta.FindStatusCondition(from.status.Conditions, kind)
		if said == nil {
			meta.RemoveStatusCondition(c.list, kind)
			continue
		}
		c.set(named(*said, from.set.Name))
	}
}

// named says which set of pods a condition is about, if something is wrong with it.
func named(c metav1.Condition, set string) metav1.Condition {
	if c.Type != v1beta1.ConditionReady || c.Status != metav1.ConditionTrue {
		c.Message = plan.Bounded("Deployment/"+set+": "+c.Message, messageLimit)
	}
	return c
}

// upgrade takes over what is said of the update Job of a set, of one that has not
// succeeded first.
func (c conditions) upgrade(parts []part) {
	var said *metav1.Condition
	for _, p := range parts[1:] {
		if of := meta.FindStatusCondition(p.status.Conditions, v1beta1.ConditionUpdateJobSucceeded); of != nil && (said == nil || said.Status == metav1.ConditionTrue) {
			said = of
		}
	}
	mains := meta.FindStatusCondition(*c.list, v1beta1.ConditionUpdateJobSucceeded)
	if said != nil && (mains == nil || mains.Status == metav1.ConditionTrue) {
		c.set(*said)
	}
}

// released takes over what keeps a set from being handed back.
func (c conditions) released(parts []part) {
	for _, p := range parts[1:] {
		if of := meta.FindStatusCondition(p.status.Conditions, v1beta1.ConditionReleased); of != nil && of.Reason == v1beta1.ReasonNotReleasable {
			c.set(named(*of, p.set.Name))
			return
		}
	}
}

// canary is there only while there is one.
func (c conditions) canary(ci *v1alpha1.ClusterInstallation, parts []part) {
	i := slices.IndexFunc(parts, func(p part) bool { return ci.Spec.Canary.Enable && p.called(ci.Spec.Canary.Deployment.Name) })
	if i < 0 {
		meta.RemoveStatusCondition(c.list, v1alpha1.ConditionCanaryReady)
		return
	}
	if ready := meta.FindStatusCondition(parts[i].status.Conditions, v1beta1.ConditionReady); ready != nil {
		said := *ready
		said.Type = v1alpha1.ConditionCanaryReady
		c.set(said)
	}
}
