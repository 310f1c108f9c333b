package installations

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// olderAdopted are cases of which the Mattermost Operator's objects are taken over.
var olderAdopted = []string{"ci-minimal", "ci-blue", "ci-canary", "ci-managed", "ci-lb", "ci-licence", "ci-tls", "ci-negative", "mig-full", "mig-custom-secrets"}

// TestClusterInstallationAdoption starts Windlass over ClusterInstallations as the
// Mattermost Operator left them: no pod is restarted and nothing is deleted.
func TestClusterInstallationAdoption(t *testing.T) {
	t.Parallel()
	for _, oracle := range olderAdopted {
		t.Run(oracle, func(t *testing.T) {
			t.Parallel()
			ns, c := namespace(t), windlasstest.Client(t)
			left := leaveIn(t, c, ns, olderOracle(oracle), "want.yaml")
			before := workload(t, c, ns)
			audit, user := clustertest.Audit(t), grant(t, ns, shipped(t).Rules)
			from := mark(t, audit)
			start(t, ns, user, manager.Hooks{})
			stableOlder(t, c, types.NamespacedName{Namespace: ns, Name: "mm"})
			taken(t, c, left)
			if after := workload(t, c, ns); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			undeleted(t, audit, from, user)
			for _, object := range left {
				now := object.DeepCopy()
				if err := c.Get(t.Context(), client.ObjectKeyFromObject(now), now); err != nil {
					t.Fatal(err)
				}
				data := slices.Contains([]string{"MysqlCluster", "MinIOInstance", "Secret"}, now.GetKind())
				if owned := len(now.GetOwnerReferences()) > 0; owned == data {
					t.Errorf("%s/%s has an owner: %v, holds data: %v", now.GetKind(), now.GetName(), owned, data)
				}
				if _, there := now.GetAnnotations()[lastApplied]; there {
					t.Errorf("%s/%s still has the former operator's annotation", now.GetKind(), now.GetName())
				}
			}
		})
	}
}

// TestClusterInstallationRelease takes some over and hands them back: the pods are the
// same, nothing is deleted, and the Mattermost Operator finds nothing to change.
func TestClusterInstallationRelease(t *testing.T) {
	t.Parallel()
	for _, oracle := range []string{"ci-blue", "ci-canary", "ci-managed", "ci-lb", "mig-full"} {
		t.Run(oracle, func(t *testing.T) {
			t.Parallel()
			ns, c := namespace(t), windlasstest.Client(t)
			left := leaveIn(t, c, ns, olderOracle(oracle), "want.yaml")
			name, before := types.NamespacedName{Namespace: ns, Name: "mm"}, workload(t, c, ns)
			audit, user := clustertest.Audit(t), grant(t, ns, shipped(t).Rules)
			from := mark(t, audit)
			start(t, ns, user, manager.Hooks{})
			stableOlder(t, c, name)
			taken(t, c, left)
			code, out, problems := command(t, "release", "clusterinstallation/mm", "-n", ns, "--kubeconfig", clustertest.Kubeconfig())
			if code != 0 || !strings.Contains(out, "ClusterInstallation "+ns+"/mm released") {
				t.Errorf("exit code %d, %s %s", code, out, problems)
			}
			for _, object := range left {
				handedBack(t, c, object)
				if object.GetKind() != "Secret" {
					nothingToDo(t, c, object, olderOracle(oracle))
				}
			}
			if after := workload(t, c, ns); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			undeleted(t, audit, from, user)

			// And over again.
			ci := get(t, c, name, &v1alpha1.ClusterInstallation{})
			released := ci.DeepCopy()
			ci.Annotations = nil
			if err := c.Patch(t.Context(), ci, client.MergeFrom(released)); err != nil {
				t.Fatal(err)
			}
			taken(t, c, left)
			stableOlder(t, c, name)
			if after := workload(t, c, ns); after != before {
				t.Errorf("before:\n%s\nafter it was taken over again:\n%s", before, after)
			}
		})
	}
}

func olderOracle(name string) string {
	return filepath.Join("..", "..", "internal", "clusterinstallation", "testdata", "oracles", name)
}

// TestLeftCanaryIsRemoved: the Mattermost Operator leaves it behind when it is turned off.
func TestLeftCanaryIsRemoved(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	leaveIn(t, c, ns, olderOracle("edit-ci-canary-off"), "left.yaml")
	name := types.NamespacedName{Namespace: ns, Name: "mm"}
	pods := get(t, c, name, &appsv1.Deployment{})
	start(t, ns, grant(t, ns, shipped(t).Rules), manager.Hooks{})
	stableOlder(t, c, name)
	for _, part := range []client.Object{&corev1.Service{}, &networkingv1.Ingress{}, &appsv1.Deployment{}} {
		gone(t, c, sibling(name, "-canary"), part)
	}
	now := get(t, c, name, &appsv1.Deployment{})
	if diff := cmp.Diff(pods.Spec, now.Spec); diff != "" || now.UID != pods.UID {
		t.Errorf("the installation's own Deployment was changed:\n%s", diff)
	}
}

