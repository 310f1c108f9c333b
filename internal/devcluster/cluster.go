// Package devcluster is the embedded development cluster: a real Kubernetes
// control plane as child processes, and simulated nodes in this process. It
// needs no containers, uses free ports on 127.0.0.1 only, and leaves nothing
// behind that blocks the next start, however it ended.
//
// The state folder holds:
//
//	lock             held while a cluster runs; its content is the holder's pid
//	ready            is there from the end of the start to the stop
//	children.json    the child processes, for the start after a kill
//	kubeconfig       an administrator's, complete in itself
//	pki/             the cluster's own certificate authority and what it signed
//	etcd/            the data; it outlives a stop, unless the cluster is ephemeral
//	aws-endpoint     the fake AWS's address, while there is one
//	logs/            of each child, and audit.log, in which requests are counted
package devcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"

	"windlass.dev/internal/devcluster/agent"
	"windlass.dev/internal/devcluster/gateway"
	"windlass.dev/internal/devcluster/service"
)

// startTries is how often a start is tried when somebody else takes a port
// between its choice and its use.
const startTries = 3

// Options are what a cluster may be told.
type Options struct {
	// Dir is the state folder; it is made if need be.
	Dir string
	// Nodes is how many simulated nodes there are at least.
	Nodes int
	// ProcessNodes is how many nodes run pods as processes, and Images the folder that
	// says what they run; empty is the one that ships with it.
	ProcessNodes int
	Images       string
	// BackOff is the first delay before a container starts again on a process node; 0
	// is the kubelet's 10 s.
	BackOff time.Duration
	// Binary is the control plane; empty looks for it, see Find.
	Binary string
	// Ephemeral removes Dir on Stop.
	Ephemeral bool
	// FakeAWS adds a fake AWS whose instances are nodes, and FakeAWSSpeed is how many
	// times faster than life its time runs; less than 1 is 1.
	FakeAWS      bool
	FakeAWSSpeed float64
	// FakeAWSNodes is what its instances are, agent.Process or agent.Simulated; empty is the
	// first if there are process nodes, and the second otherwise.
	FakeAWSNodes string
	// Version is the minor version of Kubernetes that the control plane behaves as,
	// such as 1.34; empty is its own. It can be up to three versions older.
	Version string
	// Out is told what takes how long; nil for nobody.
	Out io.Writer
}

// Check says what is wrong with the options.
func (o *Options) Check() error {
	switch {
	case o.Nodes < 0 || o.ProcessNodes < 0:
		return fmt.Errorf("%d simulated nodes and %d process nodes: neither can be less than 0", o.Nodes, o.ProcessNodes)
	case o.Nodes+o.ProcessNodes == 0 && !o.FakeAWS:
		return errors.New("no nodes: want at least one, simulated or process, or a fake AWS whose instances are nodes")
	case o.FakeAWSNodes != "" && !o.FakeAWS:
		return fmt.Errorf("instances are %s nodes, and there is no fake AWS that could have any", o.FakeAWSNodes)
	case o.FakeAWSNodes != "" && o.FakeAWSNodes != agent.Process && o.FakeAWSNodes != agent.Simulated:
		return fmt.Errorf("instances are %q nodes: want %s or %s", o.FakeAWSNodes, agent.Simulated, agent.Process)
	}
	return nil
}

// instancesRun says that instances of the fake AWS are process nodes.
func (o *Options) instancesRun() bool {
	return o.FakeAWS && (o.FakeAWSNodes == agent.Process || o.FakeAWSNodes == "" && o.ProcessNodes > 0)
}

// runsProcesses says that there are process nodes, or can be.
func (o *Options) runsProcesses() bool { return o.ProcessNodes > 0 || o.instancesRun() }

// Cluster is one that runs in this process.
type Cluster struct {
	options   Options
	lock      *lock
	endpoint  string
	authority *authority
	admin     *rest.Config
	// processes in the order of their start; they are stopped in the reverse.
	processes []*process
	simulator *simulator
	agent     *agent.Agent
	proxy     *service.Proxy
	gateway   *gateway.Gateway
	cloud     *cloud
	audit     *Audit
}

// Start starts a cluster and returns when it is ready for work: the API serves,
// the nodes are Ready, and pods can be made.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	if o.Out == nil {
		o.Out = io.Discard
	}
	if err := o.Check(); err != nil {
		return nil, err
	}
	var err error
	if o.Binary, err = Find(o.Binary); err != nil {
		return nil, err
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	for _, dir := range []string{"", "pki", "logs"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, dir), 0o700); err != nil {
			return nil, err
		}
	}
	l, err := acquire(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := endLeftBehind(ctx, o.Dir); err != nil {
		return nil, errors.Join(err, l.release())
	}
	for try := 1; ; try++ {
		c := &Cluster{options: o, lock: l}
		err := c.start(ctx)
		if err == nil {
			return c, nil
		}
		// Asked to stop or not, what was started has to end.
		stopped := c.stopProcesses(context.WithoutCancel(ctx))
		if try == startTries || ctx.Err() != nil || !strings.Contains(err.Error(), "address already in use") {
			return nil, errors.Join(err, stopped, l.release())
		}
	}
}

