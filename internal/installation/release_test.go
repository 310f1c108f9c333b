package installation

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation/oracletest"
	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

// TestReleaseKeepsWhatUpstreamKeeps compares what is written onto the objects on the
// way back with what upstream itself had written there.
func TestReleaseKeepsWhatUpstreamKeeps(t *testing.T) {
	t.Parallel()
	compared := 0
	for _, name := range oracletest.Names(t) {
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
			oracletest.CompareKept(t, name+": "+what, kept[what], oracletest.Opened(t, original(mm, object)))
		}
	}
	if compared < 600 {
		t.Errorf("only %d objects were compared", compared)
	}
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
	if content, err := json.Marshal(oracletest.Opened(t, original(mm, d))); err != nil || strings.Contains(string(content), CredentialsAnnotation) {
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
