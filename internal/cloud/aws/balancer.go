package aws

import (
	"context"
	"errors"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

// Deregister takes a machine out of the target groups that its group is attached to. Those
// that Kubernetes fills for Services of type LoadBalancer are not attached: they leave a
// node out that has the label for it. Classic load balancers let go when the machine ends:
// its group waits for them.
func (p *provider) Deregister(ctx context.Context, ref v1alpha1.Provider, machine string) (done bool, err error) {
	at, g, err := p.read(ctx, ref)
	if err != nil {
		return false, err
	}
	if member(g, machine) == nil {
		return true, nil
	}
	done = true
	for _, arn := range g.TargetGroupARNs {
		gone, err := at.deregister(ctx, arn, machine)
		if err != nil {
			return false, err
		}
		done = done && gone
	}
	return done, nil
}

// deregister is done when the target group has no such target any more.
func (s *session) deregister(ctx context.Context, arn, machine string) (done bool, err error) {
	target := []elbtypes.TargetDescription{{Id: &machine}}
	out, err := call(ctx, s, s.elb.DescribeTargetHealth, &elb.DescribeTargetHealthInput{TargetGroupArn: &arn, Targets: target})
	if codeOf(err) == "InvalidTarget" || errors.Is(err, cloud.ErrNotFound) {
		return true, nil // The target group, or the machine, is gone.
	}
	if err != nil {
		return false, err
	}
	done, registered := true, false
	for _, d := range out.TargetHealthDescriptions {
		if d.TargetHealth == nil {
			continue
		}
		switch d.TargetHealth.State {
		case elbtypes.TargetHealthStateEnumUnused: // Nothing is sent there.
		case elbtypes.TargetHealthStateEnumDraining:
			done = false
		default:
			done, registered = false, true
		}
	}
	if registered {
		_, err = call(ctx, s, s.elb.DeregisterTargets, &elb.DeregisterTargetsInput{TargetGroupArn: &arn, Targets: target})
	}
	return done, err
}
