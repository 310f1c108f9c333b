package aws_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"

	"windlass.dev/internal/devcluster/aws/world"
)

// workers makes a group of n with a template nodes.
func (f *fake) workers(t *testing.T, n int32) (template string) {
	t.Helper()
	f.images(t, "ami-1")
	id := f.template(t, "nodes", "ami-1")
	must[*autoscaling.CreateAutoScalingGroupOutput](t)(f.asg.CreateAutoScalingGroup(t.Context(), &autoscaling.CreateAutoScalingGroupInput{
		AutoScalingGroupName: new("workers"), MinSize: new(int32(0)), MaxSize: new(int32(20)), DesiredCapacity: &n,
		AvailabilityZones: []string{"eu-central-1a"}, LaunchTemplate: &astypes.LaunchTemplateSpecification{LaunchTemplateId: &id, Version: new("$Default")},
		Tags: []astypes.Tag{{Key: new("team"), Value: new("x"), PropagateAtLaunch: new(true)}},
	}))
	f.clock.Step(2 * time.Minute)
	return id
}

func TestInstanceRoundTrip(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), t.Context()
	template := f.workers(t, 1)
	member := f.group(t, "workers").Instances[0]
	launched := start.Add(2 * time.Second)
	wantMember := astypes.Instance{
		InstanceId: member.InstanceId, InstanceType: new("m7i.large"), ImageId: new("ami-1"), AvailabilityZone: new("eu-central-1a"), AvailabilityZoneId: new("eu-central-1-az1"),
		LifecycleState: astypes.LifecycleStateInService, HealthStatus: new("Healthy"), ProtectedFromScaleIn: new(false),
		LaunchTemplate: &astypes.LaunchTemplateSpecification{LaunchTemplateId: &template, LaunchTemplateName: new("nodes"), Version: new("1")},
	}
	if diff := cmp.Diff(wantMember, member, sdk); diff != "" {
		t.Error(diff)
	}
	out := must[*ec2.DescribeInstancesOutput](t)(f.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{*member.InstanceId}}))
	got := out.Reservations[0].Instances[0]
	want := ec2types.Instance{
		InstanceId: member.InstanceId, ImageId: new("ami-1"), InstanceType: ec2types.InstanceTypeM7iLarge, LaunchTime: &launched,
		State:          &ec2types.InstanceState{Code: new(int32(16)), Name: ec2types.InstanceStateNameRunning},
		PrivateDnsName: got.PrivateDnsName, PrivateIpAddress: got.PrivateIpAddress, SubnetId: new("subnet-eu-central-1a"), VpcId: new("vpc-0windlass"),
		Placement:  &ec2types.Placement{AvailabilityZone: new("eu-central-1a"), AvailabilityZoneId: new("eu-central-1-az1"), Tenancy: ec2types.TenancyDefault},
		Monitoring: &ec2types.Monitoring{State: ec2types.MonitoringStateDisabled}, Architecture: ec2types.ArchitectureValuesX8664, EbsOptimized: new(false),
		RootDeviceName: new("/dev/xvda"), RootDeviceType: ec2types.DeviceTypeEbs, VirtualizationType: ec2types.VirtualizationTypeHvm,
		BlockDeviceMappings: []ec2types.InstanceBlockDeviceMapping{{DeviceName: new("/dev/xvda"), Ebs: &ec2types.EbsInstanceBlockDevice{
			VolumeId: got.BlockDeviceMappings[0].Ebs.VolumeId, Status: ec2types.AttachmentStatusAttached, AttachTime: &launched, DeleteOnTermination: new(true),
		}}},
		Tags: []ec2types.Tag{
			{Key: new("aws:autoscaling:groupName"), Value: new("workers")}, {Key: new("aws:ec2launchtemplate:id"), Value: &template},
			{Key: new("aws:ec2launchtemplate:version"), Value: new("1")}, {Key: new("team"), Value: new("x")},
		},
	}
	if diff := cmp.Diff(want, got, sdk); diff != "" {
		t.Error(diff)
	}
	details := must[*autoscaling.DescribeAutoScalingInstancesOutput](t)(f.asg.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{*member.InstanceId}}))
	if d := details.AutoScalingInstances[0]; *d.AutoScalingGroupName != "workers" || *d.LifecycleState != "InService" || *d.LaunchTemplate.Version != "1" || *d.HealthStatus != "HEALTHY" {
		t.Errorf("%+v", d)
	}
	status := must[*ec2.DescribeInstanceStatusOutput](t)(f.ec2.DescribeInstanceStatus(ctx, &ec2.DescribeInstanceStatusInput{}))
	if s := status.InstanceStatuses[0]; s.InstanceStatus.Status != ec2types.SummaryStatusOk || s.InstanceState.Name != ec2types.InstanceStateNameRunning {
		t.Errorf("%+v", s)
	}
}

