package aws_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	clocktesting "k8s.io/utils/clock/testing"

	"windlass.dev/internal/cloud/aws"
	"windlass.dev/internal/cloud/cloudtest"
	devaws "windlass.dev/internal/devcluster/aws"
	"windlass.dev/internal/devcluster/aws/world"
)

const region = "eu-central-1"

// start is when every test's world begins. It is in the future, because the SDK takes the
// time of this machine to tell whether credentials have expired.
var start = time.Date(2100, 1, 1, 12, 0, 0, 0, time.UTC)

// fake is AWS, the adapter that is tested, and the SDK's clients for what the test does
// itself.
type fake struct {
	clock  *clocktesting.FakeClock
	world  *world.World
	server *devaws.Server
	config awssdk.Config
	cloud  *aws.Cloud

	asg *autoscaling.Client
	ec2 *ec2.Client
	eks *eks.Client
	elb *elb.Client

	// calls are the adapter's, by service and action, since they were last counted.
	mu    sync.Mutex
	calls map[string]int
}

// used are all actions that the adapter has called in any test.
var used sync.Map

func newFake(t *testing.T) *fake {
	t.Helper()
	clock := clocktesting.NewFakeClock(start)
	w := world.New(world.Config{Region: region, Account: "123456789012", Zones: []string{"a", "b", "c"}, Times: world.Life()}, clock)
	server := devaws.NewServer(w, clock, region)
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	mine := awssdk.Config{
		Region: region, BaseEndpoint: &listener.URL, Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", ""),
		HTTPClient: devaws.Client{}, Retryer: func() awssdk.Retryer { return awssdk.NopRetryer{} },
	}
	f := &fake{
		clock: clock, world: w, server: server, calls: map[string]int{},
		asg: autoscaling.NewFromConfig(mine), ec2: ec2.NewFromConfig(mine), eks: eks.NewFromConfig(mine), elb: elb.NewFromConfig(mine),
	}
	f.config = mine.Copy()
	f.config.APIOptions = append(f.config.APIOptions, f.record)
	f.cloud = aws.New(f.config)
	for _, image := range []string{"ami-1", "ami-2", "ami-3"} {
		f.addImage(t, world.Image{ImageId: image, Name: "node-" + image})
		f.addImage(t, world.Image{ImageId: image + "-arm", Name: "node-" + image + "-arm", Architecture: "arm64"})
	}
	return f
}

// prefixes are how policies name the services.
var prefixes = map[string]string{
	autoscaling.ServiceID: "autoscaling", ec2.ServiceID: "ec2", eks.ServiceID: "eks", elb.ServiceID: "elasticloadbalancing", ssm.ServiceID: "ssm", sts.ServiceID: "sts",
}

// record notes what the adapter calls.
func (f *fake) record(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("record", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
		if _, ok := ctx.Deadline(); !ok {
			return middleware.InitializeOutput{}, middleware.Metadata{}, errors.New("the call has no deadline")
		}
		action := prefixes[awsmiddleware.GetServiceID(ctx)] + ":" + awsmiddleware.GetOperationName(ctx)
		used.Store(action, true)
		f.mu.Lock()
		f.calls[action]++
		f.mu.Unlock()
		return next.HandleInitialize(ctx, in)
	}), middleware.After)
}

// counted returns what was called since the last time.
func (f *fake) counted() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = map[string]int{}
	return calls
}

// write changes the world as only a test can.
func (f *fake) write(t *testing.T, do func(*world.State) error) {
	t.Helper()
	if err := f.world.Write(do); err != nil {
		t.Fatal(err)
	}
}

func (f *fake) addImage(t *testing.T, image world.Image) {
	t.Helper()
	f.write(t, func(s *world.State) error { return s.AddImage(image) })
}

