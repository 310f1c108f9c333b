package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/aws"
)

// devAWSCommand does to the users of the fake AWS what AWS does to its own.
func devAWSCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "aws",
		Short: "Take capacity and instances away, throttle, and lag, in the fake AWS of a cluster",
		Long: `Do in the fake AWS of a cluster that was started with --fake-aws what AWS does to its
customers. All times are the fake's, which --fake-aws-speed makes faster than life.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(devAWSCapacity(), devAWSInterrupt(), devAWSCrash(), devAWSThrottle(), devAWSLag())
	return cmd
}

// provoke has the fake AWS of a cluster do something, and says what it is.
func provoke(cmd *cobra.Command, dir string, p aws.Provocation, format string, args ...any) error {
	endpoint, err := os.ReadFile(filepath.Join(dir, devcluster.CloudFile))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no cluster with a fake AWS runs in %s; start it with: windlass dev up --dir %s --fake-aws", dir, dir)
	}
	if err != nil {
		return err
	}
	if err := aws.Provoke(cmd.Context(), strings.TrimSpace(string(endpoint)), p); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...)
	return err
}

func devAWSCapacity() *cobra.Command {
	var dir string
	var room int
	var unlimited bool
	p := aws.Capacity{}
	cmd := &cobra.Command{
		Use:   "capacity ZONE TYPE",
		Short: "Say how many more instances of a type a zone has",
		Example: `  windlass dev aws capacity eu-central-1a t3.medium --room 0
  windlass dev aws capacity eu-central-1a t3.medium --unlimited`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.Zone, p.InstanceType = args[0], args[1]
			if unlimited {
				return provoke(cmd, dir, p, "%s has any number of %s", p.Zone, p.InstanceType)
			}
			p.Room = &room
			return provoke(cmd, dir, p, "%s has %d more of %s", p.Zone, room, p.InstanceType)
		},
	}
	dirFlag(cmd, &dir)
	cmd.Flags().IntVar(&room, "room", 0, "`NUMBER` of instances that can still be launched")
	cmd.Flags().BoolVar(&unlimited, "unlimited", false, "lift the limit")
	cmd.Flags().BoolVar(&p.Spot, "spot", false, "of spot instances instead of on-demand ones")
	cmd.MarkFlagsOneRequired("room", "unlimited")
	cmd.MarkFlagsMutuallyExclusive("room", "unlimited")
	return cmd
}

func devAWSInterrupt() *cobra.Command {
	var dir string
	var lead time.Duration
	cmd := &cobra.Command{
		Use:     "interrupt INSTANCE",
		Short:   "Take a spot instance away, two minutes after its notice",
		Example: `  windlass dev aws interrupt i-00000000000000012 --lead 5m`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return provoke(cmd, dir, aws.Interruption{Instance: args[0], Lead: metav1.Duration{Duration: lead}}, "Instance %s gets its notice in %s", args[0], lead)
		},
	}
	dirFlag(cmd, &dir)
	cmd.Flags().DurationVar(&lead, "lead", 0, "`DURATION` from the recommendation to replace it to the notice")
	return cmd
}

func devAWSCrash() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "crash INSTANCE",
		Short:   "End an instance as if its hardware failed",
		Example: `  windlass dev aws crash i-00000000000000012`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return provoke(cmd, dir, aws.Crash{Instance: args[0]}, "Instance %s has crashed", args[0])
		},
	}
	dirFlag(cmd, &dir)
	return cmd
}

func devAWSThrottle() *cobra.Command {
	var dir string
	var off bool
	var limit aws.Limit
	cmd := &cobra.Command{
		Use:   "throttle ACTION",
		Short: "Limit how often an action may be called",
		Example: `  windlass dev aws throttle ec2.DescribeInstances --per-second 2 --burst 10
  windlass dev aws throttle ec2.DescribeInstances --off`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if off {
				return provoke(cmd, dir, aws.Throttling{Action: args[0]}, "%s is not limited", args[0])
			}
			return provoke(cmd, dir, aws.Throttling{Action: args[0], Limit: &limit}, "%s is limited to %v per second, and %d at once", args[0], limit.PerSecond, limit.Burst)
		},
	}
	dirFlag(cmd, &dir)
	cmd.Flags().Float64Var(&limit.PerSecond, "per-second", 0, "`NUMBER` of calls")
	cmd.Flags().IntVar(&limit.Burst, "burst", 1, "`NUMBER` of calls at once")
	cmd.Flags().BoolVar(&off, "off", false, "lift the limit")
	cmd.MarkFlagsOneRequired("per-second", "off")
	cmd.MarkFlagsMutuallyExclusive("per-second", "off")
	cmd.MarkFlagsMutuallyExclusive("burst", "off")
	return cmd
}

func devAWSLag() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "lag DURATION",
		Short:   "Have reads be so far behind writes",
		Example: `  windlass dev aws lag 5s`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			behind, err := time.ParseDuration(args[0])
			if err != nil {
				return usageError{err}
			}
			return provoke(cmd, dir, aws.Lag{Behind: metav1.Duration{Duration: behind}}, "Reads are %s behind writes", behind)
		},
	}
	dirFlag(cmd, &dir)
	return cmd
}
