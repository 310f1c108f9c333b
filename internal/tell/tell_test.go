package tell

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	run "windlass.dev/api/run/v1alpha1"
)

func TestAnEventIsToldToThoseWhoWantIt(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	recipients := []run.Notification{{}, {Events: []run.NotifiedEvent{run.NotifyFailed}}, {Events: []run.NotifiedEvent{run.NotifyStarted}}}
	noted := Note(nil, recipients, run.Untold{Event: run.NotifyStarted, Sequence: 3, Text: "begun"}, now)
	want := []run.Untold{
		{Recipient: 0, Event: run.NotifyStarted, Sequence: 3, Text: "begun", At: metav1.NewTime(now)},
		{Recipient: 2, Event: run.NotifyStarted, Sequence: 3, Text: "begun", At: metav1.NewTime(now)},
	}
	if diff := cmp.Diff(want, noted); diff != "" {
		t.Errorf("noted (-want +got):\n%s", diff)
	}
	for name, c := range map[string]struct {
		recipients []run.Notification
		after      time.Duration
		want       int
	}{
		"at once":                         {recipients, 0, 2},
		"just before it is too old":       {recipients, For - time.Second, 2},
		"too old":                         {recipients, For, 0},
		"one is to be told no longer":     {recipients[:2], 0, 1},
		"nobody is to be told any longer": {nil, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Still(noted, c.recipients, now.Add(c.after)); len(got) != c.want {
				t.Errorf("want %d, got %v", c.want, got)
			}
		})
	}
}

func TestWhatIsDoneIsNotToldAgain(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	recipients := []run.Notification{{}, {}}
	noted := Note(nil, recipients, run.Untold{Event: run.NotifyPaused}, now)
	left := Done(noted, Notify{Recipient: recipients[1], Untold: noted[1]})
	if len(left) != 1 || left[0].Recipient != 0 {
		t.Errorf("left %v", left)
	}
}
