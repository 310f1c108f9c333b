package aws

import (
	"context"
	"fmt"
	"slices"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

// suspendable are the processes that end machines which nobody has drained, although
// nothing is wrong with them: the one that evens out zones, which a surge and every
// replacement makes uneven, and instance refreshes.
//
// All others go on. Launch and Terminate are what a run works with. HealthCheck and
// ReplaceUnhealthy replace machines that are broken anyway. AddToLoadBalancer gives new
// machines their traffic. AlarmNotification and ScheduledActions change the size, as does an
// autoscaler, because it has to change: a run follows, and a group that could not grow for
// the hours that a run takes would be worse than one machine that ends undrained, which it
// is without a run too.
var suspendable = []string{rebalance, "InstanceRefresh"}

// rebalance is the process that ends instances in one zone and launches others in another.
const rebalance = "AZRebalance"

// place is where a group is, and how what differs between kinds of groups is done there.
type place struct {
	*session
	name string
	// managed is what EKS says; nil for a group of one's own.
	managed *nodegroup
}

// provider keeps groups of one kind.
type provider struct {
	capabilities cloud.Capabilities
	locate       func(ctx context.Context, ref v1alpha1.Provider) (place, error)
}

// AutoScaling keeps the groups that NodeGroups refer to as autoScaling.
func (c *Cloud) AutoScaling() cloud.Provider {
	return &provider{
		cloud.Capabilities{Surge: true, ApplyImages: true, TemplateVersions: true, RollBack: true, Deregister: true, ControlPlane: true},
		func(_ context.Context, ref v1alpha1.Provider) (place, error) {
			if ref.AutoScaling == nil {
				return place{}, fmt.Errorf("the group is not of Auto Scaling: %w", cloud.ErrUnsupported)
			}
			return place{session: c.in(ref.AutoScaling.Region, ref.AutoScaling.RoleARN), name: ref.AutoScaling.Name}, nil
		},
	}
}

func (p *provider) Capabilities() cloud.Capabilities { return p.capabilities }

// read finds the group itself.
func (p *provider) read(ctx context.Context, ref v1alpha1.Provider) (place, *astypes.AutoScalingGroup, error) {
	at, err := p.locate(ctx, ref)
	if err != nil {
		return at, nil, err
	}
	g, err := at.read(ctx)
	return at, g, err
}

func (at place) read(ctx context.Context) (*astypes.AutoScalingGroup, error) {
	out, err := call(ctx, at.session, at.asg.DescribeAutoScalingGroups, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{at.name}})
	if err != nil {
		return nil, err
	}
	// Found by its whole name, and no other.
	n := slices.IndexFunc(out.AutoScalingGroups, func(g astypes.AutoScalingGroup) bool { return awssdk.ToString(g.AutoScalingGroupName) == at.name })
	if n < 0 {
		return nil, fmt.Errorf("group %s of Auto Scaling: %w", at.name, cloud.ErrNotFound)
	}
	g := &out.AutoScalingGroups[n]
	return g, unsupported(g)
}

// unsupported says why a group cannot be rotated, if it cannot: its size has to be a number
// of machines, and what they are made from has to have versions.
func unsupported(g *astypes.AutoScalingGroup) error {
	name := awssdk.ToString(g.AutoScalingGroupName)
	if kind := awssdk.ToString(g.DesiredCapacityType); kind != "" && kind != "units" {
		return fmt.Errorf("group %s counts %s and not machines: %w", name, kind, cloud.ErrUnsupported)
	}
	if g.LaunchTemplate == nil && g.MixedInstancesPolicy == nil {
		return fmt.Errorf("group %s has a launch configuration and no launch template: %w", name, cloud.ErrUnsupported)
	}
	if g.MixedInstancesPolicy == nil {
		return nil
	}
	for _, o := range g.MixedInstancesPolicy.LaunchTemplate.Overrides {
		if w := awssdk.ToString(o.WeightedCapacity); w != "" && w != "1" {
			return fmt.Errorf("group %s counts %s as %s machines: %w", name, awssdk.ToString(o.InstanceType), w, cloud.ErrUnsupported)
		}
	}
	return nil
}

