package drain_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/drain"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// pod is one of a ReplicaSet on node n, Ready since an hour.
func pod(name string, edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web"}, CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web", Controller: new(true)}}},
		Spec:   corev1.PodSpec{NodeName: "n", TerminationGracePeriodSeconds: new(int64(30))},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour))}}},
	}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

func owned(kind string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.OwnerReferences[0].Kind = kind }
}

func labelled(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels[key] = value }
}

func bare(p *corev1.Pod)     { p.OwnerReferences = nil }
func pending(p *corev1.Pod)  { p.Status = corev1.PodStatus{Phase: corev1.PodPending} }
func finished(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }
func mirror(p *corev1.Pod) {
	p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
}

func unready(since time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions[0].Status, p.Status.Conditions[0].LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(now.Add(-since))
	}
}

func leaving(since time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = new(metav1.NewTime(now.Add(30*time.Second-since))), new(int64(30))
	}
}

func grace(seconds int64) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = &seconds }
}

func claims(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}}
	}
}

// budget covers the pods with app=web.
func budget(name string, allowed, healthy, wanted, expected int32, edits ...func(*policyv1.PodDisruptionBudget)) *policyv1.PodDisruptionBudget {
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec:   policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
		Status: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: allowed, CurrentHealthy: healthy, DesiredHealthy: wanted, ExpectedPods: expected}}
	for _, edit := range edits {
		edit(b)
	}
	return b
}

func minAvailable(b *policyv1.PodDisruptionBudget) {
	b.Spec.MinAvailable = new(intstr.FromInt32(b.Status.DesiredHealthy))
}

func alwaysAllow(b *policyv1.PodDisruptionBudget) {
	b.Spec.UnhealthyPodEvictionPolicy = new(policyv1.AlwaysAllow)
}

func unobserved(b *policyv1.PodDisruptionBudget) { b.Generation = 2 }

func deployed(c *drain.Cluster) {
	c.SetWorkload(drain.Workload{Owner: drain.Owner{Kind: "ReplicaSet", Namespace: "shop", Name: "web"}, Desired: 1, Parent: drain.Owner{Kind: "Deployment", Namespace: "shop", Name: "web"}})
}

func wants(n int32) func(*drain.Cluster) {
	return func(c *drain.Cluster) {
		c.SetWorkload(drain.Workload{Owner: drain.Owner{Kind: "ReplicaSet", Namespace: "shop", Name: "web"}, Desired: n})
	}
}

func local(c *drain.Cluster) {
	c.SetVolume("shop", "data", drain.Volume{Name: "pv-1", Nodes: []string{"n"}})
}

