package installations

import (
	"context"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/manager"
	"windlass.dev/test/windlasstest"
)

// TestRollBack: an image whose pods do not become available gives way to the one
// before, if that is asked for; no pod of that one ever stops.
func TestRollBack(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), windlasstest.Client(t)
	user := grant(t, ns, shipped(t).Rules)
	w := start(t, ns, user, manager.Hooks{})
	name := create(t, c, ns, "chat")
	edit(t, c, name, func(mm *v1beta1.Mattermost) {
		mm.Annotations = map[string]string{v1beta1.RollBackAnnotation: "on"}
		mm.Spec.UpdateJob = &v1beta1.UpdateJob{Disabled: true} // It would fail before.
		mm.Spec.ResourcePatch = &v1beta1.ResourcePatch{Deployment: &v1beta1.Patch{Patch: `[{"op":"add","path":"/spec/progressDeadlineSeconds","value":2}]`}}
	})
	stable(t, c, name)
	before := workload(t, c, ns)
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.Version = "does-not-exist" })
	eventually(t, func(context.Context) (string, error) {
		said := says(t, c, name, v1beta1.ConditionReady, v1beta1.ReasonRolledBack)
		if !strings.Contains(said.Message, ":10.5.2 is back") || !strings.Contains(said.Message, ":does-not-exist did not") {
			return "the former version to be back; it says: " + said.Message, nil
		}
		return "", nil
	})
	says(t, c, name, v1beta1.ConditionStalled, v1beta1.ReasonRolledBack)
	image := func(want string) {
		t.Helper()
		if d := get(t, c, name, &appsv1.Deployment{}); !strings.HasSuffix(d.Spec.Template.Spec.Containers[0].Image, ":"+want) {
			t.Errorf("the image is %s, want the version %s", d.Spec.Template.Spec.Containers[0].Image, want)
		}
	}
	eventuallyRollsOut(t, c, name)
	image("10.5.2")
	for line := range strings.SplitSeq(before, "\n") {
		if strings.HasPrefix(line, "pod ") && !strings.Contains(workload(t, c, ns), line) {
			t.Errorf("%s is gone", line)
		}
	}

	// Another process knows as much.
	w.stop(t)
	start(t, ns, user, manager.Hooks{})
	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.ResourceLabels = map[string]string{"example.com/team": "a"} })
	says(t, c, name, v1beta1.ConditionReady, v1beta1.ReasonRolledBack)
	eventuallyRollsOut(t, c, name)
	image("10.5.2")

	edit(t, c, name, func(mm *v1beta1.Mattermost) { mm.Spec.Version = "10.6.0" })
	if mm := stable(t, c, name); mm.Status.RolledBackFrom != "" || mm.Status.Good.Version != "10.6.0" {
		t.Errorf("status: %+v", mm.Status)
	}
	image("10.6.0")
}

// eventuallyRollsOut waits until all pods are those of the newest Deployment.
func eventuallyRollsOut(t *testing.T, c client.Client, name types.NamespacedName) {
	t.Helper()
	eventually(t, func(ctx context.Context) (string, error) {
		var d appsv1.Deployment
		err := c.Get(ctx, name, &d)
		if s := d.Status; s.ObservedGeneration != d.Generation || s.UpdatedReplicas != 2 || s.AvailableReplicas != 2 || s.Replicas != 2 {
			return fmt.Sprintf("Deployment %s to be rolled out: %+v", name, d.Status), err
		}
		return "", err
	})
}