// Describe costs one call for the group, one for each of its launch templates, one for 200
// machines, and one more while it has not got its size; one more for a node group of EKS.
func (p *provider) Describe(ctx context.Context, ref v1alpha1.Provider) (cloud.Group, error) {
	at, g, err := p.read(ctx, ref)
	if err != nil {
		return cloud.Group{}, err
	}
	all := slots(g)
	if err := at.resolve(ctx, all); err != nil {
		return cloud.Group{}, err
	}
	instances, err := at.instances(ctx, members(g))
	if err != nil {
		return cloud.Group{}, err
	}
	group := cloud.Group{
		ID: awssdk.ToString(g.AutoScalingGroupARN), Size: awssdk.ToInt32(g.DesiredCapacity), Min: awssdk.ToInt32(g.MinSize), Max: awssdk.ToInt32(g.MaxSize),
		Revision: revision(all), Suspended: suspended(g), Suspendable: slices.Clone(suspendable), Guard: guardOf(g), Zones: evened(g), Machines: machinesOf(g, instances),
	}
	if group.Guard != nil {
		group.Run = group.Guard.Run
	}
	group.Problems = append(at.managed.problems(), aside(g)...)
	if running(group.Machines) < int(group.Size) {
		failures, err := at.failures(ctx)
		if err != nil {
			return cloud.Group{}, err
		}
		group.Problems = append(group.Problems, failures...)
	}
	return group, nil
}

func running(machines []cloud.Machine) int {
	n := 0
	for _, m := range machines {
		if m.State == cloud.Running {
			n++
		}
	}
	return n
}

// evened are the zones of a group among which Auto Scaling evens its instances out, or will when
// the run has given it back; nil if somebody else has suspended what it takes, or protects the
// instances from it.
func evened(g *astypes.AutoScalingGroup) []string {
	theirs := suspended(g)
	if guard := guardOf(g); guard != nil {
		theirs = without(theirs, guard.Suspend)
	}
	for _, needed := range []string{rebalance, "Launch", "Terminate"} {
		if slices.Contains(theirs, needed) {
			return nil
		}
	}
	if awssdk.ToBool(g.NewInstancesProtectedFromScaleIn) {
		return nil
	}
	return slices.Sorted(slices.Values(g.AvailabilityZones))
}

func suspended(g *astypes.AutoScalingGroup) []string {
	var names []string
	for _, p := range g.SuspendedProcesses {
		names = append(names, awssdk.ToString(p.ProcessName))
	}
	slices.Sort(names)
	return names
}

func (p *provider) Prepare(ctx context.Context, ref v1alpha1.Provider, guard cloud.Guard, target cloud.Target) error {
	at, g, err := p.read(ctx, ref)
	if err != nil {
		return err
	}
	if err := at.managed.busy(); err != nil {
		return err
	}
	if err := cloud.Holds(at.name, another(g, guard.Run), guard.Run); err != nil {
		return err
	}
	// What will have to be undone is noted before it is done.
	if err := at.mark(ctx, g, guard); err != nil {
		return err
	}
	if missing := without(guard.Suspend, suspended(g)); len(missing) > 0 {
		if _, err := call(ctx, at.session, at.asg.SuspendProcesses, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: &at.name, ScalingProcesses: missing}); err != nil {
			return err
		}
	}
	return at.aim(ctx, g, target, guard.Run)
}

// without are those of all that are not in some.
func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(one string) bool { return slices.Contains(some, one) })
}

func (at place) aim(ctx context.Context, g *astypes.AutoScalingGroup, target cloud.Target, run string) error {
	if at.managed != nil {
		return at.met(ctx, g, target)
	}
	return at.session.aim(ctx, g, target, run)
}

func (p *provider) Resize(ctx context.Context, ref v1alpha1.Provider, size int32) error {
	at, g, err := p.read(ctx, ref)
	if err != nil {
		return err
	}
	if err := cloud.Shrinks(at.name, awssdk.ToInt32(g.DesiredCapacity), size, live(g)); err != nil {
		return err
	}
	switch {
	case size > awssdk.ToInt32(g.MaxSize):
		return at.limit(ctx, g, size, size)
	case size == awssdk.ToInt32(g.DesiredCapacity):
		return nil
	default:
		_, err := call(ctx, at.session, at.asg.SetDesiredCapacity, &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: &at.name, DesiredCapacity: &size})
		return err
	}
}

