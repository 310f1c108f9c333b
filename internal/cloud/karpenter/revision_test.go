package karpenter_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/cloudtest"
)

// outdated counts the machines that are of another revision than the group.
func outdated(g cloud.Group) (n int) {
	for _, m := range g.Machines {
		if !g.Revision.Made(m.Template) {
			n++
		}
	}
	return n
}

// TestOutdated: machines are outdated by what Karpenter takes for drift, at once by what
// hashes and images show, and by its condition for all else.
func TestOutdated(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*testing.T, *fixture)
		want   int
	}{
		"nothing": {func(*testing.T, *fixture) {}, 0},
		"another image": {func(t *testing.T, f *fixture) {
			f.Edit(t, "EC2NodeClass", f.pool, []any{map[string]any{"id": "ami-2"}, map[string]any{"id": "ami-3"}}, "spec", "amiSelectorTerms")
		}, cloudtest.Size},
		"one more image": {func(t *testing.T, f *fixture) {
			f.Edit(t, "EC2NodeClass", f.pool, []any{map[string]any{"id": "ami-2"}, map[string]any{"id": "ami-1"}}, "spec", "amiSelectorTerms")
		}, 0},
		"the NodeClass": {func(t *testing.T, f *fixture) {
			f.Edit(t, "EC2NodeClass", f.pool, "some", "spec", "userData")
		}, cloudtest.Size},
		"the template": {func(t *testing.T, f *fixture) {
			f.Edit(t, "NodePool", f.pool, "720h", "spec", "template", "spec", "expireAfter")
		}, cloudtest.Size},
		"the budgets": {func(t *testing.T, f *fixture) {
			f.Edit(t, "NodePool", f.pool, []any{map[string]any{"nodes": "1"}}, "spec", "disruption", "budgets")
		}, 0},
		"another way of counting": {func(t *testing.T, f *fixture) {
			np := f.Get(t, "NodePool", f.pool)
			all := np.GetAnnotations()
			all["karpenter.sh/nodepool-hash"], all["karpenter.sh/nodepool-hash-version"] = "other", "v4"
			np.SetAnnotations(all)
			do(t, f.Client.Update(t.Context(), np))
		}, 0},
		"a subnet":                       {func(t *testing.T, f *fixture) { f.drifts(t, "SubnetDrift") }, 1},
		"an image that was changed back": {func(t *testing.T, f *fixture) { f.drifts(t, "AMIDrift") }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newGroup(t, nil)
			c.change(t, f)
			g := f.describe(t)
			if n := outdated(g); n != c.want {
				t.Errorf("%d machines are outdated, want %d: of %+v there are %+v", n, c.want, g.Revision, g.Machines)
			}
			if !slices.IsSorted(g.Revision.Images) {
				t.Errorf("the images are %v", g.Revision.Images)
			}
		})
	}
}

func (f *fixture) drifts(t *testing.T, reason string) {
	t.Helper()
	nc := f.Claims(t, f.pool)[0]
	all, _, _ := unstructured.NestedSlice(nc.Object, "status", "conditions")
	all = append(all, map[string]any{"type": "Drifted", "status": "True", "reason": reason, "message": reason, "lastTransitionTime": "2026-01-01T00:00:00Z"})
	do(t, unstructured.SetNestedSlice(nc.Object, all, "status", "conditions"))
	do(t, f.Client.Status().Update(t.Context(), &nc))
}

// TestNotLookedAt: as long as Karpenter has not taken in a change nothing is said, and
// nothing made; and the group can be given back.
func TestNotLookedAt(t *testing.T) {
	t.Parallel()
	f := newGroup(t, nil)
	f.prepare(t)
	class := f.Get(t, "EC2NodeClass", f.pool)
	do(t, unstructured.SetNestedField(class.Object, "some", "spec", "userData"))
	do(t, f.Client.Update(t.Context(), class))
	if _, err := f.provider.Describe(t.Context(), ref(f.pool)); !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("the group is described: %v", err)
	}
	do(t, f.provider.Resize(t.Context(), ref(f.pool), cloudtest.Size+1))
	if n := len(f.Claims(t, f.pool)); n != cloudtest.Size {
		t.Errorf("there are %d NodeClaims", n)
	}
	do(t, f.provider.Restore(t.Context(), ref(f.pool), guard, cloud.Settings{Size: cloudtest.Size, Max: cloudtest.Size}, cloud.Target{}))
}

