package daemon

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// This file holds the transitions of a file's state, one function each.

// maxReason bounds the text of a reason in the ledger, in bytes.
const maxReason = 4096

// insert notes a new file as queued.
func insert(ctx context.Context, tx *sql.Tx, path string, v Version) (int64, error) {
	dir, name := split(path)
	var id int64
	err := tx.QueryRowContext(ctx, `INSERT INTO files (dir, name, size, mtime_ns, state, queued_ms)
		VALUES ($1, $2, $3, $4, 'queued', $5) RETURNING id`, pathText(dir), pathText(name), v.Size, v.MtimeNS, now()).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("ledger: add %s: %w", path, err)
	}
	return id, nil
}

// renew begins again with a known file: another version of it, or another try.
func renew(ctx context.Context, tx *sql.Tx, id int64, v Version) error {
	_, err := tx.ExecContext(ctx, `UPDATE files SET size = $1, mtime_ns = $2, state = 'queued', reason = '',
		attempts = 0, crashes = 0, queued_ms = $3, started_ms = 0, finished_ms = 0, content = '', settings = '',
		original = '', original_to = '' WHERE id = $4`,
		v.Size, v.MtimeNS, now(), id)
	if err != nil {
		return fmt.Errorf("ledger: renew file %d: %w", id, err)
	}
	return nil
}

// unmake has a file that is to be done anew be worked on, although its content
// is known.
func unmake(ctx context.Context, tx *sql.Tx, id int64) error {
	_, err := tx.ExecContext(ctx, "UPDATE files SET done_content = '' WHERE id = $1", id)
	return err
}

// start: queued → running, with the record's content and settings.
func (l *Ledger) start(ctx context.Context, rec Record) error {
	return l.move(ctx, rec.ID, "start", `UPDATE files SET state = 'running', reason = '', attempts = attempts + 1,
		started_ms = $1, finished_ms = 0, content = $2, settings = $3 WHERE id = $4`, now(), rec.Content, rec.Settings, rec.ID)
}

// requeue: running → queued, for another try. A try that was only interrupted
// does not count.
func (l *Ledger) requeue(ctx context.Context, id int64, reason string, counts bool) error {
	back := 1
	if counts {
		back = 0
	}
	return l.move(ctx, id, "requeue", `UPDATE files SET state = 'queued', reason = $1, attempts = CASE WHEN attempts > $2 THEN attempts - $2 ELSE 0 END
		WHERE id = $3`, shorten(reason), back, id)
}

// fail: → failed. This version of the file is not tried again by itself.
func (l *Ledger) fail(ctx context.Context, id int64, reason string) error {
	err := l.inTx(ctx, func(tx *sql.Tx) error { return l.failTx(ctx, tx, id, reason) })
	if err != nil {
		return fmt.Errorf("ledger: fail file %d: %w", id, err)
	}
	return nil
}

func (l *Ledger) failTx(ctx context.Context, tx *sql.Tx, id int64, reason string) error {
	_, err := tx.ExecContext(ctx, "UPDATE files SET state = 'failed', reason = $1, finished_ms = $2 WHERE id = $3",
		shorten(reason), now(), id)
	if err != nil {
		return err
	}
	if err := l.release(ctx, tx, id); err != nil {
		return err
	}
	return l.tellEnd(ctx, tx, id)
}

// tellEnd has it told that a file has ended.
func (l *Ledger) tellEnd(ctx context.Context, tx *sql.Tx, id int64) error {
	if l.ended == nil {
		return nil
	}
	return l.ended(ctx, tx, id)
}

// release gives a claim up where nothing was written, unless the path still
// holds the output of an earlier version: what turns up there is not ours.
func (l *Ledger) release(ctx context.Context, tx *sql.Tx, id int64) error {
	var out string
	var size, mtime sql.NullInt64
	err := tx.QueryRowContext(ctx, "SELECT out, out_size, out_mtime_ns FROM files WHERE id = $1", id).
		Scan(&out, &size, &mtime)
	if err != nil {
		return err
	}
	if info, err := os.Lstat(l.paths.local(out)); err != nil || !same(info, size, mtime) {
		out = ""
	}
	_, err = tx.ExecContext(ctx, "UPDATE files SET out = $1, claimed = $2, writing = 0 WHERE id = $3", pathText(out), flag(out != ""), id)
	return err
}

// same tells whether a file is still as it was when its job was done.
func same(info os.FileInfo, size, mtime sql.NullInt64) bool {
	return size.Valid && size.Int64 == info.Size() && mtime.Int64 == info.ModTime().UnixNano()
}

// drop: → failed with no version, so that whatever lies there at the next scan
// is taken as new.
func (l *Ledger) drop(ctx context.Context, id int64, reason string) error {
	return l.move(ctx, id, "drop", dropQuery, shorten(reason), now(), id)
}

const dropQuery = "UPDATE files SET state = 'failed', size = -1, reason = $1, finished_ms = $2 WHERE id = $3"

