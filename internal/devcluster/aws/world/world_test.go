package world

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"
)

var start = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// times are round, so that tests can say what is when.
var times = Times{
	Pending: 10 * time.Second, Boot: 60 * time.Second, Shutdown: 20 * time.Second, Forget: time.Hour,
	Evaluate: time.Second, Step: time.Second, Retry: 30 * time.Second, CordonWait: time.Minute, DrainLimit: 15 * time.Minute,
}

// made is a state with an image and a launch template.
func made(t *testing.T) *State {
	t.Helper()
	s := newState(Config{Region: "eu-central-1", Account: "123456789012", Zones: []string{"a", "b", "c"}, Times: times}, start)
	for _, id := range []string{"ami-1", "ami-2"} {
		if err := s.AddImage(Image{ImageId: id, Name: id}); err != nil {
			t.Fatal(err)
		}
	}
	must(t, s.CreateLaunchTemplate, &CreateLaunchTemplateInput{LaunchTemplateName: "nodes", LaunchTemplateData: TemplateData{ImageId: "ami-1", InstanceType: "m7i.large"}})
	return s
}

func must[I, O any](t *testing.T, do func(*I) (*O, error), in *I) *O {
	t.Helper()
	out, err := do(in)
	if err != nil {
		t.Fatalf("%T: %v", in, err)
	}
	return out
}

// withGroup makes a group of n that are in service.
func withGroup(t *testing.T, s *State, n int, change ...func(*CreateAutoScalingGroupInput)) *Group {
	t.Helper()
	in := &CreateAutoScalingGroupInput{
		AutoScalingGroupName: "workers", MinSize: new(0), MaxSize: new(20), DesiredCapacity: &n,
		AvailabilityZones: []string{"eu-central-1a", "eu-central-1b", "eu-central-1c"},
		LaunchTemplate:    &LaunchTemplateSpecification{LaunchTemplateName: "nodes", Version: "$Latest"},
	}
	for _, do := range change {
		do(in)
	}
	must(t, s.CreateAutoScalingGroup, in)
	s.after(2 * time.Minute)
	return s.Groups["workers"]
}

func (s *State) after(d time.Duration) { s.Advance(s.Now.Add(d)) }

// lifecycles counts a group's members by their states.
func lifecycles(s *State, g *Group) map[string]int {
	all := map[string]int{}
	for _, i := range s.members(g) {
		all[i.Member.Lifecycle]++
	}
	return all
}

func inZones(s *State, g *Group) map[string]int { return s.perZone(s.counted(g)) }

func wantCode(t *testing.T, err error, want string) {
	t.Helper()
	if code(err) != want || err == nil {
		t.Errorf("the error is %v, want the code %s", err, want)
	}
}

func TestGroupKeepsItsSize(t *testing.T) {
	t.Parallel()
	s := made(t)
	g := withGroup(t, s, 6)
	if diff := cmp.Diff(map[string]int{"eu-central-1a": 2, "eu-central-1b": 2, "eu-central-1c": 2}, inZones(s, g)); diff != "" {
		t.Error(diff)
	}
	must(t, s.SetDesiredCapacity, &SetDesiredCapacityInput{AutoScalingGroupName: "workers", DesiredCapacity: new(3)})
	s.after(5 * time.Minute)
	if diff := cmp.Diff(map[string]int{"eu-central-1a": 1, "eu-central-1b": 1, "eu-central-1c": 1}, inZones(s, g)); diff != "" {
		t.Error(diff)
	}
	must(t, s.UpdateAutoScalingGroup, &UpdateAutoScalingGroupInput{AutoScalingGroupName: "workers", MinSize: new(5)})
	s.after(5 * time.Minute)
	if diff := cmp.Diff(map[string]int{InService: 5}, lifecycles(s, g)); diff != "" || g.Desired != 5 {
		t.Errorf("desired is %d after the minimum was raised to 5: %s", g.Desired, diff)
	}
	for _, n := range []int{4, 21} {
		_, err := s.SetDesiredCapacity(&SetDesiredCapacityInput{AutoScalingGroupName: "workers", DesiredCapacity: &n})
		wantCode(t, err, "ValidationError")
	}
}

