package installations

import (
	"context"
	"fmt"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/install"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// TestEveryPermissionIsNeeded lets an installation go through everything that an
// installation can, and looks which verbs of the shipped role its requests use.
// What none uses is there for a check that the API server makes on the way: each
// of those is taken away, and has to be missed.
func TestEveryPermissionIsNeeded(t *testing.T) {
	t.Parallel()
	role := shipped(t)
	ns, c := namespace(t), windlasstest.Client(t)
	// With plain lists, which older API servers need.
	w := &windlass{older: true}
	w.start(t, confined(ns), grant(t, ns, role.Rules), manager.Hooks{})
	if err := c.Create(t.Context(), backup(ns)); err != nil {
		t.Fatal(err)
	}
	name := create(t, c, ns, unique(ns))
	older := createOlder(t, c, ns, "older")
	stableOlder(t, c, older)
	// As if the Mattermost Operator had written its status last.
	ci := get(t, c, older, &v1alpha1.ClusterInstallation{})
	before := ci.DeepCopy()
	ci.Status.Error = "of the former operator"
	if err := c.Status().Patch(t.Context(), ci, client.MergeFrom(before), former); err != nil {
		t.Fatal(err)
	}
	// It becomes a Mattermost, comes back, becomes one again, and gets other pods.
	annotateOlder(t, c, older, v1alpha1.FinalizeAnnotation, "Manual")
	migrate(t, c, older, true)
	inPhase(t, c, older, v1alpha1.MigrationAwaitingFinalization)
	migrate(t, c, older, false)
	inPhase(t, c, older, v1alpha1.MigrationReverted)
	annotateOlder(t, c, older, v1alpha1.FinalizeAnnotation, "Now")
	recreate(t, c, older)
	migrate(t, c, older, true)
	renewed(t, c, older)
	for i, change := range changes() {
		edit(t, c, name, change)
		stable(t, c, name)
		if i == 3 || i == 6 || i == 7 { // Each with other objects.
			again(t, c, name)
		}
	}
	eventually(t, func(context.Context) (string, error) {
		if !w.used(permission{"events.k8s.io", "events", "create"}) {
			return "an event", nil // They are sent in their own time.
		}
		return "", nil
	})
	indirect := 0
	for i, rule := range role.Rules {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				if w.used(permission{rule.APIGroups[0], resource, verb}) {
					continue
				}
				indirect++
				t.Run(verb+" "+resource, func(t *testing.T) {
					t.Parallel()
					refusedWithout(t, without(role.Rules, i, resource, verb))
				})
			}
		}
	}
	// More than that would be slow: the scenario has to use what can be used.
	if indirect > 15 {
		t.Errorf("%d permissions are used by no request", indirect)
	}
}

// without returns the rules with one verb on one resource less.
func without(rules []rbacv1.PolicyRule, i int, resource, verb string) []rbacv1.PolicyRule {
	reduced := slices.Clone(rules)
	rest := *rules[i].DeepCopy()
	rest.Resources = slices.DeleteFunc(rest.Resources, func(r string) bool { return r == resource })
	one := *rules[i].DeepCopy()
	one.Resources = []string{resource}
	one.Verbs = slices.DeleteFunc(one.Verbs, func(v string) bool { return v == verb })
	reduced = slices.Delete(reduced, i, i+1)
	if len(one.Verbs) > 0 {
		reduced = append(reduced, one)
	}
	if len(rest.Resources) > 0 {
		reduced = append(reduced, rest)
	}
	return reduced
}

// unique is a short name that no other test has: an IngressClass with the
// installation's name is the whole cluster's.
func unique(namespace string) string { return "chat-" + namespace[len(namespace)-5:] }

