package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// films is a Videos that does its work on the files, and goes wrong on demand.
// A film is text; each segment is a part of it, and what it makes of "abc" in
// three segments is "film <a><b><c>".
type films struct {
	segments int
	plan     VideoPlan // Segments is set by segments
	copies   bool      // Join writes under the input's name all the same
	stale    func() bool
	// before is called with the step's name ("plan", "analyse 0", "render 0",
	// "join") when there is something to do; nil = go on.
	before func(ctx context.Context, name string, job VideoJob, tell func(Progress)) error

	mu    sync.Mutex
	calls []call1
}

// call1 is one step that had something to do.
type call1 struct {
	film, name string
	job        VideoJob
	began      time.Time
	ended      time.Time // zero = it failed
}

func (f *films) step(ctx context.Context, name string, job VideoJob, tell func(Progress), work func() error) error {
	f.mu.Lock()
	i := len(f.calls)
	f.calls = append(f.calls, call1{film: filepath.Base(job.In), name: name, job: job, began: time.Now()})
	f.mu.Unlock()
	if f.before != nil {
		if err := f.before(ctx, name, job, tell); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := work(); err != nil {
		return err
	}
	tell(Progress{Frames: 10, Total: 10, Faces: 1})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[i].ended = time.Now()
	return nil
}

func (f *films) Plan(ctx context.Context, job VideoJob, tell func(Progress)) (VideoPlan, error) {
	plan := f.plan
	plan.Segments = f.segments
	return plan, f.step(ctx, "plan", job, tell, func() error {
		return writeAtomic(filepath.Join(job.Work, "plan"), "", true)
	})
}

func (f *films) Analyse(ctx context.Context, job VideoJob, n int, tell func(Progress)) error {
	return f.segment(ctx, "analyse", "plan", job, n, tell)
}

func (f *films) Render(ctx context.Context, job VideoJob, n int, tell func(Progress)) error {
	return f.segment(ctx, "render", "analyse", job, n, tell)
}

func (f *films) segment(ctx context.Context, pass, needs string, job VideoJob, n int, tell func(Progress)) error {
	file := filepath.Join(job.Work, fmt.Sprintf("%s-%d", pass, n))
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	if f.stale != nil && f.stale() {
		return ErrStale
	}
	return f.step(ctx, fmt.Sprintf("%s %d", pass, n), job, tell, func() error {
		for i := range f.segments {
			need := "plan"
			if needs != need {
				need = fmt.Sprintf("%s-%d", needs, i)
			}
			if _, err := os.Stat(filepath.Join(job.Work, need)); err != nil {
				return fmt.Errorf("%s begins too early: %w", pass, err)
			}
		}
		data, err := os.ReadFile(job.In)
		if err != nil {
			return err
		}
		size := len(data) / f.segments
		part := data[n*size:]
		if n < f.segments-1 {
			part = part[:size]
		}
		return writeAtomic(file, "<"+string(part)+">", true)
	})
}

func (f *films) Join(ctx context.Context, job VideoJob, tell func(Progress)) (Result, error) {
	out := job.Out
	if f.plan.Out != "" && !f.copies {
		out = f.plan.Out
	}
	err := f.step(ctx, "join", job, tell, func() error {
		all := "film "
		for n := range f.segments {
			part, err := os.ReadFile(filepath.Join(job.Work, fmt.Sprintf("render-%d", n)))
			if err != nil {
				return err
			}
			all += string(part)
		}
		overwrite, err := job.Claim(ctx, out)
		if err != nil {
			return err
		}
		return writeAtomic(out, all, overwrite)
	})
	return Result{Out: out, Report: json.RawMessage(`{"film":true}`)}, err
}

// names are the steps of a film that had something to do, in the order in
// which they began.
func (f *films) names(film string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for _, c := range f.calls {
		if c.film == film {
			names = append(names, c.name)
		}
	}
	return names
}

// count is how often a step of a film had something to do.
func (f *films) count(film, name string) int {
	n := 0
	for _, c := range f.names(film) {
		if c == name {
			n++
		}
	}
	return n
}

// called is all steps so far.
func (f *films) called() []call1 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// steps are the names of all steps of a film of n segments, in order.
func steps(n int) []string {
	names := []string{"plan"}
	for _, pass := range []string{"analyse", "render"} {
		for i := range n {
			names = append(names, fmt.Sprintf("%s %d", pass, i))
		}
	}
	return append(names, "join")
}

// held makes before stop a step until release is closed or the step is
// stopped; entered tells that it is there.
type held struct {
	name    string
	entered chan struct{}
	release chan struct{}
	once    sync.Once
}

func hold(name string) *held {
	return &held{name: name, entered: make(chan struct{}), release: make(chan struct{})}
}

func (h *held) before(ctx context.Context, name string, _ VideoJob, _ func(Progress)) error {
	if name != h.name {
		return nil
	}
	h.once.Do(func() { close(h.entered) })
	select {
	case <-h.release:
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("stopped in the middle"), ctx.Err())
	}
}

// heard waits for an event, but not for ever.
func heard(t testing.TB, event <-chan struct{}) {
	t.Helper()
	select {
	case <-event:
	case <-time.After(time.Minute):
		t.Fatal("waited a minute in vain for a step")
	}
}

// workFolders are the names in the folder of the work.
func (s *site) workFolders() string {
	s.t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.cfg.State, workName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

// openJobs counts the jobs with something still to come, beside a daemon.
func (s *site) openJobs() int {
	s.t.Helper()
	db := s.beside()
	defer db.Close()
	var n int
	err := db.QueryRow(`SELECT count(*) FROM river_job WHERE state NOT IN ('completed', 'cancelled', 'discarded')`).Scan(&n)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// record reads one file's record beside a running daemon.
func (s *site) record(name string) Record {
	s.t.Helper()
	db := s.beside()
	defer db.Close()
	path, err := resolve(filepath.Join(s.in, name))
	if err != nil {
		s.t.Fatal(err)
	}
	rec, _, err := (&Ledger{}).lookup(context.Background(), db, path)
	if err != nil {
		return Record{} // the daemon is not ready yet
	}
	return rec
}
