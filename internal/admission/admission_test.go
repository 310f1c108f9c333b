package admission

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

var start = time.Date(2026, 11, 3, 2, 0, 0, 0, time.UTC)

func TestOf(t *testing.T) {
	t.Parallel()
	at, later := metav1.NewMicroTime(start), metav1.NewMicroTime(start.Add(time.Minute))
	held := coordinationv1.LeaseSpec{HolderIdentity: new("hub"), AcquireTime: &at, RenewTime: &later, LeaseDurationSeconds: new(int32(120))}
	cases := map[string]struct {
		spec coordinationv1.LeaseSpec
		at   time.Duration
		want *Freeze
	}{
		"held and renewed":       {held, 0, &Freeze{By: "hub", Since: start, Until: start.Add(3 * time.Minute)}},
		"just before it ran out": {held, 3*time.Minute - 1, &Freeze{By: "hub", Since: start, Until: start.Add(3 * time.Minute)}},
		"ran out":                {held, 3 * time.Minute, nil},
		"nobody says since when": {
			coordinationv1.LeaseSpec{HolderIdentity: new("hub"), RenewTime: &at, LeaseDurationSeconds: new(int32(60))}, 0,
			&Freeze{By: "hub", Since: start, Until: start.Add(time.Minute)},
		},
		"released":          {coordinationv1.LeaseSpec{HolderIdentity: new(""), RenewTime: &at, LeaseDurationSeconds: new(int32(60))}, 0, nil},
		"never held":        {coordinationv1.LeaseSpec{}, 0, nil},
		"without a renewal": {coordinationv1.LeaseSpec{HolderIdentity: new("hub"), LeaseDurationSeconds: new(int32(60))}, 0, nil},
		"without an end":    {coordinationv1.LeaseSpec{HolderIdentity: new("hub"), RenewTime: &at}, 0, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, Of(&coordinationv1.Lease{Spec: c.spec}, start.Add(c.at))); diff != "" {
				t.Error(diff)
			}
		})
	}
	if Of(nil, start) != nil {
		t.Error("no Lease is a freeze")
	}
}

// TestHold: whoever holds the Lease holds it for as long as he said, since he first did.
func TestHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var lease *coordinationv1.Lease
		var want *Freeze
		now := start
		for range rapid.IntRange(1, 8).Draw(t, "times") {
			now = now.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "pause")) * time.Second)
			by := rapid.SampledFrom([]string{"hub", "alice"}).Draw(t, "by")
			lasts := time.Duration(rapid.IntRange(1, 100).Draw(t, "lasts")) * time.Second
			since := now
			if want != nil && want.By == by && now.Before(want.Until) {
				since = want.Since
			}
			want = &Freeze{By: by, Since: since, Until: now.Add(lasts)}
			before := lease.DeepCopy()
			held := Hold(lease, "windlass-system", by, lasts, now)
			if diff := cmp.Diff(before, lease); diff != "" {
				t.Fatalf("the argument was changed: %s", diff)
			}
			lease = held
			if diff := cmp.Diff(want, Of(lease, now)); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}
