package installation

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/installation/v1beta1"
)

// FuzzRedact: nothing of a Secret's values gets into what is cached, whatever
// the values look like, and what is redacted twice stays as it is.
func FuzzRedact(f *testing.F) {
	f.Add("postgres://user:secret@host/db", "http://host:80/ready", "key")
	f.Add("verysecret", "://", "")
	f.Add("verysecret://x", "verysecret://host", "\xff")
	f.Add("mysql://u:p@tcp(h:1)/d", " https://u:p@[::1]:1/ ", "://")
	f.Fuzz(func(t *testing.T, connection, check, key string) {
		secret := &corev1.Secret{Data: map[string][]byte{keyConnection: []byte(connection), keyCheckURL: []byte(check), keyAccess: []byte(key)}}
		redacted := Redact(secret)
		if again := Redact(redacted); again.Annotations[factsAnnotation] != redacted.Annotations[factsAnnotation] {
			t.Fatal("redacting twice changed it")
		}
		facts := FactsOf(redacted)
		// Only words that we know may appear.
		if !known(facts.DatabaseScheme) && facts.DatabaseScheme != otherScheme || !known(facts.CheckScheme) && facts.CheckScheme != otherScheme {
			t.Fatalf("facts tell %q and %q", facts.DatabaseScheme, facts.CheckScheme)
		}
		if facts.HasValue(keyConnection) != (connection != "") || !facts.Has(keyAccess) || facts.Has(keySecret) {
			t.Fatalf("facts are wrong: %+v", facts)
		}
		content, err := json.Marshal(redacted)
		if err != nil {
			t.Fatal(err)
		}
		if len(connection) > 12 && strings.Contains(string(content), connection) {
			t.Fatalf("the value is in %s", content)
		}
	})
}

// FuzzMaxFileSize: an ingress controller's size is a number of bytes in range,
// or the default.
func FuzzMaxFileSize(f *testing.F) {
	for _, text := range []string{"", "1000M", "1g", "50k", "100", "-1m", "9999999999999999999g", "m", "1.5g", "٣m"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if size := maxFileSize(text); size < 0 || size > largestMaxFileSize {
			t.Fatalf("%q is %d bytes", text, size)
		}
	})
}

// FuzzPatch: whatever a user writes as a patch gives an object or an error, and no
// more memory than a patch may take.
func FuzzPatch(f *testing.F) {
	bomb := `[{"op":"add","path":"/metadata/annotations","value":{"a":"` + strings.Repeat("x", 1000) + `"}}`
	for i := range 40 {
		bomb += `,{"op":"copy","from":"/metadata/annotations","path":"/metadata/annotations/` + strings.Repeat("y", i+1) + `"}`
	}
	for _, patch := range []string{
		"", "[", "{}", "[null]", `[{"op":"test","path":""}]`, `[{"op":"remove","path":""}]`, `[{"op":"replace","path":"","value":null}]`,
		`[{"op":"add","path":"/spec/template/spec/containers/-","value":null}]`, `[{"op":"move","from":"/spec","path":"/spec/template"}]`, bomb + "]",
	} {
		f.Add(patch)
	}
	mm := Default(&v1beta1.Mattermost{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "chat", UID: "uid"}, Spec: v1beta1.MattermostSpec{
		Database:  v1beta1.Database{External: &v1beta1.ExternalDatabase{Secret: "db"}},
		FileStore: v1beta1.FileStore{External: &v1beta1.ExternalFileStore{URL: "u", Bucket: "b", Secret: "fs"}},
	}})
	f.Fuzz(func(t *testing.T, patch string) {
		patched := mm.DeepCopy()
		patched.Spec.ResourcePatch = &v1beta1.ResourcePatch{Deployment: &v1beta1.Patch{Patch: patch}, Service: &v1beta1.Patch{Patch: patch}}
		r, err := Render(patched, nil, RenderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range r.Objects {
			content, err := object.MarshalJSON()
			if err != nil || len(content) > 2*maxCopied {
				t.Fatalf("%s: %d bytes, %v", object.GetKind(), len(content), err)
			}
		}
	})
}
