package aws

import (
	"windlass.dev/internal/devcluster/aws/world"
)

// The services, as signatures name them.
const (
	EC2         = "ec2"
	AutoScaling = "autoscaling"
	EKS         = "eks"
	SSM         = "ssm"
	STS         = "sts"
	ELB         = "elasticloadbalancing"
)

// Action is something that a service can be asked.
type Action struct {
	Service, Name string
	// Reads is true where nothing changes; such an action may see what was.
	Reads bool
	// method and path are EKS's.
	method, path string

	input, output func() any
	do            func(s *world.State, in any) (any, error)
}

func action[I, O any](service, name string, reads bool, do func(*world.State, *I) (*O, error)) Action {
	return Action{
		Service: service, Name: name, Reads: reads,
		input:  func() any { return new(I) },
		output: func() any { return new(O) },
		do:     func(s *world.State, in any) (any, error) { return do(s, in.(*I)) },
	}
}

func read[I, O any](service, name string, do func(*world.State, *I) (*O, error)) Action {
	return action(service, name, true, do)
}

func write[I, O any](service, name string, do func(*world.State, *I) (*O, error)) Action {
	return action(service, name, false, do)
}

// at gives an action of EKS its method and path.
func (a Action) at(method, path string) Action {
	a.method, a.path = method, path
	return a
}

