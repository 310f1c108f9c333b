package world

import (
	"slices"
	"strings"
	"time"
)

// Group is an Auto Scaling group.
type Group struct {
	Name, ARN              string
	Min, Max, Desired      int
	Zones                  []string
	Template               *LaunchTemplateSpecification
	Mixed                  *MixedInstancesPolicy
	HealthCheckType        string
	HealthCheckGracePeriod int
	DefaultCooldown        int
	DefaultInstanceWarmup  *int
	TerminationPolicies    []string
	ProtectNew             bool
	DistributionStrategy   string
	TargetGroupARNs        []string
	Suspended              []string
	Hooks                  []Hook
	Tags                   []GroupTag
	CreatedTime            time.Time
	Deleting               bool
	// Due is when the group looks at itself next.
	Due time.Time
	// Extra is how many instances it has for a while beyond the desired ones, to
	// replace them elsewhere.
	Extra int
	// Stuck is what it last said about why it cannot scale in.
	Stuck string
}

// MixedInstancesPolicy is how a group mixes types, templates, and On-Demand and spot.
type MixedInstancesPolicy struct {
	InstancesDistribution *InstancesDistribution
	LaunchTemplate        *MixedTemplate
}

// MixedTemplate is a template with what types have instead.
type MixedTemplate struct {
	LaunchTemplateSpecification *LaunchTemplateSpecification
	Overrides                   []Override
}

// Override is what a type has instead.
type Override struct {
	InstanceType                string
	ImageId                     string
	LaunchTemplateSpecification *LaunchTemplateSpecification
}

// InstancesDistribution is how many are On-Demand, and how pools are chosen.
type InstancesDistribution struct {
	OnDemandAllocationStrategy          string
	OnDemandBaseCapacity                *int
	OnDemandPercentageAboveBaseCapacity *int
	SpotAllocationStrategy              string
	SpotInstancePools                   *int
	SpotMaxPrice                        string
}

// GroupTag is a tag of a group; its instances may get it too.
type GroupTag struct {
	Key, Value        string
	PropagateAtLaunch bool
	ResourceId        string
	ResourceType      string
}

// Hook is a lifecycle hook.
type Hook struct {
	AutoScalingGroupName, LifecycleHookName, LifecycleTransition string
	DefaultResult                                                string
	HeartbeatTimeout, GlobalTimeout                              int
	NotificationMetadata, NotificationTargetARN, RoleARN         string
}

// Processes of a group that can be suspended.
const (
	Launch            = "Launch"
	Terminate         = "Terminate"
	AddToLoadBalancer = "AddToLoadBalancer"
	AZRebalance       = "AZRebalance"
	HealthCheck       = "HealthCheck"
	ReplaceUnhealthy  = "ReplaceUnhealthy"
)

// balancedOnly is the distribution of a group that rather waits than loses its balance.
const balancedOnly = "balanced-only"

var processes = []string{AddToLoadBalancer, "AlarmNotification", AZRebalance, HealthCheck, "InstanceRefresh", Launch, ReplaceUnhealthy, "ScheduledActions", Terminate}

func (g *Group) suspended(process string) bool { return slices.Contains(g.Suspended, process) }

// touch makes a group look at itself soon.
func (s *State) touch(g *Group) {
	g.Due = earliest(g.Due, s.Now.Add(s.Config.Times.Evaluate))
}

func (s *State) group(name string) (*Group, error) {
	if g, ok := s.Groups[name]; ok {
		return g, nil
	}
	return nil, invalid("AutoScalingGroup name not found - no such group: %s", name)
}

// members are a group's instances, the oldest first. A group that is gone has none.
func (s *State) members(g *Group) []*Instance {
	if g == nil {
		return nil
	}
	var all []*Instance
	for _, i := range s.Instances {
		if i.Member != nil && i.Member.Group == g.Name {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b *Instance) int {
		if c := a.LaunchTime.Compare(b.LaunchTime); c != 0 {
			return c
		}
		return strings.Compare(a.InstanceId, b.InstanceId)
	})
	return all
}