func (c *Cluster) start(ctx context.Context) error {
	t := newTimer(c.options.Out)
	ports, err := freePorts(ctx, 5)
	if err != nil {
		return fmt.Errorf("find free ports: %w", err)
	}
	files, err := c.prepare(ports)
	if err != nil {
		return err
	}
	t.done("certificates")
	if err := c.launch("etcd", files.etcd()...); err != nil {
		return err
	}
	if err := c.launch("kube-apiserver", append(files.apiserver(), c.emulation()...)...); err != nil {
		return err
	}
	if err := c.awaitServing(ctx); err != nil {
		return err
	}
	t.done("etcd and kube-apiserver")
	if err := c.launch("kube-controller-manager", append(files.controllerManager(), c.emulation()...)...); err != nil {
		return err
	}
	if err := c.launch("kube-scheduler", append(files.scheduler(), c.emulation()...)...); err != nil {
		return err
	}
	if c.simulator, err = startSimulator(ctx, c); err != nil {
		return err
	}
	if err := c.startAgent(ctx); err != nil {
		return err
	}
	if err := c.startGateway(ctx); err != nil {
		return err
	}
	if err := c.awaitReady(ctx); err != nil {
		return err
	}
	if err := c.startCloud(ctx); err != nil {
		return fmt.Errorf("fake AWS: %w", err)
	}
	t.done("kube-controller-manager, kube-scheduler and nodes")
	c.audit = &Audit{path: files.audit, client: c.admin}
	t.total()
	return os.WriteFile(filepath.Join(c.options.Dir, "ready"), nil, 0o600)
}

func (c *Cluster) launch(name string, arguments ...string) error {
	p, err := startProcess(c.options.Binary, c.options.Dir, name, arguments...)
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	return record(c.options.Dir, c.processes)
}

// Stop ends everything, in an order in which each part still has what it needs:
// etcd goes last, because an API server without it takes long to end.
func (c *Cluster) Stop(ctx context.Context) error {
	err := c.stopProcesses(ctx)
	if c.options.Ephemeral {
		err = errors.Join(err, os.RemoveAll(c.options.Dir))
	}
	return errors.Join(err, c.lock.release())
}

func (c *Cluster) stopProcesses(ctx context.Context) error {
	if c.cloud != nil {
		c.cloud.stop()
	}
	if c.gateway != nil {
		c.gateway.Stop()
	}
	if c.agent != nil {
		c.agent.Stop()
	}
	if c.proxy != nil {
		c.proxy.Stop()
	}
	if c.simulator != nil {
		c.simulator.stop()
	}
	problems := []error{endStrays(ctx, c.options.Dir)}
	for _, p := range slices.Backward(c.processes) {
		problems = append(problems, p.stop(ctx))
	}
	for _, name := range []string{"ready", "children.json", gatewayFile, CloudFile} {
		if err := os.Remove(filepath.Join(c.options.Dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// died returns why the cluster cannot go on, or nil.
func (c *Cluster) died() error {
	for _, p := range c.processes {
		if err := p.died(); err != nil {
			return err
		}
	}
	return nil
}

// Wait returns when ctx ends, or with an error when a part of the cluster does.
func (c *Cluster) Wait(ctx context.Context) error {
	ended := make(chan struct{}, len(c.processes))
	for _, p := range c.processes {
		go func() { <-p.done; ended <- struct{}{} }()
	}
	select {
	case <-ctx.Done():
		return nil
	case <-ended:
		return c.died()
	}
}

// Config returns an administrator's configuration.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.admin) }

// Kubeconfig returns the path of an administrator's kubeconfig.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.options.Dir, "kubeconfig") }

// Gateway is the address that routes requests to pods on process nodes; empty without
// such nodes.
func (c *Cluster) Gateway() string {
	if !c.options.runsProcesses() {
		return ""
	}
	return c.gateway.Address()
}

// Agent runs the process nodes; nil without such nodes.
func (c *Cluster) Agent() *agent.Agent { return c.agent }

// Audit counts requests.
func (c *Cluster) Audit() *Audit { return c.audit }

// Processes returns the process ids of the control plane by name.
func (c *Cluster) Processes() map[string]int {
	all := map[string]int{}
	for _, p := range c.processes {
		all[p.name] = p.cmd.Process.Pid
	}
	return all
}

// ConfigFor returns a configuration for any user, whom the API server knows by a
// certificate: for system:serviceaccount:NAMESPACE:NAME its groups are added.
func (c *Cluster) ConfigFor(user string, groups ...string) (*rest.Config, error) {
	made, err := c.identify(user, groups)
	if err != nil {
		return nil, err
	}
	return clientConfig(c.endpoint, c.authority, made), nil
}

// WriteKubeconfig is ConfigFor for programs that read a file.
func (c *Cluster) WriteKubeconfig(path, user string, groups ...string) error {
	made, err := c.identify(user, groups)
	if err != nil {
		return err
	}
	return c.kubeconfig(path, made)
}

func (c *Cluster) identify(user string, groups []string) (pair, error) {
	if rest, ok := strings.CutPrefix(user, "system:serviceaccount:"); ok {
		namespace, _, _ := strings.Cut(rest, ":")
		groups = append(slices.Clone(groups), "system:serviceaccounts", "system:serviceaccounts:"+namespace)
	}
	return c.authority.client(user, groups...)
}

// timer tells what took how long.
type timer struct {
	out         io.Writer
	start, last time.Time
}

func newTimer(out io.Writer) *timer {
	now := time.Now()
	return &timer{out, now, now}
}

func (t *timer) done(what string) {
	now := time.Now()
	fmt.Fprintf(t.out, "  %5.1fs  %s\n", now.Sub(t.last).Seconds(), what)
	t.last = now
}

func (t *timer) total() {
	fmt.Fprintf(t.out, "  %5.1fs  in all: the cluster is ready\n", time.Since(t.start).Seconds())
}
