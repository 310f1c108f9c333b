package v1alpha1

const (
	// ReplaceDataAnnotation on a MattermostRestoreDB is the explicit word without which it
	// does nothing: Retain-CONFIRMATION or Delete-CONFIRMATION, with status.confirmation.
	// DryRun says that nothing is to be done but to tell what would be.
	ReplaceDataAnnotation = "windlass.dev/replace-data"
	// RestoreFinalizer keeps a MattermostRestoreDB that runs until it can be let go.
	RestoreFinalizer = "windlass.dev/restore"
)

// Reasons of the conditions and events of a MattermostRestoreDB. Its conditions are Ready,
// Reconciling, Stalled and SpecWarnings.
const (
	// ReasonConfirmationNeeded: the annotation that says that data may be replaced is missing.
	ReasonConfirmationNeeded = "ConfirmationNeeded"
	// ReasonConfirmationOutdated: the annotation is about other volumes, or cannot be read.
	ReasonConfirmationOutdated = "ConfirmationOutdated"
	// ReasonDryRun: nothing but to tell what would be done was asked for.
	ReasonDryRun = "DryRun"
	// ReasonInvalidRestore: the spec lacks something or contradicts itself.
	ReasonInvalidRestore = "InvalidRestore"
	// ReasonInstallationNotFound: there is no ClusterInstallation of that name.
	ReasonInstallationNotFound = "InstallationNotFound"
	// ReasonInstallationMigrated: the installation is a Mattermost now.
	ReasonInstallationMigrated = "InstallationMigrated"
	// ReasonInstallationMigrating: the installation is about to become a Mattermost.
	ReasonInstallationMigrating = "InstallationMigrating"
	// ReasonInstallationNotReady: the installation is deleted, paused, released, upgraded or
	// cannot be carried out, and so cannot be stopped.
	ReasonInstallationNotReady = "InstallationNotReady"
	// ReasonDatabaseNotManaged: the database is none that the MySQL operator runs.
	ReasonDatabaseNotManaged = "DatabaseNotManaged"
	// ReasonDatabaseNotFound: the MySQL operator has not made the database.
	ReasonDatabaseNotFound = "DatabaseNotFound"
	// ReasonDatabaseStopped: the ClusterInstallation says that the database has no replicas.
	ReasonDatabaseStopped = "DatabaseStopped"
	// ReasonRestoreSecretNotFound: a Secret that the restore needs is missing or lacks a key.
	ReasonRestoreSecretNotFound = "RestoreSecretNotFound"
	// ReasonCredentialsNotOurs: the Secret of the database is the user's, and not written to.
	ReasonCredentialsNotOurs = "CredentialsNotOurs"
	// ReasonAnotherRestore: another restore of the installation is under way.
	ReasonAnotherRestore = "AnotherRestore"
	// ReasonUnrecordedVolume: a claim is in the way that was made since the restore began.
	ReasonUnrecordedVolume = "UnrecordedVolume"
	// ReasonRestoreStepFailed: a step was refused or did not arrive; it is tried again.
	ReasonRestoreStepFailed = "RestoreStepFailed"
	// ReasonRestoring: it is under way, and says what it waits for.
	ReasonRestoring = "Restoring"
	// ReasonRestored: the database has the backup's data, and everything runs.
	ReasonRestored = "Restored"
	// ReasonRestoreAbandoned: the ClusterInstallation went in the middle of it.
	ReasonRestoreAbandoned = "RestoreAbandoned"
	// ReasonPlainTextPassword: the spec has a password in plain text.
	ReasonPlainTextPassword = "PlainTextPassword"
	// ReasonRunsOnce: the spec was changed after the restore began, which does not begin again.
	ReasonRunsOnce = "RunsOnce"
)
