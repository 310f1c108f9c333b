package clusterapi

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/objects"
)

// Prepare puts hooks on the machines that have to go, and then, in one write, the mark on
// the group, its strategy and its template. The mark is what Describe shows, so it is last.
func (p *Provider) Prepare(ctx context.Context, ref v1alpha1.Provider, guard cloud.Guard, target cloud.Target) error {
	g, err := p.group(ctx, ref)
	if err != nil {
		return err
	}
	held, holder := g.mark(), ""
	if held != nil {
		holder = held.Run
	}
	if err := cloud.Holds(g.name(), holder, guard.Run); err != nil {
		return err
	}
	sets, err := g.sets(ctx)
	if err != nil {
		return err
	}
	known := map[string]template{}
	for _, s := range sets {
		t := templateOf(s)
		known[t.String()] = t
	}
	next := mark{Mark: objects.MarkOf(guard), Strategy: g.strategy(), Templates: known}
	if held != nil {
		next.Strategy, next.Templates = held.Strategy, held.Templates
	}
	t, err := g.aim(ctx, target, next.Templates)
	if err != nil {
		return err
	}
	if err := g.hold(ctx, sets, t); err != nil {
		return err
	}
	noted, err := json.Marshal(next)
	if err != nil {
		return err
	}
	return g.edit(ctx, func() {
		objects.Annotate(g.deployment, objects.MarkAnnotation, string(noted))
		if slices.Contains(guard.Suspend, rollingUpdate) && !g.onDelete() {
			g.setStrategy(map[string]any{"type": "OnDelete"})
		}
		if t.String() != templateOf(g.deployment).String() {
			t.apply(g.deployment)
		}
	})
}

// aim is the template that a target is about: that which the group has, for an empty one.
func (g *group) aim(ctx context.Context, target cloud.Target, known map[string]template) (template, error) {
	now := templateOf(g.deployment)
	switch {
	case target.TemplateVersion != "":
		return now, fmt.Errorf("templates of Cluster API have no versions: %w", cloud.ErrUnsupported)
	case len(target.Images) > 0:
		image, err := imageFinder{group: g, known: map[string]string{}}.find(ctx, now)
		if err == nil && !slices.Equal(target.Images, []string{image}) {
			err = fmt.Errorf("a MachineDeployment is given templates, and no images: %w", cloud.ErrUnsupported)
		}
		return now, err
	case target.Template == "" || target.Template == now.String():
		return now, nil
	}
	former, ok := known[target.Template]
	if !ok {
		return now, fmt.Errorf("no machine of MachineDeployment %s was made from template %s: %w", g.name(), target.Template, cloud.ErrInvalid)
	}
	return former, nil
}

// hold puts hooks on the machines that are not made from a template. New ones have none:
// nobody is going to drain them, so who deletes them must not wait.
func (g *group) hold(ctx context.Context, sets map[string]*unstructured.Unstructured, t template) error {
	machines, err := g.machines(ctx)
	if err != nil {
		return err
	}
	return g.note(ctx, machines, func(m *unstructured.Unstructured) map[string]any {
		old := templateOf(sets[setOf(m)]).String() != t.String()
		switch {
		case m.GetDeletionTimestamp() != nil || old == annotated(m, hookAnnotation):
			return nil
		case old:
			return map[string]any{hookAnnotation: byWindlass}
		default:
			return map[string]any{hookAnnotation: nil}
		}
	})
}

// Resize makes it larger, in almost all cases: see shrinks.
func (p *Provider) Resize(ctx context.Context, ref v1alpha1.Provider, size int32) error {
	g, err := p.group(ctx, ref)
	if err != nil {
		return err
	}
	if err := g.shrinks(ctx, size); err != nil {
		return err
	}
	return g.edit(ctx, func() {
		if _, most := g.limits(); size > most {
			g.limit(size)
		}
		setReplicas(g.deployment, size)
	})
}

// shrinks is cloud.Shrinks of the group. A machine that Cluster API is about to make counts
// too: told that there are too many, it ends an old one instead.
func (g *group) shrinks(ctx context.Context, size int32) error {
	if size >= g.size() {
		return nil
	}
	machines, err := g.machines(ctx)
	if err != nil {
		return err
	}
	sets, err := g.sets(ctx)
	if err != nil {
		return err
	}
	live, wanted := 0, 0
	for i := range machines {
		if !goes(&machines[i]) {
			live++
		}
	}
	for _, s := range sets {
		wanted += int(replicas(s))
	}
	return cloud.Shrinks(g.name(), g.size(), size, max(live, wanted))
}

// Protect makes all other machines go first: Cluster API knows no machine that stays.
func (p *Provider) Protect(ctx context.Context, ref v1alpha1.Provider, safe []string) error {
	g, err := p.group(ctx, ref)
	if err != nil {
		return err
	}
	machines, err := g.machines(ctx)
	if err != nil {
		return err
	}
	return g.note(ctx, machines, func(m *unstructured.Unstructured) map[string]any {
		changes := map[string]any{}
		if annotated(m, objects.ProtectedAnnotation) || slices.Contains(safe, m.GetName()) {
			if !annotated(m, objects.ProtectedAnnotation) {
				changes[objects.ProtectedAnnotation] = "true"
			}
			if m.GetAnnotations()[deleteAnnotation] == byWindlass {
				changes[deleteAnnotation] = nil
			}
		} else if !annotated(m, deleteAnnotation) {
			changes[deleteAnnotation] = byWindlass
		}
		return changes
	})
}

// ours says whether a pause is of ours. It names the machine for whose end it is.
func ours(paused string) bool { return strings.HasPrefix(paused, byWindlass+":") }

