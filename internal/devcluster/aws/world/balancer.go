package world

import (
	"fmt"
	"strings"
	"time"
)

// TargetGroup is where a load balancer sends its requests.
type TargetGroup struct {
	TargetGroupArn, TargetGroupName string
	Protocol, TargetType, VpcId     string
	Port                            int
	// Delay is how long a target drains.
	Delay   time.Duration
	Targets []Target
}

// Target is an instance that is registered, or drains.
type Target struct {
	Id   string
	Port int
	// DrainedDue is when it is gone; not set before it is deregistered.
	DrainedDue time.Time
	// Ill is set by State.SetTargetHealth.
	Ill bool
}

func (t *TargetGroup) due() time.Time {
	var first time.Time
	for _, target := range t.Targets {
		first = earliest(first, target.DrainedDue)
	}
	return first
}

func (s *State) stepTargets(t *TargetGroup) {
	var left []Target
	for _, target := range t.Targets {
		if !s.isDue(target.DrainedDue) {
			left = append(left, target)
		}
	}
	t.Targets = left
}

func (s *State) register(t *TargetGroup, id string, port int) {
	for n := range t.Targets {
		if t.Targets[n].Id == id && t.Targets[n].Port == port {
			t.Targets[n].DrainedDue = time.Time{}
			return
		}
	}
	t.Targets = append(t.Targets, Target{Id: id, Port: port})
}

// deregister begins to drain, or drops a target whose instance is no more.
func (s *State) deregister(t *TargetGroup, id string, port int) (drained time.Time) {
	var left []Target
	for _, target := range t.Targets {
		if target.Id == id && (port == 0 || target.Port == port) {
			if i, ok := s.Instances[id]; !ok || !i.alive() {
				continue
			}
			if target.DrainedDue.IsZero() {
				target.DrainedDue = s.Now.Add(t.Delay)
			}
			drained = latest(drained, target.DrainedDue)
		}
		left = append(left, target)
	}
	t.Targets = left
	return drained
}

// deregisterEverywhere returns when the last target group lets the instance go; not set
// where none has it.
func (s *State) deregisterEverywhere(i *Instance) (drained time.Time) {
	for _, arn := range sorted(s.TargetGroups) {
		drained = latest(drained, s.deregister(s.TargetGroups[arn], i.InstanceId, 0))
	}
	return drained
}

// SetTargetHealth makes an instance answer a load balancer's health checks, or not.
func (s *State) SetTargetHealth(id string, ill bool) {
	for _, t := range s.TargetGroups {
		for n := range t.Targets {
			if t.Targets[n].Id == id {
				t.Targets[n].Ill = ill
			}
		}
	}
	if i, ok := s.Instances[id]; ok && i.Member != nil {
		s.touch(s.Groups[i.Member.Group])
	}
}

func (s *State) targetIll(id string) bool {
	for _, t := range s.TargetGroups {
		for _, target := range t.Targets {
			if target.Id == id && target.Ill {
				return true
			}
		}
	}
	return false
}

type CreateTargetGroupInput struct {
	Name, Protocol, TargetType, VpcId string
	Port                              *int
}

type CreateTargetGroupOutput struct{ TargetGroups []TargetGroupDescription }

// TargetGroupDescription is a target group as Elastic Load Balancing describes it.
type TargetGroupDescription struct {
	TargetGroupArn, TargetGroupName, Protocol, TargetType, VpcId string
	Port                                                         int
}

func (t *TargetGroup) describe() TargetGroupDescription {
	return TargetGroupDescription{t.TargetGroupArn, t.TargetGroupName, t.Protocol, t.TargetType, t.VpcId, t.Port}
}

func (s *State) CreateTargetGroup(in *CreateTargetGroupInput) (*CreateTargetGroupOutput, error) {
	if in.Name == "" || in.Port == nil || in.Protocol == "" {
		return nil, invalid("a target group needs Name, Protocol and Port")
	}
	if in.TargetType != "" && in.TargetType != "instance" {
		return nil, invalid("the target type %q is not known here", in.TargetType)
	}
	for _, t := range s.TargetGroups {
		if t.TargetGroupName == in.Name {
			return nil, refuse("DuplicateTargetGroupName", "A target group with the same name '%s' exists", in.Name)
		}
	}
	t := &TargetGroup{
		TargetGroupArn: s.arn("elasticloadbalancing", "targetgroup/"+in.Name+"/"+s.identify("")), TargetGroupName: in.Name, Protocol: in.Protocol,
		TargetType: "instance", VpcId: either(in.VpcId, vpc), Port: *in.Port, Delay: 300 * time.Second,
	}
	s.TargetGroups[t.TargetGroupArn] = t
	return &CreateTargetGroupOutput{[]TargetGroupDescription{t.describe()}}, nil
}

func (s *State) targetGroup(arn string) (*TargetGroup, error) {
	if t, ok := s.TargetGroups[arn]; ok {
		return t, nil
	}
	return nil, refuse("TargetGroupNotFound", "One or more target groups not found: %s", arn)
}

type DescribeTargetGroupsInput struct {
	TargetGroupArns, Names []string
	Marker                 string
	PageSize               *int
}

type DescribeTargetGroupsOutput struct {
	TargetGroups []TargetGroupDescription
	NextMarker   string
}

