package gateway

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// said is each condition with its status and reason.
func said(list []metav1.Condition) map[string]string {
	all := map[string]string{}
	for _, c := range list {
		all[c.Type] = string(c.Status) + " " + c.Reason
	}
	return all
}

// opens is a machine on which every port can be had.
func opens(p *plan) map[netip.AddrPort]opening {
	opened := map[netip.AddrPort]opening{}
	for at := range p.ports {
		opened[at] = opening{port: int(at.Port())}
	}
	return opened
}

// TestGatewayStatus: what a Gateway and its listener are told. Each reason is the
// specification's.
func TestGatewayStatus(t *testing.T) {
	t.Parallel()
	type want struct{ accepted, programmed, listenerAccepted, conflicted, resolved, listenerProgrammed string }
	good := want{"True Accepted", "True Programmed", "True Accepted", "False NoConflicts", "True ResolvedRefs", "True Programmed"}
	changed := func(change func(*want)) want {
		w := good
		change(&w)
		return w
	}
	unresolved := func(reason string) want {
		return changed(func(w *want) {
			w.resolved, w.listenerProgrammed, w.programmed = "False "+reason, "False Invalid", "False Invalid"
		})
	}
	for name, c := range map[string]struct {
		spec string
		want want
	}{
		"HTTP":  {`listeners: [{name: l, port: 80, protocol: HTTP}]`, good},
		"HTTPS": {`listeners: [{name: l, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: good}]}}]`, good},
		"unknown protocol": {`listeners: [{name: l, port: 53, protocol: UDP}]`, changed(func(w *want) {
			w.accepted, w.programmed, w.listenerAccepted, w.listenerProgrammed = "False ListenersNotValid", "False Invalid", "False UnsupportedProtocol", "False Invalid"
		})},
		"one of two": {`listeners: [{name: l, port: 80, protocol: HTTP}, {name: other, port: 53, protocol: UDP}]`, changed(func(w *want) { w.accepted = "True ListenersNotValid" })},
		"two protocols": {`listeners: [{name: l, port: 80, protocol: HTTP}, {name: other, port: 80, protocol: HTTPS, tls: {certificateRefs: [{name: good}]}}]`, changed(func(w *want) {
			w.accepted, w.programmed, w.listenerAccepted, w.conflicted, w.listenerProgrammed = "False ListenersNotValid", "False Invalid", "False ProtocolConflict", "True ProtocolConflict", "False Invalid"
		})},
		"one name twice": {`listeners: [{name: l, port: 80, protocol: HTTP, hostname: a.com}, {name: other, port: 80, protocol: HTTP, hostname: A.com}]`, changed(func(w *want) {
			w.accepted, w.programmed, w.listenerAccepted, w.conflicted, w.listenerProgrammed = "False ListenersNotValid", "False Invalid", "False HostnameConflict", "True HostnameConflict", "False Invalid"
		})},
		"no Secret":        {`listeners: [{name: l, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: missing}]}}]`, unresolved("InvalidCertificateRef")},
		"no certificate":   {`listeners: [{name: l, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: bad}]}}]`, unresolved("InvalidCertificateRef")},
		"not granted":      {`listeners: [{name: l, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: good, namespace: other}]}}]`, unresolved("RefNotPermitted")},
		"granted":          {`listeners: [{name: l, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: good, namespace: granting}]}}]`, good},
		"other kinds only": {`listeners: [{name: l, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: TCPRoute}]}}]`, unresolved("InvalidRouteKinds")},
		"other kinds too":  {`listeners: [{name: l, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: TCPRoute}, {kind: HTTPRoute}]}}]`, changed(func(w *want) { w.resolved = "False InvalidRouteKinds" })},
		"an authority":     {`{tls: {frontend: {default: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: authority}]}}}}, listeners: [{name: l, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: good}]}}]}`, good},
		"no authority": {`{tls: {frontend: {default: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: missing}]}}}}, listeners: [{name: l, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: good}]}}]}`, changed(func(w *want) {
			w.accepted, w.programmed, w.listenerAccepted, w.resolved, w.listenerProgrammed = "False ListenersNotValid", "False Invalid", "False NoValidCACertificate", "False InvalidCACertificateRef", "False Invalid"
		})},
		"its own address":   {`{addresses: [{type: IPAddress, value: 127.100.101.7}], listeners: [{name: l, port: 80, protocol: HTTP}]}`, good},
		"another's address": {`{addresses: [{value: 127.100.102.7}], listeners: [{name: l, port: 80, protocol: HTTP}]}`, changed(func(w *want) { w.programmed, w.listenerProgrammed = "False AddressNotUsable", "False Pending" })},
		"a name for address": {`{addresses: [{type: Hostname, value: a.com}], listeners: [{name: l, port: 80, protocol: HTTP}]}`, changed(func(w *want) {
			w.accepted, w.programmed, w.listenerProgrammed = "False UnsupportedAddress", "False Invalid", "False Pending"
		})},
		"parameters": {`{infrastructure: {parametersRef: {group: "", kind: ConfigMap, name: c}}, listeners: [{name: l, port: 80, protocol: HTTP}]}`, changed(func(w *want) {
			w.accepted, w.programmed, w.listenerProgrammed = "False InvalidParameters", "False Invalid", "False Pending"
		})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := given(t)
			w.secrets = []*corev1.Secret{certificate(t, "ns", "good"), certificate(t, "other", "good"), certificate(t, "granting", "good"), {ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "bad"}}}
			w.configMaps = []*corev1.ConfigMap{{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "authority"}, Data: map[string]string{"ca.crt": string(w.secrets[0].Data["tls.crt"])}}}
			w.grants = []*gatewayv1.ReferenceGrant{read(t, &gatewayv1.ReferenceGrant{}, `{metadata: {namespace: granting, name: x}, spec: {from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: ns}], to: [{group: "", kind: Secret}]}}`)}
			g := gatewayOf(t, "metadata: {namespace: ns, name: tested, generation: 3}")
			if err := unmarshal(c.spec, &g.Spec); err != nil {
				t.Fatal(err)
			}
			g.Spec.GatewayClassName = "ours"
			w.gateways = []*gatewayv1.Gateway{g}
			p := w.plan(101, nil)
			status := p.gateways[0].status(opens(p), metav1.Now())
			gateway, listener := said(status.Conditions), said(status.Listeners[0].Conditions)
			got := want{gateway["Accepted"], gateway["Programmed"], listener["Accepted"], listener["Conflicted"], listener["ResolvedRefs"], listener["Programmed"]}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(want{})); diff != "" {
				t.Error(diff)
			}
			for _, condition := range slices.Concat(status.Conditions, status.Listeners[0].Conditions) {
				if condition.ObservedGeneration != 3 || condition.Message == "" {
					t.Errorf("%+v", condition)
				}
			}
		})
	}
}

