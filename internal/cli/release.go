package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
)

// releaseOptions are the flags of `release`.
type releaseOptions struct {
	all, everywhere, dryRun bool
	timeout                 time.Duration
}

// released is what became, or would become, of one installation.
type released struct {
	Kind      string        `json:"kind"`
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	Result    releaseResult `json:"result"`
	Message   string        `json:"message,omitempty"`
	// Steps are what there is to do, in a dry run.
	Steps []plannedStep `json:"steps,omitempty"`

	of installationName
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
		Use:   "release [KIND/]NAME... | --all",
		Short: "Hand installations back to the Mattermost Operator",
		Long: `Hand installations back to the Mattermost Operator, as it would have left them: no
pod restarts, no object is replaced or deleted, and each field changes hands. The
running Windlass does it; the command asks for it, by the annotation
` + v1beta1.ReleasedAnnotation + `, and waits. Once all are released, uninstall Windlass and
install the Mattermost Operator.

A name is that of a Mattermost; clusterinstallation/NAME is one of the older API.
Installations that the Mattermost Operator could not carry on are named, with what
to do, and stay with Windlass. From the moment of the release, deleting a resource
deletes its data again, as the Mattermost Operator does. Removing the annotation
has Windlass take an installation over again. Exit code 3 means that not all were
released.`,
		Example: `  windlass release --all --all-namespaces --dry-run
  windlass release chat clusterinstallation/talk -n team-a
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

// installationName names an installation of either kind.
type installationName struct {
	kind schema.GroupVersionKind
	types.NamespacedName
}

func (n installationName) String() string { return n.kind.Kind + " " + n.NamespacedName.String() }

// get reads the installation.
func (n installationName) get(ctx context.Context, c client.Client) (*unstructured.Unstructured, error) {
	resource := &unstructured.Unstructured{}
	resource.SetGroupVersionKind(n.kind)
	if err := c.Get(ctx, n.NamespacedName, resource); err != nil {
		return nil, fmt.Errorf("read %s: %w", n, err)
	}
	return resource, nil
}

func (r releaseOptions) names(ctx context.Context, c client.Client, namespace string, args []string) ([]installationName, error) {
	var names []installationName
	for _, arg := range args {
		name := installationName{mattermostKind, types.NamespacedName{Namespace: namespace, Name: arg}}
		if of, rest, is := strings.Cut(arg, "/"); is {
			i := slices.IndexFunc([]schema.GroupVersionKind{mattermostKind, clusterInstallationKind}, func(k schema.GroupVersionKind) bool { return strings.EqualFold(k.Kind, of) })
			if i < 0 {
				return nil, usageError{fmt.Errorf("there is no kind of installations %q: use mattermost or clusterinstallation", of)}
			}
			name.kind, name.Name = []schema.GroupVersionKind{mattermostKind, clusterInstallationKind}[i], rest
		}
		names = append(names, name)
	}
	if !r.all {
		return names, nil
	}
	if r.everywhere {
		namespace = metav1.NamespaceAll
	}
	for _, kind := range []schema.GroupVersionKind{mattermostKind, clusterInstallationKind} {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		err := c.List(ctx, list, client.InNamespace(namespace))
		if err != nil && !meta.IsNoMatchError(err) {
			return nil, fmt.Errorf("list installations: %w", err)
		}
		for i := range list.Items {
			names = append(names, installationName{kind, client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return names, nil
}

func (r releaseOptions) run(ctx context.Context, c client.Client, names []installationName, progress io.Writer) ([]released, error) {
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
func (r releaseOptions) begin(ctx context.Context, c client.Client, name installationName) (released, error) {
	result := released{Kind: name.kind.Kind, Namespace: name.Namespace, Name: name.Name, Result: resultWaiting, of: name}
	resource, err := name.get(ctx, c)
	if err != nil {
		if apierrors.IsNotFound(err) {
			return result, fmt.Errorf("there is no %s %s in namespace %s", name.kind.Kind, name.Name, name.Namespace)
		}
		return result, err
	}
	before := resource.DeepCopy()
	annotations := resource.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1beta1.ReleasedAnnotation] = "true"
	resource.SetAnnotations(annotations)
	seen, err := lookAt(ctx, c, resource, time.Now())
	if err != nil {
		return result, fmt.Errorf("look at %s: %w", name, err)
	}
	for _, n := range seen.plan.Why {
		if n.Reason == v1beta1.ReasonNotReleasable {
			result.Result, result.Message = resultCannot, n.Message
			return result, nil
		}
	}
	if r.dryRun {
		result.Result, result.Steps = resultWould, steps(seen.plan)
		return result, nil
	}
	if err := c.Patch(ctx, resource, client.MergeFrom(before), client.FieldOwner("windlass-release")); err != nil {
		return result, fmt.Errorf("annotate %s: %w", name, err)
	}
	return result, nil
}

// look reads how far the running Windlass is.
func (result *released) look(ctx context.Context, c client.Client) error {
	if result.Result != resultWaiting {
		return nil
	}
	resource, err := result.of.get(ctx, c)
	if err != nil {
		return err
	}
	// Both kinds say it in the same way.
	var mm v1beta1.Mattermost
	delete(resource.Object, "spec")
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(resource.Object, &mm); err != nil {
		return fmt.Errorf("read %s: %w", result.of, err)
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
		fmt.Fprintf(w, "%s %s/%s %s\n", r.Kind, r.Namespace, r.Name, r.Result)
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
