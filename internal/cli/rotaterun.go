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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/nodes/v1alpha1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/window"
)

// runFlags say what a run is to do. What they leave out is taken from each NodeGroup.
type runFlags struct {
	maxSurge, maxUnavailable string
	canary                   int32
	canaryBake               time.Duration
	images                   []string
	templateVersion          string
	windows                  []string
	rotator                  rotatorFlags
	given                    func(string) bool
}

func (r *runFlags) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&r.maxSurge, "max-surge", "", "`NUMBER` or percentage of nodes that a group may have more for a while")
	flags.StringVar(&r.maxUnavailable, "max-unavailable", "", "`NUMBER` or percentage of nodes that a group may lack for a while")
	flags.Int32Var(&r.canary, "canary", 0, "`NUMBER` of nodes of each group that go first and are watched")
	flags.DurationVar(&r.canaryBake, "canary-bake", 5*time.Minute, "`DURATION` for which the gates have to pass after the canary")
	flags.StringSliceVar(&r.images, "image", nil, "image `ID` that nodes should run, one for each architecture; otherwise what each group says")
	flags.StringVar(&r.templateVersion, "template-version", "", "`VERSION` of the groups' launch template that nodes should run")
	flags.StringArrayVar(&r.windows, "window", nil, "take nodes in these hours only, such as \"0 22 * * 1-5 for 6h in Europe/Berlin\"; a `WINDOW` is \"CRON for DURATION [in ZONE]\"")
	r.rotator.addFlags(cmd)
	r.given = flags.Changed
}

// rotation is the run that the flags and the groups describe. told hears of settings
// that mean something else here.
func (r *runFlags) rotation(ctx context.Context, c client.Client, args []string, told io.Writer) (*v1alpha1.NodeRotation, error) {
	strategy, err := r.strategy(told)
	if err != nil {
		return nil, err
	}
	spec := v1alpha1.NodeRotationSpec{Strategy: strategy}
	if len(r.images) > 0 && r.templateVersion != "" {
		return nil, usageError{errors.New("give --image or --template-version, and not both")}
	}
	if len(r.images) > 0 || r.templateVersion != "" {
		spec.Target = &v1alpha1.Target{Images: r.images, TemplateVersion: r.templateVersion}
	}
	groups, err := groupsOf(ctx, c)
	if err != nil {
		return nil, err
	}
	if spec.Groups, err = r.rotator.choose(args, groups, r.given); err != nil {
		return nil, err
	}
	return &v1alpha1.NodeRotation{Spec: spec}, nil
}

// strategy is what the flags say of it; nil if they say nothing.
func (r *runFlags) strategy(told io.Writer) (*v1alpha1.Strategy, error) {
	s := &v1alpha1.Strategy{}
	if r.given("max-surge") && r.given("max-scaling") {
		return nil, usageError{errors.New("--max-scaling is --max-surge by another name: give one of them")}
	}
	for _, of := range []struct {
		text, flag string
		to         **intstr.IntOrString
	}{{r.maxSurge, "max-surge", &s.MaxSurge}, {r.maxUnavailable, "max-unavailable", &s.MaxUnavailable}} {
		if !r.given(of.flag) {
			continue
		}
		value := intstr.Parse(of.text)
		if n, err := intstr.GetScaledValueFromIntOrPercent(&value, 100, true); err != nil || n < 0 {
			return nil, usageError{fmt.Errorf("--%s %s: want a number such as 3, or a percentage such as 25%%", of.flag, of.text)}
		}
		*of.to = &value
	}
	if err := r.canaryOf(s); err != nil {
		return nil, err
	}
	var err error
	if s.Windows, err = windowsOf(r.windows); err != nil {
		return nil, err
	}
	if err := r.rotator.apply(s, r.given, told); err != nil {
		return nil, err
	}
	if s.MaxSurge == nil && s.MaxUnavailable == nil && s.Canary == nil && s.Windows == nil && s.Drain == nil {
		return nil, nil //nolint:nilnil // No strategy is one: that of the groups.
	}
	return s, nil
}

func (r *runFlags) canaryOf(s *v1alpha1.Strategy) error {
	switch {
	case r.given("canary") && r.canary < 1:
		return usageError{fmt.Errorf("--canary %d: want at least 1", r.canary)}
	case !r.given("canary") && r.given("canary-bake"):
		return usageError{errors.New("--canary-bake is for a --canary: say how many nodes it has")}
	case r.canaryBake < 0:
		return usageError{fmt.Errorf("--canary-bake %s: want no less than 0s", r.canaryBake)}
	case r.given("canary"):
		s.Canary = &v1alpha1.Canary{Nodes: r.canary, BakeSeconds: new(int32(r.canaryBake / time.Second))}
	}
	return nil
}

// windowsOf reads the values of --window.
func windowsOf(texts []string) ([]run.Window, error) {
	var all []run.Window
	for _, text := range texts {
		w, err := parseWindow(text)
		if err != nil {
			return nil, usageError{fmt.Errorf("--window %q: %w", text, err)}
		}
		all = append(all, w)
	}
	if _, err := window.Parse(all); err != nil {
		return nil, usageError{fmt.Errorf("--%w", err)}
	}
	return all, nil
}

