package installation

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation/leaftest"
	"windlass.dev/internal/kit/plan"
)

// idle are the leaves that change neither an object nor the status when they are
// set alone, and why that is right. A path that ends in * stands for all that
// begin with it.
var idle = map[string]string{
	"spec.fileStore.operatorManaged.resources.claims[]*": "MinIO's operator takes requests and limits",
	"spec.database.operatorManaged.resources.claims[]*":  "CloudNativePG takes requests and limits",
}

// Volumes of these kinds are refused, whatever is in them.
func init() {
	for source := range strings.FieldsSeq(`awsElasticBlockStore azureDisk azureFile cephfs cinder ephemeral fc flexVolume flocker
		gcePersistentDisk gitRepo glusterfs hostPath image iscsi nfs photonPersistentDisk portworxVolume quobyte rbd scaleIO storageos vsphereVolume`) {
		idle["spec.volumes[]."+source+".*"] = "the source is not allowed"
	}
}

// TestEveryLeafCounts wants to see each field in an object or in the status.
func TestEveryLeafCounts(t *testing.T) {
	t.Parallel()
	leaftest.Suite{
		File: filepath.Join("..", "..", "config", "crd", "installation.mattermost.com_mattermosts.yaml"),
		Idle: idle, Samples: samples, Bases: bases, World: world, AtLeast: 500,
	}.Check(t)
}

// samples are values for strings that not every text will do for, by field.
var samples = map[string]string{
	"size": "1000users", "storageSize": "7Gi", "timeout": "7m", "requestTimeout": "7s", "backendRequestTimeout": "7s",
	"type": "postgres", "patch": `[{"op":"add","path":"/metadata/labels/example","value":"x"}]`, "deploymentStrategyType": "Recreate",
}

// bases are the specs in which a part counts, by the beginning of the path; the
// longest wins.
var bases = map[string]string{
	"spec":                          `{ingress: {enabled: true, host: h}, database: {external: {secret: db}}, fileStore: {external: {url: u, bucket: b, secret: fs}}}`,
	"spec.database.operatorManaged": `{database: {operatorManaged: {initBucketURL: u, backupRestoreSecretName: r}}}`,
	"spec.database.operatorManaged.resources": `{database: {operatorManaged: {type: postgres}}}`,
	"spec.database.readinessCheck":            `{database: {external: {secret: db}, readinessCheck: {mode: builtin}}}`,
	"spec.database.readinessCheck.mode":       `{database: {external: {secret: db}}}`,
	"spec.fileStore.operatorManaged":          `{fileStore: {}}`,
	"spec.fileStore.externalVolume":           `{fileStore: {}}`,
	"spec.fileStore.local":                    `{fileStore: {local: {enabled: true}}}`,
	"spec.fileStore.local.enabled":            `{fileStore: {}}`,
	"spec.ingress.enabled":                    `{ingress: null, ingressName: h}`,
	"spec.ingressName":                        `{ingress: null}`,
	"spec.ingressAnnotations":                 `{ingress: null, ingressName: h}`,
	"spec.useIngressTLS":                      `{ingress: null, ingressName: h}`,
	"spec.httpRoute":                          `{httpRoute: {enabled: true, host: r, gatewayRef: {name: g}}}`,
	"spec.httpRoute.enabled":                  `{httpRoute: {host: r, gatewayRef: {name: g}}}`,
	"spec.awsLoadBalancerController":          `{awsLoadBalancerController: {enabled: true, ingressClassName: c, hosts: [{hostName: a}]}}`,
	"spec.awsLoadBalancerController.enabled":  `{awsLoadBalancerController: {ingressClassName: c, hosts: [{hostName: a}]}}`,
	"spec.elasticSearch":                      `{elasticSearch: {host: e}}`,
	"spec.resourcePatch":                      `{resourcePatch: {service: {patch: '[{"op":"add","path":"/metadata/labels/other","value":"x"}]'}, deployment: {patch: '[{"op":"add","path":"/metadata/labels/other","value":"x"}]'}}}`,
	"spec.volumeMounts":                       `{volumes: [{name: example, emptyDir: {}}]}`,
}

// world is what an installation comes to, when it is new and in an upgrade: what is
// done, and the status. The spec that is written back would tell of every field,
// and so nothing.
func world(t *testing.T, path string, spec any) any {
	t.Helper()
	content, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"name": "chat", "namespace": "ns", "uid": "uid"},
		"spec":     spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	stored := &v1beta1.Mattermost{}
	if err := yaml.UnmarshalStrict(content, stored); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	s := Snapshot{Mattermost: stored, Secrets: map[string]Secret{}}
	for name, keys := range map[string][]string{"db": {keyConnection, keyCheckURL}, "fs": {keyAccess, keySecret}, "example": knownKeys} {
		s.Secrets[name] = Secret{Keys: keys, DatabaseScheme: "postgres", CheckScheme: "postgres", CheckHost: true, Digest: name}
	}
	var seen []any
	for _, image := range []string{"", "example.com/old:1"} {
		if image != "" {
			s.Deployment = &appsv1.Deployment{}
			s.Deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: mainContainer, Image: image}}
		}
		p := Decide(s, somewhen)
		seen = append(seen, leaftest.Told(t, p.Steps, func(action plan.Action) bool { _, is := action.(WriteBack); return is })...)
		seen = append(seen, Report(s, p, plan.Outcome{}, somewhen).Status)
	}
	return seen
}
