package world

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Cluster is an EKS cluster: a name under which there are node groups.
type Cluster struct {
	Name, Arn, Version, Endpoint, RoleArn string
	CertificateAuthority                  *Certificate
	ResourcesVpcConfig                    VpcConfig
	Tags                                  map[string]string
	CreatedAt                             time.Time
}

// Certificate is the cluster's authority, in base64.
type Certificate struct{ Data string }

// VpcConfig is where a cluster is.
type VpcConfig struct {
	SubnetIds []string
	VpcId     string
}

// Nodegroup is a managed node group: an Auto Scaling group and a launch template that EKS
// owns.
type Nodegroup struct {
	ClusterName, NodegroupName, NodegroupArn string
	Version, ReleaseVersion                  string
	AmiType, CapacityType, NodeRole, Status  string
	InstanceTypes, Subnets                   []string
	DiskSize                                 int
	Labels, Tags                             map[string]string
	Taints                                   []Taint
	ScalingConfig                            ScalingConfig
	UpdateConfig                             UpdateConfig
	LaunchTemplate                           *EKSTemplate
	CreatedAt, ModifiedAt                    time.Time

	// Group and Template are what EKS made for it.
	Group, Template string
	Updates         []*Update
	Roll            *Roll
	Due             time.Time
	// Issues is why it is not well.
	Issues []Issue
}

// Taint is one of a node group's, with EKS's names of effects.
type Taint struct{ Key, Value, Effect string }

// ScalingConfig is how many nodes there are.
type ScalingConfig struct{ MinSize, MaxSize, DesiredSize *int }

// UpdateConfig is how many nodes may be away during an update.
type UpdateConfig struct {
	MaxUnavailable, MaxUnavailablePercentage *int
	UpdateStrategy                           string
}

// EKSTemplate names a user's launch template.
type EKSTemplate struct{ Id, Name, Version string }

// Issue is a problem of a node group.
type Issue struct {
	Code, Message string
	ResourceIds   []string
}

// Update is what EKS does to a node group.
type Update struct {
	Id, Status, Type string
	CreatedAt        time.Time
	Params           []UpdateParam
	Errors           []ErrorDetail
}

// UpdateParam is what an update is to.
type UpdateParam struct{ Type, Value string }

// ErrorDetail is why an update failed.
type ErrorDetail struct {
	ErrorCode, ErrorMessage string
	ResourceIds             []string
}

// Roll is the replacement of a node group's nodes, or their removal, while it goes on.
type Roll struct {
	UpdateId string
	Phase    string
	// Version is the one of the launch template that is rolled out.
	Version int
	Force   bool
	// Desired and Max are the sizes to return to.
	Desired, Max int
	// Suspended is true if it suspended AZRebalance itself.
	Suspended bool
	Leaving   map[string]Leaving
	// Deadline is when the new nodes have to be there.
	Deadline time.Time
}

// Leaving is a node that is drained.
type Leaving struct{ Since, Drained time.Time }

const (
	scaleUp   = "ScaleUp"
	upgrade   = "Upgrade"
	scaleDown = "ScaleDown"
	deletion  = "Deletion"
)

// deletionDrain is how long pods may take to leave when their node group is deleted.
const deletionDrain = 5 * time.Minute

// nodeCreation is how long new nodes may take.
const nodeCreation = 15 * time.Minute

// stepNodegroup looks at a node group, and again soon as long as something goes on.
func (s *State) stepNodegroup(n *Nodegroup) {
	again := true
	switch {
	case n.Roll != nil && n.Roll.Phase == deletion:
		again = s.stepDeletion(n)
	case s.groupOf(n) == nil:
		s.orphan(n)
		again = false
	case n.Roll != nil:
		s.stepRoll(n)
	case n.Status == "CREATING":
		if s.upToDate(n, 0) >= value(n.ScalingConfig.DesiredSize, 0) {
			n.Status, again = "ACTIVE", false
		}
	default:
		again = false
	}
	if again {
		n.Due = s.Now.Add(s.Config.Times.Evaluate)
	}
}

// groupOf is the group that EKS made for a node group, unless somebody deletes it.
func (s *State) groupOf(n *Nodegroup) *Group {
	if g := s.Groups[n.Group]; g != nil && !g.Deleting {
		return g
	}
	return nil
}

// orphan notes that somebody deletes the group of a node group, and fails what was being
// done to that.
func (s *State) orphan(n *Nodegroup) {
	const why = "We couldn't find the Auto Scaling group associated with the managed node group."
	if n.Roll != nil {
		s.conclude(n, &ErrorDetail{ErrorCode: "Unknown", ErrorMessage: why, ResourceIds: []string{n.Group}})
	}
	n.Status, n.Issues = "DEGRADED", []Issue{{"AutoScalingGroupNotFound", why, []string{n.Group}}}
}

