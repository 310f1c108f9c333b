package install

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestSame: a status that a controller writes meanwhile is no change, a label is one.
func TestSame(t *testing.T) {
	t.Parallel()
	before := &unstructured.Unstructured{Object: map[string]any{"kind": "K", "spec": map[string]any{"a": "b"}}}
	before.SetResourceVersion("1")
	after := before.DeepCopy()
	after.SetResourceVersion("2")
	after.Object["status"] = map[string]any{"observedGeneration": int64(1)}
	if !same(before, after) {
		t.Error("a status counts as a change")
	}
	after.SetLabels(map[string]string{"a": "b"})
	if same(before, after) {
		t.Error("a label does not count as a change")
	}
}
