// Package v1alpha1 is the older API of Mattermost installations. It is
// wire-compatible with that of the Mattermost Operator; what Windlass adds is in
// the status only. New installations are Mattermost resources of v1beta1.
//
// +kubebuilder:object:generate=true
// +groupName=mattermost.com
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of this package.
var GroupVersion = schema.GroupVersion{Group: "mattermost.com", Version: "v1alpha1"}

// AddToScheme adds this package's kinds to a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &ClusterInstallation{}, &ClusterInstallationList{}, &MattermostRestoreDB{}, &MattermostRestoreDBList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
