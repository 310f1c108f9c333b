package installation

import (
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"

	networkingv1 "k8s.io/api/networking/v1"

	"windlass.dev/api/installation/v1beta1"
)

const (
	appPort     = 8065
	metricsPort = 8067
)

// RenderOptions change what is rendered.
type RenderOptions struct {
	// OmitReplicas leaves the Deployment's replicas to somebody else.
	OmitReplicas bool
}

// Render returns the objects of a defaulted installation without problems, as
// apply configurations: only the fields that are meant.
func Render(mm *v1beta1.Mattermost, secrets map[string]Secret, options RenderOptions) ([]*unstructured.Unstructured, error) {
	intents := []any{service(mm)}
	if !usesServiceAccount(mm) {
		intents = append(intents, corev1ac.ServiceAccount(mm.Name, mm.Namespace).WithOwnerReferences(owner(mm)))
	}
	intents = append(intents, role(mm), roleBinding(mm))
	if ingressEnabled(mm) {
		intents = append(intents, ingress(mm))
	}
	d, err := deployment(mm, secrets, options)
	if err != nil {
		return nil, err
	}
	objects := make([]*unstructured.Unstructured, 0, len(intents)+1)
	for _, intent := range append(intents, d) {
		object, err := toUnstructured(intent)
		if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// toUnstructured goes by way of JSON, which leaves out what is not set.
func toUnstructured(intent any) (*unstructured.Unstructured, error) {
	content, err := json.Marshal(intent)
	if err != nil {
		return nil, fmt.Errorf("render: %w", err)
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(content); err != nil {
		return nil, fmt.Errorf("render: %w", err)
	}
	return object, nil
}

func owner(mm *v1beta1.Mattermost) *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().
		WithAPIVersion(v1beta1.GroupVersion.String()).WithKind("Mattermost").
		WithName(mm.Name).WithUID(mm.UID).
		WithController(true).WithBlockOwnerDeletion(true)
}

func service(mm *v1beta1.Mattermost) *corev1ac.ServiceApplyConfiguration {
	port := func(name string, number int32) *corev1ac.ServicePortApplyConfiguration {
		return corev1ac.ServicePort().WithName(name).WithPort(number).WithTargetPort(intstr.FromString(name)).WithAppProtocol("http").WithProtocol("TCP")
	}
	return corev1ac.Service(mm.Name, mm.Namespace).
		WithLabels(labels(mm)).
		WithAnnotations(mm.Spec.ServiceAnnotations).
		WithOwnerReferences(owner(mm)).
		WithSpec(corev1ac.ServiceSpec().
			WithClusterIP("None").
			// The nodes of a Mattermost cluster find each other before they are ready.
			WithPublishNotReadyAddresses(true).
			WithSelector(selector(mm)).
			WithPorts(port("app", appPort), port("metrics", metricsPort)))
}

// role allows what a set-up Job of long ago needed. It is part of what people
// have in their clusters, so it is kept as it is.
func role(mm *v1beta1.Mattermost) *rbacv1ac.RoleApplyConfiguration {
	return rbacv1ac.Role(mm.Name, mm.Namespace).
		WithOwnerReferences(owner(mm)).
		WithRules(rbacv1ac.PolicyRule().WithAPIGroups("batch").WithResources("jobs").
			WithResourceNames("mattermost-db-setup").WithVerbs("get", "list", "watch"))
}

func roleBinding(mm *v1beta1.Mattermost) *rbacv1ac.RoleBindingApplyConfiguration {
	return rbacv1ac.RoleBinding(mm.Name, mm.Namespace).
		WithOwnerReferences(owner(mm)).
		WithSubjects(rbacv1ac.Subject().WithKind("ServiceAccount").WithName(mm.Name).WithNamespace(mm.Namespace)).
		WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup("rbac.authorization.k8s.io").WithKind("Role").WithName(mm.Name))
}

func ingress(mm *v1beta1.Mattermost) *networkingv1ac.IngressApplyConfiguration {
	spec := networkingv1ac.IngressSpec()
	for _, host := range hosts(mm) {
		path := networkingv1ac.HTTPIngressPath().WithPath("/").WithPathType(networkingv1.PathTypeImplementationSpecific).
			WithBackend(networkingv1ac.IngressBackend().WithService(networkingv1ac.IngressServiceBackend().
				WithName(mm.Name).WithPort(networkingv1ac.ServiceBackendPort().WithNumber(appPort))))
		spec.WithRules(networkingv1ac.IngressRule().WithHost(host).WithHTTP(networkingv1ac.HTTPIngressRuleValue().WithPaths(path)))
	}
	if secret := tlsSecret(mm); secret != "" {
		spec.WithTLS(networkingv1ac.IngressTLS().WithHosts(hosts(mm)...).WithSecretName(secret))
	}
	if class := ingressClass(mm); class != nil {
		spec.WithIngressClassName(*class)
	}
	return networkingv1ac.Ingress(mm.Name, mm.Namespace).
		WithLabels(labels(mm)).
		WithAnnotations(ingressAnnotations(mm)).
		WithOwnerReferences(owner(mm)).
		WithSpec(spec)
}
