package clusterinstallation

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/yaml"

	"windlass.dev/api/installation/v1beta1"
	"windlass.dev/internal/installation"
)

// TestSuccessorOracles compares the Mattermost that an installation becomes with the one
// that upstream made of it, in all but what upstream loses or adds by the way.
func TestSuccessorOracles(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"mig-external", "mig-full", "mig-hibernated", "mig-custom-secrets"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			content, err := os.ReadFile(filepath.Join("testdata", "oracles", name, "migrated.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			upstream := &v1beta1.Mattermost{}
			if err := yaml.UnmarshalStrict(content, upstream); err != nil {
				t.Fatal(err)
			}
			o := readOracle(t, name)
			mm, _ := observed(o.input, o.secrets).successor()
			if got := mm.Annotations[v1beta1.MigratedFromAnnotation]; got != string(o.input.UID) {
				t.Errorf("made from %q", got)
			}
			delete(mm.Annotations, v1beta1.MigratedFromAnnotation)
			if diff := cmp.Diff(upstream.Labels, mm.Labels); diff != "" {
				t.Errorf("labels (-upstream +ours):\n%s", diff)
			}
			if !equality.Semantic.DeepEqual(upstream.Annotations, mm.Annotations) {
				t.Errorf("annotations: upstream has %v, ours has %v", upstream.Annotations, mm.Annotations)
			}
			want := improved(upstream)
			// What upstream lost is what the ClusterInstallation says.
			if om := want.Database.OperatorManaged; om != nil {
				om.Secret = o.input.Spec.Database.Secret
			}
			if om := want.FileStore.OperatorManaged; om != nil {
				om.Secret = o.input.Spec.Minio.Secret
			}
			if !equality.Semantic.DeepEqual(want, mm.Spec) {
				t.Errorf("spec (-upstream, as improved +ours):\n%s", cmp.Diff(want, mm.Spec))
			}
		})
	}
}

// improved is upstream's spec with the fields of today for the deprecated ones, without
// what has no effect in the older API, and with what keeps the pods as they are.
func improved(upstream *v1beta1.Mattermost) v1beta1.MattermostSpec {
	spec := installation.Default(upstream).Spec
	spec.Ingress = &v1beta1.Ingress{Enabled: true, Host: spec.IngressName, Annotations: spec.IngressAnnotations}
	if spec.UseIngressTLS {
		spec.Ingress.TLSSecret = strings.ReplaceAll(spec.IngressName, ".", "-") + "-tls-cert"
	}
	spec.IngressName, spec.IngressAnnotations, spec.UseIngressTLS, spec.ServiceAnnotations = "", nil, false, nil
	for key := range spec.ResourceLabels {
		if key == "app" || strings.HasPrefix(key, "installation.mattermost.com/") {
			delete(spec.ResourceLabels, key)
		}
	}
	if spec.FileStore.External != nil {
		spec.MattermostEnv = append(spec.MattermostEnv, corev1.EnvVar{Name: "MM_FILESETTINGS_AMAZONS3SSL", Value: "false"})
	}
	slices.SortFunc(spec.MattermostEnv, func(a, b corev1.EnvVar) int { return strings.Compare(a.Name, b.Name) })
	return spec
}
