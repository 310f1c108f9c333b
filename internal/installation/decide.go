package installation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

// WriteBack stores the defaulted spec, as users of the Mattermost Operator's
// API expect: a size is expanded and erased, replicas are never empty.
type WriteBack struct{ Mattermost *v1beta1.Mattermost }

func (w WriteBack) String() string { return "write defaults to Mattermost/" + w.Mattermost.Name }

// assessment is what a snapshot means. Deciding and reporting both start from
// it, so that the status tells of the same view that was acted upon.
type assessment struct {
	// Mattermost is the resource with its defaults.
	Mattermost *v1beta1.Mattermost
	Deleting   bool
	Shape      v1beta1.Shape
	// Paused says that nothing is to be changed.
	Paused bool
	// Frozen says why a new installation is not made yet; empty when it may be.
	Frozen string
	// Problems keep the installation from being converged at all.
	Problems []Problem
	Upgrade  upgrade
	RollBack rollBack
	Release  release
	Renewal  renewal
	// Restoring is what a restore of the database asks for; nil while none does.
	Restoring *Restoring
	// WritesBack says that the stored spec lacks defaults.
	WritesBack bool
	// Patches is what became of spec.resourcePatch; nil when there is none.
	Patches *v1beta1.ResourcePatchStatus
	// Request is what is wanted, beside what there is.
	Request   inventory.Request
	Steps     []plan.Step
	Conflicts []inventory.Conflict
}

// Decide says what to do next about one installation, and why not more. All
// that it waits for is watched; it wakes only to report counts that it held back, and
// when a freeze runs out.
func Decide(s Snapshot, now time.Time) plan.Plan {
	if m := migrationOf(s); m.waits() {
		return plan.Plan{Why: []plan.Note{{Subject: subjectOf(s.Mattermost), Reason: v1beta1.ReasonHeldForMigration, Message: m.message(s.Mattermost)}}}
	}
	a := assess(s)
	p := plan.Plan{Why: a.notes(), Wake: untilCounts(s.Mattermost, now), Status: a}
	if s.awaitsKind() || len(a.Conflicts) > 0 || notOwnedProblem(a.Problems) || checkIngressClass(a.Mattermost, s.IngressClass) != nil {
		p.Wake = companionRetry
	}
	if a.Deleting || a.Paused {
		return p
	}
	if freeze := s.frozen(now); freeze != nil {
		p.Why = append(p.Why, frozenNote(subjectOf(a.Mattermost), freeze))
		if left := freeze.Until.Sub(now); p.Wake == 0 || left < p.Wake {
			p.Wake = left
		}
		return p
	}
	if a.Renewal.Begins != "" {
		return p
	}
	if a.Renewal.Active {
		p.Wake = renewalLook
	}
	if a.WritesBack {
		p.Steps = append(p.Steps, plan.Step{Action: s.writeBack(a.Mattermost), Why: "the stored spec lacks defaults"})
	}
	p.Steps = slices.Concat(p.Steps, a.Steps, a.Renewal.drain(s, now))
	return p
}

// writesBack also holds for a spec with problems that Kubernetes cannot see: it
// is the API's contract that what is stored is complete.
func writesBack(s Snapshot) bool {
	if s.Mattermost.Annotations[v1beta1.WriteBackAnnotation] == "off" {
		return false
	}
	if s.view() {
		return s.Complete != nil
	}
	return !equality.Semantic.DeepEqual(s.Mattermost.Spec, Default(s.Mattermost).Spec)
}

func (s Snapshot) writeBack(mm *v1beta1.Mattermost) plan.Action {
	if s.view() {
		return s.Complete
	}
	return WriteBack{mm}
}

func assess(s Snapshot) assessment {
	a := assessSpec(s)
	a.takeBack(s)
	return a
}

// assessmentOf is the one that a plan was made from. A plan that was not decided here
// has none.
func assessmentOf(s Snapshot, p plan.Plan) assessment {
	if a, ok := p.Status.(assessment); ok {
		return a
	}
	return assess(s)
}

