package world

import (
	"maps"
	"slices"
	"time"
)

func missing(format string, arguments ...any) *Error {
	return refuse("ResourceNotFoundException", format, arguments...)
}

func badParameter(format string, arguments ...any) *Error {
	return refuse("InvalidParameterException", format, arguments...)
}

type CreateClusterInput struct {
	Name, Version, RoleArn string
	ResourcesVpcConfig     struct{ SubnetIds []string }
	Tags                   map[string]string
	ClientRequestToken     string
}

type ClusterOutput struct{ Cluster ClusterDescription }

// ClusterDescription is a cluster as EKS describes it.
type ClusterDescription struct {
	Name, Arn, Version, Endpoint, RoleArn, Status, PlatformVersion string
	CertificateAuthority                                           *Certificate
	ResourcesVpcConfig                                             VpcConfig
	Tags                                                           map[string]string
	CreatedAt                                                      time.Time
}

func (s *State) describeCluster(c *Cluster) ClusterDescription {
	d := ClusterDescription{
		c.Name, c.Arn, c.Version, c.Endpoint, c.RoleArn, "ACTIVE", "eks.1", c.CertificateAuthority, c.ResourcesVpcConfig, c.Tags, c.CreatedAt,
	}
	if s.Now.Before(c.CreatedAt.Add(s.Config.Times.Boot)) {
		d.Status = "CREATING"
	}
	return d
}

func (s *State) CreateCluster(in *CreateClusterInput) (*ClusterOutput, error) {
	if in.Name == "" || in.RoleArn == "" {
		return nil, badParameter("a cluster needs name and roleArn")
	}
	if _, ok := s.Clusters[in.Name]; ok {
		return nil, refuse("ResourceInUseException", "Cluster already exists with name: %s", in.Name)
	}
	c := &Cluster{
		Name: in.Name, Arn: s.arn("eks", "cluster/"+in.Name), Version: either(in.Version, "1.34"), RoleArn: in.RoleArn,
		ResourcesVpcConfig: VpcConfig{in.ResourcesVpcConfig.SubnetIds, vpc}, Tags: in.Tags, CreatedAt: s.Now,
	}
	s.Clusters[c.Name] = c
	return &ClusterOutput{s.describeCluster(c)}, nil
}

// Serve says where a cluster answers, which EKS knows and the world does not.
func (s *State) Serve(cluster, endpoint, authority string) error {
	c, err := s.cluster(cluster)
	if err != nil {
		return err
	}
	c.Endpoint, c.CertificateAuthority = endpoint, &Certificate{authority}
	return nil
}

func (s *State) cluster(name string) (*Cluster, error) {
	if c, ok := s.Clusters[name]; ok {
		return c, nil
	}
	return nil, missing("No cluster found for name: %s.", name)
}

type DescribeClusterInput struct{ Name string }

func (s *State) DescribeCluster(in *DescribeClusterInput) (*ClusterOutput, error) {
	c, err := s.cluster(in.Name)
	if err != nil {
		return nil, err
	}
	return &ClusterOutput{s.describeCluster(c)}, nil
}

type ListClustersInput struct {
	MaxResults *int
	NextToken  string
}

type ListClustersOutput struct {
	Clusters  []string
	NextToken string
}

func same(name string) string { return name }

func (s *State) ListClusters(in *ListClustersInput) (*ListClustersOutput, error) {
	some, next, err := page(sorted(s.Clusters), same, in.NextToken, limit(in.MaxResults, 100))
	return &ListClustersOutput{some, next}, err
}

type CreateNodegroupInput struct {
	ClusterName, NodegroupName, NodeRole string
	Subnets, InstanceTypes               []string
	AmiType, CapacityType                string
	Version, ReleaseVersion              string
	DiskSize                             *int
	Labels, Tags                         map[string]string
	Taints                               []Taint
	ScalingConfig                        *ScalingConfig
	UpdateConfig                         *UpdateConfig
	LaunchTemplate                       *EKSTemplate
	ClientRequestToken                   string
}

