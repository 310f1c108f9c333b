package traffic

import (
	"context"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"

	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/traffic"
)

// load is what is sent while an application is updated.
const (
	rate       = 200 // requests a second
	webSockets = 20
	duration   = 25 * time.Second
)

// TestRollingUpdateUnderTraffic updates two applications, one after the other, under the
// same load. The careful one has a readiness probe and drains before it stops: nothing
// is lost. The careless one, with neither, loses requests and breaks websockets.
func TestRollingUpdateUnderTraffic(t *testing.T) { //nolint:paralleltest // It measures.
	careful, careless := rollingUpdate(t, true), rollingUpdate(t, false)
	t.Logf("careful: %+v %+v", careful.Requests, *careful.WebSockets)
	t.Logf("careless: %+v %+v", careless.Requests, *careless.WebSockets)
	if careful.Lost() != 0 {
		t.Errorf("the careful one lost %d: %+v %+v", careful.Lost(), careful.Requests, *careful.WebSockets)
	}
	if careless.Requests.Lost == 0 {
		t.Error("the careless one lost nothing, so that this test shows nothing")
	}
	for title, r := range map[string]*traffic.Report{"careful": careful, "careless": careless} {
		if r.By["1"] == 0 || r.By["2"] == 0 {
			t.Errorf("the %s one was not updated while requests came: %v", title, r.By)
		}
	}
}

func rollingUpdate(t *testing.T, careful bool) *traffic.Report {
	t.Helper()
	ns, c := clustertest.Namespace(t), client(t)
	host := ns + ".example.com"
	labels := map[string]string{"app": "web"}
	container := web("main", env("STANDIN_BOOT", "1s"))
	if careful {
		container.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("http")}}, PeriodSeconds: 1}
		container.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 8}}}
	}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(4)), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: new(intstr.FromInt32(1)), MaxUnavailable: new(intstr.FromInt32(0))}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{container}}},
	}}
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}}}}
	in := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{
		HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: new(networkingv1.PathTypePrefix), Backend: networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}},
		}}}},
	}}}}}
	ctx := t.Context()
	if _, err := c.AppsV1().Deployments(ns).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Services(ns).Create(ctx, s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.NetworkingV1().Ingresses(ns).Create(ctx, in, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	plan := traffic.Plan{
		URL: "http://" + host + "/", Connect: clustertest.Gateway(t), FreshEvery: 5, By: []string{"X-Windlass-Version"},
		Rate: rate, WebSockets: webSockets, WebSocketURL: "ws://" + host + "/api/v4/websocket",
	}
	calm(t, plan)
	plan.Duration = duration
	updated := make(chan error, 1)
	go func() {
		patch := `{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"web:2"}]}}}}`
		_, err := c.AppsV1().Deployments(ns).Patch(ctx, "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
		updated <- err
	}()
	report, err := traffic.Run(ctx, plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-updated; err != nil {
		t.Fatal(err)
	}
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		d, err := c.AppsV1().Deployments(ns).Get(ctx, "web", metav1.GetOptions{})
		return err == nil && d.Status.UpdatedReplicas == 4 && d.Status.AvailableReplicas == 4, err
	})
	if err != nil {
		t.Errorf("the update does not end: %v", err)
	}
	return report
}
