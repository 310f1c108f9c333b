package aws

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"

	"windlass.dev/internal/cloud"
)

// expiredCodes are what services say to credentials that were good before.
var expiredCodes = []string{"ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure"}

// deniedCodes are what services say to whom they do not let.
var deniedCodes = []string{
	"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized", "MissingAuthenticationToken", "MissingAuthenticationTokenException",
	"IncompleteSignature", "SignatureDoesNotMatch", "InvalidSignatureException", "OptInRequired", "Blocked",
}

// conflictCodes are what services say while something else goes on.
var conflictCodes = []string{"ScalingActivityInProgress", "ResourceInUse", "ResourceInUseException", "ResourceContention", "InstanceRefreshInProgress"}

// invalidCodes are those that are not seen from their beginning.
var invalidCodes = []string{"ValidationError", "ValidationException", "MissingParameter", "IdempotentParameterMismatch", "UnsupportedOperation", "Unsupported"}

// refusal is what a service answered, in words that stay the same when it is asked again:
// the SDK's own have the ID of the request.
type refusal struct {
	what, code, message string
	// kind is one of the port's errors; nil for none of them.
	kind error
}

func (r *refusal) Error() string {
	kind := ""
	if r.kind != nil {
		kind = r.kind.Error() + ": "
	}
	return fmt.Sprintf("%s: %s%s (%s)", r.what, kind, r.message, r.code)
}

func (r *refusal) Unwrap() error { return r.kind }

// codeOf is what the service calls an error; empty for one that is of no service.
func codeOf(err error) string {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.code
	}
	if refused, ok := errors.AsType[smithy.APIError](err); ok {
		return refused.ErrorCode()
	}
	return ""
}

func throttles(err error) bool {
	return retry.ThrottleErrorCode{Codes: retry.DefaultThrottleErrorCodes}.IsErrorThrottle(err) == awssdk.TrueTernary
}

func expired(err error) bool { return slices.Contains(expiredCodes, codeOf(err)) }

// kindOf is the port's error for a service's; nil for one that callers need not tell apart.
func kindOf(err error) error {
	code := codeOf(err)
	switch {
	case throttles(err):
		return cloud.ErrThrottled
	case errors.Is(err, cloud.ErrCredentials), slices.Contains(expiredCodes, code), slices.Contains(deniedCodes, code):
		return cloud.ErrCredentials
	case slices.Contains(conflictCodes, code):
		return cloud.ErrConflict
	case strings.Contains(code, "NotFound"):
		return cloud.ErrNotFound
	case slices.Contains(invalidCodes, code), strings.HasPrefix(code, "Invalid"), strings.HasPrefix(code, "Malformed"):
		return cloud.ErrInvalid
	default:
		return nil
	}
}

// explain makes an answer of a service a refusal, and leaves other errors as they are.
func explain(err error) error {
	refused, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return err
	}
	what := "AWS"
	if op, ok := errors.AsType[*smithy.OperationError](err); ok {
		what = op.Service() + " " + op.Operation()
	}
	return &refusal{what, refused.ErrorCode(), refused.ErrorMessage(), kindOf(err)}
}

// as gives an error another kind, which is that of what was asked and not of the part of it
// that failed.
func as(kind, err error, format string, arguments ...any) error {
	return fmt.Errorf("%s: %w: %s", fmt.Sprintf(format, arguments...), kind, err.Error())
}
