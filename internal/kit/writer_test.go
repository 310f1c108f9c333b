package kit

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"windlass.dev/internal/kit/plan"
)

// named is an action that a feature carries out.
type named string

func (n named) String() string { return string(n) }

func steps(all ...plan.Step) plan.Plan { return plan.Plan{Steps: all} }

func names(all []plan.Step) []string {
	var names []string
	for _, step := range all {
		names = append(names, step.Action.String())
	}
	return names
}

func TestCarryOut(t *testing.T) {
	t.Parallel()
	p := steps(
		plan.Step{Action: named("a")}, plan.Step{Action: named("b")}, plan.Step{Action: named("c"), Needs: []string{"b"}},
		plan.Step{Action: named("d"), Needs: []string{"c"}}, plan.Step{Action: named("e"), Needs: []string{"a"}},
	)
	for name, parallel := range map[string]int{"one after another": 0, "side by side": 8} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var tried []string
			w := &Writer{}
			out := w.carryOut(t.Context(), p, parallel, func(_ context.Context, _ *Writer, action plan.Action) error {
				mu.Lock()
				defer mu.Unlock()
				tried = append(tried, action.String())
				if action == named("b") {
					return errors.New("no")
				}
				return nil
			})
			slices.Sort(tried)
			if diff := cmp.Diff([]string{"a", "b", "e"}, tried); diff != "" {
				t.Errorf("tried: %s", diff)
			}
			if diff := cmp.Diff([]string{"a", "e"}, names(out.Done)); diff != "" {
				t.Errorf("done: %s", diff)
			}
			if diff := cmp.Diff([]string{"c", "d"}, names(out.Blocked)); diff != "" {
				t.Errorf("blocked: %s", diff)
			}
			if len(out.Failed) != 1 || out.Failed[0].Step.Action != named("b") {
				t.Errorf("failed: %v", out.Failed)
			}
		})
	}
}

// TestSideBySide: steps that need each other wait, and others do not.
func TestSideBySide(t *testing.T) {
	t.Parallel()
	p := steps(plan.Step{Action: named("a")}, plan.Step{Action: named("b")}, plan.Step{Action: named("c"), Needs: []string{"a", "b"}})
	var together sync.WaitGroup
	together.Add(2)
	met := make(chan struct{})
	go func() {
		together.Wait()
		close(met)
	}()
	var ended sync.Map
	out := (&Writer{}).carryOut(t.Context(), p, 2, func(_ context.Context, _ *Writer, action plan.Action) error {
		defer ended.Store(action, true)
		if action == named("c") {
			for _, need := range []named{"a", "b"} {
				if _, ok := ended.Load(need); !ok {
					t.Errorf("c is tried before %s has ended", need)
				}
			}
			return nil
		}
		together.Done()
		select {
		case <-met:
			return nil
		case <-time.After(10 * time.Second):
			return errors.New("the other one was not tried at the same time")
		}
	})
	if len(out.Done) != 3 {
		t.Errorf("failed: %v, blocked: %v", out.Failed, out.Blocked)
	}
}
