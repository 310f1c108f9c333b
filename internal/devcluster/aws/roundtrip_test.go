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

// requested is a launch template with everything that is known here.
func requested(image string) *ec2types.RequestLaunchTemplateData {
	return &ec2types.RequestLaunchTemplateData{
		ImageId: &image, InstanceType: ec2types.InstanceTypeM7iLarge, KeyName: new("key"), UserData: new("IyEvYmluL3No"), EbsOptimized: new(true),
		IamInstanceProfile: &ec2types.LaunchTemplateIamInstanceProfileSpecificationRequest{Name: new("node")},
		BlockDeviceMappings: []ec2types.LaunchTemplateBlockDeviceMappingRequest{
			{DeviceName: new("/dev/xvda"), Ebs: &ec2types.LaunchTemplateEbsBlockDeviceRequest{
				DeleteOnTermination: new(true), Encrypted: new(true), Iops: new(int32(3000)), KmsKeyId: new("alias/x"), SnapshotId: new("snap-1"),
				Throughput: new(int32(125)), VolumeSize: new(int32(80)), VolumeType: ec2types.VolumeTypeGp3,
			}},
			{DeviceName: new("/dev/xvdb"), Ebs: &ec2types.LaunchTemplateEbsBlockDeviceRequest{VolumeSize: new(int32(20))}},
		},
		NetworkInterfaces: []ec2types.LaunchTemplateInstanceNetworkInterfaceSpecificationRequest{
			{DeviceIndex: new(int32(0)), SubnetId: new("subnet-1"), Groups: []string{"sg-1", "sg-2"}, AssociatePublicIpAddress: new(false), DeleteOnTermination: new(true)},
		},
		Monitoring: &ec2types.LaunchTemplatesMonitoringRequest{Enabled: new(true)},
		Placement:  &ec2types.LaunchTemplatePlacementRequest{AvailabilityZone: new("eu-central-1b"), GroupName: new("rack"), Tenancy: ec2types.TenancyDefault},
		InstanceMarketOptions: &ec2types.LaunchTemplateInstanceMarketOptionsRequest{
			MarketType:  ec2types.MarketTypeSpot,
			SpotOptions: &ec2types.LaunchTemplateSpotMarketOptionsRequest{MaxPrice: new("0.10"), SpotInstanceType: ec2types.SpotInstanceTypeOneTime, InstanceInterruptionBehavior: ec2types.InstanceInterruptionBehaviorTerminate},
		},
		MetadataOptions: &ec2types.LaunchTemplateInstanceMetadataOptionsRequest{
			HttpEndpoint: ec2types.LaunchTemplateInstanceMetadataEndpointStateEnabled, HttpTokens: ec2types.LaunchTemplateHttpTokensStateRequired,
			HttpPutResponseHopLimit: new(int32(2)), InstanceMetadataTags: ec2types.LaunchTemplateInstanceMetadataTagsStateEnabled,
		},
		SecurityGroupIds:  []string{"sg-3"},
		TagSpecifications: []ec2types.LaunchTemplateTagSpecificationRequest{{ResourceType: ec2types.ResourceTypeInstance, Tags: []ec2types.Tag{{Key: new("team"), Value: new("a&b")}}}},
	}
}

func described(image string) *ec2types.ResponseLaunchTemplateData {
	return &ec2types.ResponseLaunchTemplateData{
		ImageId: &image, InstanceType: ec2types.InstanceTypeM7iLarge, KeyName: new("key"), UserData: new("IyEvYmluL3No"), EbsOptimized: new(true),
		IamInstanceProfile: &ec2types.LaunchTemplateIamInstanceProfileSpecification{Name: new("node")},
		BlockDeviceMappings: []ec2types.LaunchTemplateBlockDeviceMapping{
			{DeviceName: new("/dev/xvda"), Ebs: &ec2types.LaunchTemplateEbsBlockDevice{
				DeleteOnTermination: new(true), Encrypted: new(true), Iops: new(int32(3000)), KmsKeyId: new("alias/x"), SnapshotId: new("snap-1"),
				Throughput: new(int32(125)), VolumeSize: new(int32(80)), VolumeType: ec2types.VolumeTypeGp3,
			}},
			{DeviceName: new("/dev/xvdb"), Ebs: &ec2types.LaunchTemplateEbsBlockDevice{VolumeSize: new(int32(20))}},
		},
		NetworkInterfaces: []ec2types.LaunchTemplateInstanceNetworkInterfaceSpecification{
			{DeviceIndex: new(int32(0)), SubnetId: new("subnet-1"), Groups: []string{"sg-1", "sg-2"}, AssociatePublicIpAddress: new(false), DeleteOnTermination: new(true)},
		},
		Monitoring: &ec2types.LaunchTemplatesMonitoring{Enabled: new(true)},
		Placement:  &ec2types.LaunchTemplatePlacement{AvailabilityZone: new("eu-central-1b"), GroupName: new("rack"), Tenancy: ec2types.TenancyDefault},
		InstanceMarketOptions: &ec2types.LaunchTemplateInstanceMarketOptions{
			MarketType:  ec2types.MarketTypeSpot,
			SpotOptions: &ec2types.LaunchTemplateSpotMarketOptions{MaxPrice: new("0.10"), SpotInstanceType: ec2types.SpotInstanceTypeOneTime, InstanceInterruptionBehavior: ec2types.InstanceInterruptionBehaviorTerminate},
		},
		MetadataOptions: &ec2types.LaunchTemplateInstanceMetadataOptions{
			HttpEndpoint: ec2types.LaunchTemplateInstanceMetadataEndpointStateEnabled, HttpTokens: ec2types.LaunchTemplateHttpTokensStateRequired,
			HttpPutResponseHopLimit: new(int32(2)), InstanceMetadataTags: ec2types.LaunchTemplateInstanceMetadataTagsStateEnabled,
		},
		SecurityGroupIds:  []string{"sg-3"},
		TagSpecifications: []ec2types.LaunchTemplateTagSpecification{{ResourceType: ec2types.ResourceTypeInstance, Tags: []ec2types.Tag{{Key: new("team"), Value: new("a&b")}}}},
	}
}

