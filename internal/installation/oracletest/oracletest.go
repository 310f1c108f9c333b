// Package oracletest reads the cases of what the Mattermost Operator made, and compares
// with them. It is for tests.
package oracletest

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
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Documents are the objects of a file.
func Documents(t testing.TB, path string) []*unstructured.Unstructured {
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

// Convert reads an object into a Go type.
func Convert(t testing.TB, from *unstructured.Unstructured, to any) {
	t.Helper()
	content, err := from.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(content, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Names are those of the cases, which have a folder each.
func Names(t testing.TB) []string {
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

// Secret is one as the API server would store it.
func Secret(t testing.TB, from *unstructured.Unstructured) *corev1.Secret {
	t.Helper()
	secret := &corev1.Secret{}
	Convert(t, from, secret)
	secret.Data = map[string][]byte{}
	for key, value := range secret.StringData {
		secret.Data[key] = []byte(value)
	}
	return secret
}

// Normalized is an object without what differs from one cluster to the next.
func Normalized(object *unstructured.Unstructured) map[string]any {
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

// Compare fails when ours differs from upstream's, apart from what the API server would
// add to ours, and from what leaks says, by the test's name and the path.
func Compare(t *testing.T, path string, want, got any, leaks map[string]bool) {
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
				Compare(t, path+"."+key, want[key], ourValue, leaks)
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
			Compare(t, fmt.Sprintf("%s[%d]", path, i), want[i], ours[i], leaks)
		}
	default:
		if !reflect.DeepEqual(want, got) {
			t.Errorf("%s: want %v, got %v", path, want, got)
		}
	}
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
	if strings.HasSuffix(path, ".imagePullPolicy") && value == "Always" {
		return true // What the tag latest means.
	}
	for end, standard := range filledInByServer {
		if strings.HasSuffix(path, "."+end) && reflect.DeepEqual(standard, value) {
			return true
		}
	}
	return slices.ContainsFunc(hollow, func(h [2]string) bool { return strings.HasPrefix(path, h[0]) && strings.HasSuffix(path, h[1]) })
}

// hollow are the beginnings and ends of paths whose values say nothing of what is wanted.
var hollow = [][2]string{
	{"MysqlCluster/", ".podSpec"}, {"MinIOInstance/", ".scheduler"}, // Nothing but empty values.
	{"PersistentVolumeClaim/", ".spec.volumeName"}, {"PersistentVolumeClaim/", ".finalizers"}, // It is bound and protected.
	{"", ".spec.clusterIPs"}, {"", ".spec.ipFamilies"},
}
