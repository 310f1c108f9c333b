package kit

import (
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"windlass.dev/internal/kit/plan"
)

func TestResult(t *testing.T) {
	t.Parallel()
	services := schema.GroupResource{Resource: "services"}
	conflict := apierrors.NewConflict(services, "a", errors.New("changed"))
	throttled := apierrors.NewTooManyRequests("busy", 7)
	cases := map[string]struct {
		wake     time.Duration
		failures []error
		want     time.Duration // at least, and at most a tenth more
		wantErr  error
	}{
		"nothing to wait for":             {},
		"the plan's own wake-up":          {wake: time.Minute, want: time.Minute},
		"a conflict backs off":            {wake: time.Minute, failures: []error{conflict}, wantErr: conflict},
		"a busy server says how long":     {failures: []error{throttled}, want: 7 * time.Second},
		"the plan's wake-up comes sooner": {wake: time.Second, failures: []error{throttled}, want: time.Second},
		"an invalid object waits for an edit": {
			failures: []error{&InvalidError{errors.New("no")}}, want: invalidRetry,
		},
		"a refused request waits for a change of policy": {
			failures: []error{apierrors.NewForbidden(services, "a", errors.New("no"))}, want: invalidRetry,
		},
		"what was declined is told of, or tried after a while": {
			failures: []error{&DeclinedError{errors.New("not now")}}, want: declinedRetry,
		},
		"a declined request does not hold up the plan's wake-up": {
			wake: time.Second, failures: []error{&DeclinedError{errors.New("not now")}}, want: time.Second,
		},
		"what passes goes before what does not": {
			failures: []error{&InvalidError{errors.New("no")}, conflict}, wantErr: conflict,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := result(plan.Plan{Wake: c.wake}, c.failures)
			if !errors.Is(err, c.wantErr) {
				t.Fatalf("error: want %v, got %v", c.wantErr, err)
			}
			if got.RequeueAfter < c.want || got.RequeueAfter > c.want+c.want/10 {
				t.Errorf("wake: want %s to a tenth more, got %s", c.want, got.RequeueAfter)
			}
		})
	}
}
