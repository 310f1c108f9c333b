package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/fleet/v1alpha1"
	run "windlass.dev/api/run/v1alpha1"
)

// rolloutView is the answer of `rollout status`.
type rolloutView struct {
	Name    string         `json:"name"`
	Phase   v1alpha1.Phase `json:"phase"`
	Message string         `json:"message,omitempty"`
	// Needs is what somebody has to do; empty if the roll-out helps itself.
	Needs  string                             `json:"needs,omitempty"`
	Paused bool                               `json:"paused,omitempty"`
	Status v1alpha1.InstallationRolloutStatus `json:"status"`
}

func rolloutViewOf(r *v1alpha1.InstallationRollout) *rolloutView {
	v := &rolloutView{Name: r.Name, Phase: cmp.Or(r.Status.Phase, v1alpha1.Pending), Paused: r.Spec.Paused, Status: r.Status}
	if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		v.Message = c.Message
	}
	if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionStalled); c != nil {
		v.Needs = c.Reason + ": " + c.Message
	}
	return v
}

func (v *rolloutView) counts() string {
	st := v.Status
	parts := []string{fmt.Sprintf("%d of %d updated, %d updating, %d awaiting, %d failed, %d hibernating", st.Updated, st.Total, st.Updating, st.AwaitingUpdate, st.Failed, st.Hibernating)}
	for _, of := range []struct {
		n    int32
		what string
	}{{st.PendingDeletion, "being deleted"}, {st.RolledBack, "rolled back"}, {st.Edited, "edited since"}, {st.Refused, "refused"}, {st.Superseded, "with newer roll-outs"}} {
		if of.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", of.n, of.what))
		}
	}
	return strings.Join(parts, ", ")
}

func (v *rolloutView) text(out io.Writer, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	st := v.Status
	fmt.Fprintf(w, "InstallationRollout %s: %s, wave %d\n", v.Name, v.Phase, st.Wave)
	if st.Revision != nil {
		fmt.Fprintf(w, "  Revision %d (%s), for %s\n", st.Revision.Sequence, st.Revision.Hash, ago(st.Revision.Since, now))
	}
	fmt.Fprintf(w, "  %s\n", v.counts())
	if v.Needs != "" {
		fmt.Fprintf(w, "  Needs you: %s\n", v.Needs)
	} else if v.Message != "" {
		fmt.Fprintf(w, "  %s\n", v.Message)
	}
	for _, of := range []struct {
		what  string
		names []string
	}{{"Failed", st.FailedInstallations}, {"Updating", st.UpdatingInstallations}, {"Edited since", st.EditedInstallations}, {"Refused", st.RefusedInstallations}} {
		if len(of.names) > 0 {
			fmt.Fprintf(w, "  %s: %s\n", of.what, strings.Join(of.names, ", "))
		}
	}
	if len(st.Waits) > 0 {
		fmt.Fprintf(w, "\nWaits\n")
	}
	for i := range st.Waits {
		writeWait(w, &st.Waits[i], now)
	}
	for _, g := range st.Gates {
		fmt.Fprintf(w, "  gate %s passing %s: %s\n", g.Name, g.Passing, cmp.Or(g.Message, "nothing yet"))
	}
	return w.Flush()
}

func (v *rolloutView) changes(before *rolloutView) []string {
	if before == nil {
		before = &rolloutView{}
	}
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if v.counts() != before.counts() {
		say("%s", v.counts())
	}
	for _, w := range v.Status.Waits {
		if !slices.ContainsFunc(before.Status.Waits, func(b run.Wait) bool { return b.Subject == w.Subject && b.Reason == w.Reason }) {
			say("%s", waitSentence(w))
		}
	}
	if v.Status.Wave != before.Status.Wave {
		say("InstallationRollout/%s wave %d", v.Name, v.Status.Wave)
	}
	if v.Phase != before.Phase {
		say("InstallationRollout/%s %s", v.Name, v.Phase)
	}
	return lines
}

