package aws_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"

	"windlass.dev/internal/cloud"
	"windlass.dev/internal/devcluster/aws/world"
)

var guarded = cloud.Guard{Run: "apps-1"}

// prepare gives the group apps a target.
func (f *fake) prepare(t *testing.T, target cloud.Target) error {
	t.Helper()
	return f.cloud.AutoScaling().Prepare(t.Context(), autoScaling("apps"), guarded, target)
}

func (f *fake) revision(t *testing.T) cloud.Revision {
	t.Helper()
	g, err := f.cloud.AutoScaling().Describe(t.Context(), autoScaling("apps"))
	if err != nil {
		t.Fatal(err)
	}
	return g.Revision
}

// TestFollowing: what a group follows, it follows after images were applied, and the
// template has one version more, however often it is said and whatever crashes.
func TestFollowing(t *testing.T) {
	t.Parallel()
	for follows, want := range map[string]struct{ version, standard, rolledBack string }{
		"1":        {"2", "1", "1"},
		"$Latest":  {"$Latest", "1", "1"},
		"$Default": {"$Default", "2", "$Default"},
	} {
		t.Run(follows, func(t *testing.T) {
			t.Parallel()
			for after, crashed := 0, true; crashed; after++ {
				f := newFake(t)
				template := f.template(t, "nodes", "ami-1")
				f.makeGroup(t, "apps", &autoscaling.CreateAutoScalingGroupInput{LaunchTemplate: spec(template, follows)})
				former := f.revision(t)
				recovered := f.crash(after, true)
				err := f.prepare(t, cloud.Target{Images: []string{"ami-2"}})
				if crashed = recovered(); crashed != (err != nil) {
					t.Fatalf("it has crashed: %v, and says %v", crashed, err)
				}
				for range 2 {
					if err := f.prepare(t, cloud.Target{Images: []string{"ami-2"}}); err != nil {
						t.Fatal(err)
					}
				}
				versions := f.versions(t, template)
				if len(versions) != 2 || *versions[0].LaunchTemplateData.ImageId != "ami-2" || versions[0].LaunchTemplateData.InstanceType != "m7i.large" {
					t.Errorf("the template has %d versions, the newest %+v", len(versions), versions[0].LaunchTemplateData)
				}
				if got := *f.group(t, "apps").LaunchTemplate.Version; got != want.version {
					t.Errorf("the group has %s, want %s", got, want.version)
				}
				if isDefault := *versions[0].DefaultVersion; isDefault != (want.standard == "2") {
					t.Errorf("the new version is the default: %v", isDefault)
				}
				if got := f.revision(t); got.Template != template+":2" {
					t.Errorf("the revision is %+v", got)
				}
				if err := f.cloud.AutoScaling().Restore(t.Context(), autoScaling("apps"), guarded, cloud.Settings{Size: 3, Max: 3}, cloud.Target{Template: former.Template}); err != nil {
					t.Fatal(err)
				}
				if got := *f.group(t, "apps").LaunchTemplate.Version; got != want.rolledBack {
					t.Errorf("rolled back the group has %s, want %s", got, want.rolledBack)
				}
				if diff := cmp.Diff(former, f.revision(t)); diff != "" {
					t.Errorf("rolled back: %s", diff)
				}
			}
		})
	}
}

// TestOneVersion: between a crash and the repeat somebody else makes a version; and another
// group has the same template.
func TestOneVersion(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	template := f.small(t)
	f.makeGroup(t, "more", &autoscaling.CreateAutoScalingGroupInput{LaunchTemplate: spec(template, "1")})
	recovered := f.crash(1, true)
	if err := f.prepare(t, cloud.Target{Images: []string{"ami-2"}}); err == nil || !recovered() {
		t.Fatal("it has not crashed")
	}
	f.newVersion(t, template, "ami-3")
	for _, group := range []string{"apps", "more"} {
		if err := f.cloud.AutoScaling().Prepare(t.Context(), autoScaling(group), guarded, cloud.Target{Images: []string{"ami-2"}}); err != nil {
			t.Fatal(err)
		}
		if got := *f.group(t, group).LaunchTemplate.Version; got != "2" {
			t.Errorf("group %s has version %s", group, got)
		}
	}
	if n := len(f.versions(t, template)); n != 3 {
		t.Errorf("the template has %d versions", n)
	}
}

