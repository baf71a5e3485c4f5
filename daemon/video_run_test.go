package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRunVideo does the steps without a queue: all of them, what is missing of
// them, watched over, and through the ledger as a command would.
func TestRunVideo(t *testing.T) {
	s := newSite(t)
	log := slog.New(slog.DiscardHandler)
	work := filepath.Join(t.TempDir(), "work", "1")
	l := s.ledger()
	defer func() { _ = l.Close() }()
	in, out := s.put("a.mp4", "abc"), filepath.Join(s.out, "a.mp4")
	process := func(ctx context.Context, r *videoRunner) (Record, error) {
		t.Helper()
		rec, _, err := l.Process(ctx, processorFunc(func(ctx context.Context, job Job) (Result, error) {
			return r.all(ctx, VideoJob{ID: job.ID, In: job.In, Out: job.Out, Work: work, Claim: job.Claim}, 10*time.Millisecond)
		}), in, out, ProcessOptions{})
		return rec, err
	}
	runner := func(f *films, free func(string) (space, error)) *videoRunner {
		return &videoRunner{videos: f, room: room{reserveOf(0), free}, stall: 50 * time.Millisecond, grace: time.Minute, log: log}
	}

	// Stopped in the middle.
	h := hold("render 1")
	f := &films{segments: 3, before: h.before}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-h.entered
		cancel()
	}()
	r := runner(f, freeSpace)
	r.stall = time.Minute
	if rec, err := process(ctx, r); !errors.Is(err, context.Canceled) || rec.State != Queued {
		t.Fatalf("stopped: %+v, %v", rec, err)
	}
	// It goes on, and stalls twice.
	f = &films{segments: 3, before: func(ctx context.Context, name string, _ VideoJob, _ func(Progress)) error {
		if name == "render 2" {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}}
	if rec, err := process(t.Context(), runner(f, freeSpace)); err == nil || rec.Reason != "no progress for 50ms (video.stall)" {
		t.Fatalf("stalled: %+v, %v", rec, err)
	}
	if got := f.names("a.mp4"); !slices.Equal(got, []string{"plan", "render 1", "render 2", "render 2"}) {
		t.Errorf("steps %v", got)
	}
	// It goes on, and waits for room.
	d := &disk{free: 300}
	f = &films{segments: 3, plan: VideoPlan{WorkBytes: 300, OutBytes: 201}}
	r = runner(f, d.space)
	go func() {
		for f.count("a.mp4", "plan") == 0 {
			<-time.After(time.Millisecond)
		}
		<-time.After(30 * time.Millisecond)
		d.set(1000)
	}()
	if rec, err := process(t.Context(), r); err != nil || rec.State != Done || s.output("a.mp4") != "film <a><b><c>" {
		t.Errorf("%+v, %v", rec, err)
	}
	if got := f.names("a.mp4"); !slices.Equal(got, []string{"plan", "render 2", "join"}) {
		t.Errorf("steps %v", got)
	}
	// No room before it is stopped.
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	none := &disk{free: -1}
	job := VideoJob{In: in, Out: out, Work: work}
	if _, err := runner(f, none.space).all(ctx, job, time.Millisecond); err == nil || !strings.Contains(err.Error(), waitsForRoom) {
		t.Errorf("no room: %v", err)
	}
	if _, err := RunVideo(t.Context(), f, VideoJob{In: in + "x", Out: out, Work: work}, RunOptions{Log: log}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no input: %v", err)
	}
}
