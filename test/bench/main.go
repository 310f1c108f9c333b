// Command bench measures Windlass against a floor or a peer, in the same run on
// the same machine. Each benchmark prints what it does as it goes, and one line
// of JSON last.
//
//	go run ./test/bench installations -n 200
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// benchmarks return the figures that they print.
var benchmarks = map[string]func(ctx context.Context, arguments []string) (any, error){
	"installations": installations,
	"adoption":      adoption,
	"devcluster":    devCluster,
	"rotation-live": rotationLive,
	"planning":      planning,
	"rotation":      rotationTimes,
	"rollout":       rolloutTimes,
	"migration":     migrations,
}

func main() {
	if isPart, err := part(os.Args[1:]); isPart {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Everything here is told by the benchmark itself.
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// part runs what a benchmark starts in a process of its own, until a signal ends it.
func part(arguments []string) (isPart bool, err error) {
	switch {
	case len(arguments) == 2 && arguments[0] == timedProgram:
		return true, runTimed(arguments[1])
	case len(arguments) == 3 && arguments[0] == proxyProgram:
		return true, runProxy(arguments[1], arguments[2])
	default:
		return false, nil
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) == 0 || benchmarks[arguments[0]] == nil {
		return errors.New("name a benchmark: installations, adoption, devcluster, planning, rotation, rotation-live, rollout or migration")
	}
	figures, err := benchmarks[arguments[0]](ctx, arguments[1:])
	if err != nil {
		if figures != nil {
			logf("until then: %+v", figures)
		}
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(figures)
}

// logf tells a person what is going on.
func logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
