package confine

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"syscall"
)

// maxText bounds the text of an error and the stack of a panic, in bytes.
const maxText = 32 << 10

// A failure is an error as it travels: its text and what errors.Is finds in it.
type failure struct {
	Text  string   `json:"text"`
	Errno []int    `json:"errno,omitempty"` // the system's error numbers in it
	Known []string `json:"known,omitempty"` // names of known errors in it
	Ask   uint64   `json:"ask,omitempty"`   // the question whose failed answer is in it
	Stack string   `json:"stack,omitempty"` // of a panic
}

// Known are errors that both sides know by a name.
type Known map[string]error

// common are known always.
var common = Known{
	"canceled":   context.Canceled,
	"deadline":   context.DeadlineExceeded,
	"exists":     fs.ErrExist,
	"missing":    fs.ErrNotExist,
	"permission": fs.ErrPermission,
}

func (k Known) all() Known {
	out := maps.Clone(common)
	maps.Copy(out, k)
	return out
}

// failureOf takes an error apart in the child.
func failureOf(err error, known Known) *failure {
	f := &failure{Text: shorten(err.Error())}
	collect(err, f)
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if errors.Is(err, known[name]) {
			f.Known = append(f.Known, name)
		}
	}
	var p *panicError
	if errors.As(err, &p) {
		f.Stack = shorten(string(p.stack))
	}
	return f
}

// collect goes through the whole tree of an error.
func collect(err error, f *failure) {
	var node any = err // errors.As would stop at the first
	switch e := node.(type) {
	case syscall.Errno:
		if !slices.Contains(f.Errno, int(e)) {
			f.Errno = append(f.Errno, int(e))
		}
	case *answerError:
		f.Ask = e.ask
		collect(e.err, f)
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			collect(inner, f)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			collect(inner, f)
		}
	}
}

// error puts the failure together again in the parent. answers are the errors
// that questions of the same call were answered with.
func (f *failure) error(known Known, answers map[uint64]error) error {
	e := &remoteError{text: f.Text}
	for _, n := range f.Errno {
		e.causes = append(e.causes, syscall.Errno(n))
	}
	for _, name := range f.Known {
		if err, ok := known[name]; ok {
			e.causes = append(e.causes, err)
		}
	}
	if err, ok := answers[f.Ask]; ok {
		e.causes = append(e.causes, err)
	}
	return e
}

// remoteError is an error of a child: the text that it had there, and what it
// was made of as far as that travels.
type remoteError struct {
	text   string
	causes []error
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.causes }

// answerError is, in the child, the error that the parent answered with.
type answerError struct {
	ask uint64
	err error // what the failure says
}

func (e *answerError) Error() string { return e.err.Error() }
func (e *answerError) Unwrap() error { return e.err }

// unfitError is what Unfit marks.
type unfitError struct{ err error }

func (e *unfitError) Error() string { return e.err.Error() }
func (e *unfitError) Unwrap() error { return e.err }

// Unfit marks the error of a call after which the child should not be used
// again: a GPU that was lost, say. It returns nil for nil.
func Unfit(err error) error {
	if err == nil {
		return nil
	}
	return &unfitError{err}
}

func shorten(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "…"
	}
	return s
}