func TestActivityRoundTrip(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.workers(t, 1)
	member := f.group(t, "workers").Instances[0]
	out := must[*autoscaling.TerminateInstanceInAutoScalingGroupOutput](t)(f.asg.TerminateInstanceInAutoScalingGroup(t.Context(), &autoscaling.TerminateInstanceInAutoScalingGroupInput{
		InstanceId: member.InstanceId, ShouldDecrementDesiredCapacity: new(true),
	}))
	now := start.Add(2 * time.Minute)
	want := &astypes.Activity{
		ActivityId: out.Activity.ActivityId, AutoScalingGroupName: new("workers"), AutoScalingGroupARN: out.Activity.AutoScalingGroupARN,
		Description: new("Terminating EC2 instance: " + *member.InstanceId), StatusCode: astypes.ScalingActivityStatusCodeInProgress, StartTime: &now, Progress: new(int32(50)),
		Cause: new("At 2026-11-25T12:02:00Z instance " + *member.InstanceId + " was taken out of service in response to a user request, shrinking the capacity from 1 to 0."),
	}
	if diff := cmp.Diff(want, out.Activity, sdk); diff != "" {
		t.Error(diff)
	}
	f.clock.Step(time.Hour)
	all := must[*autoscaling.DescribeScalingActivitiesOutput](t)(f.asg.DescribeScalingActivities(t.Context(), &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: new("workers")}))
	if len(all.Activities) != 2 || *all.Activities[0].ActivityId != *want.ActivityId || all.Activities[0].StatusCode != astypes.ScalingActivityStatusCodeSuccessful || all.Activities[0].EndTime == nil {
		t.Errorf("%d activities, the newest %+v", len(all.Activities), all.Activities[0])
	}
}

func TestHookRoundTrip(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), t.Context()
	f.workers(t, 0)
	must[*autoscaling.PutLifecycleHookOutput](t)(f.asg.PutLifecycleHook(ctx, &autoscaling.PutLifecycleHookInput{
		AutoScalingGroupName: new("workers"), LifecycleHookName: new("drain"), LifecycleTransition: new("autoscaling:EC2_INSTANCE_TERMINATING"), DefaultResult: new("CONTINUE"),
		HeartbeatTimeout: new(int32(300)), NotificationMetadata: new("<m>"), NotificationTargetARN: new("arn:aws:sqs:x:1:q"), RoleARN: new("arn:aws:iam::1:role/r"),
	}))
	got := must[*autoscaling.DescribeLifecycleHooksOutput](t)(f.asg.DescribeLifecycleHooks(ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: new("workers")}))
	want := []astypes.LifecycleHook{{
		AutoScalingGroupName: new("workers"), LifecycleHookName: new("drain"), LifecycleTransition: new("autoscaling:EC2_INSTANCE_TERMINATING"), DefaultResult: new("CONTINUE"),
		HeartbeatTimeout: new(int32(300)), GlobalTimeout: new(int32(30000)), NotificationMetadata: new("<m>"), NotificationTargetARN: new("arn:aws:sqs:x:1:q"), RoleARN: new("arn:aws:iam::1:role/r"),
	}}
	if diff := cmp.Diff(want, got.LifecycleHooks, sdk); diff != "" {
		t.Error(diff)
	}
}

