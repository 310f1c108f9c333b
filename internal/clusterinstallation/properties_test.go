package clusterinstallation

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"pgregory.net/rapid"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit/plan"
)

// anySpec draws a spec of all that can be carried out, and some that cannot.
func anySpec(t *rapid.T) v1alpha1.ClusterInstallationSpec {
	word := rapid.StringMatching(`[a-z][a-z0-9]{0,8}`)
	words := rapid.MapOfN(word, word, 0, 2)
	spec := v1alpha1.ClusterInstallationSpec{
		Image: rapid.SampledFrom([]string{"", "i"}).Draw(t, "image"), Version: rapid.SampledFrom([]string{"", "1", "2", "sha256:0"}).Draw(t, "version"),
		Size: rapid.SampledFrom([]string{"", "", "100users", "odd"}).Draw(t, "size"), Replicas: rapid.Int32Range(-1, 3).Draw(t, "replicas"),
		IngressName:            rapid.SampledFrom([]string{"chat.example.com", "chat.example.com", ""}).Draw(t, "host"),
		UseServiceLoadBalancer: rapid.IntRange(0, 3).Draw(t, "load balancer") == 0,
		UseIngressTLS:          rapid.Bool().Draw(t, "TLS"),
		ServiceAnnotations:     words.Draw(t, "service annotations"),
		IngressAnnotations:     words.Draw(t, "ingress annotations"),
		ResourceLabels:         words.Draw(t, "labels"),
		BlueGreen:              anyBlueGreen(t),
		Canary: v1alpha1.Canary{
			Enable:     rapid.IntRange(0, 2).Draw(t, "canary") == 0,
			Deployment: v1alpha1.AppDeployment{Image: "i", Version: rapid.SampledFrom([]string{"4", "5", ""}).Draw(t, "canary's version")},
		},
		Database: v1alpha1.Database{Secret: rapid.SampledFrom([]string{"db", "db", "", "mysql", "nowhere"}).Draw(t, "database")},
		Minio:    v1alpha1.Minio{ExternalURL: rapid.SampledFrom([]string{"s3.example.com", ""}).Draw(t, "file store"), Secret: rapid.SampledFrom([]string{"fs", ""}).Draw(t, "keys")},
	}
	for key, value := range words.Draw(t, "env") {
		spec.MattermostEnv = append(spec.MattermostEnv, corev1.EnvVar{Name: key, Value: value})
	}
	if rapid.Bool().Draw(t, "resources") {
		spec.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
	}
	return spec
}

func anyBlueGreen(t *rapid.T) v1alpha1.BlueGreen {
	version := rapid.SampledFrom([]string{"2", "3"})
	return v1alpha1.BlueGreen{
		Enable:               rapid.Bool().Draw(t, "blue-green"),
		ProductionDeployment: rapid.SampledFrom([]string{"blue", "green", "Blue"}).Draw(t, "production"),
		Blue:                 v1alpha1.AppDeployment{Image: "i", Version: version.Draw(t, "blue's version"), ResourceLabels: map[string]string{"colour": "blue"}},
		Green:                v1alpha1.AppDeployment{Image: "i", Version: version.Draw(t, "green's version")},
	}
}

func anyFacts() map[string]installation.Secret {
	all := facts()
	secret := &corev1.Secret{Data: map[string][]byte{}}
	for _, key := range []string{"ROOT_PASSWORD", "USER", "PASSWORD", "DATABASE"} {
		secret.Data[key] = []byte("x")
	}
	all["mysql"] = installation.FactsOf(installation.Redact(secret))
	return all
}

// TestServiceIsNeverWithoutPods edits, rolls out, stops half way and starts again, in any
// order: from when there are pods to serve, the Service sends to some that run. In the end
// all is as wanted.
func TestServiceIsNeverWithoutPods(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(chat(nil))
		served := false
		check := func(after string) {
			set, now := c.serves()
			if served && !now {
				t.Fatalf("after %s the Service sends to %q, which does not run; there are %s", after, set, c.state())
			}
			served = served || now
		}
		for range rapid.IntRange(1, 12).Draw(t, "turns") {
			switch rapid.IntRange(0, 3).Draw(t, "turn") {
			case 0:
				c.ci.Spec.BlueGreen = anyBlueGreen(t)
				c.ci.Spec.Canary = v1alpha1.Canary{Enable: rapid.Bool().Draw(t, "canary"), Deployment: v1alpha1.AppDeployment{Image: "i", Version: "4"}}
				c.ci.Generation++
			case 1:
				c.rollOut()
			default:
				s := c.snapshot()
				p := Decide(s, somewhen)
				outcome := plan.Outcome{Applied: map[plan.Ref]string{}}
				steps := p.Steps[:rapid.IntRange(0, len(p.Steps)).Draw(t, "steps until the crash")]
				for _, step := range steps {
					c.do(step, &outcome)
					check(step.Action.String())
				}
				if len(steps) == len(p.Steps) {
					c.ci = Report(s, p, outcome, somewhen)
				}
			}
		}
		for range 12 {
			s := c.snapshot()
			p := Decide(s, somewhen)
			outcome := plan.Outcome{Applied: map[plan.Ref]string{}}
			for _, step := range p.Steps {
				c.do(step, &outcome)
				check(step.Action.String())
			}
			c.ci = Report(s, p, outcome, somewhen)
			c.rollOut()
			if len(p.Steps) == 0 && c.ci.Status.State == v1alpha1.Stable {
				break
			}
		}
		if p := Decide(c.snapshot(), somewhen); len(p.Steps) > 0 || c.ci.Status.State != v1alpha1.Stable {
			t.Fatalf("%v is still to be done, the state is %s, there are %s", p.Steps, c.ci.Status.State, c.state())
		}
		wanted := map[string]bool{production(Default(c.ci)): true}
		for _, set := range sets(Default(c.ci)) {
			wanted[set.app.Name] = true
		}
		for ref := range c.objects {
			if ref.Kind == "Deployment" && !wanted[ref.Name] || ref.Kind == "Job" {
				t.Fatalf("%s is left", ref)
			}
		}
	})
}

