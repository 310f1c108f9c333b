package traffic

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// answer is what became of one request.
type answer struct {
	due  time.Time
	took time.Duration
	// loss is why it counts as lost; empty when it was answered well.
	loss string
	// tries is how many connections it took: Go's client, as browsers and proxies do,
	// sends a request again when a connection that was kept turns out to be closed.
	tries int
	by    string
}

// Reasons for a loss, beside the status of an answer that is not OK.
const (
	lossRefused = "refused"
	lossReset   = "reset"
	lossClosed  = "closed"
	lossTimeout = "timeout"
	lossOther   = "other"
)

// sender sends requests over connections that are kept, and over fresh ones.
type sender struct {
	plan        Plan
	kept, fresh *http.Client
}

func newSender(p Plan) *sender {
	return &sender{plan: p, kept: client(p, true), fresh: client(p, false)}
}

func (s *sender) close() {
	s.kept.CloseIdleConnections()
	s.fresh.CloseIdleConnections()
}

func client(p Plan, keep bool) *http.Client {
	transport := &http.Transport{
		DialContext:         dial(p.Connect),
		DisableKeepAlives:   !keep,
		MaxIdleConns:        maxInFlight,
		MaxIdleConnsPerHost: maxInFlight,
		ForceAttemptHTTP2:   keep,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		DisableCompression:  true,
	}
	// Where an answer leads is another request, and is not measured.
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func dial(connect string) func(context.Context, string, string) (net.Conn, error) {
	var dialer net.Dialer
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if connect != "" {
			address = connect
		}
		return dialer.DialContext(ctx, network, address)
	}
}

func (s *sender) send(ctx context.Context, due time.Time, fresh bool) answer {
	a := answer{due: due}
	ctx, cancel := context.WithDeadline(ctx, due.Add(s.plan.Timeout))
	defer cancel()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GetConn: func(string) { a.tries++ }})
	client := s.kept
	if fresh {
		client = s.fresh
	}
	a.loss, a.by = get(ctx, client, s.plan, s.plan.URL)
	a.took = time.Since(due)
	return a
}

// get sends one request and reads its answer to the end.
func get(ctx context.Context, client *http.Client, p Plan, url string) (loss, by string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return lossOther, ""
	}
	maps.Copy(request.Header, p.Header)
	request.Host = p.Host
	response, err := client.Do(request)
	if err != nil {
		return lossOf(err), ""
	}
	defer response.Body.Close()
	var who []string
	for _, header := range p.By {
		who = append(who, response.Header.Get(header))
	}
	by = strings.TrimSpace(strings.Join(who, " "))
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return lossOf(err), by
	}
	if !p.OK(response.StatusCode) {
		return strconv.Itoa(response.StatusCode), by
	}
	return "", by
}

func lossOf(err error) string {
	var network net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return lossRefused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return lossReset
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return lossTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return lossClosed
	default:
		return lossOther
	}
}

// repeatLong has one long request under way at any time. One that is under way at the
// end is waited for: what a service does not finish is a loss.
func repeatLong(ctx context.Context, p Plan, r *recorder) {
	c := client(p, false)
	for ctx.Err() == nil {
		due := time.Now()
		timed, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.Timeout)
		loss, by := get(timed, c, p, p.LongURL)
		cancel()
		r.long(answer{due: due, took: time.Since(due), loss: loss, by: by})
		if loss != "" && !pause(ctx, retryPause) {
			return
		}
	}
}

// retryPause keeps what fails at once from being tried in a busy loop.
const retryPause = 100 * time.Millisecond

// pause reports whether it came to its end.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
