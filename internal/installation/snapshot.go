package installation

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	mattermostv1alpha1 "windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

// Manager is the field manager under which installations are applied.
const Manager = "windlass-installations"

// replicasManager holds a Deployment's replicas for the moment between our
// giving them up and an autoscaler's taking them over.
const replicasManager = Manager + "-replicas"

// The kinds that an installation is made of.
var (
	deploymentKind     = schema.GroupKind{Group: "apps", Kind: "Deployment"}
	jobKind            = schema.GroupKind{Group: "batch", Kind: "Job"}
	ingressKind        = schema.GroupKind{Group: "networking.k8s.io", Kind: "Ingress"}
	roleKind           = schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "Role"}
	roleBindingKind    = schema.GroupKind{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}
	serviceKind        = schema.GroupKind{Kind: "Service"}
	claimKind          = schema.GroupKind{Kind: "PersistentVolumeClaim"}
	secretKind         = schema.GroupKind{Kind: "Secret"}
	budgetKind         = schema.GroupKind{Group: "policy", Kind: "PodDisruptionBudget"}
	serviceAccountKind = schema.GroupKind{Kind: "ServiceAccount"}
	replicaSetKind     = schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}
	podKind            = schema.GroupKind{Kind: "Pod"}
)

// Snapshot is everything that a decision about one installation may look at.
type Snapshot struct {
	// Mattermost is the resource as it is stored.
	Mattermost *v1beta1.Mattermost
	// Secrets are facts about those referenced secrets that exist, by name.
	Secrets map[string]Secret
	// Live are the objects that the installation controls, and those that have
	// one of its names, whoever controls them.
	Live []inventory.Live
	// Deployment is the installation's own; nil when there is none.
	Deployment *appsv1.Deployment
	// JobServer is the installation's Deployment for jobs; nil when there is none.
	JobServer *appsv1.Deployment
	// Service is the installation's own; nil when there is none.
	Service *corev1.Service
	// Claim is the one that the pods mount for their files, whoever made it; nil
	// when there is none.
	Claim *corev1.PersistentVolumeClaim
	// Companions are the objects of kinds that not every cluster knows, as far as
	// they exist: metadata and status.
	Companions map[plan.Ref]*unstructured.Unstructured
	// Unserved are those whose kind this cluster does not know.
	Unserved []Companion
	// IngressClass is the class that an AWS load balancer needs and the spec does
	// not name; nil when there is none.
	IngressClass *networkingv1.IngressClass
	// PreUpgrade is the CronJob that the spec names; nil when there is none.
	PreUpgrade *batchv1.CronJob
	// Namesakes are, for each host of the installation, the others that have it too.
	Namesakes map[string][]types.NamespacedName
	// Budgets are the disruption budgets of the namespace that no installation made.
	Budgets []policyv1.PodDisruptionBudget
	// NewShape is that of an installation of which nothing says its shape; empty is
	// Standard.
	NewShape v1beta1.Shape
	// ReplicaSets are those of the Deployment.
	ReplicaSets []appsv1.ReplicaSet
	// Jobs are those that the installation controls.
	Jobs []batchv1.Job
	// Freeze is the Lease that freezes the admission of new installations, whether or not
	// somebody holds it; nil when there is none.
	Freeze *coordinationv1.Lease
	// Autoscaled says that a HorizontalPodAutoscaler sets the Deployment's replicas.
	Autoscaled bool

	// Outgoing are the pods of a renewal; nothing while there is none.
	Outgoing Outgoing
	// Older is the ClusterInstallation of the same name, as far as the Mattermost was made
	// from one; nil when there is none.
	Older *mattermostv1alpha1.ClusterInstallation

	// What follows is for a view: for a Mattermost that stands for a resource of another
	// kind, whose kind it keeps.

	// Predecessor is who had the objects before; see inventory.Request.
	Predecessor types.UID
	// Set is the further set of pods that the snapshot is about; nil for the
	// installation's own.
	Set *Set
	// Serves is the set to whose pods the Service sends; empty for the installation's own.
	Serves string
	// WithoutPods says that sets run in place of the installation's own pods.
	WithoutPods bool
	// Elsewhere says that a Job of another set's upgrade runs, or is about to.
	Elsewhere bool
	// Held says that another view has to be ready to be handed back first.
	Held bool
	// Keep are objects that are not wanted and not to be removed yet.
	Keep []plan.Ref
	// Found are problems of the resource that the view does not show.
	Found []Problem
	// Warnings say what of the resource is carried out otherwise than its author may think.
	Warnings []string
	// Restoring is what a restore of the database asks for; nil while none does.
	Restoring *Restoring
	// Complete stores what the resource lacks of defaults; nil when it lacks nothing.
	Complete plan.Action
}

// view reports whether the resource is of another kind.
func (s Snapshot) view() bool { return kindOf(s.Mattermost).Group != v1beta1.GroupVersion.Group }

// Names are the objects whose names an installation needs for itself, besides
// its Companions, and its update Jobs, whose names hold a digest.
func Names(mm *v1beta1.Mattermost) []plan.Ref {
	var names []plan.Ref
	for _, kind := range []schema.GroupKind{serviceKind, serviceAccountKind, roleKind, roleBindingKind, ingressKind, deploymentKind, claimKind, budgetKind} {
		names = append(names, plan.RefOf(kind, mm.Namespace, mm.Name))
	}
	for _, name := range ownSecrets(mm) {
		names = append(names, plan.RefOf(secretKind, mm.Namespace, name))
	}
	return append(names, plan.RefOf(serviceKind, mm.Namespace, HeadlessName(mm.Name)), plan.RefOf(deploymentKind, mm.Namespace, JobServerName(mm.Name)))
}

// ref names an object of the installation's namespace.
func (s Snapshot) ref(kind schema.GroupKind, name string) plan.Ref {
	return plan.RefOf(kind, s.Mattermost.Namespace, name)
}

// live returns what is known of an object, if it exists.
func (s Snapshot) live(ref plan.Ref) (inventory.Live, bool) {
	i := slices.IndexFunc(s.Live, func(l inventory.Live) bool { return l.Ref == ref })
	if i < 0 {
		return inventory.Live{}, false
	}
	return s.Live[i], true
}

// recorded is the inventory in the resource's status.
func (s Snapshot) recorded() inventory.Digests {
	digests := inventory.Digests{}
	for _, item := range s.Mattermost.Status.Inventory {
		ref := plan.Ref{Group: item.Group, Kind: item.Kind, Namespace: s.Mattermost.Namespace, Name: item.Name}
		digests[ref] = item.Digest
	}
	return digests
}
