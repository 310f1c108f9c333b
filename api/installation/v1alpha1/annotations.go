package v1alpha1

// Annotations of a ClusterInstallation, besides those of a Mattermost.
const (
	// FinalizeAnnotation set to "Manual" keeps a ClusterInstallation whose objects are
	// handed over, so that the migration can still be reverted, until it says anything else.
	FinalizeAnnotation = "windlass.dev/migration-finalize"
	// RevertAnnotation set to "true" on a ClusterInstallation that was made anew has it
	// take the installation back from the Mattermost that the former one became.
	RevertAnnotation = "windlass.dev/migration-revert"
)
