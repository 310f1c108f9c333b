package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"windlass.dev/internal/cloud"
)

// reasons are told apart by words, in this order: what a group did has no codes.
var reasons = []struct {
	reason string
	words  []string
}{
	{cloud.ReasonThrottled, []string{"rate exceeded", "throttl", "requestlimitexceeded"}},
	{cloud.ReasonQuota, []string{"limitexceeded", "countexceeded", "vcpu limit", "quota"}},
	{cloud.ReasonCapacity, []string{"capacity", "unfulfillable", "insufficientfreeaddresses", "insufficient free addresses"}},
	{cloud.ReasonCredentials, []string{"not authorized", "unauthorized", "access denied", "accessdenied"}},
	{cloud.ReasonTemplate, []string{"invalid", "launch template", "launchtemplate", "ami", "image", "key pair", "security group", "instance profile", "not found", "does not exist"}},
}

func reasonOf(message string) string {
	message = strings.ToLower(message)
	for _, r := range reasons {
		if slices.ContainsFunc(r.words, func(word string) bool { return strings.Contains(message, word) }) {
			return r.reason
		}
	}
	return cloud.ReasonOther
}

// zoneName is a zone's name in a text, such as eu-central-1a.
var zoneName = regexp.MustCompile(`\b[a-z]{2}(?:-[a-z]+)+-[0-9][a-z]\b`)

// zoneOf is the zone that an activity is about; empty for none.
func zoneOf(a astypes.Activity) string {
	var details struct {
		Zone string `json:"Availability Zone"`
	}
	// Details are JSON, as documented, or nothing.
	if err := json.Unmarshal([]byte(awssdk.ToString(a.Details)), &details); err == nil && details.Zone != "" {
		return details.Zone
	}
	return zoneName.FindString(awssdk.ToString(a.StatusMessage))
}

// launched says whether an activity is a launch that has got its instance.
func launched(a astypes.Activity) bool {
	switch a.StatusCode {
	case astypes.ScalingActivityStatusCodePreInService, astypes.ScalingActivityStatusCodeMidLifecycleAction, astypes.ScalingActivityStatusCodeSuccessful:
		return strings.HasPrefix(awssdk.ToString(a.Description), "Launching a new EC2 instance: ")
	default:
		return false
	}
}

// failures are why launches failed since the last that succeeded, the newest for each zone
// and reason. One page of activities is enough for that: it has a hundred.
func (at place) failures(ctx context.Context) ([]cloud.Problem, error) {
	out, err := call(ctx, at.session, at.asg.DescribeScalingActivities, &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: &at.name})
	if err != nil {
		return nil, err
	}
	var all []cloud.Problem
	for _, a := range out.Activities {
		if launched(a) {
			break
		}
		if a.StatusCode != astypes.ScalingActivityStatusCodeFailed && a.StatusCode != astypes.ScalingActivityStatusCodeCancelled {
			continue
		}
		message := awssdk.ToString(a.StatusMessage)
		p := cloud.Problem{Reason: reasonOf(message), Zone: zoneOf(a), Message: message, At: awssdk.ToTime(a.StartTime)}
		if !slices.ContainsFunc(all, func(o cloud.Problem) bool { return o.Reason == p.Reason && o.Zone == p.Zone }) {
			all = append(all, p)
		}
	}
	return all, nil
}

// aside says which instances are in the group and no part of its size. They are not
// replaced, and nobody should think that they were.
func aside(g *astypes.AutoScalingGroup) []cloud.Problem {
	var all []cloud.Problem
	for _, i := range g.Instances {
		switch i.LifecycleState {
		case astypes.LifecycleStateStandby, astypes.LifecycleStateEnteringStandby, astypes.LifecycleStateQuarantined:
			all = append(all, cloud.Problem{Reason: cloud.ReasonOther, Zone: awssdk.ToString(i.AvailabilityZone), Message: fmt.Sprintf("instance %s is %s, and is not replaced", *i.InstanceId, i.LifecycleState)})
		default:
		}
	}
	return all
}
