package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"windlass.dev/internal/traffic"
)

// trafficOptions are the flags of `dev traffic` that a plan does not hold as they are.
type trafficOptions struct {
	headers []string
	ok      string
	// lost and slow are how many may be.
	lost, slow int
}

func devTrafficCommand() *cobra.Command {
	var p traffic.Plan
	var t trafficOptions
	var o output
	cmd := &cobra.Command{
		Use:   "traffic",
		Short: "Send requests at a constant rate, and count what is lost",
		Long: `Send requests at a constant rate, hold websockets open and have long requests under
way, and count what users of a service would have lost, and why. Requests leave when
their time has come, whether or not those before were answered, and are timed from
then on, so that a service that stalls is charged for all who came meanwhile.

Lost is what got no answer, or one with a status that is not OK, and each websocket
that broke or could not be opened. One that the service closes and announces it is not
lost; it is opened again. Exit code 3 means that more was lost, or slow, than the
budget allows.`,
		Example: `  windlass dev traffic --url http://chat.example.com/api/v4/system/ping --connect 127.0.0.1:8080 \
    --rps 500 --duration 1m --websockets 50 --websocket-url ws://chat.example.com/api/v4/websocket
  windlass dev traffic --url http://127.0.0.1:8065/ --rps 50 --duration 10s --lost 5 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := t.fill(&p); err != nil {
				return usageError{err}
			}
			report, err := traffic.Run(cmd.Context(), p)
			if err != nil {
				return usageError{err}
			}
			if err := o.print(cmd.OutOrStdout(), report, func(w io.Writer) error { return report.Text(w) }); err != nil {
				return err
			}
			if report.Lost() > t.lost || t.slow >= 0 && report.Requests.Slow > t.slow {
				return errUnhealthy
			}
			return nil
		},
	}
	o.addFlag(cmd)
	flags := cmd.Flags()
	flags.StringVar(&p.URL, "url", "", "`URL` to get")
	flags.Float64Var(&p.Rate, "rps", 0, "`REQUESTS` that leave in a second")
	flags.DurationVar(&p.Duration, "duration", 10*time.Second, "`DURATION` for which they leave")
	flags.DurationVar(&p.Timeout, "timeout", traffic.DefaultTimeout, "`DURATION` after which a request is lost")
	flags.DurationVar(&p.Slow, "slow-after", traffic.DefaultSlow, "`DURATION` from which an answer is slow")
	flags.IntVar(&p.FreshEvery, "fresh-every", 10, "each `n`-th request has a connection of its own; 0 none")
	flags.StringVar(&p.Host, "host", "", "`HOST` header; otherwise the URL's")
	flags.StringVar(&p.Connect, "connect", "", "`ADDRESS`, host:port, to which all connections go; otherwise the URL's")
	flags.StringArrayVarP(&t.headers, "header", "H", nil, "`HEADER`, as in \"Name: value\", of each request")
	flags.StringVar(&t.ok, "ok", "200-399", "`STATUSES` of good answers, as in 200-299,304")
	flags.StringSliceVar(&p.By, "by", []string{"X-Windlass-Pod", "X-Windlass-Version"}, "`HEADERS` of answers by which to count who answered")
	flags.IntVar(&p.WebSockets, "websockets", 0, "`NUMBER` of websockets to hold open")
	flags.StringVar(&p.WebSocketURL, "websocket-url", "", "`URL` that echoes what a websocket is sent")
	flags.IntVar(&p.Long, "long", 0, "`NUMBER` of long requests under way at any time")
	flags.StringVar(&p.LongURL, "long-url", "", "`URL` that takes its time")
	flags.IntVar(&t.lost, "lost", 0, "`NUMBER` that may be lost")
	flags.IntVar(&t.slow, "slow", -1, "`NUMBER` that may be slow; -1 any")
	return cmd
}

// fill completes a plan from the flags that need reading.
func (t trafficOptions) fill(p *traffic.Plan) error {
	p.Header = http.Header{}
	for _, line := range t.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return fmt.Errorf("--header %q: want \"Name: value\"", line)
		}
		p.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	ranges, err := statuses(t.ok)
	if err != nil {
		return err
	}
	p.OK = func(status int) bool {
		for _, r := range ranges {
			if status >= r[0] && status <= r[1] {
				return true
			}
		}
		return false
	}
	return nil
}

// statuses reads ranges such as 200-299,304.
func statuses(text string) ([][2]int, error) {
	var all [][2]int
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		low, err := strconv.Atoi(strings.TrimSpace(from))
		high, other := strconv.Atoi(strings.TrimSpace(to))
		if errors.Join(err, other) != nil || low > high {
			return nil, fmt.Errorf("--ok %q: want statuses and ranges, as in 200-299,304", text)
		}
		all = append(all, [2]int{low, high})
	}
	return all, nil
}
