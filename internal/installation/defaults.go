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
	// database and fileStore are for those that other operators run.
	database, fileStore storePreset
}

// storePreset is what a size says about a database or a file store.
type storePreset struct {
	replicas int32
	requests corev1.ResourceList
}

// sizes are the presets of the Mattermost Operator.
var sizes = map[string]size{
	"miniSingleton": preset(1, "10m", "150Mi", "2", "4Gi").stores(1, "200m", "512Mi", 1, "100m", "256Mi"),
	"miniHA":        preset(2, "10m", "150Mi", "2", "4Gi").stores(2, "200m", "512Mi", 4, "100m", "256Mi"),
	"cloud10users":  preset(2, "10m", "150Mi", "2", "4Gi").stores(2, "200m", "512Mi", 4, "100m", "256Mi"),
	"cloud100users": preset(2, "50m", "256Mi", "2", "4Gi").stores(2, "200m", "512Mi", 4, "100m", "256Mi"),
	"100users":      preset(1, "100m", "256Mi", "2", "4Gi").stores(1, "200m", "512Mi", 1, "100m", "256Mi"),
	"1000users":     preset(2, "150m", "256Mi", "2", "4Gi").stores(2, "250m", "512Mi", 4, "150m", "512Mi"),
	"5000users":     preset(2, "500m", "500Mi", "4", "8Gi").stores(3, "500m", "500Mi", 4, "200m", "500Mi"),
	"10000users":    preset(2, "500m", "500Mi", "4", "8Gi").stores(3, "500m", "500Mi", 4, "200m", "500Mi"),
	"25000users":    preset(2, "1", "4Gi", "4", "16Gi").stores(3, "500m", "1Gi", 4, "300m", "500Mi"),
}

func quantity(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

// preset is a size of the pods: how many, and of each the requests and limits.
func preset(replicas int32, cpu, memory, cpuLimit, memoryLimit string) size {
	return size{replicas: replicas, resources: corev1.ResourceRequirements{Requests: quantity(cpu, memory), Limits: quantity(cpuLimit, memoryLimit)}}
}

// stores adds the database and the file store: replicas and requests.
func (s size) stores(databases int32, databaseCPU, databaseMemory string, fileStores int32, fileStoreCPU, fileStoreMemory string) size {
	s.database = storePreset{databases, quantity(databaseCPU, databaseMemory)}
	s.fileStore = storePreset{fileStores, quantity(fileStoreCPU, fileStoreMemory)}
	return s
}

// fill puts the preset's values in place of those that are set if there is a
// preset, and otherwise the fallback's in place of those that are not.
func (p *storePreset) fill(replicas **int32, resources *corev1.ResourceRequirements, fallback storePreset) {
	chosen := fallback
	if p != nil {
		chosen = *p
	}
	if p != nil || *replicas == nil {
		*replicas = &chosen.replicas
	}
	if p != nil || empty(*resources) {
		*resources = corev1.ResourceRequirements{Requests: chosen.requests.DeepCopy()}
	}
}

func empty(r corev1.ResourceRequirements) bool {
	return len(r.Requests) == 0 && len(r.Limits) == 0 && len(r.Claims) == 0
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
	var databases, fileStores *storePreset
	if preset, ok := sizes[spec.Size]; ok {
		spec.Replicas = &preset.replicas
		spec.Scheduling.Resources = *preset.resources.DeepCopy()
		databases, fileStores = &preset.database, &preset.fileStore
	}
	spec.Size = ""
	fallback := sizes[defaultSize]
	if spec.Replicas == nil {
		spec.Replicas = &fallback.replicas
	}
	if empty(spec.Scheduling.Resources) {
		spec.Scheduling.Resources = *fallback.resources.DeepCopy()
	}
	defaultDatabase(spec, databases)
	defaultFileStore(mm, fileStores)
	return mm
}
