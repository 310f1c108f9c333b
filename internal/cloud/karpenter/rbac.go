package karpenter

// What the provider may do, as the generated ClusterRole windlass-nodes-karpenter grants it,
// beside what a rotation may do with nodes anyway. An owner whose deletion a NodeClaim blocks,
// as Karpenter's own do, takes the right to change its finalizers.

// +kubebuilder:rbac:groups=karpenter.sh,resources=nodepools,verbs=get;update
// +kubebuilder:rbac:groups=karpenter.sh,resources=nodepools/finalizers,verbs=update
// +kubebuilder:rbac:groups=karpenter.sh,resources=nodeclaims,verbs=list;create;delete
// +kubebuilder:rbac:groups=karpenter.k8s.aws,resources=ec2nodeclasses,verbs=get
// +kubebuilder:rbac:groups=karpenter.azure.com,resources=aksnodeclasses,verbs=get
