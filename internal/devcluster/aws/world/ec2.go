package world

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// RunInstancesInput is what is known here of the action's input.
type RunInstancesInput struct {
	LaunchTemplate        *LaunchTemplateSpecification
	ImageId               string
	InstanceType          string
	MinCount, MaxCount    int
	ClientToken           string
	DryRun                bool
	Placement             *TemplatePlacement
	SubnetId              string
	InstanceMarketOptions *MarketOptions
	TagSpecifications     []TagSpecification `ec2:"TagSpecification"`
}

// LaunchTemplateSpecification names a launch template by ID or name.
type LaunchTemplateSpecification struct {
	LaunchTemplateId, LaunchTemplateName, Version string
}

// Reservation is what was launched together.
type Reservation struct {
	ReservationId, OwnerId string
	Instances              []InstanceDescription `ec2:",instancesSet"`
}

func (s *State) RunInstances(in *RunInstancesInput) (*Reservation, error) {
	pool, data, err := s.toRun(in)
	if err != nil {
		return nil, err
	}
	if in.MinCount < 1 || in.MaxCount < in.MinCount {
		return nil, refuse("InvalidParameterValue", "MinCount %d and MaxCount %d are no range of at least 1", in.MinCount, in.MaxCount)
	}
	count := in.MaxCount
	if room, limited := s.Room[pool]; limited {
		count = min(count, room)
	}
	if count < in.MinCount {
		return nil, refuse("InsufficientInstanceCapacity", "there is no capacity for %d %s in %s", in.MinCount, pool.InstanceType, pool.Zone)
	}
	tags, err := tagsFor("instance", append(slices.Clone(data.TagSpecifications), in.TagSpecifications...), "instance", "volume", "network-interface", "spot-instances-request")
	if err != nil {
		return nil, err
	}
	if _, ok := s.Images[data.ImageId]; !ok {
		return nil, refuse("InvalidAMIID.NotFound", "there is no image %q", data.ImageId)
	}
	if in.DryRun {
		return nil, refuse("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
	}
	r := &Reservation{ReservationId: s.identify("r-"), OwnerId: s.Config.Account}
	for range count {
		i, err := s.launch(pool, data, tags)
		if err != nil {
			return nil, err
		}
		i.ReservationId, i.ClientToken = r.ReservationId, in.ClientToken
		r.Instances = append(r.Instances, s.describe(i))
	}
	return r, nil
}

func (s *State) toRun(in *RunInstancesInput) (Pool, TemplateData, error) {
	var data TemplateData
	if spec := in.LaunchTemplate; spec != nil {
		v, err := s.specified(*spec)
		if err != nil {
			return Pool{}, data, err
		}
		data = v.LaunchTemplateData
	}
	data = overlay(data, TemplateData{ImageId: in.ImageId, InstanceType: in.InstanceType, InstanceMarketOptions: in.InstanceMarketOptions, Placement: in.Placement})
	data, err := s.resolve(data)
	if err != nil {
		return Pool{}, data, err
	}
	pool := Pool{Zone: s.zones()[0], InstanceType: data.InstanceType, Spot: data.InstanceMarketOptions != nil && data.InstanceMarketOptions.MarketType == "spot"}
	if in.SubnetId != "" {
		if pool.Zone, err = s.zoneOf(in.SubnetId); err != nil {
			return pool, data, err
		}
	} else if data.Placement != nil && data.Placement.AvailabilityZone != "" {
		pool.Zone = data.Placement.AvailabilityZone
	}
	if !slices.Contains(s.zones(), pool.Zone) {
		return pool, data, refuse("InvalidParameterValue", "there is no zone %q", pool.Zone)
	}
	if pool.InstanceType == "" {
		return pool, data, refuse("MissingParameter", "an instance needs an InstanceType")
	}
	return pool, data, nil
}

// specified is the version that a specification means now. The ID counts where there is
// a name too.
func (s *State) specified(spec LaunchTemplateSpecification) (*TemplateVersion, error) {
	if spec.LaunchTemplateId != "" {
		spec.LaunchTemplateName = ""
	}
	t, err := s.template(spec.LaunchTemplateId, spec.LaunchTemplateName)
	if err != nil {
		return nil, err
	}
	return s.version(t, spec.Version)
}

// InstanceDescription is an instance as EC2 describes it.
type InstanceDescription struct {
	InstanceId, ImageId, InstanceType string
	State                             InstanceState `ec2:",instanceState"`
	PrivateDnsName, PrivateIpAddress  string
	KeyName                           string
	ClientToken                       string
	InstanceLifecycle                 string
	LaunchTime                        time.Time
	Placement                         Placement
	Monitoring                        MonitoringState
	SubnetId, VpcId                   string
	Architecture                      string
	RootDeviceName, RootDeviceType    string
	VirtualizationType                string
	StateTransitionReason             string `ec2:",reason"`
	StateReason                       *StateReason
	IamInstanceProfile                *AttachedProfile
	EbsOptimized                      bool
	BlockDeviceMappings               []AttachedDevice  `ec2:",blockDeviceMapping"`
	SecurityGroups                    []GroupIdentifier `ec2:",groupSet"`
	Tags                              []Tag             `ec2:",tagSet"`
}

// InstanceState is a state with its number.
type InstanceState struct {
	Code int
	Name string
}

// Placement is where an instance is.
type Placement struct{ AvailabilityZone, AvailabilityZoneId, GroupName, Tenancy string }

// MonitoringState is enabled or disabled.
type MonitoringState struct{ State string }

// AttachedProfile is an instance's profile.
type AttachedProfile struct{ Arn, Id string }

// AttachedDevice is a volume as its instance has it.
type AttachedDevice struct {
	DeviceName string
	Ebs        struct {
		VolumeId, Status    string
		AttachTime          time.Time
		DeleteOnTermination bool
	}
}

// GroupIdentifier is a security group.
type GroupIdentifier struct{ GroupId, GroupName string }

func (s *State) describe(i *Instance) InstanceDescription {
	d := InstanceDescription{
		InstanceId: i.InstanceId, ImageId: i.ImageId, InstanceType: i.InstanceType, State: InstanceState{stateCodes[i.State], i.State},
		KeyName: i.Data.KeyName, ClientToken: i.ClientToken, LaunchTime: i.LaunchTime,
		Placement: Placement{AvailabilityZone: i.Zone, AvailabilityZoneId: s.zoneID(i.Zone), Tenancy: "default"}, Monitoring: MonitoringState{"disabled"},
		Architecture: "x86_64", RootDeviceName: rootDevice, RootDeviceType: "ebs", VirtualizationType: "hvm",
		EbsOptimized: value(i.Data.EbsOptimized, false), Tags: i.Tags,
	}
	if image, ok := s.Images[i.ImageId]; ok {
		d.Architecture = image.Architecture
	}
	if i.Spot {
		d.InstanceLifecycle = "spot"
	}
	if i.Data.Monitoring != nil && value(i.Data.Monitoring.Enabled, false) {
		d.Monitoring.State = "enabled"
	}
	if i.Reason.Code != "" {
		d.StateReason = &i.Reason
		d.StateTransitionReason = i.Reason.Message
	}
	if i.State == Terminated {
		return d // It has no network and no volumes any more.
	}
	d.PrivateDnsName, d.PrivateIpAddress, d.SubnetId, d.VpcId = s.dnsName(i), i.Address, subnet(i.Zone), vpc
	if p := i.Data.IamInstanceProfile; p != nil {
		d.IamInstanceProfile = &AttachedProfile{Arn: either(p.Arn, "arn:aws:iam::"+s.Config.Account+":instance-profile/"+p.Name)}
	}
	for _, id := range i.Data.SecurityGroupIds {
		d.SecurityGroups = append(d.SecurityGroups, GroupIdentifier{id, id})
	}
	for _, id := range sorted(s.Volumes) {
		if v := s.Volumes[id]; v.InstanceId == i.InstanceId {
			a := AttachedDevice{DeviceName: v.Device}
			a.Ebs.VolumeId, a.Ebs.Status, a.Ebs.AttachTime, a.Ebs.DeleteOnTermination = id, "attached", v.AttachTime, v.DeleteOnTermination
			d.BlockDeviceMappings = append(d.BlockDeviceMappings, a)
		}
	}
	return d
}

type DescribeInstancesInput struct {
	InstanceIds []string `ec2:"InstanceId"`
	Filters     []Filter `ec2:"Filter"`
	MaxResults  *int
	NextToken   string
}

type DescribeInstancesOutput struct {
	Reservations []Reservation `ec2:",reservationSet"`
	NextToken    string
}

func (s *State) DescribeInstances(in *DescribeInstancesInput) (*DescribeInstancesOutput, error) {
	if in.MaxResults != nil && len(in.InstanceIds) > 0 {
		return nil, refuse("InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults")
	}
	found, next, err := s.find(in.InstanceIds, in.Filters, in.NextToken, limit(in.MaxResults, 1000))
	if err != nil {
		return nil, err
	}
	out := &DescribeInstancesOutput{NextToken: next}
	at := map[string]int{}
	for _, i := range found {
		n, ok := at[i.ReservationId]
		if !ok {
			n, at[i.ReservationId] = len(out.Reservations), len(out.Reservations)
			out.Reservations = append(out.Reservations, Reservation{ReservationId: i.ReservationId, OwnerId: s.Config.Account})
		}
		out.Reservations[n].Instances = append(out.Reservations[n].Instances, s.describe(i))
	}
	return out, nil
}

// find returns a page of the instances that are asked for.
func (s *State) find(ids []string, filters []Filter, token string, most int) ([]*Instance, string, error) {
	if _, err := s.instances(ids); err != nil {
		return nil, "", err
	}
	if err := check(filters, func(name string) ([]string, bool) { return s.instanceValue(&Instance{}, name) }); err != nil {
		return nil, "", err
	}
	var found []*Instance
	for _, id := range sorted(s.Instances) {
		i := s.Instances[id]
		ok, err := meets(filters, i.Tags, func(name string) ([]string, bool) { return s.instanceValue(i, name) })
		if err != nil {
			return nil, "", err
		}
		if ok && wanted(ids, id) {
			found = append(found, i)
		}
	}
	return page(found, func(i *Instance) string { return i.InstanceId }, token, most)
}

func (s *State) instanceValue(i *Instance, filter string) ([]string, bool) {
	d := s.describe(i)
	v, ok := map[string]string{
		"instance-id": i.InstanceId, "instance-state-name": i.State, "instance-state-code": fmt.Sprint(stateCodes[i.State]),
		"availability-zone": i.Zone, "image-id": i.ImageId, "instance-type": i.InstanceType, "instance-lifecycle": d.InstanceLifecycle,
		"private-dns-name": d.PrivateDnsName, "private-ip-address": d.PrivateIpAddress, "subnet-id": d.SubnetId, "vpc-id": d.VpcId,
		"client-token": i.ClientToken, "reservation-id": i.ReservationId, "key-name": d.KeyName, "architecture": d.Architecture,
	}[filter]
	return []string{v}, ok
}

type TerminateInstancesInput struct {
	InstanceIds []string `ec2:"InstanceId"`
	DryRun      bool
}

type TerminateInstancesOutput struct {
	TerminatingInstances []StateChange `ec2:",instancesSet"`
}

// StateChange is an instance's state before and after.
type StateChange struct {
	InstanceId                  string
	CurrentState, PreviousState InstanceState
}

func (s *State) TerminateInstances(in *TerminateInstancesInput) (*TerminateInstancesOutput, error) {
	all, err := s.instances(in.InstanceIds)
	if err != nil {
		return nil, err
	}
	if in.DryRun {
		return nil, refuse("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
	}
	out := &TerminateInstancesOutput{}
	for _, i := range all {
		before := i.State
		s.terminate(i, StateReason{"Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"})
		out.TerminatingInstances = append(out.TerminatingInstances, StateChange{
			i.InstanceId, InstanceState{stateCodes[i.State], i.State}, InstanceState{stateCodes[before], before},
		})
	}
	return out, nil
}

type DescribeInstanceStatusInput struct {
	InstanceIds         []string `ec2:"InstanceId"`
	Filters             []Filter `ec2:"Filter"`
	IncludeAllInstances bool
	MaxResults          *int
	NextToken           string
}

type DescribeInstanceStatusOutput struct {
	InstanceStatuses []InstanceStatus `ec2:",instanceStatusSet"`
	NextToken        string
}

// InstanceStatus is an instance with what its checks say.
type InstanceStatus struct {
	InstanceId, AvailabilityZone string
	InstanceState                InstanceState
	InstanceStatus, SystemStatus struct{ Status string }
}

func (s *State) DescribeInstanceStatus(in *DescribeInstanceStatusInput) (*DescribeInstanceStatusOutput, error) {
	filters := in.Filters
	if !in.IncludeAllInstances {
		filters = append(slices.Clone(filters), Filter{"instance-state-name", []string{Running}})
	}
	found, next, err := s.find(in.InstanceIds, filters, in.NextToken, limit(in.MaxResults, 1000))
	if err != nil {
		return nil, err
	}
	out := &DescribeInstanceStatusOutput{NextToken: next}
	for _, i := range found {
		status := InstanceStatus{InstanceId: i.InstanceId, AvailabilityZone: i.Zone, InstanceState: InstanceState{stateCodes[i.State], i.State}}
		status.InstanceStatus.Status, status.SystemStatus.Status = "not-applicable", "not-applicable"
		if i.State == Running {
			status.InstanceStatus.Status, status.SystemStatus.Status = "initializing", "ok"
			if i.BootDue.IsZero() {
				status.InstanceStatus.Status = "ok"
			}
		}
		out.InstanceStatuses = append(out.InstanceStatuses, status)
	}
	return out, nil
}

type DescribeImagesInput struct {
	ImageIds          []string `ec2:"ImageId"`
	Owners            []string `ec2:"Owner"`
	Filters           []Filter `ec2:"Filter"`
	IncludeDeprecated bool
	MaxResults        *int
	NextToken         string
}

type DescribeImagesOutput struct {
	Images    []ImageDescription `ec2:",imagesSet"`
	NextToken string
}

// ImageDescription is an image as EC2 describes it.
type ImageDescription struct {
	ImageId, Name, Description, Architecture string
	OwnerId                                  string `ec2:",imageOwnerId"`
	ImageOwnerAlias                          string
	CreationDate                             string
	State                                    string `ec2:",imageState"`
	ImageType, RootDeviceName                string
	RootDeviceType, VirtualizationType       string
	Tags                                     []Tag `ec2:",tagSet"`
}

func (s *State) DescribeImages(in *DescribeImagesInput) (*DescribeImagesOutput, error) {
	for _, id := range in.ImageIds {
		if _, ok := s.Images[id]; !ok {
			return nil, refuse("InvalidAMIID.NotFound", "there is no image %q", id)
		}
	}
	if err := check(in.Filters, func(name string) ([]string, bool) { return s.imageValue(&Image{}, name) }); err != nil {
		return nil, err
	}
	var found []ImageDescription
	for _, id := range sorted(s.Images) {
		i := s.Images[id]
		ok, err := meets(in.Filters, i.Tags, func(name string) ([]string, bool) { return s.imageValue(i, name) })
		if err != nil {
			return nil, err
		}
		if !ok || !wanted(in.ImageIds, id) || !s.owned(i, in.Owners) || i.Deprecated && !in.IncludeDeprecated && len(in.ImageIds) == 0 {
			continue
		}
		found = append(found, ImageDescription{
			ImageId: i.ImageId, Name: i.Name, Description: i.Description, Architecture: i.Architecture, OwnerId: i.OwnerId, ImageOwnerAlias: i.OwnerAlias,
			CreationDate: i.CreationDate.UTC().Format("2006-01-02T15:04:05.000Z"), State: "available", ImageType: "machine",
			RootDeviceName: rootDevice, RootDeviceType: "ebs", VirtualizationType: "hvm", Tags: i.Tags,
		})
	}
	some, next, err := page(found, func(i ImageDescription) string { return i.ImageId }, in.NextToken, limit(in.MaxResults, 1000))
	return &DescribeImagesOutput{some, next}, err
}

func (s *State) owned(i *Image, owners []string) bool {
	return len(owners) == 0 || slices.ContainsFunc(owners, func(o string) bool {
		return o == i.OwnerId || o == i.OwnerAlias || o == "self" && i.OwnerId == s.Config.Account
	})
}

func (s *State) imageValue(i *Image, filter string) ([]string, bool) {
	v, ok := map[string]string{
		"image-id": i.ImageId, "name": i.Name, "description": i.Description, "architecture": i.Architecture, "owner-id": i.OwnerId, "owner-alias": i.OwnerAlias,
		"state": "available", "image-type": "machine", "root-device-type": "ebs", "virtualization-type": "hvm",
	}[filter]
	return []string{v}, ok
}

type RegisterImageInput struct {
	Name, Description, Architecture string
	RootDeviceName                  string
	TagSpecifications               []TagSpecification `ec2:"TagSpecification"`
}

type RegisterImageOutput struct{ ImageId string }

// RegisterImage makes an image out of nothing; in life it is of a snapshot.
func (s *State) RegisterImage(in *RegisterImageInput) (*RegisterImageOutput, error) {
	for _, i := range s.Images {
		if i.Name == in.Name && i.OwnerId == s.Config.Account {
			return nil, refuse("InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", in.Name, i.ImageId)
		}
	}
	tags, err := tagsFor("image", in.TagSpecifications, "image")
	if err != nil {
		return nil, err
	}
	image := Image{ImageId: s.identify("ami-"), Name: in.Name, Description: in.Description, Architecture: in.Architecture, Tags: tags}
	if err := s.AddImage(image); err != nil {
		return nil, err
	}
	return &RegisterImageOutput{image.ImageId}, nil
}

type DeregisterImageInput struct{ ImageId string }

func (s *State) DeregisterImage(in *DeregisterImageInput) (*Empty, error) {
	if _, ok := s.Images[in.ImageId]; !ok {
		return nil, refuse("InvalidAMIID.NotFound", "there is no image %q", in.ImageId)
	}
	delete(s.Images, in.ImageId)
	return &Empty{}, nil
}

type DescribeVolumesInput struct {
	VolumeIds  []string `ec2:"VolumeId"`
	Filters    []Filter `ec2:"Filter"`
	MaxResults *int
	NextToken  string
}

type DescribeVolumesOutput struct {
	Volumes   []VolumeDescription `ec2:",volumeSet"`
	NextToken string
}

// VolumeDescription is a volume as EC2 describes it.
type VolumeDescription struct {
	VolumeId, AvailabilityZone, VolumeType string
	Size                                   int
	State                                  string `ec2:",status"`
	CreateTime                             time.Time
	Attachments                            []Attachment `ec2:",attachmentSet"`
	Tags                                   []Tag        `ec2:",tagSet"`
}

// Attachment is where a volume is.
type Attachment struct {
	VolumeId, InstanceId, Device string
	State                        string `ec2:",status"`
	AttachTime                   time.Time
	DeleteOnTermination          bool
}

func (s *State) DescribeVolumes(in *DescribeVolumesInput) (*DescribeVolumesOutput, error) {
	var found []VolumeDescription
	for _, id := range in.VolumeIds {
		if _, ok := s.Volumes[id]; !ok {
			return nil, refuse("InvalidVolume.NotFound", "there is no volume %q", id)
		}
	}
	if err := check(in.Filters, new(Volume).value); err != nil {
		return nil, err
	}
	for _, id := range sorted(s.Volumes) {
		v := s.Volumes[id]
		ok, err := meets(in.Filters, v.Tags, v.value)
		if err != nil {
			return nil, err
		}
		if ok && wanted(in.VolumeIds, id) {
			found = append(found, v.describe())
		}
	}
	some, next, err := page(found, func(v VolumeDescription) string { return v.VolumeId }, in.NextToken, limit(in.MaxResults, 500))
	return &DescribeVolumesOutput{some, next}, err
}

func (v *Volume) state() string {
	if v.InstanceId == "" {
		return "available"
	}
	return "in-use"
}

func (v *Volume) describe() VolumeDescription {
	d := VolumeDescription{VolumeId: v.VolumeId, AvailabilityZone: v.Zone, VolumeType: v.Type, Size: v.Size, State: v.state(), CreateTime: v.CreateTime, Tags: v.Tags}
	if v.InstanceId != "" {
		d.Attachments = []Attachment{{v.VolumeId, v.InstanceId, v.Device, "attached", v.AttachTime, v.DeleteOnTermination}}
	}
	return d
}

func (v *Volume) value(filter string) ([]string, bool) {
	is, ok := map[string]string{
		"volume-id": v.VolumeId, "attachment.instance-id": v.InstanceId, "attachment.device": v.Device, "status": v.state(), "availability-zone": v.Zone,
		"attachment.delete-on-termination": fmt.Sprint(v.DeleteOnTermination),
	}[filter]
	return []string{is}, ok
}

// vpc is the only one, and each zone has one subnet in it.
const vpc = "vpc-0windlass"

func subnet(zone string) string { return "subnet-" + zone }

func (s *State) zoneOf(id string) (string, error) {
	zone := strings.TrimPrefix(id, "subnet-")
	if !slices.Contains(s.zones(), zone) || !strings.HasPrefix(id, "subnet-") {
		return "", refuse("InvalidSubnetID.NotFound", "there is no subnet %q", id)
	}
	return zone, nil
}

// zoneID is the name of a zone that is the same for all accounts.
func (s *State) zoneID(zone string) string {
	return fmt.Sprintf("%s-az%d", s.Config.Region, slices.Index(s.zones(), zone)+1)
}

type DescribeAvailabilityZonesInput struct {
	ZoneNames []string `ec2:"ZoneName"`
}

type DescribeAvailabilityZonesOutput struct {
	AvailabilityZones []AvailabilityZone `ec2:",availabilityZoneInfo"`
}

// AvailabilityZone is a zone as EC2 describes it.
type AvailabilityZone struct {
	ZoneName, ZoneId, RegionName string
	State                        string `ec2:",zoneState"`
	ZoneType, OptInStatus        string
}

func (s *State) DescribeAvailabilityZones(in *DescribeAvailabilityZonesInput) (*DescribeAvailabilityZonesOutput, error) {
	out := &DescribeAvailabilityZonesOutput{}
	for _, name := range in.ZoneNames {
		if !slices.Contains(s.zones(), name) {
			return nil, refuse("InvalidParameterValue", "there is no zone %q", name)
		}
	}
	for _, z := range s.zones() {
		if wanted(in.ZoneNames, z) {
			out.AvailabilityZones = append(out.AvailabilityZones, AvailabilityZone{z, s.zoneID(z), s.Config.Region, "available", "availability-zone", "opt-in-not-required"})
		}
	}
	return out, nil
}

type DescribeSubnetsInput struct {
	SubnetIds []string `ec2:"SubnetId"`
}

type DescribeSubnetsOutput struct {
	Subnets []Subnet `ec2:",subnetSet"`
}

// Subnet is a subnet as EC2 describes it.
type Subnet struct {
	SubnetId, VpcId, AvailabilityZone, AvailabilityZoneId, State, OwnerId string
}

func (s *State) DescribeSubnets(in *DescribeSubnetsInput) (*DescribeSubnetsOutput, error) {
	for _, id := range in.SubnetIds {
		if _, err := s.zoneOf(id); err != nil {
			return nil, err
		}
	}
	out := &DescribeSubnetsOutput{}
	for _, z := range s.zones() {
		if wanted(in.SubnetIds, subnet(z)) {
			out.Subnets = append(out.Subnets, Subnet{subnet(z), vpc, z, s.zoneID(z), "available", s.Config.Account})
		}
	}
	return out, nil
}
