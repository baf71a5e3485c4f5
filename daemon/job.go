package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
)

// Processor restores one photo: it reads job.In and writes the result, whole
// or not at all, by rename. It is called from several goroutines at a time and
// must return soon after ctx is done. An error is final for this version of
// the file unless [IsTransient] holds for it.
type Processor interface {
	Process(ctx context.Context, job Job) (Result, error)
}

// Job is the work on one file.
type Job struct {
	ID  int64  // of the file in the ledger; the same for later versions of it
	In  string // absolute path of the original; never written
	Out string // absolute path of the output; its folder exists

	Profile string // of the watched folder, "" = none

	// Overwrite tells that what lies at Out, if anything does, was written
	// for an earlier version of this file (or by an interrupted try) and may
	// be replaced. Where it is false nothing lay there, and an output that
	// turns up meanwhile must not be replaced.
	Overwrite bool

	// Claim must be asked before a path other than Out is written (another
	// extension, say), and tells Overwrite for that path. Its error is to be
	// returned as it is.
	Claim func(ctx context.Context, out string) (overwrite bool, err error)
}

// Result is the end of a job that went well.
type Result struct {
	Out    string          // path that was written; "" = on purpose nothing was
	Report json.RawMessage // kept in the ledger; nil or one JSON value
	Tally  Tally           // for the metrics

	sameAs string // the file with the same content whose output this is
}

// Tally is what the metrics count of a file that is done. Its words become
// labels, of which there must be few.
type Tally struct {
	Result  string             // restored, copied or skipped
	Faces   map[string]int     // by what was decided about them
	Seconds map[string]float64 // by the stage that took them
}

// TransientError marks an error whose cause may pass: the file is tried again
// later.
type TransientError struct{ Err error }

func (e *TransientError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *TransientError) Unwrap() error { return e.Err }

// Transient marks err as worth another try. It returns nil for nil.
func Transient(err error) error {
	if err == nil {
		return nil
	}
	return &TransientError{err}
}

// transient are the system's errors that come from the state of the machine
// and not from the file.
var transient = []error{
	syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, // no room, or no writing now
	syscall.EIO, syscall.ESTALE, syscall.ENOTCONN, syscall.EHOSTDOWN, syscall.ETIMEDOUT, // disk or share
	syscall.EACCES, syscall.EPERM, // permissions, which somebody can mend without touching the file
	syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.EBUSY, // this machine is full
}

// IsTransient tells whether the work may succeed later on the same file: err
// is marked by [Transient], or is one of the system's errors that pass (disk
// full, share gone, permission, memory).
func IsTransient(err error) bool {
	var t *TransientError
	if errors.As(err, &t) {
		return true
	}
	for _, e := range transient {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// ErrForeign is the reason why a path could not be claimed: something lies
// there that this ledger did not write, or another file's output does.
var ErrForeign = errors.New("will not overwrite")

// errUnread is an input that is not there, or not any more the one that was
// queued. Nothing was done; the next scan decides.
type errUnread struct{ reason string }

func (e *errUnread) Error() string { return e.reason }

// call runs the processor; a panic becomes an error.
func call(ctx context.Context, p Processor, job Job) (res Result, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, stack()}
		}
	}()
	res, err = p.Process(ctx, job)
	if err == nil && len(res.Report) > 0 && !json.Valid(res.Report) {
		return res, fmt.Errorf("the report on %s is not JSON", job.In)
	}
	return res, err
}
