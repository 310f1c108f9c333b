package installation

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"

	"windlass.dev/api/installation/v1beta1"
)

// RenderOptions change what is rendered.
type RenderOptions struct {
	// OmitReplicas leaves the Deployment's replicas to somebody else.
	OmitReplicas bool
	// Claim is the installation's claim, if it exists: what cannot be changed of
	// it, and is not asked for, stays.
	Claim *corev1.PersistentVolumeClaim
	// Shape is what the objects are like; empty is Standard.
	Shape v1beta1.Shape
	// Budgeted says that somebody else's disruption budget covers the pods.
	Budgeted bool
	// Credentials is what the pods say of theirs; empty for nothing.
	Credentials string
	// Set is the one whose objects are rendered; nil for the installation's own.
	Set *Set
	// Serves is the set to whose pods the Service sends; empty for its own.
	Serves string
	// Renewing says that the pods are being replaced by ones with other labels; the
	// Service then sends to ready ones only. SelectsOlder has it send to the former ones.
	Renewing, SelectsOlder bool
	// Replicas are those of the Deployment for now; nil for the wanted ones.
	Replicas *int32
	// WithoutPods leaves out the Deployments: sets run in their place.
	WithoutPods bool
}

// Rendering is what an installation consists of.
type Rendering struct {
	// Objects are apply configurations: only the fields that are meant.
	Objects []*unstructured.Unstructured
	// Patches is what became of the user's patches; nil when there are none.
	Patches *v1beta1.ResourcePatchStatus
}

// Render returns the objects of a defaulted installation without problems. A
// patch that cannot be applied leaves its object as it is.
func Render(mm *v1beta1.Mattermost, secrets map[string]Secret, options RenderOptions) (Rendering, error) {
	var r Rendering
	if options.Set != nil {
		return r, r.addSet(mm, secrets, options)
	}
	servicePatched, err := r.add(service(mm, options), servicePatch(mm), patchService)
	if err != nil {
		return r, err
	}
	intents := standardObjects(mm, options)
	if fileStore(mm) == fileStoreLocal {
		c, err := claim(mm, options.Claim)
		if err != nil {
			return r, err
		}
		intents = append(intents, c)
	}
	for _, store := range []*unstructured.Unstructured{database(mm), minio(mm, options)} {
		if store != nil {
			r.Objects = append(r.Objects, store)
		}
	}
	if !usesServiceAccount(mm) {
		intents = append(intents, corev1ac.ServiceAccount(mm.Name, mm.Namespace).WithOwnerReferences(owner(mm)))
	}
	intents = append(intents, role(mm), roleBinding(mm))
	if i := ingress(mm, options); i != nil {
		intents = append(intents, i)
	}
	if route := httpRoute(mm); route != nil {
		r.Objects = append(r.Objects, route)
	}
	for _, intent := range intents {
		if _, err := r.add(intent, "", nil); err != nil {
			return r, err
		}
	}
	if options.WithoutPods {
		return r, nil
	}
	deploymentPatched, err := r.addDeployments(mm, secrets, options)
	r.Patches = patchStatus(mm, servicePatched, deploymentPatched)
	return r, err
}

// addSet adds the objects of a set. It has no patches: the older API knows none.
func (r *Rendering) addSet(mm *v1beta1.Mattermost, secrets map[string]Secret, options RenderOptions) error {
	d, err := deployment(mm, secrets, options)
	if err != nil {
		return err
	}
	intents := []any{service(mm, options)}
	if i := ingress(mm, options); i != nil {
		intents = append(intents, i)
	}
	for _, intent := range append(intents, d) {
		if _, err := r.add(intent, "", nil); err != nil {
			return err
		}
	}
	return nil
}

// addDeployments adds the pods' and, if there is one, the job server's. The
// patch is meant for both.
func (r *Rendering) addDeployments(mm *v1beta1.Mattermost, secrets map[string]Secret, options RenderOptions) (patchErr, err error) {
	d, err := deployment(mm, secrets, options)
	if err != nil {
		return nil, err
	}
	if patchErr, err = r.add(d, deploymentPatch(mm), patchDeployment); err != nil || !dedicatedJobServer(mm) {
		return patchErr, err
	}
	if d, err = jobServer(mm, secrets, options); err != nil {
		return patchErr, err
	}
	jobServerErr, err := r.add(d, deploymentPatch(mm), patchDeployment)
	if patchErr == nil && jobServerErr != nil {
		patchErr = fmt.Errorf("the job server is left without the patch, which does not fit it: %w", jobServerErr)
	}
	return patchErr, err
}

// add renders one object and applies the patch to it, if there is one. A patch
// that fails leaves the object without it.
func (r *Rendering) add(intent any, patch string, apply func(*unstructured.Unstructured, string) (*unstructured.Unstructured, error)) (patchErr, err error) {
	object, err := toUnstructured(intent)
	if err != nil {
		return nil, err
	}
	if patch != "" {
		var result *unstructured.Unstructured
		if result, patchErr = apply(object, patch); patchErr == nil {
			object = result
		}
	}
	r.Objects = append(r.Objects, object)
	return patchErr, nil
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
		WithAPIVersion(kindOf(mm).GroupVersion().String()).WithKind(kindOf(mm).Kind).
		WithName(mm.Name).WithUID(mm.UID).
		WithController(true).WithBlockOwnerDeletion(true)
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
