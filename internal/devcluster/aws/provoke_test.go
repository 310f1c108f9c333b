package aws_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/internal/devcluster/aws"
	"windlass.dev/internal/devcluster/aws/world"
)

func (f *fake) provoke(t *testing.T, p aws.Provocation) {
	t.Helper()
	if err := aws.Provoke(t.Context(), f.url, p); err != nil {
		t.Fatal(err)
	}
}

// TestProvocations: what a running fake is told shows in what it answers, until it is told
// otherwise.
func TestProvocations(t *testing.T) {
	t.Parallel()
	f, ctx := newFake(t), t.Context()
	f.workers(t, 1)
	launch := func(token string) string {
		_, err := f.ec2.RunInstances(ctx, run(token, 1))
		return codeOf(err)
	}
	pool := aws.Capacity{Zone: "eu-central-1a", InstanceType: "m7i.large", Room: new(1)}
	f.provoke(t, pool)
	if got := launch("first") + " " + launch("second"); got != " InsufficientInstanceCapacity" {
		t.Errorf("with room for one: %s", got)
	}
	pool.Room = nil
	f.provoke(t, pool)
	if got := launch("third"); got != "" {
		t.Errorf("with room for any: %s", got)
	}

	f.provoke(t, aws.Throttling{Action: "autoscaling.DescribeAutoScalingGroups", Limit: &aws.Limit{PerSecond: 1, Burst: 1}})
	describe := func() string {
		_, err := f.asg.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{})
		return codeOf(err)
	}
	if got := describe() + " " + describe(); got != " Throttling" {
		t.Errorf("with a limit: %s", got)
	}
	f.provoke(t, aws.Throttling{Action: "autoscaling.DescribeAutoScalingGroups"})
	if got := describe() + describe(); got != "" {
		t.Errorf("without a limit: %s", got)
	}

	member := *f.group(t, "workers").Instances[0].InstanceId
	f.provoke(t, aws.Crash{Instance: member})
	if _, lives := f.alive(t)[member]; lives {
		t.Error("what crashed lives")
	}
	if err := aws.Provoke(ctx, f.url, aws.Crash{Instance: member}); err == nil || !strings.Contains(err.Error(), "has ended already") {
		t.Errorf("it crashed again: %v", err)
	}

	f.provoke(t, aws.Lag{Behind: metav1.Duration{Duration: 10 * time.Second}})
	f.clock.Step(time.Minute)
	out := must[*ec2.RunInstancesOutput](t)(f.ec2.RunInstances(ctx, run("late", 1)))
	ask := &ec2.DescribeInstancesInput{InstanceIds: []string{*out.Instances[0].InstanceId}}
	if _, err := f.ec2.DescribeInstances(ctx, ask); codeOf(err) != "InvalidInstanceID.NotFound" {
		t.Errorf("with a lag: %v", err)
	}
	f.provoke(t, aws.Lag{})
	must[*ec2.DescribeInstancesOutput](t)(f.ec2.DescribeInstances(ctx, ask))
}

// TestProvokedInterruption: the notice comes after the lead, and the end two minutes later.
func TestProvokedInterruption(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.workers(t, 0)
	var spot string
	f.write(t, func(s *world.State) error {
		out, err := s.RunInstances(&world.RunInstancesInput{
			MinCount: 1, MaxCount: 1, LaunchTemplate: &world.LaunchTemplateSpecification{LaunchTemplateName: "nodes"},
			InstanceMarketOptions: &world.MarketOptions{MarketType: "spot"},
		})
		if err == nil {
			spot = out.Instances[0].InstanceId
		}
		return err
	})
	f.provoke(t, aws.Interruption{Instance: spot, Lead: metav1.Duration{Duration: time.Minute}})
	for _, one := range []struct {
		step    time.Duration
		notices int
		lives   bool
	}{{59 * time.Second, 1, true}, {time.Second, 2, true}, {2 * time.Minute, 2, false}} {
		f.clock.Step(one.step)
		_, lives := f.alive(t)[spot]
		notices := 0
		f.write(t, func(s *world.State) error { notices = len(s.Notices); return nil })
		if notices != one.notices || lives != one.lives {
			t.Errorf("%s later: %d notices, lives %v; want %d, %v", one.step, notices, lives, one.notices, one.lives)
		}
	}
}

// TestProvocationsThatMakeNoSense are refused, with the reason.
func TestProvocationsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	for title, one := range map[string]struct {
		of   aws.Provocation
		want string
	}{
		"a zone that is not there":     {aws.Capacity{Zone: "eu-central-1z", InstanceType: "m7i.large"}, "eu-central-1a, eu-central-1b"},
		"no type":                      {aws.Capacity{Zone: "eu-central-1a"}, "want an instance type"},
		"less than no room":            {aws.Capacity{Zone: "eu-central-1a", InstanceType: "m7i.large", Room: new(-1)}, "0 instances or more"},
		"a crash of nothing":           {aws.Crash{Instance: "i-1"}, `no instance "i-1"`},
		"an interruption of nothing":   {aws.Interruption{Instance: "i-1"}, `no instance "i-1"`},
		"a lead into the past":         {aws.Interruption{Instance: "i-1", Lead: metav1.Duration{Duration: -1}}, "none or more"},
		"an action that is not there":  {aws.Throttling{Action: "ec2.DescribeVpcs"}, `no action "ec2.DescribeVpcs"`},
		"a limit below nothing":        {aws.Throttling{Action: "ec2.RunInstances", Limit: &aws.Limit{PerSecond: -1}}, "0 or more"},
		"reads of what is yet to come": {aws.Lag{Behind: metav1.Duration{Duration: -1}}, "none or more"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			if err := aws.Provoke(t.Context(), f.url, one.of); err == nil || !strings.Contains(err.Error(), one.want) {
				t.Errorf("the error is %v, want %s", err, one.want)
			}
		})
	}
}

// TestProvocationsAreNotForPages: a page in a browser can send forms and plain text to this
// machine, and no more.
func TestProvocationsAreNotForPages(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	for title, one := range map[string]struct {
		method, path, kind, body string
		want                     int
	}{
		"a form":                     {"POST", "lag", "application/x-www-form-urlencoded", `{}`, http.StatusUnsupportedMediaType},
		"plain text":                 {"POST", "lag", "text/plain", `{}`, http.StatusUnsupportedMediaType},
		"a read":                     {"GET", "lag", "application/json", "", http.StatusMethodNotAllowed},
		"nothing that is known":      {"POST", "flood", "application/json", `{}`, http.StatusNotFound},
		"a field that is not known":  {"POST", "lag", "application/json", `{"ahead":"5s"}`, http.StatusBadRequest},
		"what is not JSON":           {"POST", "lag", "application/json", `lag`, http.StatusBadRequest},
		"what is meant for it":       {"POST", "lag", "application/json; charset=utf-8", `{"behind":"0s"}`, http.StatusNoContent},
		"a duration that is no such": {"POST", "lag", "application/json", `{"behind":"soon"}`, http.StatusBadRequest},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			request, err := http.NewRequestWithContext(t.Context(), one.method, f.url+"/_fake/"+one.path, strings.NewReader(one.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", one.kind)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			if err := response.Body.Close(); err != nil || response.StatusCode != one.want {
				t.Errorf("the answer is %d, want %d", response.StatusCode, one.want)
			}
		})
	}
}
