package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"windlass.dev/internal/migration"
)

// migratePlan is the answer of `migrate plan`.
type migratePlan struct {
	Installations []migration.Preflight `json:"installations"`
	Summary       planSummary           `json:"summary"`
	where         string
}

type planSummary struct {
	Ready    int `json:"ready"`
	Waits    int `json:"waits"`
	Refused  int `json:"refused"`
	UnderWay int `json:"underWay"`
	// Migrated are Mattermosts that were ClusterInstallations.
	Migrated int `json:"migrated"`
	Lossy    int `json:"lossy"`
	// Restarting are those whose pods are replaced, or of which that is not known.
	Restarting int `json:"restarting"`
	// MadeByTools are those that other tools track.
	MadeByTools int `json:"madeByTools"`
}

func migratePlanCommand() *cobra.Command {
	var s scope
	var o output
	var recreate bool
	cmd := &cobra.Command{
		Use:   "plan [NAME...]",
		Short: "Say which ClusterInstallations can become Mattermosts, and what is lost",
		Long: `Say of ClusterInstallations whether they can become Mattermosts, and if not why and what
to do; what the Mattermost would not have; whether pods would be restarted; and which
other tools made them and would make them anew. Nothing is changed. It is decided by
the same code as in the controller. Without names or flags it is all of the namespace.

Exit code 3 means that some cannot be migrated as they are.`,
		Example: `  windlass migrate plan
  windlass migrate plan chat -n team-a
  windlass migrate plan -l tier=free -A
  windlass migrate plan chat --recreate
  windlass migrate plan --all -A -o json | jq '.installations[] | select(.verdict == "Refused")'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := s.choose(cmd, args, false); err != nil {
				return err
			}
			c, err := s.connect()
			if err != nil {
				return err
			}
			seen, err := s.look(cmd.Context(), c)
			if err != nil {
				return err
			}
			for i := range seen.older {
				if recreate {
					recreated(&seen.older[i])
				}
			}
			f, err := s.factsOf(cmd.Context(), c, seen.older)
			if err != nil {
				return err
			}
			return printMigratePlan(cmd, &o, s.planOf(seen, f, time.Now()))
		},
	}
	s.addFlags(cmd)
	o.addFlag(cmd)
	cmd.Flags().BoolVar(&recreate, "recreate", false, "as with windlass migrate start --recreate")
	return cmd
}

func printMigratePlan(cmd *cobra.Command, o *output, p migratePlan) error {
	if err := o.print(cmd.OutOrStdout(), p, p.text); err != nil {
		return err
	}
	if p.Summary.Refused > 0 {
		return errUnhealthy
	}
	return nil
}

func (s *scope) planOf(seen seenInstallations, f facts, now time.Time) migratePlan {
	p := migratePlan{Installations: []migration.Preflight{}, where: s.String()}
	for i := range seen.older {
		w := seen.world(&seen.older[i], f)
		one := migration.Look(w, now)
		if one.Verdict != migration.Refused {
			one.PodRestart, one.PodChanges = migration.RestartOf(w, now)
		}
		p.Installations = append(p.Installations, one)
		p.Summary.count(one)
	}
	standings, _ := seen.standings(s.labels)
	for _, standing := range standings {
		if standing.Phase == migration.Migrated {
			p.Summary.Migrated++
		}
	}
	return p
}

func (s *planSummary) count(p migration.Preflight) {
	switch p.Verdict {
	case migration.Ready:
		s.Ready++
	case migration.Waits:
		s.Waits++
	case migration.Refused:
		s.Refused++
	case migration.UnderWay:
		s.UnderWay++
	}
	if len(p.Lossy) > 0 {
		s.Lossy++
	}
	if p.PodRestart != "" && p.PodRestart != migration.Never {
		s.Restarting++
	}
	if len(p.MadeBy) > 0 {
		s.MadeByTools++
	}
}

func (p migratePlan) text(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(p.Installations) == 0 {
		fmt.Fprintf(w, "There are no ClusterInstallations %s%s.\n", p.where, p.Summary.through())
		return w.Flush()
	}
	fmt.Fprintf(w, "NAMESPACE\tNAME\tVERDICT\tPOD RESTART\tLOSSY\tMADE BY\n")
	for _, one := range p.Installations {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", one.Namespace, one.Name, one.Verdict, dash(string(one.PodRestart)), len(one.Lossy), dash(strings.Join(one.MadeBy, ", ")))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	p.sections(out)
	_, err := fmt.Fprintf(out, "\n%s\n", p.Summary)
	return err
}

// sections say what there is to know, each with those whom it is about.
func (p migratePlan) sections(out io.Writer) {
	verdict := func(v migration.Verdict) func(migration.Preflight) []string {
		return func(one migration.Preflight) []string {
			if one.Verdict != v || one.Message == "" {
				return nil
			}
			return []string{one.Message}
		}
	}
	for _, section := range []struct {
		title string
		of    func(migration.Preflight) []string
	}{
		{"Refused: they stay as they are", verdict(migration.Refused)},
		{"Waits", verdict(migration.Waits)},
		{"Under way", verdict(migration.UnderWay)},
		{"Lossy: what the Mattermost will not have", func(one migration.Preflight) []string { return one.Lossy }},
		{"Pods", func(one migration.Preflight) []string {
			if len(one.PodChanges) == 0 {
				return nil
			}
			return []string{"Other pods (" + string(one.PodRestart) + "): " + strings.Join(one.PodChanges, ", ")}
		}},
		{"Made by other tools: before the start take the ClusterInstallation out there, without pruning, or they make it anew", func(one migration.Preflight) []string { return one.MadeBy }},
		{"To know", func(one migration.Preflight) []string { return one.Warnings }},
	} {
		lines, about := []string{}, map[string][]string{}
		for _, one := range p.Installations {
			for _, line := range section.of(one) {
				if about[line] == nil {
					lines = append(lines, line)
				}
				about[line] = append(about[line], one.Namespace+"/"+one.Name)
			}
		}
		if len(lines) == 0 {
			continue
		}
		slices.SortStableFunc(lines, func(a, b string) int { return len(about[b]) - len(about[a]) })
		fmt.Fprintf(out, "\n%s\n", section.title)
		const most = 20
		for _, line := range lines[:min(len(lines), most)] {
			fmt.Fprintf(out, "  %s: %s\n", few(about[line]), line)
		}
		if more := len(lines) - most; more > 0 {
			fmt.Fprintf(out, "  and %d more, which -o json has\n", more)
		}
	}
}

// through says how many are migrated already.
func (s planSummary) through() string {
	if s.Migrated == 0 {
		return ""
	}
	return fmt.Sprintf("; %d were, and are Mattermosts now", s.Migrated)
}

func (s planSummary) String() string {
	text := fmt.Sprintf("%d ready, %d to wait, %d refused, %d under way%s", s.Ready, s.Waits, s.Refused, s.UnderWay, s.through())
	return text + fmt.Sprintf(". %d lossy, %d made by other tools, %d with pods that may be restarted.", s.Lossy, s.MadeByTools, s.Restarting)
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
