package traffic

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	vegeta "github.com/tsenart/vegeta/v12/lib"
)

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func run(t *testing.T, p Plan) *Report {
	t.Helper()
	report, err := Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// take is how a slow service spends its time.
func take(d time.Duration) { <-time.After(d) }

// TestRateIsConstant: all requests leave, however long answers take, and answers are
// counted by who gave them.
func TestRateIsConstant(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		take(300 * time.Millisecond) // Longer than 30 requests are apart.
		w.Header().Set("X-Pod", fmt.Sprintf("pod-%d", n.Add(1)%2))
	})
	report := run(t, Plan{URL: url, Rate: 100, Duration: 2 * time.Second, By: []string{"X-Pod"}, FreshEvery: 10})
	if r := report.Requests; r.Sent != 200 || r.Lost != 0 || r.P50 < 300 {
		t.Errorf("%+v", r)
	}
	if diff := cmp.Diff(map[string]int{"pod-0": 100, "pod-1": 100}, report.By); diff != "" {
		t.Error(diff)
	}
	for i, s := range report.Timeline {
		if s.Second != i || s.OK != 100 {
			t.Errorf("second %d: %+v", i, s)
		}
	}
}

// TestAllLeave: a hundred are due within a millisecond, which is over before they can leave.
func TestAllLeave(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	report, err := Run(t.Context(), Plan{URL: server.URL, Rate: 100_000, Duration: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if report.Requests.Sent != 100 || report.Requests.Lost != 0 {
		t.Errorf("sent %d and lost %d, want 100 and none", report.Requests.Sent, report.Requests.Lost)
	}
}

// TestStallsAreCharged for everybody who came meanwhile: with a second's stall in two
// at 100 a second, every answer to those who came in its first half took over 500 ms.
func TestStallsAreCharged(t *testing.T) {
	t.Parallel()
	open := make(chan struct{})
	time.AfterFunc(time.Second, func() { close(open) })
	url := serve(t, func(http.ResponseWriter, *http.Request) { <-open })
	report := run(t, Plan{URL: url, Rate: 100, Duration: 2 * time.Second, Slow: 500 * time.Millisecond})
	if r := report.Requests; r.Sent != 200 || r.Lost != 0 || r.Slow < 40 || r.P90 < 500 {
		t.Errorf("%+v", r)
	}
}

// hijack takes over the connection of a request.
func hijack(w http.ResponseWriter) *net.TCPConn {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	return c.(*net.TCPConn)
}

func TestLossesAreNamed(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(nil)
	gone.Close()
	for want, url := range map[string]string{
		lossRefused: gone.URL,
		lossReset: serve(t, func(w http.ResponseWriter, _ *http.Request) {
			c := hijack(w)
			_ = c.SetLinger(0)
			_ = c.Close()
		}),
		lossClosed: serve(t, func(w http.ResponseWriter, _ *http.Request) { _ = hijack(w).Close() }),
		lossClosed + " ": serve(t, func(w http.ResponseWriter, _ *http.Request) {
			c := hijack(w)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
			_ = c.Close()
		}),
		"503":       serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }),
		"404":       serve(t, http.NotFound),
		lossTimeout: serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
	} {
		want = strings.TrimSpace(want)
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			limit := 30 * time.Second // Of a machine that is busy, an answer may take long.
			if want == lossTimeout {
				limit = 300 * time.Millisecond
			}
			r := run(t, Plan{URL: url, Rate: 20, Duration: 500 * time.Millisecond, Timeout: limit}).Requests
			if r.Sent != 10 || r.Lost != 10 || r.Why[want] != 10 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestKeptConnections that turn out to be closed cost another try, and are no loss.
func TestKeptConnections(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	var connections atomic.Int64
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	r := run(t, Plan{URL: server.URL, Rate: 50, Duration: time.Second, FreshEvery: 5}).Requests
	// Ten of the fifty are fresh; the others share what is free.
	if n := connections.Load(); r.Sent != 50 || r.Lost != 0 || n < 11 || n > 49 {
		t.Errorf("%d connections for %+v", n, r)
	}
}

func TestLongRequestsEnd(t *testing.T) {
	t.Parallel()
	url := serve(t, func(http.ResponseWriter, *http.Request) { take(700 * time.Millisecond) })
	report := run(t, Plan{Long: 3, LongURL: url, Duration: time.Second})
	if report.Long.Sent < 3 || report.Long.Sent > 6 || report.Long.Lost != 0 {
		t.Errorf("%+v", report.Long)
	}
}

// TestWebSockets tells those that a service ends in good order from those that break,
// and opens both again.
func TestWebSockets(t *testing.T) {
	t.Parallel()
	echo := func(end func(*websocket.Conn)) string {
		var n atomic.Int64
		return "ws" + strings.TrimPrefix(serve(t, func(w http.ResponseWriter, r *http.Request) {
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer func() { _ = c.CloseNow() }()
			first := n.Add(1) <= 2
			for {
				kind, message, err := c.Read(r.Context())
				if err != nil {
					return
				}
				if err := c.Write(r.Context(), kind, message); err != nil {
					return
				}
				if first {
					end(c)
					return
				}
			}
		}), "http")
	}
	for title, c := range map[string]struct {
		end  func(*websocket.Conn)
		want WebSockets
	}{
		"announced": {func(c *websocket.Conn) { _ = c.Close(websocket.StatusGoingAway, "") }, WebSockets{Opened: 4, Closed: 2}},
		"broken":    {func(c *websocket.Conn) { _ = c.CloseNow() }, WebSockets{Opened: 4, Dropped: 2}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			report := run(t, Plan{WebSockets: 2, WebSocketURL: echo(c.end), Duration: 1500 * time.Millisecond})
			got := *report.WebSockets
			got.LongestDown = 0
			if diff := cmp.Diff(c.want, got); diff != "" || report.Lost() != c.want.Dropped {
				t.Errorf("%d lost; %s", report.Lost(), diff)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		url := "ws" + strings.TrimPrefix(serve(t, http.NotFound), "http")
		if s := run(t, Plan{WebSockets: 1, WebSocketURL: url, Duration: 500 * time.Millisecond}).WebSockets; s.Opened != 0 || s.Refused == 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestAgreesWithVegeta on the same load: a service that fails each seventh request.
func TestAgreesWithVegeta(t *testing.T) {
	t.Parallel()
	faulty := func() string {
		var n atomic.Int64
		return serve(t, func(w http.ResponseWriter, _ *http.Request) {
			switch i := n.Add(1); {
			case i%7 == 0:
				w.WriteHeader(http.StatusBadGateway)
			case i%11 == 0:
				_ = hijack(w).Close()
			}
		})
	}
	const rate, duration = 200, 2 * time.Second
	ours := run(t, Plan{URL: faulty(), Rate: rate, Duration: duration, FreshEvery: 1}).Requests
	attacker := vegeta.NewAttacker(vegeta.KeepAlive(false))
	var theirs vegeta.Metrics
	for result := range attacker.Attack(vegeta.NewStaticTargeter(vegeta.Target{Method: http.MethodGet, URL: faulty()}), vegeta.Rate{Freq: rate, Per: time.Second}, duration, "") {
		theirs.Add(result)
	}
	theirs.Close()
	// On a busy machine vegeta ends before it has sent all, so each is held to its own number.
	of := func(sent int) map[string]int {
		bad, closed := sent/7, sent/11-sent/77
		return map[string]int{"200": sent - bad - closed, "502": bad, "0": closed}
	}
	if diff := cmp.Diff(of(int(theirs.Requests)), theirs.StatusCodes); diff != "" {
		t.Errorf("vegeta sent %d (-served +seen):\n%s", theirs.Requests, diff)
	}
	got := map[string]int{"200": ours.Sent - ours.Lost, "502": ours.Why["502"], "0": ours.Why[lossClosed]}
	if diff := cmp.Diff(of(ours.Sent), got); diff != "" || ours.Sent != rate*int(duration.Seconds()) {
		t.Errorf("we sent %d (-served +seen):\n%s", ours.Sent, diff)
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	var times []time.Duration
	for i := range 100 {
		times = append(times, time.Duration(i+1)*time.Millisecond)
	}
	for p, want := range map[int]float64{1: 1, 50: 50, 99: 99, 100: 100} {
		if got := percentile(times, p); got != want {
			t.Errorf("the %d. percentile is %v ms, want %v", p, got, want)
		}
	}
	if got := percentile(times[:1], 99) + percentile(nil, 50); got != 1 {
		t.Errorf("of one and of none: %v", got)
	}
}

func TestPlansAreChecked(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]Plan{
		"nothing to send":       {Duration: time.Second},
		"URL is":                {Duration: time.Second, Rate: 1, URL: "127.0.0.1:80"},
		"duration":              {Rate: 1, URL: "http://127.0.0.1"},
		"URL of websockets is":  {Duration: time.Second, WebSockets: 1, WebSocketURL: "http://127.0.0.1"},
		"URL of long requests":  {Duration: time.Second, Long: 1},
		"more than 0, and no n": {Duration: time.Second, Rate: -1, URL: "http://127.0.0.1"},
	} {
		if _, err := Run(t.Context(), p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
}

// TestEndsEarly when it is told to, with a report on what was sent.
func TestEndsEarly(t *testing.T) {
	t.Parallel()
	url := serve(t, func(http.ResponseWriter, *http.Request) {})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	report, err := Run(ctx, Plan{URL: url, Rate: 100, Duration: time.Hour})
	if err != nil || report.Requests.Sent < 1 || report.Requests.Sent > 40 || report.Requests.Lost > 0 {
		t.Errorf("%v, %+v", err, report)
	}
}
