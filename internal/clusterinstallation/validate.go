package clusterinstallation

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
)

// Validate returns what is wrong with a spec with defaults that the Mattermost it
// converts to does not show, in order.
func Validate(ci *v1alpha1.ClusterInstallation) []installation.Problem {
	var problems []installation.Problem
	invalid := func(path, format string, args ...any) {
		problems = append(problems, installation.Problem{Path: path, Reason: v1beta1.ReasonInvalidSpec, Message: fmt.Sprintf(format, args...)})
	}
	if ci.Spec.IngressName == "" {
		invalid("spec.ingressName", "An installation needs a host: set it.")
	}
	if bg := ci.Spec.BlueGreen; bg.Enable && bg.ProductionDeployment != blue && bg.ProductionDeployment != green {
		invalid("spec.blueGreen.productionDeployment", "%q does not serve: want blue or green.", bg.ProductionDeployment)
	}
	taken := map[string]string{ci.Name: "the installation"}
	for _, set := range sets(ci) {
		if set.app.Version == "" {
			invalid(set.path+".version", "A set of pods needs a version: set it.")
		}
		if set.app.Image == "" {
			invalid(set.path+".image", "A set of pods needs an image: set it.")
		}
		if wrong := validation.IsDNS1035Label(set.app.Name); len(wrong) > 0 {
			invalid(set.path+".name", "%q is no name of a Service (%s): use another.", set.app.Name, strings.Join(wrong, "; "))
		}
		if other, is := taken[set.app.Name]; is {
			invalid(set.path+".name", "The name %q is that of %s: use another.", set.app.Name, other)
		}
		taken[set.app.Name] = set.path
	}
	return problems
}
