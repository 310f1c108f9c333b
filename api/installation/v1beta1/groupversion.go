// Package v1beta1 is the API of Mattermost installations. It is wire-compatible
// with that of the Mattermost Operator; what Windlass adds is optional.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +groupName=installation.mattermost.com
package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of this package.
var GroupVersion = schema.GroupVersion{Group: "installation.mattermost.com", Version: "v1beta1"}

// SchemeGroupVersion is GroupVersion by the name that generated code expects.
var SchemeGroupVersion = GroupVersion

// AddToScheme adds this package's kinds to a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &Mattermost{}, &MattermostList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
