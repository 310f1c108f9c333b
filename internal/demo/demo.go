// Package demo shows the main job on the development cluster and verifies what
// it shows. It uses the cluster as a user would, through the API.
package demo

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1beta1"
)

//go:embed fleet.yaml
var manifests []byte

// namespace is that of the manifests.
const namespace = "demo"

// deadline bounds each wait; on two busy cores each takes a few seconds.
const deadline = 2 * time.Minute

// Demo is one showing.
type Demo struct {
	// Client is an administrator's.
	Client client.Client
	// Requests returns what Windlass asked of the API server during and just
	// after something, as the API server counted it.
	Requests func(ctx context.Context, during func(context.Context) error) ([]string, error)
	// Explain prints what `windlass explain mattermost` says.
	Explain func(ctx context.Context, name types.NamespacedName, out io.Writer) error
	// Gateway is the address that routes requests to pods; empty if pods are simulated.
	Gateway string
	// Machines are those of a cloud, in whose groups the shop's are.
	Machines Machines
	Clock    clock.PassiveClock
	Out      io.Writer

	steps    []timed
	lastSeen map[string]string
}

type timed struct {
	title string
	took  time.Duration
}

// Run shows and verifies everything. An error says which claim did not hold.
func (d *Demo) Run(ctx context.Context) error {
	acts := []struct {
		title string
		act   func(context.Context) error
	}{
		{"Create a fleet of five, one of them broken on purpose", d.create},
		{"Ask why the broken one is not ready", d.explainBroken},
		{"Repair it by making the missing Secret", d.repair},
		{"Upgrade chat while people use it: the database first, then the pods", d.upgrade},
		{"Damage sales: delete its Deployment, bend its Service", d.damage},
		{"Send support to a version that does not exist, and back", d.badVersion},
		{"Run two more, whose databases and files are made for them", d.otherStores},
		{"Upgrade reports after a backup, which fails, and is put right", d.failedBackup},
		{"Change the password of the database", d.rotate},
		{"Take over an installation from the Mattermost Operator, and hand it back", d.takeOver},
		{"Look at the whole fleet again, and count what it costs", d.steady},
		{"Delete archive and everything that it owned", d.remove},
		{"Make Mattermosts of four ClusterInstallations, while people use them", d.migrate},
		{"Roll a version over them in waves, until one fails", d.rollOut},
		{"Replace the machines of a shop, while it sells, for those of a new image", d.replaceMachines},
	}
	for i, a := range acts {
		if err := d.Step(fmt.Sprintf("%d/%d %s", i+1, len(acts), a.title), func() error { return a.act(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

// Step runs and times one part.
func (d *Demo) Step(title string, act func() error) error {
	fmt.Fprintf(d.Out, "\n%s\n", title)
	start := d.Clock.Now()
	if err := act(); err != nil {
		return fmt.Errorf("%s: %w", title, err)
	}
	d.steps = append(d.steps, timed{title, d.Clock.Since(start)})
	return nil
}

// Summary prints how long each part took.
func (d *Demo) Summary() {
	fmt.Fprintf(d.Out, "\nWhat took how long\n")
	for _, s := range d.steps {
		fmt.Fprintf(d.Out, "  %6.1fs  %s\n", s.took.Seconds(), s.title)
	}
}

func (d *Demo) verified(format string, args ...any) {
	fmt.Fprintf(d.Out, "  ✓ "+format+"\n", args...)
}

func (d *Demo) create(ctx context.Context) error {
	if err := d.apply(ctx, manifests); err != nil {
		return err
	}
	err := d.watch(ctx, func(fleet map[string]*v1beta1.Mattermost) string {
		for _, name := range []string{"archive", "chat", "sales", "support"} {
			if fleet[name].Status.State != v1beta1.Stable {
				return name + " to become stable"
			}
		}
		if !meta.IsStatusConditionTrue(fleet["broken"].Status.Conditions, v1beta1.ConditionStalled) {
			return "broken to say that it needs a person"
		}
		return ""
	})
	if err != nil {
		return err
	}
	d.verified("four became stable while broken waits: one broken installation holds up no other")
	return nil
}

func (d *Demo) explainBroken(ctx context.Context) error {
	var text bytes.Buffer
	if err := d.Explain(ctx, types.NamespacedName{Namespace: namespace, Name: "broken"}, &text); err != nil {
		return err
	}
	if _, err := d.Out.Write(text.Bytes()); err != nil {
		return err
	}
	if !bytes.Contains(text.Bytes(), []byte("database-of-broken")) {
		return errors.New("the explanation does not name the missing Secret")
	}
	d.verified("the explanation names what is missing and what to do")
	return nil
}

func (d *Demo) repair(ctx context.Context) error {
	secret := &corev1.Secret{StringData: map[string]string{"DB_CONNECTION_STRING": "postgres://example:example@db.example.com:5432/broken"}}
	secret.Namespace, secret.Name = namespace, "database-of-broken"
	if err := d.Client.Create(ctx, secret); err != nil {
		return err
	}
	if err := d.stable(ctx, "broken"); err != nil {
		return err
	}
	d.verified("it became stable by itself: referenced Secrets are watched")
	return nil
}

func (d *Demo) upgrade(ctx context.Context) error {
	var lowest int32
	_, err := d.underTraffic(ctx, chatting, func(ctx context.Context) (err error) {
		lowest, err = d.lowestAvailable(ctx, "chat", func(ctx context.Context) error {
			if err := d.setVersion(ctx, "chat", "10.6.0"); err != nil {
				return err
			}
			return d.stableAt(ctx, "chat", "10.6.0")
		})
		return err
	})
	if err != nil {
		return err
	}
	var chat v1beta1.Mattermost
	if err := d.get(ctx, "chat", &chat); err != nil {
		return err
	}
	if !meta.IsStatusConditionTrue(chat.Status.Conditions, v1beta1.ConditionUpdateJobSucceeded) {
		return errors.New("the status does not say that the database was migrated")
	}
	if lowest < 2 {
		return fmt.Errorf("at one moment only %d of 2 pods were available", lowest)
	}
	d.verified("the update Job migrated the database before the first new pod; never fewer than %d of 2 pods were available", lowest)
	return nil
}

func (d *Demo) damage(ctx context.Context) error {
	name := types.NamespacedName{Namespace: namespace, Name: "sales"}
	service := &corev1.Service{}
	if err := d.Client.Get(ctx, name, service); err != nil {
		return err
	}
	service.Spec.Selector["app"] = "something-else"
	service.Annotations = map[string]string{"example.com/note": "of somebody else"}
	if err := d.Client.Update(ctx, service, client.FieldOwner("somebody")); err != nil {
		return err
	}
	deployment := &appsv1.Deployment{}
	if err := d.Client.Get(ctx, name, deployment); err != nil {
		return err
	}
	if err := d.Client.Delete(ctx, deployment); err != nil {
		return err
	}
	err := d.watch(ctx, func(fleet map[string]*v1beta1.Mattermost) string {
		made := &appsv1.Deployment{}
		if err := d.Client.Get(ctx, name, made); err != nil || made.UID == deployment.UID || made.Status.AvailableReplicas == 0 {
			return "a new Deployment of sales with an available pod"
		}
		if err := d.Client.Get(ctx, name, service); err != nil || service.Spec.Selector["app"] != "mattermost" {
			return "the Service of sales to select its pods again"
		}
		if fleet["sales"].Status.State != v1beta1.Stable {
			return "sales to become stable"
		}
		return ""
	})
	if err != nil {
		return err
	}
	if service.Annotations["example.com/note"] != "of somebody else" {
		return errors.New("somebody else's annotation on the Service was removed")
	}
	d.verified("both were put right, and somebody else's annotation on the Service was kept")
	return nil
}

func (d *Demo) badVersion(ctx context.Context) error {
	lowest, err := d.lowestAvailable(ctx, "support", func(ctx context.Context) error {
		if err := d.setVersion(ctx, "support", "does-not-exist"); err != nil {
			return err
		}
		err := d.watch(ctx, func(fleet map[string]*v1beta1.Mattermost) string {
			ready := meta.FindStatusCondition(fleet["support"].Status.Conditions, v1beta1.ConditionReady)
			if ready == nil || ready.Reason != v1beta1.ReasonUpdateJobRunning {
				return "the update Job of support"
			}
			return ""
		})
		if err != nil {
			return err
		}
		if err := d.setVersion(ctx, "support", "10.5.2"); err != nil {
			return err
		}
		return d.stableAt(ctx, "support", "10.5.2")
	})
	if err != nil {
		return err
	}
	if lowest < 3 {
		return fmt.Errorf("at one moment only %d of 3 pods were available", lowest)
	}
	d.verified("the old version kept serving with all 3 pods, and setting the version back was enough")
	return nil
}

func (d *Demo) steady(ctx context.Context) error {
	if err := d.settled(ctx); err != nil {
		return err
	}
	requests, err := d.Requests(ctx, func(ctx context.Context) error {
		var list v1beta1.MattermostList
		if err := d.Client.List(ctx, &list, client.InNamespace(namespace)); err != nil {
			return err
		}
		// A label wakes the controller for each and changes nothing that it wants.
		for i := range list.Items {
			patch := client.MergeFrom(list.Items[i].DeepCopy())
			list.Items[i].Labels = map[string]string{"example.com/looked-at": "yes"}
			if err := d.Client.Patch(ctx, &list.Items[i], patch); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(requests) > 0 {
		return fmt.Errorf("looking at a fleet that is as it should be took requests; want none: %s", strings.Join(requests, ", "))
	}
	d.verified("the API server counted no write and no read of Windlass")
	return nil
}

// settled waits until the last changes are over and on record.
func (d *Demo) settled(ctx context.Context) error {
	return d.watch(ctx, func(fleet map[string]*v1beta1.Mattermost) string {
		for name, mm := range fleet {
			if mm.Status.State != v1beta1.Stable || mm.Status.ObservedGeneration != mm.Generation || mm.Status.UpdatedReplicas != wantedReplicas(mm) {
				return name + " to become stable"
			}
		}
		var jobs batchv1.JobList
		if err := d.Client.List(ctx, &jobs, client.InNamespace(namespace)); err != nil || len(jobs.Items) > 0 {
			return "the update Jobs to be removed"
		}
		return ""
	})
}

func (d *Demo) remove(ctx context.Context) error {
	archive := &v1beta1.Mattermost{}
	if err := d.get(ctx, "archive", archive); err != nil {
		return err
	}
	if err := d.Client.Delete(ctx, archive); err != nil {
		return err
	}
	fmt.Fprintln(d.Out, "  Kubernetes' garbage collector learns of a new kind within 30 s, so this may take a while")
	name := types.NamespacedName{Namespace: namespace, Name: "archive"}
	left := ""
	err := d.until(ctx, func(ctx context.Context) (string, error) {
		left = ""
		for _, object := range []client.Object{&v1beta1.Mattermost{}, &appsv1.Deployment{}, &corev1.Service{}, &corev1.ServiceAccount{}} {
			err := d.Client.Get(ctx, name, object)
			if err == nil {
				left = fmt.Sprintf("%T archive to be gone", object)
			} else if !apierrors.IsNotFound(err) {
				return left, err
			}
		}
		return left, nil
	})
	if err != nil {
		return err
	}
	d.verified("nothing is left of it")
	return nil
}