func TestLaunchTemplateRoundTrip(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), t.Context()
	made := must[*ec2.CreateLaunchTemplateOutput](t)(f.ec2.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: new("nodes"), VersionDescription: new("first"), LaunchTemplateData: requested("ami-1"),
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeLaunchTemplate, Tags: []ec2types.Tag{{Key: new("owner"), Value: new("me")}}}},
	}))
	wantTemplate := ec2types.LaunchTemplate{
		LaunchTemplateId: made.LaunchTemplate.LaunchTemplateId, LaunchTemplateName: new("nodes"), CreateTime: &start, CreatedBy: new("arn:aws:iam::123456789012:user/windlass"),
		DefaultVersionNumber: new(int64(1)), LatestVersionNumber: new(int64(1)), Tags: []ec2types.Tag{{Key: new("owner"), Value: new("me")}},
	}
	if diff := cmp.Diff(&wantTemplate, made.LaunchTemplate, sdk); diff != "" {
		t.Error(diff)
	}
	f.clock.Step(time.Minute)
	second := must[*ec2.CreateLaunchTemplateVersionOutput](t)(f.ec2.CreateLaunchTemplateVersion(ctx, &ec2.CreateLaunchTemplateVersionInput{
		LaunchTemplateId: wantTemplate.LaunchTemplateId, SourceVersion: new("1"), VersionDescription: new("second"),
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: new("ami-2")},
	}))
	version := func(number int64, isDefault bool, description, image string, at time.Time) ec2types.LaunchTemplateVersion {
		return ec2types.LaunchTemplateVersion{
			LaunchTemplateId: wantTemplate.LaunchTemplateId, LaunchTemplateName: new("nodes"), VersionNumber: &number, VersionDescription: &description,
			DefaultVersion: &isDefault, CreateTime: &at, CreatedBy: wantTemplate.CreatedBy, LaunchTemplateData: described(image),
		}
	}
	want1, want2 := version(1, true, "first", "ami-1", start), version(2, false, "second", "ami-2", start.Add(time.Minute))
	if diff := cmp.Diff(&want2, second.LaunchTemplateVersion, sdk); diff != "" {
		t.Error(diff)
	}
	for name, c := range map[string]struct {
		ask  ec2.DescribeLaunchTemplateVersionsInput
		want []ec2types.LaunchTemplateVersion
	}{
		"all, the newest first": {ec2.DescribeLaunchTemplateVersionsInput{}, []ec2types.LaunchTemplateVersion{want2, want1}},
		"latest":                {ec2.DescribeLaunchTemplateVersionsInput{Versions: []string{"$Latest"}}, []ec2types.LaunchTemplateVersion{want2}},
		"default":               {ec2.DescribeLaunchTemplateVersionsInput{Versions: []string{"$Default"}}, []ec2types.LaunchTemplateVersion{want1}},
		"by number":             {ec2.DescribeLaunchTemplateVersionsInput{Versions: []string{"2", "1"}}, []ec2types.LaunchTemplateVersion{want2, want1}},
		"a range":               {ec2.DescribeLaunchTemplateVersionsInput{MinVersion: new("2"), MaxVersion: new("9")}, []ec2types.LaunchTemplateVersion{want2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.ask.LaunchTemplateName = new("nodes")
			got := must[*ec2.DescribeLaunchTemplateVersionsOutput](t)(f.ec2.DescribeLaunchTemplateVersions(ctx, &c.ask))
			if diff := cmp.Diff(c.want, got.LaunchTemplateVersions, sdk); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGroupRoundTrip(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), t.Context()
	f.images(t, "ami-1")
	id := f.template(t, "nodes", "ami-1")
	// Who writes names a template by its ID or its name; who reads gets both.
	policy := func(name *string) *astypes.MixedInstancesPolicy {
		return &astypes.MixedInstancesPolicy{
			InstancesDistribution: &astypes.InstancesDistribution{
				OnDemandAllocationStrategy: new("prioritized"), OnDemandBaseCapacity: new(int32(1)), OnDemandPercentageAboveBaseCapacity: new(int32(50)),
				SpotAllocationStrategy: new("price-capacity-optimized"), SpotInstancePools: new(int32(2)), SpotMaxPrice: new("0.5"),
			},
			LaunchTemplate: &astypes.LaunchTemplate{
				LaunchTemplateSpecification: &astypes.LaunchTemplateSpecification{LaunchTemplateId: &id, LaunchTemplateName: name, Version: new("$Latest")},
				Overrides: []astypes.LaunchTemplateOverrides{
					{InstanceType: new("m7i.large")},
					{InstanceType: new("m7g.large"), ImageId: new("ami-1"), LaunchTemplateSpecification: &astypes.LaunchTemplateSpecification{LaunchTemplateId: &id, LaunchTemplateName: name, Version: new("1")}},
				},
			},
		}
	}
	must[*autoscaling.CreateAutoScalingGroupOutput](t)(f.asg.CreateAutoScalingGroup(ctx, &autoscaling.CreateAutoScalingGroupInput{
		AutoScalingGroupName: new("workers"), MinSize: new(int32(0)), MaxSize: new(int32(9)), DesiredCapacity: new(int32(0)), DefaultCooldown: new(int32(60)),
		DefaultInstanceWarmup: new(int32(120)), VPCZoneIdentifier: new("subnet-eu-central-1a,subnet-eu-central-1b"), MixedInstancesPolicy: policy(nil),
		AvailabilityZoneDistribution: &astypes.AvailabilityZoneDistribution{CapacityDistributionStrategy: astypes.CapacityDistributionStrategyBalancedOnly},
		HealthCheckType:              new("ELB"), HealthCheckGracePeriod: new(int32(90)), TerminationPolicies: []string{"OldestLaunchTemplate", "Default"},
		NewInstancesProtectedFromScaleIn: new(true),
		Tags:                             []astypes.Tag{{Key: new("b"), Value: new("")}, {Key: new("a"), Value: new("1"), PropagateAtLaunch: new(true)}},
	}))
	must[*autoscaling.SuspendProcessesOutput](t)(f.asg.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: new("workers"), ScalingProcesses: []string{"AZRebalance"}}))
	got := f.group(t, "workers")
	want := astypes.AutoScalingGroup{
		AutoScalingGroupName: new("workers"), AutoScalingGroupARN: got.AutoScalingGroupARN, MinSize: new(int32(0)), MaxSize: new(int32(9)), DesiredCapacity: new(int32(0)),
		DefaultCooldown: new(int32(60)), DefaultInstanceWarmup: new(int32(120)), AvailabilityZones: []string{"eu-central-1a", "eu-central-1b"},
		VPCZoneIdentifier: new("subnet-eu-central-1a,subnet-eu-central-1b"), MixedInstancesPolicy: policy(new("nodes")),
		AvailabilityZoneDistribution: &astypes.AvailabilityZoneDistribution{CapacityDistributionStrategy: astypes.CapacityDistributionStrategyBalancedOnly},
		HealthCheckType:              new("ELB"), HealthCheckGracePeriod: new(int32(90)), TerminationPolicies: []string{"OldestLaunchTemplate", "Default"},
		NewInstancesProtectedFromScaleIn: new(true), CreatedTime: &start,
		SuspendedProcesses: []astypes.SuspendedProcess{{ProcessName: new("AZRebalance"), SuspensionReason: new("User suspended at 2026-11-25T12:00:00Z")}},
		Tags: []astypes.TagDescription{
			{Key: new("a"), Value: new("1"), PropagateAtLaunch: new(true), ResourceId: new("workers"), ResourceType: new("auto-scaling-group")},
			{Key: new("b"), Value: new(""), PropagateAtLaunch: new(false), ResourceId: new("workers"), ResourceType: new("auto-scaling-group")},
		},
	}
	if diff := cmp.Diff(want, got, sdk); diff != "" {
		t.Error(diff)
	}
}
