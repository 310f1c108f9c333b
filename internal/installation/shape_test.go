package installation

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation/oracletest"
	"windlass.dev/internal/kit/inventory"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldens are the oracles' inputs whose standard shape is kept: between them they
// have everything that it does, and everything that it leaves alone.
var goldens = []string{
	"minimal", "lb", "alb-class-cert", "minio-mysql", "jobserver-full", "fs-local-size",
	"pod-security", "probe-exec-tcp", "probe-grace", "ext-sidecars", "patch-topology", "db-check-builtin",
}

// TestStandardShape compares the whole of it with files that people have read. The
// strict shape's are the oracles.
func TestStandardShape(t *testing.T) {
	t.Parallel()
	for _, name := range goldens {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := readOracle(t, name)
			r, err := Render(Default(o.input), o.secrets, RenderOptions{Claim: o.claim, Shape: v1beta1.ShapeStandard})
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			for _, object := range r.Objects {
				content, err := yaml.Marshal(oracletest.Normalized(object))
				if err != nil {
					t.Fatal(err)
				}
				got.WriteString("---\n")
				got.Write(content)
			}
			file := filepath.Join("testdata", "standard", name+".yaml")
			if *update {
				if err := os.WriteFile(file, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
				t.Errorf("%s (-want +got), written anew with go test -update:\n%s", file, diff)
			}
		})
	}
}

func TestShapeOf(t *testing.T) {
	t.Parallel()
	formerly := []metav1.ManagedFieldsEntry{{Manager: Former, Operation: metav1.ManagedFieldsOperationUpdate}}
	for title, c := range map[string]struct {
		world func(*Snapshot)
		want  v1beta1.Shape
	}{
		"a new one":                                {func(*Snapshot) {}, v1beta1.ShapeStandard},
		"a new one where strict is the default":    {func(s *Snapshot) { s.NewShape = v1beta1.ShapeStrict }, v1beta1.ShapeStrict},
		"a new one that chooses":                   {func(s *Snapshot) { choose(s, "Strict") }, v1beta1.ShapeStrict},
		"a recorded one that chooses":              {func(s *Snapshot) { s.Mattermost.Status.Shape = v1beta1.ShapeStrict; choose(s, "Standard") }, v1beta1.ShapeStandard},
		"a recorded one where the default changed": {func(s *Snapshot) { s.Mattermost.Status.Shape = v1beta1.ShapeStandard; s.NewShape = v1beta1.ShapeStrict }, v1beta1.ShapeStandard},
		"what the Mattermost Operator made":        {func(s *Snapshot) { s.Live = []inventory.Live{{Managed: formerly}} }, v1beta1.ShapeStrict},
		"what it has only reported on": {func(s *Snapshot) {
			formerly := formerly[0]
			formerly.Subresource = "status"
			s.Mattermost.ManagedFields = []metav1.ManagedFieldsEntry{formerly}
		}, v1beta1.ShapeStrict},
		"taken over by a pass that died": {func(s *Snapshot) { s.Deployment = &appsv1.Deployment{} }, v1beta1.ShapeStrict},
		"made by a pass that died": {func(s *Snapshot) {
			s.Deployment = &appsv1.Deployment{}
			s.Live = []inventory.Live{{Ref: s.ref(serviceKind, "chat-headless"), Controller: s.Mattermost.UID}}
		}, v1beta1.ShapeStandard},
	} {
		s := external()
		s.Mattermost.Status.Shape = ""
		c.world(&s)
		if got := shapeOf(s); got != c.want {
			t.Errorf("%s: %s, want %s", title, got, c.want)
		}
	}
}

func choose(s *Snapshot, shape string) {
	s.Mattermost.Annotations = map[string]string{v1beta1.ShapeAnnotation: shape}
}

// TestShapeProblems: a choice that is none, and a name that is too long for one shape
// and not for the other.
func TestShapeProblems(t *testing.T) {
	t.Parallel()
	s := external()
	choose(&s, "strict")
	if a := assess(s); len(a.Problems) != 1 || !strings.Contains(a.Problems[0].Message, "want Strict or Standard") {
		t.Errorf("problems: %+v", a.Problems)
	}
	s = external()
	s.Mattermost.Name = strings.Repeat("x", 55)
	if a := assess(s); len(a.Problems) != 1 || a.Problems[0].Path != "metadata.name" || !strings.Contains(a.Problems[0].Message, v1beta1.ShapeAnnotation+"=Strict") {
		t.Errorf("problems: %+v", a.Problems)
	}
	choose(&s, "Strict")
	if a := assess(s); len(a.Problems) > 0 {
		t.Errorf("problems: %+v", a.Problems)
	}
}

// TestBudgetGivesWay to somebody else's, and only if that counts these pods.
func TestBudgetGivesWay(t *testing.T) {
	t.Parallel()
	for title, c := range map[string]struct {
		selector *metav1.LabelSelector
		want     bool
	}{
		"all pods":           {&metav1.LabelSelector{}, false},
		"none":               {nil, true},
		"these":              {&metav1.LabelSelector{MatchLabels: map[string]string{installationLabel: "chat"}}, false},
		"another's":          {&metav1.LabelSelector{MatchLabels: map[string]string{installationLabel: "other"}}, true},
		"what means nothing": {&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "?"}}}, true},
	} {
		s := external()
		s.Budgets = []policyv1.PodDisruptionBudget{{Spec: policyv1.PodDisruptionBudgetSpec{Selector: c.selector}}}
		if got := find(assess(s).Request.Wanted, s.ref(budgetKind, "chat")) != nil; got != c.want {
			t.Errorf("%s: there is a budget of ours: %v", title, got)
		}
	}
}
