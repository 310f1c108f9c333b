package installation

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
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
