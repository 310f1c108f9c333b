package world

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"
)

// Config says what a world is like.
type Config struct {
	Region, Account string
	// Zones are the letters of the region's zones.
	Zones []string
	Times Times
}

// Times are how long things take.
type Times struct {
	// Pending is from a launch to running, Boot from a launch to the node, and Shutdown
	// from a termination to terminated.
	Pending, Boot, Shutdown time.Duration
	// Forget is how long terminated instances are still described.
	Forget time.Duration
	// Evaluate is how long a group takes to see that something is to be done, and Step
	// how long it takes between two lifecycle states.
	Evaluate, Step time.Duration
	// Retry is how long a group waits after a failed launch.
	Retry time.Duration
	// CordonWait is from the cordon of a node to its termination in a managed node
	// group's update, at least, and DrainLimit how long its pods may take to leave.
	CordonWait, DrainLimit time.Duration
}

// Life is about how long things take in life.
func Life() Times {
	return Times{
		Pending: 8 * time.Second, Boot: 60 * time.Second, Shutdown: 20 * time.Second, Forget: time.Hour,
		Evaluate: 2 * time.Second, Step: time.Second, Retry: 30 * time.Second,
		CordonWait: time.Minute, DrainLimit: 15 * time.Minute,
	}
}

// State is all that a world is. Its fields are exported because a lagging reader gets a
// deep copy, which sees no others.
type State struct {
	Config    Config
	Now       time.Time
	Count     uint64
	Images    map[string]*Image
	Templates map[string]*Template
	// Versions are by the ID of their template and by their number.
	Versions     map[string]map[int]*TemplateVersion
	Instances    map[string]*Instance
	Groups       map[string]*Group
	Volumes      map[string]*Volume
	Activities   []*Activity
	TargetGroups map[string]*TargetGroup
	Parameters   map[string]*Parameter
	Clusters     map[string]*Cluster
	Nodegroups   map[string]*Nodegroup
	// Room is how many more instances a pool can have; one that is not there has no
	// limit.
	Room    map[Pool]int
	Effects []Effect
	Notices []Notice
}

// Pool is where capacity comes from.
type Pool struct {
	Zone, InstanceType string
	Spot               bool
}

func newState(c Config, now time.Time) *State {
	return &State{
		Config: c, Now: now,
		Images: map[string]*Image{}, Templates: map[string]*Template{}, Versions: map[string]map[int]*TemplateVersion{}, Instances: map[string]*Instance{}, Groups: map[string]*Group{}, Volumes: map[string]*Volume{},
		TargetGroups: map[string]*TargetGroup{}, Parameters: map[string]*Parameter{}, Clusters: map[string]*Cluster{}, Nodegroups: map[string]*Nodegroup{},
		Room: map[Pool]int{},
	}
}

// Advance does in order what is due until now.
func (s *State) Advance(now time.Time) {
	for {
		due, ok := s.Next()
		if !ok || due.After(now) {
			break
		}
		s.Now = latest(s.Now, due)
		s.step()
	}
	s.Now = latest(s.Now, now)
}

// Next returns when something changes by itself next.
func (s *State) Next() (due time.Time, ok bool) {
	consider := func(t time.Time) {
		if !t.IsZero() && (!ok || t.Before(due)) {
			due, ok = t, true
		}
	}
	for _, i := range s.Instances {
		consider(i.due())
	}
	for _, g := range s.Groups {
		consider(g.Due)
	}
	for _, n := range s.Nodegroups {
		consider(n.Due)
	}
	for _, t := range s.TargetGroups {
		consider(t.due())
	}
	return due, ok
}

// step does what is due. Machines come before the groups that look at them.
func (s *State) step() {
	for _, id := range sorted(s.TargetGroups) {
		s.stepTargets(s.TargetGroups[id])
	}
	for _, id := range sorted(s.Instances) {
		s.stepInstance(s.Instances[id])
	}
	for _, name := range sorted(s.Groups) {
		if g := s.Groups[name]; s.isDue(g.Due) {
			g.Due = time.Time{}
			s.reconcile(g)
		}
	}
	for _, key := range sorted(s.Nodegroups) {
		if n := s.Nodegroups[key]; s.isDue(n.Due) {
			n.Due = time.Time{}
			s.stepNodegroup(n)
		}
	}
}

func (s *State) isDue(t time.Time) bool { return !t.IsZero() && !t.After(s.Now) }

// identify returns a name that no other thing has.
func (s *State) identify(prefix string) string {
	s.Count++
	// Two rounds of a permutation, so that the order of names says nothing.
	x := s.Count * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return fmt.Sprintf("%s0%016x", prefix, x^x>>31)
}

func (s *State) arn(service, resource string) string {
	return fmt.Sprintf("arn:aws:%s:%s:%s:%s", service, s.Config.Region, s.Config.Account, resource)
}

func (s *State) zones() []string {
	var all []string
	for _, letter := range s.Config.Zones {
		all = append(all, s.Config.Region+letter)
	}
	return all
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// earliest of the times that are set.
func earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if first.IsZero() || !t.IsZero() && t.Before(first) {
			first = t
		}
	}
	return first
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// clone is deep.
func (s *State) clone() *State { return deepCopy(reflect.ValueOf(s)).Interface().(*State) }

func deepCopy(v reflect.Value) reflect.Value {
	made := reflect.New(v.Type()).Elem()
	made.Set(v)
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			made.Set(reflect.New(v.Type().Elem()))
			made.Elem().Set(deepCopy(v.Elem()))
		}
	case reflect.Map:
		if !v.IsNil() {
			made.Set(reflect.MakeMapWithSize(v.Type(), v.Len()))
			for key, value := range v.Seq2() {
				made.SetMapIndex(key, deepCopy(value))
			}
		}
	case reflect.Slice:
		if !v.IsNil() {
			made.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
			for i := range v.Len() {
				made.Index(i).Set(deepCopy(v.Index(i)))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if made.Field(i).CanSet() { // time.Time has only fields that cannot be set.
				made.Field(i).Set(deepCopy(v.Field(i)))
			}
		}
	default:
	}
	return made
}