// limit sets a group's size and its upper limit, which EKS has to know of a group that it
// manages.
func (at place) limit(ctx context.Context, g *astypes.AutoScalingGroup, size, most int32) error {
	if at.managed != nil {
		return at.managed.scale(ctx, at.session, awssdk.ToInt32(g.MinSize), size, most)
	}
	_, err := call(ctx, at.session, at.asg.UpdateAutoScalingGroup, &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: &at.name, MaxSize: &most, DesiredCapacity: &size})
	return err
}

func (p *provider) Protect(ctx context.Context, ref v1alpha1.Provider, machines []string) error {
	at, g, err := p.read(ctx, ref)
	if err != nil {
		return err
	}
	return at.protect(ctx, g, machines)
}

func (p *provider) End(ctx context.Context, ref v1alpha1.Provider, machine string, size int32) error {
	at, g, err := p.read(ctx, ref)
	if err != nil {
		return err
	}
	m := member(g, machine)
	if m == nil {
		return nil
	}
	switch state, counts := stateOf(m.LifecycleState); {
	case state == cloud.Ending:
		return nil
	case !counts:
		return fmt.Errorf("instance %s of group %s is %s: somebody else has taken it out of service: %w", machine, at.name, m.LifecycleState, cloud.ErrConflict)
	}
	if err := at.managed.busy(); err != nil {
		return err
	}
	now := awssdk.ToInt32(g.DesiredCapacity)
	if err := cloud.Ends(at.name, now, size); err != nil {
		return err
	}
	_, err = call(ctx, at.session, at.asg.TerminateInstanceInAutoScalingGroup, &autoscaling.TerminateInstanceInAutoScalingGroupInput{
		InstanceId: &machine, ShouldDecrementDesiredCapacity: new(now == size+1),
	})
	if err == nil || ctx.Err() != nil {
		return err
	}
	// Auto Scaling has one code for all that it refuses. If the machine ended in between,
	// there is nothing wrong.
	if again, readErr := at.read(ctx); readErr == nil {
		m := member(again, machine)
		if m == nil {
			return nil
		}
		if state, _ := stateOf(m.LifecycleState); state == cloud.Ending {
			return nil
		}
	}
	return err
}

// live counts the machines of a group that are not being ended.
func live(g *astypes.AutoScalingGroup) (n int) {
	for _, i := range g.Instances {
		if state, ok := stateOf(i.LifecycleState); ok && state != cloud.Ending {
			n++
		}
	}
	return n
}

func member(g *astypes.AutoScalingGroup, id string) *astypes.Instance {
	for n := range g.Instances {
		if *g.Instances[n].InstanceId == id {
			return &g.Instances[n]
		}
	}
	return nil
}

// giveBack sets the sizes that a group had, unless it has them.
func (at place) giveBack(ctx context.Context, g *astypes.AutoScalingGroup, settings cloud.Settings) error {
	now, limit := awssdk.ToInt32(g.DesiredCapacity), awssdk.ToInt32(g.MaxSize)
	size := min(now, settings.Size)
	most := max(settings.Max, size)
	if settings.Max == 0 || size == now && most == limit {
		return nil
	}
	if err := cloud.Shrinks(at.name, now, size, live(g)); err != nil {
		return err
	}
	return at.limit(ctx, g, size, most)
}

// Restore takes the mark off last, so that it is repeated until all of it is done.
func (p *provider) Restore(ctx context.Context, ref v1alpha1.Provider, guard cloud.Guard, settings cloud.Settings, former cloud.Target) error {
	at, g, err := p.read(ctx, ref)
	if err != nil {
		return err
	}
	if another(g, guard.Run) != "" {
		return nil // It was given back before the other run took it.
	}
	if err := at.managed.busy(); err != nil {
		return err
	}
	if err := at.aim(ctx, g, former, guard.Run); err != nil {
		return err
	}
	if err := at.giveBack(ctx, g, settings); err != nil {
		return err
	}
	if ours := without(guard.Suspend, without(guard.Suspend, suspended(g))); len(ours) > 0 {
		if _, err := call(ctx, at.session, at.asg.ResumeProcesses, &autoscaling.ResumeProcessesInput{AutoScalingGroupName: &at.name, ScalingProcesses: ours}); err != nil {
			return err
		}
	}
	if err := at.unprotect(ctx, g); err != nil {
		return err
	}
	return at.unmark(ctx, g)
}
