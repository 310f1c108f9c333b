package installation

import (
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation/oracletest"
	"windlass.dev/internal/kit/plan"
)

// refused are the cases that this version does not carry out, with the reason.
// Every other case has to come out exactly as the oracle says.
var refused = map[string]string{
	// What upstream cannot carry out either.
	"legacy-ingress-none": v1beta1.ReasonInvalidSpec, "volume-hostpath": v1beta1.ReasonInvalidSpec,
	"volume-nfs": v1beta1.ReasonInvalidSpec, "volume-mount-only": v1beta1.ReasonInvalidSpec,
	"alb-no-hosts":      v1beta1.ReasonInvalidSpec,
	"fs-secret-missing": v1beta1.ReasonSecretNotFound, "fs-secret-empty": v1beta1.ReasonSecretInvalid,
}

// stuck are the cases in which upstream stops half way, with the reason why we
// do not. What it did make is compared.
var stuck = map[string]string{
	"fs-local-existing":      "upstream fails on every claim that is bound already",
	"patch-forbidden-bypass": "what a patch may change is judged by its result, so that the Deployment is made without it",
	"patch-refused-by-api":   "the Deployment is sent and refused, as it is upstream",
	"minio-no-svc":           "upstream waits for the Service of MinIO's operator before it makes anything; here the pods wait",
	"mysql-postgres-type":    "upstream has no managed PostgreSQL",
}

func refusal(name string) (reason string, ok bool) {
	for pattern, reason := range refused {
		if match, _ := filepath.Match(pattern, name); match {
			return reason, true
		}
	}
	return "", false
}

// oracle is one case: the input, and what upstream made of it.
type oracle struct {
	input   *v1beta1.Mattermost
	secrets map[string]Secret
	// claim is the one that the pods mount, if it was there before.
	claim *corev1.PersistentVolumeClaim
	want  map[plan.Ref]*unstructured.Unstructured
}

func readOracle(t testing.TB, name string) oracle {
	t.Helper()
	o := oracle{secrets: map[string]Secret{}, want: map[plan.Ref]*unstructured.Unstructured{}}
	for _, object := range oracletest.Documents(t, filepath.Join("testdata", "oracles", name, "input.yaml")) {
		switch object.GetKind() {
		case "Mattermost":
			o.input = &v1beta1.Mattermost{}
			oracletest.Convert(t, object, o.input)
			o.input.UID = types.UID("uid-of-" + name)
		case "PersistentVolumeClaim":
			o.claim = &corev1.PersistentVolumeClaim{}
			oracletest.Convert(t, object, o.claim)
		case "Secret":
			secret := oracletest.Secret(t, object)
			o.secrets[secret.Name] = FactsOf(Redact(secret))
		}
	}
	for _, object := range oracletest.Documents(t, filepath.Join("testdata", "oracles", name, "want.yaml")) {
		o.want[plan.RefTo(object)] = object
	}
	return o
}

// TestOracles compares what we apply, and what we write back, with what upstream
// made: each field that we send has upstream's value, and what upstream has
// beyond that is what the API server fills in by itself.
func TestOracles(t *testing.T) {
	t.Parallel()
	for _, name := range oracletest.Names(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := readOracle(t, name)
			mm := Default(o.input)
			problems := slices.Concat(Validate(mm), Check(mm, o.secrets), checkClaim(mm, o.claim))
			if reason, ok := refusal(name); ok {
				if !slices.ContainsFunc(problems, func(p Problem) bool { return p.Reason == reason }) {
					t.Errorf("want a problem with reason %s, got %v", reason, problems)
				}
				return
			}
			if len(problems) > 0 {
				t.Fatalf("refused: %v", problems)
			}
			r, err := Render(mm, o.secrets, RenderOptions{Claim: o.claim, Shape: v1beta1.ShapeStrict})
			if err != nil {
				t.Fatal(err)
			}
			for _, object := range r.Objects {
				ref := plan.RefTo(object)
				want, ok := o.want[ref]
				if !ok && stuck[name] != "" {
					continue
				}
				if !ok {
					t.Errorf("upstream has no %s", ref)
					continue
				}
				delete(o.want, ref)
				if holdsData(ref) {
					want.SetOwnerReferences(nil)
				}
				oracletest.Compare(t, ref.String(), want.Object, oracletest.Normalized(object), leaks)
			}
			compareSecrets(t, o.want, mm)
			compareIngressClass(t, o.want, mm)
			compareSpec(t, o.want, mm)
			for ref := range o.want {
				if ref.Kind != "Mattermost" && (ref.Kind != "ServiceAccount" || !usesServiceAccount(mm)) {
					t.Errorf("upstream also has %s", ref)
				}
			}
		})
	}
}

