package controller

// What the controller may do, as a part of the generated ClusterRole windlass-nodes.

// +kubebuilder:rbac:groups=nodes.windlass.dev,resources=nodegroups;nodeimages;noderotations,verbs=get;list;watch
// +kubebuilder:rbac:groups=nodes.windlass.dev,resources=nodegroups/status,verbs=patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create
