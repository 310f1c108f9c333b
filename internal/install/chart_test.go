package install

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	texttemplate "text/template"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
)

// TestChartInstallsTheSame renders the chart, with the functions of Helm's that it
// uses, and compares it with what windlass install applies.
func TestChartInstallsTheSame(t *testing.T) {
	t.Parallel()
	files, err := Chart("1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	for name, content := range files {
		if !strings.HasPrefix(name, "templates/") {
			continue
		}
		for _, object := range render(t, name, content) {
			annotations := object.GetAnnotations()
			delete(annotations, "helm.sh/resource-policy")
			if len(annotations) == 0 {
				annotations = nil
			}
			object.SetAnnotations(annotations)
			got[key(object)] = plain(t, object)
		}
	}
	want := map[string]any{}
	objects, err := Objects(Options{Image: "example.com/windlass:1", Replicas: 3, Monitoring: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		if key(object) == "Namespace//"+Namespace {
			continue
		}
		want[key(object)] = plain(t, object)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the chart (+) differs from windlass install (-):\n%s", diff)
	}
}

// plain has one type for all numbers.
func plain(t *testing.T, o *unstructured.Unstructured) any {
	t.Helper()
	content, err := json.Marshal(o.Object)
	var result any
	if err == nil {
		err = json.Unmarshal(content, &result)
	}
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func key(o *unstructured.Unstructured) string {
	return fmt.Sprintf("%s/%s/%s", o.GetKind(), o.GetNamespace(), o.GetName())
}

func render(t *testing.T, name string, content []byte) []*unstructured.Unstructured {
	t.Helper()
	parsed, err := texttemplate.New(name).Funcs(texttemplate.FuncMap{
		"quote":    func(text string) string { return fmt.Sprintf("%q", text) },
		"required": func(_, text string) string { return text },
		"lookup":   func(_, _, _, _ string) map[string]any { return nil },
	}).Parse(string(content))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = parsed.Execute(&out, map[string]any{
		"Values":  map[string]any{"image": "example.com/windlass:1", "replicas": 3},
		"Release": map[string]any{"Namespace": Namespace},
		// A cluster that knows every kind.
		"Capabilities": map[string]any{"APIVersions": everyKind{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []*unstructured.Unstructured
	reader := yamlutil.NewYAMLReader(bufio.NewReader(&out))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		object := &unstructured.Unstructured{}
		if err == nil {
			document, err = yamlutil.ToJSON(document)
		}
		if err == nil && string(document) != "null" {
			err = object.UnmarshalJSON(document) // With integers, unlike encoding/json.
			all = append(all, object)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

func TestConfined(t *testing.T) {
	t.Parallel()
	objects, err := Objects(Options{Image: "example.com/windlass:1", Replicas: 1, Namespaces: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	roles := map[string]bool{}
	for _, object := range objects {
		if object.GetKind() == "ClusterRole" && object.GetName() == Name {
			t.Error("a confined Windlass has a role for the whole cluster")
		}
		if object.GetKind() == "RoleBinding" && object.GetName() == Name {
			roles[object.GetNamespace()] = true
		}
		if object.GetKind() == "ConfigMap" {
			text, _, _ := unstructured.NestedString(object.Object, "data", "windlass.yaml")
			if !strings.Contains(text, "- a\n- b\n") {
				t.Errorf("configuration:\n%s", text)
			}
		}
	}
	if len(roles) != 2 {
		t.Errorf("bound in %v", roles)
	}
}

type everyKind struct{}

func (everyKind) Has(string) bool { return true }
