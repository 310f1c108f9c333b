package devcluster_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"windlass.dev/internal/devcluster"
)

func sdkConfig(endpoint string) awssdk.Config {
	return awssdk.Config{Region: devcluster.CloudRegion, BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", "")}
}

// makeNodegroup makes the node group apps with two nodes.
func makeNodegroup(t *testing.T, cloud *eks.Client) {
	t.Helper()
	_, err := cloud.CreateNodegroup(t.Context(), &eks.CreateNodegroupInput{
		ClusterName: new("dev"), NodegroupName: new("apps"), NodeRole: new("arn:aws:iam::123456789012:role/node"), Subnets: []string{"subnet-eu-central-1a", "subnet-eu-central-1b"},
		ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: new(int32(1)), MaxSize: new(int32(3)), DesiredSize: new(int32(2))},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestFakeAWS: a managed node group that is made through the SDK becomes nodes of the
// cluster, and the next start begins without them.
func TestFakeAWS(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	start := func() (*devcluster.Cluster, kubernetes.Interface) {
		c, err := devcluster.Start(ctx, devcluster.Options{Dir: dir, Nodes: 1, FakeAWS: true, FakeAWSSpeed: 100})
		if err != nil {
			t.Fatal(err)
		}
		client, err := kubernetes.NewForConfig(c.Config())
		if err != nil {
			t.Fatal(err)
		}
		return c, client
	}
	nodes := func(client kubernetes.Interface) int {
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: "eks.amazonaws.com/nodegroup=apps"})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Items)
	}
	c, client := start()
	endpoint := c.AWS()
	cloud := eks.NewFromConfig(sdkConfig(endpoint))
	cluster, err := cloud.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: new("dev")})
	if err != nil || *cluster.Cluster.Endpoint != c.Config().Host {
		t.Errorf("the cluster is %+v, %v", cluster, err)
	}
	makeNodegroup(t, cloud)
	eventually(t, "2 nodes", func(context.Context) (bool, error) { return nodes(client) == 2, nil })
	image, err := c.NewImage("first")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MakeGroup("own", image, 3); err != nil {
		t.Fatal(err)
	}
	eventually(t, "3 nodes of the image, one in each zone", func(ctx context.Context) (bool, error) {
		list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: "windlass.dev/image=" + image})
		if err != nil {
			return false, err
		}
		zones := map[string]bool{}
		for _, n := range list.Items {
			zones[n.Labels[corev1.LabelTopologyZone]] = true
		}
		return len(list.Items) == 3 && len(zones) == 3, nil
	})
	if err := c.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "aws-endpoint")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the address is left behind: %v", err)
	}
	c, client = start()
	if n := nodes(client); n != 0 {
		t.Errorf("%d nodes of the former cloud are there", n)
	}
	if err := c.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestNoFakeAWS: a cluster without a cloud says so.
func TestNoFakeAWS(t *testing.T) {
	t.Parallel()
	c := &devcluster.Cluster{}
	if _, err := c.NewImage("first"); err == nil {
		t.Error("it has an image")
	}
	if err := c.MakeGroup("own", "ami-1", 1); err == nil {
		t.Error("it has a group")
	}
}
