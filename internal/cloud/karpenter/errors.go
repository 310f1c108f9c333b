package karpenter

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	"windlass.dev/internal/cloud"
)

// explain says what was tried, and gives an error of the API server the port's kind; nil
// stays nil.
func explain(what string, err error) error {
	if err == nil {
		return nil
	}
	if meta.IsNoMatchError(err) {
		return fmt.Errorf("%s: Karpenter is not installed in this cluster, or one older than its v1: %w: %w", what, cloud.ErrUnsupported, err)
	}
	if kind := kindOf(err); kind != nil {
		return fmt.Errorf("%s: %w: %w", what, kind, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// kindOf is the port's error; nil for one that callers need not tell apart. Credentials are
// not among them: what is said of those is about a cloud's.
func kindOf(err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return cloud.ErrNotFound
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return cloud.ErrConflict
	case apierrors.IsTooManyRequests(err):
		return cloud.ErrThrottled
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return cloud.ErrInvalid
	default:
		return nil
	}
}
