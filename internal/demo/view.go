package demo

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/api/meta"

	"windlass.dev/api/installation/v1beta1"
)

// view shows a fleet while it changes: a table that is redrawn on a terminal,
// and a line for each change elsewhere.
type view struct {
	out      io.Writer
	redraw   bool
	started  time.Time
	lines    int
	lastSeen map[string]string
}

// newView shows changes since those in lastSeen, which it keeps up to date.
func newView(out io.Writer, now time.Time, lastSeen map[string]string) *view {
	v := &view{out: out, started: now, lastSeen: lastSeen}
	if file, ok := out.(*os.File); ok {
		v.redraw = term.IsTerminal(int(file.Fd()))
	}
	return v
}

// show prints the fleet as it is now.
func (v *view) show(fleet []v1beta1.Mattermost, now time.Time) {
	slices.SortFunc(fleet, func(a, b v1beta1.Mattermost) int { return cmp.Compare(a.Name, b.Name) })
	if v.redraw {
		v.table(fleet)
		return
	}
	for i := range fleet {
		mm := &fleet[i]
		text := strings.Join(row(mm), "  ")
		if v.lastSeen[mm.Name] == text {
			continue
		}
		v.lastSeen[mm.Name] = text
		fmt.Fprintf(v.out, "  %5.1fs  %s\n", now.Sub(v.started).Seconds(), text)
	}
}

func (v *view) table(fleet []v1beta1.Mattermost) {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  NAME\tSTATE\tPODS\tVERSION\tWHY")
	for i := range fleet {
		fmt.Fprintln(w, "  "+strings.Join(row(&fleet[i]), "\t"))
	}
	w.Flush()
	if v.lines > 0 {
		fmt.Fprintf(v.out, "\x1b[%dA\x1b[J", v.lines)
	}
	fmt.Fprint(v.out, text.String())
	v.lines = strings.Count(text.String(), "\n")
}

func row(mm *v1beta1.Mattermost) []string {
	ready := meta.FindStatusCondition(mm.Status.Conditions, v1beta1.ConditionReady)
	why := "not looked at yet"
	if ready != nil {
		why = ready.Reason
	}
	return []string{
		mm.Name,
		cmp.Or(string(mm.Status.State), "-"),
		fmt.Sprintf("%d/%d", mm.Status.UpdatedReplicas, wantedReplicas(mm)),
		cmp.Or(mm.Status.Version, "-"),
		why,
	}
}

func wantedReplicas(mm *v1beta1.Mattermost) int32 {
	if mm.Spec.Replicas == nil {
		return 0
	}
	return *mm.Spec.Replicas
}