type NodegroupOutput struct{ Nodegroup NodegroupDescription }

// NodegroupDescription is a node group as EKS describes it.
type NodegroupDescription struct {
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
	Resources                                Resources
	Health                                   Health
}

// Resources are what EKS made for a node group.
type Resources struct{ AutoScalingGroups []NamedGroup }

// NamedGroup is an Auto Scaling group's name.
type NamedGroup struct{ Name string }

// Health is a node group's.
type Health struct{ Issues []Issue }

func (n *Nodegroup) describe() NodegroupDescription {
	return NodegroupDescription{
		n.ClusterName, n.NodegroupName, n.NodegroupArn, n.Version, n.ReleaseVersion, n.AmiType, n.CapacityType, n.NodeRole, n.Status,
		n.InstanceTypes, n.Subnets, n.DiskSize, n.Labels, n.Tags, n.Taints, n.ScalingConfig, n.UpdateConfig, n.LaunchTemplate, n.CreatedAt, n.ModifiedAt,
		Resources{[]NamedGroup{{n.Group}}}, Health{n.Issues},
	}
}

func (s *State) CreateNodegroup(in *CreateNodegroupInput) (*NodegroupOutput, error) {
	c, err := s.cluster(in.ClusterName)
	if err != nil {
		return nil, err
	}
	key := in.ClusterName + "/" + in.NodegroupName
	if _, ok := s.Nodegroups[key]; ok {
		return nil, refuse("ResourceInUseException", "NodeGroup already exists with name %s and cluster name %s", in.NodegroupName, in.ClusterName)
	}
	if in.NodegroupName == "" || in.NodeRole == "" || len(in.Subnets) == 0 {
		return nil, badParameter("a node group needs nodegroupName, nodeRole and subnets")
	}
	n := &Nodegroup{
		ClusterName: in.ClusterName, NodegroupName: in.NodegroupName, NodegroupArn: s.arn("eks", "nodegroup/"+key+"/"+s.identify("")), NodeRole: in.NodeRole,
		Version: either(in.Version, c.Version), ReleaseVersion: in.ReleaseVersion, AmiType: either(in.AmiType, "AL2023_x86_64_STANDARD"),
		CapacityType: either(in.CapacityType, "ON_DEMAND"), Status: "CREATING", InstanceTypes: in.InstanceTypes, Subnets: in.Subnets,
		DiskSize: value(in.DiskSize, 20), Labels: in.Labels, Tags: in.Tags, Taints: in.Taints, LaunchTemplate: in.LaunchTemplate,
		ScalingConfig: ScalingConfig{new(1), new(2), new(2)}, UpdateConfig: UpdateConfig{MaxUnavailable: new(1)},
		CreatedAt: s.Now, ModifiedAt: s.Now, Due: s.Now,
	}
	if in.ScalingConfig != nil {
		n.ScalingConfig = overlay(n.ScalingConfig, *in.ScalingConfig)
	}
	if in.UpdateConfig != nil {
		n.UpdateConfig = *in.UpdateConfig
	}
	if err := s.checkSizes(n.ScalingConfig); err != nil {
		return nil, err
	}
	data, err := s.nodeTemplate(n)
	if err != nil {
		return nil, err
	}
	if err := s.makeNodegroup(n, data); err != nil {
		return nil, err
	}
	s.Nodegroups[key] = n
	return &NodegroupOutput{n.describe()}, nil
}

func (s *State) checkSizes(c ScalingConfig) error {
	low, high, want := value(c.MinSize, 0), value(c.MaxSize, 0), value(c.DesiredSize, 0)
	if low < 0 || low > want || want > high || high < 1 {
		return badParameter("minSize %d, desiredSize %d and maxSize %d have to be in this order, and maxSize at least 1", low, want, high)
	}
	return nil
}

