package karpenter_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/cloudtest"
	"windlass.dev/internal/cloud/karpenter"
	"windlass.dev/internal/devcluster/clustertest"
)

func (f *fixture) budgets(t *testing.T) []any {
	t.Helper()
	all, _, _ := unstructured.NestedSlice(f.Get(t, "NodePool", f.pool).Object, "spec", "disruption", "budgets")
	return all
}

// TestHeld: Karpenter ends nothing by choice while a run has the group, and what somebody
// else makes of the budgets meanwhile stays.
func TestHeld(t *testing.T) {
	t.Parallel()
	f := newGroup(t, nil)
	f.prepare(t)
	f.Edit(t, "EC2NodeClass", f.pool, []any{map[string]any{"id": "ami-2"}}, "spec", "amiSelectorTerms")
	f.Settle(t, f.pool)
	if n := f.Disrupt(t, f.pool); n > 0 {
		t.Fatalf("%d machines are disrupted", n)
	}
	night := map[string]any{"nodes": "0", "schedule": "@daily", "duration": "1h"}
	f.Edit(t, "NodePool", f.pool, append(f.budgets(t), night), "spec", "disruption", "budgets")
	f.restore(t)
	if diff := cmp.Diff([]any{map[string]any{"nodes": "100%"}, night}, f.budgets(t)); diff != "" {
		t.Errorf("the budgets: %s", diff)
	}
	for key := range f.Get(t, "NodePool", f.pool).GetAnnotations() {
		if strings.HasPrefix(key, "windlass.dev/") {
			t.Errorf("the annotation %s is left", key)
		}
	}
	f.Edit(t, "NodePool", f.pool, []any{map[string]any{"nodes": "100%"}}, "spec", "disruption", "budgets")
	if n := f.Disrupt(t, f.pool); n != cloudtest.Size {
		t.Errorf("%d machines are disrupted after the run", n)
	}
}

// TestHeldBefore: what the owner of a group holds himself stays held.
func TestHeldBefore(t *testing.T) {
	t.Parallel()
	f := newGroup(t, nil)
	own := []any{map[string]any{"nodes": "0", "reasons": []any{"Drifted"}}}
	f.Edit(t, "NodePool", f.pool, own, "spec", "disruption", "budgets")
	if g := f.describe(t); !slices.Equal(g.Suspended, []string{"Drifted"}) {
		t.Errorf("suspended are %v", g.Suspended)
	}
	during := guard
	during.Suspend = []string{"Empty", "Underutilized"}
	do(t, f.provider.Prepare(t.Context(), ref(f.pool), during, cloud.Target{}))
	if g := f.describe(t); !slices.Equal(g.Suspended, g.Suspendable) {
		t.Errorf("suspended are %v", g.Suspended)
	}
	f.restore(t)
	if diff := cmp.Diff(own, f.budgets(t)); diff != "" {
		t.Errorf("the budgets: %s", diff)
	}
}

// TestProtected: a node that somebody else protects is not set free.
func TestProtected(t *testing.T) {
	t.Parallel()
	f := newGroup(t, nil)
	f.prepare(t)
	g := f.describe(t)
	theirs := f.Get(t, "Node", g.Machines[0].Node)
	theirs.SetAnnotations(map[string]string{"karpenter.sh/do-not-disrupt": "true"})
	do(t, f.Client.Update(t.Context(), theirs))
	do(t, f.provider.Protect(t.Context(), ref(f.pool), []string{g.Machines[0].ID, g.Machines[1].ID}))
	f.restore(t)
	for n, want := range []bool{true, false, false} {
		if m := f.describe(t).Machines[n]; m.Protected != want {
			t.Errorf("machine %d is protected: %v", n, m.Protected)
		}
	}
}

// TestOthers: what Karpenter makes and ends besides makes the group larger and smaller.
func TestOthers(t *testing.T) {
	t.Parallel()
	f := newGroup(t, nil)
	f.prepare(t)
	do(t, f.provider.Resize(t.Context(), ref(f.pool), cloudtest.Size+1))
	f.wait(t)
	f.Provision(t, f.pool, "1")
	f.wait(t)
	if g := f.describe(t); g.Size != cloudtest.Size+2 || len(g.Machines) != cloudtest.Size+2 {
		t.Errorf("with one more the group wants %d and has %d", g.Size, len(g.Machines))
	}
	expired := f.Claims(t, f.pool)[0]
	do(t, f.Client.Delete(t.Context(), &expired))
	f.wait(t)
	if g := f.describe(t); g.Size != cloudtest.Size+1 || len(g.Machines) != cloudtest.Size+1 {
		t.Errorf("with one less the group wants %d and has %d", g.Size, len(g.Machines))
	}
}

