package daemon

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// databaseName is the file in the state folder that holds ledger and queue.
const databaseName = "restored.db"

// schemas bring the ledger from one version to the next, the first from
// nothing. SQLite's user_version says which it has.
var schemas = []string{`
CREATE TABLE files (
	id           INTEGER PRIMARY KEY AUTOINCREMENT,
	dir          TEXT NOT NULL,              -- path = dir / name, bytes as the system has them
	name         TEXT NOT NULL,
	size         INTEGER NOT NULL,           -- of the version last taken; -1 = none, take what is there
	mtime_ns     INTEGER NOT NULL,
	out          TEXT NOT NULL DEFAULT '',   -- the claimed path
	claimed      INTEGER NOT NULL DEFAULT 0, -- out is ours, written or about to be
	writing      INTEGER NOT NULL DEFAULT 0, -- a try may have written out since it was last done
	out_size     INTEGER,                    -- of the output when it was last done
	out_mtime_ns INTEGER,
	state        TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed')),
	reason       TEXT NOT NULL DEFAULT '',
	report       BLOB,
	attempts     INTEGER NOT NULL DEFAULT 0, -- for this version
	crashes      INTEGER NOT NULL DEFAULT 0, -- times the process ended while this version was in work
	completed    INTEGER NOT NULL DEFAULT 0, -- times that any version was done
	queued_ms    INTEGER NOT NULL,           -- Unix milliseconds
	started_ms   INTEGER NOT NULL DEFAULT 0,
	finished_ms  INTEGER NOT NULL DEFAULT 0,
	UNIQUE (dir, name)
);
CREATE UNIQUE INDEX files_out ON files (out) WHERE claimed = 1;
CREATE INDEX files_open ON files (state) WHERE state IN ('queued', 'running');
`, `
CREATE TABLE videos (                          -- those that are planned or in work, or kept for a look
	run        INTEGER PRIMARY KEY AUTOINCREMENT, -- names the work folder; never used again
	file       INTEGER NOT NULL UNIQUE,          -- its id in files
	size       INTEGER NOT NULL,                 -- of the version that is in work
	mtime_ns   INTEGER NOT NULL,
	stage      TEXT NOT NULL CHECK (stage IN ('plan', 'analyse', 'render', 'join')), -- what is to be done next
	segments   INTEGER NOT NULL DEFAULT 0,       -- this and what follows is from the plan
	frames     INTEGER NOT NULL DEFAULT 0,
	work_bytes INTEGER NOT NULL DEFAULT 0,
	out_bytes  INTEGER NOT NULL DEFAULT 0,
	out        TEXT NOT NULL DEFAULT '',
	continued  INTEGER NOT NULL DEFAULT 0,       -- begun by an earlier process
	kept       INTEGER NOT NULL DEFAULT 0        -- failed, and the work folder is left for a look
);
CREATE TABLE segments (                        -- those that are done
	run    INTEGER NOT NULL,
	stage  TEXT NOT NULL CHECK (stage IN ('analyse', 'render')),
	n      INTEGER NOT NULL,                     -- from 0
	frames INTEGER NOT NULL,
	faces  INTEGER NOT NULL,
	PRIMARY KEY (run, stage, n)
) WITHOUT ROWID;
`, `
-- SHA-256 of the content, and what it is worked on with: of the version above,
-- '' = not read yet; and of the version that was last done, '' = not known.
ALTER TABLE files ADD COLUMN content       TEXT NOT NULL DEFAULT '';
ALTER TABLE files ADD COLUMN settings      TEXT NOT NULL DEFAULT '';
ALTER TABLE files ADD COLUMN done_content  TEXT NOT NULL DEFAULT '';
ALTER TABLE files ADD COLUMN done_settings TEXT NOT NULL DEFAULT '';
CREATE INDEX files_done_content ON files (done_content) WHERE done_content <> '';
`, `
-- What becomes of the original of a file that is done (originals.go), '' = it is
-- kept; and where it is moved to.
ALTER TABLE files ADD COLUMN original    TEXT NOT NULL DEFAULT ''
	CHECK (original IN ('', 'due', 'moving', 'deleting', 'moved', 'deleted', 'kept'));
ALTER TABLE files ADD COLUMN original_to TEXT NOT NULL DEFAULT '';
CREATE INDEX files_original ON files (id) WHERE original IN ('due', 'moving', 'deleting');
`, `
-- River's queue of its segments, "" = they go where all jobs do.
ALTER TABLE videos ADD COLUMN lane TEXT NOT NULL DEFAULT '';
`}

