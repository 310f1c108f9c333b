package aws_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/aws"
	devaws "windlass.dev/internal/devcluster/aws"
	"windlass.dev/internal/devcluster/aws/world"
)

// small makes a group apps of a template whose version it says.
func (f *fake) small(t *testing.T) (template string) {
	t.Helper()
	template = f.template(t, "nodes", "ami-1")
	f.makeGroup(t, "apps", &autoscaling.CreateAutoScalingGroupInput{LaunchTemplate: spec(template, "1")})
	f.settle(t)
	return template
}

// refuse has an action fail with a code, once.
func (f *fake) refuse(action, code string) {
	var refused atomic.Bool
	f.server.Faults(func(c devaws.Call) *devaws.Failure {
		if c.Done || c.Service+"."+c.Action != action || refused.Swap(true) {
			return nil
		}
		return &devaws.Failure{Error: &world.Error{Code: code, Message: "no"}}
	})
}

const role = "arn:aws:iam::210987654321:role/windlass"

// assumesRole: once for a role and region, and again when the credentials are refused.
func assumesRole(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.small(t)
	ref := v1alpha1.Provider{AutoScaling: &v1alpha1.AutoScalingGroup{Name: "apps", Region: region, RoleARN: role}}
	describe := func() error {
		_, err := f.cloud.AutoScaling().Describe(t.Context(), ref)
		return err
	}
	for range 2 {
		if err := describe(); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.counted()["sts:AssumeRole"]; n != 1 {
		t.Errorf("the role was assumed %d times", n)
	}
	f.refuse("ec2.DescribeInstances", "RequestExpired")
	if err := describe(); !errors.Is(err, cloud.ErrCredentials) {
		t.Errorf("the error is %v", err)
	}
	if n := f.counted()["sts:AssumeRole"]; n != 0 {
		t.Errorf("the role was assumed %d times", n)
	}
	if err := describe(); err != nil {
		t.Fatal(err)
	}
	if n := f.counted()["sts:AssumeRole"]; n != 1 {
		t.Errorf("the role was assumed %d times", n)
	}
	if _, err := f.cloud.AutoScaling().Describe(t.Context(), autoScaling("apps")); err != nil || f.counted()["sts:AssumeRole"] != 0 {
		t.Errorf("without a role: %v", err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		action, code string
		want         error
	}{
		"throttled by EC2":              {"ec2.DescribeInstances", "RequestLimitExceeded", cloud.ErrThrottled},
		"throttled by Auto Scaling":     {"autoscaling.DescribeAutoScalingGroups", "Throttling", cloud.ErrThrottled},
		"expired":                       {"autoscaling.DescribeAutoScalingGroups", "ExpiredToken", cloud.ErrCredentials},
		"not allowed":                   {"ec2.DescribeLaunchTemplateVersions", "UnauthorizedOperation", cloud.ErrCredentials},
		"the role is not allowed":       {"sts.AssumeRole", "AccessDenied", cloud.ErrCredentials},
		"the role is throttled":         {"sts.AssumeRole", "Throttling", cloud.ErrThrottled},
		"a template version is missing": {"ec2.DescribeLaunchTemplateVersions", "InvalidLaunchTemplateId.VersionNotFound", cloud.ErrInvalid},
		"a template is missing":         {"ec2.DescribeLaunchTemplateVersions", "InvalidLaunchTemplateId.NotFound", cloud.ErrInvalid},
		"something else":                {"ec2.DescribeInstances", "InternalError", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.small(t)
			ref := v1alpha1.Provider{AutoScaling: &v1alpha1.AutoScalingGroup{Name: "apps", Region: region, RoleARN: role}}
			f.refuse(c.action, c.code)
			_, err := f.cloud.AutoScaling().Describe(t.Context(), ref)
			if err == nil {
				t.Fatal("there is no error")
			}
			for _, kind := range []error{cloud.ErrNotFound, cloud.ErrInvalid, cloud.ErrThrottled, cloud.ErrCredentials, cloud.ErrUnsupported, cloud.ErrConflict} {
				// What is true of the credentials may be said too.
				if is := errors.Is(err, kind); is != errors.Is(kind, c.want) {
					t.Errorf("the error %v is %v: %v", err, kind, is)
				}
			}
			// It is put into conditions, which would never come to rest.
			if strings.Contains(err.Error(), "00000000-0000-4000") {
				t.Errorf("the error has the ID of its request: %v", err)
			}
			if _, err := f.cloud.AutoScaling().Describe(t.Context(), ref); err != nil {
				t.Errorf("once more: %v", err)
			}
		})
	}
}

// TestRetries: what fails for a moment is not seen.
func TestRetries(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.small(t)
	config := f.config.Copy()
	config.Retryer = nil
	retries := aws.New(config)
	f.refuse("ec2.DescribeInstances", "RequestLimitExceeded")
	if _, err := retries.AutoScaling().Describe(t.Context(), autoScaling("apps")); err != nil {
		t.Error(err)
	}
}

func TestNoCredentials(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.small(t)
	config := f.config.Copy()
	config.Credentials = awssdk.CredentialsProviderFunc(func(context.Context) (awssdk.Credentials, error) {
		return awssdk.Credentials{}, errors.New("there are none")
	})
	if _, err := aws.New(config).AutoScaling().Describe(t.Context(), autoScaling("apps")); !errors.Is(err, cloud.ErrCredentials) {
		t.Errorf("the error is %v", err)
	}
}

func TestAt(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.small(t)
	if _, err := aws.At(*f.config.BaseEndpoint).AutoScaling().Describe(t.Context(), autoScaling("apps")); err != nil {
		t.Error(err)
	}
}

func TestFromEnvironment(t *testing.T) {
	f := newFake(t)
	f.small(t)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": *f.config.BaseEndpoint,
		"AWS_CONFIG_FILE": t.TempDir() + "/none", "AWS_SHARED_CREDENTIALS_FILE": t.TempDir() + "/none", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	c, err := aws.FromEnvironment(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.AutoScaling().Describe(t.Context(), autoScaling("apps")); err != nil {
		t.Error(err)
	}
}
