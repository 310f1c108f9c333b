// Package installation decides what one Mattermost installation consists of and
// what has to happen next. It is pure: it reads no cluster, clock or file, and
// changes none of its arguments.
package installation

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"windlass.dev/api/installation/v1beta1"
)

// What the Mattermost Operator v1.25.9 puts into an empty field.
const (
	defaultImage   = "mattermost/mattermost-enterprise-edition"
	defaultVersion = "10.8.1"
	defaultSize    = "5000users"
)

// size is a preset: what it says replaces what the spec says.
type size struct {
	replicas  int32
	resources corev1.ResourceRequirements
}

// sizes are the presets of the Mattermost Operator: pods, requests, limits.
var sizes = map[string]size{
	"miniSingleton": preset(1, "10m", "150Mi", "2", "4Gi"),
	"miniHA":        preset(2, "10m", "150Mi", "2", "4Gi"),
	"cloud10users":  preset(2, "10m", "150Mi", "2", "4Gi"),
	"cloud100users": preset(2, "50m", "256Mi", "2", "4Gi"),
	"100users":      preset(1, "100m", "256Mi", "2", "4Gi"),
	"1000users":     preset(2, "150m", "256Mi", "2", "4Gi"),
	"5000users":     preset(2, "500m", "500Mi", "4", "8Gi"),
	"10000users":    preset(2, "500m", "500Mi", "4", "8Gi"),
	"25000users":    preset(2, "1", "4Gi", "4", "16Gi"),
}

func preset(replicas int32, cpu, memory, cpuLimit, memoryLimit string) size {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	return size{replicas, corev1.ResourceRequirements{Requests: list(cpu, memory), Limits: list(cpuLimit, memoryLimit)}}
}

// Default returns a copy whose spec is complete, in the form in which it is
// stored: a size is expanded over what is set and erased, and empty fields are
// filled. An unknown size counts as none, as its users are used to.
func Default(stored *v1beta1.Mattermost) *v1beta1.Mattermost {
	mm := stored.DeepCopy()
	spec := &mm.Spec
	spec.Image = cmp.Or(spec.Image, defaultImage)
	spec.Version = cmp.Or(spec.Version, defaultVersion)
	spec.ImagePullPolicy = cmp.Or(spec.ImagePullPolicy, corev1.PullIfNotPresent)
	if preset, ok := sizes[spec.Size]; ok {
		spec.Replicas = &preset.replicas
		spec.Scheduling.Resources = *preset.resources.DeepCopy()
	}
	spec.Size = ""
	fallback := sizes[defaultSize]
	if spec.Replicas == nil {
		spec.Replicas = &fallback.replicas
	}
	if r := spec.Scheduling.Resources; len(r.Requests) == 0 && len(r.Limits) == 0 && len(r.Claims) == 0 {
		spec.Scheduling.Resources = *fallback.resources.DeepCopy()
	}
	return mm
}
