package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"restored/config"
	"restored/confine"
	"restored/daemon"
	"restored/media"
	"restored/restore"
)

// realConfig is the configuration of the tests that work with the real engine.
func realConfig(t testing.TB) *config.Config {
	cfg := config.Default()
	cfg.Workers, cfg.Restore.Provider = 1, "cpu"
	cfg.Paths.Libraries, cfg.Paths.Models = filepath.Join(deps(t), "onnxruntime"), filepath.Join(deps(t), "models")
	return &cfg
}

func openReal(t testing.TB, cfg *config.Config, log slog.Handler) *confined {
	t.Helper()
	e, err := openConfined(t.Context(), cfg, slog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// children hears from the log of a confined engine which children it starts.
type children struct {
	slog.Handler
	started []startedChild
}

type startedChild struct {
	tag string
	pid int
}

func (c *children) Enabled(context.Context, slog.Level) bool { return true }

func (c *children) Handle(_ context.Context, r slog.Record) error {
	var s startedChild
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "child":
			s.tag = a.Value.String()
		case "pid":
			s.pid = int(a.Value.Int64())
		}
		return true
	})
	if r.Message == "child started" {
		c.started = append(c.started, s)
	}
	return nil
}

func (c *children) WithAttrs([]slog.Attr) slog.Handler { return c }

// last is the child that was started last.
func (c *children) last() startedChild { return c.started[len(c.started)-1] }

func allow(context.Context, string) (bool, error) { return true, nil }

