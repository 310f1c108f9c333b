package rotation

import (
	"reflect"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
)

// Each field of a record's status makes a difference, those to come as well.
func TestSameStatus(t *testing.T) {
	t.Parallel()
	full := func() *v1alpha1.NodeReplacementStatus {
		at, size := metav1.NewTime(now), int32(3)
		return &v1alpha1.NodeReplacementStatus{
			Phase: v1alpha1.Draining, Since: &at, DrainDeadline: &at, Pods: []v1alpha1.LeavingPod{{UID: "a", LeftAt: &at}}, Surges: []v1alpha1.WorkloadSurge{{Name: "web"}},
			Wait: &v1alpha1.Wait{Reason: "x", Since: at, Until: &at}, DrainedAt: &at, TerminateAt: &at, SizeAfter: &size, Forced: "x", FinishedAt: &at, Message: "x",
		}
	}
	if !sameStatus(full(), full().DeepCopy()) {
		t.Error("a copy is not the same")
	}
	kind := reflect.TypeFor[v1alpha1.NodeReplacementStatus]()
	for i := range kind.NumField() {
		changed := full()
		field := reflect.ValueOf(changed).Elem().Field(i)
		if field.IsZero() {
			t.Errorf("%s is not set here", kind.Field(i).Name)
		}
		field.SetZero()
		if sameStatus(full(), changed) || sameStatus(changed, full()) {
			t.Errorf("%s makes no difference", kind.Field(i).Name)
		}
	}
}
