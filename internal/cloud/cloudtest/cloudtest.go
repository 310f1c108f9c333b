// Package cloudtest is what every provider of machines is held to, in terms of the port. A
// provider's own tests say how its groups are made and how its time passes.
package cloudtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

// Size is how many machines a harness' group has. It may have no more: that is its upper
// limit too. Its lower one is 1, unless the provider knows none.
const Size = 3

// Harness is a provider with a group, for one test.
type Harness struct {
	Provider cloud.Provider
	// Group has Size machines, all of them Running.
	Group v1alpha1.Provider
	// Missing does not exist.
	Missing v1alpha1.Provider
	// Others exist, and are named like Group with something before or after it.
	Others []v1alpha1.Provider
	// Zones are those among which the provider evens the group's machines out.
	Zones []string
	// NoMin says that groups of the provider have no lower limit.
	NoMin bool

	// Images can be applied, one for each architecture of the group; none where images
	// cannot.
	Images []string
	// Change makes the group's template another one, as somebody does who is no run.
	Change func(t *testing.T)
	// SetSize changes the group's size, as an autoscaler does.
	SetSize func(t *testing.T, size int32)
	// Balanced says whether a load balancer sends requests to a machine; nil for a group
	// that has none.
	Balanced func(t *testing.T, machine string) bool
	// Wait lets time pass until machines that were asked for are Running and those that were
	// ended are gone.
	Wait func(t *testing.T)
	// Crash has the write that comes after a number of others fail, done or not, and
	// everything after it too. The function that is returned ends that, and says whether it
	// came so far.
	Crash func(after int, done bool) (recover func() (crashed bool))
}

// Suite runs the contract. make returns a harness of its own for each test.
func Suite(t *testing.T, make func(t *testing.T) *Harness) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *Harness){
		"describe": describe, "not found": notFound, "another kind": anotherKind, "prepare": prepare, "prepare for another run": prepareHeld,
		"prepare images": prepareImages, "prepare a template version": prepareVersion, "roll back": rollBack, "resize": resize, "shrink": shrink, "protect": protect,
		"deregister": deregister, "end": end, "restore": restore, "restore from the mark": restoreFromMark, "restore without sizes": restoreNoSizes, "replace all": replaceAll,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := make(t)
			var before []cloud.Group
			for _, other := range h.Others {
				before = append(before, h.describe(t, other))
			}
			test(t, h)
			for n, other := range h.Others {
				if diff := cmp.Diff(before[n], h.describe(t, other), same); diff != "" {
					t.Errorf("a foreign group has changed: %s", diff)
				}
			}
		})
	}
	for _, done := range []bool{false, true} {
		t.Run(map[bool]string{false: "crash before each write", true: "crash after each write"}[done], func(t *testing.T) {
			t.Parallel()
			for after, crashed := 0, true; crashed; after++ {
				crashed = false
				t.Run(fmt.Sprint(after), func(t *testing.T) {
					h := make(t)
					r := &run{h: h, target: cloud.Target{Images: h.Images}}
					if !h.Provider.Capabilities().ApplyImages {
						h.Change(t)
					}
					r.restart = h.Crash(after, done)
					r.replaceAll(t)
					crashed = r.crashes > 0
				})
			}
		})
	}
}

func (h *Harness) describe(t *testing.T, ref v1alpha1.Provider) cloud.Group {
	t.Helper()
	g, err := h.Provider.Describe(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// least is the lower limit of the group.
func (h *Harness) least() int32 {
	if h.NoMin {
		return 0
	}
	return 1
}

func (h *Harness) now(t *testing.T) cloud.Group {
	t.Helper()
	return h.describe(t, h.Group)
}

// guard is what a run does about a group that is as it is.
func guard(g cloud.Group) cloud.Guard {
	var suspend []string
	for _, p := range g.Suspendable {
		if !slices.Contains(g.Suspended, p) {
			suspend = append(suspend, p)
		}
	}
	return cloud.Guard{Run: "apps-1", Suspend: suspend, Settings: cloud.Settings{Size: g.Size, Max: g.Max}}
}

// same takes an empty list for none.
var same = cmpopts.EquateEmpty()

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("the error is %v, want %v", err, want)
	}
}