func rolloutStatusCommand() *cobra.Command {
	var t target
	var o output
	cmd := &cobra.Command{
		Use:   "status NAME",
		Short: "Say how far a roll-out is and what it waits for",
		Long: `Say how far a roll-out is, what it waits for since when and until when, and what somebody
can do. Exit code 3 means that it needs somebody, or ended otherwise than it should have.`,
		Example: `  windlass rollout status june
  windlass rollout status june -o json | jq .status.failed`,
		Args: exactlyOne("the roll-out's NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := t.connect()
			if err != nil {
				return err
			}
			r, err := getRollout(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			v := rolloutViewOf(r)
			if err := o.print(cmd.OutOrStdout(), v, func(w io.Writer) error { return v.text(w, time.Now()) }); err != nil {
				return err
			}
			if v.Needs != "" || v.Phase == v1alpha1.Aborted || v.Phase == v1alpha1.RolledBack || v.Phase == v1alpha1.RollingBack {
				return errUnhealthy
			}
			return nil
		},
	}
	t.addFlags(cmd)
	o.addFlag(cmd)
	return cmd
}

func rolloutWatchCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:   "watch NAME",
		Short: "Show a roll-out while it goes on, until it is over",
		Long: `Show a roll-out until it is over: a view that is redrawn on a terminal, and a line for
each change elsewhere. Exit code 0 means that it succeeded, 1 that it did not.`,
		Example: `  windlass rollout watch june`,
		Args:    exactlyOne("the roll-out's NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := t.connect()
			if err != nil {
				return err
			}
			r, err := getRollout(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			return followRollout(cmd.Context(), c, r, cmd.OutOrStdout())
		},
	}
	t.addFlags(cmd)
	return cmd
}

// rolloutFlags say what a roll-out is to do.
type rolloutFlags struct {
	selector                      string
	image, version, size, restart string
	env, waves, limits, windows   []string
	maxInFlight, failureThreshold string
	order, onFailure              string
	migrate                       bool
	progressDeadline              time.Duration
}

func (f *rolloutFlags) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.selector, "selector", "l", "", "`SELECTOR` of installations by their labels; all without one")
	flags.StringVar(&f.image, "image", "", "`IMAGE` without a tag")
	flags.StringVar(&f.version, "version", "", "`VERSION`: the image's tag or digest")
	flags.StringArrayVar(&f.env, "env", nil, "variable of the environment as `NAME=VALUE`")
	flags.StringVar(&f.size, "size", "", "preset of replicas and resources, such as `1000users`")
	flags.StringVar(&f.restart, "restart", "", "replace all pods once for each new `TEXT`, such as a date")
	flags.BoolVar(&f.migrate, "migrate", false, "make Mattermosts of ClusterInstallations, which are what is selected then")
	flags.StringArrayVar(&f.waves, "wave", nil, "a `WAVE` such as \"1 for 10m\", \"10%\" or \"ring=canary for 1h\"")
	flags.StringVar(&f.maxInFlight, "max-in-flight", "", "`NUMBER` or percentage of installations that may be updating at a time; 10 without one")
	flags.StringArrayVar(&f.limits, "limit", nil, "limit of those with the same value of a label, as `LABEL=NUMBER`")
	flags.StringVar(&f.order, "order", "", "`ORDER` within waves: Name, Priority or Random")
	flags.StringVar(&f.failureThreshold, "failure-threshold", "", "`NUMBER` or percentage of installations that may fail; 0 without one")
	flags.DurationVar(&f.progressDeadline, "progress-deadline", 0, "`DURATION` after which an installation that is not stable has failed; 15m without one")
	flags.StringVar(&f.onFailure, "on-failure", "", "`ACTION` when more have failed than may: Pause or RollBack; Pause without one")
	flags.StringArrayVar(&f.windows, "window", nil, "take installations in these hours only; a `WINDOW` is \"CRON for DURATION [in ZONE]\"")
}

