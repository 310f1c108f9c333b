package world

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// The states of a group's instance.
const (
	PendingWait        = "Pending:Wait"
	PendingProceed     = "Pending:Proceed"
	InService          = "InService"
	Terminating        = "Terminating"
	TerminatingWait    = "Terminating:Wait"
	TerminatingProceed = "Terminating:Proceed"
	EnteringStandby    = "EnteringStandby"
	Standby            = "Standby"
	Detaching          = "Detaching"
	// memberPending is Pending, which EC2 spells otherwise.
	memberPending = "Pending"
)

const (
	healthy   = "Healthy"
	unhealthy = "Unhealthy"
)

// The transitions that a hook can be for.
const (
	onLaunch    = "autoscaling:EC2_INSTANCE_LAUNCHING"
	onTerminate = "autoscaling:EC2_INSTANCE_TERMINATING"
)

// Member is an instance's part in its group.
type Member struct {
	Group, Lifecycle, Health string
	Protected                bool
	// Template has the version by its number.
	Template  LaunchTemplateSpecification
	InService time.Time
	// StepDue is when it gets to its next state, unless hooks keep it.
	StepDue time.Time
	// Waits are the hooks that have not been completed, by name.
	Waits map[string]Wait
	// Token names the lifecycle action.
	Token      string
	ActivityId string
}

// Wait is a hook's: until Due, which a heartbeat moves up to Limit.
type Wait struct{ Due, Limit time.Time }

func (m *Member) due() time.Time {
	t := m.StepDue
	for _, w := range m.Waits {
		t = earliest(t, w.Due)
	}
	return t
}

func (m *Member) counts() bool {
	return m.Lifecycle == InService || strings.HasPrefix(m.Lifecycle, memberPending)
}

func (m *Member) ending() bool { return strings.HasPrefix(m.Lifecycle, Terminating) }

func (s *State) join(g *Group, i *Instance, v *TemplateVersion, why string) {
	a := s.activity(g, "Launching a new EC2 instance: "+i.InstanceId, why)
	a.StatusCode = "PreInService"
	i.Member = &Member{
		Group: g.Name, Lifecycle: memberPending, Health: healthy, Protected: g.ProtectNew, ActivityId: a.ActivityId, StepDue: i.StateDue,
		Template: LaunchTemplateSpecification{v.LaunchTemplateId, v.LaunchTemplateName, itoa(v.VersionNumber)},
	}
}

func (s *State) stepMember(i *Instance, m *Member) {
	g := s.Groups[m.Group]
	if len(m.Waits) > 0 {
		s.expire(g, i)
		return
	}
	m.StepDue = time.Time{}
	switch m.Lifecycle {
	case memberPending:
		s.await(g, i, onLaunch, PendingWait)
	case PendingProceed:
		s.enter(g, i)
	case Terminating:
		s.await(g, i, onTerminate, TerminatingWait)
	case TerminatingProceed:
		s.terminate(i, StateReason{"Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"})
	case EnteringStandby:
		m.Lifecycle = Standby
		s.finishByID(m.ActivityId, successful, "")
	case Detaching:
		s.finishByID(m.ActivityId, successful, "")
		i.Tags = dropTag(i.Tags, groupTag)
		i.Member = nil
	}
	s.touch(g)
}

// await begins to wait for a transition's hooks, or goes on where there are none.
func (s *State) await(g *Group, i *Instance, transition, state string) {
	m := i.Member
	m.Waits, m.Token = map[string]Wait{}, ""
	for _, h := range g.Hooks {
		if h.LifecycleTransition == transition {
			m.Waits[h.LifecycleHookName] = Wait{s.Now.Add(seconds(h.HeartbeatTimeout)), s.Now.Add(seconds(h.GlobalTimeout))}
		}
	}
	switch {
	case len(m.Waits) > 0:
		m.Lifecycle, m.Token = state, s.identify("")
		if a := s.activityByID(m.ActivityId); a != nil {
			a.StatusCode = "MidLifecycleAction"
		}
	case transition == onLaunch:
		s.enter(g, i)
	default:
		s.terminate(i, StateReason{"Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"})
	}
}

func (s *State) enter(g *Group, i *Instance) {
	m := i.Member
	m.Lifecycle, m.InService = InService, s.Now
	s.finishByID(m.ActivityId, successful, "")
	if !g.suspended(AddToLoadBalancer) {
		for _, arn := range g.TargetGroupARNs {
			if t, ok := s.TargetGroups[arn]; ok {
				s.register(t, i.InstanceId, t.Port)
			}
		}
	}
}

