package windlasstest

import (
	"bufio"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// root is where the packages that test Windlass as it ships are, two folders deep, see it.
var root = filepath.Join("..", "..")

// Page reads a page, named within docs, such as "guides/install.md".
func Page(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "docs", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

var blocks = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// Manifests are the objects of a page's YAML, by the block in which they are.
func Manifests(t testing.TB, page string) [][]*unstructured.Unstructured {
	t.Helper()
	var all [][]*unstructured.Unstructured
	for _, block := range blocks.FindAllStringSubmatch(page, -1) {
		var objects []*unstructured.Unstructured
		for reader := yamlutil.NewYAMLReader(bufio.NewReader(strings.NewReader(block[1]))); ; {
			manifest, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			object := &unstructured.Unstructured{}
			if err == nil {
				err = yaml.UnmarshalStrict(manifest, &object.Object)
			}
			if err != nil {
				t.Fatalf("%v in\n%s", err, block[1])
			}
			objects = append(objects, object)
		}
		all = append(all, objects)
	}
	return all
}

// Paste wants the API server to take each object of a page as it is there, with no field that
// it does not know, and returns them; nothing is made. An object that says no namespace
// comes into default. change, if not nil, is what a test has to have otherwise.
func Paste(t testing.TB, page string, change func(*unstructured.Unstructured)) []*unstructured.Unstructured {
	t.Helper()
	c := client.NewDryRunClient(client.WithFieldValidation(Client(t), metav1.FieldValidationStrict))
	objects := slices.Concat(Manifests(t, page)...)
	for _, object := range objects {
		if namespaced, err := c.IsObjectNamespaced(object); err != nil {
			t.Error(err)
		} else if namespaced && object.GetNamespace() == "" {
			object.SetNamespace(metav1.NamespaceDefault)
		}
		if change != nil {
			change(object)
		}
		if err := c.Create(t.Context(), object.DeepCopy()); err != nil {
			t.Errorf("%s/%s: %v", object.GetKind(), object.GetName(), err)
		}
	}
	return objects
}

// Of are the objects of one kind, as its type has them.
func Of[T any](t testing.TB, objects []*unstructured.Unstructured, kind string) []T {
	t.Helper()
	var all []T
	for _, object := range objects {
		if object.GetKind() != kind {
			continue
		}
		var one T
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

// Kinds counts objects by their kinds.
func Kinds(objects []*unstructured.Unstructured) map[string]int {
	kinds := map[string]int{}
	for _, object := range objects {
		kinds[object.GetKind()]++
	}
	return kinds
}

// Reasons are the values of a file's constants of which the names begin with Reason. The
// file is named within api, such as "nodes/v1alpha1/conditions.go".
func Reasons(t testing.TB, file string) map[string]bool {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "api", filepath.FromSlash(file)), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]bool{}
	ast.Inspect(parsed, func(n ast.Node) bool {
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
	if len(reasons) == 0 {
		t.Fatalf("%s has no reasons", file)
	}
	return reasons
}

var sections = regexp.MustCompile(`(?m)^## (\w+)$`)

// RunbookHasReasons compares the sections of a runbook with the reasons of its kinds: each is
// about a reason that there is, and each reason has one, but for those that pass by
// themselves, or are what somebody did.
func RunbookHasReasons(t testing.TB, runbook, file string, passing ...string) {
	t.Helper()
	reasons := Reasons(t, file)
	for _, reason := range passing {
		if !reasons[reason] {
			t.Errorf("there is no reason %s any more", reason)
		}
		delete(reasons, reason)
	}
	for _, section := range sections.FindAllStringSubmatch(Page(t, runbook), -1) {
		if !reasons[section[1]] {
			t.Errorf("there is no reason %s that needs somebody", section[1])
		}
		delete(reasons, section[1])
	}
	for reason := range reasons {
		t.Errorf("the runbook says nothing of %s", reason)
	}
}
