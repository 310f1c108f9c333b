package gateway

import (
	"fmt"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// stamp is what all conditions of one status have in common.
type stamp struct {
	generation int64
	now        metav1.Time
}

// set sets a condition; its time changes only with its status.
func set[T ~string](s stamp, list *[]metav1.Condition, kind T, v verdict) {
	status := metav1.ConditionFalse
	if v.ok {
		status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(list, metav1.Condition{
		Type: string(kind), Status: status, Reason: v.reason, Message: v.message, ObservedGeneration: s.generation, LastTransitionTime: s.now,
	})
}

// classStatus accepts a class of ours, unless it asks for parameters.
func classStatus(c *gatewayv1.GatewayClass, now metav1.Time) gatewayv1.GatewayClassStatus {
	accepted := yes(gatewayv1.GatewayClassReasonAccepted, "The gateway of the development cluster serves this class.")
	if c.Spec.ParametersRef != nil {
		accepted = no(gatewayv1.GatewayClassReasonInvalidParameters, "Parameters are not supported: remove spec.parametersRef.")
	}
	status := gatewayv1.GatewayClassStatus{Conditions: slices.Clone(c.Status.Conditions)}
	set(stamp{c.Generation, now}, &status.Conditions, gatewayv1.GatewayClassConditionStatusAccepted, accepted)
	for _, name := range features {
		status.SupportedFeatures = append(status.SupportedFeatures, gatewayv1.SupportedFeature{Name: gatewayv1.FeatureName(name)})
	}
	return status
}

// status says what became of a Gateway. opened is what became of its ports.
func (g *gatewayState) status(opened map[netip.AddrPort]opening, now metav1.Time) gatewayv1.GatewayStatus {
	s, before := stamp{g.gateway.Generation, now}, g.gateway.Status
	status := gatewayv1.GatewayStatus{Conditions: slices.Clone(before.Conditions)}
	for _, a := range g.addresses.list {
		status.Addresses = append(status.Addresses, gatewayv1.GatewayStatusAddress{Type: new(gatewayv1.IPAddressType), Value: a.String()})
	}
	programmed := 0
	for _, l := range g.listeners {
		one := gatewayv1.ListenerStatus{Name: l.spec.Name, SupportedKinds: l.kinds, AttachedRoutes: int32(len(l.attached))}
		for _, old := range before.Listeners {
			if old.Name == l.spec.Name {
				one.Conditions = slices.Clone(old.Conditions)
			}
		}
		serving := g.programmed(l, opened)
		if serving.ok {
			programmed++
		}
		// The condition Conflicted is true when something is wrong.
		conflicted := l.single
		conflicted.ok = !conflicted.ok
		accepted := l.accepted
		if !l.single.ok {
			accepted = no(l.single.reason, "%s", l.single.message)
		}
		set(s, &one.Conditions, gatewayv1.ListenerConditionAccepted, accepted)
		set(s, &one.Conditions, gatewayv1.ListenerConditionConflicted, conflicted)
		set(s, &one.Conditions, gatewayv1.ListenerConditionResolvedRefs, l.resolved)
		set(s, &one.Conditions, gatewayv1.ListenerConditionProgrammed, serving)
		status.Listeners = append(status.Listeners, one)
	}
	set(s, &status.Conditions, gatewayv1.GatewayConditionAccepted, g.accepted())
	set(s, &status.Conditions, gatewayv1.GatewayConditionProgrammed, g.serving(programmed))
	if insecure(g.gateway) {
		set(s, &status.Conditions, gatewayv1.GatewayConditionInsecureFrontendValidationMode, yes(gatewayv1.GatewayReasonConfigurationChanged, "Clients are asked for certificates that are not checked."))
	} else {
		meta.RemoveStatusCondition(&status.Conditions, string(gatewayv1.GatewayConditionInsecureFrontendValidationMode))
	}
	return status
}

// accepted sums up whether what the Gateway says makes sense.
func (g *gatewayState) accepted() verdict {
	valid := 0
	for _, l := range g.listeners {
		if l.valid() {
			valid++
		}
	}
	switch {
	case !g.addresses.supported.ok:
		return g.addresses.supported
	case valid == 0:
		return no(gatewayv1.GatewayReasonListenersNotValid, "No listener is valid.")
	case valid < len(g.listeners):
		return yes(gatewayv1.GatewayReasonListenersNotValid, fmt.Sprintf("%d of %d listeners are not valid.", len(g.listeners)-valid, len(g.listeners)))
	default:
		return g.addresses.supported
	}
}

// serving sums up whether the Gateway is served.
func (g *gatewayState) serving(programmed int) verdict {
	switch {
	case !g.accepted().ok:
		return no(gatewayv1.GatewayReasonInvalid, "The Gateway is not accepted.")
	case !g.addresses.usable.ok:
		return g.addresses.usable
	case programmed == 0:
		return no(gatewayv1.GatewayReasonInvalid, "No listener is served.")
	default:
		return g.addresses.usable
	}
}

// programmed says whether a listener is served.
func (g *gatewayState) programmed(l *listenerState, opened map[netip.AddrPort]opening) verdict {
	switch {
	case !l.valid():
		return no(gatewayv1.ListenerReasonInvalid, "The listener is not accepted.")
	case !l.servable():
		return no(gatewayv1.ListenerReasonInvalid, "The listener's references lead nowhere.")
	case !g.addresses.supported.ok || len(g.addresses.list) == 0:
		return no(gatewayv1.ListenerReasonPending, "The Gateway has no address.")
	}
	where := ""
	for _, a := range g.addresses.list {
		at := netip.AddrPortFrom(a, uint16(l.spec.Port))
		o, ok := opened[at]
		switch {
		case !ok:
			return no(gatewayv1.ListenerReasonPending, "The port is not open yet.")
		case o.err != nil:
			return no(gatewayv1.ListenerReasonPortUnavailable, "%v.", o.err)
		case o.port != int(l.spec.Port):
			where = fmt.Sprintf(" It is at %s:%d, because listening on port %d needs rights that the cluster does not have.", a, o.port, l.spec.Port)
		}
	}
	return yes(gatewayv1.ListenerReasonProgrammed, "The listener is served."+where)
}

// status says what the parents make of a route; what others say stays.
func (r routeState) status(now metav1.Time) gatewayv1.RouteStatus {
	status, s := gatewayv1.RouteStatus{Parents: []gatewayv1.RouteParentStatus{}}, stamp{r.route.Generation, now}
	for _, p := range r.route.Status.Parents {
		if p.ControllerName != ControllerName {
			status.Parents = append(status.Parents, p)
		}
	}
	for _, p := range r.parents {
		one := gatewayv1.RouteParentStatus{ParentRef: p.ref, ControllerName: ControllerName}
		for _, old := range r.route.Status.Parents {
			if old.ControllerName == ControllerName && sameParent(old.ParentRef, p.ref) {
				one.Conditions = slices.Clone(old.Conditions)
			}
		}
		set(s, &one.Conditions, gatewayv1.RouteConditionAccepted, p.accepted)
		set(s, &one.Conditions, gatewayv1.RouteConditionResolvedRefs, p.resolving)
		status.Parents = append(status.Parents, one)
	}
	return status
}

func sameParent(a, b gatewayv1.ParentReference) bool {
	return a.Name == b.Name && deref(a.Namespace) == deref(b.Namespace) && deref(a.SectionName) == deref(b.SectionName) && deref(a.Port) == deref(b.Port)
}