// TestLike: a new machine is as the template says, and like one that is going to be replaced.
func TestLike(t *testing.T) {
	t.Parallel()
	f := newGroup(t, nil)
	old := f.describe(t)
	f.Edit(t, "EC2NodeClass", f.pool, []any{map[string]any{"id": "ami-2"}}, "spec", "amiSelectorTerms")
	do(t, f.provider.Resize(t.Context(), ref(f.pool), 2*cloudtest.Size))
	f.wait(t)
	zones := func(g cloud.Group, image string) (all []string) {
		for _, m := range g.Machines {
			if m.Image == image {
				all = append(all, m.Zone)
			}
		}
		slices.Sort(all)
		return all
	}
	if diff := cmp.Diff(zones(old, "ami-1"), zones(f.describe(t), "ami-2")); diff != "" {
		t.Errorf("the zones: %s", diff)
	}
	for _, nc := range f.Claims(t, f.pool) {
		if slices.ContainsFunc(old.Machines, func(m cloud.Machine) bool { return m.ID == nc.GetName() }) {
			continue
		}
		labels := nc.GetLabels()
		for key, want := range map[string]string{
			"karpenter.sh/nodepool": f.pool, "karpenter.k8s.aws/ec2nodeclass": f.pool, "team": "a", "example.com/tier": "silver",
			"node.kubernetes.io/instance-type": "m.4", "kubernetes.io/arch": "amd64",
		} {
			if labels[key] != want {
				t.Errorf("label %s of %s is %q, want %q", key, nc.GetName(), labels[key], want)
			}
		}
		if o := nc.GetOwnerReferences(); len(o) != 1 || o[0].Kind != "NodePool" || o[0].Name != f.pool {
			t.Errorf("the owners are %v", o)
		}
		expire, _, _ := unstructured.NestedString(nc.Object, "spec", "expireAfter")
		taints, _, _ := unstructured.NestedSlice(nc.Object, "spec", "taints")
		if expire != "Never" || len(taints) != 1 || !strings.HasPrefix(nc.GetName(), f.pool+"-") {
			t.Errorf("%s expires after %s, and has the taints %v", nc.GetName(), expire, taints)
		}
	}
}

// TestNarrowed: what the template does not allow any more is not asked for.
func TestNarrowed(t *testing.T) {
	t.Parallel()
	f := newGroup(t, nil)
	f.Edit(t, "NodePool", f.pool, []any{
		map[string]any{"key": "topology.kubernetes.io/zone", "operator": "In", "values": []any{"zone-d", "zone-b"}},
		map[string]any{"key": "example.com/tier", "operator": "NotIn", "values": []any{"silver"}},
	}, "spec", "template", "spec", "requirements")
	old := f.describe(t)
	do(t, f.provider.End(t.Context(), ref(f.pool), old.Machines[0].ID, cloudtest.Size))
	f.wait(t)
	fresh := slices.DeleteFunc(f.Claims(t, f.pool), func(nc unstructured.Unstructured) bool {
		return slices.ContainsFunc(old.Machines, func(m cloud.Machine) bool { return m.ID == nc.GetName() })
	})
	if len(fresh) != 1 {
		t.Fatalf("there are %d new machines", len(fresh))
	}
	labels := fresh[0].GetLabels()
	if zone, tier := labels["topology.kubernetes.io/zone"], labels["example.com/tier"]; zone != "zone-b" || tier == "silver" {
		t.Errorf("the new machine is in %s, and of tier %q", zone, tier)
	}
}

// TestSmaller: where the template does not allow the type of the old machines any more, new
// ones need not be as large.
func TestSmaller(t *testing.T) {
	t.Parallel()
	f := newGroup(t, nil)
	f.Edit(t, "NodePool", f.pool, []any{map[string]any{"key": "node.kubernetes.io/instance-type", "operator": "In", "values": []any{"m.2"}}}, "spec", "template", "spec", "requirements")
	do(t, f.provider.Resize(t.Context(), ref(f.pool), cloudtest.Size+1))
	f.wait(t)
	types := map[string]int{}
	for _, nc := range f.Claims(t, f.pool) {
		types[nc.GetLabels()["node.kubernetes.io/instance-type"]]++
	}
	if diff := cmp.Diff(map[string]int{"m.4": cloudtest.Size, "m.2": 1}, types); diff != "" {
		t.Errorf("the types: %s", diff)
	}
}
