package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// prepare makes the pod's volumes, and for each container a folder that stands in for
// its file system, with a link for each mount. A program finds what is mounted at
// /data at $CONTAINER_ROOT/data.
func (p *pod) prepare(ctx context.Context) error {
	volumes := map[string]string{}
	for i := range p.object().Spec.Volumes {
		v := &p.object().Spec.Volumes[i]
		dir, err := p.volume(ctx, v)
		if err != nil {
			return fmt.Errorf("MountVolume.SetUp failed for volume %q: %w", v.Name, err)
		}
		volumes[v.Name] = dir
	}
	for _, c := range slices.Concat(p.inits, p.mains) {
		if err := os.MkdirAll(c.root(), 0o700); err != nil {
			return err
		}
		for _, m := range c.spec.VolumeMounts {
			source := filepath.Join(volumes[m.Name], m.SubPath)
			if err := link(source, filepath.Join(c.root(), m.MountPath)); err != nil {
				return err
			}
		}
	}
	return nil
}

// link has a path lead to a source. A subpath that does not exist is made.
func link(source, at string) error {
	if _, err := os.Stat(source); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(source, 0o700); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	if err := os.Symlink(source, at); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

func (p *pod) volume(ctx context.Context, v *corev1.Volume) (string, error) {
	dir := filepath.Join(p.dir, "volumes", v.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	switch {
	case v.EmptyDir != nil:
		return dir, nil
	case v.ConfigMap != nil:
		data, err := p.configMap(ctx, v.ConfigMap.Name, v.ConfigMap.Optional)
		return dir, errors.Join(err, files(dir, data, v.ConfigMap.Items))
	case v.Secret != nil:
		data, err := p.secret(ctx, v.Secret.SecretName, v.Secret.Optional)
		return dir, errors.Join(err, files(dir, data, v.Secret.Items))
	case v.DownwardAPI != nil:
		return dir, p.downward(dir, v.DownwardAPI.Items)
	case v.Projected != nil:
		return dir, p.projected(ctx, dir, v.Projected.Sources)
	case v.PersistentVolumeClaim != nil:
		return p.claim(ctx, v.PersistentVolumeClaim.ClaimName)
	default:
		return "", errors.New("volumes of this kind are not supported on process nodes")
	}
}

func (p *pod) projected(ctx context.Context, dir string, sources []corev1.VolumeProjection) error {
	for _, s := range sources {
		var data map[string]string
		var items []corev1.KeyToPath
		var err error
		switch {
		case s.ConfigMap != nil:
			data, err = p.configMap(ctx, s.ConfigMap.Name, s.ConfigMap.Optional)
			items = s.ConfigMap.Items
		case s.Secret != nil:
			data, err = p.secret(ctx, s.Secret.Name, s.Secret.Optional)
			items = s.Secret.Items
		case s.DownwardAPI != nil:
			err = p.downward(dir, s.DownwardAPI.Items)
		case s.ServiceAccountToken != nil:
			data, err = p.token(ctx, s.ServiceAccountToken)
		}
		if err = errors.Join(err, files(dir, data, items)); err != nil {
			return err
		}
	}
	return nil
}

func (p *pod) token(ctx context.Context, source *corev1.ServiceAccountTokenProjection) (map[string]string, error) {
	o := p.object()
	token, err := p.node.requestToken(ctx, o, source)
	return map[string]string{source.Path: token}, err
}

func (p *pod) downward(dir string, items []corev1.DownwardAPIVolumeFile) error {
	data := map[string]string{}
	for _, item := range items {
		var err error
		switch {
		case item.FieldRef != nil:
			data[item.Path], err = p.field(item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			data[item.Path], err = p.resource(&corev1.Container{}, item.ResourceFieldRef)
		}
		if err != nil {
			return err
		}
	}
	return files(dir, data, nil)
}

// claim is the folder of a claim's volume: all pods that mount it share it.
func (p *pod) claim(ctx context.Context, name string) (string, error) {
	claim, err := p.node.client.CoreV1().PersistentVolumeClaims(p.namespace()).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if claim.Spec.VolumeName == "" {
		return "", fmt.Errorf("persistentvolumeclaim %q is not bound", name)
	}
	dir := filepath.Join(p.agent.options.Dir, "volumes", claim.Spec.VolumeName)
	return dir, os.MkdirAll(dir, 0o700)
}

// files writes data, or the items of it under other names.
func files(dir string, data map[string]string, items []corev1.KeyToPath) error {
	paths := map[string]string{}
	for key := range data {
		paths[key] = key
	}
	if len(items) > 0 {
		paths = map[string]string{}
		for _, item := range items {
			if _, ok := data[item.Key]; !ok {
				return fmt.Errorf("references non-existent config key: %s", item.Key)
			}
			paths[item.Key] = item.Path
		}
	}
	for key, path := range paths {
		if !filepath.IsLocal(path) {
			return fmt.Errorf("path %q leads out of the volume", path)
		}
		file := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(data[key]), 0o600); err != nil {
			return err
		}
	}
	return nil
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
