package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const header = "apiVersion: " + APIVersion + "\nkind: " + Kind + "\n"

func none(string) (string, bool) { return "", false }

func environment(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { value, ok := vars[name]; return value, ok }
}

func TestDefaultIsValid(t *testing.T) {
	t.Parallel()
	cfg, notes, err := Load("", none)
	if err != nil || len(notes) > 0 {
		t.Fatalf("notes %v, error %v", notes, err)
	}
	if diff := cmp.Diff(Default(), cfg); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		text string
		want string // part of the error; empty for none
	}{
		"all defaults":      {header, ""},
		"one setting":       {header + "installations: {concurrency: 5}\n", ""},
		"nothing":           {"", `is "" of ""`},
		"another version":   {"apiVersion: config.windlass.dev/v9\nkind: Configuration\n", "this version of Windlass reads"},
		"an unknown key":    {header + "instalations: {}\n", `unknown field "instalations"`},
		"a repeated key":    {header + "resync: 1h\nresync: 2h\n", `already set`},
		"a wrong type":      {header + "resync: often\n", "invalid duration"},
		"out of range":      {header + "installations: {concurrency: 0}\n", "installations.concurrency is 0; want 1 to 200"},
		"too busy":          {header + "resync: 1s\n", "resync is 1s; want at least 10s"},
		"no namespace name": {header + "namespaces: [ok, 'No Name']\n", `namespaces[1] is "No Name"`},
		"a lease without a name": {
			header + "installations: {lease: {name: '', namespace: x}}\n", "installations.lease is",
		},
		"a lease of fleets without a name": {header + "fleet: {lease: {name: ''}}\n", "fleet.lease is"},
		"no namespace of its own":          {header + "namespace: No Name\n", `namespace is "No Name"`},
		"a lease that cannot be held":      {header + "leases: {duration: 5s}\n", "has to be longer than renewDeadline"},
		"a limit without a burst":          {header + "client: {qps: 5}\n", "set a burst of at least 1"},
		"two mistakes, both told":          {header + "resync: 1s\nlog: {format: xml}\n", `log.format is "xml"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse([]byte(c.text))
			switch {
			case c.want == "" && err != nil:
				t.Errorf("want no error, got %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("want an error with %q, got %v", c.want, err)
			}
		})
	}
}

// TestConcurrency: as many as processors keep up with, and not more than were ever of use.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	for processors, want := range map[int]int{1: 2, 2: 4, 8: 16, 64: 20} {
		if got := concurrency(processors); got != want {
			t.Errorf("%d processors: %d, want %d", processors, got, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	cfg, notes, err := Load("", environment(map[string]string{
		"MAX_RECONCILING_INSTALLATIONS": "20", "REQUEUE_ON_LIMIT_DELAY": "20s", "MAX_RECONCILE_CONCURRENCY": "10",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Installations.Concurrency != 10 {
		t.Errorf("concurrency: want 10, got %d", cfg.Installations.Concurrency)
	}
	if len(notes) != 2 {
		t.Errorf("want a note for each of the two settings without effect, got %q", notes)
	}
	for name, value := range map[string]string{
		"MAX_RECONCILING_INSTALLATIONS": "many", "REQUEUE_ON_LIMIT_DELAY": "20", "MAX_RECONCILE_CONCURRENCY": "x",
	} {
		_, _, err := Load("", environment(map[string]string{name: value}))
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s=%s: want an error that names it, got %v", name, value, err)
		}
	}
}

func TestEnvironmentGoesOverTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "windlass.yaml")
	if err := os.WriteFile(path, []byte(header+"installations: {concurrency: 5}\nresync: 1h\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := Load(path, environment(map[string]string{"MAX_RECONCILE_CONCURRENCY": "7"}))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Installations.Concurrency != 7 || cfg.Resync.Duration != time.Hour {
		t.Errorf("want 7 and 1h, got %d and %s", cfg.Installations.Concurrency, cfg.Resync.Duration)
	}
}

// TestPodNamespace: where the pod runs is Windlass' namespace, and that of its lease too
// unless the file names another.
func TestPodNamespace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "windlass.yaml")
	if err := os.WriteFile(path, []byte(header+"fleet: {lease: {namespace: leases}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"": "ops", path: "leases"} {
		cfg, _, err := Load(file, environment(map[string]string{"POD_NAMESPACE": "ops"}))
		if err != nil {
			t.Fatal(err)
		}
		if cfg.Namespace != "ops" || cfg.Fleet.Lease.Namespace != want {
			t.Errorf("namespace %s and lease in %s, want ops and %s", cfg.Namespace, cfg.Fleet.Lease.Namespace, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(header))
	f.Add([]byte(header + "installations: {concurrency: 5}\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		cfg, err := Parse(content)
		if err != nil {
			return
		}
		if err := cfg.validate(); err != nil {
			t.Errorf("parsed without an error, but is invalid: %v", err)
		}
	})
}
