// Package migration answers, for whoever drives the migration of many ClusterInstallations
// to Mattermosts, what it would come to for each, how far each is, and which may begin
// next. What a migration does is decided in package clusterinstallation, which is asked
// here. It is pure: it reads no cluster, clock or file, and changes none of its arguments.
package migration

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/clusterinstallation"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit/plan"
)

// Verdict is what it would come to if a migration was asked for now.
type Verdict string

// Verdicts.
const (
	// Ready: it would begin at once.
	Ready Verdict = "Ready"
	// Waits: it would begin by itself when the installation is stable and not paused.
	Waits Verdict = "Waits"
	// Refused: it cannot be done before somebody has changed something.
	Refused Verdict = "Refused"
	// UnderWay: it has begun, or is being reverted.
	UnderWay Verdict = "UnderWay"
)

// World is what there is of one installation.
type World struct {
	ClusterInstallation *v1alpha1.ClusterInstallation
	// Mattermost is the one of the same name; nil for none.
	Mattermost *v1beta1.Mattermost
	// Secrets are facts about those of its referenced Secrets that exist, by name.
	Secrets map[string]installation.Secret
	// SecretsUnread says that nobody could look whether there are any.
	SecretsUnread bool
	// Restores are those of the namespace: none of the installation's may be under way.
	Restores []v1alpha1.MattermostRestoreDB
	// RestoresUnread says that nobody could look whether there are any.
	RestoresUnread bool
}

// Preflight is what the migration of one installation would come to.
type Preflight struct {
	Namespace string  `json:"namespace"`
	Name      string  `json:"name"`
	Verdict   Verdict `json:"verdict"`
	// Asked says that spec.migrate is true.
	Asked bool `json:"asked,omitempty"`
	// Message says why it is not Ready, and what to do.
	Message string `json:"message,omitempty"`
	// PodRestart says when pods are replaced because of the migration; empty for a refused
	// one, and where nobody asked RestartOf.
	PodRestart Restart `json:"podRestart,omitempty"`
	// PodChanges are the fields of the pod template that differ.
	PodChanges []string `json:"podChanges,omitempty"`
	// Lossy lists what of the ClusterInstallation its Mattermost does not have.
	Lossy []string `json:"lossy,omitempty"`
	// MadeBy are the tools that track the ClusterInstallation as made by them.
	MadeBy []string `json:"madeBy,omitempty"`
	// Warnings are what else somebody should know before.
	Warnings []string `json:"warnings,omitempty"`
}

// phases are those on record, by the reason that the decision gives.
var phases = map[string]Verdict{
	v1beta1.ReasonMigrationRefused:              Refused,
	v1beta1.ReasonMigrationWaiting:              Waits,
	v1beta1.ReasonMigrationPreparing:            Ready,
	v1beta1.ReasonMigrationHandingOver:          UnderWay,
	v1beta1.ReasonMigrationAwaitingFinalization: UnderWay,
	v1beta1.ReasonMigrationReverting:            UnderWay,
	v1beta1.ReasonMigrationReverted:             UnderWay,
	v1beta1.ReasonMigrationInterrupted:          Refused,
	v1beta1.ReasonSuperseded:                    Refused,
}

// Look says what the migration of an installation would come to: it has the controller's
// decision made for the same resource with spec.migrate set.
func Look(w World, now time.Time) Preflight {
	ci := w.ClusterInstallation
	p := Preflight{Namespace: ci.Namespace, Name: ci.Name, Asked: ci.Spec.Migrate, MadeBy: madeBy(ci), Warnings: warnings(w)}
	if ci.DeletionTimestamp != nil {
		p.Verdict, p.Message = Refused, "It is being deleted."
		return p
	}
	asked := ci.DeepCopy()
	asked.Spec.Migrate = true
	s := w.snapshot(asked)
	decided := clusterinstallation.Decide(s, now)
	p.Verdict, p.Message = verdict(decided, ci.Name)
	if m := clusterinstallation.Report(s, decided, plan.Outcome{}, now).Status.Migration; m != nil && p.Verdict != Refused {
		p.Lossy = m.Lossy
	}
	if p.Verdict == Ready && begun(ci) {
		p.Verdict = UnderWay
	}
	if p.Verdict == Ready {
		p.Message = ""
	}
	return p
}

// begun reports whether the Mattermost is made, or about to be.
func begun(ci *v1alpha1.ClusterInstallation) bool {
	m := ci.Status.Migration
	return ci.Spec.Migrate && m != nil && m.Phase == v1alpha1.MigrationPreparing
}

// verdict is what the decision says of the migration.
func verdict(decided plan.Plan, name string) (Verdict, string) {
	for _, note := range decided.Why {
		v, ok := phases[note.Reason]
		if !ok || note.Subject != "ClusterInstallation/"+name {
			continue
		}
		if note.Reason == v1beta1.ReasonMigrationRefused {
			return v, refusal(note.Message)
		}
		return v, note.Message
	}
	// A decision without a word about the migration is none to rely on.
	return Refused, "Nothing is known of its migration: windlass explain clusterinstallation " + name + " says more."
}