// TestGivenUp: what Karpenter could not launch is owed, and made again after a while.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	f := newGroup(t, nil)
	f.prepare(t)
	f.Full = true
	do(t, f.provider.Resize(t.Context(), ref(f.pool), cloudtest.Size+1))
	f.wait(t)
	g := f.describe(t)
	if g.Size != cloudtest.Size+1 || len(g.Machines) != cloudtest.Size {
		t.Errorf("the group wants %d and has %d", g.Size, len(g.Machines))
	}
	if len(g.Problems) != 1 || g.Problems[0].Reason != cloud.ReasonCapacity || !strings.HasPrefix(g.Problems[0].Zone, "zone-") {
		t.Errorf("the problems are %+v", g.Problems)
	}
	f.Full = false
	f.wait(t)
	if g := f.describe(t); len(g.Machines) != cloudtest.Size {
		t.Error("it is made again at once")
	}
	f.clock.SetTime(f.clock.Now().Add(time.Minute))
	f.wait(t)
	g = f.describe(t)
	if g.Size != cloudtest.Size+1 || len(g.Machines) != cloudtest.Size+1 || len(g.Problems) > 0 {
		t.Errorf("the group wants %d, has %d, and %v", g.Size, len(g.Machines), g.Problems)
	}
	if noted := f.Get(t, "NodePool", f.pool).GetAnnotations()["windlass.dev/nodeclaims"]; noted != "" {
		t.Errorf("it is still noted: %s", noted)
	}
	// And what is not made yet can be taken back.
	f.Full = true
	do(t, f.provider.Resize(t.Context(), ref(f.pool), cloudtest.Size+2))
	f.wait(t)
	do(t, f.provider.Resize(t.Context(), ref(f.pool), cloudtest.Size+1))
	if g := f.describe(t); g.Size != cloudtest.Size+1 || len(g.Problems) > 0 {
		t.Errorf("the group wants %d, and %v", g.Size, g.Problems)
	}
}

// TestLimit: the group never gets more than its limit of CPUs, and says so; a machine can be
// ended all the same, and is made again once its place is free.
func TestLimit(t *testing.T) {
	t.Parallel()
	f := newGroup(t, map[string]any{"cpu": "12"})
	f.prepare(t)
	do(t, f.provider.Resize(t.Context(), ref(f.pool), cloudtest.Size+1))
	f.wait(t)
	g := f.describe(t)
	if len(g.Machines) != cloudtest.Size || len(g.Problems) != 1 || g.Problems[0].Reason != cloud.ReasonQuota || !strings.Contains(g.Problems[0].Message, "limit cpu of NodePool "+f.pool+" is 12") {
		t.Errorf("the group has %d machines, and %+v", len(g.Machines), g.Problems)
	}
	do(t, f.provider.Resize(t.Context(), ref(f.pool), cloudtest.Size))
	victim := g.Machines[0].ID
	do(t, f.provider.End(t.Context(), ref(f.pool), victim, cloudtest.Size))
	f.wait(t)
	g = f.describe(t)
	if g.Size != cloudtest.Size || len(g.Machines) != cloudtest.Size || len(g.Problems) > 0 || slices.ContainsFunc(g.Machines, func(m cloud.Machine) bool { return m.ID == victim }) {
		t.Errorf("the group wants %d and has %+v, and %v", g.Size, g.Machines, g.Problems)
	}
}

// TestChangedMind: a machine that was asked for in the place of one that is then to go
// without is not lost count of.
func TestChangedMind(t *testing.T) {
	t.Parallel()
	f := newGroup(t, nil)
	machine := f.describe(t).Machines[0].ID
	recover := f.crashing.Crash(2, false) // It is noted and made, and the machine not ended.
	if err := f.provider.End(t.Context(), ref(f.pool), machine, cloudtest.Size); err == nil {
		t.Fatal("it did not crash")
	}
	recover()
	if g := f.describe(t); g.Size != cloudtest.Size {
		t.Errorf("the group wants %d", g.Size)
	}
	if err := f.provider.End(t.Context(), ref(f.pool), machine, cloudtest.Size-1); !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("the end of it without another: %v", err)
	}
	f.wait(t)
	if g := f.describe(t); int(g.Size) != len(g.Machines) {
		t.Errorf("the group wants %d and has %d", g.Size, len(g.Machines))
	}
}

// TestRefused: what cannot be rotated says why.
func TestRefused(t *testing.T) {
	t.Parallel()
	f := newGroup(t, nil)
	config := clustertest.Shared()
	bare, err := client.New(config, client.Options{Mapper: meta.NewDefaultRESTMapper(nil)})
	do(t, err)
	_, err = (&karpenter.Provider{Client: bare}).Describe(t.Context(), ref(f.pool))
	if !errors.Is(err, cloud.ErrUnsupported) || !strings.Contains(err.Error(), "Karpenter is not installed") {
		t.Errorf("without Karpenter: %v", err)
	}
	static := f.Get(t, "NodePool", f.pool)
	static.SetResourceVersion("")
	static.SetUID("")
	static.SetName(f.pool + "-static")
	do(t, unstructured.SetNestedField(static.Object, int64(3), "spec", "replicas"))
	do(t, f.Client.Create(t.Context(), static))
	t.Cleanup(func() { do(t, f.Client.Delete(context.WithoutCancel(t.Context()), static)) })
	_, err = f.provider.Describe(t.Context(), ref(static.GetName()))
	if !errors.Is(err, cloud.ErrUnsupported) || !strings.Contains(err.Error(), "is static") {
		t.Errorf("a static pool: %v", err)
	}
	f.prepare(t)
	former := f.describe(t).Revision.Template
	f.Edit(t, "EC2NodeClass", f.pool, []any{map[string]any{"id": "ami-2"}}, "spec", "amiSelectorTerms")
	if err := f.provider.Prepare(t.Context(), ref(f.pool), guard, cloud.Target{Template: former}); !errors.Is(err, cloud.ErrUnsupported) {
		t.Errorf("a former template: %v", err)
	}
}
