// Package sim is a provider whose machines are only in memory: for development clusters
// and for tests of what decides about machines. It behaves as clouds do: machines take time
// to boot and to end, zones run out of room, groups replace what breaks and even out their
// zones, and any call can fail before or after it did its work.
//
// Time is that of the clock that it is given, and everything happens in its order, the same
// each time. A Provider may be used by several goroutines.
package sim

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"sync"
	"time"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

// Clock tells the time.
type Clock interface{ Now() time.Time }

// Times are how long things take.
type Times struct {
	// Boot is from the launch of a machine until it is Running, and Shutdown from the
	// beginning of its end until it is gone.
	Boot, Shutdown time.Duration
	// Deregistration is how long a load balancer takes to let go of a machine.
	Deregistration time.Duration
	// Retry is how long a group waits after a launch that failed. It has to be positive.
	Retry time.Duration
}

// Call is one call of the provider, as faults see it.
type Call struct {
	// Name is the method's.
	Name string
	// Done is false before the call does anything, and true when it has done all but answer.
	Done bool
}

// Provider keeps simulated groups, which NodeGroups refer to as simulated.
type Provider struct {
	clock Clock
	times Times

	mu     sync.Mutex
	now    time.Time
	serial int
	groups map[string]*group
	images map[string]v1alpha1.Image
	// room is how many more machines a zone can have; one that is not there has no limit.
	room  map[string]int
	fault func(Call) error
}

// NewProvider returns a provider without groups and images.
func NewProvider(clock Clock, times Times) *Provider {
	return &Provider{
		clock: clock, times: times, now: clock.Now(),
		groups: map[string]*group{}, images: map[string]v1alpha1.Image{}, room: map[string]int{},
	}
}

// Faults makes calls fail for which f returns an error. f is called twice for each; nil
// ends it.
func (p *Provider) Faults(f func(Call) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

// do advances to now and does what a call does, between its faults.
func (p *Provider) do(name string, f func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(p.clock.Now())
	if p.fault != nil {
		if err := p.fault(Call{name, false}); err != nil {
			return err
		}
	}
	if err := f(); err != nil {
		return err
	}
	p.reconcile()
	if p.fault != nil {
		return p.fault(Call{name, true})
	}
	return nil
}

// change does what nobody calls the provider for.
func (p *Provider) change(f func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(p.clock.Now())
	if err := f(); err != nil {
		return err
	}
	p.reconcile()
	return nil
}

func (p *Provider) names() []string { return slices.Sorted(maps.Keys(p.groups)) }

// AddImage makes an image that groups can be made from. Without a time it is created now.
func (p *Provider) AddImage(image v1alpha1.Image) error {
	return p.change(func() error {
		if image.ID == "" || image.Architecture == "" {
			return fmt.Errorf("an image needs an ID and an architecture: %w", cloud.ErrInvalid)
		}
		if image.CreatedAt == nil {
			image.CreatedAt = new(metav1Time(p.now))
		}
		p.images[image.ID] = image
		return nil
	})
}

// AddGroup makes a group.
func (p *Provider) AddGroup(name string, g Group) error {
	return p.change(func() error {
		switch _, known := p.groups[name]; {
		case known:
			return fmt.Errorf("there is a group %s already: %w", name, cloud.ErrInvalid)
		case g.Min < 0 || g.Size < g.Min || g.Max < g.Size || len(g.Zones) == 0:
			return fmt.Errorf("the size %d has to be between %d and %d, in at least one zone: %w", g.Size, g.Min, g.Max, cloud.ErrInvalid)
		}
		if _, ok := p.images[g.Image]; !ok {
			return fmt.Errorf("there is no image %q: %w", g.Image, cloud.ErrInvalid)
		}
		p.groups[name] = &group{
			name: name, size: g.Size, min: g.Min, max: g.Max, zones: slices.Clone(g.Zones), balanced: g.Balanced, versions: []version{{image: g.Image}}, version: 1,
		}
		return nil
	})
}

// SetImage gives a group another version of its template, as somebody does who is no run.
func (p *Provider) SetImage(group, image string) error {
	return p.change(func() error {
		g, err := p.group(group)
		if err != nil {
			return err
		}
		if _, ok := p.images[image]; !ok {
			return fmt.Errorf("there is no image %q: %w", image, cloud.ErrInvalid)
		}
		g.versions = append(g.versions, version{image: image})
		g.version = len(g.versions)
		return nil
	})
}

// SetSize changes the size of a group, as somebody does who is no run.
func (p *Provider) SetSize(group string, size int32) error {
	return p.change(func() error {
		g, err := p.group(group)
		if err != nil {
			return err
		}
		if size < g.min || size > g.max {
			return fmt.Errorf("the size %d has to be between %d and %d: %w", size, g.min, g.max, cloud.ErrInvalid)
		}
		g.size = size
		return nil
	})
}

// SetRoom limits how many more machines a zone can have; a negative number lifts the limit.
func (p *Provider) SetRoom(zone string, machines int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(p.clock.Now())
	if p.room[zone] = machines; machines < 0 {
		delete(p.room, zone)
	}
}

// Interrupt announces that a machine ends by itself after a while.
func (p *Provider) Interrupt(group, id string, after time.Duration) error {
	return p.change(func() error {
		g, err := p.group(group)
		if err != nil {
			return err
		}
		m := g.machine(id)
		if m == nil || m.State != cloud.Running {
			return fmt.Errorf("machine %s of group %s is not running: %w", id, group, cloud.ErrInvalid)
		}
		m.Interrupted, m.due = true, p.now.Add(after)
		return nil
	})
}

// Crash ends a machine as if its hardware failed: it is gone at once.
func (p *Provider) Crash(group, id string) error {
	return p.change(func() error {
		g, err := p.group(group)
		if err != nil {
			return err
		}
		m := g.machine(id)
		if m == nil {
			return fmt.Errorf("group %s has no machine %s: %w", group, id, cloud.ErrInvalid)
		}
		p.drop(g, m)
		return nil
	})
}

func (p *Provider) group(name string) (*group, error) {
	if g, ok := p.groups[name]; ok {
		return g, nil
	}
	return nil, fmt.Errorf("simulated group %s: %w", name, cloud.ErrNotFound)
}

// newest is the newest image that a filter selects; empty for none. Tags are unknown here.
func (p *Provider) newest(f *v1alpha1.ImageFilter) (v1alpha1.Image, bool) {
	var found v1alpha1.Image
	for _, id := range slices.Sorted(maps.Keys(p.images)) {
		i := p.images[id]
		if f.Architecture != "" && f.Architecture != i.Architecture {
			continue
		}
		if ok, err := path.Match(f.Name, i.Name); f.Name != "" && (err != nil || !ok) {
			continue
		}
		if found.ID == "" || i.CreatedAt.After(found.CreatedAt.Time) {
			found = i
		}
	}
	return found, found.ID != ""
}
