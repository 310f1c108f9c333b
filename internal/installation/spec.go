package installation

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"windlass.dev/api/installation/v1beta1"
)

// Names that objects and containers have.
const (
	mainContainer = "mattermost"
	databaseCheck = "init-check-database"
	dataVolume    = "mattermost-data"
	dataPath      = "/mattermost/data"
	licenceVolume = "mattermost-license"
	licencePath   = "/mattermost-license"
)

// Labels of everything that an installation consists of.
const (
	appLabel          = "app"
	installationLabel = "installation.mattermost.com/installation"
	resourceLabel     = "installation.mattermost.com/resource"
)

// selector returns the labels by which pods belong to an installation.
func selector(mm *v1beta1.Mattermost) map[string]string { return selecting(mm, mm.Name) }

// labels returns those of the installation's objects.
func labels(mm *v1beta1.Mattermost) map[string]string { return labelled(mm, mm.Name) }

// image is the full name of the image. A digest may stand in for the version.
func image(mm *v1beta1.Mattermost) string {
	if strings.HasPrefix(mm.Spec.Version, "sha256:") {
		return mm.Spec.Image + "@" + mm.Spec.Version
	}
	return mm.Spec.Image + ":" + mm.Spec.Version
}

// externalDatabase returns the name of the database's Secret; empty when the
// database is not external.
func externalDatabase(mm *v1beta1.Mattermost) string {
	if mm.Spec.Database.External == nil {
		return ""
	}
	return mm.Spec.Database.External.Secret
}

type databaseKind string

const (
	databasePostgres databaseKind = "postgres"
	databaseMySQL    databaseKind = "mysql"
	databaseOther    databaseKind = "other"
)

func databaseType(secret Secret) databaseKind {
	switch secret.DatabaseScheme {
	case "postgres", "postgresql":
		return databasePostgres
	case "mysql":
		return databaseMySQL
	default:
		return databaseOther
	}
}

type fileStoreKind string

const (
	fileStoreExternal fileStoreKind = "external"
	fileStoreVolume   fileStoreKind = "externalVolume"
	fileStoreLocal    fileStoreKind = "local"
	fileStoreManaged  fileStoreKind = "operatorManaged"
)

// fileStore tells which of the members of spec.fileStore is meant. None means
// one that is run by an operator.
func fileStore(mm *v1beta1.Mattermost) fileStoreKind {
	fs := mm.Spec.FileStore
	switch {
	case fs.External != nil && fs.External.URL != "":
		return fileStoreExternal
	case fs.ExternalVolume != nil && fs.ExternalVolume.VolumeClaimName != "":
		return fileStoreVolume
	case fs.Local != nil && fs.Local.Enabled:
		return fileStoreLocal
	default:
		return fileStoreManaged
	}
}

// usesServiceAccount says that the ServiceAccount of the installation's name is
// the user's, and has the rights to the file store.
func usesServiceAccount(mm *v1beta1.Mattermost) bool {
	return fileStore(mm) == fileStoreExternal && mm.Spec.FileStore.External.UseServiceAccount
}

// host is the first host of the site; empty when none is known.
func host(mm *v1beta1.Mattermost) string {
	if hosts := routeHosts(mm); len(hosts) > 0 && routeEnabled(mm) && !ingressWanted(mm) {
		return hosts[0]
	}
	if mm.Spec.Ingress != nil {
		return mm.Spec.Ingress.Host
	}
	return mm.Spec.IngressName
}

// hosts are all hosts, each once, the first one first.
func hosts(mm *v1beta1.Mattermost) []string {
	all := []v1beta1.IngressHost{{HostName: host(mm)}}
	if mm.Spec.Ingress != nil {
		all = append(all, mm.Spec.Ingress.Hosts...)
	}
	return hostNames(all)
}

// Hosts are those whose requests are to reach the installation, however they do.
func Hosts(mm *v1beta1.Mattermost) []string {
	var all []string
	switch routing(mm) {
	case routingIngress:
		all = hosts(mm)
	case routingALB:
		all = hostNames(mm.Spec.AWSLoadBalancerController.Hosts)
	default:
	}
	if httpRouted(mm) {
		all = append(all, routeHosts(mm)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// tlsSecret names the Secret with the certificate; empty for no TLS.
func tlsSecret(mm *v1beta1.Mattermost) string {
	switch {
	case mm.Spec.Ingress != nil:
		return mm.Spec.Ingress.TLSSecret
	case mm.Spec.UseIngressTLS:
		return strings.ReplaceAll(mm.Spec.IngressName, ".", "-") + "-tls-cert"
	default:
		return ""
	}
}

// Annotations of an Ingress that mean something to us.
const (
	bodySizeAnnotation = "nginx.ingress.kubernetes.io/proxy-body-size"
	classAnnotation    = "kubernetes.io/ingress.class"
)

// ingressClass is the class of the Ingress; nil asks for nginx by annotation.
func ingressClass(mm *v1beta1.Mattermost) *string {
	if mm.Spec.Ingress != nil {
		return mm.Spec.Ingress.IngressClass
	}
	return nil
}

// ingressAnnotations returns the user's annotations over the defaults.
func ingressAnnotations(mm *v1beta1.Mattermost) map[string]string {
	all := map[string]string{bodySizeAnnotation: "1000M"}
	if ingressClass(mm) == nil {
		all[classAnnotation] = "nginx"
	}
	theirs := mm.Spec.IngressAnnotations
	if mm.Spec.Ingress != nil {
		theirs = mm.Spec.Ingress.Annotations
	}
	if !wasOlder(mm) {
		theirs = allowed(theirs)
	}
	maps.Copy(all, theirs)
	return all
}

// podAnnotations returns those of the pods. What scrapes a licensed server's
// metrics goes before the user's.
func podAnnotations(mm *v1beta1.Mattermost, options RenderOptions) map[string]string {
	all := map[string]string{}
	if mm.Spec.PodTemplate != nil {
		maps.Copy(all, mm.Spec.PodTemplate.ExtraAnnotations)
	}
	if mm.Spec.LicenseSecret != "" {
		maps.Copy(all, map[string]string{"prometheus.io/scrape": "true", "prometheus.io/path": "/metrics", "prometheus.io/port": "8067"})
	}
	if options.Credentials != "" {
		all[CredentialsAnnotation] = options.Credentials
	}
	return all
}

// podLabels returns those of the pods.
func podLabels(mm *v1beta1.Mattermost, set *Set) map[string]string {
	name := nameOf(mm, set)
	all := labelled(mm, name)
	if mm.Spec.PodTemplate != nil {
		for key, value := range mm.Spec.PodTemplate.ExtraLabels {
			all[key] = cmp.Or(selecting(mm, name)[key], value)
		}
	}
	return all
}
