package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/internal/migration"
)

// standing is one that began its phase some time ago.
func standing(name string, phase v1alpha1.MigrationPhase, since time.Duration, message string) migration.Standing {
	s := migration.Standing{Namespace: "team-a", Name: name, Phase: phase, Turn: 1, Message: message}
	if since > 0 {
		s.Since = new(metav1.NewTime(viewedAt.Add(-since)))
	}
	return s
}

func migrating() *migrationView {
	v := &migrationView{where: "in namespace team-a", Unasked: 3, Installations: []migration.Standing{
		standing("kite", v1alpha1.MigrationHandingOver, 3*time.Minute, "The Mattermost takes the objects over."),
		standing("chat", migration.Migrated, 20*time.Minute, "The Mattermost was a ClusterInstallation."),
		standing("blue", v1alpha1.MigrationRefused, time.Hour, "Disable BlueGreen to enable migration."),
		standing("held", v1alpha1.MigrationAwaitingFinalization, time.Minute, "The Mattermost has the objects and is stable."),
		standing("next", migration.Asked, 0, "It is to become a Mattermost. No controller has seen that yet."),
	}}
	v.Installations[0].Error = "Mattermost/kite: no node has room"
	migration.Sort(v.Installations)
	return v
}

func TestMigrationViews(t *testing.T) {
	t.Parallel()
	many := &migrationView{where: "in all namespaces", brief: true}
	for i := range 30 {
		phase := v1alpha1.MigrationPreparing
		if i%5 == 0 {
			phase = migration.Migrated
		}
		many.Installations = append(many.Installations, standing(fmt.Sprintf("chat-%02d", i), phase, time.Minute, "The Mattermost is being made."))
	}
	migration.Sort(many.Installations)
	for name, v := range map[string]*migrationView{"status": migrating(), "watch-many": many, "status-none": {where: "in namespace team-a with tier=free"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := v.text(&out, viewedAt); err != nil {
				t.Fatal(err)
			}
			golden(t, "../migrate/"+name, out.String())
		})
	}
}

// TestMigrationLines says of each change what it is, and nothing twice.
func TestMigrationLines(t *testing.T) {
	t.Parallel()
	first := migrating()
	var lines []string
	say := func(now, before *migrationView) { lines = append(lines, strings.Join(now.changes(before), "\n")) }
	say(first, nil)
	say(migrating(), first)
	second := migrating()
	for i := range second.Installations {
		if s := &second.Installations[i]; s.Name == "kite" {
			s.Phase, s.Error = migration.Migrated, ""
		}
	}
	say(second, first)
	golden(t, "../migrate/lines", strings.Join(lines, "\n---\n")+"\n")
}

func TestMigrationFailure(t *testing.T) {
	t.Parallel()
	v := migrating()
	if err := v.failure(); err == nil || err.Error() != "1 did not become Mattermosts: team-a/blue (Refused)" {
		t.Errorf("the error is %v", err)
	}
	if v.atRest() || !v.needsSomebody() {
		t.Errorf("at rest %v, needs somebody %v", v.atRest(), v.needsSomebody())
	}
	v.Installations = v.Installations[3:]
	if err := v.failure(); err != nil || !v.atRest() || v.needsSomebody() {
		t.Errorf("those that rest: %v, %+v", err, v.Installations)
	}
}

func TestMigratePlanText(t *testing.T) {
	t.Parallel()
	p := migratePlan{where: "in all namespaces", Summary: planSummary{Migrated: 4}, Installations: []migration.Preflight{
		{Namespace: "team-a", Name: "blue", Verdict: migration.Refused, Message: "Disable BlueGreen to enable migration."},
		{Namespace: "team-a", Name: "chat", Verdict: migration.Ready, PodRestart: migration.Never, Lossy: []string{"The label app.kubernetes.io/instance: by it another tool tracks what it made."}, MadeBy: []string{"Argo CD", "kubectl apply"}},
		{Namespace: "team-b", Name: "kite", Verdict: migration.Waits, Message: "The migration begins when the installation is no longer paused.", PodRestart: migration.Now, PodChanges: []string{".spec.containers[0].env"}, Warnings: []string{"It is owned by Tenant/a."}},
		{Namespace: "team-b", Name: "odd", Verdict: migration.UnderWay, Asked: true, Message: "The Mattermost is being made.", PodRestart: migration.Unknown},
	}}
	for i := range 7 {
		p.Installations = append(p.Installations, migration.Preflight{Namespace: "fleet", Name: fmt.Sprintf("chat-%d", i), Verdict: migration.Waits, Message: "The migration begins when the installation is stable.", PodRestart: migration.Never})
	}
	for _, one := range p.Installations {
		p.Summary.count(one)
	}
	var out bytes.Buffer
	if err := p.text(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "../migrate/plan", out.String())
}

func TestScope(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		line    []string
		changes bool
		want    []string
		text    string
		err     string
	}{
		"names":              {line: []string{"chat", "ci/kite", "clusterinstallation/chat", "-n", "team-a"}, changes: true, want: []string{"chat", "kite"}, text: "in namespace team-a"},
		"all of a namespace": {line: []string{"--all", "-n", "team-a"}, changes: true, text: "in namespace team-a"},
		"all":                {line: []string{"--all", "-A"}, changes: true, text: "in all namespaces"},
		"labels":             {line: []string{"-l", "tier in (free, pro)", "-A"}, changes: true, text: "in all namespaces with tier in (free, pro)"},
		"nothing, to look":   {line: []string{"-A"}, text: "in all namespaces"},
		"nothing, to change": {line: []string{"-A"}, changes: true, err: "say which installations"},
		"both":               {line: []string{"chat", "--all"}, err: "only one of them"},
		"no selector":        {line: []string{"-l", ""}, err: "--all"},
		"a wrong selector":   {line: []string{"-l", "a=b=c"}, err: "-l"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s scope
			cmd := &cobra.Command{Use: "x"}
			s.addFlags(cmd)
			if err := cmd.ParseFlags(c.line); err != nil {
				t.Fatal(err)
			}
			err := s.choose(cmd, cmd.Flags().Args(), c.changes)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("the error is %v, want %q", err, c.err)
			}
			if diff := cmp.Diff(c.want, s.names); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if err == nil && s.String() != c.text {
				t.Errorf("they are %q, want %q", s.String(), c.text)
			}
		})
	}
}
