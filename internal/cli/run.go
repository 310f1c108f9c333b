package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"windlass.dev/internal/config"
	"windlass.dev/internal/manager"
)

// gcPercent is how much the heap may grow, in percent of what is live, before
// garbage is collected. A fleet that starts makes much garbage at once and little
// ever after: half of Go's default takes a tenth off the peak of the memory, and no
// more CPU than can be measured. GOGC goes before it.
const gcPercent = 50

func runCommand() *cobra.Command {
	var t target
	var file string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the controllers",
		Long: `Run the controllers until a signal or until a lease is lost.

A signal ends it gracefully: work in hand is finished, then the leases are given
up, so that another replica takes over at once.

The environment variables of the Mattermost Operator are understood:
MAX_RECONCILE_CONCURRENCY sets the number of workers; MAX_RECONCILING_INSTALLATIONS
and REQUEUE_ON_LIMIT_DELAY are checked and have no effect, because no installation
waits for another here.`,
		Example: `  # In the cluster of the current kubectl context, by hand
  windlass run

  # With a configuration file
  windlass run --config windlass.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, notes, err := config.Load(file, os.LookupEnv)
			if err != nil {
				return err
			}
			if _, set := os.LookupEnv("GOGC"); !set {
				debug.SetGCPercent(gcPercent)
			}
			log := newLogger(cmd.ErrOrStderr(), cfg.Log)
			ctrl.SetLogger(log)
			klog.SetLogger(log.WithName("client"))
			for _, note := range notes {
				log.Info("Setting has no effect", "reason", note)
			}
			rest, err := t.config().ClientConfig()
			if err != nil {
				return fmt.Errorf("no cluster to talk to: %w", err)
			}
			log.Info("Starting", "version", version)
			return manager.Run(ctrl.LoggerInto(cmd.Context(), log), cfg, rest, manager.Hooks{})
		},
	}
	t.addFlags(cmd)
	cmd.Flags().StringVar(&file, "config", "", "configuration `FILE` (config.windlass.dev/v1alpha1)")
	return cmd
}

// newLogger logs to w. Levels are logr's: 0 is what was changed.
func newLogger(w io.Writer, cfg config.Log) logr.Logger {
	options := &slog.HandlerOptions{Level: slog.Level(-cfg.Level)}
	if cfg.Format == "text" {
		return logr.FromSlogHandler(slog.NewTextHandler(w, options))
	}
	return logr.FromSlogHandler(slog.NewJSONHandler(w, options))
}
