package aws_test

import (
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"windlass.dev/internal/devcluster/aws"
	"windlass.dev/internal/devcluster/aws/world"
)

const region = "eu-central-1"

// start is when every test's world begins.
var start = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// fake is a server with a world whose time a test makes, and the SDK's clients for it.
type fake struct {
	clock  *clocktesting.FakeClock
	world  *world.World
	server *aws.Server
	url    string

	ec2 *ec2.Client
	asg *autoscaling.Client
	eks *eks.Client
	elb *elb.Client
	ssm *ssm.Client
	sts *sts.Client
}

func newFake(t *testing.T) *fake {
	t.Helper()
	clock := clocktesting.NewFakeClock(start)
	w := world.New(world.Config{Region: region, Account: "123456789012", Zones: []string{"a", "b", "c"}, Times: world.Life()}, clock)
	server := aws.NewServer(w, clock, region)
	listener := httptest.NewServer(server)
	t.Cleanup(listener.Close)
	config := awssdk.Config{
		Region: region, BaseEndpoint: &listener.URL, Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", ""),
		HTTPClient: aws.Client{}, Retryer: func() awssdk.Retryer { return awssdk.NopRetryer{} },
	}
	return &fake{
		clock: clock, world: w, server: server, url: listener.URL, ec2: ec2.NewFromConfig(config), asg: autoscaling.NewFromConfig(config), eks: eks.NewFromConfig(config),
		elb: elb.NewFromConfig(config), ssm: ssm.NewFromConfig(config), sts: sts.NewFromConfig(config),
	}
}

// write changes the world as only a test can.
func (f *fake) write(t *testing.T, do func(*world.State) error) {
	t.Helper()
	if err := f.world.Write(do); err != nil {
		t.Fatal(err)
	}
}

// images makes machine images with these IDs.
func (f *fake) images(t *testing.T, ids ...string) {
	t.Helper()
	f.write(t, func(s *world.State) error {
		for _, id := range ids {
			if err := s.AddImage(world.Image{ImageId: id, Name: "node-" + id, Tags: []world.Tag{{Key: "role", Value: "node"}}}); err != nil {
				return err
			}
		}
		return nil
	})
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

// codeOf is what the service called the error; empty for none.
func codeOf(err error) string {
	if refused, ok := errors.AsType[smithy.APIError](err); ok {
		return refused.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// sdk compares the SDK's own types by all that they say.
var sdk = cmp.FilterPath(func(p cmp.Path) bool {
	field, ok := p.Last().(cmp.StructField)
	return ok && field.Name() == "noSmithyDocumentSerde"
}, cmp.Ignore())
