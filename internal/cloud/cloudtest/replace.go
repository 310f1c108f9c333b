package cloudtest

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"windlass.dev/internal/cloud"
)

func end(t *testing.T, h *Harness) {
	ctx := t.Context()
	g := h.now(t)
	first, second, third := g.Machines[0].ID, g.Machines[1].ID, g.Machines[2].ID

	// With another one in its place, however often it is said.
	for range 3 {
		must(t, h.Provider.End(ctx, h.Group, first, Size))
	}
	if m, there := find(h.now(t), first); there && m.State != cloud.Ending {
		t.Errorf("the machine is %s", m.State)
	}
	h.Wait(t)
	must(t, h.Provider.End(ctx, h.Group, first, Size))
	g = h.now(t)
	if _, there := find(g, first); there || g.Size != Size || len(running(g)) != Size {
		t.Errorf("the group wants %d and has %+v", g.Size, g.Machines)
	}

	// Without. Repeated, it is not taken for one less again.
	for range 3 {
		must(t, h.Provider.End(ctx, h.Group, second, Size-1))
	}
	h.Wait(t)
	must(t, h.Provider.End(ctx, h.Group, second, Size-1))
	g = h.now(t)
	if _, there := find(g, second); there || g.Size != Size-1 || len(running(g)) != Size-1 {
		t.Errorf("the group wants %d and has %+v", g.Size, g.Machines)
	}

	// When somebody else has changed the size.
	h.SetSize(t, Size)
	h.Wait(t)
	for _, size := range []int32{Size - 2, Size + 1} {
		wantError(t, h.Provider.End(ctx, h.Group, third, size), cloud.ErrConflict)
	}
	if m, _ := find(h.now(t), third); m.State != cloud.Running {
		t.Errorf("the machine is %s", m.State)
	}
	// Of one that is gone it is of no account.
	must(t, h.Provider.End(ctx, h.Group, first, Size+1))
}

// surged lets a run have the group, with one more machine; before is what it was.
func surged(t *testing.T, h *Harness) (before cloud.Group, g cloud.Guard) {
	t.Helper()
	before = h.now(t)
	g = guard(before)
	must(t, h.Provider.Prepare(t.Context(), h.Group, g, cloud.Target{}))
	must(t, h.Provider.Resize(t.Context(), h.Group, Size+1))
	h.Wait(t)
	return before, g
}

// shrink: a group is made smaller machine by machine, and never by its provider's choice.
func shrink(t *testing.T, h *Harness) {
	ctx := t.Context()
	_, g := surged(t, h)
	wantError(t, h.Provider.Resize(ctx, h.Group, Size), cloud.ErrConflict)
	wantError(t, h.Provider.Restore(ctx, h.Group, g, g.Settings, cloud.Target{}), cloud.ErrConflict)
	h.Wait(t)
	after := h.now(t)
	if after.Size != Size+1 || len(running(after)) != Size+1 || after.Run != g.Run {
		t.Errorf("the group is %+v", after)
	}
}

func restore(t *testing.T, h *Harness) {
	ctx := t.Context()
	before, g := surged(t, h)
	must(t, h.Provider.Protect(ctx, h.Group, running(h.now(t))))
	must(t, h.Provider.End(ctx, h.Group, before.Machines[0].ID, Size))
	h.Wait(t)
	h.SetSize(t, Size-1)
	for range 2 {
		must(t, h.Provider.Restore(ctx, h.Group, g, g.Settings, cloud.Target{}))
		after := h.now(t)
		want := before
		// One that is smaller stays.
		want.Size, want.Machines = Size-1, after.Machines
		if diff := cmp.Diff(want, after, same); diff != "" {
			t.Errorf("the group: %s", diff)
		}
		for _, m := range after.Machines {
			if m.Protected {
				t.Errorf("%s is protected", m.ID)
			}
		}
	}
	h.Wait(t)
	if n := len(running(h.now(t))); n != Size-1 {
		t.Errorf("%d machines are Running", n)
	}
}

// restoreNoSizes: whoever does not know the sizes must not take the machines away.
func restoreNoSizes(t *testing.T, h *Harness) {
	before := h.now(t)
	must(t, h.Provider.Prepare(t.Context(), h.Group, guard(before), cloud.Target{}))
	must(t, h.Provider.Restore(t.Context(), h.Group, guard(before), cloud.Settings{}, cloud.Target{}))
	h.Wait(t)
	if diff := cmp.Diff(before, h.now(t), same); diff != "" {
		t.Errorf("the group: %s", diff)
	}
}

