package clusterapi

// What the provider may do, as the generated ClusterRole windlass-nodes-cluster-api grants
// it. It is a role of its own, so that a cluster without Cluster API need not bind it.
//
// The last one finds what image a template says; without it the template's name stands for it.

// +kubebuilder:rbac:groups=cluster.x-k8s.io,resources=machinedeployments,verbs=get;update
// +kubebuilder:rbac:groups=cluster.x-k8s.io,resources=machinesets,verbs=list;update
// +kubebuilder:rbac:groups=cluster.x-k8s.io,resources=machines,verbs=list;patch;delete
// +kubebuilder:rbac:groups=infrastructure.cluster.x-k8s.io,resources=*,verbs=get
