package controller

// What the controller may do, as the generated ClusterRole grants it. Each verb
// is used; a test runs with each one taken away.
//
// An installation is given a Role, and nobody may grant what he may not do
// himself: hence the rule on jobs, which also covers the update Jobs. Nobody may
// give an object an owner, with whom it is deleted, if he may not delete it: hence
// the verb for claims, Secrets, databases, file stores and what gives the pods their
// rights, of which none is ever deleted by a request. Objects are got past the cache when they are taken over
// from the Mattermost Operator. Pods and ReplicaSets are read and changed only while the
// pods of what was a ClusterInstallation are replaced. Of Secrets only those are written that were generated.
// Besides, a Role in Windlass' namespace lets it read the one Lease that freezes admission.

// +kubebuilder:rbac:groups=installation.mattermost.com,resources=mattermosts,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups=installation.mattermost.com,resources=mattermosts/status,verbs=patch
// +kubebuilder:rbac:groups=installation.mattermost.com,resources=mattermosts/finalizers,verbs=update
// +kubebuilder:rbac:groups=mattermost.com,resources=clusterinstallations,verbs=get;list;watch;update;patch;delete
// +kubebuilder:rbac:groups=mattermost.com,resources=clusterinstallations/status,verbs=patch
// +kubebuilder:rbac:groups=mattermost.com,resources=clusterinstallations/finalizers,verbs=update
// +kubebuilder:rbac:groups=mattermost.com,resources=mattermostrestoredbs,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=services,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=networking.k8s.io,resources=ingresses,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=roles;rolebindings,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=replicasets,verbs=list;watch;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;patch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=list
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=batch,resources=cronjobs,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=mysql.presslabs.org,resources=mysqlclusters,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=postgresql.cnpg.io,resources=clusters,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=miniocontroller.min.io,resources=minioinstances,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=httproutes,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=networking.k8s.io,resources=ingressclasses,verbs=list;watch;create
// +kubebuilder:rbac:groups=autoscaling,resources=horizontalpodautoscalers,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create
