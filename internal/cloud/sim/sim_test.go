package sim_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/cloudtest"
	"windlass.dev/internal/cloud/sim"
)

var start = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func ref(name string) v1alpha1.Provider {
	return v1alpha1.Provider{Simulated: &v1alpha1.SimulatedGroup{Name: name}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newProvider(t *testing.T, groups ...string) (*sim.Provider, *clocktesting.FakeClock) {
	t.Helper()
	clock := clocktesting.NewFakeClock(start)
	p := sim.NewProvider(clock, sim.Times{Boot: time.Minute, Shutdown: 20 * time.Second, Deregistration: 30 * time.Second, Retry: 30 * time.Second})
	for _, id := range []string{"image-1", "image-2", "image-3"} {
		must(t, p.AddImage(v1alpha1.Image{ID: id, Name: "node-" + id, Architecture: "arm64"}))
		clock.Step(time.Second)
	}
	for _, name := range groups {
		must(t, p.AddGroup(name, sim.Group{Size: cloudtest.Size, Min: 1, Max: cloudtest.Size, Zones: []string{"a", "b", "c"}, Image: "image-1", Balanced: true}))
	}
	settle(t, p, clock)
	return p, clock
}

// settle steps the clock to each change, for ten minutes at most: launches that fail are
// tried for ever.
func settle(t *testing.T, p *sim.Provider, clock *clocktesting.FakeClock) {
	t.Helper()
	for limit := clock.Now().Add(10 * time.Minute); ; {
		due, ok := p.Next()
		if !ok || due.After(limit) {
			return
		}
		clock.SetTime(due)
	}
}

func TestContract(t *testing.T) {
	t.Parallel()
	cloudtest.Suite(t, func(t *testing.T) *cloudtest.Harness {
		p, clock := newProvider(t, "apps", "apps-2", "my-apps")
		released := map[string]bool{}
		return &cloudtest.Harness{
			Provider: p, Group: ref("apps"), Missing: ref("app"), Others: []v1alpha1.Provider{ref("apps-2"), ref("my-apps")},
			Images:  []string{"image-3"},
			Change:  func(t *testing.T) { must(t, p.SetImage("apps", "image-2")) },
			SetSize: func(t *testing.T, size int32) { must(t, p.SetSize("apps", size)) },
			Balanced: func(t *testing.T, machine string) bool {
				if done, err := p.Deregister(t.Context(), ref("apps"), machine); err == nil && done {
					released[machine] = true
				}
				return !released[machine]
			},
			Wait: func(t *testing.T) { settle(t, p, clock) },
			Crash: func(after int, done bool) func() bool {
				writes, crashed := 0, false
				p.Faults(func(c sim.Call) error {
					if !crashed && c.Name != "Describe" && c.Done == done {
						crashed = writes == after
						writes++
					}
					if crashed {
						return errors.New("the process is gone")
					}
					return nil
				})
				return func() bool {
					p.Faults(nil)
					return crashed
				}
			},
		}
	})
}

func describe(t *testing.T, p *sim.Provider, name string) cloud.Group {
	t.Helper()
	g, err := p.Describe(t.Context(), ref(name))
	must(t, err)
	return g
}

func perZone(g cloud.Group) map[string]int {
	all := map[string]int{}
	for _, m := range g.Machines {
		if m.State == cloud.Running {
			all[m.Zone]++
		}
	}
	return all
}

// TestRoom: a group that cannot have its size says why, takes what there is elsewhere, and
// is at its size once there is room.
func TestRoom(t *testing.T) {
	t.Parallel()
	p, clock := newProvider(t, "apps")
	p.SetRoom("a", 0)
	must(t, p.Resize(t.Context(), ref("apps"), 5))
	settle(t, p, clock)
	if diff := cmp.Diff(map[string]int{"a": 1, "b": 2, "c": 2}, perZone(describe(t, p, "apps"))); diff != "" {
		t.Error(diff)
	}
	p.SetRoom("b", 0)
	p.SetRoom("c", 0)
	must(t, p.Resize(t.Context(), ref("apps"), 6))
	settle(t, p, clock)
	g := describe(t, p, "apps")
	if len(g.Machines) != 5 || len(g.Problems) != 3 || g.Problems[0].Reason != cloud.ReasonCapacity || clock.Since(g.Problems[0].At) > 30*time.Second {
		t.Errorf("there are %d machines, and %+v", len(g.Machines), g.Problems)
	}
	p.SetRoom("a", -1)
	settle(t, p, clock)
	if g := describe(t, p, "apps"); len(g.Machines) != 6 || len(g.Problems) != 0 {
		t.Errorf("there are %d machines, and %+v", len(g.Machines), g.Problems)
	}
}

// TestRebalance: a group whose zones are uneven ends a machine by itself, unless that is
// suspended.
func TestRebalance(t *testing.T) {
	t.Parallel()
	for name, suspend := range map[string][]string{"as it is": nil, "suspended": {sim.Rebalance}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, clock := newProvider(t, "apps")
			must(t, p.Prepare(t.Context(), ref("apps"), cloud.Guard{Run: "apps-1", Suspend: suspend}, cloud.Target{}))
			p.SetRoom("a", 0)
			p.SetRoom("b", 0)
			must(t, p.Resize(t.Context(), ref("apps"), 5))
			settle(t, p, clock)
			before := describe(t, p, "apps")
			if diff := cmp.Diff(map[string]int{"a": 1, "b": 1, "c": 3}, perZone(before)); diff != "" {
				t.Error(diff)
			}
			p.SetRoom("a", -1)
			settle(t, p, clock)
			want := map[string]int{"a": 2, "b": 1, "c": 2}
			if suspend != nil {
				want = map[string]int{"a": 1, "b": 1, "c": 3}
			}
			if diff := cmp.Diff(want, perZone(describe(t, p, "apps"))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLosses: machines that are interrupted, or break, are replaced.
func TestLosses(t *testing.T) {
	t.Parallel()
	p, clock := newProvider(t, "apps")
	all := describe(t, p, "apps").Machines
	must(t, p.Interrupt("apps", all[0].ID, 2*time.Minute))
	must(t, p.Crash("apps", all[1].ID))
	g := describe(t, p, "apps")
	if !g.Machines[0].Interrupted || g.Machines[0].State != cloud.Running {
		t.Errorf("the machine is %+v", g.Machines[0])
	}
	clock.Step(2 * time.Minute)
	if g = describe(t, p, "apps"); g.Machines[0].State != cloud.Ending {
		t.Errorf("the machine is %+v", g.Machines[0])
	}
	settle(t, p, clock)
	for _, m := range describe(t, p, "apps").Machines {
		if m.ID == all[0].ID || m.ID == all[1].ID || m.State != cloud.Running {
			t.Errorf("there is machine %+v", m)
		}
	}
	if err := p.Interrupt("apps", all[0].ID, 0); !errors.Is(err, cloud.ErrInvalid) {
		t.Errorf("the error is %v", err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	p, _ := newProvider(t)
	for name, c := range map[string]struct {
		source v1alpha1.ImageSource
		want   string
		err    error
	}{
		"fixed":      {v1alpha1.ImageSource{Fixed: "image-1"}, "image-1", nil},
		"unknown":    {v1alpha1.ImageSource{Fixed: "image-9"}, "", cloud.ErrNotFound},
		"the newest": {v1alpha1.ImageSource{Filter: &v1alpha1.ImageFilter{Owner: "self", Name: "node-*", Architecture: "arm64"}}, "image-3", nil},
		"none":       {v1alpha1.ImageSource{Filter: &v1alpha1.ImageFilter{Owner: "self", Architecture: "x86_64"}}, "", cloud.ErrNotFound},
		"parameter":  {v1alpha1.ImageSource{SSMParameter: "/image"}, "", cloud.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := p.Find(t.Context(), c.source)
			if got.ID != c.want || !errors.Is(err, c.err) {
				t.Errorf("it is %q, %v, want %q, %v", got.ID, err, c.want, c.err)
			}
		})
	}
}

// TestAlways: whatever is done, in whatever order and however time passes, groups stay
// within their limits, no machine that is protected is given up, and in the end there are as
// many as are wanted.
func TestAlways(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		clock := clocktesting.NewFakeClock(start)
		p := sim.NewProvider(clock, sim.Times{Boot: time.Minute, Shutdown: 20 * time.Second, Retry: 30 * time.Second})
		check := func(err error) {
			if err != nil && !errors.Is(err, cloud.ErrConflict) && !errors.Is(err, cloud.ErrInvalid) {
				r.Fatal(err)
			}
		}
		check(p.AddImage(v1alpha1.Image{ID: "image-1", Architecture: "arm64"}))
		check(p.AddGroup("apps", sim.Group{Size: 3, Min: 1, Max: 5, Zones: []string{"a", "b"}, Image: "image-1"}))
		look := func() cloud.Group {
			g, err := p.Describe(r.Context(), ref("apps"))
			check(err)
			return g
		}
		one := func() string {
			g := look()
			if len(g.Machines) == 0 {
				return ""
			}
			return rapid.SampledFrom(g.Machines).Draw(r, "machine").ID
		}
		guarded := cloud.Guard{Run: "apps-1", Suspend: []string{sim.Rebalance}}
		// gone are those that were ended or lost on purpose.
		gone, protected := map[string]bool{}, map[string]bool{}
		r.Repeat(map[string]func(*rapid.T){
			"resize": func(r *rapid.T) { check(p.Resize(r.Context(), ref("apps"), rapid.Int32Range(0, 8).Draw(r, "size"))) },
			"set":    func(r *rapid.T) { check(p.SetSize("apps", rapid.Int32Range(0, 8).Draw(r, "size"))) },
			"room": func(r *rapid.T) {
				p.SetRoom(rapid.SampledFrom([]string{"a", "b"}).Draw(r, "zone"), rapid.IntRange(-1, 3).Draw(r, "room"))
			},
			"pass":    func(r *rapid.T) { clock.Step(time.Duration(rapid.IntRange(0, 200).Draw(r, "seconds")) * time.Second) },
			"prepare": func(r *rapid.T) { check(p.Prepare(r.Context(), ref("apps"), guarded, cloud.Target{})) },
			"protect": func(r *rapid.T) {
				id := one()
				check(p.Protect(r.Context(), ref("apps"), []string{id}))
				if n := slices.IndexFunc(look().Machines, func(m cloud.Machine) bool { return m.ID == id && m.Protected }); n >= 0 {
					protected[id] = true
				}
			},
			"end": func(r *rapid.T) {
				id := one()
				if err := p.End(r.Context(), ref("apps"), id, look().Size-rapid.Int32Range(-1, 2).Draw(r, "fewer")); err == nil {
					gone[id] = true
				} else {
					check(err)
				}
			},
			"crash": func(r *rapid.T) {
				if id := one(); id != "" {
					check(p.Crash("apps", id))
					gone[id] = true
				}
			},
			"": func(r *rapid.T) {
				g := look()
				if g.Size < g.Min || g.Size > g.Max {
					r.Fatalf("the group wants %d of %d to %d", g.Size, g.Min, g.Max)
				}
				there := map[string]bool{}
				for _, m := range g.Machines {
					there[m.ID] = m.State != cloud.Ending
				}
				for id := range protected {
					if !there[id] && !gone[id] {
						r.Fatalf("%s was protected, and given up", id)
					}
				}
			},
		})
		p.SetRoom("a", -1)
		p.SetRoom("b", -1)
		restore := func() error {
			return p.Restore(r.Context(), ref("apps"), guarded, cloud.Settings{Size: 3, Max: 5}, cloud.Target{})
		}
		if err := restore(); err != nil { // It has more machines than that, and ends none.
			check(err)
			check(p.SetSize("apps", 3))
			for range 20 {
				clock.Step(time.Minute)
			}
			if err := restore(); err != nil {
				r.Fatal(err)
			}
		}
		for range 20 {
			clock.Step(time.Minute)
		}
		g := look()
		if len(g.Machines) != int(g.Size) || g.Size > 3 || g.Run != "" || len(g.Suspended) != 0 {
			r.Fatalf("in the end: %+v", g)
		}
	})
}
