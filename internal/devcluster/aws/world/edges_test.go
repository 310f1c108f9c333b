package world

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOnDemandShare(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ n, base, percent, want int }{
		"within the base":       {2, 3, 0, 2},
		"no more than the base": {9, 3, 0, 3},
		"all":                   {9, 0, 100, 9},
		"half, rounded up":      {6, 1, 50, 4},
		"a little, rounded up":  {10, 0, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := onDemandShare(c.n, c.base, c.percent); got != c.want {
				t.Errorf("it is %d, want %d", got, c.want)
			}
		})
	}
}

// waiting has an instance that two hooks keep.
func waiting(t *testing.T, heartbeat int) (*State, *Group, *Instance) {
	t.Helper()
	s := made(t)
	g := withGroup(t, s, 0)
	for _, name := range []string{"one", "two"} {
		must(t, s.PutLifecycleHook, &PutLifecycleHookInput{AutoScalingGroupName: "workers", LifecycleHookName: name, LifecycleTransition: onLaunch, HeartbeatTimeout: &heartbeat})
	}
	must(t, s.SetDesiredCapacity, &SetDesiredCapacityInput{AutoScalingGroupName: "workers", DesiredCapacity: new(1)})
	s.after(times.Evaluate)
	i := s.members(g)[0]
	s.after(times.Pending)
	return s, g, i
}

func TestTwoHooks(t *testing.T) {
	t.Parallel()
	for result, want := range map[string]string{"CONTINUE": PendingWait, "ABANDON": Terminating} {
		t.Run(result, func(t *testing.T) {
			t.Parallel()
			s, _, i := waiting(t, 300)
			must(t, s.CompleteLifecycleAction, &CompleteLifecycleActionInput{
				AutoScalingGroupName: "workers", LifecycleHookName: "one", LifecycleActionToken: i.Member.Token, LifecycleActionResult: result,
			})
			if i.Member.Lifecycle != want {
				t.Errorf("after the first it is %s, want %s", i.Member.Lifecycle, want)
			}
			_, err := s.CompleteLifecycleAction(&CompleteLifecycleActionInput{AutoScalingGroupName: "workers", LifecycleHookName: "one", InstanceId: i.InstanceId, LifecycleActionResult: "CONTINUE"})
			wantCode(t, err, "ValidationError")
		})
	}
}

// TestHeartbeatsEnd: a hundred heartbeats are all that there can be.
func TestHeartbeatsEnd(t *testing.T) {
	t.Parallel()
	s, _, i := waiting(t, 30)
	began := s.Now
	for i.Member != nil && i.Member.Lifecycle == PendingWait {
		for name := range i.Member.Waits {
			must(t, s.RecordLifecycleActionHeartbeat, &LifecycleActionInput{AutoScalingGroupName: "workers", LifecycleHookName: name, InstanceId: i.InstanceId})
		}
		if s.after(20 * time.Second); s.Now.Sub(began) > 2*time.Hour {
			t.Fatal("it waits for ever")
		}
	}
	if waited := s.Now.Sub(began); waited < 3000*time.Second {
		t.Errorf("it waited %s only", waited)
	}
}

// TestCrashBeforeService: what ends before it is in service is replaced, whatever keeps it.
func TestCrashBeforeService(t *testing.T) {
	t.Parallel()
	s, g, i := waiting(t, 300)
	if err := s.Crash(i.InstanceId); err != nil {
		t.Fatal(err)
	}
	s.after(time.Minute)
	if diff := cmp.Diff(map[string]int{PendingWait: 1}, lifecycles(s, g)); diff != "" || s.members(g)[0] == i {
		t.Error(diff)
	}
	codes := map[string]int{}
	for _, a := range s.Activities {
		codes[a.StatusCode]++
	}
	// A launch that failed, its end, and the next launch.
	if diff := cmp.Diff(map[string]int{failed: 1, successful: 1, "MidLifecycleAction": 1}, codes); diff != "" {
		t.Error(diff)
	}
}

// TestTheDeadGetNoRequests: an instance that somebody ended is no target any more.
func TestTheDeadGetNoRequests(t *testing.T) {
	t.Parallel()
	s := made(t)
	arn := must(t, s.CreateTargetGroup, &CreateTargetGroupInput{Name: "web", Port: new(80), Protocol: "HTTP"}).TargetGroups[0].TargetGroupArn
	g := withGroup(t, s, 2, func(in *CreateAutoScalingGroupInput) { in.TargetGroupARNs = []string{arn} })
	must(t, s.SuspendProcesses, &ScalingProcessInput{AutoScalingGroupName: "workers"})
	victim := s.members(g)[0].InstanceId
	must(t, s.TerminateInstances, &TerminateInstancesInput{InstanceIds: []string{victim}})
	s.after(10 * time.Minute)
	if n := len(s.TargetGroups[arn].Targets); n != 1 || slices.ContainsFunc(s.TargetGroups[arn].Targets, func(t Target) bool { return t.Id == victim }) {
		t.Errorf("%d are targets", n)
	}
}

// TestBalancedOnly: where the zone that is next has no capacity, the group waits for it.
func TestBalancedOnly(t *testing.T) {
	t.Parallel()
	for strategy, want := range map[string]int{"balanced-best-effort": 4, "balanced-only": 3} {
		t.Run(strategy, func(t *testing.T) {
			t.Parallel()
			s := made(t)
			g := withGroup(t, s, 3, func(in *CreateAutoScalingGroupInput) { in.AvailabilityZoneDistribution = &ZoneDistribution{strategy} })
			none := Pool{Zone: s.byNeed(g)[0], InstanceType: "m7i.large"}
			s.Room[none] = 0
			must(t, s.SetDesiredCapacity, &SetDesiredCapacityInput{AutoScalingGroupName: "workers", DesiredCapacity: new(4)})
			s.after(10 * time.Minute)
			if n := len(s.counted(g)); n != want {
				t.Errorf("there are %d, want %d", n, want)
			}
			s.Room[none] = 1
			s.after(time.Hour)
			if n := len(s.counted(g)); n != 4 {
				t.Errorf("with capacity there are %d", n)
			}
		})
	}
}

