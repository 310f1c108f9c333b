package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/migration"
)

// migrateStart begins migrations, no more than so many at a time.
type migrateStart struct {
	scope
	most                                 int
	hold, recreate, skip, dryRun, follow bool
	timeout                              time.Duration

	facts    facts
	verdicts verdicts
	// begun is when each was begun by this command.
	begun map[types.NamespacedName]time.Time
	// refused are those that the API server would not change.
	refused map[types.NamespacedName]error
	// failures is how often a change was tried in vain, for other reasons.
	failures map[types.NamespacedName]int
	// left are those that were not begun, because they have to wait first.
	left []string
	told io.Writer
	// unseen says that it was told that nobody looks at what was begun.
	unseen bool
}

func newMigrateStart() *migrateStart {
	return &migrateStart{begun: map[types.NamespacedName]time.Time{}, refused: map[types.NamespacedName]error{}, failures: map[types.NamespacedName]int{}, verdicts: verdicts{}}
}

func migrateStartCommand() *cobra.Command {
	s := newMigrateStart()
	var o output
	cmd := &cobra.Command{
		Use:   "start NAME...",
		Short: "Begin to turn ClusterInstallations into Mattermosts",
		Long: `Begin to turn ClusterInstallations into Mattermosts, by setting their spec.migrate. The
controllers carry it out. What plan says is refused keeps all from being begun, unless
it is left out with --skip-refused.

No more than --max-in-flight of the selected ones are under way at a time. The command
stays until the last is begun, or with --wait until all are at rest. It remembers
nothing: interrupt it and start it again as you like. One that does not come to an end
keeps its place, so that a fault that all share stops all. One that has to wait, for
being stable or resumed, takes nobody's place: such are begun when all that is left
fits, and are named otherwise.

Exit code 1 means that some could not be begun, or with --wait that some were refused or
interrupted; 3 that some were not begun because they have to wait.`,
		Example: `  windlass migrate start chat -n team-a --hold --wait
  windlass migrate start --all -A --dry-run
  windlass migrate start -l tier=free -A --max-in-flight 20 --skip-refused --wait`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if s.most < 1 {
				return usageError{fmt.Errorf("--max-in-flight %d: want at least 1", s.most)}
			}
			if err := s.choose(cmd, args, true); err != nil {
				return err
			}
			c, err := s.connect()
			if err != nil {
				return err
			}
			return s.run(cmd, c, &o)
		},
	}
	s.addFlags(cmd)
	o.addFlag(cmd)
	flags := cmd.Flags()
	flags.IntVar(&s.most, "max-in-flight", 10, "`NUMBER` of installations that may be under way at a time")
	flags.BoolVar(&s.hold, "hold", false, "hold each before its end, until windlass migrate finalize")
	flags.BoolVar(&s.recreate, "recreate", false, "have the pods replaced afterwards, one at a time, by ones with the labels of a Mattermost")
	flags.BoolVar(&s.skip, "skip-refused", false, "leave out those that cannot be migrated")
	flags.BoolVar(&s.dryRun, "dry-run", false, "only have the API server check it, and say what would be begun")
	flags.BoolVar(&s.follow, "wait", false, "show what happens until all are at rest")
	addTimeout(cmd, &s.timeout)
	return cmd
}

func (s *migrateStart) run(cmd *cobra.Command, c client.Client, o *output) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	s.told = cmd.ErrOrStderr()
	seen, err := s.look(ctx, c)
	if err != nil {
		return err
	}
	if s.facts, err = s.factsOf(ctx, c, seen.older); err != nil {
		return err
	}
	if err := s.check(seen.candidates(s.facts, s.verdicts, time.Now())); err != nil {
		return err
	}
	if s.dryRun {
		return s.rehearse(ctx, c, seen, out, o)
	}
	shown := out
	if o.format != "" {
		shown = s.told
	}
	v, err := s.scope.follow(ctx, c, shown, s.timeout, s.drive(c))
	if err != nil && !errors.Is(err, errBegun) {
		return stopped(v, err)
	}
	if o.format != "" {
		if err := o.print(out, v, nil); err != nil {
			return err
		}
	}
	return s.outcome(v)
}

// check is the error of those that cannot be migrated.
func (s *migrateStart) check(all []migration.Candidate) error {
	var why []string
	for _, one := range all {
		if p := one.Preflight; p.Verdict == migration.Refused {
			why = append(why, fmt.Sprintf("%s/%s: %s", p.Namespace, p.Name, p.Message))
		}
	}
	switch {
	case len(why) == 0:
		return nil
	case s.skip:
		say(s.told, "%d are left out, because they cannot be migrated; windlass migrate plan says why", len(why))
		return nil
	}
	const most = 10
	text := strings.Join(why[:min(len(why), most)], "\n  ")
	if len(why) > most {
		text += fmt.Sprintf("\n  and %d more, which windlass migrate plan shows", len(why)-most)
	}
	return fmt.Errorf("nothing was begun, because %d of %d cannot be migrated (--skip-refused leaves them out):\n  %s", len(why), len(all), text)
}

// edit asks for the migration.
func (s *migrateStart) edit(ci *v1alpha1.ClusterInstallation) {
	ci.Spec.Migrate = true
	if s.recreate {
		recreated(ci)
	}
	if s.hold {
		metav1.SetMetaDataAnnotation(&ci.ObjectMeta, v1alpha1.FinalizeAnnotation, "Manual")
	}
}

// recreated asks for pods with the labels of a Mattermost.
func recreated(ci *v1alpha1.ClusterInstallation) {
	metav1.SetMetaDataAnnotation(&ci.ObjectMeta, v1beta1.MigrationModeAnnotation, v1beta1.MigrationRecreate)
}

