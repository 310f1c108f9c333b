package clusterinstallation

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/installation/oracletest"
	"windlass.dev/internal/kit/plan"
)

// refused are the cases that are not carried out, with the reason, and where it lies.
// Upstream does not carry them out either.
var refused = map[string][2]string{
	"ci-blue-minimal":   {v1beta1.ReasonInvalidSpec, "spec.blueGreen.blue.version"},
	"ci-canary-minimal": {v1beta1.ReasonInvalidSpec, "spec.canary.deployment.version"},
	"ci-secret-missing": {v1beta1.ReasonSecretNotFound, "spec.database.secret"},
}

// differs are the values that are another one than upstream's, by the path.
var differs = map[string]bool{}

// somewhen is when all tests happen.
var somewhen = time.Unix(1_800_000_000, 0)

// oracle is one case: the input, and what upstream made of it.
type oracle struct {
	input   *v1alpha1.ClusterInstallation
	secrets map[string]installation.Secret
	want    map[plan.Ref]*unstructured.Unstructured
}

func readOracle(t testing.TB, name string) oracle {
	t.Helper()
	o := oracle{secrets: map[string]installation.Secret{}, want: map[plan.Ref]*unstructured.Unstructured{}}
	for _, object := range oracletest.Documents(t, filepath.Join("testdata", "oracles", name, "input.yaml")) {
		switch object.GetKind() {
		case "ClusterInstallation":
			o.input = &v1alpha1.ClusterInstallation{}
			oracletest.Convert(t, object, o.input)
			o.input.UID = types.UID("uid-of-" + name)
		case "Secret":
			secret := oracletest.Secret(t, object)
			o.secrets[secret.Name] = installation.FactsOf(installation.Redact(secret))
		}
	}
	for _, object := range oracletest.Documents(t, filepath.Join("testdata", "oracles", name, "want.yaml")) {
		o.want[plan.RefTo(object)] = object
	}
	return o
}

// observed is what there is of an installation of which nothing was made yet.
func observed(stored *v1alpha1.ClusterInstallation, secrets map[string]installation.Secret) Snapshot {
	s := Snapshot{ClusterInstallation: stored}
	for _, view := range Views(stored, secrets) {
		s.Views = append(s.Views, installation.Snapshot{Mattermost: view.Mattermost, Set: view.Set, Secrets: secrets})
	}
	return s
}

// TestOracles compares what is done for an installation of which there is nothing yet
// with what upstream made: every object, every generated Secret but for its values, and
// the spec that is written back.
func TestOracles(t *testing.T) {
	t.Parallel()
	for _, name := range oracletest.Names(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := readOracle(t, name)
			s := observed(o.input, o.secrets)
			p := Decide(s, somewhen)
			if because, ok := refused[name]; ok {
				refuses(t, s, p, because[0], because[1])
				if want := o.wanted(t).Object["spec"]; name != "ci-secret-missing" && p.Has("write defaults to ClusterInstallation/mm") {
					t.Errorf("defaults are written back, upstream has %v", want)
				}
				return
			}
			spec := o.input
			for _, step := range p.Steps {
				switch action := step.Action.(type) {
				case plan.Apply:
					o.compare(t, action.Object)
				case installation.GenerateSecret:
					o.compare(t, generated(action))
				case WriteBack:
					spec = action.ClusterInstallation
				default:
					t.Errorf("step %s", action)
				}
			}
			got, err := runtime.DefaultUnstructuredConverter.ToUnstructured(spec)
			if err != nil {
				t.Fatal(err)
			}
			oracletest.Compare(t, "spec", o.wanted(t).Object["spec"], got["spec"], differs)
			delete(o.want, plan.RefTo(o.wanted(t)))
			for ref := range o.want {
				t.Errorf("upstream also has %s", ref)
			}
		})
	}
}

// refuses wants nothing to be made, and the reason in the status.
func refuses(t *testing.T, s Snapshot, p plan.Plan, reason, path string) {
	t.Helper()
	for _, step := range p.Steps {
		if _, ok := step.Action.(WriteBack); !ok {
			t.Errorf("step %s", step.Action)
		}
	}
	status := Report(s, p, plan.Outcome{}, somewhen).Status
	ready := conditionOf(status, v1beta1.ConditionReady)
	if ready.Reason != reason || !strings.Contains(ready.Message, path+": ") {
		t.Errorf("Ready is %+v, want the reason %s at %s", ready, reason, path)
	}
	if status.State != v1alpha1.Reconciling || status.Error != ready.Message {
		t.Errorf("status %+v", status)
	}
}

func (o oracle) wanted(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	for ref, object := range o.want {
		if ref.Kind == "ClusterInstallation" {
			return object
		}
	}
	t.Fatal("the case has no ClusterInstallation")
	return nil
}

func (o oracle) compare(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	ref := plan.RefTo(object)
	want, ok := o.want[ref]
	if !ok {
		t.Errorf("upstream has no %s", ref)
		return
	}
	delete(o.want, ref)
	if slices.Contains([]string{"MysqlCluster", "MinIOInstance", "Secret"}, ref.Kind) {
		want.SetOwnerReferences(nil) // Data outlives the resource here.
	}
	oracletest.Compare(t, ref.String(), want.Object, oracletest.Normalized(object), differs)
}

// generated is a Secret as it is shown in the cases.
func generated(g installation.GenerateSecret) *unstructured.Unstructured {
	data := map[string]any{}
	for key := range g.Fixed {
		data[key] = "REDACTED"
	}
	for key := range maps.Keys(g.Random) {
		data[key] = "REDACTED"
	}
	secret := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data}}
	secret.SetNamespace(g.Namespace)
	secret.SetName(g.Name)
	secret.SetLabels(g.Labels)
	return secret
}
