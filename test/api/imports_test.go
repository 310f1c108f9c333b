package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "windlass.dev/"

// goPackage is what `go list` says of a package.
type goPackage struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
}

// packages returns the packages of the module, without their tests, by their
// path within the module.
func packages(t *testing.T) map[string]goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,GoFiles,Imports", module+"...")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, problems.String())
	}
	all := map[string]goPackage{}
	decoder := json.NewDecoder(bytes.NewReader(output))
	for {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimPrefix(p.ImportPath, module)] = p
	}
}

// pure are the packages that decide. What they reach of ours is pure too.
var pure = []string{"internal/installation", "internal/clusterinstallation", "internal/migration", "internal/restore", "internal/drain", "internal/rotation", "internal/admission", "internal/fleetrotation", "internal/rollout", "internal/nodeimage", "internal/nodegroup", "internal/kit/plan", "internal/kit/inventory", "internal/window", "internal/gate", "internal/tell", "test/bench/rotationmodels"}

// impure are what a decision may not reach for by itself.
func impure(imported string) bool {
	for _, prefix := range []string{
		"os", "net", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "io/ioutil", "syscall",
		"sigs.k8s.io/controller-runtime", "k8s.io/client-go/kubernetes", "k8s.io/client-go/rest", "k8s.io/client-go/dynamic",
		"k8s.io/client-go/tools", "k8s.io/utils/clock", "k8s.io/klog", "github.com/go-logr/logr",
	} {
		if imported == prefix || strings.HasPrefix(imported, prefix+"/") {
			// The parsers beneath net do no I/O.
			return imported != "net/url" && imported != "net/netip"
		}
	}
	return false
}

// TestDecisionsArePure walks from each pure package over our packages.
func TestDecisionsArePure(t *testing.T) {
	t.Parallel()
	all := packages(t)
	seen := map[string]bool{}
	var visit func(name, from string)
	visit = func(name, from string) {
		if seen[name] {
			return
		}
		seen[name] = true
		p, ok := all[name]
		if !ok {
			t.Fatalf("there is no package %s", name)
		}
		for _, imported := range p.Imports {
			if impure(imported) {
				t.Errorf("%s, which %s reaches, imports %s", name, from, imported)
			}
			if ours, ok := strings.CutPrefix(imported, module); ok {
				visit(ours, from)
			}
		}
		for _, file := range p.GoFiles {
			if reads := clockReads(t, filepath.Join(p.Dir, file)); reads != "" {
				t.Errorf("%s/%s calls %s; take the time as an argument", name, file, reads)
			}
		}
	}
	for _, name := range pure {
		visit(name, name)
	}
}

// clockReads returns the first call of a function that reads or waits for the clock.
func clockReads(t *testing.T, file string) string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := ""
	ast.Inspect(parsed, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if of, ok := selector.X.(*ast.Ident); ok && of.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "Tick", "NewTimer", "NewTicker"}, selector.Sel.Name) {
			found = "time." + selector.Sel.Name
		}
		return true
	})
	return found
}

// ports are what else a slice's controller may know: pure packages that it shares with
// others, and the ports through which it reaches the world.
var ports = map[string][]string{
	"internal/installation": {"internal/clusterinstallation"},
	"internal/restore":      {"internal/installation"},
	"internal/rotation":     {"internal/drain", "internal/cloud"},
	"internal/nodeimage":    {"internal/cloud"},
	"internal/nodegroup":    {"internal/cloud"},
}

// shared are what every controller may know beside the engine: the ways to others, and what
// every long run is judged by.
var shared = []string{"internal/gate", "internal/gate/probe", "internal/notify", "internal/secret", "internal/tell", "internal/window"}

// forbidden says why a package may not import another of ours; empty if it may.
func forbidden(from, to string) string {
	isController := func(name string) bool { return path.Base(name) == "controller" }
	isShared := func(name string) bool { return slices.Contains(shared, name) }
	isCluster := func(name string) bool { return strings.HasPrefix(name, "internal/devcluster") }
	switch {
	case strings.HasPrefix(from, "api/") && !strings.HasPrefix(to, "api/"):
		return "types know only types"
	case strings.HasPrefix(from, "internal/kit") && !strings.HasPrefix(to, "internal/kit"):
		return "the engine knows no feature"
	case isShared(from) && !isShared(to) && !strings.HasPrefix(to, "internal/kit") && !strings.HasPrefix(to, "api/"):
		return "what all runs share knows no feature"
	case isController(from) && isController(to):
		return "controllers talk through API objects"
	case isController(from) && !strings.HasPrefix(to, "internal/kit") && !strings.HasPrefix(to, "api/") && to != path.Dir(from) && !slices.Contains(ports[path.Dir(from)], to) && !isShared(to):
		return "a controller knows the engine, the API, its ports and its own pure package"
	case isController(to) && from != "internal/manager" && from != "internal/cli":
		return "only the composition root and the command line know controllers"
	case to == "internal/cli" && !strings.HasPrefix(from, "cmd/"):
		return "the command line is the outermost"
	case strings.HasPrefix(from, "cmd/") && to != "internal/cli":
		return "the binary is the command line"
	case to == "internal/manager" && from != "internal/cli" && !strings.HasPrefix(from, "test/"):
		return "nothing but the command line, tests and measurements run everything"
	case strings.HasPrefix(from, "internal/cloud") && !strings.HasPrefix(to, "internal/cloud") && !strings.HasPrefix(to, "api/"):
		return "clouds know their port and the API"
	case strings.HasPrefix(to, "internal/cloud/") && !strings.HasPrefix(from, "internal/cloud/") && !slices.Contains([]string{"internal/manager", "internal/cli", "internal/demo", "test/bench"}, from):
		return "what decides knows the port and no cloud"
	case slices.Contains([]string{"internal/cloud/cloudtest", "internal/cloud/clusterapi/clusterapitest", "internal/cloud/karpenter/karpentertest"}, to):
		return "only tests know how providers are tested"
	case to == "internal/installation/oracletest" || to == "internal/installation/leaftest":
		return "only tests know how installations are tested"
	case isCluster(from) && !isCluster(to):
		return "the development cluster knows nothing that runs on it"
	case isCluster(to) && !isCluster(from) && !strings.HasPrefix(from, "test/") && !slices.Contains([]string{"internal/cli", "internal/demo"}, from):
		return "production code knows no development cluster"
	default:
		return ""
	}
}

