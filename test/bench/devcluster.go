package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// clusterFigures are what the benchmark of the development cluster prints.
type clusterFigures struct {
	Benchmark string `json:"benchmark"`
	Pods      int    `json:"pods"`
	Nodes     int    `json:"nodes"`
	// FirstRequestSeconds is from the start of `dev up` until a pod, asked for as soon
	// as the cluster takes it, answers a request through the gateway.
	FirstRequestSeconds float64 `json:"first_request_seconds"`
	// PodOverhead is from a pod's creation until the API server says that it is Ready,
	// less what is not ours: the program's time until it listens, and then until the
	// next readiness probe. Pods are made one after the other.
	PodOverheadP50 float64 `json:"pod_overhead_p50_ms"`
	PodOverheadP99 float64 `json:"pod_overhead_p99_ms"`
	// What an idle pod takes, whose program sleeps, and an idle node: the proportional
	// share of memory of all the cluster's processes.
	MiBPerIdlePod  float64 `json:"mib_per_idle_pod"`
	MiBPerIdleNode float64 `json:"mib_per_idle_node"`
	// SecondsForAll is how long it takes until all pods are Ready, made at once.
	SecondsForAll float64 `json:"seconds_for_all_pods"`
	gatewayFigures
}

type clusterOptions struct {
	pods, nodes, overhead int
	windlass              string
	seconds               int
}

func devCluster(ctx context.Context, arguments []string) (any, error) {
	var o clusterOptions
	flags := flag.NewFlagSet("devcluster", flag.ContinueOnError)
	flags.IntVar(&o.nodes, "nodes", 50, "how many process nodes")
	flags.IntVar(&o.pods, "pods", 200, "how many pods on them")
	flags.IntVar(&o.overhead, "overhead", 20, "how many pods to time, one after the other")
	flags.IntVar(&o.seconds, "seconds", 10, "how many seconds each load on the gateway lasts")
	flags.StringVar(&o.windlass, "windlass", filepath.Join("bin", "windlass"), "the binary to measure")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	if o.nodes < 2 || o.pods < 1 || o.overhead < 1 || o.seconds < 1 {
		return nil, errors.New("-nodes has to be at least 2, everything else at least 1")
	}
	f := clusterFigures{Benchmark: "devcluster", Pods: o.pods, Nodes: o.nodes}
	if err := small(ctx, o, &f); err != nil {
		return nil, err
	}
	var perNode []float64
	for range idlePairs {
		few, err := idle(ctx, o.windlass, 1)
		if err != nil {
			return nil, err
		}
		many, err := idle(ctx, o.windlass, o.nodes)
		if err != nil {
			return nil, err
		}
		logf("idle: %.0f MiB with one node, %.0f MiB with %d", few, many, o.nodes)
		perNode = append(perNode, (many-few)/float64(o.nodes-1))
	}
	f.MiBPerIdleNode = median(perNode)
	return f, large(ctx, o, &f)
}

// idlePairs are how many clusters with one node and with all are compared.
const idlePairs = 3

// idle is the memory of a new cluster with nothing on its nodes, in MiB.
func idle(ctx context.Context, windlass string, nodes int) (mib float64, err error) {
	c, err := startCluster(ctx, windlass, nodes)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	return c.memory()
}

