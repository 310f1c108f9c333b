package clusterinstallation

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
	"windlass.dev/internal/kit/inventory"
	"windlass.dev/internal/kit/plan"
)

func conditionOf(status v1alpha1.ClusterInstallationStatus, kind string) metav1.Condition {
	if c := meta.FindStatusCondition(status.Conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// chat is an installation without problems.
func chat(change func(*v1alpha1.ClusterInstallationSpec)) *v1alpha1.ClusterInstallation {
	ci := &v1alpha1.ClusterInstallation{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "chat", UID: "uid", Generation: 1}}
	ci.Spec = v1alpha1.ClusterInstallationSpec{
		Version: "1", Image: "i", IngressName: "chat.example.com",
		Database: v1alpha1.Database{Secret: "db"},
		Minio:    v1alpha1.Minio{ExternalURL: "s3.example.com", Secret: "fs"},
	}
	if change != nil {
		change(&ci.Spec)
	}
	return ci
}

func facts() map[string]installation.Secret {
	all := map[string]installation.Secret{}
	for name, keys := range map[string][]string{"db": {"DB_CONNECTION_STRING"}, "fs": {"accesskey", "secretkey"}} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string][]byte{}}
		for _, key := range keys {
			secret.Data[key] = []byte("postgres://h/d")
		}
		all[name] = installation.FactsOf(installation.Redact(secret))
	}
	return all
}

func blueGreen(production string) func(*v1alpha1.ClusterInstallationSpec) {
	return func(spec *v1alpha1.ClusterInstallationSpec) {
		spec.BlueGreen = v1alpha1.BlueGreen{
			Enable: true, ProductionDeployment: production,
			Blue: v1alpha1.AppDeployment{Image: "i", Version: "2"}, Green: v1alpha1.AppDeployment{Image: "i", Version: "3"},
		}
	}
}

// running is a Deployment of which all pods run an image, or none.
func running(name, image string, all bool) (*appsv1.Deployment, []appsv1.ReplicaSet) {
	revision := map[string]string{"deployment.kubernetes.io/revision": "1"}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Generation: 1, Annotations: revision}}
	d.Spec.Replicas = new(int32(2))
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "mattermost", Image: image}}
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 2, UpdatedReplicas: 2}
	set := appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Annotations: revision}, Status: appsv1.ReplicaSetStatus{ObservedGeneration: 1}}
	if all {
		d.Status.AvailableReplicas, set.Status.AvailableReplicas = 2, 2
	}
	return d, []appsv1.ReplicaSet{set}
}

// exists adds a Deployment to a world, and its pods if a view is about it.
func (s *Snapshot) exists(name, image string, all bool) {
	s.Views[0].Live = append(s.Views[0].Live, inventory.Live{
		Ref: plan.RefOf(deploymentKind, "ns", name), UID: types.UID(name), Controller: "uid",
		Managed: []metav1.ManagedFieldsEntry{{Manager: installation.Manager, Operation: metav1.ManagedFieldsOperationApply}},
	})
	for i := range s.Views {
		if s.Views[i].Name() == name {
			s.Views[i].Deployment, s.Views[i].ReplicaSets = running(name, image, all)
		}
	}
}

func (s *Snapshot) sendsTo(name string) {
	s.Views[0].Service = &corev1.Service{}
	s.Views[0].Service.Spec.Selector = map[string]string{installation.SelectedBy: name}
}

// sends is where the Service is to send.
func sends(p plan.Plan) string {
	for _, step := range p.Steps {
		if apply, ok := step.Action.(plan.Apply); ok && apply.String() == "apply Service/chat" {
			return apply.Object.Object["spec"].(map[string]any)["selector"].(map[string]any)[installation.SelectedBy].(string)
		}
	}
	return ""
}