// holdsData reports whether upstream deletes data with the object, which is kept
// here unless the deletion is asked for.
func holdsData(ref plan.Ref) bool {
	return slices.Contains([]string{"PersistentVolumeClaim", "MysqlCluster", "MinIOInstance", "Secret"}, ref.Kind)
}

// compareSecrets compares what is generated: all but the values, and the owner.
func compareSecrets(t *testing.T, want map[plan.Ref]*unstructured.Unstructured, mm *v1beta1.Mattermost) {
	t.Helper()
	for _, g := range generated(mm) {
		ref := plan.RefOf(secretKind, g.Namespace, g.Name)
		data := map[string]any{}
		for key := range g.Fixed {
			data[key] = "REDACTED"
		}
		for key := range g.Random {
			data[key] = "REDACTED"
		}
		secret := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data}}
		secret.SetNamespace(g.Namespace)
		secret.SetName(g.Name)
		secret.SetLabels(g.Labels)
		if want[ref] == nil {
			continue // It was there before, and upstream left it alone; so do we.
		}
		want[ref].SetOwnerReferences(nil)
		oracletest.Compare(t, ref.String(), want[ref].Object, secret.Object, leaks)
		delete(want, ref)
	}
}

// compareIngressClass compares all but the owner: Kubernetes knows no owner from a
// namespace for what is the whole cluster's.
func compareIngressClass(t *testing.T, want map[plan.Ref]*unstructured.Unstructured, mm *v1beta1.Mattermost) {
	t.Helper()
	for _, step := range makeIngressClass(mm, nil) {
		made, err := runtime.DefaultUnstructuredConverter.ToUnstructured(step.Action.(MakeIngressClass).Class)
		if err != nil {
			t.Fatal(err)
		}
		made["apiVersion"], made["kind"] = "networking.k8s.io/v1", "IngressClass"
		unstructured.RemoveNestedField(made, "metadata", "creationTimestamp")
		ref := plan.RefOf(schema.GroupKind{Group: "networking.k8s.io", Kind: "IngressClass"}, "", mm.Name)
		want[ref].SetOwnerReferences(nil)
		oracletest.Compare(t, ref.String(), want[ref].Object, made, leaks)
		delete(want, ref)
	}
}

// compareSpec compares the spec that is written back.
func compareSpec(t *testing.T, want map[plan.Ref]*unstructured.Unstructured, mm *v1beta1.Mattermost) {
	t.Helper()
	ref := plan.RefOf(v1beta1.GroupVersion.WithKind("Mattermost").GroupKind(), mm.Namespace, mm.Name)
	got, err := runtime.DefaultUnstructuredConverter.ToUnstructured(mm)
	if err != nil {
		t.Fatal(err)
	}
	oracletest.Compare(t, "spec", want[ref].Object["spec"], got["spec"], leaks)
}

// leaks are labels of pods that upstream, by sharing a map, also puts where
// nobody asked for them. Leaving them off restarts nothing.
var leaks = map[string]bool{
	// There is no PostgreSQL 8.0.
	"TestOracles/mysql-postgres-type/spec.database.operatorManaged.version":          true,
	"TestOracles/pod-extra-labels-resource-labels/Deployment/mm.metadata.labels.own": true,
}
