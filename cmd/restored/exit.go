package main

import (
	"context"
	"errors"
	"fmt"
)

// Exit codes, as `restored --help` says them.
const (
	exitOK          = 0   // everything was done
	exitFailed      = 1   // at least one file failed; the others were done
	exitUsage       = 2   // wrong arguments or configuration; nothing was done
	exitSetup       = 3   // a library, a model or an execution provider is missing
	exitInterrupted = 130 // stopped by a signal; what was finished is whole
)

const exitHelp = `Exit codes:
  0    everything was done
  1    at least one file failed; the others were done
  2    wrong arguments or configuration; nothing was done
  3    a library, a model or an execution provider is missing
  130  stopped by a signal; what was finished is whole`

// A codedError decides the exit code of the command that returns it.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

func usageErr(format string, args ...any) error {
	return &codedError{exitUsage, fmt.Errorf(format, args...)}
}

func setupErr(err error) error { return &codedError{exitSetup, err} }

// exitCode maps what a command returned to the code that the process ends with.
func exitCode(err error) int {
	var coded *codedError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitFailed
}