// TestAnotherRun makes a version of its own, also of an image that was there before.
func TestAnotherRun(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	template := f.small(t)
	for n, image := range []string{"ami-2", "ami-1", "ami-2"} {
		guard := cloud.Guard{Run: "apps-" + *number(n)}
		if err := f.cloud.AutoScaling().Prepare(t.Context(), autoScaling("apps"), guard, cloud.Target{Images: []string{image}}); err != nil {
			t.Fatal(err)
		}
		if got := f.revision(t); got.Images[0] != image || got.Template != template+":"+*number(n + 2) {
			t.Errorf("the revision is %+v", got)
		}
		if err := f.cloud.AutoScaling().Restore(t.Context(), autoScaling("apps"), guard, cloud.Settings{Size: 3, Max: 3}, cloud.Target{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		target cloud.Target
		// image is that of the group afterwards.
		image string
		err   error
		says  string
	}{
		"an image":                      {cloud.Target{Images: []string{"ami-2"}}, "ami-2", nil, ""},
		"one for each architecture":     {cloud.Target{Images: []string{"ami-2-arm", "ami-2"}}, "ami-2", nil, ""},
		"the image that it has":         {cloud.Target{Images: []string{"ami-1"}}, "ami-1", nil, ""},
		"another architecture":          {cloud.Target{Images: []string{"ami-2-arm"}}, "ami-1", cloud.ErrInvalid, "ami-2-arm is for x86_64"},
		"an unknown image":              {cloud.Target{Images: []string{"ami-none"}}, "ami-1", cloud.ErrInvalid, "ami-none"},
		"two of one architecture":       {cloud.Target{Images: []string{"ami-2", "ami-3"}}, "ami-1", cloud.ErrInvalid, "ami-2 and ami-3"},
		"a template version":            {cloud.Target{TemplateVersion: "2"}, "ami-3", nil, ""},
		"the latest version":            {cloud.Target{TemplateVersion: "$Latest"}, "ami-3", nil, ""},
		"a version that does not exist": {cloud.Target{TemplateVersion: "7"}, "ami-1", cloud.ErrInvalid, "version 7"},
		"no version at all":             {cloud.Target{TemplateVersion: "new"}, "ami-1", cloud.ErrInvalid, "new"},
		"no reference":                  {cloud.Target{Template: "nodes"}, "ami-1", cloud.ErrInvalid, "nodes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.newVersion(t, f.small(t), "ami-3")
			err := f.prepare(t, c.target)
			if !errors.Is(err, c.err) || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error is %v, want %v that says %q", err, c.err, c.says)
			}
			if got := f.revision(t).Images; !cmp.Equal(got, []string{c.image}) {
				t.Errorf("the images are %v, want %s", got, c.image)
			}
		})
	}
}

// TestImageIsGone: the architecture of what is to be replaced is that of the machines.
func TestImageIsGone(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.small(t)
	f.write(t, func(s *world.State) error {
		_, err := s.DeregisterImage(&world.DeregisterImageInput{ImageId: "ami-1"})
		return err
	})
	for image, want := range map[string]error{"ami-2-arm": cloud.ErrInvalid, "ami-2": nil} {
		if err := f.prepare(t, cloud.Target{Images: []string{image}}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", image, err, want)
		}
	}
}

