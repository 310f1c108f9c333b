package cloud

import "fmt"

// Holds says whether a run may have a group that is marked with holder; empty for nobody.
// Another run's is ErrConflict, and a run without a name ErrInvalid.
func Holds(group, holder, run string) error {
	switch {
	case run == "":
		return fmt.Errorf("a guard needs a run: %w", ErrInvalid)
	case holder != "" && holder != run:
		return fmt.Errorf("group %s is held by the run %s: %w", group, holder, ErrConflict)
	default:
		return nil
	}
}

// Ends says whether a machine may be ended so that a group wants size machines from then on,
// which now wants so many: if not, somebody else has changed it, which is ErrConflict.
func Ends(group string, now, size int32) error {
	if now == size || now == size+1 {
		return nil
	}
	return fmt.Errorf("group %s wants %d machines, not %d or %d: somebody else has changed it: %w", group, now, size, size+1, ErrConflict)
}

// Shrinks is ErrConflict if a group of so many live machines would have to end some, and
// choose which, to be of a size that is lower than the one it has now.
func Shrinks(group string, now, size int32, live int) error {
	if size >= now || int(size) >= live {
		return nil
	}
	return fmt.Errorf("group %s has %d machines, and would end some of its own choice to have %d: %w", group, live, size, ErrConflict)
}