// A child that dies over a photo, at the moment when it has something to write,
// costs nothing: the photo is done in another, and nothing is left beside it.
func TestConfinedChildDies(t *testing.T) {
	dir := t.TempDir()
	if err := samplePhotos(deps(t), dir); err != nil {
		t.Fatal(err)
	}
	var log children
	e := openReal(t, realConfig(t), &log)
	out := filepath.Join(dir, "out", "face.jpg")
	if err := os.Mkdir(filepath.Dir(out), 0o755); err != nil {
		t.Fatal(err)
	}
	killed := 0
	kill := func(context.Context, string) (bool, error) {
		if killed++; killed == 1 {
			// What a child leaves behind that is killed while it writes.
			left := media.TempPrefix + log.last().tag + "-1" + media.TempSuffix
			if err := os.WriteFile(filepath.Join(dir, "out", left), nil, 0o600); err != nil {
				t.Error(err)
			}
			if err := syscall.Kill(log.last().pid, syscall.SIGSEGV); err != nil {
				t.Error(err)
			}
		}
		return true, nil
	}
	r, err := e.Photo(t.Context(), filepath.Join(dir, "in", "face.jpg"), out, kill)
	if err != nil || r.Status != "restored" || r.Output != out || killed != 2 {
		t.Errorf("%+v, %v; asked %d times", r, err, killed)
	}
	if names, err := os.ReadDir(filepath.Dir(out)); err != nil || len(names) != 1 {
		t.Errorf("in the output's folder: %v, %v", names, err)
	}

	always := func(context.Context, string) (bool, error) {
		return true, syscall.Kill(log.last().pid, syscall.SIGABRT)
	}
	_, err = e.Photo(t.Context(), filepath.Join(dir, "in", "face.jpg"), out, always)
	var crash *confine.CrashError
	if !errors.As(err, &crash) || daemon.IsTransient(err) || !strings.Contains(err.Error(), "face.jpg: the process that worked on it was killed by SIGABRT") {
		t.Errorf("a photo that crashes always: %v", err)
	}
	if _, err := e.Photo(t.Context(), filepath.Join(dir, "in", "face.jpg"), out, allow); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// What is about the machine may pass; what is about the file doesn't.
func TestErrorClasses(t *testing.T) {
	for _, test := range []struct {
		err       error
		transient bool
	}{
		{&confine.CrashError{Signal: syscall.SIGKILL}, true}, // the kernel was out of memory
		{&confine.CrashError{Signal: syscall.SIGKILL, Memory: 1 << 30, Resident: 2 << 30}, false},
		{&confine.CrashError{Signal: syscall.SIGKILL, Reason: "it sent garbage"}, false},
		{&confine.CrashError{Signal: syscall.SIGSEGV}, false},
		{fmt.Errorf("%w: no memory", confine.ErrStart), true},
		{fmt.Errorf("restore: %w (cuda): error 700", restore.ErrDevice), true},
		{fmt.Errorf("write: %w", syscall.ENOSPC), true},
		{fmt.Errorf("write: %w", syscall.EIO), true},
		{fmt.Errorf("write: %w", syscall.EFBIG), false},
		{media.ErrDamaged, false},
		{media.ErrUnsupported, false},
		{media.ErrTooLarge, false},
	} {
		if got := daemon.IsTransient(ofJob("/in/a.jpg", test.err)); got != test.transient {
			t.Errorf("%v: transient %v, want %v", test.err, got, test.transient)
		}
	}
}

// A daemon whose first child is killed is started again by the service manager; one whose
// set-up is faulty isn't.
func TestStartErr(t *testing.T) {
	for want, err := range map[int]error{
		exitFailed: fmt.Errorf("%w: %w", confine.ErrStart, &confine.CrashError{Signal: syscall.SIGKILL}),
		exitSetup:  &confine.CrashError{Signal: syscall.SIGILL},
	} {
		if got := exitCode(startErr(err)); got != want {
			t.Errorf("%v: exit code %d, want %d", err, got, want)
		}
	}
}

// TestConfinedProfile: the same photo with and without a profile, in one child.
func TestConfinedProfile(t *testing.T) {
	dir := t.TempDir()
	if err := samplePhotos(deps(t), dir); err != nil {
		t.Fatal(err)
	}
	cfg := realConfig(t)
	cfg.Profiles = map[string]config.Profile{"half": {"restore.blend": "0.5"}, "int8": {"restore.model": "pltrans-s-int8"}}
	e := openReal(t, cfg, slog.DiscardHandler)
	settings, err := settingsOf(cfg)
	if err != nil {
		t.Fatal(err)
	}
	outputs, prints := map[string]bool{}, map[string]bool{}
	models := map[string]string{}
	for _, profile := range []string{"", "half", "int8", "half", ""} {
		out := filepath.Join(dir, "out-"+profile+".jpg")
		r, err := e.of(profile).Photo(t.Context(), filepath.Join(dir, "in", "face.jpg"), out, allow)
		if err != nil || r.Status != "restored" {
			t.Fatalf("profile %q: %+v, %v", profile, r, err)
		}
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		outputs[string(data)], prints[settings(profile, false)] = true, true
		models[profile] = r.Model
	}
	if len(outputs) != 3 || len(prints) != 3 {
		t.Errorf("%d outputs and %d fingerprints of three profiles", len(outputs), len(prints))
	}
	if models["half"] != "pltrans-s" || models["int8"] != "pltrans-s-int8" {
		t.Errorf("models %v", models)
	}
}

// The daemon's classes of errors, and names that are no UTF-8, come through.
func TestConfinedErrors(t *testing.T) {
	dir := t.TempDir()
	if err := samplePhotos(deps(t), dir); err != nil {
		t.Fatal(err)
	}
	e := openReal(t, realConfig(t), slog.DiscardHandler)
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	face := filepath.Join(in, "face.jpg")
	foreign := func(context.Context, string) (bool, error) { return false, daemon.ErrForeign }
	full := func(context.Context, string) (bool, error) { return false, daemon.Transient(errors.New("later")) }
	ctx := t.Context()
	if _, err := e.Photo(ctx, face, filepath.Join(out, "a.jpg"), foreign); !errors.Is(err, daemon.ErrForeign) {
		t.Errorf("claim refused: %v", err)
	}
	if _, err := e.Photo(ctx, face, filepath.Join(out, "a.jpg"), full); !daemon.IsTransient(err) {
		t.Errorf("claim fails for now: %v", err)
	}
	if _, err := e.Photo(ctx, filepath.Join(in, "text.jpg"), filepath.Join(out, "a.jpg"), allow); !errors.Is(err, media.ErrNotPhoto) || daemon.IsTransient(err) {
		t.Errorf("not a photo: %v", err)
	}
	if _, err := e.Photo(ctx, filepath.Join(in, "none.jpg"), filepath.Join(out, "a.jpg"), allow); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	odd := filepath.Join(out, "a\xff\n\xfe.jpg")
	if r, err := e.Photo(ctx, face, odd, allow); err != nil || r.Output != odd {
		t.Errorf("odd name: %q, %v", r.Output, err)
	}
	if _, err := os.Stat(odd); err != nil {
		t.Error(err)
	}
}

// An output over its limit fails, and so does a set-up that is none.
func TestConfinedLimits(t *testing.T) {
	dir := t.TempDir()
	if err := samplePhotos(deps(t), dir); err != nil {
		t.Fatal(err)
	}
	cfg := realConfig(t)
	cfg.Limits.Output = 2000
	e := openReal(t, cfg, slog.DiscardHandler)
	_, err := e.Photo(t.Context(), filepath.Join(dir, "in", "face.jpg"), filepath.Join(dir, "face.jpg"), allow)
	if !errors.Is(err, syscall.EFBIG) || daemon.IsTransient(err) || !strings.Contains(err.Error(), "limits.output") {
		t.Errorf("too large an output: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind %q, %v", left, err)
	}

	cfg = realConfig(t)
	cfg.Paths.Models = dir
	if _, err := openConfined(t.Context(), cfg, slog.New(slog.DiscardHandler)); exitCode(err) != exitSetup || !strings.Contains(err.Error(), "paths.models") {
		t.Errorf("no models: %v", err)
	}
	cfg = realConfig(t)
	cfg.Limits.Memory = 100 << 20 // fewer than the engine alone takes
	_, err = openConfined(t.Context(), cfg, slog.New(slog.DiscardHandler))
	var crash *confine.CrashError
	if !errors.As(err, &crash) || crash.Memory != 100<<20 {
		t.Errorf("too little memory: %v", err)
	}
}

// BenchmarkConfined compares a small photo in a warm child with the same in
// this process, in turns. ratio is that of the medians.
func BenchmarkConfined(b *testing.B) {
	dir := b.TempDir()
	if err := samplePhotos(deps(b), dir); err != nil {
		b.Fatal(err)
	}
	cfg := realConfig(b)
	n, err := openNative(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := n.close(); err != nil {
			b.Error(err)
		}
	}()
	engines := []engine{n.engine, openReal(b, cfg, slog.DiscardHandler)}
	for _, name := range []string{"face.jpg", "sub/noface.png"} {
		b.Run(filepath.Base(name), func(b *testing.B) {
			var took [2][]float64
			for b.Loop() {
				for i, e := range engines {
					begin := time.Now()
					if _, err := e.Photo(b.Context(), filepath.Join(dir, "in", name), filepath.Join(dir, filepath.Base(name)), allow); err != nil {
						b.Fatal(err)
					}
					took[i] = append(took[i], time.Since(begin).Seconds()*1000)
				}
			}
			var median [2]float64
			for i, t := range took {
				slices.Sort(t)
				median[i] = t[len(t)/2]
			}
			b.ReportMetric(median[0], "ms-here")
			b.ReportMetric(median[1], "ms-confined")
			b.ReportMetric(median[1]/median[0], "ratio")
		})
	}
}

// The allocator's settings reach the children, and those of who runs restored
// hold; secrets don't.
func TestJobEnv(t *testing.T) {
	cmd := exec.Command("env")
	cmd.Env = jobEnv([]string{"HOME=/nowhere", "RESTORED_HTTP_TOKEN=secret", "RESTORED_NOTIFY_SECRET=secret", "RESTORED_NOTIFY_URL=https://secret", "MALLOC_ARENA_MAX=8"})
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(string(out))
	slices.Sort(got)
	want := []string{"HOME=/nowhere", "MALLOC_ARENA_MAX=8", "MALLOC_MMAP_THRESHOLD_=1048576", "MALLOC_TRIM_THRESHOLD_=4194304"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
