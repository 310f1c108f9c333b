package clusterinstallation

import (
	"encoding/json"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/installation/leaftest"
	"windlass.dev/internal/kit/plan"
)

// idle are the leaves that change neither an object nor the status when they are set
// alone, and why that is right. A path that ends in * stands for all that begin with it.
var idle = map[string]string{
	"spec.database.resources.*": "the MySQL operator is not told of them, as upstream has it",
	"spec.minio.resources.*":    "MinIO's operator is not told of them, as upstream has it",
}

// samples are values for strings that not every text will do for, by field.
var samples = map[string]string{
	"size": "1000users", "storageSize": "7Gi", "type": "postgres", "productionDeployment": "green",
}

// sets are the parts of a spec with blue, green and canary.
const (
	allSets = `blueGreen: {enable: true, productionDeployment: blue, blue: {image: i, version: "1"}, green: {image: i, version: "2"}}, canary: {enable: true, deployment: {image: i, version: "3"}}`
)

// bases are the specs in which a part counts, by the beginning of the path; the longest
// wins.
var bases = map[string]string{
	"spec":                                `{ingressName: h, database: {secret: db}, minio: {externalURL: u, externalBucket: b, secret: fs}}`,
	"spec.database":                       `{database: {initBucketURL: u, backupRestoreSecretName: r}}`,
	"spec.minio":                          `{minio: {}}`,
	"spec.minio.externalURL":              `{minio: {secret: fs}}`,
	"spec.elasticSearch":                  `{elasticSearch: {host: e}}`,
	"spec.serviceAnnotations":             `{useServiceLoadBalancer: true}`,
	"spec.blueGreen":                      `{` + allSets + `}`,
	"spec.blueGreen.enable":               `{blueGreen: {productionDeployment: blue, blue: {image: i, version: "1"}, green: {image: i, version: "2"}}}`,
	"spec.blueGreen.green.resourceLabels": `{blueGreen: {enable: true, productionDeployment: green, blue: {image: i, version: "1"}, green: {image: i, version: "2"}}}`,
	"spec.canary":                         `{` + allSets + `}`,
	"spec.canary.enable":                  `{canary: {deployment: {image: i, version: "3"}}}`,
}

// TestEveryLeafCounts wants to see each field in an object or in the status.
func TestEveryLeafCounts(t *testing.T) {
	t.Parallel()
	leaftest.Suite{
		File: filepath.Join("..", "..", "config", "crd", "mattermost.com_clusterinstallations.yaml"),
		Idle: idle, Samples: samples, Bases: bases, World: world, AtLeast: 150,
	}.Check(t)
}

// world is what an installation comes to, when it is new and in an upgrade: what is done,
// and the status.
func world(t *testing.T, path string, spec any) any {
	t.Helper()
	content, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"name": "chat", "namespace": "ns", "uid": "uid"},
		"spec":     spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	stored := &v1alpha1.ClusterInstallation{}
	if err := yaml.UnmarshalStrict(content, stored); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	secrets := map[string]installation.Secret{}
	for name, data := range map[string][]string{
		"db": {"DB_CONNECTION_STRING", "DB_CONNECTION_CHECK_URL"}, "fs": {"accesskey", "secretkey"},
		"example": {"accesskey", "secretkey", "license", "ROOT_PASSWORD", "USER", "PASSWORD", "DATABASE"},
	} {
		secret := &corev1.Secret{Data: map[string][]byte{}}
		for _, key := range data {
			secret.Data[key] = []byte("postgres://h/x")
		}
		secret.Name = name
		secrets[name] = installation.FactsOf(installation.Redact(secret))
	}
	var seen []any
	for _, image := range []string{"", "example.com/old:1"} {
		s := observed(stored, secrets)
		if image != "" {
			s.Views[0].Deployment = &appsv1.Deployment{}
			s.Views[0].Deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: "mattermost", Image: image}}
		}
		p := Decide(s, somewhen)
		seen = append(seen, leaftest.Told(t, p.Steps, func(action plan.Action) bool { _, is := action.(WriteBack); return is })...)
		seen = append(seen, Report(s, p, plan.Outcome{}, somewhen).Status)
	}
	return seen
}
