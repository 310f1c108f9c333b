package world

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// withNodegroup makes a managed node group of 3 that is active.
func withNodegroup(t *testing.T, change ...func(*CreateNodegroupInput)) (*State, *Nodegroup) {
	t.Helper()
	s := made(t)
	publish(t, s, "1.34.1-1")
	must(t, s.CreateCluster, &CreateClusterInput{Name: "dev", RoleArn: "arn:aws:iam::1:role/eks"})
	in := &CreateNodegroupInput{
		ClusterName: "dev", NodegroupName: "apps", NodeRole: "arn:aws:iam::1:role/node", Subnets: []string{"subnet-eu-central-1a"},
		ScalingConfig: &ScalingConfig{new(1), new(5), new(3)},
	}
	for _, do := range change {
		do(in)
	}
	must(t, s.CreateNodegroup, in)
	s.after(3 * time.Minute)
	n := s.Nodegroups["dev/apps"]
	if n.Status != "ACTIVE" {
		t.Fatalf("the node group is %s", n.Status)
	}
	s.Effects = nil
	return s, n
}

func publish(t *testing.T, s *State, release string) (image string) {
	t.Helper()
	image, err := s.Publish("AL2023_x86_64_STANDARD", "1.34", release)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func images(s *State, n *Nodegroup) map[string]int {
	all := map[string]int{}
	for _, i := range s.counted(s.Groups[n.Group]) {
		all[i.ImageId]++
	}
	return all
}

// roll goes on in small steps, in which all drains that refuse does not name succeed. It
// returns how many nodes were away at most.
func roll(s *State, n *Nodegroup, d time.Duration, refuse string) (away int) {
	for end := s.Now.Add(d); s.Now.Before(end); s.after(time.Second) {
		for _, e := range s.Effects {
			if e.Kind == Drain && e.Machine.InstanceId != refuse {
				s.Drained(e.Machine.InstanceId)
			}
		}
		s.Effects = nil
		if n.Roll != nil {
			away = max(away, n.Roll.Desired-s.upToDate(n, 0)+len(n.Roll.Leaving))
		}
	}
	return away
}

func TestNodegroupUpdate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		update UpdateConfig
		away   int
	}{
		"one at a time":          {UpdateConfig{MaxUnavailable: new(1)}, 1},
		"two at a time":          {UpdateConfig{MaxUnavailable: new(2)}, 2},
		"all, by their share":    {UpdateConfig{MaxUnavailablePercentage: new(100)}, 3},
		"without other capacity": {UpdateConfig{MaxUnavailable: new(1), UpdateStrategy: "MINIMAL"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, n := withNodegroup(t, func(in *CreateNodegroupInput) { in.UpdateConfig = &c.update })
			g := s.Groups[n.Group]
			image := publish(t, s, "1.34.2-1")
			u := must(t, s.UpdateNodegroupVersion, &UpdateNodegroupVersionInput{ClusterName: "dev", NodegroupName: "apps"}).Update
			_, err := s.UpdateNodegroupVersion(&UpdateNodegroupVersionInput{ClusterName: "dev", NodegroupName: "apps"})
			wantCode(t, err, "ResourceInUseException")
			surge := g.Desired - 3
			if want := map[bool]int{true: 0, false: max(2, c.away)}[c.update.UpdateStrategy == "MINIMAL"]; surge != want || !g.suspended(AZRebalance) {
				t.Errorf("the surge is %d, want %d; suspended are %v", surge, want, g.Suspended)
			}
			// What is away of the group that it had; the surge does not count for more.
			if away := roll(s, n, 40*time.Minute, "") + surge; away > c.away+surge {
				t.Errorf("%d were away, want at most %d", away-surge, c.away)
			}
			got := must(t, s.DescribeUpdate, &DescribeUpdateInput{"dev", "apps", u.Id}).Update
			if got.Status != successful || n.Status != "ACTIVE" || n.ReleaseVersion != "1.34.2-1" {
				t.Errorf("the update is %+v, the node group %s at %s", got, n.Status, n.ReleaseVersion)
			}
			if diff := cmp.Diff(map[string]int{image: 3}, images(s, n)); diff != "" || g.Desired != 3 || g.Max != 5 || len(g.Suspended) != 0 {
				t.Errorf("desired %d, max %d, suspended %v: %s", g.Desired, g.Max, g.Suspended, diff)
			}
		})
	}
}

