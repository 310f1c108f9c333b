package world

import "errors"

func (s *State) caller() string { return "arn:aws:iam::" + s.Config.Account + ":user/windlass" }

// code is what a caller is told an error is.
func code(err error) string {
	if refused, ok := errors.AsType[*Error](err); ok {
		return refused.Code
	}
	return "InternalFailure"
}

type GetCallerIdentityInput struct{}

type GetCallerIdentityOutput struct{ Account, Arn, UserId string }

func (s *State) GetCallerIdentity(*GetCallerIdentityInput) (*GetCallerIdentityOutput, error) {
	return &GetCallerIdentityOutput{s.Config.Account, s.caller(), "AIDAWINDLASS"}, nil
}