// TestServe: requests follow what is wanted when all of its pods run, and pods stay while
// requests go to them.
func TestServe(t *testing.T) {
	t.Parallel()
	on, off := chat(blueGreen("blue")), chat(nil)
	const own = "chat"
	for title, c := range map[string]struct {
		ci    *v1alpha1.ClusterInstallation
		now   string // Where the Service sends; empty for none.
		world func(*Snapshot)
		sends string
		stay  []string
		leave []string
	}{
		"new with blue-green":     {on, "", func(*Snapshot) {}, "chat-blue", nil, nil},
		"blue does not exist yet": {on, own, func(s *Snapshot) { s.exists(own, "i:1", true) }, own, []string{own}, nil},
		"blue starts":             {on, own, func(s *Snapshot) { s.exists(own, "i:1", true); s.exists("chat-blue", "i:2", false) }, own, []string{own}, nil},
		"blue runs":               {on, own, func(s *Snapshot) { s.exists(own, "i:1", true); s.exists("chat-blue", "i:2", true) }, "chat-blue", []string{own}, nil},
		"blue runs another image": {on, own, func(s *Snapshot) { s.exists(own, "i:1", true); s.exists("chat-blue", "i:1", true) }, own, []string{own}, nil},
		"blue serves":             {on, "chat-blue", func(s *Snapshot) { s.exists(own, "i:1", true); s.exists("chat-blue", "i:2", true) }, "chat-blue", nil, []string{own}},
		"nothing serves":          {on, own, func(s *Snapshot) { s.exists("chat-blue", "i:2", false) }, "chat-blue", nil, nil},
		"off, own pods start":     {off, "chat-blue", func(s *Snapshot) { s.exists("chat-blue", "i:2", true); s.exists("chat-green", "i:2", true) }, "chat-blue", []string{"chat-blue"}, []string{"chat-green"}},
		"off, own pods run":       {off, "chat-blue", func(s *Snapshot) { s.exists("chat-blue", "i:2", true); s.exists(own, "i:1", true) }, own, []string{"chat-blue"}, nil},
		"off, own pods serve":     {off, own, func(s *Snapshot) { s.exists("chat-blue", "i:2", true); s.exists(own, "i:1", true) }, own, nil, []string{"chat-blue"}},
		"a canary that is off":    {off, own, func(s *Snapshot) { s.exists(own, "i:1", true); s.exists("chat-canary", "i:2", true) }, own, nil, []string{"chat-canary"}},
	} {
		s := observed(c.ci, facts())
		c.world(&s)
		if c.now != "" {
			s.sendsTo(c.now)
		}
		p := Decide(s, somewhen)
		if got := sends(p); got != c.sends {
			t.Errorf("%s: the Service sends to %q, want %q", title, got, c.sends)
		}
		for _, name := range c.stay {
			if p.Has("delete Deployment/" + name) {
				t.Errorf("%s: %s goes", title, name)
			}
		}
		for _, name := range c.leave {
			if !p.Has("delete Deployment/" + name) {
				t.Errorf("%s: %s stays", title, name)
			}
		}
	}
}

// TestOneMigrationAtATime: two sets whose versions change have one database.
func TestOneMigrationAtATime(t *testing.T) {
	t.Parallel()
	s := observed(chat(blueGreen("blue")), facts())
	s.exists("chat-blue", "i:1", true)
	s.exists("chat-green", "i:1", true)
	s.sendsTo("chat-blue")
	started := func(p plan.Plan) (all []string) {
		for _, step := range p.Steps {
			if apply, ok := step.Action.(plan.Apply); ok && apply.Object.GetKind() == "Job" {
				all = append(all, apply.Object.GetName())
			}
		}
		return all
	}
	first := started(Decide(s, somewhen))
	if len(first) != 1 || !strings.HasPrefix(first[0], "chat-blue-update-") {
		t.Fatalf("the Jobs %v start", first)
	}
	job := batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Namespace: "ns", Name: first[0], UID: "job",
		Labels: map[string]string{"app": "mattermost-update-check", "installation.mattermost.com/installation": "chat-blue"},
	}}
	for i := range s.Views {
		s.Views[i].Jobs = []batchv1.Job{job}
	}
	if more := started(Decide(s, somewhen)); len(more) > 0 {
		t.Errorf("%v start while %s runs", more, first[0])
	}
	job.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}
	for i := range s.Views {
		s.Views[i].Jobs = []batchv1.Job{job}
	}
	if then := started(Decide(s, somewhen)); len(then) != 1 || !strings.HasPrefix(then[0], "chat-green-update-") {
		t.Errorf("then %v start", then)
	}
}

