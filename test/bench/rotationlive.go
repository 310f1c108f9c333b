package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud/simulated"
	"windlass.dev/internal/config"
	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/install"
	"windlass.dev/internal/manager"
)

// liveFigures are what the benchmark rotation-live prints: the medians of the pairs.
type liveFigures struct {
	Benchmark string `json:"benchmark"`
	Nodes     int    `json:"nodes"`
	Pods      int    `json:"pods"`
	Pairs     int    `json:"pairs"`
	// Seconds is from the run's creation until it has succeeded; FloorSeconds from the
	// first new node until no pod is on an old one and all are Ready, by a client that
	// evicts in one loop for each budget and takes no other care.
	Seconds      float64 `json:"seconds"`
	FloorSeconds float64 `json:"floor_seconds"`
	Ratio        float64 `json:"ratio"`
	Evictions    float64 `json:"evictions_per_pod"`
}

const (
	liveNodes, liveApps, liveReplicas = 17, 10, 10
	liveGroup                         = "apps"
	liveTimeout                       = 5 * time.Minute
)

func rotationLive(ctx context.Context, arguments []string) (any, error) {
	flags := flag.NewFlagSet("rotation-live", flag.ContinueOnError)
	pairs := flags.Int("pairs", 3, "how many times to measure both, alternately")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	if *pairs < 1 {
		return nil, errors.New("-pairs has to be at least 1")
	}
	var all, floors, evictions []float64
	for pair := range *pairs {
		seconds, perPod, err := liveRun(ctx, liveWindlass)
		if err != nil {
			return nil, err
		}
		floor, _, err := liveRun(ctx, liveFloor)
		if err != nil {
			return nil, fmt.Errorf("floor: %w", err)
		}
		logf("pair %d of %d: %.1f s, floor %.1f s, %.2f evictions a pod", pair+1, *pairs, seconds, floor, perPod)
		all, floors, evictions = append(all, seconds), append(floors, floor), append(evictions, perPod)
	}
	f := liveFigures{Benchmark: "rotation-live", Nodes: liveNodes, Pods: liveApps * liveReplicas, Pairs: *pairs, Seconds: median(all), FloorSeconds: median(floors), Evictions: median(evictions)}
	f.Ratio = f.Seconds / f.FloorSeconds
	return f, nil
}

// live is a cluster that is about to be rotated.
type live struct {
	client   client.WithWatch
	config   *rest.Config
	machines *simulated.Provider
	old      map[string]bool
}

// liveRun makes a cluster, lets something rotate it, and says how long that took.
func liveRun(ctx context.Context, rotate func(context.Context, *live) error) (seconds, evictions float64, err error) {
	dir, err := os.MkdirTemp("", "windlass-bench-")
	if err != nil {
		return 0, 0, err
	}
	cluster, err := devcluster.Start(ctx, devcluster.Options{Dir: dir, Nodes: 1, Ephemeral: true})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, cluster.Stop(context.WithoutCancel(ctx))) }()
	l, err := prepareLive(ctx, cluster)
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := rotate(ctx, l); err != nil {
		return 0, 0, err
	}
	took := time.Since(began)
	moved, err := l.moved(ctx)
	return took.Seconds(), moved, err
}

func prepareLive(ctx context.Context, cluster *devcluster.Cluster) (*live, error) {
	scheme, err := manager.Scheme()
	if err != nil {
		return nil, err
	}
	l := &live{config: rest.CopyConfig(cluster.Config()), old: map[string]bool{}}
	l.config.QPS = -1
	if l.client, err = client.NewWithWatch(l.config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	objects, err := install.Objects(install.Options{WithoutDeployment: true})
	if err != nil {
		return nil, err
	}
	if err := install.Apply(ctx, l.client, objects, func(*unstructured.Unstructured, bool) {}); err != nil {
		return nil, err
	}
	if err := l.client.Patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-0"}}, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"unschedulable":true}}`))); err != nil {
		return nil, err
	}
	l.machines = &simulated.Provider{Client: l.client, Namespace: install.Namespace}
	if err := l.machines.Create(ctx, liveGroup, liveNodes, "4"); err != nil {
		return nil, err
	}
	for i := range liveApps {
		if err := l.deploy(ctx, fmt.Sprintf("app-%d", i)); err != nil {
			return nil, err
		}
	}
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	var nodes corev1.NodeList
	if err := l.client.List(ctx, &nodes, client.MatchingLabels{simulated.GroupLabel: liveGroup}); err != nil {
		return nil, err
	}
	for i := range nodes.Items {
		l.old[nodes.Items[i].Name] = true
	}
	return l, nil
}

func (l *live) deploy(ctx context.Context, name string) error {
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(liveReplicas)), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{{
			Name: "main", Image: "web:1", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("600m")}},
		}}}},
	}}
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: policyv1.PodDisruptionBudgetSpec{
		MaxUnavailable: new(intstr.FromInt32(1)), Selector: d.Spec.Selector,
	}}
	return errors.Join(l.client.Create(ctx, d), l.client.Create(ctx, b))
}