// upToDate counts the nodes that serve and have at least a version of the template.
func (s *State) upToDate(n *Nodegroup, version int) int {
	count := 0
	for _, i := range s.members(s.Groups[n.Group]) {
		if i.Member.Lifecycle == InService && i.BootDue.IsZero() && i.alive() && number(i.Member.Template.Version) >= version {
			count++
		}
	}
	return count
}

func (s *State) stepRoll(n *Nodegroup) {
	g, r := s.Groups[n.Group], n.Roll
	switch r.Phase {
	case scaleUp:
		surge := g.Desired - r.Desired
		if s.upToDate(n, r.Version) >= surge {
			r.Phase = upgrade
			return
		}
		if s.Now.After(r.Deadline) {
			s.endRoll(n, &ErrorDetail{ErrorCode: "NodeCreationFailure", ErrorMessage: "Couldn't proceed with upgrade process as new nodes are not joining node group " + n.NodegroupName})
		}
	case upgrade:
		s.stepUpgrade(n, g, r)
	case scaleDown:
		if len(s.counted(g)) <= r.Desired {
			s.endRoll(n, nil)
		}
	}
}

func (s *State) stepUpgrade(n *Nodegroup, g *Group, r *Roll) {
	var old []*Instance
	for _, i := range s.counted(g) {
		if number(i.Member.Template.Version) < r.Version {
			old = append(old, i)
		}
	}
	// What ended by itself is nobody's to wait for.
	maps.DeleteFunc(r.Leaving, func(id string, _ Leaving) bool {
		return !slices.ContainsFunc(old, func(i *Instance) bool { return i.InstanceId == id })
	})
	for _, i := range old {
		l, leaving := r.Leaving[i.InstanceId]
		switch {
		case !leaving:
		case !l.Drained.IsZero() && !s.Now.Before(l.Drained.Add(s.Config.Times.CordonWait)), s.overdue(l) && r.Force:
			delete(r.Leaving, i.InstanceId)
			s.beginEnd(g, i, "an instance was taken out of service in response to an update of its node group")
		case s.overdue(l):
			s.endRoll(n, &ErrorDetail{
				ErrorCode: "PodEvictionFailure", ErrorMessage: "Reached max retries while trying to evict pods from nodes in node group " + n.NodegroupName,
				ResourceIds: []string{s.dnsName(i)},
			})
			return
		}
	}
	if len(old) == 0 {
		r.Phase = scaleDown
		g.Desired, g.Max = r.Desired, r.Max
		s.touch(g)
		return
	}
	s.drainMore(n, g, old)
}

func (s *State) overdue(l Leaving) bool {
	return l.Drained.IsZero() && !s.Now.Before(l.Since.Add(s.Config.Times.DrainLimit))
}

// drainMore begins with as many old nodes as may be away.
func (s *State) drainMore(n *Nodegroup, g *Group, old []*Instance) {
	r := n.Roll
	away := g.Desired - s.upToDate(n, 0) + len(r.Leaving)
	for _, i := range old {
		_, leaving := r.Leaving[i.InstanceId]
		if leaving || i.Member.Lifecycle != InService || away >= s.mayBeAway(n) {
			continue
		}
		r.Leaving[i.InstanceId] = Leaving{Since: s.Now}
		s.effect(Drain, i)
		away++
	}
}

func (s *State) mayBeAway(n *Nodegroup) int {
	if p := n.UpdateConfig.MaxUnavailablePercentage; p != nil {
		return max(1, n.Roll.Desired**p/100)
	}
	return value(n.UpdateConfig.MaxUnavailable, 1)
}

// endRoll ends an update and gives the group back as it was. What a failed one leaves is
// not documented; here all nodes that there are stay, because the group itself would end
// old ones that were not drained.
func (s *State) endRoll(n *Nodegroup, problem *ErrorDetail) {
	g, r := s.Groups[n.Group], n.Roll
	g.Desired, g.Max = r.Desired, r.Max
	if problem != nil {
		g.Desired = max(g.Desired, len(s.counted(g)))
		g.Max = max(g.Max, g.Desired)
	}
	if r.Suspended {
		g.Suspended = slices.DeleteFunc(slices.Clone(g.Suspended), func(p string) bool { return p == AZRebalance })
	}
	s.conclude(n, problem)
	s.touch(g)
}

// conclude says how an update ended, and ends its drains.
func (s *State) conclude(n *Nodegroup, problem *ErrorDetail) {
	for _, id := range sorted(n.Roll.Leaving) {
		if i := s.Instances[id]; i != nil && i.alive() {
			s.effect(Undrain, i)
		}
	}
	for _, u := range n.Updates {
		if u.Id != n.Roll.UpdateId {
			continue
		}
		u.Status = "Successful"
		if problem != nil {
			u.Status, u.Errors = "Failed", []ErrorDetail{*problem}
		}
	}
	n.Status, n.Roll, n.ModifiedAt = "ACTIVE", nil, s.Now
}

