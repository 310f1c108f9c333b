package probe

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"windlass.dev/api/installation/v1beta1"
	run "windlass.dev/api/run/v1alpha1"
)

func meta(namespace, name, tier string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"tier": tier}, Generation: 3}
}

func deployment(namespace, name, tier string, wanted, available int32, observed int64) client.Object {
	return &appsv1.Deployment{
		ObjectMeta: meta(namespace, name, tier), Spec: appsv1.DeploymentSpec{Replicas: &wanted},
		Status: appsv1.DeploymentStatus{ObservedGeneration: observed, AvailableReplicas: available},
	}
}

func statefulSet(namespace, name string, available int32) client.Object {
	return &appsv1.StatefulSet{ // One replica, unless it says otherwise.
		ObjectMeta: meta(namespace, name, "data"), Status: appsv1.StatefulSetStatus{ObservedGeneration: 3, AvailableReplicas: available},
	}
}

func daemonSet(namespace, name string, scheduled, available int32) client.Object {
	return &appsv1.DaemonSet{
		ObjectMeta: meta(namespace, name, "system"), Status: appsv1.DaemonSetStatus{ObservedGeneration: 3, DesiredNumberScheduled: scheduled, NumberAvailable: available},
	}
}

func selector(tier string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"tier": tier}}
}

var invalid = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: "Near"}}}

func TestWorkloads(t *testing.T) {
	t.Parallel()
	good := []client.Object{deployment("shop", "web", "front", 3, 3, 3), statefulSet("shop", "db", 1), daemonSet("kube-system", "proxy", 9, 9)}
	bad := append([]client.Object{
		deployment("shop", "api", "front", 3, 2, 3), deployment("shop", "new", "front", 3, 3, 2), statefulSet("shop", "cache", 0), daemonSet("kube-system", "dns", 9, 8),
	}, good...)
	cases := map[string]struct {
		objects []client.Object
		gate    run.WorkloadsGate
		status  metav1.ConditionStatus
		message string
	}{
		"all available": {good, run.WorkloadsGate{}, "True", "all of 3 workloads are available"},
		"some not": {bad, run.WorkloadsGate{}, "False", "4 of 7 workloads are not available, and 0 may be: DaemonSet kube-system/dns (8 of 9 available), " +
			"Deployment shop/api (2 of 3 available), Deployment shop/new (its change was not seen yet) and 1 more"},
		"as many as may be":       {bad, run.WorkloadsGate{MaxUnavailable: 4}, "True", "and 4 may be"},
		"one more than may be":    {bad, run.WorkloadsGate{MaxUnavailable: 3}, "False", "and 3 may be"},
		"only some namespaces":    {bad, run.WorkloadsGate{Namespaces: []string{"kube-system", "empty", "kube-system"}}, "False", "1 of 2"},
		"only some labels":        {bad, run.WorkloadsGate{Selector: selector("front")}, "False", "2 of 3"},
		"nothing is selected":     {bad, run.WorkloadsGate{Selector: selector("frnt")}, "False", "no workload is selected"},
		"nothing has to be":       {bad, run.WorkloadsGate{Selector: selector("frnt"), Empty: run.PassWhenEmpty}, "True", "no workload is selected"},
		"a selector that is none": {bad, run.WorkloadsGate{Selector: invalid}, "Unknown", "the selector is invalid"},
		"scaled to nothing":       {[]client.Object{deployment("shop", "web", "front", 0, 0, 3)}, run.WorkloadsGate{}, "True", "all of 1"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, prober(t, c.objects...).Check(t.Context(), run.Gate{Workloads: &c.gate}), c.status, c.message)
		})
	}
}

func node(name, tier string, ready corev1.ConditionStatus) client.Object {
	n := &corev1.Node{ObjectMeta: meta("", name, tier)}
	if ready != "" {
		n.Status.Conditions = []corev1.NodeCondition{{Type: "DiskPressure", Status: "False"}, {Type: corev1.NodeReady, Status: ready}}
	}
	return n
}

