package aws_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/google/go-cmp/cmp"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	devaws "windlass.dev/internal/devcluster/aws"
	"windlass.dev/internal/devcluster/aws/world"
)

func (f *fake) describe(t *testing.T, ref v1alpha1.Provider) cloud.Group {
	t.Helper()
	p := f.cloud.AutoScaling()
	if ref.EKS != nil {
		p = f.cloud.EKS()
	}
	g, err := p.Describe(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestCost: what a look at a group of 210 costs, and at one that is not whole.
func TestCost(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	template := f.template(t, "nodes", "ami-1")
	f.makeGroup(t, "apps", &autoscaling.CreateAutoScalingGroupInput{LaunchTemplate: spec(template, "$Latest")})
	must[*autoscaling.UpdateAutoScalingGroupOutput](t)(f.asg.UpdateAutoScalingGroup(t.Context(), &autoscaling.UpdateAutoScalingGroupInput{
		AutoScalingGroupName: new("apps"), MaxSize: new(int32(211)), DesiredCapacity: new(int32(210)),
	}))
	f.settle(t)
	want := map[string]int{"autoscaling:DescribeAutoScalingGroups": 1, "ec2:DescribeLaunchTemplateVersions": 1, "ec2:DescribeInstances": 2}
	if n := len(f.describe(t, autoScaling("apps")).Machines); n != 210 {
		t.Errorf("there are %d machines", n)
	}
	if diff := cmp.Diff(want, f.counted()); diff != "" {
		t.Error(diff)
	}
	all := f.describe(t, autoScaling("apps")).Machines
	var ids []string
	for _, m := range all {
		ids = append(ids, m.ID)
	}
	f.counted()
	if err := f.cloud.AutoScaling().Protect(t.Context(), autoScaling("apps"), ids); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"autoscaling:DescribeAutoScalingGroups": 1, "ec2:CreateTags": 1, "autoscaling:SetInstanceProtection": 5}, f.counted()); diff != "" {
		t.Error(diff)
	}
	f.setSize(t, "apps", 211)
	f.describe(t, autoScaling("apps"))
	want["autoscaling:DescribeScalingActivities"] = 1
	if diff := cmp.Diff(want, f.counted()); diff != "" {
		t.Error(diff)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.small(t)
	room := func(n int) {
		f.write(t, func(s *world.State) error {
			for _, zone := range []string{"a", "b", "c"} {
				s.Room[world.Pool{Zone: region + zone, InstanceType: "m7i.large"}] = n
			}
			return nil
		})
	}
	room(0)
	if err := f.cloud.AutoScaling().Resize(t.Context(), autoScaling("apps"), 4); err != nil {
		t.Fatal(err)
	}
	f.settle(t)
	var got []string
	for _, p := range f.describe(t, autoScaling("apps")).Problems {
		got = append(got, p.Reason+" "+p.Zone)
		if f.clock.Now().Sub(p.At) > time.Minute || p.Message == "" {
			t.Errorf("the problem is %+v", p)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"InsufficientCapacity eu-central-1a", "InsufficientCapacity eu-central-1b", "InsufficientCapacity eu-central-1c"}, got); diff != "" {
		t.Error(diff)
	}
	// Once a launch succeeds they are over, also while the machine boots.
	room(1)
	f.clock.Step(35 * time.Second)
	if g := f.describe(t, autoScaling("apps")); len(g.Machines) != 4 || len(g.Problems) != 0 {
		t.Errorf("there are %d machines, and %+v", len(g.Machines), g.Problems)
	}
	room(0)
	f.settle(t)
	if g := f.describe(t, autoScaling("apps")); len(g.Problems) != 0 {
		t.Errorf("of a group that has its size: %+v", g.Problems)
	}
}

// TestStandby: what somebody has put aside is no part of the size, and left alone.
func TestStandby(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.small(t)
	aside := f.describe(t, autoScaling("apps")).Machines[0].ID
	must[*autoscaling.EnterStandbyOutput](t)(f.asg.EnterStandby(t.Context(), &autoscaling.EnterStandbyInput{
		AutoScalingGroupName: new("apps"), InstanceIds: []string{aside}, ShouldDecrementDesiredCapacity: new(true),
	}))
	f.settle(t)
	g := f.describe(t, autoScaling("apps"))
	if len(g.Machines) != 2 || g.Size != 2 || len(g.Problems) != 1 || !strings.Contains(g.Problems[0].Message, aside) {
		t.Errorf("the group is %+v", g)
	}
	if err := f.cloud.AutoScaling().End(t.Context(), autoScaling("apps"), aside, 2); !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("the error is %v", err)
	}
}

