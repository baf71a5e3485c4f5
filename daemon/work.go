package daemon

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"
)

// task is one try of one file.
type task struct {
	rec   Record
	out   string // where the output should go
	top   string // the folder below which missing folders may be made
	force bool   // an existing output may be replaced whosever it is, and nothing is made of what is there

	settings string // what it is worked on with, see Deps.Settings
	profile  string
}

// try gives the file what is there for the same content, or claims the output and runs the processor on a queued file, which is
// running afterwards; how it ended is for the caller to note. The error is an
// *errUnread if the input is not the one that was queued.
func (l *Ledger) try(ctx context.Context, p Processor, t task) (Result, error) {
	if err := unchanged(t.rec); err != nil {
		return Result{}, err
	}
	if err := identify(ctx, &t.rec, t.settings); err != nil {
		return Result{}, err
	}
	if err := l.start(ctx, t.rec); err != nil {
		return Result{}, Transient(err)
	}
	if !t.force {
		if res, ok, err := l.tryTwin(ctx, t); ok || err != nil {
			return res, err
		}
	}
	if err := makeDirs(t.top, filepath.Dir(t.out)); err != nil {
		return Result{}, err
	}
	overwrite, err := l.claim(ctx, t.rec.ID, t.out, t.force)
	if err != nil {
		return Result{}, err
	}
	res, err := call(ctx, p, Job{
		ID: t.rec.ID, In: t.rec.Path, Out: t.out, Profile: t.profile, Overwrite: overwrite,
		Claim: func(ctx context.Context, out string) (bool, error) {
			return l.claim(ctx, t.rec.ID, out, t.force)
		},
	})
	if ctx.Err() != nil {
		return res, err
	}
	changed := unchanged(t.rec)
	switch {
	case changed == nil:
	case err != nil: // an input that was replaced or vanished meanwhile explains any error
		return Result{}, changed
	default: // the output may be of another content than that which was read before
		err = l.describe(ctx, &t.rec, "", t.settings)
	}
	return res, err
}

// tryTwin looks for the output of the same content, and provides it.
func (l *Ledger) tryTwin(ctx context.Context, t task) (Result, bool, error) {
	found, err := l.twin(ctx, t.rec, t.out)
	if err != nil || found == nil {
		return Result{}, false, Transient(err)
	}
	res, err := l.provide(ctx, &t.rec, found, t.top)
	if errors.Is(err, errNoTwin) {
		return Result{}, false, nil
	}
	return res, err == nil, err
}

// unchanged checks that the input is the version that was queued. What a mount
// that has gone or an unreadable folder hides is not there either.
func unchanged(rec Record) error {
	info, err := os.Lstat(rec.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &errUnread{"the file is not there any more"}
	case err != nil:
		return Transient(err)
	case !info.Mode().IsRegular() || versionOf(info) != rec.Version:
		return &errUnread{"the file has changed since it was queued"}
	}
	return nil
}

// ProcessOptions are for [Ledger.Process].
type ProcessOptions struct {
	Force    bool   // the file is done in any case, and an output that is not ours is replaced
	Redo     bool   // a file that was done with other settings is done again
	Settings string // what it is worked on with, see Deps.Settings
}

// Process works on one file now, without a queue: it notes the file, claims
// the output and calls the processor. A file whose present version is done is
// not done again while its output is there, and where another file has the same
// content its output is copied; skipped tells of both.
//
// The output's folder is made if it is missing. The error is the file's, and
// its reason is also in the record; where the ledger itself fails, or ctx
// ends, the file stays queued.
func (l *Ledger) Process(ctx context.Context, p Processor, in, out string, o ProcessOptions) (rec Record, skipped bool, err error) {
	if in, err = resolve(in); err != nil {
		return Record{}, false, err
	}
	if out, err = outputPath(out); err != nil {
		return Record{}, false, err
	}
	rec, skipped, err = l.take(ctx, in, o)
	if err != nil || skipped {
		return rec, skipped, err
	}
	res, err := l.try(ctx, p, task{rec: rec, out: out, top: filepath.Dir(out), force: o.Force, settings: o.Settings})
	_, err = l.end(ctx, rec.ID, res, err, false, nil)
	fresh, _, lookErr := l.byID(context.WithoutCancel(ctx), rec.ID)
	if lookErr != nil {
		return rec, false, errors.Join(err, lookErr)
	}
	return fresh, err == nil && res.sameAs != "", err
}

// outputPath makes the folder of an output and resolves its links.
func outputPath(out string) (string, error) {
	abs, err := filepath.Abs(out)
	if err != nil {
		return "", err
	}
	dir, err := resolve(filepath.Dir(abs))
	if err == nil {
		err = os.MkdirAll(dir, 0o777)
	}
	return filepath.Join(dir, filepath.Base(abs)), err
}

// take notes a file as queued unless its present version is done.
func (l *Ledger) take(ctx context.Context, in string, o ProcessOptions) (rec Record, skipped bool, err error) {
	info, err := os.Lstat(in)
	if err != nil {
		return Record{}, false, err
	}
	if !info.Mode().IsRegular() {
		return Record{}, false, fmt.Errorf("%s is no regular file", in)
	}
	err = l.inTx(ctx, func(tx *sql.Tx) error {
		var known bool
		if rec, known, err = l.lookup(ctx, tx, in); err != nil {
			return err
		}
		if !known {
			if rec.ID, err = insert(ctx, tx, in, versionOf(info)); err != nil {
				return err
			}
		} else {
			stale := o.Redo && rec.DoneSettings != o.Settings
			if skipped = !o.Force && !stale && rec.finished(versionOf(info)); skipped {
				return nil
			}
			if stale {
				if err := unmake(ctx, tx, rec.ID); err != nil {
					return err
				}
			}
			if err := renew(ctx, tx, rec.ID, versionOf(info)); err != nil {
				return err
			}
		}
		rec, _, err = l.lookup(ctx, tx, in)
		return err
	})
	return rec, skipped, err
}

// finished tells whether this version is done and its output, if it has one,
// still lies there.
func (r Record) finished(v Version) bool {
	if r.State != Done || r.Version != v {
		return false
	}
	if r.Out == "" {
		return true
	}
	_, err := os.Lstat(r.Out)
	return err == nil
}

// endTimeout bounds the writing of an end into the ledger.
const endTimeout = 15 * time.Second

// end notes how a try ended and returns the new state: Done; Queued where the
// stop of ctx ended it, or where the cause may pass and it is to be tried
// again; else Failed. The error is the try's, with the ledger's own. also is
// done's. It works after ctx has ended.
func (l *Ledger) end(ctx context.Context, id int64, res Result, err error, again bool, also func(*sql.Tx) error) (State, error) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if err == nil {
		if err = l.done(late, id, res, also); err == nil {
			return Done, nil
		}
	}
	var unread *errUnread
	switch {
	case errors.As(err, &unread):
		return Failed, errors.Join(err, l.drop(late, id, err.Error()))
	case errors.Is(context.Cause(ctx), errCancelled):
		return Failed, errors.Join(errCancelled, l.fail(late, id, errCancelled.Error()))
	case errors.Is(ctx.Err(), context.Canceled):
		return Queued, errors.Join(err, context.Canceled, l.requeue(late, id, "", false))
	case again && IsTransient(err):
		return Queued, errors.Join(err, l.requeue(late, id, err.Error(), true))
	}
	return Failed, errors.Join(err, l.fail(late, id, err.Error()))
}

// panicError is a panic of the processor.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("internal error: %v", e.value) }

func stack() []byte { return debug.Stack() }
