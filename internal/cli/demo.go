package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/internal/cloud/aws"
	"windlass.dev/internal/config"
	"windlass.dev/internal/demo"
	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/install"
	"windlass.dev/internal/manager"
)

func demoCommand() *cobra.Command {
	var keep bool
	var dir string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the main job on a development cluster, and verify it",
		Long: `Start a development cluster, install Windlass into it and let it run a small fleet
of Mattermost installations: create, repair, upgrade, damage, delete. Then machines of a
fake AWS are replaced while people use what runs on them. Each step says what it verified;
the exit code is 1 if anything did not hold.`,
		Example: `  windlass demo
  windlass demo --keep`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd, dir, keep)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave everything up at the end, until Ctrl-C")
	cmd.Flags().StringVar(&dir, "dir", "", "`FOLDER` of the cluster's state; otherwise a temporary one")
	return cmd
}

func runDemo(cmd *cobra.Command, dir string, keep bool) (err error) {
	out := cmd.OutOrStdout()
	if dir == "" {
		if dir, err = os.MkdirTemp("", "windlass-demo-"); err != nil {
			return err
		}
	}
	d := &demo.Demo{Clock: clock.RealClock{}, Out: out}
	var cluster *devcluster.Cluster
	err = d.Step("Start a development cluster", func() (err error) {
		cluster, err = devcluster.Start(cmd.Context(), demoCluster(dir, out))
		return err
	})
	if err != nil {
		return err
	}
	defer func() {
		fmt.Fprintln(out, "\nStopping the cluster")
		err = errors.Join(err, cluster.Stop(context.WithoutCancel(cmd.Context())))
	}()
	stop, err := startWindlass(cmd, d, cluster, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := d.Run(cmd.Context()); err != nil {
		return err
	}
	d.Summary()
	if keep {
		howToUse(out, dir, cluster.Gateway())
		fmt.Fprintf(out, "\nTry\n  windlass dev kubectl --dir %[1]s -- -n demo get mm\n  windlass explain mm chat -n demo --kubeconfig %[1]s/kubeconfig\nCtrl-C ends it.\n", dir)
		return cluster.Wait(cmd.Context())
	}
	fmt.Fprint(out, "\nEverything that was claimed was verified. Next: make demo KEEP=1, then use kubectl yourself.\n")
	return nil
}

// demoSpeed is how many times faster than life the fake AWS is: an instance boots in 2 s.
const demoSpeed = 30

// demoCluster has nodes that run pods as processes, so that requests can be sent to them,
// where there can be such nodes; the instances of the fake AWS are such too.
func demoCluster(dir string, out io.Writer) devcluster.Options {
	o := devcluster.Options{Dir: dir, Ephemeral: true, FakeAWS: true, FakeAWSSpeed: demoSpeed, Out: out}
	if runtime.GOOS == "linux" {
		o.ProcessNodes = 3
	} else {
		o.Nodes = 3
	}
	return o
}

// startWindlass installs Windlass and runs its controllers as the cluster knows
// them: with the shipped permissions and no others.
func startWindlass(cmd *cobra.Command, d *demo.Demo, cluster *devcluster.Cluster, dir string) (stop func() error, err error) {
	scheme, err := manager.Scheme()
	if err != nil {
		return nil, err
	}
	if d.Client, err = client.New(cluster.Config(), client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	d.Gateway, d.Machines = cluster.Gateway(), cluster
	d.Requests = func(ctx context.Context, during func(context.Context) error) ([]string, error) {
		return requests(ctx, cluster.Audit(), during)
	}
	d.Explain = func(ctx context.Context, name types.NamespacedName, out io.Writer) error {
		e, err := explain(ctx, d.Client, mattermostKind, name, d.Clock.Now())
		if err != nil {
			return err
		}
		return e.text(out, d.Clock.Now())
	}
	running, cancel := context.WithCancel(cmd.Context())
	ended := make(chan error, 1)
	stop = func() error {
		cancel()
		return <-ended
	}
	err = d.Step("Install Windlass and start its controllers with the shipped permissions", func() error {
		objects, err := install.Objects(install.Options{WithoutDeployment: true})
		if err != nil {
			return err
		}
		if err := install.Apply(cmd.Context(), d.Client, objects, nil); err != nil {
			return err
		}
		return runControllers(running, cluster, dir, ended)
	})
	if err != nil {
		cancel()
		return nil, err
	}
	return stop, nil
}

// runControllers returns when the controllers' caches are filled; ended receives
// how they end.
func runControllers(ctx context.Context, cluster *devcluster.Cluster, dir string, ended chan<- error) error {
	rest, err := cluster.ConfigFor(install.Identity)
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "logs", "windlass.log"))
	if err != nil {
		return err
	}
	cfg := config.Default()
	cfg.Metrics.Address, cfg.Health.Address = "0", "0"
	logger := newLogger(log, cfg.Log)
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	started := make(chan struct{})
	failed := make(chan error, 1)
	go func() {
		err := manager.Run(ctrl.LoggerInto(ctx, logger), cfg, rest, manager.Hooks{AWS: aws.At(cluster.AWS()), Started: func() { close(started) }})
		failed <- err
		ended <- errors.Join(err, log.Close())
	}()
	select {
	case <-started:
		return nil
	case err := <-failed:
		return fmt.Errorf("the controllers did not start: %w", err)
	case <-time.After(patience):
		return errors.New("the controllers did not start in time")
	}
}

// requests returns what Windlass asked of the API server during and just after
// something, but for watches and the renewals of its lease, which show that the
// process is alive and are no work on installations.
func requests(ctx context.Context, audit *devcluster.Audit, during func(context.Context) error) ([]string, error) {
	from, err := audit.Mark(ctx)
	if err != nil {
		return nil, err
	}
	if err := during(ctx); err != nil {
		return nil, err
	}
	// Nothing is expected to happen, so there is nothing to wait for but time:
	// what is woken is looked at within half a second.
	select {
	case <-time.After(3 * time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	to, err := audit.Mark(ctx)
	if err != nil {
		return nil, err
	}
	all, err := audit.Since(from, to, install.Identity)
	if err != nil {
		return nil, err
	}
	var made []string
	for _, r := range all {
		if r.Resource != "leases" {
			made = append(made, fmt.Sprintf("%s %s %s", r.Verb, r.Resource, r.Name))
		}
	}
	return made, nil
}
