package installation

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"

	"windlass.dev/api/installation/v1beta1"
)

const (
	appPort     = 8065
	metricsPort = 8067
)

// routingKind is how requests from outside reach the pods.
type routingKind string

const (
	// routingNone: they do not; the installation is reached through its Service.
	routingNone    routingKind = "none"
	routingIngress routingKind = "ingress"
	// routingALB is an Ingress for the AWS load balancer controller.
	routingALB routingKind = "awsLoadBalancerController"
	// routingLoadBalancer is a Service with a load balancer of its own.
	routingLoadBalancer routingKind = "loadBalancer"
)

func routing(mm *v1beta1.Mattermost) routingKind {
	switch {
	case mm.Spec.AWSLoadBalancerController != nil && mm.Spec.AWSLoadBalancerController.Enabled:
		return routingALB
	case mm.Spec.UseServiceLoadBalancer:
		return routingLoadBalancer
	case ingressWanted(mm):
		return routingIngress
	default:
		return routingNone
	}
}

// ingressWanted is what spec.ingress says. A spec that says nothing of it means
// the deprecated fields, which have no switch, unless an HTTPRoute takes their
// place.
func ingressWanted(mm *v1beta1.Mattermost) bool {
	if mm.Spec.Ingress == nil {
		return mm.Spec.IngressName != "" || !routeEnabled(mm)
	}
	return mm.Spec.Ingress.Enabled
}

func service(mm *v1beta1.Mattermost, options RenderOptions) *corev1ac.ServiceApplyConfiguration {
	name := nameOf(mm, options.Set)
	serves := selecting(mm, cmp.Or(options.Serves, name))
	if options.SelectsOlder {
		serves = OlderSelector(mm)
	}
	spec := corev1ac.ServiceSpec().WithSelector(serves)
	if options.strict() && !options.Renewing {
		// It sends requests to pods that cannot answer yet, too.
		spec.WithPublishNotReadyAddresses(true)
	}
	switch routing(mm) {
	case routingLoadBalancer:
		// Metrics are nobody's business outside.
		spec.WithType(corev1.ServiceTypeLoadBalancer).WithPorts(servicePort("http", 80, "app"), servicePort("https", 443, "app"))
	case routingALB:
		// The AWS load balancer reaches the pods by way of the nodes.
		spec.WithType(corev1.ServiceTypeNodePort).WithPorts(podPorts()...)
	default:
		spec.WithPorts(podPorts()...)
		if options.strict() {
			spec.WithClusterIP(corev1.ClusterIPNone)
		}
	}
	return corev1ac.Service(name, mm.Namespace).
		WithLabels(labelled(mm, name)).
		WithAnnotations(mm.Spec.ServiceAnnotations).
		WithOwnerReferences(owner(mm)).
		WithSpec(spec)
}

func servicePort(name string, number int32, target string) *corev1ac.ServicePortApplyConfiguration {
	protocol := "http"
	if name == "https" {
		protocol = name
	}
	return corev1ac.ServicePort().WithName(name).WithPort(number).WithTargetPort(intstr.FromString(target)).WithAppProtocol(protocol).WithProtocol(corev1.ProtocolTCP)
}

// podPorts are those of the pods, by the same numbers.
func podPorts() []*corev1ac.ServicePortApplyConfiguration {
	return []*corev1ac.ServicePortApplyConfiguration{servicePort("app", appPort, "app"), servicePort("metrics", metricsPort, "metrics")}
}

// ingress returns the Ingress, for the AWS load balancer controller or for
// another one; nil when there is to be none.
func ingress(mm *v1beta1.Mattermost, options RenderOptions) *networkingv1ac.IngressApplyConfiguration {
	spec := networkingv1ac.IngressSpec()
	var annotations map[string]string
	switch routing(mm) {
	case routingALB:
		alb := mm.Spec.AWSLoadBalancerController
		annotations = albAnnotations(alb)
		spec.WithRules(rules(mm, hostNames(alb.Hosts))...).WithIngressClassName(cmp.Or(alb.IngressClassName, mm.Name))
	case routingIngress:
		annotations = ingressAnnotations(mm)
		spec.WithRules(rules(mm, hosts(mm))...)
		if secret := tlsSecret(mm); secret != "" {
			spec.WithTLS(networkingv1ac.IngressTLS().WithHosts(hosts(mm)...).WithSecretName(secret))
		}
		if class := ingressClass(mm); class != nil {
			spec.WithIngressClassName(*class)
		}
	default:
		return nil
	}
	if options.Set != nil {
		annotations = options.Set.IngressAnnotations
	}
	name := nameOf(mm, options.Set)
	return networkingv1ac.Ingress(name, mm.Namespace).
		WithLabels(labelled(mm, name)).
		WithAnnotations(annotations).
		WithOwnerReferences(owner(mm)).
		WithSpec(spec)
}

// rules send everything for each host to the Service.
func rules(mm *v1beta1.Mattermost, hosts []string) []*networkingv1ac.IngressRuleApplyConfiguration {
	var all []*networkingv1ac.IngressRuleApplyConfiguration
	for _, host := range hosts {
		path := networkingv1ac.HTTPIngressPath().WithPath("/").WithPathType(networkingv1.PathTypeImplementationSpecific).
			WithBackend(networkingv1ac.IngressBackend().WithService(networkingv1ac.IngressServiceBackend().
				WithName(mm.Name).WithPort(networkingv1ac.ServiceBackendPort().WithNumber(appPort))))
		all = append(all, networkingv1ac.IngressRule().WithHost(host).WithHTTP(networkingv1ac.HTTPIngressRuleValue().WithPaths(path)))
	}
	return all
}

// hostNames returns each name once, in order.
func hostNames(hosts []v1beta1.IngressHost) []string {
	var all []string
	for _, h := range hosts {
		if h.HostName != "" && !slices.Contains(all, h.HostName) {
			all = append(all, h.HostName)
		}
	}
	return all
}

// albAnnotations are what the AWS load balancer controller reads, with the
// user's over them.
func albAnnotations(alb *v1beta1.AWSLoadBalancerController) map[string]string {
	const prefix = "alb.ingress.kubernetes.io/"
	all := map[string]string{prefix + "scheme": "internal", prefix + "listen-ports": `[{"HTTP": 8065}]`}
	if alb.InternetFacing {
		all[prefix+"scheme"] = "internet-facing"
	}
	if alb.CertificateARN != "" {
		all[prefix+"listen-ports"] = `[{"HTTP": 80}, {"HTTPS":443}]`
		all[prefix+"certificate-arn"] = alb.CertificateARN
		all[prefix+"ssl-redirect"] = "443"
	}
	maps.Copy(all, allowed(alb.Annotations))
	return all
}

// allowed returns the annotations without snippets, because those are
// configuration code that runs with the ingress controller's rights, and without
// values with line breaks, which smuggle them.
func allowed(annotations map[string]string) map[string]string {
	all := map[string]string{}
	for key, value := range annotations {
		if !strings.Contains(strings.ToLower(key), "snippet") && !strings.ContainsAny(value, "\r\n") {
			all[key] = value
		}
	}
	return all
}
