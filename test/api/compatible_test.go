// Package api checks the contracts of the repository: that the API is compatible
// with the one that it replaces, and who imports whom.
package api

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"windlass.dev/config"
)

// annotationLimit is how large a definition may be as JSON, in bytes, so that
// kubectl apply can keep a copy in an annotation (limit 262144) with room to grow.
const annotationLimit = 200_000

func TestMattermostIsCompatible(t *testing.T) {
	t.Parallel()
	compatible(t, "crd/installation.mattermost.com_mattermosts.yaml", "testdata/upstream-mattermosts.yaml")
}

func TestClusterInstallationIsCompatible(t *testing.T) {
	t.Parallel()
	compatible(t, "crd/mattermost.com_clusterinstallations.yaml", "testdata/upstream-clusterinstallations.yaml")
}

func TestMattermostRestoreDBIsCompatible(t *testing.T) {
	t.Parallel()
	compatible(t, "crd/mattermost.com_mattermostrestoredbs.yaml", "testdata/upstream-mattermostrestoredbs.yaml")
}

func compatible(t *testing.T, our, their string) {
	t.Helper()
	content, err := fs.ReadFile(config.FS, our)
	if err != nil {
		t.Fatal(err)
	}
	ours := definition(t, content)
	content, err = os.ReadFile(their)
	if err != nil {
		t.Fatal(err)
	}
	theirs := definition(t, content)

	if diff := cmp.Diff(theirs.Spec.Names, ours.Spec.Names); diff != "" {
		t.Errorf("names (-upstream +ours):\n%s", diff)
	}
	if theirs.Spec.Scope != ours.Spec.Scope || theirs.Spec.Group != ours.Spec.Group {
		t.Errorf("scope or group differ")
	}
	a, b := theirs.Spec.Versions[0], ours.Spec.Versions[0]
	if diff := cmp.Diff(a.AdditionalPrinterColumns, b.AdditionalPrinterColumns); diff != "" {
		t.Errorf("columns (-upstream +ours):\n%s", diff)
	}
	if a.Name != b.Name || !b.Served || !b.Storage || b.Subresources == nil || b.Subresources.Status == nil {
		t.Errorf("version is not the same, served and stored with a status")
	}
	compare(t, "", a.Schema.OpenAPIV3Schema, b.Schema.OpenAPIV3Schema)

	packed, err := json.Marshal(ours)
	if err != nil {
		t.Fatal(err)
	}
	if len(packed) > annotationLimit {
		t.Errorf("the definition is %d bytes as JSON; want at most %d", len(packed), annotationLimit)
	}
}

func definition(t *testing.T, content []byte) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	var d apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(content, &d); err != nil {
		t.Fatal(err)
	}
	return &d
}

// compare fails when a document that was valid is not any more, or when a field
// that was kept is dropped: every path of theirs exists, with the same type and
// limits, and ours requires nothing that theirs did not.
func compare(t *testing.T, path string, theirs, ours *apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	if diff := cmp.Diff(limits(theirs), limits(ours)); diff != "" {
		t.Errorf("%s (-upstream +ours):\n%s", path, diff)
	}
	for _, name := range slices.Sorted(maps.Keys(theirs.Properties)) {
		their := theirs.Properties[name]
		our, ok := ours.Properties[name]
		if !ok {
			t.Errorf("%s.%s is missing", path, name)
			continue
		}
		compare(t, path+"."+name, &their, &our)
	}
	if theirs.Items != nil && ours.Items != nil {
		compare(t, path+"[]", theirs.Items.Schema, ours.Items.Schema)
	} else if theirs.Items != nil {
		t.Errorf("%s has no items", path)
	}
	if theirs.AdditionalProperties != nil {
		if ours.AdditionalProperties == nil {
			t.Errorf("%s takes no further keys", path)
			return
		}
		compare(t, path+"{}", theirs.AdditionalProperties.Schema, ours.AdditionalProperties.Schema)
	}
}

// limits is what a schema demands, without its description and its children.
func limits(s *apiextensionsv1.JSONSchemaProps) string {
	c := s.DeepCopy()
	c.Description = ""
	c.Properties, c.Items, c.AdditionalProperties = nil, nil, nil
	slices.Sort(c.Required)
	content, err := json.Marshal(c)
	if err != nil {
		return fmt.Sprint(err)
	}
	return string(content)
}
