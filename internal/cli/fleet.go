package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	fleets "windlass.dev/internal/fleetrotation/controller"
	"windlass.dev/internal/install"
)

func fleetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fleet",
		Short: "Rotate the nodes of many clusters, wave by wave",
		Long: `Rotate the nodes of many clusters, wave by wave. The commands talk to the management
cluster, in which clusters are registered and a running Windlass carries out
FleetRotations.`,
	}
	cmd.AddCommand(fleetClustersCommand(), fleetStartCommand(), fleetStatusCommand())
	of := editable[*v1alpha1.FleetRotation]{
		kind: "FleetRotation", group: "fleet", owner: "windlass-cli", get: getFleet,
		view: func(run *v1alpha1.FleetRotation) any {
			run.ManagedFields = nil
			return run
		},
	}
	cmd.AddCommand(of.edit("pause", "Begin no further cluster; those that were begun are finished", `{"spec":{"paused":true}}`, "paused"))
	cmd.AddCommand(of.edit("resume", "Go on with a paused run", `{"spec":{"paused":false}}`, "resumed"))
	cmd.AddCommand(of.edit("abort", "End a run for good, and the rotations that run in its clusters", `{"spec":{"end":"Abort"}}`, "told to end"))
	return cmd
}

// registered is the answer of `fleet clusters` for one cluster.
type registered struct {
	Name     string            `json:"name"`
	Labels   map[string]string `json:"labels,omitempty"`
	Version  string            `json:"version,omitempty"`
	Ready    bool              `json:"ready"`
	Problems []fleetProblem    `json:"problems,omitempty"`
}

