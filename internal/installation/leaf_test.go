package installation

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"windlass.dev/api/installation/v1beta1"
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

// TestEveryLeafCounts sets each field of the definition alone, in an installation
// that uses the part of the spec that it belongs to, and wants to see it in an
// object or in the status.
func TestEveryLeafCounts(t *testing.T) {
	t.Parallel()
	excused := map[string]bool{}
	count := 0
	walk(definition(t), "spec", nil, func(path string, way []step) {
		count++
		changed := !reflect.DeepEqual(world(t, path, grow(way, false)), world(t, path, grow(way, true)))
		pattern, excuse := excuseOf(path)
		switch {
		case !changed && !excuse:
			t.Errorf("%s changes nothing", path)
		case !changed:
			excused[pattern] = true
		}
	})
	if count < 500 {
		t.Errorf("only %d leaves were found", count)
	}
	for pattern := range idle {
		if !excused[pattern] {
			t.Errorf("%s is excused without need", pattern)
		}
	}
}

func excuseOf(path string) (pattern string, ok bool) {
	for pattern := range idle {
		if prefix, all := strings.CutSuffix(pattern, "*"); path == pattern || all && strings.HasPrefix(path, prefix) {
			return pattern, true
		}
	}
	return "", false
}

func definition(t *testing.T) apiextensionsv1.JSONSchemaProps {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", "installation.mattermost.com_mattermosts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(content, &crd); err != nil {
		t.Fatal(err)
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
}

// step leads from an object to one of its fields, or from a list to its only item,
// when field is empty.
type step struct {
	field string
	// required are the siblings without which the API server takes nothing.
	required map[string]any
	// value is set at the end of the way.
	value any
}

// walk calls found for each leaf of a schema, with the way to it.
func walk(schema apiextensionsv1.JSONSchemaProps, path string, way []step, found func(path string, way []step)) {
	switch {
	case len(schema.Properties) > 0:
		for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
			required := map[string]any{}
			for _, other := range schema.Required {
				if other != name {
					required[other] = sample(schema.Properties[other], other)
				}
			}
			walk(schema.Properties[name], path+"."+name, append(slices.Clone(way), step{field: name, required: required}), found)
		}
	case schema.Type == "array":
		walk(*schema.Items.Schema, path+"[]", append(slices.Clone(way), step{}), found)
	default:
		name := strings.TrimSuffix(path[strings.LastIndex(path, ".")+1:], "[]")
		way = slices.Clone(way)
		way[len(way)-1].value = sample(schema, name)
		found(path, way)
	}
}

// grow returns what the way stands for, with its leaf or only with what has to be
// around it.
func grow(way []step, leaf bool) any {
	first, rest := way[0], way[1:]
	var value any
	switch {
	case len(rest) > 0:
		value = grow(rest, leaf)
	case leaf:
		value = first.value
	}
	if first.field == "" {
		if value == nil {
			return []any{}
		}
		return []any{value}
	}
	object := maps.Clone(first.required)
	if value != nil {
		object[first.field] = value
	}
	return object
}

// samples are values for strings that not every text will do for, by field.
var samples = map[string]string{
	"size": "1000users", "storageSize": "7Gi", "timeout": "7m", "requestTimeout": "7s", "backendRequestTimeout": "7s",
	"type": "postgres", "patch": `[{"op":"add","path":"/metadata/labels/example","value":"x"}]`, "deploymentStrategyType": "Recreate",
}

// sample returns a value that the schema allows and that is no default.
func sample(schema apiextensionsv1.JSONSchemaProps, name string) any {
	if len(schema.Enum) > 0 {
		var value any
		_ = json.Unmarshal(schema.Enum[len(schema.Enum)-1].Raw, &value)
		return value
	}
	switch {
	case schema.XIntOrString, schema.Type == "integer":
		return int64(7)
	case schema.Type == "boolean":
		return true
	case schema.Type == "array":
		return []any{sample(*schema.Items.Schema, name)}
	case schema.AdditionalProperties != nil:
		return map[string]any{"example": sample(*schema.AdditionalProperties.Schema, name)}
	case schema.Type == "object":
		all := map[string]any{}
		for _, required := range schema.Required {
			all[required] = sample(schema.Properties[required], required)
		}
		return all
	case samples[name] != "":
		return samples[name]
	default:
		return "example"
	}
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

// baseOf returns the spec in which a path is tried.
func baseOf(t *testing.T, path string) map[string]any {
	t.Helper()
	longest := "spec"
	for prefix := range bases {
		if (path == prefix || strings.HasPrefix(path, prefix+".") || strings.HasPrefix(path, prefix+"[")) && len(prefix) > len(longest) {
			longest = prefix
		}
	}
	spec := map[string]any{}
	for _, text := range []string{bases["spec"], bases[longest]} {
		var part map[string]any
		if err := yaml.Unmarshal([]byte(text), &part); err != nil {
			t.Fatal(err)
		}
		maps.Copy(spec, part)
	}
	return spec
}

// overlay puts the second over the first, objects field by field.
func overlay(under, over any) any {
	a, isObject := under.(map[string]any)
	b, ok := over.(map[string]any)
	if !isObject || !ok {
		return over
	}
	merged := maps.Clone(a)
	for key, value := range b {
		if have, exists := merged[key]; exists {
			value = overlay(have, value)
		}
		merged[key] = value
	}
	return merged
}

// world is what an installation comes to, when it is new and in an upgrade: what is
// done, and the status. The spec that is written back would tell of every field,
// and so nothing.
func world(t *testing.T, path string, part any) any {
	t.Helper()
	content, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"name": "chat", "namespace": "ns", "uid": "uid"},
		"spec":     overlay(baseOf(t, path), part),
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
		for _, taken := range p.Steps {
			switch action := taken.Action.(type) {
			case plan.Apply:
				seen = append(seen, action.Object.Object)
			case WriteBack:
			default:
				content, err := json.Marshal(action)
				if err != nil {
					t.Fatal(err)
				}
				seen = append(seen, string(content))
			}
		}
		seen = append(seen, Report(s, p, plan.Outcome{}, somewhen).Status)
	}
	return seen
}
