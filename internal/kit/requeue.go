package kit

import (
	"errors"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"

	"windlass.dev/internal/kit/plan"
)

const (
	// staleRetry is how soon to look whether the cache has caught up; the watch
	// event that ends the wait usually comes first.
	staleRetry = 100 * time.Millisecond
	// invalidRetry is how soon to try again what the API server called invalid:
	// the cure is an edit, which is a watch event; a changed quota, policy or
	// webhook is not.
	invalidRetry = 5 * time.Minute
	// declinedRetry is how soon to try again what was declined, if no watch event tells of it
	// before.
	declinedRetry = 15 * time.Second
	// jitter spreads wake-ups by up to this share, so that a fleet made in one
	// minute does not come back in one minute.
	jitter = 0.1
)

// InvalidError is an error that trying again does not cure.
type InvalidError struct{ Err error }

func (e *InvalidError) Error() string { return e.Err.Error() }
func (e *InvalidError) Unwrap() error { return e.Err }

// DeclinedError is an error of what could be done at another time, and a watch event will
// tell when: it is neither tried again by itself nor worth a line in a log.
type DeclinedError struct{ Err error }

func (e *DeclinedError) Error() string { return e.Err.Error() }
func (e *DeclinedError) Unwrap() error { return e.Err }

// invalid reports whether only an edit or a change of policy can help.
func invalid(err error) bool {
	if _, ok := errors.AsType[*InvalidError](err); ok {
		return true
	}
	return apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// result is the one mapping from what happened to when to come back:
//
//   - an error that passes (conflict, time-out, connection): back-off, by
//     returning it;
//   - a server that asks to wait: as long as it asks;
//   - an error of what was declined: when the plan, or a watch event, says so, or after a while;
//   - an error that only an edit cures: slowly, and not as an error, because a
//     back-off would be noise;
//   - otherwise the plan's own wake-up.
func result(p plan.Plan, failures []error) (ctrl.Result, error) {
	wake := p.Wake
	var passing []error
	for _, err := range failures {
		if _, ok := errors.AsType[*DeclinedError](err); ok {
			wake = soonest(wake, declinedRetry)
			continue
		}
		if seconds, asked := apierrors.SuggestsClientDelay(err); asked && seconds > 0 {
			wake = soonest(wake, time.Duration(seconds)*time.Second)
			continue
		}
		if invalid(err) {
			wake = soonest(wake, invalidRetry)
			continue
		}
		passing = append(passing, err)
	}
	if len(passing) > 0 {
		return ctrl.Result{}, errors.Join(passing...)
	}
	return ctrl.Result{RequeueAfter: spread(wake)}, nil
}

// soonest treats 0 as "no wake-up".
func soonest(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

func spread(d time.Duration) time.Duration {
	return d + time.Duration(rand.Float64()*jitter*float64(d))
}