// refusal is the reason alone: the note has it after what clients know to look for, and
// once more as the error.
func refusal(message string) string {
	_, why, found := strings.Cut(message, "cannot be performed safely: ")
	if !found {
		return message
	}
	if half := len(why) / 2; len(why)%2 == 1 && why[:half] == why[half+1:] {
		return why[:half]
	}
	return why
}

// snapshot is what decides about a migration: what the objects of the installation are
// like has no part in that before it begins.
func (w World) snapshot(ci *v1alpha1.ClusterInstallation) clusterinstallation.Snapshot {
	s := clusterinstallation.Snapshot{ClusterInstallation: ci, Mattermost: w.Mattermost, Restores: w.Restores}
	for _, view := range clusterinstallation.Views(ci, w.Secrets) {
		s.Views = append(s.Views, installation.Snapshot{Mattermost: view.Mattermost, Set: view.Set, Secrets: w.Secrets})
	}
	return s
}

func warnings(w World) []string {
	ci := w.ClusterInstallation
	var all []string
	if ci.Annotations[v1beta1.ProtectedAnnotation] == "true" {
		all = append(all, "The annotation "+v1beta1.ProtectedAnnotation+" protects the ClusterInstallation at the end too: remove it then, and the migration ends. The Mattermost keeps it.")
	}
	if ci.Annotations[v1alpha1.FinalizeAnnotation] == "Manual" {
		all = append(all, "It is held before the end, by the annotation "+v1alpha1.FinalizeAnnotation+", until windlass migrate finalize.")
	}
	for _, owner := range ci.OwnerReferences {
		all = append(all, "It is owned by "+owner.Kind+"/"+owner.Name+", which may make it anew; the Mattermost has no such owner.")
	}
	for _, finalizer := range ci.Finalizers {
		if finalizer != metav1.FinalizerOrphanDependents && finalizer != metav1.FinalizerDeleteDependents {
			all = append(all, "The finalizer "+finalizer+" keeps the ClusterInstallation at the end until whoever set it removes it.")
		}
	}
	if w.SecretsUnread && len(clusterinstallation.References(ci)) > 0 {
		all = append(all, "Its Secrets could not be read, so that it is not known whether its pods stay as they are; the controller reads them.")
	}
	if w.RestoresUnread {
		all = append(all, "Restores could not be read, so that it is not known whether one is under way, whose end the migration waits for; the controller reads them.")
	}
	return all
}

// tool is one that tracks what it made, and would make it anew.
type tool struct {
	name string
	// keys of labels and annotations; those that end in a slash stand for all that begin
	// with it.
	keys []string
	// managers of fields, which apply.
	managers []string
}

var tools = []tool{
	{"Argo CD", []string{"argocd.argoproj.io/"}, []string{"argocd-controller"}},
	{"Flux", []string{"kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/"}, []string{"kustomize-controller", "helm-controller"}},
	{"Helm", []string{"meta.helm.sh/", "helm.sh/"}, []string{"helm"}},
	{"Fleet", []string{"objectset.rio.cattle.io/"}, []string{"fleetagent"}},
	{"kpt", []string{"config.k8s.io/", "config.kubernetes.io/", "internal.config.kubernetes.io/", "cli-utils.sigs.k8s.io/"}, []string{"kpt"}},
	{"kubectl apply", []string{"kubectl.kubernetes.io/last-applied-configuration"}, []string{"kubectl"}},
}

func (t tool) marks(key string) bool {
	return slices.ContainsFunc(t.keys, func(k string) bool { return key == k || strings.HasSuffix(k, "/") && strings.HasPrefix(key, k) })
}

// madeBy are the tools whose marks a ClusterInstallation has.
func madeBy(ci *v1alpha1.ClusterInstallation) []string {
	var all []string
	for _, t := range tools {
		marked := func(of map[string]string) bool {
			for key := range of {
				if t.marks(key) {
					return true
				}
			}
			return false
		}
		applies := slices.ContainsFunc(ci.ManagedFields, func(e metav1.ManagedFieldsEntry) bool {
			return e.Operation == metav1.ManagedFieldsOperationApply && slices.Contains(t.managers, e.Manager)
		})
		if marked(ci.Labels) || marked(ci.Annotations) || applies || t.name == "Helm" && ci.Labels["app.kubernetes.io/managed-by"] == "Helm" {
			all = append(all, t.name)
		}
	}
	// The label is Argo CD's own unless told otherwise, and Helm's charts set it as well.
	if _, instance := ci.Labels["app.kubernetes.io/instance"]; instance && !slices.Contains(all, "Argo CD") && !slices.Contains(all, "Helm") {
		all = slices.Insert(all, 0, "Argo CD or Helm")
	}
	return all
}
