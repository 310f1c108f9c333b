package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/util/wait"
)

// clockTicks is the unit of CPU time in /proc, in 1/s; fixed by Linux' ABI.
const clockTicks = 100

// process is the shipped binary, run on its own as a cluster would.
type process struct {
	cmd     *exec.Cmd
	metrics string
	pprof   string
	token   string
	stderr  bytes.Buffer
	// done is closed when it has ended, as err says.
	done chan struct{}
	err  error
}

// startWindlass runs `windlass run` with the shipped configuration, but for the
// addresses, which have to be free, and what extra says. Apart, it is in a session of its
// own: Linux then shares the processors out between it and all others together, as between
// the cgroups of pods, and not between the threads of all.
func startWindlass(ctx context.Context, binary, dir, kubeconfig, token, extra string, apart bool) (*process, error) {
	metrics, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	health, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	pprof, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "windlass.yaml")
	content := fmt.Sprintf("apiVersion: config.windlass.dev/v1alpha1\nkind: Configuration\nmetrics: {address: %q}\nhealth: {address: %q}\npprof: {address: %q}\n%s", metrics, health, pprof, extra)
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		return nil, err
	}
	p := &process{metrics: metrics, pprof: pprof, token: token, done: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, binary, "run", "--config", config, "--kubeconfig", kubeconfig)
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: apart}
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = time.Minute
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// terminate sends the signal that Kubernetes sends.
func (p *process) terminate() error { return p.cmd.Process.Signal(syscall.SIGTERM) }

// ended waits for the end after terminate.
func (p *process) ended() error {
	<-p.done
	if p.err != nil {
		return fmt.Errorf("windlass run: %w\n%s", p.err, tail(p.stderr.String()))
	}
	return nil
}

// lives is a context that ends when the process does, so that nothing waits for one that is
// not there any more; a Deployment would start another one, of which nothing is measured.
func (p *process) lives(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-p.done:
			cancel(errors.Join(errors.New("windlass run has ended"), p.err))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

func tail(text string) string { return text[max(0, len(text)-2000):] }

// peakMemory returns the most resident memory that the process had, in MiB.
func (p *process) peakMemory() (float64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(content), "VmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	kib, err := strconv.ParseFloat(strings.Trim(line, " \tkB"), 64)
	return kib / 1024, err
}

// cpu returns the CPU time that the process took so far, in seconds.
func (p *process) cpu() (float64, error) { return cpuOf(p.cmd.Process.Pid) }

func cpuOf(pid int) (float64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The fields behind the command's name, which may hold spaces; see proc(5).
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	return (user + system) / clockTicks, err
}

// looks is what the process' own metrics say of its passes.
type looks struct {
	// Succeeded is how many passes there were that had no reason to come back.
	Succeeded float64
	// Busy says that some are waiting or under way.
	Busy bool
}

func (p *process) looks(ctx context.Context) (looks, error) {
	families, err := p.scrape(ctx)
	if err != nil {
		return looks{}, err
	}
	var l looks
	for _, metric := range families["controller_runtime_reconcile_total"].GetMetric() {
		for _, label := range metric.GetLabel() {
			if label.GetName() == "result" && label.GetValue() == "success" {
				l.Succeeded += metric.GetCounter().GetValue()
			}
		}
	}
	for _, name := range []string{"workqueue_depth", "controller_runtime_active_workers"} {
		for _, metric := range families[name].GetMetric() {
			l.Busy = l.Busy || metric.GetGauge().GetValue() > 0
		}
	}
	return l, nil
}

// scrape reads the metrics as a monitoring system does, with a token.
func (p *process) scrape(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+p.metrics+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+p.token)
	// The certificate is made anew at each start and signed by nobody.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics: %s", response.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(response.Body)
}

// observed waits until the process has made at least n passes since base and
// has nothing left to do.
func (p *process) observed(ctx context.Context, n int, base float64) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 5*time.Minute, true, func(ctx context.Context) (bool, error) {
		l, err := p.looks(ctx)
		last = err // It may not serve yet.
		return err == nil && l.Succeeded-base >= float64(n) && !l.Busy, nil
	})
	if err != nil {
		return errors.Join(fmt.Errorf("wait until all installations were looked at: %w", err), last)
	}
	return nil
}
