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
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
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

// TestReleaseForgetsRotations: upstream knows nothing of the annotation by which pods
// are replaced when a credential changes, and would replace them all to remove it.
func TestReleaseForgetsRotations(t *testing.T) {
	t.Parallel()
	s := external()
	mm := Default(s.Mattermost)
	r, err := Render(mm, s.Secrets, RenderOptions{Shape: v1beta1.ShapeStrict, Credentials: "0123"})
	if err != nil {
		t.Fatal(err)
	}
	d := find(r.Objects, s.ref(deploymentKind, "chat"))
	if content, err := d.MarshalJSON(); err != nil || !strings.Contains(string(content), CredentialsAnnotation) {
		t.Fatalf("the pods do not say their credentials: %v", err)
	}
	if content, err := json.Marshal(opened(t, original(mm, d))); err != nil || strings.Contains(string(content), CredentialsAnnotation) {
		t.Errorf("upstream is told: %s", content)
	}
}

// TestReleaseIsRefused where upstream would begin something anew or could not go on,
// also while a problem keeps the rest from being looked at.
func TestReleaseIsRefused(t *testing.T) {
	t.Parallel()
	job := func(s *Snapshot, conditions ...batchv1.JobCondition) {
		s.Jobs = []batchv1.Job{{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "j", Labels: map[string]string{appLabel: updateJobLabel, installationLabel: "chat"}}}}
		s.Jobs[0].Status.Conditions = conditions
	}
	for title, c := range map[string]struct {
		world func(*Snapshot)
		want  string
	}{
		"nothing stands in the way":   {func(*Snapshot) {}, ""},
		"a problem":                   {func(s *Snapshot) { delete(s.Secrets, "db") }, ""},
		"standard, said to be strict": {func(s *Snapshot) { s.Mattermost.Status.Shape = v1beta1.ShapeStandard; delete(s.Secrets, "db") }, "shape"},
		"a migration, and a problem":  {func(s *Snapshot) { job(s); delete(s.Secrets, "db") }, "under way"},
		"a migration that is over": {func(s *Snapshot) {
			job(s, batchv1.JobCondition{Type: batchv1.JobFailed, Status: "True"})
			delete(s.Secrets, "db")
		}, ""},
		"rolled back, and a problem": {func(s *Snapshot) { rolledBackFrom(s); delete(s.Secrets, "db") }, "rolled back"},
		"no backup before the upgrade": {func(s *Snapshot) {
			s.Mattermost.Spec.UpdateJob = &v1beta1.UpdateJob{PreUpgrade: &v1beta1.PreUpgrade{CronJob: "backup"}}
			s.Mattermost.Spec.Version = "10.7.0"
		}, "failed"},
	} {
		s := released(t)
		c.world(&s)
		a := assess(s)
		if got := strings.Join(a.Release.Blockers, " "); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", title, got, c.want)
		}
		if handing := a.Release.Handing; handing != (c.want == "") {
			t.Errorf("%s: handing over is %v", title, handing)
		}
	}
}

func rolledBackFrom(s *Snapshot) {
	s.Mattermost.Annotations[v1beta1.RollBackAnnotation] = "on"
	s.Mattermost.Status.RolledBackFrom = image(Default(s.Mattermost))
	s.Mattermost.Status.Good = &v1beta1.Release{Image: "i", Version: "v"}
}

// released is a strict installation, all of it there, whose release is asked for.
func released(t *testing.T) Snapshot {
	t.Helper()
	s := external()
	s.Mattermost.Annotations = map[string]string{v1beta1.ReleasedAnnotation: "true", v1beta1.ShapeAnnotation: "Strict"}
	s.Mattermost.Status.Shape = v1beta1.ShapeStrict
	s.Mattermost.Spec = Default(s.Mattermost).Spec
	r, err := Render(s.Mattermost, s.Secrets, RenderOptions{Shape: v1beta1.ShapeStrict})
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range r.Objects {
		ref := plan.RefTo(object)
		managed := []metav1.ManagedFieldsEntry{{Manager: Manager, Operation: metav1.ManagedFieldsOperationApply}}
		s.Live = append(s.Live, inventory.Live{Ref: ref, UID: types.UID(ref.String()), Controller: s.Mattermost.UID, Managed: managed})
		s.Mattermost.Status.Inventory = append(s.Mattermost.Status.Inventory, v1beta1.InventoryItem{Group: ref.Group, Kind: ref.Kind, Name: ref.Name, Digest: inventory.Digest(object, managed, Manager)})
		if ref == s.ref(deploymentKind, "chat") {
			s.Deployment = &appsv1.Deployment{}
			s.Deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: mainContainer, Image: intendedImage(object)}}
		}
	}
	return s
}
