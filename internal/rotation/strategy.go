package rotation

import (
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/nodes/v1alpha1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/drain"
	"windlass.dev/internal/window"
)

// strategy is a Strategy with nothing left open.
type strategy struct {
	surge, unavailable         intstr.IntOrString
	canary                     int32 // nodes of each group; 0 for none
	canaryBake                 time.Duration
	first, factor              int32 // first is 0 without waves
	waveBake                   time.Duration
	zones                      v1alpha1.ZoneOrder
	order                      []labels.Selector
	windows                    window.Windows
	minReady, readyTimeout     time.Duration
	progressDeadline, deadline time.Duration // 0 for none
	onFailure                  v1alpha1.OnFailure
	gates                      []run.Gate
	drain                      drain.Policy
	prePull                    *prePull // nil for none
}

// resolve takes what the run says, then what the group says, then the defaults.
func resolve(run, group *v1alpha1.Strategy, role v1alpha1.Role) (strategy, error) {
	layers := []*v1alpha1.Strategy{run, group}
	s := strategy{surge: intstr.FromString("25%"), unavailable: intstr.FromInt32(0), zones: v1alpha1.Balanced, factor: 2,
		minReady: 10 * time.Second, readyTimeout: 15 * time.Minute, progressDeadline: time.Hour, onFailure: v1alpha1.Stop}
	if role == v1alpha1.ControlPlane {
		// One at a time, and never one more: a member that comes before another goes
		// makes the quorum larger.
		s.surge, s.unavailable = intstr.FromInt32(0), intstr.FromInt32(1)
	}
	var drains []*v1alpha1.Drain
	for _, layer := range slices.Backward(layers) {
		if layer == nil {
			continue
		}
		drains = append([]*v1alpha1.Drain{layer.Drain}, drains...)
		if err := s.overlay(layer, role); err != nil {
			return s, err
		}
	}
	var err error
	if s.drain, err = drain.NewPolicy(drains...); err != nil {
		return s, err
	}
	return s, s.valid()
}

func (s *strategy) overlay(l *v1alpha1.Strategy, role v1alpha1.Role) error {
	if role != v1alpha1.ControlPlane {
		set(&s.surge, l.MaxSurge)
		set(&s.unavailable, l.MaxUnavailable)
	}
	if l.Canary != nil {
		s.canary, s.canaryBake = max(l.Canary.Nodes, 1), 5*time.Minute
		setSeconds(&s.canaryBake, l.Canary.BakeSeconds)
	}
	if l.Waves != nil {
		s.first, s.factor, s.waveBake = max(l.Waves.First, 1), max(l.Waves.Factor, 1), time.Duration(l.Waves.BakeSeconds)*time.Second
		if l.Waves.Factor == 0 {
			s.factor = 2
		}
	}
	if l.Zones != "" {
		s.zones = l.Zones
	}
	if l.Order != nil {
		s.order = nil
		for i := range l.Order {
			selector, err := metav1.LabelSelectorAsSelector(&l.Order[i])
			if err != nil {
				return fmt.Errorf("strategy.order[%d]: %w", i, err)
			}
			s.order = append(s.order, selector)
		}
	}
	if l.Windows != nil {
		windows, err := window.Parse(l.Windows)
		if err != nil {
			return fmt.Errorf("strategy.%w", err)
		}
		s.windows = windows
	}
	if l.Gates != nil {
		s.gates = l.Gates
	}
	if l.OnFailure != "" {
		s.onFailure = l.OnFailure
	}
	if l.PrePull != nil {
		s.prePull = resolvePrePull(l.PrePull)
	}
	setSeconds(&s.minReady, l.MinReadySeconds)
	setSeconds(&s.readyTimeout, l.NodeReadyTimeoutSeconds)
	setSeconds(&s.progressDeadline, l.ProgressDeadlineSeconds)
	setSeconds(&s.deadline, l.DeadlineSeconds)
	return nil
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func setSeconds(to *time.Duration, from *int32) {
	if from != nil {
		*to = time.Duration(*from) * time.Second
	}
}

var errNeverAny = errors.New("maxSurge and maxUnavailable are both 0, so no node could ever be replaced")

func (s *strategy) valid() error {
	surge, err := s.surgeOf(100)
	if err != nil {
		return fmt.Errorf("maxSurge: %w", err)
	}
	unavailable, err := s.unavailableOf(100)
	if err != nil {
		return fmt.Errorf("maxUnavailable: %w", err)
	}
	if surge == 0 && unavailable == 0 {
		return errNeverAny
	}
	return nil
}

// surgeOf is rounded up, unavailableOf down, as for Deployments; but a percentage not to 0
// if there is no surge.
func (s *strategy) surgeOf(size int) (int, error) {
	return intstr.GetScaledValueFromIntOrPercent(&s.surge, size, true)
}

func (s *strategy) unavailableOf(size int) (int, error) {
	n, err := intstr.GetScaledValueFromIntOrPercent(&s.unavailable, size, false)
	if surge, e := s.surgeOf(size); err == nil && e == nil && n == 0 && surge == 0 {
		return intstr.GetScaledValueFromIntOrPercent(&s.unavailable, min(size, 1), true)
	}
	return n, err
}
