// Package secret reads single values of Secrets, for requests that need them, and keeps
// them out of texts.
package secret

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	run "windlass.dev/api/run/v1alpha1"
)

// Read returns the value of a key without the space around it: a line feed at the end is
// easily there, and would break a header.
func Read(ctx context.Context, reader client.Reader, key run.SecretKey) (string, error) {
	var s corev1.Secret
	if err := reader.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: key.Name}, &s); err != nil {
		return "", fmt.Errorf("read Secret %s/%s: %w", key.Namespace, key.Name, err)
	}
	value := strings.TrimSpace(string(s.Data[key.Key]))
	if value == "" {
		return "", fmt.Errorf("the Secret %s/%s has no value for the key %s", key.Namespace, key.Name, key.Key)
	}
	return value, nil
}

// Redact replaces secrets in a text that may contain them, such as what a server answers.
func Redact(text string, secrets ...string) string {
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "[redacted]")
		}
	}
	return text
}

// WithoutURL returns the cause of an error of net/http or net/url, whose text has the URL.
func WithoutURL(err error) error {
	for {
		of, ok := errors.AsType[*url.Error](err)
		if !ok {
			return err
		}
		err = of.Err
	}
}
