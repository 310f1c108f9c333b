package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// dataLink is what the files of a volume are reached by, and newLink its successor.
const (
	dataLink = "..data"
	newLink  = "..data_tmp"
)

// publish has a folder hold the content, and nothing else that was published before. A
// reader sees either all of the old or all of the new: the files are in a folder of their
// own, to which one link leads that is replaced at once, as in the kubelet. It does
// nothing if nothing has changed.
// See https://kubernetes.io/docs/concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically.
func publish(dir string, all content) error {
	for path := range all {
		if !filepath.IsLocal(path) || strings.HasPrefix(path, "..") {
			return fmt.Errorf("path %q leads out of the volume", path)
		}
	}
	if same(filepath.Join(dir, dataLink), all) {
		return nil
	}
	old, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	made, err := os.MkdirTemp(dir, "..")
	if err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(made, 0o755), write(made, all)); err != nil {
		return errors.Join(err, os.RemoveAll(made))
	}
	next := filepath.Join(dir, newLink)
	if err := errors.Join(removeIfThere(next), os.Symlink(filepath.Base(made), next), os.Rename(next, filepath.Join(dir, dataLink))); err != nil {
		return err
	}
	if err := names(dir, all); err != nil {
		return err
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, old))
}

// same says whether the files there are the content. Those in dir are compared by their
// names, too: what is gone has to go.
func same(dir string, all content) bool {
	have := content{}
	err := filepath.WalkDir(dir+"/", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		have[name] = file{string(data), info.Mode().Perm()}
		return err
	})
	return err == nil && maps.Equal(have, all)
}

func write(dir string, all content) error {
	for path, one := range all {
		at := filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(one.data), one.mode)); err != nil {
			return err
		}
		if err := os.Chmod(at, one.mode); err != nil { // The umask is not the volume's.
			return err
		}
	}
	return nil
}

// names makes a link for the first part of each path, and removes those that lead to
// nothing any more.
func names(dir string, all content) error {
	wanted := map[string]bool{}
	for path := range all {
		top, _, _ := strings.Cut(path, "/")
		wanted[top] = true
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		to, err := os.Readlink(filepath.Join(dir, entry.Name()))
		if err == nil && filepath.Dir(to) == dataLink && !wanted[entry.Name()] {
			if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
