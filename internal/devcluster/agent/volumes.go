package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// prepare makes the pod's volumes.
func (p *pod) prepare(ctx context.Context) error {
	for i := range p.object().Spec.Volumes {
		v := &p.object().Spec.Volumes[i]
		dir, err := p.volume(ctx, v)
		if err != nil {
			return fmt.Errorf("MountVolume.SetUp failed for volume %q: %w", v.Name, err)
		}
		p.volumes[v.Name] = dir
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
	case v.PersistentVolumeClaim != nil:
		return p.claim(ctx, v.PersistentVolumeClaim.ClaimName)
	case !published(v):
		return "", errors.New("volumes of this kind are not supported on process nodes")
	}
	content, err := p.content(ctx, v)
	if err != nil {
		return "", err
	}
	return dir, publish(dir, content)
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
	dir := p.agent.persistent(claim.Spec.VolumeName)
	return dir, os.MkdirAll(dir, 0o700)
}

// persistent is the folder of a PersistentVolume.
func (a *Agent) persistent(volume string) string {
	return filepath.Join(a.options.Dir, "volumes", volume)
}

// refresh brings what comes from the API up to date in the volumes, whenever something
// of it has changed, until ctx ends. What cannot be had stays as it was.
func (p *pod) refresh(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-p.mounted:
	}
	for {
		expiry, stop := p.tokenExpiry()
		select {
		case <-ctx.Done():
			stop()
			return
		case <-p.stale:
		case <-expiry:
		}
		stop()
		for i := range p.object().Spec.Volumes {
			v := &p.object().Spec.Volumes[i]
			if !published(v) {
				continue
			}
			content, err := p.content(ctx, v)
			if err == nil {
				err = publish(p.volumes[v.Name], content)
			}
			if err != nil && ctx.Err() == nil {
				p.agent.log("refresh volume %s of pod %s: %v", v.Name, p, err)
			}
		}
	}
}

// mount makes the folder that stands in for the container's file system, as new for
// each run, with a link for each mount. A program finds what is mounted at /data at
// $CONTAINER_ROOT/data.
func (c *container) mount(env map[string]string) error {
	if err := errors.Join(os.RemoveAll(c.root()), os.RemoveAll(c.copies()), os.MkdirAll(c.root(), 0o700)); err != nil {
		return err
	}
	// What is mounted within another mount comes after it.
	mounts := slices.Clone(c.spec.VolumeMounts)
	slices.SortStableFunc(mounts, func(a, b corev1.VolumeMount) int { return cmp.Compare(a.MountPath, b.MountPath) })
	for _, m := range mounts {
		source, err := c.source(m, env)
		if err == nil {
			err = link(source, c.path(m.MountPath))
		}
		if err != nil {
			return fmt.Errorf("mount volume %s: %w", m.Name, err)
		}
	}
	return c.makeTerminationMessage()
}

// path is where a path of the container is.
func (c *container) path(of string) string {
	return filepath.Join(c.root(), filepath.Clean("/"+of))
}

// copies is the folder of what is mounted and does not change any more.
func (c *container) copies() string { return filepath.Join(c.pod.dir, c.spec.Name, "copies") }

// source is what a mount leads to. A part of a volume that comes from the API is a copy:
// it does not follow the volume.
// See https://kubernetes.io/docs/concepts/storage/volumes/#using-subpath.
func (c *container) source(m corev1.VolumeMount, env map[string]string) (string, error) {
	part := m.SubPath
	if m.SubPathExpr != "" {
		part = expand(m.SubPathExpr, env)
	}
	volume := c.pod.volumes[m.Name]
	if part == "" {
		return volume, nil
	}
	if !filepath.IsLocal(part) {
		return "", fmt.Errorf("subPath %q leads out of the volume", part)
	}
	source := filepath.Join(volume, part)
	if !c.pod.fromAPI(m.Name) {
		return source, nil
	}
	at := filepath.Join(c.copies(), m.Name, part)
	return at, duplicate(source, at)
}

// link has a path lead to a source. A subpath that does not exist is made.
func link(source, at string) error {
	if _, err := os.Stat(source); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(source, 0o700); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	// A mount within another one is still there from the last run.
	switch to, err := os.Readlink(at); {
	case err == nil && to == source:
		return nil
	case err == nil: // That of another pod, in a claim.
		if err := os.Remove(at); err != nil {
			return err
		}
	}
	return os.Symlink(source, at)
}

// duplicate copies a file or a folder, if it is there.
func duplicate(source, at string) error {
	info, err := os.Stat(source)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return os.CopyFS(at, os.DirFS(source))
	}
	content, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.WriteFile(at, content, info.Mode()))
}
