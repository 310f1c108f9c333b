package world

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The states of an instance.
const (
	Pending      = "pending"
	Running      = "running"
	ShuttingDown = "shutting-down"
	Terminated   = "terminated"
)

// stateCodes are the numbers that EC2 gives with the names.
var stateCodes = map[string]int{Pending: 0, Running: 16, ShuttingDown: 32, Terminated: 48}

// Instance is a machine and, if it is in a group, its membership.
type Instance struct {
	InstanceId, ReservationId, ClientToken string
	Zone, InstanceType, ImageId            string
	Address                                string
	Spot                                   bool
	Data                                   TemplateData
	Tags                                   []Tag
	LaunchTime                             time.Time
	// State changes by itself at StateDue, if that is set.
	State    string
	StateDue time.Time
	Reason   StateReason
	// BootDue is when its node appears; it is not set when that is over.
	BootDue time.Time
	// NoticeDue is when the interruption of a spot instance is announced, and
	// InterruptDue when it happens.
	NoticeDue, InterruptDue time.Time
	Member                  *Member
}

// StateReason says why an instance is in its state.
type StateReason struct{ Code, Message string }

// Machine is an instance as the outside sees it.
type Machine struct {
	InstanceId, Zone, Region, InstanceType, ImageId string
	Address, PrivateDnsName                         string
	Spot                                            bool
	// Group, Cluster and Nodegroup are what it belongs to; empty for none.
	Group, Cluster, Nodegroup string
	Labels                    map[string]string
	Taints                    []Taint
}

// EffectKind says what has to be done outside.
type EffectKind string

// The kinds of effects. Boot makes the node, Kill ends it and its pods at once, and
// Drain makes it leave by evictions; the answer to it is State.Drained. Undrain ends a
// Drain for which nobody waits any more.
const (
	Boot    EffectKind = "Boot"
	Kill    EffectKind = "Kill"
	Drain   EffectKind = "Drain"
	Undrain EffectKind = "Undrain"
)

// Effect is something that has to be done outside of the world.
type Effect struct {
	Kind    EffectKind
	Machine Machine
}

// Notice is what an instance is told in life by its metadata service and by EventBridge.
type Notice struct {
	InstanceId string
	// Kind is RebalanceRecommendation or Interruption.
	Kind string
	At   time.Time
	// Action is when an Interruption happens.
	Action time.Time
}

// The kinds of notices.
const (
	RebalanceRecommendation = "RebalanceRecommendation"
	Interruption            = "Interruption"
)

// warning is from the notice of an interruption to the interruption.
const warning = 2 * time.Minute

func (i *Instance) due() time.Time {
	t := earliest(i.StateDue, i.BootDue, i.NoticeDue, i.InterruptDue)
	if i.Member != nil {
		t = earliest(t, i.Member.due())
	}
	return t
}

func (i *Instance) alive() bool { return i.State == Pending || i.State == Running }

func (s *State) stepInstance(i *Instance) {
	if s.isDue(i.StateDue) {
		s.stepState(i)
	}
	if s.isDue(i.BootDue) {
		i.BootDue = time.Time{}
		s.effect(Boot, i)
	}
	if s.isDue(i.NoticeDue) {
		i.NoticeDue = time.Time{}
		s.Notices = append(s.Notices, Notice{i.InstanceId, Interruption, s.Now, i.InterruptDue})
	}
	if s.isDue(i.InterruptDue) {
		i.InterruptDue = time.Time{}
		s.terminate(i, StateReason{"Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination"})
	}
	if m := i.Member; m != nil && s.isDue(m.due()) {
		s.stepMember(i, m)
	}
}

func (s *State) stepState(i *Instance) {
	i.StateDue = time.Time{}
	switch i.State {
	case Pending:
		i.State = Running
	case ShuttingDown:
		i.State, i.StateDue = Terminated, s.Now.Add(s.Config.Times.Forget)
		s.releaseVolumes(i)
		if i.Member != nil && i.Member.ending() {
			s.leave(i)
		}
	case Terminated:
		delete(s.Instances, i.InstanceId)
	}
}

func (s *State) effect(kind EffectKind, i *Instance) {
	s.Effects = append(s.Effects, Effect{kind, s.machine(i)})
}

