package installation

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/condition"
	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

// messageLimit bounds a condition's message and status.error, in bytes. A
// message of the API server can quote a whole object.
const messageLimit = 1024

// Report returns a copy of the resource with the status it should now have.
func Report(s Snapshot, p plan.Plan, outcome plan.Outcome, now time.Time) *v1beta1.Mattermost {
	mm := ReportAll(s, p, outcome, now)
	if OnlyCounts(s.Mattermost, mm.Status, now) {
		return s.Mattermost.DeepCopy()
	}
	return mm
}

// ReportAll is Report with each change of the pod counts, also those that are not worth
// a write.
func ReportAll(s Snapshot, p plan.Plan, outcome plan.Outcome, now time.Time) *v1beta1.Mattermost {
	migration := migrationOf(s)
	if migration.waits() {
		return migration.report(s, now)
	}
	a := assessmentOf(s, p)
	a.freeze(p)
	if mm := a.reportInstead(s, outcome, now); mm != nil {
		return mm
	}
	h := assessHealth(s, a.Mattermost, a.Request.Wanted, outcome.Applied)
	a.Renewal.count(&h)
	mm := s.Mattermost.DeepCopy()
	status := &mm.Status
	status.ObservedGeneration = generation(s, a, outcome)
	if !a.Paused && !a.Deleting && a.Frozen == "" && len(a.Problems) == 0 {
		// From here on it has objects of that shape.
		status.Shape, status.Lineage = a.Shape, a.Mattermost.Status.Lineage
		if !a.Renewal.Active {
			status.Renewal = nil
		}
	}
	status.Inventory = items(inventory.Next(a.Request, outcome))
	status.Replicas, status.UpdatedReplicas = h.Replicas, h.Updated
	if len(a.Problems) == 0 && !a.Deleting {
		status.Endpoint, status.ResourcePatch = h.Endpoint, a.Patches
	}
	summary := summarise(a, h, outcome)
	if summary.state != v1beta1.Reconciling {
		status.Credentials = firstCredentials(s, a)
	}
	status.State = summary.state
	status.Error = summary.hardError
	if summary.state != v1beta1.Reconciling && h.Updated > 0 || summary.state == v1beta1.Stable {
		status.Version, status.Image = a.Mattermost.Spec.Version, a.Mattermost.Spec.Image
	}
	reportServing(s, a, h, outcome, status)
	c := conditions{list: &status.Conditions, generation: status.ObservedGeneration, now: now}
	c.paused(a)
	c.summary(summary)
	c.released(a)
	migration.record(s.Mattermost, status, c)
	c.warned(append(warnings(s, a.Shape), s.Warnings...))
	if !a.Deleting {
		c.set(databaseCondition(s, a))
		c.set(fileStoreCondition(s, a))
		c.set(endpointCondition(a, h))
		c.patches(a)
		c.upgrade(a.Upgrade)
	}
	return mm
}

// reportServing records which generation and image serve well, and which image failed.
func reportServing(s Snapshot, a assessment, h health, outcome plan.Outcome, status *v1beta1.MattermostStatus) {
	if status.State == v1beta1.Stable && h.PodsRun() {
		status.StableGeneration = status.ObservedGeneration
	}
	if h.PodsRun() && mainImage(s.Deployment) == image(a.Mattermost) && !changed(outcome) {
		status.Good = &v1beta1.Release{Image: a.Mattermost.Spec.Image, Version: a.Mattermost.Spec.Version}
	}
	if len(a.Problems) == 0 && !a.Deleting {
		status.RolledBackFrom = failedImage(s, a.Mattermost)
	}
	if a.RollBack.From != "" && h.Updated > 0 {
		status.Version, status.Image = a.RollBack.To.Version, a.RollBack.To.Image
	}
}

// reportInstead is the report of a pass that is about something else than the spec; nil if it
// is not.
func (a assessment) reportInstead(s Snapshot, outcome plan.Outcome, now time.Time) *v1beta1.Mattermost {
	if mm := a.reportRelease(s, outcome, now); mm != nil {
		return mm
	}
	if a.Renewal.Begins != "" {
		return a.begin(s, now)
	}
	return nil
}

