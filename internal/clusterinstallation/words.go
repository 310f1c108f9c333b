package clusterinstallation

import "strings"

// words are the fields of the newer API by their names in this one, the longer ones
// first.
var words = strings.NewReplacer(
	"spec.database.external.secret", "spec.database.secret",
	"spec.database.operatorManaged", "spec.database",
	"spec.database.external", "spec.database.secret",
	"spec.fileStore.external.url", "spec.minio.externalURL",
	"spec.fileStore.external.bucket", "spec.minio.externalBucket",
	"spec.fileStore.external.secret", "spec.minio.secret",
	"spec.fileStore.operatorManaged", "spec.minio",
	"spec.fileStore.external", "spec.minio.externalURL",
	"spec.fileStore", "spec.minio",
	"spec.licenseSecret", "spec.mattermostLicenseSecret",
	"spec.ingress.host", "spec.ingressName",
	"spec.ingress.annotations", "spec.ingressAnnotations",
	"spec.scheduling.", "spec.",
	"spec.probes.", "spec.",
	// What this API cannot do is no advice.
	", or set useServiceAccount.", ".",
	", or use an external database or the type postgres", ", or use an external database",
	"use another file store", "use minio.externalURL",
)

// inOurWords says of a ClusterInstallation what was said of the Mattermost that stands
// for it.
func inOurWords(text string) string { return words.Replace(text) }
