package controller

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testingclock "k8s.io/utils/clock/testing"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/sim"
	"windlass.dev/internal/rotation"
)

// TestDeregistered: that load balancers have let a machine go stays known, whatever is asked of
// its group and of others, for as long as the machine is there; and it becomes known when they
// take their time.
func TestDeregistered(t *testing.T) {
	t.Parallel()
	for name, takes := range map[string]time.Duration{"at once": 0, "in a while": time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := testingclock.NewFakeClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
			machines := sim.NewProvider(clock, sim.Times{Retry: time.Second, Deregistration: takes})
			groups := map[string]*v1alpha1.NodeGroup{}
			if err := machines.AddImage(v1alpha1.Image{ID: "ami-1", Architecture: "x86_64"}); err != nil {
				t.Fatal(err)
			}
			for _, group := range []string{"a", "b"} {
				if err := machines.AddGroup(group, sim.Group{Size: 1, Max: 2, Zones: []string{"a"}, Image: "ami-1", Balanced: true}); err != nil {
					t.Fatal(err)
				}
				groups[group] = &v1alpha1.NodeGroup{ObjectMeta: metav1.ObjectMeta{Name: group}, Spec: v1alpha1.NodeGroupSpec{Provider: v1alpha1.Provider{Simulated: &v1alpha1.SimulatedGroup{Name: group}}}}
			}
			c := &clouds{providers: func(v1alpha1.Provider) (cloud.Provider, error) { return machines, nil }, clock: clock}
			registered := func() (id string, is bool) {
				t.Helper()
				all := c.describe(t.Context(), groups["a"]).Machines
				if len(all) != 1 {
					t.Fatalf("machines %+v", all)
				}
				return all[0].ID, all[0].Registered
			}
			id, is := registered()
			if !is {
				t.Fatal("it is let go before anybody asked")
			}
			ask := func() {
				t.Helper()
				if err := c.deregister(t.Context(), machines, groups["a"].Spec.Provider, rotation.Deregister{Group: "a", Machine: id}); err != nil {
					t.Fatal(err)
				}
			}
			ask()
			if _, is = registered(); is != (takes > 0) {
				t.Errorf("right after it was asked, registered is %t", is)
			}
			clock.Step(takes + describeEvery)
			if takes > 0 {
				ask()
			}
			c.stale("a")
			clock.Step(describeEvery)
			c.describe(t.Context(), groups["b"])
			if _, is = registered(); is {
				t.Error("that it was let go is forgotten")
			}
		})
	}
}
