package controller

// What the controller may do, as the generated ClusterRole grants it. Each verb
// is used; a test runs with each one taken away.
//
// An installation is given a Role, and nobody may grant what he may not do
// himself: hence the rule on jobs, which also covers the update Jobs.

// +kubebuilder:rbac:groups=installation.mattermost.com,resources=mattermosts,verbs=list;watch;update
// +kubebuilder:rbac:groups=installation.mattermost.com,resources=mattermosts/status,verbs=patch
// +kubebuilder:rbac:groups=installation.mattermost.com,resources=mattermosts/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=services;serviceaccounts,verbs=list;watch;create;patch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=ingresses,verbs=list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=roles;rolebindings,verbs=list;watch;create;patch
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=list;watch;create;patch
// +kubebuilder:rbac:groups=apps,resources=replicasets,verbs=list;watch
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=secrets,verbs=list;watch
// +kubebuilder:rbac:groups=autoscaling,resources=horizontalpodautoscalers,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create
