package restore_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/restore"
)

func outcomeOf(p plan.Plan) plan.Outcome { return plan.Outcome{Done: p.Steps} }

// look is one pass over one restore, whose steps succeed.
func look(s restore.Snapshot) (plan.Plan, v1alpha1.MattermostRestoreDBStatus) {
	p := restore.Decide(s, start)
	return p, restore.Report(s, p, outcomeOf(p), start).Status
}

func readyOf(status v1alpha1.MattermostRestoreDBStatus) metav1.Condition {
	return *meta.FindStatusCondition(status.Conditions, v1beta1.ConditionReady)
}

// confirmed is a snapshot of a restore that has the word.
func confirmed(t *testing.T, choice v1alpha1.ReplacedData) restore.Snapshot {
	t.Helper()
	w := newWorld()
	w.make("one")
	s := w.snapshot("one", fresh)
	_, status := look(s)
	if status.Confirmation == "" {
		t.Fatalf("no confirmation: %+v", status)
	}
	s.Restore.Annotations = map[string]string{v1alpha1.ReplaceDataAnnotation: string(choice) + "-" + status.Confirmation}
	s.Restore.Finalizers = []string{v1alpha1.RestoreFinalizer}
	return s
}

// TestRefusals: each with its reason, whether clients are told that it failed, and what
// the message says to do. Nothing is done.
func TestRefusals(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change  func(*restore.Snapshot)
		reason  string
		failed  bool
		stalled bool
		says    string
	}{
		"no name":         {func(s *restore.Snapshot) { s.Restore.Spec.MattermostClusterName = "" }, v1alpha1.ReasonInvalidRestore, true, true, "mattermostClusterName"},
		"no URL":          {func(s *restore.Snapshot) { s.Restore.Spec.InitBucketURL = "" }, v1alpha1.ReasonInvalidRestore, true, true, "start empty"},
		"no such URL":     {func(s *restore.Snapshot) { s.Restore.Spec.InitBucketURL = "bucket" }, v1alpha1.ReasonInvalidRestore, true, true, "it is no URL"},
		"no Secret named": {func(s *restore.Snapshot) { s.Restore.Spec.RestoreSecret = "" }, v1alpha1.ReasonInvalidRestore, true, true, "spec.restoreSecret"},
		"credentials twice": {func(s *restore.Snapshot) {
			s.Restore.Spec.MattermostDBSecret, s.Restore.Spec.MattermostDBUser = "a", "b"
		}, v1alpha1.ReasonInvalidRestore, true, true, "remove those"},
		"no installation": {func(s *restore.Snapshot) { s.Installation = nil }, v1alpha1.ReasonInstallationNotFound, true, true, "make it"},
		"migrated":        {func(s *restore.Snapshot) { s.Installation, s.Mattermost = nil, true }, v1alpha1.ReasonInstallationMigrated, true, true, "is a Mattermost"},
		"migrating":       {func(s *restore.Snapshot) { s.Installation.Spec.Migrate = true }, v1alpha1.ReasonInstallationMigrating, false, false, "spec.migrate"},
		"coming back":     {func(s *restore.Snapshot) { s.Mattermost = true }, v1alpha1.ReasonInstallationMigrating, false, false, "spec.migrate"},
		"being deleted":   {func(s *restore.Snapshot) { s.Installation.DeletionTimestamp = &metav1.Time{Time: start} }, v1alpha1.ReasonInstallationNotReady, false, false, "deleted"},
		"paused":          {annotated(v1beta1.PausedAnnotation), v1alpha1.ReasonInstallationNotReady, false, false, v1beta1.PausedAnnotation},
		"released":        {annotated(v1beta1.ReleasedAnnotation), v1alpha1.ReasonInstallationNotReady, false, false, v1beta1.ReleasedAnnotation},
		"canary upgraded": {func(s *restore.Snapshot) {
			s.Installation.Spec.Canary.Enable = true
			s.Installation.Status.Conditions = append(s.Installation.Status.Conditions, metav1.Condition{Type: v1beta1.ConditionUpdateJobSucceeded, Status: metav1.ConditionUnknown, Reason: v1beta1.ReasonUpdateJobRunning})
		}, v1alpha1.ReasonInstallationNotReady, false, false, "upgraded"},
		"upgraded":          {says(v1beta1.ReasonUpdateJobRunning, ""), v1alpha1.ReasonInstallationNotReady, false, false, "upgraded"},
		"cannot be applied": {says(v1beta1.ReasonInvalidSpec, "spec.x: wrong"), v1alpha1.ReasonInstallationNotReady, false, false, "spec.x: wrong"},
		"failed migration":  {says(v1beta1.ReasonUpdateJobFailed, "the Job failed"), v1alpha1.ReasonRestoring, false, false, "begins"},
		"external database": {func(s *restore.Snapshot) {
			s.Installation.Spec.Database.Secret = "db"
			s.Secrets["db"] = installation.Secret{DatabaseScheme: "postgres"}
		}, v1alpha1.ReasonDatabaseNotManaged, true, true, "none that the MySQL operator runs"},
		"PostgreSQL": {func(s *restore.Snapshot) { s.Installation.Spec.Database.Type = "postgres" }, v1alpha1.ReasonDatabaseNotManaged, true, true, "none that the MySQL operator runs"},
		"stopped before": {func(s *restore.Snapshot) {
			s.Installation.Spec.Database.Replicas, s.Installation.Spec.Database.InitBucketURL = 0, backup
		}, v1alpha1.ReasonDatabaseStopped, true, true, "spec.database.replicas"},
		"kind not served":     {func(s *restore.Snapshot) { s.Served, s.Cluster = false, nil }, v1alpha1.ReasonDatabaseNotFound, false, false, "MysqlCluster"},
		"no database":         {func(s *restore.Snapshot) { s.StatefulSet = nil }, v1alpha1.ReasonDatabaseNotFound, false, false, "StatefulSet"},
		"Secret missing":      {func(s *restore.Snapshot) { delete(s.Secrets, "backup") }, v1alpha1.ReasonRestoreSecretNotFound, false, false, "backup"},
		"credentials missing": {func(s *restore.Snapshot) { s.Restore.Spec.MattermostDBSecret = "creds" }, v1alpha1.ReasonRestoreSecretNotFound, false, false, "USER"},
		"own Secret": {func(s *restore.Snapshot) {
			s.Restore.Spec.MattermostDBUser, s.Installation.Spec.Database.Secret = "me", "mine"
			s.Secrets["mine"] = installation.Secret{Keys: []string{"ROOT_PASSWORD", "USER", "PASSWORD", "DATABASE"}}
		}, v1alpha1.ReasonCredentialsNotOurs, true, true, "yours"},
		"another restore": {func(s *restore.Snapshot) {
			other := v1alpha1.MattermostRestoreDB{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "other", UID: "other"}}
			other.Status = v1alpha1.MattermostRestoreDBStatus{Phase: v1alpha1.RestoreStartingDatabase, Run: &v1alpha1.RestoreRun{UID: "other", Installation: "chat", InstallationUID: "installation"}}
			s.Others = append(s.Others, other)
		}, v1alpha1.ReasonAnotherRestore, false, false, "MattermostRestoreDB/other"},
		"no word":       {word(""), v1alpha1.ReasonConfirmationNeeded, false, true, v1alpha1.ReplaceDataAnnotation + "=Retain-"},
		"dry run":       {word("DryRun"), v1alpha1.ReasonDryRun, false, false, "mysql-0 (1Gi)"},
		"half a word":   {word("Delete"), v1alpha1.ReasonConfirmationOutdated, false, true, "To begin"},
		"another word":  {word("Delete-00000000"), v1alpha1.ReasonConfirmationOutdated, false, true, "To begin"},
		"other volumes": {func(s *restore.Snapshot) { s.Claims[0].UID = "another" }, v1alpha1.ReasonConfirmationOutdated, false, true, "To begin"},
		"nothing":       {func(*restore.Snapshot) {}, v1alpha1.ReasonRestoring, false, false, "begins"},
		"of upstream": {func(s *restore.Snapshot) {
			s.Restore.Status = v1alpha1.MattermostRestoreDBStatus{State: v1alpha1.Restoring, OriginalDBReplicas: 3}
			word("")(s)
		}, v1alpha1.ReasonConfirmationNeeded, false, true, "To begin"},
		"copied run": {func(s *restore.Snapshot) {
			s.Restore.Status = v1alpha1.MattermostRestoreDBStatus{Phase: v1alpha1.RestoreDeletingVolumes, Run: &v1alpha1.RestoreRun{UID: "another"}}
			word("")(s)
		}, v1alpha1.ReasonConfirmationNeeded, false, true, "To begin"},
	}
	for title, c := range cases {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			s := confirmed(t, v1alpha1.DeleteReplacedData)
			c.change(&s)
			p, status := look(s)
			ready := readyOf(status)
			if ready.Reason != c.reason || !strings.Contains(ready.Message, c.says) {
				t.Errorf("says %s: %s", ready.Reason, ready.Message)
			}
			if failed := status.State == v1alpha1.Failed; failed != c.failed {
				t.Errorf("state %q", status.State)
			}
			if is := meta.IsStatusConditionTrue(status.Conditions, v1beta1.ConditionStalled); is != c.stalled {
				t.Errorf("stalled: %v", is)
			}
			if len(p.Steps) > 0 || c.reason != v1alpha1.ReasonRestoring && (status.Phase != v1alpha1.RestoreWaiting || status.Run != nil) {
				t.Errorf("steps %v, status %+v", p.Steps, status)
			}
		})
	}
}

