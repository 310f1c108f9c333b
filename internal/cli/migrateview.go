package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/internal/migration"
)

// migrationView is the answer of `migrate status`.
type migrationView struct {
	Installations []migration.Standing `json:"installations"`
	// Unasked are the ClusterInstallations of which no migration was asked for.
	Unasked int `json:"unasked"`

	where string
	named bool
	// brief leaves out those that are through, and of the others all but the first.
	brief bool
}

// shownPhases are in the order in which they are counted.
var shownPhases = []v1alpha1.MigrationPhase{
	v1alpha1.MigrationRefused, v1alpha1.MigrationInterrupted, migration.Superseded,
	migration.Asked, v1alpha1.MigrationWaiting, v1alpha1.MigrationPreparing, v1alpha1.MigrationHandingOver, v1alpha1.MigrationReverting,
	v1alpha1.MigrationAwaitingFinalization, v1alpha1.MigrationReverted, migration.Migrated,
}

func (v *migrationView) counts() string {
	n := map[v1alpha1.MigrationPhase]int{}
	for _, s := range v.Installations {
		n[s.Phase]++
	}
	var parts []string
	for _, phase := range shownPhases {
		if n[phase] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[phase], phase))
		}
	}
	if v.Unasked > 0 {
		parts = append(parts, fmt.Sprintf("%d not begun", v.Unasked))
	}
	if len(parts) == 0 {
		return "there are no migrations " + v.where
	}
	return strings.Join(parts, ", ")
}

func (v *migrationView) atRest() bool {
	return !slices.ContainsFunc(v.Installations, func(s migration.Standing) bool { return !s.AtRest() })
}

func (v *migrationView) needsSomebody() bool {
	return slices.ContainsFunc(v.Installations, func(s migration.Standing) bool { return s.Failed() || s.Error != "" })
}

// text prints the view for people.
func (v *migrationView) text(out io.Writer, now time.Time) error {
	rows := v.Installations
	const most = 20
	more := 0
	if v.brief && !v.named {
		rows = slices.DeleteFunc(slices.Clone(rows), func(s migration.Standing) bool { return s.Phase == migration.Migrated })
		more = max(0, len(rows)-most)
		rows = rows[:len(rows)-more]
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(rows) > 0 {
		fmt.Fprintf(w, "NAMESPACE\tNAME\tPHASE\tSINCE\tTURN\tWAITS FOR\n")
	}
	for _, s := range rows {
		since := "-"
		if s.Since != nil {
			since = ago(*s.Since, now)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", s.Namespace, s.Name, s.Phase, since, s.Turn, dash(waitsFor(s)))
	}
	if more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
	if len(rows) > 0 {
		fmt.Fprintln(w)
	}
	counts := v.counts()
	fmt.Fprintf(w, "%s.\n", strings.ToUpper(counts[:1])+counts[1:])
	return w.Flush()
}

// waitsFor says it in one line; nothing of one that is through.
func waitsFor(s migration.Standing) string {
	if s.Phase == migration.Migrated {
		return ""
	}
	text := s.Message
	if s.Error != "" {
		text += " Held up: " + s.Error
	}
	return strings.Join(strings.Fields(text), " ")
}

// changes has a line for each that is in another phase than before, or is held up by
// something else.
func (v *migrationView) changes(before *migrationView) []string {
	type one struct{ namespace, name string }
	was := map[one]migration.Standing{}
	if before != nil {
		for _, s := range before.Installations {
			was[one{s.Namespace, s.Name}] = s
		}
	}
	var lines []string
	for _, s := range v.Installations {
		old, known := was[one{s.Namespace, s.Name}]
		through := s.Phase == migration.Migrated
		switch {
		case known && old.Phase == s.Phase && old.Error == s.Error:
			continue
		case before == nil && through && !v.named:
			continue // It was through before anybody looked.
		}
		line := fmt.Sprintf("%s/%s %s", s.Namespace, s.Name, s.Phase)
		if text := waitsFor(s); text != "" {
			line += ": " + text
		}
		lines = append(lines, line)
	}
	if before == nil || before.counts() != v.counts() {
		lines = append(lines, v.counts())
	}
	return lines
}
