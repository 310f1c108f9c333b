package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
)

// migrateOwner is the field manager of what the commands write.
const migrateOwner = "windlass-migrate"

func migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Turn ClusterInstallations into Mattermosts, and watch, revert or finish that",
		Long: `Turn ClusterInstallations into Mattermosts in place: no pod is restarted and nothing
is made anew. The controllers do it; the commands say what it would come to, ask for
it, and show how far it is. All that is known of a migration is in the cluster, so that
any of them can be interrupted and started again.

Installations are named; or selected by labels (-l) or all (--all), in the namespace or
in all namespaces (-A).`,
		Example: `  windlass migrate plan --all -A
  windlass migrate start chat -n team-a --hold --wait
  windlass migrate finalize chat -n team-a
  windlass migrate start -l tier=free -A --max-in-flight 20 --skip-refused --wait`,
		PersistentPreRun: func(*cobra.Command, []string) {
			// Clients log what answers warn of; it would disturb what is shown.
			ctrl.SetLogger(logr.Discard())
		},
	}
	cmd.AddCommand(migratePlanCommand(), migrateStartCommand(), migrateStatusCommand(), migrateWatchCommand(), migrateRevertCommand(), migrateFinalizeCommand())
	return cmd
}

// scope is which installations a command is about.
type scope struct {
	target
	all, everywhere bool
	selector        string

	names []string
	// labels are those to select by; nil for all.
	labels labels.Selector
}

func (s *scope) addFlags(cmd *cobra.Command) {
	s.target.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&s.selector, "selector", "l", "", "`SELECTOR` of installations by their labels")
	flags.BoolVar(&s.all, "all", false, "all installations of the namespace, or of all with -A")
	flags.BoolVarP(&s.everywhere, "all-namespaces", "A", false, "in all namespaces")
}

// choose says what is wrong with the command line, before any cluster is asked. A command
// that changes nothing takes all if nothing is said.
func (s *scope) choose(cmd *cobra.Command, names []string, changes bool) error {
	selected := cmd.Flags().Changed("selector")
	if err := s.contradiction(len(names) > 0, selected); err != nil {
		return usageError{err}
	}
	if changes && len(names) == 0 && !selected && !s.all {
		return usageError{fmt.Errorf("say which installations: their NAMES, -l SELECTOR, or --all (see %s --help)", cmd.CommandPath())}
	}
	var err error
	if s.labels, err = labels.Parse(s.selector); err != nil {
		return usageError{fmt.Errorf("-l %q: %w", s.selector, err)}
	}
	seen := map[string]bool{}
	for _, name := range names {
		// As kubectl writes them.
		name = strings.TrimPrefix(strings.TrimPrefix(name, "clusterinstallation/"), "ci/")
		if !seen[name] {
			s.names = append(s.names, name)
		}
		seen[name] = true
	}
	return nil
}

// contradiction says which flags do not go together.
func (s *scope) contradiction(named, selected bool) error {
	switch {
	case named && (selected || s.all):
		return errors.New("give NAMES, -l or --all, and only one of them")
	case selected && s.all:
		return errors.New("give -l or --all, and not both")
	case named && s.everywhere:
		return errors.New("-A is for -l and --all: names are of one namespace, which -n gives")
	case s.everywhere && s.namespace != "":
		return errors.New("give -n or -A, and not both")
	case selected && strings.TrimSpace(s.selector) == "":
		return errors.New("-l selects by labels, such as -l tier=free; for all installations give --all")
	default:
		return nil
	}
}

// connect returns a client, and makes the namespace the one that is meant.
func (s *scope) connect() (client.Client, error) {
	c, namespace, err := s.target.connect()
	if err != nil {
		return nil, err
	}
	if s.namespace = namespace; s.everywhere {
		s.namespace = ""
	}
	return c, nil
}

// String says which they are, after "installations".
func (s *scope) String() string {
	where := "in all namespaces"
	if s.namespace != "" {
		where = "in namespace " + s.namespace
	}
	if s.selector != "" {
		where += " with " + s.selector
	}
	return where
}

