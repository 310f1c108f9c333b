package clusterapi

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/internal/cloud"
)

// explain says what was tried, and gives an error of an API server the port's kind; nil
// stays nil.
func explain(what string, err error) error {
	if err == nil {
		return nil
	}
	if kind := kindOf(err); kind != nil {
		return fmt.Errorf("%s: %w: %w", what, kind, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// kindOf is the port's error; nil for one that callers need not tell apart.
func kindOf(err error) error {
	switch {
	case meta.IsNoMatchError(err), apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) && apierrors.IsNotFound(err):
		return cloud.ErrUnsupported // The kind is gone, which is not the object.
	case apierrors.IsNotFound(err):
		return cloud.ErrNotFound
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return cloud.ErrConflict
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return cloud.ErrCredentials
	case apierrors.IsTooManyRequests(err):
		return cloud.ErrThrottled
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return cloud.ErrInvalid
	default:
		return nil
	}
}
