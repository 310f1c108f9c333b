package installation

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	klabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/inventory"
)

// An installation has one of two shapes. The strict one equals what the Mattermost
// Operator makes; this file is what the standard one has beyond that.

func (o RenderOptions) strict() bool { return o.Shape == v1beta1.ShapeStrict }

// HeadlessName is that of the Service by which each pod is found, ready or not.
func HeadlessName(name string) string { return name + "-headless" }

// shapeOf is what is chosen, or recorded, or else found: what the Mattermost
// Operator made is strict, and so is what was taken over from it by a pass that did
// not come to recording it. The record is in the status, so that a change of the
// default restarts nothing.
func shapeOf(s Snapshot) v1beta1.Shape {
	chosen := v1beta1.Shape(s.Mattermost.Annotations[v1beta1.ShapeAnnotation])
	if chosen == v1beta1.ShapeStrict || chosen == v1beta1.ShapeStandard {
		return chosen
	}
	if s.Mattermost.Status.Shape != "" {
		return s.Mattermost.Status.Shape
	}
	headless, _ := s.live(s.ref(serviceKind, HeadlessName(s.Mattermost.Name)))
	found := formers(s.Mattermost.ManagedFields, "status") || s.Deployment != nil && headless.Controller != s.Mattermost.UID ||
		slices.ContainsFunc(s.Live, func(l inventory.Live) bool { return formers(l.Managed, "") })
	if found || s.NewShape == v1beta1.ShapeStrict {
		return v1beta1.ShapeStrict
	}
	return v1beta1.ShapeStandard
}

// checkShape returns what is wrong with the choice, or with the name for what the
// standard shape names after it.
func checkShape(mm *v1beta1.Mattermost, shape v1beta1.Shape) []Problem {
	if chosen := v1beta1.Shape(mm.Annotations[v1beta1.ShapeAnnotation]); chosen != "" && chosen != shape {
		return []Problem{{
			Path: "metadata.annotations", Reason: v1beta1.ReasonInvalidSpec,
			Message: fmt.Sprintf("%s is %q: want %s or %s.", v1beta1.ShapeAnnotation, chosen, v1beta1.ShapeStrict, v1beta1.ShapeStandard),
		}}
	}
	if name := HeadlessName(mm.Name); shape != v1beta1.ShapeStrict && len(name) > validation.DNS1035LabelMaxLength {
		return []Problem{{
			Path: "metadata.name", Reason: v1beta1.ReasonInvalidSpec,
			Message: fmt.Sprintf("The Service for single pods would be called %q, which is longer than %d characters: give the installation a shorter name, or annotate it with %s=%s, which does without.",
				name, validation.DNS1035LabelMaxLength, v1beta1.ShapeAnnotation, v1beta1.ShapeStrict),
		}}
	}
	return nil
}

// budgeted reports whether somebody else's disruption budget covers the pods. The
// eviction of a pod that two budgets cover fails, so ours gives way.
func budgeted(s Snapshot, mm *v1beta1.Mattermost) bool {
	return slices.ContainsFunc(s.Budgets, func(b policyv1.PodDisruptionBudget) bool { return Covers(&b, mm) })
}

// Covers reports whether a disruption budget of the installation's namespace counts
// the installation's pods.
func Covers(budget *policyv1.PodDisruptionBudget, mm *v1beta1.Mattermost) bool {
	selects, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	return err == nil && selects.Matches(klabels.Set(podLabels(mm, nil)))
}

// standardObjects are those that the strict shape does without.
func standardObjects(mm *v1beta1.Mattermost, options RenderOptions) []any {
	if options.strict() {
		return nil
	}
	all := []any{headless(mm)}
	if !options.Budgeted {
		all = append(all, disruptionBudget(mm))
	}
	return all
}

// headless is for what looks for each pod, such as Prometheus and the nodes of a
// Mattermost cluster, which find each other before they are ready.
func headless(mm *v1beta1.Mattermost) *corev1ac.ServiceApplyConfiguration {
	return corev1ac.Service(HeadlessName(mm.Name), mm.Namespace).
		WithLabels(labels(mm)).
		WithOwnerReferences(owner(mm)).
		WithSpec(corev1ac.ServiceSpec().
			WithClusterIP(corev1.ClusterIPNone).
			WithPublishNotReadyAddresses(true).
			WithSelector(selector(mm)).
			WithPorts(podPorts()...))
}

