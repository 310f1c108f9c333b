package installation

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/plan"
)

// TestCountsAreHeldBack: while a roll-out is young, a change of the pod counts
// alone is no reason to write, and there is a wake-up for it.
func TestCountsAreHeldBack(t *testing.T) {
	t.Parallel()
	for title, c := range map[string]struct {
		age      time.Duration
		edit     func(*v1beta1.Mattermost)
		reported bool
		wake     time.Duration
	}{
		"young":                        {age: 3 * time.Second, wake: 7 * time.Second},
		"old enough":                   {age: 10 * time.Second, reported: true},
		"written by a clock ahead":     {age: -time.Hour, wake: 10 * time.Second},
		"young, and more than a count": {age: 3 * time.Second, edit: func(mm *v1beta1.Mattermost) { mm.Generation++ }, reported: true, wake: 7 * time.Second},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			s := rollingOutSnapshot(t, somewhen)
			if c.edit != nil {
				c.edit(s.Mattermost)
			}
			s.Deployment.Status.Replicas = 7
			now := somewhen.Add(c.age)
			p := Decide(s, now)
			after := Report(s, p, plan.Outcome{}, now)
			if got := after.Status.Replicas == 7; got != c.reported {
				t.Errorf("counts reported: %v, want %v", got, c.reported)
			}
			if p.Wake != c.wake {
				t.Errorf("wakes after %v, want %v", p.Wake, c.wake)
			}
		})
	}
}

// rollingOutSnapshot is an installation whose status says since when it is
// being rolled out, and of which all objects are as they should be.
func rollingOutSnapshot(t *testing.T, since time.Time) Snapshot {
	t.Helper()
	mm := Default(&v1beta1.Mattermost{
		ObjectMeta: metav1.ObjectMeta{Namespace: "customer", Name: "chat", UID: "uid", Generation: 1},
		Spec: v1beta1.MattermostSpec{
			Ingress:   &v1beta1.Ingress{Enabled: true, Host: "chat.example.com"},
			Database:  v1beta1.Database{External: &v1beta1.ExternalDatabase{Secret: "db"}},
			FileStore: v1beta1.FileStore{External: &v1beta1.ExternalFileStore{URL: "s3.example.com", Bucket: "b", Secret: "fs"}},
		},
	})
	s := Snapshot{Mattermost: mm, Secrets: map[string]Secret{"db": {Keys: []string{keyConnection}}, "fs": {Keys: []string{keyAccess, keySecret}}}}
	p := Decide(s, since)
	outcome := plan.Outcome{Applied: map[plan.Ref]string{}, Done: p.Steps}
	s.Mattermost = Report(s, p, outcome, since)
	s.Deployment = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "customer", Name: "chat", Generation: 1}}
	// Without objects that live the next plan would make them again; the status
	// is about the pods all the same.
	s.Mattermost = Report(s, plan.Plan{}, plan.Outcome{}, since)
	return s
}

// TestResumed: what waited for the end of a pause is False since that ended; what was so before
// the pause stays as old as it is.
func TestResumed(t *testing.T) {
	t.Parallel()
	at := func(after time.Duration) metav1.Time { return metav1.NewTime(somewhen.Add(after)) }
	for title, c := range map[string]struct {
		edited time.Duration
		reason string
		since  time.Duration
	}{
		"edited in the pause":     {2 * time.Minute, v1beta1.ReasonPaused, time.Hour},
		"broken before the pause": {0, v1beta1.ReasonPaused, 0},
		"broken in the pause":     {2 * time.Minute, v1beta1.ReasonDeploymentUnavailable, 2 * time.Minute},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			s := rollingOutSnapshot(t, somewhen)
			s.Mattermost.Status.Conditions = []metav1.Condition{
				{Type: v1beta1.ConditionReady, Status: metav1.ConditionFalse, Reason: c.reason, LastTransitionTime: at(c.edited)},
				{Type: v1beta1.ConditionPaused, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonPaused, LastTransitionTime: at(time.Minute)},
			}
			now := somewhen.Add(time.Hour)
			after := Report(s, Decide(s, now), plan.Outcome{}, now)
			ready := meta.FindStatusCondition(after.Status.Conditions, v1beta1.ConditionReady)
			if want := at(c.since); ready == nil || !ready.LastTransitionTime.Equal(&want) {
				t.Errorf("%+v, want since %s", ready, want)
			}
			if meta.FindStatusCondition(after.Status.Conditions, v1beta1.ConditionPaused) != nil {
				t.Error("it is still said to be paused")
			}
		})
	}
}
