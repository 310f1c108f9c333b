package v1beta1

// Conditions of a Mattermost. Ready sums up; Reconciling and Stalled are there
// only while they are True, and never both, as kstatus reads them.
const (
	// ConditionReady is True when everything runs as the spec says.
	ConditionReady = "Ready"
	// ConditionReconciling is True while Windlass or Kubernetes works towards it.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True when waiting alone will not help.
	ConditionStalled = "Stalled"
	// ConditionPaused is there while the installation is paused.
	ConditionPaused = "Paused"
	// ConditionReleased says how far the way back to the Mattermost Operator is, while
	// an annotation asks for it.
	ConditionReleased = "Released"
	// ConditionSpecWarnings is there while a part of the spec is carried out otherwise
	// than its author may think.
	ConditionSpecWarnings = "SpecWarnings"
	// ConditionDatabaseReady says whether the database is configured.
	ConditionDatabaseReady = "DatabaseReady"
	// ConditionFileStoreReady says whether the file store is configured.
	ConditionFileStoreReady = "FileStoreReady"
	// ConditionEndpointReady says whether there is a route to the installation.
	ConditionEndpointReady = "EndpointReady"
	// ConditionUpdateJobSucceeded tells of the last database migration.
	ConditionUpdateJobSucceeded = "UpdateJobSucceeded"
	// ConditionResourcesPatched says what became of spec.resourcePatch, if there
	// is one.
	ConditionResourcesPatched = "ResourcesPatched"
	// ConditionMigrated says how far a ClusterInstallation has become a Mattermost. It is
	// there on both, and stays on the Mattermost.
	ConditionMigrated = "Migrated"
)