// small measures a cluster with one process node.
func small(ctx context.Context, o clusterOptions, f *clusterFigures) (err error) {
	start := time.Now()
	c, err := startCluster(ctx, o.windlass, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	if err := c.serve(ctx); err != nil {
		return err
	}
	f.FirstRequestSeconds = time.Since(start).Seconds()
	logf("first request after %.1f s", f.FirstRequestSeconds)
	var overheads []float64
	for i := range o.overhead {
		overhead, err := c.overhead(ctx, fmt.Sprintf("timed-%d", i))
		if err != nil {
			return err
		}
		overheads = append(overheads, overhead)
	}
	slices.Sort(overheads)
	f.PodOverheadP50, f.PodOverheadP99 = at(overheads, 50), at(overheads, 99)
	logf("pod overhead: p50 %.0f ms, p99 %.0f ms", f.PodOverheadP50, f.PodOverheadP99)
	f.gatewayFigures, err = gatewayAgainstProxy(ctx, c, o.seconds)
	return err
}

// large measures a cluster with all nodes and pods.
func large(ctx context.Context, o clusterOptions, f *clusterFigures) (err error) {
	c, err := startCluster(ctx, o.windlass, o.nodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	before, err := c.memory()
	if err != nil {
		return err
	}
	start := time.Now()
	for i := range o.pods {
		pod := benchPod(fmt.Sprintf("idle-%d", i))
		pod.Spec.Containers[0].Image = "busybox"
		pod.Spec.Containers[0].Command = []string{"sleep", "100000"}
		pod.Spec.Containers[0].ReadinessProbe = nil
		if _, err := c.client.CoreV1().Pods(benchNamespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	if err := c.until(ctx, func(pods []corev1.Pod) bool { return readyPods(pods) >= o.pods }); err != nil {
		return err
	}
	f.SecondsForAll = time.Since(start).Seconds()
	logf("%d pods on %d nodes Ready after %.1f s", o.pods, o.nodes, f.SecondsForAll)
	after, err := c.memory()
	f.MiBPerIdlePod = (after - before) / float64(o.pods)
	return err
}

const benchNamespace = "default"

// cluster is a development cluster in a process of its own, as a user has it.
type cluster struct {
	cmd    *exec.Cmd
	ended  chan error
	dir    string
	client kubernetes.Interface
	self   string
}

func startCluster(ctx context.Context, windlass string, nodes int) (*cluster, error) {
	dir, err := os.MkdirTemp("", "windlass-bench-")
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, ended: make(chan error, 1)}
	if c.self, err = os.Executable(); err != nil {
		return nil, err
	}
	images := filepath.Join(dir, "images")
	if err := os.MkdirAll(images, 0o700); err != nil {
		return nil, err
	}
	content := fmt.Sprintf("images:\n- match: [timed]\n  entrypoint: [timed]\n  programs: {timed: [%q, %s, %q]}\n", c.self, timedProgram, dir)
	if err := os.WriteFile(filepath.Join(images, "bench.yaml"), []byte(content), 0o600); err != nil {
		return nil, err
	}
	state := filepath.Join(dir, "state")
	c.cmd = exec.CommandContext(ctx, windlass, "dev", "up", "--dir", state, "--nodes", "1", "--process-nodes", fmt.Sprint(nodes), "--images", images)
	c.cmd.Stderr = os.Stderr
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGTERM) }
	c.cmd.WaitDelay = time.Minute
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { c.ended <- c.cmd.Wait() }()
	if err := c.ready(ctx, state); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(state, "kubeconfig"))
	if err == nil {
		config.QPS, config.Burst = 1000, 1000
		c.client, err = kubernetes.NewForConfig(config)
	}
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// look is how often the benchmark looks at what it waits for.
const look = 5 * time.Millisecond

func (c *cluster) ready(ctx context.Context, state string) error {
	return wait.PollUntilContextTimeout(ctx, look, 3*time.Minute, true, func(context.Context) (bool, error) {
		select {
		case err := <-c.ended:
			c.ended <- err
			return false, fmt.Errorf("the cluster ended: %w", err)
		default:
		}
		_, err := os.Stat(filepath.Join(state, "ready"))
		return err == nil, nil
	})
}

func (c *cluster) stop() error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // It may have ended by itself.
	return errors.Join(<-c.ended, os.RemoveAll(c.dir))
}

func (c *cluster) gateway() (string, error) {
	address, err := os.ReadFile(filepath.Join(c.dir, "state", "gateway"))
	return strings.TrimSpace(string(address)), err
}

func benchPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{AutomountServiceAccountToken: new(false), TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{{
			Name: "main", Image: "timed", Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
			ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: readyPath, Port: intstr.FromInt32(8080)}}, PeriodSeconds: 1},
		}}},
	}
}

// serve makes a pod and a Service, and returns when a request is answered.
func (c *cluster) serve(ctx context.Context) error {
	pod := benchPod("web")
	pod.Spec.Containers[0].Image = "web:1"
	pod.Spec.Containers[0].ReadinessProbe.HTTPGet.Path = "/"
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
		Selector: pod.Labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
	}}
	if _, err := c.client.CoreV1().Services(benchNamespace).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := c.client.CoreV1().Pods(benchNamespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	gateway, err := c.gateway()
	if err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, look, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		return answers(ctx, gateway), nil
	})
}

// overhead makes one pod, and returns what the cluster added to its way to Ready, in ms.
func (c *cluster) overhead(ctx context.Context, name string) (float64, error) {
	watching, err := c.client.CoreV1().Pods(benchNamespace).Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	if err != nil {
		return 0, err
	}
	defer watching.Stop()
	created := time.Now()
	if _, err := c.client.CoreV1().Pods(benchNamespace).Create(ctx, benchPod(name), metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	deadline := time.After(time.Minute)
	for {
		select {
		case event, ok := <-watching.ResultChan():
			if pod, isPod := event.Object.(*corev1.Pod); ok && isPod && isReady(*pod) {
				return c.less(name, created, time.Now())
			}
			if !ok {
				return 0, errors.New("the watch ended")
			}
		case <-deadline:
			return 0, fmt.Errorf("pod %s does not become Ready", name)
		}
	}
}

// less takes off what the program took by itself and what the probe's period did.
func (c *cluster) less(name string, created, ready time.Time) (float64, error) {
	content, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		return 0, err
	}
	var own timedReport
	if err := json.Unmarshal(content, &own); err != nil {
		return 0, err
	}
	overhead := ready.Sub(created) - own.Probed.Sub(own.Started)
	return float64(overhead.Microseconds()) / 1000, nil
}

func (c *cluster) until(ctx context.Context, done func([]corev1.Pod) bool) error {
	return wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, 5*time.Minute, true, func(ctx context.Context) (bool, error) {
		pods, err := c.client.CoreV1().Pods(benchNamespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		return err == nil && done(pods.Items), err
	})
}

func isReady(pod corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func readyPods(pods []corev1.Pod) int {
	n := 0
	for i := range pods {
		if isReady(pods[i]) {
			n++
		}
	}
	return n
}

// at is the smallest value that p percent of the sorted ones do not exceed.
func at(sorted []float64, p int) float64 {
	return sorted[max((len(sorted)*p+99)/100, 1)-1]
}