// TestRouteStatus: what a route is told by its parent.
func TestRouteStatus(t *testing.T) {
	t.Parallel()
	fine := map[string]string{"Accepted": "True Accepted", "ResolvedRefs": "True ResolvedRefs"}
	refused := func(reason string) map[string]string {
		return map[string]string{"Accepted": "False " + reason, "ResolvedRefs": "True ResolvedRefs"}
	}
	unresolved := func(reason string) map[string]string {
		return map[string]string{"Accepted": "True Accepted", "ResolvedRefs": "False " + reason}
	}
	to := `rules: [{backendRefs: [{name: a, port: 80}]}]`
	for name, c := range map[string]struct {
		namespace, spec string
		want            map[string]string
	}{
		"fine":                  {"ns", `{parentRefs: [{name: g}], ` + to + `}`, fine},
		"no such Gateway":       {"ns", `{parentRefs: [{name: missing}], ` + to + `}`, nil},
		"others' Gateway":       {"ns", `{parentRefs: [{name: foreign}], ` + to + `}`, nil},
		"another kind":          {"ns", `{parentRefs: [{name: g, group: "", kind: Service}], ` + to + `}`, nil},
		"no such listener":      {"ns", `{parentRefs: [{name: g, sectionName: other}], ` + to + `}`, refused("NoMatchingParent")},
		"no such port":          {"ns", `{parentRefs: [{name: g, port: 81}], ` + to + `}`, refused("NoMatchingParent")},
		"another namespace":     {"other", `{parentRefs: [{name: g, namespace: ns}], rules: [{}]}`, refused("NotAllowedByListeners")},
		"selected namespace":    {"chosen", `{parentRefs: [{name: chosen, namespace: ns}], rules: [{}]}`, fine},
		"not selected":          {"other", `{parentRefs: [{name: chosen, namespace: ns}], rules: [{}]}`, refused("NotAllowedByListeners")},
		"no common name":        {"ns", `{parentRefs: [{name: named}], hostnames: [b.com], ` + to + `}`, refused("NoMatchingListenerHostname")},
		"a common name":         {"ns", `{parentRefs: [{name: named}], hostnames: [b.com, x.a.com], ` + to + `}`, fine},
		"no such Service":       {"ns", `{parentRefs: [{name: g}], rules: [{backendRefs: [{name: missing, port: 80}]}]}`, unresolved("BackendNotFound")},
		"no such port there":    {"ns", `{parentRefs: [{name: g}], rules: [{backendRefs: [{name: a, port: 81}]}]}`, unresolved("BackendNotFound")},
		"no Service":            {"ns", `{parentRefs: [{name: g}], rules: [{backendRefs: [{name: a, kind: ConfigMap}]}]}`, unresolved("InvalidKind")},
		"not granted":           {"ns", `{parentRefs: [{name: g}], rules: [{backendRefs: [{name: a, namespace: other, port: 80}]}]}`, unresolved("RefNotPermitted")},
		"an unknown filter":     {"ns", `{parentRefs: [{name: g}], rules: [{filters: [{type: ExtensionRef, extensionRef: {group: x, kind: Y, name: z}}]}]}`, refused("UnsupportedValue")},
		"no regular expression": {"ns", `{parentRefs: [{name: g}], rules: [{matches: [{path: {type: RegularExpression, value: "("}}]}]}`, refused("UnsupportedValue")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := given(t)
			w.namespaces = []*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "chosen", Labels: map[string]string{"chosen": "yes"}}}, {ObjectMeta: metav1.ObjectMeta{Name: "other"}}}
			w.gateways = append(w.gateways,
				gatewayOf(t, `{metadata: {namespace: ns, name: foreign}, spec: {gatewayClassName: foreign, listeners: [{name: http, port: 80, protocol: HTTP}]}}`),
				gatewayOf(t, `{metadata: {namespace: ns, name: named}, spec: {gatewayClassName: ours, listeners: [{name: http, port: 80, protocol: HTTP, hostname: "*.a.com"}]}}`),
				gatewayOf(t, `{metadata: {namespace: ns, name: chosen}, spec: {gatewayClassName: ours, listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {chosen: "yes"}}}}}]}}`))
			route := routeOf(t, "metadata: {namespace: "+c.namespace+", name: tested, generation: 2}")
			if err := unmarshal(c.spec, &route.Spec); err != nil {
				t.Fatal(err)
			}
			w.routes = []*gatewayv1.HTTPRoute{route}
			parents := w.plan(101, nil).routes[0].status(metav1.Now()).Parents
			var got map[string]string
			for _, p := range parents {
				got = said(p.Conditions)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestStatusKeeps: what others say of a route stays, and a condition that does not change
// keeps its time.
func TestStatusKeeps(t *testing.T) {
	t.Parallel()
	w := given(t)
	route := w.routes[0]
	first := metav1.NewTime(time.Unix(1000, 0))
	route.Status.RouteStatus = w.plan(101, nil).routes[0].status(first)
	foreign := gatewayv1.RouteParentStatus{ControllerName: "example.com/other", ParentRef: gatewayv1.ParentReference{Name: "theirs"}}
	route.Status.Parents = append([]gatewayv1.RouteParentStatus{foreign}, route.Status.Parents...)
	again := w.plan(101, nil).routes[0].status(metav1.NewTime(time.Unix(2000, 0)))
	if diff := cmp.Diff(route.Status.RouteStatus, again); diff != "" {
		t.Error(diff)
	}
	route.Spec.Rules = route.Spec.Rules[:2] // The last one has a backend that is missing.
	for _, c := range w.plan(101, nil).routes[0].status(metav1.NewTime(time.Unix(2000, 0))).Parents[1].Conditions {
		if changed := c.LastTransitionTime.Unix() == 2000; changed != (c.Type == "ResolvedRefs") {
			t.Errorf("%+v", c)
		}
	}
}

// TestAttachedRoutes counts each route once, and says where a port is really served.
func TestAttachedRoutes(t *testing.T) {
	t.Parallel()
	w := given(t)
	w.routes[0].Spec.ParentRefs = append(w.routes[0].Spec.ParentRefs, gatewayv1.ParentReference{Name: "g", SectionName: new(gatewayv1.SectionName("http"))})
	p := w.plan(101, nil)
	at := netip.MustParseAddrPort("127.100.101.1:80")
	for want, o := range map[string]opening{
		"True Programmed": {port: 8080}, "False PortUnavailable": {err: errors.New("in use")},
	} {
		l := p.gateways[0].status(map[netip.AddrPort]opening{at: o}, metav1.Now()).Listeners[0]
		if l.AttachedRoutes != 1 || said(l.Conditions)["Programmed"] != want {
			t.Errorf("%d routes, %+v", l.AttachedRoutes, l.Conditions)
		}
	}
}

// TestRoutesOfRefusedListeners: the specification wants them counted, although nobody is
// served there.
func TestRoutesOfRefusedListeners(t *testing.T) {
	t.Parallel()
	w := given(t)
	w.gateways = []*gatewayv1.Gateway{gatewayOf(t, `
metadata: {namespace: ns, name: g}
spec:
  gatewayClassName: ours
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: one, port: 81, protocol: HTTP}
  - {name: same, port: 81, protocol: HTTP}
  - {name: elsewhere, port: 82, protocol: HTTP, hostname: b.com}
  - {name: same elsewhere, port: 82, protocol: HTTP, hostname: b.com}
  - {name: tcp, port: 83, protocol: TCP}
`)}
	p := w.plan(101, nil)
	attached, rules := map[string]int32{}, map[string]bool{}
	for _, l := range p.gateways[0].status(opens(p), metav1.Now()).Listeners {
		attached[string(l.Name)] = l.AttachedRoutes
	}
	for _, l := range p.gateways[0].listeners {
		rules[string(l.spec.Name)] = len(l.rules) > 0
	}
	if diff := cmp.Diff(map[string]int32{"http": 1, "one": 1, "same": 1, "elsewhere": 0, "same elsewhere": 0, "tcp": 0}, attached); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]bool{"http": true, "one": false, "same": false, "elsewhere": false, "same elsewhere": false, "tcp": false}, rules); diff != "" {
		t.Error(diff)
	}
}