// reserved says why a package may not import one that is not ours; empty if it may.
func reserved(from, imported string) string {
	below := func(name, folder string) bool { return name == folder || strings.HasPrefix(name, folder+"/") }
	switch {
	case strings.HasPrefix(imported, "k8s.io/kubernetes"):
		return "only tools/controlplane may"
	case below(from, "api") && !strings.HasPrefix(imported, "k8s.io/api") && strings.Contains(imported, ".") && !strings.HasPrefix(imported, module):
		return "types know the standard library, k8s.io/api and k8s.io/apimachinery"
	case strings.HasPrefix(imported, "github.com/aws/") && !below(from, "internal/cloud/aws") && !below(from, "internal/devcluster/aws"):
		return "a cloud is known to its adapter"
	default:
		return ""
	}
}

func TestImports(t *testing.T) {
	t.Parallel()
	all := packages(t)
	if len(all) < 10 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	for name, p := range all {
		if strings.Contains(name, "/applyconfiguration") {
			continue // Generated, for clients.
		}
		for _, imported := range p.Imports {
			if to, ok := strings.CutPrefix(imported, module); ok {
				if why := forbidden(name, to); why != "" {
					t.Errorf("%s imports %s: %s", name, to, why)
				}
			}
			if why := reserved(name, imported); why != "" {
				t.Errorf("%s imports %s: %s", name, imported, why)
			}
		}
	}
}

// TestTheRulesForbid keeps the rules themselves from becoming empty.
func TestTheRulesForbid(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{
		{"api/installation/v1beta1", "internal/kit"}, {"internal/kit", "internal/installation"},
		{"internal/clusterinstallation", "internal/installation/oracletest"}, {"internal/rotation/controller", "internal/clusterinstallation"},
		{"internal/restore/controller", "internal/installation/controller"}, {"internal/restore/controller", "internal/clusterinstallation"}, {"internal/installation/controller", "internal/restore"},
		{"internal/installation/controller", "internal/rotation/controller"}, {"internal/installation/controller", "internal/config"},
		{"internal/fleetrotation/controller", "internal/installation"}, {"internal/installation/controller", "internal/fleetrotation"},
		{"internal/install", "internal/installation/controller"}, {"internal/manager", "internal/cli"},
		{"internal/manager", "internal/devcluster"}, {"internal/devcluster/agent", "internal/installation"}, {"internal/kit", "internal/manager"},
		{"internal/gate/probe", "internal/installation"}, {"internal/kit", "internal/window"},
		{"internal/cloud/aws", "internal/kit"}, {"internal/rotation/controller", "internal/cloud/aws"}, {"internal/rotation", "internal/cloud/sim"}, {"internal/manager", "internal/cloud/cloudtest"},
		{"internal/cloud/clusterapi", "internal/cloud/clusterapi/clusterapitest"},
		{"internal/cloud/karpenter", "internal/cloud/karpenter/karpentertest"},
		{"internal/nodeimage/controller", "internal/rotation"}, {"internal/rollout/controller", "internal/installation"}, {"internal/rollout/controller", "internal/rotation"}, {"internal/tell", "internal/rollout"}, {"internal/nodegroup/controller", "internal/cloud/aws"}, {"internal/nodeimage", "internal/rotation/controller"},
	} {
		if forbidden(c[0], c[1]) == "" {
			t.Errorf("%s may import %s", c[0], c[1])
		}
	}
	for _, c := range [][2]string{
		{"api/nodes/v1alpha1", "sigs.k8s.io/yaml"}, {"internal/devcluster", "k8s.io/kubernetes/pkg/api"}, {"internal/manager", "github.com/aws/aws-sdk-go-v2/config"},
		{"internal/cloud", "github.com/aws/smithy-go"}, {"internal/cloud/awsome", "github.com/aws/smithy-go"},
	} {
		if reserved(c[0], c[1]) == "" {
			t.Errorf("%s may import %s", c[0], c[1])
		}
	}
	for _, imported := range []string{"os", "net/http", "math/rand/v2", "sigs.k8s.io/controller-runtime/pkg/client"} {
		if !impure(imported) {
			t.Errorf("a decision may import %s", imported)
		}
	}
}