func TestDrain(t *testing.T) {
	t.Parallel()
	web := pod("web")
	for name, c := range map[string]struct {
		pods    []*corev1.Pod
		budgets []*policyv1.PodDisruptionBudget
		edit    func(*drain.Cluster)
		policy  v1alpha1.Drain
		late    bool
		// evict are names, with the grace period if it is not the pod's own, and with ! if
		// forced.
		evict   []string
		surge   []string
		left    int
		reason  string
		forever bool
		look    time.Duration
	}{
		"an empty node":                       {},
		"a budget that allows one of two":     {pods: []*corev1.Pod{web, pod("web2")}, budgets: []*policyv1.PodDisruptionBudget{budget("b", 1, 3, 2, 3)}, evict: []string{"web"}, left: 2, reason: v1alpha1.ReasonBudget},
		"a budget that allows none now":       {pods: []*corev1.Pod{web}, budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, 2, 2, 3)}, left: 1, reason: v1alpha1.ReasonBudget},
		"a budget that is not counted yet":    {pods: []*corev1.Pod{web}, budgets: []*policyv1.PodDisruptionBudget{budget("b", 1, 3, 2, 3, unobserved)}, left: 1, reason: v1alpha1.ReasonBudget},
		"a budget that never allows any":      {pods: []*corev1.Pod{web}, budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, 3, 3, 3)}, left: 1, reason: v1alpha1.ReasonBudgetNever, forever: true},
		"one more replica helps":              {pods: []*corev1.Pod{web}, budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, 1, 1, 1, minAvailable)}, edit: deployed, surge: []string{"Deployment/shop/web"}, left: 1, reason: v1alpha1.ReasonBudget},
		"one more replica is not allowed":     {pods: []*corev1.Pod{web}, budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, 1, 1, 1, minAvailable)}, edit: deployed, policy: v1alpha1.Drain{PodSurge: v1alpha1.NeverSurge}, left: 1, reason: v1alpha1.ReasonBudgetNever, forever: true},
		"one more member does not help":       {pods: []*corev1.Pod{pod("web", owned("StatefulSet"))}, budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, 1, 1, 1, minAvailable)}, left: 1, reason: v1alpha1.ReasonBudgetNever, forever: true},
		"an operator moves its pods itself":   {pods: []*corev1.Pod{pod("db", owned("Cluster"))}, budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, 1, 1, 1)}, left: 1, reason: v1alpha1.ReasonBudget},
		"two budgets":                         {pods: []*corev1.Pod{web}, budgets: []*policyv1.PodDisruptionBudget{budget("a", 1, 3, 2, 3), budget("b", 1, 3, 2, 3)}, left: 1, reason: v1alpha1.ReasonTwoBudgets, forever: true},
		"two budgets of a pending pod":        {pods: []*corev1.Pod{pod("web", pending)}, budgets: []*policyv1.PodDisruptionBudget{budget("a", 0, 3, 2, 3), budget("b", 0, 3, 2, 3)}, evict: []string{"web"}, left: 1},
		"a bare pod":                          {pods: []*corev1.Pod{pod("web", bare)}, left: 1, reason: v1alpha1.ReasonBarePod, forever: true},
		"a bare pod that may go":              {pods: []*corev1.Pod{pod("web", bare)}, policy: v1alpha1.Drain{BarePods: v1alpha1.EvictAnyway}, evict: []string{"web"}, left: 1},
		"a local volume":                      {pods: []*corev1.Pod{pod("web", claims("data"))}, edit: local, left: 1, reason: v1alpha1.ReasonLocalVolume, forever: true},
		"a local volume of a pending pod":     {pods: []*corev1.Pod{pod("web", claims("data"), pending)}, edit: local, left: 1, reason: v1alpha1.ReasonLocalVolume, forever: true},
		"a local volume that may be lost":     {pods: []*corev1.Pod{pod("web", claims("data"))}, edit: local, policy: v1alpha1.Drain{LocalVolumes: v1alpha1.EvictAnyway}, evict: []string{"web"}, left: 1},
		"unhealthy, others are not":           {pods: []*corev1.Pod{pod("web", unready(time.Minute))}, budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, 2, 2, 3)}, evict: []string{"web"}, left: 1},
		"unhealthy, others are too":           {pods: []*corev1.Pod{pod("web", unready(time.Minute))}, budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, 1, 2, 3)}, left: 1, reason: v1alpha1.ReasonUnhealthyPod, forever: true},
		"unhealthy, and none has to be":       {pods: []*corev1.Pod{pod("web", unready(time.Minute))}, budgets: []*policyv1.PodDisruptionBudget{budget("b", 1, 1, 0, 2)}, evict: []string{"web"}, left: 1},
		"unhealthy, always allowed":           {pods: []*corev1.Pod{pod("web", unready(time.Minute))}, budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, 1, 2, 3, alwaysAllow)}, evict: []string{"web"}, left: 1},
		"unhealthy, for too long":             {pods: []*corev1.Pod{pod("web", unready(2*time.Minute))}, budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, 1, 2, 3)}, policy: v1alpha1.Drain{UnhealthyPodsSeconds: new(int32(60))}, evict: []string{"!web"}, left: 1},
		"unhealthy, not for too long":         {pods: []*corev1.Pod{pod("web", unready(20*time.Second))}, budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, 1, 2, 3)}, policy: v1alpha1.Drain{UnhealthyPodsSeconds: new(int32(60))}, left: 1, reason: v1alpha1.ReasonUnhealthyPod, look: 40 * time.Second},
		"terminating":                         {pods: []*corev1.Pod{pod("web", leaving(10*time.Second))}, left: 1, reason: v1alpha1.ReasonTerminating, look: 50 * time.Second},
		"stuck terminating":                   {pods: []*corev1.Pod{pod("web", leaving(2*time.Minute))}, left: 1, reason: v1alpha1.ReasonStuckTerminating, forever: true},
		"stuck terminating, for too long":     {pods: []*corev1.Pod{pod("web", leaving(2*time.Minute))}, policy: v1alpha1.Drain{StuckTerminatingSeconds: new(int32(60))}, evict: []string{"!web 0"}, left: 1},
		"stuck terminating, not for too long": {pods: []*corev1.Pod{pod("web", leaving(2*time.Minute))}, policy: v1alpha1.Drain{StuckTerminatingSeconds: new(int32(600))}, left: 1, reason: v1alpha1.ReasonStuckTerminating, look: 510 * time.Second},
		"a rule waits":                        {pods: []*corev1.Pod{web}, policy: v1alpha1.Drain{Rules: []v1alpha1.PodRule{{Action: v1alpha1.WaitCompleted}}}, left: 1, reason: v1alpha1.ReasonWaitCompleted},
		"a rule leaves a pod":                 {pods: []*corev1.Pod{web}, policy: v1alpha1.Drain{Rules: []v1alpha1.PodRule{{Action: v1alpha1.SkipPod}}}},
		"a rule is for another namespace":     {pods: []*corev1.Pod{web}, policy: v1alpha1.Drain{Rules: []v1alpha1.PodRule{{Namespaces: []string{"bank"}, Action: v1alpha1.SkipPod}}}, evict: []string{"web"}, left: 1},
		"a lower order goes first": {pods: []*corev1.Pod{pod("a", owned("Job")), pod("z", labelled("first", "yes"), owned("Job"))},
			policy: v1alpha1.Drain{Rules: []v1alpha1.PodRule{{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"first": "yes"}}, Order: -1}}}, evict: []string{"z"}, left: 2},
		"the longest grace goes first":           {pods: []*corev1.Pod{pod("a", bare), pod("b", bare, grace(90))}, policy: v1alpha1.Drain{BarePods: v1alpha1.EvictAnyway}, evict: []string{"b", "a"}, left: 2},
		"a long grace is capped":                 {pods: []*corev1.Pod{pod("web", grace(90))}, policy: v1alpha1.Drain{GracePeriodCapSeconds: new(int32(60))}, evict: []string{"web 60"}, left: 1},
		"a short grace is not":                   {pods: []*corev1.Pod{pod("web", grace(9))}, policy: v1alpha1.Drain{GracePeriodCapSeconds: new(int32(60))}, evict: []string{"web"}, left: 1},
		"a rule caps otherwise":                  {pods: []*corev1.Pod{pod("web", grace(90))}, policy: v1alpha1.Drain{GracePeriodCapSeconds: new(int32(60)), Rules: []v1alpha1.PodRule{{GracePeriodCapSeconds: new(int32(5))}}}, evict: []string{"web 5"}, left: 1},
		"no budget, and a quarter may go":        {pods: []*corev1.Pod{web, pod("web2"), pod("web3")}, edit: wants(3), evict: []string{"web"}, left: 3, reason: v1alpha1.ReasonBudget},
		"no budget, and another share":           {pods: []*corev1.Pod{web, pod("web2"), pod("web3")}, edit: wants(3), policy: v1alpha1.Drain{DefaultBudget: new(intstr.FromString("67%"))}, evict: []string{"web", "web2"}, left: 3, reason: v1alpha1.ReasonBudget},
		"no budget, and enough are missing":      {pods: []*corev1.Pod{web, pod("web2")}, edit: wants(3), left: 2, reason: v1alpha1.ReasonBudget},
		"no budget, and it is not Ready":         {pods: []*corev1.Pod{pod("web", unready(time.Minute))}, edit: wants(3), evict: []string{"web"}, left: 1},
		"the time is over, and what is left may": {pods: []*corev1.Pod{web}, budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, 3, 3, 3)}, policy: v1alpha1.Drain{OnTimeout: v1alpha1.ForceNode}, late: true, evict: []string{"!web"}, left: 1},
		"the time is over, and it may not":       {pods: []*corev1.Pod{web}, budgets: []*policyv1.PodDisruptionBudget{budget("b", 0, 3, 3, 3)}, policy: v1alpha1.Drain{OnTimeout: v1alpha1.BlockRun}, late: true, left: 1, reason: v1alpha1.ReasonBudgetNever, forever: true},
		"what belongs to the node":               {pods: []*corev1.Pod{pod("a", mirror), pod("b", owned("DaemonSet")), pod("c", finished)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := drain.NewCluster()
			for _, p := range c.pods {
				cluster.SetPod(p)
			}
			for _, b := range c.budgets {
				if err := cluster.SetBudget(b); err != nil {
					t.Fatal(err)
				}
			}
			if c.edit != nil {
				c.edit(cluster)
			}
			policy, err := drain.NewPolicy(&c.policy)
			if err != nil {
				t.Fatal(err)
			}
			answer := cluster.Drain("n", &policy, cluster.Allowance(), now, c.late)
			var evict, surge []string
			for _, e := range answer.Evict {
				text := e.Pod.Name
				if e.Force {
					text = "!" + text
				}
				if e.Grace != nil {
					text += " " + resource.NewQuantity(*e.Grace, resource.DecimalSI).String()
				}
				evict = append(evict, text)
			}
			for _, o := range answer.Surge {
				surge = append(surge, o.String())
			}
			if d := cmp.Diff(c.evict, evict); d != "" {
				t.Errorf("evict (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.surge, surge); d != "" {
				t.Errorf("surge (-want +got):\n%s", d)
			}
			wait := drain.Wait{}
			if answer.Wait != nil {
				wait = *answer.Wait
			}
			if wait.Reason != c.reason || wait.Forever != c.forever || (wait.Reason != "") != (wait.Message != "" && wait.For != "") {
				t.Errorf("want reason %q, forever %t; got %+v", c.reason, c.forever, wait)
			}
			if answer.Left != c.left || answer.Left != cluster.Load("n", &policy).Left {
				t.Errorf("want %d left, got %d and %d", c.left, answer.Left, cluster.Load("n", &policy).Left)
			}
			var look time.Time
			if c.look > 0 {
				look = now.Add(c.look)
			}
			if !answer.Look.Equal(look) {
				t.Errorf("want to look at %s, got %s", look, answer.Look)
			}
		})
	}
}

