package daemon

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"restored/config"
)

// This file moves and deletes originals, where a watched folder asks for it.
//
// The end of the work marks the file in the same transaction (originalDue).
// Later, one goroutine goes through the marked files. Each time it looks at
// everything anew: the original is the version and the content that was read,
// nobody has it open for writing, the output is as it was written and decodes.
// Then it notes what it is about to do (originalMoving, originalDeleting), does
// it, and notes the end. A process that ends between any two of these steps
// leaves a state from which the next one goes on; what is in doubt stays where
// it is (originalKept), with the reason in the ledger.

// What becomes of an original, in the ledger's column of that name.
const (
	originalDue      = "due"      // to be moved or deleted
	originalMoving   = "moving"   // nothing lay at original_to; what lies there is ours, if its content is the original's
	originalDeleting = "deleting" // all was looked at, and it is about to go
	originalMoved    = "moved"
	originalDeleted  = "deleted"
	originalKept     = "kept" // in doubt
)

const (
	// originalsEvery is how often marked files are looked for.
	originalsEvery = time.Second
	// originalsPage is the number of marked files that are read at a time.
	originalsPage = 64
	// maxTold bounds the reasons that are remembered so as not to be told again.
	maxTold = 1000
)

// originals moves and deletes. All its state belongs to the goroutine of run.
type originals struct {
	ledger  *Ledger
	roots   []root
	verify  func(ctx context.Context, out string) error // the output decodes
	rest    time.Duration                               // after a pass in which something had to wait
	log     *slog.Logger
	writers *writers
	rename  func(from, to string) error // renameNew; tests set what is between filesystems
	between func(step string)           // nil, or tests end the process here
	told    map[int64]string            // why a file waits
}

// marked is a file whose original is to be moved or deleted.
type marked struct {
	Record
	original string
	to       string // where it is moved to, once that is noted
	outSize  sql.NullInt64
	outMtime sql.NullInt64
	root     root
}

// waitError is a reason to leave the original where it is for now, keepError
// one to leave it for good.
type waitError struct{ reason string }

func (e *waitError) Error() string { return e.reason }

type keepError struct{ reason string }

func (e *keepError) Error() string { return e.reason }

// CheckOriginals refuses a configuration that deletes originals, unless asked is
// set: that has to be asked for twice.
func CheckOriginals(cfg *config.Config, asked bool) error {
	for i, w := range cfg.Watch {
		if w.Originals == "delete" && !asked {
			return fmt.Errorf("watch[%d].originals: delete has to be asked for twice: give --delete-originals, too", i)
		}
	}
	return nil
}

// mark marks the original of a file that is done, if its folder asks for it
// and there is an output. It is called in the transaction of that note.
func mark(ctx context.Context, tx *sql.Tx, roots []root, rec Record) error {
	r, ok := rootOf(roots, rec.Path)
	if !ok || r.originals == "keep" {
		return nil
	}
	_, err := tx.ExecContext(ctx, "UPDATE files SET original = ? WHERE id = ? AND state = 'done' AND out <> ''", originalDue, rec.ID)
	return err
}

// run handles the marked files until ctx is done.
func (o *originals) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next := originalsEvery
		if !o.pass(ctx) {
			next = max(next, o.rest)
		}
		timer.Reset(next)
	}
}

// pass handles all marked files once and tells whether none had to wait.
func (o *originals) pass(ctx context.Context) (good bool) {
	good = true
	for last := int64(0); ctx.Err() == nil; {
		page, err := o.ledger.marked(ctx, last)
		if err != nil {
			o.log.ErrorContext(ctx, "ledger not readable", "stage", "originals", "error", err)
			return false
		}
		if len(page) == 0 {
			break
		}
		last = page[len(page)-1].ID
		var paths []string
		for _, m := range page {
			if _, err := os.Lstat(m.Path); err == nil {
				paths = append(paths, m.Path)
			}
		}
		var written map[string]bool
		if len(paths) > 0 {
			written = o.writers.of(paths)
		}
		for _, m := range page {
			err := o.handle(ctx, m, written[m.Path])
			if err != nil && ctx.Err() == nil {
				good = false
				o.tell(ctx, m, err)
			}
		}
	}
	return good
}