func TestImagesAndTags(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), t.Context()
	f.images(t, "ami-1", "ami-2")
	f.write(t, func(s *world.State) error {
		_, err := s.Publish("AL2023_x86_64_STANDARD", "1.34", "1.34.1-20261101")
		return err
	})
	must[*ec2.CreateTagsOutput](t)(f.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{"ami-2"}, Tags: []ec2types.Tag{{Key: new("ready"), Value: new("yes")}, {Key: new("bad"), Value: new("")}}}))
	must[*ec2.DeleteTagsOutput](t)(f.ec2.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{"ami-2"}, Tags: []ec2types.Tag{{Key: new("bad")}}}))
	out := must[*ec2.DescribeImagesOutput](t)(f.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []ec2types.Filter{
		{Name: new("name"), Values: []string{"node-*"}}, {Name: new("tag:ready"), Values: []string{"yes", "no"}},
	}}))
	want := []ec2types.Image{{
		ImageId: new("ami-2"), Name: new("node-ami-2"), Architecture: ec2types.ArchitectureValuesX8664, OwnerId: new("123456789012"), CreationDate: new("2026-11-25T12:00:00.000Z"),
		State: ec2types.ImageStateAvailable, ImageType: ec2types.ImageTypeValuesMachine, RootDeviceName: new("/dev/xvda"), RootDeviceType: ec2types.DeviceTypeEbs,
		VirtualizationType: ec2types.VirtualizationTypeHvm, Tags: []ec2types.Tag{{Key: new("ready"), Value: new("yes")}, {Key: new("role"), Value: new("node")}},
	}}
	if diff := cmp.Diff(want, out.Images, sdk); diff != "" {
		t.Error(diff)
	}
	tags := must[*ec2.DescribeTagsOutput](t)(f.ec2.DescribeTags(ctx, &ec2.DescribeTagsInput{Filters: []ec2types.Filter{{Name: new("resource-id"), Values: []string{"ami-2"}}}}))
	wantTags := []ec2types.TagDescription{
		{ResourceId: new("ami-2"), ResourceType: ec2types.ResourceTypeImage, Key: new("ready"), Value: new("yes")},
		{ResourceId: new("ami-2"), ResourceType: ec2types.ResourceTypeImage, Key: new("role"), Value: new("node")},
	}
	if diff := cmp.Diff(wantTags, tags.Tags, sdk); diff != "" {
		t.Error(diff)
	}
}

func TestGroupTags(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), t.Context()
	f.workers(t, 0)
	tag := func(key, value string) astypes.Tag {
		return astypes.Tag{Key: &key, Value: &value, ResourceId: new("workers"), ResourceType: new("auto-scaling-group"), PropagateAtLaunch: new(false)}
	}
	must[*autoscaling.CreateOrUpdateTagsOutput](t)(f.asg.CreateOrUpdateTags(ctx, &autoscaling.CreateOrUpdateTagsInput{Tags: []astypes.Tag{tag("run", "1"), tag("gone", "2")}}))
	must[*autoscaling.DeleteTagsOutput](t)(f.asg.DeleteTags(ctx, &autoscaling.DeleteTagsInput{Tags: []astypes.Tag{tag("gone", "2")}}))
	out := must[*autoscaling.DescribeTagsOutput](t)(f.asg.DescribeTags(ctx, &autoscaling.DescribeTagsInput{Filters: []astypes.Filter{{Name: new("key"), Values: []string{"run", "gone"}}}}))
	want := []astypes.TagDescription{{Key: new("run"), Value: new("1"), ResourceId: new("workers"), ResourceType: new("auto-scaling-group"), PropagateAtLaunch: new(false)}}
	if diff := cmp.Diff(want, out.Tags, sdk); diff != "" {
		t.Error(diff)
	}
}

