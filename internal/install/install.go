// Package install holds what a cluster needs before Windlass can run in it:
// namespaces, custom resource definitions, permissions and a Deployment.
package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"

	"windlass.dev/config"
	windlassconfig "windlass.dev/internal/config"
)

const (
	// Namespace is where Windlass runs.
	Namespace = "windlass-system"
	// Name is that of its ServiceAccount, Deployment and roles.
	Name = "windlass"
	// restoresName is that of the ClusterRole to restore databases.
	restoresName = Name + "-restores"
	// fleetName is that of the ClusterRole to rotate fleets.
	fleetName = Name + "-fleet"
	// leasesName is that of the Roles to hold leases.
	leasesName = Name + "-leases"
	// Identity is how the API server knows Windlass.
	Identity = "system:serviceaccount:" + Namespace + ":" + Name
)

// Options are what an installation may choose.
type Options struct {
	// Image is Windlass' own container image; required for the Deployment.
	Image string
	// Replicas is how many pods; one acts, the others stand by. At least 1.
	Replicas int32
	// WithoutDeployment leaves out the Deployment and its metrics Service.
	WithoutDeployment bool
	// Namespaces confines Windlass to these, with a Role in each; empty is the whole
	// cluster, with a ClusterRole.
	Namespaces []string
	// Monitoring adds what the Prometheus operator reads. Its kinds have to be known.
	Monitoring bool
}

// Objects returns everything in the order in which it has to be applied.
func Objects(o Options) ([]*unstructured.Unstructured, error) {
	if !o.WithoutDeployment && o.Image == "" {
		return nil, errors.New("say which image of Windlass to run with --image, or leave the Deployment out with --without-deployment")
	}
	if !o.WithoutDeployment && o.Replicas < 1 {
		return nil, fmt.Errorf("--replicas is %d; want at least 1", o.Replicas)
	}
	defaults := windlassconfig.Default()
	lease := defaults.Installations.Lease
	objects := []*unstructured.Unstructured{namespace(Namespace), namespace(lease.Namespace)}
	definitions, err := read("crd")
	if err != nil {
		return nil, err
	}
	objects = append(objects, definitions...)
	objects = append(objects, protection()...)
	objects = append(objects, serviceAccount())
	roles, err := read("rbac")
	if err != nil {
		return nil, err
	}
	if len(o.Namespaces) > 0 {
		objects = append(objects, confined(roles, o.Namespaces)...)
	} else {
		objects = append(objects, roles...)
		objects = append(objects, bindings(roles)...)
		objects = append(objects, leaseRole(leasesName, defaults.Rotations.Lease)...)
		objects = append(objects, leaseRole(Name+"-rollouts", defaults.Rollouts.Lease)...)
		objects = append(objects, pullRole()...)
		objects = append(objects, fleetRole(defaults.Fleet.Lease)...)
	}
	objects = append(objects, leaseRole(leasesName, lease)...)
	objects = append(objects, freezeRole()...)
	objects = append(objects, reviewRole()...)
	if o.WithoutDeployment {
		return objects, nil
	}
	if len(o.Namespaces) > 0 {
		configuration, err := configMap(o)
		if err != nil {
			return nil, err
		}
		objects = append(objects, configuration)
	}
	objects = append(objects, deployment(o), metricsService())
	if !o.Monitoring {
		return objects, nil
	}
	monitoring, err := read("monitoring")
	return append(objects, monitoring...), err
}

// Definitions returns the custom resource definitions of an API group, and the namespace
// of the leases under which its controllers act.
func Definitions(group string) ([]*unstructured.Unstructured, error) {
	all, err := read("crd")
	if err != nil {
		return nil, err
	}
	objects := []*unstructured.Unstructured{namespace(Namespace)}
	for _, definition := range all {
		if of, _, _ := unstructured.NestedString(definition.Object, "spec", "group"); of == group {
			objects = append(objects, definition)
		}
	}
	return objects, nil
}

// read returns the objects of the generated files in a folder of config.
func read(folder string) ([]*unstructured.Unstructured, error) {
	files, err := fs.Glob(config.FS, folder+"/*.yaml")
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, file := range files {
		content, err := fs.ReadFile(config.FS, file)
		if err != nil {
			return nil, err
		}
		decoder := yamlutil.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
		for {
			var object unstructured.Unstructured
			err := decoder.Decode(&object.Object)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			if len(object.Object) > 0 {
				objects = append(objects, &object)
			}
		}
	}
	return objects, nil
}

// MonitoringKind is one of the Prometheus operator: a cluster that knows it is
// monitored.
var MonitoringKind = schema.GroupVersionKind{Group: "monitoring.coreos.com", Version: "v1", Kind: "PrometheusRule"}
