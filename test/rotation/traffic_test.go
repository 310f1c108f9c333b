package rotation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/traffic"
	"windlass.dev/test/windlasstest"
)

// cleanup is a context for what is removed when a test is over.
func cleanup(t testing.TB) context.Context { return context.WithoutCancel(t.Context()) }

const (
	replicas = 8
	rate     = 300 // requests a second
	// preStop is long enough for a busy machine to tell the gateway that a pod is going.
	preStop = 12 * time.Second
)

// application is one that is served behind the gateway, and what to send it.
type application struct {
	namespace string
	plan      traffic.Plan
}

// serve makes an application that is careful.
func serve(t *testing.T) application {
	t.Helper()
	ctx, c, ns := t.Context(), windlasstest.Client(t), clustertest.Namespace(t)
	labels := map[string]string{"app": "web"}
	host := ns + ".example.com"
	meta := metav1.ObjectMeta{Namespace: ns, Name: "web"}
	for _, object := range []client.Object{
		&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(replicas)), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
				TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: &metav1.LabelSelector{MatchLabels: labels}}},
				Containers: []corev1.Container{{
					Name: "main", Image: "web:1", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}, Env: []corev1.EnvVar{{Name: "STANDIN_BOOT", Value: "1s"}},
					ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("http")}}, PeriodSeconds: 1},
					Lifecycle:      &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: int64(preStop / time.Second)}}},
				}},
			}},
		}},
		&policyv1.PodDisruptionBudget{ObjectMeta: meta, Spec: policyv1.PodDisruptionBudgetSpec{MaxUnavailable: new(intstr.FromInt32(2)), Selector: &metav1.LabelSelector{MatchLabels: labels}}},
		&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}}}},
		&networkingv1.Ingress{ObjectMeta: meta, Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{
			HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: new(networkingv1.PathTypePrefix), Backend: networkingv1.IngressBackend{
				Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}},
			}}}},
		}}}}},
	} {
		if err := c.Create(ctx, object); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, deadline, "the application to be available", func() bool {
		var d appsv1.Deployment
		return c.Get(ctx, client.ObjectKey{Namespace: ns, Name: "web"}, &d) == nil && d.Status.AvailableReplicas == replicas
	})
	plan := traffic.Plan{URL: "http://" + host + "/", Connect: clustertest.Gateway(t), FreshEvery: 5, By: []string{"X-Windlass-Gateway"}, Rate: rate, Duration: 2 * time.Second}
	waitFor(t, deadline, "the load to be answered quickly", func() bool {
		report, err := traffic.Run(ctx, plan)
		return err == nil && report.Lost() == 0 && report.Requests.P99 < 250
	})
	return application{ns, plan}
}

// load sends requests until it is stopped, and then fails the test if it did not send so
// many, if one was lost, or if a pod was not given the time to end that it asks for.
func (a application) load(t *testing.T) (stop func(least int)) {
	t.Helper()
	plan := a.plan
	plan.Duration = 5 * time.Second
	pods := watchPods(t, a.namespace)
	done, over := make(chan struct{}), make(chan [2]int)
	go func() {
		var sum [2]int
		for {
			report, err := traffic.Run(t.Context(), plan)
			if err != nil {
				t.Errorf("traffic: %v", err)
				over <- sum
				return
			}
			sum[0] += report.Requests.Sent
			sum[1] += report.Lost()
			if report.Lost() > 0 {
				t.Logf("lost in the 5 s before %s: %+v %v", time.Now().Format("15:04:05.000"), report.Requests, report.By)
			}
			select {
			case <-done:
				over <- sum
				return
			default:
			}
		}
	}()
	return func(least int) {
		close(done)
		sum := <-over
		t.Logf("%d requests, %d lost", sum[0], sum[1])
		if sum[1] > 0 || sum[0] < least {
			t.Errorf("%d of %d requests were lost", sum[1], sum[0])
		}
		// What the kubelet takes until it begins to wait is not to count.
		for _, p := range pods.abrupt(preStop - time.Second) {
			t.Error(p)
		}
	}
}

