package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"windlass.dev/api/nodes/v1alpha1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/rotation"
)

// rotationView is the answer of `rotate status`: a run and its records, as people and
// programs want to know them.
type rotationView struct {
	Name    string         `json:"name"`
	Phase   v1alpha1.Phase `json:"phase"`
	Message string         `json:"message,omitempty"`
	// Needs is what somebody has to do; empty if the run helps itself.
	Needs      string             `json:"needs,omitempty"`
	Paused     bool               `json:"paused,omitempty"`
	StartedAt  *metav1.Time       `json:"startedAt,omitempty"`
	FinishedAt *metav1.Time       `json:"finishedAt,omitempty"`
	Wave       int32              `json:"wave"`
	Groups     []groupView        `json:"groups,omitempty"`
	Nodes      []nodeView         `json:"nodes,omitempty"`
	Waits      []v1alpha1.Wait    `json:"waits,omitempty"`
	Gates      []run.GateStatus   `json:"gates,omitempty"`
	Estimate   *v1alpha1.Estimate `json:"estimate,omitempty"`
}

type groupView struct {
	Name     string `json:"name"`
	Target   string `json:"target"`
	Size     int32  `json:"size"`
	Outdated int32  `json:"outdated"`
	Updated  int32  `json:"updated"`
	Replaced int32  `json:"replaced"`
	Open     int32  `json:"open"`
}

type nodeView struct {
	Node    string                    `json:"node"`
	Group   string                    `json:"group"`
	Phase   v1alpha1.ReplacementPhase `json:"phase"`
	Since   *metav1.Time              `json:"since,omitempty"`
	Wait    *v1alpha1.Wait            `json:"wait,omitempty"`
	Forced  string                    `json:"forced,omitempty"`
	Message string                    `json:"message,omitempty"`
}

// phases of nodes, in the order in which a node goes through them.
var nodePhases = []v1alpha1.ReplacementPhase{
	v1alpha1.Opened, v1alpha1.Draining, v1alpha1.Drained, v1alpha1.Terminating, v1alpha1.Reverting,
	v1alpha1.SkippedPhase, v1alpha1.Reverted, v1alpha1.Replaced,
}

// viewOf puts a run and its records together.
func viewOf(r *v1alpha1.NodeRotation, records []v1alpha1.NodeReplacement) rotationView {
	st := &r.Status
	v := rotationView{Name: r.Name, Phase: cmp.Or(st.Phase, v1alpha1.Pending), Paused: r.Spec.Paused, StartedAt: st.StartedAt, FinishedAt: st.FinishedAt,
		Wave: st.Wave, Waits: st.Waits, Gates: st.Gates, Estimate: st.Estimate}
	if ready := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionReady); ready != nil {
		v.Message = ready.Message
	}
	for _, kind := range []string{v1alpha1.ConditionStalled, v1alpha1.ConditionBlocked} {
		if c := meta.FindStatusCondition(st.Conditions, kind); c != nil && c.Status == metav1.ConditionTrue {
			v.Needs = c.Reason + ": " + c.Message
			break
		}
	}
	open := map[string]int32{}
	for i := range records {
		record := &records[i]
		if record.Spec.Rotation != r.Name {
			continue
		}
		n := nodeView{Node: record.Spec.Node, Group: record.Spec.Group, Phase: cmp.Or(record.Status.Phase, v1alpha1.Opened), Since: record.Status.Since,
			Wait: record.Status.Wait, Forced: record.Status.Forced, Message: record.Status.Message}
		if n.Node == "" {
			n.Node = record.Spec.Instance // A machine that never became a node.
		}
		if !rotation.Closed(n.Phase) {
			open[n.Group]++
		}
		v.Nodes = append(v.Nodes, n)
	}
	slices.SortFunc(v.Nodes, func(a, b nodeView) int {
		return cmp.Or(cmp.Compare(slices.Index(nodePhases, a.Phase), slices.Index(nodePhases, b.Phase)), strings.Compare(a.Node, b.Node))
	})
	for i := range st.Groups {
		g := &st.Groups[i]
		v.Groups = append(v.Groups, groupView{Name: g.Name, Target: g.Target.Name, Size: g.Size, Outdated: g.Outdated, Updated: g.Updated, Replaced: g.Replaced, Open: open[g.Name]})
	}
	return v
}

// text prints the view for people. Times are of now's zone.
func (v *rotationView) text(out io.Writer, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "NodeRotation %s: %s%s\n", v.Name, v.Phase, v.howLong(now))
	if v.Message != "" {
		fmt.Fprintf(w, "  %s\n", v.Message)
	}
	if v.Paused && !rotation.Finished(v.Phase) {
		fmt.Fprintf(w, "  Paused: go on with windlass rotate resume %s\n", v.Name)
	}
	if v.Needs != "" {
		fmt.Fprintf(w, "  Needs you: %s\n", v.Needs)
	}
	if !rotation.Finished(v.Phase) {
		writeEstimate(w, v.Estimate, now)
	}
	if len(v.Groups) > 0 {
		fmt.Fprintf(w, "\nGROUP\tSIZE\tOUTDATED\tUPDATED\tREPLACED\tOPEN\tTARGET\n")
	}
	for _, g := range v.Groups {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%s\n", g.Name, g.Size, g.Outdated, g.Updated, g.Replaced, g.Open, g.Target)
	}
	v.writeNodes(w, now)
	if len(v.Waits) > 0 {
		fmt.Fprintf(w, "\nWaits, the longest first\n")
	}
	for i := range v.Waits {
		writeWait(w, &v.Waits[i], now)
	}
	if len(v.Gates) > 0 {
		fmt.Fprintf(w, "\nGATE\tPASSING\tSEEN LAST\n")
	}
	for _, g := range v.Gates {
		fmt.Fprintf(w, "%s\t%s\t%s\n", g.Name, g.Passing, cmp.Or(g.Message, "nothing yet"))
	}
	return w.Flush()
}

