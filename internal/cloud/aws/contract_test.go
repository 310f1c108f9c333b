package aws_test

import (
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/google/go-cmp/cmp"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud/cloudtest"
	"windlass.dev/internal/devcluster/aws/world"
)

func autoScaling(name string) v1alpha1.Provider {
	return v1alpha1.Provider{AutoScaling: &v1alpha1.AutoScalingGroup{Name: name, Region: region}}
}

// TestContract also says what the adapter calls, which is what it has to be allowed.
func TestContract(t *testing.T) {
	t.Run("kinds", func(t *testing.T) {
		t.Run("auto scaling", autoScalingGroups)
		t.Run("mixed instances", mixedInstances)
		t.Run("eks", nodegroups)
		t.Run("images", findImages)
		t.Run("role", assumesRole)
	})
	if run := flag.Lookup("test.run").Value.String(); strings.Contains(run, "/") {
		return // Part of it was left out.
	}
	var called []string
	used.Range(func(action, _ any) bool {
		called = append(called, action.(string))
		return true
	})
	slices.Sort(called)
	if diff := cmp.Diff(called, policy(t)); diff != "" {
		t.Errorf("the policy of %s, as it should be (-) and is (+): %s", guide, diff)
	}
}

const guide = "docs/guides/node-rotation-aws.md"

// policy returns the actions of the guide's first policy.
func policy(t *testing.T) []string {
	t.Helper()
	content := must[[]byte](t)(os.ReadFile("../../../" + guide))
	_, rest, _ := strings.Cut(string(content), "```json\n")
	text, _, _ := strings.Cut(rest, "```")
	var p struct {
		Statement []struct{ Action []string }
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, s := range p.Statement {
		all = append(all, s.Action...)
	}
	slices.Sort(all)
	return all
}

func autoScalingGroups(t *testing.T) {
	t.Parallel()
	for _, follows := range []string{"1", "$Latest", "$Default"} {
		t.Run(follows, func(t *testing.T) {
			t.Parallel()
			cloudtest.Suite(t, func(t *testing.T) *cloudtest.Harness {
				f := newFake(t)
				target := f.targetGroup(t, "apps")
				template := f.template(t, "nodes", "ami-1")
				f.template(t, "others", "ami-1")
				f.makeGroup(t, "apps", &autoscaling.CreateAutoScalingGroupInput{LaunchTemplate: spec(template, follows), TargetGroupARNs: []string{target}})
				f.makeGroup(t, "apps-2", &autoscaling.CreateAutoScalingGroupInput{LaunchTemplate: &astypes.LaunchTemplateSpecification{LaunchTemplateName: new("others")}})
				f.makeGroup(t, "my-apps", &autoscaling.CreateAutoScalingGroupInput{LaunchTemplate: &astypes.LaunchTemplateSpecification{LaunchTemplateName: new("others")}})
				f.settle(t)
				h := f.harness()
				h.Provider, h.Group, h.Missing = f.cloud.AutoScaling(), autoScaling("apps"), autoScaling("app")
				h.Others = []v1alpha1.Provider{autoScaling("apps-2"), autoScaling("my-apps")}
				h.Images = []string{"ami-3"}
				h.SetSize = func(t *testing.T, size int32) { f.setSize(t, "apps", size) }
				h.Balanced = func(t *testing.T, machine string) bool { return f.balanced(t, target, machine) }
				h.Change = func(t *testing.T) {
					f.newVersion(t, template, "ami-2")
					f.follow(t, "apps", template, follows)
				}
				return h
			})
		})
	}
}

// mixedInstances has types with a template of their own, of another architecture, and
// capacity that is partly spot.
func mixedInstances(t *testing.T) {
	t.Parallel()
	cloudtest.Suite(t, func(t *testing.T) *cloudtest.Harness {
		f := newFake(t)
		intel, arm := f.template(t, "nodes", "ami-1"), f.template(t, "nodes-arm", "ami-1-arm")
		policy := func(arm *astypes.LaunchTemplateSpecification) *astypes.MixedInstancesPolicy {
			return &astypes.MixedInstancesPolicy{
				InstancesDistribution: &astypes.InstancesDistribution{OnDemandBaseCapacity: new(int32(1)), OnDemandPercentageAboveBaseCapacity: new(int32(50))},
				LaunchTemplate: &astypes.LaunchTemplate{
					LaunchTemplateSpecification: spec(intel, "$Latest"),
					Overrides: []astypes.LaunchTemplateOverrides{
						{InstanceType: new("m8g.large"), LaunchTemplateSpecification: arm}, {InstanceType: new("m7i.large")}, {InstanceType: new("m7i.xlarge")},
					},
				},
			}
		}
		// There are two of the cheapest in each zone, and then others.
		f.write(t, func(s *world.State) error {
			for _, zone := range []string{"a", "b", "c"} {
				for _, spot := range []bool{false, true} {
					s.Room[world.Pool{Zone: region + zone, InstanceType: "m8g.large", Spot: spot}] = 1
				}
			}
			return nil
		})
		f.makeGroup(t, "apps", &autoscaling.CreateAutoScalingGroupInput{MixedInstancesPolicy: policy(spec(arm, "1"))})
		f.makeGroup(t, "apps-2", &autoscaling.CreateAutoScalingGroupInput{LaunchTemplate: spec(f.template(t, "others", "ami-1"), "1")})
		f.settle(t)
		h := f.harness()
		h.Provider, h.Group, h.Missing = f.cloud.AutoScaling(), autoScaling("apps"), autoScaling("app")
		h.Others = []v1alpha1.Provider{autoScaling("apps-2")}
		h.Images = []string{"ami-3", "ami-3-arm"}
		h.SetSize = func(t *testing.T, size int32) { f.setSize(t, "apps", size) }
		h.Change = func(t *testing.T) {
			f.newVersion(t, intel, "ami-2")
			version := f.newVersion(t, arm, "ami-2-arm")
			must[*autoscaling.UpdateAutoScalingGroupOutput](t)(f.asg.UpdateAutoScalingGroup(t.Context(), &autoscaling.UpdateAutoScalingGroupInput{
				AutoScalingGroupName: new("apps"), MixedInstancesPolicy: policy(spec(arm, version)),
			}))
		}
		return h
	})
}

func managed(name string) v1alpha1.Provider {
	return v1alpha1.Provider{EKS: &v1alpha1.EKSNodegroup{Cluster: "dev", Name: name, Region: region}}
}

func nodegroups(t *testing.T) {
	t.Parallel()
	cloudtest.Suite(t, func(t *testing.T) *cloudtest.Harness {
		f := newFake(t)
		f.makeNodegroup(t, "apps")
		f.makeNodegroup(t, "apps-2")
		f.settle(t)
		h := f.harness()
		h.Provider, h.Group, h.Missing = f.cloud.EKS(), managed("apps"), managed("app")
		h.Others = []v1alpha1.Provider{managed("apps-2")}
		h.SetSize = func(t *testing.T, size int32) { f.setSize(t, f.groupOf(t, "apps"), size) }
		h.Change = func(t *testing.T) { f.halfUpdated(t, "apps") }
		return h
	})
}

func (f *fake) makeNodegroup(t *testing.T, name string) {
	t.Helper()
	f.write(t, func(s *world.State) error {
		if _, ok := s.Clusters["dev"]; ok {
			return nil
		}
		if _, err := s.Publish("AL2023_x86_64_STANDARD", "1.34", "1.34.1-1"); err != nil {
			return err
		}
		_, err := s.CreateCluster(&world.CreateClusterInput{Name: "dev", RoleArn: "arn:aws:iam::1:role/eks"})
		return err
	})
	must[*eks.CreateNodegroupOutput](t)(f.eks.CreateNodegroup(t.Context(), &eks.CreateNodegroupInput{
		ClusterName: new("dev"), NodegroupName: &name, NodeRole: new("arn:aws:iam::1:role/node"),
		Subnets:       []string{"subnet-" + region + "a", "subnet-" + region + "b", "subnet-" + region + "c"},
		ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: new(int32(1)), MaxSize: new(int32(cloudtest.Size)), DesiredSize: new(int32(cloudtest.Size))},
	}))
}