// TestSameSnapshotSamePlan, and nothing that is looked at is changed.
func TestSameSnapshotSamePlan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		stored := chat(nil)
		stored.Spec = anySpec(t)
		s := observed(stored, anyFacts())
		if rapid.Bool().Draw(t, "something runs") {
			s.exists("chat", "i:1", true)
			s.exists("chat-blue", "i:2", rapid.Bool().Draw(t, "blue runs"))
			s.sendsTo("chat")
		}
		before, views := stored.DeepCopy(), slices.Clone(s.Views)
		for i := range views {
			views[i].Mattermost = views[i].Mattermost.DeepCopy()
			views[i].Live = slices.Clone(views[i].Live)
		}
		p := Decide(s, somewhen)
		if again := Decide(s, somewhen); !reflect.DeepEqual(p, again) {
			t.Fatalf("two plans from one snapshot:\n%s", cmp.Diff(p, again))
		}
		seen := map[string]bool{}
		for _, step := range p.Steps {
			if seen[step.Action.String()] {
				t.Fatalf("%s is there twice", step.Action)
			}
			for _, need := range step.Needs {
				if !seen[need] {
					t.Fatalf("%s needs %s, which does not come before it", step.Action, need)
				}
			}
			seen[step.Action.String()] = true
		}
		outcome := plan.Outcome{Applied: map[plan.Ref]string{}}
		after := Report(s, p, outcome, somewhen)
		if again := Report(s, p, outcome, somewhen); !reflect.DeepEqual(after, again) {
			t.Fatalf("two reports from one snapshot:\n%s", cmp.Diff(after, again))
		}
		sound(t, after.Status)
		if !reflect.DeepEqual(before, stored) || !reflect.DeepEqual(views, s.Views) {
			t.Fatal("the snapshot was changed")
		}
		if !reflect.DeepEqual(after.Spec, stored.Spec) {
			t.Fatal("the report changed the spec")
		}
	})
}

// sound wants a status that says one thing, to people and to tools.
func sound(t *rapid.T, status v1alpha1.ClusterInstallationStatus) {
	t.Helper()
	said := 0
	for _, kind := range []string{v1beta1.ConditionReady, v1beta1.ConditionReconciling, v1beta1.ConditionStalled} {
		if conditionOf(status, kind).Status == "True" {
			said++
		}
	}
	if said != 1 || (conditionOf(status, v1beta1.ConditionReady).Status == "True") != (status.State == v1alpha1.Stable) {
		t.Fatalf("state %s, conditions %+v", status.State, status.Conditions)
	}
	for _, c := range status.Conditions {
		if c.Message == "" || c.Reason == "" || len(c.Message) > messageLimit {
			t.Fatalf("condition %+v", c)
		}
	}
}

// TestConversionKeepsThePods: the Mattermost to which an installation converts, once it
// owns the objects itself, has the very same pods and selectors.
func TestConversionKeepsThePods(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		stored := chat(nil)
		stored.Spec = anySpec(t)
		stored.Spec.BlueGreen.Enable = false
		secrets := anyFacts()
		options := installation.RenderOptions{Shape: v1beta1.ShapeStrict}
		older, err := installation.Render(Views(stored, secrets)[0].Mattermost, secrets, options)
		if err != nil {
			t.Fatal(err)
		}
		mm, _ := Convert(Default(stored), secrets)
		mm.UID = "another"
		if again := installation.Default(mm); !reflect.DeepEqual(mm, again) {
			t.Fatalf("its defaults differ:\n%s", cmp.Diff(mm, again))
		}
		newer, err := installation.Render(mm, secrets, options)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(unowned(older.Objects), unowned(newer.Objects)); diff != "" {
			t.Fatalf("objects (-ClusterInstallation +Mattermost):\n%s", diff)
		}
	})
}

func unowned(objects []*unstructured.Unstructured) []map[string]any {
	var all []map[string]any
	for _, object := range objects {
		object = object.DeepCopy()
		object.SetOwnerReferences(nil)
		all = append(all, object.Object)
	}
	return all
}

// TestDefaultsAreStable: defaults of defaults are the same, and conversion changes
// nothing that it is given.
func TestDefaultsAreStable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		stored := chat(nil)
		stored.Spec = anySpec(t)
		before := stored.DeepCopy()
		ci := Default(stored)
		if again := Default(ci); !reflect.DeepEqual(ci, again) {
			t.Fatalf("defaults of defaults differ:\n%s", cmp.Diff(ci, again))
		}
		secrets := anyFacts()
		copied := maps.Clone(secrets)
		mm, _ := Convert(ci, secrets)
		mm.Spec.MattermostEnv = append(mm.Spec.MattermostEnv, corev1.EnvVar{Name: "X"})
		if mm.Spec.ResourceLabels != nil {
			mm.Spec.ResourceLabels["x"] = "y"
		}
		if !reflect.DeepEqual(before, stored) || !reflect.DeepEqual(copied, secrets) || !reflect.DeepEqual(ci, Default(stored)) {
			t.Fatal("the input was changed")
		}
	})
}