// stepDeletion ends the group once its nodes are drained, and reports whether it goes on.
func (s *State) stepDeletion(n *Nodegroup) bool {
	g, ok := s.Groups[n.Group]
	if !ok {
		delete(s.Templates, n.Template)
		delete(s.Versions, n.Template)
		delete(s.Nodegroups, n.ClusterName+"/"+n.NodegroupName)
		return false
	}
	for _, i := range s.counted(g) {
		l, leaving := n.Roll.Leaving[i.InstanceId]
		if leaving && l.Drained.IsZero() && s.Now.Before(l.Since.Add(deletionDrain)) {
			return true
		}
	}
	if !g.Deleting {
		g.Deleting, g.Min, g.Max, g.Desired = true, 0, 0, 0
		s.touch(g)
	}
	return true
}

// Drained is the answer to a Drain: the last pod has left.
func (s *State) Drained(id string) {
	for _, n := range s.Nodegroups {
		if n.Roll == nil {
			continue
		}
		if l, ok := n.Roll.Leaving[id]; ok && l.Drained.IsZero() {
			l.Drained = s.Now
			n.Roll.Leaving[id] = l
		}
	}
}

// roll begins to replace the nodes by those of a new version of the template.
func (s *State) roll(n *Nodegroup, u *Update, force bool) {
	g := s.Groups[n.Group]
	r := &Roll{
		UpdateId: u.Id, Phase: scaleUp, Version: s.Templates[n.Template].LatestVersionNumber, Force: force, Desired: g.Desired, Max: g.Max,
		Leaving: map[string]Leaving{}, Deadline: s.Now.Add(nodeCreation),
	}
	if !g.suspended(AZRebalance) {
		g.Suspended, r.Suspended = append(slices.Clone(g.Suspended), AZRebalance), true
	}
	n.Status, n.Roll, n.Due = "UPDATING", r, s.Now
	g.Template.Version = itoa(r.Version)
	if n.UpdateConfig.UpdateStrategy != "MINIMAL" && g.Desired > 0 {
		// As documented: twice the zones, or what may be away if that is more.
		surge := max(2*len(g.Zones), s.mayBeAway(n))
		g.Desired, g.Max = g.Desired+surge, g.Max+surge
	}
	s.touch(g)
}

// amiPath is where the recommended image of a type is, as EKS and Bottlerocket publish it.
func amiPath(amiType, version string) (image, release string, ok bool) {
	architecture := architectureOf(amiType)
	switch amiType {
	case "AL2023_x86_64_STANDARD", "AL2023_ARM_64_STANDARD":
		base := "/aws/service/eks/optimized-ami/" + version + "/amazon-linux-2023/" + architecture + "/standard/recommended/"
		return base + "image_id", base + "release_version", true
	case "BOTTLEROCKET_x86_64", "BOTTLEROCKET_ARM_64":
		base := "/aws/service/bottlerocket/aws-k8s-" + version + "/" + architecture + "/latest/"
		return base + "image_id", base + "image_version", true
	default:
		return "", "", false
	}
}

func architectureOf(amiType string) string {
	if strings.Contains(amiType, "ARM_64") {
		return "arm64"
	}
	return "x86_64"
}

// Publish makes a new image of a type that EKS maintains, and the parameters name it.
func (s *State) Publish(amiType, version, release string) (imageID string, err error) {
	image, releaseName, ok := amiPath(amiType, version)
	if !ok {
		return "", refuse("InvalidParameterException", "the AMI type %q is not known here", amiType)
	}
	architecture := architectureOf(amiType)
	imageID = s.identify("ami-")
	name := "amazon-eks-node-al2023-" + architecture + "-standard-" + version + "-v" + release
	if strings.HasPrefix(amiType, "BOTTLEROCKET") {
		name = "bottlerocket-aws-k8s-" + version + "-" + architecture + "-v" + release
	}
	if err := s.AddImage(Image{ImageId: imageID, Name: name, Architecture: architecture, OwnerId: "602401143452", OwnerAlias: "amazon"}); err != nil {
		return "", err
	}
	for name, v := range map[string]string{image: imageID, releaseName: release} {
		if _, err := s.PutParameter(&PutParameterInput{Name: name, Value: v, Type: "String", Overwrite: true}); err != nil {
			return "", err
		}
	}
	return imageID, nil
}

// released finds the image of a release, or of the newest one, which it names.
func (s *State) released(amiType, version, release string) (imageID, found string, err error) {
	image, name, ok := amiPath(amiType, version)
	if !ok {
		return "", "", refuse("InvalidParameterException", "the AMI type %q is not known here", amiType)
	}
	images, err := s.parameter(image)
	if err != nil {
		return "", "", refuse("InvalidParameterException", "there is no %s image for Kubernetes %s", amiType, version)
	}
	releases, err := s.parameter(name)
	if err != nil {
		return "", "", err
	}
	if release == "" || release == releases.Value {
		return images.Value, releases.Value, nil
	}
	if at := slices.Index(releases.History, release); at >= 0 && at < len(images.History) {
		return images.History[at], release, nil
	}
	return "", "", refuse("InvalidParameterException", "Requested release version %s is not valid for kubernetes version %s.", release, version)
}
