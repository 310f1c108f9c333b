package aws_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/smithy-go/middleware"

	"windlass.dev/internal/devcluster/aws"
	"windlass.dev/internal/devcluster/aws/world"
)

func run(token string, count int32) *ec2.RunInstancesInput {
	return &ec2.RunInstancesInput{
		ClientToken: &token, MinCount: &count, MaxCount: &count, LaunchTemplate: &ec2types.LaunchTemplateSpecification{LaunchTemplateName: new("nodes")},
	}
}

func TestClientToken(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), t.Context()
	f.workers(t, 0)
	first := must[*ec2.RunInstancesOutput](t)(f.ec2.RunInstances(ctx, run("token", 2)))
	second := must[*ec2.RunInstancesOutput](t)(f.ec2.RunInstances(ctx, run("token", 2)))
	if *first.ReservationId != *second.ReservationId || len(f.alive(t)) != 2 {
		t.Errorf("the reservations are %s and %s, %d instances live", *first.ReservationId, *second.ReservationId, len(f.alive(t)))
	}
	if _, err := f.ec2.RunInstances(ctx, run("token", 3)); codeOf(err) != "IdempotentParameterMismatch" {
		t.Errorf("the error is %v", err)
	}
	must[*ec2.RunInstancesOutput](t)(f.ec2.RunInstances(ctx, run("another", 2)))
	if n := len(f.alive(t)); n != 4 {
		t.Errorf("%d instances live", n)
	}
	launch := func(zone string) (*autoscaling.LaunchInstancesOutput, error) {
		return f.asg.LaunchInstances(ctx, &autoscaling.LaunchInstancesInput{
			AutoScalingGroupName: new("workers"), ClientToken: new("token"), RequestedCapacity: new(int32(1)), AvailabilityZones: []string{zone}, RetryStrategy: astypes.RetryStrategyNone,
		})
	}
	for range 2 {
		must[*autoscaling.LaunchInstancesOutput](t)(launch("eu-central-1a"))
	}
	if n := len(f.group(t, "workers").Instances); n != 1 {
		t.Errorf("%d instances are in the group", n)
	}
	_, err := launch("eu-central-1b")
	if _, ok := errors.AsType[*astypes.IdempotentParameterMismatchError](err); !ok {
		t.Errorf("the error is %v", err)
	}
}

// TestCrashes: a call fails before it does anything, or after it has done everything; a
// caller that repeats it with its token cannot tell, and nothing happens twice.
func TestCrashes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		done    bool
		failure *aws.Failure
		// lives is how many instances there are when the call has failed.
		lives int
		code  string
	}{
		"an error before":        {false, &aws.Failure{Error: &world.Error{Code: "Unavailable", Message: "no"}}, 0, "Unavailable"},
		"an error after":         {true, &aws.Failure{Error: &world.Error{Code: "InternalError", Message: "no"}}, 2, "InternalError"},
		"a lost request":         {false, &aws.Failure{}, 0, "EOF"},
		"an answer that is lost": {true, &aws.Failure{}, 2, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.workers(t, 0)
			var calls atomic.Int32
			f.server.Faults(func(call aws.Call) *aws.Failure {
				if call.Action == "RunInstances" && call.Service == aws.EC2 && call.Done == c.done && calls.Add(1) == 1 {
					return c.failure
				}
				return nil
			})
			_, err := f.ec2.RunInstances(t.Context(), run("token", 2))
			if err == nil || !strings.Contains(codeOf(err), c.code) {
				t.Errorf("the error is %v, want %s", err, c.code)
			}
			if n := len(f.alive(t)); n != c.lives {
				t.Errorf("%d instances live, want %d", n, c.lives)
			}
			must[*ec2.RunInstancesOutput](t)(f.ec2.RunInstances(t.Context(), run("token", 2)))
			if n := len(f.alive(t)); n != 2 {
				t.Errorf("%d instances live after the second try", n)
			}
		})
	}
}

