package cloud

import (
	"errors"
	"fmt"
)

// Errors that callers tell apart.
var (
	// ErrNotFound: the group, template or image does not exist.
	ErrNotFound = errors.New("not found")
	// ErrInvalid: the request cannot succeed, whatever is tried again.
	ErrInvalid = errors.New("invalid")
	// ErrThrottled: too many requests; they are tried again later.
	ErrThrottled = errors.New("throttled")
	// ErrCredentials: the credentials are missing, expired or not allowed to do it.
	ErrCredentials = errors.New("credentials")
	// ErrConflict: somebody else changed it, or is at it; what is the case has to be read again.
	ErrConflict = errors.New("conflict")
	// ErrUnsupported: the provider cannot do that at all.
	ErrUnsupported = errors.New("not supported by the provider")
)

// Explain is an error in words that say what somebody can do.
func Explain(err error) string {
	switch {
	case errors.Is(err, ErrNotFound):
		return fmt.Sprintf("%v: check the name, and where it is looked for", err)
	case errors.Is(err, ErrCredentials):
		return fmt.Sprintf("%v: renew the credentials, or allow what the guide of the provider, docs/guides/node-rotation-*.md, lists", err)
	case errors.Is(err, ErrThrottled):
		return fmt.Sprintf("%v: it is asked again later", err)
	default:
		return err.Error()
	}
}