// TestAssign: every Gateway gets an address of its own and keeps it.
func TestAssign(t *testing.T) {
	t.Parallel()
	a, b := gatewayOf(t, "metadata: {namespace: ns, name: a}"), gatewayOf(t, "metadata: {namespace: ns, name: b}")
	asks := gatewayOf(t, "{metadata: {namespace: ns, name: c}, spec: {addresses: [{value: 127.100.101.2}]}}")
	got := func(gateways []*gatewayv1.Gateway, held map[types.UID][]netip.Addr) map[string]string {
		all := map[string]string{}
		for uid, one := range assign(gateways, 101, held) {
			all[string(uid)] = one.usable.reason
			for _, address := range one.list {
				all[string(uid)] = address.String()
			}
		}
		return all
	}
	check := func(what string, want, got map[string]string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	check("new ones", map[string]string{"ns/a": "127.100.101.1", "ns/b": "127.100.101.3", "ns/c": "127.100.101.2"}, got([]*gatewayv1.Gateway{a, b, asks}, nil))
	held := map[types.UID][]netip.Addr{"ns/b": {netip.MustParseAddr("127.100.101.2")}}
	check("one that holds what another asks for", map[string]string{"ns/a": "127.100.101.1", "ns/b": "127.100.101.2", "ns/c": "AddressNotUsable"}, got([]*gatewayv1.Gateway{a, b, asks}, held))
	b.Status.Addresses = []gatewayv1.GatewayStatusAddress{{Value: "127.100.101.9"}}
	a.Status.Addresses = []gatewayv1.GatewayStatusAddress{{Value: "127.100.222.1"}}
	check("after a restart", map[string]string{"ns/a": "127.100.101.1", "ns/b": "127.100.101.9"}, got([]*gatewayv1.Gateway{a, b}, nil))
	var many []*gatewayv1.Gateway
	for i := range 255 {
		many = append(many, gatewayOf(t, "metadata: {namespace: ns, name: g"+string(rune('a'+i/26))+string(rune('a'+i%26))+"}"))
	}
	if all := got(many, nil); all["ns/gju"] != "NoResources" {
		t.Errorf("the 255th Gateway got %s", all["ns/gju"])
	}
}