func TestParameterRoundTrip(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), t.Context()
	put := func(name, value string) {
		must[*ssm.PutParameterOutput](t)(f.ssm.PutParameter(ctx, &ssm.PutParameterInput{Name: &name, Value: &value, Type: ssmtypes.ParameterTypeString, Overwrite: new(true)}))
	}
	put("/ami/x", "ami-1")
	put("/ami/x", "ami-2")
	put("/ami/deep/y", "ami-3")
	want := func(version int64, value string) *ssmtypes.Parameter {
		return &ssmtypes.Parameter{
			Name: new("/ami/x"), Value: &value, Version: version, Type: ssmtypes.ParameterTypeString, DataType: new("text"),
			ARN: new("arn:aws:ssm:eu-central-1:123456789012:parameter/ami/x"), LastModifiedDate: &start,
		}
	}
	for name, w := range map[string]*ssmtypes.Parameter{"/ami/x": want(2, "ami-2"), "/ami/x:1": want(1, "ami-1")} {
		got := must[*ssm.GetParameterOutput](t)(f.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: &name}))
		if diff := cmp.Diff(w, got.Parameter, sdk); diff != "" {
			t.Error(diff)
		}
	}
	_, err := f.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: new("/none")})
	if _, ok := errors.AsType[*ssmtypes.ParameterNotFound](err); !ok {
		t.Errorf("the error is %v", err)
	}
	some := must[*ssm.GetParametersOutput](t)(f.ssm.GetParameters(ctx, &ssm.GetParametersInput{Names: []string{"/ami/x", "/none"}}))
	if len(some.Parameters) != 1 || len(some.InvalidParameters) != 1 {
		t.Errorf("%+v", some)
	}
	below := must[*ssm.GetParametersByPathOutput](t)(f.ssm.GetParametersByPath(ctx, &ssm.GetParametersByPathInput{Path: new("/ami"), Recursive: new(true), MaxResults: new(int32(1))}))
	if len(below.Parameters) != 1 || *below.Parameters[0].Name != "/ami/deep/y" || below.NextToken == nil {
		t.Errorf("%+v", below)
	}
}

func TestIdentity(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), t.Context()
	got := must[*sts.GetCallerIdentityOutput](t)(f.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}))
	if *got.Account != "123456789012" || *got.Arn != "arn:aws:iam::123456789012:user/windlass" {
		t.Errorf("%+v", got)
	}
	role := must[*sts.AssumeRoleOutput](t)(f.sts.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: new("arn:aws:iam::999999999999:role/rotate"), RoleSessionName: new("windlass"), DurationSeconds: new(int32(900))}))
	if !role.Credentials.Expiration.Equal(start.Add(15*time.Minute)) || *role.AssumedRoleUser.Arn != "arn:aws:sts::999999999999:assumed-role/rotate/windlass" {
		t.Errorf("%+v", role)
	}
}

