package demo

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleet "windlass.dev/api/fleet/v1alpha1"
	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
)

//go:embed teams.yaml
var teamManifests []byte

// teams is the namespace of the installations of the older API.
const teams = "teams"

// The roll-out fails with carefulTeam, and does not come to lastTeam.
const carefulTeam, lastTeam = "team-c", "team-d"

var (
	teamA = load{host: "team-a.example.com", path: "/api/v4/system/ping", rate: 50, webSockets: 5, by: []string{"X-Windlass-Version"}, namespace: teams, labels: client.MatchingLabels{"app": "mattermost"}}
	teamC = load{host: "team-c.example.com", path: "/api/v4/system/ping", rate: 50, webSockets: 5, by: []string{"X-Windlass-Version"}, namespace: teams, labels: client.MatchingLabels{"app": "mattermost"}}
)

// migrate shows that installations of the older API become Mattermosts with the same pods.
func (d *Demo) migrate(ctx context.Context) error {
	if err := d.apply(ctx, teamManifests); err != nil {
		return err
	}
	err := d.until(ctx, func(ctx context.Context) (string, error) {
		var list v1alpha1.ClusterInstallationList
		err := d.Client.List(ctx, &list, client.InNamespace(teams))
		for _, ci := range list.Items {
			if ci.Status.State != v1alpha1.Stable || ci.Status.ObservedGeneration != ci.Generation {
				return "ClusterInstallation/" + ci.Name + " to become stable", err
			}
		}
		return "", err
	})
	if err != nil {
		return err
	}
	before, err := d.podsOf(ctx, teams)
	if err != nil {
		return err
	}
	_, err = d.underTraffic(ctx, teamA, func(ctx context.Context) error {
		return d.rolledOut(ctx, rollout("to-mattermost", fleet.InstallationChange{Migrate: true}), fleet.Succeeded)
	})
	if err != nil {
		return err
	}
	after, err := d.podsOf(ctx, teams)
	if err != nil {
		return err
	}
	if !maps.Equal(before, after) {
		return fmt.Errorf("the pods were %v and are %v", before, after)
	}
	var left v1alpha1.ClusterInstallationList
	if err := d.Client.List(ctx, &left, client.InNamespace(teams)); err != nil || len(left.Items) > 0 {
		return errors.Join(fmt.Errorf("%d ClusterInstallations are left", len(left.Items)), err)
	}
	d.verified("%d ClusterInstallations are Mattermosts now, with the same %d pods, Services and Secrets", 4, len(before))
	return nil
}

// rollOut shows a version that comes in waves, and stops when one fails.
func (d *Demo) rollOut(ctx context.Context) error {
	var careful v1beta1.Mattermost
	if err := d.Client.Get(ctx, types.NamespacedName{Namespace: teams, Name: carefulTeam}, &careful); err != nil {
		return err
	}
	before := client.MergeFrom(careful.DeepCopy())
	careful.Spec.UpdateJob = &v1beta1.UpdateJob{PreUpgrade: &v1beta1.PreUpgrade{CronJob: "backup"}}
	if err := d.Client.Patch(ctx, &careful, before); err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "  %s wants a backup before an upgrade, and there is no CronJob that makes one\n", carefulTeam)
	run := rollout("june", fleet.InstallationChange{Version: "10.6.0"})
	run.Spec.Strategy.Waves = []fleet.InstallationWave{{Size: new(intstr.FromInt32(1))}, {Size: new(intstr.FromInt32(2))}}
	_, err := d.underTraffic(ctx, teamC, func(ctx context.Context) error { return d.rolledOut(ctx, run, fleet.Halted) })
	if err != nil {
		return err
	}
	stalled := meta.FindStatusCondition(run.Status.Conditions, fleet.ConditionStalled)
	if stalled == nil || run.Status.Failed != 1 || run.Status.Updated == 0 {
		return fmt.Errorf("the roll-out does not say that one failed after another was updated: %+v", run.Status)
	}
	fmt.Fprintf(d.Out, "  it says: %s\n", stalled.Message)
	var last v1beta1.Mattermost
	if err := d.Client.Get(ctx, types.NamespacedName{Namespace: teams, Name: lastTeam}, &last); err != nil {
		return err
	}
	if last.Spec.Version != "10.5.2" {
		return fmt.Errorf("%s got the version %s", lastTeam, last.Spec.Version)
	}
	d.verified("team-a has 10.6.0; %s serves with 10.5.2, because it could not be backed up; %s was not touched", carefulTeam, lastTeam)
	return nil
}

func rollout(name string, change fleet.InstallationChange) *fleet.InstallationRollout {
	return &fleet.InstallationRollout{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: fleet.InstallationRolloutSpec{
		Namespaces: []string{teams}, Change: change, Strategy: &fleet.RolloutStrategy{},
	}}
}

// rolledOut begins a roll-out, and tells how it goes until it comes to a phase.
func (d *Demo) rolledOut(ctx context.Context, run *fleet.InstallationRollout, phase fleet.Phase) error {
	if err := d.Client.Create(ctx, run); err != nil {
		return err
	}
	seen, began := "", d.Clock.Now()
	return d.until(ctx, func(ctx context.Context) (string, error) {
		err := d.Client.Get(ctx, client.ObjectKeyFromObject(run), run)
		s := run.Status
		now := fmt.Sprintf("%s %s: %d of %d updated, %d updating, %d failed", run.Name, s.Phase, s.Updated, s.Total, s.Updating, s.Failed)
		if s.Phase != "" && now != seen {
			seen = now
			fmt.Fprintf(d.Out, "  %5.1fs  %s\n", d.Clock.Since(began).Seconds(), now)
		}
		if s.Phase != phase {
			return fmt.Sprintf("the roll-out to be %s; %s", phase, now), err
		}
		return "", err
	})
}

// podsOf returns the UIDs of the pods of a namespace, by their names.
func (d *Demo) podsOf(ctx context.Context, namespace string) (map[string]types.UID, error) {
	var list corev1.PodList
	if err := d.Client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	all := map[string]types.UID{}
	for _, pod := range list.Items {
		all[pod.Name] = pod.UID
	}
	return all, nil
}