// tell logs why an original waits, once for each reason.
func (o *originals) tell(ctx context.Context, m marked, err error) {
	if o.told[m.ID] == err.Error() {
		return
	}
	if o.told == nil || len(o.told) >= maxTold {
		o.told = map[int64]string{}
	}
	o.told[m.ID] = err.Error()
	o.log.WarnContext(ctx, "original waits", "file", m.Path, "stage", "originals", "reason", err.Error())
}

// handle takes one original as far as it goes. What is in doubt is noted, and
// is no error; what has to wait is one.
func (o *originals) handle(ctx context.Context, m marked, written bool) error {
	var ok bool
	if m.root, ok = rootOf(o.roots, m.Path); !ok {
		return &waitError{"it lies in no watched folder any more"}
	}
	_, err := os.Lstat(m.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = o.gone(ctx, m)
	case err == nil && written:
		err = &waitError{"another process has it open for writing"}
	case err == nil:
		err = o.present(ctx, m)
	}
	var keep *keepError
	if errors.As(err, &keep) {
		o.log.WarnContext(ctx, "original stays where it is", "file", m.Path, "stage", "originals", "reason", keep.reason)
		return o.ledger.noteOriginal(ctx, m, originalKept, "", keep.reason)
	}
	return err
}

// gone handles an original that isn't there: a step of ours may be behind
// that, or anything else, which is not acted upon.
func (o *originals) gone(ctx context.Context, m marked) error {
	if err := isFolder(filepath.Dir(m.Path)); err != nil { // a mount that has gone
		return &waitError{err.Error()}
	}
	switch m.original {
	case originalDeleting:
		return o.end(ctx, m, originalDeleted)
	case originalMoving:
		ok, err := holds(ctx, m.to, m.DoneContent)
		if err != nil {
			return err
		}
		if ok {
			return o.end(ctx, m, originalMoved)
		}
	}
	return &waitError{"it is not there"}
}

// present handles an original that is there.
func (o *originals) present(ctx context.Context, m marked) error {
	if err := o.check(ctx, m); err != nil {
		return err
	}
	switch m.root.originals {
	case "move":
		return o.move(ctx, m)
	case "delete":
		return o.delete(ctx, m)
	}
	return &keepError{"the folder keeps its originals now"}
}

// check looks whether the original may go: it is what was read, and the output
// is there and good.
func (o *originals) check(ctx context.Context, m marked) error {
	if err := unchanged(m.Record); err != nil {
		return err
	}
	if m.DoneContent == "" {
		return &keepError{"its content was never noted"}
	}
	info, err := os.Lstat(m.Out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &waitError{"its output is not there: " + m.Out}
	case err != nil:
		return err
	case !info.Mode().IsRegular() || !same(info, m.outSize, m.outMtime):
		return &keepError{"its output was changed by somebody: " + m.Out}
	}
	if err := o.verify(ctx, m.Out); err != nil {
		if ctx.Err() != nil || IsTransient(err) {
			return err
		}
		return &keepError{fmt.Sprintf("its output doesn't decode: %v", err)}
	}
	return nil
}

// move moves the original to the same relative path under root.to.
func (o *originals) move(ctx context.Context, m marked) error {
	if m.original != originalMoving {
		m.to = filepath.Join(m.root.to, m.root.rel(m.Path))
		if err := makeDirs(m.root.to, filepath.Dir(m.to)); err != nil {
			return err
		}
		if _, err := os.Lstat(m.to); err == nil {
			return &keepError{"something lies at " + m.to}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := o.ledger.noteOriginal(ctx, m, originalMoving, m.to, ""); err != nil {
			return err
		}
		m.original = originalMoving
		o.step("noted")
	}
	if err := o.moveTo(ctx, m); err != nil {
		return err
	}
	o.step("moved")
	return o.end(ctx, m, originalMoved)
}

// moveTo moves to m.to, where a copy may lie behind which the process ended.
func (o *originals) moveTo(ctx context.Context, m marked) error {
	// Between filesystems the system says so before it looks what lies there.
	_, err := os.Lstat(m.to)
	if errors.Is(err, fs.ErrNotExist) {
		if err = o.rename(m.Path, m.to); err == nil {
			return errors.Join(syncDir(filepath.Dir(m.to)), syncDir(filepath.Dir(m.Path)))
		}
		if errors.Is(err, unix.EXDEV) {
			if err = o.copyAway(ctx, m); err == nil {
				o.step("copied")
				return o.remove(ctx, m)
			}
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	} else if err != nil {
		return err
	}
	ok, err := holds(ctx, m.to, m.DoneContent)
	if err == nil && !ok {
		err = &keepError{"something else lies at " + m.to}
	}
	if err != nil {
		return err
	}
	return o.remove(ctx, m)
}

// copyAway puts a copy at m.to, whole and on the disk, and reads it again.
func (o *originals) copyAway(ctx context.Context, m marked) (err error) {
	src, err := openVersion(m.Path, m.Version)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	// The name is always the same: another try takes what a killed one left.
	name := filepath.Join(filepath.Dir(m.to), fmt.Sprintf("%soriginal-%d%s", tempPrefix, m.ID, tempSuffix))
	tmp, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeTemp(tmp))
		}
	}()
	if err := copyInto(ctx, tmp, src, info); err != nil {
		return fmt.Errorf("copy %s: %w", m.Path, err)
	}
	o.step("temporary")
	ok, err := holds(ctx, name, m.DoneContent)
	if err != nil {
		return err
	}
	if !ok {
		return &keepError{"its content is not what was read"}
	}
	if err := renameNew(name, m.to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(m.to))
}

