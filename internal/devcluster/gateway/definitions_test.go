package gateway

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestDefinitions are those of the module's version: go generate makes them again.
func TestDefinitions(t *testing.T) {
	t.Parallel()
	version, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Version}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := []byte("gateway.networking.k8s.io/bundle-version: " + strings.TrimSpace(string(version)) + "\n")
	if n := bytes.Count(Definitions, want); n != bytes.Count(Definitions, []byte("kind: CustomResourceDefinition\n")) || n == 0 {
		t.Errorf("%d definitions have the version %s", n, version)
	}
	if !slices.IsSorted(features) {
		t.Error("a GatewayClass's features have to be sorted")
	}
}
