package aws

import (
	"context"
	"slices"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"windlass.dev/internal/cloud"
)

// mostValues is how many values a filter of EC2 may have.
const mostValues = 200

// instances by their ids. Asked for by a filter and not by name, those that EC2 does not
// know yet, or not any more, are just not there.
func (s *session) instances(ctx context.Context, ids []string) (map[string]ec2types.Instance, error) {
	found := map[string]ec2types.Instance{}
	for some := range slices.Chunk(ids, mostValues) {
		in := &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{{Name: new("instance-id"), Values: some}}}
		for {
			out, err := call(ctx, s, s.ec2.DescribeInstances, in)
			if err != nil {
				return nil, err
			}
			for _, r := range out.Reservations {
				for _, i := range r.Instances {
					found[*i.InstanceId] = i
				}
			}
			if awssdk.ToString(out.NextToken) == "" {
				break
			}
			in.NextToken = out.NextToken
		}
	}
	return found, nil
}

// images by their ids; those that cannot be seen are not there.
func (s *session) images(ctx context.Context, ids []string) (map[string]ec2types.Image, error) {
	found := map[string]ec2types.Image{}
	slices.Sort(ids)
	for some := range slices.Chunk(slices.Compact(ids), mostValues) {
		all, err := s.imagesWith(ctx, &ec2.DescribeImagesInput{IncludeDeprecated: new(true), Filters: []ec2types.Filter{{Name: new("image-id"), Values: some}}})
		if err != nil {
			return nil, err
		}
		for _, i := range all {
			found[*i.ImageId] = i
		}
	}
	return found, nil
}

func (s *session) imagesWith(ctx context.Context, in *ec2.DescribeImagesInput) ([]ec2types.Image, error) {
	var all []ec2types.Image
	for {
		out, err := call(ctx, s, s.ec2.DescribeImages, in)
		if err != nil {
			return nil, err
		}
		all = append(all, out.Images...)
		if awssdk.ToString(out.NextToken) == "" {
			return all, nil
		}
		in.NextToken = out.NextToken
	}
}

// members are the ids of a group's instances.
func members(g *astypes.AutoScalingGroup) []string {
	var ids []string
	for _, i := range g.Instances {
		ids = append(ids, *i.InstanceId)
	}
	return ids
}

// stateOf is where an instance is in its life; ok is false for one that is no part of its
// group's size, because it is on standby, in a warm pool, in quarantine or detached.
func stateOf(l astypes.LifecycleState) (state cloud.State, ok bool) {
	switch text := string(l); {
	case strings.HasPrefix(text, "Pending"):
		return cloud.Launching, true
	case strings.HasPrefix(text, "Terminat"):
		return cloud.Ending, true
	case l == astypes.LifecycleStateInService, strings.HasPrefix(text, "ReplacingRootVolume"), l == astypes.LifecycleStateRootVolumeReplaced:
		return cloud.Running, true
	default:
		return "", false
	}
}

// machinesOf describes a group's machines, from what both services say.
func machinesOf(g *astypes.AutoScalingGroup, instances map[string]ec2types.Instance) []cloud.Machine {
	var all []cloud.Machine
	for _, i := range g.Instances {
		state, ok := stateOf(i.LifecycleState)
		if !ok {
			continue
		}
		id, zone := *i.InstanceId, awssdk.ToString(i.AvailabilityZone)
		m := cloud.Machine{
			ID: id, ProviderID: "aws:///" + zone + "/" + id, Zone: zone, State: state, Protected: awssdk.ToBool(i.ProtectedFromScaleIn),
			// The group ends what it finds unhealthy. Notices of spot interruptions reach the
			// machine itself and no call that is made here.
			Interrupted: state != cloud.Ending && awssdk.ToString(i.HealthStatus) == "Unhealthy",
		}
		if t := i.LaunchTemplate; t != nil {
			m.Template = awssdk.ToString(t.LaunchTemplateId) + ":" + awssdk.ToString(t.Version)
		}
		if known, ok := instances[id]; ok {
			m.Image, m.Architecture = awssdk.ToString(known.ImageId), string(known.Architecture)
			m.Spot = known.InstanceLifecycle == ec2types.InstanceLifecycleTypeSpot
			m.LaunchedAt = awssdk.ToTime(known.LaunchTime)
			if s := known.State; s != nil && (s.Name == ec2types.InstanceStateNameShuttingDown || s.Name == ec2types.InstanceStateNameTerminated) {
				m.State = cloud.Ending
			}
		}
		if i.ImageId != nil {
			m.Image = *i.ImageId // Of an override, or of a root volume that was replaced.
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b cloud.Machine) int { return strings.Compare(a.ID, b.ID) })
	return all
}