// TestParameter: a template that names a parameter means what that says now.
func TestParameter(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	put := func(image string) {
		f.write(t, func(s *world.State) error {
			_, err := s.PutParameter(&world.PutParameterInput{Name: "/node/image", Value: image, Type: "String", Overwrite: true})
			return err
		})
	}
	put("ami-1")
	template := f.template(t, "nodes", "resolve:ssm:/node/image")
	f.makeGroup(t, "apps", &autoscaling.CreateAutoScalingGroupInput{LaunchTemplate: spec(template, "1")})
	for _, image := range []string{"ami-1", "ami-2"} {
		put(image)
		if err := f.prepare(t, cloud.Target{Images: []string{image}}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(cloud.Revision{Template: template + ":1", Images: []string{image}}, f.revision(t)); diff != "" {
			t.Error(diff)
		}
	}
	if err := f.prepare(t, cloud.Target{Images: []string{"ami-3"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(cloud.Revision{Template: template + ":2", Images: []string{"ami-3"}}, f.revision(t)); diff != "" {
		t.Error(diff)
	}

	other := f.template(t, "broken", "resolve:ssm:/node/none")
	f.makeGroup(t, "broken", &autoscaling.CreateAutoScalingGroupInput{LaunchTemplate: spec(other, "1")})
	if _, err := f.cloud.AutoScaling().Describe(t.Context(), autoScaling("broken")); !errors.Is(err, cloud.ErrInvalid) {
		t.Errorf("the error is %v", err)
	}
}

// TestOverrides: types that have an image of their own, and one whose template is not used.
func TestOverrides(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	base, own := f.template(t, "nodes", "ami-1"), f.template(t, "nodes-own", "ami-1")
	f.makeGroup(t, "apps", &autoscaling.CreateAutoScalingGroupInput{MixedInstancesPolicy: &astypes.MixedInstancesPolicy{LaunchTemplate: &astypes.LaunchTemplate{
		LaunchTemplateSpecification: spec(base, "1"),
		Overrides: []astypes.LaunchTemplateOverrides{
			{InstanceType: new("m8g.large"), ImageId: new("ami-1-arm")}, {InstanceType: new("m7i.large"), LaunchTemplateSpecification: spec(own, "1")},
		},
	}}})
	if diff := cmp.Diff(cloud.Revision{Template: base + ":1," + own + ":1", Images: []string{"ami-1", "ami-1-arm"}}, f.revision(t)); diff != "" {
		t.Error(diff)
	}
	if err := f.prepare(t, cloud.Target{Images: []string{"ami-2", "ami-2-arm"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(cloud.Revision{Template: base + ":1," + own + ":2", Images: []string{"ami-2", "ami-2-arm"}}, f.revision(t)); diff != "" {
		t.Error(diff)
	}
	if n := len(f.versions(t, base)); n != 1 {
		t.Errorf("a template whose image is not used has %d versions", n)
	}
	if err := f.prepare(t, cloud.Target{TemplateVersion: "1"}); !errors.Is(err, cloud.ErrInvalid) {
		t.Errorf("a version of several templates: %v", err)
	}
	if err := f.prepare(t, cloud.Target{Template: base + ":1," + own + ":1"}); !errors.Is(err, cloud.ErrUnsupported) {
		t.Errorf("back, with an image that no template says: %v", err)
	}
	f.settle(t)
	for _, i := range f.group(t, "apps").Instances {
		if *i.ImageId != "ami-2-arm" && *i.ImageId != "ami-2" && *i.ImageId != "ami-1" && *i.ImageId != "ami-1-arm" {
			t.Errorf("an instance has %s", *i.ImageId)
		}
	}
}

// TestVersionIsGone: a group that exists, and has a template that does not.
func TestVersionIsGone(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	template := f.small(t)
	f.newVersion(t, template, "ami-2")
	f.follow(t, "apps", template, "2")
	must[*ec2.DeleteLaunchTemplateVersionsOutput](t)(f.ec2.DeleteLaunchTemplateVersions(t.Context(), &ec2.DeleteLaunchTemplateVersionsInput{LaunchTemplateId: &template, Versions: []string{"2"}}))
	_, err := f.cloud.AutoScaling().Describe(t.Context(), autoScaling("apps"))
	if !errors.Is(err, cloud.ErrInvalid) || errors.Is(err, cloud.ErrNotFound) || !strings.Contains(err.Error(), template) {
		t.Errorf("the error is %v", err)
	}
}
