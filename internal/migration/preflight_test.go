package migration

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/clusterinstallation"
	"windlass.dev/internal/installation"
)

var now = time.Date(2026, 6, 1, 22, 30, 0, 0, time.UTC)

// world has a ClusterInstallation that is stable.
func world(change func(*v1alpha1.ClusterInstallation)) World {
	ci := &v1alpha1.ClusterInstallation{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "chat", UID: "older", Generation: 2},
		Spec: v1alpha1.ClusterInstallationSpec{
			Version: "10.5.2", IngressName: "chat.example.com",
			Database: v1alpha1.Database{Secret: "db"},
			Minio:    v1alpha1.Minio{ExternalURL: "s3.example.com", ExternalBucket: "chat", Secret: "fs"},
		},
		Status: v1alpha1.ClusterInstallationStatus{State: v1alpha1.Stable, ObservedGeneration: 2},
	}
	if change != nil {
		change(ci)
	}
	return World{ClusterInstallation: ci, Secrets: map[string]installation.Secret{
		"db": {Keys: []string{"DB_CONNECTION_STRING"}, DatabaseScheme: "postgres"},
		"fs": {Keys: []string{"accesskey", "secretkey"}},
	}}
}

func newer(change func(*v1beta1.Mattermost)) *v1beta1.Mattermost {
	mm := &v1beta1.Mattermost{ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "chat", UID: "newer"}}
	if change != nil {
		change(mm)
	}
	return mm
}

// madeFrom is a Mattermost on record as made from a ClusterInstallation.
func madeFrom(uid string) func(*v1beta1.Mattermost) {
	return func(mm *v1beta1.Mattermost) {
		mm.Status.MigratedFrom = &v1beta1.MigratedFrom{UID: types.UID(uid), Turn: 1}
	}
}

// restore is one of an installation that has got so far.
func restore(installation types.UID, phase v1alpha1.RestorePhase) *v1alpha1.MattermostRestoreDB {
	return &v1alpha1.MattermostRestoreDB{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team-a", Name: "back", UID: "restore"},
		Status:     v1alpha1.MattermostRestoreDBStatus{Phase: phase, Run: &v1alpha1.RestoreRun{UID: "restore", InstallationUID: installation}},
	}
}

func annotated(key, value string) func(*v1alpha1.ClusterInstallation) {
	return func(ci *v1alpha1.ClusterInstallation) { metav1.SetMetaDataAnnotation(&ci.ObjectMeta, key, value) }
}

func inPhase(phase v1alpha1.MigrationPhase) func(*v1alpha1.ClusterInstallation) {
	return func(ci *v1alpha1.ClusterInstallation) {
		ci.Spec.Migrate = true
		ci.Status.Migration = &v1alpha1.MigrationStatus{Phase: phase, Mattermost: "newer", Turn: 1, Status: "it goes on"}
	}
}

func both(all ...func(*v1alpha1.ClusterInstallation)) func(*v1alpha1.ClusterInstallation) {
	return func(ci *v1alpha1.ClusterInstallation) {
		for _, change := range all {
			change(ci)
		}
	}
}

func blueGreen(ci *v1alpha1.ClusterInstallation) {
	ci.Spec.BlueGreen = v1alpha1.BlueGreen{Enable: true, ProductionDeployment: "blue", Blue: v1alpha1.AppDeployment{Image: "i", Version: "1"}, Green: v1alpha1.AppDeployment{Image: "i", Version: "1"}}
}

