package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// Image says what a process node runs instead of an image.
type Image struct {
	// Match are patterns of image names, as path.Match has them, with the tag or
	// without: postgres, mattermost/mattermost-*, example.com/app:1.*.
	Match []string `json:"match"`
	// Entrypoint is run for a container without a command. Its first part, and that of
	// a container's command, is looked up in Programs.
	Entrypoint []string `json:"entrypoint,omitempty"`
	// Programs are the commands that run instead of the programs in the image, by the
	// name or path under which a container's command calls them.
	Programs map[string][]string `json:"programs,omitempty"`
	// HostPrograms also allows the programs of this machine.
	HostPrograms bool `json:"hostPrograms,omitempty"`
	// Env are the image's own variables. In the values, ${IP} is the address on which
	// the program has to listen, so that two pods with one port do not collide.
	Env map[string]string `json:"env,omitempty"`
	// Names has the program find Services by their names: it runs in a mount namespace of
	// its own, where /etc/hosts has them. The system has to allow that to its user.
	Names bool `json:"names,omitempty"`
	// PullTime is how long the image takes to be pulled on each node.
	PullTime metav1.Duration `json:"pullTime,omitzero"`
}

// Images are those that a process node knows; the first that matches counts.
type Images []Image

// LoadImages reads every *.yaml file of a folder, in the order of their names: each
// has a list of images under the key images. In their programs, ${WINDLASS} is self.
func LoadImages(folder, self string) (Images, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var all Images
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		images, err := ParseImages(file, content, self)
		if err != nil {
			return nil, err
		}
		all = append(all, images...)
	}
	return all, nil
}

// ParseImages reads one file.
func ParseImages(file string, content []byte, self string) (Images, error) {
	var list struct {
		Images Images `json:"images"`
	}
	if err := yaml.UnmarshalStrict(content, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for i, image := range list.Images {
		if err := image.validate(); err != nil {
			return nil, fmt.Errorf("%s: images[%d]: %w", file, i, err)
		}
		for _, program := range image.Programs {
			for j := range program {
				program[j] = strings.ReplaceAll(program[j], "${WINDLASS}", self)
			}
		}
	}
	return list.Images, nil
}

func (i Image) validate() error {
	if len(i.Match) == 0 {
		return errors.New("match is empty: say which images are meant")
	}
	for _, pattern := range i.Match {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("match %q is no pattern", pattern)
		}
	}
	return nil
}

// missing is the tag of an image that no registry has, on all kinds of nodes.
const missing = "does-not-exist"

// Find returns the first image that matches a name.
func (is Images) Find(name string) (Image, bool) {
	if strings.HasSuffix(name, ":"+missing) {
		return Image{}, false
	}
	bare := name
	if at := strings.LastIndexAny(name, ":@"); at > strings.LastIndex(name, "/") {
		bare = name[:at]
	}
	for _, image := range is {
		for _, pattern := range image.Match {
			for _, candidate := range []string{name, bare} {
				if ok, err := path.Match(pattern, candidate); ok && err == nil {
					return image, true
				}
			}
		}
	}
	return Image{}, false
}

// digest stands in for the one of an image that was pulled.
func digest(name string) string {
	sum := sha256.Sum256([]byte(name))
	return name + "@sha256:" + hex.EncodeToString(sum[:])
}

// errNoProgram is what a container runtime says when the image lacks the program.
var errNoProgram = errors.New("executable file not found in the image: it is not among its programs")

// command returns what to run for a container's command and arguments.
func (i Image) command(command, arguments []string) ([]string, error) {
	if len(command) == 0 {
		command = i.Entrypoint
	}
	if len(command) == 0 {
		return nil, errors.New("no command specified")
	}
	if program, ok := i.Programs[command[0]]; ok && len(program) > 0 {
		return slices.Concat(program, command[1:], arguments), nil
	}
	if i.HostPrograms {
		found, err := exec.LookPath(command[0])
		if err != nil {
			return nil, err
		}
		return slices.Concat([]string{found}, command[1:], arguments), nil
	}
	return nil, fmt.Errorf("%q: %w (%s)", command[0], errNoProgram, strings.Join(slices.Sorted(maps.Keys(i.Programs)), ", "))
}

// env returns the image's variables for a pod's address.
func (i Image) env(ip string) map[string]string {
	all := map[string]string{}
	for name, value := range i.Env {
		all[name] = strings.ReplaceAll(value, "${IP}", ip)
	}
	return all
}
