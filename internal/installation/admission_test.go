package installation

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/admission"
	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

var frozenAt = time.Date(2026, 11, 3, 2, 0, 0, 0, time.UTC)

// TestFreezeHoldsUpNewOnes: what exists, or was begun, is looked after as always.
func TestFreezeHoldsUpNewOnes(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(*Snapshot)
		after  time.Duration
		frozen bool
		wake   time.Duration
	}{
		"a new one":                   {func(*Snapshot) {}, 0, true, 2 * time.Minute},
		"a new one, a second before":  {func(*Snapshot) {}, 119 * time.Second, true, time.Second},
		"a new one, when it ran out":  {func(*Snapshot) {}, 2 * time.Minute, false, 0},
		"no freeze":                   {func(s *Snapshot) { s.Freeze = nil }, 0, false, 0},
		"pods exist":                  {func(s *Snapshot) { s.Deployment = &appsv1.Deployment{} }, 0, false, 0},
		"its Deployment was deleted":  {func(s *Snapshot) { s.Mattermost.Status.Shape = v1beta1.ShapeStandard }, 0, false, 0},
		"the other operator knows it": {func(s *Snapshot) { s.Mattermost.Status.Version = "10.5.2" }, 0, false, 0},
		"its first object was made": {func(s *Snapshot) {
			s.Live = []inventory.Live{{Ref: s.ref(serviceKind, "chat"), Controller: s.Mattermost.UID}}
		}, 0, false, 0},
		"its name is somebody else's": {func(s *Snapshot) {
			s.Live = []inventory.Live{{Ref: s.ref(secretKind, "chat"), Controller: "another"}}
		}, 0, true, 2 * time.Minute},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Snapshot{
				Mattermost: &v1beta1.Mattermost{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "chat", UID: "uid", Generation: 1}},
				Freeze:     admission.Hold(nil, "windlass-system", "FleetRotation/august", 2*time.Minute, frozenAt),
				Secrets:    map[string]Secret{"db": {Keys: []string{keyConnection}}, "fs": {Keys: []string{keyAccess, keySecret}}},
			}
			s.Mattermost.Spec.Ingress = &v1beta1.Ingress{Enabled: true, Host: "chat.example.com"}
			s.Mattermost.Spec.Database.External = &v1beta1.ExternalDatabase{Secret: "db"}
			s.Mattermost.Spec.FileStore.External = &v1beta1.ExternalFileStore{URL: "s3.example.com", Bucket: "b", Secret: "fs"}
			c.change(&s)
			now := frozenAt.Add(c.after)
			p := Decide(s, now)
			if frozen := len(p.Steps) == 0; frozen != c.frozen {
				t.Fatalf("frozen %t, want %t; steps %v", frozen, c.frozen, p.Steps)
			}
			if c.frozen && p.Wake != c.wake {
				t.Errorf("wakes after %s, want %s", p.Wake, c.wake)
			}
			// The report is a moment later, when the freeze may just have run out.
			status := Report(s, p, plan.Outcome{}, now.Add(time.Second)).Status
			ready := meta.FindStatusCondition(status.Conditions, v1beta1.ConditionReady)
			if got := ready.Reason == v1beta1.ReasonAdmissionFrozen; got != c.frozen {
				t.Errorf("Ready is %+v", ready)
			}
			if !c.frozen {
				return
			}
			for _, part := range []string{"FleetRotation/august", "2026-11-03T02:00:00Z", "2026-11-03T02:02:00Z"} {
				if !strings.Contains(ready.Message, part) {
					t.Errorf("the message lacks %s: %s", part, ready.Message)
				}
			}
			if !meta.IsStatusConditionTrue(status.Conditions, v1beta1.ConditionReconciling) || meta.IsStatusConditionTrue(status.Conditions, v1beta1.ConditionStalled) {
				t.Errorf("a wait that ends by itself needs no person: %+v", status.Conditions)
			}
			if Begun(&v1beta1.Mattermost{Status: status}) {
				t.Errorf("the report makes a new installation look as if it had been begun: %+v", status)
			}
		})
	}
}

// TestFreezeChangesNothingElse: of any installation that was begun, the plan is the same
// with and without a freeze, and that of a new one has no step.
func TestFreezeChangesNothingElse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := anySnapshot(t)
		without := Decide(s, frozenAt)
		s.Freeze = admission.Hold(nil, "windlass-system", "hub", time.Minute, frozenAt)
		with := Decide(s, frozenAt)
		if s.frozen(frozenAt) == nil {
			if diff := cmp.Diff(texts(without), texts(with)); diff != "" {
				t.Fatalf("a freeze changed what becomes of an installation that was begun:\n%s", diff)
			}
			return
		}
		if len(with.Steps) > 0 {
			t.Fatalf("a new installation is made during a freeze: %v", with.Steps)
		}
	})
}

func texts(p plan.Plan) []string {
	var all []string
	for _, step := range p.Steps {
		all = append(all, step.Action.String())
	}
	return all
}