func (s *State) machine(i *Instance) Machine {
	m := Machine{
		InstanceId: i.InstanceId, Zone: i.Zone, Region: s.Config.Region, InstanceType: i.InstanceType, ImageId: i.ImageId,
		Address: i.Address, PrivateDnsName: s.dnsName(i), Spot: i.Spot,
	}
	if i.Member != nil {
		m.Group = i.Member.Group
	}
	for _, n := range s.Nodegroups {
		if m.Group != "" && n.Group == m.Group {
			m.Cluster, m.Nodegroup, m.Labels, m.Taints = n.ClusterName, n.NodegroupName, n.Labels, n.Taints
		}
	}
	return m
}

// dnsName is as EC2 makes it: short in the first region only.
func (s *State) dnsName(i *Instance) string {
	domain := s.Config.Region + ".compute.internal"
	if s.Config.Region == "us-east-1" {
		domain = "ec2.internal"
	}
	return "ip-" + strings.ReplaceAll(i.Address, ".", "-") + "." + domain
}

// launch makes an instance, or says why there is none: InsufficientInstanceCapacity
// where the pool has no room.
func (s *State) launch(pool Pool, data TemplateData, tags []Tag) (*Instance, error) {
	image, ok := s.Images[data.ImageId]
	if !ok {
		return nil, refuse("InvalidAMIID.NotFound", "there is no image %q", data.ImageId)
	}
	if pool.InstanceType == "" {
		return nil, refuse("MissingParameter", "an instance needs an InstanceType")
	}
	if room, limited := s.Room[pool]; limited {
		if room <= 0 {
			return nil, refuse("InsufficientInstanceCapacity", "there is no capacity for %s in %s", pool.InstanceType, pool.Zone)
		}
		s.Room[pool] = room - 1
	}
	i := &Instance{
		InstanceId: s.identify("i-"), ReservationId: s.identify("r-"), Zone: pool.Zone, InstanceType: pool.InstanceType, ImageId: image.ImageId,
		Spot: pool.Spot, Data: data, Tags: tags, LaunchTime: s.Now, State: Pending,
		StateDue: s.Now.Add(s.Config.Times.Pending), BootDue: s.Now.Add(s.Config.Times.Boot),
	}
	i.Address = fmt.Sprintf("10.%d.%d.%d", 128+s.Count>>16&127, s.Count>>8&255, s.Count&255)
	s.Instances[i.InstanceId] = i
	s.makeVolumes(i)
	return i, nil
}

// terminate ends an instance; its node is gone at once.
func (s *State) terminate(i *Instance, why StateReason) {
	if !i.alive() {
		return
	}
	s.effect(Kill, i)
	i.State, i.StateDue, i.Reason = ShuttingDown, s.Now.Add(s.Config.Times.Shutdown), why
	i.BootDue, i.NoticeDue, i.InterruptDue = time.Time{}, time.Time{}, time.Time{}
	s.deregisterEverywhere(i)
	if i.Member != nil {
		s.memberDied(i)
	}
}

// resolve is what a template's data means now: an image may be named by a parameter.
func (s *State) resolve(data TemplateData) (TemplateData, error) {
	name, ok := strings.CutPrefix(data.ImageId, "resolve:ssm:")
	if !ok {
		return data, nil
	}
	p, err := s.parameter(name)
	if err != nil {
		return data, refuse("InvalidParameterValue", "resolve %s: %v", data.ImageId, err)
	}
	data.ImageId = p.Value
	return data, nil
}

// Interrupt announces the end of a spot instance: a recommendation to replace it now,
// the notice after lead, and the end two minutes later.
func (s *State) Interrupt(id string, lead time.Duration) error {
	i, err := s.instance(id)
	if err != nil {
		return err
	}
	if !i.Spot || !i.alive() {
		return refuse("IncorrectInstanceState", "instance %s is no running spot instance", id)
	}
	s.Notices = append(s.Notices, Notice{InstanceId: id, Kind: RebalanceRecommendation, At: s.Now})
	i.NoticeDue = s.Now.Add(lead)
	i.InterruptDue = i.NoticeDue.Add(warning)
	return nil
}

