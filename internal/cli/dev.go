package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"

	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/standin"
)

// patience bounds the start and the stop of a cluster in the background.
const patience = 2 * time.Minute

func devCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a development cluster: a real control plane with simulated nodes",
		Long: `Run a development cluster on this machine, without containers: etcd and Kubernetes'
own control plane as child processes, and nodes that simulate pods. Everything
listens on free ports of 127.0.0.1, and several clusters can run side by side,
each in a folder of its own.

Pods run no programs: they become Ready, and those of Jobs succeed. Images with the
tag does-not-exist never start. Annotations on a Job's pods change what they do:
simulated.windlass.dev/outcome (succeed, fail or never) and
simulated.windlass.dev/duration (such as 5s).`,
	}
	cmd.AddCommand(devUpCommand(), devDownCommand(), devStatusCommand(), devKubectlCommand(), devNodeCommand(), devAWSCommand(), devTrafficCommand(), devStandInCommand())
	return cmd
}

func dirFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "dir", ".windlass", "`FOLDER` of the cluster's state")
}

func devUpCommand() *cobra.Command {
	var o devcluster.Options
	var detach bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a development cluster",
		Long: `Start a development cluster and run it until Ctrl-C, or in the background with
--detach. What was in it at the last stop is there again, unless it was ephemeral.`,
		Example: `  windlass dev up
  windlass dev up --dir /tmp/other --nodes 5 --detach
  windlass dev up --nodes 0 --process-nodes 3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Check(); err != nil {
				return usageError{err}
			}
			if o.FakeAWSSpeed < 1 {
				return usageError{fmt.Errorf("--fake-aws-speed is %v: want at least 1", o.FakeAWSSpeed)}
			}
			if detach {
				return detached(cmd.Context(), o, cmd.OutOrStdout())
			}
			return foreground(cmd.Context(), o, cmd.OutOrStdout())
		},
	}
	dirFlag(cmd, &o.Dir)
	cmd.Flags().IntVar(&o.Nodes, "nodes", 3, "`NUMBER` of simulated nodes")
	cmd.Flags().IntVar(&o.ProcessNodes, "process-nodes", 0, "`NUMBER` of nodes that run pods as processes")
	cmd.Flags().StringVar(&o.Images, "images", "", "`FOLDER` that says what process nodes run; before what ships with them")
	cmd.Flags().BoolVar(&o.FakeAWS, "fake-aws", false, "add a fake AWS, whose instances become nodes")
	cmd.Flags().StringVar(&o.FakeAWSNodes, "fake-aws-nodes", "", "`KIND` of nodes that instances become, simulated or process; otherwise process if there are --process-nodes")
	cmd.Flags().Float64Var(&o.FakeAWSSpeed, "fake-aws-speed", 1, "how many `TIMES` faster than life the fake AWS's time runs")
	cmd.Flags().StringVar(&o.Version, "kubernetes", "", "minor `VERSION` of Kubernetes to behave as, such as 1.34; otherwise the newest")
	cmd.Flags().BoolVar(&o.Ephemeral, "ephemeral", false, "remove the folder when the cluster stops")
	cmd.Flags().BoolVar(&detach, "detach", false, "run in the background and return when the cluster is ready")
	return cmd
}

func foreground(ctx context.Context, o devcluster.Options, out io.Writer) error {
	fmt.Fprintln(out, "Starting a development cluster")
	o.Out = out
	c, err := devcluster.Start(ctx, o)
	if err != nil {
		return err
	}
	howToUse(out, o.Dir, c.Gateway())
	howToUseAWS(out, c.AWS())
	err = c.Wait(ctx)
	fmt.Fprintln(out, "Stopping")
	return errors.Join(err, c.Stop(context.WithoutCancel(ctx)))
}

func howToUse(out io.Writer, dir, gateway string) {
	fmt.Fprintf(out, `
Use it with
  export KUBECONFIG=%s
or
  windlass dev kubectl --dir %s -- get nodes
`, kubeconfig(dir), dir)
	if gateway != "" {
		fmt.Fprintf(out, `
Pods on process nodes are reached by their routes at %s:
  curl --connect-to ::%s http://chat.example.com/
`, gateway, gateway)
	}
}

// howToUseAWS says how the AWS CLI and the SDKs are pointed at the fake; whatever the
// keys are, they are accepted.
func howToUseAWS(out io.Writer, endpoint string) {
	if endpoint != "" {
		fmt.Fprintf(out, `
AWS is faked at %s; the AWS CLI and SDKs use it with
  export AWS_ENDPOINT_URL=%s AWS_REGION=%s AWS_DEFAULT_REGION=%s
  export AWS_ACCESS_KEY_ID=fake AWS_SECRET_ACCESS_KEY=fake
`, endpoint, endpoint, devcluster.CloudRegion, devcluster.CloudRegion)
	}
}

func kubeconfig(dir string) string {
	path := filepath.Join(dir, "kubeconfig")
	if absolute, err := filepath.Abs(path); err == nil {
		return absolute
	}
	return path
}

// detached starts this program again, in a session of its own, and returns when
// that says on its log that the cluster is ready.
func detached(ctx context.Context, o devcluster.Options, out io.Writer) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(o.Dir, "dev.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	arguments := []string{
		"dev", "up", "--dir", o.Dir, "--nodes", fmt.Sprint(o.Nodes), "--process-nodes", fmt.Sprint(o.ProcessNodes), "--images", o.Images, "--kubernetes", o.Version,
	}
	if o.Ephemeral {
		arguments = append(arguments, "--ephemeral")
	}
	if o.FakeAWS {
		arguments = append(arguments, "--fake-aws", "--fake-aws-speed", fmt.Sprint(o.FakeAWSSpeed), "--fake-aws-nodes", o.FakeAWSNodes)
	}
	// Not bound to ctx: it is meant to outlive this program.
	supervisor := &exec.Cmd{Path: program, Args: append([]string{program}, arguments...), Stdout: log, Stderr: log, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	if err := supervisor.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- supervisor.Wait() }()
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		select {
		case err := <-ended:
			content, _ := os.ReadFile(log.Name())
			return false, fmt.Errorf("the cluster did not start: %w\n%s", errors.Join(err), content)
		default:
			return devcluster.Ready(o.Dir)
		}
	})
	if err != nil {
		return err
	}
	content, err := os.ReadFile(log.Name())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\nIt runs in the background; stop it with: windlass dev down --dir %s\n", content, o.Dir)
	return err
}

func devDownCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "down",
		Short:   "Stop a development cluster",
		Example: `  windlass dev down --dir .windlass`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pid, runs, err := devcluster.Holder(dir)
			if err != nil {
				return err
			}
			if !runs {
				if err := devcluster.CleanUp(cmd.Context(), dir); err != nil {
					return err
				}
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "No cluster runs in %s\n", dir)
				return err
			}
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
				return fmt.Errorf("stop the cluster's process %d: %w", pid, err)
			}
			err = wait.PollUntilContextTimeout(cmd.Context(), 50*time.Millisecond, patience, true, func(context.Context) (bool, error) {
				_, runs, err := devcluster.Holder(dir)
				return !runs, err
			})
			if err != nil {
				return fmt.Errorf("wait for the end of process %d: %w", pid, err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "Stopped the cluster in %s\n", dir)
			return err
		},
	}
	dirFlag(cmd, &dir)
	return cmd
}

func devStatusCommand() *cobra.Command {
	var dir string
	var o output
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether a development cluster runs",
		Long:  "Say whether a development cluster runs in a folder. Exit code 3 means that none does.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pid, runs, err := devcluster.Holder(dir)
			if err != nil {
				return err
			}
			answer := struct {
				Running    bool   `json:"running"`
				PID        int    `json:"pid,omitempty"`
				Kubeconfig string `json:"kubeconfig,omitempty"`
			}{Running: runs}
			if runs {
				answer.PID, answer.Kubeconfig = pid, kubeconfig(dir)
			}
			err = o.print(cmd.OutOrStdout(), answer, func(w io.Writer) error {
				if !runs {
					_, err := fmt.Fprintf(w, "No cluster runs in %s\n", dir)
					return err
				}
				_, err := fmt.Fprintf(w, "A cluster runs in %s (process %d), kubeconfig %s\n", dir, pid, answer.Kubeconfig)
				return err
			})
			if err == nil && !runs {
				return errUnhealthy
			}
			return err
		},
	}
	dirFlag(cmd, &dir)
	o.addFlag(cmd)
	return cmd
}

func devKubectlCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "kubectl -- ARGUMENTS",
		Short:   "Run the kubectl that belongs to the cluster",
		Example: `  windlass dev kubectl -- get pods -A`,
		RunE: func(cmd *cobra.Command, args []string) error {
			binary, err := devcluster.Find("")
			if err != nil {
				return err
			}
			kubectl := exec.CommandContext(cmd.Context(), binary)
			kubectl.Args = append([]string{"kubectl", "--kubeconfig", kubeconfig(dir)}, args...)
			kubectl.Stdin, kubectl.Stdout, kubectl.Stderr = os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr()
			return kubectl.Run()
		},
	}
	dirFlag(cmd, &dir)
	return cmd
}

// devStandInCommand is what process nodes run instead of images.
func devStandInCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "stand-in KIND [ARGUMENT...]",
		Short:              "Behave like a program in an image",
		Hidden:             true,
		DisableFlagParsing: true,
		Args:               cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if code := standin.Main(cmd.Context(), args[0], args[1:], cmd.OutOrStdout(), standin.Env); code != 0 {
				return fmt.Errorf("%s ended with %d", args[0], code)
			}
			return nil
		},
	}
}
