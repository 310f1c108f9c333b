package devcluster_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/agent"
	"windlass.dev/internal/devcluster/aws/nodes"
)

// instances are the nodes of the node group apps that are Ready, by their instance.
func instances(ctx context.Context, client kubernetes.Interface) (map[string]corev1.Node, error) {
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: "eks.amazonaws.com/nodegroup=apps," + agent.KindLabel + "=" + agent.Process})
	if err != nil {
		return nil, err
	}
	all := map[string]corev1.Node{}
	for _, n := range list.Items {
		if slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}) {
			all[n.Labels[nodes.InstanceLabel]] = n
		}
	}
	return all, nil
}

// spread is a Deployment on the node group, evenly over its nodes, of a server that takes
// ten minutes to end if it is told to.
func spread(replicas int32) *appsv1.Deployment {
	d := deployment("web", "web:1", replicas)
	pod := &d.Spec.Template.Spec
	pod.InitContainers, pod.TerminationGracePeriodSeconds = nil, new(int64(600))
	pod.Containers[0].Env = []corev1.EnvVar{{Name: "STANDIN_SHUTDOWN", Value: "10m"}}
	pod.NodeSelector = map[string]string{"eks.amazonaws.com/nodegroup": "apps"}
	pod.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: d.Spec.Selector,
	}}
	return d
}

// programs are the process ids of all pods that are Ready, by node.
func programs(ctx context.Context, client kubernetes.Interface) (map[string][]int, error) {
	list, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		return nil, err
	}
	all := map[string][]int{}
	for _, p := range list.Items {
		if len(p.Status.ContainerStatuses) == 0 || !p.Status.ContainerStatuses[0].Ready {
			continue
		}
		pid, err := strconv.Atoi(strings.TrimPrefix(p.Status.ContainerStatuses[0].ContainerID, "process://"))
		if err != nil {
			return nil, err
		}
		all[p.Spec.NodeName] = append(all[p.Spec.NodeName], pid)
	}
	return all, nil
}

// living are those of the processes that there are.
func living(pids []int) []int {
	return slices.DeleteFunc(slices.Clone(pids), func(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
}

// TestInstancesRunPrograms: an instance that is terminated takes its programs with it,
// others take their place on the nodes that are left, and the group brings another node. The
// next start has none of these nodes, whether it has a fake AWS or not.
func TestInstancesRunPrograms(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	start := func(o devcluster.Options) (*devcluster.Cluster, kubernetes.Interface) {
		o.Dir = dir
		c, err := devcluster.Start(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		client, err := kubernetes.NewForConfig(c.Config())
		if err != nil {
			t.Fatal(err)
		}
		return c, client
	}
	c, client := start(devcluster.Options{ProcessNodes: 1, FakeAWS: true, FakeAWSSpeed: 100})
	makeNodegroup(t, eks.NewFromConfig(sdkConfig(c.AWS())))
	var before map[string]corev1.Node
	eventually(t, "2 nodes", func(ctx context.Context) (_ bool, err error) {
		before, err = instances(ctx, client)
		return len(before) == 2, err
	})
	if _, err := client.AppsV1().Deployments("default").Create(ctx, spread(4), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var pids map[string][]int
	eventually(t, "2 pods on each", func(ctx context.Context) (_ bool, err error) {
		pids, err = programs(ctx, client)
		return len(pids) == 2 && !slices.ContainsFunc(slices.Collect(maps.Values(pids)), func(on []int) bool { return len(on) != 2 }), err
	})

	ids := slices.Sorted(maps.Keys(before))
	ended, left := before[ids[0]].Name, before[ids[1]].Name
	if diff := cmp.Diff(pids[ended], living(pids[ended])); diff != "" {
		t.Fatal(diff)
	}
	if _, err := autoscaling.NewFromConfig(sdkConfig(c.AWS())).TerminateInstanceInAutoScalingGroup(ctx, &autoscaling.TerminateInstanceInAutoScalingGroupInput{
		InstanceId: &ids[0], ShouldDecrementDesiredCapacity: new(false),
	}); err != nil {
		t.Fatal(err)
	}
	// They would take ten minutes if they had been told to end.
	eventually(t, "the end of the programs", func(context.Context) (bool, error) { return len(living(pids[ended])) == 0, nil })
	if diff := cmp.Diff(pids[left], living(pids[left])); diff != "" {
		t.Errorf("programs on the other node: %s", diff)
	}
	eventually(t, "a whole Deployment and another node", func(ctx context.Context) (bool, error) {
		run, err := programs(ctx, client)
		if err != nil {
			return false, err
		}
		now, err := instances(ctx, client)
		_, is := now[ids[0]]
		_, lost := run[ended]
		return len(slices.Concat(slices.Collect(maps.Values(run))...)) == 4 && !lost && len(now) == 2 && !is, err
	})
	if err := c.Stop(ctx); err != nil {
		t.Fatal(err)
	}

	c, client = start(devcluster.Options{Nodes: 1})
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Name != "node-0" {
		t.Errorf("the next start has %d nodes, %v", len(list.Items), err)
	}
	if err := c.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}
