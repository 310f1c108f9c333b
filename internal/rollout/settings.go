package rollout

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	labelop "k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/fleet/v1alpha1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/clusterinstallation"
	"windlass.dev/internal/window"
)

const (
	defaultInFlight = 10
	defaultDeadline = 15 * time.Minute
	// perPass bounds how many installations one decision takes, so that a pause, which is
	// seen by the next one, is seen soon.
	perPass = 50
	// countEvery is how often counts are written that nothing else changes with.
	countEvery = 5 * time.Second
)

// selection selects installations.
type selection struct {
	selector   labels.Selector
	namespaces []string
}

func selectionOf(spec *v1alpha1.InstallationRolloutSpec) (selection, error) {
	selector, err := metav1.LabelSelectorAsSelector(&spec.Selector)
	if err != nil {
		return selection{}, fmt.Errorf("spec.selector: %w", err)
	}
	return selection{selector: selector, namespaces: spec.Namespaces}, nil
}

func (s selection) has(i *Installation) bool {
	return (len(s.namespaces) == 0 || slices.Contains(s.namespaces, i.Meta.Namespace)) && s.selector.Matches(labels.Set(i.Meta.Labels))
}

// settings are a spec that was parsed.
type settings struct {
	selection
	waves    []wave
	strategy v1alpha1.RolloutStrategy
	deadline time.Duration
	windows  window.Windows
}

// wave is a part of the installations. The last one of settings takes all.
type wave struct {
	selector labels.Selector
	size     *intstr.IntOrString
	soak     time.Duration
}

func parse(spec *v1alpha1.InstallationRolloutSpec) (s settings, err error) {
	if s.selection, err = selectionOf(spec); err != nil {
		return s, err
	}
	if spec.Strategy != nil {
		s.strategy = *spec.Strategy
	}
	for i, given := range s.strategy.Waves {
		w := wave{size: given.Size, soak: time.Duration(given.SoakSeconds) * time.Second}
		if given.Selector != nil {
			if w.selector, err = metav1.LabelSelectorAsSelector(given.Selector); err != nil {
				return s, fmt.Errorf("spec.strategy.waves[%d].selector: %w", i, err)
			}
		}
		s.waves = append(s.waves, w)
	}
	s.waves = append(s.waves, wave{selector: labels.Everything()})
	s.deadline = defaultDeadline
	if given := s.strategy.ProgressDeadlineSeconds; given != nil {
		s.deadline = time.Duration(*given) * time.Second
	}
	if s.windows, err = window.Parse(s.strategy.Windows); err != nil {
		return s, fmt.Errorf("spec.strategy.%w", err)
	}
	return s, nil
}

// lasts wants that no selector goes by a label that installations lose by their migration: they
// would leave the roll-out, and nobody would watch how they take it.
func (s *settings) lasts(change v1alpha1.InstallationChange) error {
	if !change.Migrate {
		return nil
	}
	check := func(of labels.Selector, path string) error {
		if of == nil {
			return nil
		}
		all, _ := of.Requirements()
		for _, r := range all {
			wants := slices.Contains([]labelop.Operator{labelop.In, labelop.Equals, labelop.DoubleEquals, labelop.Exists}, r.Operator())
			if wants && clusterinstallation.Tracks(r.Key()) {
				return fmt.Errorf("%s: the label %s is one by which a tool tracks what it made, and which the Mattermosts do not have: "+
					"give those that are to be migrated another label, and select by that", path, r.Key())
			}
		}
		return nil
	}
	if err := check(s.selector, "spec.selector"); err != nil {
		return err
	}
	for i, w := range s.waves {
		if err := check(w.selector, fmt.Sprintf("spec.strategy.waves[%d].selector", i)); err != nil {
			return err
		}
	}
	return nil
}

func (s *settings) maxInFlight(total int) int {
	if s.strategy.MaxInFlight == nil {
		return defaultInFlight
	}
	return scaled(*s.strategy.MaxInFlight, total, true)
}

func (s *settings) mayFail(total int) int {
	if s.strategy.FailureThreshold == nil {
		return 0
	}
	return scaled(*s.strategy.FailureThreshold, total, false)
}

func (s *settings) rollsBack() bool { return s.strategy.OnFailure == run.RollBackOnFailure }

// scaled is a number, or a share of a total. The API server has checked how it is written.
func scaled(value intstr.IntOrString, total int, up bool) int {
	n, err := intstr.GetScaledValueFromIntOrPercent(&value, total, up)
	if err != nil {
		return 0
	}
	return n
}