// settle steps the clock to each change, for twenty minutes at most.
func (f *fake) settle(t *testing.T) {
	t.Helper()
	for limit := f.clock.Now().Add(20 * time.Minute); ; {
		var due time.Time
		var ok bool
		if err := f.world.Read(func(s *world.State) error {
			due, ok = s.Next()
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if !ok || due.After(limit) {
			return
		}
		f.clock.SetTime(due)
	}
}

// harness is what is the same for all groups.
func (f *fake) harness() *cloudtest.Harness {
	return &cloudtest.Harness{Zones: []string{region + "a", region + "b", region + "c"}, Wait: f.settle, Crash: f.crash}
}

// reads are the actions that change nothing.
var reads = sync.OnceValue(func() map[string]bool {
	all := map[string]bool{}
	for _, a := range devaws.Actions() {
		all[a.Service+"."+a.Name] = a.Reads
	}
	return all
})

func (f *fake) crash(after int, done bool) func() bool {
	var mu sync.Mutex
	writes, crashed := 0, false
	f.server.Faults(func(c devaws.Call) *devaws.Failure {
		mu.Lock()
		defer mu.Unlock()
		if !crashed && !reads()[c.Service+"."+c.Action] && c.Done == done {
			crashed = writes == after
			writes++
		}
		if crashed {
			return &devaws.Failure{}
		}
		return nil
	})
	return func() bool {
		f.server.Faults(nil)
		mu.Lock()
		defer mu.Unlock()
		return crashed
	}
}

// must fails the test where the call before it failed.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func number(n int) *string { return new(strconv.Itoa(n)) }

func spec(template, version string) *astypes.LaunchTemplateSpecification {
	return &astypes.LaunchTemplateSpecification{LaunchTemplateId: &template, Version: &version}
}

// template makes a launch template with one version.
func (f *fake) template(t *testing.T, name, image string) (id string) {
	t.Helper()
	made := must[*ec2.CreateLaunchTemplateOutput](t)(f.ec2.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: &name, LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: &image, InstanceType: ec2types.InstanceTypeM7iLarge},
	}))
	return *made.LaunchTemplate.LaunchTemplateId
}

// newVersion makes another one, with another image.
func (f *fake) newVersion(t *testing.T, template, image string) (version string) {
	t.Helper()
	made := must[*ec2.CreateLaunchTemplateVersionOutput](t)(f.ec2.CreateLaunchTemplateVersion(t.Context(), &ec2.CreateLaunchTemplateVersionInput{
		LaunchTemplateId: &template, SourceVersion: new("$Latest"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: &image},
	}))
	return *number(int(*made.LaunchTemplateVersion.VersionNumber))
}

// follow has a group use the newest version, in the way in which it follows its template.
func (f *fake) follow(t *testing.T, group, template, follows string) {
	t.Helper()
	switch follows {
	case "$Latest":
	case "$Default":
		must[*ec2.ModifyLaunchTemplateOutput](t)(f.ec2.ModifyLaunchTemplate(t.Context(), &ec2.ModifyLaunchTemplateInput{LaunchTemplateId: &template, DefaultVersion: new("$Latest")}))
	default:
		must[*autoscaling.UpdateAutoScalingGroupOutput](t)(f.asg.UpdateAutoScalingGroup(t.Context(), &autoscaling.UpdateAutoScalingGroupInput{
			AutoScalingGroupName: &group, LaunchTemplate: spec(template, *number(len(f.versions(t, template)))),
		}))
	}
}

// versions of a template, the newest first.
func (f *fake) versions(t *testing.T, template string) []ec2types.LaunchTemplateVersion {
	t.Helper()
	return must[*ec2.DescribeLaunchTemplateVersionsOutput](t)(f.ec2.DescribeLaunchTemplateVersions(t.Context(), &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: &template})).LaunchTemplateVersions
}

// makeGroup makes a group of the suite's size, in three zones.
func (f *fake) makeGroup(t *testing.T, name string, in *autoscaling.CreateAutoScalingGroupInput) {
	t.Helper()
	in.AutoScalingGroupName, in.MinSize, in.MaxSize, in.DesiredCapacity = &name, new(int32(1)), new(int32(cloudtest.Size)), new(int32(cloudtest.Size))
	in.AvailabilityZones = []string{region + "a", region + "b", region + "c"}
	must[*autoscaling.CreateAutoScalingGroupOutput](t)(f.asg.CreateAutoScalingGroup(t.Context(), in))
}

func (f *fake) group(t *testing.T, name string) astypes.AutoScalingGroup {
	t.Helper()
	out := must[*autoscaling.DescribeAutoScalingGroupsOutput](t)(f.asg.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{}))
	n := slices.IndexFunc(out.AutoScalingGroups, func(g astypes.AutoScalingGroup) bool { return *g.AutoScalingGroupName == name })
	if n < 0 {
		t.Fatalf("there is no group %s", name)
	}
	return out.AutoScalingGroups[n]
}

func (f *fake) setSize(t *testing.T, group string, size int32) {
	t.Helper()
	must[*autoscaling.SetDesiredCapacityOutput](t)(f.asg.SetDesiredCapacity(t.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: &group, DesiredCapacity: &size}))
}
