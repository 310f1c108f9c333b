package drain

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/nodes/v1alpha1"
)

// Policy is how pods leave a node, with nothing left open.
type Policy struct {
	Timeout   time.Duration
	OnTimeout v1alpha1.OnDrainTimeout
	// GraceCap in seconds; 0 for none.
	GraceCap int64
	// Budget for owners that have none.
	Budget   intstr.IntOrString
	PodSurge v1alpha1.PodSurge
	// Unhealthy and Stuck are after how long pods are deleted; 0 for never.
	Unhealthy, Stuck       time.Duration
	BarePods, LocalVolumes v1alpha1.Irreplaceable
	WaitForReplacements    bool
	// Volumes and LoadBalancers are how long to wait for them; 0 for not at all.
	Volumes, LoadBalancers time.Duration

	rules []rule
	key   string // of the rules: equal ones have the same
}

type rule struct {
	namespaces []string
	selector   labels.Selector
	action     v1alpha1.PodAction
	order      int32
	graceCap   int64
}

// NewPolicy takes what each drain says, the first that says it, and else the defaults.
func NewPolicy(drains ...*v1alpha1.Drain) (Policy, error) {
	var d v1alpha1.Drain
	for _, one := range drains {
		if one != nil {
			fill(&d, one)
		}
	}
	p := Policy{
		Timeout: seconds(d.TimeoutSeconds, 1800), OnTimeout: or(d.OnTimeout, v1alpha1.SkipNode), GraceCap: int64(value(d.GracePeriodCapSeconds, 0)),
		Budget: value(d.DefaultBudget, intstr.FromString("25%")), PodSurge: or(d.PodSurge, v1alpha1.SurgeWhenBlocked),
		Unhealthy: seconds(d.UnhealthyPodsSeconds, 0), Stuck: seconds(d.StuckTerminatingSeconds, 0),
		BarePods: or(d.BarePods, v1alpha1.BlockNode), LocalVolumes: or(d.LocalVolumes, v1alpha1.BlockNode),
		WaitForReplacements: value(d.WaitForReplacements, true),
		Volumes:             seconds(d.VolumesDetachedTimeoutSeconds, 360), LoadBalancers: seconds(d.DeregisteredTimeoutSeconds, 300),
	}
	if len(d.Rules) > 0 {
		text, err := json.Marshal(d.Rules)
		if err != nil {
			return p, fmt.Errorf("drain.rules: %w", err)
		}
		p.key = string(text)
	}
	for i, r := range d.Rules {
		selector := labels.Everything()
		if r.Selector != nil {
			var err error
			if selector, err = metav1.LabelSelectorAsSelector(r.Selector); err != nil {
				return p, fmt.Errorf("drain.rules[%d].selector: %w", i, err)
			}
		}
		p.rules = append(p.rules, rule{r.Namespaces, selector, or(r.Action, v1alpha1.EvictPod), r.Order, int64(value(r.GracePeriodCapSeconds, 0))})
	}
	return p, nil
}

// fill gives d what it lacks and other has.
func fill(d, other *v1alpha1.Drain) {
	d.TimeoutSeconds = first(d.TimeoutSeconds, other.TimeoutSeconds)
	d.OnTimeout = or(d.OnTimeout, other.OnTimeout)
	d.GracePeriodCapSeconds = first(d.GracePeriodCapSeconds, other.GracePeriodCapSeconds)
	d.DefaultBudget = first(d.DefaultBudget, other.DefaultBudget)
	d.PodSurge = or(d.PodSurge, other.PodSurge)
	d.UnhealthyPodsSeconds = first(d.UnhealthyPodsSeconds, other.UnhealthyPodsSeconds)
	d.StuckTerminatingSeconds = first(d.StuckTerminatingSeconds, other.StuckTerminatingSeconds)
	d.BarePods = or(d.BarePods, other.BarePods)
	d.LocalVolumes = or(d.LocalVolumes, other.LocalVolumes)
	d.WaitForReplacements = first(d.WaitForReplacements, other.WaitForReplacements)
	d.VolumesDetachedTimeoutSeconds = first(d.VolumesDetachedTimeoutSeconds, other.VolumesDetachedTimeoutSeconds)
	d.DeregisteredTimeoutSeconds = first(d.DeregisteredTimeoutSeconds, other.DeregisteredTimeoutSeconds)
	if d.Rules == nil {
		d.Rules = other.Rules
	}
}

func first[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func or[T comparable](a, b T) T {
	var zero T
	if a != zero {
		return a
	}
	return b
}

func value[T any](p *T, otherwise T) T {
	if p != nil {
		return *p
	}
	return otherwise
}

func seconds(p *int32, otherwise int32) time.Duration {
	return time.Duration(value(p, otherwise)) * time.Second
}

// ruleOf is the first rule that selects a pod; the zero rule evicts.
func (p *Policy) ruleOf(pod *Pod) rule {
	for _, r := range p.rules {
		if (len(r.namespaces) == 0 || slices.Contains(r.namespaces, pod.Namespace)) && r.selector.Matches(pod.Labels) {
			return r
		}
	}
	return rule{action: v1alpha1.EvictPod}
}

// grace is the grace period to ask for; nil for the pod's own.
func (p *Policy) grace(pod *Pod, r rule) *int64 {
	limit := or(r.graceCap, p.GraceCap)
	if limit == 0 || pod.Grace <= limit {
		return nil
	}
	return &limit
}

// stays says whether a drain leaves the pod where it is.
func (p *Policy) stays(pod *Pod) bool {
	return pod.Mirror || pod.Daemon || pod.PrePull || pod.Terminal || p.ruleOf(pod).action == v1alpha1.SkipPod
}
