package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

var (
	_ cloud.Provider = (*Provider)(nil)
	_ cloud.Images   = (*Provider)(nil)
)

func metav1Time(t time.Time) metav1.Time { return metav1.NewTime(t) }

// Capabilities of simulated groups are all but control planes: these are told apart by
// what is on the machines, of which there is nothing here.
func (p *Provider) Capabilities() cloud.Capabilities {
	return cloud.Capabilities{Surge: true, ApplyImages: true, TemplateVersions: true, RollBack: true, Deregister: true, ControlPlane: true}
}

// on does a call for a group.
func (p *Provider) on(ctx context.Context, name string, ref v1alpha1.Provider, f func(*group) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ref.Simulated == nil {
		return fmt.Errorf("the group is not simulated: %w", cloud.ErrUnsupported)
	}
	return p.do(name, func() error {
		g, err := p.group(ref.Simulated.Name)
		if err != nil {
			return err
		}
		return f(g)
	})
}

func (p *Provider) Describe(ctx context.Context, ref v1alpha1.Provider) (cloud.Group, error) {
	var found cloud.Group
	err := p.on(ctx, "Describe", ref, func(g *group) error {
		found = cloud.Group{
			ID: "sim/" + g.name, Size: g.size, Min: g.min, Max: g.max,
			Revision:  cloud.Revision{Template: g.template(g.version), Images: []string{g.versions[g.version-1].image}},
			Suspended: slices.Clone(g.suspended), Suspendable: []string{Rebalance}, Problems: slices.Clone(g.problems),
		}
		if g.guard != nil {
			guard := *g.guard
			guard.Suspend = slices.Clone(guard.Suspend)
			found.Run, found.Guard = guard.Run, &guard
		}
		for _, m := range g.machines {
			found.Machines = append(found.Machines, m.Machine)
		}
		slices.SortFunc(found.Machines, func(a, b cloud.Machine) int { return strings.Compare(a.ID, b.ID) })
		return nil
	})
	return found, err
}

func (p *Provider) Prepare(ctx context.Context, ref v1alpha1.Provider, guard cloud.Guard, target cloud.Target) error {
	return p.on(ctx, "Prepare", ref, func(g *group) error {
		holder := ""
		if g.guard != nil {
			holder = g.guard.Run
		}
		if err := cloud.Holds(g.name, holder, guard.Run); err != nil {
			return err
		}
		for _, process := range guard.Suspend {
			if process != Rebalance {
				return fmt.Errorf("there is no process %q: %w", process, cloud.ErrInvalid)
			}
		}
		if err := p.aim(g, target, guard.Run); err != nil {
			return err
		}
		guard.Suspend = slices.Clone(guard.Suspend)
		g.guard = &guard
		for _, process := range guard.Suspend {
			if !slices.Contains(g.suspended, process) {
				g.suspended = append(g.suspended, process)
			}
		}
		return nil
	})
}

// aim makes target what new machines are made from.
func (p *Provider) aim(g *group, target cloud.Target, run string) error {
	if len(target.Images) > 0 {
		return p.aimAtImage(g, target.Images, run)
	}
	for _, wanted := range []string{target.TemplateVersion, target.Template} {
		if wanted == "" {
			continue
		}
		n := g.numbered(wanted)
		if n == 0 {
			return fmt.Errorf("group %s has no template %s: %w", g.name, wanted, cloud.ErrInvalid)
		}
		g.version = n
	}
	return nil
}

func (p *Provider) aimAtImage(g *group, images []string, run string) error {
	now := p.images[g.versions[g.version-1].image]
	for _, id := range images {
		image, ok := p.images[id]
		switch {
		case !ok:
			return fmt.Errorf("there is no image %q: %w", id, cloud.ErrInvalid)
		case image.Architecture != now.Architecture:
		case id == now.ID:
			return nil
		default:
			g.version = slices.Index(g.versions, version{id, run}) + 1
			if g.version == 0 {
				g.versions = append(g.versions, version{id, run})
				g.version = len(g.versions)
			}
			return nil
		}
	}
	return fmt.Errorf("none of the images %s is for %s: %w", strings.Join(images, ", "), now.Architecture, cloud.ErrInvalid)
}

