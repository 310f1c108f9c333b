package devcluster

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"

	"windlass.dev/internal/devcluster/aws"
	"windlass.dev/internal/devcluster/aws/nodes"
	"windlass.dev/internal/devcluster/aws/world"
)

// cloudUser is who acts for the fake cloud's machines.
const cloudUser = "windlass:cloud"

// CloudFile, in the state folder, has the fake cloud's address, for people and scripts.
const CloudFile = "aws-endpoint"

// The fake cloud is one region of one account, in which this cluster is one of EKS.
const (
	CloudRegion  = "eu-central-1"
	cloudAccount = "123456789012"
	cloudCluster = "dev"
)

// cloud is a fake AWS whose instances are nodes of the cluster. What is in it ends with
// it; the nodes that it left are removed at the next start of the cluster.
type cloud struct {
	address string
	world   *world.World
	server  *http.Server
	cancel  context.CancelFunc
	running sync.WaitGroup
	log     *os.File
}

// startCloud removes what an earlier cloud left, and starts one, if there is to be one.
func (c *Cluster) startCloud(ctx context.Context) error {
	config, err := c.ConfigFor(cloudUser, "system:masters")
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := nodes.Clean(ctx, client); err != nil {
		return err
	}
	if !c.options.FakeAWS {
		return nil
	}
	var machines aws.Nodes = nodes.Simulated{Client: client, Tainted: c.options.runsProcesses()}
	if c.options.instancesRun() {
		machines = nodes.Process{Client: client, Agent: c.agent}
	}
	version, err := client.Discovery().ServerVersion()
	if err != nil {
		return err
	}
	clock := world.Faster(max(c.options.FakeAWSSpeed, 1))
	w := world.New(world.Config{Region: CloudRegion, Account: cloudAccount, Zones: []string{"a", "b", "c"}, Times: world.Life()}, clock)
	authority := base64.StdEncoding.EncodeToString(config.CAData)
	if err := w.Write(func(s *world.State) error { return furnish(s, version.Major+"."+version.Minor, c.endpoint, authority) }); err != nil {
		return fmt.Errorf("furnish the fake cloud: %w", err)
	}
	log, err := os.OpenFile(filepath.Join(c.options.Dir, "logs", "cloud.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, log.Close())
	}
	// It lives until it is stopped, not until the start is over.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cloud = &cloud{address: "http://" + listener.Addr().String(), world: w, cancel: cancel, log: log}
	c.cloud.server = &http.Server{Handler: aws.NewServer(w, clock, CloudRegion), ReadHeaderTimeout: 10 * time.Second}
	c.cloud.running.Go(func() { aws.NewMachines(w, machines, log).Run(running) })
	c.cloud.running.Go(func() {
		if err := c.cloud.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintf(log, "the server ended: %v\n", err)
		}
	})
	return os.WriteFile(filepath.Join(c.options.Dir, CloudFile), []byte(c.cloud.address+"\n"), 0o600)
}

// furnish makes what is in a new region: this cluster, and the images of EKS for it.
func furnish(s *world.State, version, endpoint, authority string) error {
	_, err := s.CreateCluster(&world.CreateClusterInput{Name: cloudCluster, Version: version, RoleArn: "arn:aws:iam::" + cloudAccount + ":role/eks"})
	if err != nil {
		return err
	}
	release := version + ".0-" + s.Now.Format("20060102")
	for _, kind := range []string{"AL2023_x86_64_STANDARD", "AL2023_ARM_64_STANDARD"} {
		if _, err := s.Publish(kind, version, release); err != nil {
			return err
		}
	}
	if _, err := s.Publish("BOTTLEROCKET_x86_64", version, "1.50.0"); err != nil {
		return err
	}
	return s.Serve(cloudCluster, endpoint, authority)
}

func (c *cloud) stop() {
	c.cancel()
	// Who is still being answered is cut off.
	_ = c.server.Close()
	c.running.Wait()
	_ = c.log.Close()
}

// AWS is the address of the fake AWS; empty where there is none.
func (c *Cluster) AWS() string {
	if c.cloud == nil {
		return ""
	}
	return c.cloud.address
}