func TestNodegroupUpdateIsBlocked(t *testing.T) {
	t.Parallel()
	for force, want := range map[bool]string{false: failed, true: successful} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			s, n := withNodegroup(t)
			g := s.Groups[n.Group]
			image := publish(t, s, "1.34.2-1")
			u := must(t, s.UpdateNodegroupVersion, &UpdateNodegroupVersionInput{ClusterName: "dev", NodegroupName: "apps", Force: force}).Update
			roll(s, n, time.Hour, s.members(g)[1].InstanceId)
			got := must(t, s.DescribeUpdate, &DescribeUpdateInput{"dev", "apps", u.Id}).Update
			// The one that was replaced, its two neighbours and the surge.
			desired := map[bool]int{false: 5, true: 3}[force]
			if got.Status != want || n.Status != "ACTIVE" || g.Desired != desired || g.Max != 5 || len(g.Suspended) != 0 {
				t.Errorf("the update is %+v, the node group %s, the group %+v", got, n.Status, g)
			}
			if !force && (len(got.Errors) != 1 || got.Errors[0].ErrorCode != "PodEvictionFailure") {
				t.Errorf("the errors are %+v", got.Errors)
			}
			if all := images(s, n); all[image] != 3 || (len(all) == 1) != force {
				t.Errorf("the images are %v", all)
			}
		})
	}
}

// TestNodegroupWithoutCapacity: new nodes do not come.
func TestNodegroupWithoutCapacity(t *testing.T) {
	t.Parallel()
	s, n := withNodegroup(t)
	publish(t, s, "1.34.2-1")
	s.Room[Pool{Zone: "eu-central-1a", InstanceType: "t3.medium"}] = 0
	must(t, s.UpdateNodegroupVersion, &UpdateNodegroupVersionInput{ClusterName: "dev", NodegroupName: "apps"})
	roll(s, n, 20*time.Minute, "")
	if u := n.Updates[0]; u.Status != failed || u.Errors[0].ErrorCode != "NodeCreationFailure" || len(s.counted(s.Groups[n.Group])) != 3 {
		t.Errorf("the update is %+v", u)
	}
}

func TestNodegroupReleases(t *testing.T) {
	t.Parallel()
	s, n := withNodegroup(t)
	old := n.ReleaseVersion
	publish(t, s, "1.34.2-1")
	_, err := s.UpdateNodegroupVersion(&UpdateNodegroupVersionInput{ClusterName: "dev", NodegroupName: "apps", ReleaseVersion: "1.34.9-1"})
	wantCode(t, err, "InvalidParameterException")
	if n.ReleaseVersion != old {
		t.Errorf("a refused update changed the release to %s", n.ReleaseVersion)
	}
	before := images(s, n)
	must(t, s.UpdateNodegroupVersion, &UpdateNodegroupVersionInput{ClusterName: "dev", NodegroupName: "apps", ReleaseVersion: "1.34.1-1"})
	roll(s, n, 40*time.Minute, "")
	if diff := cmp.Diff(before, images(s, n)); diff != "" || n.ReleaseVersion != "1.34.1-1" {
		t.Errorf("the release is %s: %s", n.ReleaseVersion, diff)
	}
}

func TestNodegroupWithTemplate(t *testing.T) {
	t.Parallel()
	s, n := withNodegroup(t, func(in *CreateNodegroupInput) { in.LaunchTemplate = &EKSTemplate{Name: "nodes", Version: "1"} })
	if diff := cmp.Diff(map[string]int{"ami-1": 3}, images(s, n)); diff != "" || n.AmiType != "CUSTOM" {
		t.Errorf("the AMI type is %s: %s", n.AmiType, diff)
	}
	must(t, s.CreateLaunchTemplateVersion, &CreateLaunchTemplateVersionInput{LaunchTemplateName: "nodes", SourceVersion: "1", LaunchTemplateData: TemplateData{ImageId: "ami-2"}})
	must(t, s.UpdateNodegroupVersion, &UpdateNodegroupVersionInput{ClusterName: "dev", NodegroupName: "apps", LaunchTemplate: &EKSTemplate{Name: "nodes", Version: "2"}})
	roll(s, n, 40*time.Minute, "")
	if diff := cmp.Diff(map[string]int{"ami-2": 3}, images(s, n)); diff != "" || n.LaunchTemplate.Version != "2" {
		t.Errorf("the template is %+v: %s", n.LaunchTemplate, diff)
	}
}