// expire gives the hooks whose time is over their default results.
func (s *State) expire(g *Group, i *Instance) {
	for _, name := range sorted(i.Member.Waits) {
		if w, ok := i.Member.Waits[name]; ok && s.isDue(w.Due) {
			result := "ABANDON"
			if h := hook(g, name); h != nil {
				result = h.DefaultResult
			}
			s.complete(g, i, name, result)
		}
	}
}

func hook(g *Group, name string) *Hook {
	for n := range g.Hooks {
		if g.Hooks[n].LifecycleHookName == name {
			return &g.Hooks[n]
		}
	}
	return nil
}

// complete ends one hook's wait. ABANDON ends those of the other hooks too.
func (s *State) complete(g *Group, i *Instance, name, result string) {
	m := i.Member
	delete(m.Waits, name)
	if result == "ABANDON" {
		m.Waits = nil
	}
	if len(m.Waits) > 0 {
		return
	}
	switch {
	case m.Lifecycle == PendingWait && result == "ABANDON":
		s.finishByID(m.ActivityId, failed, "Instance failed to complete user's Lifecycle Action: Lifecycle Action with token "+m.Token+" was abandoned")
		s.beginEnd(g, i, "an instance was taken out of service because its launch was abandoned")
	case m.Lifecycle == PendingWait:
		m.Lifecycle, m.StepDue = PendingProceed, s.Now.Add(s.Config.Times.Step)
	default:
		m.Lifecycle, m.StepDue = TerminatingProceed, s.Now.Add(s.Config.Times.Step)
	}
	m.Token = ""
	s.touch(g)
}

// beginEnd takes a member out of service. Its targets drain before its hooks wait.
func (s *State) beginEnd(g *Group, i *Instance, why string) *Activity {
	m := i.Member
	a := s.activity(g, "Terminating EC2 instance: "+i.InstanceId, why)
	m.Lifecycle, m.ActivityId, m.Waits, m.Protected = Terminating, a.ActivityId, nil, false
	m.StepDue = s.Now.Add(s.Config.Times.Step)
	if drained := s.deregisterEverywhere(i); !drained.IsZero() {
		m.StepDue = latest(m.StepDue, drained)
		a.StatusCode = "WaitingForELBConnectionDraining"
	}
	if !i.alive() {
		m.StepDue = time.Time{} // There is nothing to be done but to see it go.
		if i.State == Terminated {
			s.leave(i)
		}
	}
	s.touch(g)
	return a
}

// memberDied is called when an instance begins to shut down, for whatever reason. One
// that its group did not end is found by the health check.
func (s *State) memberDied(i *Instance) {
	i.Member.StepDue, i.Member.Waits = time.Time{}, nil
	if strings.HasPrefix(i.Member.Lifecycle, memberPending) {
		s.finishByID(i.Member.ActivityId, failed, "Instance became unhealthy while waiting for instance to be in InService state")
	}
	if g, ok := s.Groups[i.Member.Group]; ok {
		s.touch(g)
	}
}

// leave takes an instance that has ended out of its group.
func (s *State) leave(i *Instance) {
	g := s.Groups[i.Member.Group]
	s.finishByID(i.Member.ActivityId, successful, "")
	i.Member = nil
	s.touch(g)
}

// Activity is what a group did.
type Activity struct {
	ActivityId, AutoScalingGroupName, AutoScalingGroupARN string
	Description, Cause, Details                           string
	StatusCode, StatusMessage                             string
	Progress                                              int
	StartTime                                             time.Time
	EndTime                                               *time.Time
}

const (
	inProgress = "InProgress"
	successful = "Successful"
	failed     = "Failed"
)

// remembered is how many activities are kept; in life it is six weeks.
const remembered = 10_000

func (s *State) activity(g *Group, description, why string) *Activity {
	if len(s.Activities) >= remembered {
		s.Activities = slices.Delete(s.Activities, 0, remembered/10)
	}
	a := &Activity{
		ActivityId: s.identify("activity-"), AutoScalingGroupName: g.Name, AutoScalingGroupARN: g.ARN, Description: description,
		Cause: "At " + s.Now.UTC().Format(time.RFC3339) + " " + why + ".", StatusCode: inProgress, StartTime: s.Now, Progress: 50,
	}
	s.Activities = append(s.Activities, a)
	return a
}

func (s *State) finish(a *Activity, code, message string) {
	a.StatusCode, a.StatusMessage, a.Progress, a.EndTime = code, message, 100, new(s.Now)
}

func (s *State) finishByID(id, code, message string) {
	if a := s.activityByID(id); a != nil && a.EndTime == nil {
		s.finish(a, code, message)
	}
}

func (s *State) activityByID(id string) *Activity {
	for _, a := range slices.Backward(s.Activities) {
		if a.ActivityId == id {
			return a
		}
	}
	return nil
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

func itoa(n int) string { return strconv.Itoa(n) }

// number is 0 for what is none.
func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
