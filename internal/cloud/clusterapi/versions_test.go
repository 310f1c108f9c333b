package clusterapi_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/clusterapi"
	"windlass.dev/internal/cloud/clusterapi/clusterapitest"
)

// serving is a client of a cluster that has Cluster API in these versions, and these objects.
func serving(funcs interceptor.Funcs, versions []string, objects ...client.Object) client.WithWatch {
	infrastructure := clusterapitest.Object("PlainMachineTemplate", "", "").GroupVersionKind()
	all := []schema.GroupVersion{infrastructure.GroupVersion()}
	for _, version := range versions {
		all = append(all, schema.GroupVersion{Group: "cluster.x-k8s.io", Version: version})
	}
	mapper := meta.NewDefaultRESTMapper(all)
	mapper.Add(infrastructure, meta.RESTScopeNamespace)
	for _, gv := range all[1:] {
		for _, kind := range []string{"MachineDeployment", "MachineSet", "Machine"} {
			mapper.Add(gv.WithKind(kind), meta.RESTScopeNamespace)
		}
	}
	statuses := []client.Object{clusterapitest.Object("MachineSet", "", ""), clusterapitest.Object("Machine", "", "")}
	return fake.NewClientBuilder().WithScheme(runtime.NewScheme()).WithRESTMapper(mapper).WithObjects(objects...).WithStatusSubresource(statuses...).
		WithInterceptorFuncs(funcs).Build()
}

func deployment(version string, strategy ...string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"replicas": int64(1), "template": map[string]any{"spec": map[string]any{"infrastructureRef": map[string]any{"name": "t"}}},
	}}}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "cluster.x-k8s.io", Version: version, Kind: "MachineDeployment"})
	u.SetNamespace("default")
	u.SetName("apps")
	if err := unstructured.SetNestedField(u.Object, "RollingUpdate", append(strategy, "type")...); err != nil {
		panic(err)
	}
	return u
}

var apps = v1alpha1.Provider{ClusterAPI: &v1alpha1.MachineDeployment{Namespace: "default", Name: "apps"}}

// TestVersions: each version keeps the strategy elsewhere.
func TestVersions(t *testing.T) {
	t.Parallel()
	for version, c := range map[string]struct {
		served []string
		field  []string
	}{
		"v1beta1": {[]string{"v1alpha4", "v1beta1"}, []string{"spec", "strategy"}},
		"v1beta2": {[]string{"v1beta1", "v1beta2"}, []string{"spec", "rollout", "strategy"}},
	} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			k := serving(interceptor.Funcs{}, c.served, deployment(version, c.field...))
			p := &clusterapi.Provider{Client: k}
			strategy := func() string {
				u := deployment(version, c.field...)
				if err := k.Get(t.Context(), client.ObjectKeyFromObject(u), u); err != nil {
					t.Fatal(err)
				}
				s, _, _ := unstructured.NestedString(u.Object, append(c.field, "type")...)
				return s
			}
			if err := p.Prepare(t.Context(), apps, theGuard, cloud.Target{}); err != nil || strategy() != "OnDelete" {
				t.Errorf("prepared with strategy %q: %v", strategy(), err)
			}
			if err := p.Restore(t.Context(), apps, theGuard, cloud.Settings{}, cloud.Target{}); err != nil || strategy() != "RollingUpdate" {
				t.Errorf("given back with strategy %q: %v", strategy(), err)
			}
		})
	}
}

// TestErrors: whoever reads the status of a group learns what to do.
func TestErrors(t *testing.T) {
	t.Parallel()
	kept := deployment("v1beta2", "spec", "rollout", "strategy")
	kept.SetLabels(map[string]string{"topology.cluster.x-k8s.io/owned": ""})
	machines := schema.GroupResource{Group: "cluster.x-k8s.io", Resource: "machinedeployments"}
	for name, c := range map[string]struct {
		served  []string
		objects []client.Object
		get     error
		want    error
		says    string
	}{
		"no Cluster API": {want: cloud.ErrUnsupported, says: "there is no Cluster API in the cluster"},
		"an old one":     {served: []string{"v1alpha4"}, want: cloud.ErrUnsupported, says: "none of the versions v1beta2, v1beta1"},
		"no group":       {served: []string{"v1beta2"}, want: cloud.ErrNotFound, says: "MachineDeployment default/apps"},
		"the kind is gone since it was found": {
			served: []string{"v1beta2"}, get: apierrors.NewGenericServerResponse(404, "GET", machines, "apps", "404 page not found", 0, true), want: cloud.ErrUnsupported, says: "MachineDeployment default/apps",
		},
		"no permission": {served: []string{"v1beta2"}, get: apierrors.NewForbidden(machines, "apps", errors.New("no")), want: cloud.ErrCredentials, says: "forbidden"},
		"a topology":    {served: []string{"v1beta2"}, objects: []client.Object{kept}, want: cloud.ErrUnsupported, says: "kept by the topology"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var funcs interceptor.Funcs
			if c.get != nil {
				funcs.Get = failing(c.get)
			}
			_, err := (&clusterapi.Provider{Client: serving(funcs, c.served, c.objects...)}).Describe(t.Context(), apps)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error is %v, want %v that says %q", err, c.want, c.says)
			}
		})
	}
}

func failing(err error) func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
	return func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
		return err
	}
}
