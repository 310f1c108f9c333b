package world

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// CreateAutoScalingGroupInput is what is known here of the action's input.
type CreateAutoScalingGroupInput struct {
	AutoScalingGroupName             string
	MinSize, MaxSize                 *int
	DesiredCapacity                  *int
	DefaultCooldown                  *int
	DefaultInstanceWarmup            *int
	AvailabilityZones                []string
	AvailabilityZoneDistribution     *ZoneDistribution
	VPCZoneIdentifier                string
	LaunchTemplate                   *LaunchTemplateSpecification
	MixedInstancesPolicy             *MixedInstancesPolicy
	HealthCheckType                  string
	HealthCheckGracePeriod           *int
	TerminationPolicies              []string
	NewInstancesProtectedFromScaleIn *bool
	TargetGroupARNs                  []string
	LifecycleHookSpecificationList   []HookSpecification
	Tags                             []GroupTag
}

// ZoneDistribution is balanced-best-effort or balanced-only.
type ZoneDistribution struct{ CapacityDistributionStrategy string }

// HookSpecification is a hook that is made with its group.
type HookSpecification struct {
	LifecycleHookName, LifecycleTransition, DefaultResult string
	HeartbeatTimeout                                      *int
	NotificationMetadata, NotificationTargetARN, RoleARN  string
}

func (s *State) CreateAutoScalingGroup(in *CreateAutoScalingGroupInput) (*Empty, error) {
	if in.AutoScalingGroupName == "" || in.MinSize == nil || in.MaxSize == nil {
		return nil, invalid("a group needs AutoScalingGroupName, MinSize and MaxSize")
	}
	if _, ok := s.Groups[in.AutoScalingGroupName]; ok {
		return nil, refuse("AlreadyExists", "AutoScalingGroup by this name already exists - A group with the name %s already exists", in.AutoScalingGroupName)
	}
	g := &Group{
		Name: in.AutoScalingGroupName, CreatedTime: s.Now, HealthCheckType: "EC2", DefaultCooldown: 300, TerminationPolicies: []string{"Default"},
		DistributionStrategy: "balanced-best-effort", Desired: value(in.DesiredCapacity, *in.MinSize), TargetGroupARNs: in.TargetGroupARNs,
	}
	g.ARN = s.arn("autoscaling", "autoScalingGroup:"+s.identify("")+":autoScalingGroupName/"+g.Name)
	err := s.change(g, &UpdateAutoScalingGroupInput{
		MinSize: in.MinSize, MaxSize: in.MaxSize, DesiredCapacity: in.DesiredCapacity, DefaultCooldown: in.DefaultCooldown, DefaultInstanceWarmup: in.DefaultInstanceWarmup,
		AvailabilityZones: in.AvailabilityZones, AvailabilityZoneDistribution: in.AvailabilityZoneDistribution, VPCZoneIdentifier: in.VPCZoneIdentifier,
		LaunchTemplate: in.LaunchTemplate, MixedInstancesPolicy: in.MixedInstancesPolicy, HealthCheckType: in.HealthCheckType,
		HealthCheckGracePeriod: in.HealthCheckGracePeriod, TerminationPolicies: in.TerminationPolicies,
		NewInstancesProtectedFromScaleIn: in.NewInstancesProtectedFromScaleIn,
	})
	if err != nil {
		return nil, err
	}
	if g.Template == nil && g.Mixed == nil {
		return nil, invalid("a group needs LaunchTemplate or MixedInstancesPolicy")
	}
	if len(g.Zones) == 0 {
		return nil, invalid("At least one Availability Zone or VPC Subnet is required.")
	}
	for _, arn := range in.TargetGroupARNs {
		if _, ok := s.TargetGroups[arn]; !ok {
			return nil, invalid("Provided Target Groups may not be valid: there is no %s", arn)
		}
	}
	for _, h := range in.LifecycleHookSpecificationList {
		if err := putHook(g, h); err != nil {
			return nil, err
		}
	}
	setGroupTags(g, in.Tags)
	s.Groups[g.Name] = g
	s.touch(g)
	return &Empty{}, nil
}

