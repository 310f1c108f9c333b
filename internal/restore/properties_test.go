package restore_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/internal/restore"
)

// TestNothingUnrecordedIsDeleted plays crashes, caches that are behind, edits, deletions and
// several restores in any order: no claim is deleted whose UID is not on record, none
// without the word, and none that a restore made. In the end all that is left is finished,
// and everything runs as before.
func TestNothingUnrecordedIsDeleted(t *testing.T) {
	t.Parallel()
	reached := 0
	defer func() { t.Logf("claims were deleted amid faults in %d runs", reached) }()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		r := w.make("one")
		if rapid.Bool().Draw(t, "begun") {
			w.pass("one", fresh, -1)
			r.Annotations = map[string]string{v1alpha1.ReplaceDataAnnotation: "Delete-" + r.Status.Confirmation}
			for range rapid.IntRange(0, 6).Draw(t, "passes") {
				w.pass("one", fresh, -1)
				w.settle()
			}
		}
		behind := func() int { return max(0, rapid.IntRange(-3, 3).Draw(t, "behind")) }
		for range rapid.IntRange(0, 50).Draw(t, "moves") {
			w.remember()
			names := slices.Sorted(maps.Keys(w.now.restores))
			name := ""
			if len(names) > 0 {
				name = rapid.SampledFrom(names).Draw(t, "restore")
			}
			w.move(t, name, behind)
		}
		early := len(w.deleted)
		w.finish(rapid.SampledFrom([]v1alpha1.ReplacedData{v1alpha1.RetainReplacedData, v1alpha1.DeleteReplacedData}).Draw(t, "choice"))
		if early > 0 {
			reached++
		}
		for _, violation := range w.violations {
			t.Error(violation)
		}
		for name, r := range w.now.restores {
			if r.Status.Phase != v1alpha1.RestoreFinished || len(r.Finalizers) > 0 {
				t.Errorf("%s has not ended: %+v", name, r.Status)
			}
		}
		ready, _ := w.running()
		if !ready {
			t.Errorf("not all runs: Deployment %d, StatefulSet %+v, MysqlCluster %v, claims %+v", *w.now.deployment.Spec.Replicas, w.now.set.Status, w.now.cluster.Object, w.now.claims)
		}
	})
}

// running says whether everything is as the installation wants it.
func (w *world) running() (is bool, claims int) {
	set, d := w.now.set, w.now.deployment
	_, starts := w.now.cluster.Object["spec"].(map[string]any)["initBucketURL"]
	return *d.Spec.Replicas == 2 && d.Status.Replicas == 2 && set.Status.ReadyReplicas == replicas && !starts && w.now.installation.Status.Restore == nil, len(w.now.claims)
}

func (w *world) move(t *rapid.T, name string, behind func() int) {
	r := w.now.restores[name]
	switch rapid.IntRange(0, 18).Draw(t, "move") {
	case 0, 1, 2, 3, 4, 13, 14:
		w.operate(rapid.IntRange(0, 4).Draw(t, "who"))
	case 5, 6, 7, 15, 16:
		w.pass(name, behind, rapid.IntRange(-1, 3).Draw(t, "killed after"))
	case 8:
		if r != nil {
			word := rapid.SampledFrom([]string{"", "DryRun", "Delete-", "Retain-", "Delete-00000000", "Retain"}).Draw(t, "word")
			if word == "Delete-" || word == "Retain-" {
				word += r.Status.Confirmation
			}
			r.Annotations = map[string]string{v1alpha1.ReplaceDataAnnotation: word}
		}
	case 9:
		if r != nil {
			r.Spec.InitBucketURL = rapid.SampledFrom([]string{backup, "s3://backups/tuesday", "", "nonsense"}).Draw(t, "URL")
			r.Spec.MattermostClusterName = rapid.SampledFrom([]string{"chat", "chat", "other"}).Draw(t, "installation")
			r.Generation++
		}
	case 17:
		// Somebody puts another claim in the place of one.
		w.claim(w.my().ClaimPrefix+rapid.SampledFrom([]string{"0", "1"}).Draw(t, "replica"), "somebody's")
	case 10:
		if len(w.now.restores) < 3 {
			w.make(rapid.SampledFrom([]string{"one", "two", "three"}).Draw(t, "name"))
		}
	case 11:
		if r != nil && len(r.Finalizers) == 0 {
			delete(w.now.restores, name)
		} else if r != nil {
			at := metav1.NewTime(w.time)
			r.DeletionTimestamp = &at
		}
	default:
		w.now.secrets = map[string]bool{"chat-mysql-root-password": true, "backup": rapid.Bool().Draw(t, "secret")}
		if !w.now.secrets["backup"] {
			delete(w.now.secrets, "backup")
		}
	}
}

// TestDecideIsAFunction: the same snapshot gives the same plan, and is not changed.
func TestDecideIsAFunction(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.make("one")
		for range rapid.IntRange(0, 40).Draw(t, "moves") {
			w.move(t, "one", fresh)
		}
		if w.now.restores["one"] == nil {
			return
		}
		s, untouched := w.snapshot("one", fresh), w.snapshot("one", fresh)
		first := restore.Decide(s, start)
		if diff := cmp.Diff(untouched, s); diff != "" {
			t.Errorf("the snapshot was changed:\n%s", diff)
		}
		again := restore.Decide(untouched, start)
		if diff := cmp.Diff(first.Steps, again.Steps); diff != "" {
			t.Error(diff)
		}
		one, other := restore.Report(s, first, outcomeOf(first), start), restore.Report(untouched, again, outcomeOf(again), start)
		if diff := cmp.Diff(one, other); diff != "" {
			t.Error(diff)
		}
	})
}
