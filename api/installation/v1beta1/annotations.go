package v1beta1

// Annotations of a Mattermost that Windlass reads.
const (
	// WriteBackAnnotation set to "off" keeps defaults out of the stored spec, for
	// those whose tools insist on the spec that they sent.
	WriteBackAnnotation = "windlass.dev/write-back"
	// DataPolicyAnnotation says what becomes of the data that Windlass had made for
	// an installation when the resource is deleted: Retain, the default, or Delete.
	DataPolicyAnnotation = "windlass.dev/data-policy"
	// ShapeAnnotation chooses the Shape of an installation: Strict or Standard.
	ShapeAnnotation = "windlass.dev/shape"
	// ReleasedAnnotation set to "true" hands an installation back to the Mattermost
	// Operator. From then on Windlass does nothing about it, until the annotation is
	// removed.
	ReleasedAnnotation = "windlass.dev/released"
	// RollBackAnnotation set to "on" has the image come back with which all pods last
	// were available, when those of another one do not become so.
	RollBackAnnotation = "windlass.dev/roll-back"
	// PausedAnnotation set to "true" has Windlass change nothing about an
	// installation. It still reports.
	PausedAnnotation = "windlass.dev/paused"
	// ProtectedAnnotation set to "true" has the API server refuse to delete it.
	ProtectedAnnotation = "windlass.dev/deletion-protection"
	// RotationAnnotation set to "off" leaves the pods running when a Secret that
	// they got their credentials from changes.
	RotationAnnotation = "windlass.dev/roll-on-rotation"
	// MigratedFromAnnotation is set on a Mattermost that is made from a
	// ClusterInstallation: to the UID of that.
	MigratedFromAnnotation = "windlass.dev/migrated-from"
	// MigrationModeAnnotation on a ClusterInstallation, or on the Mattermost that it
	// became, says when the pods get the labels of the newer API, for which they have to
	// be replaced: InPlace, the default, with the next image; Recreate, at once.
	MigrationModeAnnotation = "windlass.dev/migration-mode"
)

// AdmissionFreeze is the name of a Lease in Windlass' namespace. While somebody holds it,
// no new installation is made; those that exist are looked after as always. Its holder is
// who froze admission, and says so anew before the Lease runs out.
const AdmissionFreeze = "windlass-admission-freeze"
