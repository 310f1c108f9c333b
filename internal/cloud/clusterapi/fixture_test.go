package clusterapi_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud/cloudtest"
	"windlass.dev/internal/cloud/clusterapi"
	"windlass.dev/internal/cloud/clusterapi/clusterapitest"
	"windlass.dev/internal/devcluster/clustertest"
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	clustertest.Main(m, func(_ context.Context, config *rest.Config) error { return clusterapitest.Install(config) })
}

// fixture is a provider with a crash in it, in a namespace with groups.
type fixture struct {
	*clusterapitest.Controllers
	provider *clusterapi.Provider
	crashing *cloudtest.Client
}

// newFixture is one on the API server.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	config := clustertest.Shared()
	config.QPS = -1 // There is nobody to be considerate of.
	c, err := client.NewWithWatch(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := fixtureOf(c, clustertest.Namespace(t))
	// Objects with a finalizer would keep the namespace.
	t.Cleanup(func() {
		if err := f.Release(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return f
}

// inMemory is one without an API server, for what is tried over and over again.
func inMemory() *fixture {
	made := 0
	create := func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
		made++
		o.SetUID(types.UID(fmt.Sprintf("uid-%d", made)))
		o.SetCreationTimestamp(metav1.Now())
		return c.Create(ctx, o, options...)
	}
	return fixtureOf(serving(interceptor.Funcs{Create: create}, []string{"v1beta2"}), "default")
}

func fixtureOf(c client.WithWatch, namespace string) *fixture {
	crashing := cloudtest.NewClient(c)
	return &fixture{Controllers: &clusterapitest.Controllers{Client: c, Namespace: namespace}, crashing: crashing, provider: &clusterapi.Provider{Client: crashing}}
}

func (f *fixture) ref(name string) v1alpha1.Provider {
	return v1alpha1.Provider{ClusterAPI: &v1alpha1.MachineDeployment{Namespace: f.Namespace, Name: name}}
}

func (f *fixture) do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) settle(t *testing.T) {
	t.Helper()
	f.do(t, f.Settle(t.Context()))
}

// makeGroup makes one with all its machines.
func (f *fixture) makeGroup(t *testing.T, name string, others ...string) {
	t.Helper()
	for _, other := range others {
		f.do(t, f.CreateGroup(t.Context(), other, 0, "1"))
	}
	f.do(t, f.CreateGroup(t.Context(), name, cloudtest.Size, strconv.Itoa(cloudtest.Size)))
	f.settle(t)
}

func (f *fixture) edit(t *testing.T, value any, fields ...string) {
	t.Helper()
	f.do(t, f.Edit(t.Context(), "apps", value, fields...))
}

func (f *fixture) change(t *testing.T, to, image string) {
	t.Helper()
	f.do(t, f.Change(t.Context(), "apps", to, image))
}

func (f *fixture) get(t *testing.T, kind, name string) *unstructured.Unstructured {
	t.Helper()
	u, err := f.Get(t.Context(), kind, name)
	f.do(t, err)
	return u
}