func TestNodegroupConfig(t *testing.T) {
	t.Parallel()
	s, n := withNodegroup(t, func(in *CreateNodegroupInput) {
		in.Labels, in.Taints = map[string]string{"a": "1", "b": "2"}, []Taint{{"t", "1", "NO_SCHEDULE"}}
	})
	must(t, s.UpdateNodegroupConfig, &UpdateNodegroupConfigInput{
		ClusterName: "dev", NodegroupName: "apps", ScalingConfig: &ScalingConfig{DesiredSize: new(4)},
		Labels: &LabelsPayload{AddOrUpdateLabels: map[string]string{"c": "3"}, RemoveLabels: []string{"a"}},
		Taints: &TaintsPayload{AddOrUpdateTaints: []Taint{{"t", "2", "NO_SCHEDULE"}}},
	})
	s.after(2 * time.Minute)
	if diff := cmp.Diff(map[string]string{"b": "2", "c": "3"}, n.Labels); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Taint{{"t", "2", "NO_SCHEDULE"}}, n.Taints); diff != "" || len(s.counted(s.Groups[n.Group])) != 4 {
		t.Errorf("%d nodes: %s", len(s.counted(s.Groups[n.Group])), diff)
	}
	_, err := s.UpdateNodegroupConfig(&UpdateNodegroupConfigInput{ClusterName: "dev", NodegroupName: "apps", ScalingConfig: &ScalingConfig{DesiredSize: new(9)}})
	wantCode(t, err, "InvalidParameterException")
}

func TestDeleteNodegroup(t *testing.T) {
	t.Parallel()
	s, n := withNodegroup(t)
	stuck := s.members(s.Groups[n.Group])[0].InstanceId
	must(t, s.DeleteNodegroup, &NodegroupInput{"dev", "apps"})
	roll(s, n, 5*time.Minute-10*time.Second, stuck)
	if len(s.counted(s.Groups[n.Group])) != 3 {
		t.Error("nodes are ended before their pods had their five minutes")
	}
	roll(s, n, 5*time.Minute, stuck)
	if len(s.Nodegroups) != 0 || len(s.Groups) != 0 || len(s.Templates) != 1 || len(s.Volumes) != 0 {
		t.Errorf("left are %d node groups, %d groups, %d templates, %d volumes", len(s.Nodegroups), len(s.Groups), len(s.Templates), len(s.Volumes))
	}
}

// TestNodegroupUpdateSurvivesACrash: a node that ends by itself while it is drained is
// nobody's to wait for.
func TestNodegroupUpdateSurvivesACrash(t *testing.T) {
	t.Parallel()
	s, n := withNodegroup(t)
	image := publish(t, s, "1.34.2-1")
	must(t, s.UpdateNodegroupVersion, &UpdateNodegroupVersionInput{ClusterName: "dev", NodegroupName: "apps"})
	for end := s.Now.Add(time.Hour); len(n.Roll.Leaving) == 0 && s.Now.Before(end); {
		s.after(time.Second)
	}
	for id := range n.Roll.Leaving {
		if err := s.Crash(id); err != nil {
			t.Fatal(err)
		}
	}
	s.Effects = nil
	roll(s, n, time.Hour, "")
	if diff := cmp.Diff(map[string]int{image: 3}, images(s, n)); diff != "" || n.Status != "ACTIVE" || n.Updates[0].Status != successful {
		t.Errorf("the node group is %s, the update %+v: %s", n.Status, n.Updates[0], diff)
	}
}