// olderScenarios are changes, with at least so many writes.
var olderScenarios = map[string]struct {
	before, change func(*v1alpha1.ClusterInstallationSpec)
	writes         int
}{
	"create":         {nil, nil, 9},
	"blue-green on":  {func(*v1alpha1.ClusterInstallationSpec) {}, blueGreen("blue"), 9},
	"switch":         {blueGreen("blue"), func(spec *v1alpha1.ClusterInstallationSpec) { spec.BlueGreen.ProductionDeployment = "green" }, 2},
	"blue-green off": {blueGreen("blue"), noBlueGreen, 9},
}

// TestOlderCrashAfterEveryWrite kills the controller after each of its writes and starts
// another one: the end is the same as without a crash.
func TestOlderCrashAfterEveryWrite(t *testing.T) {
	t.Parallel()
	for title, s := range olderScenarios {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			want := playOlder(t, s.before, s.change, 0)
			for n := 1; n <= s.writes; n++ {
				t.Run(fmt.Sprintf("after write %d", n), func(t *testing.T) {
					t.Parallel()
					if diff := cmp.Diff(want, playOlder(t, s.before, s.change, n)); diff != "" {
						t.Errorf("end state (-without +with crash):\n%s", diff)
					}
				})
			}
		})
	}
}

// playOlder returns the end state of a change, or of the making, during which the
// controller is killed after the n-th write; 0 is never.
func playOlder(t *testing.T, before, change func(*v1alpha1.ClusterInstallationSpec), n int) string {
	t.Helper()
	ns, c := namespace(t), windlasstest.Client(t)
	user, name := grant(t, ns, shipped(t).Rules), types.NamespacedName{Namespace: ns, Name: "chat"}
	do := func() { createOlder(t, c, ns, name.Name) }
	if before != nil {
		w := start(t, ns, user, manager.Hooks{})
		do()
		stableOlder(t, c, name)
		editOlder(t, c, name, before)
		stableOlder(t, c, name)
		w.stop(t)
		do = func() { editOlder(t, c, name, change) }
	}
	if n > 0 {
		crash(t, ns, user, n, do)
		start(t, ns, user, manager.Hooks{})
	} else {
		start(t, ns, user, manager.Hooks{})
		do()
	}
	ci := stableOlder(t, c, name)
	// The last removals come after it has become stable.
	wanted := []string{"chat"}
	if ci.Spec.BlueGreen.Enable {
		wanted = []string{"chat-blue", "chat-green"}
	}
	eventually(t, func(ctx context.Context) (string, error) {
		var all appsv1.DeploymentList
		err := c.List(ctx, &all, client.InNamespace(ns))
		var names []string
		for _, d := range all.Items {
			names = append(names, d.Name)
		}
		slices.Sort(names)
		if !slices.Equal(names, wanted) {
			return fmt.Sprintf("the Deployments %v, there are %v", wanted, names), err
		}
		return "", err
	})
	ci = stableOlder(t, c, name)
	return olderWorld(t, c, ci)
}

// olderWorld is what there is in the end.
func olderWorld(t *testing.T, c client.Client, ci *v1alpha1.ClusterInstallation) string {
	t.Helper()
	lines := []string{fmt.Sprintf("%s %s %s %s %s", ci.Status.State, ci.Status.Version, ci.Status.Endpoint, ci.Status.BlueName, ci.Status.GreenName)}
	for _, item := range ci.Status.Inventory {
		lines = append(lines, "recorded "+item.Kind+"/"+item.Name)
	}
	for _, suffix := range []string{"", "-blue", "-green"} {
		name := sibling(client.ObjectKeyFromObject(ci), suffix)
		var service corev1.Service
		var d appsv1.Deployment
		if err := c.Get(t.Context(), name, &service); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
		if err := c.Get(t.Context(), name, &d); err == nil {
			lines = append(lines, fmt.Sprintf("%s runs %s, selected by %v", name.Name, d.Spec.Template.Spec.Containers[0].Image, d.Spec.Selector.MatchLabels))
		} else if !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s sends to %v", name.Name, service.Spec.Selector))
	}
	return strings.Join(lines, "\n")
}