// running are the ids of the machines that are Running.
func running(g cloud.Group) []string {
	var all []string
	for _, m := range g.Machines {
		if m.State == cloud.Running {
			all = append(all, m.ID)
		}
	}
	return all
}

func find(g cloud.Group, id string) (cloud.Machine, bool) {
	n := slices.IndexFunc(g.Machines, func(m cloud.Machine) bool { return m.ID == id })
	if n < 0 {
		return cloud.Machine{}, false
	}
	return g.Machines[n], true
}

func describe(t *testing.T, h *Harness) {
	g := h.now(t)
	machines := g.Machines
	revision := g.Revision
	want := cloud.Group{ID: g.ID, Size: Size, Min: h.least(), Max: Size, Revision: revision, Suspendable: g.Suspendable, Zones: h.Zones, Machines: machines}
	if diff := cmp.Diff(want, g, same); diff != "" || g.ID == "" {
		t.Errorf("the group %q: %s", g.ID, diff)
	}
	if revision.Template == "" || len(revision.Images) == 0 || !slices.IsSorted(revision.Images) {
		t.Errorf("the revision is %+v", revision)
	}
	if n := len(running(g)); n != Size || n != len(machines) {
		t.Errorf("%d of %d machines are Running", n, len(machines))
	}
	if !slices.IsSortedFunc(machines, func(a, b cloud.Machine) int { return strings.Compare(a.ID, b.ID) }) {
		t.Errorf("the machines are in no order: %+v", machines)
	}
	for _, m := range machines {
		describeMachine(t, m, revision)
	}
	seen := map[string]bool{g.ID: true}
	for _, other := range h.Others {
		id := h.describe(t, other).ID
		if seen[id] {
			t.Errorf("two groups have the ID %s", id)
		}
		seen[id] = true
	}
	h.Change(t)
	after := h.now(t)
	if diff := cmp.Diff(machines, after.Machines); diff != "" {
		t.Errorf("a change of the template has changed machines: %s", diff)
	}
	for _, m := range machines {
		if after.Revision.Made(m.Template) {
			t.Errorf("an old machine is of the new revision %+v", after.Revision)
		}
	}
}

// describeMachine checks a machine that is new and of which nobody wants anything.
func describeMachine(t *testing.T, m cloud.Machine, r cloud.Revision) {
	t.Helper()
	if m.Zone == "" || m.ProviderID == "" && m.Node == "" || m.Architecture == "" || m.LaunchedAt.IsZero() || m.Protected || m.Interrupted {
		t.Errorf("the machine is %+v", m)
	}
	if !r.Made(m.Template) || !slices.Contains(r.Images, m.Image) {
		t.Errorf("a new machine has %s and %s, and the group %+v", m.Template, m.Image, r)
	}
}

func notFound(t *testing.T, h *Harness) {
	p, ctx := h.Provider, t.Context()
	_, err := p.Describe(ctx, h.Missing)
	wantError(t, err, cloud.ErrNotFound)
	wantError(t, p.Prepare(ctx, h.Missing, cloud.Guard{Run: "apps-1"}, cloud.Target{}), cloud.ErrNotFound)
	wantError(t, p.Resize(ctx, h.Missing, 1), cloud.ErrNotFound)
	wantError(t, p.Protect(ctx, h.Missing, []string{"m"}), cloud.ErrNotFound)
	_, err = p.Deregister(ctx, h.Missing, "m")
	wantError(t, err, cloud.ErrNotFound)
	wantError(t, p.End(ctx, h.Missing, "m", 1), cloud.ErrNotFound)
	wantError(t, p.Restore(ctx, h.Missing, cloud.Guard{Run: "apps-1"}, cloud.Settings{}, cloud.Target{}), cloud.ErrNotFound)
}

func anotherKind(t *testing.T, h *Harness) {
	another := v1alpha1.Provider{Karpenter: &v1alpha1.KarpenterNodePool{Name: "apps"}}
	if h.Group.Karpenter != nil {
		another = v1alpha1.Provider{EKS: &v1alpha1.EKSNodegroup{Cluster: "apps", Name: "apps", Region: "eu-central-1"}}
	}
	_, err := h.Provider.Describe(t.Context(), another)
	wantError(t, err, cloud.ErrUnsupported)
}

