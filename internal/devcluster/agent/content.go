package agent

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// file is one that a volume gets from the API.
type file struct {
	data string
	mode fs.FileMode
}

// content is what a volume holds, by path.
type content map[string]file

// published says that what a volume holds comes from the API.
func published(v *corev1.Volume) bool {
	return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
}

// fromAPI is published for a volume's name.
func (p *pod) fromAPI(name string) bool {
	for i := range p.object().Spec.Volumes {
		if v := &p.object().Spec.Volumes[i]; v.Name == name {
			return published(v)
		}
	}
	return false
}

// content reads what a volume has to hold.
func (p *pod) content(ctx context.Context, v *corev1.Volume) (content, error) {
	all := content{}
	switch {
	case v.ConfigMap != nil:
		data, err := p.configMap(ctx, v.ConfigMap.Name, v.ConfigMap.Optional)
		return all, first(err, func() error { return all.add(data, v.ConfigMap.Items, v.ConfigMap.Optional, v.ConfigMap.DefaultMode) })
	case v.Secret != nil:
		data, err := p.secret(ctx, v.Secret.SecretName, v.Secret.Optional)
		return all, first(err, func() error { return all.add(data, v.Secret.Items, v.Secret.Optional, v.Secret.DefaultMode) })
	case v.DownwardAPI != nil:
		return all, p.downward(all, v.DownwardAPI.Items, v.DownwardAPI.DefaultMode)
	}
	for _, s := range v.Projected.Sources {
		if err := p.projected(ctx, all, s, v.Projected.DefaultMode); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// first goes on if there is no error yet.
func first(err error, then func() error) error {
	if err != nil {
		return err
	}
	return then()
}

func (p *pod) projected(ctx context.Context, all content, s corev1.VolumeProjection, mode *int32) error {
	switch {
	case s.ConfigMap != nil:
		data, err := p.configMap(ctx, s.ConfigMap.Name, s.ConfigMap.Optional)
		return first(err, func() error { return all.add(data, s.ConfigMap.Items, s.ConfigMap.Optional, mode) })
	case s.Secret != nil:
		data, err := p.secret(ctx, s.Secret.Name, s.Secret.Optional)
		return first(err, func() error { return all.add(data, s.Secret.Items, s.Secret.Optional, mode) })
	case s.DownwardAPI != nil:
		return p.downward(all, s.DownwardAPI.Items, mode)
	case s.ServiceAccountToken != nil:
		value, err := p.token(ctx, s.ServiceAccountToken)
		all[s.ServiceAccountToken.Path] = file{value, modeOf(mode)}
		return err
	default:
		return fmt.Errorf("projected sources of this kind are not supported on process nodes")
	}
}

func (p *pod) downward(all content, items []corev1.DownwardAPIVolumeFile, mode *int32) error {
	for _, item := range items {
		one := file{mode: modeOf(item.Mode, mode)}
		var err error
		switch {
		case item.FieldRef != nil:
			one.data, err = p.field(item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			one.data, err = p.resource(&corev1.Container{}, item.ResourceFieldRef)
		}
		if err != nil {
			return err
		}
		all[item.Path] = one
	}
	return nil
}

// add takes all of data, or the items of it under other names.
func (c content) add(data map[string]string, items []corev1.KeyToPath, optional *bool, mode *int32) error {
	if len(items) == 0 {
		for key, value := range data {
			c[key] = file{value, modeOf(mode)}
		}
		return nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok && optional != nil && *optional {
			continue
		}
		if !ok {
			return fmt.Errorf("references non-existent config key: %s", item.Key)
		}
		c[item.Path] = file{value, modeOf(item.Mode, mode)}
	}
	return nil
}

// modeOf is the first mode that is set. Programs run as the user who owns the files, so
// that user can always read.
func modeOf(modes ...*int32) fs.FileMode {
	for _, mode := range modes {
		if mode != nil {
			return fs.FileMode(*mode)&fs.ModePerm | 0o400
		}
	}
	return fs.FileMode(corev1.ConfigMapVolumeSourceDefaultMode)
}

// token is one of a ServiceAccount, with the time after which it is renewed.
type token struct {
	value string
	renew time.Time
}

// token returns the token that a volume asks for, and makes it if need be. The kubelet
// renews one after four fifths of its time.
// See https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#launch-a-pod-using-service-account-token-projection.
func (p *pod) token(ctx context.Context, source *corev1.ServiceAccountTokenProjection) (string, error) {
	key := source.Path + " " + source.Audience
	p.mu.Lock()
	have, ok := p.tokens[key]
	p.mu.Unlock()
	if ok && time.Now().Before(have.renew) {
		return have.value, nil
	}
	value, expires, err := p.node.requestToken(ctx, p.object(), source)
	if err != nil {
		return "", err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens[key] = token{value, time.Now().Add(time.Until(expires) * 4 / 5)}
	return value, nil
}

// tokenExpiry is when the next token has to be renewed.
func (p *pod) tokenExpiry() (at <-chan time.Time, stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var next time.Time
	for _, one := range p.tokens {
		if next.IsZero() || one.renew.Before(next) {
			next = one.renew
		}
	}
	if next.IsZero() {
		return nil, func() {}
	}
	// One that could not be had is tried again a little later.
	timer := time.NewTimer(max(time.Until(next), 10*time.Second))
	return timer.C, func() { timer.Stop() }
}

func (p *pod) configMap(ctx context.Context, name string, optional *bool) (map[string]string, error) {
	object, err := p.node.client.CoreV1().ConfigMaps(p.namespace()).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, unlessOptional(err, optional)
	}
	all := map[string]string{}
	maps.Copy(all, object.Data)
	for key, value := range object.BinaryData {
		all[key] = string(value)
	}
	return all, nil
}

func (p *pod) secret(ctx context.Context, name string, optional *bool) (map[string]string, error) {
	object, err := p.node.client.CoreV1().Secrets(p.namespace()).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, unlessOptional(err, optional)
	}
	all := map[string]string{}
	for key, value := range object.Data {
		all[key] = string(value)
	}
	return all, nil
}

func unlessOptional(err error, optional *bool) error {
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil
	}
	return err
}

// mounts says whether the pod has a volume with something of an object.
func (p *pod) mounts(object metav1.Object) bool {
	if object.GetNamespace() != p.namespace() {
		return false
	}
	_, isSecret := object.(*corev1.Secret)
	named := func(config *corev1.LocalObjectReference, secret string) bool {
		if isSecret {
			return secret == object.GetName()
		}
		return config != nil && config.Name == object.GetName()
	}
	return slices.ContainsFunc(p.object().Spec.Volumes, func(v corev1.Volume) bool {
		switch {
		case v.ConfigMap != nil:
			return named(&v.ConfigMap.LocalObjectReference, "")
		case v.Secret != nil:
			return named(nil, v.Secret.SecretName)
		case v.Projected != nil:
			return slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
				return s.ConfigMap != nil && named(&s.ConfigMap.LocalObjectReference, "") || s.Secret != nil && named(nil, s.Secret.Name)
			})
		default:
			return false
		}
	})
}
