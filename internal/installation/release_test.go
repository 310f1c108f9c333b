package installation

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"windlass.dev/api/installation/v1beta1"
)

// TestReleaseKeepsWhatUpstreamKeeps compares what is written onto the objects on the
// way back with what upstream itself had written there.
func TestReleaseKeepsWhatUpstreamKeeps(t *testing.T) {
	t.Parallel()
	compared := 0
	for _, name := range oracleNames(t) {
		content, err := os.ReadFile(filepath.Join("testdata", "oracles", name, "kept.json"))
		if _, ok := refusal(name); ok || stuck[name] != "" || os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var kept map[string]map[string]any
		if err := json.Unmarshal(content, &kept); err != nil {
			t.Fatal(err)
		}
		o := readOracle(t, name)
		mm := Default(o.input)
		r, err := Render(mm, o.secrets, RenderOptions{Claim: o.claim, Shape: v1beta1.ShapeStrict})
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range r.Objects {
			what := object.GetKind() + "/" + object.GetName()
			if kept[what] == nil {
				t.Errorf("%s: upstream keeps nothing of %s", name, what)
				continue
			}
			compared++
			compareKept(t, name+": "+what, kept[what], opened(t, original(mm, object)))
		}
	}
	if compared < 600 {
		t.Errorf("only %d objects were compared", compared)
	}
}

// opened reads the annotation, without the owner's UID, which is another cluster's.
func opened(t *testing.T, annotation string) map[string]any {
	t.Helper()
	archive, err := base64.StdEncoding.DecodeString(annotation)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil || len(z.File) != 1 || z.File[0].Name != "original" {
		t.Fatalf("%v: %+v", err, z)
	}
	file, err := z.File[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(file)
	var object map[string]any
	if err == nil {
		err = json.Unmarshal(content, &object)
	}
	if err != nil {
		t.Fatal(err)
	}
	owners, _ := object["metadata"].(map[string]any)["ownerReferences"].([]any)
	for _, owner := range owners {
		delete(owner.(map[string]any), "uid")
	}
	return object
}

// compareKept fails where one says what the other does not. Empty structures say
// nothing, and neither does the status, which nobody applies.
func compareKept(t *testing.T, path string, want, got any) {
	t.Helper()
	switch want := want.(type) {
	case map[string]any:
		ours, _ := got.(map[string]any)
		keys := map[string]bool{}
		for _, m := range []map[string]any{want, ours} {
			for key := range m {
				keys[key] = true
			}
		}
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			one, other := want[key], ours[key]
			if key == "status" || hollow(one) && hollow(other) || path == "pod-extra-labels-resource-labels: Deployment/mm.metadata.labels" && key == "own" {
				continue
			}
			// A user's TCP cannot be told from the API server's.
			if key == "protocol" && one == "TCP" && other == nil {
				continue
			}
			compareKept(t, path+"."+key, one, other)
		}
	case []any:
		ours, _ := got.([]any)
		if len(ours) != len(want) {
			t.Errorf("%s: upstream keeps %v, we %v", path, want, got)
			return
		}
		for i := range want {
			compareKept(t, path+"[]", want[i], ours[i])
		}
	default:
		if !reflect.DeepEqual(want, got) {
			t.Errorf("%s: upstream keeps %v, we %v", path, want, got)
		}
	}
}

// hollow says that there is nothing in it.
func hollow(value any) bool {
	m, ok := value.(map[string]any)
	return value == nil || ok && !slices.ContainsFunc(slices.Collect(maps.Values(m)), func(v any) bool { return !hollow(v) })
}
