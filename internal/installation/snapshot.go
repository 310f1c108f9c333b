package installation

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

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
	serviceAccountKind = schema.GroupKind{Kind: "ServiceAccount"}
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
	// ReplicaSets are those of the Deployment.
	ReplicaSets []appsv1.ReplicaSet
	// Jobs are those that the installation controls.
	Jobs []batchv1.Job
	// Autoscaled says that a HorizontalPodAutoscaler sets the Deployment's replicas.
	Autoscaled bool
}

// Names are the objects whose names an installation needs for itself, besides
// its update Jobs, whose names hold a digest.
func Names(mm *v1beta1.Mattermost) []plan.Ref {
	var names []plan.Ref
	for _, kind := range []schema.GroupKind{serviceKind, serviceAccountKind, roleKind, roleBindingKind, ingressKind, deploymentKind} {
		names = append(names, plan.RefOf(kind, mm.Namespace, mm.Name))
	}
	return names
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
