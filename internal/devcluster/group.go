package devcluster

import (
	"errors"
	"strings"

	"windlass.dev/internal/devcluster/aws/world"
)

// GroupInstanceType is the type of the instances of MakeGroup's groups, with which their
// nodes are labelled.
const GroupInstanceType = "t3.large"

// errNoCloud is returned where Options.FakeAWS is not set.
var errNoCloud = errors.New("the cluster has no fake AWS")

// NewImage registers a machine image in the fake AWS.
func (c *Cluster) NewImage(name string) (id string, err error) {
	if c.cloud == nil {
		return "", errNoCloud
	}
	err = c.cloud.world.Write(func(s *world.State) error {
		made, err := s.RegisterImage(&world.RegisterImageInput{Name: name, Architecture: "x86_64", RootDeviceName: "/dev/xvda"})
		if err == nil {
			id = made.ImageId
		}
		return err
	})
	return id, err
}

// MakeGroup makes a group of Auto Scaling in the fake AWS, over all its zones, and a launch
// template of the same name, which it follows. Its instances become nodes some time after.
func (c *Cluster) MakeGroup(name, image string, size int) error {
	if c.cloud == nil {
		return errNoCloud
	}
	return c.cloud.world.Write(func(s *world.State) error {
		_, err := s.CreateLaunchTemplate(&world.CreateLaunchTemplateInput{
			LaunchTemplateName: name, LaunchTemplateData: world.TemplateData{ImageId: image, InstanceType: GroupInstanceType},
		})
		if err != nil {
			return err
		}
		var subnets []string
		for _, zone := range s.Config.Zones {
			subnets = append(subnets, "subnet-"+s.Config.Region+zone)
		}
		_, err = s.CreateAutoScalingGroup(&world.CreateAutoScalingGroupInput{
			AutoScalingGroupName: name, MinSize: new(0), MaxSize: &size, DesiredCapacity: &size, VPCZoneIdentifier: strings.Join(subnets, ","),
			LaunchTemplate: &world.LaunchTemplateSpecification{LaunchTemplateName: name, Version: "$Latest"},
			Tags:           []world.GroupTag{{Key: "kubernetes.io/cluster/" + cloudCluster, Value: "owned", PropagateAtLaunch: true}},
		})
		return err
	})
}
