package cloudtest

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"windlass.dev/internal/cloud"
)

func prepare(t *testing.T, h *Harness) {
	ctx := t.Context()
	before := h.now(t)
	g := guard(before)
	if len(g.Suspend) == 0 {
		t.Log("the provider has nothing to be suspended")
	}
	want := before
	want.Run, want.Guard = g.Run, &g
	want.Suspended = slices.Sorted(slices.Values(append(slices.Clone(before.Suspended), g.Suspend...)))
	for range 2 {
		must(t, h.Provider.Prepare(ctx, h.Group, g, cloud.Target{}))
		if diff := cmp.Diff(want, h.now(t), same); diff != "" {
			t.Errorf("the group: %s", diff)
		}
	}
}

func prepareHeld(t *testing.T, h *Harness) {
	ctx := t.Context()
	first := guard(h.now(t))
	must(t, h.Provider.Prepare(ctx, h.Group, first, cloud.Target{}))
	held := h.now(t)
	second := first
	second.Run = "apps-2"
	wantError(t, h.Provider.Prepare(ctx, h.Group, second, cloud.Target{}), cloud.ErrConflict)
	// Nor can it be given back for a run that does not hold it.
	must(t, h.Provider.Restore(ctx, h.Group, second, cloud.Settings{Size: 1, Max: 1}, cloud.Target{}))
	if diff := cmp.Diff(held, h.now(t), same); diff != "" {
		t.Errorf("the group: %s", diff)
	}
	must(t, h.Provider.Restore(ctx, h.Group, first, first.Settings, cloud.Target{}))
	must(t, h.Provider.Prepare(ctx, h.Group, second, cloud.Target{}))
	if run := h.now(t).Run; run != "apps-2" {
		t.Errorf("the group is held by %q", run)
	}
}

func prepareImages(t *testing.T, h *Harness) {
	ctx := t.Context()
	before := h.now(t)
	g := guard(before)
	if !h.Provider.Capabilities().ApplyImages {
		wantError(t, h.Provider.Prepare(ctx, h.Group, g, cloud.Target{Images: []string{"ami-of-another"}}), cloud.ErrUnsupported)
		must(t, h.Provider.Prepare(ctx, h.Group, g, cloud.Target{Images: before.Revision.Images}))
		return
	}
	must(t, h.Provider.Prepare(ctx, h.Group, g, cloud.Target{Images: h.Images}))
	first := h.now(t)
	if !slices.Equal(first.Revision.Images, slices.Sorted(slices.Values(h.Images))) || first.Revision.Template == before.Revision.Template {
		t.Errorf("the revision is %+v, want %v", first.Revision, h.Images)
	}
	must(t, h.Provider.Prepare(ctx, h.Group, g, cloud.Target{Images: h.Images}))
	if diff := cmp.Diff(first, h.now(t), same); diff != "" {
		t.Errorf("a repeat has changed it: %s", diff)
	}
	must(t, h.Provider.Resize(ctx, h.Group, Size+2))
	h.Wait(t)
	for _, m := range h.now(t).Machines {
		_, old := find(before, m.ID)
		if fits := first.Revision.Made(m.Template) && slices.Contains(h.Images, m.Image); fits == old {
			t.Errorf("machine %s, which is old: %v, has %s and %s", m.ID, old, m.Template, m.Image)
		}
	}

	unknown := append(slices.Clone(h.Images[1:]), "ami-00000000000000000")
	wantError(t, h.Provider.Prepare(ctx, h.Group, g, cloud.Target{Images: unknown}), cloud.ErrInvalid)
	if len(h.Images) > 1 {
		wantError(t, h.Provider.Prepare(ctx, h.Group, g, cloud.Target{Images: h.Images[1:]}), cloud.ErrInvalid)
	}
	if r := h.now(t).Revision; !cmp.Equal(r, first.Revision, same) {
		t.Errorf("what is invalid has made it %+v", r)
	}
}

func prepareVersion(t *testing.T, h *Harness) {
	ctx := t.Context()
	g := guard(h.now(t))
	if !h.Provider.Capabilities().TemplateVersions {
		wantError(t, h.Provider.Prepare(ctx, h.Group, g, cloud.Target{TemplateVersion: "1"}), cloud.ErrUnsupported)
		return
	}
	wantError(t, h.Provider.Prepare(ctx, h.Group, g, cloud.Target{TemplateVersion: "99"}), cloud.ErrInvalid)
	wantError(t, h.Provider.Prepare(ctx, h.Group, g, cloud.Target{Template: "another:1"}), cloud.ErrInvalid)
	former := h.now(t).Revision
	h.Change(t)
	must(t, h.Provider.Prepare(ctx, h.Group, g, cloud.Target{Template: former.Template}))
	if diff := cmp.Diff(former, h.now(t).Revision, same); diff != "" {
		t.Errorf("the revision: %s", diff)
	}
}

func rollBack(t *testing.T, h *Harness) {
	if !h.Provider.Capabilities().RollBack {
		t.Skip("the provider cannot")
	}
	ctx := t.Context()
	before := h.now(t)
	g := guard(before)
	must(t, h.Provider.Prepare(ctx, h.Group, g, cloud.Target{Images: h.Images}))
	for range 2 {
		must(t, h.Provider.Restore(ctx, h.Group, g, g.Settings, cloud.Target{Template: before.Revision.Template}))
		if diff := cmp.Diff(before, h.now(t), same); diff != "" {
			t.Errorf("the group: %s", diff)
		}
	}
}