// What was asked to go and is not seen to yet counts, once, and no longer than it has to.
func TestAssumed(t *testing.T) {
	t.Parallel()
	fresh := func(pods ...*corev1.Pod) (*drain.Cluster, *drain.Budget) {
		c := drain.NewCluster()
		for _, p := range pods {
			c.SetPod(p)
		}
		if err := c.SetBudget(budget("b", 1, 3, 2, 3)); err != nil {
			t.Fatal(err)
		}
		return c, c.Budgets()[0]
	}
	for name, c := range map[string]struct {
		then func(*drain.Cluster)
		free int
	}{
		"nothing happened":           {func(*drain.Cluster) {}, 0},
		"it was refused":             {func(c *drain.Cluster) { c.SetAssumed("web", false) }, 1},
		"it is seen to go":           {func(c *drain.Cluster) { c.SetPod(pod("web", leaving(0))) }, 1},
		"it is gone":                 {func(c *drain.Cluster) { c.DeletePod("web") }, 1},
		"the budget changed for all": {func(c *drain.Cluster) { _ = c.SetBudget(budget("b", 1, 3, 2, 3)) }, 0},
		"the budget counts it": {func(c *drain.Cluster) {
			b := budget("b", 1, 3, 2, 3)
			b.Status.DisruptedPods = map[string]metav1.Time{"web": {}}
			_ = c.SetBudget(b)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, b := fresh(pod("web"), pod("web2"))
			cluster.SetAssumed("web", true)
			cluster.SetAssumed("web", true)
			c.then(cluster)
			if b.Free() != c.free {
				t.Errorf("want %d free, got %d", c.free, b.Free())
			}
		})
	}
	t.Run("the API server counts no pod that is not Ready", func(t *testing.T) {
		t.Parallel()
		cluster, b := fresh(pod("web", unready(time.Minute)))
		cluster.SetAssumed("web", true)
		if b.Free() != 1 {
			t.Errorf("want 1 free, got %d", b.Free())
		}
	})
}

