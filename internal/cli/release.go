package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/install"
	"windlass.dev/internal/installation"
	installations "windlass.dev/internal/installation/controller"
)

// releaseOptions are the flags of `release`.
type releaseOptions struct {
	all, everywhere, dryRun bool
	timeout                 time.Duration
}

// released is what became, or would become, of one installation.
type released struct {
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	Result    releaseResult `json:"result"`
	Message   string        `json:"message,omitempty"`
	// Steps are what there is to do, in a dry run.
	Steps []plannedStep `json:"steps,omitempty"`
}

type releaseResult string

const (
	resultReleased releaseResult = "released"
	resultWould    releaseResult = "would be released"
	resultCannot   releaseResult = "cannot be released"
	resultWaiting  releaseResult = "not released yet"
)

func releaseCommand() *cobra.Command {
	var t target
	var o output
	var r releaseOptions
	cmd := &cobra.Command{
		Use:   "release NAME... | --all",
		Short: "Hand installations back to the Mattermost Operator",
		Long: `Hand installations back to the Mattermost Operator, as it would have left them: no
pod restarts, no object is replaced or deleted, and each field changes hands. The
running Windlass does it; the command asks for it, by the annotation
` + v1beta1.ReleasedAnnotation + `, and waits. Once all are released, uninstall Windlass and
install the Mattermost Operator.

Installations that the Mattermost Operator could not carry on are named, with what
to do, and stay with Windlass. From the moment of the release, deleting a resource
deletes its data again, as the Mattermost Operator does. Removing the annotation
has Windlass take an installation over again. Exit code 3 means that not all were
released.`,
		Example: `  windlass release --all --all-namespaces --dry-run
  windlass release chat -n team-a
  kubectl annotate mattermost chat windlass.dev/released-   # and back again`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.all == (len(args) > 0) || r.everywhere && !r.all {
				return usageError{errors.New("say which: windlass release NAME..., or --all, or --all --all-namespaces")}
			}
			c, namespace, err := t.connect()
			if err != nil {
				return err
			}
			names, err := r.names(cmd.Context(), c, namespace, args)
			if err != nil {
				return err
			}
			results, err := r.run(cmd.Context(), c, names, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := o.print(cmd.OutOrStdout(), results, func(w io.Writer) error { return releaseText(w, results) }); err != nil {
				return err
			}
			for _, result := range results {
				if result.Result == resultCannot || result.Result == resultWaiting {
					return errUnhealthy
				}
			}
			return nil
		},
	}
	t.addFlags(cmd)
	o.addFlag(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&r.all, "all", false, "all installations of the namespace")
	flags.BoolVarP(&r.everywhere, "all-namespaces", "A", false, "with --all: of all namespaces")
	flags.BoolVar(&r.dryRun, "dry-run", false, "only say what would be done")
	flags.DurationVar(&r.timeout, "timeout", 5*time.Minute, "`DURATION` after which to stop waiting; the release goes on")
	return cmd
}

func (r releaseOptions) names(ctx context.Context, c client.Client, namespace string, args []string) ([]types.NamespacedName, error) {
	var names []types.NamespacedName
	for _, name := range args {
		names = append(names, types.NamespacedName{Namespace: namespace, Name: name})
	}
	if !r.all {
		return names, nil
	}
	if r.everywhere {
		namespace = metav1.NamespaceAll
	}
	var list v1beta1.MattermostList
	if err := c.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list installations: %w", err)
	}
	for i := range list.Items {
		names = append(names, client.ObjectKeyFromObject(&list.Items[i]))
	}
	return names, nil
}

func (r releaseOptions) run(ctx context.Context, c client.Client, names []types.NamespacedName, progress io.Writer) ([]released, error) {
	var results []released
	for _, name := range names {
		result, err := r.begin(ctx, c, name)
		if err != nil {
			return results, err
		}
		results = append(results, result)
	}
	waiting := func() (n int) {
		for i := range results {
			if results[i].Result == resultWaiting {
				n++
			}
		}
		return n
	}
	if waiting() == 0 {
		return results, nil
	}
	last := -1
	err := wait.PollUntilContextTimeout(ctx, 500*time.Millisecond, r.timeout, true, func(ctx context.Context) (bool, error) {
		for i := range results {
			if err := results[i].look(ctx, c); err != nil {
				return false, err
			}
		}
		if n := waiting(); n != last {
			last = n
			fmt.Fprintf(progress, "%d of %d left\n", n, len(results))
		}
		return last == 0, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return results, nil
	}
	return results, err
}

// begin says what would become of an installation and, unless this is a dry run, asks
// for it.
func (r releaseOptions) begin(ctx context.Context, c client.Client, name types.NamespacedName) (released, error) {
	result := released{Namespace: name.Namespace, Name: name.Name, Result: resultWaiting}
	var mm v1beta1.Mattermost
	if err := c.Get(ctx, name, &mm); err != nil {
		if apierrors.IsNotFound(err) {
			return result, fmt.Errorf("there is no Mattermost %s in namespace %s", name.Name, name.Namespace)
		}
		return result, fmt.Errorf("read Mattermost %s: %w", name, err)
	}
	before := mm.DeepCopy()
	metav1.SetMetaDataAnnotation(&mm.ObjectMeta, v1beta1.ReleasedAnnotation, "true")
	s, err := installations.Observe(ctx, c, install.Namespace, &mm)
	if err != nil {
		return result, fmt.Errorf("look at Mattermost %s: %w", name, err)
	}
	decided := installation.Decide(s, time.Now())
	for _, n := range decided.Why {
		if n.Reason == v1beta1.ReasonNotReleasable {
			result.Result, result.Message = resultCannot, n.Message
			return result, nil
		}
	}
	if r.dryRun {
		result.Result, result.Steps = resultWould, steps(decided)
		return result, nil
	}
	if err := c.Patch(ctx, &mm, client.MergeFrom(before), client.FieldOwner("windlass-release")); err != nil {
		return result, fmt.Errorf("annotate Mattermost %s: %w", name, err)
	}
	return result, nil
}

// look reads how far the running Windlass is.
func (result *released) look(ctx context.Context, c client.Client) error {
	if result.Result != resultWaiting {
		return nil
	}
	var mm v1beta1.Mattermost
	name := types.NamespacedName{Namespace: result.Namespace, Name: result.Name}
	if err := c.Get(ctx, name, &mm); err != nil {
		return fmt.Errorf("read Mattermost %s: %w", name, err)
	}
	said := meta.FindStatusCondition(mm.Status.Conditions, v1beta1.ConditionReleased)
	switch {
	case installation.HandedOver(&mm):
		result.Result, result.Message = resultReleased, ""
	case said == nil:
		result.Message = "Windlass has not answered; does it run, and may it act?"
	case said.Reason == v1beta1.ReasonNotReleasable && said.ObservedGeneration == mm.Generation:
		result.Result, result.Message = resultCannot, said.Message
	default:
		result.Message = said.Message
	}
	return nil
}

func releaseText(out io.Writer, results []released) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range results {
		fmt.Fprintf(w, "Mattermost %s/%s %s\n", r.Namespace, r.Name, r.Result)
		if r.Message != "" {
			fmt.Fprintf(w, "  %s\n", r.Message)
		}
		for _, s := range r.Steps {
			fmt.Fprintf(w, "  %s\t%s\n", s.Step, s.Why)
		}
	}
	if len(results) == 0 {
		fmt.Fprintln(w, "There are no installations.")
	}
	return w.Flush()
}