type fleetProblem struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func fleetClustersCommand() *cobra.Command {
	var t target
	var o output
	cmd := &cobra.Command{
		Use:   "clusters",
		Short: "List the registered clusters, and whether they can be rotated",
		Long: `List the clusters that are registered: Secrets in Windlass' namespace with the label
` + v1alpha1.FleetClusterLabel + `=true. Each is asked for its version, whether it knows
NodeRotation, and whether the registration may do what is needed. The namespace is
` + install.Namespace + ` unless -n names another. Exit code 3 means that not all can be rotated.`,
		Example: `  windlass fleet clusters
  windlass fleet clusters --context hub -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := t.connect()
			if err != nil {
				return err
			}
			namespace := t.namespace
			if namespace == "" {
				namespace = install.Namespace
			}
			all, err := registeredClusters(cmd.Context(), c, namespace)
			if err != nil {
				return err
			}
			if err := o.print(cmd.OutOrStdout(), all, func(w io.Writer) error { return clustersText(w, namespace, all) }); err != nil {
				return err
			}
			if slices.ContainsFunc(all, func(r registered) bool { return !r.Ready }) {
				return errUnhealthy
			}
			return nil
		},
	}
	t.addFlags(cmd)
	o.addFlag(cmd)
	return cmd
}

// registeredClusters asks all clusters side by side.
func registeredClusters(ctx context.Context, c client.Client, namespace string) ([]registered, error) {
	members, err := fleets.NewMembers(c, namespace, clock.RealClock{}).List(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]registered, len(members))
	var group errgroup.Group
	group.SetLimit(32)
	for i, member := range members {
		group.Go(func() error {
			checked, problem := member.Check(ctx)
			r := registered{Name: member.Name, Labels: maps.Clone(member.Labels), Version: checked.Version}
			delete(r.Labels, v1alpha1.FleetClusterLabel)
			for _, unfit := range checked.Unfit {
				r.Problems = append(r.Problems, fleetProblem(unfit))
			}
			if problem != nil {
				r.Problems = append(r.Problems, fleetProblem(*problem))
			}
			r.Ready = len(r.Problems) == 0
			all[i] = r
			return nil
		})
	}
	return all, group.Wait()
}

func clustersText(out io.Writer, namespace string, all []registered) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(all) == 0 {
		fmt.Fprintf(w, "No Secret in namespace %s is labelled %s=true.\n", namespace, v1alpha1.FleetClusterLabel)
		return w.Flush()
	}
	fmt.Fprintln(w, "NAME\tVERSION\tREADY\tLABELS")
	for _, r := range all {
		ready := "yes"
		if !r.Ready {
			ready = "no"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Name, orNone(r.Version), ready, labels.FormatLabels(r.Labels))
		for _, p := range r.Problems {
			fmt.Fprintf(w, "  %s: %s\n", p.Reason, p.Message)
		}
	}
	return w.Flush()
}

func fleetStatusCommand() *cobra.Command {
	var t target
	var o output
	cmd := &cobra.Command{
		Use:   "status NAME",
		Short: "Say how far a run is, and what it waits for",
		Long: `Say how far a run is: its waves, its clusters, and what waits for what since when and
until when. Exit code 3 means that the run has not succeeded, or not yet.`,
		Example: `  windlass fleet status august
  windlass fleet status august -o json | jq '.status.waits'`,
		Args: exactlyOne("the run's NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := t.connect()
			if err != nil {
				return err
			}
			run, err := getFleet(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			if err := o.print(cmd.OutOrStdout(), run, func(w io.Writer) error { return fleetText(w, run, time.Now()) }); err != nil {
				return err
			}
			if run.Status.Phase != v1alpha1.Succeeded {
				return errUnhealthy
			}
			return nil
		},
	}
	t.addFlags(cmd)
	o.addFlag(cmd)
	return cmd
}

func getFleet(ctx context.Context, c client.Client, name string) (*v1alpha1.FleetRotation, error) {
	var run v1alpha1.FleetRotation
	if err := c.Get(ctx, types.NamespacedName{Name: name}, &run); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("there is no FleetRotation %s", name)
		}
		return nil, asked("read FleetRotation "+name, err)
	}
	run.ManagedFields = nil
	run.APIVersion, run.Kind = v1alpha1.GroupVersion.String(), "FleetRotation"
	return &run, nil
}

func fleetText(out io.Writer, run *v1alpha1.FleetRotation, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	status := run.Status
	phase := string(status.Phase)
	if phase == "" {
		phase = "not seen by a controller yet"
	}
	fmt.Fprintf(w, "FleetRotation %s\n  Phase\t%s\n  Wave\t%d of %d\n", run.Name, phase, status.Wave+1, len(run.Spec.Waves))
	fmt.Fprintf(w, "  Clusters\t%d done, %d failed, of %d\n", status.Done, status.Failed, status.Selected)
	if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); c != nil {
		fmt.Fprintf(w, "  %s\t%s\n", c.Reason, c.Message)
	}
	if len(status.Clusters) > 0 {
		fmt.Fprintf(w, "\nWAVE\tCLUSTER\tPHASE\tSINCE\tREPLACED\tOPEN\tOUTDATED\n")
	}
	for _, row := range status.Clusters {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%d\t%d\n", row.Wave+1, row.Name, row.Phase, ago(row.Since, now), row.Replaced, row.Open, row.Outdated)
		if row.Phase != v1alpha1.ClusterSucceeded && row.Message != "" {
			fmt.Fprintf(w, "\t  %s: %s\n", row.Reason, row.Message)
		}
	}
	if len(status.Waits) > 0 {
		fmt.Fprintf(w, "\nWaits\n")
	}
	for _, wait := range status.Waits {
		until := ""
		if wait.Until != nil {
			until = ", at most " + duration.HumanDuration(max(wait.Until.Sub(now), 0)) + " more"
		}
		fmt.Fprintf(w, "  %s (%s): %s Since %s%s.\n", wait.Subject, wait.Reason, strings.TrimSpace(wait.Message), ago(wait.Since, now), until)
	}
	return w.Flush()
}

func ago(at metav1.Time, now time.Time) string { return duration.HumanDuration(now.Sub(at.Time)) }