// reportRelease leaves of the status what the Mattermost Operator knows, and a word
// for those who look at it before that does. Once all objects are handed over it is
// not written any more. It returns nil while the status is ours.
func (a assessment) reportRelease(s Snapshot, outcome plan.Outcome, now time.Time) *v1beta1.Mattermost {
	mm := s.Mattermost.DeepCopy()
	switch {
	case Released(mm) && a.Deleting || a.Release.Over && (!a.Paused || HandedOver(mm)):
		return mm
	case !a.Release.Handing || a.Paused || len(outcome.Failed)+len(outcome.Blocked) > 0:
		return nil
	}
	status := &mm.Status
	status.Inventory, status.Credentials, status.Shape, status.Good, status.RolledBackFrom, status.StableGeneration = nil, "", "", nil, "", 0
	kept := []string{v1beta1.ConditionReady, v1beta1.ConditionReconciling, v1beta1.ConditionStalled}
	status.Conditions = slices.DeleteFunc(status.Conditions, func(c metav1.Condition) bool { return !slices.Contains(kept, c.Type) })
	conditions{list: &status.Conditions, generation: mm.Generation, now: now}.released(a)
	return mm
}

// countsAfter is how long an installation has been reconciling before a change
// of its pod counts, and of nothing else, is worth a write. Most roll-outs of a
// fleet are over sooner, and say so; the counts of one that takes longer are
// what its user watches.
const countsAfter = 10 * time.Second

// untilCounts is how long the counts alone are not yet reported; 0 when they are.
func untilCounts(stored *v1beta1.Mattermost, now time.Time) time.Duration {
	c := meta.FindStatusCondition(stored.Status.Conditions, v1beta1.ConditionReconciling)
	if c == nil || c.Status != metav1.ConditionTrue {
		return 0
	}
	// Another replica's clock may have been ahead when it wrote the condition.
	return min(max(countsAfter-now.Sub(c.LastTransitionTime.Time), 0), countsAfter)
}

// OnlyCounts reports whether nothing but the pod counts has changed, and that is not
// worth a write yet.
func OnlyCounts(stored *v1beta1.Mattermost, now v1beta1.MattermostStatus, at time.Time) bool {
	return untilCounts(stored, at) > 0 && sameButCounts(stored.Status, now)
}

func sameButCounts(a, b v1beta1.MattermostStatus) bool {
	a.Replicas, a.UpdatedReplicas = b.Replicas, b.UpdatedReplicas
	return equality.Semantic.DeepEqual(a, b)
}

// Unknown is the report of a pass that could not read what it needed. What was
// reported before may still be true, so only the summary changes.
func Unknown(stored *v1beta1.Mattermost, err error, now time.Time) *v1beta1.Mattermost {
	mm := stored.DeepCopy()
	if HandedOver(mm) {
		return mm
	}
	c := conditions{list: &mm.Status.Conditions, generation: mm.Generation, now: now}
	c.set(metav1.Condition{
		Type: v1beta1.ConditionReady, Status: metav1.ConditionUnknown, Reason: v1beta1.ReasonObserveFailed,
		Message: plan.Bounded("Nothing was changed, because the installation could not be read: "+err.Error(), messageLimit),
	})
	return mm
}

// generation is the one that this pass acted on: none while an installation is
// paused. Writing defaults back makes
// the next one, and it is guarded by the resource version, so it is known.
func generation(s Snapshot, a assessment, outcome plan.Outcome) int64 {
	if a.Paused && len(a.Steps) > 0 {
		return s.Mattermost.Status.ObservedGeneration
	}
	for _, step := range outcome.Done {
		if _, ok := step.Action.(WriteBack); ok || s.Complete != nil && step.Action == s.Complete {
			return s.Mattermost.Generation + 1
		}
	}
	return s.Mattermost.Generation
}