func (s *State) DescribeTargetGroups(in *DescribeTargetGroupsInput) (*DescribeTargetGroupsOutput, error) {
	var found []TargetGroupDescription
	for _, arn := range in.TargetGroupArns {
		if _, err := s.targetGroup(arn); err != nil {
			return nil, err
		}
	}
	for _, arn := range sorted(s.TargetGroups) {
		t := s.TargetGroups[arn]
		if wanted(in.TargetGroupArns, arn) && wanted(in.Names, t.TargetGroupName) {
			found = append(found, t.describe())
		}
	}
	if len(in.Names) > len(found) {
		return nil, refuse("TargetGroupNotFound", "One or more target groups not found: %s", strings.Join(in.Names, ", "))
	}
	some, next, err := page(found, func(t TargetGroupDescription) string { return t.TargetGroupArn }, in.Marker, limit(in.PageSize, 400))
	return &DescribeTargetGroupsOutput{some, next}, err
}

type DeleteTargetGroupInput struct{ TargetGroupArn string }

func (s *State) DeleteTargetGroup(in *DeleteTargetGroupInput) (*Empty, error) {
	delete(s.TargetGroups, in.TargetGroupArn)
	return &Empty{}, nil
}

// TargetDescription names a target; without a port it has the group's.
type TargetDescription struct {
	Id   string
	Port *int
}

type TargetsInput struct {
	TargetGroupArn string
	Targets        []TargetDescription
}

func (s *State) RegisterTargets(in *TargetsInput) (*Empty, error) {
	t, err := s.targetGroup(in.TargetGroupArn)
	if err != nil {
		return nil, err
	}
	for _, target := range in.Targets {
		if i, ok := s.Instances[target.Id]; !ok || i.State != Running {
			return nil, refuse("InvalidTarget", "The following targets are not in a running state and cannot be registered: '%s'", target.Id)
		}
	}
	for _, target := range in.Targets {
		s.register(t, target.Id, value(target.Port, t.Port))
	}
	return &Empty{}, nil
}

func (s *State) DeregisterTargets(in *TargetsInput) (*Empty, error) {
	t, err := s.targetGroup(in.TargetGroupArn)
	if err != nil {
		return nil, err
	}
	for _, target := range in.Targets {
		s.deregister(t, target.Id, value(target.Port, 0))
	}
	return &Empty{}, nil
}

type DescribeTargetHealthOutput struct{ TargetHealthDescriptions []TargetHealthDescription }

// TargetHealthDescription is a target and how it does.
type TargetHealthDescription struct {
	HealthCheckPort string
	Target          struct {
		Id   string
		Port int
	}
	TargetHealth struct{ State, Reason, Description string }
}

// DescribeTargetHealth describes the targets that there are, and as unused those that are
// asked for and are not.
func (s *State) DescribeTargetHealth(in *TargetsInput) (*DescribeTargetHealthOutput, error) {
	t, err := s.targetGroup(in.TargetGroupArn)
	if err != nil {
		return nil, err
	}
	out := &DescribeTargetHealthOutput{}
	add := func(id string, port int, state, reason, description string) {
		d := TargetHealthDescription{HealthCheckPort: fmt.Sprint(t.Port)}
		d.Target.Id, d.Target.Port = id, port
		d.TargetHealth.State, d.TargetHealth.Reason, d.TargetHealth.Description = state, reason, description
		out.TargetHealthDescriptions = append(out.TargetHealthDescriptions, d)
	}
	known := map[string]bool{}
	var asked []string
	for _, a := range in.Targets {
		asked = append(asked, a.Id)
	}
	for _, target := range t.Targets {
		known[target.Id] = true
		switch {
		case !wanted(asked, target.Id):
		case !target.DrainedDue.IsZero():
			add(target.Id, target.Port, "draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
		case target.Ill:
			add(target.Id, target.Port, "unhealthy", "Target.FailedHealthChecks", "Health checks failed")
		default:
			add(target.Id, target.Port, "healthy", "", "")
		}
	}
	for _, id := range asked {
		if !known[id] {
			add(id, t.Port, "unused", "Target.NotRegistered", "Target is not registered to the target group")
		}
	}
	return out, nil
}

// Attribute is a target group's.
type Attribute struct{ Key, Value string }

type ModifyTargetGroupAttributesInput struct {
	TargetGroupArn string
	Attributes     []Attribute
}

type AttributesOutput struct{ Attributes []Attribute }

const delayAttribute = "deregistration_delay.timeout_seconds"

func (s *State) ModifyTargetGroupAttributes(in *ModifyTargetGroupAttributesInput) (*AttributesOutput, error) {
	t, err := s.targetGroup(in.TargetGroupArn)
	if err != nil {
		return nil, err
	}
	delay := t.Delay
	for _, a := range in.Attributes {
		n := number(a.Value)
		if a.Key != delayAttribute || n < 0 || n > 3600 || a.Value != itoa(n) {
			return nil, refuse("InvalidConfigurationRequest", "the attribute %s=%q is not known here", a.Key, a.Value)
		}
		delay = seconds(n)
	}
	t.Delay = delay
	return &AttributesOutput{[]Attribute{{delayAttribute, itoa(int(t.Delay.Seconds()))}}}, nil
}

type DescribeTargetGroupAttributesInput struct{ TargetGroupArn string }

func (s *State) DescribeTargetGroupAttributes(in *DescribeTargetGroupAttributesInput) (*AttributesOutput, error) {
	t, err := s.targetGroup(in.TargetGroupArn)
	if err != nil {
		return nil, err
	}
	return &AttributesOutput{[]Attribute{{delayAttribute, itoa(int(t.Delay.Seconds()))}}}, nil
}
