// Package traffic measures what users of a service lose, with real requests at a
// constant rate. Requests leave when their time has come, whether or not those
// before were answered, and are timed from then on: so a service that stalls is
// charged for everybody who came in the meantime, and not for one request only.
package traffic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Plan is what to send. URL, Rate and Duration are required, or WebSockets or Long
// with their URL and Duration.
type Plan struct {
	URL string
	// Host is the header of this name; empty means the URL's host.
	Host string
	// Connect is the address, host:port, to which all connections go; empty means
	// the URL's.
	Connect string
	// Header is sent with each request.
	Header http.Header
	// Rate is how many requests leave in a second; 0 sends none.
	Rate float64
	// Duration is how long requests leave.
	Duration time.Duration
	// Timeout is when a request that was not answered counts as lost.
	Timeout time.Duration
	// FreshEvery is that each n-th request has a connection of its own; 0 never.
	FreshEvery int
	// Slow is from when on an answer counts as slow.
	Slow time.Duration
	// OK says which answers count as such; nil means 200 to 399.
	OK func(status int) bool
	// By are headers of the answers that say who answered, such as a pod and its
	// version. Answers are counted by their values.
	By []string

	// WebSockets are held open, and WebSocketURL echoes what it is sent.
	WebSockets   int
	WebSocketURL string
	// Long are requests that are under way at any time, to LongURL, which takes its
	// time. Their time is not measured.
	Long    int
	LongURL string
}

// The defaults of a Plan's optional fields.
const (
	DefaultTimeout = 30 * time.Second
	DefaultSlow    = time.Second
)

// maxInFlight bounds what waits for answers. Beyond that a request leaves late, and is
// still timed from when it should have left.
const maxInFlight = 10_000

func (p *Plan) complete() error {
	p.Timeout, p.Slow = cmp.Or(p.Timeout, DefaultTimeout), cmp.Or(p.Slow, DefaultSlow)
	if p.OK == nil {
		p.OK = func(status int) bool { return status >= 200 && status < 400 }
	}
	var problems []error
	if p.Rate < 0 || p.Duration <= 0 || p.Timeout < 0 || p.FreshEvery < 0 || p.WebSockets < 0 || p.Long < 0 {
		problems = append(problems, errors.New("the duration has to be more than 0, and no number less"))
	}
	if p.Rate == 0 && p.WebSockets == 0 && p.Long == 0 {
		problems = append(problems, errors.New("there is nothing to send: name a rate, websockets or long requests"))
	}
	if p.Rate > 0 {
		problems = append(problems, checkURL("URL", p.URL, "http", "https"))
	}
	if p.WebSockets > 0 {
		problems = append(problems, checkURL("URL of websockets", p.WebSocketURL, "ws", "wss"))
	}
	if p.Long > 0 {
		problems = append(problems, checkURL("URL of long requests", p.LongURL, "http", "https"))
	}
	return errors.Join(problems...)
}

func checkURL(what, text string, schemes ...string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) {
		return fmt.Errorf("the %s is %q: want one that begins with %s://", what, text, strings.Join(schemes, ":// or "))
	}
	return nil
}

// Run carries out a plan and reports on it. When ctx ends it stops early, and reports
// on what was sent until then.
func Run(ctx context.Context, p Plan) (*Report, error) {
	if err := p.complete(); err != nil {
		return nil, err
	}
	r := newRecorder(p, time.Now())
	sending, stop := context.WithTimeout(ctx, p.Duration)
	defer stop()
	var running sync.WaitGroup
	for range p.WebSockets {
		running.Go(func() { holdWebSocket(sending, p, r) })
	}
	for range p.Long {
		running.Go(func() { repeatLong(sending, p, r) })
	}
	if p.Rate > 0 {
		sendAll(ctx, p, r)
	}
	<-sending.Done()
	running.Wait()
	return r.report(time.Now()), nil
}

// sendAll lets each request leave at its time, and returns when all are answered. On a
// machine that stalls, those whose time came before the end leave after it: to leave them
// out would be to count only what went well.
func sendAll(ctx context.Context, p Plan, r *recorder) {
	s := newSender(p)
	defer s.close()
	places := make(chan struct{}, maxInFlight)
	var flying sync.WaitGroup
	defer flying.Wait()
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := 0; ; i++ {
		due := start.Add(time.Duration(float64(i) / p.Rate * float64(time.Second)))
		if due.Sub(start) >= p.Duration {
			return
		}
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		select {
		case <-ctx.Done():
			return
		case places <- struct{}{}:
		}
		fresh := p.FreshEvery > 0 && i%p.FreshEvery == 0
		flying.Go(func() {
			defer func() { <-places }()
			// It may be answered after the last one has left.
			r.answer(s.send(context.WithoutCancel(ctx), due, fresh))
		})
	}
}