// delete deletes the original.
func (o *originals) delete(ctx context.Context, m marked) error {
	if err := o.ledger.noteOriginal(ctx, m, originalDeleting, "", ""); err != nil {
		return err
	}
	o.step("noted")
	if err := o.remove(ctx, m); err != nil {
		return err
	}
	o.step("deleted")
	return o.end(ctx, m, originalDeleted)
}

// remove removes the original if it has still the content that was read.
func (o *originals) remove(ctx context.Context, m marked) error {
	content, err := hashFile(ctx, m.Path, m.Version)
	if err != nil {
		return err
	}
	if content != m.DoneContent {
		return &keepError{"its content is not what was read"}
	}
	if err := unchanged(m.Record); err != nil {
		return err
	}
	if err := os.Remove(m.Path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(m.Path))
}

func (o *originals) end(ctx context.Context, m marked, how string) error {
	// What was done is noted also where the daemon stops meanwhile.
	if err := o.ledger.noteOriginal(context.WithoutCancel(ctx), m, how, m.to, ""); err != nil {
		return err
	}
	delete(o.told, m.ID)
	o.log.InfoContext(ctx, "original "+how, "file", m.Path, "to", m.to, "out", m.Out)
	return nil
}

func (o *originals) step(name string) {
	if o.between != nil {
		o.between(name)
	}
}

// marked lists files whose originals are to be moved or deleted, from a number on.
func (l *Ledger) marked(ctx context.Context, after int64) ([]marked, error) {
	rows, err := l.db.QueryContext(ctx, "SELECT "+recordColumns+`, original, original_to, out_size, out_mtime_ns FROM files
		WHERE original IN ('due', 'moving', 'deleting') AND state = 'done' AND id > ? ORDER BY id LIMIT ?`, after, originalsPage)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []marked
	for rows.Next() {
		var m marked
		if m.Record, err = scanRecord(rows, &m.original, &m.to, &m.outSize, &m.outMtime); err != nil {
			return nil, err
		}
		page = append(page, m)
	}
	return page, rows.Err()
}

// noteOriginal notes what is done with an original, or was. The error is an
// *errUnread if the file has been queued anew meanwhile. Of one that has gone no
// version is known any more, so that it is taken as new where it turns up again.
func (l *Ledger) noteOriginal(ctx context.Context, m marked, what, to, reason string) error {
	res, err := l.db.ExecContext(ctx, `UPDATE files SET original = ?1, original_to = ?2, reason = ?3,
		size = iif(?1 IN ('moved', 'deleted'), -1, size)
		WHERE id = ?4 AND state = 'done' AND size = ?5 AND mtime_ns = ?6 AND original IN ('due', 'moving', 'deleting')`,
		what, to, shorten(reason), m.ID, m.Version.Size, m.Version.MtimeNS)
	if err != nil {
		return Transient(fmt.Errorf("ledger: original %s of file %d: %w", what, m.ID, err))
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return &errUnread{"the file has changed since it was done"}
}

// holds tells whether a regular file with this content lies at a path.
func holds(ctx context.Context, path, content string) (bool, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	got, err := hashFile(ctx, path, versionOf(info))
	var unread *errUnread
	if errors.As(err, &unread) {
		return false, nil
	}
	return got == content, err
}
