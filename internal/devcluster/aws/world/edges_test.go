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
