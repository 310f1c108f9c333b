package gate

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	run "windlass.dev/api/run/v1alpha1"
)

var start = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// observations are a letter each: T, F and U.
func observation(letter rune) Observation {
	return Observation{Passing: map[rune]metav1.ConditionStatus{
		'T': metav1.ConditionTrue, 'F': metav1.ConditionFalse, 'U': metav1.ConditionUnknown,
	}[letter], Message: "saw " + string(letter)}
}

// judgeAll checks a gate once an interval, from start on.
func judgeAll(g run.Gate, letters string) run.GateStatus {
	var status run.GateStatus
	for i, letter := range letters {
		status = Judge(g, status, observation(letter), start.Add(time.Duration(i)*interval(g)))
	}
	return status
}

func TestJudge(t *testing.T) {
	t.Parallel()
	three := run.Gate{Name: "errors", Consecutive: 3, IntervalSeconds: 10}
	cases := map[string]struct {
		gate    run.Gate
		letters string
		passing metav1.ConditionStatus
		row     int32
		since   int // In seconds from the start.
	}{
		"one check is enough":                     {run.Gate{Name: "errors"}, "T", "True", 1, 0},
		"one check is enough either way":          {run.Gate{Name: "errors"}, "TF", "False", 1, 15},
		"too few":                                 {three, "TT", "Unknown", 2, 0},
		"enough":                                  {three, "TTT", "True", 3, 20},
		"a row is counted up to what is needed":   {three, "TTTTTT", "True", 3, 20},
		"not in a row":                            {three, "TTFTT", "Unknown", 2, 0},
		"passes until enough fail":                {three, "TTTFF", "True", 2, 20},
		"fails when enough do":                    {three, "TTTFFF", "False", 3, 50},
		"fails until enough pass":                 {three, "FFFTTFT", "False", 1, 20},
		"unknown when it cannot be checked":       {three, "TTTUUU", "Unknown", 3, 50},
		"what cannot be checked still fails":      {three, "FFFUUUU", "False", 3, 20},
		"passes after failing unseen":             {three, "FFFUUUTTT", "True", 3, 80},
		"a failure begins when it is seen":        {three, "UUUFFF", "False", 3, 50},
		"a check that was impossible ends a row":  {three, "TTUT", "Unknown", 1, 0},
		"a fresh gate that cannot be checked yet": {three, "U", "Unknown", 1, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			last := observation(rune(c.letters[len(c.letters)-1]))
			want := run.GateStatus{
				Name: "errors", Passing: c.passing, Row: c.row, Last: last.Passing, Message: last.Message,
				Since:     &metav1.Time{Time: start.Add(time.Duration(c.since) * time.Second)},
				CheckedAt: &metav1.Time{Time: start.Add(time.Duration(len(c.letters)-1) * interval(c.gate))},
			}
			if diff := cmp.Diff(want, judgeAll(c.gate, c.letters)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestAGapBeginsAnew(t *testing.T) {
	t.Parallel()
	g := run.Gate{Name: "errors", Consecutive: 2, IntervalSeconds: 10}
	for gap, want := range map[time.Duration]metav1.ConditionStatus{50 * time.Second: "True", 51 * time.Second: "Unknown"} {
		status := judgeAll(g, "TT")
		now := status.CheckedAt.Add(gap)
		if got := Judge(g, status, observation('T'), now); got.Passing != want {
			t.Errorf("after %v without a check it is %s, not %s", gap, got.Passing, want)
		}
	}
}

func TestMessagesAreBounded(t *testing.T) {
	t.Parallel()
	status := Judge(run.Gate{Name: "a"}, run.GateStatus{}, Observation{Passing: "True", Message: strings.Repeat("ä", 10_000)}, start)
	if len(status.Message) > maxMessage {
		t.Errorf("the message has %d bytes", len(status.Message))
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	pause := run.Gate{Name: "pause", IntervalSeconds: 10, TimeoutSeconds: 60}
	back := run.Gate{Name: "back", IntervalSeconds: 10, TimeoutSeconds: 120, OnFailure: run.RollBackOnFailure}
	seconds := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
	cases := map[string]struct {
		gates []run.Gate
		seen  []string // One for each gate.
		at    int      // Seconds from the start.
		want  Verdict
	}{
		"no gates":     {nil, nil, 0, Verdict{Outcome: Passing, Message: "there are no gates"}},
		"all pass":     {[]run.Gate{pause, back}, []string{"T", "T"}, 0, Verdict{Outcome: Passing, Message: "all gates pass"}},
		"none checked": {[]run.Gate{pause, back}, []string{"", ""}, 0, Verdict{Outcome: Pending, Gate: "pause", Message: "gate pause was not checked yet"}},
		"one not checked": {[]run.Gate{pause, back}, []string{"T", ""}, 0,
			Verdict{Outcome: Pending, Gate: "back", Message: "gate back was not checked yet"}},
		"one was not checked for long": {[]run.Gate{pause}, []string{"T"}, 51,
			Verdict{Outcome: Pending, Gate: "pause", Message: "gate pause was last checked at 2026-07-01T12:00:00Z"}},
		"one failed, but was not checked for long": {[]run.Gate{pause}, []string{"F"}, 80,
			Verdict{Outcome: Pending, Gate: "pause", Message: "gate pause was last checked at 2026-07-01T12:00:00Z"}},
		"one fails, and may for a while": {[]run.Gate{pause}, []string{"FFFFFF"}, 59,
			Verdict{Outcome: Pending, Gate: "pause", Message: "gate pause fails: saw F", Until: seconds(60)}},
		"one fails for as long as it may": {[]run.Gate{pause}, []string{"FFFFFF"}, 60,
			Verdict{Outcome: Failed, Gate: "pause", OnFailure: run.PauseOnFailure, Message: "gate pause fails: saw F"}},
		"of those that are pending the one that fails first": {[]run.Gate{back, pause}, []string{"F", "F"}, 5,
			Verdict{Outcome: Pending, Gate: "pause", Message: "gate pause fails: saw F", Until: seconds(60)}},
		"what failed comes before what is pending": {[]run.Gate{back, pause}, []string{"FFFFFFF", "FFFFFFF"}, 60,
			Verdict{Outcome: Failed, Gate: "pause", OnFailure: run.PauseOnFailure, Message: "gate pause fails: saw F"}},
		"what rolls back comes before what pauses": {[]run.Gate{pause, back}, []string{"FFFFFFFFFFFFF", "FFFFFFFFFFFFF"}, 120,
			Verdict{Outcome: Failed, Gate: "back", OnFailure: run.RollBackOnFailure, Message: "gate back fails: saw F"}},
		"what cannot be checked only pauses": {[]run.Gate{back}, []string{"UUUUUUUUUUUUU"}, 120,
			Verdict{Outcome: Failed, Gate: "back", OnFailure: run.PauseOnFailure, Message: "gate back cannot be checked: saw U"}},
		"what failed and cannot be checked any more only pauses": {[]run.Gate{back}, []string{"FFFFFFFFFFUUU"}, 120,
			Verdict{Outcome: Failed, Gate: "back", OnFailure: run.PauseOnFailure, Message: "gate back cannot be checked: saw U"}},
		"not for long enough": {[]run.Gate{{Name: "slow", Consecutive: 2, IntervalSeconds: 10}}, []string{"FFT"}, 20,
			Verdict{Outcome: Pending, Gate: "slow", Message: "gate slow passes, but not for long enough: saw T", Until: seconds(310)}},
		"does not pass yet": {[]run.Gate{{Name: "slow", Consecutive: 2}}, []string{"F"}, 0,
			Verdict{Outcome: Pending, Gate: "slow", Message: "gate slow does not pass yet: saw F", Until: seconds(300)}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var statuses []run.GateStatus
			for i, letters := range c.seen {
				if letters != "" {
					statuses = append(statuses, judgeAll(c.gates[i], letters))
				}
			}
			if diff := cmp.Diff(c.want, VerdictOf(c.gates, statuses, seconds(c.at))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDue(t *testing.T) {
	t.Parallel()
	often, seldom := run.Gate{Name: "often", IntervalSeconds: 10}, run.Gate{Name: "seldom", IntervalSeconds: 60}
	gates := []run.Gate{often, seldom}
	statuses := []run.GateStatus{judgeAll(often, "T"), judgeAll(seldom, "T")}
	cases := map[string]struct {
		statuses []run.GateStatus
		after    int // Seconds.
		due      string
		next     int
	}{
		"none was checked":         {nil, 0, "often seldom", 0},
		"one was checked":          {statuses[:1], 0, "seldom", 10},
		"both were checked":        {statuses, 9, "", 10},
		"one is due":               {statuses, 10, "often", 60},
		"both are due":             {statuses, 60, "often seldom", 0},
		"a clock that runs behind": {statuses, -1, "often seldom", 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			due, next := Due(gates, c.statuses, start.Add(time.Duration(c.after)*time.Second))
			var names []string
			for _, g := range due {
				names = append(names, g.Name)
			}
			if got := strings.Join(names, " "); got != c.due {
				t.Errorf("due are %q, not %q", got, c.due)
			}
			want := time.Time{}
			if c.next > 0 {
				want = start.Add(time.Duration(c.next) * time.Second)
			}
			if !next.Equal(want) {
				t.Errorf("the next is due at %v, not %v", next, want)
			}
		})
	}
}

func TestUpdateKeepsWhatWasNotChecked(t *testing.T) {
	t.Parallel()
	old := []run.GateStatus{judgeAll(run.Gate{Name: "kept"}, "T"), judgeAll(run.Gate{Name: "removed"}, "T")}
	got := Update([]run.Gate{{Name: "checked"}, {Name: "kept"}, {Name: "new"}}, old, map[string]Observation{"checked": observation('F')}, start)
	want := []run.GateStatus{judgeAll(run.Gate{Name: "checked"}, "F"), old[0]}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The status has all that is needed: judging check by check is the same as looking at the
// whole history.
func TestJudgeAgreesWithTheHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := run.Gate{
			Name: "g", Consecutive: int32(rapid.IntRange(1, 5).Draw(t, "consecutive")), IntervalSeconds: 10,
			TimeoutSeconds: int32(rapid.IntRange(1, 90).Draw(t, "timeout")), OnFailure: rapid.SampledFrom([]run.OnGateFailure{"", "Pause", "RollBack"}).Draw(t, "onFailure"),
		}
		letters := rapid.StringOfN(rapid.RuneFrom([]rune("TFU")), 1, 40, -1).Draw(t, "letters")
		state, since := 'U', 0
		for i := range letters {
			first := i + 1 - int(g.Consecutive)
			letter := rune(letters[i])
			if first < 0 || letters[first:i+1] != strings.Repeat(string(letter), int(g.Consecutive)) || state == 'F' && letter == 'U' || state == letter {
				continue
			}
			state, since = letter, i
		}
		status := judgeAll(g, letters)
		if want := observation(state).Passing; status.Passing != want || !status.Since.Time.Equal(start.Add(time.Duration(since)*10*time.Second)) {
			t.Fatalf("%s: passing is %s since %v, not %s since check %d", letters, status.Passing, status.Since, want, since)
		}
		verdict := VerdictOf([]run.Gate{g}, []run.GateStatus{status}, status.CheckedAt.Time)
		failed := state != 'T' && (len(letters)-1-since)*10 >= int(g.TimeoutSeconds)
		if (verdict.Outcome == Failed) != failed || (verdict.Outcome == Passing) != (state == 'T') {
			t.Fatalf("%s: %+v, although the state is %c since check %d", letters, verdict, state, since)
		}
		back := failed && state == 'F' && letters[len(letters)-1] == 'F' && g.OnFailure == run.RollBackOnFailure
		if (verdict.OnFailure == run.RollBackOnFailure) != back {
			t.Fatalf("%s: %+v rolls back without having to, or does not although it has to", letters, verdict)
		}
	})
}
