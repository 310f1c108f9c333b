package v1alpha1

// ConditionCanaryReady says whether the canary runs as wanted, while there is one.
// The other conditions of a ClusterInstallation, and all reasons, are those of a
// Mattermost. A canary that does not run holds nothing else up.
const ConditionCanaryReady = "CanaryReady"
