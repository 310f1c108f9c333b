package installation

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"windlass.dev/api/installation/v1beta1"
)

// patchText returns the text of a patch that is to be applied; empty for none.
func patchText(p *v1beta1.Patch) string {
	if p == nil || p.Disable {
		return ""
	}
	return p.Patch
}

func servicePatch(mm *v1beta1.Mattermost) string {
	if mm.Spec.ResourcePatch == nil {
		return ""
	}
	return patchText(mm.Spec.ResourcePatch.Service)
}

func deploymentPatch(mm *v1beta1.Mattermost) string {
	if mm.Spec.ResourcePatch == nil {
		return ""
	}
	return patchText(mm.Spec.ResourcePatch.Deployment)
}

const (
	// maxOperations and maxCopied bound what a patch may do, as the API server bounds
	// the patches that it is sent: each copy can double the document.
	maxOperations = 1000
	maxCopied     = 3 << 20 // bytes
)

func init() { jsonpatch.AccumulatedCopySizeLimit = maxCopied }

// applyPatch applies a patch of the user's to a document. The library trusts its
// input further than we do.
func applyPatch(document []byte, patch string) (result []byte, err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("it cannot be applied: %v", problem)
		}
	}()
	operations, err := jsonpatch.DecodePatch([]byte(patch))
	if err != nil {
		return nil, fmt.Errorf("it is no JSON patch (RFC 6902): %w", err)
	}
	if len(operations) > maxOperations {
		return nil, fmt.Errorf("it has %d operations; %d are allowed", len(operations), maxOperations)
	}
	return operations.Apply(document)
}

// patched returns the object with a JSON patch of the user's applied. The patch
// sees the object as the API's type has it, with its empty structures. What it
// may not change is judged by the result, so that replacing a parent does not
// get around it. full is the type, intent the apply configuration for it.
func patched[T any](object *unstructured.Unstructured, patch string, forbidden func(before, after *T) error, intent func(*T) (any, error)) (*unstructured.Unstructured, error) {
	before := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, before); err != nil {
		return nil, err
	}
	document, err := json.Marshal(before)
	if err != nil {
		return nil, err
	}
	if document, err = applyPatch(document, patch); err != nil {
		return nil, err
	}
	after := new(T)
	strict := json.NewDecoder(bytes.NewReader(document))
	strict.DisallowUnknownFields()
	if err := strict.Decode(after); err != nil {
		return nil, fmt.Errorf("the result is not valid: %w", err)
	}
	if err := forbidden(before, after); err != nil {
		return nil, err
	}
	result, err := intent(after)
	if err != nil {
		return nil, err
	}
	return toUnstructured(result)
}

func patchService(object *unstructured.Unstructured, patch string) (*unstructured.Unstructured, error) {
	return patched(object, patch, forbiddenInService, func(s *corev1.Service) (any, error) {
		for i := range s.Spec.Ports {
			p := &s.Spec.Ports[i]
			p.Protocol = cmp.Or(p.Protocol, corev1.ProtocolTCP) // A part of the port's identity.
			if p.TargetPort == (intstr.IntOrString{}) {
				p.TargetPort = intstr.FromInt32(p.Port) // The type cannot leave it out.
			}
		}
		intent := corev1ac.Service(s.Name, s.Namespace)
		if err := recast(s, intent); err != nil {
			return nil, err
		}
		intent.Status = nil
		return intent, nil
	})
}

func patchDeployment(object *unstructured.Unstructured, patch string) (*unstructured.Unstructured, error) {
	return patched(object, patch, forbiddenInDeployment, func(d *appsv1.Deployment) (any, error) {
		for i := range d.Spec.Template.Spec.Containers {
			c := &d.Spec.Template.Spec.Containers[i]
			for j := range c.Ports {
				c.Ports[j].Protocol = cmp.Or(c.Ports[j].Protocol, corev1.ProtocolTCP)
			}
		}
		intent := appsv1ac.Deployment(d.Name, d.Namespace)
		if err := recast(d, intent); err != nil {
			return nil, err
		}
		intent.Status = nil
		return intent, nil
	})
}

// recast copies by way of JSON, which a type and its apply configuration share.
func recast(from, to any) error {
	content, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(content, to)
}

// unchanged returns an error for the first of the named values that differ.
func unchanged(pairs ...pair) error {
	for _, p := range pairs {
		if !reflect.DeepEqual(p.before, p.after) {
			return fmt.Errorf("it may not change %s", p.name)
		}
	}
	return nil
}

type pair struct {
	name          string
	before, after any
}

func identity(before, after metav1.Object) error {
	return unchanged(
		pair{"metadata.name", before.GetName(), after.GetName()},
		pair{"metadata.namespace", before.GetNamespace(), after.GetNamespace()},
		pair{"metadata.ownerReferences", before.GetOwnerReferences(), after.GetOwnerReferences()},
		pair{"metadata.finalizers", before.GetFinalizers(), after.GetFinalizers()},
	)
}

