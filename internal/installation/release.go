package installation

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

// The way back: each object gets what the Mattermost Operator would have left on it,
// so that it finds nothing to change, and no pod restarts. The status comes last,
// because from then on it is not ours to write.

// StatusManager is the field manager of the status.
const StatusManager = Manager + "-status"

const whyReleased = "the installation is handed back"

// release is how far the way back is. The zero value is not on it.
type release struct {
	Asked bool
	// Blockers are what the Mattermost Operator could not carry on, in sentences.
	Blockers []string
	// Handing says that the steps are those of the way back, and nothing else.
	Handing bool
	// Over says that what the Mattermost Operator does not know was taken out of the
	// status, which is not written any more then.
	Over bool
}

// Released reports whether an installation is on the way back, or at its end.
func Released(mm *v1beta1.Mattermost) bool {
	return mm.Annotations[v1beta1.ReleasedAnnotation] == "true"
}

// HandedOver reports whether nothing of a resource read from the API server is ours.
func HandedOver(mm *v1beta1.Mattermost) bool {
	return Released(mm) && !hasManager(mm.ManagedFields, StatusManager)
}

// takeBack replaces the steps by those of the way back, once all that is wanted was
// applied. An installation with problems is handed over as it is. Once the first
// object is the Mattermost Operator's there are no others.
func (a *assessment) takeBack(s Snapshot) {
	if !Released(s.Mattermost) || a.Deleting {
		return
	}
	a.Release.Asked = true
	if s.Held {
		return
	}
	ours, begun := a.leftToHandOver(s)
	if !begun && len(ours) > 0 {
		a.Release.Blockers = a.blockers(s)
		if len(a.Release.Blockers) > 0 || len(a.Problems) == 0 && a.unfinished(s) {
			return // First things first.
		}
	}
	a.Release.Handing, a.WritesBack, a.Steps = true, false, nil
	for _, live := range ours {
		a.Steps = append(a.Steps, plan.Step{Action: a.handOver(live), Why: whyReleased})
	}
	a.Release.Over = len(ours) == 0 && (said(s.Mattermost) || !hasManager(s.Mattermost.ManagedFields, StatusManager))
	if a.Release.Over && s.Set == nil {
		a.Steps = handOverResource(s)
	}
}

// leftToHandOver are the objects that are ours; begun says that others of those that
// are wanted are the Mattermost Operator's already. What is not wanted may have been
// its all along.
func (a *assessment) leftToHandOver(s Snapshot) (ours []inventory.Live, begun bool) {
	begun = formers(s.Mattermost.ManagedFields, "status")
	for _, live := range s.Live {
		mine := (live.Controller == a.Request.Owner || a.Request.Retained[live.Ref]) && !live.Deleting && live.Ref.GroupKind() != jobKind
		switch {
		case !mine:
		case hasManager(live.Managed, Manager):
			ours = append(ours, live)
		case formers(live.Managed, "") && find(a.Request.Wanted, live.Ref) != nil:
			begun = true
		}
	}
	return ours, begun
}

// unfinished says that not all that is wanted is there as it is wanted.
func (a *assessment) unfinished(s Snapshot) bool {
	return len(a.Steps) > 0 || a.WritesBack || slices.ContainsFunc(a.Request.Wanted, func(o *unstructured.Unstructured) bool {
		live, exists := s.live(plan.RefTo(o))
		return !exists || live.Deleting
	})
}

// said reports whether the status was brought into the form in which it is left.
func said(mm *v1beta1.Mattermost) bool {
	return len(mm.Status.Inventory) == 0 && meta.IsStatusConditionTrue(mm.Status.Conditions, v1beta1.ConditionReleased)
}

// blockers are the parts of an installation that the Mattermost Operator does not
// know, and what it would begin anew. They go by what is recorded too: with problems
// in the spec nothing else tells what the objects are like.
func (a *assessment) blockers(s Snapshot) []string {
	var all []string
	status := s.Mattermost.Status
	if a.Shape != v1beta1.ShapeStrict || status.Shape == v1beta1.ShapeStandard {
		all = append(all, fmt.Sprintf("The objects have the shape %s: annotate the installation with %s=%s first, which replaces its pods one by one.", v1beta1.ShapeStandard, v1beta1.ShapeAnnotation, v1beta1.ShapeStrict))
	}
	if v1alpha1(a.Mattermost) && !s.view() {
		all = append(all, "The objects have the labels and selectors of the ClusterInstallation that this Mattermost was, which the Mattermost Operator would try to change and cannot.")
	}
	if managedDatabase(a.Mattermost) == databasePostgres {
		all = append(all, "The database is a managed PostgreSQL, which the Mattermost Operator cannot run: use spec.database.external with the Secret "+postgresSecret(a.Mattermost.Name)+" and its keys under the names of external databases.")
	}
	if httpRouted(a.Mattermost) {
		all = append(all, "Requests come by way of spec.httpRoute, which the Mattermost Operator does not know: use spec.ingress.")
	}
	if s.Restoring != nil {
		all = append(all, s.Restoring.By+" restores the database; the installation is handed over when it is done.")
	}
	running := slices.ContainsFunc(s.Jobs, func(job batchv1.Job) bool {
		return isUpgradeJob(s.Name(), &job) && UnfinishedJob(&job)
	})
	switch {
	case rolledBack(a.Mattermost).From != "":
		all = append(all, "The upgrade to "+status.RolledBackFrom+" was rolled back, and the Mattermost Operator would begin it anew: set the version back.")
	case a.Upgrade.Failed():
		all = append(all, "The upgrade to "+a.Upgrade.To+" failed, and the Mattermost Operator would begin it anew: set the version back.")
	case running || !a.Upgrade.Done():
		all = append(all, "An upgrade is under way; the installation is handed over when it is over.")
	}
	return all
}

