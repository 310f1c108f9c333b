package clusterapi_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
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

var errCrash = errors.New("crashed")

// fixture is a provider with a crash in it, in a namespace with groups.
type fixture struct {
	*clusterapitest.Controllers
	provider *clusterapi.Provider

	mu      sync.Mutex
	armed   bool
	left    int
	done    bool
	crashed bool
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
	f := &fixture{Controllers: &clusterapitest.Controllers{Client: c, Namespace: namespace}}
	f.provider = &clusterapi.Provider{Client: interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
			return f.read(func() error { return c.Get(ctx, key, o, options...) })
		},
		List: func(ctx context.Context, c client.WithWatch, o client.ObjectList, options ...client.ListOption) error {
			return f.read(func() error { return c.List(ctx, o, options...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
			return f.count(func() error { return c.Delete(ctx, o, options...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.UpdateOption) error {
			return f.count(func() error { return c.Update(ctx, o, options...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
			return f.count(func() error { return c.Patch(ctx, o, p, options...) })
		},
	})}
	return f
}

func (f *fixture) read(do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.crashed {
		return errCrash
	}
	return do()
}

func (f *fixture) count(do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.crashed {
		return errCrash
	}
	if f.armed && f.left == 0 {
		f.crashed = true
		if f.done {
			if err := do(); err != nil {
				return err
			}
		}
		return errCrash
	}
	f.left--
	return do()
}

func (f *fixture) crash(after int, done bool) func() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed, f.left, f.done = true, after, done
	return func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		crashed := f.crashed
		f.armed, f.crashed = false, false
		return crashed
	}
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
