package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestLedgerProcess works without a queue, as a command would.
func TestLedgerProcess(t *testing.T) {
	s := newSite(t)
	l := s.ledger()
	defer func() { _ = l.Close() }()
	p := &proc{}
	ctx := t.Context()
	in, out := s.put("sub/a.jpg", "one"), filepath.Join(s.out, "sub", "a.jpg")

	rec, skipped, err := l.Process(ctx, p, in, out, ProcessOptions{})
	if err != nil || skipped || rec.State != Done || s.output("sub/a.jpg") != "restored one" {
		t.Fatalf("first: %+v, %v, %v", rec, skipped, err)
	}
	if rec, skipped, err = l.Process(ctx, p, in, out, ProcessOptions{}); err != nil || !skipped || rec.State != Done || p.total() != 1 {
		t.Errorf("again: %+v, %v, %v", rec, skipped, err)
	}
	if _, skipped, err = l.Process(ctx, p, in, out, ProcessOptions{Force: true}); err != nil || skipped || p.total() != 2 {
		t.Errorf("forced: %v, %v", skipped, err)
	}
	if err := os.Remove(out); err != nil {
		t.Fatal(err)
	}
	if _, skipped, err = l.Process(ctx, p, in, out, ProcessOptions{}); err != nil || skipped || s.output("sub/a.jpg") == "" {
		t.Errorf("output gone: %v, %v", skipped, err)
	}

	other := s.put("b.jpg", "two")
	if rec, _, err = l.Process(ctx, p, other, out, ProcessOptions{Force: true}); !errors.Is(err, ErrForeign) || rec.State != Failed {
		t.Errorf("another file's output, forced: %+v, %v", rec, err)
	}
	foreign := filepath.Join(s.out, "b.jpg")
	if err := os.WriteFile(foreign, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err = l.Process(ctx, p, other, foreign, ProcessOptions{}); !errors.Is(err, ErrForeign) || s.output("b.jpg") != "precious" {
		t.Errorf("foreign: %v", err)
	}
	if _, _, err = l.Process(ctx, p, other, foreign, ProcessOptions{Force: true}); err != nil || s.output("b.jpg") != "restored two" {
		t.Errorf("foreign, forced: %v", err)
	}

	bad := processorFunc(func(context.Context, Job) (Result, error) { return Result{}, errors.New("truncated") })
	third := s.put("c.jpg", "three")
	if rec, _, err = l.Process(ctx, bad, third, filepath.Join(s.out, "c.jpg"), ProcessOptions{}); err == nil || rec.Reason != "truncated" {
		t.Errorf("failing: %+v, %v", rec, err)
	}
	// Asked for again, a failed file is tried again.
	if rec, _, err = l.Process(ctx, p, third, filepath.Join(s.out, "c.jpg"), ProcessOptions{}); err != nil || rec.State != Done || rec.Reason != "" {
		t.Errorf("after the failure: %+v, %v", rec, err)
	}
	if _, _, err = l.Process(ctx, p, filepath.Join(s.in, "none.jpg"), out, ProcessOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing input: %v", err)
	}

	stopped, cancel := context.WithCancel(ctx)
	fourth := s.put("d.jpg", "four")
	rec, _, err = l.Process(stopped, processorFunc(func(ctx context.Context, _ Job) (Result, error) {
		cancel()
		return Result{}, ctx.Err()
	}), fourth, filepath.Join(s.out, "d.jpg"), ProcessOptions{})
	if !errors.Is(err, context.Canceled) || rec.State != Queued {
		t.Errorf("stopped: %+v, %v", rec, err)
	}
	counts, err := l.Counts(ctx)
	if err != nil || counts[Done] != 3 || counts[Queued] != 1 {
		t.Errorf("counts %v, %v", counts, err)
	}
}

// TestClaimIsGivenUp: after a failure that wrote nothing, what turns up at the
// path is not ours.
func TestClaimIsGivenUp(t *testing.T) {
	s := newSite(t)
	l := s.ledger()
	defer func() { _ = l.Close() }()
	bad := processorFunc(func(context.Context, Job) (Result, error) { return Result{}, errors.New("truncated") })
	in, out := s.put("a.jpg", "x"), filepath.Join(s.out, "a.jpg")
	if _, _, err := l.Process(t.Context(), bad, in, out, ProcessOptions{}); err == nil {
		t.Fatal("did not fail")
	}
	if err := os.WriteFile(out, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Process(t.Context(), &proc{}, in, out, ProcessOptions{}); !errors.Is(err, ErrForeign) || s.output("a.jpg") != "precious" {
		t.Errorf("%v, output %q", err, s.output("a.jpg"))
	}
	// But an earlier version's output stays ours through a failure.
	in, out = s.put("b.jpg", "x"), filepath.Join(s.out, "b.jpg")
	for i, p := range []Processor{&proc{}, bad, &proc{}} {
		s.put("b.jpg", fmt.Sprintf("version %d", i))
		if _, _, err := l.Process(t.Context(), p, in, out, ProcessOptions{}); (err != nil) != (i == 1) {
			t.Errorf("version %d: %v", i, err)
		}
	}
	if s.output("b.jpg") != "restored version 2" {
		t.Errorf("output %q", s.output("b.jpg"))
	}
}

func TestLedgerOpens(t *testing.T) {
	s := newSite(t)
	s.cfg.State = filepath.Join(t.TempDir(), "a b?c#d%41", "state")
	l := s.ledger()
	if _, err := OpenLedger(t.Context(), s.cfg.State); !errors.Is(err, ErrLocked) {
		t.Errorf("second open: %v", err)
	}
	var mode, sync string
	if err := l.db.QueryRow("SELECT * FROM pragma_journal_mode").Scan(&mode); err != nil || mode != "wal" {
		t.Errorf("journal mode %s, %v", mode, err)
	}
	if err := l.db.QueryRow("SELECT * FROM pragma_synchronous").Scan(&sync); err != nil || sync != "2" {
		t.Errorf("synchronous %s, %v", sync, err)
	}
	if _, err := l.db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Errorf("close twice: %v", err)
	}
	if _, err := os.Stat(filepath.Join(s.cfg.State, databaseName)); err != nil {
		t.Error(err)
	}
	if _, err := OpenLedger(t.Context(), s.cfg.State); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Errorf("newer schema: %v", err)
	}
}

func TestIsTransient(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{errors.New("corrupt"), false},
		{nil, false},
		{fmt.Errorf("photo: %w", Transient(errors.New("x"))), true},
		{fmt.Errorf("photo: %w", &os.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC}), true},
		{os.ErrPermission, false}, // not the system's word
		{&os.PathError{Op: "open", Path: "/x", Err: syscall.EACCES}, true},
		{&os.PathError{Op: "open", Path: "/x", Err: syscall.ENOENT}, false},
		{ErrForeign, false},
	} {
		if got := IsTransient(c.err); got != c.want {
			t.Errorf("IsTransient(%v) = %v", c.err, got)
		}
	}
	if Transient(nil) != nil {
		t.Error("Transient(nil) is an error")
	}
}

func TestRetryDelays(t *testing.T) {
	last := retryDelays.after(0)
	for i := 1; i < 20; i++ {
		if d := retryDelays.after(i); d < last {
			t.Errorf("pause %d is %s, shorter than the one before", i, d)
		} else {
			last = d
		}
	}
}
