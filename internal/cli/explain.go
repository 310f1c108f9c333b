package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/plan"
)

// explanation is the answer of `explain mattermost` and `explain clusterinstallation`.
type explanation struct {
	Kind       string             `json:"kind"`
	Namespace  string             `json:"namespace"`
	Name       string             `json:"name"`
	State      string             `json:"state"`
	Version    string             `json:"version,omitempty"`
	Endpoint   string             `json:"endpoint,omitempty"`
	Replicas   string             `json:"replicas"`
	Error      string             `json:"error,omitempty"`
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	Objects    []ownedObject      `json:"objects,omitempty"`
	// Next is what Windlass would do now; empty when there is nothing to do.
	Next []plannedStep `json:"next"`
	// Why is what the decision rests on.
	Why []note `json:"why,omitempty"`
}

type ownedObject struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Note string `json:"note"`
}

type plannedStep struct {
	Step string `json:"step"`
	Why  string `json:"why"`
}

type note struct {
	Subject string `json:"subject"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

func explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Say how something is, why, and what happens next",
	}
	cmd.AddCommand(explainInstallationCommand(mattermostKind, "mm", "Explain one installation"))
	cmd.AddCommand(explainInstallationCommand(clusterInstallationKind, "ci", "Explain one installation of the older API"))
	return cmd
}

func explainInstallationCommand(kind schema.GroupVersionKind, alias, short string) *cobra.Command {
	var t target
	var o output
	cmd := &cobra.Command{
		Use:     strings.ToLower(kind.Kind) + " NAME",
		Aliases: []string{alias},
		Short:   short,
		Long: `Explain one installation: what its status says and since when, which objects it
consists of, and what Windlass would do next and why. It reads the cluster and
decides anew with the same code as the controller, so it also tells the truth
while no controller runs. Exit code 3 means that the installation is not ready.`,
		Example: fmt.Sprintf("  windlass explain %s chat -n team-a\n  windlass explain %s chat -n team-a -o yaml", strings.ToLower(kind.Kind), alias),
		Args:    exactlyOne("the installation's NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, namespace, err := t.connect()
			if err != nil {
				return err
			}
			e, err := explain(cmd.Context(), c, kind, types.NamespacedName{Namespace: namespace, Name: args[0]}, time.Now())
			if err != nil {
				return err
			}
			if err := o.print(cmd.OutOrStdout(), e, func(w io.Writer) error { return e.text(w, time.Now()) }); err != nil {
				return err
			}
			if e.State != string(v1beta1.Stable) {
				return errUnhealthy
			}
			return nil
		},
	}
	t.addFlags(cmd)
	o.addFlag(cmd)
	return cmd
}

func exactlyOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError{fmt.Errorf("%s wants %s, got %d arguments", cmd.CommandPath(), what, len(args))}
		}
		return nil
	}
}

func explain(ctx context.Context, c client.Client, kind schema.GroupVersionKind, name types.NamespacedName, now time.Time) (*explanation, error) {
	resource := &unstructured.Unstructured{}
	resource.SetGroupVersionKind(kind)
	if err := c.Get(ctx, name, resource); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("there is no %s %s in namespace %s", kind.Kind, name.Name, name.Namespace)
		}
		return nil, fmt.Errorf("read %s %s: %w", kind.Kind, name, err)
	}
	seen, err := lookAt(ctx, c, resource, now)
	if err != nil {
		return nil, fmt.Errorf("look at %s %s: %w", kind.Kind, name, err)
	}
	status := seen.status
	e := &explanation{
		Kind: kind.Kind, Namespace: name.Namespace, Name: name.Name,
		State: string(status.State), Version: status.Version, Endpoint: status.Endpoint, Error: status.Error,
		Replicas:   fmt.Sprintf("%d updated and available of %d", status.UpdatedReplicas, status.Replicas),
		Conditions: status.Conditions,
		Next:       steps(seen.plan), Why: notes(seen.plan),
	}
	if e.State == "" {
		e.State = "not seen by a controller yet"
	}
	for _, live := range seen.seen.Live {
		e.Objects = append(e.Objects, ownedObject{Kind: live.Ref.Kind, Name: live.Ref.Name, Note: ownership(live.Controller == resource.GetUID(), live.Deleting, live.Controller == "" && seen.seen.Outlives(live.Ref))})
	}
	return e, nil
}

func ownership(ours, deleting, outlives bool) string {
	switch {
	case outlives:
		return "holds data or opens it, outlives the installation"
	case !ours:
		return "belongs to somebody else, left alone"
	case deleting:
		return "is being deleted"
	default:
		return "belongs to the installation"
	}
}

func steps(p plan.Plan) []plannedStep {
	all := []plannedStep{}
	for _, step := range p.Steps {
		all = append(all, plannedStep{Step: step.Action.String(), Why: step.Why})
	}
	return all
}

func notes(p plan.Plan) []note {
	var all []note
	for _, n := range p.Why {
		all = append(all, note(n))
	}
	return all
}

func (e *explanation) text(out io.Writer, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s %s/%s\n", e.Kind, e.Namespace, e.Name)
	fmt.Fprintf(w, "  State\t%s\n  Version\t%s\n  Endpoint\t%s\n  Pods\t%s\n", e.State, orNone(e.Version), orNone(e.Endpoint), e.Replicas)
	if len(e.Conditions) > 0 {
		fmt.Fprintf(w, "\nConditions\n")
	}
	for _, c := range e.Conditions {
		fmt.Fprintf(w, "  %s\t%s\t%s\tsince %s\n", c.Type, c.Status, c.Reason, duration.HumanDuration(now.Sub(c.LastTransitionTime.Time)))
		if c.Status != metav1.ConditionTrue || c.Type == v1beta1.ConditionStalled {
			fmt.Fprintf(w, "    %s\n", c.Message)
		}
	}
	if len(e.Objects) > 0 {
		fmt.Fprintf(w, "\nObjects\n")
	}
	for _, o := range e.Objects {
		fmt.Fprintf(w, "  %s/%s\t%s\n", o.Kind, o.Name, o.Note)
	}
	fmt.Fprintf(w, "\nNext\n")
	writeSteps(w, e.Next, e.Why)
	return w.Flush()
}

func writeSteps(w io.Writer, steps []plannedStep, why []note) {
	switch {
	case len(steps) == 0 && len(why) == 0:
		fmt.Fprintf(w, "  Nothing to do: what is wanted was applied.\n")
	case len(steps) == 0:
		fmt.Fprintf(w, "  Nothing until this changes:\n")
	}
	for _, s := range steps {
		fmt.Fprintf(w, "  %s\t%s\n", s.Step, s.Why)
	}
	for _, n := range why {
		fmt.Fprintf(w, "  %s (%s): %s\n", n.Subject, n.Reason, strings.TrimSpace(n.Message))
	}
}

func orNone(text string) string {
	if text == "" {
		return "none yet"
	}
	return text
}