// ready waits until all Deployments are available, and their budgets know.
func (l *live) ready(ctx context.Context) error {
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, liveTimeout, true, func(ctx context.Context) (bool, error) {
		var list policyv1.PodDisruptionBudgetList
		if err := l.client.List(ctx, &list, client.InNamespace("default")); err != nil {
			return false, err
		}
		for i := range list.Items {
			if list.Items[i].Status.CurrentHealthy < liveReplicas || list.Items[i].Status.DisruptionsAllowed < 1 {
				return false, nil
			}
		}
		return len(list.Items) == liveApps, nil
	})
}

// moved is how many pods were made for each that there was: what is not moved twice was
// evicted once.
func (l *live) moved(ctx context.Context) (float64, error) {
	var events corev1.EventList
	if err := l.client.List(ctx, &events, client.InNamespace("default"), client.MatchingFields{"reason": "SuccessfulCreate"}); err != nil {
		return 0, err
	}
	made := 0
	for i := range events.Items {
		made += max(int(events.Items[i].Count), 1)
	}
	return float64(made)/float64(liveApps*liveReplicas) - 1, nil
}

func liveWindlass(ctx context.Context, l *live) error {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	cfg := config.Default()
	cfg.Installations.Disabled, cfg.Leases.Disabled = true, true
	cfg.Metrics.Address, cfg.Health.Address = "0", "0"
	started, ended := make(chan struct{}), make(chan error, 1)
	running, stop := context.WithCancel(ctx)
	go func() {
		ended <- manager.Run(running, cfg, l.config, manager.Hooks{Registry: prometheus.NewRegistry(), Started: func() { close(started) }})
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			logf("the controllers ended: %v", err)
		}
	}()
	select {
	case <-started:
	case err := <-ended:
		ended <- err
		return fmt.Errorf("controllers: %w", err)
	}
	group := &v1alpha1.NodeGroup{ObjectMeta: metav1.ObjectMeta{Name: liveGroup}, Spec: v1alpha1.NodeGroupSpec{Provider: v1alpha1.Provider{Simulated: &v1alpha1.SimulatedGroup{Name: liveGroup}}}}
	run := &v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: "all"}, Spec: v1alpha1.NodeRotationSpec{Strategy: &v1alpha1.Strategy{MaxSurge: new(intstr.FromString("100%")), MinReadySeconds: new(int32(0))}}}
	if err := errors.Join(l.machines.Apply(ctx, liveGroup, 2), l.client.Create(ctx, group), l.client.Create(ctx, run)); err != nil {
		return err
	}
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		if err := l.client.Get(ctx, client.ObjectKeyFromObject(run), run); err != nil {
			return false, err
		}
		if run.Status.Phase == v1alpha1.Failed || run.Status.Phase == v1alpha1.Aborted {
			return false, fmt.Errorf("the run ended as %s: %s", run.Status.Phase, run.Status.OutcomeMessage)
		}
		return run.Status.Phase == v1alpha1.Succeeded, nil
	})
	if err != nil {
		return fmt.Errorf("rotation: %w (%s, waits: %v)", err, run.Status.Phase, run.Status.Waits)
	}
	return nil
}

// liveFloor is the least that does the job: as many new nodes, and for each budget one
// loop that evicts its pods from old ones as soon as it is let.
func liveFloor(ctx context.Context, l *live) error {
	ref := v1alpha1.Provider{Simulated: &v1alpha1.SimulatedGroup{Name: liveGroup}}
	if err := errors.Join(l.machines.Apply(ctx, liveGroup, 2), l.machines.Resize(ctx, ref, 2*liveNodes)); err != nil {
		return err
	}
	for name := range l.old {
		if err := l.client.Patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"unschedulable":true}}`))); err != nil {
			return err
		}
	}
	var group errgroup.Group
	for i := range liveApps {
		group.Go(func() error { return l.evictAll(ctx, fmt.Sprintf("app-%d", i)) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := l.ready(ctx); err != nil {
		return err
	}
	for name := range l.old {
		if err := l.client.Delete(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return err
		}
	}
	return nil
}

func (l *live) evictAll(ctx context.Context, app string) error {
	var pods corev1.PodList
	if err := l.client.List(ctx, &pods, client.InNamespace("default"), client.MatchingLabels{"app": app}); err != nil {
		return err
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		if !l.old[p.Spec.NodeName] {
			continue
		}
		err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, liveTimeout, true, func(ctx context.Context) (bool, error) {
			err := l.client.SubResource("eviction").Create(ctx, p, &policyv1.Eviction{})
			if apierrors.IsTooManyRequests(err) {
				return false, nil
			}
			return err == nil, client.IgnoreNotFound(err)
		})
		if err != nil {
			return fmt.Errorf("evict %s: %w", p.Name, err)
		}
	}
	return nil
}
