package rotationcli

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"windlass.dev/test/windlasstest"
)

// TestGuideManifests makes each object of the guides, as it is there.
func TestGuideManifests(t *testing.T) {
	installed(t)
	guides := windlasstest.Page(t, "guides/node-rotation.md") + windlasstest.Page(t, "guides/node-rotation-cluster-api.md")
	kinds := windlasstest.Kinds(windlasstest.Paste(t, guides, func(object *unstructured.Unstructured) {
		// Others' tests may have made one of that name.
		object.SetName("guide-" + object.GetName())
	}))
	for _, kind := range []string{"ConfigMap", "NodeGroup", "NodeRotation"} {
		if kinds[kind] == 0 {
			t.Errorf("the guide has no manifest of a %s", kind)
		}
	}
}

// TestRunbookHasReasons: each section is about a reason that there is, and each for which
// the runs of this package need somebody has one.
func TestRunbookHasReasons(t *testing.T) {
	t.Parallel()
	// These pass by themselves, or are what somebody did.
	windlasstest.RunbookHasReasons(t, "runbooks/rotation.md", "nodes/v1alpha1/conditions.go",
		"Rotating", "Succeeded", "OutsideWindow", "Paused", "Baking", "GatePending", "SurgeNotReady", "DisruptionBudget", "PodsTerminating",
		"WaitingForCompletion", "ReplacementsNotReady", "VolumesAttached", "LoadBalancersDraining", "PullingImages", "Aborted", "RolledBack",
		"Found", "UpToDate", "TooYoung", "Outdated", "NoGroups", "GroupNotRead")
}