func (p *Provider) Resize(ctx context.Context, ref v1alpha1.Provider, size int32) error {
	return p.on(ctx, "Resize", ref, func(g *group) error {
		if size < g.min {
			return fmt.Errorf("group %s cannot have %d machines: its least is %d: %w", g.name, size, g.min, cloud.ErrInvalid)
		}
		if err := cloud.Shrinks(g.name, g.size, size, len(g.counted())); err != nil {
			return err
		}
		g.size, g.max = size, max(size, g.max)
		return nil
	})
}

func (p *Provider) Protect(ctx context.Context, ref v1alpha1.Provider, machines []string) error {
	return p.on(ctx, "Protect", ref, func(g *group) error {
		for _, id := range machines {
			if m := g.machine(id); m != nil && m.State == cloud.Running && !m.Protected {
				m.Protected, m.byRun = true, true
			}
		}
		return nil
	})
}

func (p *Provider) Deregister(ctx context.Context, ref v1alpha1.Provider, id string) (done bool, err error) {
	err = p.on(ctx, "Deregister", ref, func(g *group) error {
		m := g.machine(id)
		if m == nil || !g.balanced {
			done = true
			return nil
		}
		if m.released.IsZero() {
			m.released = p.now.Add(p.times.Deregistration)
		}
		done = !m.released.After(p.now)
		return nil
	})
	return done && err == nil, err
}

func (p *Provider) End(ctx context.Context, ref v1alpha1.Provider, id string, size int32) error {
	return p.on(ctx, "End", ref, func(g *group) error {
		m := g.machine(id)
		if m == nil || m.State == cloud.Ending {
			return nil
		}
		if err := cloud.Ends(g.name, g.size, size); err != nil {
			return err
		}
		if size < g.min {
			return fmt.Errorf("group %s cannot have %d machines: its least is %d: %w", g.name, size, g.min, cloud.ErrInvalid)
		}
		g.size = size
		p.end(m)
		return nil
	})
}

func (p *Provider) Restore(ctx context.Context, ref v1alpha1.Provider, guard cloud.Guard, settings cloud.Settings, former cloud.Target) error {
	return p.on(ctx, "Restore", ref, func(g *group) error {
		if g.guard != nil && g.guard.Run != guard.Run {
			return nil // It was given back before the other run took it.
		}
		if err := p.aim(g, former, guard.Run); err != nil {
			return err
		}
		if settings.Max != 0 {
			if err := cloud.Shrinks(g.name, g.size, settings.Size, len(g.counted())); err != nil {
				return err
			}
			g.size = min(g.size, settings.Size)
			g.max = max(settings.Max, g.size)
		}
		g.suspended = slices.DeleteFunc(g.suspended, func(process string) bool { return slices.Contains(guard.Suspend, process) })
		for _, m := range g.machines {
			if m.byRun {
				m.Protected, m.byRun = false, false
			}
		}
		g.guard = nil
		return nil
	})
}

// Find finds images by their id, or the newest by name and architecture. Owners are not
// looked at, and there are no tags and no parameters.
func (p *Provider) Find(ctx context.Context, source v1alpha1.ImageSource) (v1alpha1.Image, error) {
	var found v1alpha1.Image
	if err := ctx.Err(); err != nil {
		return found, err
	}
	err := p.do("Find", func() error {
		ok := false
		switch f := source.Filter; {
		case source.Fixed != "":
			found, ok = p.images[source.Fixed]
		case f != nil && len(f.Tags) == 0:
			found, ok = p.newest(f)
		default:
			return fmt.Errorf("simulated images have no tags and no parameters: %w", cloud.ErrUnsupported)
		}
		if !ok {
			return fmt.Errorf("image: %w", cloud.ErrNotFound)
		}
		return nil
	})
	return found, err
}
