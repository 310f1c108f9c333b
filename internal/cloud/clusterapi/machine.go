package clusterapi

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/internal/cloud"
	"windlass.dev/internal/cloud/objects"
)

func text(u *unstructured.Unstructured, fields ...string) string {
	s, _, _ := unstructured.NestedString(u.Object, fields...)
	return s
}

func annotated(u *unstructured.Unstructured, key string) bool {
	_, ok := u.GetAnnotations()[key]
	return ok
}

// setOf is the name of a machine's MachineSet.
func setOf(m *unstructured.Unstructured) string {
	for _, o := range m.GetOwnerReferences() {
		if o.Kind == "MachineSet" {
			return o.Name
		}
	}
	return ""
}

// waits says that somebody deleted a machine, and it waits for the run to drain it.
func waits(m *unstructured.Unstructured) bool {
	return m.GetDeletionTimestamp() != nil && annotated(m, hookAnnotation)
}

// goes says that a machine is being ended, and nothing holds it.
func goes(m *unstructured.Unstructured) bool { return m.GetDeletionTimestamp() != nil && !waits(m) }

func describe(m *unstructured.Unstructured, template, image string) cloud.Machine {
	d := cloud.Machine{
		ID: m.GetName(), ProviderID: text(m, "spec", "providerID"), Node: text(m, "status", "nodeRef", "name"), Zone: text(m, "spec", "failureDomain"),
		State: cloud.Launching, Template: template, Image: image, Architecture: text(m, "status", "nodeInfo", "architecture"),
		Protected: annotated(m, objects.ProtectedAnnotation), Interrupted: waits(m), LaunchedAt: m.GetCreationTimestamp().Time,
	}
	if d.Zone == "" {
		d.Zone = text(m, "status", "failureDomain")
	}
	switch {
	case goes(m):
		d.State = cloud.Ending
	case d.Node != "":
		d.State = cloud.Running
	}
	return d
}

// template is what machines are made from. Its references are kept as they are, since their
// form is another in each version of Cluster API.
type template struct {
	Infrastructure map[string]any `json:"infrastructure"`
	Bootstrap      map[string]any `json:"bootstrap,omitempty"`
	Version        string         `json:"version,omitempty"`
}

// templateOf is that of a MachineDeployment or a MachineSet; the empty one for nil.
func templateOf(u *unstructured.Unstructured) template {
	if u == nil {
		return template{}
	}
	spec, _, _ := unstructured.NestedMap(u.Object, "spec", "template", "spec")
	t := template{}
	t.Infrastructure, _, _ = unstructured.NestedMap(spec, "infrastructureRef")
	t.Bootstrap, _, _ = unstructured.NestedMap(spec, "bootstrap")
	t.Version, _, _ = unstructured.NestedString(spec, "version")
	return t
}

// String is empty for the empty one, and otherwise the names of all that machines are made from.
func (t template) String() string {
	if t.Infrastructure == nil {
		return ""
	}
	bootstrap, _, _ := unstructured.NestedString(t.Bootstrap, "configRef", "name")
	if bootstrap == "" {
		bootstrap, _, _ = unstructured.NestedString(t.Bootstrap, "dataSecretName")
	}
	return fmt.Sprintf("%v/%s@%s", t.Infrastructure["name"], bootstrap, t.Version)
}

// apply makes a MachineDeployment make its machines from the template.
func (t template) apply(u *unstructured.Unstructured) {
	objects.Put(u, t.Infrastructure, "spec", "template", "spec", "infrastructureRef")
	objects.Put(u, t.Bootstrap, "spec", "template", "spec", "bootstrap")
	if t.Version != "" {
		objects.Put(u, t.Version, "spec", "template", "spec", "version")
	} else {
		unstructured.RemoveNestedField(u.Object, "spec", "template", "spec", "version")
	}
}

// imageFields are where infrastructure templates of Cluster API's providers say their image:
// those of AWS, Azure and OpenStack, vSphere, Docker, Hetzner, and Google.
var imageFields = [][]string{{"ami", "id"}, {"image", "id"}, {"template"}, {"customImage"}, {"imageName"}, {"image"}}

// imageFinder reads each infrastructure template once.
type imageFinder struct {
	*group
	known map[string]string
}

// find is the image that a template says; the template's name if it says none, or may not
// be read.
func (f imageFinder) find(ctx context.Context, t template) (string, error) {
	name, _ := t.Infrastructure["name"].(string)
	if image, ok := f.known[name]; ok || name == "" {
		return image, nil
	}
	u, err := f.infrastructure(ctx, t.Infrastructure)
	if err != nil {
		return "", err
	}
	image := name
	if u != nil {
		for _, fields := range imageFields {
			if s := text(u, append([]string{"spec", "template", "spec"}, fields...)...); s != "" {
				image = s
				break
			}
		}
	}
	f.known[name] = image
	return image, nil
}

// infrastructure reads what a reference is to; nil if there is none, or it may not be read.
func (g *group) infrastructure(ctx context.Context, ref map[string]any) (*unstructured.Unstructured, error) {
	name, _ := ref["name"].(string)
	kind, _ := ref["kind"].(string)
	group, _ := ref["apiGroup"].(string)
	var wanted []string
	if versioned, ok := ref["apiVersion"].(string); ok {
		gv, err := schema.ParseGroupVersion(versioned)
		if err != nil {
			return nil, fmt.Errorf("infrastructure template %s has apiVersion %q: %w", name, versioned, cloud.ErrInvalid)
		}
		group, wanted = gv.Group, []string{gv.Version}
	}
	mapping, err := g.client.RESTMapper().RESTMapping(schema.GroupKind{Group: group, Kind: kind}, wanted...)
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, objects.Explain("find kind "+kind, err)
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(mapping.GroupVersionKind)
	err = g.client.Get(ctx, types.NamespacedName{Namespace: g.deployment.GetNamespace(), Name: name}, u)
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return nil, nil
	}
	return u, objects.Explain(fmt.Sprintf("read %s %s", kind, name), err)
}

// problems are why machines are not there yet, and why none come.
func (g *group) problems(machines []unstructured.Unstructured) []cloud.Problem {
	var all []cloud.Problem
	if by, ok := g.deployment.GetAnnotations()[pausedAnnotation]; ok && !ours(by) || g.stopped() {
		all = append(all, cloud.Problem{Reason: cloud.ReasonOther, Message: "the MachineDeployment is paused, and makes no machines"})
	}
	for i := range machines {
		m := &machines[i]
		if m.GetDeletionTimestamp() != nil || text(m, "status", "nodeRef", "name") != "" {
			continue
		}
		conditions, _, _ := unstructured.NestedSlice(m.Object, "status", "conditions")
		for _, c := range conditions {
			condition, _ := c.(map[string]any)
			message, _ := condition["message"].(string)
			if condition["type"] != "InfrastructureReady" || condition["status"] != "False" || message == "" {
				continue
			}
			since, _ := condition["lastTransitionTime"].(string)
			at, err := time.Parse(time.RFC3339, since)
			if err != nil {
				at = m.GetCreationTimestamp().Time
			}
			all = append(all, cloud.Problem{Reason: cloud.ReasonOther, Zone: text(m, "spec", "failureDomain"), Message: fmt.Sprintf("Machine %s: %s", m.GetName(), message), At: at})
		}
	}
	return all
}

// stopped says that whoever owns the group has paused it in its spec.
func (g *group) stopped() bool {
	paused, _, _ := unstructured.NestedBool(g.deployment.Object, "spec", "paused")
	return paused
}
