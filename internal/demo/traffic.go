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

// What people do with chat while something happens to it.
const (
	rate       = 100 // requests a second
	webSockets = 10
	// longest bounds a load; it ends when what happens is over.
	longest = 5 * time.Minute
)

// underTraffic sends requests to chat and holds websockets open while something happens
// to it, until the last old pod is gone. It fails if anything is lost.
func (d *Demo) underTraffic(ctx context.Context, during func(context.Context) error) error {
	if d.Gateway == "" {
		fmt.Fprintln(d.Out, "  pods are simulated on this system, so that no requests can be sent")
		return during(ctx)
	}
	host := "chat.example.com"
	plan := traffic.Plan{
		URL: "http://" + host + "/api/v4/system/ping", Connect: d.Gateway, Rate: rate, Duration: longest, FreshEvery: 5, By: []string{"X-Windlass-Version"},
		WebSockets: webSockets, WebSocketURL: "ws://" + host + "/api/v4/websocket",
	}
	if err := d.routed(ctx, plan); err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "  %d requests a second and %d websockets go to http://%s from here on\n", rate, webSockets, host)
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
	err := during(ctx)
	if err == nil {
		err = d.oldPodsGone(ctx)
	}
	stop()
	r := <-sent
	if err = errors.Join(err, r.err); err != nil {
		return err
	}
	return d.lostNothing(r.report)
}

func (d *Demo) lostNothing(report *traffic.Report) error {
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
	d.verified("%d requests were sent and 0 lost; %d websockets were held, and none broke", report.Requests.Sent, webSockets)
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

// oldPodsGone waits until nothing of chat terminates any more.
func (d *Demo) oldPodsGone(ctx context.Context) error {
	return d.until(ctx, func(ctx context.Context) (string, error) {
		var pods corev1.PodList
		err := d.Client.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{"installation.mattermost.com/installation": "chat"})
		for i := range pods.Items {
			if pods.Items[i].DeletionTimestamp != nil {
				return "the last old pod of chat to end", err
			}
		}
		return "", err
	})
}
