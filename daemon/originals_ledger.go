package daemon

import (
	"context"
	"database/sql"
	"fmt"
)

// This file holds what the ledger knows of originals that are moved or deleted.

// What becomes of an original, in the ledger's column of that name.
const (
	originalDue      = "due"      // to be moved or deleted
	originalMoving   = "moving"   // nothing lay at original_to; what lies there is ours, if its content is the original's
	originalDeleting = "deleting" // all was looked at, and it is about to go
	originalMoved    = "moved"
	originalDeleted  = "deleted"
	originalKept     = "kept" // in doubt
)

// marked is a file whose original is to be moved or deleted.
type marked struct {
	Record
	original string
	to       string // where it is moved to, once that is noted
	outSize  sql.NullInt64
	outMtime sql.NullInt64
	root     root
}

// mark marks the original of a file that is done, if its folder asks for it
// and there is an output. It is called in the transaction of that note.
func mark(ctx context.Context, tx *sql.Tx, roots []root, rec Record) error {
	r, ok := rootOf(roots, rec.Path)
	if !ok || r.originals == "keep" {
		return nil
	}
	_, err := tx.ExecContext(ctx, "UPDATE files SET original = $1 WHERE id = $2 AND state = 'done' AND out <> ''", originalDue, rec.ID)
	return err
}

// marked lists files whose originals are to be moved or deleted, from a number on.
func (l *Ledger) marked(ctx context.Context, after int64) ([]marked, error) {
	rows, err := l.db.QueryContext(ctx, "SELECT "+recordColumns+`, original, original_to, out_size, out_mtime_ns FROM files
		WHERE original IN ('due', 'moving', 'deleting') AND state = 'done' AND id > $1 ORDER BY id LIMIT $2`, after, originalsPage)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []marked
	for rows.Next() {
		var m marked
		if m.Record, err = l.scanRecord(rows, &m.original, &m.to, &m.outSize, &m.outMtime); err != nil {
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
	res, err := l.db.ExecContext(ctx, `UPDATE files SET original = $1, original_to = $2, reason = $3,
		size = CASE WHEN $1 IN ('moved', 'deleted') THEN -1 ELSE size END
		WHERE id = $4 AND state = 'done' AND size = $5 AND mtime_ns = $6 AND original IN ('due', 'moving', 'deleting')`,
		what, pathText(to), shorten(reason), m.ID, m.Version.Size, m.Version.MtimeNS)
	if err != nil {
		return Transient(fmt.Errorf("ledger: original %s of file %d: %w", what, m.ID, err))
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return &errUnread{"the file has changed since it was done"}
}
