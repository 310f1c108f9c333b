package processnodes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"windlass.dev/internal/devcluster/agent"
	"windlass.dev/internal/devcluster/clustertest"
)

// extra is a node that no other test's pods run on.
func extra(name string) agent.Node {
	return agent.Node{
		Name: name, Zone: "far-a", ProviderID: "aws:///far-a/" + name, Labels: map[string]string{"pool": name, corev1.LabelTopologyRegion: "far"},
		Taints:   []corev1.Taint{{Key: unstableTaint, Value: name, Effect: corev1.TaintEffectNoSchedule}},
		Capacity: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("7")},
	}
}

// stubborn is a pod that the scheduler binds to an extra node, and which notes in a file
// that it was told to end, and does not.
func stubborn(node, note string) corev1.PodSpec {
	return corev1.PodSpec{
		NodeSelector: map[string]string{"pool": node}, TerminationGracePeriodSeconds: new(int64(600)), RestartPolicy: corev1.RestartPolicyAlways,
		Tolerations: []corev1.Toleration{{Key: unstableTaint, Value: node, Effect: corev1.TaintEffectNoSchedule}},
		Containers:  []corev1.Container{shell("main", fmt.Sprintf("trap 'echo told > %s' TERM; sleep 1000 & while :; do sleep 0.1; done", note))},
	}
}

// processOf is the process of a pod's first container.
func processOf(t *testing.T, p *corev1.Pod) int {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimPrefix(p.Status.ContainerStatuses[0].ContainerID, "process://"))
	if err != nil {
		t.Fatal(err)
	}
	if !lives(pid) || family(t, pid) == 0 {
		t.Fatalf("pod %s runs, and its process %d does not", p.Name, pid)
	}
	return pid
}

// lives says whether there is such a process, and family how many of its group run. What is
// only waiting for a parent to ask for its end does not.
func lives(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func family(t *testing.T, pid int) (n int) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		content, _ := os.ReadFile(path) // It may have ended meanwhile.
		_, rest, _ := strings.Cut(string(content), ") ")
		const state, group = 0, 2
		if fields := strings.Fields(rest); len(fields) > group && fields[state] != "Z" && fields[group] == strconv.Itoa(pid) {
			n++
		}
	}
	return n
}

// gone says that nothing of a node and of its pods is there any more.
func gone(ctx context.Context, t *testing.T, c kubernetes.Interface, node string, pods ...*corev1.Pod) {
	t.Helper()
	if _, err := c.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the Node: %v", err)
	}
	for _, p := range pods {
		if _, err := c.CoreV1().Pods(p.Namespace).Get(ctx, p.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the pod %s: %v", p.Name, err)
		}
		folder := filepath.Join(filepath.Dir(clustertest.Kubeconfig()), "agent", "pods", string(p.UID))
		if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the folder of pod %s: %v", p.Name, err)
		}
	}
}

