package sim_test

import (
	"errors"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

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
