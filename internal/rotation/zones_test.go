package rotation

import (
	"testing"

	"windlass.dev/internal/cloud"
)

func TestSpread(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		zones    []string
		machines string // The zone of each.
		even     bool
		text     string
	}{
		"none":              {even: true},
		"one zone":          {zones: []string{"a"}, machines: "aaa", even: true, text: "a 3"},
		"even":              {zones: []string{"a", "b"}, machines: "aab", even: true, text: "a 2, b 1"},
		"uneven":            {zones: []string{"a", "b"}, machines: "aaab", text: "a 3, b 1"},
		"a zone has none":   {zones: []string{"a", "b", "c"}, machines: "aab", text: "a 2, b 1, c 0"},
		"another group's":   {zones: []string{"a", "b"}, machines: "abxx", even: true, text: "a 1, b 1"},
		"nobody evens them": {machines: "aaab", even: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := &group{cloud: Cloud{Group: cloud.Group{Zones: c.zones}}}
			for _, zone := range c.machines {
				g.machines = append(g.machines, &machine{Machine: &cloud.Machine{Zone: string(zone), State: cloud.Running}})
			}
			// What goes does not count.
			g.machines = append(g.machines, &machine{Machine: &cloud.Machine{Zone: "a", State: cloud.Ending}}, &machine{Machine: &cloud.Machine{Zone: "a"}, leaving: true})
			if s := g.spread(); s.even() != c.even || s.String() != c.text {
				t.Errorf("%q, even %t; want %q, %t", s, s.even(), c.text, c.even)
			}
		})
	}
}