// Crash ends an instance as if its hardware failed.
func (s *State) Crash(id string) error {
	i, err := s.instance(id)
	if err != nil {
		return err
	}
	s.terminate(i, StateReason{"Server.InternalError", "Server.InternalError: the hardware failed"})
	return nil
}

func (s *State) instance(id string) (*Instance, error) {
	if i, ok := s.Instances[id]; ok {
		return i, nil
	}
	return nil, refuse("InvalidInstanceID.NotFound", "there is no instance %q", id)
}

// instances finds all of them or none.
func (s *State) instances(ids []string) ([]*Instance, error) {
	var all []*Instance
	for _, id := range ids {
		i, err := s.instance(id)
		if err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	return all, nil
}

// Image is a machine image.
type Image struct {
	ImageId, Name, Description, Architecture string
	// OwnerAlias is amazon or empty.
	OwnerId, OwnerAlias string
	CreationDate        time.Time
	Deprecated          bool
	Tags                []Tag
}

// AddImage makes an image, which in life is built or published.
func (s *State) AddImage(i Image) error {
	if i.ImageId == "" || i.Name == "" {
		return refuse("MissingParameter", "an image needs an ID and a name")
	}
	if i.Architecture == "" {
		i.Architecture = "x86_64"
	}
	if i.OwnerId == "" {
		i.OwnerId = s.Config.Account
	}
	if i.CreationDate.IsZero() {
		i.CreationDate = s.Now
	}
	s.Images[i.ImageId] = &i
	return nil
}

// Volume is a disk, and where it is attached.
type Volume struct {
	VolumeId, Zone, Type, Device, InstanceId string
	Size                                     int
	CreateTime, AttachTime                   time.Time
	DeleteOnTermination                      bool
	Tags                                     []Tag
}

func (s *State) makeVolumes(i *Instance) {
	devices := i.Data.BlockDeviceMappings
	if !slices.ContainsFunc(devices, func(d BlockDevice) bool { return d.DeviceName == rootDevice }) {
		devices = append([]BlockDevice{{DeviceName: rootDevice, Ebs: &EbsDevice{}}}, devices...)
	}
	for _, d := range devices {
		v := &Volume{
			VolumeId: s.identify("vol-"), Zone: i.Zone, Type: "gp3", Device: d.DeviceName, InstanceId: i.InstanceId, Size: 20,
			CreateTime: s.Now, AttachTime: s.Now, DeleteOnTermination: true,
		}
		if d.Ebs != nil {
			v.Type = either(d.Ebs.VolumeType, v.Type)
			v.Size = value(d.Ebs.VolumeSize, v.Size)
			v.DeleteOnTermination = value(d.Ebs.DeleteOnTermination, true)
		}
		s.Volumes[v.VolumeId] = v
	}
}

const rootDevice = "/dev/xvda"

// Attach makes a volume and attaches it, as a CSI driver does for a pod. It outlives the
// instance.
func (s *State) Attach(instance, device string) (volume string, err error) {
	i, err := s.instance(instance)
	if err != nil {
		return "", err
	}
	if !i.alive() {
		return "", refuse("IncorrectState", "instance %s is %s", instance, i.State)
	}
	v := &Volume{VolumeId: s.identify("vol-"), Zone: i.Zone, Type: "gp3", Device: device, InstanceId: instance, Size: 10, CreateTime: s.Now, AttachTime: s.Now}
	s.Volumes[v.VolumeId] = v
	return v.VolumeId, nil
}

// Detach takes a volume from its instance.
func (s *State) Detach(volume string) error {
	v, ok := s.Volumes[volume]
	if !ok {
		return refuse("InvalidVolume.NotFound", "there is no volume %q", volume)
	}
	v.InstanceId, v.Device = "", ""
	return nil
}

func (s *State) releaseVolumes(i *Instance) {
	for _, id := range sorted(s.Volumes) {
		switch v := s.Volumes[id]; {
		case v.InstanceId != i.InstanceId:
		case v.DeleteOnTermination:
			delete(s.Volumes, id)
		default:
			v.InstanceId, v.Device = "", ""
		}
	}
}

// value is what a pointer points to, or otherwise the default.
func value[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
