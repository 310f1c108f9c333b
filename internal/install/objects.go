package install

import (
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	windlassconfig "windlass.dev/internal/config"
)

type object = map[string]any

func named(apiVersion, kind, namespace, name string, content object) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: object{}}
	maps.Copy(o.Object, content)
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	o.SetLabels(map[string]string{"app.kubernetes.io/name": Name, "app.kubernetes.io/part-of": Name})
	return o
}

// namespace has no labels of ours: it may exist and belong to somebody else. The
// one that the API server sets is named, or a second apply would take it away
// for a moment.
func namespace(name string) *unstructured.Unstructured {
	o := named("v1", "Namespace", "", name, nil)
	if name != Namespace {
		o.SetLabels(map[string]string{corev1.LabelMetadataName: name})
	}
	return o
}

func serviceAccount() *unstructured.Unstructured {
	return named("v1", "ServiceAccount", Namespace, Name, nil)
}

func rules(rules ...any) object { return object{"rules": rules} }

func rule(group string, resources, verbs []any) object {
	return object{"apiGroups": []any{group}, "resources": resources, "verbs": verbs}
}

func binding(kind, roleKind, namespace, role string) *unstructured.Unstructured {
	return named("rbac.authorization.k8s.io/v1", kind, namespace, role, object{
		"roleRef":  object{"apiGroup": "rbac.authorization.k8s.io", "kind": roleKind, "name": role},
		"subjects": []any{object{"kind": "ServiceAccount", "name": Name, "namespace": Namespace}},
	})
}

func bindings(roles []*unstructured.Unstructured) []*unstructured.Unstructured {
	var all []*unstructured.Unstructured
	for _, role := range roles {
		all = append(all, binding("ClusterRoleBinding", "ClusterRole", "", role.GetName()))
	}
	return all
}

// protection refuses to delete an installation that an annotation protects. An
// admission policy can, where a controller would hear of it too late.
func protection() []*unstructured.Unstructured {
	const name = Name + "-deletion-protection"
	const annotation = "oldObject.metadata.annotations['" + v1beta1.ProtectedAnnotation + "']"
	return []*unstructured.Unstructured{
		named("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "", name, object{"spec": object{
			"failurePolicy": "Fail",
			"matchConstraints": object{"resourceRules": []any{
				deletion(v1beta1.GroupVersion.Group, "mattermosts"), deletion(v1alpha1.GroupVersion.Group, "clusterinstallations"),
			}},
			"validations": []any{object{
				"expression":        "!has(oldObject.metadata.annotations) || !('" + v1beta1.ProtectedAnnotation + "' in oldObject.metadata.annotations) || " + annotation + " != 'true'",
				"messageExpression": "oldObject.kind + ' ' + oldObject.metadata.name + ' is protected: remove its annotation " + v1beta1.ProtectedAnnotation + " first'",
			}},
		}}),
		named("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", "", name, object{"spec": object{
			"policyName": name, "validationActions": []any{"Deny"},
		}}),
	}
}

func deletion(group, resource string) object {
	return object{"apiGroups": []any{group}, "apiVersions": []any{"*"}, "operations": []any{"DELETE"}, "resources": []any{resource}}
}

// confined makes, of each ClusterRole, a Role for each of the namespaces, and binds
// it. What is the whole cluster's cannot be had that way, and fleets are.
func confined(roles []*unstructured.Unstructured, namespaces []string) []*unstructured.Unstructured {
	var all []*unstructured.Unstructured
	for _, namespace := range namespaces {
		for _, role := range roles {
			if role.GetName() != Name && role.GetName() != restoresName {
				continue // What is of no namespace, such as nodes.
			}
			confined := named("rbac.authorization.k8s.io/v1", "Role", namespace, role.GetName(), object{"rules": role.Object["rules"]})
			all = append(all, confined, binding("RoleBinding", "Role", namespace, role.GetName()))
		}
	}
	return all
}

// configMap holds the configuration of a Windlass that is confined to namespaces.
func configMap(o Options) (*unstructured.Unstructured, error) {
	content, err := yaml.Marshal(object{
		"apiVersion": windlassconfig.APIVersion, "kind": windlassconfig.Kind, "namespaces": o.Namespaces,
	})
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return named("v1", "ConfigMap", Namespace, Name, object{"data": object{"windlass.yaml": string(content)}}), nil
}

// leaseRole, of a name, allows holding a lease. Creating cannot be confined to a name.
func leaseRole(role string, lease windlassconfig.Lease) []*unstructured.Unstructured {
	confined := rule("coordination.k8s.io", []any{"leases"}, []any{"get", "update"})
	confined["resourceNames"] = []any{lease.Name}
	return []*unstructured.Unstructured{
		named("rbac.authorization.k8s.io/v1", "Role", lease.Namespace, role, rules(confined, rule("coordination.k8s.io", []any{"leases"}, []any{"create"}))),
		binding("RoleBinding", "Role", lease.Namespace, role),
	}
}