// nodeTemplate is what EKS writes in its own launch template: the user's, and an image if
// that has none.
func (s *State) nodeTemplate(n *Nodegroup) (TemplateData, error) {
	data := TemplateData{InstanceType: "t3.medium"}
	if len(n.InstanceTypes) > 0 {
		data.InstanceType = n.InstanceTypes[0]
	}
	if t := n.LaunchTemplate; t != nil {
		v, err := s.specified(LaunchTemplateSpecification{t.Id, t.Name, t.Version})
		if err != nil {
			return data, refuse("InvalidRequestException", "the launch template is not usable: %v", err)
		}
		n.LaunchTemplate = &EKSTemplate{v.LaunchTemplateId, v.LaunchTemplateName, itoa(v.VersionNumber)}
		data = overlay(data, v.LaunchTemplateData)
		if v.LaunchTemplateData.ImageId != "" {
			n.AmiType, n.ReleaseVersion = "CUSTOM", v.LaunchTemplateData.ImageId
			return s.resolve(data)
		}
	}
	image, release, err := s.released(n.AmiType, n.Version, n.ReleaseVersion)
	if err != nil {
		return data, err
	}
	data.ImageId = image
	// EKS says a release with the Kubernetes version in front.
	n.ReleaseVersion = release
	if n.CapacityType == "SPOT" {
		data.InstanceMarketOptions = &MarketOptions{MarketType: "spot"}
	}
	return data, nil
}

func (s *State) makeNodegroup(n *Nodegroup, data TemplateData) error {
	name := "eks-" + n.NodegroupName + "-" + s.identify("")
	var zones []string
	for _, id := range n.Subnets {
		z, err := s.zoneOf(id)
		if err != nil {
			return badParameter("%v", err)
		}
		zones = append(zones, z)
	}
	made, err := s.CreateLaunchTemplate(&CreateLaunchTemplateInput{LaunchTemplateName: name, LaunchTemplateData: data})
	if err != nil {
		return err
	}
	n.Group, n.Template = name, made.LaunchTemplate.LaunchTemplateId
	c := n.ScalingConfig
	_, err = s.CreateAutoScalingGroup(&CreateAutoScalingGroupInput{
		AutoScalingGroupName: name, MinSize: c.MinSize, MaxSize: c.MaxSize, DesiredCapacity: c.DesiredSize, AvailabilityZones: zones,
		LaunchTemplate: &LaunchTemplateSpecification{LaunchTemplateId: n.Template, Version: "1"},
		Tags: []GroupTag{
			{Key: "eks:cluster-name", Value: n.ClusterName, PropagateAtLaunch: true}, {Key: "eks:nodegroup-name", Value: n.NodegroupName, PropagateAtLaunch: true},
			{Key: "kubernetes.io/cluster/" + n.ClusterName, Value: "owned", PropagateAtLaunch: true},
		},
	})
	return err
}

// NodegroupInput names a node group.
type NodegroupInput struct{ ClusterName, NodegroupName string }

func (s *State) nodegroup(cluster, name string) (*Nodegroup, error) {
	if _, err := s.cluster(cluster); err != nil {
		return nil, err
	}
	if n, ok := s.Nodegroups[cluster+"/"+name]; ok {
		return n, nil
	}
	return nil, missing("No node group found for name: %s.", name)
}

func (s *State) DescribeNodegroup(in *NodegroupInput) (*NodegroupOutput, error) {
	n, err := s.nodegroup(in.ClusterName, in.NodegroupName)
	if err != nil {
		return nil, err
	}
	return &NodegroupOutput{n.describe()}, nil
}

type ListNodegroupsInput struct {
	ClusterName string
	MaxResults  *int
	NextToken   string
}

type ListNodegroupsOutput struct {
	Nodegroups []string
	NextToken  string
}