// TestForeignProtection: what the group's owner protects stays protected.
func TestForeignProtection(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.small(t)
	p, ref := f.cloud.AutoScaling(), autoScaling("apps")
	all := f.describe(t, ref).Machines
	must[*autoscaling.SetInstanceProtectionOutput](t)(f.asg.SetInstanceProtection(t.Context(), &autoscaling.SetInstanceProtectionInput{
		AutoScalingGroupName: new("apps"), InstanceIds: []string{all[0].ID}, ProtectedFromScaleIn: new(true),
	}))
	if err := errors.Join(p.Prepare(t.Context(), ref, guarded, cloud.Target{}), p.Protect(t.Context(), ref, []string{all[0].ID, all[1].ID}),
		p.Restore(t.Context(), ref, guarded, cloud.Settings{Size: 3, Max: 3}, cloud.Target{})); err != nil {
		t.Fatal(err)
	}
	var protected []string
	for _, m := range f.describe(t, ref).Machines {
		if m.Protected {
			protected = append(protected, m.ID)
		}
	}
	if diff := cmp.Diff([]string{all[0].ID}, protected); diff != "" {
		t.Error(diff)
	}
	f.write(t, func(s *world.State) error {
		for id, i := range s.Instances {
			if slices.ContainsFunc(i.Tags, func(t world.Tag) bool { return strings.HasPrefix(t.Key, "windlass.dev/") }) {
				return fmt.Errorf("instance %s has the tags %v", id, i.Tags)
			}
		}
		return nil
	})
}