// counted are the members that make up the group's capacity.
func (s *State) counted(g *Group) []*Instance {
	return slices.DeleteFunc(s.members(g), func(i *Instance) bool { return !i.Member.counts() })
}

// reconcile does what a group does when it looks at itself.
func (s *State) reconcile(g *Group) {
	if g.Deleting {
		s.finishDeletion(g)
		return
	}
	s.checkHealth(g)
	all := s.counted(g)
	switch want := g.Desired + g.Extra; {
	case len(all) < want:
		if !g.suspended(Launch) {
			s.scaleOut(g, want-len(all))
		}
	case len(all) > want:
		if !g.suspended(Terminate) {
			s.scaleIn(g, len(all)-want)
		}
	default:
		g.Stuck = ""
		s.rebalance(g, all)
	}
}

func (s *State) finishDeletion(g *Group) {
	all := s.members(g)
	for _, i := range all {
		if i.alive() {
			s.beginEnd(g, i, "the group is being deleted")
			s.terminate(i, StateReason{"Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"})
		}
	}
	if len(all) == 0 {
		delete(s.Groups, g.Name)
	}
}

// checkHealth ends what is not healthy, unless the group may not replace, or not end.
func (s *State) checkHealth(g *Group) {
	replace := !g.suspended(ReplaceUnhealthy) && !g.suspended(Terminate)
	for _, i := range s.members(g) {
		m := i.Member
		if m.ending() {
			continue
		}
		if !g.suspended(HealthCheck) && m.Health == healthy && s.ill(g, i) {
			m.Health = unhealthy
		}
		if m.Health == unhealthy && (m.Lifecycle == InService || !i.alive()) && replace {
			s.beginEnd(g, i, "an instance was taken out of service in response to a health check")
		}
	}
}

func (s *State) ill(g *Group, i *Instance) bool {
	if !i.alive() {
		return true
	}
	grace := time.Duration(g.HealthCheckGracePeriod) * time.Second
	if !strings.Contains(g.HealthCheckType, "ELB") || i.Member.Lifecycle != InService || s.Now.Before(i.Member.InService.Add(grace)) {
		return false
	}
	return s.targetIll(i.InstanceId)
}

// scaleOut launches n, each in the zone that has the fewest, or in the next one with
// capacity if the group may lose its balance.
func (s *State) scaleOut(g *Group, n int) {
	for range n {
		zones := s.byNeed(g)
		if g.DistributionStrategy == balancedOnly {
			zones = zones[:1]
		}
		if !s.launchOne(g, zones, "") {
			g.Due = s.Now.Add(s.Config.Times.Retry)
			return
		}
	}
}

// byNeed returns the zones, first those with the fewest instances.
func (s *State) byNeed(g *Group) []string {
	have := s.perZone(s.counted(g))
	zones := slices.Clone(g.Zones)
	slices.SortStableFunc(zones, func(a, b string) int { return have[a] - have[b] })
	return zones
}

func (s *State) perZone(instances []*Instance) map[string]int {
	have := map[string]int{}
	for _, i := range instances {
		have[i.Zone]++
	}
	return have
}

// launchOne launches in the first of the zones that has capacity, and reports whether
// one had. Each that had none is a failed activity.
func (s *State) launchOne(g *Group, zones []string, why string) bool {
	for _, zone := range zones {
		if _, err := s.launchInto(g, zone, either(why, "an instance was started in response to a difference between desired and actual capacity")); err == nil {
			return true
		}
	}
	return false
}

// choice is one way to launch for a group.
type choice struct {
	pool     Pool
	template *TemplateVersion
	data     TemplateData
}

