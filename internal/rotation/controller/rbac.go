package controller

// What the controller may do, as the generated ClusterRole windlass-nodes grants it. Pods, by
// which new nodes pull images, it may make in its own namespace only, by a Role.
//
// Nobody may give an object an owner with whom it is deleted if he may not delete it, nor
// one that blocks the owner's deletion: hence the verbs on finalizers and records.

// +kubebuilder:rbac:groups=nodes.windlass.dev,resources=noderotations,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=nodes.windlass.dev,resources=noderotations/status,verbs=patch
// +kubebuilder:rbac:groups=nodes.windlass.dev,resources=noderotations/finalizers,verbs=update
// +kubebuilder:rbac:groups=nodes.windlass.dev,resources=nodereplacements,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=nodes.windlass.dev,resources=nodereplacements/status,verbs=patch
// +kubebuilder:rbac:groups=nodes.windlass.dev,resources=nodegroups;nodeimages,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=nodes,verbs=list;watch;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch;delete
// +kubebuilder:rbac:groups="",resources=pods/eviction,verbs=create
// +kubebuilder:rbac:groups="",resources=replicationcontrollers;persistentvolumes,verbs=list;watch
// +kubebuilder:rbac:groups=apps,resources=replicasets;statefulsets,verbs=list;watch
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=list;watch;patch
// +kubebuilder:rbac:groups=autoscaling,resources=horizontalpodautoscalers,verbs=list;watch;patch
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=list;watch
// +kubebuilder:rbac:groups=storage.k8s.io,resources=volumeattachments,verbs=list;watch
// Gates look at workloads and installations; they, and notifications, name Secrets.
//
// +kubebuilder:rbac:groups="",resources=nodes;secrets,verbs=get
// +kubebuilder:rbac:groups=apps,resources=daemonsets;deployments;statefulsets,verbs=list
// +kubebuilder:rbac:groups=installation.mattermost.com,resources=mattermosts,verbs=list
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create