// installations makes a fleet of installations, and waits until they are stable; which is
// what they have to be again in the end.
func installations(t *testing.T, n int) (again func()) {
	t.Helper()
	ctx, c, ns := t.Context(), windlasstest.Client(t), clustertest.Namespace(t)
	for name, data := range map[string]map[string]string{
		"db": {"DB_CONNECTION_STRING": "postgres://example:example@db.example.com/mm", "DB_CONNECTION_CHECK_URL": "postgres://db.example.com/mm"},
		"fs": {"accesskey": "example", "secretkey": "example"},
	} {
		if err := c.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, StringData: data}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		name := fmt.Sprintf("chat-%d", i)
		mm := &v1beta1.Mattermost{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: v1beta1.MattermostSpec{
			Version: "10.5.2", Replicas: new(int32(2)), Ingress: &v1beta1.Ingress{Enabled: true, Host: name + "." + ns + ".example.com"},
			Database:  v1beta1.Database{External: &v1beta1.ExternalDatabase{Secret: "db"}},
			FileStore: v1beta1.FileStore{External: &v1beta1.ExternalFileStore{URL: "s3.example.com", Bucket: "chat", Secret: "fs"}},
		}}
		if err := c.Create(ctx, mm); err != nil {
			t.Fatal(err)
		}
	}
	again = func() {
		waitFor(t, 3*time.Minute, "the installations to be stable", func() bool { return stable(t, ns, n) })
	}
	again()
	return again
}

func stable(t testing.TB, ns string, n int) bool {
	var list v1beta1.MattermostList
	if err := windlasstest.Client(t).List(t.Context(), &list, client.InNamespace(ns)); err != nil {
		return false
	}
	return len(list.Items) == n && !slices.ContainsFunc(list.Items, func(mm v1beta1.Mattermost) bool { return mm.Status.State != v1beta1.Stable })
}

// begin begins a rotation to an image.
func begin(t *testing.T, m *machines, image string, strategy *v1alpha1.Strategy) *v1alpha1.NodeRotation {
	t.Helper()
	run := &v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: unique("run")}, Spec: v1alpha1.NodeRotationSpec{Groups: []string{m.name}, Target: &v1alpha1.Target{Images: []string{image}}, Strategy: strategy}}
	if err := windlasstest.Client(t).Create(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	return run
}

// finished waits until a run is over, and says how it ended.
func finished(t *testing.T, run *v1alpha1.NodeRotation) {
	t.Helper()
	c := windlasstest.Client(t)
	over := []v1alpha1.Phase{v1alpha1.Succeeded, v1alpha1.Failed, v1alpha1.Aborted, v1alpha1.RolledBack}
	until := time.Now().Add(rotationDeadline)
	for !slices.Contains(over, run.Status.Phase) {
		if time.Now().After(until) {
			t.Fatalf("the run does not end: %s, %d outdated, %d open, waits: %+v", run.Status.Phase, run.Status.Outdated, run.Status.Open, run.Status.Waits)
		}
		waitFor(t, deadline, "the API server", func() bool { return c.Get(t.Context(), client.ObjectKeyFromObject(run), run) == nil })
	}
}

func succeeds(t *testing.T, run *v1alpha1.NodeRotation) {
	t.Helper()
	finished(t, run)
	if run.Status.Phase != v1alpha1.Succeeded {
		t.Fatalf("the run ended as %s: %s", run.Status.Phase, run.Status.OutcomeMessage)
	}
	t.Logf("%d nodes were replaced in %s", run.Status.Replaced, run.Status.FinishedAt.Sub(run.Status.StartedAt.Time))
}

func quick() *v1alpha1.Strategy {
	return &v1alpha1.Strategy{MaxSurge: new(intstr.FromString("50%")), MinReadySeconds: new(int32(1))}
}

// TestRotationUnderTraffic: a full rotation of twelve nodes, on which a fleet of
// installations and an application run, through the real SDK: no request is lost.
func TestRotationUnderTraffic(t *testing.T) { //nolint:paralleltest // It measures.
	m, w := newMachines(t, 12), newWindlass(t)
	w.start(t)
	stableAgain := installations(t, 4)
	app, image := serve(t), m.image(t)
	strategy := quick()
	strategy.PrePull = &v1alpha1.PrePull{}
	pullers := watchPullers(t)
	stop := app.load(t)
	run := begin(t, m, image, strategy)
	succeeds(t, run)
	stop(rate * 20)
	m.asBefore(t, image)
	pullers(int(m.size))
	stableAgain()
	t.Log(timeline(t, run))
}

