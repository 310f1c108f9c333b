package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"windlass.dev/internal/traffic"
)

// gatewayFigures compare our gateway with the standard library's proxy, each in a process
// of its own before the same pod. What is added is against asking the pod itself.
type gatewayFigures struct {
	GatewayAddedP50 float64 `json:"gateway_added_p50_ms"`
	GatewayAddedP99 float64 `json:"gateway_added_p99_ms"`
	ProxyAddedP50   float64 `json:"proxy_added_p50_ms"`
	ProxyAddedP99   float64 `json:"proxy_added_p99_ms"`
	// ThroughputRatio is how many requests get through, of how many through the proxy.
	ThroughputRatio float64 `json:"gateway_throughput_ratio"`
	GatewayRPS      float64 `json:"gateway_rps"`
	ProxyRPS        float64 `json:"proxy_rps"`
}

// proxyProgram is the argument that makes this program a bare proxy.
const proxyProgram = "proxy-program"

// runProxy is a bare httputil.ReverseProxy, with as many idle connections as the gateway
// keeps: with the default of two it would only measure opening them.
func runProxy(address, target string) error {
	to, err := url.Parse(target)
	if err != nil {
		return err
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 1000, IdleConnTimeout: 30 * time.Second, DisableCompression: true}
	// Clients that leave at the end of a load are no news.
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	server := &http.Server{Addr: address, Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}

const (
	// steadyRate is far from what either can do, so that times are not those of a queue.
	steadyRate = 200
	// clients send requests, one after the other each, for the throughput.
	clients = 32
	// rounds are how often both are measured, alternately.
	rounds = 5
)

func gatewayAgainstProxy(ctx context.Context, c *cluster, seconds int) (f gatewayFigures, err error) {
	gateway, err := c.gateway()
	if err != nil {
		return f, err
	}
	pod, err := c.client.CoreV1().Pods(benchNamespace).Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		return f, err
	}
	direct := fmt.Sprintf("127.%s:8080", strings.TrimPrefix(pod.Status.PodIP, "10."))
	proxy, stop, err := startProxy(ctx, c.self, "http://"+direct)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	length := time.Duration(seconds) * time.Second
	var added, bare [2][]float64 // p50 and p99
	var gatewayRPS, proxyRPS, ratios []float64
	for round := range rounds {
		var p [3]traffic.Requests
		for i, address := range []string{direct, gateway, proxy} {
			if p[i], err = steady(ctx, address, length/2); err != nil {
				return f, err
			}
		}
		added[0], added[1] = append(added[0], p[1].P50-p[0].P50), append(added[1], p[1].P99-p[0].P99)
		bare[0], bare[1] = append(bare[0], p[2].P50-p[0].P50), append(bare[1], p[2].P99-p[0].P99)
		ours, err := throughput(ctx, gateway, length/2)
		if err != nil {
			return f, err
		}
		theirs, err := throughput(ctx, proxy, length/2)
		if err != nil {
			return f, err
		}
		logf("round %d of %d: gateway %.0f requests/s, proxy %.0f; p50 added %.2f and %.2f ms", round+1, rounds, ours, theirs, p[1].P50-p[0].P50, p[2].P50-p[0].P50)
		gatewayRPS, proxyRPS, ratios = append(gatewayRPS, ours), append(proxyRPS, theirs), append(ratios, ours/theirs)
	}
	return gatewayFigures{
		GatewayAddedP50: median(added[0]), GatewayAddedP99: median(added[1]), ProxyAddedP50: median(bare[0]), ProxyAddedP99: median(bare[1]),
		ThroughputRatio: median(ratios), GatewayRPS: median(gatewayRPS), ProxyRPS: median(proxyRPS),
	}, nil
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

func startProxy(ctx context.Context, self, target string) (address string, stop func() error, err error) {
	if address, err = freeAddress(ctx); err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, self, proxyProgram, address, target)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() error {
		err := cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // By the signal.
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, look, time.Minute, true, func(ctx context.Context) (bool, error) { return answers(ctx, address), nil })
	if err != nil {
		return "", nil, errors.Join(err, stop())
	}
	return address, stop, nil
}

// steady sends at a constant rate, far below what can be had.
func steady(ctx context.Context, address string, length time.Duration) (traffic.Requests, error) {
	report, err := traffic.Run(ctx, traffic.Plan{URL: "http://" + address + "/", Host: webHost, Rate: steadyRate, Duration: length})
	if err != nil {
		return traffic.Requests{}, err
	}
	if report.Requests.Lost > 0 {
		return report.Requests, fmt.Errorf("%s lost %d requests: %v", address, report.Requests.Lost, report.Requests.Why)
	}
	return report.Requests, nil
}

// throughput is how many requests a second are answered when each client sends the next
// as soon as it has its answer.
func throughput(ctx context.Context, address string, length time.Duration) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	transport := &http.Transport{MaxIdleConnsPerHost: clients, DisableCompression: true}
	defer transport.CloseIdleConnections()
	var answered atomic.Int64
	var sending sync.WaitGroup
	problems := make([]error, clients)
	start := time.Now()
	for i := range clients {
		sending.Go(func() {
			for ctx.Err() == nil && problems[i] == nil {
				if err := once(ctx, transport, address); err == nil {
					answered.Add(1)
				} else if ctx.Err() == nil {
					problems[i] = err
				}
			}
		})
	}
	sending.Wait()
	return float64(answered.Load()) / time.Since(start).Seconds(), errors.Join(problems...)
}

func once(ctx context.Context, transport http.RoundTripper, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", http.NoBody)
	if err != nil {
		return err
	}
	request.Host = webHost
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", address, response.Status)
	}
	return nil
}
