package world

import (
	"fmt"
	"slices"
	"strings"
)

type TerminateInstanceInAutoScalingGroupInput struct {
	AutoScalingGroupName           string
	InstanceId                     string
	InstanceIds                    []string
	ShouldDecrementDesiredCapacity *bool
}

type TerminateInstanceInAutoScalingGroupOutput struct {
	Activity   *Activity
	Activities []Activity
}

func (s *State) TerminateInstanceInAutoScalingGroup(in *TerminateInstanceInAutoScalingGroupInput) (*TerminateInstanceInAutoScalingGroupOutput, error) {
	ids := in.InstanceIds
	if in.InstanceId != "" {
		ids = append([]string{in.InstanceId}, ids...)
	}
	if len(ids) == 0 || len(ids) > 100 || in.ShouldDecrementDesiredCapacity == nil {
		return nil, invalid("give 1 to 100 instances and ShouldDecrementDesiredCapacity")
	}
	g, all, err := s.membersByID(in.AutoScalingGroupName, ids)
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		if i.Member.ending() {
			return nil, refuse("ScalingActivityInProgress", "instance %s is %s already", i.InstanceId, i.Member.Lifecycle)
		}
	}
	why := "instance " + strings.Join(ids, ", ") + " was taken out of service in response to a user request"
	if *in.ShouldDecrementDesiredCapacity {
		if g.Desired-len(all) < g.Min {
			return nil, invalid("Currently, desiredSize equals minSize (%d). Terminating instance without replacement will violate group's min size constraint. "+
				"Either set shouldDecrementDesiredCapacity flag to false or lower group's min size.", g.Min)
		}
		why = fmt.Sprintf("%s, shrinking the capacity from %d to %d", why, g.Desired, g.Desired-len(all))
		g.Desired -= len(all)
	}
	out := &TerminateInstanceInAutoScalingGroupOutput{}
	for _, i := range all {
		out.Activities = append(out.Activities, *s.beginEnd(g, i, why))
	}
	if in.InstanceId != "" {
		out.Activity, out.Activities = &out.Activities[0], nil
	}
	return out, nil
}

// membersByID finds instances that all are in one group; the group need not be named.
func (s *State) membersByID(group string, ids []string) (*Group, []*Instance, error) {
	var all []*Instance
	for _, id := range ids {
		i, ok := s.Instances[id]
		if !ok || i.Member == nil {
			return nil, nil, invalid("Instance Id not found - No managed instance found for instance ID: %s", id)
		}
		if group == "" {
			group = i.Member.Group
		}
		if i.Member.Group != group {
			return nil, nil, invalid("The instance %s is not part of Auto Scaling group %s.", id, group)
		}
		if slices.Contains(all, i) {
			return nil, nil, invalid("instance %s is named twice", id)
		}
		all = append(all, i)
	}
	g, err := s.group(group)
	return g, all, err
}

type SetInstanceProtectionInput struct {
	AutoScalingGroupName string
	InstanceIds          []string
	ProtectedFromScaleIn *bool
}

func (s *State) SetInstanceProtection(in *SetInstanceProtectionInput) (*Empty, error) {
	if in.ProtectedFromScaleIn == nil || len(in.InstanceIds) == 0 || len(in.InstanceIds) > 50 {
		return nil, invalid("give 1 to 50 instances and ProtectedFromScaleIn")
	}
	g, all, err := s.membersByID(in.AutoScalingGroupName, in.InstanceIds)
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		if i.Member.Lifecycle != InService && i.Member.Lifecycle != Standby && !i.Member.counts() {
			return nil, invalid("The instance %s is not in InService or EnteringStandby or Standby.", i.InstanceId)
		}
	}
	for _, i := range all {
		i.Member.Protected = *in.ProtectedFromScaleIn
	}
	s.touch(g)
	return &Empty{}, nil
}