func word(said string) func(*restore.Snapshot) {
	return func(s *restore.Snapshot) { s.Restore.Annotations[v1alpha1.ReplaceDataAnnotation] = said }
}

func annotated(key string) func(*restore.Snapshot) {
	return func(s *restore.Snapshot) { s.Installation.Annotations = map[string]string{key: "true"} }
}

func says(reason, problem string) func(*restore.Snapshot) {
	return func(s *restore.Snapshot) {
		s.Installation.Status.Error = problem
		s.Installation.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionReady, Status: metav1.ConditionFalse, Reason: reason}}
	}
}

// TestEndedNeverBegins: neither ours nor one that the Mattermost Operator finished, nor a
// copy, with or without the word, and with whatever spec.
func TestEndedNeverBegins(t *testing.T) {
	t.Parallel()
	for title, status := range map[string]v1alpha1.MattermostRestoreDBStatus{
		"upstream":  {State: v1alpha1.Finished, OriginalDBReplicas: 3},
		"ours":      {State: v1alpha1.Finished, Phase: v1alpha1.RestoreFinished, Run: &v1alpha1.RestoreRun{UID: "restore-3", Generation: 1}},
		"a copy":    {State: v1alpha1.Finished, Phase: v1alpha1.RestoreFinished, Run: &v1alpha1.RestoreRun{UID: "another", Generation: 1}},
		"abandoned": {State: v1alpha1.Failed, Phase: v1alpha1.RestoreAbandoned, Run: &v1alpha1.RestoreRun{UID: "another", Generation: 1}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			s := confirmed(t, v1alpha1.DeleteReplacedData)
			s.Restore.Status, s.Restore.Finalizers, s.Restore.Generation = status, nil, 2
			p, after := look(s)
			if len(p.Steps) > 0 || after.State != status.State || after.OriginalDBReplicas != status.OriginalDBReplicas {
				t.Errorf("steps %v, status %+v", p.Steps, after)
			}
			warned := meta.FindStatusCondition(after.Conditions, v1beta1.ConditionSpecWarnings)
			if is := warned != nil && warned.Reason == v1alpha1.ReasonRunsOnce; is != (status.Run != nil) {
				t.Errorf("warned: %+v", warned)
			}
			s.Restore.Status = after
			if _, again := look(s); !cmp.Equal(after, again) {
				t.Errorf("the status changes for ever:\n%s", cmp.Diff(after, again))
			}
		})
	}
}

