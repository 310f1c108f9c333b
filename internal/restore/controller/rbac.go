package controller

// What the controller may do beside what the controller of installations may, as the
// generated ClusterRole windlass-restores grants it. Claims are deleted by a UID on record.
// Volumes are of no namespace: one that is confined to namespaces cannot keep them.

// +kubebuilder:rbac:groups=mattermost.com,resources=mattermostrestoredbs,verbs=list;watch;patch
// +kubebuilder:rbac:groups=mattermost.com,resources=mattermostrestoredbs/status,verbs=patch
// +kubebuilder:rbac:groups=mattermost.com,resources=clusterinstallations,verbs=list;watch
// +kubebuilder:rbac:groups=installation.mattermost.com,resources=mattermosts,verbs=list;watch
// +kubebuilder:rbac:groups=mysql.presslabs.org,resources=mysqlclusters,verbs=list;watch
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=list;watch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=list
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=list
// +kubebuilder:rbac:groups="",resources=persistentvolumes,verbs=get;patch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create