// Late counts what one that left is waited for, and nothing that was broken before.
func TestLate(t *testing.T) {
	t.Parallel()
	made := func(ago time.Duration) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(now.Add(-ago)) }
	}
	for name, c := range map[string]struct {
		pods []*corev1.Pod
		want int
	}{
		"all are there":            {[]*corev1.Pod{pod("a"), pod("b")}, 0},
		"one is not there":         {[]*corev1.Pod{pod("a"), pod("b", leaving(0))}, 1},
		"one is not Ready yet":     {[]*corev1.Pod{pod("a"), pod("b", unready(0), made(time.Minute))}, 1},
		"one was broken before":    {[]*corev1.Pod{pod("a"), pod("b", unready(0), made(time.Hour))}, 0},
		"one that has ended is no": {[]*corev1.Pod{pod("a"), pod("b", finished)}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := drain.NewCluster()
			wants(2)(cluster)
			for _, p := range c.pods {
				cluster.SetPod(p)
			}
			if got := cluster.Late("ReplicaSet/shop/web", now.Add(-2*time.Minute)); got != c.want {
				t.Errorf("want %d, got %d", c.want, got)
			}
		})
	}
}

// What the index gives is what one that was filled at once gives, in whatever order
// changes came, and nothing of what is gone is left.
func TestIndexForgets(t *testing.T) {
	t.Parallel()
	cluster := drain.NewCluster()
	cluster.SetPod(pod("b"))
	cluster.SetPod(pod("a"))
	moved := pod("a")
	moved.Spec.NodeName = "m"
	cluster.SetPod(moved)
	names := func(node string) string {
		var all []string
		for _, p := range cluster.PodsOn(node) {
			all = append(all, p.Name)
		}
		if !slices.IsSorted(all) {
			t.Errorf("not sorted: %v", all)
		}
		return strings.Join(all, ",")
	}
	if names("n") != "b" || names("m") != "a" {
		t.Errorf("n has %q, m has %q", names("n"), names("m"))
	}
	cluster.DeletePod("a")
	cluster.DeletePod("a")
	cluster.DeletePod("b")
	if names("n")+names("m") != "" || cluster.Count("n") != 0 {
		t.Error("deleted pods are left")
	}
	cluster.SetNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: corev1.NodeSpec{ProviderID: "aws:///a/i-1"}})
	cluster.SetNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: corev1.NodeSpec{ProviderID: "aws:///a/i-2"}})
	if cluster.NodeOf("i-1") != nil || cluster.NodeOf("i-2") == nil {
		t.Error("a node that is another machine now is found by the one before")
	}
	cluster.DeleteNode("n")
	if cluster.NodeOf("i-2") != nil || len(cluster.Nodes()) != 0 {
		t.Error("a deleted node is found")
	}
}
