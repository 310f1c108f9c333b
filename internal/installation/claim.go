package installation

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"windlass.dev/api/installation/v1beta1"
)

const (
	dataRetain = "Retain"
	dataDelete = "Delete"
)

// defaultStorageSize is that of the Mattermost Operator.
const defaultStorageSize = "50Gi"

// deletesData says that the data goes with the resource.
func deletesData(mm *v1beta1.Mattermost) bool {
	return mm.Annotations[v1beta1.DataPolicyAnnotation] == dataDelete
}

// ClaimName is the claim that the pods mount for their files; empty for none.
func ClaimName(mm *v1beta1.Mattermost) string {
	switch fileStore(mm) {
	case fileStoreVolume:
		return mm.Spec.FileStore.ExternalVolume.VolumeClaimName
	case fileStoreLocal:
		return mm.Name
	default:
		return ""
	}
}

// storageSize is how much the local file store asks for. A claim that exists
// keeps its size unless the spec names another.
func storageSize(mm *v1beta1.Mattermost, live *corev1.PersistentVolumeClaim) (resource.Quantity, error) {
	text := mm.Spec.FileStore.Local.StorageSize
	if have, ok := requested(live); ok && text == "" {
		return have, nil
	}
	return resource.ParseQuantity(cmp.Or(text, defaultStorageSize))
}

// requested is the size of a claim that exists.
func requested(live *corev1.PersistentVolumeClaim) (size resource.Quantity, ok bool) {
	if live == nil {
		return size, false
	}
	size, ok = live.Spec.Resources.Requests[corev1.ResourceStorage]
	return size, ok
}

// accessModes are those that are asked for; of a claim that exists the modes
// stay, since they cannot be changed, unless the spec names others.
func accessModes(mm *v1beta1.Mattermost, live *corev1.PersistentVolumeClaim) []corev1.PersistentVolumeAccessMode {
	switch {
	case len(mm.Spec.FileStore.Local.AccessModes) > 0:
		return mm.Spec.FileStore.Local.AccessModes
	case live != nil && len(live.Spec.AccessModes) > 0:
		return live.Spec.AccessModes
	default:
		return []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	}
}

// claim is the local file store. It has no owner, and so outlives the resource,
// unless the data is to be deleted with it.
func claim(mm *v1beta1.Mattermost, live *corev1.PersistentVolumeClaim) (*corev1ac.PersistentVolumeClaimApplyConfiguration, error) {
	size, err := storageSize(mm, live)
	if err != nil {
		return nil, fmt.Errorf("render claim: %w", err)
	}
	spec := corev1ac.PersistentVolumeClaimSpec().
		WithAccessModes(accessModes(mm, live)...).
		WithResources(corev1ac.VolumeResourceRequirements().WithRequests(corev1.ResourceList{corev1.ResourceStorage: size}))
	if class := mm.Spec.FileStore.Local.StorageClassName; class != nil {
		spec.WithStorageClassName(*class)
	}
	c := corev1ac.PersistentVolumeClaim(mm.Name, mm.Namespace).WithLabels(labels(mm)).WithSpec(spec)
	if deletesData(mm) {
		c.WithOwnerReferences(owner(mm))
	}
	return c, nil
}

// validateFileStore returns what is wrong with a file store that is made for the
// installation, by itself.
func validateFileStore(mm *v1beta1.Mattermost) []Problem {
	if om := mm.Spec.FileStore.OperatorManaged; fileStore(mm) == fileStoreManaged {
		return validateStore("spec.fileStore.operatorManaged", om.Replicas, om.StorageSize)
	}
	if fileStore(mm) != fileStoreLocal {
		return nil
	}
	size, err := storageSize(mm, nil)
	if err == nil && size.Sign() > 0 {
		return nil
	}
	return []Problem{{
		Path: "spec.fileStore.local.storageSize", Reason: v1beta1.ReasonInvalidSpec,
		Message: fmt.Sprintf("%q is not a size: use a number with a unit, such as 50Gi.", mm.Spec.FileStore.Local.StorageSize),
	}}
}

// checkClaim compares what is wanted of a claim with the one that exists.
func checkClaim(mm *v1beta1.Mattermost, live *corev1.PersistentVolumeClaim) []Problem {
	switch {
	case fileStore(mm) == fileStoreVolume && live == nil:
		return []Problem{{
			Path: "spec.fileStore.externalVolume.volumeClaimName", Reason: v1beta1.ReasonClaimNotFound,
			Message: fmt.Sprintf("There is no PersistentVolumeClaim %q: create it; the installation goes on by itself then.", ClaimName(mm)),
		}}
	case fileStore(mm) == fileStoreLocal && live != nil:
		return checkLocal(mm, live)
	default:
		return nil
	}
}

// checkLocal refuses what Kubernetes cannot change in a claim.
func checkLocal(mm *v1beta1.Mattermost, live *corev1.PersistentVolumeClaim) []Problem {
	var problems []Problem
	immutable := func(field, format string, args ...any) {
		problems = append(problems, Problem{Path: "spec.fileStore.local." + field, Reason: v1beta1.ReasonClaimImmutable, Message: fmt.Sprintf(format, args...)})
	}
	if modes := accessModes(mm, live); !sameModes(modes, live.Spec.AccessModes) {
		immutable("accessModes", "PersistentVolumeClaim %q has the modes %v, which cannot become %v: set them back, or move the files to another claim and use spec.fileStore.externalVolume.", live.Name, live.Spec.AccessModes, modes)
	}
	if class := mm.Spec.FileStore.Local.StorageClassName; class != nil && live.Spec.StorageClassName != nil && *class != *live.Spec.StorageClassName {
		immutable("storageClassName", "PersistentVolumeClaim %q has the class %q, which cannot become %q: set it back, or move the files to another claim and use spec.fileStore.externalVolume.", live.Name, *live.Spec.StorageClassName, *class)
	}
	size, err := storageSize(mm, live)
	if have, ok := requested(live); ok && err == nil && size.Cmp(have) < 0 {
		immutable("storageSize", "PersistentVolumeClaim %q has %s and cannot shrink to %s: ask for that much or more.", live.Name, have.String(), size.String())
	}
	return problems
}

func sameModes(a, b []corev1.PersistentVolumeAccessMode) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}
