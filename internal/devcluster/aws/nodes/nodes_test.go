package nodes_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	clocktesting "k8s.io/utils/clock/testing"

	"windlass.dev/internal/devcluster/aws"
	"windlass.dev/internal/devcluster/aws/nodes"
	"windlass.dev/internal/devcluster/aws/world"
	"windlass.dev/internal/devcluster/clustertest"
)

func TestMain(m *testing.M) { clustertest.Main(m, nil) }

// cloud is a world whose machines are nodes of the test's cluster.
type cloud struct {
	client kubernetes.Interface
	clock  *clocktesting.FakeClock
	world  *world.World
}

// TestDrainOfWhatIsGone: a drain that comes after its node's end makes no node.
func TestDrainOfWhatIsGone(t *testing.T) {
	t.Parallel()
	client, err := kubernetes.NewForConfig(clustertest.Shared())
	if err != nil {
		t.Fatal(err)
	}
	if err := (nodes.Simulated{Client: client}).Drain(t.Context(), world.Machine{PrivateDnsName: "ip-10-9-9-9.gone"}); err != nil {
		t.Error(err)
	}
	if n, err := client.CoreV1().Nodes().Get(t.Context(), "ip-10-9-9-9.gone", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("there is %+v, %v", n, err)
	}
}

// newCloud makes a world with its own octets, so that tests do not share names of nodes.
func newCloud(t *testing.T, region string) *cloud {
	t.Helper()
	client, err := kubernetes.NewForConfig(clustertest.Shared())
	if err != nil {
		t.Fatal(err)
	}
	clock := clocktesting.NewFakeClock(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC))
	w := world.New(world.Config{Region: region, Account: "123456789012", Zones: []string{"a", "b", "c"}, Times: world.Life()}, clock)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		aws.NewMachines(w, nodes.Simulated{Client: client}, os.Stderr).Run(ctx)
	}()
	t.Cleanup(func() { stop(); <-ended })
	return &cloud{client, clock, w}
}

func (c *cloud) write(t *testing.T, do func(*world.State) error) {
	t.Helper()
	if err := c.world.Write(do); err != nil {
		t.Fatal(err)
	}
}

// nodegroup makes a managed node group and waits until its nodes are Ready.
func (c *cloud) nodegroup(t *testing.T, name string, size int) {
	t.Helper()
	c.write(t, func(s *world.State) error {
		if _, err := s.Publish("AL2023_x86_64_STANDARD", "1.34", "1.34.1-20261101"); err != nil {
			return err
		}
		if _, err := s.CreateCluster(&world.CreateClusterInput{Name: "dev", RoleArn: "arn:aws:iam::123456789012:role/eks"}); err != nil {
			return err
		}
		_, err := s.CreateNodegroup(&world.CreateNodegroupInput{
			ClusterName: "dev", NodegroupName: name, NodeRole: "arn:aws:iam::123456789012:role/node", Subnets: []string{"subnet-" + s.Config.Region + "a"},
			ScalingConfig: &world.ScalingConfig{MinSize: new(0), MaxSize: &size, DesiredSize: &size}, Labels: map[string]string{"pool": name},
			Taints: []world.Taint{{Key: "only", Value: name, Effect: "NO_SCHEDULE"}},
		})
		return err
	})
	c.clock.Step(2 * time.Minute)
	eventually(t, "the nodes of "+name+" are Ready", func() (bool, error) {
		list, err := c.nodes(t.Context(), name)
		ready := 0
		for _, n := range list {
			for _, condition := range n.Status.Conditions {
				if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
					ready++
				}
			}
		}
		return ready == size, err
	})
}

func (c *cloud) nodes(ctx context.Context, pool string) ([]corev1.Node, error) {
	list, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: "pool=" + pool})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

func eventually(t *testing.T, what string, is func() (bool, error)) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) { return is() })
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// pod makes a pod that runs on the pool, which takes long to end if it is asked to.
func (c *cloud) pod(t *testing.T, namespace, name, pool string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{"pool": pool}, TerminationGracePeriodSeconds: new(int64(600)),
			Tolerations: []corev1.Toleration{{Key: "only", Value: pool, Effect: corev1.TaintEffectNoSchedule}},
			Containers:  []corev1.Container{{Name: "web", Image: "web"}},
		},
	}
	if _, err := c.client.CoreV1().Pods(namespace).Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "pod "+name+" runs", func() (bool, error) {
		got, err := c.client.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		p = got
		return got.Status.Phase == corev1.PodRunning, nil
	})
	return p
}

