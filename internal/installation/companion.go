package installation

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/plan"
)

// The kinds that not every cluster knows.
var (
	mysqlClusterKind    = schema.GroupVersionKind{Group: "mysql.presslabs.org", Version: "v1alpha1", Kind: "MysqlCluster"}
	postgresClusterKind = schema.GroupVersionKind{Group: "postgresql.cnpg.io", Version: "v1", Kind: "Cluster"}
	minioKind           = schema.GroupVersionKind{Group: "miniocontroller.min.io", Version: "v1beta1", Kind: "MinIOInstance"}
	httpRouteKind       = schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "HTTPRoute"}
)

// CompanionKinds returns them.
func CompanionKinds() []schema.GroupVersionKind {
	return []schema.GroupVersionKind{mysqlClusterKind, postgresClusterKind, minioKind, httpRouteKind}
}

// Companion is an object of an installation for which the cluster needs another
// program: the operator of a store, or a gateway.
type Companion struct {
	plan.Ref
	Kind schema.GroupVersionKind
	// Wanted is false for one that is only still there.
	Wanted bool
}

// Companions are those that an installation wants, or has from before.
func Companions(mm *v1beta1.Mattermost) []Companion {
	var all []Companion
	add := func(kind schema.GroupVersionKind, name string, wanted bool) {
		ref := plan.RefOf(kind.GroupKind(), mm.Namespace, name)
		// What the Mattermost Operator left may be there too, unrecorded.
		recorded := formers(mm.ManagedFields, "status") || slices.ContainsFunc(mm.Status.Inventory, func(i v1beta1.InventoryItem) bool {
			return i.Group == ref.Group && i.Kind == ref.Kind && i.Name == ref.Name
		})
		if wanted || recorded {
			all = append(all, Companion{Ref: ref, Kind: kind, Wanted: wanted})
		}
	}
	add(mysqlClusterKind, mysqlName(mm.Name), managedDatabase(mm) == databaseMySQL)
	add(postgresClusterKind, postgresName(mm.Name), managedDatabase(mm) == databasePostgres)
	add(minioKind, MinioName(mm.Name), fileStore(mm) == fileStoreManaged)
	add(httpRouteKind, mm.Name, httpRouted(mm))
	return all
}

// CompanionOf names the installation that a companion is for; empty for none.
func CompanionOf(object metav1.Object) string {
	return cmp.Or(object.GetLabels()[resourceLabel], object.GetLabels()[v1alpha1Resource])
}

// holdsData says that the data is lost when the companion is deleted.
func (c Companion) holdsData() bool { return c.Kind != httpRouteKind }

// path is the part of the spec that asks for the companion.
func (c Companion) path() string {
	switch c.Kind {
	case minioKind:
		return "spec.fileStore.operatorManaged"
	case httpRouteKind:
		return "spec.httpRoute"
	default:
		return "spec.database.operatorManaged"
	}
}

// provider is what a cluster that lacks the kind needs.
func (c Companion) provider() string {
	switch c.Kind {
	case mysqlClusterKind:
		return "the MySQL operator of Presslabs, or use an external database or the type postgres"
	case postgresClusterKind:
		return "CloudNativePG, or use an external database"
	case minioKind:
		return "MinIO's operator with its API miniocontroller.min.io/v1beta1, or use another file store"
	default:
		return "the Gateway API and a gateway, or use spec.ingress"
	}
}

// companionRetry is how soon to look again at what no event tells of: a kind that
// is new to the cluster, a class that is put right.
const companionRetry = time.Minute

// awaitsKind says that the installation waits for a kind to be installed, of which
// no event tells.
func (s Snapshot) awaitsKind() bool {
	return slices.ContainsFunc(s.Unserved, func(c Companion) bool { return c.Wanted })
}

// checkCompanions says which kinds are missing that the spec needs, and whether
// an object with data of a needed name is another installation's.
func checkCompanions(s Snapshot) []Problem {
	var problems []Problem
	for _, c := range s.Unserved {
		if c.Wanted {
			problems = append(problems, Problem{
				Path: c.path(), Reason: v1beta1.ReasonKindNotFound,
				Message: fmt.Sprintf("This cluster does not know the kind %s of %s: install %s; the installation goes on by itself within a minute then.", c.Kind.Kind, c.Kind.GroupVersion(), c.provider()),
			})
		}
	}
	for _, c := range Companions(s.Mattermost) {
		live, exists := s.Companions[c.Ref]
		if !exists || !c.Wanted || !c.holdsData() {
			continue
		}
		if of := CompanionOf(live); of != "" && of != s.Mattermost.Name {
			problems = append(problems, Problem{
				Path: c.path(), Reason: v1beta1.ReasonNotOwned,
				Message: fmt.Sprintf("%s is the installation %q's, as its label %s says, so it is left alone: rename this installation, or change the label if the data is to be this one's.", c.Ref, of, resourceKey(s.Mattermost)),
			})
			continue
		}
		problems = append(problems, lostCredentials(s, c)...)
	}
	return problems
}

// lostCredentials says that a store is there and the Secret that opens it is not:
// another one with new values would not open it.
func lostCredentials(s Snapshot, c Companion) []Problem {
	secret := ""
	switch c.Kind {
	case mysqlClusterKind:
		secret = mysqlSecret(s.Mattermost)
	case minioKind:
		secret = minioSecret(s.Mattermost)
	default:
		return nil
	}
	if _, exists := s.Secrets[secret]; exists {
		return nil
	}
	return []Problem{{
		Path: c.path(), Reason: v1beta1.ReasonSecretNotFound,
		Message: fmt.Sprintf("%s is there, and the Secret %q that opens it is not: restore it, or delete %s if its data is not needed; the installation goes on by itself then.", c.Ref, secret, c.Ref),
	}}
}

// companionReady reads from its status whether a companion serves, and what its
// provider says of it.
func companionReady(object *unstructured.Unstructured) (ready bool, says string) {
	switch object.GroupVersionKind() {
	case mysqlClusterKind:
		conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
		return conditionTrue(conditions, "Ready")
	case postgresClusterKind:
		n, _, _ := unstructured.NestedInt64(object.Object, "status", "readyInstances")
		phase, _, _ := unstructured.NestedString(object.Object, "status", "phase")
		return n > 0, phase
	case minioKind:
		// Its versions tell of it by one word or another, or by a number only.
		state, _, _ := unstructured.NestedString(object.Object, "status", "currentState")
		n, _, _ := unstructured.NestedInt64(object.Object, "status", "availableReplicas")
		return n > 0 || state == "Ready" || state == "Initialized", state
	case httpRouteKind:
		return routeAccepted(object)
	default:
		return false, ""
	}
}

// routeAccepted says whether a gateway has taken the route on.
func routeAccepted(route *unstructured.Unstructured) (accepted bool, says string) {
	parents, _, _ := unstructured.NestedSlice(route.Object, "status", "parents")
	for _, item := range parents {
		parent, _ := item.(map[string]any)
		conditions, _, _ := unstructured.NestedSlice(parent, "conditions")
		if accepted, says = conditionTrue(conditions, "Accepted"); accepted {
			return true, says
		}
	}
	return false, says
}

func conditionTrue(conditions []any, kind string) (is bool, says string) {
	for _, item := range conditions {
		c, _ := item.(map[string]any)
		if c["type"] == kind {
			message, _ := c["message"].(string)
			return c["status"] == "True", message
		}
	}
	return false, ""
}