func (v *rotationView) howLong(now time.Time) string {
	switch {
	case v.StartedAt == nil:
		return ""
	case v.FinishedAt != nil:
		return fmt.Sprintf(", took %s", duration.HumanDuration(v.FinishedAt.Sub(v.StartedAt.Time)))
	default:
		return fmt.Sprintf(", for %s", duration.HumanDuration(now.Sub(v.StartedAt.Time)))
	}
}

// writeNodes lists the nodes that are not done, and counts all.
func (v *rotationView) writeNodes(w io.Writer, now time.Time) {
	if len(v.Nodes) == 0 {
		return
	}
	counts := map[v1alpha1.ReplacementPhase]int{}
	for _, n := range v.Nodes {
		counts[n.Phase]++
	}
	var parts []string
	for _, p := range nodePhases {
		if counts[p] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[p], p))
		}
	}
	fmt.Fprintf(w, "\nNodes: %s\n", strings.Join(parts, ", "))
	for _, n := range v.Nodes {
		if n.Phase == v1alpha1.Replaced && n.Forced == "" {
			continue
		}
		why := n.Message
		switch {
		case n.Forced != "":
			why = "by force: " + n.Forced
		case n.Wait != nil:
			why = cmp.Or(n.Wait.For, n.Wait.Message) + " (" + n.Wait.Reason + ")"
		}
		since := ""
		if n.Since != nil {
			since = duration.HumanDuration(now.Sub(n.Since.Time))
		}
		if why != "" {
			why = "\t" + why
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s%s\n", n.Node, n.Group, n.Phase, since, why)
	}
}

func writeWait(w io.Writer, wait *v1alpha1.Wait, now time.Time) {
	fmt.Fprintf(w, "  %s", wait.Subject)
	if wait.For != "" {
		fmt.Fprintf(w, " waits for %s", wait.For)
	}
	fmt.Fprintf(w, ", since %s", duration.HumanDuration(now.Sub(wait.Since.Time)))
	if wait.Until != nil {
		fmt.Fprintf(w, ", until %s", wait.Until.In(now.Location()).Format("15:04:05 MST"))
	}
	fmt.Fprintf(w, "\n    %s: %s\n", wait.Reason, wait.Message)
}

// waitSentence is a wait in one line.
func waitSentence(w v1alpha1.Wait) string {
	text := w.Subject
	if w.For != "" {
		text += " waits for " + w.For
	}
	return fmt.Sprintf("%s (%s): %s", text, w.Reason, w.Message)
}

// writeEstimate says how long a run takes, what bounds that, and what costs most.
func writeEstimate(w io.Writer, e *v1alpha1.Estimate, now time.Time) {
	if e == nil {
		return
	}
	fmt.Fprintf(w, "  Takes about %s in all, until %s; no order of work takes less than %s\n",
		seconds(e.Seconds), e.Finish.In(now.Location()).Format("15:04:05 MST"), seconds(e.BoundSeconds))
	for _, c := range e.Dominating {
		fmt.Fprintf(w, "    %s costs %d of %d s\n", c.Subject, c.Seconds, e.Seconds)
	}
}

func seconds(n int64) string { return (time.Duration(n) * time.Second).String() }

// changes says in lines what is new in a view since the one before; everything is, if
// before is nil.
func (v *rotationView) changes(before *rotationView) []string {
	if before == nil {
		before = &rotationView{}
	}
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	v.nodeChanges(before, say)
	for _, g := range v.Groups {
		i := slices.IndexFunc(before.Groups, func(b groupView) bool { return b.Name == g.Name })
		if i < 0 || before.Groups[i].Outdated != g.Outdated || before.Groups[i].Replaced != g.Replaced {
			say("NodeGroup/%s %d outdated, %d updated, %d replaced", g.Name, g.Outdated, g.Updated, g.Replaced)
		}
	}
	v.waitChanges(before, say)
	if v.Paused != before.Paused {
		say("NodeRotation/%s paused: %t", v.Name, v.Paused)
	}
	if v.Phase != before.Phase {
		say("NodeRotation/%s %s", v.Name, v.Phase)
	}
	return lines
}

func (v *rotationView) nodeChanges(before *rotationView, say func(format string, args ...any)) {
	was := map[string]v1alpha1.ReplacementPhase{}
	for _, n := range before.Nodes {
		was[n.Group+"/"+n.Node] = n.Phase
	}
	for _, n := range v.Nodes {
		switch {
		case was[n.Group+"/"+n.Node] == n.Phase:
		case n.Forced != "":
			say("Node/%s %s, by force: %s", n.Node, n.Phase, n.Forced)
		default:
			say("Node/%s %s", n.Node, n.Phase)
		}
	}
}

func (v *rotationView) waitChanges(before *rotationView, say func(format string, args ...any)) {
	for _, w := range v.Waits {
		same := func(b v1alpha1.Wait) bool { return b.Subject == w.Subject && b.For == w.For && b.Reason == w.Reason }
		if !slices.ContainsFunc(before.Waits, same) {
			say("%s", waitSentence(w))
		}
	}
	for _, g := range v.Gates {
		i := slices.IndexFunc(before.Gates, func(b run.GateStatus) bool { return b.Name == g.Name })
		if i < 0 || before.Gates[i].Passing != g.Passing {
			say("gate %s passing %s: %s", g.Name, g.Passing, cmp.Or(g.Message, "not checked yet"))
		}
	}
}
