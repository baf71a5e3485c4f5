package daemon

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
)

// redoPage is the number of records that are read at a time.
const redoPage = 1024

// Stale counts the finished files that were made with other settings than now,
// or with unknown ones. settings tells what a file would be worked on with;
// "" = it is of no concern.
func (l *Ledger) Stale(ctx context.Context, settings func(path string) string) (int, error) {
	n := 0
	err := l.eachStale(ctx, settings, func(stale []Record) error {
		n += len(stale)
		return nil
	})
	return n, err
}

// redo puts those of the stale files back to queued whose originals are there,
// and returns how many. The others stay done.
func (l *Ledger) redo(ctx context.Context, settings func(path string) string) (int, error) {
	n := 0
	err := l.eachStale(ctx, settings, func(stale []Record) error {
		return l.inTx(ctx, func(tx *sql.Tx) error {
			for _, rec := range stale {
				info, err := os.Lstat(rec.Path)
				if err != nil || versionOf(info) != rec.Version {
					continue // not there, or found by the scan
				}
				if err := errors.Join(renew(ctx, tx, rec.ID, rec.Version), unmake(ctx, tx, rec.ID)); err != nil {
					return err
				}
				n++
			}
			return nil
		})
	})
	return n, err
}

// eachStale calls f with the stale files, some at a time.
func (l *Ledger) eachStale(ctx context.Context, settings func(path string) string, f func([]Record) error) error {
	for last := int64(0); ; {
		page, err := l.donePage(ctx, last)
		if err != nil {
			return fmt.Errorf("ledger: look for stale files: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		last = page[len(page)-1].ID
		var stale []Record
		for _, rec := range page {
			if want := settings(rec.Path); want != "" && want != rec.DoneSettings {
				stale = append(stale, rec)
			}
		}
		if len(stale) == 0 {
			continue
		}
		if err := f(stale); err != nil {
			return err
		}
	}
}

func (l *Ledger) donePage(ctx context.Context, after int64) ([]Record, error) {
	rows, err := l.db.QueryContext(ctx, "SELECT "+recordColumns+" FROM files WHERE state = 'done' AND id > $1 ORDER BY id LIMIT $2", after, redoPage)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []Record
	for rows.Next() {
		rec, err := l.scanRecord(rows)
		if err != nil {
			return nil, err
		}
		page = append(page, rec)
	}
	return page, rows.Err()
}

// stale tells of finished files that were made with other settings, and queues
// them where that was asked for.
func (d *Daemon) stale(ctx context.Context, l *Ledger, roots []root) error {
	settings := func(path string) string {
		r, ok := rootOf(roots, path)
		if !ok {
			return ""
		}
		return d.deps.Settings(r.profile, d.deps.IsVideo != nil && d.deps.IsVideo(path))
	}
	if d.deps.Redo {
		n, err := l.redo(ctx, settings)
		if err == nil && n > 0 {
			d.deps.Log.InfoContext(ctx, "files made with other settings are done again", "files", n)
		}
		return err
	}
	n, err := l.Stale(ctx, settings)
	if err == nil && n > 0 {
		d.deps.Log.InfoContext(ctx, "finished files were made with other settings", "files", n,
			"advice", "restored serve --redo does them again")
	}
	return err
}