// TestEvenedZones: they are those among which instances are ended, unless somebody who is not
// the run has suspended that.
func TestEvenedZones(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.small(t)
	p, ref := f.cloud.AutoScaling(), autoScaling("apps")
	zones := slices.Sorted(slices.Values(f.group(t, "apps").AvailabilityZones))
	if diff := cmp.Diff(zones, f.describe(t, ref).Zones); diff != "" || len(zones) == 0 {
		t.Error(diff)
	}
	if err := p.Prepare(t.Context(), ref, cloud.Guard{Run: "apps-1", Suspend: []string{"AZRebalance"}}, cloud.Target{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(zones, f.describe(t, ref).Zones); diff != "" {
		t.Errorf("suspended by the run: %s", diff)
	}
	if err := p.Restore(t.Context(), ref, cloud.Guard{Run: "apps-1"}, cloud.Settings{Size: 3, Max: 3}, cloud.Target{}); err != nil {
		t.Fatal(err)
	}
	if got := f.describe(t, ref); got.Zones != nil || !slices.Contains(got.Suspended, "AZRebalance") {
		t.Errorf("suspended by somebody else: %v of %v", got.Zones, got.Suspended)
	}
}

// TestForeignSuspension: what was suspended before stays so.
func TestForeignSuspension(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.small(t)
	p, ref := f.cloud.AutoScaling(), autoScaling("apps")
	must[*autoscaling.SuspendProcessesOutput](t)(f.asg.SuspendProcesses(t.Context(), &autoscaling.SuspendProcessesInput{AutoScalingGroupName: new("apps"), ScalingProcesses: []string{"AZRebalance", "ScheduledActions"}}))
	guard := cloud.Guard{Run: "apps-1", Suspend: []string{"InstanceRefresh"}}
	if err := p.Prepare(t.Context(), ref, guard, cloud.Target{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"AZRebalance", "InstanceRefresh", "ScheduledActions"}, f.describe(t, ref).Suspended); diff != "" {
		t.Error(diff)
	}
	if err := p.Restore(t.Context(), ref, guard, cloud.Settings{Size: 3, Max: 3}, cloud.Target{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"AZRebalance", "ScheduledActions"}, f.describe(t, ref).Suspended); diff != "" {
		t.Error(diff)
	}
}

// TestMarkIsNotCopied: tags that tell of a run are the group's, and not its instances'.
func TestMarkIsNotCopied(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.small(t)
	guard := cloud.Guard{Run: "apps-1", Suspend: []string{"AZRebalance", "InstanceRefresh"}, Settings: cloud.Settings{Size: 3, Max: 7}}
	if err := f.cloud.AutoScaling().Prepare(t.Context(), autoScaling("apps"), guard, cloud.Target{}); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, tag := range f.group(t, "apps").Tags {
		got[*tag.Key] = *tag.Value
		if *tag.PropagateAtLaunch {
			t.Errorf("%s is given to instances", *tag.Key)
		}
	}
	want := map[string]string{"windlass.dev/run": "apps-1", "windlass.dev/size": "3", "windlass.dev/max": "7", "windlass.dev/suspended": "AZRebalance InstanceRefresh"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestEndedMeanwhile: the machine ends between the look at the group and the call.
func TestEndedMeanwhile(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.small(t)
	id := f.describe(t, autoScaling("apps")).Machines[0].ID
	var once atomic.Bool
	f.server.Faults(func(c devaws.Call) *devaws.Failure {
		if c.Action == "TerminateInstanceInAutoScalingGroup" && !c.Done && !once.Swap(true) {
			f.write(t, func(s *world.State) error {
				_, err := s.TerminateInstanceInAutoScalingGroup(&world.TerminateInstanceInAutoScalingGroupInput{InstanceId: id, ShouldDecrementDesiredCapacity: new(false)})
				return err
			})
		}
		return nil
	})
	if err := f.cloud.AutoScaling().End(t.Context(), autoScaling("apps"), id, 3); err != nil || !once.Load() {
		t.Errorf("the error is %v", err)
	}
	f.server.Faults(nil)
	f.settle(t)
	// What cannot be done is still said: the group may not have fewer than 1.
	f.setSize(t, "apps", 1)
	f.settle(t)
	last := f.describe(t, autoScaling("apps")).Machines[0].ID
	if err := f.cloud.AutoScaling().End(t.Context(), autoScaling("apps"), last, 0); !errors.Is(err, cloud.ErrInvalid) {
		t.Errorf("the error is %v", err)
	}
}

// TestInterrupted: a machine that its group is going to end.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.small(t)
	id := f.describe(t, autoScaling("apps")).Machines[1].ID
	must[*autoscaling.SetInstanceHealthOutput](t)(f.asg.SetInstanceHealth(t.Context(), &autoscaling.SetInstanceHealthInput{InstanceId: &id, HealthStatus: new("Unhealthy")}))
	for _, m := range f.describe(t, autoScaling("apps")).Machines {
		if m.Interrupted != (m.ID == id) {
			t.Errorf("%s is interrupted: %v", m.ID, m.Interrupted)
		}
	}
}

// TestEKSIsBusy: while EKS replaces the nodes itself, nobody else does.
func TestEKSIsBusy(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.makeNodegroup(t, "apps")
	f.settle(t)
	p, ref := f.cloud.EKS(), managed("apps")
	before := f.describe(t, ref)
	f.write(t, func(s *world.State) error {
		_, err := s.Publish("AL2023_x86_64_STANDARD", "1.34", "1.34.1-2")
		return err
	})
	must[*eks.UpdateNodegroupVersionOutput](t)(f.eks.UpdateNodegroupVersion(t.Context(), &eks.UpdateNodegroupVersionInput{ClusterName: new("dev"), NodegroupName: new("apps")}))
	g := f.describe(t, ref)
	if len(g.Problems) != 1 || !strings.Contains(g.Problems[0].Message, "UPDATING") {
		t.Errorf("the problems are %+v", g.Problems)
	}
	for name, err := range map[string]error{
		"prepare": p.Prepare(t.Context(), ref, guarded, cloud.Target{}),
		"end":     p.End(t.Context(), ref, before.Machines[0].ID, g.Size),
		"resize":  p.Resize(t.Context(), ref, g.Max+1),
		"restore": p.Restore(t.Context(), ref, guarded, cloud.Settings{Size: 3, Max: 3}, cloud.Target{}),
	} {
		if !errors.Is(err, cloud.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEKSKnowsTheLimit: a higher limit is EKS's too, and goes back.
func TestEKSKnowsTheLimit(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.makeNodegroup(t, "apps")
	f.settle(t)
	limit := func() int32 {
		out := must[*eks.DescribeNodegroupOutput](t)(f.eks.DescribeNodegroup(t.Context(), &eks.DescribeNodegroupInput{ClusterName: new("dev"), NodegroupName: new("apps")}))
		return *out.Nodegroup.ScalingConfig.MaxSize
	}
	p, ref := f.cloud.EKS(), managed("apps")
	if err := p.Resize(t.Context(), ref, 5); err != nil || limit() != 5 {
		t.Errorf("%v, the limit is %d", err, limit())
	}
	if err := p.Restore(t.Context(), ref, guarded, cloud.Settings{Size: 3, Max: 3}, cloud.Target{}); err != nil || limit() != 3 {
		t.Errorf("%v, the limit is %d", err, limit())
	}
}

// TestEKSLostItsGroup: somebody deleted it.
func TestEKSLostItsGroup(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.makeNodegroup(t, "apps")
	f.settle(t)
	must[*autoscaling.DeleteAutoScalingGroupOutput](t)(f.asg.DeleteAutoScalingGroup(t.Context(), &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: new(f.groupOf(t, "apps")), ForceDelete: new(true)}))
	f.settle(t)
	if _, err := f.cloud.EKS().Describe(t.Context(), managed("apps")); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("the error is %v", err)
	}
}

// TestTargetGroupIsGone keeps nobody waiting.
func TestTargetGroupIsGone(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	target := f.targetGroup(t, "apps")
	f.makeGroup(t, "apps", &autoscaling.CreateAutoScalingGroupInput{LaunchTemplate: &astypes.LaunchTemplateSpecification{LaunchTemplateId: new(f.template(t, "nodes", "ami-1"))}, TargetGroupARNs: []string{target}})
	f.settle(t)
	f.write(t, func(s *world.State) error {
		_, err := s.DeleteTargetGroup(&world.DeleteTargetGroupInput{TargetGroupArn: target})
		return err
	})
	done, err := f.cloud.AutoScaling().Deregister(t.Context(), autoScaling("apps"), f.describe(t, autoScaling("apps")).Machines[0].ID)
	if !done || err != nil {
		t.Errorf("it is done: %v, %v", done, err)
	}
}
