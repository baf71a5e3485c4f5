package daemon

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"restored/config"
	"restored/daemon/pgtest"
	"restored/daemon/web"
)

// childEnv, set to a folder, makes the test binary run the daemon on that
// folder until it is killed; see kill_test.go.
const childEnv = "DAEMON_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		for _, f := range server.cleanup {
			f()
		}
		os.Exit(code)
	}))
}

// site is a folder with in, out and state, and the configuration for them.
type site struct {
	t       testing.TB
	in, out string
	cfg     config.Config
	retry   func(int) time.Duration
	drain   time.Duration
	tries   int    // 0 = maxAttempts
	with    string // the settings
	redo    bool
	now     func() time.Time
	check   func(context.Context, string) error
	exdev   bool // originals lie on another filesystem than where they are moved to
	outName func(string) string
	films   Videos // nil = photos only
	preview func(ctx context.Context, in string, side int, at float64) ([]byte, error)
	free    func(string) (space, error)
	stall   time.Duration // 0 = the configuration's
	logMu   sync.Mutex
	log     bytes.Buffer
}

func newSite(t testing.TB) *site {
	t.Helper()
	return siteAt(t, t.TempDir())
}

func siteAt(t testing.TB, dir string) *site {
	s := &site{t: t, in: filepath.Join(dir, "in"), out: filepath.Join(dir, "out"), cfg: siteConfig(dir)}
	s.retry = func(int) time.Duration { return time.Millisecond }
	if err := os.MkdirAll(s.in, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Getenv(onPostgres) != "" {
		s.cfg.Queue.URL = postgresOf(t).Database(t)
	}
	return s
}

// onPostgres, set, has the tests use PostgreSQL instead of SQLite. Those that
// look into SQLite fail then.
const onPostgres = "DAEMON_TEST_POSTGRES"

// postgresOf is one server for all tests.
func postgresOf(t testing.TB) *pgtest.Server {
	server.Do(func() { server.Server = pgtest.Start(forAll{t}) })
	if server.Server == nil {
		t.Fatal("PostgreSQL didn't start")
	}
	return server.Server
}

var server struct {
	sync.Once
	*pgtest.Server
	cleanup []func()
}

// forAll is a test whose end is that of all.
type forAll struct{ testing.TB }

// Cleanup is called by TestMain.
func (forAll) Cleanup(f func()) { server.cleanup = append(server.cleanup, f) }

func siteConfig(dir string) config.Config {
	cfg := config.Default()
	cfg.State = filepath.Join(dir, "state")
	cfg.Watch = []config.Watch{{In: filepath.Join(dir, "in"), Out: filepath.Join(dir, "out"), Originals: "keep", Recursive: true}}
	cfg.Settle.Quiet = 100 * time.Millisecond
	cfg.Rescan = time.Second
	cfg.Workers = 2
	cfg.Disk.Reserve = 0 // tests run on full machines too
	return cfg
}

// Write gathers the log, from several goroutines.
func (s *site) Write(p []byte) (int, error) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	return s.log.Write(p)
}

func (s *site) logged() string {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	return s.log.String()
}

func isPhoto(name string) bool { return strings.HasSuffix(name, ".jpg") }

func isVideo(name string) bool { return strings.HasSuffix(name, ".mp4") }

func (s *site) daemon(p Processor) *Daemon {
	s.t.Helper()
	deps := Deps{
		Processor: p, IsPhoto: isPhoto, OutName: s.outName, Redo: s.redo, DeleteOriginals: true, Check: s.check, Settings: func(profile string, _ bool) string { return s.with + profile }, Retry: s.retry, Drain: s.drain,
		About: web.About{Version: "v", Model: "m", Provider: "cpu"}, Children: func() Children { return Children{Idle: 1, Busy: 1, Started: 3, Memory: 1e6} },
		Log: slog.New(slog.NewTextHandler(io.Writer(s), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	deps.Preview = s.preview
	if s.films != nil {
		deps.Videos, deps.IsVideo = s.films, isVideo
	}
	d, err := New(&s.cfg, deps)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.now != nil {
		d.now = s.now
	}
	if s.exdev {
		d.rename = exdev
	}
	if s.free != nil {
		d.free = s.free
	}
	if s.stall > 0 {
		d.stall = s.stall
	}
	d.noticeRetry = s.retry
	d.roomWait, d.report = 50*time.Millisecond, 50*time.Millisecond
	if s.tries > 0 {
		d.attempts = s.tries
	}
	return d
}

// start runs a daemon and returns what stops it and waits; the test's end does
// so too.
func (s *site) start(p Processor) (stop func()) {
	s.t.Helper()
	d := s.daemon(p)
	const ready = "restored is ready"
	before := strings.Count(s.logged(), ready)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					s.t.Errorf("Run: %v", err)
				}
			case <-time.After(30 * time.Second):
				s.t.Error("the daemon did not stop within 30 s")
			}
			if s.t.Failed() {
				s.t.Logf("log:\n%s", s.logged())
			}
		})
	}
	s.t.Cleanup(stop)
	// SQLite is opened by the daemon before a test looks into it.
	wait(s.t, "the daemon", func() bool { return len(ended) > 0 || strings.Count(s.logged(), ready) > before })
	return stop
}