// freezeRole allows looking whether somebody has frozen the admission of new
// installations.
func freezeRole() []*unstructured.Unstructured {
	const role = Name + "-admission"
	freeze := rule("coordination.k8s.io", []any{"leases"}, []any{"get", "list", "watch"})
	freeze["resourceNames"] = []any{v1beta1.AdmissionFreeze}
	return []*unstructured.Unstructured{
		named("rbac.authorization.k8s.io/v1", "Role", Namespace, role, rules(freeze)),
		binding("RoleBinding", "Role", Namespace, role),
	}
}

// fleetRole allows reading by which Secrets clusters are registered, and holding the
// lease under which fleets are rotated.
func fleetRole(lease windlassconfig.Lease) []*unstructured.Unstructured {
	const role = fleetName + "-registrations"
	held := rule("coordination.k8s.io", []any{"leases"}, []any{"get", "update"})
	held["resourceNames"] = []any{lease.Name}
	return []*unstructured.Unstructured{
		named("rbac.authorization.k8s.io/v1", "Role", Namespace, role, rules(
			rule("", []any{"secrets"}, []any{"list"}), held, rule("coordination.k8s.io", []any{"leases"}, []any{"create"}),
		)),
		binding("RoleBinding", "Role", Namespace, role),
	}
}

// pullRole allows making the pods by which new nodes pull images, in this namespace only.
func pullRole() []*unstructured.Unstructured {
	const role = Name + "-pre-pull"
	return []*unstructured.Unstructured{
		named("rbac.authorization.k8s.io/v1", "Role", Namespace, role, rules(rule("", []any{"pods"}, []any{"create"}))),
		binding("RoleBinding", "Role", Namespace, role),
	}
}

// reviewRole allows asking the API server who asks for metrics, and whether he may.
func reviewRole() []*unstructured.Unstructured {
	const role = Name + "-metrics-auth"
	return []*unstructured.Unstructured{
		named("rbac.authorization.k8s.io/v1", "ClusterRole", "", role, rules(
			rule("authentication.k8s.io", []any{"tokenreviews"}, []any{"create"}),
			rule("authorization.k8s.io", []any{"subjectaccessreviews"}, []any{"create"}),
		)),
		binding("ClusterRoleBinding", "ClusterRole", "", role),
		named("rbac.authorization.k8s.io/v1", "ClusterRole", "", Name+"-metrics-reader", rules(
			object{"nonResourceURLs": []any{"/metrics"}, "verbs": []any{"get"}},
		)),
	}
}

func deployment(o Options) *unstructured.Unstructured {
	labels := object{"app.kubernetes.io/name": Name}
	probe := func(path string) object {
		return object{"httpGet": object{"path": path, "port": "health"}, "periodSeconds": int64(10)}
	}
	container := object{
		"name":            Name,
		"image":           o.Image,
		"args":            []any{"run"},
		"ports":           []any{object{"name": "metrics", "containerPort": int64(8443)}, object{"name": "health", "containerPort": int64(8081)}},
		"livenessProbe":   probe("/healthz"),
		"readinessProbe":  probe("/readyz"),
		"resources":       object{"requests": object{"cpu": "50m", "memory": "64Mi"}, "limits": object{"memory": "1Gi"}},
		"env":             []any{object{"name": "POD_NAMESPACE", "valueFrom": object{"fieldRef": object{"fieldPath": "metadata.namespace"}}}},
		"securityContext": object{"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": object{"drop": []any{"ALL"}}},
	}
	pods := object{
		"serviceAccountName": Name,
		"securityContext":    object{"runAsNonRoot": true, "runAsUser": int64(65532), "seccompProfile": object{"type": "RuntimeDefault"}},
		"containers":         []any{container},
	}
	metadata := object{"labels": labels}
	if len(o.Namespaces) > 0 {
		// Another list means other pods: the configuration is read at the start.
		metadata["annotations"] = object{Name + ".dev/namespaces": strings.Join(o.Namespaces, ",")}
		const folder = "/etc/windlass"
		container["args"] = []any{"run", "--config", folder + "/windlass.yaml"}
		container["volumeMounts"] = []any{object{"name": "config", "mountPath": folder, "readOnly": true}}
		pods["volumes"] = []any{object{"name": "config", "configMap": object{"name": Name}}}
	}
	return named("apps/v1", "Deployment", Namespace, Name, object{"spec": object{
		"replicas": int64(o.Replicas),
		"selector": object{"matchLabels": labels},
		"template": object{"metadata": metadata, "spec": pods},
	}})
}

func metricsService() *unstructured.Unstructured {
	return named("v1", "Service", Namespace, Name+"-metrics", object{"spec": object{
		"selector": object{"app.kubernetes.io/name": Name},
		"ports":    []any{object{"name": "metrics", "port": int64(8443), "targetPort": "metrics"}},
	}})
}
