package rotationcli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"windlass.dev/test/windlasstest"
)

func page(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile("../../docs/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestGuideManifests makes each object of the guides, as it is there.
func TestGuideManifests(t *testing.T) {
	installed(t)
	c := client.NewDryRunClient(client.WithFieldValidation(windlasstest.Client(t), metav1.FieldValidationStrict))
	kinds := map[string]int{}
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page(t, "guides/node-rotation.md")+page(t, "guides/node-rotation-cluster-api.md"), -1) {
		for manifest := range strings.SplitSeq(block[1], "\n---\n") {
			object := &unstructured.Unstructured{}
			if err := yaml.UnmarshalStrict([]byte(manifest), &object.Object); err != nil {
				t.Errorf("%v in\n%s", err, manifest)
				continue
			}
			// Others' tests may have made one of that name.
			object.SetName("guide-" + object.GetName())
			if err := c.Create(t.Context(), object); err != nil {
				t.Errorf("%v for\n%s", err, manifest)
			}
			kinds[object.GetKind()]++
		}
	}
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
	file, err := parser.ParseFile(token.NewFileSet(), "../../api/nodes/v1alpha1/conditions.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		value, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(value.Names[0].Name, "Reason") {
			return true
		}
		if literal, ok := value.Values[0].(*ast.BasicLit); ok {
			if text, err := strconv.Unquote(literal.Value); err == nil {
				reasons[text] = true
			}
		}
		return true
	})
	if len(reasons) < 20 {
		t.Fatalf("found %d reasons", len(reasons))
	}
	// These pass by themselves, or are what somebody did.
	for _, reason := range []string{
		"Rotating", "Succeeded", "OutsideWindow", "Paused", "Baking", "GatePending", "SurgeNotReady", "DisruptionBudget", "PodsTerminating",
		"WaitingForCompletion", "ReplacementsNotReady", "VolumesAttached", "LoadBalancersDraining", "PullingImages", "Aborted", "RolledBack",
		"Found", "UpToDate", "TooYoung", "Outdated", "NoGroups", "GroupNotRead",
	} {
		if !reasons[reason] {
			t.Errorf("there is no reason %s any more", reason)
		}
		delete(reasons, reason)
	}
	for _, section := range regexp.MustCompile(`(?m)^## (\w+)$`).FindAllStringSubmatch(page(t, "runbooks/rotation.md"), -1) {
		if !reasons[section[1]] {
			t.Errorf("there is no reason %s that needs somebody", section[1])
		}
		delete(reasons, section[1])
	}
	for reason := range reasons {
		t.Errorf("the runbook says nothing of %s", reason)
	}
}