// State is where a file stands. It goes from queued to running and on to done
// or failed; a file that has changed begins again.
type State string

// The states of a file.
const (
	Queued  State = "queued"
	Running State = "running"
	Done    State = "done"
	Failed  State = "failed"
)

// Version tells two contents of the same path apart.
type Version struct {
	Size    int64
	MtimeNS int64 // Unix nanoseconds
}

func versionOf(info os.FileInfo) Version {
	return Version{info.Size(), info.ModTime().UnixNano()}
}

// Record is what the ledger knows of a file.
type Record struct {
	ID        int64
	Path      string
	Version   Version
	Out       string // the claimed output path, "" before the first claim
	State     State
	Reason    string          // why it failed, or waits for another try
	Report    json.RawMessage // the Processor's, of the last version that was done
	Attempts  int             // for this version
	Crashes   int
	Completed int // times that any version of it was done
	Queued    time.Time
	Started   time.Time
	Finished  time.Time

	Content      string // SHA-256 of this version, "" = not read yet
	Settings     string // what this version is worked on with, see Deps.Settings
	DoneContent  string // of the version that was last done, "" = not known
	DoneSettings string
}

// Ledger is the record of all files in a state folder. Its methods may be
// called from several goroutines.
type Ledger struct {
	db   *sql.DB
	lock *os.File // nil = nobody else needs to be kept out
	dir  string   // the state folder, absolute
	root string   // holds the work folders; the state folder unless shared

	shared *postgres // nil = the database is SQLite, and this machine's alone
	guard  *sql.Conn // holds the lock of a cluster's daemon
	paths  pathMap   // of a machine that sees the cluster's storage elsewhere

	// ended is called in the transaction in which a file ends; nil = nobody is told.
	ended func(ctx context.Context, tx *sql.Tx, id int64) error

	aside string // where a damaged database was moved by OpenLedger, else ""
}

// OpenLedger makes the state folder if it is missing, takes its lock and opens
// the database, making or upgrading the tables. A damaged database is moved
// aside, and a new one made. Another process that has the folder in use is
// [ErrLocked]. The caller closes the Ledger.
func OpenLedger(ctx context.Context, dir string) (*Ledger, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o750)
	}
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	lock, err := lockState(dir)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, databaseName)
	l := &Ledger{lock: lock, dir: dir, root: dir}
	if l.db, err = openDatabase(ctx, file); isDamaged(err) {
		var moved error
		if l.aside, moved = moveAside(file); moved == nil {
			l.db, err = openDatabase(ctx, file)
		} else {
			err = errors.Join(err, moved)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("state database %s: %w", file, err), lock.Close())
	}
	return l, nil
}

// dsn names the database with its settings. Every commit reaches the disk
// (synchronous FULL): a claim that a power cut took back would leave an output
// that nobody owns.
func dsn(file string) string {
	q := url.Values{}
	q.Set("_txlock", "immediate")
	for _, pragma := range []string{"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)"} {
		q.Add("_pragma", pragma)
	}
	return "file:" + (&url.URL{Path: file}).EscapedPath() + "?" + q.Encode()
}