func forbiddenInService(before, after *corev1.Service) error {
	return errors.Join(identity(before, after), unchanged(
		pair{"apiVersion and kind", before.TypeMeta, after.TypeMeta},
		pair{"spec.selector", before.Spec.Selector, after.Spec.Selector},
		pair{"spec.externalIPs", before.Spec.ExternalIPs, after.Spec.ExternalIPs},
		pair{"spec.externalName", before.Spec.ExternalName, after.Spec.ExternalName},
	))
}

func forbiddenInDeployment(before, after *appsv1.Deployment) error {
	const pods = "spec.template.spec."
	b, a := before.Spec.Template.Spec, after.Spec.Template.Spec
	problems := []error{identity(before, after), unchanged(
		pair{"apiVersion and kind", before.TypeMeta, after.TypeMeta},
		pair{"spec.selector", before.Spec.Selector, after.Spec.Selector},
		pair{pods + "hostNetwork", b.HostNetwork, a.HostNetwork},
		pair{pods + "hostPID", b.HostPID, a.HostPID},
		pair{pods + "hostIPC", b.HostIPC, a.HostIPC},
		pair{pods + "volumes", b.Volumes, a.Volumes},
		pair{pods + "serviceAccountName", b.ServiceAccountName, a.ServiceAccountName},
		pair{pods + "serviceAccount", b.DeprecatedServiceAccount, a.DeprecatedServiceAccount},
		pair{pods + "nodeSelector", b.NodeSelector, a.NodeSelector},
		pair{pods + "nodeName", b.NodeName, a.NodeName},
		pair{pods + "initContainers", b.InitContainers, a.InitContainers},
		pair{pods + "ephemeralContainers", b.EphemeralContainers, a.EphemeralContainers},
		pair{pods + "securityContext.runAsUser", podUser(b.SecurityContext), podUser(a.SecurityContext)},
	)}
	privileges := map[string]privilege{}
	for _, c := range b.Containers {
		privileges[c.Name] = privilegeOf(c.SecurityContext)
	}
	for _, c := range a.Containers {
		// A new container starts without any.
		problems = append(problems, unchanged(pair{
			pods + "containers[" + c.Name + "].securityContext: privileged, allowPrivilegeEscalation, runAsUser, capabilities",
			privileges[c.Name], privilegeOf(c.SecurityContext),
		}))
	}
	return errors.Join(problems...)
}

func podUser(s *corev1.PodSecurityContext) any {
	if s == nil || s.RunAsUser == nil {
		return nil
	}
	return *s.RunAsUser
}

// privilege is what a container could do more than others.
type privilege struct {
	Privileged, Escalation *bool
	User                   *int64
	Capabilities           *corev1.Capabilities
}

func privilegeOf(s *corev1.SecurityContext) privilege {
	if s == nil {
		return privilege{}
	}
	return privilege{s.Privileged, s.AllowPrivilegeEscalation, s.RunAsUser, s.Capabilities}
}

// patchStatus is what spec.resourcePatch comes to, as the Mattermost Operator's
// clients read it; nil when there are no patches.
func patchStatus(mm *v1beta1.Mattermost, serviceErr, deploymentErr error) *v1beta1.ResourcePatchStatus {
	status := func(text string, err error) *v1beta1.PatchStatus {
		switch {
		case text == "":
			return nil
		case err != nil:
			return &v1beta1.PatchStatus{Error: err.Error()}
		default:
			return &v1beta1.PatchStatus{Applied: true}
		}
	}
	s := v1beta1.ResourcePatchStatus{
		ServicePatch:    status(servicePatch(mm), serviceErr),
		DeploymentPatch: status(deploymentPatch(mm), deploymentErr),
	}
	if s == (v1beta1.ResourcePatchStatus{}) {
		return nil
	}
	return &s
}

// patchProblems are patches that went well before and cannot be applied as they
// are now: what runs was patched, and must not lose that for a slip of the pen.
// A patch that never went well leaves its object unpatched, as the Mattermost
// Operator has it.
func patchProblems(stored *v1beta1.Mattermost, now *v1beta1.ResourcePatchStatus) []Problem {
	before := stored.Status.ResourcePatch
	if before == nil || now == nil {
		return nil
	}
	var problems []Problem
	check := func(path string, before, now *v1beta1.PatchStatus) {
		if before != nil && before.Applied && now != nil && now.Error != "" {
			problems = append(problems, Problem{Path: path, Reason: v1beta1.ReasonPatchFailed, Message: fmt.Sprintf("The patch was applied before and cannot be as it is now: %s. Correct it, or remove it.", now.Error)})
		}
	}
	check("spec.resourcePatch.deployment.patch", before.DeploymentPatch, now.DeploymentPatch)
	check("spec.resourcePatch.service.patch", before.ServicePatch, now.ServicePatch)
	return problems
}