// rehearse has the API server check each change without making it.
func (s *migrateStart) rehearse(ctx context.Context, c client.Client, seen seenInstallations, out io.Writer, o *output) error {
	left := map[types.NamespacedName]bool{}
	for _, one := range seen.candidates(s.facts, s.verdicts, time.Now()) {
		p := one.Preflight
		if !p.Asked && (p.Verdict == migration.Ready || p.Verdict == migration.Waits) {
			left[types.NamespacedName{Namespace: p.Namespace, Name: p.Name}] = true
		}
	}
	begin := slices.DeleteFunc(slices.Clone(seen.older), func(ci v1alpha1.ClusterInstallation) bool { return !left[byName(&ci)] })
	results, err := changeAll(ctx, c, begin, true, "would be begun", s.edit)
	printed := o.print(out, results, func(w io.Writer) error {
		if len(begin) == 0 {
			say(w, "Nothing would be begun: %s", s.viewOf(seen).counts())
		}
		return printDone(w, results)
	})
	return errors.Join(err, printed)
}

// errBegun ends a start that does not wait.
var errBegun = errors.New("all are begun")

// refusals is how many changes the API server may refuse before no other is tried.
const refusals = 10

// tries is how often a change is tried that fails for no fault of its own.
const tries = 5

// drive begins what may be begun at each look, until nothing is left to begin.
func (s *migrateStart) drive(c client.Client) func(context.Context, seenInstallations, *migrationView) (bool, error) {
	return func(ctx context.Context, seen seenInstallations, v *migrationView) (bool, error) {
		now := time.Now()
		all := slices.DeleteFunc(seen.candidates(s.facts, s.verdicts, now), func(one migration.Candidate) bool {
			return s.refused[types.NamespacedName{Namespace: one.Preflight.Namespace, Name: one.Preflight.Name}] != nil
		})
		next := migration.Next(all, s.most)
		for _, name := range next {
			if err := s.begin(ctx, c, seen, name); err != nil {
				return false, err
			}
		}
		s.tell(v, now)
		if len(next) > 0 || s.remain(all) {
			return false, nil
		}
		if s.follow {
			return true, nil
		}
		if slices.ContainsFunc(v.Installations, s.toBeSeen(now)) {
			return false, nil
		}
		return true, errBegun
	}
}

// begin asks for one migration. What was changed since it was seen is looked at again.
func (s *migrateStart) begin(ctx context.Context, c client.Client, seen seenInstallations, name types.NamespacedName) error {
	if len(s.refused) >= refusals {
		return fmt.Errorf("no other is begun, after so many were refused: %w", s.outcome(nil))
	}
	i := slices.IndexFunc(seen.older, func(ci v1alpha1.ClusterInstallation) bool { return byName(&ci) == name })
	err := change(ctx, c, &seen.older[i], false, s.edit)
	switch {
	case err == nil:
		s.begun[name] = time.Now()
	case ctx.Err() != nil:
		return ctx.Err()
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		s.refused[name] = err
	default:
		// API servers are restarted, and webhooks fail for a while.
		if s.failures[name]++; s.failures[name] >= tries {
			s.refused[name] = err
		}
	}
	return nil
}

// remain reports whether some are to be begun later, and otherwise notes which are not.
func (s *migrateStart) remain(all []migration.Candidate) bool {
	s.left = nil
	for _, one := range all {
		switch p := one.Preflight; {
		case p.Asked:
		case p.Verdict == migration.Ready:
			return true
		case p.Verdict == migration.Waits:
			s.left = append(s.left, p.Namespace+"/"+p.Name)
		}
	}
	return len(s.left) > 0 && migration.InFlight(all) > 0
}

// toBeSeen reports whether one was just begun, and no controller had the time to see it.
func (s *migrateStart) toBeSeen(now time.Time) func(migration.Standing) bool {
	return func(one migration.Standing) bool {
		at, begun := s.begun[types.NamespacedName{Namespace: one.Namespace, Name: one.Name}]
		return begun && one.Phase == migration.Asked && now.Sub(at) < unseenAfter
	}
}

// tell says once that nobody looks at what was begun.
func (s *migrateStart) tell(v *migrationView, now time.Time) {
	for _, one := range v.Installations {
		at, begun := s.begun[types.NamespacedName{Namespace: one.Namespace, Name: one.Name}]
		if begun && one.Phase == migration.Asked && now.Sub(at) > unseenAfter && !s.unseen {
			s.unseen = true
			say(s.told, "No controller has looked at %s/%s for %s: does Windlass run? Its migration begins as soon as one does.", one.Namespace, one.Name, unseenAfter)
		}
	}
}

// outcome is the error of what was not begun, or, after a wait, did not end well.
func (s *migrateStart) outcome(v *migrationView) error {
	var problems []error
	for name, err := range s.refused {
		problems = append(problems, fmt.Errorf("%s: %w", name, err))
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	if s.follow && v != nil {
		ours := *v
		ours.Installations = slices.DeleteFunc(slices.Clone(v.Installations), func(one migration.Standing) bool {
			_, begun := s.begun[types.NamespacedName{Namespace: one.Namespace, Name: one.Name}]
			return !begun
		})
		problems = append(problems, ours.failure())
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	if len(s.left) > 0 {
		say(s.told, "%d were not begun, because they have to wait first: %s. windlass migrate plan says for what; start again then.", len(s.left), few(s.left))
		return errUnhealthy
	}
	return nil
}
