package secret

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	run "windlass.dev/api/run/v1alpha1"
)

func TestRead(t *testing.T) {
	t.Parallel()
	reader := fake.NewClientBuilder().WithObjects(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ops", Name: "hook"},
		Data:       map[string][]byte{"url": []byte(" https://chat.example.com/hooks/x\r\n"), "blank": []byte("\n")},
	}).Build()
	cases := map[string]struct {
		key  run.SecretKey
		want string
		err  string
	}{
		"without the space around it": {run.SecretKey{Namespace: "ops", Name: "hook", Key: "url"}, "https://chat.example.com/hooks/x", ""},
		"blank":                       {run.SecretKey{Namespace: "ops", Name: "hook", Key: "blank"}, "", "no value for the key blank"},
		"no such key":                 {run.SecretKey{Namespace: "ops", Name: "hook", Key: "uri"}, "", "no value for the key uri"},
		"no such Secret":              {run.SecretKey{Namespace: "ops", Name: "hooks", Key: "url"}, "", "read Secret ops/hooks: "},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Read(t.Context(), reader, c.key)
			if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %q and %v", got, err)
			}
		})
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	if got := Redact("a key and the key", "key", ""); got != "a [redacted] and the [redacted]" {
		t.Error(got)
	}
}

func TestWithoutURL(t *testing.T) {
	t.Parallel()
	cause := errors.New("refused")
	err := &url.Error{Op: "Get", URL: "https://a/b", Err: fmt.Errorf("again: %w", &url.Error{Op: "Get", URL: "https://a/b", Err: cause})}
	if got := WithoutURL(err); !errors.Is(got, cause) || strings.Contains(got.Error(), "https") {
		t.Error(got)
	}
	if got := WithoutURL(cause); !errors.Is(got, cause) {
		t.Error(got)
	}
}
