package cloud_test

import (
	"testing"

	"windlass.dev/internal/cloud"
)

func TestMade(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		revision, machine string
		want              bool
	}{
		"the same":                 {"lt-1:7", "lt-1:7", true},
		"another version":          {"lt-1:7", "lt-1:6", false},
		"a version that begins so": {"lt-1:71", "lt-1:7", false},
		"one of several":           {"lt-1:7,lt-2:3", "lt-2:3", true},
		"none of several":          {"lt-1:7,lt-2:3", "lt-2:7", false},
		"a machine of no template": {"lt-1:7", "", false},
		"nothing known of either":  {"", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := (cloud.Revision{Template: c.revision}).Made(c.machine); got != c.want {
				t.Errorf("it is %v, want %v", got, c.want)
			}
		})
	}
}