// rollout is what the flags describe.
func (f *rolloutFlags) rollout(name, namespace string) (*v1alpha1.InstallationRollout, error) {
	r := &v1alpha1.InstallationRollout{ObjectMeta: metav1.ObjectMeta{Name: name}}
	selector, err := metav1.ParseToLabelSelector(f.selector)
	if err != nil {
		return nil, usageError{fmt.Errorf("--selector %q: %w", f.selector, err)}
	}
	r.Spec.Selector = *selector
	if namespace != "" {
		r.Spec.Namespaces = []string{namespace}
	}
	r.Spec.Change = v1alpha1.InstallationChange{Image: f.image, Version: f.version, Size: f.size, Restart: f.restart, Migrate: f.migrate}
	for _, text := range f.env {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, usageError{fmt.Errorf("--env %q: want NAME=VALUE", text)}
		}
		r.Spec.Change.Env = append(r.Spec.Change.Env, corev1.EnvVar{Name: key, Value: value})
	}
	switch changes := f.image+f.version+f.size+f.restart != "" || len(f.env) > 0; {
	case changes && f.migrate:
		return nil, usageError{errors.New("--migrate is the only change of its roll-out")}
	case !changes && !f.migrate:
		return nil, usageError{errors.New("say what to change: --version, --image, --env, --size, --restart or --migrate")}
	}
	if r.Spec.Strategy, err = f.strategy(); err != nil {
		return nil, err
	}
	return r, nil
}

func (f *rolloutFlags) strategy() (*v1alpha1.RolloutStrategy, error) {
	s := &v1alpha1.RolloutStrategy{Order: v1alpha1.Order(f.order), OnFailure: run.OnGateFailure(f.onFailure)}
	var err error
	if s.MaxInFlight, err = share("max-in-flight", f.maxInFlight); err != nil {
		return nil, err
	}
	if s.FailureThreshold, err = share("failure-threshold", f.failureThreshold); err != nil {
		return nil, err
	}
	if f.progressDeadline > 0 {
		s.ProgressDeadlineSeconds = new(int32(f.progressDeadline / time.Second))
	}
	for _, text := range f.waves {
		w, err := parseWave(text)
		if err != nil {
			return nil, err
		}
		s.Waves = append(s.Waves, w)
	}
	for _, text := range f.limits {
		label, value, _ := strings.Cut(text, "=")
		most, err := share("limit "+label, value)
		if err != nil || most == nil {
			return nil, usageError{fmt.Errorf("--limit %q: want LABEL=NUMBER", text)}
		}
		s.Limits = append(s.Limits, v1alpha1.LabelLimit{Label: label, MaxInFlight: *most})
	}
	s.Windows, err = windowsOf(f.windows)
	return s, err
}

// share reads a number or a percentage; nil for none.
func share(flag, text string) (*intstr.IntOrString, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // None is given.
	}
	value := intstr.Parse(text)
	if n, err := intstr.GetScaledValueFromIntOrPercent(&value, 100, true); err != nil || n < 0 {
		return nil, usageError{fmt.Errorf("--%s %s: want a number such as 3, or a percentage such as 25%%", flag, text)}
	}
	return &value, nil
}

// parseWave reads "10% for 1h" or "ring=canary for 10m".
func parseWave(text string) (w v1alpha1.InstallationWave, err error) {
	what, soak, ok := strings.Cut(text, " for ")
	if ok {
		lasts, err := time.ParseDuration(strings.TrimSpace(soak))
		if err != nil || lasts < 0 {
			return w, usageError{fmt.Errorf("--wave %q: want a duration such as 10m after for", text)}
		}
		w.SoakSeconds = int32(lasts / time.Second)
	}
	what = strings.TrimSpace(what)
	if what != "" && what[0] >= '0' && what[0] <= '9' {
		w.Size, err = share("wave", what)
		return w, err
	}
	if w.Selector, err = metav1.ParseToLabelSelector(what); err != nil {
		return w, usageError{fmt.Errorf("--wave %q: want a size such as 10%%, or a selector: %w", text, err)}
	}
	return w, nil
}