func TestInstanceIsNode(t *testing.T) {
	t.Parallel()
	c := newCloud(t, "eu-central-1")
	c.nodegroup(t, "first", 1)
	list, err := c.nodes(t.Context(), "first")
	if err != nil || len(list) != 1 {
		t.Fatalf("%d nodes, %v", len(list), err)
	}
	node := list[0]
	id := node.Labels[nodes.InstanceLabel]
	want := map[string]string{
		"topology.kubernetes.io/zone": "eu-central-1a", "topology.kubernetes.io/region": "eu-central-1", "node.kubernetes.io/instance-type": "t3.medium",
		"eks.amazonaws.com/nodegroup": "first", "eks.amazonaws.com/capacityType": "ON_DEMAND", "pool": "first",
	}
	got := map[string]string{}
	for key := range want {
		got[key] = node.Labels[key]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	only := corev1.Taint{Key: "only", Value: "first", Effect: corev1.TaintEffectNoSchedule}
	if node.Spec.ProviderID != "aws:///eu-central-1a/"+id || !slices.Contains(node.Spec.Taints, only) {
		t.Errorf("the provider's ID is %q, the taints %v", node.Spec.ProviderID, node.Spec.Taints)
	}

	// Its end takes the node and the pod at once, whatever grace the pod was promised.
	namespace := clustertest.Namespace(t)
	c.pod(t, namespace, "stays", "first")
	c.write(t, func(s *world.State) error { return s.Crash(id) })
	eventually(t, "node and pod are gone", func() (bool, error) {
		_, ofNode := c.client.CoreV1().Nodes().Get(t.Context(), node.Name, metav1.GetOptions{})
		_, ofPod := c.client.CoreV1().Pods(namespace).Get(t.Context(), "stays", metav1.GetOptions{})
		return apierrors.IsNotFound(ofNode) && apierrors.IsNotFound(ofPod), nil
	})
	// And the group brings another.
	c.clock.Step(3 * time.Minute)
	eventually(t, "there is another node", func() (bool, error) {
		list, err := c.nodes(t.Context(), "first")
		return len(list) == 1 && list[0].Name != node.Name, err
	})
}

// TestUpdateOfNodegroup: a pod that may not be evicted fails the update, unless it is
// forced.
func TestUpdateOfNodegroup(t *testing.T) {
	t.Parallel()
	c := newCloud(t, "eu-west-1")
	c.nodegroup(t, "second", 1)
	namespace := clustertest.Namespace(t)
	c.pod(t, namespace, "guarded", "second")
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "guarded", Namespace: namespace},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: new(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "guarded"}}},
	}
	if _, err := c.client.PolicyV1().PodDisruptionBudgets(namespace).Create(t.Context(), budget, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the budget is in force", func() (bool, error) {
		got, err := c.client.PolicyV1().PodDisruptionBudgets(namespace).Get(t.Context(), "guarded", metav1.GetOptions{})
		return err == nil && got.Status.ObservedGeneration == got.Generation && got.Status.CurrentHealthy == 1, err
	})
	for _, force := range []bool{false, true} {
		var id string
		c.write(t, func(s *world.State) error {
			if _, err := s.Publish("AL2023_x86_64_STANDARD", "1.34", "1.34.2-20261120"); err != nil {
				return err
			}
			out, err := s.UpdateNodegroupVersion(&world.UpdateNodegroupVersionInput{ClusterName: "dev", NodegroupName: "second", Force: force})
			if err == nil {
				id = out.Update.Id
			}
			return err
		})
		c.clock.Step(30 * time.Minute)
		want := map[bool]world.Update{false: {Status: "Failed"}, true: {Status: "Successful"}}[force]
		var got world.Update
		eventually(t, "the update ends", func() (bool, error) {
			c.clock.Step(10 * time.Second)
			err := c.world.Read(func(s *world.State) error {
				out, err := s.DescribeUpdate(&world.DescribeUpdateInput{Name: "dev", NodegroupName: "second", UpdateId: id})
				if err == nil {
					got = out.Update
				}
				return err
			})
			return got.Status != "InProgress", err
		})
		if got.Status != want.Status || !force && (len(got.Errors) != 1 || got.Errors[0].ErrorCode != "PodEvictionFailure") {
			t.Errorf("with force %v the update is %+v", force, got)
		}
		_, err := c.client.CoreV1().Pods(namespace).Get(t.Context(), "guarded", metav1.GetOptions{})
		if apierrors.IsNotFound(err) != force {
			t.Errorf("with force %v the pod: %v", force, err)
		}
	}
}