func items(digests inventory.Digests) []v1beta1.InventoryItem {
	var all []v1beta1.InventoryItem
	for ref, digest := range digests {
		all = append(all, v1beta1.InventoryItem{Group: ref.Group, Kind: ref.Kind, Name: ref.Name, Digest: digest})
	}
	slices.SortFunc(all, func(a, b v1beta1.InventoryItem) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return all
}

// summary is the one sentence about an installation.
type summary struct {
	state     v1beta1.RunningState
	reason    string
	message   string
	hardError string
	// needsPerson says that nothing will change by waiting.
	needsPerson bool
}

// summarise goes from what hinders most to what hinders least.
func summarise(a assessment, h health, outcome plan.Outcome) summary {
	if s, hindered := hindrance(a, h, outcome); hindered {
		return s
	}
	state := v1beta1.Reconciling
	if h.Usable() {
		state = v1beta1.Ready
	}
	switch {
	case changed(outcome):
		return rollingOut(v1beta1.Reconciling)
	case h.Settled() && h.Wanted == 0:
		return summary{state: v1beta1.Stable, reason: v1beta1.ReasonHibernated, message: "The installation hibernates: no pods are wanted and none run."}
	case h.Settled():
		return summary{state: v1beta1.Stable, reason: v1beta1.ReasonStable, message: "All pods run the wanted version and are available."}
	case h.Stuck != "":
		look := "Look at the pods' events and logs; Windlass goes on by itself once they start."
		if h.Unmade != "" {
			look = "Pods cannot be made (" + h.Unmade + "): change what forbids them; Windlass goes on by itself once they start."
		}
		return summary{
			state: state, reason: v1beta1.ReasonDeploymentUnavailable, needsPerson: true,
			message: plan.Bounded(fmt.Sprintf("The roll-out makes no progress (%s). %s", h.Stuck, look), messageLimit),
		}
	case a.Renewal.Active:
		return summary{state: state, reason: v1beta1.ReasonRenewing, message: a.Renewal.message()}
	case !h.Routed:
		reason, message := unrouted(a.Mattermost, h)
		return summary{state: v1beta1.Reconciling, reason: reason, message: message}
	default:
		s := rollingOut(state)
		if h.Unmade != "" {
			s.message = plan.Bounded(s.message+" Pods cannot be made: "+h.Unmade, messageLimit)
		}
		return s
	}
}

// hindrance says what keeps the plan from being carried out as a whole;
// hindered is false when nothing does.
func hindrance(a assessment, h health, outcome plan.Outcome) (s summary, hindered bool) {
	problem := func(reason, message string, needsPerson bool) (summary, bool) {
		return summary{state: v1beta1.Reconciling, reason: reason, message: message, hardError: message, needsPerson: needsPerson}, true
	}
	switch {
	case a.Paused && len(a.Steps) > 0 && !a.Deleting:
		return summary{state: v1beta1.Reconciling, reason: v1beta1.ReasonPaused, message: plan.Bounded(a.pausedMessage(), messageLimit), needsPerson: true}, true
	case a.Deleting:
		return summary{state: v1beta1.Reconciling, reason: v1beta1.ReasonDeleting, message: "The installation is being deleted; Kubernetes removes everything that it owns."}, true
	case len(a.Problems) > 0:
		return problem(a.Problems[0].Reason, problemsMessage(a.Problems), true)
	case a.Frozen != "":
		return summary{state: v1beta1.Reconciling, reason: v1beta1.ReasonAdmissionFrozen, message: a.Frozen}, true
	case len(a.Conflicts) > 0:
		return problem(v1beta1.ReasonNotOwned, conflictsMessage(a.Conflicts), true)
	case len(outcome.Failed) > 0:
		return problem(v1beta1.ReasonApplyFailed, failuresMessage(outcome.Failed), false)
	case a.Restoring != nil:
		return summary{state: v1beta1.Reconciling, reason: v1beta1.ReasonDatabaseRestoring, message: a.Restoring.message()}, true
	case a.RollBack.From != "":
		return problem(v1beta1.ReasonRolledBack, plan.Bounded(a.RollBack.message(a.Mattermost, h), messageLimit), true)
	case a.Upgrade.Failed():
		note, _ := a.Upgrade.note("")
		return problem(note.Reason, plan.Bounded(note.Message, messageLimit), true)
	case !a.Upgrade.Done():
		note, _ := a.Upgrade.note("")
		return summary{state: v1beta1.Reconciling, reason: note.Reason, message: plan.Bounded(note.Message, messageLimit)}, true
	default:
		return summary{}, false
	}
}

func rollingOut(state v1beta1.RunningState) summary {
	return summary{state: state, reason: v1beta1.ReasonDeploymentProgressing, message: "What is wanted was applied; Kubernetes is rolling it out, and not all pods are available yet."}
}

// changed reports whether the pass changed what the pods or the route depend
// on: the snapshot is older than that, and must not pass for its result.
func changed(outcome plan.Outcome) bool {
	return slices.ContainsFunc(outcome.Done, func(step plan.Step) bool {
		switch action := step.Action.(type) {
		case plan.Apply:
			return action.Manager == ""
		case plan.Delete:
			return action.Ref.GroupKind() != jobKind
		}
		return false
	})
}

func problemsMessage(problems []Problem) string {
	var all []string
	for _, p := range problems {
		all = append(all, p.Path+": "+p.Message)
	}
	return plan.Bounded(strings.Join(all, " "), messageLimit)
}

func conflictsMessage(conflicts []inventory.Conflict) string {
	var all []string
	for _, c := range conflicts {
		all = append(all, notOwned(c))
	}
	slices.Sort(all)
	return plan.Bounded(strings.Join(all, " "), messageLimit)
}

func failuresMessage(failures []plan.Failure) string {
	all := map[string]bool{}
	for _, f := range failures {
		all[f.Err.Error()] = true
	}
	return plan.Bounded(strings.Join(slices.Sorted(maps.Keys(all)), "; "), messageLimit)
}

// dependency reports on what the installation needs from outside, by the
// problems found under a path.
func dependency(kind, path, configured string, problems []Problem) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonConfigured, Message: configured}
	var mine []Problem
	for _, p := range problems {
		if p.Path == path || strings.HasPrefix(p.Path, path+".") {
			mine = append(mine, p)
		}
	}
	if len(mine) > 0 {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, mine[0].Reason, problemsMessage(mine)
	}
	return c
}