func TestNodeCondition(t *testing.T) {
	t.Parallel()
	nodes := []client.Object{node("a", "web", "True"), node("b", "web", "Unknown"), node("c", "db", "True"), node("d", "new", "")}
	cases := map[string]struct {
		gate    run.NodeConditionGate
		status  metav1.ConditionStatus
		message string
	}{
		"all of them":           {run.NodeConditionGate{Type: "Ready", Status: "True", Selector: selector("db")}, "True", "all of 1 nodes are Ready=True"},
		"some are otherwise":    {run.NodeConditionGate{Type: "Ready", Status: "True"}, "False", "2 of 4 nodes are not Ready=True, and 0 may be: Node b (is Unknown), Node d (has no such condition)"},
		"as many as may be":     {run.NodeConditionGate{Type: "Ready", Status: "True", MaxOther: 2}, "True", "and 2 may be"},
		"another condition":     {run.NodeConditionGate{Type: "DiskPressure", Status: "False", MaxOther: 1}, "True", "Node d"},
		"nobody has it":         {run.NodeConditionGate{Type: "GPUReady", Status: "True"}, "False", "has no such condition"},
		"none is selected":      {run.NodeConditionGate{Type: "Ready", Status: "True", Selector: selector("x")}, "False", "no node is selected"},
		"none has to be":        {run.NodeConditionGate{Type: "Ready", Status: "True", Selector: selector("x"), Empty: run.PassWhenEmpty}, "True", "no node"},
		"a selector that is no": {run.NodeConditionGate{Type: "Ready", Status: "True", Selector: invalid}, "Unknown", "the selector is invalid"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, prober(t, nodes...).Check(t.Context(), run.Gate{NodeCondition: &c.gate}), c.status, c.message)
		})
	}
}

func installation(name, tier string, state v1beta1.RunningState, observed int64) client.Object {
	return &v1beta1.Mattermost{ObjectMeta: meta("chat", name, tier), Status: v1beta1.MattermostStatus{State: state, ObservedGeneration: observed}}
}

func TestInstallations(t *testing.T) {
	t.Parallel()
	objects := []client.Object{
		installation("a", "paid", v1beta1.Stable, 3), installation("b", "paid", v1beta1.Ready, 3), installation("c", "free", v1beta1.Reconciling, 3),
		installation("d", "free", v1beta1.Stable, 2), installation("e", "new", "", 3),
	}
	cases := map[string]struct {
		gate    run.InstallationsGate
		status  metav1.ConditionStatus
		message string
	}{
		"some are not stable": {run.InstallationsGate{}, "False",
			"4 of 5 installations are not stable, and 0 may be: Mattermost chat/b (is ready), Mattermost chat/c (is reconciling), Mattermost chat/d (its change was not seen yet) and 1 more"},
		"as many as may be":    {run.InstallationsGate{MaxUnstable: 4}, "True", "and 4 may be"},
		"only some labels":     {run.InstallationsGate{Selector: selector("new")}, "False", "Mattermost chat/e (has no state yet)"},
		"another namespace":    {run.InstallationsGate{Namespaces: []string{"shop"}}, "False", "no installation is selected"},
		"which is nothing odd": {run.InstallationsGate{Namespaces: []string{"shop"}, Empty: run.PassWhenEmpty}, "True", "no installation"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, prober(t, objects...).Check(t.Context(), run.Gate{Installations: &c.gate}), c.status, c.message)
		})
	}
}

// A kind that the cluster does not have is not the same as no objects of it.
func TestAPIServerCannotTell(t *testing.T) {
	t.Parallel()
	p := New(clientWithoutInstallations(t))
	expect(t, p.Check(t.Context(), run.Gate{Installations: &run.InstallationsGate{Empty: run.PassWhenEmpty}}), "Unknown", "list *v1beta1.MattermostList")
}

func clientWithoutInstallations(t *testing.T) client.Reader {
	t.Helper()
	return fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).Build()
}
