package gateway

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// verdict is a condition's status and why it is so.
type verdict struct {
	ok              bool
	reason, message string
}

func yes[R ~string](reason R, message string) verdict { return verdict{true, string(reason), message} }

func no[R ~string](reason R, format string, args ...any) verdict {
	return verdict{false, string(reason), fmt.Sprintf(format, args...)}
}

// routed is an HTTPRoute that was read: its rules for no host yet, whether all that it asks
// for is known, and whether its references lead somewhere.
type routed struct {
	rules              []rule
	supported, resolve verdict
}

// reader reads one HTTPRoute.
type reader struct {
	*index
	namespace string
	routed
}

func (x *index) read(route *gatewayv1.HTTPRoute) routed {
	r := reader{index: x, namespace: route.Namespace, routed: routed{
		supported: yes(gatewayv1.RouteReasonAccepted, "The route is served."),
		resolve:   yes(gatewayv1.RouteReasonResolvedRefs, "All references lead somewhere."),
	}}
	for _, spec := range route.Spec.Rules {
		a := r.action(spec)
		found := spec.Matches
		if len(found) == 0 {
			found = []gatewayv1.HTTPRouteMatch{{}}
		}
		for _, match := range found {
			made := r.match(match)
			made.action = a
			r.rules = append(r.rules, made)
		}
	}
	return r.routed
}

// unsupported notes the first thing that cannot be done.
func (r *reader) unsupported(format string, args ...any) {
	if r.supported.ok {
		r.supported = no(gatewayv1.RouteReasonUnsupportedValue, format, args...)
	}
}

// unresolved notes the first reference that leads nowhere.
func (r *reader) unresolved(reason gatewayv1.RouteConditionReason, format string, args ...any) {
	if r.resolve.ok {
		r.resolve = no(reason, format, args...)
	}
}

func (r *reader) match(match gatewayv1.HTTPRouteMatch) rule {
	made := rule{path: path{value: "/"}}
	if p := match.Path; p != nil {
		if p.Value != nil {
			made.path.value = *p.Value
		}
		switch kind := deref(p.Type); kind {
		case gatewayv1.PathMatchExact:
			made.path.exact = true
		case gatewayv1.PathMatchRegularExpression:
			made.path.regex = r.regex(made.path.value)
		case gatewayv1.PathMatchPathPrefix, "":
		default:
			r.unsupported("Paths of the type %s are not supported.", kind)
		}
	}
	if match.Method != nil {
		made.method = string(*match.Method)
	}
	for _, h := range match.Headers {
		c := condition{name: http.CanonicalHeaderKey(string(h.Name)), value: h.Value}
		if deref(h.Type) == gatewayv1.HeaderMatchRegularExpression {
			c.regex = r.regex(h.Value)
		}
		made.headers = once(made.headers, c)
	}
	for _, q := range match.QueryParams {
		c := condition{name: string(q.Name), value: q.Value}
		if deref(q.Type) == gatewayv1.QueryParamMatchRegularExpression {
			c.regex = r.regex(q.Value)
		}
		made.queries = once(made.queries, c)
	}
	return made
}

// once adds a condition: of two with one name the first counts.
func once(list []condition, c condition) []condition {
	if slices.ContainsFunc(list, func(other condition) bool { return other.name == c.name }) {
		return list
	}
	return append(list, c)
}

// regex has to match all of a value.
func (r *reader) regex(pattern string) *regexp.Regexp {
	made, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		r.unsupported("%q is no regular expression of RE2: %v.", pattern, err)
		return regexp.MustCompile("$.") // It matches nothing.
	}
	return made
}

func (r *reader) action(spec gatewayv1.HTTPRouteRule) *action {
	a := &action{}
	if t := spec.Timeouts; t != nil {
		a.timeout, a.backendTimeout = r.duration(t.Request), r.duration(t.BackendRequest)
	}
	if spec.SessionPersistence != nil {
		r.unsupported("Session persistence is not supported.")
	}
	if spec.Retry != nil {
		r.unsupported("Retries of what was sent are not supported: what could not be sent goes to another endpoint in any case.")
	}
	for _, f := range spec.Filters {
		r.filter(a, f)
	}
	if a.redirect != nil && len(spec.BackendRefs) > 0 {
		r.unsupported("A rule cannot both redirect and have backends.")
	}
	for _, ref := range spec.BackendRefs {
		b := backend{weight: 1, endpoints: r.backend(ref.BackendObjectReference)}
		if ref.Weight != nil {
			b.weight = int(*ref.Weight)
		}
		for _, f := range ref.Filters {
			if !b.filters.add(f) {
				r.unsupported("The filter %s is not supported on a backend.", f.Type)
			}
		}
		a.backends = append(a.backends, b)
	}
	return a
}

func (r *reader) duration(d *gatewayv1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	made, err := time.ParseDuration(string(*d))
	if err != nil {
		r.unsupported("%q is no duration.", *d)
	}
	return made
}

func (r *reader) filter(a *action, f gatewayv1.HTTPRouteFilter) {
	switch {
	case a.filters.add(f):
	case f.RequestRedirect != nil:
		a.redirect = redirectOf(f.RequestRedirect)
	case f.URLRewrite != nil:
		a.rewrite = &rewrite{host: string(deref(f.URLRewrite.Hostname)), path: replacementOf(f.URLRewrite.Path)}
	case f.RequestMirror != nil:
		a.mirrors = append(a.mirrors, r.mirror(f.RequestMirror))
	case f.CORS != nil:
		a.cors = corsOf(f.CORS)
	default:
		r.unsupported("The filter %s is not supported.", f.Type)
	}
}