func (s *State) ListNodegroups(in *ListNodegroupsInput) (*ListNodegroupsOutput, error) {
	if _, err := s.cluster(in.ClusterName); err != nil {
		return nil, err
	}
	var names []string
	for _, key := range sorted(s.Nodegroups) {
		if n := s.Nodegroups[key]; n.ClusterName == in.ClusterName {
			names = append(names, n.NodegroupName)
		}
	}
	some, next, err := page(names, same, in.NextToken, limit(in.MaxResults, 100))
	return &ListNodegroupsOutput{some, next}, err
}

// DeleteNodegroup drains the nodes, for five minutes at most, and then ends them.
func (s *State) DeleteNodegroup(in *NodegroupInput) (*NodegroupOutput, error) {
	n, err := s.nodegroup(in.ClusterName, in.NodegroupName)
	if err != nil {
		return nil, err
	}
	if n.Roll != nil {
		return nil, busy(n)
	}
	n.Status, n.Roll, n.Due = "DELETING", &Roll{Phase: deletion, Leaving: map[string]Leaving{}}, s.Now
	for _, i := range s.counted(s.Groups[n.Group]) {
		n.Roll.Leaving[i.InstanceId] = Leaving{Since: s.Now}
		s.effect(Drain, i)
	}
	return &NodegroupOutput{n.describe()}, nil
}

func busy(n *Nodegroup) error {
	return refuse("ResourceInUseException", "Nodegroup %s is currently %s", n.NodegroupName, n.Status)
}

// idle finds a node group to which nothing is being done, and which still launches from
// what EKS made for it.
func (s *State) idle(cluster, name string) (*Nodegroup, error) {
	n, err := s.nodegroup(cluster, name)
	if err != nil {
		return nil, err
	}
	g := s.groupOf(n)
	switch {
	case n.Status != "ACTIVE" && n.Status != "DEGRADED":
		return nil, busy(n)
	case g == nil:
		return nil, refuse("InvalidRequestException", "The Auto Scaling group %s of the node group %s does not exist", n.Group, name)
	case s.Templates[n.Template] == nil || g.Template == nil || g.Template.LaunchTemplateId != n.Template:
		return nil, refuse("InvalidRequestException", "The Auto Scaling group %s does not launch from the template %s of the node group %s", n.Group, n.Template, name)
	}
	return n, nil
}

type UpdateNodegroupVersionInput struct {
	ClusterName, NodegroupName string
	Version, ReleaseVersion    string
	LaunchTemplate             *EKSTemplate
	Force                      bool
	ClientRequestToken         string
}

type UpdateOutput struct{ Update Update }

func (s *State) UpdateNodegroupVersion(in *UpdateNodegroupVersionInput) (*UpdateOutput, error) {
	n, err := s.idle(in.ClusterName, in.NodegroupName)
	if err != nil {
		return nil, err
	}
	changed := *n
	changed.Version = either(in.Version, n.Version)
	if in.LaunchTemplate != nil {
		if n.LaunchTemplate == nil {
			return nil, refuse("InvalidRequestException", "the node group was made without a launch template and cannot get one")
		}
		changed.LaunchTemplate = in.LaunchTemplate
	}
	if changed.AmiType == "CUSTOM" && (in.Version != "" || in.ReleaseVersion != "") {
		return nil, badParameter("You cannot specify version or releaseVersion when the launch template has an image")
	}
	changed.ReleaseVersion = in.ReleaseVersion
	data, err := s.nodeTemplate(&changed)
	if err != nil {
		return nil, err
	}
	*n = changed
	u := s.update(n, "VersionUpdate", []UpdateParam{{"Version", n.Version}, {"ReleaseVersion", n.ReleaseVersion}})
	s.addVersion(s.Templates[n.Template], "", data)
	s.roll(n, u, in.Force)
	return &UpdateOutput{*u}, nil
}

func (s *State) update(n *Nodegroup, kind string, params []UpdateParam) *Update {
	u := &Update{Id: s.identify(""), Status: inProgress, Type: kind, CreatedAt: s.Now, Params: params}
	n.Updates = append(n.Updates, u)
	return u
}

