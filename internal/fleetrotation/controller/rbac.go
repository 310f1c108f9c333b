package controller

// What the controller may do in the management cluster, as the generated ClusterRole
// grants it. Besides, a Role in Windlass' namespace lets it read the Secrets by which
// clusters are registered. What it may do in those is what they grant their Secret's
// identity; see Rights.

// +kubebuilder:rbac:groups=nodes.windlass.dev,resources=fleetrotations,verbs=list;watch;patch
// +kubebuilder:rbac:groups=nodes.windlass.dev,resources=fleetrotations/status,verbs=patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create
