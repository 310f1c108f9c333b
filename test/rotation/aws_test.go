package rotation

import (
	"slices"
	"testing"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/test/windlasstest"
)

// machines is a group of Auto Scaling whose instances are nodes that run programs.
type machines struct {
	name, template string
	size           int32
	ec2            *ec2.Client
	asg            *autoscaling.Client
}

const instanceType = "t3.large"

// newMachines makes a group with its first image, and a NodeGroup for it.
func newMachines(t *testing.T, size int32) *machines {
	t.Helper()
	endpoint := clustertest.AWS(t)
	config := awssdk.Config{Region: devcluster.CloudRegion, BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("fake", "fake", "")}
	m := &machines{name: unique("apps"), size: size, ec2: ec2.NewFromConfig(config), asg: autoscaling.NewFromConfig(config)}
	m.template = m.name
	_, err := m.ec2.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{LaunchTemplateName: &m.template, LaunchTemplateData: &ec2types.RequestLaunchTemplateData{
		ImageId: new(m.image(t)), InstanceType: instanceType,
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.asg.CreateAutoScalingGroup(t.Context(), &autoscaling.CreateAutoScalingGroupInput{
		AutoScalingGroupName: &m.name, MinSize: new(int32(0)), MaxSize: &size, DesiredCapacity: &size, VPCZoneIdentifier: new("subnet-eu-central-1a,subnet-eu-central-1b,subnet-eu-central-1c"),
		LaunchTemplate: &astypes.LaunchTemplateSpecification{LaunchTemplateName: &m.template, Version: new("$Latest")},
		Tags:           []astypes.Tag{{Key: new("kubernetes.io/cluster/dev"), Value: new("owned"), PropagateAtLaunch: new(true)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.remove(t) })
	c := windlasstest.Client(t)
	group := &v1alpha1.NodeGroup{ObjectMeta: metav1.ObjectMeta{Name: m.name}, Spec: v1alpha1.NodeGroupSpec{Provider: v1alpha1.Provider{AutoScaling: &v1alpha1.AutoScalingGroup{Name: m.name, Region: devcluster.CloudRegion}}}}
	if err := c.Create(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	waitFor(t, deadline, "the machines to be Ready nodes", func() bool { return len(m.nodes(t)) == int(size) })
	return m
}

func (m *machines) remove(t *testing.T) {
	ctx := cleanup(t)
	if err := windlasstest.Client(t).Delete(ctx, &v1alpha1.NodeGroup{ObjectMeta: metav1.ObjectMeta{Name: m.name}}); err != nil {
		t.Logf("delete NodeGroup %s: %v", m.name, err)
	}
	if _, err := m.asg.DeleteAutoScalingGroup(ctx, &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: &m.name, ForceDelete: new(true)}); err != nil {
		t.Logf("delete group %s: %v", m.name, err)
	}
}

// image makes a new image.
func (m *machines) image(t *testing.T) string {
	t.Helper()
	out, err := m.ec2.RegisterImage(t.Context(), &ec2.RegisterImageInput{Name: new(unique("node")), RootDeviceName: new("/dev/xvda"), Architecture: ec2types.ArchitectureValuesX8664})
	if err != nil {
		t.Fatal(err)
	}
	return *out.ImageId
}

// nodes are the Ready nodes of the group, by the ids of their instances.
func (m *machines) nodes(t testing.TB) map[string]corev1.Node {
	t.Helper()
	var list corev1.NodeList
	if err := windlasstest.Client(t).List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	all := map[string]corev1.Node{}
	for _, i := range m.describe(t).Instances {
		for _, n := range list.Items {
			ready := slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
				return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
			})
			if ready && n.Spec.ProviderID == "aws:///"+*i.AvailabilityZone+"/"+*i.InstanceId {
				all[*i.InstanceId] = n
			}
		}
	}
	return all
}

func (m *machines) describe(t testing.TB) astypes.AutoScalingGroup {
	t.Helper()
	out, err := m.asg.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{m.name}})
	if err != nil || len(out.AutoScalingGroups) != 1 {
		t.Fatalf("describe group %s: %v", m.name, err)
	}
	return out.AutoScalingGroups[0]
}

// asBefore says what a run has left behind on the group and its nodes.
func (m *machines) asBefore(t *testing.T, image string) {
	t.Helper()
	g := m.describe(t)
	if *g.DesiredCapacity != m.size || *g.MaxSize != m.size || len(g.SuspendedProcesses) != 0 || len(g.Tags) != 1 {
		t.Errorf("the group is left with size %d, max %d, suspended %v, tags %v", *g.DesiredCapacity, *g.MaxSize, g.SuspendedProcesses, g.Tags)
	}
	var ids []string
	for _, i := range g.Instances {
		ids = append(ids, *i.InstanceId)
		if *i.ProtectedFromScaleIn {
			t.Errorf("instance %s is left protected", *i.InstanceId)
		}
	}
	out, err := m.ec2.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: ids})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			if n++; *i.ImageId != image {
				t.Errorf("instance %s runs %s, want %s", *i.InstanceId, *i.ImageId, image)
			}
		}
	}
	if n != int(m.size) {
		t.Errorf("the group has %d instances, want %d", n, m.size)
	}
	for _, node := range m.nodes(t) {
		if node.Spec.Unschedulable || slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == v1alpha1.OutdatedTaint }) ||
			node.Annotations["cluster-autoscaler.kubernetes.io/scale-down-disabled"] != "" || node.Labels[corev1.LabelNodeExcludeBalancers] != "" {
			t.Errorf("node %s is left marked: %v %v %v", node.Name, node.Spec, node.Annotations, node.Labels)
		}
	}
}