func endpointCondition(a assessment, h health) metav1.Condition {
	c := metav1.Condition{Type: v1beta1.ConditionEndpointReady, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonConfigured}
	switch {
	case len(a.Problems) > 0:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, a.Problems[0].Reason, "The route was not looked at, because the spec has problems."
	case !h.Routed:
		c.Status = metav1.ConditionFalse
		c.Reason, c.Message = unrouted(a.Mattermost, h)
	default:
		c.Message = routed(a.Mattermost, h)
	}
	return c
}

// routed says how requests reach the pods.
func routed(mm *v1beta1.Mattermost, h health) string {
	var ways []string
	switch routing(mm) {
	case routingLoadBalancer:
		ways = append(ways, "The Service's load balancer answers at "+h.Endpoint+".")
	case routingALB:
		ways = append(ways, "The Ingress for the AWS load balancer controller routes "+strings.Join(hostNames(mm.Spec.AWSLoadBalancerController.Hosts), ", ")+".")
	case routingIngress:
		ways = append(ways, "The Ingress routes "+host(mm)+".")
	case routingNone:
	}
	if httpRouted(mm) {
		ways = append(ways, fmt.Sprintf("A gateway has accepted the HTTPRoute for %s.", strings.Join(routeHosts(mm), ", ")))
	}
	if len(ways) == 0 {
		return "No route is asked for; the installation is reached through its Service."
	}
	return strings.Join(ways, " ")
}

// unrouted says what is missing on the way to the pods.
func unrouted(mm *v1beta1.Mattermost, h health) (reason, message string) {
	switch {
	case routing(mm) == routingLoadBalancer:
		return v1beta1.ReasonLoadBalancerPending, "The Service has no address of a load balancer yet; the cluster has to give it one."
	case h.RouteSays != "":
		return v1beta1.ReasonRouteNotAccepted, plan.Bounded("No gateway has accepted the HTTPRoute; it says: "+h.RouteSays+". Look at spec.httpRoute.gatewayRef and at the Gateway's listeners.", messageLimit)
	default:
		return v1beta1.ReasonIngressNotFound, "The Ingress is not there yet."
	}
}