type SetInstanceHealthInput struct {
	InstanceId, HealthStatus string
	ShouldRespectGracePeriod *bool
}

func (s *State) SetInstanceHealth(in *SetInstanceHealthInput) (*Empty, error) {
	g, all, err := s.membersByID("", []string{in.InstanceId})
	if err != nil {
		return nil, err
	}
	if in.HealthStatus != healthy && in.HealthStatus != unhealthy {
		return nil, invalid("HealthStatus is %q: want Healthy or Unhealthy", in.HealthStatus)
	}
	m := all[0].Member
	grace := m.InService.Add(seconds(g.HealthCheckGracePeriod))
	if value(in.ShouldRespectGracePeriod, true) && in.HealthStatus == unhealthy && (m.Lifecycle != InService || s.Now.Before(grace)) {
		return &Empty{}, nil // As documented: it is not heard.
	}
	m.Health = in.HealthStatus
	s.touch(g)
	return &Empty{}, nil
}

type ScalingProcessInput struct {
	AutoScalingGroupName string
	ScalingProcesses     []string
}

func (s *State) SuspendProcesses(in *ScalingProcessInput) (*Empty, error) {
	return s.setSuspended(in, func(now, named []string) []string {
		all := append(slices.Clone(now), named...)
		slices.Sort(all)
		return slices.Compact(all)
	})
}

func (s *State) ResumeProcesses(in *ScalingProcessInput) (*Empty, error) {
	return s.setSuspended(in, func(now, named []string) []string {
		return slices.DeleteFunc(slices.Clone(now), func(p string) bool { return slices.Contains(named, p) })
	})
}

func (s *State) setSuspended(in *ScalingProcessInput, change func(now, named []string) []string) (*Empty, error) {
	g, err := s.group(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	named := in.ScalingProcesses
	for _, p := range named {
		if !slices.Contains(processes, p) {
			return nil, invalid("Process %q is not a valid process type", p)
		}
	}
	if len(named) == 0 {
		named = processes
	}
	g.Suspended = change(g.Suspended, named)
	s.touch(g)
	return &Empty{}, nil
}

// InstancesInput is what moves instances in and out of a group.
type InstancesInput struct {
	AutoScalingGroupName           string
	InstanceIds                    []string
	ShouldDecrementDesiredCapacity *bool
}

// ActivitiesOutput is what the group does about it.
type ActivitiesOutput struct{ Activities []Activity }

// atOnce is how many instances can be detached or put on standby by one call.
const atOnce = 20

// removable finds members that can leave a group's service.
func (s *State) removable(in *InstancesInput, from ...string) (*Group, []*Instance, error) {
	if len(in.InstanceIds) == 0 || len(in.InstanceIds) > atOnce || in.ShouldDecrementDesiredCapacity == nil {
		return nil, nil, invalid("give 1 to %d instances and ShouldDecrementDesiredCapacity", atOnce)
	}
	g, all, err := s.membersByID(in.AutoScalingGroupName, in.InstanceIds)
	if err != nil {
		return nil, nil, err
	}
	for _, i := range all {
		if !slices.Contains(from, i.Member.Lifecycle) {
			return nil, nil, invalid("The instance %s is not in %s.", i.InstanceId, strings.Join(from, " or "))
		}
	}
	leaving := len(all) - len(slices.DeleteFunc(slices.Clone(all), func(i *Instance) bool { return i.Member.counts() }))
	if *in.ShouldDecrementDesiredCapacity {
		if g.Desired-leaving < g.Min {
			return nil, nil, invalid("AutoScalingGroup %s has min-size=%d, max-size=%d, and desired-size=%d. To remove %d instances the min size has to be lower.", g.Name, g.Min, g.Max, g.Desired, leaving)
		}
		g.Desired -= leaving
	}
	return g, all, nil
}

func (s *State) DetachInstances(in *InstancesInput) (*ActivitiesOutput, error) {
	return s.remove(in, "Detaching", Detaching, InService, Standby)
}

func (s *State) EnterStandby(in *InstancesInput) (*ActivitiesOutput, error) {
	return s.remove(in, "Moving to Standby", EnteringStandby, InService)
}

func (s *State) remove(in *InstancesInput, verb, to string, from ...string) (*ActivitiesOutput, error) {
	g, all, err := s.removable(in, from...)
	if err != nil {
		return nil, err
	}
	out := &ActivitiesOutput{}
	for _, i := range all {
		a := s.activity(g, verb+" EC2 instance: "+i.InstanceId, "instance "+i.InstanceId+" was moved out of service in response to a user request")
		i.Member.Lifecycle, i.Member.ActivityId, i.Member.StepDue = to, a.ActivityId, s.Now.Add(s.Config.Times.Step)
		if drained := s.deregisterEverywhere(i); !drained.IsZero() {
			i.Member.StepDue = latest(i.Member.StepDue, drained)
		}
		out.Activities = append(out.Activities, *a)
	}
	s.touch(g)
	return out, nil
}

type ExitStandbyInput struct {
	AutoScalingGroupName string
	InstanceIds          []string
}

func (s *State) ExitStandby(in *ExitStandbyInput) (*ActivitiesOutput, error) {
	g, all, err := s.membersByID(in.AutoScalingGroupName, in.InstanceIds)
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		if i.Member.Lifecycle != Standby {
			return nil, invalid("The instance %s is not in Standby.", i.InstanceId)
		}
	}
	if g.Desired+len(all) > g.Max {
		return nil, invalid("AutoScalingGroup %s has max-size=%d and desired-size=%d. %d instances cannot come back.", g.Name, g.Max, g.Desired, len(all))
	}
	g.Desired += len(all)
	out := &ActivitiesOutput{}
	for _, i := range all {
		out.Activities = append(out.Activities, *s.comeIn(g, i, "Moving EC2 instance out of Standby: "))
	}
	return out, nil
}