// Reasons of conditions and events.
const (
	// ReasonStable: all pods run the wanted version and are available.
	ReasonStable = "Stable"
	// ReasonHibernated: no pods are wanted, and none run.
	ReasonHibernated = "Hibernated"
	// ReasonDeleting: the installation is being deleted.
	ReasonDeleting = "Deleting"
	// ReasonObserveFailed: the cluster could not be read, so nothing was changed.
	ReasonObserveFailed = "ObserveFailed"
	// ReasonApplyFailed: a change was refused or did not arrive; it is tried again.
	ReasonApplyFailed = "ApplyFailed"
	// ReasonInvalidSpec: the spec contradicts itself; an edit is needed.
	ReasonInvalidSpec = "InvalidSpec"
	// ReasonSecretNotFound: a Secret that the spec names does not exist.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonSecretInvalid: a Secret lacks a key, or a value in it cannot be used.
	ReasonSecretInvalid = "SecretInvalid"
	// ReasonNotOwned: an object of a needed name belongs to somebody else.
	ReasonNotOwned = "NotOwned"
	// ReasonDeploymentProgressing: Kubernetes is rolling out the pods.
	ReasonDeploymentProgressing = "DeploymentProgressing"
	// ReasonDeploymentUnavailable: the roll-out makes no progress.
	ReasonDeploymentUnavailable = "DeploymentUnavailable"
	// ReasonIngressNotFound: the Ingress does not exist yet.
	ReasonIngressNotFound = "IngressNotFound"
	// ReasonLoadBalancerPending: the Service has no address of a load balancer yet.
	ReasonLoadBalancerPending = "LoadBalancerPending"
	// ReasonClaimNotFound: a claim that the spec names does not exist.
	ReasonClaimNotFound = "ClaimNotFound"
	// ReasonClaimPending: the claim is not bound to a volume yet.
	ReasonClaimPending = "ClaimPending"
	// ReasonClaimImmutable: the claim exists, and what the spec wants of it cannot
	// be changed.
	ReasonClaimImmutable = "ClaimImmutable"
	// ReasonKindNotFound: the spec needs a kind that the cluster does not know.
	ReasonKindNotFound = "KindNotFound"
	// ReasonRouteNotAccepted: no gateway has taken the HTTPRoute on yet.
	ReasonRouteNotAccepted = "RouteNotAccepted"
	// ReasonIngressClassInvalid: the IngressClass is for another controller.
	ReasonIngressClassInvalid = "IngressClassInvalid"
	// ReasonStorePending: another operator has not brought up the store yet.
	ReasonStorePending = "StorePending"
	// ReasonStoreReady: the operator of the store says that it serves.
	ReasonStoreReady = "StoreReady"
	// ReasonPatched: the patches were applied.
	ReasonPatched = "Patched"
	// ReasonPatchFailed: a patch cannot be applied, or changes what it may not.
	ReasonPatchFailed = "PatchFailed"
	// ReasonAmbiguous: the spec can be read in two ways, or a part of it is left out.
	ReasonAmbiguous = "Ambiguous"
	// ReasonPaused: an annotation says that nothing shall be changed.
	ReasonPaused = "Paused"
	// ReasonAdmissionFrozen: the cluster admits no new installations for now.
	ReasonAdmissionFrozen = "AdmissionFrozen"
	// ReasonPreUpgradeNotFound: the CronJob that has to run first does not exist.
	ReasonPreUpgradeNotFound = "PreUpgradeNotFound"
	// ReasonPreUpgradeRunning: what has to succeed before an upgrade is running.
	ReasonPreUpgradeRunning = "PreUpgradeRunning"
	// ReasonPreUpgradeFailed: it failed; the old version keeps serving.
	ReasonPreUpgradeFailed = "PreUpgradeFailed"
	// ReasonUpdateJobRunning: the database is being migrated for a new version.
	ReasonUpdateJobRunning = "UpdateJobRunning"
	// ReasonUpdateJobFailed: the migration failed; the old version keeps serving.
	ReasonUpdateJobFailed = "UpdateJobFailed"
	// ReasonUpdateJobSucceeded: the migration succeeded.
	ReasonUpdateJobSucceeded = "UpdateJobSucceeded"
	// ReasonNotReleasable: the Mattermost Operator could not carry the installation on.
	ReasonNotReleasable = "NotReleasable"
	// ReasonReleasing: the installation is handed over once it is as wanted.
	ReasonReleasing = "Releasing"
	// ReasonReleased: the installation was handed over.
	ReasonReleased = "Released"
	// ReasonRolledBack: the pods of the wanted image did not become available, and
	// those of the image before it serve again.
	ReasonRolledBack = "RolledBack"
	// ReasonHeldForMigration: the ClusterInstallation of the same name has the objects.
	ReasonHeldForMigration = "HeldForMigration"
	// ReasonMigrationRefused: the installation cannot become a Mattermost as it is.
	ReasonMigrationRefused = "MigrationRefused"
	// ReasonMigrationWaiting: the migration begins when the installation is stable.
	ReasonMigrationWaiting = "MigrationWaiting"
	// ReasonMigrationPreparing: the Mattermost is made; nothing is handed over yet.
	ReasonMigrationPreparing = "MigrationPreparing"
	// ReasonMigrationHandingOver: the Mattermost takes the objects over.
	ReasonMigrationHandingOver = "MigrationHandingOver"
	// ReasonMigrationAwaitingFinalization: all is handed over; a word is awaited.
	ReasonMigrationAwaitingFinalization = "MigrationAwaitingFinalization"
	// ReasonMigrationReverting: the ClusterInstallation takes the objects back.
	ReasonMigrationReverting = "MigrationReverting"
	// ReasonMigrationReverted: the ClusterInstallation has the objects back.
	ReasonMigrationReverted = "MigrationReverted"
	// ReasonMigrationInterrupted: the Mattermost was deleted before the end.
	ReasonMigrationInterrupted = "MigrationInterrupted"
	// ReasonMigrated: the Mattermost has all, and the ClusterInstallation is gone.
	ReasonMigrated = "Migrated"
	// ReasonRenewing: the pods are replaced, a few at a time, by ones with the labels of
	// this API, while those that are left serve.
	ReasonRenewing = "Renewing"
	// ReasonSuperseded: a Mattermost has taken the place of a ClusterInstallation.
	ReasonSuperseded = "Superseded"
	// ReasonDatabaseRestoring: nothing runs while the database is restored from a backup.
	ReasonDatabaseRestoring = "DatabaseRestoring"
	// ReasonConfigured: what is needed from outside is named and complete.
	ReasonConfigured = "Configured"
)
