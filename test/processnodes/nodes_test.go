package processnodes

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"

	"windlass.dev/internal/cli"
	"windlass.dev/internal/devcluster/agent"
	"windlass.dev/internal/devcluster/clustertest"
)

// unstable are the nodes to which something happens in these tests, each in one test.
// No other pods run there.
var unstable = []string{"process-3", "process-4", "process-5"}

const unstableTaint = "test/unstable"

// taint keeps the other tests' pods off.
func taint(ctx context.Context, config *rest.Config) error {
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	for _, name := range unstable {
		err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
			node, err := c.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: unstableTaint, Effect: corev1.TaintEffectNoSchedule})
			_, err = c.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func setState(t testing.TB, c kubernetes.Interface, node string, s agent.State) {
	t.Helper()
	if err := agent.SetState(t.Context(), c, node, s); err != nil {
		t.Fatal(err)
	}
}

// devNode runs windlass dev node.
func devNode(t testing.TB, verb, node, want string) {
	t.Helper()
	var out bytes.Buffer
	if code := cli.Main(t.Context(), []string{"dev", "node", verb, node, "--dir", filepath.Dir(clustertest.Kubeconfig())}, &out, &out); code != 0 || out.String() != want {
		t.Fatalf("it exits with %d: %s", code, out.String())
	}
}

// on binds a pod to a node, as a DaemonSet does: it leaves it by no taint.
func on(node string, spec corev1.PodSpec) corev1.PodSpec {
	spec.NodeName = node
	spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	return spec
}

// gonePatience is how long a node that is not heard of may take to be found out, and its
// pods to be replaced: the control plane's grace period of 50 s is not shortened.
const gonePatience = 3 * time.Minute

// https://kubernetes.io/docs/concepts/architecture/nodes/#node-status and
// .../scheduling-eviction/taint-and-toleration/#taint-based-evictions: a node that is
// not heard of is NotReady after a grace period, its pods are evicted, and others take
// their place. A killed node serves nothing, a partitioned one goes on; back again, it
// ends what was evicted.
func TestNodesThatAreNotHeardOf(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	killed, partitioned := unstable[0], unstable[1]
	labels := map[string]string{"app": "web"}
	at := func(node string) *corev1.Affinity {
		return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 100, Preference: corev1.NodeSelectorTerm{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
		}}}}}
	}
	replicaSet := func(node string) {
		spec := corev1.PodSpec{Containers: []corev1.Container{serving("main")}, Affinity: at(node), TerminationGracePeriodSeconds: new(int64(5)), Tolerations: []corev1.Toleration{
			{Key: unstableTaint, Operator: corev1.TolerationOpExists},
			{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(1))},
		}}
		of := map[string]string{"app": "web", "on": node}
		set := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: node}, Spec: appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{MatchLabels: of}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: of}, Spec: spec}}}
		if _, err := c.AppsV1().ReplicaSets(ns).Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	replicaSet(killed)
	replicaSet(partitioned)
	pods := func() map[string]corev1.Pod {
		list, err := c.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + labels["app"]})
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]corev1.Pod{}
		for _, p := range list.Items {
			all[p.Spec.NodeName] = p
		}
		return all
	}
	ready := func(p corev1.Pod) bool { return is(corev1.PodReady, corev1.ConditionTrue)(&p) }
	var before map[string]corev1.Pod
	waitFor(t, "a pod on each", func() bool { before = pods(); return ready(before[killed]) && ready(before[partitioned]) })
	other := create(t, c, ns, on(killed, corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{serving("main")}}))
	until(t, c, ns, other, "a pod that tolerates all", is(corev1.PodReady, corev1.ConditionTrue))

	setState(t, c, killed, agent.Killed)
	setState(t, c, partitioned, agent.Partitioned)
	if serves(t, before[killed]) {
		t.Error("the killed node serves")
	}
	if !serves(t, before[partitioned]) {
		t.Error("the partitioned node does not serve")
	}
	if out, code := ask(t, ns, "", "logs", before[partitioned].Name); code == 0 {
		t.Errorf("the partitioned node's kubelet answers %q", out)
	}
	if now := pods(); !ready(now[killed]) || !ready(now[partitioned]) {
		t.Error("the API server has heard of it at once")
	}
	patiently(t, "both to be found out", gonePatience, func() bool { return unreachable(t, c, killed) && unreachable(t, c, partitioned) })
	patiently(t, "other pods in their place", gonePatience, func() bool {
		all := pods()
		return len(slices.DeleteFunc(slices.Collect(maps.Values(all)), func(p corev1.Pod) bool { return !ready(p) })) >= 1 &&
			all[killed].DeletionTimestamp != nil && all[partitioned].DeletionTimestamp != nil && replaced(all, killed, partitioned)
	})
	if !serves(t, before[partitioned]) {
		t.Error("the partitioned node has stopped a pod that it cannot know is evicted")
	}

	setState(t, c, killed, agent.Running)
	setState(t, c, partitioned, agent.Running)
	patiently(t, "the evicted pods to be gone", deadline, func() bool {
		all := pods()
		return all[killed].UID != before[killed].UID && all[partitioned].UID != before[partitioned].UID && !serves(t, before[partitioned])
	})
	patiently(t, "both to be Ready", deadline, func() bool { return !unreachable(t, c, killed) && !unreachable(t, c, partitioned) })
	again := until(t, c, ns, other, "the pod that is still bound to run again", func(p *corev1.Pod) bool {
		return is(corev1.PodReady, corev1.ConditionTrue)(p) && p.Status.ContainerStatuses[0].RestartCount == 1
	})
	if was := again.Status.ContainerStatuses[0].LastTerminationState.Terminated; was == nil || was.Reason != "ContainerStatusUnknown" {
		t.Errorf("how it ended is said to be %+v", was)
	}
	if !serves(t, *again) {
		t.Error("it does not serve")
	}
}