// parseWindow reads "0 22 * * 1-5 for 6h in Europe/Berlin".
func parseWindow(text string) (w run.Window, err error) {
	schedule, rest, ok := strings.Cut(text, " for ")
	if !ok {
		return w, errors.New(`want "CRON for DURATION [in ZONE]"`)
	}
	length, zone, _ := strings.Cut(rest, " in ")
	lasts, err := time.ParseDuration(strings.TrimSpace(length))
	if err != nil {
		return w, fmt.Errorf("%w: want a duration such as 6h", err)
	}
	if lasts < time.Minute || lasts > 7*24*time.Hour {
		return w, fmt.Errorf("%s: want a minute to 168h", lasts)
	}
	return run.Window{Schedule: strings.TrimSpace(schedule), DurationSeconds: int32(lasts / time.Second), TimeZone: strings.TrimSpace(zone)}, nil
}

// rotatorFlags are the settings of mattermost/rotator, for pipelines that have them.
type rotatorFlags struct {
	maxScaling, evictGrace, drainRetries              int32
	betweenRotations, betweenDrains, betweenEvictions int32
	masters, workers                                  bool
	cluster                                           string
}

func (r *rotatorFlags) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&r.masters, "rotate-masters", false, "also the groups whose role is ControlPlane")
	flags.BoolVar(&r.workers, "rotate-workers", false, "also the groups whose role is Worker")
	flags.Int32Var(&r.maxScaling, "max-scaling", 0, "rotator's name for --max-surge, as a `NUMBER`")
	flags.Int32Var(&r.evictGrace, "evict-grace-period", 0, "`SECONDS` to which longer grace periods of pods are shortened")
	flags.Int32Var(&r.drainRetries, "max-drain-retries", 0, "a setting of rotator that has no effect")
	flags.Int32Var(&r.betweenRotations, "wait-between-rotations", 0, "a setting of rotator that has no effect")
	flags.Int32Var(&r.betweenDrains, "wait-between-drains", 0, "a setting of rotator that has no effect")
	flags.Int32Var(&r.betweenEvictions, "wait-between-pod-evictions", 0, "a setting of rotator that has no effect")
	flags.StringVar(&r.cluster, "cluster", "", "a setting of rotator that is refused")
	for _, name := range []string{"max-drain-retries", "wait-between-rotations", "wait-between-drains", "wait-between-pod-evictions", "cluster"} {
		flags.Lookup(name).Hidden = true
	}
}

// insteadOf says what takes the place of rotator's settings that have no effect.
var insteadOf = []struct{ flag, why string }{
	{"max-drain-retries", "an eviction that a budget refuses is asked for again as soon as it may be granted, until strategy.drain.timeoutSeconds"},
	{"wait-between-rotations", "further nodes are taken when those before are Ready and their pods too; to watch longer use --canary and --canary-bake, or strategy.waves with gates"},
	{"wait-between-drains", "nodes are drained together, as far as PodDisruptionBudgets and strategy.drain.defaultBudget allow"},
	{"wait-between-pod-evictions", "pods leave as fast as PodDisruptionBudgets and strategy.drain.defaultBudget allow, and a node is kept until they are Ready elsewhere"},
}

// apply puts the settings that mean something into the strategy, and tells of the others.
func (r *rotatorFlags) apply(s *v1alpha1.Strategy, given func(string) bool, told io.Writer) error {
	if given("cluster") {
		return usageError{fmt.Errorf("--cluster %s: groups are not found by a part of their name, since another cluster's may have it too; "+
			"give the cluster by --context or --kubeconfig, and its groups as NodeGroups or by --standalone --auto-scaling-group NAME --region REGION", r.cluster)}
	}
	if given("max-scaling") {
		if r.maxScaling < 1 {
			return usageError{fmt.Errorf("--max-scaling %d: want at least 1", r.maxScaling)}
		}
		s.MaxSurge = new(intstr.FromInt32(r.maxScaling))
	}
	if given("evict-grace-period") {
		if r.evictGrace < 1 {
			return usageError{fmt.Errorf("--evict-grace-period %d: want at least 1", r.evictGrace)}
		}
		s.Drain = &v1alpha1.Drain{GracePeriodCapSeconds: &r.evictGrace}
		fmt.Fprintf(told, "--evict-grace-period %d shortens the grace periods of pods that have a longer one, and lengthens none\n", r.evictGrace)
	}
	for _, old := range insteadOf {
		if given(old.flag) {
			fmt.Fprintf(told, "--%s has no effect: %s\n", old.flag, old.why)
		}
	}
	return nil
}

// choose are the groups of a run: those that are named, and those of the roles that are
// asked for; nil for all.
func (r *rotatorFlags) choose(args []string, groups []v1alpha1.NodeGroup, given func(string) bool) ([]string, error) {
	chosen := slices.Clone(args)
	if !given("rotate-masters") && !given("rotate-workers") {
		return chosen, nil
	}
	for i := range groups {
		if master := groups[i].Spec.Role == v1alpha1.ControlPlane; master && r.masters || !master && r.workers {
			chosen = append(chosen, groups[i].Name)
		}
	}
	slices.Sort(chosen)
	chosen = slices.Compact(chosen)
	if len(chosen) == 0 {
		return nil, usageError{errors.New("--rotate-masters and --rotate-workers leave no NodeGroup: look at their spec.role")}
	}
	return chosen, nil
}

func named(run *v1alpha1.NodeRotation, name string) {
	if run.ObjectMeta = (metav1.ObjectMeta{Name: name}); name == "" {
		run.GenerateName = "rotation-"
	}
}
