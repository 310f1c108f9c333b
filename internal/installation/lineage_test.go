package installation

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/kit/plan"
)

// TestLineageIsFound: a Deployment of the older API keeps its selector, and with it its
// pods and the Service that sends to them, also if the status says nothing of it.
func TestLineageIsFound(t *testing.T) {
	t.Parallel()
	older := map[string]string{appLabel: "mattermost", v1alpha1Installation: "chat", v1alpha1Resource: "chat"}
	for title, c := range map[string]struct {
		selector map[string]string
		recorded v1beta1.Lineage
		want     map[string]string
	}{
		"new":                {nil, "", map[string]string{appLabel: "mattermost", installationLabel: "chat", resourceLabel: "chat"}},
		"found":              {older, "", older},
		"recorded":           {nil, v1beta1.LineageV1alpha1, older},
		"recorded and found": {older, v1beta1.LineageV1alpha1, older},
	} {
		s := external()
		s.Mattermost.Status.Lineage = c.recorded
		if c.selector != nil {
			s.Deployment = &appsv1.Deployment{}
			s.Deployment.Spec.Selector = &metav1.LabelSelector{MatchLabels: c.selector}
			s.Deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: mainContainer, Image: "mattermost/mattermost-enterprise-edition:10.6.0"}}
		}
		p := Decide(s, somewhen)
		for _, step := range p.Steps {
			apply, ok := step.Action.(plan.Apply)
			if !ok {
				continue
			}
			var got map[string]string
			switch apply.String() {
			case "apply Service/chat":
				got, _, _ = unstructured.NestedStringMap(apply.Object.Object, "spec", "selector")
			case "apply Deployment/chat":
				got, _, _ = unstructured.NestedStringMap(apply.Object.Object, "spec", "selector", "matchLabels")
			default:
				continue
			}
			for key, value := range c.want {
				if got[key] != value || len(got) != len(c.want) {
					t.Errorf("%s: %s selects by %v, want %v", title, apply, got, c.want)
					break
				}
			}
		}
		want := v1beta1.Lineage("")
		if c.selector != nil || c.recorded != "" {
			want = v1beta1.LineageV1alpha1
		}
		if got := Report(s, p, plan.Outcome{}, somewhen).Status.Lineage; got != want {
			t.Errorf("%s: the status has the lineage %q, want %q", title, got, want)
		}
	}
}

// TestOwnSecretsOfStores: a Secret that the user names is used, and neither made nor kept
// as ours.
func TestOwnSecretsOfStores(t *testing.T) {
	t.Parallel()
	s := external()
	s.Mattermost.Spec.Database = v1beta1.Database{OperatorManaged: &v1beta1.OperatorManagedDatabase{Secret: "mine"}}
	s.Mattermost.Spec.FileStore = v1beta1.FileStore{OperatorManaged: &v1beta1.OperatorManagedFileStore{Secret: "keys"}}
	if a := assess(s); len(a.Problems) != 2 || a.Problems[0].Path != "spec.database.operatorManaged.secret" || a.Problems[1].Path != "spec.fileStore.operatorManaged.secret" {
		t.Errorf("without the Secrets the problems are %+v", a.Problems)
	}
	s.Secrets["mine"] = Secret{Keys: []string{keyRootPassword, keyUser, keyPassword, keyDatabase}, Database: "chats"}
	s.Secrets["keys"] = Secret{Keys: []string{keyAccess, keySecret}}
	for _, action := range actions(Decide(s, somewhen)) {
		if action == "generate Secret/mine" || action == "generate Secret/chat-mysql-root-password" || action == "generate Secret/chat-minio" {
			t.Errorf("step %s", action)
		}
	}
	if refs := References(Default(s.Mattermost)); !slices.Equal(refs, []string{"keys", "mine"}) {
		t.Errorf("it refers to %v", refs)
	}
	if s.Outlives(s.ref(secretKind, "mine")) {
		t.Error("the user's Secret counts as ours")
	}
}