// handOver is the step for one object. What holds data gets back the owner with whom
// it is deleted; of Secrets, values are not copied into an annotation.
func (a *assessment) handOver(live inventory.Live) plan.HandOver {
	action := plan.HandOver{Ref: live.Ref, UID: live.UID, From: []string{Manager, replicasManager}, To: Former}
	if a.Request.Retained[live.Ref] {
		owner := ownerReference(a.Mattermost)
		action.Own = &owner
	}
	if intent := find(a.Request.Wanted, live.Ref); intent != nil {
		action.Annotations = map[string]string{lastApplied: original(a.Mattermost, intent)}
	}
	return action
}

// handOverResource is the last of it: the resource's own fields, and its status.
func handOverResource(s Snapshot) []plan.Step {
	var steps []plan.Step
	action := plan.HandOver{
		Ref: s.ref(kindOf(s.Mattermost).GroupKind(), s.Mattermost.Name), UID: s.Mattermost.UID,
		From: []string{Manager}, To: Former,
	}
	if hasManager(s.Mattermost.ManagedFields, Manager) {
		steps = append(steps, plan.Step{Action: action, Why: whyReleased})
	}
	if hasManager(s.Mattermost.ManagedFields, StatusManager) {
		action.From, action.Subresource = []string{StatusManager}, "status"
		steps = append(steps, plan.Step{Action: action, Why: whyReleased})
	}
	return steps
}

func hasManager(managed []metav1.ManagedFieldsEntry, manager string) bool {
	return slices.ContainsFunc(managed, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == manager })
}

// note says where the way back stands; ok is false for one that is not on it.
func (a assessment) releaseNote(subject string) (note plan.Note, ok bool) {
	note = plan.Note{Subject: subject}
	switch {
	case !a.Release.Asked:
		return note, false
	case len(a.Release.Blockers) > 0:
		note.Reason, note.Message = v1beta1.ReasonNotReleasable, "The Mattermost Operator could not carry on: "+strings.Join(a.Release.Blockers, " ")
	case a.Paused:
		note.Reason, note.Message = v1beta1.ReasonReleasing, "Nothing is handed over while the installation is paused."
	case !a.Release.Handing:
		note.Reason, note.Message = v1beta1.ReasonReleasing, "The objects are handed over once what is wanted was applied to them."
	default:
		note.Reason, note.Message = v1beta1.ReasonReleased, "The objects are handed over to the Mattermost Operator, and deleting the resource deletes its data again. Windlass does nothing more about it; remove the annotation "+v1beta1.ReleasedAnnotation+" to have it taken over again."
	}
	return note, true
}

// original is what the Mattermost Operator keeps of what it last made, in its form:
// a zip archive in base64. It finds by it which fields are to be removed, so nothing
// may be in it that it would not set itself.
func original(mm *v1beta1.Mattermost, intent *unstructured.Unstructured) string {
	content := intent.DeepCopy()
	switch intent.GetKind() {
	case "Deployment":
		unstructured.RemoveNestedField(content.Object, "spec", "template", "metadata", "annotations", CredentialsAnnotation)
	case "RoleBinding":
		unstructured.RemoveNestedField(content.Object, "roleRef", "apiGroup")
	case "PersistentVolumeClaim":
		content.SetOwnerReferences(nil)
		unstructured.RemoveNestedField(content.Object, "spec", "storageClassName")
	case "Service":
		if _, said, _ := unstructured.NestedString(content.Object, "spec", "type"); !said {
			_ = unstructured.SetNestedField(content.Object, string(corev1.ServiceTypeClusterIP), "spec", "type") // The spec is a map.
		}
	case mysqlClusterKind.Kind, minioKind.Kind:
		setOwner(mm, content)
	}
	delete(content.Object, "apiVersion")
	delete(content.Object, "kind")
	text, err := json.Marshal(unsaid(content.Object))
	if err != nil {
		panic(fmt.Sprintf("intent %s is not JSON: %v", plan.RefTo(intent), err)) // As in inventory.Digest.
	}
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	file, err := z.Create("original")
	if err == nil {
		_, err = file.Write(text)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		panic(fmt.Sprintf("write to memory: %v", err))
	}
	return base64.StdEncoding.EncodeToString(archive.Bytes())
}

// unsaid leaves out what the Mattermost Operator leaves to the API server.
func unsaid(value any) any {
	switch value := value.(type) {
	case map[string]any:
		all := map[string]any{}
		for key, v := range value {
			if !filledInLater(key, v, value) {
				all[key] = unsaid(v)
			}
		}
		return all
	case []any:
		all := make([]any, 0, len(value))
		for _, v := range value {
			all = append(all, unsaid(v))
		}
		return all
	default:
		return value
	}
}

// filledInLater are numbers that are 0, the protocol TCP, and the target of a port
// that has its number.
func filledInLater(key string, value any, siblings map[string]any) bool {
	switch key {
	case "replicas", "revisionHistoryLimit":
		return value == nil
	case "protocol":
		return value == string(corev1.ProtocolTCP)
	case "targetPort":
		return value == siblings["port"]
	default:
		return value == nil || value == int64(0) || value == float64(0)
	}
}
