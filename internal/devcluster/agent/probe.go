package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// verdict of a probe: it counts once as many results in a row as its threshold agree.
type verdict struct {
	probe     *corev1.Probe
	good, bad int32
}

// add takes one result; changed is true when the threshold is reached.
func (v *verdict) add(ok bool) (reached bool) {
	if ok {
		v.good, v.bad = v.good+1, 0
		return v.good >= max(v.probe.SuccessThreshold, 1)
	}
	v.good, v.bad = 0, v.bad+1
	return v.bad >= max(v.probe.FailureThreshold, 1)
}

// watch runs a probe until ctx ends, or until decided returns false. It is called with
// each result that reaches a threshold; each failure is said.
func (c *container) watch(ctx context.Context, kind string, probe *corev1.Probe, decided func(ok bool) (goOn bool)) {
	v := &verdict{probe: probe}
	next := time.NewTimer(time.Duration(probe.InitialDelaySeconds) * time.Second)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		err := c.ask(ctx, probe)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.warn(eventUnhealthy, "%s probe failed: %v", kind, err)
		}
		if v.add(err == nil) && !decided(err == nil) {
			return
		}
		next.Reset(time.Duration(max(probe.PeriodSeconds, 1)) * time.Second)
	}
}

// ask makes one attempt of a probe.
// See https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes.
func (c *container) ask(ctx context.Context, probe *corev1.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(max(probe.TimeoutSeconds, 1))*time.Second)
	defer cancel()
	switch {
	case probe.HTTPGet != nil:
		return c.httpGet(ctx, probe.HTTPGet)
	case probe.TCPSocket != nil:
		port, err := c.port(probe.TCPSocket.Port)
		if err != nil {
			return err
		}
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(c.host(probe.TCPSocket.Host), strconv.Itoa(port)))
		if err != nil {
			return err
		}
		return connection.Close()
	case probe.Exec != nil:
		return c.exec(ctx, probe.Exec.Command)
	case probe.GRPC != nil:
		return c.grpc(ctx, probe.GRPC)
	default:
		return errors.New("probes of this kind are not supported on process nodes")
	}
}

// prober does not keep connections, as the kubelet does not, and trusts any server.
var prober = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (c *container) httpGet(ctx context.Context, get *corev1.HTTPGetAction) error {
	port, err := c.port(get.Port)
	if err != nil {
		return err
	}
	scheme := strings.ToLower(string(get.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	target := &url.URL{Scheme: scheme, Host: net.JoinHostPort(c.host(get.Host), strconv.Itoa(port))}
	if target, err = target.Parse(get.Path); err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "kube-probe/windlass")
	for _, h := range get.HTTPHeaders {
		if http.CanonicalHeaderKey(h.Name) == "Host" {
			request.Host = h.Value
		} else {
			request.Header.Add(h.Name, h.Value)
		}
	}
	response, err := prober.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, 10<<10)); err != nil {
		return err
	}
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return fmt.Errorf("HTTP probe failed with statuscode: %d", response.StatusCode)
	}
	return nil
}

// grpc asks as the standard health protocol has it.
// See https://github.com/grpc/grpc/blob/master/doc/health-checking.md.
func (c *container) grpc(ctx context.Context, action *corev1.GRPCAction) error {
	connection, err := grpc.NewClient(net.JoinHostPort(c.host(""), strconv.Itoa(int(action.Port))),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent("kube-probe/windlass"), grpc.WithNoProxy())
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	request := &healthpb.HealthCheckRequest{}
	if action.Service != nil {
		request.Service = *action.Service
	}
	answer, err := healthpb.NewHealthClient(connection).Check(ctx, request)
	if err != nil {
		return fmt.Errorf("error: health rpc probe failed: %w", err)
	}
	if answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		return fmt.Errorf("service unhealthy (responded with %q)", answer.GetStatus())
	}
	return nil
}

// host is where the pod's programs listen, unless a probe names another host.
func (c *container) host(named string) string {
	if named == "" || named == c.pod.ip {
		return c.pod.listenIP
	}
	return named
}

func (c *container) port(p intstr.IntOrString) (int, error) {
	if p.Type == intstr.Int {
		return p.IntValue(), nil
	}
	for _, port := range c.spec.Ports {
		if port.Name == p.StrVal {
			return int(port.ContainerPort), nil
		}
	}
	if n, err := strconv.Atoi(p.StrVal); err == nil {
		return n, nil
	}
	return 0, fmt.Errorf("the container has no port %q", p.StrVal)
}

// exec runs a command in the container's place and wants it to succeed.
func (c *container) exec(ctx context.Context, command []string) error {
	argv, env, err := c.inside(command)
	if err != nil {
		return err
	}
	l, err := c.launch(argv, env, c.root())
	if err != nil {
		return err
	}
	p, err := c.pod.agent.spawner.start(l)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.kill()
		<-p.done
		return ctx.Err()
	}
	if code := p.exit(); code != 0 {
		return fmt.Errorf("command %q exited with %d", strings.Join(command, " "), code)
	}
	return nil
}
