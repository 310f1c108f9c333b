package world

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

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