// databaseCondition also looks at the resource that runs the database, if there
// is one. The pods wait for it by themselves, so it holds nothing up.
func databaseCondition(s Snapshot, a assessment) metav1.Condition {
	c := dependency(v1beta1.ConditionDatabaseReady, "spec.database", "The database connection is configured from its Secret.", a.Problems)
	if c.Status == metav1.ConditionTrue && managedDatabase(a.Mattermost) != "" {
		return storeCondition(c, s, mysqlClusterKind.GroupKind(), postgresClusterKind.GroupKind())
	}
	return c
}

// storeCondition says of the store of one of the kinds whether it serves.
func storeCondition(c metav1.Condition, s Snapshot, kinds ...schema.GroupKind) metav1.Condition {
	for _, companion := range Companions(s.Mattermost) {
		if !slices.Contains(kinds, companion.GroupKind()) || !companion.Wanted {
			continue
		}
		c.Status, c.Reason = metav1.ConditionFalse, v1beta1.ReasonStorePending
		live, exists := s.Companions[companion.Ref]
		if !exists {
			c.Message = fmt.Sprintf("%s is being made.", companion.Ref)
			return c
		}
		ready, says := companionReady(live)
		if ready {
			c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1beta1.ReasonStoreReady, fmt.Sprintf("%s is ready.", companion.Ref)
			return c
		}
		c.Message = plan.Bounded(fmt.Sprintf("%s is not ready; its operator says: %s.", companion.Ref, cmp.Or(strings.TrimSuffix(says, "."), "nothing yet")), messageLimit)
	}
	return c
}

// fileStoreCondition also looks at the claim, if there is one. Whether it has to
// be bound before pods start is up to its class, so it holds nothing up.
func fileStoreCondition(s Snapshot, a assessment) metav1.Condition {
	c := dependency(v1beta1.ConditionFileStoreReady, "spec.fileStore", "The file store is configured.", a.Problems)
	name := ClaimName(a.Mattermost)
	if c.Status == metav1.ConditionTrue && fileStore(a.Mattermost) == fileStoreManaged {
		return storeCondition(c, s, minioKind.GroupKind())
	}
	if c.Status != metav1.ConditionTrue || name == "" {
		return c
	}
	if s.Claim == nil || s.Claim.Status.Phase != corev1.ClaimBound {
		c.Status, c.Reason = metav1.ConditionFalse, v1beta1.ReasonClaimPending
		c.Message = fmt.Sprintf("PersistentVolumeClaim %q is not bound to a volume; look at its events if that lasts.", name)
		return c
	}
	c.Message = fmt.Sprintf("PersistentVolumeClaim %q is bound.", name)
	return c
}

// patches reports on spec.resourcePatch, while there is one.
func (c conditions) patches(a assessment) {
	if i := slices.IndexFunc(a.Problems, func(p Problem) bool { return p.Reason == v1beta1.ReasonPatchFailed }); i >= 0 {
		c.set(metav1.Condition{Type: v1beta1.ConditionResourcesPatched, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonPatchFailed, Message: problemsMessage(a.Problems)})
		return
	}
	if len(a.Problems) > 0 {
		return // They were not looked at.
	}
	if a.Patches == nil {
		meta.RemoveStatusCondition(c.list, v1beta1.ConditionResourcesPatched)
		return
	}
	condition := metav1.Condition{Type: v1beta1.ConditionResourcesPatched, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonPatched, Message: "The patches were applied."}
	var failed []string
	for _, p := range []struct {
		path   string
		status *v1beta1.PatchStatus
	}{{"spec.resourcePatch.deployment.patch", a.Patches.DeploymentPatch}, {"spec.resourcePatch.service.patch", a.Patches.ServicePatch}} {
		if p.status != nil && p.status.Error != "" {
			failed = append(failed, p.path+": "+p.status.Error+".")
		}
	}
	if len(failed) > 0 {
		condition.Status, condition.Reason = metav1.ConditionFalse, v1beta1.ReasonPatchFailed
		condition.Message = plan.Bounded(strings.Join(failed, " ")+" What it is meant for runs without it: correct it, or remove it.", messageLimit)
	}
	c.set(condition)
}

