package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"windlass.dev/internal/install"
)

func installCommand() *cobra.Command {
	var t target
	var dryRun bool
	options := install.Options{}
	cmd := &cobra.Command{
		Use:     "install",
		Aliases: []string{"upgrade"},
		Short:   "Install Windlass into a cluster, or upgrade it",
		Long: `Install Windlass into a cluster: its custom resource definitions, its permissions
and its Deployment, applied under the field manager windlass-install. Running it
again with another image upgrades.

With --dry-run the manifests are printed and no cluster is needed, so that they
can be kept in git or given to kubectl.`,
		Example: `  windlass install --image registry.example.com/windlass:v1.2.0
  windlass install --image registry.example.com/windlass:v1.2.0 --dry-run > windlass.yaml

  # For two namespaces only, with a Role in each instead of a ClusterRole
  windlass install --image registry.example.com/windlass:v1.2.0 --confine team-a,team-b

  # Definitions and permissions only, for a cluster where windlass run is started by hand
  windlass install --without-deployment`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			objects, err := install.Objects(options)
			if err != nil {
				return usageError{err}
			}
			if dryRun {
				return writeManifests(cmd.OutOrStdout(), objects)
			}
			c, _, err := t.connect()
			if err != nil {
				return err
			}
			// Only a cluster can say whether it is monitored by the Prometheus operator.
			if _, err := c.RESTMapper().RESTMapping(install.MonitoringKind.GroupKind()); err == nil && !options.WithoutDeployment {
				options.Monitoring = true
				if objects, err = install.Objects(options); err != nil {
					return err
				}
			}
			return apply(cmd.Context(), c, objects, cmd.OutOrStdout())
		},
	}
	t.addFlags(cmd)
	flags := cmd.Flags()
	flags.Lookup("namespace").Usage = "`NAMESPACE` of the kubeconfig's context; Windlass itself goes to " + install.Namespace
	flags.BoolVar(&dryRun, "dry-run", false, "print the manifests instead of applying them")
	flags.StringVar(&options.Image, "image", "", "`IMAGE` of Windlass for its Deployment")
	flags.Int32Var(&options.Replicas, "replicas", 2, "`NUMBER` of replicas; one acts, the others stand by")
	flags.BoolVar(&options.WithoutDeployment, "without-deployment", false, "leave out the Deployment")
	flags.StringSliceVar(&options.Namespaces, "confine", nil, "confine Windlass to these `NAMESPACES`, which have to exist")
	return cmd
}

func uninstallCommand() *cobra.Command {
	var t target
	var dryRun bool
	options := install.Options{Image: "any", Replicas: 1, Monitoring: true}
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Remove Windlass from a cluster, and no installation",
		Long: `Remove Windlass from a cluster: its Deployment, permissions and admission policy.

What it manages stays and keeps running, and so do the custom resource definitions,
with which every Mattermost resource would be deleted, and the namespaces.`,
		Example: `  windlass uninstall --dry-run
  windlass uninstall`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			objects, err := install.Objects(options)
			if err != nil {
				return usageError{err}
			}
			c, _, err := t.connect()
			if err != nil {
				return err
			}
			done := "removed"
			if dryRun {
				c, done = client.NewDryRunClient(c), "would be removed"
			}
			return install.Remove(cmd.Context(), c, objects, func(object *unstructured.Unstructured, removed bool) {
				what := "is not there, or somebody else's"
				if removed {
					what = done
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s/%s %s\n", object.GetKind(), object.GetName(), what)
			})
		},
	}
	t.addFlags(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&dryRun, "dry-run", false, "say what would be removed")
	flags.StringSliceVar(&options.Namespaces, "confine", nil, "the `NAMESPACES` that Windlass was confined to")
	return cmd
}

func writeManifests(w io.Writer, objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		content, err := yaml.Marshal(object.Object)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "---\n%s", content); err != nil {
			return err
		}
	}
	return nil
}

func apply(ctx context.Context, c client.Client, objects []*unstructured.Unstructured, out io.Writer) error {
	return install.Apply(ctx, c, objects, func(object *unstructured.Unstructured, changed bool) {
		what := "unchanged"
		if changed {
			what = "configured"
		}
		fmt.Fprintf(out, "%s/%s %s\n", object.GetKind(), object.GetName(), what)
	})
}