func TestTargetsRoundTrip(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), t.Context()
	f.workers(t, 1)
	id := f.group(t, "workers").Instances[0].InstanceId
	made := must[*elb.CreateTargetGroupOutput](t)(f.elb.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{Name: new("web"), Protocol: elbtypes.ProtocolEnumHttp, Port: new(int32(80)), VpcId: new("vpc-0windlass"), TargetType: elbtypes.TargetTypeEnumInstance}))
	want := []elbtypes.TargetGroup{{TargetGroupArn: made.TargetGroups[0].TargetGroupArn, TargetGroupName: new("web"), Protocol: elbtypes.ProtocolEnumHttp, Port: new(int32(80)), VpcId: new("vpc-0windlass"), TargetType: elbtypes.TargetTypeEnumInstance}}
	found := must[*elb.DescribeTargetGroupsOutput](t)(f.elb.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{"web"}}))
	if diff := cmp.Diff(want, found.TargetGroups, sdk); diff != "" {
		t.Error(diff)
	}
	arn := want[0].TargetGroupArn
	must[*elb.ModifyTargetGroupAttributesOutput](t)(f.elb.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{
		TargetGroupArn: arn, Attributes: []elbtypes.TargetGroupAttribute{{Key: new("deregistration_delay.timeout_seconds"), Value: new("30")}},
	}))
	targets := []elbtypes.TargetDescription{{Id: id}}
	health := func() []elbtypes.TargetHealthDescription {
		return must[*elb.DescribeTargetHealthOutput](t)(f.elb.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: arn, Targets: targets})).TargetHealthDescriptions
	}
	be := func(state elbtypes.TargetHealthStateEnum, reason elbtypes.TargetHealthReasonEnum, why *string) {
		t.Helper()
		want := []elbtypes.TargetHealthDescription{{
			HealthCheckPort: new("80"), Target: &elbtypes.TargetDescription{Id: id, Port: new(int32(80))},
			TargetHealth: &elbtypes.TargetHealth{State: state, Reason: reason, Description: why},
		}}
		if diff := cmp.Diff(want, health(), sdk); diff != "" {
			t.Error(diff)
		}
	}
	be(elbtypes.TargetHealthStateEnumUnused, elbtypes.TargetHealthReasonEnumNotRegistered, new("Target is not registered to the target group"))
	must[*elb.RegisterTargetsOutput](t)(f.elb.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: arn, Targets: targets}))
	be(elbtypes.TargetHealthStateEnumHealthy, "", nil)
	must[*elb.DeregisterTargetsOutput](t)(f.elb.DeregisterTargets(ctx, &elb.DeregisterTargetsInput{TargetGroupArn: arn, Targets: targets}))
	f.clock.Step(29 * time.Second)
	be(elbtypes.TargetHealthStateEnumDraining, elbtypes.TargetHealthReasonEnumDeregistrationInProgress, new("Target deregistration is in progress"))
	f.clock.Step(time.Second)
	be(elbtypes.TargetHealthStateEnumUnused, elbtypes.TargetHealthReasonEnumNotRegistered, new("Target is not registered to the target group"))
}

