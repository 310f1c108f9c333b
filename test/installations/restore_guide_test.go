package installations

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/test/windlasstest"
)

const restoreGuide = "../../docs/guides/restore-a-database.md"

// TestRestoreGuideIsTakenStrictly: what it shows can be pasted.
func TestRestoreGuideIsTakenStrictly(t *testing.T) {
	t.Parallel()
	ns, c := namespace(t), client.WithFieldValidation(windlasstest.Client(t), "Strict")
	page, err := os.ReadFile(restoreGuide)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1) {
		decoder := yamlutil.NewYAMLOrJSONDecoder(bytes.NewReader(block[1]), 4096)
		for {
			var object unstructured.Unstructured
			err := decoder.Decode(&object.Object)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			object.SetNamespace(ns)
			if err := c.Create(t.Context(), &object); err != nil {
				t.Errorf("%s: %v", object.GetName(), err)
			}
			kinds[object.GetKind()] = true
		}
	}
	if !kinds["MattermostRestoreDB"] || !kinds["Secret"] {
		t.Errorf("it shows %v", kinds)
	}
}

// TestRestoreGuideHasEveryReason that a restore gives, and no other.
func TestRestoreGuideHasEveryReason(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "../../api/installation/v1alpha1/restore.go", nil, 0)
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
	page, err := os.ReadFile(restoreGuide)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## When it does not go on")
	named := map[string]bool{"PlainTextPassword": strings.Contains(table, "`PlainTextPassword`"), "RunsOnce": strings.Contains(table, "`RunsOnce`")}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(table, -1) {
		named[row[1]] = true
		if !reasons[row[1]] {
			t.Errorf("there is no reason %s", row[1])
		}
	}
	for reason := range reasons {
		if !named[reason] {
			t.Errorf("it says nothing of %s", reason)
		}
	}
}
