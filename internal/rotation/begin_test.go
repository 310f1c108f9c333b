package rotation

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/drain"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// snapshot has one group of three machines, one of which runs what its template says.
func snapshot(edits ...func(*Snapshot)) Snapshot {
	s := Snapshot{
		Run:    &v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: "run", CreationTimestamp: metav1.NewTime(now)}},
		Groups: map[string]*v1alpha1.NodeGroup{"apps": {ObjectMeta: metav1.ObjectMeta{Name: "apps", UID: "apps"}, Spec: v1alpha1.NodeGroupSpec{Role: v1alpha1.Worker}}},
		Images: map[string]*v1alpha1.NodeImage{},
		Clouds: map[string]Cloud{"apps": {
			Group: cloud.Group{ID: "apps", Size: 3, Max: 5, Revision: cloud.Revision{Template: "lt:2", Images: []string{"ami-2"}}, Suspendable: []string{"AZRebalance", "ReplaceUnhealthy"}, Suspended: []string{"ReplaceUnhealthy"},
				Machines: []cloud.Machine{
					{ID: "a", State: cloud.Running, Template: "lt:1", Image: "ami-1"}, {ID: "b", State: cloud.Running, Template: "lt:1", Image: "ami-1"}, {ID: "c", State: cloud.Running, Template: "lt:2", Image: "ami-2"},
				}},
			Capabilities: cloud.Capabilities{Surge: true, ApplyImages: true, TemplateVersions: true, RollBack: true, ControlPlane: true},
		}},
		Cluster: drain.NewCluster(),
	}
	for _, edit := range edits {
		edit(&s)
	}
	return s
}

func statusOf(t *testing.T, s Snapshot) v1alpha1.NodeRotationStatus {
	t.Helper()
	decision, ok := Decide(s, now).Status.(Decision)
	if !ok {
		t.Fatal("no decision")
	}
	return decision.Status
}

func image(name string, approved ...string) func(*Snapshot) {
	return func(s *Snapshot) {
		s.Groups["apps"].Spec.Image = name
		i := &v1alpha1.NodeImage{}
		if len(approved) > 0 {
			i.Status.Approved = &v1alpha1.ImageRevision{Revision: "r"}
			for _, id := range approved {
				i.Status.Approved.Images = append(i.Status.Approved.Images, v1alpha1.Image{ID: id})
			}
		}
		s.Images["al2023"] = i
	}
}

func can(edit func(*cloud.Capabilities)) func(*Snapshot) {
	return func(s *Snapshot) {
		c := s.Clouds["apps"]
		edit(&c.Capabilities)
		s.Clouds["apps"] = c
	}
}

func strategyIs(st v1alpha1.Strategy) func(*Snapshot) {
	return func(s *Snapshot) { s.Run.Spec.Strategy = &st }
}

func other(name string, edits ...func(*v1alpha1.NodeRotation)) func(*Snapshot) {
	return func(s *Snapshot) {
		o := v1alpha1.NodeRotation{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(now.Add(-time.Hour))}}
		for _, edit := range edits {
			edit(&o)
		}
		s.Others = append(s.Others, o)
	}
}

func begun(o *v1alpha1.NodeRotation) {
	o.Status.StartedAt, o.Status.Phase = new(metav1.NewTime(now)), v1alpha1.Rotating
	o.Status.Groups = []v1alpha1.GroupRotation{{Name: "apps"}}
}

func over(o *v1alpha1.NodeRotation) { o.Status.Phase = v1alpha1.Failed }

