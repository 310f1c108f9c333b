package clusterinstallation

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/installation/oracletest"
	"windlass.dev/internal/kit/plan"
)

// TestReleaseKeepsWhatUpstreamKeeps compares what is written onto the objects on the way
// back with what upstream itself had written there.
func TestReleaseKeepsWhatUpstreamKeeps(t *testing.T) {
	t.Parallel()
	compared := 0
	for _, name := range oracletest.Names(t) {
		content, err := os.ReadFile(filepath.Join("testdata", "oracles", name, "kept.json"))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var kept map[string]map[string]any
		if err := json.Unmarshal(content, &kept); err != nil {
			t.Fatal(err)
		}
		o := readOracle(t, name)
		c := newCluster(o.input)
		c.secrets = o.secrets
		s := c.settle()
		s.ClusterInstallation.Annotations = map[string]string{v1beta1.ReleasedAnnotation: "true"}
		s = c.snapshotOf(s.ClusterInstallation)
		for _, step := range Decide(s, somewhen).Steps {
			over, ok := step.Action.(plan.HandOver)
			if !ok {
				t.Errorf("%s: step %s", name, step.Action)
				continue
			}
			if over.Ref.Kind == "Secret" {
				continue // Of those no values are copied.
			}
			what := over.Ref.String()
			if kept[what] == nil {
				t.Errorf("%s: upstream keeps nothing of %s", name, what)
				continue
			}
			compared++
			oracletest.CompareKept(t, name+": "+what, kept[what], oracletest.Opened(t, over.Annotations["mattermost.com/last-applied"]))
		}
	}
	if compared < 120 {
		t.Errorf("only %d objects were compared", compared)
	}
}

// TestNoSetIsHandedBackAlone: while an upgrade of one set is under way, nothing of the
// installation is handed back.
func TestNoSetIsHandedBackAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(chat(blueGreen("blue")))
	stored := c.settle().ClusterInstallation
	stored.Annotations = map[string]string{v1beta1.ReleasedAnnotation: "true"}
	stored.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: installation.StatusManager}}
	s := c.snapshotOf(stored)
	job := batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: "chat-green-update-1", UID: "job",
		Labels: map[string]string{"app": "mattermost-update-check", "installation.mattermost.com/installation": "chat-green"},
	}}
	for i := range s.Views {
		s.Views[i].Jobs = append(s.Views[i].Jobs, job)
	}
	p := Decide(s, somewhen)
	for _, step := range p.Steps {
		if strings.HasPrefix(step.Action.String(), "hand over") {
			t.Errorf("step %s", step.Action)
		}
	}
	status := Report(s, p, plan.Outcome{}, somewhen).Status
	if said := conditionOf(status, v1beta1.ConditionReleased); said.Reason != v1beta1.ReasonNotReleasable || !strings.HasPrefix(said.Message, "Deployment/chat-green: ") {
		t.Errorf("the condition is %+v", said)
	}
}