// comeIn makes a running instance a member in service.
func (s *State) comeIn(g *Group, i *Instance, description string) *Activity {
	a := s.activity(g, description+i.InstanceId, "instance "+i.InstanceId+" was moved into service in response to a user request")
	i.Member.Lifecycle, i.Member.ActivityId, i.Member.StepDue = memberPending, a.ActivityId, s.Now.Add(s.Config.Times.Step)
	s.touch(g)
	return a
}

type AttachInstancesInput struct {
	AutoScalingGroupName string
	InstanceIds          []string
}

func (s *State) AttachInstances(in *AttachInstancesInput) (*Empty, error) {
	g, err := s.group(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	if len(in.InstanceIds) == 0 || len(in.InstanceIds) > atOnce || g.Desired+len(in.InstanceIds) > g.Max {
		return nil, invalid("AutoScalingGroup %s has max-size=%d and desired-size=%d. It cannot take %d instances; at most %d at once.", g.Name, g.Max, g.Desired, len(in.InstanceIds), atOnce)
	}
	all, err := s.instances(in.InstanceIds)
	if err != nil {
		return nil, invalid("Invalid Instance ID(s): %v", err)
	}
	for _, i := range all {
		if i.State != Running || i.Member != nil || !slices.Contains(g.Zones, i.Zone) {
			return nil, invalid("Instance %s is not running, in a group already, or not in the group's zones", i.InstanceId)
		}
	}
	g.Desired += len(all)
	for _, i := range all {
		i.Member = &Member{Group: g.Name, Health: healthy, Protected: g.ProtectNew}
		i.Tags = setTags(i.Tags, []Tag{{groupTag, g.Name}})
		s.comeIn(g, i, "Attaching an existing EC2 instance: ")
	}
	return &Empty{}, nil
}

type LaunchInstancesInput struct {
	AutoScalingGroupName         string
	ClientToken                  string
	RequestedCapacity            *int
	AvailabilityZones, SubnetIds []string
	RetryStrategy                string
}

type LaunchInstancesOutput struct {
	AutoScalingGroupName, ClientToken string
	Instances                         []InstanceCollection
	Errors                            []LaunchError
}

// InstanceCollection is what was launched alike.
type InstanceCollection struct {
	AvailabilityZone, AvailabilityZoneId, InstanceType, MarketType, SubnetId string
	InstanceIds                                                              []string
}

// LaunchError says why fewer were launched.
type LaunchError struct {
	AvailabilityZone, AvailabilityZoneId, InstanceType, MarketType, SubnetId, ErrorCode, ErrorMessage string
}

// LaunchInstances launches in a zone and says at once whether there is capacity. What it
// launches raises the desired capacity, so that the group does not take it away again.
func (s *State) LaunchInstances(in *LaunchInstancesInput) (*LaunchInstancesOutput, error) {
	g, err := s.group(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	n := value(in.RequestedCapacity, 0)
	if n < 1 || n > 100 || in.ClientToken == "" {
		return nil, invalid("give a ClientToken and a RequestedCapacity of 1 to 100")
	}
	zone, err := s.launchZone(g, in)
	if err != nil {
		return nil, err
	}
	if g.Desired+n > g.Max {
		return nil, invalid("AutoScalingGroup %s has max-size=%d and desired-size=%d. It cannot take %d instances.", g.Name, g.Max, g.Desired, n)
	}
	if g.Mixed != nil && g.Mixed.InstancesDistribution != nil && value(g.Mixed.InstancesDistribution.OnDemandPercentageAboveBaseCapacity, 100) != 100 {
		return nil, invalid("LaunchInstances does not work with a policy that mixes On-Demand and Spot")
	}
	out := &LaunchInstancesOutput{AutoScalingGroupName: g.Name, ClientToken: in.ClientToken}
	for range n {
		i, err := s.launchInto(g, zone, "a user requested to launch instances")
		if err != nil {
			out.Errors = append(out.Errors, LaunchError{AvailabilityZone: zone, AvailabilityZoneId: s.zoneID(zone), SubnetId: subnet(zone), MarketType: "on-demand", ErrorCode: code(err), ErrorMessage: err.Error()})
			break
		}
		out.Instances = collect(out.Instances, InstanceCollection{zone, s.zoneID(zone), i.InstanceType, "on-demand", subnet(zone), []string{i.InstanceId}})
		g.Desired++
	}
	if len(out.Errors) > 0 && in.RetryStrategy == "retry-with-group-configuration" {
		g.Desired += n - launched(out.Instances)
	}
	s.touch(g)
	return out, nil
}

func (s *State) launchZone(g *Group, in *LaunchInstancesInput) (string, error) {
	if !slices.Contains([]string{"", "none", "retry-with-group-configuration"}, in.RetryStrategy) {
		return "", invalid("the RetryStrategy %q is not known here", in.RetryStrategy)
	}
	zones := slices.Clone(in.AvailabilityZones)
	for _, id := range in.SubnetIds {
		z, err := s.zoneOf(id)
		if err != nil {
			return "", invalid("%v", err)
		}
		zones = append(zones, z)
	}
	if len(zones) == 0 && len(g.Zones) == 1 {
		zones = g.Zones
	}
	if len(zones) != 1 || !slices.Contains(g.Zones, zones[0]) {
		return "", invalid("give one of the group's zones or subnets, not %q", zones)
	}
	return zones[0], nil
}

func collect(all []InstanceCollection, one InstanceCollection) []InstanceCollection {
	for n := range all {
		if all[n].InstanceType == one.InstanceType {
			all[n].InstanceIds = append(all[n].InstanceIds, one.InstanceIds...)
			return all
		}
	}
	return append(all, one)
}

func launched(all []InstanceCollection) int {
	n := 0
	for _, c := range all {
		n += len(c.InstanceIds)
	}
	return n
}