func TestLook(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		older   func(*v1alpha1.ClusterInstallation)
		newer   *v1beta1.Mattermost
		restore *v1alpha1.MattermostRestoreDB
		verdict Verdict
		says    string // Part of the message; empty for none.
	}{
		"ready":           {verdict: Ready},
		"reverted before": {older: both(inPhase(v1alpha1.MigrationReverted), func(ci *v1alpha1.ClusterInstallation) { ci.Spec.Migrate = false }), verdict: Ready},
		"hibernated":      {older: func(ci *v1alpha1.ClusterInstallation) { ci.Spec.Replicas = -1 }, verdict: Ready},
		"not stable":      {older: func(ci *v1alpha1.ClusterInstallation) { ci.Status.State = v1alpha1.Reconciling }, verdict: Waits, says: "when the installation is stable"},
		"just changed":    {older: func(ci *v1alpha1.ClusterInstallation) { ci.Generation++ }, verdict: Waits, says: "when the installation is stable"},
		"paused":          {older: annotated(v1beta1.PausedAnnotation, "true"), verdict: Waits, says: "no longer paused"},
		"blue-green":      {older: blueGreen, verdict: Refused, says: "ClusterInstallation resource with BlueGreen enabled cannot be converted to Mattermost resource. Disable BlueGreen to enable migration."},
		"canary": {older: func(ci *v1alpha1.ClusterInstallation) {
			ci.Spec.Canary = v1alpha1.Canary{Enable: true, Deployment: v1alpha1.AppDeployment{Image: "i", Version: "1"}}
		}, verdict: Refused, says: "Disable Canary"},
		"another Mattermost": {newer: newer(nil), verdict: Refused, says: "was not made from this ClusterInstallation"},
		"superseded":         {newer: newer(madeFrom("another")), verdict: Refused, says: "has its place"},
		"handed back":        {older: annotated(v1beta1.ReleasedAnnotation, "true"), verdict: Refused, says: "Remove the annotation " + v1beta1.ReleasedAnnotation},
		"interrupted":        {older: inPhase(v1alpha1.MigrationInterrupted), verdict: Refused, says: "Set spec.migrate to false"},
		"restored":           {restore: restore("older", v1alpha1.RestoreDeletingVolumes), verdict: Waits, says: "when MattermostRestoreDB/back is over"},
		"nearly restored":    {restore: restore("older", v1alpha1.RestoreStartingMattermost), verdict: Waits, says: "when MattermostRestoreDB/back is over"},
		"restored before":    {restore: restore("older", v1alpha1.RestoreFinished), verdict: Ready},
		"another restored":   {restore: restore("another", v1alpha1.RestoreDeletingVolumes), verdict: Ready},
		"being deleted":      {older: func(ci *v1alpha1.ClusterInstallation) { ci.DeletionTimestamp = new(metav1.NewTime(now)) }, verdict: Refused, says: "being deleted"},
		"preparing":          {older: inPhase(v1alpha1.MigrationPreparing), newer: newer(madeFrom("older")), verdict: UnderWay, says: "Mattermost"},
		"handing over":       {older: inPhase(v1alpha1.MigrationHandingOver), newer: newer(madeFrom("older")), verdict: UnderWay, says: "objects"},
		"reverting":          {older: inPhase(v1alpha1.MigrationReverting), newer: newer(madeFrom("older")), verdict: UnderWay, says: "not stopped yet"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world(c.older)
			w.Mattermost = c.newer
			if c.restore != nil {
				w.Restores = []v1alpha1.MattermostRestoreDB{*c.restore}
			}
			before := w.ClusterInstallation.DeepCopy()
			got := Look(w, now)
			if got.Verdict != c.verdict || (got.Message == "") != (c.says == "") || !strings.Contains(got.Message, c.says) {
				t.Errorf("verdict %s: %q, want %s: %q", got.Verdict, got.Message, c.verdict, c.says)
			}
			if restart, changes := RestartOf(w, now); c.verdict != Refused && restart != Never {
				t.Errorf("pods are restarted %q: %v", restart, changes)
			}
			if diff := cmp.Diff(before, w.ClusterInstallation); diff != "" {
				t.Errorf("the argument was changed:\n%s", diff)
			}
		})
	}
}

// TestLookMessage is the reason alone, and once.
func TestLookMessage(t *testing.T) {
	t.Parallel()
	want := "ClusterInstallation resource with BlueGreen enabled cannot be converted to Mattermost resource. Disable BlueGreen to enable migration."
	if got := Look(world(blueGreen), now).Message; got != want {
		t.Errorf("got %q", got)
	}
}