// TestKilledUnderTraffic: the same, with a controller that is killed between 1 and 5
// seconds after each time it was elected, at least 20 times.
func TestKilledUnderTraffic(t *testing.T) { //nolint:paralleltest // It measures.
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	m, w := newMachines(t, 12), newWindlass(t)
	app, image := serve(t), m.image(t)
	stop := app.load(t)
	run := begin(t, m, image, &v1alpha1.Strategy{MaxSurge: new(intstr.FromInt32(1)), MinReadySeconds: new(int32(1))})
	kills := 0
	for ; kills < 20; kills++ {
		before := strings.Count(w.log.String(), elected)
		w.start(t)
		waitFor(t, deadline, "the controller to be elected", func() bool { return strings.Count(w.log.String(), elected) > before })
		life := time.Second + time.Duration(random.Int64N(int64(4*time.Second)))
		over := time.Now().Add(life)
		waitFor(t, deadline, "its time to be over", func() bool { return time.Now().After(over) })
		w.kill()
	}
	w.start(t)
	succeeds(t, run)
	stop(rate * 20)
	m.asBefore(t, image)
}

// watchPullers watches pods that pull images, and then says whether so many nodes had one
// that ended by itself, and whether any is left.
func watchPullers(t *testing.T) (check func(nodes int)) {
	t.Helper()
	c, only := windlasstest.Client(t), client.HasLabels{v1alpha1.PrePullLabel}
	w, err := c.Watch(t.Context(), &corev1.PodList{}, only)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan map[string]bool)
	go func() {
		pulled := map[string]bool{}
		for event := range w.ResultChan() {
			if p, ok := event.Object.(*corev1.Pod); ok && p.Status.Phase == corev1.PodFailed {
				pulled[p.Spec.NodeName] = true
			}
		}
		done <- pulled
	}()
	return func(nodes int) {
		waitFor(t, deadline, "the pods that pull images to be removed", func() bool {
			var list corev1.PodList
			return c.List(t.Context(), &list, only) == nil && len(list.Items) == 0
		})
		w.Stop()
		if pulled := <-done; len(pulled) != nodes {
			t.Errorf("%d nodes pulled images before pods moved to them, want %d", len(pulled), nodes)
		}
	}
}

// elected is what the controller's log says when it begins to act.
const elected = "Starting workers"

// TestBadDaysUnderTraffic: the same, while a zone has no capacity for a while, and AWS
// throttles.
func TestBadDaysUnderTraffic(t *testing.T) { //nolint:paralleltest // It measures.
	m, w := newMachines(t, 6), newWindlass(t)
	w.start(t)
	app, image := serve(t), m.image(t)
	ask(t, "dev", "aws", "capacity", "eu-central-1a", instanceType, "--room", "0")
	ask(t, "dev", "aws", "throttle", "autoscaling.DescribeAutoScalingGroups", "--per-second", "1", "--burst", "2")
	stop := app.load(t)
	run := begin(t, m, image, quick())
	c := windlasstest.Client(t)
	waitFor(t, deadline, "some nodes to be replaced", func() bool {
		return c.Get(t.Context(), client.ObjectKeyFromObject(run), run) == nil && run.Status.Replaced > 0
	})
	ask(t, "dev", "aws", "capacity", "eu-central-1a", instanceType, "--unlimited")
	ask(t, "dev", "aws", "throttle", "autoscaling.DescribeAutoScalingGroups", "--off")
	succeeds(t, run)
	stop(rate * 20)
	m.asBefore(t, image)
}

// timeline is what became of each node, and when.
func timeline(t *testing.T, run *v1alpha1.NodeRotation) string {
	t.Helper()
	var list v1alpha1.NodeReplacementList
	if err := windlasstest.Client(t).List(t.Context(), &list, client.MatchingLabels{v1alpha1.RotationLabel: run.Name}); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b v1alpha1.NodeReplacement) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	after := func(at *metav1.Time) string {
		if at == nil {
			return "-"
		}
		return fmt.Sprintf("%.0f", at.Sub(run.Status.StartedAt.Time).Seconds())
	}
	text := "seconds after the beginning:\nnode opened drained ending gone pods\n"
	for i := range list.Items {
		r := &list.Items[i]
		text += fmt.Sprintf("%s %s %s %s %s %d\n", r.Spec.Node, after(&r.CreationTimestamp), after(r.Status.DrainedAt), after(r.Status.TerminateAt), after(r.Status.FinishedAt), len(r.Status.Pods))
	}
	return text
}
