package migration

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
)

func TestStandingOf(t *testing.T) {
	t.Parallel()
	gaveUp := func(ci *v1alpha1.ClusterInstallation) { ci.Spec.Migrate = false }
	through := newer(func(mm *v1beta1.Mattermost) {
		madeFrom("older")(mm)
		mm.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionMigrated, Status: metav1.ConditionTrue}}
	})
	manual := annotated(v1alpha1.FinalizeAnnotation, "Manual")
	cases := map[string]struct {
		older  func(*v1alpha1.ClusterInstallation)
		gone   bool
		newer  *v1beta1.Mattermost
		want   v1alpha1.MigrationPhase // Empty for no migration.
		rests  bool
		failed bool
	}{
		"never asked":             {},
		"a Mattermost of its own": {gone: true, newer: newer(nil)},
		"just asked":              {older: func(ci *v1alpha1.ClusterInstallation) { ci.Spec.Migrate = true }, want: Asked},
		"waiting":                 {older: inPhase(v1alpha1.MigrationWaiting), want: v1alpha1.MigrationWaiting},
		"handing over":            {older: inPhase(v1alpha1.MigrationHandingOver), newer: newer(madeFrom("older")), want: v1alpha1.MigrationHandingOver},
		"held":                    {older: both(inPhase(v1alpha1.MigrationAwaitingFinalization), manual), newer: newer(madeFrom("older")), want: v1alpha1.MigrationAwaitingFinalization, rests: true},
		"let go":                  {older: inPhase(v1alpha1.MigrationAwaitingFinalization), newer: newer(madeFrom("older")), want: Asked},
		"held, and given up":      {older: both(inPhase(v1alpha1.MigrationAwaitingFinalization), manual, gaveUp), want: Asked},
		"refused":                 {older: inPhase(v1alpha1.MigrationRefused), want: v1alpha1.MigrationRefused, rests: true, failed: true},
		"refused, and changed":    {older: both(inPhase(v1alpha1.MigrationRefused), func(ci *v1alpha1.ClusterInstallation) { ci.Generation++ }), want: Asked},
		"interrupted":             {older: inPhase(v1alpha1.MigrationInterrupted), want: v1alpha1.MigrationInterrupted, rests: true, failed: true},
		"given up":                {older: both(inPhase(v1alpha1.MigrationHandingOver), gaveUp), want: Asked},
		"reverting":               {older: both(inPhase(v1alpha1.MigrationReverting), gaveUp), want: v1alpha1.MigrationReverting},
		"reverted":                {older: both(inPhase(v1alpha1.MigrationReverted), gaveUp), want: v1alpha1.MigrationReverted, rests: true},
		"reverted, asked again":   {older: inPhase(v1alpha1.MigrationReverted), want: Asked},
		"superseded":              {newer: newer(madeFrom("another")), want: Superseded, rests: true, failed: true},
		"superseded, to revert":   {older: annotated(v1alpha1.RevertAnnotation, "true"), newer: newer(madeFrom("another")), want: Asked},
		"taking back":             {older: both(inPhase(v1alpha1.MigrationReverting), gaveUp), newer: newer(madeFrom("another")), want: v1alpha1.MigrationReverting},
		"through":                 {gone: true, newer: through, want: Migrated, rests: true},
		"through, not on record":  {gone: true, newer: newer(madeFrom("older")), want: v1alpha1.MigrationHandingOver},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ci := world(c.older).ClusterInstallation
			if c.gone {
				ci = nil
			}
			s, ok := StandingOf(ci, c.newer)
			if ok != (c.want != "") || ok && s.Phase != c.want {
				t.Fatalf("%v %+v, want %q", ok, s, c.want)
			}
			if ok && (s.AtRest() != c.rests || s.Failed() != c.failed) {
				t.Errorf("at rest %v, failed %v, want %v, %v", s.AtRest(), s.Failed(), c.rests, c.failed)
			}
		})
	}
}

func TestUnready(t *testing.T) {
	t.Parallel()
	ready := func(mm *v1beta1.Mattermost) {
		madeFrom("older")(mm)
		mm.Status.State = v1beta1.Stable
	}
	held := both(inPhase(v1alpha1.MigrationAwaitingFinalization), annotated(v1alpha1.FinalizeAnnotation, "Manual"))
	cases := map[string]struct {
		older   func(*v1alpha1.ClusterInstallation)
		newer   *v1beta1.Mattermost
		unready bool
	}{
		"ready":       {older: held, newer: newer(ready)},
		"never asked": {unready: true},
		"too early":   {older: inPhase(v1alpha1.MigrationHandingOver), newer: newer(ready), unready: true},
		"gone":        {older: held, unready: true},
		"another one": {older: held, newer: newer(func(mm *v1beta1.Mattermost) { ready(mm); mm.UID = "x" }), unready: true},
		"not stable":  {older: held, newer: newer(madeFrom("older")), unready: true},
		"just edited": {older: held, newer: newer(func(mm *v1beta1.Mattermost) { ready(mm); mm.Generation++ }), unready: true},
		"paused":      {older: both(held, annotated(v1beta1.PausedAnnotation, "true")), newer: newer(ready), unready: true},
		"protected":   {older: both(held, annotated(v1beta1.ProtectedAnnotation, "true")), newer: newer(ready), unready: true},
		"held up":     {older: both(held, func(ci *v1alpha1.ClusterInstallation) { ci.Status.Migration.Error = "x" }), newer: newer(ready), unready: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if why := Unready(world(c.older).ClusterInstallation, c.newer); (why != "") != c.unready {
				t.Errorf("why not: %q", why)
			}
		})
	}
}