type UpdateAutoScalingGroupInput struct {
	AutoScalingGroupName             string
	MinSize, MaxSize                 *int
	DesiredCapacity                  *int
	DefaultCooldown                  *int
	DefaultInstanceWarmup            *int
	AvailabilityZones                []string
	AvailabilityZoneDistribution     *ZoneDistribution
	VPCZoneIdentifier                string
	LaunchTemplate                   *LaunchTemplateSpecification
	MixedInstancesPolicy             *MixedInstancesPolicy
	HealthCheckType                  string
	HealthCheckGracePeriod           *int
	TerminationPolicies              []string
	NewInstancesProtectedFromScaleIn *bool
}

func (s *State) UpdateAutoScalingGroup(in *UpdateAutoScalingGroupInput) (*Empty, error) {
	g, err := s.group(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	changed := *g
	if err := s.change(&changed, in); err != nil {
		return nil, err
	}
	*g = changed
	s.touch(g)
	return &Empty{}, nil
}

// change changes what is set, and leaves a broken group behind where it refuses.
func (s *State) change(g *Group, in *UpdateAutoScalingGroupInput) error {
	if err := resize(g, in); err != nil {
		return err
	}
	if err := s.changeTemplate(g, in); err != nil {
		return err
	}
	if err := s.changeZones(g, in); err != nil {
		return err
	}
	for _, p := range in.TerminationPolicies {
		if !slices.Contains([]string{"Default", "OldestInstance", "NewestInstance", "OldestLaunchTemplate"}, p) {
			return invalid("the termination policy %q is not known here", p)
		}
	}
	if len(in.TerminationPolicies) > 0 {
		g.TerminationPolicies = in.TerminationPolicies
	}
	if in.HealthCheckType != "" && in.HealthCheckType != "EC2" && in.HealthCheckType != "ELB" {
		return invalid("the health check type %q is not known here", in.HealthCheckType)
	}
	g.HealthCheckType = either(in.HealthCheckType, g.HealthCheckType)
	g.HealthCheckGracePeriod = value(in.HealthCheckGracePeriod, g.HealthCheckGracePeriod)
	g.DefaultCooldown = value(in.DefaultCooldown, g.DefaultCooldown)
	g.ProtectNew = value(in.NewInstancesProtectedFromScaleIn, g.ProtectNew)
	if in.DefaultInstanceWarmup != nil {
		g.DefaultInstanceWarmup = in.DefaultInstanceWarmup
	}
	return nil
}

// resize keeps the desired capacity within the sizes: where it is not said, it moves
// with them.
func resize(g *Group, in *UpdateAutoScalingGroupInput) error {
	low, high := value(in.MinSize, g.Min), value(in.MaxSize, g.Max)
	if low < 0 || low > high {
		return invalid("Max bound, %d, must be greater than or equal to min bound, %d", high, low)
	}
	desired := min(max(g.Desired, low), high)
	if in.DesiredCapacity != nil {
		desired = *in.DesiredCapacity
		if desired < low || desired > high {
			return invalid("Desired capacity:%d must be between the specified min size:%d and max size:%d", desired, low, high)
		}
	}
	g.Min, g.Max, g.Desired = low, high, desired
	return nil
}

func (s *State) changeTemplate(g *Group, in *UpdateAutoScalingGroupInput) error {
	if in.LaunchTemplate != nil && in.MixedInstancesPolicy != nil {
		return invalid("give LaunchTemplate or MixedInstancesPolicy, not both")
	}
	if in.LaunchTemplate != nil {
		if err := s.identifyTemplate(in.LaunchTemplate); err != nil {
			return err
		}
		g.Template, g.Mixed = in.LaunchTemplate, nil
	}
	if in.MixedInstancesPolicy == nil {
		return nil
	}
	policy := in.MixedInstancesPolicy
	if policy.LaunchTemplate == nil || policy.LaunchTemplate.LaunchTemplateSpecification == nil {
		return invalid("a mixed instances policy needs a launch template")
	}
	if err := s.identifyTemplate(policy.LaunchTemplate.LaunchTemplateSpecification); err != nil {
		return err
	}
	for _, o := range policy.LaunchTemplate.Overrides {
		if o.LaunchTemplateSpecification != nil {
			if err := s.identifyTemplate(o.LaunchTemplateSpecification); err != nil {
				return err
			}
		}
	}
	if d := policy.InstancesDistribution; d != nil {
		if p := value(d.OnDemandPercentageAboveBaseCapacity, 100); p < 0 || p > 100 {
			return invalid("OnDemandPercentageAboveBaseCapacity is %d: want 0 to 100", p)
		}
	}
	g.Template, g.Mixed = nil, policy
	return nil
}

// identifyTemplate gives a specification both the ID and the name, of which a caller says
// one; the version stays as it was said.
func (s *State) identifyTemplate(spec *LaunchTemplateSpecification) error {
	if (spec.LaunchTemplateId == "") == (spec.LaunchTemplateName == "") {
		return invalid("Valid requests must contain either launchTemplateId or LaunchTemplateName")
	}
	if _, err := s.specified(*spec); err != nil {
		return invalid("You must use a valid fully-formed launch template. %v", err)
	}
	t, err := s.template(spec.LaunchTemplateId, spec.LaunchTemplateName)
	if err != nil {
		return err
	}
	spec.LaunchTemplateId, spec.LaunchTemplateName = t.LaunchTemplateId, t.LaunchTemplateName
	return nil
}

func (s *State) changeZones(g *Group, in *UpdateAutoScalingGroupInput) error {
	zones := slices.Clone(in.AvailabilityZones)
	for _, z := range zones {
		if !slices.Contains(s.zones(), z) {
			return invalid("Invalid Availability Zone: [%s]", z)
		}
	}
	if in.VPCZoneIdentifier != "" {
		zones = nil
		for id := range strings.SplitSeq(in.VPCZoneIdentifier, ",") {
			z, err := s.zoneOf(id)
			if err != nil {
				return invalid("The subnet ID '%s' does not exist", id)
			}
			if len(in.AvailabilityZones) > 0 && !slices.Contains(in.AvailabilityZones, z) {
				return invalid("The availability zones of the specified subnets and the Auto Scaling group do not match")
			}
			zones = append(zones, z)
		}
	}
	if len(zones) > 0 {
		g.Zones = zones
	}
	if d := in.AvailabilityZoneDistribution; d != nil {
		if d.CapacityDistributionStrategy != "balanced-best-effort" && d.CapacityDistributionStrategy != balancedOnly {
			return invalid("the distribution %q is not known here", d.CapacityDistributionStrategy)
		}
		g.DistributionStrategy = d.CapacityDistributionStrategy
	}
	return nil
}

type DeleteAutoScalingGroupInput struct {
	AutoScalingGroupName string
	ForceDelete          bool
}

func (s *State) DeleteAutoScalingGroup(in *DeleteAutoScalingGroupInput) (*Empty, error) {
	g, err := s.group(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	if !in.ForceDelete && len(s.members(g)) > 0 {
		return nil, refuse("ResourceInUse", "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) still in the group.")
	}
	for _, n := range s.Nodegroups {
		if n.Group == g.Name {
			n.Due = s.Now // Whose group it is, sees it.
		}
	}
	if len(s.members(g)) == 0 {
		delete(s.Groups, g.Name)
		return &Empty{}, nil
	}
	g.Deleting, g.Min, g.Max, g.Desired = true, 0, 0, 0
	s.touch(g)
	return &Empty{}, nil
}

type SetDesiredCapacityInput struct {
	AutoScalingGroupName string
	DesiredCapacity      *int
	HonorCooldown        bool
}

func (s *State) SetDesiredCapacity(in *SetDesiredCapacityInput) (*Empty, error) {
	g, err := s.group(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	if in.DesiredCapacity == nil {
		return nil, invalid("DesiredCapacity is missing")
	}
	if in.HonorCooldown {
		return nil, invalid("HonorCooldown is not known here: there are no cooldowns")
	}
	if n := *in.DesiredCapacity; n > g.Max {
		return nil, invalid("New SetDesiredCapacity value %d is above max value %d for the AutoScalingGroup.", n, g.Max)
	} else if n < g.Min {
		return nil, invalid("New SetDesiredCapacity value %d is below min value %d for the AutoScalingGroup.", n, g.Min)
	}
	g.Desired = *in.DesiredCapacity
	s.touch(g)
	return &Empty{}, nil
}

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

type DescribeAutoScalingGroupsInput struct {
	AutoScalingGroupNames []string
	Filters               []Filter
	IncludeInstances      *bool
	MaxRecords            *int
	NextToken             string
}

type DescribeAutoScalingGroupsOutput struct {
	AutoScalingGroups []GroupDescription
	NextToken         string
}

// GroupDescription is a group as Auto Scaling describes it.
type GroupDescription struct {
	AutoScalingGroupName, AutoScalingGroupARN string
	MinSize, MaxSize, DesiredCapacity         int
	DefaultCooldown                           int
	DefaultInstanceWarmup                     *int
	AvailabilityZones                         []string
	AvailabilityZoneDistribution              ZoneDistribution
	VPCZoneIdentifier                         string
	LaunchTemplate                            *LaunchTemplateSpecification
	MixedInstancesPolicy                      *MixedInstancesPolicy
	HealthCheckType                           string
	HealthCheckGracePeriod                    int
	TerminationPolicies                       []string
	NewInstancesProtectedFromScaleIn          bool
	TargetGroupARNs                           []string
	SuspendedProcesses                        []SuspendedProcess
	Instances                                 []MemberDescription
	Tags                                      []GroupTag
	CreatedTime                               time.Time
	Status                                    string
}

// SuspendedProcess is a process and who suspended it.
type SuspendedProcess struct{ ProcessName, SuspensionReason string }

// MemberDescription is a group's instance as Auto Scaling describes it.
type MemberDescription struct {
	AutoScalingGroupName                 string `wire:"-"`
	InstanceId, InstanceType, ImageId    string
	AvailabilityZone, AvailabilityZoneId string
	LifecycleState, HealthStatus         string
	ProtectedFromScaleIn                 bool
	LaunchTemplate                       *LaunchTemplateSpecification
}

func (s *State) DescribeAutoScalingGroups(in *DescribeAutoScalingGroupsInput) (*DescribeAutoScalingGroupsOutput, error) {
	if err := check(in.Filters, new(Group).value); err != nil {
		return nil, invalid("%v", err)
	}
	var found []GroupDescription
	for _, name := range sorted(s.Groups) {
		g := s.Groups[name]
		ok, err := meets(in.Filters, g.plainTags(), g.value)
		if err != nil {
			return nil, invalid("%v", err)
		}
		if ok && wanted(in.AutoScalingGroupNames, name) {
			found = append(found, s.describeGroup(g, value(in.IncludeInstances, true)))
		}
	}
	some, next, err := page(found, func(g GroupDescription) string { return g.AutoScalingGroupName }, in.NextToken, limit(in.MaxRecords, 100))
	return &DescribeAutoScalingGroupsOutput{some, next}, err
}

func (g *Group) plainTags() []Tag {
	var tags []Tag
	for _, t := range g.Tags {
		tags = append(tags, Tag{t.Key, t.Value})
	}
	return tags
}

func (g *Group) value(filter string) ([]string, bool) {
	return tagValues(g.plainTags(), func(Tag) bool { return true }, func(t Tag) string { return t.Value }), filter == "tag-value"
}

func (s *State) describeGroup(g *Group, instances bool) GroupDescription {
	d := GroupDescription{
		AutoScalingGroupName: g.Name, AutoScalingGroupARN: g.ARN, MinSize: g.Min, MaxSize: g.Max, DesiredCapacity: g.Desired,
		DefaultCooldown: g.DefaultCooldown, DefaultInstanceWarmup: g.DefaultInstanceWarmup, AvailabilityZones: g.Zones,
		AvailabilityZoneDistribution: ZoneDistribution{g.DistributionStrategy}, LaunchTemplate: g.Template, MixedInstancesPolicy: g.Mixed,
		HealthCheckType: g.HealthCheckType, HealthCheckGracePeriod: g.HealthCheckGracePeriod, TerminationPolicies: g.TerminationPolicies,
		NewInstancesProtectedFromScaleIn: g.ProtectNew, TargetGroupARNs: g.TargetGroupARNs, Tags: g.Tags, CreatedTime: g.CreatedTime,
	}
	var subnets []string
	for _, z := range g.Zones {
		subnets = append(subnets, subnet(z))
	}
	d.VPCZoneIdentifier = strings.Join(subnets, ",")
	for _, p := range g.Suspended {
		d.SuspendedProcesses = append(d.SuspendedProcesses, SuspendedProcess{p, "User suspended at " + g.CreatedTime.UTC().Format(time.RFC3339)})
	}
	if g.Deleting {
		d.Status = "Delete in progress"
	}
	if instances {
		for _, i := range s.members(g) {
			d.Instances = append(d.Instances, s.describeMember(i))
		}
	}
	return d
}

func (s *State) describeMember(i *Instance) MemberDescription {
	m := i.Member
	d := MemberDescription{
		AutoScalingGroupName: m.Group, InstanceId: i.InstanceId, InstanceType: i.InstanceType, ImageId: i.ImageId, AvailabilityZone: i.Zone,
		AvailabilityZoneId: s.zoneID(i.Zone), LifecycleState: m.Lifecycle, HealthStatus: m.Health, ProtectedFromScaleIn: m.Protected,
	}
	if m.Template.LaunchTemplateId != "" {
		d.LaunchTemplate = &m.Template
	}
	return d
}

type DescribeAutoScalingInstancesInput struct {
	InstanceIds []string
	MaxRecords  *int
	NextToken   string
}

type DescribeAutoScalingInstancesOutput struct {
	AutoScalingInstances []GroupedMember
	NextToken            string
}

// GroupedMember is an instance with its group; states are in capitals in life.
type GroupedMember struct {
	AutoScalingGroupName                 string
	InstanceId, InstanceType, ImageId    string
	AvailabilityZone, AvailabilityZoneId string
	LifecycleState, HealthStatus         string
	ProtectedFromScaleIn                 bool
	LaunchTemplate                       *LaunchTemplateSpecification
}

func (s *State) DescribeAutoScalingInstances(in *DescribeAutoScalingInstancesInput) (*DescribeAutoScalingInstancesOutput, error) {
	var found []GroupedMember
	for _, id := range sorted(s.Instances) {
		i := s.Instances[id]
		if i.Member == nil || !wanted(in.InstanceIds, id) {
			continue
		}
		d := s.describeMember(i)
		found = append(found, GroupedMember{
			d.AutoScalingGroupName, d.InstanceId, d.InstanceType, d.ImageId, d.AvailabilityZone, d.AvailabilityZoneId,
			d.LifecycleState, strings.ToUpper(d.HealthStatus), d.ProtectedFromScaleIn, d.LaunchTemplate,
		})
	}
	some, next, err := page(found, func(m GroupedMember) string { return m.InstanceId }, in.NextToken, limit(in.MaxRecords, 50))
	return &DescribeAutoScalingInstancesOutput{some, next}, err
}

type DescribeScalingActivitiesInput struct {
	ActivityIds          []string
	AutoScalingGroupName string
	IncludeDeletedGroups bool
	MaxRecords           *int
	NextToken            string
}

type DescribeScalingActivitiesOutput struct {
	Activities []Activity
	NextToken  string
}

// DescribeScalingActivities describes the newest first.
func (s *State) DescribeScalingActivities(in *DescribeScalingActivitiesInput) (*DescribeScalingActivitiesOutput, error) {
	type numbered struct {
		key string
		Activity
	}
	var found []numbered
	for n, a := range slices.Backward(s.Activities) {
		_, exists := s.Groups[a.AutoScalingGroupName]
		ofGroup := in.AutoScalingGroupName == "" || in.AutoScalingGroupName == a.AutoScalingGroupName
		if ofGroup && (exists || in.IncludeDeletedGroups) && wanted(in.ActivityIds, a.ActivityId) {
			found = append(found, numbered{fmt.Sprintf("%020d", 1<<40-n), *a})
		}
	}
	some, next, err := page(found, func(n numbered) string { return n.key }, in.NextToken, limit(in.MaxRecords, 100))
	out := &DescribeScalingActivitiesOutput{NextToken: next}
	for _, n := range some {
		out.Activities = append(out.Activities, n.Activity)
	}
	return out, err
}
