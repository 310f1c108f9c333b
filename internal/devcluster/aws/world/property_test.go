package world

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestGroupEndsWhereItShould: whatever is done to a group, its sizes stay in order, nobody
// is lost, and left alone it gets to what is desired.
func TestGroupEndsWhereItShould(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := made(t)
		g := withGroup(t, s, rapid.IntRange(0, 6).Draw(rt, "size"))
		left := map[string]bool{}
		rt.Repeat(map[string]func(*rapid.T){
			"":          func(rt *rapid.T) { sound(rt, s, g, left) },
			"resize":    func(rt *rapid.T) { resizeAny(rt, s) },
			"terminate": func(rt *rapid.T) { terminateAny(rt, s, g) },
			"crash": func(rt *rapid.T) {
				if i := anyMember(rt, s, g); i != nil {
					_ = s.Crash(i.InstanceId) // It may have ended already.
				}
			},
			"protect": func(rt *rapid.T) {
				if i := anyMember(rt, s, g); i != nil {
					protected := rapid.Bool().Draw(rt, "protected")
					_, _ = s.SetInstanceProtection(&SetInstanceProtectionInput{"workers", []string{i.InstanceId}, &protected}) // It may be ending.
				}
			},
			"standby or detach": func(rt *rapid.T) { moveAny(rt, s, g, left) },
			"suspend": func(rt *rapid.T) {
				must(t, s.SuspendProcesses, &ScalingProcessInput{"workers", []string{rapid.SampledFrom(processes).Draw(rt, "process")}})
			},
			"resume": func(rt *rapid.T) {
				must(t, s.ResumeProcesses, &ScalingProcessInput{"workers", []string{rapid.SampledFrom(processes).Draw(rt, "process")}})
			},
			"capacity": func(rt *rapid.T) {
				s.Room[Pool{Zone: rapid.SampledFrom(s.zones()).Draw(rt, "zone"), InstanceType: "m7i.large"}] = rapid.IntRange(0, 3).Draw(rt, "room")
			},
			"wait": func(rt *rapid.T) { s.after(time.Duration(rapid.IntRange(1, 100).Draw(rt, "seconds")) * time.Second) },
		})
		settle(t, rt, s, g)
		sound(rt, s, g, left)
		if n := lifecycles(s, g)[InService]; n != g.Desired || len(s.counted(g)) != n {
			rt.Fatalf("desired are %d, and the members %v", g.Desired, lifecycles(s, g))
		}
		have := s.perZone(s.counted(g))
		counts := slices.Collect(maps.Values(have))
		if g.Desired >= 3 && (len(have) < 3 || slices.Max(counts)-slices.Min(counts) > 1) {
			rt.Fatalf("the zones have %v", have)
		}
	})
}

// settle takes away all that keeps a group from what is desired.
func settle(t *testing.T, rt *rapid.T, s *State, g *Group) {
	clear(s.Room)
	must(t, s.ResumeProcesses, &ScalingProcessInput{AutoScalingGroupName: "workers"})
	for _, i := range s.members(g) {
		i.Member.Protected = false
	}
	s.touch(g)
	s.after(2 * time.Hour)
	if due, ok := s.Next(); ok && !due.After(s.Now) {
		rt.Fatalf("something has been due since %s, and it is %s", due, s.Now)
	}
}

func sound(rt *rapid.T, s *State, g *Group, left map[string]bool) {
	if g.Min > g.Desired || g.Desired > g.Max || g.Extra < 0 || g.Extra > 1 {
		rt.Fatalf("min %d, desired %d, max %d, extra %d", g.Min, g.Desired, g.Max, g.Extra)
	}
	for id, i := range s.Instances {
		if i.alive() && i.Member == nil && !left[id] {
			rt.Fatalf("instance %s lives and is in no group", id)
		}
		if i.Member != nil && i.State == Terminated && i.Member.ending() {
			rt.Fatalf("instance %s has ended and is still %s", id, i.Member.Lifecycle)
		}
	}
	for id, v := range s.Volumes {
		if i := s.Instances[v.InstanceId]; i == nil || i.State == Terminated {
			rt.Fatalf("volume %s is left behind", id)
		}
	}
}

func anyMember(rt *rapid.T, s *State, g *Group) *Instance {
	all := s.members(g)
	if len(all) == 0 {
		return nil
	}
	return all[rapid.IntRange(0, len(all)-1).Draw(rt, "member")]
}

func resizeAny(rt *rapid.T, s *State) {
	low := rapid.IntRange(0, 4).Draw(rt, "min")
	high := rapid.IntRange(low, 9).Draw(rt, "max")
	desired := rapid.IntRange(low, high).Draw(rt, "desired")
	if _, err := s.UpdateAutoScalingGroup(&UpdateAutoScalingGroupInput{AutoScalingGroupName: "workers", MinSize: &low, MaxSize: &high, DesiredCapacity: &desired}); err != nil {
		rt.Fatal(err)
	}
}

// terminateAny checks that the size changes by one if and only if it was asked for and
// granted.
func terminateAny(rt *rapid.T, s *State, g *Group) {
	i := anyMember(rt, s, g)
	if i == nil {
		return
	}
	decrement, before := rapid.Bool().Draw(rt, "decrement"), g.Desired
	_, err := s.TerminateInstanceInAutoScalingGroup(&TerminateInstanceInAutoScalingGroupInput{InstanceId: i.InstanceId, ShouldDecrementDesiredCapacity: &decrement})
	want := before
	if err == nil && decrement {
		want--
	}
	if g.Desired != want {
		rt.Fatalf("desired were %d and are %d, the error is %v", before, g.Desired, err)
	}
}

func moveAny(rt *rapid.T, s *State, g *Group, left map[string]bool) {
	i := anyMember(rt, s, g)
	if i == nil {
		return
	}
	in := &InstancesInput{"workers", []string{i.InstanceId}, new(rapid.Bool().Draw(rt, "decrement"))}
	switch rapid.IntRange(0, 2).Draw(rt, "move") {
	case 0:
		_, _ = s.EnterStandby(in) // It may not be in service.
	case 1:
		_, _ = s.ExitStandby(&ExitStandbyInput{"workers", []string{i.InstanceId}}) // It may not be on standby.
	default:
		if _, err := s.DetachInstances(in); err == nil {
			left[i.InstanceId] = true
		}
	}
}