// replaced says that pods on other nodes are ready.
func replaced(all map[string]corev1.Pod, gone ...string) bool {
	for node, p := range all {
		if !slices.Contains(gone, node) && is(corev1.PodReady, corev1.ConditionTrue)(&p) {
			return true
		}
	}
	return false
}

// serves asks the pod itself.
func serves(t testing.TB, p corev1.Pod) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+strings.Replace(p.Status.PodIP, "10.", "127.", 1)+":8080/", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Logf("ask pod %s: %v", p.Name, err)
		return false
	}
	defer response.Body.Close()
	return response.Header.Get("X-Windlass-Pod") == p.Name
}

func unreachable(t testing.TB, c kubernetes.Interface, name string) bool {
	t.Helper()
	node, err := c.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	unknown := slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown
	})
	return unknown && slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool {
		return t.Key == corev1.TaintNodeUnreachable && t.Effect == corev1.TaintEffectNoExecute
	})
}

// https://kubernetes.io/docs/concepts/architecture/nodes/#non-graceful-node-shutdown and
// .../workloads/pods/pod-lifecycle: a machine that is shut down tells its programs to
// end, and nobody else. Back again, it runs what is bound to it and may run again: what
// must not is lost.
func TestNodeIsStopped(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	node := unstable[2]
	note := func(script string) corev1.Container {
		one := shell("main", script)
		one.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
		return one
	}
	spec := func(policy corev1.RestartPolicy, one corev1.Container) corev1.PodSpec {
		return on(node, corev1.PodSpec{
			RestartPolicy: policy, TerminationGracePeriodSeconds: new(int64(20)), Containers: []corev1.Container{one},
			Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		})
	}
	again := create(t, c, ns, spec(corev1.RestartPolicyAlways, note(`cd $CONTAINER_ROOT/data; echo start >> log; trap 'echo term >> log; exit' TERM; while :; do sleep 0.1; done`)))
	never := create(t, c, ns, spec(corev1.RestartPolicyNever, note("exec sleep 1000")))
	done := create(t, c, ns, spec(corev1.RestartPolicyOnFailure, note("exit 0")))
	deleted := create(t, c, ns, spec(corev1.RestartPolicyAlways, note("exec sleep 1000")))
	for _, name := range []string{again, never, deleted} {
		until(t, c, ns, name, "the pod to run", is(corev1.PodReady, corev1.ConditionTrue))
	}
	until(t, c, ns, done, "the pod to succeed", phase(corev1.PodSucceeded))

	devNode(t, "stop", node, "Node "+node+" is stopped\n")
	if err := agent.SetState(t.Context(), c, node, agent.Partitioned); err == nil {
		t.Error("a node that is off can be partitioned")
	}
	if err := c.CoreV1().Pods(ns).Delete(t.Context(), deleted, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, c, ns, again, "nothing to be said of the pod", is(corev1.PodReady, corev1.ConditionTrue))
	devNode(t, "start", node, "Node "+node+" is running\n")

	until(t, c, ns, again, "the pod to run again", func(p *corev1.Pod) bool {
		return is(corev1.PodReady, corev1.ConditionTrue)(p) && p.Status.ContainerStatuses[0].RestartCount == 1
	})
	waitFor(t, "it to have been told to end", func() bool { return see(t, ns, again, "cat data/log | xargs") == "start term start" })
	lost := until(t, c, ns, never, "the other to fail", phase(corev1.PodFailed)).Status.ContainerStatuses[0].State.Terminated
	if diff := cmp.Diff("ContainerStatusUnknown", lost.Reason); diff != "" {
		t.Error(diff)
	}
	until(t, c, ns, done, "what is done to stay so", phase(corev1.PodSucceeded))
	waitFor(t, "the deleted pod to be gone", func() bool {
		list, err := c.CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + deleted})
		return err == nil && len(list.Items) == 0
	})
}

// TestOnlyMachinesStop: a simulated node has none.
func TestOnlyMachinesStop(t *testing.T) {
	t.Parallel()
	if err := agent.SetState(t.Context(), client(t), "node-0", agent.Killed); err == nil || !strings.Contains(err.Error(), "simulated") {
		t.Errorf("the error is %v", err)
	}
}

func patiently(t *testing.T, awaited string, patience time.Duration, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	every := time.NewTicker(200 * time.Millisecond)
	defer every.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("waiting for %s: %v", awaited, ctx.Err())
		case <-every.C:
		}
	}
}
