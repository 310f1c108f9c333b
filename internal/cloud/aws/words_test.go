package aws

import (
	"errors"
	"testing"

	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"windlass.dev/internal/cloud"
)

// TestReasons has what Auto Scaling writes in activities, from its documentation, and what
// EKS calls its problems.
func TestReasons(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"We currently do not have sufficient p3.2xlarge capacity in the Availability Zone you requested (us-west-2a). Launching EC2 instance failed.":           cloud.ReasonCapacity,
		"Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill capacity due to your request configuration. Launching EC2 instance failed.": cloud.ReasonCapacity,
		"You have requested more vCPU capacity than your current vCPU limit of 32 allows. Launching EC2 instance failed.":                                       cloud.ReasonQuota,
		"Could not launch Spot Instances. MaxSpotInstanceCountExceeded - Max spot instance count exceeded. Launching EC2 instance failed.":                      cloud.ReasonQuota,
		"The image id '[ami-0123]' does not exist. Launching EC2 instance failed.":                                                                              cloud.ReasonTemplate,
		"The key pair 'ops' does not exist. Launching EC2 instance failed.":                                                                                     cloud.ReasonTemplate,
		"Value (nodes) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name. Launching EC2 instance failed.":                     cloud.ReasonTemplate,
		"You are not authorized to perform this operation. Launching EC2 instance failed.":                                                                      cloud.ReasonCredentials,
		"RequestLimitExceeded: Request limit exceeded.":                                                                                                         cloud.ReasonThrottled,
		"Rate exceeded":                      cloud.ReasonThrottled,
		"Ec2LaunchTemplateNotFound: gone":    cloud.ReasonTemplate,
		"InsufficientFreeAddresses: subnets": cloud.ReasonCapacity,
		"PodEvictionFailure: reached":        cloud.ReasonOther,
		"":                                   cloud.ReasonOther,
	} {
		if got := reasonOf(message); got != want {
			t.Errorf("%q is %s, want %s", message, got, want)
		}
	}
}

func TestZones(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ details, message, want string }{
		"details":                       {`{"Subnet ID":"subnet-1","Availability Zone":"us-west-2a"}`, "in eu-central-1b", "us-west-2a"},
		"a message":                     {"", "capacity in the zone you requested (ap-southeast-2c). Try", "ap-southeast-2c"},
		"a region of another partition": {"{}", "in us-gov-west-1b", "us-gov-west-1b"},
		"a region is no zone":           {"", "in eu-central-1", ""},
		"nothing":                       {"not JSON", "it failed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := zoneOf(astypes.Activity{Details: &c.details, StatusMessage: &c.message}); got != c.want {
				t.Errorf("the zone is %q, want %q", got, c.want)
			}
		})
	}
}