// done: running → done. The work of also, which may be nil, is in the same
// transaction. A result at a path that was not claimed is an error.
func (l *Ledger) done(ctx context.Context, id int64, res Result, also func(*sql.Tx) error) error {
	var refused error
	err := l.inTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE files SET state = 'done', reason = '', report = $1, crashes = 0,
			completed = completed + 1, finished_ms = $2, done_content = content, done_settings = settings WHERE id = $3`,
			[]byte(res.Report), now(), id)
		switch {
		case err != nil:
		case res.Out == "":
			err = l.release(ctx, tx, id)
		default:
			refused, err = l.wrote(ctx, tx, id, res.Out)
			err = errors.Join(refused, err)
		}
		if err == nil && also != nil {
			err = also(tx)
		}
		if err == nil {
			err = l.tellEnd(ctx, tx, id)
		}
		return err
	})
	if refused != nil {
		return refused
	}
	if err != nil {
		return Transient(fmt.Errorf("ledger: file %d done: %w", id, err))
	}
	return nil
}

// wrote notes how the output looks now, so that a change by others is seen.
// refused is what is wrong with the output.
func (l *Ledger) wrote(ctx context.Context, tx *sql.Tx, id int64, out string) (refused, err error) {
	info, err := os.Lstat(out)
	if err != nil {
		return fmt.Errorf("the output that was just written: %w", err), nil
	}
	r, err := tx.ExecContext(ctx, `UPDATE files SET writing = 0, out_size = $1, out_mtime_ns = $2
		WHERE id = $3 AND claimed = 1 AND out = $4`, info.Size(), info.ModTime().UnixNano(), id, l.paths.shared(out))
	if err != nil {
		return nil, err
	}
	if n, err := r.RowsAffected(); err != nil || n == 1 {
		return nil, err
	}
	return fmt.Errorf("%s was written without a claim", out), nil
}

func (l *Ledger) move(ctx context.Context, id int64, what, query string, args ...any) error {
	err := l.inTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("ledger: %s file %d: %w", what, id, err)
	}
	return nil
}

// claim makes an output path the file's own before anything is written there,
// and tells whether what may lie there can be replaced. It refuses, with
// ErrForeign, a path at which something lies that is not ours, an output of
// ours that somebody has changed since, and another file's output; force takes
// the first two.
func (l *Ledger) claim(ctx context.Context, id int64, out string, force bool) (overwrite bool, err error) {
	err = l.inTx(ctx, func(tx *sql.Tx) error {
		overwrite, err = l.claimTx(ctx, tx, id, out, force, true)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("claim the output: %w", err)
	}
	return overwrite, nil
}

// reserve keeps an output path for the file as claim does, but nothing is
// written there before it is claimed, and what turns up meanwhile is not ours.
func (l *Ledger) reserve(ctx context.Context, id int64, out string, force bool) error {
	err := l.inTx(ctx, func(tx *sql.Tx) error {
		_, err := l.claimTx(ctx, tx, id, out, force, false)
		return err
	})
	if err != nil {
		return fmt.Errorf("claim the output: %w", err)
	}
	return nil
}

// claimTx is claim in a transaction, or reserve where nothing is to be written
// yet.
func (l *Ledger) claimTx(ctx context.Context, tx *sql.Tx, id int64, out string, force, write bool) (bool, error) {
	var owner int64
	var writing bool
	var size, mtime sql.NullInt64
	err := tx.QueryRowContext(ctx, `SELECT id, writing, out_size, out_mtime_ns FROM files
		WHERE out = $1 AND claimed = 1`, l.paths.shared(out)).Scan(&owner, &writing, &size, &mtime)
	ours := err == nil && owner == id
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, err
	}
	if err == nil && !ours {
		return false, fmt.Errorf("%w %s: it is the output of another file", ErrForeign, out)
	}
	info, err := os.Lstat(out)
	exists := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, Transient(err)
	}
	switch {
	case !exists:
	case !info.Mode().IsRegular():
		return false, fmt.Errorf("%w %s: it is no regular file", ErrForeign, out)
	case force:
	case !ours, !writing && !size.Valid:
		return false, fmt.Errorf("%w %s: it was there before", ErrForeign, out)
	case !writing && !same(info, size, mtime):
		return false, fmt.Errorf("%w %s: somebody has changed it since it was written", ErrForeign, out)
	}
	if !ours { // nothing is known of an output of ours at this path
		size, mtime, writing = sql.NullInt64{}, sql.NullInt64{}, false
	}
	_, err = tx.ExecContext(ctx, `UPDATE files SET out = $1, claimed = 1, writing = $2, out_size = $3, out_mtime_ns = $4
		WHERE id = $5`, l.paths.shared(out), flag(writing || write), size, mtime, id)
	return exists, err
}

func shorten(reason string) string {
	if len(reason) > maxReason {
		reason = reason[:maxReason] + "…"
	}
	// A path may hold any bytes; PostgreSQL's text doesn't.
	return strings.ReplaceAll(strings.ToValidUTF8(reason, "\ufffd"), "\x00", "\ufffd")
}
