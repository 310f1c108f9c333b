package cli

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/clusterinstallation"
	"windlass.dev/internal/install"
	"windlass.dev/internal/installation"
	installations "windlass.dev/internal/installation/controller"
	"windlass.dev/internal/kit/plan"
)

// The kinds of installations.
var (
	mattermostKind          = v1beta1.GroupVersion.WithKind("Mattermost")
	clusterInstallationKind = v1alpha1.GroupVersion.WithKind("ClusterInstallation")
)

// installationLook is what one look at an installation of either kind shows.
type installationLook struct {
	status v1beta1.MattermostStatus
	// seen is what there is, of the installation's own view.
	seen installation.Snapshot
	plan plan.Plan
}

// lookAt decides anew about an installation that the API server has checked.
func lookAt(ctx context.Context, c client.Client, resource *unstructured.Unstructured, now time.Time) (installationLook, error) {
	if resource.GroupVersionKind() == clusterInstallationKind {
		var ci v1alpha1.ClusterInstallation
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(resource.Object, &ci); err != nil {
			return installationLook{}, err
		}
		s, err := installations.ObserveClusterInstallation(ctx, c, install.Namespace, &ci)
		if err != nil {
			return installationLook{}, err
		}
		return installationLook{clusterinstallation.StatusOf(ci.Status), s.Views[0], clusterinstallation.Decide(s, now)}, nil
	}
	var mm v1beta1.Mattermost
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(resource.Object, &mm); err != nil {
		return installationLook{}, err
	}
	s, err := installations.Observe(ctx, c, install.Namespace, &mm)
	if err != nil {
		return installationLook{}, err
	}
	return installationLook{mm.Status, s, installation.Decide(s, now)}, nil
}