// restoreFromMark gives a group back by nothing but what is noted on it.
func restoreFromMark(t *testing.T, h *Harness) {
	ctx := t.Context()
	before := h.now(t)
	must(t, h.Provider.Prepare(ctx, h.Group, guard(before), cloud.Target{}))
	must(t, h.Provider.Resize(ctx, h.Group, Size+2))
	h.Wait(t)
	g := h.now(t)
	held := g.Guard
	if held == nil {
		t.Fatal("the group is not marked")
	}
	for n, size := range []int32{Size + 1, Size} {
		must(t, h.Provider.End(ctx, h.Group, g.Machines[n].ID, size))
	}
	h.Wait(t)
	must(t, h.Provider.Restore(ctx, h.Group, *held, held.Settings, cloud.Target{}))
	h.Wait(t)
	after := h.now(t)
	if len(after.Machines) != Size {
		t.Errorf("there are %d machines", len(after.Machines))
	}
	after.Machines = before.Machines
	if diff := cmp.Diff(before, after, same); diff != "" {
		t.Errorf("the group: %s", diff)
	}
}

func replaceAll(t *testing.T, h *Harness) {
	h.Change(t)
	(&run{h: h}).replaceAll(t)
}

// run is the simplest of all rotations: one more machine, and one after the other. Its
// fields are what a run keeps on record.
type run struct {
	h      *Harness
	target cloud.Target
	// restart ends a crash; nil if none is to come.
	restart func() bool
	crashes int
	seen    map[string]bool
}

// do repeats a step that crashed.
func (r *run) do(t *testing.T, step func() error) {
	t.Helper()
	err := step()
	if err != nil && r.restart != nil && r.restart() {
		r.crashes++
		r.restart = nil // There is one.
		err = step()
	}
	must(t, err)
}

func (r *run) look(t *testing.T) cloud.Group {
	t.Helper()
	var g cloud.Group
	r.do(t, func() (err error) {
		g, err = r.h.Provider.Describe(t.Context(), r.h.Group)
		return err
	})
	for _, m := range g.Machines {
		r.seen[m.ID] = true
	}
	return g
}

func (r *run) replaceAll(t *testing.T) {
	p, ref, ctx := r.h.Provider, r.h.Group, t.Context()
	r.seen = map[string]bool{}
	before := r.look(t)
	g, old := guard(before), running(before)

	r.do(t, func() error { return p.Prepare(ctx, ref, g, r.target) })
	r.do(t, func() error { return p.Resize(ctx, ref, Size+1) })
	for left := slices.Clone(old); len(left) > 0; {
		r.h.Wait(t)
		now := r.look(t)
		if n := len(running(now)); n != Size+1 {
			t.Fatalf("%d machines are Running", n)
		}
		fresh := slices.DeleteFunc(running(now), func(id string) bool { return slices.Contains(old, id) })
		r.do(t, func() error { return p.Protect(ctx, ref, fresh) })
		machine := next(now, left)
		left = slices.DeleteFunc(left, func(id string) bool { return id == machine })
		r.deregister(t, machine)
		size := int32(Size)
		if len(left) > 0 {
			size++
		}
		r.do(t, func() error { return p.End(ctx, ref, machine, size) })
	}
	r.do(t, func() error { return p.Restore(ctx, ref, g, g.Settings, cloud.Target{}) })
	if r.restart != nil && r.crashes == 0 && r.restart() {
		t.Error("a write failed, and nobody was told")
	}
	r.h.Wait(t)

	r.check(t, before)
}

// check says whether the group is as it was before, but for what its machines are made from.
func (r *run) check(t *testing.T, before cloud.Group) {
	t.Helper()
	old := running(before)
	after := r.look(t)
	for _, m := range after.Machines {
		if slices.Contains(old, m.ID) || m.State != cloud.Running || m.Protected || !after.Revision.Made(m.Template) || !slices.Contains(after.Revision.Images, m.Image) {
			t.Errorf("the group of %+v has machine %+v", after.Revision, m)
		}
	}
	if len(after.Machines) != Size || len(r.seen) != 2*Size {
		t.Errorf("there are %d machines, and were %d", len(after.Machines), len(r.seen))
	}
	if want := slices.Sorted(slices.Values(r.target.Images)); len(want) > 0 {
		if !slices.Equal(after.Revision.Images, want) {
			t.Errorf("the images are %v, want %v", after.Revision.Images, want)
		}
		after.Revision = before.Revision
	}
	after.Machines = before.Machines
	if diff := cmp.Diff(before, after, same); diff != "" {
		t.Errorf("the group: %s", diff)
	}
}

// next is the machine whose zone has the fewest. The last one, which is not made again, is
// so in the zone with the most: a group that is left uneven would even itself out, and end a
// machine that nobody has drained.
func next(g cloud.Group, left []string) string {
	have := map[string]int{}
	for _, m := range g.Machines {
		have[m.Zone]++
	}
	return slices.MinFunc(left, func(a, b string) int {
		first, _ := find(g, a)
		second, _ := find(g, b)
		return have[first.Zone] - have[second.Zone]
	})
}

func (r *run) deregister(t *testing.T, machine string) {
	if !r.h.Provider.Capabilities().Deregister {
		return
	}
	for range 20 {
		done := false
		r.do(t, func() (err error) {
			done, err = r.h.Provider.Deregister(t.Context(), r.h.Group, machine)
			return err
		})
		if done {
			return
		}
		r.h.Wait(t)
	}
	t.Fatalf("%s is never deregistered", machine)
}
