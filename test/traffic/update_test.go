package traffic

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/traffic"
)

// load is what is sent to each data plane while an application is updated.
const (
	rate       = 500 // requests a second
	webSockets = 50
	duration   = time.Minute
)

// TestRollingUpdateUnderTraffic updates two applications, one after the other, under the
// same load, which reaches each of them through our gateway and through nginx at once. The
// careful one has a readiness probe, drains before it stops and finishes what is under way:
// nothing is lost. The careless one does nothing of that, and loses some.
func TestRollingUpdateUnderTraffic(t *testing.T) { //nolint:paralleltest // It measures.
	careful, careless := rollingUpdate(t, true, duration), rollingUpdate(t, false, duration/3)
	t.Log(table(map[string]map[string]*traffic.Report{"careful": careful, "careless": careless}))
	for plane, r := range careful {
		if r.Lost() != 0 {
			t.Errorf("the careful one lost %d through %s: %+v %+v", r.Lost(), plane, r.Requests, *r.WebSockets)
		}
		if want := int(rate * duration.Seconds()); r.Requests.Sent < want {
			t.Errorf("%d requests were sent through %s, want %d", r.Requests.Sent, plane, want)
		}
	}
	for plane, r := range careless {
		if r.Lost() == 0 {
			t.Errorf("the careless one lost nothing through %s, so that this test shows nothing: %+v %+v", plane, r.Requests, *r.WebSockets)
		}
	}
	for title, reports := range map[string]map[string]*traffic.Report{"careful": careful, "careless": careless} {
		for plane, r := range reports {
			if r.By["1"] == 0 || r.By["2"] == 0 {
				t.Errorf("the %s one was not updated while requests came through %s: %v", title, plane, r.By)
			}
		}
	}
}

// table is one report on all of them.
func table(all map[string]map[string]*traffic.Report) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\napplication\tthrough\tsent\tlost\tp50 ms\tp99 ms\twebsockets opened\tclosed\tdropped\trefused\tlongest without, ms")
	for _, title := range slices.Sorted(maps.Keys(all)) {
		for _, plane := range slices.Sorted(maps.Keys(all[title])) {
			r := all[title][plane]
			q, s := r.Requests, r.WebSockets
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%.1f\t%.1f\t%d\t%d\t%d\t%d\t%.0f\n", title, plane, q.Sent, q.Lost, q.P50, q.P99, s.Opened, s.Closed, s.Dropped, s.Refused, s.LongestDown)
		}
	}
	w.Flush()
	return text.String()
}

// rollingUpdate returns what was measured through each data plane.
func rollingUpdate(t *testing.T, careful bool, lasts time.Duration) map[string]*traffic.Report {
	t.Helper()
	a := app{client: client(t), namespace: clustertest.Namespace(t), from: "1", to: "2"}
	a.deploy(t, careful)
	planes := map[string]string{"the gateway": clustertest.Gateway(t), "nginx": startNginx(t, a.namespace).address}
	plan := a.plan(rate, webSockets)
	for _, address := range planes {
		plan.Connect = address
		calm(t, plan)
	}
	plan.Duration = lasts
	reports := map[string]*traffic.Report{}
	var mu sync.Mutex
	var sending sync.WaitGroup
	for plane, address := range planes {
		plan := plan
		plan.Connect = address
		sending.Go(func() {
			report, err := traffic.Run(t.Context(), plan)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			reports[plane] = report
		})
	}
	a.update(t)
	sending.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return reports
}

// app is an application with four replicas in some cluster, and the versions that it is
// updated from and to.
type app struct {
	client              kubernetes.Interface
	namespace, from, to string
}

func (a app) host() string { return a.namespace + ".example.com" }

func (a app) plan(rate float64, webSockets int) traffic.Plan {
	return traffic.Plan{
		URL: "http://" + a.host() + "/", FreshEvery: 5, By: []string{"X-Windlass-Version"},
		Rate: rate, WebSockets: webSockets, WebSocketURL: "ws://" + a.host() + "/api/v4/websocket",
	}
}

// deploy makes everything that the application is.
func (a app) deploy(t *testing.T, careful bool) {
	t.Helper()
	labels := map[string]string{"app": "web"}
	container := web("main", env("STANDIN_BOOT", "3s"))
	container.Image = "web:" + a.from
	if careful {
		container.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("http")}}, PeriodSeconds: 1}
		container.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 8}}}
	} else {
		container.Env = append(container.Env, env("STANDIN_ABRUPT", "true"))
	}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(4)), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: new(intstr.FromInt32(1)), MaxUnavailable: new(intstr.FromInt32(0))}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{container}}},
	}}
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}}}}
	in := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{Host: a.host(), IngressRuleValue: networkingv1.IngressRuleValue{
		HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: new(networkingv1.PathTypePrefix), Backend: networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}},
		}}}},
	}}}}}
	ctx := t.Context()
	if _, err := a.client.AppsV1().Deployments(a.namespace).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.client.CoreV1().Services(a.namespace).Create(ctx, s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.client.NetworkingV1().Ingresses(a.namespace).Create(ctx, in, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// update sets the next image, and waits until every pod has it. A failure does not end
// the test, as traffic may be under way.
func (a app) update(t *testing.T) {
	t.Helper()
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"web:%s"}]}}}}`, a.to)
	if _, err := a.client.AppsV1().Deployments(a.namespace).Patch(t.Context(), "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Error(err)
		return
	}
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		d, err := a.client.AppsV1().Deployments(a.namespace).Get(ctx, "web", metav1.GetOptions{})
		return err == nil && d.Status.ObservedGeneration == d.Generation && d.Status.UpdatedReplicas == 4 && d.Status.AvailableReplicas == 4 && d.Status.Replicas == 4, err
	})
	if err != nil {
		t.Errorf("the update does not end: %v", err)
	}
}
