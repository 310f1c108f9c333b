// Command definitions writes the Gateway API's definitions, as the module has them that
// go.mod pins, into one file: those that the gateway serves, without the descriptions,
// which are nine tenths of them.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

var kinds = []string{"gatewayclasses", "gateways", "httproutes", "referencegrants"}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: definitions FILE")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func write(target string) error {
	dir, err := exec.CommandContext(context.Background(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		return fmt.Errorf("find the module sigs.k8s.io/gateway-api: %w", err)
	}
	all := bytes.NewBufferString("# Made by go generate from sigs.k8s.io/gateway-api, config/crd/standard (Apache License 2.0).\n")
	for i, kind := range kinds {
		content, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "config", "crd", "standard", "gateway.networking.k8s.io_"+kind+".yaml"))
		if err != nil {
			return err
		}
		var definition map[string]any
		if err := yaml.Unmarshal(content, &definition); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		strip(definition)
		text, err := yaml.Marshal(definition)
		if err != nil {
			return err
		}
		if i > 0 {
			fmt.Fprintln(all, "---")
		}
		all.Write(text)
	}
	return os.WriteFile(target, all.Bytes(), 0o600)
}

// strip removes descriptions; what is called description and no text is a field.
func strip(node any) {
	switch node := node.(type) {
	case map[string]any:
		if _, ok := node["description"].(string); ok {
			delete(node, "description")
		}
		for _, child := range node {
			strip(child)
		}
	case []any:
		for _, child := range node {
			strip(child)
		}
	}
}
