// Package runs tests what all long runs share against a real API server: the manifests
// of its guide, what the API refuses, and the checks of gates.
package runs

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	nodes "windlass.dev/api/nodes/v1alpha1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/devcluster/clustertest"
	"windlass.dev/internal/gate"
	"windlass.dev/internal/gate/probe"
	"windlass.dev/internal/window"
	"windlass.dev/test/windlasstest"
)

// deadline bounds each wait.
const deadline = 90 * time.Second

func TestMain(m *testing.M) { windlasstest.Main(m, nil) }

// inDefault has an object in a namespace that there is.
func inDefault(object *unstructured.Unstructured) {
	if object.GetNamespace() != "" {
		object.SetNamespace(metav1.NamespaceDefault)
	}
}

// TestGuideManifests makes each object of the guide, as it is there but for its namespace.
func TestGuideManifests(t *testing.T) {
	t.Parallel()
	kinds := map[string]bool{}
	rotations := windlasstest.Of[nodes.NodeRotation](t, windlasstest.Paste(t, windlasstest.Page(t, "guides/windows-gates-notifications.md"), inDefault), "NodeRotation")
	for _, rotation := range rotations {
		if _, err := window.Parse(rotation.Spec.Strategy.Windows); err != nil {
			t.Error(err)
		}
		for _, g := range rotation.Spec.Strategy.Gates {
			for kind, given := range map[string]bool{
				"prometheus": g.Prometheus != nil, "http": g.HTTP != nil, "workloads": g.Workloads != nil,
				"nodeCondition": g.NodeCondition != nil, "installations": g.Installations != nil,
			} {
				kinds[kind] = kinds[kind] || given
			}
		}
	}
	for kind, shown := range kinds {
		if !shown {
			t.Errorf("the guide shows no gate %s", kind)
		}
	}
	if len(rotations) < 8 {
		t.Errorf("the guide has %d manifests of a NodeRotation", len(rotations))
	}
}

// What the API refuses, and what it says.
func TestTheAPIRefuses(t *testing.T) {
	t.Parallel()
	c := client.NewDryRunClient(windlasstest.Client(t))
	web := &run.HTTPGate{URL: "https://shop.example.com"}
	hook := &run.WebhookNotification{URL: run.SecretKey{Namespace: "ops", Name: "hook", Key: "url"}}
	cases := map[string]struct {
		strategy nodes.Strategy
		want     string // Empty if it is taken.
	}{
		"one kind":             {nodes.Strategy{Gates: []run.Gate{{Name: "a", HTTP: web}}}, ""},
		"two kinds in a gate":  {nodes.Strategy{Gates: []run.Gate{{Name: "a", HTTP: web, Workloads: &run.WorkloadsGate{}}}}, "give exactly one of prometheus"},
		"no kind of gate":      {nodes.Strategy{Gates: []run.Gate{{Name: "a"}}}, "give exactly one of prometheus"},
		"two gates of a name":  {nodes.Strategy{Gates: []run.Gate{{Name: "a", HTTP: web}, {Name: "a", HTTP: web}}}, "Duplicate value"},
		"another scheme":       {nodes.Strategy{Gates: []run.Gate{{Name: "a", HTTP: &run.HTTPGate{URL: "file:///etc/passwd"}}}}, "should match"},
		"an unknown empty":     {nodes.Strategy{Gates: []run.Gate{{Name: "a", Workloads: &run.WorkloadsGate{Empty: "Maybe"}}}}, "Unsupported value"},
		"a value of words":     {nodes.Strategy{Gates: []run.Gate{{Name: "a", Prometheus: &run.PrometheusGate{URL: web.URL, Query: "up", Is: run.Less, Value: "few"}}}}, "should match"},
		"two kinds of message": {nodes.Strategy{Notifications: []run.Notification{{Slack: hook, Mattermost: hook}}}, "give exactly one of mattermost"},
		"a window of a second": {nodes.Strategy{Windows: []run.Window{{Schedule: "0 22 * * *", DurationSeconds: 1}}}, "greater than or equal to 60"},
	}
	for name, example := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := c.Create(t.Context(), &nodes.NodeRotation{ObjectMeta: metav1.ObjectMeta{GenerateName: "refused-"}, Spec: nodes.NodeRotationSpec{Strategy: &example.strategy}})
			if example.want == "" && err != nil || example.want != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), example.want)) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// eventually checks a gate until it says what is wanted.
func eventually(t *testing.T, p *probe.Prober, g run.Gate, status metav1.ConditionStatus, message string) {
	t.Helper()
	var seen gate.Observation
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		seen = p.Check(ctx, g)
		return seen.Passing == status && strings.Contains(seen.Message, message), nil
	})
	if err != nil {
		t.Errorf("%v: saw %s: %s", err, seen.Passing, seen.Message)
	}
}

func TestGatesOfARealCluster(t *testing.T) {
	t.Parallel()
	c, namespace := windlasstest.Client(t), clustertest.Namespace(t)
	p := probe.New(c)
	labels := map[string]string{"app": "web"}
	replicas := int32(2)
	pods := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "example.com/web:1"}}}}
	web := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: pods},
	}
	agent := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "agent"}, Spec: appsv1.DaemonSetSpec{Selector: web.Spec.Selector, Template: pods},
	}
	workloads := run.Gate{Workloads: &run.WorkloadsGate{Namespaces: []string{namespace}}}
	eventually(t, p, workloads, "False", "no workload is selected")
	for _, object := range []client.Object{web, agent} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, p, workloads, "True", "all of 2 workloads are available")
	more := []byte(`{"spec":{"replicas":5,"template":{"spec":{"nodeSelector":{"no-node":"has-this"}}}}}`)
	if err := c.Patch(t.Context(), web, client.RawPatch(types.MergePatchType, more)); err != nil {
		t.Fatal(err)
	}
	eventually(t, p, workloads, "False", "Deployment "+namespace+"/web (")

	eventually(t, p, run.Gate{NodeCondition: &run.NodeConditionGate{Type: "Ready", Status: "True"}}, "True", "are Ready=True")
	eventually(t, p, run.Gate{NodeCondition: &run.NodeConditionGate{Type: "Ready", Status: "False"}}, "False", "is True")

	chat := &v1beta1.Mattermost{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "chat"}}
	installations := run.Gate{Installations: &run.InstallationsGate{Namespaces: []string{namespace}}}
	if err := c.Create(t.Context(), chat); err != nil {
		t.Fatal(err)
	}
	eventually(t, p, installations, "False", "its change was not seen yet")
	chat.Status = v1beta1.MattermostStatus{State: v1beta1.Stable, ObservedGeneration: chat.Generation}
	if err := c.Status().Update(t.Context(), chat); err != nil {
		t.Fatal(err)
	}
	eventually(t, p, installations, "True", "all of 1 installations are stable")

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer abc" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(server.Close)
	private := run.Gate{HTTP: &run.HTTPGate{URL: server.URL, Authorization: &run.SecretKey{Namespace: namespace, Name: "token", Key: "header"}}}
	eventually(t, p, private, "Unknown", "not found")
	token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "token"}, StringData: map[string]string{"header": "Bearer abc\n"}}
	if err := c.Create(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	eventually(t, p, private, "True", "200")
}