// put writes an input as a whole.
func (s *site) put(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.in, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// output reads an output, "" if there is none.
func (s *site) output(name string) string {
	data, err := os.ReadFile(filepath.Join(s.out, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Error(err)
	}
	return string(data)
}

// records reads the ledger while no daemon runs.
func (s *site) records() map[string]Record {
	s.t.Helper()
	l := s.ledger()
	defer l.Close()
	rows, err := l.db.Query("SELECT " + recordColumns + " FROM files")
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	all := map[string]Record{}
	for rows.Next() {
		r, err := l.scanRecord(rows)
		if err != nil {
			s.t.Fatal(err)
		}
		rel, _ := filepath.Rel(s.in, r.Path)
		all[rel] = r
	}
	if rows.Err() != nil {
		s.t.Fatal(rows.Err())
	}
	return all
}

func (s *site) ledger() *Ledger {
	s.t.Helper()
	if s.cfg.Queue.URL != "" {
		l, err := openShared(context.Background(), s.cfg.Queue.URL, time.Minute, slog.New(slog.DiscardHandler))
		if err == nil {
			l.dir, l.root = s.cfg.State, s.cfg.State
			err = l.migrateShared(context.Background(), "", slog.New(slog.DiscardHandler))
		}
		if err != nil {
			s.t.Fatal(err)
		}
		return l
	}
	l, err := OpenLedger(context.Background(), s.cfg.State)
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

// beside opens the database beside a running daemon.
func (s *site) beside() *sql.DB {
	s.t.Helper()
	if s.cfg.Queue.URL != "" {
		db, err := sql.Open("pgx", s.cfg.Queue.URL)
		if err != nil {
			s.t.Fatal(err)
		}
		return db
	}
	db, err := sql.Open("sqlite", dsn(filepath.Join(s.cfg.State, databaseName)))
	if err != nil {
		s.t.Fatal(err)
	}
	return db
}

// countsOf reads the states while a daemon runs; nil = it is not ready yet.
func countsOf(t testing.TB, s *site) map[State]int {
	t.Helper()
	db := s.beside()
	defer db.Close()
	l := Ledger{db: db}
	counts, err := l.Counts(t.Context())
	if err != nil {
		return nil
	}
	return counts
}

// wait polls until ok holds, ever less often. The deadline is for a machine
// that has much else to do.
func wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for pause := 5 * time.Millisecond; !ok(); pause = min(pause*5/4, 100*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute in vain for: %s", what)
		}
		<-time.After(pause)
	}
}

// proc is a processor that does its work on the files, and goes wrong on
// demand. What it makes of "x" is "restored x".
type proc struct {
	before func(ctx context.Context, job Job) error // nil = go on
	after  func(job Job)                            // when the output is there
	mu     sync.Mutex
	calls  map[string]int
	jobs   []Job
}

func (p *proc) Process(ctx context.Context, job Job) (Result, error) {
	p.mu.Lock()
	if p.calls == nil {
		p.calls = map[string]int{}
	}
	p.calls[filepath.Base(job.In)]++
	p.jobs = append(p.jobs, job)
	p.mu.Unlock()
	if p.before != nil {
		if err := p.before(ctx, job); err != nil {
			return Result{}, err
		}
	}
	data, err := os.ReadFile(job.In)
	if err != nil {
		return Result{}, err
	}
	if err := writeAtomic(job.Out, "restored "+string(data), job.Overwrite); err != nil {
		return Result{}, err
	}
	if p.after != nil {
		p.after(job)
	}
	report, err := json.Marshal(map[string]int{"bytes": len(data)})
	return Result{Out: job.Out, Report: report}, err
}

func (p *proc) count(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[name]
}

func (p *proc) total() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.jobs)
}

type processorFunc func(ctx context.Context, job Job) (Result, error)

func (f processorFunc) Process(ctx context.Context, job Job) (Result, error) { return f(ctx, job) }

func writeAtomic(out, content string, overwrite bool) error {
	f, err := os.CreateTemp(filepath.Dir(out), tempPrefix+"*"+tempSuffix)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.WriteString(content); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if overwrite {
		return os.Rename(f.Name(), out)
	}
	if err := os.Link(f.Name(), out); err != nil {
		return fmt.Errorf("an output turned up: %w", err)
	}
	return nil
}
