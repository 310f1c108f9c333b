package karpenter_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/cloudtest"
	"windlass.dev/internal/cloud/karpenter"
	"windlass.dev/internal/cloud/karpenter/karpentertest"
	"windlass.dev/internal/devcluster/clustertest"
)

func TestMain(m *testing.M) {
	clustertest.Main(m, func(_ context.Context, config *rest.Config) error { return karpentertest.Install(config) })
}

// fixture is a provider with a crash in it, and NodePools of its own.
type fixture struct {
	karpentertest.Karpenter
	provider *karpenter.Provider
	crashing *cloudtest.Client
	clock    *testingclock.FakePassiveClock
	// pool is the name of the one that most is about.
	pool string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	config := clustertest.Shared()
	config.QPS = -1 // There is nobody to be considerate of.
	c, err := client.NewWithWatch(config, client.Options{})
	do(t, err)
	f := &fixture{Karpenter: karpentertest.Karpenter{Client: c}, clock: testingclock.NewFakePassiveClock(time.Now()), pool: clustertest.Namespace(t)}
	f.crashing = cloudtest.NewClient(c)
	f.provider = &karpenter.Provider{Clock: f.clock, Client: f.crashing}
	return f
}

// newGroup is a fixture whose pool has all its machines, each of 4 CPUs.
func newGroup(t *testing.T, limits map[string]any) *fixture {
	t.Helper()
	f := newFixture(t)
	f.Make(t, f.pool, limits)
	f.SetSize(t, f.pool, cloudtest.Size)
	f.Settle(t, f.pool)
	return f
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wait lets Karpenter do what it has to, and the controller look at the group, which then
// makes what is missing.
func (f *fixture) wait(t *testing.T) {
	t.Helper()
	look := &karpenter.Provider{Client: f.Client, Clock: f.clock}
	for range 3 {
		f.Settle(t, f.pool)
		g, err := look.Describe(t.Context(), ref(f.pool))
		do(t, err)
		if !slices.ContainsFunc(g.Machines, func(m cloud.Machine) bool { return m.State != cloud.Running }) && len(g.Machines) == int(g.Size) {
			return
		}
	}
	f.Settle(t, f.pool)
}

func ref(pool string) v1alpha1.Provider {
	return v1alpha1.Provider{Karpenter: &v1alpha1.KarpenterNodePool{Name: pool}}
}

func (f *fixture) describe(t *testing.T) cloud.Group {
	t.Helper()
	g, err := f.provider.Describe(t.Context(), ref(f.pool))
	do(t, err)
	return g
}

var guard = cloud.Guard{Run: "apps-1", Suspend: []string{"Drifted", "Empty", "Underutilized"}, Settings: cloud.Settings{Size: cloudtest.Size, Max: cloudtest.Size}}

func (f *fixture) prepare(t *testing.T) {
	t.Helper()
	do(t, f.provider.Prepare(t.Context(), ref(f.pool), guard, cloud.Target{}))
}

func (f *fixture) restore(t *testing.T) {
	t.Helper()
	g := f.describe(t)
	do(t, f.provider.Restore(t.Context(), ref(f.pool), guard, cloud.Settings{Size: g.Size, Max: g.Max}, cloud.Target{}))
}

func TestContract(t *testing.T) {
	t.Parallel()
	cloudtest.Suite(t, func(t *testing.T) *cloudtest.Harness {
		f := newGroup(t, map[string]any{"nodes": int64(3)})
		f.Make(t, f.pool+"-2", nil)
		f.Make(t, "my-"+f.pool, nil)
		return &cloudtest.Harness{
			Provider: f.provider, Group: ref(f.pool), Missing: ref(f.pool[1:]), Others: []v1alpha1.Provider{ref(f.pool + "-2"), ref("my-" + f.pool)}, NoMin: true,
			Change: func(t *testing.T) {
				f.Edit(t, "EC2NodeClass", f.pool, []any{map[string]any{"id": "ami-2"}}, "spec", "amiSelectorTerms")
			},
			SetSize: func(t *testing.T, size int32) { f.SetSize(t, f.pool, int(size)) },
			Wait:    f.wait, Crash: f.crashing.Crash,
		}
	})
}
