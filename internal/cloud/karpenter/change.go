package karpenter

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/objects"
)

// Prepare puts the mark and the budget that holds Karpenter on the NodePool in one write.
func (p *Provider) Prepare(ctx context.Context, ref v1alpha1.Provider, guard cloud.Guard, target cloud.Target) error {
	g, err := p.read(ctx, ref)
	if err != nil {
		return err
	}
	holder := ""
	if held := g.mark(); held != nil {
		holder = held.Run
	}
	if err := cloud.Holds(g.Name, holder, guard.Run); err != nil {
		return err
	}
	if err := g.aim(target); err != nil {
		return err
	}
	noted, err := json.Marshal(objects.MarkOf(guard))
	if err != nil {
		return err
	}
	return g.edit(ctx, func() {
		objects.Annotate(g.object, objects.MarkAnnotation, string(noted))
		g.hold(guard.Suspend, true)
	})
}

// aim refuses every target but that which the group has.
func (g *group) aim(target cloud.Target) error {
	now := g.revision()
	switch {
	case target.TemplateVersion != "":
		return fmt.Errorf("NodePools have no template versions: %w", cloud.ErrUnsupported)
	case len(target.Images) > 0 && !slices.Equal(slices.Sorted(slices.Values(target.Images)), now.Images):
		return fmt.Errorf("NodePool %s cannot be given images: change its NodeClass: %w", g.Name, cloud.ErrUnsupported)
	case target.Template != "" && target.Template != now.Template:
		return fmt.Errorf("NodePool %s cannot go back to %s: change it or its NodeClass: %w", g.Name, target.Template, cloud.ErrUnsupported)
	default:
		return nil
	}
}

// Resize makes NodeClaims, or takes back those that are not made yet.
func (p *Provider) Resize(ctx context.Context, ref v1alpha1.Provider, size int32) error {
	g, err := p.read(ctx, ref)
	if err != nil {
		return err
	}
	now := g.size()
	if err := cloud.Shrinks(g.Name, now, size, g.lives()); err != nil {
		return err
	}
	models := g.models()
	for n := range int(size - now) {
		var l like
		if len(models) > 0 {
			l = g.likeness(models[n%len(models)])
		}
		g.ask("", l)
	}
	g.takeBack(size)
	if err := g.edit(ctx, func() { g.setLimit(max(size, g.limit())) }); err != nil {
		return err
	}
	_, err = p.fill(ctx, g)
	return err
}

// takeBack forgets those that are not made yet until the group is of a size.
func (g *group) takeBack(size int32) {
	for i := len(g.asked) - 1; i >= 0 && g.size() > size; i-- {
		if a := &g.asked[i]; a.For == "" && !g.claim(a.Name).live() {
			g.asked = slices.Delete(g.asked, i, i+1)
		}
	}
}

// Protect marks nodes, since Karpenter asks those and not their NodeClaims, once they are
// nodes (pkg/controllers/state/statenode.go: Annotations).
func (p *Provider) Protect(ctx context.Context, ref v1alpha1.Provider, machines []string) error {
	g, err := p.read(ctx, ref)
	if err != nil {
		return err
	}
	nodes, err := g.nodes(ctx)
	if err != nil {
		return err
	}
	for _, machine := range machines {
		c := g.claim(machine)
		if !c.live() || !c.running() {
			continue
		}
		if now, known := nodes[c.Status.NodeName]; !known || now[doNotDisrupt] == "true" {
			continue // Or somebody else protects it.
		}
		if err := g.note(ctx, c.Status.NodeName, map[string]any{doNotDisrupt: "true", objects.ProtectedAnnotation: "true"}); err != nil {
			return err
		}
	}
	return nil
}

// note sets annotations of a node, and removes those whose value is nil.
func (g *group) note(ctx context.Context, node string, annotations map[string]any) error {
	n := &metav1.PartialObjectMetadata{}
	n.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Node"))
	n.Name = node
	return objects.Note(ctx, g.client, n, annotations)
}

// End deletes a NodeClaim. One that comes in its place is noted, and made, before.
func (p *Provider) End(ctx context.Context, ref v1alpha1.Provider, machine string, size int32) error {
	g, err := p.read(ctx, ref)
	if err != nil {
		return err
	}
	c := g.claim(machine)
	if !c.live() {
		return nil
	}
	now := g.size()
	if err := cloud.Ends(g.Name, now, size); err != nil {
		return err
	}
	l := g.likeness(c)
	g.forget(machine)
	instead := slices.IndexFunc(g.asked, func(a asked) bool { return a.For == machine })
	switch {
	case now == size && instead < 0:
		g.ask(machine, l)
	case now == size+1 && instead >= 0:
		return g.besides(ctx, instead)
	}
	if err := g.edit(ctx, func() {}); err != nil {
		return err
	}
	if _, err := p.fill(ctx, g); err != nil {
		return err
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(version.WithKind("NodeClaim"))
	u.SetName(machine)
	err = g.client.Delete(ctx, u, client.Preconditions{UID: &c.UID})
	return objects.Explain("delete NodeClaim "+machine, client.IgnoreNotFound(err))
}

// besides makes a machine that was asked for in the place of another one that comes besides
// it, or none if it is not made yet: whoever asks has changed his mind.
func (g *group) besides(ctx context.Context, n int) error {
	a := &g.asked[n]
	machine := a.For
	if a.For = ""; !g.claim(a.Name).live() {
		g.forget(a.Name)
	}
	if err := g.edit(ctx, func() {}); err != nil {
		return err
	}
	return fmt.Errorf("another machine was asked for in the place of %s: %w", machine, cloud.ErrConflict)
}

// Restore takes the protection off the nodes, and then, in one write, everything of the run
// off the NodePool.
func (p *Provider) Restore(ctx context.Context, ref v1alpha1.Provider, guard cloud.Guard, settings cloud.Settings, former cloud.Target) error {
	g, err := p.read(ctx, ref)
	if err != nil {
		return err
	}
	held := g.mark()
	if held != nil && held.Run != guard.Run {
		return nil // It was given back before the other run took it.
	}
	if err := g.aim(former); err != nil {
		return err
	}
	if settings.Max > 0 {
		now := g.size()
		if err := cloud.Shrinks(g.Name, now, min(now, settings.Size), g.lives()); err != nil {
			return err
		}
	}
	if err := g.unprotect(ctx); err != nil {
		return err
	}
	g.asked = nil
	return g.edit(ctx, func() {
		if settings.Max > 0 && settings.Max < math.MaxInt32 {
			g.setLimit(max(settings.Max, int32(g.lives())))
		}
		if held != nil {
			g.hold(held.Suspend, false)
		}
		objects.Annotate(g.object, objects.MarkAnnotation, "")
	})
}

// unprotect takes off nodes what Protect has put on them.
func (g *group) unprotect(ctx context.Context) error {
	nodes, err := g.nodes(ctx)
	if err != nil {
		return err
	}
	for name, annotations := range nodes {
		if annotations[objects.ProtectedAnnotation] != "" {
			if err := g.note(ctx, name, map[string]any{doNotDisrupt: nil, objects.ProtectedAnnotation: nil}); err != nil {
				return err
			}
		}
	}
	return nil
}
