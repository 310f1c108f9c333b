package aws

import (
	"context"
	"slices"
	"strconv"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"windlass.dev/internal/cloud"
)

// The tags by which a group is marked. They are not on its instances.
const (
	runTag       = "windlass.dev/run"
	sizeTag      = "windlass.dev/size"
	maxTag       = "windlass.dev/max"
	suspendedTag = "windlass.dev/suspended"
)

// protectedTag is on the instances that Protect protected.
const protectedTag = "windlass.dev/protected"

const groupResource = "auto-scaling-group"

// guardOf reads a group's mark; nil for none.
func guardOf(g *astypes.AutoScalingGroup) *cloud.Guard {
	tags := map[string]string{}
	for _, t := range g.Tags {
		tags[awssdk.ToString(t.Key)] = awssdk.ToString(t.Value)
	}
	if tags[runTag] == "" {
		return nil
	}
	guard := &cloud.Guard{Run: tags[runTag]}
	size, sizeErr := strconv.ParseInt(tags[sizeTag], 10, 32)
	most, maxErr := strconv.ParseInt(tags[maxTag], 10, 32)
	if sizeErr == nil && maxErr == nil {
		guard.Settings = cloud.Settings{Size: int32(size), Max: int32(most)}
	}
	if s := tags[suspendedTag]; s != "" {
		guard.Suspend = strings.Split(s, " ")
	}
	return guard
}

// tagsOf writes a guard as tags.
func tagsOf(group *string, guard cloud.Guard) []astypes.Tag {
	number := func(n int32) string { return strconv.FormatInt(int64(n), 10) }
	var all []astypes.Tag
	for _, t := range [][2]string{
		{runTag, guard.Run}, {sizeTag, number(guard.Settings.Size)}, {maxTag, number(guard.Settings.Max)}, {suspendedTag, strings.Join(guard.Suspend, " ")},
	} {
		all = append(all, astypes.Tag{Key: new(t[0]), Value: new(t[1]), PropagateAtLaunch: new(false), ResourceId: group, ResourceType: new(groupResource)})
	}
	return all
}

// another is the run that a group is marked with, if it is not this one; empty for none.
func another(g *astypes.AutoScalingGroup, run string) string {
	if held := guardOf(g); held != nil && held.Run != run {
		return held.Run
	}
	return ""
}

// mark notes a guard on a group, unless it is there.
func (s *session) mark(ctx context.Context, g *astypes.AutoScalingGroup, guard cloud.Guard) error {
	if held := guardOf(g); held != nil && held.Settings == guard.Settings && slices.Equal(held.Suspend, guard.Suspend) {
		return nil
	}
	_, err := call(ctx, s, s.asg.CreateOrUpdateTags, &autoscaling.CreateOrUpdateTagsInput{Tags: tagsOf(g.AutoScalingGroupName, guard)})
	return err
}

func (s *session) unmark(ctx context.Context, g *astypes.AutoScalingGroup) error {
	if guardOf(g) == nil {
		return nil
	}
	tags := tagsOf(g.AutoScalingGroupName, cloud.Guard{})
	for n := range tags {
		tags[n].Value, tags[n].PropagateAtLaunch = nil, nil
	}
	_, err := call(ctx, s, s.asg.DeleteTags, &autoscaling.DeleteTagsInput{Tags: tags})
	return err
}

// mostProtected is how many instances one call protects.
const mostProtected = 50

// protect protects those that serve and are not protected, and notes on them that it did
// before it does: the group's owner may protect instances too.
func (s *session) protect(ctx context.Context, g *astypes.AutoScalingGroup, machines []string) error {
	var bare []string
	for _, i := range g.Instances {
		if i.LifecycleState == astypes.LifecycleStateInService && !awssdk.ToBool(i.ProtectedFromScaleIn) && slices.Contains(machines, *i.InstanceId) {
			bare = append(bare, *i.InstanceId)
		}
	}
	if len(bare) == 0 {
		return nil
	}
	tag := []ec2types.Tag{{Key: new(protectedTag), Value: new("true")}}
	if _, err := call(ctx, s, s.ec2.CreateTags, &ec2.CreateTagsInput{Resources: bare, Tags: tag}); err != nil {
		return err
	}
	return s.setProtection(ctx, g, bare, true)
}

func (s *session) setProtection(ctx context.Context, g *astypes.AutoScalingGroup, ids []string, protected bool) error {
	for some := range slices.Chunk(ids, mostProtected) {
		_, err := call(ctx, s, s.asg.SetInstanceProtection, &autoscaling.SetInstanceProtectionInput{
			AutoScalingGroupName: g.AutoScalingGroupName, InstanceIds: some, ProtectedFromScaleIn: &protected,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// unprotect takes back what protect did.
func (s *session) unprotect(ctx context.Context, g *astypes.AutoScalingGroup) error {
	instances, err := s.instances(ctx, members(g))
	if err != nil {
		return err
	}
	var noted, protected []string
	for _, i := range g.Instances {
		ours := slices.ContainsFunc(instances[*i.InstanceId].Tags, func(t ec2types.Tag) bool { return awssdk.ToString(t.Key) == protectedTag })
		if !ours {
			continue
		}
		noted = append(noted, *i.InstanceId)
		if i.LifecycleState == astypes.LifecycleStateInService && awssdk.ToBool(i.ProtectedFromScaleIn) {
			protected = append(protected, *i.InstanceId)
		}
	}
	if err := s.setProtection(ctx, g, protected, false); err != nil || len(noted) == 0 {
		return err
	}
	_, err = call(ctx, s, s.ec2.DeleteTags, &ec2.DeleteTagsInput{Resources: noted, Tags: []ec2types.Tag{{Key: new(protectedTag)}}})
	return err
}
