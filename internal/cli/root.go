// Package cli is what people type. It parses, asks the packages that know, and
// prints; it decides nothing itself.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/internal/manager"
)

// version is set by the build.
var version = "development"

// Exit codes. Scripts rely on them, so they are part of the contract.
const (
	exitOK = 0
	// exitFailed: it was tried and did not work; the error says why.
	exitFailed = 1
	// exitUsage: it was not tried, because the command line makes no sense.
	exitUsage = 2
	// exitUnhealthy: it worked, and what was asked about is not as wanted.
	exitUnhealthy = 3
)

// errUnhealthy ends a command that worked with exitUnhealthy.
var errUnhealthy = errors.New("not as wanted")

// usageError is an error of whoever typed the command.
type usageError struct{ error }

// Main runs one command line and returns the exit code.
func Main(ctx context.Context, args []string, out, errOut io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errUnhealthy) {
		return exitUnhealthy
	}
	fmt.Fprintln(errOut, "error:", err)
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "windlass",
		Short: "Take the toil out of running applications on Kubernetes",
		Long: `Windlass runs applications on Kubernetes: its controllers carry out what custom
resources ask for, and its commands show what they do, would do, and why.

Exit codes: 0 it worked, 1 it failed, 2 the command line makes no sense,
3 it worked and what was asked about is not as wanted.`,
		Example: `  # Try everything on an embedded cluster
  windlass demo

  # Install into the cluster of the current kubectl context
  windlass install

  # Why is this installation not ready?
  windlass explain mattermost chat -n team-a`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())}
	})
	root.AddCommand(runCommand(), installCommand(), uninstallCommand(), explainCommand(), planCommand(), releaseCommand(), rotateCommand(), fleetCommand(), migrateCommand(), rolloutCommand(), devCommand(), demoCommand(), versionCommand())
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version)
			return err
		},
	}
}

// target is which cluster and namespace a command is about; the flags are
// kubectl's.
type target struct{ kubeconfig, context, namespace string }

func (t *target) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&t.kubeconfig, "kubeconfig", "", "kubeconfig `FILE`; otherwise $KUBECONFIG, ~/.kube/config or the pod's own account")
	flags.StringVar(&t.context, "context", "", "`NAME` of the kubeconfig's context")
	flags.StringVarP(&t.namespace, "namespace", "n", "", "`NAMESPACE`; otherwise the context's")
}

func (t *target) config() clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = t.kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: t.context}
	overrides.Context.Namespace = t.namespace
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
}

// connect returns a client and the namespace that the command is about.
func (t *target) connect() (client.Client, string, error) {
	config := t.config()
	rest, err := config.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("no cluster to talk to: %w", err)
	}
	rest.QPS = -1 // Lists have many pages; the API server says by itself when it is asked too much.
	namespace, _, err := config.Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("namespace: %w", err)
	}
	scheme, err := manager.Scheme()
	if err != nil {
		return nil, "", err
	}
	c, err := client.New(rest, client.Options{Scheme: scheme})
	if err != nil {
		return nil, "", fmt.Errorf("connect to %s: %w", rest.Host, err)
	}
	return c, namespace, nil
}