// add takes up a filter that changes headers; false means that it is another one.
func (c *filters) add(f gatewayv1.HTTPRouteFilter) bool {
	switch {
	case f.RequestHeaderModifier != nil:
		c.request = headersOf(f.RequestHeaderModifier)
	case f.ResponseHeaderModifier != nil:
		c.response = headersOf(f.ResponseHeaderModifier)
	default:
		return false
	}
	return true
}

func headersOf(f *gatewayv1.HTTPHeaderFilter) headers {
	read := func(list []gatewayv1.HTTPHeader) (made []header) {
		for _, h := range list {
			made = append(made, header{http.CanonicalHeaderKey(string(h.Name)), h.Value})
		}
		return made
	}
	made := headers{set: read(f.Set), add: read(f.Add)}
	for _, name := range f.Remove {
		made.remove = append(made.remove, http.CanonicalHeaderKey(name))
	}
	return made
}

func replacementOf(p *gatewayv1.HTTPPathModifier) *replacement {
	switch {
	case p == nil:
		return nil
	case p.Type == gatewayv1.PrefixMatchHTTPPathModifier:
		return &replacement{value: deref(p.ReplacePrefixMatch), prefix: true}
	default:
		return &replacement{value: deref(p.ReplaceFullPath)}
	}
}

func redirectOf(f *gatewayv1.HTTPRequestRedirectFilter) *redirect {
	made := &redirect{scheme: deref(f.Scheme), host: string(deref(f.Hostname)), path: replacementOf(f.Path), status: http.StatusFound}
	if f.StatusCode != nil {
		made.status = *f.StatusCode
	}
	if f.Port != nil {
		made.port = strconv.Itoa(int(*f.Port))
	}
	return made
}

func corsOf(f *gatewayv1.HTTPCORSFilter) *cors {
	return &cors{
		origins: texts(f.AllowOrigins), methods: texts(f.AllowMethods), allowed: texts(f.AllowHeaders), exposed: texts(f.ExposeHeaders),
		credentials: is(f.AllowCredentials), maxAge: f.MaxAge,
	}
}

func texts[T ~string](list []T) (made []string) {
	for _, one := range list {
		made = append(made, string(one))
	}
	return made
}

func (r *reader) mirror(f *gatewayv1.HTTPRequestMirrorFilter) mirror {
	m := mirror{endpoints: r.backend(f.BackendRef), numerator: 1, denominator: 1}
	switch {
	case f.Percent != nil:
		m.numerator, m.denominator = int(*f.Percent), 100
	case f.Fraction != nil:
		m.numerator, m.denominator = int(f.Fraction.Numerator), 100
		if f.Fraction.Denominator != nil {
			m.denominator = max(int(*f.Fraction.Denominator), 1)
		}
	}
	return m
}

// backend returns the endpoints of a reference, or nil if it leads nowhere.
func (r *reader) backend(ref gatewayv1.BackendObjectReference) *endpoints {
	kind, name := gatewayv1.Kind("Service"), types.NamespacedName{Namespace: r.namespace, Name: string(ref.Name)}
	if ref.Kind != nil {
		kind = *ref.Kind
	}
	if ref.Namespace != nil {
		name.Namespace = string(*ref.Namespace)
	}
	if deref(ref.Group) != "" || kind != "Service" {
		r.unresolved(gatewayv1.RouteReasonInvalidKind, "Backends of the kind %s are not supported: only Services are.", strings.TrimPrefix(string(deref(ref.Group))+"/"+string(kind), "/"))
		return nil
	}
	if !r.permitted(reference{gatewayv1.GroupName, "HTTPRoute", r.namespace}, reference{"", "Service", name.Namespace}, name.Name) {
		r.unresolved(gatewayv1.RouteReasonRefNotPermitted, "No ReferenceGrant in %s lets HTTPRoutes of %s reach the Service %s.", name.Namespace, r.namespace, name.Name)
		return nil
	}
	port := strconv.Itoa(int(deref(ref.Port)))
	found := r.servicePort(name, port)
	switch {
	case r.services[name] == nil:
		r.unresolved(gatewayv1.RouteReasonBackendNotFound, "There is no Service %s.", name)
	case r.services[name].Spec.Type == corev1.ServiceTypeExternalName:
		r.unresolved(gatewayv1.RouteReasonInvalidKind, "The Service %s has the type ExternalName, which has no endpoints.", name)
	case found == nil:
		r.unresolved(gatewayv1.RouteReasonBackendNotFound, "The Service %s has no port %s.", name, port)
	case found.AppProtocol != nil && (*found.AppProtocol == "https" || *found.AppProtocol == "kubernetes.io/wss"):
		r.unresolved(gatewayv1.RouteReasonUnsupportedProtocol, "The Service %s wants %s on port %s: TLS to backends is not supported.", name, *found.AppProtocol, port)
	default:
		return r.endpoints(name, port)
	}
	return nil
}

// deref returns what a field of the API has, or nothing.
func deref[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}