// disruptionBudget lets one pod go at a time, so that it never holds a node up, not
// even by pods that do not work anyway.
func disruptionBudget(mm *v1beta1.Mattermost) *policyv1ac.PodDisruptionBudgetApplyConfiguration {
	return policyv1ac.PodDisruptionBudget(mm.Name, mm.Namespace).
		WithLabels(labels(mm)).
		WithOwnerReferences(owner(mm)).
		WithSpec(policyv1ac.PodDisruptionBudgetSpec().
			WithMaxUnavailable(intstr.FromInt32(1)).
			WithUnhealthyPodEvictionPolicy(policyv1.AlwaysAllow).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(selector(mm))))
}

const (
	// drainTime is how long a pod that is to stop goes on serving, in seconds: so
	// long takes the news to reach what sends it requests.
	drainTime = 15
	// gracePeriod is that and the time for the server to end, in seconds.
	gracePeriod = drainTime + 45
	// startupPeriod and startupFailures give a server ten minutes to start, before
	// the liveness probe, which is much stricter, begins.
	startupPeriod   = 5 // seconds
	startupFailures = 120
)

func drainFirst() *corev1.Lifecycle {
	return &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: drainTime}}}
}

// startupProbe asks what the liveness probe asks.
func startupProbe(liveness *corev1.Probe) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:   *liveness.ProbeHandler.DeepCopy(),
		TimeoutSeconds: liveness.TimeoutSeconds,
		PeriodSeconds:  startupPeriod, FailureThreshold: startupFailures,
	}
}

// spread has the pods of one version, as far as possible, in different zones and
// on different nodes.
func spread(mm *v1beta1.Mattermost) []*corev1ac.TopologySpreadConstraintApplyConfiguration {
	var all []*corev1ac.TopologySpreadConstraintApplyConfiguration
	for _, domain := range []string{corev1.LabelTopologyZone, corev1.LabelHostname} {
		all = append(all, corev1ac.TopologySpreadConstraint().
			WithTopologyKey(domain).WithMaxSkew(1).WithWhenUnsatisfiable(corev1.ScheduleAnyway).
			WithMatchLabelKeys("pod-template-hash").
			WithLabelSelector(metav1ac.LabelSelector().WithMatchLabels(selector(mm))))
	}
	return all
}

// serverUser is the user of Mattermost's images, and its group. The images name it
// by name, of which Kubernetes cannot tell that it is not root.
const serverUser = int64(2000)

// confine takes from the pods, and from our containers in them, what they do not
// need, as the Pod Security Standard "restricted" has it. Containers of the user's
// are left as they are, and a security context of his goes before ours.
func confine(mm *v1beta1.Mattermost, pods *corev1.PodSpec, checks []corev1.Container) {
	theirs := pods.SecurityContext != nil
	if !theirs {
		group, policy := serverUser, corev1.FSGroupChangeOnRootMismatch
		pods.SecurityContext = &corev1.PodSecurityContext{
			FSGroup: &group, FSGroupChangePolicy: &policy,
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		}
	}
	restricted := func() *corev1.SecurityContext {
		// Mattermost's binary is marked for the right to bind low ports, and Linux
		// does not start it where nobody may have that.
		c := &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_BIND_SERVICE"}},
		}
		if !theirs {
			c.RunAsNonRoot, c.RunAsUser, c.RunAsGroup = new(true), new(serverUser), new(serverUser)
		}
		return c
	}
	if t := mm.Spec.PodTemplate; t == nil || t.ContainerSecurityContext == nil {
		pods.Containers[0].SecurityContext = restricted()
	}
	for i := range checks {
		checks[i].SecurityContext = restricted()
		if checks[i].Name == minioBucket {
			// Root's home directory, where it would keep its settings, is closed to it.
			checks[i].Env = append(checks[i].Env, literal("MC_CONFIG_DIR", "/tmp/.mc"))
		}
	}
}