// launchInto launches one instance, by the first choice for which there is capacity.
func (s *State) launchInto(g *Group, zone, why string) (*Instance, error) {
	choices, err := s.choices(g, zone)
	for _, c := range choices {
		var tags []Tag
		if tags, err = s.memberTags(g, c); err != nil {
			break
		}
		var i *Instance
		if i, err = s.launch(c.pool, c.data, tags); err == nil {
			s.join(g, i, c.template, why)
			return i, nil
		}
	}
	a := s.activity(g, "Launching a new EC2 instance.  Status Reason: "+err.Error()+". Launching EC2 instance failed.", why)
	s.finish(a, failed, err.Error())
	return nil, err
}

// choices are how a group may launch its next instance in a zone, the best first.
func (s *State) choices(g *Group, zone string) ([]choice, error) {
	if g.Mixed == nil {
		c, err := s.choose(*g.Template, Override{}, Pool{Zone: zone})
		if err != nil {
			return nil, err
		}
		return []choice{c}, nil
	}
	spec := *g.Mixed.LaunchTemplate.LaunchTemplateSpecification
	overrides := g.Mixed.LaunchTemplate.Overrides
	if len(overrides) == 0 {
		overrides = []Override{{}}
	}
	spot := s.nextIsSpot(g)
	var all []choice
	for _, o := range overrides {
		from := spec
		if o.LaunchTemplateSpecification != nil {
			from = *o.LaunchTemplateSpecification
		}
		c, err := s.choose(from, o, Pool{Zone: zone, Spot: spot})
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

func (s *State) choose(spec LaunchTemplateSpecification, o Override, pool Pool) (choice, error) {
	v, err := s.specified(spec)
	if err != nil {
		return choice{}, err
	}
	data, err := s.resolve(overlay(v.LaunchTemplateData, TemplateData{InstanceType: o.InstanceType, ImageId: o.ImageId}))
	pool.InstanceType = data.InstanceType
	if m := data.InstanceMarketOptions; m != nil && m.MarketType == "spot" {
		pool.Spot = true
	}
	return choice{pool, v, data}, err
}

// nextIsSpot decides by the base and the share of On-Demand capacity.
func (s *State) nextIsSpot(g *Group) bool {
	d := g.Mixed.InstancesDistribution
	if d == nil {
		return false
	}
	all := s.counted(g)
	onDemand := 0
	for _, i := range all {
		if !i.Spot {
			onDemand++
		}
	}
	base, percent := value(d.OnDemandBaseCapacity, 0), value(d.OnDemandPercentageAboveBaseCapacity, 100)
	return onDemand >= onDemandShare(len(all)+1, base, percent)
}

// onDemandShare is how many of n are On-Demand: the base, and the percentage of the rest
// rounded up.
func onDemandShare(n, base, percent int) int {
	if n <= base {
		return n
	}
	return base + ((n-base)*percent+99)/100
}

func (s *State) memberTags(g *Group, c choice) ([]Tag, error) {
	tags, err := tagsFor("instance", c.data.TagSpecifications, "instance", "volume", "network-interface", "spot-instances-request")
	if err != nil {
		return nil, err
	}
	for _, t := range g.Tags {
		if t.PropagateAtLaunch {
			tags = setTags(tags, []Tag{{t.Key, t.Value}})
		}
	}
	return setTags(tags, []Tag{
		{groupTag, g.Name}, {"aws:ec2launchtemplate:id", c.template.LaunchTemplateId}, {"aws:ec2launchtemplate:version", itoa(c.template.VersionNumber)},
	}), nil
}

// groupTag is on every instance of a group.
const groupTag = "aws:autoscaling:groupName"

// scaleIn ends n members, each chosen by the termination policies.
func (s *State) scaleIn(g *Group, n int) {
	for range n {
		victim := s.pick(g)
		if victim == nil {
			s.sayStuck(g)
			return
		}
		s.beginEnd(g, victim, "an instance was taken out of service in response to a difference between desired and actual capacity")
	}
}

func (s *State) sayStuck(g *Group) {
	const why = "Could not scale to desired capacity because all remaining instances are protected from scale in."
	if g.Stuck != why {
		g.Stuck = why
		s.finish(s.activity(g, why, why), failed, why)
	}
}

// pick chooses whom to end: unprotected, ill ones first, then in the zone with the most,
// then of the market of which there are too many, then by the policies.
func (s *State) pick(g *Group) *Instance {
	all := s.counted(g)
	left := slices.DeleteFunc(slices.Clone(all), func(i *Instance) bool { return i.Member.Protected })
	if len(left) == 0 {
		return nil
	}
	for _, i := range left {
		if i.Member.Health == unhealthy {
			return i
		}
	}
	have := s.perZone(all)
	left = least(left, func(i *Instance) int { return -have[i.Zone] })
	if g.Mixed != nil && g.Mixed.InstancesDistribution != nil {
		d := g.Mixed.InstancesDistribution
		onDemand := 0
		for _, i := range all {
			if !i.Spot {
				onDemand++
			}
		}
		tooMany := onDemand > onDemandShare(len(all)-1, value(d.OnDemandBaseCapacity, 0), value(d.OnDemandPercentageAboveBaseCapacity, 100))
		left = least(left, func(i *Instance) int { return bit(i.Spot == tooMany) })
	}
	for _, policy := range g.TerminationPolicies {
		left = g.byPolicy(left, policy)
	}
	return left[0] // The oldest, and of several the first by name.
}

func (g *Group) byPolicy(left []*Instance, policy string) []*Instance {
	switch policy {
	case "Default", "OldestLaunchTemplate":
		return least(left, func(i *Instance) int {
			if !g.uses(i.Member.Template.LaunchTemplateId) {
				return -1 // Before all versions of those that it has.
			}
			return number(i.Member.Template.Version)
		})
	case "OldestInstance":
		return least(left, func(i *Instance) int { return int(i.LaunchTime.UnixMilli()) })
	case "NewestInstance":
		return least(left, func(i *Instance) int { return -int(i.LaunchTime.UnixMilli()) })
	default:
		return left
	}
}

// uses says whether a group launches from a template now.
func (g *Group) uses(template string) bool {
	if g.Mixed == nil {
		return g.Template.LaunchTemplateId == template
	}
	mixed := g.Mixed.LaunchTemplate
	overridden := func(o Override) bool {
		return o.LaunchTemplateSpecification != nil && o.LaunchTemplateSpecification.LaunchTemplateId == template
	}
	return mixed.LaunchTemplateSpecification.LaunchTemplateId == template || slices.ContainsFunc(mixed.Overrides, overridden)
}

// least are those with the lowest score, in their order.
func least(instances []*Instance, score func(*Instance) int) []*Instance {
	var lowest []*Instance
	for _, i := range instances {
		switch {
		case len(lowest) == 0 || score(i) == score(lowest[0]):
			lowest = append(lowest, i)
		case score(i) < score(lowest[0]):
			lowest = []*Instance{i}
		}
	}
	return lowest
}

// rebalance launches one in the zone with the fewest if another has two more, and once
// that is in service gives one up in the zone with the most.
func (s *State) rebalance(g *Group, all []*Instance) {
	for _, i := range all {
		if i.Member.Lifecycle != InService {
			return
		}
	}
	if g.Extra > 0 {
		g.Extra = 0
		s.touch(g)
		return
	}
	if g.suspended(AZRebalance) || g.suspended(Launch) || g.suspended(Terminate) || len(all) == 0 {
		return
	}
	have := s.perZone(all)
	zones := s.byNeed(g)
	fewest, most := zones[0], zones[len(zones)-1]
	removable := slices.ContainsFunc(all, func(i *Instance) bool { return i.Zone == most && !i.Member.Protected })
	if have[most]-have[fewest] < 2 || !removable {
		return
	}
	if s.launchOne(g, []string{fewest}, "invoked a Rebalance of instances across availability zones") {
		g.Extra = 1
	} else {
		g.Due = s.Now.Add(s.Config.Times.Retry)
	}
}
