package controller

// What the controller may do, as the generated ClusterRole windlass-rollouts grants it.

// +kubebuilder:rbac:groups=fleet.windlass.dev,resources=installationrollouts,verbs=list;watch
// +kubebuilder:rbac:groups=fleet.windlass.dev,resources=installationrollouts/status,verbs=patch
// +kubebuilder:rbac:groups=installation.mattermost.com,resources=mattermosts,verbs=list;watch;patch
// +kubebuilder:rbac:groups=mattermost.com,resources=clusterinstallations,verbs=list;watch;patch
// Gates look at workloads, nodes and installations; they, and notifications, name Secrets.
//
// +kubebuilder:rbac:groups="",resources=nodes,verbs=list
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get
// +kubebuilder:rbac:groups=apps,resources=daemonsets;deployments;statefulsets,verbs=list
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create
