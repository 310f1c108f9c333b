package virtual

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"windlass.dev/api/nodes/v1alpha1"
)

// Standard is the workload of the benchmarks: n nodes with 30 pods each, of workloads with
// ten replicas on as many nodes, one of which may be unavailable, and 15 % of room besides.
// The nodes are made from version 1 of a template of which there is a version 2.
func Standard(n int) *World {
	w := New(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	g := w.AddGroup(Group{Name: "apps", Size: int32(n), Max: int32(n), CPU: 3529}, v1alpha1.Worker)
	nodes := w.Names()
	replicas := min(10, n)
	for i := range n * 30 / replicas {
		name := fmt.Sprintf("app-%05d", i)
		w.AddSet(Set{Namespace: name, Name: name, CPU: 100, Unavailable: 1, Available: -1})
		for j := range replicas {
			w.Place(name, nodes[(i*replicas+j)%n])
		}
	}
	w.Settle()
	g.Version = 2
	return w
}

// Uneven is Standard with nodes that run from 50 to 140 % as many pods, and machines that
// take from 60 to 180 s to boot.
func Uneven(n int) *World {
	w := New(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	w.Boot, w.BootSpread = time.Minute, 2*time.Minute
	g := w.AddGroup(Group{Name: "apps", Size: int32(n), Max: int32(n), CPU: 4941}, v1alpha1.Worker)
	type place struct {
		node string
		left int
	}
	var places []place
	left := 0
	for i, name := range w.Names() {
		places = append(places, place{name, 15 + 27*i/max(n-1, 1)})
		left += places[i].left
	}
	replicas := min(10, n)
	for i := 0; left >= replicas; i++ {
		name := fmt.Sprintf("app-%05d", i)
		w.AddSet(Set{Namespace: name, Name: name, CPU: 100, Unavailable: 1, Available: -1})
		slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(b.left, a.left) })
		for j := range replicas {
			w.Place(name, places[j].node)
			places[j].left--
		}
		left -= replicas
	}
	w.Settle()
	g.Version = 2
	return w
}