// TestNodegroupWithoutItsGroup: somebody deletes what EKS made. Nothing can be done to the
// node group then but to delete it.
func TestNodegroupWithoutItsGroup(t *testing.T) {
	t.Parallel()
	group := func(t *testing.T, s *State, n *Nodegroup) {
		t.Helper()
		must(t, s.DeleteAutoScalingGroup, &DeleteAutoScalingGroupInput{AutoScalingGroupName: n.Group, ForceDelete: true})
	}
	update := func(t *testing.T, s *State, _ *Nodegroup) {
		t.Helper()
		must(t, s.UpdateNodegroupVersion, &UpdateNodegroupVersionInput{ClusterName: "dev", NodegroupName: "apps"})
	}
	for name, c := range map[string]struct {
		before, gone func(*testing.T, *State, *Nodegroup)
		status       string
		issue        string
		update       string
	}{
		"the group":                  {gone: group, status: "DEGRADED", issue: "AutoScalingGroupNotFound"},
		"the group during an update": {before: update, gone: group, status: "DEGRADED", issue: "AutoScalingGroupNotFound", update: failed},
		"the template": {gone: func(t *testing.T, s *State, n *Nodegroup) {
			t.Helper()
			must(t, s.DeleteLaunchTemplate, &DeleteLaunchTemplateInput{LaunchTemplateId: n.Template})
		}, status: "ACTIVE"},
		"another template": {gone: func(t *testing.T, s *State, n *Nodegroup) {
			t.Helper()
			must(t, s.UpdateAutoScalingGroup, &UpdateAutoScalingGroupInput{AutoScalingGroupName: n.Group, MixedInstancesPolicy: &MixedInstancesPolicy{
				LaunchTemplate: &MixedTemplate{LaunchTemplateSpecification: &LaunchTemplateSpecification{LaunchTemplateName: "nodes", Version: "1"}},
			}})
		}, status: "ACTIVE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, n := withNodegroup(t)
			if c.before != nil {
				c.before(t, s, n)
			}
			c.gone(t, s, n)
			s.after(10 * time.Minute)
			issue := ""
			for _, i := range n.Issues {
				issue += i.Code
			}
			if issue != c.issue || n.Status != c.status {
				t.Errorf("the node group is %s by %q, want %s by %q", n.Status, issue, c.status, c.issue)
			}
			if c.update != "" && n.Updates[0].Status != c.update {
				t.Errorf("the update is %+v", n.Updates[0])
			}
			_, err := s.UpdateNodegroupVersion(&UpdateNodegroupVersionInput{ClusterName: "dev", NodegroupName: "apps"})
			wantCode(t, err, "InvalidRequestException")
			_, err = s.UpdateNodegroupConfig(&UpdateNodegroupConfigInput{ClusterName: "dev", NodegroupName: "apps", ScalingConfig: &ScalingConfig{DesiredSize: new(2)}})
			wantCode(t, err, "InvalidRequestException")
			must(t, s.DeleteNodegroup, &NodegroupInput{"dev", "apps"})
			roll(s, n, 10*time.Minute, "")
			if len(s.Nodegroups) != 0 || len(s.Groups) != 0 {
				t.Errorf("left are %d node groups, %d groups", len(s.Nodegroups), len(s.Groups))
			}
		})
	}
}

// TestNodegroupThatDoesNotCome: one whose nodes do not come can be deleted, and one
// whose group is deleted meanwhile is told so.
func TestNodegroupThatDoesNotCome(t *testing.T) {
	t.Parallel()
	for name, groupGone := range map[string]bool{"without capacity": false, "without its group": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := made(t)
			publish(t, s, "1.34.1-1")
			s.Room[Pool{Zone: "eu-central-1a", InstanceType: "t3.medium"}] = 0
			must(t, s.CreateCluster, &CreateClusterInput{Name: "dev", RoleArn: "arn:aws:iam::1:role/eks"})
			must(t, s.CreateNodegroup, &CreateNodegroupInput{ClusterName: "dev", NodegroupName: "apps", NodeRole: "arn:aws:iam::1:role/node", Subnets: []string{"subnet-eu-central-1a"}})
			s.after(time.Hour)
			n, want := s.Nodegroups["dev/apps"], "CREATING"
			if groupGone {
				want = "DEGRADED"
				must(t, s.DeleteAutoScalingGroup, &DeleteAutoScalingGroupInput{AutoScalingGroupName: n.Group, ForceDelete: true})
			}
			s.after(time.Minute)
			if n.Status != want {
				t.Errorf("it is %s, want %s", n.Status, want)
			}
			must(t, s.DeleteNodegroup, &NodegroupInput{"dev", "apps"})
			s.after(time.Minute)
			if len(s.Nodegroups) != 0 || len(s.Groups) != 0 {
				t.Errorf("left are %d node groups, %d groups", len(s.Nodegroups), len(s.Groups))
			}
		})
	}
}
