package daemon

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// A database that is damaged is moved aside, and what was done is found again
// by the outputs that are there: [Daemon.Run] calls rebuild before it works. A
// file in the state folder says until then that this is to be done, so that a
// crash meanwhile doesn't forget it.

// rebuildName is that file.
const rebuildName = "rebuild"

// damagedMark is in the name of a database that was moved aside.
const damagedMark = ".damaged-"

// rebuiltReason is noted for a file whose output was found.
const rebuiltReason = "its output was found when the ledger had been lost"

// errDamaged is a database that SQLite can open and that isn't sound.
var errDamaged = errors.New("the database is damaged")

// openDatabase opens a sound database and brings the ledger's tables up to date.
func openDatabase(ctx context.Context, file string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn(file))
	if err != nil {
		return nil, err
	}
	// One connection: SQLite has one writer, and River expects it so.
	db.SetMaxOpenConns(1)
	var found string
	err = db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found)
	if err == nil && found != "ok" {
		err = fmt.Errorf("%w: %s", errDamaged, found)
	}
	if err == nil {
		err = migrateLedger(ctx, db)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// isDamaged tells damage of the database from other errors.
func isDamaged(err error) bool {
	var e *sqlite.Error
	if errors.As(err, &e) {
		code := e.Code() & 0xff
		return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
	}
	return errors.Is(err, errDamaged)
}

// moveAside makes way for a new database and returns where the old one is.
func moveAside(file string) (string, error) {
	mark, err := os.Create(filepath.Join(filepath.Dir(file), rebuildName))
	if err != nil {
		return "", err
	}
	if err := errors.Join(mark.Sync(), mark.Close()); err != nil {
		return "", err
	}
	aside := file + damagedMark + time.Now().UTC().Format("20060102T150405.000")
	for _, part := range []string{"-wal", "-shm", ""} { // the database last: until then it is tried again
		err := os.Rename(file+part, aside+part)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return aside, syncDir(filepath.Dir(file))
}

// rebuild notes every input whose output is there, and not older than it, as
// done, where a database was lost. The output isn't claimed: it may be somebody
// else's, and is never replaced. It returns how many there were.
func (l *Ledger) rebuild(ctx context.Context, roots []root, takes func(name string) bool) (int, error) {
	mark := filepath.Join(l.dir, rebuildName)
	if _, err := os.Stat(mark); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	all := 0
	for _, r := range roots {
		n, err := l.rebuildRoot(ctx, r, takes)
		if err != nil {
			return all, fmt.Errorf("rebuild the ledger: %w", err)
		}
		all += n
	}
	if err := os.Remove(mark); err != nil {
		return all, fmt.Errorf("rebuild the ledger: %w", err)
	}
	return all, syncDir(l.dir)
}

func (l *Ledger) rebuildRoot(ctx context.Context, r root, takes func(name string) bool) (n int, err error) {
	var batch []foundFile
	note := func() error {
		err := l.inTx(ctx, func(tx *sql.Tx) error { return insertDone(ctx, tx, batch) })
		n += len(batch)
		batch = batch[:0]
		return err
	}
	err = filepath.WalkDir(r.in, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // a folder that can't be read now: its files are found later, and their outputs refused
		}
		if d.IsDir() {
			if path == l.dir || path != r.in && strings.HasPrefix(d.Name(), ".") {
				return filepath.SkipDir
			}
			if out, err := r.plan(path); err == nil {
				return sweep(out) // nobody is writing there
			}
			return nil
		}
		if !d.Type().IsRegular() || !takes(d.Name()) {
			return ctx.Err()
		}
		info, err := d.Info()
		if err != nil || !r.outputOf(path, info) {
			return nil //nolint:nilerr // as above
		}
		if batch = append(batch, foundFile{path, versionOf(info)}); len(batch) < enqueueBatch {
			return ctx.Err()
		}
		return note()
	})
	if err == nil && len(batch) > 0 {
		err = note()
	}
	return n, err
}

// outputOf tells whether the output of an input is there and not older: under
// its own name, or with another extension.
func (r root) outputOf(path string, in fs.FileInfo) bool {
	out, err := r.plan(path)
	if err != nil {
		return false
	}
	stem := strings.TrimSuffix(out, filepath.Ext(out))
	if _, err := os.Lstat(out); err != nil {
		siblings, err := os.ReadDir(filepath.Dir(out))
		at := slices.IndexFunc(siblings, func(d fs.DirEntry) bool {
			return strings.TrimSuffix(d.Name(), filepath.Ext(d.Name())) == filepath.Base(stem)
		})
		if err != nil || at < 0 {
			return false
		}
		out = filepath.Join(filepath.Dir(out), siblings[at].Name())
	}
	info, err := os.Lstat(out)
	return err == nil && info.Mode().IsRegular() && info.Size() > 0 && !info.ModTime().Before(in.ModTime())
}

// insertDone notes files as done, where they aren't known.
func insertDone(ctx context.Context, tx *sql.Tx, files []foundFile) error {
	for _, f := range files {
		dir, name := split(f.path)
		_, err := tx.ExecContext(ctx, `INSERT INTO files (dir, name, size, mtime_ns, state, reason, queued_ms, finished_ms)
			VALUES ($1, $2, $3, $4, 'done', $5, $6, $7) ON CONFLICT DO NOTHING`, pathText(dir), pathText(name), f.version.Size, f.version.MtimeNS, rebuiltReason, now(), now())
		if err != nil {
			return fmt.Errorf("note %s: %w", f.path, err)
		}
	}
	return nil
}
