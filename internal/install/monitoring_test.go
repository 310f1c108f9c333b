package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestEveryAlertHasARunbook, and says in a sentence what is the matter.
func TestEveryAlertHasARunbook(t *testing.T) {
	t.Parallel()
	objects, err := read("monitoring")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, object := range objects {
		groups, _, _ := unstructured.NestedSlice(object.Object, "spec", "groups")
		for _, group := range groups {
			rules, _, _ := unstructured.NestedSlice(group.(map[string]any), "rules")
			for _, item := range rules {
				count++
				rule := item.(map[string]any)
				summary, _, _ := unstructured.NestedString(rule, "annotations", "summary")
				url, _, _ := unstructured.NestedString(rule, "annotations", "runbook_url")
				page := filepath.Join("..", "..", "docs", "runbooks", filepath.Base(url)+".md")
				content, err := os.ReadFile(page)
				if err != nil || !strings.HasPrefix(string(content), "# "+rule["alert"].(string)+"\n") {
					t.Errorf("%s: no page of its own at %s: %v", rule["alert"], page, err)
				}
				if !strings.HasSuffix(summary, ".") && !strings.HasSuffix(summary, ").") {
					t.Errorf("%s: summary %q", rule["alert"], summary)
				}
			}
		}
	}
	if count < 4 {
		t.Errorf("%d alerts", count)
	}
}