// TestCanaryHoldsNothingUp: one that does not run is reported, and the installation is
// stable all the same.
func TestCanaryHoldsNothingUp(t *testing.T) {
	t.Parallel()
	ci := chat(func(spec *v1alpha1.ClusterInstallationSpec) {
		spec.Canary = v1alpha1.Canary{Enable: true, Deployment: v1alpha1.AppDeployment{Image: "i", Version: "9"}}
	})
	s := settle(ci)
	for i := range s.Views {
		if s.Views[i].Name() == "chat-canary" {
			s.Views[i].Deployment, s.Views[i].ReplicaSets = running("chat-canary", "i:9", false)
			s.Views[i].Deployment.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded", Message: "too slow"}}
		}
	}
	p := Decide(s, somewhen)
	status := Report(s, p, plan.Outcome{}, somewhen).Status
	if status.State != v1alpha1.Stable || conditionOf(status, v1beta1.ConditionReady).Status != metav1.ConditionTrue {
		t.Errorf("status %+v", status)
	}
	if ready := conditionOf(status, v1alpha1.ConditionCanaryReady); ready.Status != metav1.ConditionFalse || ready.Reason != v1beta1.ReasonDeploymentUnavailable {
		t.Errorf("the canary is %+v", ready)
	}
}

// TestColoursCount: both have to run, and the message says which one does not.
func TestColoursCount(t *testing.T) {
	t.Parallel()
	s := settle(chat(blueGreen("blue")))
	if status := Report(s, Decide(s, somewhen), plan.Outcome{}, somewhen).Status; status.State != v1alpha1.Stable || status.Version != "2" || status.Endpoint != "blue.chat.example.com" || status.BlueName != "chat-blue" {
		t.Errorf("status %+v", status)
	}
	for i := range s.Views {
		if s.Views[i].Name() == "chat-green" {
			s.Views[i].Deployment, s.Views[i].ReplicaSets = running("chat-green", "i:3", false)
		}
	}
	status := Report(s, Decide(s, somewhen), plan.Outcome{}, somewhen).Status
	ready := conditionOf(status, v1beta1.ConditionReady)
	if status.State != v1alpha1.Reconciling || !strings.HasPrefix(ready.Message, "Deployment/chat-green: ") || status.Version != "2" {
		t.Errorf("status %+v", status)
	}
}

// settle plays everything that is to be done, until nothing is.
func settle(stored *v1alpha1.ClusterInstallation) Snapshot { return newCluster(stored).settle() }

// TestSettles: a settled installation has nothing to do, is stable, and has recorded all
// that it consists of.
func TestSettles(t *testing.T) {
	t.Parallel()
	for title, change := range map[string]func(*v1alpha1.ClusterInstallationSpec){
		"plain": nil, "blue-green": blueGreen("green"),
		"managed": func(spec *v1alpha1.ClusterInstallationSpec) {
			spec.Database, spec.Minio = v1alpha1.Database{}, v1alpha1.Minio{}
		},
		"hibernated": func(spec *v1alpha1.ClusterInstallationSpec) { spec.Replicas = -1 },
	} {
		s := settle(chat(change))
		if status := Report(s, plan.Plan{}, plan.Outcome{}, somewhen).Status; status.State != v1alpha1.Stable {
			t.Errorf("%s: %+v", title, status)
		}
		for _, live := range s.Views[0].Live {
			recorded := slices.ContainsFunc(s.ClusterInstallation.Status.Inventory, func(i v1beta1.InventoryItem) bool {
				return i.Kind == live.Ref.Kind && i.Name == live.Ref.Name
			})
			if !recorded {
				t.Errorf("%s: %s is not recorded", title, live.Ref)
			}
		}
	}
}

