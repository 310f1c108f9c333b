package probe

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/gate"
)

// count is how many objects were looked at, and what is wrong with which.
type count struct {
	seen      int
	offenders []string
}

func (c *count) add(wrong, kind string, object client.Object) {
	c.seen++
	if wrong == "" {
		return
	}
	name := object.GetName()
	if object.GetNamespace() != "" {
		name = object.GetNamespace() + "/" + name
	}
	c.offenders = append(c.offenders, kind+" "+name+" ("+wrong+")")
}

// judge says whether few enough are wrong. What is what they are, and right how they
// should be.
func (c *count) judge(what, right string, most int32, empty run.WhenEmpty) gate.Observation {
	switch {
	case c.seen == 0:
		return observation(empty == run.PassWhenEmpty, "no %s is selected", what)
	case len(c.offenders) == 0:
		return observation(true, "all of %d %ss are %s", c.seen, what, right)
	default:
		return observation(len(c.offenders) <= int(most), "%d of %d %ss are not %s, and %d may be: %s",
			len(c.offenders), c.seen, what, right, most, list(c.offenders))
	}
}

// read lists what a selector selects in namespaces, or in all if there are none, and hands
// each list to add.
func read[T any, L interface {
	*T
	client.ObjectList
}](ctx context.Context, reader client.Reader, namespaces []string, selector *metav1.LabelSelector, add func(L)) error {
	selected := labels.Everything()
	if selector != nil {
		var err error
		if selected, err = metav1.LabelSelectorAsSelector(selector); err != nil {
			return fmt.Errorf("the selector is invalid: %w", err)
		}
	}
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	for _, namespace := range slices.Compact(slices.Sorted(slices.Values(namespaces))) {
		all := L(new(T))
		if err := reader.List(ctx, all, client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: selected}); err != nil {
			return fmt.Errorf("list %T: %w", all, err)
		}
		add(all)
	}
	return nil
}

func (p *Prober) workloads(ctx context.Context, g run.WorkloadsGate) (gate.Observation, error) {
	var found count
	err := read(ctx, p.reader, g.Namespaces, g.Selector, func(all *appsv1.DeploymentList) {
		for i := range all.Items {
			d := &all.Items[i]
			found.add(lacks(d.Generation, d.Status.ObservedGeneration, d.Status.AvailableReplicas, replicas(d.Spec.Replicas)), "Deployment", d)
		}
	})
	if err != nil {
		return gate.Observation{}, err
	}
	err = read(ctx, p.reader, g.Namespaces, g.Selector, func(all *appsv1.StatefulSetList) {
		for i := range all.Items {
			s := &all.Items[i]
			found.add(lacks(s.Generation, s.Status.ObservedGeneration, s.Status.AvailableReplicas, replicas(s.Spec.Replicas)), "StatefulSet", s)
		}
	})
	if err != nil {
		return gate.Observation{}, err
	}
	err = read(ctx, p.reader, g.Namespaces, g.Selector, func(all *appsv1.DaemonSetList) {
		for i := range all.Items {
			d := &all.Items[i]
			found.add(lacks(d.Generation, d.Status.ObservedGeneration, d.Status.NumberAvailable, d.Status.DesiredNumberScheduled), "DaemonSet", d)
		}
	})
	if err != nil {
		return gate.Observation{}, err
	}
	return found.judge("workload", "available", g.MaxUnavailable, g.Empty), nil
}

func replicas(wanted *int32) int32 {
	if wanted == nil {
		return 1
	}
	return *wanted
}

// lacks says what a workload lacks; empty if nothing.
func lacks(generation, observed int64, available, wanted int32) string {
	switch {
	case observed < generation:
		return "its change was not seen yet"
	case available < wanted:
		return fmt.Sprintf("%d of %d available", available, wanted)
	default:
		return ""
	}
}

func (p *Prober) nodeCondition(ctx context.Context, g run.NodeConditionGate) (gate.Observation, error) {
	var found count
	err := read(ctx, p.reader, nil, g.Selector, func(all *corev1.NodeList) {
		for i := range all.Items {
			n := &all.Items[i]
			found.add(otherwise(n.Status.Conditions, g), "Node", n)
		}
	})
	if err != nil {
		return gate.Observation{}, err
	}
	return found.judge("node", fmt.Sprintf("%s=%s", g.Type, g.Status), g.MaxOther, g.Empty), nil
}

// otherwise says what a condition is instead; empty if it is as wanted.
func otherwise(conditions []corev1.NodeCondition, g run.NodeConditionGate) string {
	for _, c := range conditions {
		if string(c.Type) == g.Type {
			if string(c.Status) == string(g.Status) {
				return ""
			}
			return "is " + string(c.Status)
		}
	}
	return "has no such condition"
}

func (p *Prober) installations(ctx context.Context, g run.InstallationsGate) (gate.Observation, error) {
	var found count
	err := read(ctx, p.reader, g.Namespaces, g.Selector, func(all *v1beta1.MattermostList) {
		for i := range all.Items {
			m := &all.Items[i]
			found.add(unstable(m), "Mattermost", m)
		}
	})
	if err != nil {
		return gate.Observation{}, err
	}
	return found.judge("installation", "stable", g.MaxUnstable, g.Empty), nil
}

// unstable says what an installation is instead; empty if it is stable.
func unstable(m *v1beta1.Mattermost) string {
	switch {
	case m.Status.ObservedGeneration < m.Generation:
		return "its change was not seen yet"
	case m.Status.State == "":
		return "has no state yet"
	case m.Status.State != v1beta1.Stable:
		return "is " + string(m.Status.State)
	default:
		return ""
	}
}