func TestInstanceLife(t *testing.T) {
	t.Parallel()
	s := made(t)
	g := withGroup(t, s, 0)
	s.Effects = nil
	must(t, s.SetDesiredCapacity, &SetDesiredCapacityInput{AutoScalingGroupName: "workers", DesiredCapacity: new(1)})
	s.after(times.Evaluate)
	i := s.members(g)[0]
	at := func(d time.Duration, state, lifecycle string, effects int) {
		t.Helper()
		s.Advance(i.LaunchTime.Add(d))
		if i.State != state || i.Member.Lifecycle != lifecycle || len(s.Effects) != effects {
			t.Errorf("after %s: %s, %s, %d effects; want %s, %s, %d", d, i.State, i.Member.Lifecycle, len(s.Effects), state, lifecycle, effects)
		}
	}
	at(9*time.Second, Pending, "Pending", 0)
	at(10*time.Second, Running, InService, 0)
	at(59*time.Second, Running, InService, 0)
	at(60*time.Second, Running, InService, 1)
	must(t, s.TerminateInstanceInAutoScalingGroup, &TerminateInstanceInAutoScalingGroupInput{InstanceId: i.InstanceId, ShouldDecrementDesiredCapacity: new(true)})
	at(60*time.Second, Running, Terminating, 1)
	at(61*time.Second, ShuttingDown, Terminating, 2)
	s.Advance(i.LaunchTime.Add(81 * time.Second))
	if i.State != Terminated || i.Member != nil || s.Instances[i.InstanceId] == nil {
		t.Errorf("it is %s, a member: %v", i.State, i.Member)
	}
	if s.after(time.Hour); s.Instances[i.InstanceId] != nil || len(s.Volumes) != 0 {
		t.Errorf("it is still described, or one of %d volumes left", len(s.Volumes))
	}
	if s.Effects[0].Kind != Boot || s.Effects[1].Kind != Kill || s.Effects[1].Machine.InstanceId != i.InstanceId {
		t.Errorf("the effects are %+v", s.Effects)
	}
}

func TestNoNodeOfWhatEndsBeforeItBoots(t *testing.T) {
	t.Parallel()
	s := made(t)
	r := must(t, s.RunInstances, &RunInstancesInput{LaunchTemplate: &LaunchTemplateSpecification{LaunchTemplateName: "nodes"}, MinCount: 1, MaxCount: 1})
	s.after(30 * time.Second)
	must(t, s.TerminateInstances, &TerminateInstancesInput{InstanceIds: []string{r.Instances[0].InstanceId}})
	s.after(time.Hour)
	if len(s.Effects) != 1 || s.Effects[0].Kind != Kill {
		t.Errorf("the effects are %+v", s.Effects)
	}
}

func TestTerminateInGroup(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		decrement     bool
		minimum       int
		want, desired int
		code          string
	}{
		"the group replaces it":            {decrement: false, want: 3, desired: 3},
		"the group gets smaller":           {decrement: true, want: 2, desired: 2},
		"not below the minimum":            {decrement: true, minimum: 3, want: 3, desired: 3, code: "ValidationError"},
		"at the minimum with a substitute": {decrement: false, minimum: 3, want: 3, desired: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := made(t)
			g := withGroup(t, s, 3, func(in *CreateAutoScalingGroupInput) { in.MinSize = &c.minimum })
			victim := s.members(g)[1].InstanceId
			in := &TerminateInstanceInAutoScalingGroupInput{InstanceId: victim, ShouldDecrementDesiredCapacity: &c.decrement}
			_, err := s.TerminateInstanceInAutoScalingGroup(in)
			if c.code != "" {
				wantCode(t, err, c.code)
			} else if err != nil {
				t.Fatal(err)
			} else {
				// Asked again, it must not count twice.
				_, err := s.TerminateInstanceInAutoScalingGroup(in)
				wantCode(t, err, "ScalingActivityInProgress")
			}
			s.after(5 * time.Minute)
			if got := lifecycles(s, g)[InService]; got != c.want || g.Desired != c.desired {
				t.Errorf("%d are in service and %d desired, want %d and %d", got, g.Desired, c.want, c.desired)
			}
			if _, there := s.Instances[victim]; c.code == "" && there && s.Instances[victim].alive() {
				t.Error("it lives")
			}
		})
	}
}