// TestMigrationBegins: spec.migrate alone makes no installation wait that is stable; what is
// wrong with the spec does.
func TestMigrationBegins(t *testing.T) {
	t.Parallel()
	for title, c := range map[string]struct {
		change func(*v1alpha1.ClusterInstallation)
		want   v1alpha1.MigrationPhase
	}{
		"stable":     {func(*v1alpha1.ClusterInstallation) {}, v1alpha1.MigrationPreparing},
		"scaled":     {func(ci *v1alpha1.ClusterInstallation) { ci.Spec.Replicas = 5 }, v1alpha1.MigrationWaiting},
		"no host":    {func(ci *v1alpha1.ClusterInstallation) { ci.Spec.IngressName = "" }, v1alpha1.MigrationWaiting},
		"not stable": {func(ci *v1alpha1.ClusterInstallation) { ci.Status.State = v1alpha1.Reconciling }, v1alpha1.MigrationWaiting},
		"paused": {func(ci *v1alpha1.ClusterInstallation) {
			metav1.SetMetaDataAnnotation(&ci.ObjectMeta, v1beta1.PausedAnnotation, "true")
		}, v1alpha1.MigrationWaiting},
		"with a canary": {func(ci *v1alpha1.ClusterInstallation) { ci.Spec.Canary.Enable = true }, v1alpha1.MigrationRefused},
	} {
		cluster := newCluster(chat(nil))
		cluster.ci = Report(cluster.settle(), plan.Plan{}, plan.Outcome{}, somewhen)
		cluster.ci.Spec.Migrate = true
		cluster.ci.Generation++
		c.change(cluster.ci)
		s := cluster.snapshot()
		migration := Report(s, Decide(s, somewhen), plan.Outcome{}, somewhen).Status.Migration
		if migration == nil || migration.Phase != c.want {
			t.Errorf("%s: %+v, want %s", title, migration, c.want)
		}
	}
}

// TestProblemsAreInOurWords: no message names a field of the other API.
func TestProblemsAreInOurWords(t *testing.T) {
	t.Parallel()
	for title, c := range map[string]struct {
		change func(*v1alpha1.ClusterInstallationSpec)
		path   string
	}{
		"no database":        {func(spec *v1alpha1.ClusterInstallationSpec) { spec.Database.Secret = "nowhere" }, "spec.database.secret: "},
		"no file store":      {func(spec *v1alpha1.ClusterInstallationSpec) { spec.Minio.Secret = "nowhere" }, "spec.minio.secret: "},
		"no keys":            {func(spec *v1alpha1.ClusterInstallationSpec) { spec.Minio.Secret = "" }, "spec.minio.secret: "},
		"no licence":         {func(spec *v1alpha1.ClusterInstallationSpec) { spec.MattermostLicenseSecret = "nowhere" }, "spec.mattermostLicenseSecret: "},
		"no host":            {func(spec *v1alpha1.ClusterInstallationSpec) { spec.IngressName = "" }, "spec.ingressName: "},
		"a selector's label": {func(spec *v1alpha1.ClusterInstallationSpec) { spec.ResourceLabels = map[string]string{"app": "x"} }, "spec.resourceLabels: "},
		"one name twice": {func(spec *v1alpha1.ClusterInstallationSpec) {
			blueGreen("blue")(spec)
			spec.BlueGreen.Blue.Name = "chat"
		}, "spec.blueGreen.blue.name: "},
		"no colour":  {func(spec *v1alpha1.ClusterInstallationSpec) { blueGreen("red")(spec) }, "spec.blueGreen.productionDeployment: "},
		"no replica": {func(spec *v1alpha1.ClusterInstallationSpec) { spec.Database = v1alpha1.Database{Replicas: -1} }, "spec.database.replicas: "},
	} {
		s := observed(chat(c.change), facts())
		p := Decide(s, somewhen)
		for _, step := range p.Steps {
			if _, ok := step.Action.(WriteBack); !ok {
				t.Errorf("%s: step %s", title, step.Action)
			}
		}
		status := Report(s, p, plan.Outcome{}, somewhen).Status
		message := conditionOf(status, v1beta1.ConditionReady).Message
		if !strings.Contains(message, c.path) || strings.Contains(message, "external.") || strings.Contains(message, "operatorManaged") || strings.Contains(message, "fileStore") {
			t.Errorf("%s: %s", title, message)
		}
	}
}