func TestNodegroupRoundTrip(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), t.Context()
	image, role := "", new("arn:aws:iam::123456789012:role/node")
	f.write(t, func(s *world.State) (err error) {
		image, err = s.Publish("AL2023_x86_64_STANDARD", "1.34", "1.34.1-20261101")
		return err
	})
	must[*eks.CreateClusterOutput](t)(f.eks.CreateCluster(ctx, &eks.CreateClusterInput{Name: new("dev"), RoleArn: role, Version: new("1.34"), ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: []string{"subnet-eu-central-1a"}}}))
	must[*eks.CreateNodegroupOutput](t)(f.eks.CreateNodegroup(ctx, &eks.CreateNodegroupInput{
		ClusterName: new("dev"), NodegroupName: new("apps"), NodeRole: role, Subnets: []string{"subnet-eu-central-1a", "subnet-eu-central-1b"}, InstanceTypes: []string{"m7i.large"},
		AmiType: ekstypes.AMITypesAl2023X8664Standard, CapacityType: ekstypes.CapacityTypesOnDemand, DiskSize: new(int32(50)), Labels: map[string]string{"pool": "apps"}, Tags: map[string]string{"team": "x"},
		Taints:        []ekstypes.Taint{{Key: new("only"), Value: new("apps"), Effect: ekstypes.TaintEffectNoSchedule}},
		ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: new(int32(2)), MaxSize: new(int32(4)), DesiredSize: new(int32(2))},
		UpdateConfig:  &ekstypes.NodegroupUpdateConfig{MaxUnavailablePercentage: new(int32(50)), UpdateStrategy: ekstypes.NodegroupUpdateStrategiesDefault},
	}))
	describe := func() *ekstypes.Nodegroup {
		return must[*eks.DescribeNodegroupOutput](t)(f.eks.DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: new("dev"), NodegroupName: new("apps")})).Nodegroup
	}
	if got := describe().Status; got != ekstypes.NodegroupStatusCreating {
		t.Errorf("it is %s", got)
	}
	f.clock.Step(3 * time.Minute)
	got := describe()
	want := &ekstypes.Nodegroup{
		ClusterName: new("dev"), NodegroupName: new("apps"), NodegroupArn: got.NodegroupArn, NodeRole: role, Subnets: []string{"subnet-eu-central-1a", "subnet-eu-central-1b"},
		InstanceTypes: []string{"m7i.large"}, AmiType: ekstypes.AMITypesAl2023X8664Standard, CapacityType: ekstypes.CapacityTypesOnDemand, DiskSize: new(int32(50)),
		Labels: map[string]string{"pool": "apps"}, Tags: map[string]string{"team": "x"}, Taints: []ekstypes.Taint{{Key: new("only"), Value: new("apps"), Effect: ekstypes.TaintEffectNoSchedule}},
		ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: new(int32(2)), MaxSize: new(int32(4)), DesiredSize: new(int32(2))},
		UpdateConfig:  &ekstypes.NodegroupUpdateConfig{MaxUnavailablePercentage: new(int32(50)), UpdateStrategy: ekstypes.NodegroupUpdateStrategiesDefault},
		Status:        ekstypes.NodegroupStatusActive, Version: new("1.34"), ReleaseVersion: new("1.34.1-20261101"), CreatedAt: &start, ModifiedAt: &start,
		Health: &ekstypes.NodegroupHealth{}, Resources: &ekstypes.NodegroupResources{AutoScalingGroups: []ekstypes.AutoScalingGroup{{Name: got.Resources.AutoScalingGroups[0].Name}}},
	}
	if diff := cmp.Diff(want, got, sdk); diff != "" {
		t.Error(diff)
	}
	g := f.group(t, *got.Resources.AutoScalingGroups[0].Name)
	if len(g.Instances) != 2 || *g.Instances[0].ImageId != image {
		t.Errorf("the instances are %+v", g.Instances)
	}
	names := must[*eks.ListNodegroupsOutput](t)(f.eks.ListNodegroups(ctx, &eks.ListNodegroupsInput{ClusterName: new("dev"), MaxResults: new(int32(1))}))
	if diff := cmp.Diff([]string{"apps"}, names.Nodegroups); diff != "" {
		t.Error(diff)
	}
	_, err := f.eks.DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: new("dev"), NodegroupName: new("none")})
	if _, ok := errors.AsType[*ekstypes.ResourceNotFoundException](err); !ok {
		t.Errorf("the error is %v", err)
	}
}

// TestPages: each page is continued where it ended, though something was removed between.
func TestPages(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), t.Context()
	f.workers(t, 0)
	for n := range 7 {
		f.template(t, fmt.Sprintf("other-%d", n), "ami-1")
	}
	seen := map[string]int{}
	pages := ec2.NewDescribeLaunchTemplatesPaginator(f.ec2, &ec2.DescribeLaunchTemplatesInput{MaxResults: new(int32(3))})
	first := true
	for pages.HasMorePages() {
		page := must[*ec2.DescribeLaunchTemplatesOutput](t)(pages.NextPage(ctx))
		for _, found := range page.LaunchTemplates {
			seen[*found.LaunchTemplateName]++
		}
		if first {
			must[*ec2.DeleteLaunchTemplateOutput](t)(f.ec2.DeleteLaunchTemplate(ctx, &ec2.DeleteLaunchTemplateInput{LaunchTemplateId: page.LaunchTemplates[2].LaunchTemplateId}))
		}
		first = false
	}
	want := map[string]int{"nodes": 1}
	for n := range 7 {
		want[fmt.Sprintf("other-%d", n)] = 1
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
	_, err := f.asg.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{NextToken: new("!")})
	if codeOf(err) != "InvalidNextToken" {
		t.Errorf("the error is %v", err)
	}
}