func (f *fake) groupOf(t *testing.T, nodegroup string) string {
	t.Helper()
	out := must[*eks.DescribeNodegroupOutput](t)(f.eks.DescribeNodegroup(t.Context(), &eks.DescribeNodegroupInput{ClusterName: new("dev"), NodegroupName: &nodegroup}))
	return *out.Nodegroup.Resources.AutoScalingGroups[0].Name
}

// halfUpdated leaves a node group as an update of EKS does that failed: it launches from a
// new version, and its nodes are of the old one.
func (f *fake) halfUpdated(t *testing.T, nodegroup string) {
	t.Helper()
	f.write(t, func(s *world.State) error {
		image, err := s.Publish("AL2023_x86_64_STANDARD", "1.34", "1.34.1-2")
		if err != nil {
			return err
		}
		n := s.Nodegroups["dev/"+nodegroup]
		out, err := s.CreateLaunchTemplateVersion(&world.CreateLaunchTemplateVersionInput{LaunchTemplateId: n.Template, SourceVersion: "1", LaunchTemplateData: world.TemplateData{ImageId: image}})
		if err != nil {
			return err
		}
		s.Groups[n.Group].Template.Version = awssdk.ToString(number(out.LaunchTemplateVersion.VersionNumber))
		return nil
	})
}

func (f *fake) targetGroup(t *testing.T, name string) string {
	t.Helper()
	out := must[*elb.CreateTargetGroupOutput](t)(f.elb.CreateTargetGroup(t.Context(), &elb.CreateTargetGroupInput{Name: &name, Port: new(int32(80)), Protocol: elbtypes.ProtocolEnumHttp}))
	return *out.TargetGroups[0].TargetGroupArn
}

func (f *fake) balanced(t *testing.T, arn, machine string) bool {
	t.Helper()
	out := must[*elb.DescribeTargetHealthOutput](t)(f.elb.DescribeTargetHealth(t.Context(), &elb.DescribeTargetHealthInput{
		TargetGroupArn: &arn, Targets: []elbtypes.TargetDescription{{Id: &machine}},
	}))
	return out.TargetHealthDescriptions[0].TargetHealth.State == elbtypes.TargetHealthStateEnumHealthy
}
