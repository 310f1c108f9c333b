package world

import "slices"

// The most that a hook may keep an instance: 48 hours, or 100 heartbeats.
const (
	longestWait    = 48 * 3600
	mostHeartbeats = 100
)

func putHook(g *Group, in HookSpecification) error {
	h := Hook{AutoScalingGroupName: g.Name, LifecycleHookName: in.LifecycleHookName, DefaultResult: "ABANDON", HeartbeatTimeout: 3600}
	at := slices.IndexFunc(g.Hooks, func(h Hook) bool { return h.LifecycleHookName == in.LifecycleHookName })
	if at >= 0 {
		h = g.Hooks[at]
	}
	h.LifecycleTransition = either(in.LifecycleTransition, h.LifecycleTransition)
	h.DefaultResult = either(in.DefaultResult, h.DefaultResult)
	h.HeartbeatTimeout = value(in.HeartbeatTimeout, h.HeartbeatTimeout)
	h.NotificationMetadata = either(in.NotificationMetadata, h.NotificationMetadata)
	h.NotificationTargetARN = either(in.NotificationTargetARN, h.NotificationTargetARN)
	h.RoleARN = either(in.RoleARN, h.RoleARN)
	h.GlobalTimeout = min(longestWait, mostHeartbeats*h.HeartbeatTimeout)
	switch {
	case h.LifecycleHookName == "":
		return invalid("a lifecycle hook needs a name")
	case h.LifecycleTransition != onLaunch && h.LifecycleTransition != onTerminate:
		return invalid("the transition %q is not known: want %s or %s", h.LifecycleTransition, onLaunch, onTerminate)
	case h.DefaultResult != "CONTINUE" && h.DefaultResult != "ABANDON":
		return invalid("DefaultResult is %q: want CONTINUE or ABANDON", h.DefaultResult)
	case h.HeartbeatTimeout < 30 || h.HeartbeatTimeout > 7200:
		return invalid("HeartbeatTimeout is %d: want 30 to 7200", h.HeartbeatTimeout)
	case at >= 0:
		g.Hooks[at] = h
	default:
		g.Hooks = append(g.Hooks, h)
	}
	return nil
}

type PutLifecycleHookInput struct {
	AutoScalingGroupName, LifecycleHookName, LifecycleTransition, DefaultResult string
	HeartbeatTimeout                                                            *int
	NotificationMetadata, NotificationTargetARN, RoleARN                        string
}

func (s *State) PutLifecycleHook(in *PutLifecycleHookInput) (*Empty, error) {
	g, err := s.group(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	return &Empty{}, putHook(g, HookSpecification{
		LifecycleHookName: in.LifecycleHookName, LifecycleTransition: in.LifecycleTransition, DefaultResult: in.DefaultResult, HeartbeatTimeout: in.HeartbeatTimeout,
		NotificationMetadata: in.NotificationMetadata, NotificationTargetARN: in.NotificationTargetARN, RoleARN: in.RoleARN,
	})
}

type DescribeLifecycleHooksInput struct {
	AutoScalingGroupName string
	LifecycleHookNames   []string
}

type DescribeLifecycleHooksOutput struct{ LifecycleHooks []Hook }

func (s *State) DescribeLifecycleHooks(in *DescribeLifecycleHooksInput) (*DescribeLifecycleHooksOutput, error) {
	g, err := s.group(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	out := &DescribeLifecycleHooksOutput{}
	for _, h := range g.Hooks {
		if wanted(in.LifecycleHookNames, h.LifecycleHookName) {
			out.LifecycleHooks = append(out.LifecycleHooks, h)
		}
	}
	return out, nil
}

type DeleteLifecycleHookInput struct{ AutoScalingGroupName, LifecycleHookName string }

// DeleteLifecycleHook completes what waits for the hook: launches are abandoned, and ends go
// on. See https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DeleteLifecycleHook.html.
func (s *State) DeleteLifecycleHook(in *DeleteLifecycleHookInput) (*Empty, error) {
	g, err := s.group(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	h := hook(g, in.LifecycleHookName)
	if h == nil {
		return nil, invalid("No Lifecycle Hook found with name %s", in.LifecycleHookName)
	}
	for _, i := range s.members(g) {
		if _, waits := i.Member.Waits[in.LifecycleHookName]; waits {
			s.complete(g, i, in.LifecycleHookName, map[string]string{onLaunch: "ABANDON", onTerminate: "CONTINUE"}[h.LifecycleTransition])
		}
	}
	g.Hooks = slices.DeleteFunc(g.Hooks, func(h Hook) bool { return h.LifecycleHookName == in.LifecycleHookName })
	return &Empty{}, nil
}

type LifecycleActionInput struct {
	AutoScalingGroupName, LifecycleHookName, InstanceId, LifecycleActionToken string
}

// waiting finds who waits for a hook, by its ID or by the action's token.
func (s *State) waiting(in *LifecycleActionInput) (*Group, *Instance, error) {
	g, err := s.group(in.AutoScalingGroupName)
	if err != nil {
		return nil, nil, err
	}
	for _, i := range s.members(g) {
		_, waits := i.Member.Waits[in.LifecycleHookName]
		named := in.InstanceId != "" && in.InstanceId == i.InstanceId && (in.LifecycleActionToken == "" || in.LifecycleActionToken == i.Member.Token)
		byToken := in.InstanceId == "" && in.LifecycleActionToken != "" && in.LifecycleActionToken == i.Member.Token
		if waits && (named || byToken) {
			return g, i, nil
		}
	}
	return nil, nil, invalid("No active Lifecycle Action found with instance ID %s", either(in.InstanceId, in.LifecycleActionToken))
}

type CompleteLifecycleActionInput struct {
	AutoScalingGroupName, LifecycleHookName, InstanceId, LifecycleActionToken, LifecycleActionResult string
}

func (s *State) CompleteLifecycleAction(in *CompleteLifecycleActionInput) (*Empty, error) {
	if in.LifecycleActionResult != "CONTINUE" && in.LifecycleActionResult != "ABANDON" {
		return nil, invalid("LifecycleActionResult is %q: want CONTINUE or ABANDON", in.LifecycleActionResult)
	}
	g, i, err := s.waiting(&LifecycleActionInput{in.AutoScalingGroupName, in.LifecycleHookName, in.InstanceId, in.LifecycleActionToken})
	if err != nil {
		return nil, err
	}
	s.complete(g, i, in.LifecycleHookName, in.LifecycleActionResult)
	return &Empty{}, nil
}

func (s *State) RecordLifecycleActionHeartbeat(in *LifecycleActionInput) (*Empty, error) {
	g, i, err := s.waiting(in)
	if err != nil {
		return nil, err
	}
	w := i.Member.Waits[in.LifecycleHookName]
	w.Due = earliest(w.Limit, s.Now.Add(seconds(hook(g, in.LifecycleHookName).HeartbeatTimeout)))
	i.Member.Waits[in.LifecycleHookName] = w
	return &Empty{}, nil
}