func resize(t *testing.T, h *Harness) {
	ctx := t.Context()
	for _, c := range []struct{ size, limit int32 }{{Size, Size}, {Size + 2, Size + 2}, {Size + 2, Size + 2}} {
		must(t, h.Provider.Resize(ctx, h.Group, c.size))
		if g := h.now(t); g.Size != c.size || g.Max != c.limit || g.Min != h.least() {
			t.Errorf("after a resize to %d the group wants %d of %d to %d", c.size, g.Size, g.Min, g.Max)
		}
		h.Wait(t)
		if g := h.now(t); len(running(g)) != int(c.size) || len(g.Machines) != int(c.size) {
			t.Errorf("%d of %d machines are Running, want %d", len(running(g)), len(g.Machines), c.size)
		}
	}
	// Below its limit.
	must(t, h.Provider.End(ctx, h.Group, h.now(t).Machines[0].ID, Size+1))
	h.Wait(t)
	must(t, h.Provider.Resize(ctx, h.Group, Size+2))
	h.Wait(t)
	if g := h.now(t); g.Size != Size+2 || g.Max != Size+2 || len(running(g)) != Size+2 {
		t.Errorf("the group is %+v", g)
	}
}

func protect(t *testing.T, h *Harness) {
	ctx := t.Context()
	g := h.now(t)
	must(t, h.Provider.Prepare(ctx, h.Group, guard(g), cloud.Target{}))
	safe, bare := g.Machines[0].ID, g.Machines[1].ID
	for range 2 {
		// One that does not exist keeps the others from nothing.
		must(t, h.Provider.Protect(ctx, h.Group, []string{safe, "i-00000000000000000"}))
		must(t, h.Provider.Protect(ctx, h.Group, nil))
		after := h.now(t)
		for id, want := range map[string]bool{safe: true, bare: false} {
			if m, _ := find(after, id); m.Protected != want {
				t.Errorf("%s is protected: %v, want %v", id, m.Protected, want)
			}
		}
	}
	// The group gets smaller by itself, and the machine stays.
	h.SetSize(t, 1)
	h.Wait(t)
	if left := running(h.now(t)); !slices.Equal(left, []string{safe}) {
		t.Errorf("%v are left, want %s", left, safe)
	}
	must(t, h.Provider.Restore(ctx, h.Group, guard(g), cloud.Settings{Size: Size, Max: Size}, cloud.Target{}))
	if m, _ := find(h.now(t), safe); m.Protected {
		t.Error("it is protected after all")
	}
}

func deregister(t *testing.T, h *Harness) {
	g := h.now(t)
	if !h.Provider.Capabilities().Deregister {
		_, err := h.Provider.Deregister(t.Context(), h.Group, g.Machines[0].ID)
		wantError(t, err, cloud.ErrUnsupported)
		return
	}
	leaves, stays := g.Machines[0].ID, g.Machines[1].ID
	for n := 0; ; n++ {
		done, err := h.Provider.Deregister(t.Context(), h.Group, leaves)
		must(t, err)
		if done {
			if n == 0 && h.Balanced != nil {
				t.Error("it is said to be done at once")
			}
			break
		}
		if n == 20 {
			t.Fatal("it is never done")
		}
		h.Wait(t)
	}
	if h.Balanced != nil && (h.Balanced(t, leaves) || !h.Balanced(t, stays)) {
		t.Errorf("requests reach %s: %v, and %s: %v", leaves, h.Balanced(t, leaves), stays, h.Balanced(t, stays))
	}
	if done, err := h.Provider.Deregister(t.Context(), h.Group, "i-00000000000000000"); err != nil || !done {
		t.Errorf("for a machine that does not exist: %v, %v", done, err)
	}
	if m, ok := find(h.now(t), leaves); !ok || m.State != cloud.Running {
		t.Errorf("the machine is %+v", m)
	}
}