// TestNodesComeAndGo: a node that is added while others run is as it is described, and runs
// pods; removed, its programs are killed without a word, and it can come again.
func TestNodesComeAndGo(t *testing.T) {
	t.Parallel()
	ns, c, a := clustertest.Namespace(t), client(t), clustertest.Agent(t)
	const name = "extra-0"
	if err := a.Add(t.Context(), extra(name)); err != nil {
		t.Fatal(err)
	}
	node, err := c.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{agent.KindLabel: agent.Process, corev1.LabelHostname: name, corev1.LabelTopologyZone: "far-a", corev1.LabelTopologyRegion: "far", "pool": name}
	got := map[string]string{}
	for key := range want {
		got[key] = node.Labels[key]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if node.Spec.ProviderID != "aws:///far-a/"+name || !slices.Contains(node.Spec.Taints, extra(name).Taints[0]) || node.Status.Allocatable.Pods().Value() != 7 {
		t.Errorf("the node is %+v with %v", node.Spec, node.Status.Allocatable)
	}
	lease, err := c.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil || len(lease.OwnerReferences) != 1 || lease.OwnerReferences[0].UID != node.UID {
		t.Errorf("the lease is %+v, %v", lease, err)
	}
	if err := a.Add(t.Context(), extra(name)); !errors.Is(err, agent.ErrHasNode) {
		t.Errorf("added again: %v", err)
	}

	note := filepath.Join(t.TempDir(), "note")
	p := until(t, c, ns, create(t, c, ns, stubborn(name, note)), "the pod to run", is(corev1.PodReady, corev1.ConditionTrue))
	pid := processOf(t, p)
	if err := a.Remove(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if lives(pid) {
		t.Error("the program runs without its node")
	}
	waitFor(t, "what it started to be gone", func() bool { return family(t, pid) == 0 })
	if _, err := os.Stat(note); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the program was told to end: %v", err)
	}
	gone(t.Context(), t, c, name, p)
	waitFor(t, "the lease to be gone", func() bool {
		_, err := c.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	if err := a.Remove(t.Context(), name); !errors.Is(err, agent.ErrNoNode) {
		t.Errorf("removed again: %v", err)
	}

	if err := a.Add(t.Context(), extra(name)); err != nil {
		t.Fatal(err)
	}
	p = until(t, c, ns, create(t, c, ns, stubborn(name, note)), "a pod to run again", is(corev1.PodReady, corev1.ConditionTrue))
	if err := a.Remove(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	gone(t.Context(), t, c, name, p)
}

// TestRemovalEndsAShutdown: the grace period of a node that is being shut down, or of a pod
// that is being deleted, ends with the machine.
func TestRemovalEndsAShutdown(t *testing.T) {
	t.Parallel()
	for title, tell := range map[string]func(t *testing.T, c kubernetes.Interface, node string, p *corev1.Pod){
		"shutdown": func(t *testing.T, c kubernetes.Interface, node string, _ *corev1.Pod) {
			t.Helper()
			patch := `{"metadata":{"annotations":{"windlass.dev/node-state":"stopped"}}}`
			if _, err := c.CoreV1().Nodes().Patch(t.Context(), node, "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
		},
		"deletion": func(t *testing.T, c kubernetes.Interface, _ string, p *corev1.Pod) {
			t.Helper()
			if err := c.CoreV1().Pods(p.Namespace).Delete(t.Context(), p.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			ns, c, a := clustertest.Namespace(t), client(t), clustertest.Agent(t)
			node := "extra-" + title
			if err := a.Add(t.Context(), extra(node)); err != nil {
				t.Fatal(err)
			}
			note := filepath.Join(t.TempDir(), "note")
			p := until(t, c, ns, create(t, c, ns, stubborn(node, note)), "the pod to run", is(corev1.PodReady, corev1.ConditionTrue))
			pid := processOf(t, p)
			tell(t, c, node, p)
			waitFor(t, "the program to be told to end", func() bool { _, err := os.Stat(note); return err == nil })
			if !lives(pid) {
				t.Fatal("the program has ended: there is nothing to cut short")
			}
			if err := a.Remove(t.Context(), node); err != nil {
				t.Fatal(err)
			}
			if lives(pid) {
				t.Error("the program runs without its node")
			}
			gone(t.Context(), t, c, node, p)
		})
	}
}

// TestNamesOfNodes: a node cannot take the place of one that is no process node, and one
// that cannot be registered is not there.
func TestNamesOfNodes(t *testing.T) {
	t.Parallel()
	c, a := client(t), clustertest.Agent(t)
	for name, want := range map[string]string{"node-0": "runs no processes", "No Name": "Invalid value"} {
		if err := a.Add(t.Context(), agent.Node{Name: name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("added %s: %v", name, err)
		}
		if err := a.Remove(t.Context(), name); !errors.Is(err, agent.ErrNoNode) {
			t.Errorf("removed %s: %v", name, err)
		}
	}
	node, err := c.CoreV1().Nodes().Get(t.Context(), "node-0", metav1.GetOptions{})
	if err != nil || node.Labels[agent.KindLabel] != agent.Simulated {
		t.Errorf("node-0: %v, %v", node.Labels, err)
	}
}
