package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"windlass.dev/internal/devcluster/agent"
)

// devNodeCommand does to the machine of a process node what happens to machines.
func devNodeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node",
		Short: "Stop, kill or partition a node that runs programs, and start it again",
		Long: `Do to the machine of a process node what happens to machines. The control plane
finds out by itself: after its grace period of about 50 s a node that is not heard
of is NotReady, gets taints, and its pods are evicted as their tolerations say.`,
		Args: cobra.NoArgs,
	}
	for _, one := range []struct {
		verb, short string
		state       agent.State
	}{
		{"stop", "Shut a node down: its programs get SIGTERM and their grace periods", agent.Stopped},
		{"kill", "Take a node's power away: its programs are killed", agent.Killed},
		{"partition", "Cut a node off from the API server: its programs go on", agent.Partitioned},
		{"start", "Start a node again, or connect it: it takes up what is still bound to it", agent.Running},
	} {
		cmd.AddCommand(devNodeVerb(one.verb, one.short, one.state))
	}
	return cmd
}

func devNodeVerb(verb, short string, state agent.State) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     verb + " NAME",
		Short:   short,
		Example: fmt.Sprintf("  windlass dev node %s process-0", verb),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig(dir))
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			if err := agent.SetState(cmd.Context(), client, args[0], state); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "Node %s is %s\n", args[0], state)
			return err
		},
	}
	dirFlag(cmd, &dir)
	return cmd
}
