package v1alpha1

// A cluster is registered in the management cluster by a Secret in Windlass' namespace
// that has this label. The Secret's name is the cluster's, and its labels are what waves
// select it by.
const FleetClusterLabel = "nodes.windlass.dev/fleet-cluster"

// Keys of a registration: either a kubeconfig, which names no file and no program, or
// the other three of the first four.
const (
	FleetClusterKubeconfig = "kubeconfig"
	FleetClusterServer     = "server"
	FleetClusterToken      = "token"
	FleetClusterCA         = "ca.crt"
	// FleetClusterNamespace is where Windlass runs in the cluster; windlass-system without
	// one.
	FleetClusterNamespace = "namespace"
)

// FleetRotationLabel is on the NodeRotations that a FleetRotation makes in clusters, and
// on the Lease that freezes their admission. Its value is the FleetRotation's UID.
const FleetRotationLabel = "nodes.windlass.dev/fleet-rotation"

// Reasons of FleetRotations, beside those of NodeRotations.
const (
	// ReasonNoClusters: no wave selects a cluster that is registered.
	ReasonNoClusters = "NoClusters"
	// ReasonNotRegistered: there is no registration of that name.
	ReasonNotRegistered = "NotRegistered"
	// ReasonInvalidRegistration: the registration cannot be used as it is.
	ReasonInvalidRegistration = "InvalidRegistration"
	// ReasonUnreachable: the cluster does not answer.
	ReasonUnreachable = "Unreachable"
	// ReasonNotPermitted: the registration may not do in the cluster what is needed.
	ReasonNotPermitted = "NotPermitted"
	// ReasonKindNotServed: the cluster has no NodeRotations.
	ReasonKindNotServed = "KindNotServed"
	// ReasonFrozenByOther: somebody else has frozen the cluster's admission.
	ReasonFrozenByOther = "FrozenByOther"
	// ReasonMaxParallel: as many clusters of the wave as may are being rotated.
	ReasonMaxParallel = "MaxParallel"
	// ReasonNotOwned: an object of the needed name is somebody else's.
	ReasonNotOwned = "NotOwned"
	// ReasonRotationGone: somebody has deleted the cluster's NodeRotation.
	ReasonRotationGone = "RotationGone"
	// ReasonInstallations: installations are not as stable as they were.
	ReasonInstallations = "InstallationsUnstable"
	// ReasonVerified: all is as well as it was.
	ReasonVerified = "Verified"
	// ReasonClusterFailed: more clusters have failed than may.
	ReasonClusterFailed = "ClusterFailed"
	// ReasonEnding: the cluster's NodeRotation gives back what it has open.
	ReasonEnding = "Ending"
	// ReasonTimeout: what was waited for did not come in time.
	ReasonTimeout = "Timeout"
)