// assessSpec compares what the spec asks for with what there is.
func assessSpec(s Snapshot) assessment {
	a := assessment{
		Mattermost: Default(s.Mattermost),
		Deleting:   s.Mattermost.DeletionTimestamp != nil,
		Paused:     paused(s.Mattermost),
		Shape:      shapeOf(s),
		WritesBack: writesBack(s),
		Restoring:  s.Restoring,
		Request:    inventory.Request{Owner: s.Mattermost.UID, Predecessor: PredecessorOf(s), Manager: Manager, Live: s.Live, Recorded: s.recorded()},
	}
	a.Mattermost.Status.Lineage = lineageOf(s)
	a.Request.Retained = retained(s, a.Mattermost)
	if a.Deleting {
		return a // Everything carries an owner reference, so Kubernetes removes it.
	}
	a.Problems = slices.Concat(Validate(a.Mattermost), checkShape(a.Mattermost, a.Shape), Check(a.Mattermost, s.Secrets), checkClaim(a.Mattermost, s.Claim), checkCompanions(s), checkIngressClass(a.Mattermost, s.IngressClass), unselectable(a.Mattermost), s.Found)
	// What runs keeps running as it is while there are problems, but deleting it must
	// not delete data that is to be kept.
	a.Steps = a.letGo()
	if len(a.Problems) > 0 {
		return a
	}
	a.RollBack = rolledBack(a.Mattermost)
	running := s.Restoring.running(a.RollBack.running(a.Mattermost))
	a.Renewal = renewalOf(s, running)
	r, err := Render(running, s.Secrets, RenderOptions{
		OmitReplicas: leavesReplicas(s, running) && !a.Renewal.Stops, Claim: s.Claim, Credentials: rotated(s, a.Mattermost),
		Shape: a.Shape, Budgeted: budgeted(s, a.Mattermost),
		Set: s.Set, Serves: s.Serves, WithoutPods: s.WithoutPods,
		Renewing: a.Renewal.Active, SelectsOlder: a.Renewal.Older, Replicas: a.Renewal.Replicas,
	})
	if err == nil && s.Restoring != nil {
		err = s.Restoring.keepImage(s, r.Objects)
	} else if err == nil {
		a.Upgrade, err = assessUpgrade(s, running, find(r.Objects, s.ref(deploymentKind, s.Name())))
	}
	if err != nil {
		a.Problems = []Problem{{Path: "spec", Reason: v1beta1.ReasonInvalidSpec, Message: err.Error()}}
		return a
	}
	if a.Problems = patchProblems(s.Mattermost, r.Patches); len(a.Problems) > 0 {
		return a
	}
	a.Patches = r.Patches
	a.converge(s, r.Objects)
	if !a.Renewal.Active {
		a.Renewal.Begins = a.renewalDue(s)
	}
	return a
}

// converge fills in what has to change so that the objects are what exists.
func (a *assessment) converge(s Snapshot, objects []*unstructured.Unstructured) {
	deployment, jobServer := s.ref(deploymentKind, s.Name()), s.ref(deploymentKind, JobServerName(s.Mattermost.Name))
	a.Request.Wanted, a.Request.Keep = objects, map[plan.Ref]bool{}
	if !a.Upgrade.Done() {
		// The old version serves, and runs its jobs, until the database is ready
		// for the new one.
		a.Request.Keep[deployment], a.Request.Keep[jobServer] = true, true
		a.Request.Wanted = slices.DeleteFunc(slices.Clone(objects), func(o *unstructured.Unstructured) bool { return a.Request.Keep[plan.RefTo(o)] })
	}
	if a.Renewal.holds(s) {
		a.Request.Keep[deployment] = true
		a.Request.Wanted = slices.DeleteFunc(slices.Clone(a.Request.Wanted), func(o *unstructured.Unstructured) bool { return plan.RefTo(o) == deployment })
	}
	if usesServiceAccount(a.Mattermost) {
		// It is the user's from here on, even if we made it: the pods run as it.
		a.Request.Keep[s.ref(serviceAccountKind, s.Mattermost.Name)] = true
	}
	for _, ref := range s.Keep {
		a.Request.Keep[ref] = true
	}
	a.Request.Recreate = recreated(s, objects)
	for _, job := range s.Jobs {
		a.Request.Keep[plan.RefOf(jobKind, job.Namespace, job.Name)] = true // Those are the upgrade's to remove.
	}
	converging, conflicts := inventory.Converge(a.Request)
	a.Conflicts = conflicts
	if s.Set != nil {
		a.Steps = slices.Concat(a.takeOver(s, converging), a.Upgrade.steps())
		a.handOverReplicas(s, deployment)
		return
	}
	a.Steps = slices.Concat(generate(a.Mattermost, s.Secrets), makeIngressClass(a.Mattermost, s.IngressClass), a.takeOver(s, converging), a.own(s), a.letGo(), a.takeOverStatus(s), a.Upgrade.steps())
	a.handOverReplicas(s, deployment)
	if a.Upgrade.Done() || !a.Renewal.holds(s) { // The database has to be ready for the new pods.
		a.Steps = append(a.Steps, a.Renewal.Steps...)
	}
}

// recreated are the objects of which a field has to change that Kubernetes
// does not change, with the reason. Neither holds anything that is lost.
func recreated(s Snapshot, objects []*unstructured.Unstructured) map[plan.Ref]string {
	all := map[plan.Ref]string{}
	service := s.ref(serviceKind, s.Name())
	if intent := find(objects, service); intent != nil && s.Service != nil {
		address, _, _ := unstructured.NestedString(intent.Object, "spec", "clusterIP")
		if (address == corev1.ClusterIPNone) != (s.Service.Spec.ClusterIP == corev1.ClusterIPNone) {
			all[service] = "a Service cannot gain or lose its own address"
		}
	}
	jobServer := s.ref(deploymentKind, JobServerName(s.Mattermost.Name))
	if intent := find(objects, jobServer); intent != nil && s.JobServer != nil && s.JobServer.Spec.Selector != nil {
		labels, _, _ := unstructured.NestedStringMap(intent.Object, "spec", "selector", "matchLabels")
		if !maps.Equal(labels, s.JobServer.Spec.Selector.MatchLabels) {
			all[jobServer] = "a Deployment cannot change the labels by which it selects"
		}
	}
	return all
}

