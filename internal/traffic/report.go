package traffic

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// Report is what was measured. Times are milliseconds.
type Report struct {
	Seconds  float64  `json:"seconds"`
	Requests Requests `json:"requests"`
	// By counts answers by who gave them.
	By map[string]int `json:"by,omitempty"`
	// Long are the requests that take their time, and WebSockets those held open.
	Long       *Losses     `json:"long,omitempty"`
	WebSockets *WebSockets `json:"websockets,omitempty"`
	// Timeline has an entry for each second in which requests left, in order.
	Timeline []Second `json:"timeline,omitempty"`
}

// Losses counts what was sent and what was lost of it, and why.
type Losses struct {
	Sent int            `json:"sent"`
	Lost int            `json:"lost"`
	Why  map[string]int `json:"why,omitempty"`
}

// Requests are those that left at the constant rate.
type Requests struct {
	Losses
	Slow int `json:"slow"`
	// Repeated are those that needed another connection, because one that was kept had
	// been closed. They are not lost, and slower.
	Repeated int `json:"repeated"`
	// The times of those that were answered, from when they should have left.
	P50 float64 `json:"p50_ms"`
	P90 float64 `json:"p90_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// WebSockets are those held open.
type WebSockets struct {
	// Opened is how often one was opened, and Closed how often the service announced
	// that it ends one.
	Opened int `json:"opened"`
	Closed int `json:"closed"`
	// Dropped is how often one broke, or was silent; Refused how often none could be
	// opened.
	Dropped int `json:"dropped"`
	Refused int `json:"refused"`
	// LongestDown is the longest time without, of any one of them.
	LongestDown float64 `json:"longest_down_ms"`
}

// Second is one second's requests, by when they should have left.
type Second struct {
	Second int            `json:"second"`
	OK     int            `json:"ok"`
	Lost   int            `json:"lost"`
	Slow   int            `json:"slow"`
	P99    float64        `json:"p99_ms"`
	By     map[string]int `json:"by,omitempty"`
}

// Lost is everything that a user of the service would have noticed.
func (r *Report) Lost() int {
	lost := r.Requests.Lost
	if r.Long != nil {
		lost += r.Long.Lost
	}
	if r.WebSockets != nil {
		lost += r.WebSockets.Dropped + r.WebSockets.Refused
	}
	return lost
}

type socketEvent int

const (
	socketOpened socketEvent = iota
	socketRefused
	socketClosed
	socketDropped
	// socketKept is one that was open until the end.
	socketKept
)

// recorder takes down what happens, from many goroutines.
type recorder struct {
	plan  Plan
	start time.Time

	mu      sync.Mutex
	answers []answer
	longs   []answer
	sockets WebSockets
}

func newRecorder(p Plan, start time.Time) *recorder { return &recorder{plan: p, start: start} }

func (r *recorder) answer(a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers = append(r.answers, a)
}

func (r *recorder) long(a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.longs = append(r.longs, a)
}

func (r *recorder) webSocket(event socketEvent, down time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch event {
	case socketOpened:
		r.sockets.Opened++
		r.sockets.LongestDown = max(r.sockets.LongestDown, milliseconds(down))
	case socketRefused:
		r.sockets.Refused++
	case socketClosed:
		r.sockets.Closed++
	case socketDropped:
		r.sockets.Dropped++
	case socketKept:
	}
}

func (r *recorder) report(end time.Time) *Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	report := &Report{Seconds: end.Sub(r.start).Seconds(), By: map[string]int{}}
	report.Requests.Losses = lossesOf(r.answers)
	var times []time.Duration
	seconds := map[int][]answer{}
	for _, a := range r.answers {
		second := int(a.due.Sub(r.start) / time.Second)
		seconds[second] = append(seconds[second], a)
		if a.tries > 1 {
			report.Requests.Repeated++
		}
		if a.by != "" {
			report.By[a.by]++
		}
		if a.loss == "" {
			times = append(times, a.took)
			if a.took >= r.plan.Slow {
				report.Requests.Slow++
			}
		}
	}
	slices.Sort(times)
	report.Requests.P50, report.Requests.P90 = percentile(times, 50), percentile(times, 90)
	report.Requests.P99, report.Requests.Max = percentile(times, 99), percentile(times, 100)
	for _, second := range slices.Sorted(maps.Keys(seconds)) {
		report.Timeline = append(report.Timeline, r.second(second, seconds[second]))
	}
	if r.plan.Long > 0 {
		losses := lossesOf(r.longs)
		report.Long = &losses
	}
	if r.plan.WebSockets > 0 {
		sockets := r.sockets
		report.WebSockets = &sockets
	}
	return report
}

func (r *recorder) second(second int, answers []answer) Second {
	s := Second{Second: second, By: map[string]int{}}
	var times []time.Duration
	for _, a := range answers {
		if a.by != "" {
			s.By[a.by]++
		}
		if a.loss != "" {
			s.Lost++
			continue
		}
		s.OK++
		times = append(times, a.took)
		if a.took >= r.plan.Slow {
			s.Slow++
		}
	}
	slices.Sort(times)
	s.P99 = percentile(times, 99)
	return s
}

func lossesOf(answers []answer) Losses {
	losses := Losses{Sent: len(answers), Why: map[string]int{}}
	for _, a := range answers {
		if a.loss != "" {
			losses.Lost++
			losses.Why[a.loss]++
		}
	}
	return losses
}

// percentile is the smallest time that p percent of the sorted times do not exceed;
// 0 for none.
func percentile(sorted []time.Duration, p int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	rank := (len(sorted)*p + 99) / 100
	return milliseconds(sorted[max(rank, 1)-1])
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Text writes the report for people.
func (r *Report) Text(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if q := r.Requests; q.Sent > 0 {
		fmt.Fprintf(w, "requests\t%d sent, %d lost%s, %d slow, %d repeated\n", q.Sent, q.Lost, why(q.Why), q.Slow, q.Repeated)
	}
	if q := r.Requests; q.Sent > q.Lost {
		fmt.Fprintf(w, "time\tp50 %.1f ms, p90 %.1f ms, p99 %.1f ms, max %.1f ms\n", q.P50, q.P90, q.P99, q.Max)
	}
	if l := r.Long; l != nil {
		fmt.Fprintf(w, "long requests\t%d sent, %d lost%s\n", l.Sent, l.Lost, why(l.Why))
	}
	if s := r.WebSockets; s != nil {
		fmt.Fprintf(w, "websockets\t%d opened, %d closed by the service, %d dropped, %d refused, longest without %.0f ms\n", s.Opened, s.Closed, s.Dropped, s.Refused, s.LongestDown)
	}
	for _, who := range slices.Sorted(maps.Keys(r.By)) {
		fmt.Fprintf(w, "answered by\t%s: %d\n", who, r.By[who])
	}
	for _, s := range r.Timeline {
		if s.Lost > 0 || s.Slow > 0 {
			fmt.Fprintf(w, "second %d\t%d ok, %d lost, %d slow, p99 %.1f ms\n", s.Second, s.OK, s.Lost, s.Slow, s.P99)
		}
	}
	return w.Flush()
}

func why(counts map[string]int) string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[reason], reason))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
