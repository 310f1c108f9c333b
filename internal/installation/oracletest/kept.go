package oracletest

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"reflect"
	"slices"
	"testing"
)

// Opened reads the annotation in which the Mattermost Operator keeps what it made, without the owner's UID, which is another cluster's.
func Opened(t *testing.T, annotation string) map[string]any {
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

// CompareKept fails where one says what the other does not. Empty structures say
// nothing, and neither does the status, which nobody applies.
func CompareKept(t *testing.T, path string, want, got any) {
	t.Helper()
	switch want := want.(type) {
	case map[string]any:
		ours, _ := got.(map[string]any)
		compareKeptMaps(t, path, want, ours)
	case []any:
		ours, _ := got.([]any)
		if len(ours) != len(want) {
			t.Errorf("%s: upstream keeps %v, we %v", path, want, got)
			return
		}
		for i := range want {
			CompareKept(t, path+"[]", want[i], ours[i])
		}
	default:
		if !reflect.DeepEqual(want, got) {
			t.Errorf("%s: upstream keeps %v, we %v", path, want, got)
		}
	}
}

func compareKeptMaps(t *testing.T, path string, want, ours map[string]any) {
	t.Helper()
	keys := map[string]bool{}
	for _, m := range []map[string]any{want, ours} {
		for key := range m {
			keys[key] = true
		}
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		one, other := want[key], ours[key]
		if key == "status" || isHollow(one) && isHollow(other) || path == "pod-extra-labels-resource-labels: Deployment/mm.metadata.labels" && key == "own" {
			continue
		}
		// A user's TCP cannot be told from the API server's.
		if key == "protocol" && one == "TCP" && other == nil {
			continue
		}
		CompareKept(t, path+"."+key, one, other)
	}
}

// isHollow says that there is nothing in it.
func isHollow(value any) bool {
	m, ok := value.(map[string]any)
	return value == nil || ok && !slices.ContainsFunc(slices.Collect(maps.Values(m)), func(v any) bool { return !isHollow(v) })
}
