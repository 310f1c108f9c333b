package devcluster

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/kubernetes"

	"windlass.dev/internal/devcluster/agent"
)

// shipped are the stand-ins that a process node runs instead of well-known images.
//
//go:embed images.yaml
var shipped []byte

// agentUser is who acts for the process nodes.
const agentUser = "windlass:agent"

// startAgent starts the process nodes, if there are to be any.
func (c *Cluster) startAgent(ctx context.Context) error {
	if c.options.ProcessNodes == 0 {
		return nil
	}
	images, err := c.images()
	if err != nil {
		return fmt.Errorf("images: %w", err)
	}
	config, err := c.ConfigFor(agentUser, "system:masters")
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(c.options.Dir, "logs", "agent.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	o := agent.Options{Client: client, Octet: c.simulator.number, Images: images, Dir: filepath.Join(c.options.Dir, "agent"), Log: log, BackOff: c.options.BackOff}
	for i := range c.options.ProcessNodes {
		o.Nodes = append(o.Nodes, agent.Node{Name: fmt.Sprintf("process-%d", i), Zone: string(rune('a' + i%3))})
	}
	c.agent, err = agent.Start(ctx, o)
	return err
}

// images are those of the folder, then those that ship with it.
func (c *Cluster) images() (agent.Images, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var all agent.Images
	if c.options.Images != "" {
		if all, err = agent.LoadImages(c.options.Images, self); err != nil {
			return nil, err
		}
	}
	ours, err := agent.ParseImages("the images that ship with it", shipped, self)
	return append(all, ours...), err
}