// conditions sets conditions so that a transition time changes with a status only.
type conditions struct {
	list       *[]metav1.Condition
	generation int64
	now        time.Time
}

func (c conditions) set(one metav1.Condition) { condition.Set(c.list, one, c.generation, c.now) }

// summary sets Ready, and of Reconciling and Stalled the one that holds, as
// kstatus reads them: their absence means False.
func (c conditions) summary(s summary) {
	ready := metav1.ConditionFalse
	if s.state == v1beta1.Stable {
		ready = metav1.ConditionTrue
	}
	c.set(metav1.Condition{Type: v1beta1.ConditionReady, Status: ready, Reason: s.reason, Message: s.message})
	hinder, other := v1beta1.ConditionReconciling, v1beta1.ConditionStalled
	if s.needsPerson {
		hinder, other = other, hinder
	}
	meta.RemoveStatusCondition(c.list, other)
	if ready == metav1.ConditionTrue {
		meta.RemoveStatusCondition(c.list, hinder)
		return
	}
	c.set(metav1.Condition{Type: hinder, Status: metav1.ConditionTrue, Reason: s.reason, Message: s.message})
}

// paused is there only while it holds.
func (c conditions) paused(a assessment) {
	if !a.Paused || a.Deleting {
		c.resumed()
		meta.RemoveStatusCondition(c.list, v1beta1.ConditionPaused)
		return
	}
	c.set(metav1.Condition{Type: v1beta1.ConditionPaused, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonPaused, Message: plan.Bounded(a.pausedMessage(), messageLimit)})
}

// resumed has Ready begin anew where it was False for nothing but the pause: what is done about
// that begins now.
func (c conditions) resumed() {
	paused, ready := meta.FindStatusCondition(*c.list, v1beta1.ConditionPaused), meta.FindStatusCondition(*c.list, v1beta1.ConditionReady)
	if paused != nil && ready != nil && ready.Reason == v1beta1.ReasonPaused && !ready.LastTransitionTime.Before(&paused.LastTransitionTime) {
		meta.RemoveStatusCondition(c.list, v1beta1.ConditionReady)
	}
}

// released is there only while an annotation asks for it.
func (c conditions) released(a assessment) {
	note, asked := a.releaseNote("")
	if !asked {
		meta.RemoveStatusCondition(c.list, v1beta1.ConditionReleased)
		return
	}
	status := metav1.ConditionFalse
	if note.Reason == v1beta1.ReasonReleased {
		status = metav1.ConditionTrue
	}
	c.set(metav1.Condition{Type: v1beta1.ConditionReleased, Status: status, Reason: note.Reason, Message: plan.Bounded(note.Message, messageLimit)})
}

// warned is there only while there is something to say.
func (c conditions) warned(warnings []string) {
	if len(warnings) == 0 {
		meta.RemoveStatusCondition(c.list, v1beta1.ConditionSpecWarnings)
		return
	}
	c.set(metav1.Condition{Type: v1beta1.ConditionSpecWarnings, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAmbiguous, Message: plan.Bounded(strings.Join(warnings, " "), messageLimit)})
}

// upgrade reports on the update Job. The last word on an upgrade that is over
// stays only if it succeeded.
func (c conditions) upgrade(u upgrade) {
	note, needed := u.note("")
	if !needed {
		if last := meta.FindStatusCondition(*c.list, v1beta1.ConditionUpdateJobSucceeded); last != nil && last.Status != metav1.ConditionTrue {
			meta.RemoveStatusCondition(c.list, v1beta1.ConditionUpdateJobSucceeded)
		}
		return
	}
	status := metav1.ConditionUnknown
	switch {
	case u.Failed():
		status = metav1.ConditionFalse
	case u.Done():
		status = metav1.ConditionTrue
	}
	c.set(metav1.Condition{Type: v1beta1.ConditionUpdateJobSucceeded, Status: status, Reason: note.Reason, Message: plan.Bounded(note.Message, messageLimit)})
}