// End deletes a machine. The hook comes off last: until then the machine is shown as one
// that is there, and the call is repeated.
func (p *Provider) End(ctx context.Context, ref v1alpha1.Provider, machine string, size int32) error {
	g, err := p.group(ctx, ref)
	if err != nil {
		return err
	}
	machines, err := g.machines(ctx)
	if err != nil {
		return err
	}
	n := slices.IndexFunc(machines, func(m unstructured.Unstructured) bool { return m.GetName() == machine })
	if n < 0 || goes(&machines[n]) {
		return nil
	}
	m, now, pause := &machines[n], g.size(), byWindlass+":"+machine
	paused, isPaused := g.deployment.GetAnnotations()[pausedAnnotation]
	if err := cloud.Ends(g.name(), now, size); err != nil {
		return err
	}
	switch {
	case g.stopped() || isPaused && paused != pause:
		return fmt.Errorf("MachineDeployment %s is paused: %w", g.name(), cloud.ErrConflict)
	case now == size+1 || isPaused:
		err = g.drop(ctx, m, machines, size, pause)
	default:
		err = g.remove(ctx, m)
	}
	if err != nil || !annotated(m, hookAnnotation) {
		return err
	}
	return objects.Note(ctx, g.client, m, map[string]any{hookAnnotation: nil})
}

func (g *group) remove(ctx context.Context, m *unstructured.Unstructured) error {
	if m.GetDeletionTimestamp() != nil {
		return nil
	}
	uid := m.GetUID()
	err := g.client.Delete(ctx, m, client.Preconditions{UID: &uid})
	return objects.Explain("delete Machine "+m.GetName(), client.IgnoreNotFound(err))
}

// drop makes the group smaller by one machine, and by none but it. A MachineDeployment that
// gets smaller takes one of its oldest MachineSet, whichever that is: so it is paused until
// the machine's own MachineSet is smaller by it. The hook keeps the machine until then, or
// its MachineSet could make another in its place.
func (g *group) drop(ctx context.Context, m *unstructured.Unstructured, machines []unstructured.Unstructured, size int32, pause string) error {
	if !annotated(m, hookAnnotation) {
		if err := objects.Note(ctx, g.client, m, map[string]any{hookAnnotation: byWindlass}); err != nil {
			return err
		}
	}
	err := g.edit(ctx, func() {
		objects.Annotate(g.deployment, pausedAnnotation, pause)
		setReplicas(g.deployment, size)
	})
	if err != nil {
		return err
	}
	if err := g.remove(ctx, m); err != nil {
		return err
	}
	if err := g.shrink(ctx, m, machines); err != nil {
		return err
	}
	return g.edit(ctx, func() {
		objects.Annotate(g.deployment, pausedAnnotation, "")
	})
}

// shrink makes the set of a machine as large as it is without it, and without all others
// that are on their way. Said so it may be repeated.
func (g *group) shrink(ctx context.Context, m *unstructured.Unstructured, machines []unstructured.Unstructured) error {
	sets, err := g.sets(ctx)
	if err != nil {
		return err
	}
	set := sets[setOf(m)]
	if set == nil {
		return nil
	}
	left := int32(0)
	for i := range machines {
		other := &machines[i]
		if setOf(other) == set.GetName() && other.GetName() != m.GetName() && !goes(other) {
			left++
		}
	}
	if replicas(set) <= left {
		return nil
	}
	setReplicas(set, left)
	return objects.Explain("change MachineSet "+set.GetName(), g.client.Update(ctx, set))
}

// Restore takes the mark off last, in one write with all else that is on the group.
func (p *Provider) Restore(ctx context.Context, ref v1alpha1.Provider, guard cloud.Guard, settings cloud.Settings, former cloud.Target) error {
	g, err := p.group(ctx, ref)
	if err != nil {
		return err
	}
	held := g.mark()
	if held != nil && held.Run != guard.Run {
		return nil // It was given back before the other run took it.
	}
	known := map[string]template{}
	if held != nil {
		known = held.Templates
	}
	t, err := g.aim(ctx, former, known)
	if err != nil {
		return err
	}
	size := g.size()
	if settings.Max > 0 {
		size = min(size, settings.Size)
	}
	if err := g.shrinks(ctx, size); err != nil {
		return err
	}
	if err := g.release(ctx); err != nil {
		return err
	}
	return g.edit(ctx, func() {
		if settings.Max > 0 {
			setReplicas(g.deployment, size)
			g.limit(max(settings.Max, size))
		}
		if held != nil && slices.Contains(held.Suspend, rollingUpdate) {
			g.setStrategy(held.Strategy)
		}
		if t.String() != templateOf(g.deployment).String() {
			t.apply(g.deployment)
		}
		if ours(g.deployment.GetAnnotations()[pausedAnnotation]) {
			objects.Annotate(g.deployment, pausedAnnotation, "")
		}
		objects.Annotate(g.deployment, objects.MarkAnnotation, "")
	})
}

// release takes off the machines what a run put on them.
func (g *group) release(ctx context.Context) error {
	machines, err := g.machines(ctx)
	if err != nil {
		return err
	}
	return g.note(ctx, machines, func(m *unstructured.Unstructured) map[string]any {
		changes := map[string]any{}
		for _, key := range []string{hookAnnotation, objects.ProtectedAnnotation} {
			if annotated(m, key) {
				changes[key] = nil
			}
		}
		if m.GetAnnotations()[deleteAnnotation] == byWindlass {
			changes[deleteAnnotation] = nil
		}
		return changes
	})
}