// TestPhases goes through all of them in order, and tells which steps each has.
func TestPhases(t *testing.T) {
	t.Parallel()
	w := newWorld()
	r := w.make("one")
	r.Spec.MattermostDBUser = "me"
	w.now.secrets["chat-mysql-root-password"] = true
	var phases []v1alpha1.RestorePhase
	steps := map[v1alpha1.RestorePhase][]string{}
	for range 80 {
		before := r.Status.Phase
		if before == v1alpha1.RestoreWaiting {
			r.Annotations = map[string]string{v1alpha1.ReplaceDataAnnotation: "Retain-" + r.Status.Confirmation}
		}
		for _, step := range restore.Decide(w.snapshot("one", fresh), w.time).Steps {
			steps[before] = append(steps[before], step.Action.String())
		}
		w.pass("one", fresh, -1)
		if r.Status.Phase != before {
			phases = append(phases, r.Status.Phase)
			if len(steps[before]) > 0 && before != v1alpha1.RestoreWaiting {
				t.Logf("%s: %v", before, steps[before])
			}
		}
		w.settle()
	}
	want := []v1alpha1.RestorePhase{
		v1alpha1.RestoreWaiting, v1alpha1.RestoreKeepingVolumes, v1alpha1.RestoreStoppingMattermost, v1alpha1.RestoreStoppingDatabase,
		v1alpha1.RestoreDeletingVolumes, v1alpha1.RestoreStartingDatabase, v1alpha1.RestoreSettlingDatabase, v1alpha1.RestoreStartingMattermost, v1alpha1.RestoreFinished,
	}
	if diff := cmp.Diff(want, phases); diff != "" {
		t.Error(diff)
	}
	wantSteps := map[v1alpha1.RestorePhase][]string{
		v1alpha1.RestoreWaiting:        {"apply MattermostRestoreDB/one"},
		v1alpha1.RestoreKeepingVolumes: {"keep PersistentVolume/pv-claim-1", "keep PersistentVolume/pv-claim-2"},
		// The MySQL operator deletes the other claim by itself.
		v1alpha1.RestoreDeletingVolumes: {"delete PersistentVolumeClaim/" + w.my().ClaimPrefix + "0", "write credentials to Secret/chat-mysql-root-password"},
		v1alpha1.RestoreFinished:        {"apply MattermostRestoreDB/one"},
	}
	if diff := cmp.Diff(wantSteps, steps); diff != "" {
		t.Error(diff)
	}
	if len(w.violations) > 0 {
		t.Error(w.violations)
	}
}

