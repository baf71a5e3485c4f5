package daemon

import (
	"context"
	"database/sql"
	"errors"
	"strings"
)

// This file holds what the ledger needs because its database is SQLite for one
// machine and PostgreSQL for many. Its queries are written so that both
// understand them; where they can't be, the ledger knows which one it has.

// pathText is a path as an argument of a query: text in SQLite, bytes in
// PostgreSQL, whose text can't hold every path.
type pathText string

// BytesValue is how pgx asks for bytes.
func (p pathText) BytesValue() ([]byte, error) { return []byte(p), nil }

// flag is a truth as an argument of a query: both databases keep it as a number.
func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// pathMap are the folders that a machine sees elsewhere than the daemon does.
type pathMap []struct{ theirs, ours string }

// local is where this machine sees a path of the ledger.
func (m pathMap) local(path string) string {
	for _, p := range m {
		if rest, ok := below(path, p.theirs); ok {
			return p.ours + rest
		}
	}
	return path
}

// shared is how the ledger names a path of this machine.
func (m pathMap) shared(path string) pathText {
	for _, p := range m {
		if rest, ok := below(path, p.ours); ok {
			return pathText(p.theirs + rest)
		}
	}
	return pathText(path)
}

// below is what a path has behind a folder that it is or lies in.
func below(path, folder string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, folder)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// sqlNow is the present in the database's own words, as River keeps times.
func (l *Ledger) sqlNow() string {
	if l.shared != nil {
		return "now()"
	}
	return "datetime('now', 'subsec')"
}

// inTx runs f in a transaction and commits if it returns nil. A transaction of
// a job that isn't this machine's any more is refused with errTaken.
func (l *Ledger) inTx(ctx context.Context, f func(*sql.Tx) error) error {
	held, _ := ctx.Value(heldKey{}).(*heldJob)
	if held != nil && held.lost.Load() {
		return errTaken
	}
	if l.shared != nil {
		return l.shared.inTx(ctx, l.db, held, f)
	}
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}
