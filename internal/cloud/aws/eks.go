package aws

import (
	"context"
	"fmt"
	"slices"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

// EKS keeps the groups beneath managed node groups, that NodeGroups refer to as eks.
//
// It replaces machines that are not made from what the node group says, and does not change
// what that is. EKS launches from a copy of the user's launch template, and a node group
// whose Auto Scaling group has another version than that of EKS is degraded
// (Ec2LaunchTemplateVersionMismatch); and the one call that writes a new copy,
// UpdateNodegroupVersion, drains and ends the nodes in EKS's own way at once.
func (c *Cloud) EKS() cloud.Provider {
	return &provider{
		cloud.Capabilities{Surge: true, Deregister: true},
		func(ctx context.Context, ref v1alpha1.Provider) (place, error) {
			if ref.EKS == nil {
				return place{}, fmt.Errorf("the group is not a node group of EKS: %w", cloud.ErrUnsupported)
			}
			return c.in(ref.EKS.Region, ref.EKS.RoleARN).managedBy(ctx, ref.EKS)
		},
	}
}

// nodegroup is a managed node group as EKS describes it. All that is asked of it is answered
// for a nil one too, which is none.
type nodegroup struct{ *ekstypes.Nodegroup }

func (s *session) managedBy(ctx context.Context, ref *v1alpha1.EKSNodegroup) (place, error) {
	out, err := call(ctx, s, s.eks.DescribeNodegroup, &eks.DescribeNodegroupInput{ClusterName: &ref.Cluster, NodegroupName: &ref.Name})
	if err != nil {
		return place{}, err
	}
	n := &nodegroup{out.Nodegroup}
	if n.Resources == nil || len(n.Resources.AutoScalingGroups) != 1 {
		return place{}, fmt.Errorf("node group %s/%s is %s, and has no Auto Scaling group: %w", ref.Cluster, ref.Name, n.Status, cloud.ErrConflict)
	}
	return place{session: s, name: awssdk.ToString(n.Resources.AutoScalingGroups[0].Name), managed: n}, nil
}

// working says whether EKS itself changes the node group.
func (n *nodegroup) working() bool {
	return n != nil && slices.Contains([]ekstypes.NodegroupStatus{ekstypes.NodegroupStatusCreating, ekstypes.NodegroupStatusUpdating, ekstypes.NodegroupStatusDeleting}, n.Status)
}

// busy is an error while EKS is at it: two that end its machines would not know of each other.
func (n *nodegroup) busy() error {
	if !n.working() {
		return nil
	}
	return fmt.Errorf("node group %s of %s is %s by EKS: %w", awssdk.ToString(n.NodegroupName), awssdk.ToString(n.ClusterName), n.Status, cloud.ErrConflict)
}

// problems are those that EKS has with a node group.
func (n *nodegroup) problems() []cloud.Problem {
	if n == nil {
		return nil
	}
	var all []cloud.Problem
	if n.working() {
		all = append(all, cloud.Problem{Reason: cloud.ReasonOther, Message: "EKS itself is at it: the node group is " + string(n.Status), At: awssdk.ToTime(n.ModifiedAt)})
	}
	if n.Health == nil {
		return all
	}
	for _, i := range n.Health.Issues {
		message := string(i.Code) + ": " + awssdk.ToString(i.Message)
		all = append(all, cloud.Problem{Reason: reasonOf(message), Message: message, At: awssdk.ToTime(n.ModifiedAt)})
	}
	return all
}

// scale tells EKS the sizes: it sets those that it knows when it updates the node group.
func (n *nodegroup) scale(ctx context.Context, s *session, least, size, most int32) error {
	if err := n.busy(); err != nil {
		return err
	}
	_, err := call(ctx, s, s.eks.UpdateNodegroupConfig, &eks.UpdateNodegroupConfigInput{
		ClusterName: n.ClusterName, NodegroupName: n.NodegroupName, ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: &least, DesiredSize: &size, MaxSize: &most},
	})
	return err
}

// met refuses targets that the node group does not have already.
func (at place) met(ctx context.Context, g *astypes.AutoScalingGroup, target cloud.Target) error {
	if len(target.Images) == 0 && target.TemplateVersion == "" && target.Template == "" {
		return nil
	}
	all := slots(g)
	if err := at.resolve(ctx, all); err != nil {
		return err
	}
	now := revision(all)
	wanted := target.Template + target.TemplateVersion + strings.Join(target.Images, ", ")
	switch {
	case target.Template != "" && target.Template == now.Template:
		return nil
	case target.Template == "" && target.TemplateVersion == "" && len(without(now.Images, target.Images)) == 0:
		return nil
	}
	return fmt.Errorf("node group %s has %s with the images %s, and what EKS launches can only be changed by an update of EKS: %s: %w",
		awssdk.ToString(at.managed.NodegroupName), now.Template, strings.Join(now.Images, ", "), wanted, cloud.ErrUnsupported)
}
