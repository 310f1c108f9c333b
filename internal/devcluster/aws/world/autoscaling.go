package world

import (
	"slices"
	"strings"
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