// A run that cannot begin says why, and what helps.
func TestBegin(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit   []func(*Snapshot)
		phase  v1alpha1.Phase
		reason string
		says   string
	}{
		"all is well":                {phase: v1alpha1.Rotating},
		"no groups":                  {[]func(*Snapshot){func(s *Snapshot) { s.Groups = nil }}, v1alpha1.Pending, v1alpha1.ReasonInvalidSpec, "make one"},
		"a group that is not there":  {[]func(*Snapshot){func(s *Snapshot) { s.Run.Spec.Groups = []string{"app"} }}, v1alpha1.Pending, v1alpha1.ReasonInvalidSpec, "there are: apps"},
		"a cloud that does not tell": {[]func(*Snapshot){func(s *Snapshot) { s.Clouds["apps"] = Cloud{Problem: "no credentials"} }}, v1alpha1.Pending, v1alpha1.ReasonProviderProblem, "no credentials"},
		"an image that is not there": {[]func(*Snapshot){image("al2024")}, v1alpha1.Pending, v1alpha1.ReasonUnsupported, "there are: al2023"},
		"an image nobody approved":   {[]func(*Snapshot){image("al2023")}, v1alpha1.Pending, v1alpha1.ReasonUnsupported, "approved"},
		"an image":                   {[]func(*Snapshot){image("al2023", "ami-3")}, v1alpha1.Rotating, "", ""},
		"an image the cloud cannot apply": {[]func(*Snapshot){image("al2023", "ami-3"), can(func(c *cloud.Capabilities) { c.ApplyImages = false })},
			v1alpha1.Pending, v1alpha1.ReasonUnsupported, "cannot be given images"},
		"an image that it has already": {[]func(*Snapshot){image("al2023", "ami-2"), can(func(c *cloud.Capabilities) { c.ApplyImages = false })}, v1alpha1.Rotating, "", ""},
		"a version the cloud has not": {[]func(*Snapshot){func(s *Snapshot) { s.Run.Spec.Target = &v1alpha1.Target{TemplateVersion: "7"} }, can(func(c *cloud.Capabilities) { c.TemplateVersions = false })},
			v1alpha1.Pending, v1alpha1.ReasonUnsupported, "no template versions"},
		"no surge":            {[]func(*Snapshot){can(func(c *cloud.Capabilities) { c.Surge = false })}, v1alpha1.Pending, v1alpha1.ReasonUnsupported, "set maxSurge to 0"},
		"no way back":         {[]func(*Snapshot){strategyIs(v1alpha1.Strategy{OnFailure: v1alpha1.RollBack}), can(func(c *cloud.Capabilities) { c.RollBack = false })}, v1alpha1.Pending, v1alpha1.ReasonUnsupported, "set onFailure to Stop"},
		"no node could go":    {[]func(*Snapshot){strategyIs(v1alpha1.Strategy{MaxSurge: new(intstr.FromInt32(0))})}, v1alpha1.Pending, v1alpha1.ReasonInvalidSpec, "both 0"},
		"another has it":      {[]func(*Snapshot){other("first", begun)}, v1alpha1.Pending, v1alpha1.ReasonGroupBusy, "another run"},
		"another comes first": {[]func(*Snapshot){other("first")}, v1alpha1.Pending, v1alpha1.ReasonGroupBusy, "another run"},
		"another is over":     {[]func(*Snapshot){other("first", over)}, v1alpha1.Rotating, "", ""},
		"it is ended already": {[]func(*Snapshot){func(s *Snapshot) { s.Run.Spec.Groups, s.Run.Spec.End = []string{"app"}, v1alpha1.EndAbort }}, v1alpha1.Aborted, "", ""},
		"a dry run":           {[]func(*Snapshot){func(s *Snapshot) { s.Run.Spec.DryRun = true }}, v1alpha1.Planned, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := statusOf(t, snapshot(c.edit...))
			if st.Phase != c.phase {
				t.Errorf("want %s, got %s: %+v", c.phase, st.Phase, st.Waits)
			}
			switch {
			case c.reason == "" && len(st.Waits) > 0:
				t.Errorf("want no wait, got %+v", st.Waits)
			case c.reason != "" && (len(st.Waits) != 1 || st.Waits[0].Reason != c.reason || !strings.Contains(st.Waits[0].Message, c.says)):
				t.Errorf("want one wait of %s that says %q, got %+v", c.reason, c.says, st.Waits)
			}
		})
	}
}

// What a run aims at, and what it can go back to, is written down when it begins.
func TestBeginRecords(t *testing.T) {
	t.Parallel()
	own := v1alpha1.Revision{Name: "lt:2", Template: "lt:2", Images: []string{"ami-2"}}
	for name, c := range map[string]struct {
		edit    func(*Snapshot)
		target  v1alpha1.Revision
		former  *v1alpha1.Revision
		changed bool
	}{
		"its own template":  {func(*Snapshot) {}, own, &v1alpha1.Revision{Name: "lt:1", Template: "lt:1", Images: []string{"ami-1"}}, false},
		"an approved image": {image("al2023", "ami-3"), v1alpha1.Revision{Name: "r", Images: []string{"ami-3"}}, &own, true},
		"a version":         {func(s *Snapshot) { s.Run.Spec.Target = &v1alpha1.Target{TemplateVersion: "7"} }, v1alpha1.Revision{Name: "version 7", Template: "lt:7"}, &own, true},
		"nothing is outdated": {func(s *Snapshot) {
			c := s.Clouds["apps"]
			c.Machines = c.Machines[2:]
			s.Clouds["apps"] = c
		}, own, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := []v1alpha1.GroupRotation{{Name: "apps", UID: "apps", Target: c.target, Former: c.former, Changed: c.changed, Size: 3, Max: 5, Wanted: 3, Before: 3, Suspended: []string{"AZRebalance"}}}
			if d := cmp.Diff(want, statusOf(t, snapshot(c.edit)).Groups); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestWaveSize(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		canary, first, factor int32
		want                  []int32
	}{
		"everything at once":     {0, 0, 2, []int32{0, 0}},
		"a canary only":          {2, 0, 2, []int32{2, 0, 0}},
		"waves that double":      {0, 1, 2, []int32{1, 3, 7, 15}},
		"a canary, and waves":    {1, 2, 3, []int32{1, 3, 9, 27}},
		"waves of the same size": {0, 4, 1, []int32{4, 8, 12}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := strategy{canary: c.canary, first: c.first, factor: c.factor}
			var got []int32
			for i := range c.want {
				got = append(got, s.waveSize(int32(i)))
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
