// Package v1alpha1 is the API of changes over many installations of one cluster.
//
// +kubebuilder:object:generate=true
// +groupName=fleet.windlass.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of this package.
var GroupVersion = schema.GroupVersion{Group: "fleet.windlass.dev", Version: "v1alpha1"}

// AddToScheme adds this package's kinds to a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &InstallationRollout{}, &InstallationRolloutList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
