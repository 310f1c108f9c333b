package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"windlass.dev/internal/traffic"
)

// TestTraffic ends with the exit code that the budget says.
func TestTraffic(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Windlass-Pod", r.Header.Get("X-Me"))
		if n.Add(1)%10 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	for line, want := range map[string]int{
		"--lost 1":          3,
		"--lost 2":          0,
		"--ok 200-299,503":  0,
		"--lost 2 --slow 0": 0,
		"--ok all":          2,
		"--rps -1":          2,
		"--header nothing":  2,
	} {
		n.Store(0)
		var out, problems bytes.Buffer
		arguments := append([]string{"dev", "traffic", "--url", server.URL, "--rps", "40", "--duration", "500ms", "-H", "X-Me: pod-1", "-o", "json"}, strings.Fields(line)...)
		code := Main(t.Context(), arguments, &out, &problems)
		if code != want {
			t.Errorf("%s: exit code %d, want %d: %s %s", line, code, want, out.String(), problems.String())
		}
		if want == exitUsage {
			continue
		}
		var report traffic.Report
		if err := json.Unmarshal(out.Bytes(), &report); err != nil || report.Requests.Sent != 20 || report.By["pod-1"] != 20 {
			t.Errorf("%s: %v, %s", line, err, out.String())
		}
	}
}