// changes take an installation through every mode.
func changes() []func(*v1beta1.Mattermost) {
	return []func(*v1beta1.Mattermost){
		func(*v1beta1.Mattermost) {},
		func(mm *v1beta1.Mattermost) {
			mm.Spec.Version = "10.6.0"
			mm.Spec.UpdateJob = &v1beta1.UpdateJob{PreUpgrade: &v1beta1.PreUpgrade{CronJob: "backup"}}
			mm.Spec.Ingress.Enabled = false
		},
		func(mm *v1beta1.Mattermost) { mm.Spec.Ingress.Enabled = true },
		func(mm *v1beta1.Mattermost) {
			mm.Spec.UseServiceLoadBalancer = true
			mm.Spec.JobServer = &v1beta1.JobServer{DedicatedJobServer: true}
			mm.Spec.FileStore = v1beta1.FileStore{Local: &v1beta1.LocalFileStore{Enabled: true}}
		},
		func(mm *v1beta1.Mattermost) {
			mm.Spec.JobServer.DedicatedJobServer = false
			mm.Spec.FileStore.Local.StorageSize = "60Gi"
			mm.Annotations = map[string]string{v1beta1.DataPolicyAnnotation: "Delete"}
		},
		func(mm *v1beta1.Mattermost) {
			mm.Annotations = nil
			mm.Spec.Database, mm.Spec.FileStore = v1beta1.Database{}, v1beta1.FileStore{}
		},
		func(mm *v1beta1.Mattermost) {
			mm.Annotations = map[string]string{v1beta1.DataPolicyAnnotation: "Delete"}
		},
		func(mm *v1beta1.Mattermost) {
			mm.Annotations = nil
			mm.Spec.Database.OperatorManaged = &v1beta1.OperatorManagedDatabase{Type: "postgres"}
			mm.Spec.UseServiceLoadBalancer = false
			mm.Spec.HTTPRoute = &v1beta1.HTTPRoute{Enabled: true, Host: "route.example.com", GatewayRef: public()}
		},
		func(mm *v1beta1.Mattermost) {
			mm.Annotations = map[string]string{v1beta1.DataPolicyAnnotation: "Delete"}
			mm.Annotations[v1beta1.ShapeAnnotation] = string(v1beta1.ShapeStrict)
			mm.Spec.HTTPRoute = nil
			mm.Spec.AWSLoadBalancerController = &v1beta1.AWSLoadBalancerController{Enabled: true, Hosts: []v1beta1.IngressHost{{HostName: "alb.example.com"}}}
		},
	}
}

func refusedWithout(t *testing.T, rules []rbacv1.PolicyRule) {
	t.Helper()
	ns, c := namespace(t), windlasstest.Client(t)
	w := start(t, ns, grant(t, ns, rules), manager.Hooks{})
	if err := c.Create(t.Context(), backup(ns)); err != nil {
		t.Fatal(err)
	}
	name := create(t, c, ns, unique(ns))
	older := createOlder(t, c, ns, "older")
	migrate(t, c, older, true)
	if awaitRefusal(t, w, func(ctx context.Context) (string, error) {
		err := c.Get(ctx, older, &v1alpha1.ClusterInstallation{})
		if apierrors.IsNotFound(err) {
			return "", nil
		}
		return "a refused request, or the end of a migration", err
	}) {
		return
	}
	// A refusal may come at any of them.
	for _, change := range changes() {
		edit(t, c, name, change)
		if awaitRefusal(t, w, func(ctx context.Context) (string, error) { return unlessStable(ctx, c, name) }) {
			return
		}
	}
	t.Error("everything was done without this permission")
}

// awaitRefusal waits until a request was refused, or nothing is awaited any more.
func awaitRefusal(t *testing.T, w *windlass, check func(context.Context) (awaited string, err error)) (refused bool) {
	t.Helper()
	eventually(t, func(ctx context.Context) (string, error) {
		select {
		case <-w.refused:
			return "", nil
		default:
			return check(ctx)
		}
	})
	select {
	case <-w.refused:
		return true
	default:
		return false
	}
}

func unlessStable(ctx context.Context, c client.Client, name types.NamespacedName) (awaited string, err error) {
	var mm v1beta1.Mattermost
	if err := c.Get(ctx, name, &mm); err != nil {
		return "", err
	}
	if mm.Status.State != v1beta1.Stable || mm.Status.ObservedGeneration != mm.Generation {
		return fmt.Sprintf("a refused request, or %s to become stable", name), nil
	}
	return "", nil
}

// TestConfinedToANamespace runs with the Role that windlass install --confine makes,
// and no right beyond its namespace.
func TestConfinedToANamespace(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	objects, err := install.Objects(install.Options{WithoutDeployment: true, Namespaces: []string{ns}})
	if err != nil {
		t.Fatal(err)
	}
	user := grant(t, ns, nil)
	for _, object := range objects {
		if object.GetNamespace() != ns {
			continue
		}
		if object.GetKind() == "RoleBinding" {
			object.Object["subjects"] = []any{map[string]any{"kind": "ServiceAccount", "namespace": ns, "name": "windlass"}}
		}
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	w := start(t, ns, user, manager.Hooks{})
	stable(t, c, create(t, c, ns, "chat"))
	stable(t, c, managed(t, c, ns, "stores", ""))
	select {
	case <-w.refused:
		t.Error("a request was refused")
	default:
	}
}