// leavesReplicas says that an autoscaler sets the replicas. Hibernation goes
// before it: with no replicas an autoscaler rests, and it only wakes when there are
// some. A Deployment that does not exist yet starts with the wanted replicas.
func leavesReplicas(s Snapshot, mm *v1beta1.Mattermost) bool {
	return s.Autoscaled && s.Deployment != nil && replicas(mm) != 0 && (s.Deployment.Spec.Replicas == nil || *s.Deployment.Spec.Replicas != 0)
}

// handOverReplicas keeps the replicas when we stop owning them: a field that
// its only owner no longer applies is removed, and the API server would put in
// its default of 1. So they are applied under another name first.
func (a *assessment) handOverReplicas(s Snapshot, deployment plan.Ref) {
	if !leavesReplicas(s, s.Restoring.running(a.Mattermost)) || s.Deployment.Spec.Replicas == nil || !ownsReplicas(s, deployment) {
		return
	}
	i := slices.IndexFunc(a.Steps, func(step plan.Step) bool {
		apply, ok := step.Action.(plan.Apply)
		return ok && plan.RefTo(apply.Object) == deployment
	})
	if i < 0 {
		return
	}
	hold := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{"name": deployment.Name, "namespace": deployment.Namespace},
		"spec":     map[string]any{"replicas": int64(*s.Deployment.Spec.Replicas)},
	}}
	action := plan.Apply{Object: hold, Manager: replicasManager}
	a.Steps[i].Needs = append(slices.Clone(a.Steps[i].Needs), action.String())
	a.Steps = slices.Insert(a.Steps, i, plan.Step{Action: action, Why: "an autoscaler sets the replicas from here on"})
}

func ownsReplicas(s Snapshot, deployment plan.Ref) bool {
	live, _ := s.live(deployment)
	if formers(live.Managed, "") {
		return true // It may.
	}
	for _, entry := range live.Managed {
		if entry.Manager == Manager && entry.FieldsV1 != nil && strings.Contains(entry.FieldsV1.GetRawString(), `"f:replicas"`) {
			return true
		}
	}
	return false
}

// notOwnedProblem says that somebody else has to let go of something, which may
// tell nobody.
func notOwnedProblem(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return p.Reason == v1beta1.ReasonNotOwned })
}

func find(objects []*unstructured.Unstructured, ref plan.Ref) *unstructured.Unstructured {
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return plan.RefTo(o) == ref })
	if i < 0 {
		return nil
	}
	return objects[i]
}

// replicas is how many pods a defaulted installation is to have.
func replicas(mm *v1beta1.Mattermost) int32 {
	if mm.Spec.Replicas == nil {
		return 1
	}
	return *mm.Spec.Replicas
}

// notes say what the plan is based on and what it waits for.
func (a assessment) notes() []plan.Note {
	subject := subjectOf(a.Mattermost)
	if a.Deleting {
		return []plan.Note{{Subject: subject, Reason: v1beta1.ReasonDeleting, Message: "Kubernetes removes everything that the installation owns."}}
	}
	var notes []plan.Note
	if a.Paused {
		notes = append(notes, plan.Note{Subject: subject, Reason: v1beta1.ReasonPaused, Message: a.pausedMessage()})
	}
	if note, ok := a.releaseNote(subject); ok {
		notes = append(notes, note)
		if a.Release.Handing {
			return notes // The rest is the Mattermost Operator's to worry about.
		}
	}
	for _, problem := range a.Problems {
		notes = append(notes, plan.Note{Subject: problem.Path, Reason: problem.Reason, Message: problem.Message})
	}
	for _, conflict := range a.Conflicts {
		notes = append(notes, plan.Note{Subject: conflict.Ref.String(), Reason: v1beta1.ReasonNotOwned, Message: notOwned(conflict)})
	}
	if a.Restoring != nil {
		notes = append(notes, plan.Note{Subject: subject, Reason: v1beta1.ReasonDatabaseRestoring, Message: a.Restoring.message()})
	}
	if note, ok := a.Upgrade.note(subject); ok {
		notes = append(notes, note)
	}
	if note, ok := a.Renewal.note(subject); ok {
		notes = append(notes, note)
	}
	return notes
}

func notOwned(c inventory.Conflict) string {
	return fmt.Sprintf("%s exists and is not controlled by this installation, so it is left alone; rename or remove it, or rename the installation.", c.Ref)
}