func migrateLedger(ctx context.Context, db *sql.DB) error {
	var version int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > len(schemas) {
		return fmt.Errorf("made by another version of restored (schema %d, this one knows %d)", version, len(schemas))
	}
	if version == len(schemas) {
		return nil
	}
	return (&Ledger{db: db}).inTx(ctx, func(tx *sql.Tx) error {
		for _, schema := range schemas[version:] {
			if _, err := tx.ExecContext(ctx, schema); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", len(schemas)))
		return err
	})
}

// Close closes the database and gives up the lock. It may be called again.
func (l *Ledger) Close() error {
	var err error
	if l.guard != nil {
		err = l.guard.Close()
		l.guard = nil
	}
	err = errors.Join(err, l.db.Close())
	if l.shared != nil {
		l.shared.pool.Close()
	}
	if l.lock != nil {
		err = errors.Join(err, l.lock.Close())
		l.lock = nil
	}
	return err
}

const recordColumns = `id, dir, name, size, mtime_ns, out, state, reason, report,
	attempts, crashes, completed, queued_ms, started_ms, finished_ms, content, settings, done_content, done_settings`

// scanRecord reads the columns of a record, and those that were asked for behind them.
func (l *Ledger) scanRecord(row interface{ Scan(...any) error }, more ...any) (Record, error) {
	var r Record
	var dir, name string
	var queued, started, finished int64
	err := row.Scan(append([]any{&r.ID, &dir, &name, &r.Version.Size, &r.Version.MtimeNS, &r.Out, &r.State, &r.Reason,
		(*[]byte)(&r.Report), &r.Attempts, &r.Crashes, &r.Completed, &queued, &started, &finished,
		&r.Content, &r.Settings, &r.DoneContent, &r.DoneSettings}, more...)...)
	r.Path, r.Out = l.paths.local(filepath.Join(dir, name)), l.paths.local(r.Out)
	r.Queued, r.Started, r.Finished = fromMillis(queued), fromMillis(started), fromMillis(finished)
	return r, err
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func now() int64 { return time.Now().UnixMilli() }

// Lookup returns what is known of a file by its absolute path.
func (l *Ledger) Lookup(ctx context.Context, path string) (Record, bool, error) {
	return l.lookup(ctx, l.db, path)
}

// querier is a database or a transaction.
type querier interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

// rowser is a database or a transaction.
type rowser interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}

func (l *Ledger) lookup(ctx context.Context, db querier, path string) (Record, bool, error) {
	dir, name := split(string(l.paths.shared(path)))
	r, err := l.scanRecord(db.QueryRowContext(ctx, "SELECT "+recordColumns+" FROM files WHERE dir = $1 AND name = $2", pathText(dir), pathText(name)))
	return found(r, err, "look up "+path)
}

func split(path string) (dir, name string) { return filepath.Dir(path), filepath.Base(path) }

// byID is Lookup for the number that a queued job carries.
func (l *Ledger) byID(ctx context.Context, id int64) (Record, bool, error) {
	return l.recordByID(ctx, l.db, id)
}

func (l *Ledger) recordByID(ctx context.Context, db querier, id int64) (Record, bool, error) {
	r, err := l.scanRecord(db.QueryRowContext(ctx, "SELECT "+recordColumns+" FROM files WHERE id = $1", id))
	return found(r, err, fmt.Sprintf("look up file %d", id))
}

func found(r Record, err error, what string) (Record, bool, error) {
	if errors.Is(err, sql.ErrNoRows) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("ledger: %s: %w", what, err)
	}
	return r, true, nil
}

// versions returns the recorded version of every file of one folder.
func (l *Ledger) versions(ctx context.Context, dir string) (map[string]Version, error) {
	rows, err := l.db.QueryContext(ctx, "SELECT name, size, mtime_ns FROM files WHERE dir = $1", pathText(dir))
	if err != nil {
		return nil, fmt.Errorf("ledger: list %s: %w", dir, err)
	}
	defer rows.Close()
	known := map[string]Version{}
	for rows.Next() {
		var name string
		var v Version
		if err := rows.Scan(&name, &v.Size, &v.MtimeNS); err != nil {
			return nil, fmt.Errorf("ledger: list %s: %w", dir, err)
		}
		known[name] = v
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("ledger: list %s: %w", dir, err)
	}
	return known, nil
}

// Counts is the number of files in each state.
func (l *Ledger) Counts(ctx context.Context) (map[State]int, error) {
	rows, err := l.db.QueryContext(ctx, "SELECT state, count(*) FROM files GROUP BY state")
	if err != nil {
		return nil, fmt.Errorf("ledger: count: %w", err)
	}
	defer rows.Close()
	counts := map[State]int{}
	for rows.Next() {
		var s State
		var n int
		if err := rows.Scan(&s, &n); err != nil {
			return nil, fmt.Errorf("ledger: count: %w", err)
		}
		counts[s] = n
	}
	return counts, rows.Err()
}
