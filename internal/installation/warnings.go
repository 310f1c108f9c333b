package installation

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"windlass.dev/api/installation/v1beta1"
)

// warnings say, in order, what of a stored spec is carried out otherwise than its
// author may think. None of it keeps the installation from running: the Mattermost
// Operator takes it too.
func warnings(s Snapshot, shape v1beta1.Shape) []string {
	stored, secrets := s.Mattermost, s.Secrets
	var all []string
	warn := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if size := stored.Spec.Size; size != "" {
		if _, known := sizes[size]; !known {
			warn("spec.size: there is no size %q, so that of %s counts; the sizes are %s.", size, defaultSize, strings.Join(slices.Sorted(maps.Keys(sizes)), ", "))
		}
	}
	if tag := stored.Spec.Version; slices.Contains([]string{"latest", "master", "main", "nightly", "edge"}, tag) {
		warn("spec.version: %q means another image from one day to the next; name a version.", tag)
	}
	if stores := fileStores(stored); len(stores) > 1 {
		warn("spec.fileStore: %s are set, and %s counts.", strings.Join(stores, " and "), fileStore(stored))
	}
	if stored.Spec.Database.OperatorManaged != nil && externalDatabase(stored) != "" {
		warn("spec.database: external and operatorManaged are set, and external counts.")
	}
	if name := externalDatabase(stored); name != "" && secrets[name].HasValue(keyConnection) && secrets[name].DatabaseScheme == "" {
		warn("spec.database.external.secret: %s in Secret %q has no scheme such as postgres://, so that Mattermost takes it for the name of a file.", keyConnection, name)
	}
	for host, others := range s.Namesakes {
		warn("spec: the host %s is also that of %s %s, so that its requests reach one or the other.", host, kindOf(stored).Kind, others[0])
	}
	all = append(all, unknownMode(stored)...)
	all = append(all, leftOut(stored, shape)...)
	slices.Sort(all)
	return all
}

// unknownMode says of a mode of migration that it is none.
func unknownMode(stored *v1beta1.Mattermost) []string {
	switch mode := stored.Annotations[v1beta1.MigrationModeAnnotation]; mode {
	case "", v1beta1.MigrationInPlace, v1beta1.MigrationRecreate:
		return nil
	default:
		return []string{fmt.Sprintf("metadata.annotations: %s is %q, so that %s counts: want %s or %s.", v1beta1.MigrationModeAnnotation, mode, v1beta1.MigrationInPlace, v1beta1.MigrationInPlace, v1beta1.MigrationRecreate)}
	}
}

// leftOut are the parts of a spec that are not carried out.
func leftOut(stored *v1beta1.Mattermost, shape v1beta1.Shape) []string {
	var all []string
	warn := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for name, times := range repeatedNames(stored) {
		warn("spec.mattermostEnv: %s is there %d times, and the last one counts.", name, times)
	}
	for path, probe := range map[string]corev1.Probe{"spec.probes.livenessProbe": stored.Spec.Probes.LivenessProbe, "spec.probes.readinessProbe": stored.Spec.Probes.ReadinessProbe} {
		if probe.TerminationGracePeriodSeconds != nil && shape == v1beta1.ShapeStrict {
			warn("%s.terminationGracePeriodSeconds: the strict shape leaves it out, as the Mattermost Operator does; use spec.resourcePatch to set it.", path)
		}
	}
	if wasOlder(stored) {
		return all // Snippets are kept.
	}
	for path, annotations := range routeAnnotations(stored) {
		for key := range annotations {
			if _, kept := allowed(annotations)[key]; !kept {
				warn("%s: %s is left out, because snippets and line breaks are configuration code for the whole ingress controller.", path, key)
			}
		}
	}
	return all
}

// fileStores are the members of spec.fileStore that are set.
func fileStores(mm *v1beta1.Mattermost) []string {
	var all []string
	fs := mm.Spec.FileStore
	for name, set := range map[fileStoreKind]bool{
		fileStoreExternal: fs.External != nil && fs.External.URL != "",
		fileStoreVolume:   fs.ExternalVolume != nil && fs.ExternalVolume.VolumeClaimName != "",
		fileStoreLocal:    fs.Local != nil && fs.Local.Enabled,
		fileStoreManaged:  fs.OperatorManaged != nil,
	} {
		if set {
			all = append(all, string(name))
		}
	}
	slices.Sort(all)
	return all
}

// repeatedNames are the variables that are set more than once.
func repeatedNames(mm *v1beta1.Mattermost) map[string]int {
	times := map[string]int{}
	for _, e := range mm.Spec.MattermostEnv {
		times[e.Name]++
	}
	maps.DeleteFunc(times, func(_ string, n int) bool { return n < 2 })
	return times
}

// routeAnnotations are those that ingress controllers and gateways read, by path.
func routeAnnotations(mm *v1beta1.Mattermost) map[string]map[string]string {
	all := map[string]map[string]string{}
	if mm.Spec.Ingress != nil {
		all["spec.ingress.annotations"] = mm.Spec.Ingress.Annotations
	} else {
		all["spec.ingressAnnotations"] = mm.Spec.IngressAnnotations
	}
	if alb := mm.Spec.AWSLoadBalancerController; alb != nil {
		all["spec.awsLoadBalancerController.annotations"] = alb.Annotations
	}
	if route := mm.Spec.HTTPRoute; route != nil {
		all["spec.httpRoute.annotations"] = route.Annotations
	}
	return all
}
