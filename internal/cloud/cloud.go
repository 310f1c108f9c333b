// Package cloud is the port to whoever keeps groups of machines: Amazon EC2 Auto
// Scaling, EKS, Cluster API, Karpenter, or a simulation. It has the types that a
// decision looks at and the calls that carry one out; it decides nothing itself.
//
// Every call says what is to be, never what is to change: a size is absolute, and
// ending a machine that has gone is no error. So each may be repeated after a crash.
package cloud

import (
	"context"
	"slices"
	"strings"
	"time"

	"windlass.dev/api/nodes/v1alpha1"
)

// Provider keeps groups of machines of one kind.
type Provider interface {
	// Capabilities say what the provider can do.
	Capabilities() Capabilities
	// Describe reads a group and its machines. A group that does not exist is ErrNotFound.
	Describe(ctx context.Context, ref v1alpha1.Provider) (Group, error)
	// Prepare guards a group against others for the time of a run, and makes target what
	// new machines are made from; an empty target leaves that as it is. It suspends the
	// processes in guard.Suspend, and marks the group with guard. It is repeated until
	// Describe shows its effects. A group that another run has marked is ErrConflict.
	Prepare(ctx context.Context, ref v1alpha1.Provider, guard Guard, target Target) error
	// Resize makes the group want size machines, raising its upper limit where size is
	// above it. It ends none: a lower size than the group has machines, which somebody may
	// have added a moment ago, is ErrConflict.
	Resize(ctx context.Context, ref v1alpha1.Provider, size int32) error
	// Protect keeps the provider from ending machines by itself. Those that are not Running
	// yet may be left for another time: Describe shows which are protected.
	Protect(ctx context.Context, ref v1alpha1.Provider, machines []string) error
	// Deregister takes a machine out of its load balancers, and says whether they have let go.
	Deregister(ctx context.Context, ref v1alpha1.Provider, machine string) (done bool, err error)
	// End ends one machine; the group wants size machines from then on, which either is
	// its size now, so that another is made, or one less. If it is neither, somebody else
	// has changed it: that is ErrConflict, and nothing is ended.
	End(ctx context.Context, ref v1alpha1.Provider, machine string, size int32) error
	// Restore gives a group back: it resumes what guard suspended, sets the limits to
	// settings, removes the protection that Protect gave, and the mark, and, if former is not
	// empty, makes that what new machines are made from. It ends no machine, as Resize does
	// not. A group that another run has marked was given back before, and stays as it is.
	Restore(ctx context.Context, ref v1alpha1.Provider, guard Guard, settings Settings, former Target) error
}

// Providers returns who keeps a group. A provider that this process does not know is
// ErrUnsupported.
type Providers func(ref v1alpha1.Provider) (Provider, error)

// Images finds machine images.
type Images interface {
	// Find returns the image that the source names now.
	Find(ctx context.Context, source v1alpha1.ImageSource) (v1alpha1.Image, error)
}

// Capabilities are what a provider can do, beside ending machines one by one.
type Capabilities struct {
	// Surge: the group can be larger than its size for a while.
	Surge bool
	// ApplyImages: Prepare can make new machines run given images.
	ApplyImages bool
	// TemplateVersions: Prepare can make new machines from a given template version.
	TemplateVersions bool
	// RollBack: Restore can bring a former template back.
	RollBack bool
	// Deregister: load balancers can be told, and asked.
	Deregister bool
	// ControlPlane: groups can hold control planes.
	ControlPlane bool
}

// Group is a group as its provider describes it.
type Group struct {
	// ID is unique among all groups of all providers.
	ID string
	// Size is how many machines the group wants now, and Min and Max are its own limits.
	Size, Min, Max int32
	// Revision is what new machines are made from, resolved to image ids.
	Revision Revision
	// Suspended are the processes that are suspended, by whomever.
	Suspended []string
	// Suspendable are those that a run has to suspend.
	Suspendable []string
	// Run is the mark of the run that has prepared the group, if any.
	Run string
	// Guard is all that the mark says, so that the group can be given back by Restore even
	// if the record of the run is lost; nil without a mark.
	Guard *Guard
	// Zones are those among which the provider keeps the machines even, by ending some where
	// another zone has two fewer, when nothing is suspended that a run suspends; nil if it
	// does not.
	Zones []string
	// Machines, sorted by their id.
	Machines []Machine
	// Problems are what keeps the group from its size, such as a lack of capacity in a zone,
	// as sentences.
	Problems []Problem
}

// Problem is something that went wrong at the provider's.
type Problem struct {
	// Reason is one of the Reason constants of this package.
	Reason string
	// Zone it is about, if it is about one.
	Zone    string
	Message string
	At      time.Time
}

// Reasons of problems.
const (
	ReasonCapacity    = "InsufficientCapacity"
	ReasonQuota       = "QuotaExceeded"
	ReasonTemplate    = "InvalidTemplate"
	ReasonThrottled   = "Throttled"
	ReasonCredentials = "CredentialsInvalid"
	ReasonOther       = "ProviderProblem"
)

// Revision is what machines are made from.
type Revision struct {
	// Template is the provider's reference, with its version resolved to a number, such as
	// lt-0123:7; several, as of types that have their own, are joined by commas.
	Template string
	// Images are the ids of the images that machines of the group may run, sorted.
	Images []string
}

// Made reports whether a machine of this template is of the revision.
func (r Revision) Made(template string) bool {
	return template != "" && slices.Contains(strings.Split(r.Template, ","), template)
}

// Target is what new machines should be made from. At most one field is set.
type Target struct {
	// Images, one for each architecture: each template of the group gets that of its own.
	Images []string
	// TemplateVersion is a version of the group's own template.
	TemplateVersion string
	// Template is a reference as Revision has it, to go back to.
	Template string
}

// Machine is one machine of a group.
type Machine struct {
	// ID is the provider's, such as i-0123.
	ID string
	// ProviderID is what its Node has as spec.providerID; empty where that is not known yet.
	ProviderID string
	// Node is the name of its Node, where the provider knows it.
	Node string
	Zone string
	// State is where the machine is in its life.
	State State
	// Template and Image are what it was made from.
	Template, Image string
	Architecture    string
	Spot            bool
	Protected       bool
	// Registered says that load balancers were not seen yet to have let it go. It is set by
	// whoever called Deregister, not by the provider.
	Registered bool
	LaunchedAt time.Time
	// Interrupted says that the provider is going to end it by itself.
	Interrupted bool
}

// State is where a machine is in its life.
type State string

const (
	// Launching: it is being made.
	Launching State = "Launching"
	// Running: it is up.
	Running State = "Running"
	// Ending: it is being ended.
	Ending State = "Ending"
)

// Guard is what a run does to a group so that nobody else changes it meanwhile.
type Guard struct {
	// Run is the name of the run.
	Run string
	// Suspend are processes to suspend, and to resume at the end: those of Suspendable that
	// were not suspended before.
	Suspend []string
	// Settings are what the group had before, and what Restore is to be given. They are
	// noted on the group for the case that the record of the run is lost.
	Settings Settings
}

// Settings are what a group gets back.
type Settings struct {
	// Size and Max; a size of the group that is smaller stays as it is. Settings without a
	// Max are none, and leave both as they are.
	Size, Max int32
}