func TestScaleInPicks(t *testing.T) {
	t.Parallel()
	newTemplate := func(t *testing.T, s *State) {
		must(t, s.CreateLaunchTemplateVersion, &CreateLaunchTemplateVersionInput{LaunchTemplateName: "nodes", SourceVersion: "1", LaunchTemplateData: TemplateData{ImageId: "ami-2"}})
	}
	for name, c := range map[string]struct {
		policies []string
		// spare is which of the members, the oldest first, is protected.
		spare []int
		want  int
	}{
		// There are 4, in the zones a, b, c and a; the last has a newer template.
		"the zone with the most, then the oldest template": {want: 0},
		"not what is protected":                            {spare: []int{0}, want: 3},
		"another zone where all are protected":             {spare: []int{0, 3}, want: 1},
		"the newest":                                       {policies: []string{"NewestInstance"}, want: 3},
		"the oldest":                                       {policies: []string{"OldestInstance"}, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := made(t)
			g := withGroup(t, s, 3, func(in *CreateAutoScalingGroupInput) { in.TerminationPolicies = c.policies })
			newTemplate(t, s)
			must(t, s.SetDesiredCapacity, &SetDesiredCapacityInput{AutoScalingGroupName: "workers", DesiredCapacity: new(4)})
			s.after(time.Minute)
			all := s.members(g)
			slices.SortFunc(all[:3], func(a, b *Instance) int { return int(a.Zone[len(a.Zone)-1]) - int(b.Zone[len(b.Zone)-1]) })
			for _, n := range c.spare {
				must(t, s.SetInstanceProtection, &SetInstanceProtectionInput{AutoScalingGroupName: "workers", InstanceIds: []string{all[n].InstanceId}, ProtectedFromScaleIn: new(true)})
			}
			must(t, s.SetDesiredCapacity, &SetDesiredCapacityInput{AutoScalingGroupName: "workers", DesiredCapacity: new(3)})
			s.after(times.Evaluate)
			for n, i := range all {
				if got := i.Member.ending(); got != (n == c.want) {
					t.Errorf("member %d in %s ends: %v", n, i.Zone, got)
				}
			}
		})
	}
}

func TestAllProtected(t *testing.T) {
	t.Parallel()
	s := made(t)
	g := withGroup(t, s, 2, func(in *CreateAutoScalingGroupInput) { in.NewInstancesProtectedFromScaleIn = new(true) })
	must(t, s.SetDesiredCapacity, &SetDesiredCapacityInput{AutoScalingGroupName: "workers", DesiredCapacity: new(1)})
	s.after(5 * time.Minute)
	a := s.Activities[len(s.Activities)-1]
	if got := lifecycles(s, g)[InService]; got != 2 || a.StatusCode != failed {
		t.Errorf("%d are in service; the last activity is %+v", got, a)
	}
	// Protection is from scaling in only.
	must(t, s.TerminateInstanceInAutoScalingGroup, &TerminateInstanceInAutoScalingGroupInput{InstanceId: s.members(g)[0].InstanceId, ShouldDecrementDesiredCapacity: new(false)})
	s.after(5 * time.Minute)
	if got := lifecycles(s, g)[InService]; got != 1 {
		t.Errorf("%d are in service", got)
	}
}

func TestSuspendedProcesses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		suspended string
		// do is done to a group of 3.
		do   func(t *testing.T, s *State, g *Group)
		want map[string]int
	}{
		"Launch": {Launch, func(t *testing.T, s *State, _ *Group) {
			must(t, s.SetDesiredCapacity, &SetDesiredCapacityInput{AutoScalingGroupName: "workers", DesiredCapacity: new(5)})
		}, map[string]int{"InService Healthy": 3}},
		"Terminate": {Terminate, func(t *testing.T, s *State, _ *Group) {
			must(t, s.SetDesiredCapacity, &SetDesiredCapacityInput{AutoScalingGroupName: "workers", DesiredCapacity: new(1)})
		}, map[string]int{"InService Healthy": 3}},
		"HealthCheck": {HealthCheck, func(t *testing.T, s *State, g *Group) {
			must(t, s.TerminateInstances, &TerminateInstancesInput{InstanceIds: []string{s.members(g)[0].InstanceId}})
		}, map[string]int{"InService Healthy": 3}},
		"ReplaceUnhealthy": {ReplaceUnhealthy, func(t *testing.T, s *State, g *Group) {
			must(t, s.SetInstanceHealth, &SetInstanceHealthInput{InstanceId: s.members(g)[0].InstanceId, HealthStatus: unhealthy})
		}, map[string]int{"InService Healthy": 2, "InService Unhealthy": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := made(t)
			g := withGroup(t, s, 3)
			before := s.members(g)
			in := &ScalingProcessInput{AutoScalingGroupName: "workers", ScalingProcesses: []string{c.suspended}}
			must(t, s.SuspendProcesses, in)
			c.do(t, s, g)
			s.after(5 * time.Minute)
			got := map[string]int{}
			for _, i := range s.members(g) {
				got[i.Member.Lifecycle+" "+i.Member.Health]++
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			must(t, s.ResumeProcesses, in)
			s.after(5 * time.Minute)
			if diff := cmp.Diff(map[string]int{InService: g.Desired}, lifecycles(s, g)); diff != "" || cmp.Equal(ids(before), ids(s.members(g))) {
				t.Errorf("when it goes on nothing changes, or: %s", diff)
			}
		})
	}
}