// candidate is one of those that Next chooses from.
func candidate(i int, verdict Verdict, phase v1alpha1.MigrationPhase) Candidate {
	c := Candidate{Preflight: Preflight{Namespace: "a", Name: fmt.Sprintf("mm-%02d", i), Verdict: verdict, Asked: phase != ""}}
	if phase != "" {
		c.Standing = &Standing{Phase: phase}
	}
	return c
}

func TestNext(t *testing.T) {
	t.Parallel()
	const none = ""
	cases := map[string]struct {
		all  []Candidate
		most int
		want []string
	}{
		"none":                                {most: 3},
		"as many as may":                      {all: []Candidate{candidate(0, Ready, none), candidate(1, Ready, none), candidate(2, Ready, none)}, most: 2, want: []string{"mm-00", "mm-01"}},
		"what is under way counts":            {all: []Candidate{candidate(0, UnderWay, v1alpha1.MigrationHandingOver), candidate(1, Waits, Asked), candidate(2, Ready, none)}, most: 2},
		"what is about to begin counts":       {all: []Candidate{candidate(0, Ready, v1alpha1.MigrationWaiting), candidate(1, Ready, none)}, most: 1},
		"what is held does not":               {all: []Candidate{candidate(0, Waits, v1alpha1.MigrationWaiting), candidate(1, Ready, none), candidate(2, Ready, none)}, most: 1, want: []string{"mm-01"}},
		"what is refused does not":            {all: []Candidate{candidate(0, Refused, v1alpha1.MigrationRefused), candidate(1, Ready, none)}, most: 1, want: []string{"mm-01"}},
		"what is held before its end neither": {all: []Candidate{candidate(0, UnderWay, v1alpha1.MigrationAwaitingFinalization), candidate(1, Ready, none)}, most: 1, want: []string{"mm-01"}},
		"who waits comes last":                {all: []Candidate{candidate(0, Waits, none), candidate(1, Ready, none), candidate(2, Ready, none)}, most: 2, want: []string{"mm-01", "mm-02"}},
		"who waits, when all fits":            {all: []Candidate{candidate(0, Waits, none), candidate(1, Ready, none)}, most: 2, want: []string{"mm-01", "mm-00"}},
		"who waits, when not all fit":         {all: []Candidate{candidate(0, Waits, none), candidate(1, Waits, none)}, most: 1},
		"more than may are under way":         {all: []Candidate{candidate(0, UnderWay, v1alpha1.MigrationHandingOver), candidate(1, UnderWay, v1alpha1.MigrationPreparing), candidate(2, Ready, none)}, most: 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, name := range Next(c.all, c.most) {
				got = append(got, name.Name)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestNextKeepsTheLimit: whatever there is, no more are under way afterwards than may, but
// for those that were before; and none that could begin stays when there is room.
func TestNextKeepsTheLimit(t *testing.T) {
	t.Parallel()
	verdicts := []Verdict{Ready, Waits, Refused, UnderWay}
	phases := []v1alpha1.MigrationPhase{"", Asked, v1alpha1.MigrationWaiting, v1alpha1.MigrationPreparing, v1alpha1.MigrationHandingOver, v1alpha1.MigrationAwaitingFinalization, v1alpha1.MigrationRefused}
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 5).Draw(t, "most")
		var all []Candidate
		ready := 0
		for i := range rapid.IntRange(0, 12).Draw(t, "n") {
			c := candidate(i, rapid.SampledFrom(verdicts).Draw(t, "verdict"), rapid.SampledFrom(phases).Draw(t, "phase"))
			all = append(all, c)
			if c.Standing == nil && c.Preflight.Verdict == Ready {
				ready++
			}
		}
		flying := InFlight(all)
		next := Next(all, most)
		if len(next) > 0 && flying+len(next) > most {
			t.Fatalf("%d are under way, and %d are begun, of at most %d", flying, len(next), most)
		}
		if len(next) < min(ready, most-flying) {
			t.Fatalf("%d are ready, %d are under way, and %d are begun, of at most %d", ready, flying, len(next), most)
		}
		for _, name := range next {
			i := slices.IndexFunc(all, func(c Candidate) bool { return c.Preflight.Name == name.Name })
			if c := all[i]; c.Standing != nil || c.Preflight.Verdict == Refused || c.Preflight.Verdict == UnderWay {
				t.Fatalf("%+v is begun", c)
			}
		}
	})
}
