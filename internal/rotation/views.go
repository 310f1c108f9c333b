package rotation

import (
	"windlass.dev/internal/cloud"
	"windlass.dev/internal/drain"
)

// Views keep what does not change between decisions while a provider's description of a group
// is the same: which machine is which node. With thousands of machines that is much of what a
// decision would take. They are for one that decides at a time, and may be lost at any time.
type Views struct{ groups map[string]*view }

// NewViews returns views of nothing.
func NewViews() *Views { return &Views{groups: map[string]*view{}} }

// view is of one group.
type view struct {
	described []cloud.Machine // never changed
	cluster   *drain.Cluster
	layout    uint64
	all       []machine // in the order of the description, and of pointers to them
	machines  []*machine
	at        map[string]int // by the machine's id
}

// of returns the machines of a group, with their nodes and nothing else.
func (v *Views) of(group string, described []cloud.Machine, cluster *drain.Cluster) *view {
	known := v.groups[group]
	if known == nil || known.cluster != cluster || len(known.described) != len(described) || len(described) > 0 && &known.described[0] != &described[0] {
		known = newView(described, cluster)
		v.groups[group] = known
	}
	fresh := known.layout == cluster.Layout()
	known.layout = cluster.Layout()
	for i := range known.all {
		m := &known.all[i]
		n := m.node
		if !fresh {
			n = nodeOf(m.Machine, cluster)
		}
		*m = machine{Machine: m.Machine, node: n}
	}
	return known
}

func newView(described []cloud.Machine, cluster *drain.Cluster) *view {
	v := &view{described: described, cluster: cluster, all: make([]machine, len(described)), machines: make([]*machine, len(described)), at: make(map[string]int, len(described))}
	for i := range described {
		m := &v.all[i]
		m.Machine, v.machines[i], v.at[described[i].ID] = &described[i], m, i
		m.node = nodeOf(m.Machine, cluster)
	}
	v.layout = cluster.Layout()
	return v
}

// machine returns a machine by its id; nil if there is none.
func (v *view) machine(id string) *machine {
	if i, ok := v.at[id]; ok {
		return &v.all[i]
	}
	return nil
}

func nodeOf(m *cloud.Machine, cluster *drain.Cluster) *drain.Node {
	if m.ProviderID != "" {
		if n := cluster.NodeWith(m.ProviderID); n != nil {
			return n
		}
	} else if n := cluster.NodeOf(m.ID); n != nil {
		return n
	}
	if m.Node != "" {
		return cluster.Node(m.Node)
	}
	return nil
}
