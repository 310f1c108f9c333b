package installation

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
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
