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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/install"
	"windlass.dev/internal/installation"
	installations "windlass.dev/internal/installation/controller"
	"windlass.dev/internal/kit/plan"
)

// explanation is the answer of `explain mattermost`.
type explanation struct {
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
	cmd.AddCommand(explainMattermostCommand())
	return cmd
}

func explainMattermostCommand() *cobra.Command {
	var t target
	var o output
	cmd := &cobra.Command{
		Use:     "mattermost NAME",
		Aliases: []string{"mm"},
		Short:   "Explain one installation",
		Long: `Explain one installation: what its status says and since when, which objects it
consists of, and what Windlass would do next and why. It reads the cluster and
decides anew with the same code as the controller, so it also tells the truth
while no controller runs. Exit code 3 means that the installation is not ready.`,
		Example: `  windlass explain mattermost chat -n team-a
  windlass explain mm chat -n team-a -o yaml`,
		Args: exactlyOne("the installation's NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, namespace, err := t.connect()
			if err != nil {
				return err
			}
			e, err := explain(cmd.Context(), c, types.NamespacedName{Namespace: namespace, Name: args[0]}, time.Now())
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

func explain(ctx context.Context, c client.Client, name types.NamespacedName, now time.Time) (*explanation, error) {
	var mm v1beta1.Mattermost
	if err := c.Get(ctx, name, &mm); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("there is no Mattermost %s in namespace %s", name.Name, name.Namespace)
		}
		return nil, fmt.Errorf("read Mattermost %s: %w", name, err)
	}
	s, err := installations.Observe(ctx, c, install.Namespace, &mm)
	if err != nil {
		return nil, fmt.Errorf("look at Mattermost %s: %w", name, err)
	}
	p := installation.Decide(s, now)
	e := &explanation{
		Namespace: mm.Namespace, Name: mm.Name,
		State: string(mm.Status.State), Version: mm.Status.Version, Endpoint: mm.Status.Endpoint, Error: mm.Status.Error,
		Replicas:   fmt.Sprintf("%d updated and available of %d", mm.Status.UpdatedReplicas, mm.Status.Replicas),
		Conditions: mm.Status.Conditions,
		Next:       steps(p), Why: notes(p),
	}
	if e.State == "" {
		e.State = "not seen by a controller yet"
	}
	for _, live := range s.Live {
		e.Objects = append(e.Objects, ownedObject{Kind: live.Ref.Kind, Name: live.Ref.Name, Note: ownership(live.Controller == mm.UID, live.Deleting, live.Controller == "" && s.Outlives(live.Ref))})
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
	fmt.Fprintf(w, "Mattermost %s/%s\n", e.Namespace, e.Name)
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
