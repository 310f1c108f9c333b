package world

import "fmt"

// Error is what a caller is told, with a code of the service's own.
type Error struct{ Code, Message string }

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func refuse(code, format string, arguments ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, arguments...)}
}

// invalid is Auto Scaling's code for most of what it refuses.
func invalid(format string, arguments ...any) *Error {
	return refuse("ValidationError", format, arguments...)
}

// Empty is the answer that says nothing but that it is done.
type Empty struct{}