func TestCooldownIsRefused(t *testing.T) {
	t.Parallel()
	s := made(t)
	g := withGroup(t, s, 1)
	_, err := s.SetDesiredCapacity(&SetDesiredCapacityInput{AutoScalingGroupName: "workers", DesiredCapacity: new(2), HonorCooldown: true})
	wantCode(t, err, "ValidationError")
	if g.Desired != 1 {
		t.Errorf("%d are desired", g.Desired)
	}
}

// TestOtherTemplate: instances of a template that the group has no more go first, whatever
// the numbers of the versions are.
func TestOtherTemplate(t *testing.T) {
	t.Parallel()
	specification := func() *LaunchTemplateSpecification {
		return &LaunchTemplateSpecification{LaunchTemplateName: "new", Version: "$Latest"}
	}
	for name, to := range map[string]UpdateAutoScalingGroupInput{
		"a template": {LaunchTemplate: specification()},
		"a mix":      {MixedInstancesPolicy: &MixedInstancesPolicy{LaunchTemplate: &MixedTemplate{LaunchTemplateSpecification: specification()}}},
		"an override's": {MixedInstancesPolicy: &MixedInstancesPolicy{LaunchTemplate: &MixedTemplate{
			LaunchTemplateSpecification: &LaunchTemplateSpecification{LaunchTemplateName: "third", Version: "$Latest"},
			Overrides:                   []Override{{InstanceType: "m7i.large", LaunchTemplateSpecification: specification()}},
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := made(t)
			must(t, s.CreateLaunchTemplateVersion, &CreateLaunchTemplateVersionInput{LaunchTemplateName: "nodes", SourceVersion: "1", LaunchTemplateData: TemplateData{}})
			g := withGroup(t, s, 3)
			for _, made := range []string{"new", "third"} {
				must(t, s.CreateLaunchTemplate, &CreateLaunchTemplateInput{LaunchTemplateName: made, LaunchTemplateData: TemplateData{ImageId: "ami-2", InstanceType: "m7i.large"}})
			}
			to.AutoScalingGroupName = "workers"
			must(t, s.UpdateAutoScalingGroup, &to)
			for _, n := range []int{6, 3} {
				must(t, s.SetDesiredCapacity, &SetDesiredCapacityInput{AutoScalingGroupName: "workers", DesiredCapacity: &n})
				s.after(5 * time.Minute)
			}
			left := map[string]int{}
			for _, i := range s.counted(g) {
				left[i.Member.Template.LaunchTemplateName]++
			}
			if diff := cmp.Diff(map[string]int{"new": 3}, left); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestUnhealthyStaysWithoutTerminate: what is unhealthy is replaced by ending it, which two
// processes can keep a group from.
func TestUnhealthyStaysWithoutTerminate(t *testing.T) {
	t.Parallel()
	for process, want := range map[string]string{Terminate: Running, ReplaceUnhealthy: Running, AZRebalance: Terminated} {
		t.Run(process, func(t *testing.T) {
			t.Parallel()
			s := made(t)
			g := withGroup(t, s, 3)
			must(t, s.SuspendProcesses, &ScalingProcessInput{"workers", []string{process}})
			i := s.members(g)[0]
			must(t, s.SetInstanceHealth, &SetInstanceHealthInput{InstanceId: i.InstanceId, HealthStatus: "Unhealthy"})
			s.after(5 * time.Minute)
			if i.State != want {
				t.Errorf("it is %s, want %s", i.State, want)
			}
			must(t, s.ResumeProcesses, &ScalingProcessInput{"workers", []string{process}})
			s.after(5 * time.Minute)
			if i.State != Terminated {
				t.Errorf("resumed, it is %s", i.State)
			}
		})
	}
}

// TestDeleteHook: who waits for a hook that is deleted does not come, and who goes waits for
// the other hooks, whatever the default result is.
func TestDeleteHook(t *testing.T) {
	t.Parallel()
	for transition, sizes := range map[string][2]int{onLaunch: {0, 1}, onTerminate: {1, 0}} {
		for _, result := range []string{"CONTINUE", "ABANDON"} {
			t.Run(transition+" "+result, func(t *testing.T) {
				t.Parallel()
				s := made(t)
				g := withGroup(t, s, sizes[0])
				for _, name := range []string{"h", "other"} {
					must(t, s.PutLifecycleHook, &PutLifecycleHookInput{AutoScalingGroupName: "workers", LifecycleHookName: name, LifecycleTransition: transition, DefaultResult: result})
				}
				must(t, s.SetDesiredCapacity, &SetDesiredCapacityInput{AutoScalingGroupName: "workers", DesiredCapacity: &sizes[1]})
				s.after(time.Minute)
				i := s.members(g)[0]
				if l := i.Member.Lifecycle; l != PendingWait && l != TerminatingWait {
					t.Fatalf("it is %s, and waits for nothing", l)
				}
				must(t, s.DeleteLifecycleHook, &DeleteLifecycleHookInput{"workers", "h"})
				s.after(5 * time.Minute)
				if goes := transition == onLaunch; i.alive() == goes || !goes && i.Member.Lifecycle != TerminatingWait {
					t.Errorf("it is %s", i.State)
				}
			})
		}
	}
}