// TestTwoAtOnce: both had the word and were begun in the same moment. One of them is carried
// out; the other one asks again, because what it was confirmed for is gone.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld()
	for _, name := range []string{"one", "two"} {
		w.make(name)
		w.pass(name, fresh, -1)
	}
	for _, r := range w.now.restores {
		r.Annotations = map[string]string{v1alpha1.ReplaceDataAnnotation: "Delete-" + r.Status.Confirmation}
	}
	for range 2 {
		w.remember()
		for _, name := range []string{"one", "two"} {
			w.pass(name, func() int { return 1 }, -1) // None sees that the other begins.
		}
	}
	for name, r := range w.now.restores {
		if r.Status.Phase != v1alpha1.RestoreStoppingMattermost {
			t.Fatalf("%s was not begun: %+v", name, r.Status)
		}
	}
	for range 20 {
		w.settle()
		w.pass("two", fresh, -1)
		w.pass("one", fresh, -1)
	}
	one, two := w.now.restores["one"].Status, w.now.restores["two"].Status
	if one.State != v1alpha1.Finished || two.Phase != v1alpha1.RestoreWaiting || readyOf(two).Reason != v1alpha1.ReasonConfirmationOutdated {
		t.Errorf("one: %+v, two: %+v", one, two)
	}
	if is, _ := w.running(); !is || len(w.deleted) != 1 || len(w.violations) > 0 {
		t.Errorf("deleted %v, violations %v", w.deleted, w.violations)
	}
}

// TestCredentials are as the Mattermost Operator writes them, or those of a Secret.
func TestCredentials(t *testing.T) {
	t.Parallel()
	for title, c := range map[string]struct {
		spec   v1alpha1.MattermostRestoreDBSpec
		secret map[string][]byte
		want   map[string]string
	}{
		"a user":     {v1alpha1.MattermostRestoreDBSpec{MattermostDBUser: "me"}, nil, map[string]string{"USER": "me", "DATABASE": "mattermost"}},
		"a password": {v1alpha1.MattermostRestoreDBSpec{MattermostDBPassword: "p"}, nil, map[string]string{"USER": "mmuser", "DATABASE": "mattermost", "PASSWORD": "p"}},
		"a Secret": {
			v1alpha1.MattermostRestoreDBSpec{MattermostDBSecret: "s"},
			map[string][]byte{"USER": []byte("u"), "PASSWORD": []byte("p"), "DATABASE": []byte("d"), "ROOT_PASSWORD": []byte("r"), "other": []byte("x")},
			map[string]string{"USER": "u", "PASSWORD": "p", "DATABASE": "d", "ROOT_PASSWORD": "r"},
		},
	} {
		if diff := cmp.Diff(c.want, restore.Credentials(c.spec, c.secret)); diff != "" {
			t.Errorf("%s:\n%s", title, diff)
		}
	}
}
