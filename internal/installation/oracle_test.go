package installation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"

	"windlass.dev/api/installation/v1beta1"
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
	for _, object := range readAll(t, filepath.Join("testdata", "oracles", name, "input.yaml")) {
		switch object.GetKind() {
		case "Mattermost":
			o.input = &v1beta1.Mattermost{}
			convert(t, object, o.input)
			o.input.UID = types.UID("uid-of-" + name)
		case "PersistentVolumeClaim":
			o.claim = &corev1.PersistentVolumeClaim{}
			convert(t, object, o.claim)
		case "Secret":
			secret := &corev1.Secret{}
			convert(t, object, secret)
			secret.Data = map[string][]byte{}
			for key, value := range secret.StringData {
				secret.Data[key] = []byte(value)
			}
			o.secrets[secret.Name] = FactsOf(Redact(secret))
		}
	}
	for _, object := range readAll(t, filepath.Join("testdata", "oracles", name, "want.yaml")) {
		o.want[plan.RefTo(object)] = object
	}
	return o
}

func readAll(t testing.TB, path string) []*unstructured.Unstructured {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, object)
	}
}

func convert(t testing.TB, from *unstructured.Unstructured, to any) {
	t.Helper()
	content, err := from.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(content, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func oracleNames(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("testdata", "oracles"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// TestOracles compares what we apply, and what we write back, with what upstream
// made: each field that we send has upstream's value, and what upstream has
// beyond that is what the API server fills in by itself.
func TestOracles(t *testing.T) {
	t.Parallel()
	for _, name := range oracleNames(t) {
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
				compareIntent(t, ref.String(), want.Object, normalized(object))
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
		compareIntent(t, ref.String(), want[ref].Object, secret.Object)
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
		compareIntent(t, ref.String(), want[ref].Object, made)
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
	compareIntent(t, "spec", want[ref].Object["spec"], got["spec"])
}

func normalized(object *unstructured.Unstructured) map[string]any {
	copied := object.DeepCopy()
	owners, _, _ := unstructured.NestedSlice(copied.Object, "metadata", "ownerReferences")
	for _, o := range owners {
		delete(o.(map[string]any), "uid")
	}
	if len(owners) > 0 {
		_ = unstructured.SetNestedSlice(copied.Object, owners, "metadata", "ownerReferences")
	}
	return copied.Object
}

// compareIntent fails when ours differs from upstream's, apart from what the
// API server would add to ours.
func compareIntent(t *testing.T, path string, want, got any) {
	t.Helper()
	switch want := want.(type) {
	case map[string]any:
		ours, ok := got.(map[string]any)
		if !ok {
			t.Errorf("%s: want a map, got %v", path, got)
			return
		}
		for _, key := range slices.Sorted(maps.Keys(want)) {
			if leaks[t.Name()+"/"+path+"."+key] {
				continue
			}
			ourValue, sent := ours[key]
			if sent {
				compareIntent(t, path+"."+key, want[key], ourValue)
			} else if !filledIn(path+"."+key, want[key]) {
				t.Errorf("%s.%s: upstream has %v, we send nothing", path, key, want[key])
			}
		}
		for _, key := range slices.Sorted(maps.Keys(ours)) {
			if _, ok := want[key]; !ok {
				t.Errorf("%s.%s: upstream has nothing, we send %v", path, key, ours[key])
			}
		}
	case []any:
		ours, ok := got.([]any)
		if !ok || len(ours) != len(want) {
			t.Errorf("%s: want %v, got %v", path, want, got)
			return
		}
		for i := range want {
			compareIntent(t, fmt.Sprintf("%s[%d]", path, i), want[i], ours[i])
		}
	default:
		if !reflect.DeepEqual(want, got) {
			t.Errorf("%s: want %v, got %v", path, want, got)
		}
	}
}

// leaks are labels of pods that upstream, by sharing a map, also puts where
// nobody asked for them. Leaving them off restarts nothing.
var leaks = map[string]bool{
	// There is no PostgreSQL 8.0.
	"TestOracles/mysql-postgres-type/spec.database.operatorManaged.version":          true,
	"TestOracles/pod-extra-labels-resource-labels/Deployment/mm.metadata.labels.own": true,
}

// filledInByServer are the fields, by the end of their path, that the API server
// or a controller of Kubernetes fills in, with the value.
var filledInByServer = map[string]any{
	"annotations.deployment.kubernetes.io/revision":    "1",
	"spec.progressDeadlineSeconds":                     int64(600),
	"spec.template.spec.restartPolicy":                 "Always",
	"spec.template.spec.schedulerName":                 "default-scheduler",
	"spec.template.spec.dnsPolicy":                     "ClusterFirst",
	"spec.template.spec.serviceAccount":                "mm",
	"spec.template.spec.terminationGracePeriodSeconds": int64(30),
	"terminationMessagePath":                           "/dev/termination-log",
	"terminationMessagePolicy":                         "File",
	"imagePullPolicy":                                  "IfNotPresent",
	"httpGet.path":                                     "/",
	"httpGet.scheme":                                   "HTTP",
	"probe.successThreshold":                           int64(1),
	"probe.timeoutSeconds":                             int64(1),
	"defaultMode":                                      int64(420),
	"fieldRef.apiVersion":                              "v1",
	"expirationSeconds":                                int64(3600),
	"protocol":                                         "TCP",
	"spec.sessionAffinity":                             "None",
	"spec.type":                                        "ClusterIP",
	"spec.internalTrafficPolicy":                       "Cluster",
	"spec.ipFamilyPolicy":                              "SingleStack",
	"spec.allocateLoadBalancerNodePorts":               true,
	"spec.externalTrafficPolicy":                       "Cluster",
	"spec.volumeMode":                                  "Filesystem",
	"spec.storageClassName":                            "standard", // The default class.
	"probe.periodSeconds":                              int64(10),
	"probe.failureThreshold":                           int64(3),
}

// filledIn reports whether the value is what Kubernetes puts there by itself.
func filledIn(path string, value any) bool {
	if reflect.DeepEqual(value, map[string]any{}) {
		return true // An empty structure says nothing.
	}
	path = strings.NewReplacer("livenessProbe", "probe", "readinessProbe", "probe", "startupProbe", "probe").Replace(path)
	if strings.HasSuffix(path, "annotations") {
		all, _ := value.(map[string]any)
		return len(all) == 1 && all["deployment.kubernetes.io/revision"] != nil || strings.HasPrefix(path, "PersistentVolumeClaim/")
	}
	if strings.HasPrefix(path, "MysqlCluster/") && strings.HasSuffix(path, ".podSpec") || strings.HasPrefix(path, "MinIOInstance/") && strings.HasSuffix(path, ".scheduler") {
		return true // Nothing but empty values.
	}
	if strings.HasPrefix(path, "PersistentVolumeClaim/") && (strings.HasSuffix(path, ".spec.volumeName") || strings.HasSuffix(path, ".finalizers")) {
		return true // It is bound and protected.
	}
	if strings.HasSuffix(path, ".spec.clusterIPs") || strings.HasSuffix(path, ".spec.ipFamilies") {
		return true
	}
	if strings.HasSuffix(path, ".imagePullPolicy") && value == "Always" {
		return true // What the tag latest means.
	}
	for end, standard := range filledInByServer {
		if strings.HasSuffix(path, "."+end) && reflect.DeepEqual(standard, value) {
			return true
		}
	}
	return false
}