type UpdateNodegroupConfigInput struct {
	ClusterName, NodegroupName string
	Labels                     *LabelsPayload
	Taints                     *TaintsPayload
	ScalingConfig              *ScalingConfig
	UpdateConfig               *UpdateConfig
	ClientRequestToken         string
}

// LabelsPayload is how labels change.
type LabelsPayload struct {
	AddOrUpdateLabels map[string]string
	RemoveLabels      []string
}

// TaintsPayload is how taints change.
type TaintsPayload struct{ AddOrUpdateTaints, RemoveTaints []Taint }

func (s *State) UpdateNodegroupConfig(in *UpdateNodegroupConfigInput) (*UpdateOutput, error) {
	n, err := s.idle(in.ClusterName, in.NodegroupName)
	if err != nil {
		return nil, err
	}
	scaling := n.ScalingConfig
	if in.ScalingConfig != nil {
		scaling = overlay(scaling, *in.ScalingConfig)
		if err := s.checkSizes(scaling); err != nil {
			return nil, err
		}
	}
	var params []UpdateParam
	if in.ScalingConfig != nil {
		g := s.Groups[n.Group]
		g.Min, g.Max, g.Desired = *scaling.MinSize, *scaling.MaxSize, *scaling.DesiredSize
		n.ScalingConfig = scaling
		params = append(params, UpdateParam{"MinSize", itoa(g.Min)}, UpdateParam{"MaxSize", itoa(g.Max)}, UpdateParam{"DesiredSize", itoa(g.Desired)})
		s.touch(g)
	}
	if in.UpdateConfig != nil {
		n.UpdateConfig = *in.UpdateConfig
	}
	if p := in.Labels; p != nil {
		labels := maps.Clone(n.Labels)
		if labels == nil {
			labels = map[string]string{}
		}
		maps.Copy(labels, p.AddOrUpdateLabels)
		maps.DeleteFunc(labels, func(key, _ string) bool { return slices.Contains(p.RemoveLabels, key) })
		n.Labels = labels
	}
	if p := in.Taints; p != nil {
		n.Taints = slices.DeleteFunc(slices.Clone(n.Taints), func(t Taint) bool {
			is := func(o Taint) bool { return o.Key == t.Key && o.Effect == t.Effect }
			return slices.ContainsFunc(p.RemoveTaints, is) || slices.ContainsFunc(p.AddOrUpdateTaints, is)
		})
		n.Taints = append(n.Taints, p.AddOrUpdateTaints...)
	}
	n.ModifiedAt = s.Now
	u := s.update(n, "ConfigUpdate", params)
	u.Status = successful
	return &UpdateOutput{*u}, nil
}

type DescribeUpdateInput struct{ Name, NodegroupName, UpdateId string }

func (s *State) DescribeUpdate(in *DescribeUpdateInput) (*UpdateOutput, error) {
	n, err := s.nodegroup(in.Name, in.NodegroupName)
	if err != nil {
		return nil, err
	}
	for _, u := range n.Updates {
		if u.Id == in.UpdateId {
			return &UpdateOutput{*u}, nil
		}
	}
	return nil, missing("No update found for ID: %s", in.UpdateId)
}

type ListUpdatesInput struct {
	Name, NodegroupName string
	MaxResults          *int
	NextToken           string
}

type ListUpdatesOutput struct {
	UpdateIds []string
	NextToken string
}

func (s *State) ListUpdates(in *ListUpdatesInput) (*ListUpdatesOutput, error) {
	n, err := s.nodegroup(in.Name, in.NodegroupName)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, u := range n.Updates {
		ids = append(ids, u.Id)
	}
	slices.Sort(ids)
	some, next, err := page(ids, same, in.NextToken, limit(in.MaxResults, 100))
	return &ListUpdatesOutput{some, next}, err
}