// Actions are all that are known. What is not here is refused.
func Actions() []Action {
	return []Action{
		write(EC2, "CreateLaunchTemplate", (*world.State).CreateLaunchTemplate),
		write(EC2, "CreateLaunchTemplateVersion", (*world.State).CreateLaunchTemplateVersion),
		write(EC2, "ModifyLaunchTemplate", (*world.State).ModifyLaunchTemplate),
		write(EC2, "DeleteLaunchTemplate", (*world.State).DeleteLaunchTemplate),
		write(EC2, "DeleteLaunchTemplateVersions", (*world.State).DeleteLaunchTemplateVersions),
		read(EC2, "DescribeLaunchTemplates", (*world.State).DescribeLaunchTemplates),
		read(EC2, "DescribeLaunchTemplateVersions", (*world.State).DescribeLaunchTemplateVersions),
		write(EC2, "RunInstances", (*world.State).RunInstances),
		write(EC2, "TerminateInstances", (*world.State).TerminateInstances),
		read(EC2, "DescribeInstances", (*world.State).DescribeInstances),
		read(EC2, "DescribeInstanceStatus", (*world.State).DescribeInstanceStatus),
		read(EC2, "DescribeImages", (*world.State).DescribeImages),
		write(EC2, "RegisterImage", (*world.State).RegisterImage),
		write(EC2, "DeregisterImage", (*world.State).DeregisterImage),
		read(EC2, "DescribeVolumes", (*world.State).DescribeVolumes),
		read(EC2, "DescribeAvailabilityZones", (*world.State).DescribeAvailabilityZones),
		read(EC2, "DescribeSubnets", (*world.State).DescribeSubnets),
		write(EC2, "CreateTags", (*world.State).CreateTags),
		write(EC2, "DeleteTags", (*world.State).DeleteTags),
		read(EC2, "DescribeTags", (*world.State).DescribeTags),

		write(AutoScaling, "CreateAutoScalingGroup", (*world.State).CreateAutoScalingGroup),
		write(AutoScaling, "UpdateAutoScalingGroup", (*world.State).UpdateAutoScalingGroup),
		write(AutoScaling, "DeleteAutoScalingGroup", (*world.State).DeleteAutoScalingGroup),
		read(AutoScaling, "DescribeAutoScalingGroups", (*world.State).DescribeAutoScalingGroups),
		read(AutoScaling, "DescribeAutoScalingInstances", (*world.State).DescribeAutoScalingInstances),
		read(AutoScaling, "DescribeScalingActivities", (*world.State).DescribeScalingActivities),
		write(AutoScaling, "SetDesiredCapacity", (*world.State).SetDesiredCapacity),
		write(AutoScaling, "TerminateInstanceInAutoScalingGroup", (*world.State).TerminateInstanceInAutoScalingGroup),
		write(AutoScaling, "SetInstanceProtection", (*world.State).SetInstanceProtection),
		write(AutoScaling, "SetInstanceHealth", (*world.State).SetInstanceHealth),
		write(AutoScaling, "SuspendProcesses", (*world.State).SuspendProcesses),
		write(AutoScaling, "ResumeProcesses", (*world.State).ResumeProcesses),
		write(AutoScaling, "DetachInstances", (*world.State).DetachInstances),
		write(AutoScaling, "AttachInstances", (*world.State).AttachInstances),
		write(AutoScaling, "EnterStandby", (*world.State).EnterStandby),
		write(AutoScaling, "ExitStandby", (*world.State).ExitStandby),
		write(AutoScaling, "LaunchInstances", (*world.State).LaunchInstances),
		write(AutoScaling, "PutLifecycleHook", (*world.State).PutLifecycleHook),
		read(AutoScaling, "DescribeLifecycleHooks", (*world.State).DescribeLifecycleHooks),
		write(AutoScaling, "DeleteLifecycleHook", (*world.State).DeleteLifecycleHook),
		write(AutoScaling, "CompleteLifecycleAction", (*world.State).CompleteLifecycleAction),
		write(AutoScaling, "RecordLifecycleActionHeartbeat", (*world.State).RecordLifecycleActionHeartbeat),
		write(AutoScaling, "CreateOrUpdateTags", (*world.State).CreateOrUpdateTags),
		write(AutoScaling, "DeleteTags", (*world.State).DeleteGroupTags),
		read(AutoScaling, "DescribeTags", (*world.State).DescribeGroupTags),

		write(EKS, "CreateCluster", (*world.State).CreateCluster).at("POST", "/clusters"),
		read(EKS, "ListClusters", (*world.State).ListClusters).at("GET", "/clusters"),
		read(EKS, "DescribeCluster", (*world.State).DescribeCluster).at("GET", "/clusters/{name}"),
		write(EKS, "CreateNodegroup", (*world.State).CreateNodegroup).at("POST", "/clusters/{clusterName}/node-groups"),
		read(EKS, "ListNodegroups", (*world.State).ListNodegroups).at("GET", "/clusters/{clusterName}/node-groups"),
		read(EKS, "DescribeNodegroup", (*world.State).DescribeNodegroup).at("GET", "/clusters/{clusterName}/node-groups/{nodegroupName}"),
		write(EKS, "DeleteNodegroup", (*world.State).DeleteNodegroup).at("DELETE", "/clusters/{clusterName}/node-groups/{nodegroupName}"),
		write(EKS, "UpdateNodegroupConfig", (*world.State).UpdateNodegroupConfig).at("POST", "/clusters/{clusterName}/node-groups/{nodegroupName}/update-config"),
		write(EKS, "UpdateNodegroupVersion", (*world.State).UpdateNodegroupVersion).at("POST", "/clusters/{clusterName}/node-groups/{nodegroupName}/update-version"),
		read(EKS, "ListUpdates", (*world.State).ListUpdates).at("GET", "/clusters/{name}/updates"),
		read(EKS, "DescribeUpdate", (*world.State).DescribeUpdate).at("GET", "/clusters/{name}/updates/{updateId}"),

		write(SSM, "PutParameter", (*world.State).PutParameter),
		read(SSM, "GetParameter", (*world.State).GetParameter),
		read(SSM, "GetParameters", (*world.State).GetParameters),
		read(SSM, "GetParametersByPath", (*world.State).GetParametersByPath),

		write(STS, "AssumeRole", (*world.State).AssumeRole),
		read(STS, "GetCallerIdentity", (*world.State).GetCallerIdentity),

		write(ELB, "CreateTargetGroup", (*world.State).CreateTargetGroup),
		write(ELB, "DeleteTargetGroup", (*world.State).DeleteTargetGroup),
		read(ELB, "DescribeTargetGroups", (*world.State).DescribeTargetGroups),
		write(ELB, "ModifyTargetGroupAttributes", (*world.State).ModifyTargetGroupAttributes),
		read(ELB, "DescribeTargetGroupAttributes", (*world.State).DescribeTargetGroupAttributes),
		write(ELB, "RegisterTargets", (*world.State).RegisterTargets),
		write(ELB, "DeregisterTargets", (*world.State).DeregisterTargets),
		read(ELB, "DescribeTargetHealth", (*world.State).DescribeTargetHealth),
	}
}