func TestThrottling(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), t.Context()
	f.server.Throttle("autoscaling.DescribeAutoScalingGroups", &aws.Limit{PerSecond: 1, Burst: 2})
	f.server.Throttle("ec2.DescribeInstances", &aws.Limit{PerSecond: 1, Burst: 1})
	f.server.Throttle("eks.ListClusters", &aws.Limit{PerSecond: 1, Burst: 0})
	describe := func() string {
		_, err := f.asg.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{})
		return codeOf(err)
	}
	for n, want := range []string{"", "", "Throttling"} {
		if got := describe(); got != want {
			t.Errorf("call %d: %q, want %q", n, got, want)
		}
	}
	f.clock.Step(time.Second)
	if got := describe() + describe(); got != "Throttling" {
		t.Errorf("a second later: %q", got)
	}
	f.alive(t)
	if _, err := f.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{}); codeOf(err) != "RequestLimitExceeded" {
		t.Errorf("EC2: %v", err)
	}
	if _, err := f.eks.ListClusters(ctx, &eks.ListClustersInput{}); codeOf(err) != "ThrottlingException" {
		t.Errorf("EKS: %v", err)
	}
	f.server.Throttle("autoscaling.DescribeAutoScalingGroups", nil)
	if got := describe(); got != "" {
		t.Errorf("without a limit: %q", got)
	}
}

func TestLag(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), t.Context()
	f.workers(t, 0)
	f.world.Lag(10 * time.Second)
	f.clock.Step(time.Minute)
	out := must[*ec2.RunInstancesOutput](t)(f.ec2.RunInstances(ctx, run("x", 1)))
	ask := &ec2.DescribeInstancesInput{InstanceIds: []string{*out.Instances[0].InstanceId}}
	if _, err := f.ec2.DescribeInstances(ctx, ask); codeOf(err) != "InvalidInstanceID.NotFound" {
		t.Errorf("at once: %v", err)
	}
	f.clock.Step(10 * time.Second)
	if _, err := f.ec2.DescribeInstances(ctx, ask); err != nil {
		t.Errorf("later: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), t.Context()
	f.workers(t, 0)
	for name, c := range map[string]struct {
		do   func() error
		want string
	}{
		"an action that is not known": {func() error {
			_, err := f.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{})
			return err
		}, "InvalidAction"},
		"an action of EKS that is not known": {func() error {
			_, err := f.eks.ListAddons(ctx, &eks.ListAddonsInput{ClusterName: new("x")})
			return err
		}, "InvalidAction"},
		"a parameter that is not known": {func() error {
			_, err := f.asg.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: new("workers"), MaxInstanceLifetime: new(int32(86400))})
			return err
		}, "ValidationError"},
		"a part of a parameter that is not known": {func() error {
			_, err := f.ec2.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: new("x"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{KernelId: new("aki-1")}})
			return err
		}, "UnknownParameter"},
		"a filter that is not known": {func() error {
			_, err := f.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{{Name: new("hypervisor"), Values: []string{"xen"}}}})
			return err
		}, "InvalidParameterValue"},
		"a dry run": {func() error {
			in := run("x", 1)
			in.DryRun = new(true)
			_, err := f.ec2.RunInstances(ctx, in)
			return err
		}, "DryRunOperation"},
		"another region": {func() error {
			_, err := f.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{}, func(o *ec2.Options) { o.Region = "us-east-1" })
			return err
		}, "AuthFailure"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := c.do(); codeOf(err) != c.want {
				t.Errorf("the error is %v, want the code %s", err, c.want)
			}
		})
	}
	if n := len(f.alive(t)); n != 0 {
		t.Errorf("%d instances live", n)
	}
}

// TestRequestID: answers have an ID, as people are asked for it.
func TestRequestID(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	out := must[*autoscaling.DescribeAutoScalingGroupsOutput](t)(f.asg.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{}))
	if !strings.HasPrefix(requestID(out.ResultMetadata), "00000000-0000-4000-8000-") {
		t.Errorf("the ID is %q", requestID(out.ResultMetadata))
	}
}

func requestID(m middleware.Metadata) string {
	id, _ := awsmiddleware.GetRequestIDMetadata(m)
	return id
}
