package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"windlass.dev/internal/cloud"
)

// Rebalance is the process by which a group evens out its zones. It ends machines by
// itself, and so has to be suspended by a run.
const Rebalance = "Rebalance"

// Group says how a group begins.
type Group struct {
	Size, Min, Max int32
	// Zones take turns.
	Zones []string
	// Image is what the first version of its template has.
	Image string
	// Balanced groups have a load balancer, which their Running machines are behind.
	Balanced bool
}

type group struct {
	name           string
	size, min, max int32
	zones          []string
	balanced       bool
	// versions of the template, the first of which is 1, and the one that is used.
	versions  []version
	version   int
	suspended []string
	guard     *cloud.Guard
	machines  []*machine
	problems  []cloud.Problem
	// retry is when a launch is tried again after one failed.
	retry time.Time
}

// version is an image, and for whom it was made.
type version struct{ image, run string }

type machine struct {
	cloud.Machine
	// due is when it changes by itself: from Launching to Running, from Running to its end
	// if it is interrupted, and from Ending to nothing.
	due time.Time
	// byRun is true for a protection that Protect gave.
	byRun bool
	// released is when the load balancer lets go of it; not set before it is told to.
	released time.Time
}

func (g *group) template(number int) string { return g.name + ":" + strconv.Itoa(number) }

// numbered is the version that a reference or a number names; 0 for none that there is.
func (g *group) numbered(text string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(text, g.name+":"))
	if err != nil || n < 1 || n > len(g.versions) {
		return 0
	}
	return n
}

func (g *group) machine(id string) *machine {
	for _, m := range g.machines {
		if m.ID == id {
			return m
		}
	}
	return nil
}

// counted are the machines that make up the group's size.
func (g *group) counted() []*machine {
	return slices.DeleteFunc(slices.Clone(g.machines), func(m *machine) bool { return m.State == cloud.Ending })
}

// Next returns when something changes by itself next.
func (p *Provider) Next() (due time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(p.clock.Now())
	return p.next()
}

func (p *Provider) next() (due time.Time, ok bool) {
	consider := func(t time.Time) {
		if !t.IsZero() && (!ok || t.Before(due)) {
			due, ok = t, true
		}
	}
	for _, g := range p.groups {
		consider(g.retry)
		for _, m := range g.machines {
			consider(m.due)
			if m.released.After(p.now) {
				consider(m.released)
			}
		}
	}
	return due, ok
}

// advance does in order what is due until now.
func (p *Provider) advance(now time.Time) {
	for {
		p.reconcile()
		due, ok := p.next()
		if !ok || due.After(now) {
			break
		}
		p.now = due
		for _, g := range p.groups {
			if !g.retry.After(p.now) {
				g.retry = time.Time{}
			}
			for _, m := range slices.Clone(g.machines) {
				if !m.due.IsZero() && !m.due.After(p.now) {
					p.step(g, m)
				}
			}
		}
	}
	p.now = now
}

func (p *Provider) step(g *group, m *machine) {
	m.due = time.Time{}
	switch m.State {
	case cloud.Launching:
		m.State = cloud.Running
	case cloud.Running:
		p.end(m)
	case cloud.Ending:
		p.drop(g, m)
	}
}

func (p *Provider) drop(g *group, m *machine) {
	g.machines = slices.DeleteFunc(g.machines, func(o *machine) bool { return o == m })
	if room, limited := p.room[m.Zone]; limited {
		p.room[m.Zone] = room + 1
	}
}

func (p *Provider) end(m *machine) {
	m.State, m.Protected, m.due = cloud.Ending, false, p.now.Add(p.times.Shutdown)
}

// reconcile brings each group to its size, as far as there is room.
func (p *Provider) reconcile() {
	for _, name := range p.names() {
		g := p.groups[name]
		for len(g.counted()) < int(g.size) && g.retry.IsZero() && p.launch(g) {
			g.problems = nil
		}
		for len(g.counted()) > int(g.size) && p.giveUp(g) {
		}
		p.rebalance(g)
	}
}

// launch makes a machine in the zone with the fewest of those that have room.
func (p *Provider) launch(g *group) bool {
	for _, zone := range g.byNeed() {
		room, limited := p.room[zone]
		if limited && room <= 0 {
			g.note(cloud.Problem{Reason: cloud.ReasonCapacity, Zone: zone, Message: "there is no capacity in " + zone, At: p.now})
			continue
		}
		if limited {
			p.room[zone] = room - 1
		}
		p.serial++
		id := fmt.Sprintf("m-%06d", p.serial)
		image := p.images[g.versions[g.version-1].image]
		g.machines = append(g.machines, &machine{
			Machine: cloud.Machine{
				ID: id, ProviderID: "sim:///" + zone + "/" + id, Zone: zone, State: cloud.Launching, Template: g.template(g.version), Image: image.ID,
				Architecture: image.Architecture, LaunchedAt: p.now,
			},
			due: p.now.Add(p.times.Boot),
		})
		return true
	}
	g.retry = p.now.Add(p.times.Retry)
	return false
}

// note keeps the newest problem of a zone.
func (g *group) note(problem cloud.Problem) {
	g.problems = append(slices.DeleteFunc(g.problems, func(o cloud.Problem) bool { return o.Zone == problem.Zone }), problem)
}

func (g *group) byNeed() []string {
	have := g.perZone()
	zones := slices.Clone(g.zones)
	slices.SortStableFunc(zones, func(a, b string) int { return cmp.Compare(have[a], have[b]) })
	return zones
}

func (g *group) perZone() map[string]int {
	have := map[string]int{}
	for _, m := range g.counted() {
		have[m.Zone]++
	}
	return have
}

// giveUp ends the oldest machine of the zone that has the most, unless all are protected.
func (p *Provider) giveUp(g *group) bool {
	have := g.perZone()
	var victim *machine
	for _, m := range g.counted() {
		if !m.Protected && (victim == nil || have[m.Zone] > have[victim.Zone]) {
			victim = m
		}
	}
	if victim != nil {
		p.end(victim)
	}
	return victim != nil
}

// rebalance ends a machine of the zone that has two more than another with room, where a
// new one is then made.
func (p *Provider) rebalance(g *group) {
	if slices.Contains(g.suspended, Rebalance) || len(g.zones) == 0 {
		return
	}
	have, zones := g.perZone(), g.byNeed()
	fewest := zones[0]
	room, limited := p.room[fewest]
	if limited && room <= 0 || have[zones[len(zones)-1]]-have[fewest] < 2 {
		return
	}
	for _, m := range g.counted() {
		if m.State != cloud.Running {
			return
		}
	}
	if p.giveUp(g) {
		p.launch(g)
	}
}