func TestWhatToKnow(t *testing.T) {
	t.Parallel()
	labelled := func(key, value string) func(*v1alpha1.ClusterInstallation) {
		return func(ci *v1alpha1.ClusterInstallation) { metav1.SetMetaDataLabel(&ci.ObjectMeta, key, value) }
	}
	applied := func(manager string) func(*v1alpha1.ClusterInstallation) {
		return func(ci *v1alpha1.ClusterInstallation) {
			ci.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: manager, Operation: metav1.ManagedFieldsOperationApply}}
		}
	}
	cases := map[string]struct {
		older   func(*v1alpha1.ClusterInstallation)
		madeBy  []string
		lossy   string // Part of the only line.
		warning string // Part of the only line.
	}{
		"nothing":           {},
		"Argo CD":           {older: annotated("argocd.argoproj.io/tracking-id", "x"), madeBy: []string{"Argo CD"}, lossy: "argocd.argoproj.io/tracking-id"},
		"a label of either": {older: labelled("app.kubernetes.io/instance", "x"), madeBy: []string{"Argo CD or Helm"}, lossy: "app.kubernetes.io/instance"},
		"Flux":              {older: labelled("kustomize.toolkit.fluxcd.io/name", "x"), madeBy: []string{"Flux"}, lossy: "kustomize.toolkit.fluxcd.io/name"},
		"Flux, by fields":   {older: applied("kustomize-controller"), madeBy: []string{"Flux"}},
		"Helm":              {older: labelled("app.kubernetes.io/managed-by", "Helm"), madeBy: []string{"Helm"}, lossy: "app.kubernetes.io/managed-by"},
		"kubectl":           {older: annotated("kubectl.kubernetes.io/last-applied-configuration", "{}"), madeBy: []string{"kubectl apply"}},
		"kubectl, by field": {older: applied("kubectl"), madeBy: []string{"kubectl apply"}},
		"another label":     {older: labelled("app.kubernetes.io/name", "x")},
		"a canary's rest":   {older: func(ci *v1alpha1.ClusterInstallation) { ci.Spec.Canary.Deployment.Version = "1" }, lossy: "spec.canary"},
		"protected":         {older: annotated(v1beta1.ProtectedAnnotation, "true"), warning: "protects the ClusterInstallation"},
		"held":              {older: annotated(v1alpha1.FinalizeAnnotation, "Manual"), warning: "windlass migrate finalize"},
		"owned": {older: func(ci *v1alpha1.ClusterInstallation) {
			ci.OwnerReferences = []metav1.OwnerReference{{Kind: "Tenant", Name: "a"}}
		}, warning: "Tenant/a"},
		"a finalizer": {older: func(ci *v1alpha1.ClusterInstallation) { ci.Finalizers = []string{"example.com/a"} }, warning: "example.com/a"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Look(world(c.older), now)
			if diff := cmp.Diff(c.madeBy, got.MadeBy); diff != "" {
				t.Errorf("made by (-want +got):\n%s", diff)
			}
			for what, of := range map[string]struct {
				got  []string
				want string
			}{"lossy": {got.Lossy, c.lossy}, "warnings": {got.Warnings, c.warning}} {
				if (len(of.got) == 1) != (of.want != "") || len(of.got) > 1 || !strings.Contains(strings.Join(of.got, ""), of.want) {
					t.Errorf("%s: %q, want one with %q", what, of.got, of.want)
				}
			}
		})
	}
}

// TestUnread: what is not known is not said to be so.
func TestUnread(t *testing.T) {
	t.Parallel()
	w := world(nil)
	w.Secrets, w.SecretsUnread, w.RestoresUnread = nil, true, true
	got := Look(w, now)
	if restart, _ := RestartOf(w, now); got.Verdict != Ready || restart != Unknown || len(got.Warnings) != 2 {
		t.Errorf("got %+v", got)
	}
}

// TestDifferences sees a difference where there is one.
func TestDifferences(t *testing.T) {
	t.Parallel()
	before := map[string]any{"a": []any{map[string]any{"b": "c", "same": "x"}}, "gone": "x"}
	after := map[string]any{"a": []any{map[string]any{"b": "d", "same": "x"}}, "new": []any{"x"}}
	if diff := cmp.Diff([]string{".a[0].b", ".gone", ".new"}, clusterinstallation.Differences("", before, after)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestLost(t *testing.T) {
	t.Parallel()
	made := func(change func(*v1beta1.Mattermost)) *v1beta1.Mattermost {
		mm := successor(world(nil), now)
		mm.UID = "newer"
		madeFrom("older")(mm)
		if change != nil {
			change(mm)
		}
		return mm
	}
	cases := map[string]struct {
		newer *v1beta1.Mattermost
		want  []string
	}{
		"none":      {},
		"the same":  {newer: made(nil)},
		"a version": {newer: made(func(mm *v1beta1.Mattermost) { mm.Spec.Version = "10.6.0" }), want: []string{"spec.version"}},
		"it never acted": {newer: made(func(mm *v1beta1.Mattermost) {
			mm.Spec.Version, mm.Status.MigratedFrom.Held = "10.6.0", true
		})},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world(inPhase(v1alpha1.MigrationHandingOver))
			w.Mattermost = c.newer
			if diff := cmp.Diff(c.want, Lost(w, now)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}
