package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/internal/traffic"
)

// longest bounds a load; it ends when what happens is over.
const longest = 5 * time.Minute

// load is what people do with a service while something happens to it.
type load struct {
	host, path string
	// rate is requests a second.
	rate       float64
	webSockets int
	// by are headers of the answers by which these are counted.
	by []string
	// pods are those that serve.
	namespace string
	labels    client.MatchingLabels
}

var (
	chatting = load{
		host: "chat.example.com", path: "/api/v4/system/ping", rate: 100, webSockets: 10, by: []string{"X-Windlass-Version"},
		namespace: namespace, labels: client.MatchingLabels{"installation.mattermost.com/installation": "chat"},
	}
	shopping = load{host: "shop.example.com", path: "/", rate: 100, namespace: shop, labels: client.MatchingLabels{"app": "web"}}
	paying   = load{host: "till.example.com", path: "/", rate: 25, namespace: shop, labels: client.MatchingLabels{"app": "till"}}
)

// plan is what is sent.
func (l load) plan(gateway string) traffic.Plan {
	return traffic.Plan{
		URL: "http://" + l.host + l.path, Connect: gateway, Rate: l.rate, Duration: longest, FreshEvery: 5, By: l.by,
		WebSockets: l.webSockets, WebSocketURL: "ws://" + l.host + "/api/v4/websocket",
	}
}

func (l load) String() string {
	text := fmt.Sprintf("%v requests a second", l.rate)
	if l.webSockets > 0 {
		text += fmt.Sprintf(" and %d websockets", l.webSockets)
	}
	return text
}

// underTraffic sends requests to a service, and holds its websockets open, while something
// happens to it, until the last old pod is gone. It fails if anything is lost, and says
// how many requests were sent.
func (d *Demo) underTraffic(ctx context.Context, l load, during func(context.Context) error) (requests int, err error) {
	if d.Gateway == "" {
		fmt.Fprintln(d.Out, "  pods are simulated on this system, so that no requests can be sent")
		return 0, during(ctx)
	}
	plan := l.plan(d.Gateway)
	if err := d.routed(ctx, plan); err != nil {
		return 0, err
	}
	fmt.Fprintf(d.Out, "  %s go to http://%s from here on\n", l, l.host)
	sending, stop := context.WithCancel(ctx)
	defer stop()
	type result struct {
		report *traffic.Report
		err    error
	}
	sent := make(chan result, 1)
	go func() {
		report, err := traffic.Run(sending, plan)
		sent <- result{report, err}
	}()
	err = during(ctx)
	if err == nil {
		err = d.oldPodsGone(ctx, l)
	}
	stop()
	r := <-sent
	if err = errors.Join(err, r.err); err != nil {
		return 0, err
	}
	return r.report.Requests.Sent, d.lostNothing(l, r.report)
}

func (d *Demo) lostNothing(l load, report *traffic.Report) error {
	var text strings.Builder
	if err := report.Text(&text); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		fmt.Fprint(d.Out, "  ", line)
	}
	if lost := report.Lost(); lost > 0 {
		return fmt.Errorf("%d requests or websockets of %d were lost", lost, report.Requests.Sent)
	}
	held := ""
	if l.webSockets > 0 {
		held = fmt.Sprintf("; %d websockets were held, and none broke", l.webSockets)
	}
	d.verified("%d requests were sent to %s and 0 lost%s", report.Requests.Sent, l.host, held)
	return nil
}

// routed waits until the gateway answers for a host; routes take effect after a while.
func (d *Demo) routed(ctx context.Context, plan traffic.Plan) error {
	plan.Duration, plan.Rate, plan.WebSockets = 100*time.Millisecond, 50, 0
	return d.until(ctx, func(ctx context.Context) (string, error) {
		report, err := traffic.Run(ctx, plan)
		if err == nil && report.Lost() > 0 {
			return "the gateway to route " + plan.URL, nil
		}
		return "", err
	})
}

// oldPodsGone waits until nothing that serves a load terminates any more.
func (d *Demo) oldPodsGone(ctx context.Context, l load) error {
	return d.until(ctx, func(ctx context.Context) (string, error) {
		var pods corev1.PodList
		err := d.Client.List(ctx, &pods, client.InNamespace(l.namespace), l.labels)
		for i := range pods.Items {
			if pods.Items[i].DeletionTimestamp != nil {
				return "the last old pod of " + l.host + " to end", err
			}
		}
		return "", err
	})
}
