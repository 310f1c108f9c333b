package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// environment returns a container's variables: those of the image, then envFrom, then
// env, of which each can refer to those before by $(NAME). What is missing is an error
// that names it, as it keeps a container from being created.
// See https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables.
func (p *pod) environment(ctx context.Context, c *corev1.Container, image map[string]string) ([]string, error) {
	all := maps.Clone(image)
	if all == nil {
		all = map[string]string{}
	}
	for _, from := range c.EnvFrom {
		data, err := p.envFrom(ctx, from)
		if err != nil {
			return nil, err
		}
		for key, value := range data {
			all[from.Prefix+key] = value
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			all[e.Name] = expand(e.Value, all)
			continue
		}
		value, found, err := p.valueFrom(ctx, c, e.ValueFrom)
		if err != nil {
			return nil, err
		}
		if found {
			all[e.Name] = value
		}
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, name+"="+all[name])
	}
	return list, nil
}

func (p *pod) envFrom(ctx context.Context, from corev1.EnvFromSource) (map[string]string, error) {
	switch {
	case from.ConfigMapRef != nil:
		return p.configMap(ctx, from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
	case from.SecretRef != nil:
		return p.secret(ctx, from.SecretRef.Name, from.SecretRef.Optional)
	default:
		return nil, nil
	}
}

func (p *pod) valueFrom(ctx context.Context, c *corev1.Container, from *corev1.EnvVarSource) (value string, found bool, err error) {
	switch {
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		data, err := p.configMap(ctx, ref.Name, ref.Optional)
		return keyOf("configmap", p.namespace(), ref.Name, ref.Key, ref.Optional, data, err)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		data, err := p.secret(ctx, ref.Name, ref.Optional)
		return keyOf("secret", p.namespace(), ref.Name, ref.Key, ref.Optional, data, err)
	case from.FieldRef != nil:
		value, err := p.field(from.FieldRef.FieldPath)
		return value, err == nil, err
	case from.ResourceFieldRef != nil:
		value, err := p.resource(c, from.ResourceFieldRef)
		return value, err == nil, err
	default:
		return "", false, nil
	}
}

func keyOf(kind, namespace, name, key string, optional *bool, data map[string]string, err error) (string, bool, error) {
	if err != nil {
		return "", false, err
	}
	value, ok := data[key]
	if !ok && (optional == nil || !*optional) {
		return "", false, fmt.Errorf("couldn't find key %s in %s %s/%s", key, kind, namespace, name)
	}
	return value, ok, nil
}

// field reads a field of the pod, as the downward API names it.
// See https://kubernetes.io/docs/concepts/workloads/pods/downward-api.
func (p *pod) field(path string) (string, error) {
	o := p.object()
	if key, ok := subscript(path, "metadata.labels"); ok {
		return o.Labels[key], nil
	}
	if key, ok := subscript(path, "metadata.annotations"); ok {
		return o.Annotations[key], nil
	}
	switch path {
	case "metadata.name":
		return o.Name, nil
	case "metadata.namespace":
		return o.Namespace, nil
	case "metadata.uid":
		return string(o.UID), nil
	case "metadata.labels":
		return formatted(o.Labels), nil
	case "metadata.annotations":
		return formatted(o.Annotations), nil
	case "spec.nodeName":
		return o.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return o.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		return hostIP, nil
	case "status.podIP", "status.podIPs":
		return p.ip, nil
	default:
		return "", fmt.Errorf("unsupported fieldPath: %s", path)
	}
}

func subscript(path, of string) (key string, ok bool) {
	rest, ok := strings.CutPrefix(path, of+"['")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, "']")
}

// formatted is how the downward API writes a map into a file.
func formatted(m map[string]string) string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, key+"="+strconv.Quote(m[key]))
	}
	return strings.Join(lines, "\n")
}

// resource is a limit or request, divided and rounded up. A limit that is not set is
// what the node has.
func (p *pod) resource(c *corev1.Container, ref *corev1.ResourceFieldSelector) (string, error) {
	if ref.ContainerName != "" {
		i := slices.IndexFunc(p.object().Spec.Containers, func(other corev1.Container) bool { return other.Name == ref.ContainerName })
		if i < 0 {
			return "", fmt.Errorf("container %s not found", ref.ContainerName)
		}
		c = &p.object().Spec.Containers[i]
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	list := map[string]corev1.ResourceList{"limits": c.Resources.Limits, "requests": c.Resources.Requests}[kind]
	quantity, ok := list[corev1.ResourceName(name)]
	if !ok && kind == "limits" {
		quantity = p.node.capacity()[corev1.ResourceName(name)]
	}
	divisor := ref.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if name == string(corev1.ResourceCPU) {
		return strconv.FormatInt(roundUp(quantity.MilliValue(), divisor.MilliValue()), 10), nil
	}
	return strconv.FormatInt(roundUp(quantity.Value(), divisor.Value()), 10), nil
}

func roundUp(n, by int64) int64 {
	if by <= 0 {
		return n
	}
	return (n + by - 1) / by
}

// expand replaces $(NAME) by what is known; an unknown one stays, and $$ is one $.
func expand(text string, known map[string]string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			out.WriteByte(text[i])
			continue
		}
		switch end := strings.IndexByte(text[i:], ')'); {
		case text[i+1] == '$':
			out.WriteByte('$')
			i++
		case text[i+1] == '(' && end > 0:
			name := text[i+2 : i+end]
			value, ok := known[name]
			if !ok {
				value = text[i : i+end+1]
			}
			out.WriteString(value)
			i += end
		default:
			out.WriteByte('$')
		}
	}
	return out.String()
}