func ids(instances []*Instance) []string {
	var all []string
	for _, i := range instances {
		all = append(all, i.InstanceId)
	}
	return all
}

func TestZoneRebalance(t *testing.T) {
	t.Parallel()
	for _, suspended := range []bool{false, true} {
		t.Run(fmt.Sprintf("suspended %v", suspended), func(t *testing.T) {
			t.Parallel()
			s := made(t)
			pool := Pool{Zone: "eu-central-1c", InstanceType: "m7i.large"}
			s.Room[pool] = 0
			g := withGroup(t, s, 6)
			uneven := map[string]int{"eu-central-1a": 3, "eu-central-1b": 3}
			if diff := cmp.Diff(uneven, inZones(s, g)); diff != "" {
				t.Fatal(diff)
			}
			if suspended {
				must(t, s.SuspendProcesses, &ScalingProcessInput{AutoScalingGroupName: "workers", ScalingProcesses: []string{AZRebalance}})
			}
			delete(s.Room, pool)
			for range 600 { // Never fewer in service than are desired.
				s.after(time.Second)
				if n := lifecycles(s, g)[InService]; n < 6 {
					t.Fatalf("%d are in service", n)
				}
			}
			want := map[string]int{"eu-central-1a": 2, "eu-central-1b": 2, "eu-central-1c": 2}
			if suspended {
				want = uneven
			}
			if diff := cmp.Diff(want, inZones(s, g)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLifecycleHooks(t *testing.T) {
	t.Parallel()
	const wait = 100
	complete := func(result string) func(*testing.T, *State, *Instance) {
		return func(t *testing.T, s *State, i *Instance) {
			must(t, s.CompleteLifecycleAction, &CompleteLifecycleActionInput{
				AutoScalingGroupName: "workers", LifecycleHookName: "hook", InstanceId: i.InstanceId, LifecycleActionResult: result,
			})
		}
	}
	timeOut := func(_ *testing.T, s *State, _ *Instance) { s.after(wait*time.Second - 20*time.Second) }
	for name, c := range map[string]struct {
		transition, fallback string
		do                   func(*testing.T, *State, *Instance)
		// then are the states that follow the wait.
		then []string
	}{
		"a launch goes on":                       {onLaunch, "ABANDON", complete("CONTINUE"), []string{PendingProceed, InService}},
		"a launch is abandoned":                  {onLaunch, "CONTINUE", complete("ABANDON"), []string{Terminating}},
		"a launch goes on after the timeout":     {onLaunch, "CONTINUE", timeOut, []string{PendingProceed, InService}},
		"a launch is abandoned at the timeout":   {onLaunch, "ABANDON", timeOut, []string{Terminating}},
		"an end goes on":                         {onTerminate, "ABANDON", complete("CONTINUE"), []string{TerminatingProceed, ""}},
		"an end cannot be abandoned":             {onTerminate, "CONTINUE", complete("ABANDON"), []string{TerminatingProceed, ""}},
		"an end goes on after the timeout":       {onTerminate, "ABANDON", timeOut, []string{TerminatingProceed, ""}},
		"a heartbeat begins the wait once again": {onTerminate, "ABANDON", heartbeatThenTimeOut, []string{TerminatingWait}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := made(t)
			g := withGroup(t, s, 0)
			must(t, s.PutLifecycleHook, &PutLifecycleHookInput{
				AutoScalingGroupName: "workers", LifecycleHookName: "hook", LifecycleTransition: c.transition, HeartbeatTimeout: new(wait), DefaultResult: c.fallback,
			})
			must(t, s.SetDesiredCapacity, &SetDesiredCapacityInput{AutoScalingGroupName: "workers", DesiredCapacity: new(1)})
			s.after(times.Evaluate)
			i := s.members(g)[0]
			s.after(times.Pending)
			waiting := PendingWait
			if c.transition == onTerminate {
				waiting = TerminatingWait
				must(t, s.TerminateInstanceInAutoScalingGroup, &TerminateInstanceInAutoScalingGroupInput{InstanceId: i.InstanceId, ShouldDecrementDesiredCapacity: new(true)})
				s.after(times.Step)
			}
			s.after(20 * time.Second)
			if i.Member.Lifecycle != waiting || !i.alive() {
				t.Fatalf("it is %s, and %s for EC2", i.Member.Lifecycle, i.State)
			}
			c.do(t, s, i)
			for n, want := range c.then {
				if n > 0 {
					s.after(times.Step + times.Shutdown)
				}
				got := ""
				if i.Member != nil {
					got = i.Member.Lifecycle
				}
				if got != want {
					t.Errorf("step %d: it is %q, want %q", n, got, want)
				}
			}
		})
	}
}

func heartbeatThenTimeOut(t *testing.T, s *State, i *Instance) {
	must(t, s.RecordLifecycleActionHeartbeat, &LifecycleActionInput{AutoScalingGroupName: "workers", LifecycleHookName: "hook", InstanceId: i.InstanceId})
	s.after(90 * time.Second)
}

func TestStandbyAndDetach(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		decrement bool
		do        func(*State, *InstancesInput) (*ActivitiesOutput, error)
		want      map[string]int
		desired   int
	}{
		"standby, with a substitute":    {false, (*State).EnterStandby, map[string]int{InService: 3, Standby: 1}, 3},
		"standby, without a substitute": {true, (*State).EnterStandby, map[string]int{InService: 2, Standby: 1}, 2},
		"detached, with a substitute":   {false, (*State).DetachInstances, map[string]int{InService: 3}, 3},
		"detached, without one":         {true, (*State).DetachInstances, map[string]int{InService: 2}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := made(t)
			g := withGroup(t, s, 3)
			i := s.members(g)[0]
			if _, err := c.do(s, &InstancesInput{AutoScalingGroupName: "workers", InstanceIds: []string{i.InstanceId}, ShouldDecrementDesiredCapacity: &c.decrement}); err != nil {
				t.Fatal(err)
			}
			s.after(5 * time.Minute)
			if diff := cmp.Diff(c.want, lifecycles(s, g)); diff != "" || g.Desired != c.desired || !i.alive() {
				t.Errorf("desired %d, it lives: %v, %s", g.Desired, i.alive(), diff)
			}
			// And back.
			if c.want[Standby] > 0 {
				must(t, s.ExitStandby, &ExitStandbyInput{"workers", []string{i.InstanceId}})
			} else {
				must(t, s.AttachInstances, &AttachInstancesInput{"workers", []string{i.InstanceId}})
			}
			s.after(5 * time.Minute)
			if diff := cmp.Diff(map[string]int{InService: c.desired + 1}, lifecycles(s, g)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMoveAtMostTwenty(t *testing.T) {
	t.Parallel()
	s := made(t)
	g := withGroup(t, s, 20, func(in *CreateAutoScalingGroupInput) { in.MaxSize = new(21); in.DesiredCapacity = new(21) })
	for _, do := range []func(*InstancesInput) (*ActivitiesOutput, error){s.DetachInstances, s.EnterStandby} {
		_, err := do(&InstancesInput{AutoScalingGroupName: "workers", InstanceIds: ids(s.members(g)), ShouldDecrementDesiredCapacity: new(false)})
		wantCode(t, err, "ValidationError")
	}
}

func TestUnhealthyIsReplaced(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(*testing.T, *State, *Instance){
		"it crashed": func(t *testing.T, s *State, i *Instance) {
			if err := s.Crash(i.InstanceId); err != nil {
				t.Fatal(err)
			}
		},
		"somebody said so": func(t *testing.T, s *State, i *Instance) {
			must(t, s.SetInstanceHealth, &SetInstanceHealthInput{InstanceId: i.InstanceId, HealthStatus: unhealthy})
		},
		"somebody ended it": func(t *testing.T, s *State, i *Instance) {
			must(t, s.TerminateInstances, &TerminateInstancesInput{InstanceIds: []string{i.InstanceId}})
		},
		"the load balancer finds it ill": func(_ *testing.T, s *State, i *Instance) { s.SetTargetHealth(i.InstanceId, true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := made(t)
			arn := must(t, s.CreateTargetGroup, &CreateTargetGroupInput{Name: "web", Port: new(80), Protocol: "HTTP"}).TargetGroups[0].TargetGroupArn
			g := withGroup(t, s, 3, func(in *CreateAutoScalingGroupInput) {
				in.TargetGroupARNs, in.HealthCheckType, in.HealthCheckGracePeriod = []string{arn}, "ELB", new(60)
			})
			i := s.members(g)[0]
			do(t, s, i)
			s.after(10 * time.Minute)
			if diff := cmp.Diff(map[string]int{InService: 3}, lifecycles(s, g)); diff != "" || i.alive() {
				t.Errorf("it lives: %v, %s", i.alive(), diff)
			}
		})
	}
}

func TestGracePeriodIsRespected(t *testing.T) {
	t.Parallel()
	s := made(t)
	g := withGroup(t, s, 1, func(in *CreateAutoScalingGroupInput) { in.HealthCheckGracePeriod = new(600) })
	i := s.members(g)[0]
	must(t, s.SetInstanceHealth, &SetInstanceHealthInput{InstanceId: i.InstanceId, HealthStatus: unhealthy})
	if i.Member.Health != healthy {
		t.Error("it is unhealthy within its grace period")
	}
	must(t, s.SetInstanceHealth, &SetInstanceHealthInput{InstanceId: i.InstanceId, HealthStatus: unhealthy, ShouldRespectGracePeriod: new(false)})
	if i.Member.Health != unhealthy {
		t.Error("it is healthy")
	}
}

func TestMixedInstances(t *testing.T) {
	t.Parallel()
	s := made(t)
	must(t, s.CreateLaunchTemplate, &CreateLaunchTemplateInput{LaunchTemplateName: "arm", LaunchTemplateData: TemplateData{ImageId: "ami-2", InstanceType: "m7g.large"}})
	s.Room[Pool{Zone: "eu-central-1a", InstanceType: "m7i.large", Spot: true}] = 1
	g := withGroup(t, s, 7, func(in *CreateAutoScalingGroupInput) {
		in.AvailabilityZones, in.LaunchTemplate = []string{"eu-central-1a"}, nil
		in.MixedInstancesPolicy = &MixedInstancesPolicy{
			InstancesDistribution: &InstancesDistribution{OnDemandBaseCapacity: new(1), OnDemandPercentageAboveBaseCapacity: new(50)},
			LaunchTemplate: &MixedTemplate{
				LaunchTemplateSpecification: &LaunchTemplateSpecification{LaunchTemplateName: "nodes"},
				Overrides:                   []Override{{InstanceType: "m7i.large"}, {InstanceType: "m7g.xlarge", LaunchTemplateSpecification: &LaunchTemplateSpecification{LaunchTemplateName: "arm", Version: "$Latest"}}},
			},
		}
	})
	got := map[string]int{}
	for _, i := range s.members(g) {
		got[fmt.Sprintf("%s %s %s spot %v", i.InstanceType, i.ImageId, i.Member.Template.LaunchTemplateName, i.Spot)]++
	}
	want := map[string]int{"m7i.large ami-1 nodes spot false": 4, "m7i.large ami-1 nodes spot true": 1, "m7g.xlarge ami-2 arm spot true": 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// It gets smaller by the same shares: one and half of what is above it, rounded up.
	for n, want := range map[int]int{5: 3, 3: 2, 1: 1} {
		s := s.clone()
		g := s.Groups["workers"]
		must(t, s.SetDesiredCapacity, &SetDesiredCapacityInput{AutoScalingGroupName: "workers", DesiredCapacity: &n})
		s.after(2 * time.Minute)
		onDemand := 0
		for _, i := range s.counted(g) {
			onDemand += bit(!i.Spot)
		}
		if onDemand != want {
			t.Errorf("of %d are %d On-Demand, want %d", n, onDemand, want)
		}
	}
}

// TestTemplateVersions: $Latest and $Default mean what they are at the launch.
func TestTemplateVersions(t *testing.T) {
	t.Parallel()
	for version, want := range map[string][]string{"$Latest": {"1", "2", "2"}, "$Default": {"1", "1", "2"}, "1": {"1", "1", "1"}, "": {"1", "1", "2"}} {
		t.Run("version "+version, func(t *testing.T) {
			t.Parallel()
			s := made(t)
			g := withGroup(t, s, 1, func(in *CreateAutoScalingGroupInput) { in.LaunchTemplate.Version = version })
			grow := func(to int) {
				must(t, s.SetDesiredCapacity, &SetDesiredCapacityInput{AutoScalingGroupName: "workers", DesiredCapacity: &to})
				s.after(time.Minute)
			}
			must(t, s.CreateLaunchTemplateVersion, &CreateLaunchTemplateVersionInput{LaunchTemplateName: "nodes", SourceVersion: "1", LaunchTemplateData: TemplateData{ImageId: "ami-2"}})
			grow(2)
			must(t, s.ModifyLaunchTemplate, &ModifyLaunchTemplateInput{LaunchTemplateName: "nodes", DefaultVersion: "2"})
			grow(3)
			var got []string
			for _, i := range s.members(g) {
				got = append(got, i.Member.Template.Version)
				if image := map[string]string{"1": "ami-1", "2": "ami-2"}[i.Member.Template.Version]; i.ImageId != image {
					t.Errorf("version %s has the image %s", i.Member.Template.Version, i.ImageId)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestImageByParameter(t *testing.T) {
	t.Parallel()
	s := made(t)
	must(t, s.PutParameter, &PutParameterInput{Name: "/ami", Value: "ami-1", Type: "String"})
	must(t, s.CreateLaunchTemplateVersion, &CreateLaunchTemplateVersionInput{LaunchTemplateName: "nodes", SourceVersion: "1", LaunchTemplateData: TemplateData{ImageId: "resolve:ssm:/ami"}})
	g := withGroup(t, s, 1)
	must(t, s.PutParameter, &PutParameterInput{Name: "/ami", Value: "ami-2", Overwrite: true})
	must(t, s.SetDesiredCapacity, &SetDesiredCapacityInput{AutoScalingGroupName: "workers", DesiredCapacity: new(2)})
	s.after(time.Minute)
	all := s.members(g)
	if len(all) != 2 || all[0].ImageId != "ami-1" || all[1].ImageId != "ami-2" {
		t.Errorf("%d members: %+v", len(all), all)
	}
}

func TestNoCapacity(t *testing.T) {
	t.Parallel()
	s := made(t)
	for _, z := range s.zones() {
		s.Room[Pool{Zone: z, InstanceType: "m7i.large"}] = 0
	}
	g := withGroup(t, s, 2)
	if n := len(s.members(g)); n != 0 {
		t.Fatalf("there are %d members", n)
	}
	a := s.Activities[0]
	if a.StatusCode != failed || a.EndTime == nil || !slices.ContainsFunc(s.Activities, func(a *Activity) bool { return a.AutoScalingGroupName == "workers" }) {
		t.Errorf("the activity is %+v", a)
	}
	out := must(t, s.LaunchInstances, &LaunchInstancesInput{AutoScalingGroupName: "workers", ClientToken: "x", RequestedCapacity: new(2), AvailabilityZones: []string{"eu-central-1b"}})
	if len(out.Errors) != 1 || out.Errors[0].ErrorCode != "InsufficientInstanceCapacity" || g.Desired != 2 {
		t.Errorf("desired %d, %+v", g.Desired, out)
	}
	maps.DeleteFunc(s.Room, func(p Pool, _ int) bool { return p.Zone == "eu-central-1b" })
	s.after(2 * time.Minute)
	if diff := cmp.Diff(map[string]int{"eu-central-1b": 2}, inZones(s, g)); diff != "" {
		t.Error(diff)
	}
	out = must(t, s.LaunchInstances, &LaunchInstancesInput{AutoScalingGroupName: "workers", ClientToken: "y", RequestedCapacity: new(2), AvailabilityZones: []string{"eu-central-1b"}})
	s.after(2 * time.Minute)
	if len(out.Instances) != 1 || len(out.Instances[0].InstanceIds) != 2 || g.Desired != 4 || lifecycles(s, g)[InService] != 4 {
		t.Errorf("desired %d, in service %v, %+v", g.Desired, lifecycles(s, g), out)
	}
}

func TestSpotInterruption(t *testing.T) {
	t.Parallel()
	s := made(t)
	r := must(t, s.RunInstances, &RunInstancesInput{
		LaunchTemplate: &LaunchTemplateSpecification{LaunchTemplateName: "nodes"}, MinCount: 1, MaxCount: 1, InstanceMarketOptions: &MarketOptions{MarketType: "spot"},
	})
	id := r.Instances[0].InstanceId
	s.after(2 * time.Minute)
	at := s.Now
	if err := s.Interrupt(id, 5*time.Minute); err != nil {
		t.Fatal(err)
	}
	s.after(7*time.Minute - time.Second)
	want := []Notice{{InstanceId: id, Kind: RebalanceRecommendation, At: at}, {id, Interruption, at.Add(5 * time.Minute), at.Add(7 * time.Minute)}}
	if diff := cmp.Diff(want, s.Notices); diff != "" || s.Instances[id].State != Running {
		t.Errorf("it is %s: %s", s.Instances[id].State, diff)
	}
	if s.after(time.Second); s.Instances[id].State != ShuttingDown {
		t.Errorf("it is %s", s.Instances[id].State)
	}
}

func TestTargetsDrain(t *testing.T) {
	t.Parallel()
	s := made(t)
	arn := must(t, s.CreateTargetGroup, &CreateTargetGroupInput{Name: "web", Port: new(80), Protocol: "HTTP"}).TargetGroups[0].TargetGroupArn
	must(t, s.ModifyTargetGroupAttributes, &ModifyTargetGroupAttributesInput{TargetGroupArn: arn, Attributes: []Attribute{{delayAttribute, "120"}}})
	g := withGroup(t, s, 1, func(in *CreateAutoScalingGroupInput) { in.TargetGroupARNs = []string{arn} })
	i := s.members(g)[0]
	state := func() string {
		out := must(t, s.DescribeTargetHealth, &TargetsInput{arn, []TargetDescription{{Id: i.InstanceId}}})
		return out.TargetHealthDescriptions[0].TargetHealth.State
	}
	if got := state(); got != "healthy" {
		t.Errorf("it is %s", got)
	}
	must(t, s.TerminateInstanceInAutoScalingGroup, &TerminateInstanceInAutoScalingGroupInput{InstanceId: i.InstanceId, ShouldDecrementDesiredCapacity: new(true)})
	if s.after(119 * time.Second); state() != "draining" || i.State != Running {
		t.Errorf("the target is %s, the instance %s", state(), i.State)
	}
	if s.after(time.Second); state() != "unused" || i.State != ShuttingDown {
		t.Errorf("the target is %s, the instance %s", state(), i.State)
	}
}

func TestReadsLag(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(start)
	w := New(Config{Region: "eu-central-1", Account: "1", Zones: []string{"a"}, Times: times}, clock)
	w.Lag(5 * time.Second)
	put := func(value string) {
		if err := w.Write(func(s *State) error {
			_, err := s.PutParameter(&PutParameterInput{Name: "/x", Value: value, Type: "String", Overwrite: true})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	get := func() (value string) {
		if err := w.Read(func(s *State) error {
			if p, ok := s.Parameters["/x"]; ok {
				value = p.Value
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return value
	}
	clock.Step(time.Minute)
	put("1")
	clock.Step(2 * time.Second)
	put("2")
	var got []string
	for range 8 {
		got = append(got, get())
		clock.Step(time.Second)
	}
	if diff := cmp.Diff([]string{"", "", "", "1", "1", "2", "2", "2"}, got); diff != "" {
		t.Error(diff)
	}
	w.Lag(0)
	if put("3"); get() != "3" {
		t.Errorf("it is %q", get())
	}
}

func TestDeleteGroup(t *testing.T) {
	t.Parallel()
	s := made(t)
	withGroup(t, s, 3)
	_, err := s.DeleteAutoScalingGroup(&DeleteAutoScalingGroupInput{AutoScalingGroupName: "workers"})
	wantCode(t, err, "ResourceInUse")
	must(t, s.DeleteAutoScalingGroup, &DeleteAutoScalingGroupInput{AutoScalingGroupName: "workers", ForceDelete: true})
	s.after(10 * time.Minute)
	alive := slices.DeleteFunc(slices.Collect(maps.Values(s.Instances)), func(i *Instance) bool { return !i.alive() })
	if len(s.Groups) != 0 || len(alive) != 0 || len(s.Volumes) != 0 {
		t.Errorf("%d groups, %d instances and %d volumes are left", len(s.Groups), len(alive), len(s.Volumes))
	}
}
