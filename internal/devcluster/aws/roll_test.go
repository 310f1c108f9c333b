package aws_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
)

// template makes a launch template with one version.
func (f *fake) template(t *testing.T, name, image string) (id string) {
	t.Helper()
	made := must[*ec2.CreateLaunchTemplateOutput](t)(f.ec2.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: &name, LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: &image, InstanceType: ec2types.InstanceTypeM7iLarge},
	}))
	return *made.LaunchTemplate.LaunchTemplateId
}

func (f *fake) group(t *testing.T, name string) astypes.AutoScalingGroup {
	t.Helper()
	out := must[*autoscaling.DescribeAutoScalingGroupsOutput](t)(f.asg.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{name}}))
	if len(out.AutoScalingGroups) != 1 {
		t.Fatalf("there are %d groups %s", len(out.AutoScalingGroups), name)
	}
	return out.AutoScalingGroups[0]
}

// alive are all instances that have not ended, by ID.
func (f *fake) alive(t *testing.T) map[string]ec2types.Instance {
	t.Helper()
	all := map[string]ec2types.Instance{}
	pages := ec2.NewDescribeInstancesPaginator(f.ec2, &ec2.DescribeInstancesInput{
		MaxResults: new(int32(5)), Filters: []ec2types.Filter{{Name: new("instance-state-name"), Values: []string{"pending", "running"}}},
	})
	for pages.HasMorePages() {
		page := must[*ec2.DescribeInstancesOutput](t)(pages.NextPage(t.Context()))
		for _, r := range page.Reservations {
			for _, i := range r.Instances {
				all[*i.InstanceId] = i
			}
		}
	}
	return all
}

// byVersion counts a group's instances by the version of their template.
func byVersion(g astypes.AutoScalingGroup) map[string]int {
	all := map[string]int{}
	for _, i := range g.Instances {
		all[*i.LaunchTemplate.Version+" "+string(i.LifecycleState)]++
	}
	return all
}

// TestRollByHand replaces the instances of a group by those of a new version of its
// template, as rotation does it: a surge, one call per old instance, the last of which
// take the surge back.
func TestRollByHand(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), t.Context()
	f.images(t, "ami-1", "ami-2")
	id := f.template(t, "nodes", "ami-1")
	must[*autoscaling.CreateAutoScalingGroupOutput](t)(f.asg.CreateAutoScalingGroup(ctx, &autoscaling.CreateAutoScalingGroupInput{
		AutoScalingGroupName: new("workers"), MinSize: new(int32(6)), MaxSize: new(int32(6)),
		AvailabilityZones: []string{"eu-central-1a", "eu-central-1b", "eu-central-1c"},
		LaunchTemplate:    &astypes.LaunchTemplateSpecification{LaunchTemplateId: &id, Version: new("$Latest")},
	}))
	f.clock.Step(time.Minute)
	old := f.group(t, "workers").Instances
	if diff := cmp.Diff(map[string]int{"1 InService": 6}, byVersion(f.group(t, "workers"))); diff != "" {
		t.Fatal(diff)
	}

	must[*ec2.CreateLaunchTemplateVersionOutput](t)(f.ec2.CreateLaunchTemplateVersion(ctx, &ec2.CreateLaunchTemplateVersionInput{
		LaunchTemplateId: &id, SourceVersion: new("$Latest"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: new("ami-2")},
	}))
	const surge = 2
	must[*autoscaling.SuspendProcessesOutput](t)(f.asg.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: new("workers"), ScalingProcesses: []string{"AZRebalance"}}))
	must[*autoscaling.UpdateAutoScalingGroupOutput](t)(f.asg.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: new("workers"), MaxSize: new(int32(6 + surge)), DesiredCapacity: new(int32(6 + surge))}))
	f.clock.Step(time.Minute)
	for n, i := range old {
		remaining := len(old) - n
		must[*autoscaling.TerminateInstanceInAutoScalingGroupOutput](t)(f.asg.TerminateInstanceInAutoScalingGroup(ctx, &autoscaling.TerminateInstanceInAutoScalingGroupInput{
			InstanceId: i.InstanceId, ShouldDecrementDesiredCapacity: new(remaining <= surge),
		}))
		f.clock.Step(time.Minute)
		if in := byVersion(f.group(t, "workers")); in["1 InService"]+in["2 InService"] < 6 {
			t.Errorf("after %d instances only these serve: %v", n+1, in)
		}
	}
	must[*autoscaling.UpdateAutoScalingGroupOutput](t)(f.asg.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: new("workers"), MaxSize: new(int32(6))}))
	must[*autoscaling.ResumeProcessesOutput](t)(f.asg.ResumeProcesses(ctx, &autoscaling.ResumeProcessesInput{AutoScalingGroupName: new("workers"), ScalingProcesses: []string{"AZRebalance"}}))
	f.clock.Step(10 * time.Minute)

	g := f.group(t, "workers")
	if diff := cmp.Diff(map[string]int{"2 InService": 6}, byVersion(g)); diff != "" {
		t.Error(diff)
	}
	if *g.DesiredCapacity != 6 || *g.MaxSize != 6 || len(g.SuspendedProcesses) != 0 {
		t.Errorf("desired %d, max %d, suspended %v", *g.DesiredCapacity, *g.MaxSize, g.SuspendedProcesses)
	}
	f.noOrphans(t, g)
}

// noOrphans finds instances and volumes that nobody has.
func (f *fake) noOrphans(t *testing.T, groups ...astypes.AutoScalingGroup) {
	t.Helper()
	owned := map[string]bool{}
	for _, g := range groups {
		for _, i := range g.Instances {
			owned[*i.InstanceId] = true
		}
	}
	alive := f.alive(t)
	for id := range alive {
		if !owned[id] {
			t.Errorf("instance %s lives and is in no group", id)
		}
	}
	if len(alive) != len(owned) {
		t.Errorf("%d instances live, and groups have %d", len(alive), len(owned))
	}
	volumes := must[*ec2.DescribeVolumesOutput](t)(f.ec2.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{}))
	for _, v := range volumes.Volumes {
		if len(v.Attachments) != 1 || !owned[*v.Attachments[0].InstanceId] {
			t.Errorf("volume %s is left behind", *v.VolumeId)
		}
	}
}