// TestStates: each state of Auto Scaling is one of the port's, or none.
func TestStates(t *testing.T) {
	t.Parallel()
	want := map[cloud.State]int{cloud.Launching: 3, cloud.Running: 5, cloud.Ending: 5, "": 17}
	got := map[cloud.State]int{}
	for _, l := range astypes.LifecycleState("").Values() {
		state, counts := stateOf(l)
		if counts != (state != "") {
			t.Errorf("%s is %q, and counts: %v", l, state, counts)
		}
		got[state]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestMachines: what the two services say of an instance may differ.
func TestMachines(t *testing.T) {
	t.Parallel()
	g := &astypes.AutoScalingGroup{Instances: []astypes.Instance{
		{InstanceId: new("i-2"), AvailabilityZone: new("eu-central-1b"), LifecycleState: astypes.LifecycleStatePending, LaunchTemplate: &astypes.LaunchTemplateSpecification{LaunchTemplateId: new("lt-1"), Version: new("4")}},
		{InstanceId: new("i-1"), AvailabilityZone: new("eu-central-1a"), LifecycleState: astypes.LifecycleStateInService, ImageId: new("ami-replaced")},
		{InstanceId: new("i-3"), LifecycleState: astypes.LifecycleStateWarmedStopped},
	}}
	instances := map[string]ec2types.Instance{"i-1": {
		ImageId: new("ami-1"), Architecture: ec2types.ArchitectureValuesArm64, InstanceLifecycle: ec2types.InstanceLifecycleTypeSpot,
		State: &ec2types.InstanceState{Name: ec2types.InstanceStateNameShuttingDown},
	}}
	want := []cloud.Machine{
		{ID: "i-1", ProviderID: "aws:///eu-central-1a/i-1", Zone: "eu-central-1a", State: cloud.Ending, Image: "ami-replaced", Architecture: "arm64", Spot: true},
		{ID: "i-2", ProviderID: "aws:///eu-central-1b/i-2", Zone: "eu-central-1b", State: cloud.Launching, Template: "lt-1:4"},
	}
	if diff := cmp.Diff(want, machinesOf(g, instances)); diff != "" {
		t.Error(diff)
	}
}

func TestUnsupported(t *testing.T) {
	t.Parallel()
	template := &astypes.LaunchTemplateSpecification{LaunchTemplateId: new("lt-1")}
	mixed := func(weight *string) *astypes.MixedInstancesPolicy {
		return &astypes.MixedInstancesPolicy{LaunchTemplate: &astypes.LaunchTemplate{
			LaunchTemplateSpecification: template, Overrides: []astypes.LaunchTemplateOverrides{{InstanceType: new("m7i.large"), WeightedCapacity: weight}},
		}}
	}
	for name, c := range map[string]struct {
		group astypes.AutoScalingGroup
		want  error
	}{
		"a template":             {astypes.AutoScalingGroup{LaunchTemplate: template, DesiredCapacityType: new("units")}, nil},
		"types":                  {astypes.AutoScalingGroup{MixedInstancesPolicy: mixed(nil)}, nil},
		"types of weight 1":      {astypes.AutoScalingGroup{MixedInstancesPolicy: mixed(new("1"))}, nil},
		"weights":                {astypes.AutoScalingGroup{MixedInstancesPolicy: mixed(new("4"))}, cloud.ErrUnsupported},
		"memory":                 {astypes.AutoScalingGroup{LaunchTemplate: template, DesiredCapacityType: new("memory-mib")}, cloud.ErrUnsupported},
		"a launch configuration": {astypes.AutoScalingGroup{LaunchConfigurationName: new("nodes")}, cloud.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.group.AutoScalingGroupName = new("apps")
			if err := unsupported(&c.group); !errors.Is(err, c.want) {
				t.Errorf("the error is %v, want %v", err, c.want)
			}
		})
	}
}

// TestGuardOf: tags that somebody edited or left are no reason to fail.
func TestGuardOf(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tags map[string]string
		want *cloud.Guard
	}{
		"none":          {map[string]string{"team": "apps"}, nil},
		"without a run": {map[string]string{sizeTag: "3"}, nil},
		"all":           {map[string]string{runTag: "a-1", sizeTag: "3", maxTag: "5", suspendedTag: "AZRebalance Launch"}, &cloud.Guard{Run: "a-1", Suspend: []string{"AZRebalance", "Launch"}, Settings: cloud.Settings{Size: 3, Max: 5}}},
		"edited":        {map[string]string{runTag: "a-1", sizeTag: "three", maxTag: "5"}, &cloud.Guard{Run: "a-1"}},
		"too large":     {map[string]string{runTag: "a-1", sizeTag: "3", maxTag: "99999999999"}, &cloud.Guard{Run: "a-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &astypes.AutoScalingGroup{}
			for key, value := range c.tags {
				g.Tags = append(g.Tags, astypes.TagDescription{Key: &key, Value: &value})
			}
			if diff := cmp.Diff(c.want, guardOf(g)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]error{
		"Throttling": cloud.ErrThrottled, "RequestLimitExceeded": cloud.ErrThrottled, "ThrottlingException": cloud.ErrThrottled,
		"ExpiredToken": cloud.ErrCredentials, "AccessDenied": cloud.ErrCredentials, "UnauthorizedOperation": cloud.ErrCredentials, "InvalidClientTokenId": cloud.ErrCredentials,
		"ScalingActivityInProgress": cloud.ErrConflict, "ResourceInUseException": cloud.ErrConflict, "ResourceContention": cloud.ErrConflict,
		"ResourceNotFoundException": cloud.ErrNotFound, "ParameterNotFound": cloud.ErrNotFound, "InvalidAMIID.NotFound": cloud.ErrNotFound,
		"ValidationError": cloud.ErrInvalid, "InvalidParameterException": cloud.ErrInvalid, "MalformedPolicyDocument": cloud.ErrInvalid, "IdempotentParameterMismatch": cloud.ErrInvalid,
		"InternalError": nil, "ServiceUnavailable": nil, "ServerException": nil,
	} {
		err := explain(&smithy.OperationError{ServiceID: "EC2", OperationName: "Do", Err: &smithy.GenericAPIError{Code: code, Message: "no"}})
		for _, kind := range []error{cloud.ErrNotFound, cloud.ErrInvalid, cloud.ErrThrottled, cloud.ErrCredentials, cloud.ErrConflict} {
			if errors.Is(err, kind) != errors.Is(kind, want) {
				t.Errorf("%s is %v, want %v", code, err, want)
			}
		}
		if got := codeOf(err); got != code {
			t.Errorf("the code is %s, want %s", got, code)
		}
	}
	if got := codeOf(errors.New("lost")); got != "" {
		t.Errorf("the code is %s", got)
	}
}