// read says what an error of a request means to whoever typed the command.
func (s *scope) read(what string, err error) error {
	switch {
	case meta.IsNoMatchError(err):
		return fmt.Errorf("%s: %w: run windlass install", what, errUnknownKinds{err})
	case apierrors.IsForbidden(err) && s.namespace == "":
		return fmt.Errorf("%s: %w (in a namespace of yours it may be allowed: -n NAMESPACE)", what, err)
	default:
		return fmt.Errorf("%s: %w", what, err)
	}
}

// errUnknownKinds is the error of a cluster that lacks the definitions, in fewer words.
type errUnknownKinds struct{ error }

func (errUnknownKinds) Error() string {
	return "the cluster does not know ClusterInstallations and Mattermosts"
}
func (e errUnknownKinds) Unwrap() error { return e.error }

// errNoSuch says that what was named is not there.
type errNoSuch struct{ error }

// done is what a command did, or would do, about one installation.
type done struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Done      string `json:"done"`
	Error     string `json:"error,omitempty"`
}

// change edits the resource as it was decided about. What was changed since is not
// overwritten: the API server refuses.
func change(ctx context.Context, c client.Client, ci *v1alpha1.ClusterInstallation, dryRun bool, edit func(*v1alpha1.ClusterInstallation)) error {
	after := ci.DeepCopy()
	edit(after)
	options := []client.PatchOption{client.FieldOwner(migrateOwner)}
	if dryRun {
		options = append(options, client.DryRunAll)
	}
	return c.Patch(ctx, after, client.MergeFromWithOptions(ci, client.MergeFromWithOptimisticLock{}), options...)
}

// changeAll edits each, several at a time, and says what came of it.
func changeAll(ctx context.Context, c client.Client, all []v1alpha1.ClusterInstallation, dryRun bool, what string, edit func(*v1alpha1.ClusterInstallation)) ([]done, error) {
	results, failed := make([]done, len(all)), make([]error, len(all))
	var group errgroup.Group
	group.SetLimit(8)
	for i := range all {
		group.Go(func() error {
			ci := &all[i]
			results[i] = done{Namespace: ci.Namespace, Name: ci.Name, Done: what}
			if err := changeAnew(ctx, c, ci, dryRun, edit); err != nil {
				results[i].Done, results[i].Error = "unchanged", err.Error()
				failed[i] = fmt.Errorf("%s/%s: %w", ci.Namespace, ci.Name, err)
			}
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return results, fmt.Errorf("%w; start again, and what is done stays", err)
	}
	return results, errors.Join(failed...)
}

// changeAnew is change for an edit that is right as long as it is the same resource,
// whatever its status says meanwhile.
func changeAnew(ctx context.Context, c client.Client, ci *v1alpha1.ClusterInstallation, dryRun bool, edit func(*v1alpha1.ClusterInstallation)) error {
	for {
		err := change(ctx, c, ci, dryRun, edit)
		if !apierrors.IsConflict(err) {
			return err
		}
		uid, generation := ci.UID, ci.Generation
		if err := c.Get(ctx, client.ObjectKeyFromObject(ci), ci); err != nil {
			return err
		}
		if ci.UID != uid || ci.Generation != generation {
			return errors.New("somebody else changed it meanwhile: look at it, and start again")
		}
	}
}

func printDone(out io.Writer, all []done) error {
	for _, d := range all {
		line := fmt.Sprintf("%s/%s: %s", d.Namespace, d.Name, d.Done)
		if d.Error != "" {
			line += ": " + d.Error
		}
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return nil
}

// confirm asks on a terminal; elsewhere --yes is the answer.
func confirm(cmd *cobra.Command, yes bool, question string) error {
	if yes {
		return nil
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return usageError{fmt.Errorf("%s: nobody can be asked here, so say it with --yes", question)}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s? [y/N] ", question)
	var answer string
	if _, err := fmt.Fscanln(in, &answer); err != nil && answer != "" {
		return err
	}
	if answer = strings.ToLower(answer); answer != "y" && answer != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}

// byName names an installation.
func byName(object client.Object) types.NamespacedName { return client.ObjectKeyFromObject(object) }

// few lists names, the first of them if there are many.
func few(names []string) string {
	const most = 5
	if more := len(names) - most; more > 0 {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}
